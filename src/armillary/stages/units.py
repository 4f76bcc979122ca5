"""What each unit of `configure` is made from, and what it was last made from, as digests.

A unit is one host, the list that the balancer forwards to, the images in the registry, or the platform on top of Kubernetes.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from armillary import secrets
from armillary.files import read_yaml, write
from armillary.inventory import Inventory
from armillary.paths import ROOT, ClusterPaths

IMAGES = "images"
PLATFORM = "platform"
BALANCER = "balancer"
BALANCER_ONLY = ("armillary_worker_addresses",)
"""What only the balancer is configured from: a worker more must not touch the hosts that are there."""
PLATFORM_ONLY = (
    *("armillary_images", "armillary_components", "armillary_prefetch"),
    *("armillary_object_store", "armillary_kafka_bootstrap"),
)
"""What no host is configured from."""
SECRETS = {
    "services": ("registry", "backup", "object_store", "own_object_store"),
    "kafka": ("kafka",),
    "control_plane": ("registry",),
    "worker": ("registry",),
}
"""Which of the cluster's secrets a host is configured from, by its role."""


def digests(paths: ClusterPaths, inventory: Inventory) -> dict[str, str]:
    """Return what each unit would be configured from: one SHA-256 (hex) a unit."""
    shared = inventory.shared
    for_hosts, for_platform = _playbooks()
    charts = _digest_of_files(_files(ROOT / "charts", ROOT / "notebooks"))
    kept = secrets.load(paths)
    keys = _host_keys(paths)
    on_platform = {key: value for key, value in shared.items() if key not in BALANCER_ONLY}
    on_hosts = {key: value for key, value in on_platform.items() if key not in PLATFORM_ONLY}
    found = {
        name: _digest(
            for_hosts,
            host,
            on_hosts,
            {each: kept.get(each) for each in SECRETS[host["armillary_role"]]},
            keys.get(host["ansible_host"]),
        )
        for name, host in inventory.hosts.items()
    }
    found[BALANCER] = _digest([shared[key] for key in BALANCER_ONLY])
    found[IMAGES] = _digest(shared["armillary_images"], shared["armillary_services_address"])
    opened = [(kept.get(each) or {}).get("s3") for each in ("object_store", "own_object_store")]
    planes = [keys.get(address) for address in shared["armillary_control_plane_addresses"]]
    found[PLATFORM] = _digest(for_platform, charts, on_platform, kept["jupyterhub"], opened, planes)
    return found


def _playbooks() -> tuple[str, str]:
    """Return the digests of what Ansible reads on hosts, and for the platform.

    A role that site.yml has only on one side counts there alone; what roles include counts on both.
    """
    plays = read_yaml(ROOT / "ansible" / "site.yml")
    named: dict[bool, set[Path]] = {True: set(), False: set()}
    for play in plays:
        roles = {ROOT / "ansible" / "roles" / role["role"] for role in play["roles"]}
        named[play["tags"] == [PLATFORM]] |= roles
    files = _files(ROOT / "ansible")

    def without(roles: set[Path]) -> str:
        return _digest_of_files([path for path in files if roles.isdisjoint(path.parents)])

    return without(named[True] - named[False]), without(named[False] - named[True])


def _host_keys(paths: ClusterPaths) -> dict[str, str]:
    """Return each address's ssh host key: a host that was made anew has a new one."""
    try:
        lines = paths.known_hosts.read_text().splitlines()
    except FileNotFoundError:
        return {}
    return dict(line.split(" ", 1) for line in lines if " " in line)


def stale(paths: ClusterPaths, wanted: Mapping[str, str]) -> list[str]:
    """Return the units that were last configured from something else, or never."""
    recorded = _recorded(paths)
    return [unit for unit, digest in wanted.items() if recorded.get(unit) != digest]


def record(paths: ClusterPaths, wanted: Mapping[str, str], units: Iterable[str]) -> None:
    """Note that these units are done, and forget hosts that are gone."""
    recorded = _recorded(paths) | {unit: wanted[unit] for unit in units}
    kept = {unit: digest for unit, digest in recorded.items() if unit in wanted}
    write(_file(paths), json.dumps(kept, indent=2, sort_keys=True) + "\n")


def forget(paths: ClusterPaths) -> None:
    """Forget every unit."""
    _file(paths).unlink(missing_ok=True)


def _recorded(paths: ClusterPaths) -> dict[str, str]:
    try:
        found: dict[str, str] = json.loads(_file(paths).read_text())
    except (FileNotFoundError, ValueError):
        return {}
    return found


def _file(paths: ClusterPaths) -> Path:
    return paths.root / "configured.json"


def _files(*roots: Path) -> list[Path]:
    return sorted(
        path
        for root in roots
        for path in root.rglob("*")
        if path.is_file() and "__pycache__" not in path.parts and path.suffix != ".md"
    )


def _digest_of_files(paths: Sequence[Path]) -> str:
    digest = hashlib.sha256()
    for path in paths:
        digest.update(str(path.relative_to(ROOT)).encode() + b"\0" + path.read_bytes() + b"\0")
    return digest.hexdigest()


def _digest(*parts: Any) -> str:
    return hashlib.sha256(json.dumps(parts, sort_keys=True, default=str).encode()).hexdigest()
