"""The roots of the cloud `local`, and the wrapper that drives them, against a real Incus."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from armillary.gate import check_plan
from armillary.paths import ROOT
from armillary.tools.incus import exec_in
from armillary.tools.terraform import Event, Plan, Terraform, TerraformError
from tests.contract.incus_lab import (
    MARK,
    clean,
    group,
    instance,
    named,
    needs_incus,
    tiny_image,
    volume,
)

pytestmark = needs_incus

KEY = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIJ armillary"


class Cluster:
    """Both roots of a test cluster."""

    def __init__(self, name: str, image: str, directory: Path) -> None:
        self.name, self.image = name, image
        self.events: list[Event] = []
        self.data, self.compute = (
            Terraform(ROOT / "terraform/local" / root, directory / root, self.events.append)
            for root in ("data", "compute")
        )
        self.volumes = {
            "worker-1-data": {"size_gib": 1, "shared": False},
            "homes": {"size_gib": 1, "shared": True},
        }
        self.hosts = {
            "services-1": self.host("services", 10),
            "worker-1": self.host("worker", 30, data="worker-1-data", homes="homes"),
            "worker-2": self.host("worker", 31, homes="homes"),
        }
        self.more: dict[str, Any] = {}

    def host(self, role: str, slot: int, **volumes: str) -> dict[str, Any]:
        """Return a host as the contract between cluster.yml and the roots has it."""
        return {
            "role": role,
            "slot": slot,
            "flavor": "tiny",
            "cpus": 1,
            "memory_mib": 64,
            "disk_gib": 1,
            "image": self.image,
            "volumes": {k: {"volume": v, "mount": f"/srv/{k}"} for k, v in volumes.items()},
        }

    def data_variables(self) -> dict[str, Any]:
        """Return the variables of the data root."""
        return {"cluster": self.name, "volumes": self.volumes}

    def compute_variables(self) -> dict[str, Any]:
        """Return the variables of the compute root."""
        return {
            "cluster": self.name,
            "network": {"name": "tfp-loc-net", "hosts": "10.89.8.0/24"},
            "ssh_public_key": KEY,
            "data": self.data.outputs().get("volumes", {}),
            "hosts": self.hosts,
            "host_quirks": {"cgroup_v1": True, "in_container": True},
        } | self.more

    def up(self) -> dict[str, Any]:
        """Apply both roots and return the output `cluster`."""
        self.data.apply(self.data.plan(self.data_variables()))
        found: dict[str, Any] = self.compute.apply(self.plan())["cluster"]
        return found

    def plan(self, **options: Any) -> Plan:
        """Plan the compute root."""
        return self.compute.plan(self.compute_variables(), **options)


@pytest.fixture(scope="module")
def image(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with tiny_image(tmp_path_factory.mktemp("image"), "tfp-tiny-local") as alias:
        yield alias


@pytest.fixture
def cluster(image: str, tmp_path: Path) -> Iterator[Cluster]:
    clean("tfp-loc")
    yield Cluster("tfp-loc", image, tmp_path / "state")
    clean("tfp-loc")


def _root_files() -> dict[str, int]:
    files = (ROOT / "terraform/local").rglob("*")
    return {str(path): path.stat().st_mtime_ns for path in files if path.is_file()}


def test_life_of_a_cluster(cluster: Cluster) -> None:
    before = _root_files()
    output = cluster.up()
    assert output["hosts"]["worker-1"] == {
        "role": "worker",
        "address": "10.89.8.30",
        "access_address": "10.89.8.30",
        "zone": None,
        "instance_name": "tfp-loc-worker-1",
        "volumes": {
            name: {"mount": f"/srv/{name}", "kind": "filesystem", "serial": None}
            for name in ("data", "homes")
        },
    }
    assert output["network"]["gateway"] == "10.89.8.1"

    # The address is really the host's, the shared space is one, and a host has its limits.
    shown = exec_in("tfp-loc-worker-2", ["/bin/ip", "-4", "addr", "show", "eth0"]).stdout
    assert "10.89.8.31/24" in shown
    exec_in("tfp-loc-worker-1", ["/bin/touch", "/srv/homes/x"])
    assert exec_in("tfp-loc-worker-2", ["/bin/ls", "/srv/homes"]).stdout.split() == ["x"]
    worker, services = instance("tfp-loc-worker-1"), instance("tfp-loc-services-1")
    assert worker["config"]["limits.memory"] == "64MiB"
    assert worker["config"]["security.privileged"] == "true"
    assert "cgroup:rw:force" in worker["config"]["raw.lxc"]
    assert worker["devices"]["kmsg"]["source"] == "/dev/kmsg"
    assert "security.privileged" not in services["config"]
    assert KEY in worker["config"]["cloud-init.user-data"]
    assert {item["config"][MARK] for item in named("tfp-loc").values()} == {"tfp-loc"}

    # A second run changes nothing, and nothing was written beside the roots or for others to read.
    assert not cluster.plan().has_changes
    assert _root_files() == before
    for path in cluster.compute.directory.rglob("*"):
        if path.is_file() and path.parent == cluster.compute.directory:
            assert path.stat().st_mode & 0o077 == 0, path
    assert cluster.compute.directory.stat().st_mode & 0o777 == 0o700

    # A host gone from cluster.yml is deleted only if that was asked; the same for a volume.
    gone = cluster.hosts.pop("worker-2")
    plan = cluster.plan()
    assert [change.name for change in plan.deletes] == ["tfp-loc-worker-2"]
    assert "tfp-loc-worker-2" in check_plan(plan, set())[0]
    assert check_plan(plan, {'incus_instance.host["worker-2"]'}) == []
    cluster.hosts["worker-2"] = gone
    small = {"homes": cluster.volumes["homes"]}
    data_plan = cluster.data.plan({"cluster": cluster.name, "volumes": small})
    assert "tfp-loc-worker-1-data" in check_plan(data_plan, set())[0]

    # A replacement the user asked for.
    address = 'incus_instance.host["worker-2"]'
    plan = cluster.plan(replace=[address])
    assert [change.address for change in plan.replaces] == [address]
    assert check_plan(plan, set())

    # Down leaves the data, though cluster.yml has been edited into nonsense meanwhile.
    cluster.hosts["worker-2"]["volumes"]["homes"]["volume"] = "no-such-volume"
    cluster.compute.destroy(cluster.compute_variables())
    assert set(named("tfp-loc")) == {"volume/tfp-loc-homes", "volume/tfp-loc-worker-1-data"}
    assert cluster.compute.state_list() == []
    assert volume("tfp-loc-homes")["used_by"] == []
    cluster.data.destroy(cluster.data_variables())
    assert named("tfp-loc") == {}


def _refused(cluster: Cluster, *expected: str) -> None:
    with pytest.raises(TerraformError) as refused:
        cluster.plan()
    said = " ".join(str(refused.value).split())
    assert [message for message in expected if message not in said] == []


def test_wrong_variables_are_all_named(cluster: Cluster) -> None:
    cluster.more = {
        "cluster": "Not A Name",
        "ssh_public_key": "no key",
        "network": {"name": "n" * 16, "hosts": "10.89.8.0"},
    }
    _refused(
        cluster,
        "The name of a cluster is",
        "ssh_public_key is one line",
        "is an IPv4 network",
        "has at most 15 characters",
    )
    cluster.more = {"data": {}}
    cluster.hosts["worker-2"] |= {"slot": 30, "role": "king"}
    cluster.hosts["services-1"]["slot"] = 255
    cluster.hosts["worker-1"]["volumes"]["homes"]["mount"] = "srv"
    _refused(
        cluster,
        "Two hosts have the same slot",
        "lies within network.hosts",
        "A role is services",
        "which the data root has not made",
        "A mount is an absolute path",
    )
    with pytest.raises(TerraformError, match="size_gib is a whole number"):
        cluster.data.plan(
            {"cluster": "tfp-loc", "volumes": {"v": {"size_gib": 0.5, "shared": False}}}
        )
    assert named("tfp-loc") == {}


HOLD = """
import fcntl, sys, time
file = open(sys.argv[1], "r+")
fcntl.lockf(file, fcntl.LOCK_EX)
print("held", flush=True)
time.sleep(3)
"""


def test_killed_runs_leave_no_obstacle(cluster: Cluster) -> None:
    cluster.data.apply(cluster.data.plan(cluster.data_variables()))
    cluster.events.clear()
    state = cluster.data.state_file
    label = state.with_name(f".{state.name}.lock.info")

    # A label alone means nothing; it is taken away, and that is said.
    written = {"Operation": "OperationTypeApply", "Created": "2026-11-23T10:00:00.5Z"}
    label.write_text(json.dumps(written))
    assert not cluster.data.plan(cluster.data_variables()).has_changes
    assert "an earlier run was killed (Apply of 2026-11-23T10:00:00)" in cluster.events[0]
    assert not label.exists()

    # A lock that somebody alive holds is waited for.
    cluster.events.clear()
    label.write_text(json.dumps(written | {"ID": "a-live-one"}))
    with group([sys.executable, "-c", HOLD, str(state)], cluster.data.root) as holder:
        assert holder.stdout is not None
        assert holder.stdout.readline() == "held\n"
        assert not cluster.data.plan(cluster.data_variables()).has_changes
        assert f"process {holder.pid}" in cluster.events[0]

    # A state cut short while it was written is replaced by its backup.
    cluster.events.clear()
    whole = state.read_text()
    state.with_name("terraform.tfstate.backup").write_text(whole)
    state.write_text(whole[: len(whole) // 2])
    assert not cluster.data.plan(cluster.data_variables()).has_changes
    assert "cut short; its backup is used" in cluster.events[0]
