"""What makes which unit of `configure` stale."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import yaml
from support.samples import with_kafka

from armillary import secrets
from armillary.inventory import Inventory
from armillary.models.cluster import Cluster
from armillary.paths import ROOT, ClusterPaths
from armillary.stages import units
from armillary.stages.units import BALANCER, IMAGES, PLATFORM

HOSTS = {"services-1", "kafka-1", "control-1", "worker-1"}


@pytest.fixture
def paths(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> ClusterPaths:
    monkeypatch.setenv("ARMILLARY_STATE_HOME", str(tmp_path / "state"))
    found = ClusterPaths.of("units")
    found.make()
    secrets.ensure(found, Cluster.model_validate(with_kafka("local")))
    found.known_hosts.write_text("10.0.0.10 ssh-ed25519 A\n10.0.0.20 ssh-ed25519 B\n")
    return found


@pytest.fixture
def tree(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy of what units are made from."""
    root = tmp_path / "root"
    for name in ("ansible", "charts", "notebooks"):
        shutil.copytree(ROOT / name, root / name)
    monkeypatch.setattr(units, "ROOT", root)
    return root


@pytest.fixture
def inventory() -> Inventory:
    def host(role: str, address: str) -> dict[str, Any]:
        return {"ansible_host": address, "armillary_role": role}

    return Inventory(
        hosts={
            "services-1": host("services", "10.0.0.10"),
            "control-1": host("control_plane", "10.0.0.20"),
            "kafka-1": {**host("kafka", "10.0.0.14"), "armillary_kafka": {"topics": []}},
            "worker-1": host("worker", "10.0.0.30"),
        },
        shared={
            "armillary_services_address": "10.0.0.10",
            "armillary_control_plane_addresses": ["10.0.0.20"],
            "armillary_worker_addresses": ["10.0.0.30"],
            "armillary_images": {"hub": "registry/hub@sha256:1"},
            "armillary_components": {"jupyterhub": {}},
            "armillary_kafka_bootstrap": "10.0.0.14:9092",
            "armillary_domain": "units.armillary.internal",
        },
    )


@pytest.mark.parametrize(
    ("variable", "value", "expected"),
    [
        ("armillary_worker_addresses", ["10.0.0.30", "10.0.0.31"], {BALANCER}),
        ("armillary_images", {"hub": "registry/hub@sha256:2"}, {IMAGES, PLATFORM}),
        ("armillary_components", {"jupyterhub": None}, {PLATFORM}),
        ("armillary_kafka_bootstrap", "10.0.0.15:9092", {PLATFORM}),
        ("armillary_domain", "elsewhere.internal", HOSTS | {PLATFORM}),
    ],
)
def test_a_variable_touches_what_is_made_from_it(
    paths: ClusterPaths, inventory: Inventory, variable: str, value: Any, expected: set[str]
) -> None:
    wanted = units.digests(paths, inventory)
    units.record(paths, wanted, wanted)
    other = replace(inventory, shared={**inventory.shared, variable: value})
    assert set(units.stale(paths, units.digests(paths, other))) == expected


@pytest.mark.parametrize(
    ("file", "expected"),
    [
        ("ansible/roles/base/tasks/configure.yml", HOSTS),
        ("ansible/roles/kubernetes/defaults/main.yml", HOSTS),
        ("ansible/roles/jupyterhub/tasks/configure.yml", {PLATFORM}),
        ("ansible/roles/certificate/tasks/main.yml", HOSTS | {PLATFORM}),
        ("ansible/site.yml", HOSTS | {PLATFORM}),
        ("charts/jupyterhub/values.yaml", {PLATFORM}),
        ("ansible/roles/base/README.md", set()),
    ],
)
def test_a_file_touches_what_reads_it(
    paths: ClusterPaths, inventory: Inventory, tree: Path, file: str, expected: set[str]
) -> None:
    wanted = units.digests(paths, inventory)
    units.record(paths, wanted, wanted)
    with (tree / file).open("a") as stream:
        stream.write("# edited\n")
    assert set(units.stale(paths, units.digests(paths, inventory))) == expected


def test_topics_and_passwords_of_kafka_touch_its_brokers_alone(
    paths: ClusterPaths, inventory: Inventory
) -> None:
    wanted = units.digests(paths, inventory)
    units.record(paths, wanted, wanted)
    broker = {**inventory.hosts["kafka-1"], "armillary_kafka": {"topics": [{"name": "alerts"}]}}
    other = replace(inventory, hosts={**inventory.hosts, "kafka-1": broker})
    assert units.stale(paths, units.digests(paths, other)) == ["kafka-1"]
    kept = yaml.safe_load(paths.secrets.read_text())
    kept["armillary_secrets"]["kafka"]["users"]["observatory"] = "another"
    paths.secrets.write_text(yaml.safe_dump(kept))
    assert units.stale(paths, units.digests(paths, inventory)) == ["kafka-1"]


def test_a_host_that_was_made_anew_is_stale(paths: ClusterPaths, inventory: Inventory) -> None:
    """Its address and its variables are the same; its key is not."""
    wanted = units.digests(paths, inventory)
    units.record(paths, wanted, wanted)
    paths.known_hosts.write_text("10.0.0.10 ssh-ed25519 C\n10.0.0.20 ssh-ed25519 B\n")
    assert units.stale(paths, units.digests(paths, inventory)) == ["services-1"]


def test_a_unit_that_is_gone_is_forgotten(paths: ClusterPaths, inventory: Inventory) -> None:
    """A host that leaves and comes back is configured."""
    wanted = units.digests(paths, inventory)
    units.record(paths, wanted, wanted)
    less = {unit: digest for unit, digest in wanted.items() if unit != "worker-1"}
    units.record(paths, less, [])
    assert units.stale(paths, wanted) == ["worker-1"]
