"""What a cluster takes of a project's quotas. tests/contract compares it with what Terraform plans."""

from __future__ import annotations

from dataclasses import asdict, fields
from typing import Any

import pytest
import yaml
from support.samples import with_kafka

from armillary.config import load_cluster
from armillary.models.cluster import Cluster
from armillary.models.quota import Quota, quota_needed
from armillary.paths import ROOT

SAMPLE = ROOT / "inventories/openstack/cluster.yml"
PAGE = ROOT / "docs/reference/openstack.md"


@pytest.fixture
def raw() -> dict[str, Any]:
    found: dict[str, Any] = yaml.safe_load(SAMPLE.read_text())
    return found


def needed(raw: dict[str, Any]) -> Quota:
    return quota_needed(Cluster.model_validate(raw))


def test_page_has_the_figures_of_the_sample() -> None:
    page = PAGE.read_text()
    for name, value in asdict(quota_needed(load_cluster(SAMPLE))).items():
        assert f"| `{name}` | {value} |" in page


def test_a_worker_more(raw: dict[str, Any]) -> None:
    before = asdict(needed(raw))
    raw["hosts"]["worker"]["count"] += 1
    after = asdict(needed(raw))
    assert {name: after[name] - before[name] for name in after if after[name] != before[name]} == {
        "instances": 1,
        "cores": 4,
        "ram": 8192,
        "volumes": 1,
        "gigabytes": 50,
        "ports": 1,
    }


def test_hosts_that_start_from_volumes(raw: dict[str, Any]) -> None:
    before = needed(raw)
    raw["openstack"]["boot_volume"] = {}
    after = needed(raw)
    assert after.volumes - before.volumes == 4
    assert after.gigabytes - before.gigabytes == 4 * 20


def test_a_group_that_starts_from_volumes(raw: dict[str, Any]) -> None:
    before = needed(raw)
    raw["hosts"]["worker"]["boot_volume"] = {"type": "ssd"}
    after = needed(raw)
    assert after.volumes - before.volumes == 2
    assert after.gigabytes - before.gigabytes == 2 * 20


def test_existing_network(raw: dict[str, Any]) -> None:
    raw["openstack"]["network"] = {"name": "n", "subnet": "s"}
    found = needed(raw)
    assert (found.networks, found.subnets, found.routers, found.ports) == (0, 0, 0, 4)


def test_floating_ips_that_are_given_take_none(raw: dict[str, Any]) -> None:
    raw["openstack"]["floating_ips"] = {"services-1": "198.51.100.7", "worker-1": "new"}
    assert needed(raw).floating_ips == 1
    del raw["openstack"]["floating_ips"]
    assert needed(raw).floating_ips == 1


def test_load_balancer_and_three_control_planes(raw: dict[str, Any]) -> None:
    raw["openstack"]["load_balancer"] = "octavia"
    raw["hosts"]["control"]["count"] = 3
    found = needed(raw)
    assert (found.load_balancers, found.listeners, found.pools, found.members) == (1, 3, 3, 7)
    assert (found.floating_ips, found.server_group_members) == (2, 3)


def test_rules_by_networks_that_may_connect(raw: dict[str, Any]) -> None:
    one = needed(raw).security_group_rules
    raw["openstack"]["allow_from"] = ["192.0.2.0/24", "198.51.100.0/24"]
    assert needed(raw).security_group_rules == one + 5
    raw["network"]["backend"] = "vxlan"
    assert needed(raw).security_group_rules == one + 4


def test_kafka(raw: dict[str, Any]) -> None:
    before, after = asdict(needed(raw)), asdict(needed(with_kafka("openstack")))
    assert {name: after[name] - before[name] for name in after if after[name] != before[name]} == {
        "instances": 3,
        "cores": 6,
        "ram": 12288,
        "server_groups": 1,
        "server_group_members": 2,
        "volumes": 3,
        "gigabytes": 300,
        "ports": 3,
        "security_groups": 1,
        # Three between hosts, and the two that Neutron puts into each group.
        "security_group_rules": 5,
    }


def test_brokers_that_are_open_outside() -> None:
    raw = with_kafka("openstack")
    before = needed(raw)
    raw["openstack"]["floating_ips"] |= dict.fromkeys(("kafka-1", "kafka-2", "kafka-3"), "new")
    after = needed(raw)
    assert after.floating_ips - before.floating_ips == 3
    assert after.security_group_rules - before.security_group_rules == 1


def test_another_cloud_has_no_quotas() -> None:
    with pytest.raises(ValueError, match="is not for OpenStack"):
        quota_needed(load_cluster(ROOT / "inventories/local/cluster.yml"))


def test_every_figure_is_a_whole_number(raw: dict[str, Any]) -> None:
    found = needed(raw)
    assert all(type(getattr(found, field.name)) is int for field in fields(found))
