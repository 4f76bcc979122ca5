"""What the generated Ansible inventory says of a cluster's hosts and images."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import yaml

from armillary.paths import ClusterPaths


@dataclass(frozen=True)
class InventoryHost:
    """A host, as Ansible knows it."""

    name: str
    role: str
    access_address: str
    """Where this machine reaches it."""
    address: str
    """Where the other hosts reach it."""
    volumes: Mapping[str, Mapping[str, Any]]
    """Name: {mount, kind (`filesystem`, `block` or `nfs`), serial}."""


@dataclass(frozen=True)
class Inventory:
    """A cluster's hosts and what they all share."""

    hosts: Mapping[str, InventoryHost]
    variables: Mapping[str, Any]

    @classmethod
    def read(cls, paths: ClusterPaths) -> Inventory:
        """Read the inventory in a cluster's state directory.

        Raises:
            FileNotFoundError: there is none: the cluster was never configured.
        """
        groups = yaml.safe_load((paths.inventory / "hosts.yml").read_text())["all"]["children"]
        variables = yaml.safe_load((paths.inventory / "group_vars" / "all.yml").read_text())
        hosts = {
            name: InventoryHost(
                name,
                host["armillary_role"],
                host["ansible_host"],
                host["armillary_address"],
                host["armillary_volumes"],
            )
            for group in groups.values()
            for name, host in group.get("hosts", {}).items()
        }
        return cls(dict(sorted(hosts.items())), variables)

    def of_role(self, role: str) -> list[InventoryHost]:
        """Return the hosts of a role (`services`, `control_plane`, `worker`), by name."""
        return [host for host in self.hosts.values() if host.role == role]

    def image(self, name: str) -> str:
        """Return what a pod names an image of images/ by.

        Raises:
            KeyError: the cluster has no image of this name.
        """
        reference: str = self.variables["armillary_images"][name]
        return reference
