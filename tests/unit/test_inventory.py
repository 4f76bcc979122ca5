"""What hosts are told of each other."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from armillary.clouds import cloud_of
from armillary.config import load_cluster
from armillary.inventory import Inventory
from armillary.inventory import inventory as generate
from armillary.paths import ROOT, ClusterPaths

SERVER = "10.77.0.10"
EXPORT = "/var/lib/armillary/exports/homes"


def inventory(tmp_path: Path, *workers: str) -> Inventory:
    """Return the inventory of the sample, by an output of Terraform as the roots give it."""

    def host(role: str, address: str, **volumes: Any) -> dict[str, Any]:
        return {"role": role, "address": address, "access_address": address, "volumes": volumes}

    home = {"kind": "nfs", "mount": "/srv/shared", "server": SERVER, "export": EXPORT}
    exported = {"kind": "block", "mount": EXPORT, "server": None, "export": EXPORT}
    hosts = {
        "services-1": host("services", SERVER, homes=exported),
        "control-1": host("control_plane", "10.77.0.20", homes=home),
        **{
            f"worker-{number}": host("worker", address, homes=home)
            for number, address in enumerate(workers, 1)
        },
    }
    cluster = load_cluster(ROOT / "inventories/openstack/cluster.yml")
    paths = ClusterPaths(tmp_path)
    return generate(paths, cluster, cloud_of(cluster, paths), {"hosts": hosts}, {}, {})


def test_a_space_is_exported_to_each_host_that_mounts_it(tmp_path: Path) -> None:
    hosts = inventory(tmp_path, "10.77.0.30", "10.77.0.31").hosts
    assert hosts["services-1"]["armillary_nfs_clients"] == [
        "10.77.0.20",
        "10.77.0.30",
        "10.77.0.31",
    ]
    assert hosts["worker-1"]["armillary_nfs_clients"] == []


def test_of_a_worker_more_the_server_hears_and_no_other_host(tmp_path: Path) -> None:
    one = inventory(tmp_path, "10.77.0.30").hosts
    two = inventory(tmp_path, "10.77.0.30", "10.77.0.31").hosts
    assert [name for name in one if one[name] != two[name]] == ["services-1"]
