"""What is kept of the sandbox: passwords made once, clouds.yaml files, what it was configured from."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

from armillary.files import read_yaml, write, write_secret
from armillary.paths import ROOT, ClusterPaths, state_home
from armillary.sandbox.container import ADDRESS, EXTERNAL_SUBNET, NAME, SUBNET
from armillary.secrets import new_password

REGION = "RegionOne"
KEYSTONE_PORT = 5000
COMPONENTS = ("keystone", "placement", "glance", "nova", "neutron", "cinder", "swift")
MEMBER = {"cloud": NAME, "project": "armillary", "user": "armillary"}
OTHER = {"cloud": f"{NAME}-other", "project": "neighbour", "user": "neighbour"}
ADMIN = {"cloud": f"{NAME}-admin", "project": "admin", "user": "admin"}
ALONE = ("admin", "member", "other", "rabbitmq", "metadata", "swift_prefix", "swift_suffix")
"""Secrets that belong to no component's own user."""


def sandbox_paths() -> ClusterPaths:
    """Return the sandbox's state directory; it has the layout of a cluster's."""
    return ClusterPaths(state_home() / "sandboxes" / NAME)


def clouds_file(paths: ClusterPaths) -> Path:
    """Return where the entries of those who use the sandbox are."""
    return paths.root / "clouds.yaml"


def admin_clouds_file(paths: ClusterPaths) -> Path:
    """Return where the administrator's entry is."""
    return paths.root / "clouds-admin.yaml"


def ensure_secrets(paths: ClusterPaths) -> dict[str, Any]:
    """Return the sandbox's secrets, making those that are missing; what is there never changes."""
    kept = read_yaml(paths.secrets)["sandbox_secrets"] if paths.secrets.exists() else {}
    wanted: dict[str, Any] = {name: kept.get(name) or new_password() for name in ALONE}
    for kind in ("databases", "users"):
        known = kept.get(kind, {})
        wanted[kind] = {each: known.get(each) or new_password() for each in COMPONENTS}
    write_secret(paths.secrets, yaml.safe_dump({"sandbox_secrets": wanted}))
    return wanted


def write_clouds(paths: ClusterPaths, secrets: Mapping[str, Any]) -> None:
    """Write the two clouds.yaml files, for their owner alone; never the user's own."""
    members = [(MEMBER, secrets["member"]), (OTHER, secrets["other"])]
    write_secret(clouds_file(paths), _clouds(paths, members))
    write_secret(admin_clouds_file(paths), _clouds(paths, [(ADMIN, secrets["admin"])]))


def _clouds(paths: ClusterPaths, accounts: list[tuple[dict[str, str], str]]) -> str:
    entries = {
        account["cloud"]: {
            "auth": {
                "auth_url": f"https://{ADDRESS}:{KEYSTONE_PORT}/v3",
                "username": account["user"],
                "password": password,
                "project_name": account["project"],
                "user_domain_name": "Default",
                "project_domain_name": "Default",
            },
            "cacert": str(paths.pki / "ca.crt"),
            "region_name": REGION,
            "interface": "public",
            "identity_api_version": 3,
        }
        for account, password in accounts
    }
    return yaml.safe_dump({"clouds": entries}, sort_keys=False)


def write_inventory(
    paths: ClusterPaths, *, virt_type: str, gateway: str, guest: Mapping[str, str]
) -> None:
    """Write the inventory of ansible/sandbox/site.yml.

    Args:
        paths: the sandbox's state directory.
        virt_type: `kvm` or `qemu`, as Nova calls them.
        gateway: the address of the first bridge, which resolves names.
        guest: key and files of the guest image.
    """
    external = list(EXTERNAL_SUBNET.hosts())
    variables = {
        "sandbox_address": ADDRESS,
        "sandbox_region": REGION,
        "sandbox_virt_type": virt_type,
        "sandbox_resolver": gateway,
        "sandbox_external": {
            "cidr": str(EXTERNAL_SUBNET),
            "gateway": str(external[0]),
            "start": str(external[99]),
            "end": str(external[198]),
        },
        "sandbox_pki_directory": str(paths.pki),
        "sandbox_clouds_file": str(admin_clouds_file(paths)),
        "sandbox_cloud": ADMIN["cloud"],
        "sandbox_accounts": {"member": MEMBER, "other": OTHER},
        "sandbox_guest": dict(guest),
        "sandbox_unproxied": ",".join([ADDRESS, str(SUBNET)]),
    }
    host = {"ansible_connection": "community.general.incus", "ansible_host": NAME}
    inventory = {"all": {"hosts": {NAME: host}, "vars": variables}}
    write(paths.inventory / "hosts.yml", yaml.safe_dump(inventory, width=1000))


def configured_from(paths: ClusterPaths) -> str:
    """Return the digest of all that the sandbox is configured from."""
    digest = hashlib.sha256()
    modules = ROOT / "ansible" / "plugins" / "modules"
    sources = [*(ROOT / "ansible" / "sandbox").rglob("*"), *modules.glob("*.py")]
    for path in sorted([*sources, paths.secrets, paths.inventory / "hosts.yml"]):
        if path.is_file() and "__pycache__" not in path.parts:
            digest.update(json.dumps([path.name, path.read_text()]).encode())
    return digest.hexdigest()
