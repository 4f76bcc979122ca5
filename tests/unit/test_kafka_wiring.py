"""What brokers and others are told of Kafka: inventory, secrets, endpoints."""

from __future__ import annotations

import base64
import json
from pathlib import Path
from typing import Any

import pytest
import yaml
from support.samples import with_kafka

from armillary import secrets
from armillary.clouds import cloud_of
from armillary.config import load_cluster
from armillary.endpoints import write_endpoints
from armillary.inventory import inventory
from armillary.models.cluster import Cluster
from armillary.paths import ROOT, ClusterPaths

RAW = with_kafka("openstack")


@pytest.fixture
def paths(tmp_path: Path) -> ClusterPaths:
    found = ClusterPaths(tmp_path / "state")
    found.make()
    return found


def output(cluster: Cluster, **more: Any) -> dict[str, Any]:
    """Return Terraform's output `cluster`, as far as the inventory reads it."""
    hosts = {
        host.name: {
            "role": host.role,
            "address": host.address,
            "access_address": host.address,
            "floating_ip": None,
            "zone": f"zone-{host.slot % 3}",
            "volumes": {},
            **more,
        }
        for host in cluster.expanded_hosts()
    }
    return {"hosts": hosts}


def test_brokers_know_each_other_and_what_is_to_be_there(paths: ClusterPaths) -> None:
    cluster = Cluster.model_validate(RAW)
    found = inventory(paths, cluster, cloud_of(cluster, paths), output(cluster), {}, {})
    told = found.hosts["kafka-2"]["armillary_kafka"]
    assert told == found.hosts["kafka-1"]["armillary_kafka"]
    assert told["brokers"]["kafka-3"] == {
        "id": 3,
        "address": "10.77.0.16",
        "outside": None,
        "rack": "zone-1",
        "volume_mib": 100 * 1024,
    }
    assert told["topics"] == [
        {
            "name": "alerts",
            "partitions": 6,
            "replicas": 3,
            "config": {
                "retention.ms": "604800000",
                "min.insync.replicas": "2",
                "cleanup.policy": "delete",
            },
        }
    ]
    assert [user["name"] for user in told["users"]] == ["observatory", "analysis"]
    # What changes there is nobody else's business.
    assert not [
        name for name in ("worker-1", "services-1") if "armillary_kafka" in found.hosts[name]
    ]
    assert "kafka" not in found.shared["armillary_components"]
    assert found.shared["armillary_kafka_bootstrap"] == (
        "10.77.0.14:9092,10.77.0.15:9092,10.77.0.16:9092"
    )
    found.write(paths)
    written = yaml.safe_load((paths.inventory / "hosts.yml").read_text())["all"]["children"]
    assert set(written["kafka"]["hosts"]) == {"kafka-1", "kafka-2", "kafka-3"}
    assert set(written["kubernetes"]["children"]) == {"control_plane", "workers"}


def test_secrets_are_made_once_and_kept(paths: ClusterPaths) -> None:
    cluster = Cluster.model_validate(RAW)
    made = secrets.ensure(paths, cluster)["kafka"]
    assert set(made["users"]) == {"admin", "observatory", "analysis"}
    assert len(base64.urlsafe_b64decode(made["cluster_id"] + "==")) == 16
    raw = {**RAW, "components": {**RAW["components"], "kafka": {"users": []}}}
    assert secrets.ensure(paths, Cluster.model_validate(raw))["kafka"] == made


def test_a_cluster_without_kafka_has_no_secrets_of_it(paths: ClusterPaths) -> None:
    cluster = load_cluster(ROOT / "inventories/openstack/cluster.yml")
    assert "kafka" not in secrets.ensure(paths, cluster)
    found = inventory(paths, cluster, cloud_of(cluster, paths), output(cluster), {}, {})
    assert found.shared["armillary_kafka_bootstrap"] == ""
    write_endpoints(paths, cluster)
    assert "kafka" not in paths.endpoints.read_text()


def test_endpoints_say_where_it_is_and_where_the_password_is(paths: ClusterPaths) -> None:
    write_endpoints(paths, Cluster.model_validate(RAW))
    listed = json.loads(paths.endpoints.read_text())["endpoints"]
    (kafka,) = [each for each in listed if each["name"] == "kafka"]
    assert kafka["url"] == "kafka://10.77.0.14:9092,10.77.0.15:9092,10.77.0.16:9092"
    assert kafka["login"] == "observatory"
    assert kafka["secret_ref"] == "secrets.yml#kafka.users.observatory"
