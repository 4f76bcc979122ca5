"""What a project lacks is told before anything is made: openstacksdk asks a project that is played on loopback."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from datetime import timedelta
from typing import Any

import pytest
import yaml
from openstack.connection import Connection

from armillary.clouds.openstack.preflight import preflight
from armillary.models.cluster import Cluster
from armillary.models.report import Check
from armillary.paths import ROOT
from tests.support.project import PROJECT, VERSIONS, Project, flavor, image, room, signed_in

SAMPLE = ROOT / "inventories/openstack/cluster.yml"
HOSTS = 4
"""Of the sample."""


@pytest.fixture
def project() -> Project:
    return Project()


@pytest.fixture
def connection(project: Project) -> Iterator[Connection]:
    with signed_in(project) as found:
        yield found


@pytest.fixture
def raw() -> dict[str, Any]:
    found: dict[str, Any] = yaml.safe_load(SAMPLE.read_text())
    return found


Found = dict[str, Check]


def look(
    connection: Connection, raw: Mapping[str, Any], made: Mapping[str, int] | None = None
) -> Found:
    """Return what is found, by name."""
    checks = preflight(connection, Cluster.model_validate(raw), made or {})
    found = {check.name: check for check in checks}
    assert len(found) == len(checks)
    return found


def short(found: Found) -> set[str]:
    """Return the names of what is not as it should be."""
    return {name for name, check in found.items() if check.ok is not True}


def test_a_project_with_room_lacks_nothing(connection: Connection, raw: dict[str, Any]) -> None:
    found = look(connection, raw)
    assert short(found) == set()
    assert len(found) > 20


# --- images -----------------------------------------------------------------------------------


def test_of_two_images_of_a_name_the_newer_is_taken(
    project: Project, connection: Connection, raw: dict[str, Any]
) -> None:
    project.answers["image/v2/images"]["images"] += [
        image("debian-12", "2026-11-20T00:00:00Z", id="newer"),
        image("debian-12", "2026-11-24T00:00:00Z", id="not-whole", status="saving"),
    ]
    check = look(connection, raw)["image debian-12"]
    assert check.ok
    assert "newer" in check.detail
    assert "not-whole" not in check.detail


def test_hosts_that_are_there_need_no_image(
    project: Project, connection: Connection, raw: dict[str, Any]
) -> None:
    project.answers["image/v2/images"]["images"] = []
    gone = look(connection, raw, {"instances": HOSTS})["image debian-12"]
    assert gone.ok
    assert "stay as they are" in gone.detail
    missing = look(connection, raw, {"instances": HOSTS - 1})["image debian-12"]
    assert missing.ok is False
    assert "no usable image `debian-12`" in missing.detail


# --- all at once ------------------------------------------------------------------------------

Plant = Callable[[Project, dict[str, Any]], object]
SHORTFALLS: dict[str, tuple[Plant, list[str]]] = {
    "quota instances": (
        lambda project, _: project.limits(
            "compute/v2.1", maxTotalInstances=5, totalInstancesUsed=3
        ),
        ["4 wanted, 2 free of 5", "Ask for a quota of 7 instances"],
    ),
    "quota gigabytes": (
        lambda project, _: project.limits("volume/v3", maxTotalVolumeGigabytes=339),
        ["340 wanted, 339 free of 339", "quota of 340 gigabytes"],
    ),
    "quota ports": (
        lambda project, _: project.answers[f"network/v2.0/quotas/{PROJECT}/details"][
            "quota"
        ].update(port=room(8, 2)),
        ["7 wanted, 6 free of 8", "quota of 9 ports"],
    ),
    "flavor worker": (
        lambda _, raw: raw["flavors"]["worker"].update(name="m9.large"),
        ["no flavor `m9.large`", "It has: m1.large."],
    ),
    "flavor control": (
        lambda _, raw: raw["flavors"]["control"].update(memory="6GiB"),
        ["4096 MiB of memory where 6144 are wanted", "(m1.large)"],
    ),
    "image debian-13": (
        lambda _, raw: raw["openstack"].update(image="debian-13"),
        ["no usable image `debian-13`", "Images of Debian: debian-12."],
    ),
    "external network": (
        lambda _, raw: raw["openstack"].update(external_network="publik"),
        ["no external network `publik`", "It has: public."],
    ),
    "availability zone az9": (
        lambda _, raw: raw["openstack"].update(availability_zone="az9"),
        ["no availability zone `az9`", "It has: nova."],
    ),
    "volume availability zone az8": (
        lambda _, raw: raw["openstack"].update(volume_availability_zone="az8"),
        ["no volume availability zone `az8`", "It has: nova."],
    ),
    "volume type gold": (
        lambda _, raw: raw["shared"]["homes"].update(type="gold"),
        ["no volume type `gold`", "It has: rbd."],
    ),
    "floating IP 198.51.100.9": (
        lambda _, raw: raw["openstack"].update(floating_ips={"services-1": "198.51.100.9"}),
        ["wanted for services-1", "is no floating IP of this project"],
    ),
    "service object-store": (
        lambda project, raw: (
            project.offered.discard("object-store"),
            raw["components"].update(object_store={"containers": {"archive": {}}}),
        ),
        ["catalogue of the cloud has no object-store"],
    ),
}


@pytest.mark.parametrize("name", SHORTFALLS)
def test_a_shortfall_is_told_with_what_to_change(name: str, raw: dict[str, Any]) -> None:
    project = Project()
    plant, told = SHORTFALLS[name]
    plant(project, raw)
    with signed_in(project) as connection:
        found = look(connection, raw)
    assert short(found) == {name}
    assert [words for words in told if words not in found[name].detail] == []


def test_all_shortfalls_are_told_at_once(raw: dict[str, Any]) -> None:
    project = Project()
    for plant, _ in SHORTFALLS.values():
        plant(project, raw)
    with signed_in(project) as connection:
        found = look(connection, raw)
    assert short(found) == set(SHORTFALLS)
    for name, (_, told) in SHORTFALLS.items():
        assert [words for words in told if words not in found[name].detail] == []


def test_what_groups_want_for_themselves_is_looked_for(
    project: Project, connection: Connection, raw: dict[str, Any]
) -> None:
    raw["hosts"]["worker"] |= {
        "image": "debian-gpu",
        "availability_zones": ["az2", "nova"],
        "boot_volume": {"type": "gold"},
    }
    raw["openstack"]["availability_zone"] = "nova"
    found = look(connection, raw)
    assert short(found) == {"image debian-gpu", "availability zone az2", "volume type gold"}
    assert {"image debian-12", "availability zone nova"} <= set(found)
    # A flavor without a disk will do for those that start from volumes.
    raw["hosts"]["worker"] = {**raw["hosts"]["worker"], "image": "debian-12"}
    project.answers["compute/v2.1/flavors/detail"]["flavors"][1]["disk"] = 0
    assert "flavor worker" not in short(look(connection, raw))


def test_what_is_made_already_is_not_wanted_again(
    project: Project, connection: Connection, raw: dict[str, Any]
) -> None:
    project.limits("compute/v2.1", maxTotalInstances=4, totalInstancesUsed=4)
    assert look(connection, raw, {"instances": HOSTS})["quota instances"].ok
    raw["hosts"]["worker"]["count"] += 1
    assert (
        "1 wanted, 0 free" in look(connection, raw, {"instances": HOSTS})["quota instances"].detail
    )


# --- what flavors really have, and load balancers -----------------------------------------------


def test_a_flavor_that_is_larger_than_wanted_takes_what_it_has(
    project: Project, connection: Connection, raw: dict[str, Any]
) -> None:
    project.answers["compute/v2.1/flavors/detail"]["flavors"] = [
        flavor("m1.medium", 2, 4096, 40),
        flavor("m1.large", 16, 65536, 80),
    ]
    found = look(connection, raw)
    assert short(found) == {"quota ram"}
    assert f"{2 * 4096 + 2 * 65536} wanted" in found["quota ram"].detail
    project.limits("compute/v2.1", maxTotalCores=35, maxTotalRAMSize=200000)
    found = look(connection, raw)
    assert short(found) == {"quota cores"}
    assert "36 wanted, 35 free" in found["quota cores"].detail


def test_a_server_group_holds_all_control_planes(
    project: Project, connection: Connection, raw: dict[str, Any]
) -> None:
    raw["hosts"]["control"]["count"] = 3
    project.limits("compute/v2.1", maxServerGroupMembers=2)
    found = look(connection, raw)
    assert short(found) == {"quota server group members"}
    assert "3 wanted, 2 free of 2" in found["quota server group members"].detail


def test_quotas_of_load_balancers(
    project: Project, connection: Connection, raw: dict[str, Any]
) -> None:
    raw["openstack"]["load_balancer"] = "octavia"
    assert short(look(connection, raw)) == set()
    there = [{"id": str(number), "members": [{"id": "m"}] * 24} for number in range(2)]
    project.answers["balancer/v2.0/lbaas/pools"]["pools"] = there
    project.answers[f"balancer/v2.0/lbaas/quotas/{PROJECT}"]["quota"]["load_balancer"] = 0
    found = look(connection, raw)
    assert short(found) == {"quota members", "quota load balancers"}
    assert "5 wanted, 2 free of 50" in found["quota members"].detail
    # Those of a cluster that is up are the 24, and no more are wanted.
    made = {"load_balancers": 1, "instances": HOSTS}
    assert short(look(connection, raw, made)) == set()


def test_quotas_that_the_cloud_keeps_to_itself_are_not_called_enough(
    project: Project, connection: Connection, raw: dict[str, Any]
) -> None:
    raw["openstack"]["load_balancer"] = "octavia"
    project.answers[f"balancer/v2.0/lbaas/quotas/{PROJECT}"] = 403
    found = look(connection, raw)
    assert short(found) == {"quotas of load balancers"}
    assert found["quotas of load balancers"].ok is None


# --- other things -----------------------------------------------------------------------------


def test_a_given_floating_ip_may_serve_this_cluster_and_no_other(
    project: Project, connection: Connection, raw: dict[str, Any]
) -> None:
    """By the tag of its port: others may call theirs as ours are."""
    raw["openstack"]["floating_ips"] = {"services-1": "198.51.100.7"}
    taken = {"id": "f", "floating_ip_address": "198.51.100.7", "port_id": "p"}
    project.answers["network/v2.0/floatingips"]["floatingips"] = [taken]
    port = {"id": "p", "name": "science-services-1", "tags": ["armillary-cluster=other"]}
    project.answers["network/v2.0/ports/p"] = {"port": port}
    name = "floating IP 198.51.100.7"
    cluster = Cluster.model_validate(raw)
    for mark, ok in (("other", True), ("ours", False), (None, False)):
        found = {each.name: each for each in preflight(connection, cluster, {}, mark)}
        assert found[name].ok is ok
    assert "serves another host" in found[name].detail
    taken["port_id"] = None
    assert look(connection, raw)[name].ok


def test_clocks_that_differ(raw: dict[str, Any]) -> None:
    project = Project()
    project.skew = timedelta(minutes=-3)
    with signed_in(project) as connection:
        found = look(connection, raw)
    assert short(found) == {"clock"}
    assert "180 s apart" in found["clock"].detail or "181 s apart" in found["clock"].detail


def test_an_old_nova_knows_no_soft_policy(
    raw: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    old = ("version", "v2.1", {"version": "2.14", "min_version": "2.1"})
    monkeypatch.setitem(VERSIONS, "compute/v2.1", old)
    with signed_in(Project()) as connection:
        assert short(look(connection, raw)) == {"server group policy"}
        raw["openstack"]["server_group_policy"] = "anti-affinity"
        assert short(look(connection, raw)) == set()


def test_an_existing_network_has_the_range_of_the_hosts(
    project: Project, connection: Connection, raw: dict[str, Any]
) -> None:
    raw["openstack"]["network"] = {"name": "there", "subnet": "there-subnet"}
    found = look(connection, raw)
    assert "no network `there` with a subnet `there-subnet`" in found["network"].detail
    project.answers["network/v2.0/networks"]["networks"].append({"id": "n2", "name": "there"})
    subnet = {"id": "s", "name": "there-subnet", "network_id": "n2", "cidr": "10.9.0.0/24"}
    project.answers["network/v2.0/subnets"]["subnets"] = [subnet]
    found = look(connection, raw)
    assert "is 10.9.0.0/24, and network.hosts is 10.77.0.0/24" in found["network"].detail
    subnet["cidr"] = "10.77.0.0/24"
    assert short(look(connection, raw)) == set()


def test_a_service_that_fails_is_no_proof_of_anything(
    project: Project, connection: Connection, raw: dict[str, Any]
) -> None:
    project.answers["volume/v3/types"] = 503
    raw["openstack"]["volume_type"] = "rbd"
    found = look(connection, raw)
    assert short(found) == {"volume types"}
    assert found["volume types"].ok is None
    assert "cannot be asked" in found["volume types"].detail
