"""Facts about the official OpenStack provider, and the project's roots on a provider that serves them."""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import yaml

from armillary import identity
from armillary.models.cluster import Cluster
from armillary.paths import ROOT, ClusterPaths
from armillary.tools.terraform import Event, Plan, PythonProvider, Terraform
from tests.support import facts_provider
from tests.support.facts_provider import Objects

ROOTS = ROOT / "terraform/openstack"
SAMPLE = ROOT / "inventories/openstack/cluster.yml"
KEY = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIJ armillary"
FACTS = ROOT / "tests/contract/openstack-facts.json"
ABOUT = (
    "Facts about the schema of terraform-provider-openstack (https://github.com/"
    "terraform-provider-openstack/terraform-provider-openstack, MPL-2.0): names, types, defaults and "
    "what forces a replacement, of the resources and data sources terraform/openstack uses. "
    "`python -m tests.support.openstack FULL` trims a file of all of them to these."
)
_USED = re.compile(r'^(resource|data) "(openstack_\w+)"', re.MULTILINE)


def used() -> dict[str, set[str]]:
    """Return the types of `resources` and `data_sources` that the roots use."""
    found: dict[str, set[str]] = {"resources": set(), "data_sources": set()}
    for path in ROOTS.glob("*/*.tf"):
        for kind, name in _USED.findall(path.read_text()):
            found["resources" if kind == "resource" else "data_sources"].add(name)
    return found


def trim(full: dict[str, Any]) -> dict[str, Any]:
    """Return the facts about what the roots use."""
    return {
        "about": ABOUT,
        **{key: full[key] for key in ("licence_of_the_provider", "provider", "version")},
        "provider_config": full["provider_config"],
        **{
            kind: {name: full[kind][name] for name in sorted(names)}
            for kind, names in used().items()
        },
    }


def provider(facts: Path, objects: Path) -> PythonProvider:
    """Return what `armillary.tools.terraform.Terraform` takes in place of the real provider.

    Args:
        facts: the file of facts.
        objects: the directory for the objects; made when the first one is.
    """
    source = json.loads(facts.read_text())["provider"]
    return PythonProvider(source, "3.4.0", (facts_provider.__file__, str(facts), str(objects)))


def roots(
    state: Path, objects: Path, on_event: Callable[[Event], None] | None = None
) -> dict[str, Terraform]:
    """Return both roots, with the provider of facts in place of the official one."""
    return {
        root: Terraform(ROOTS / root, state / root, on_event, [provider(FACTS, objects)])
        for root in ("data", "compute")
    }


def furnish(objects: Path) -> None:
    """Put into an empty cloud what a project finds there."""
    cloud = Objects(objects)
    cloud.put("openstack_images_image_v2", {"id": "image-1", "name": "debian-12"})
    cloud.put(
        "openstack_networking_network_v2",
        {"id": "external-1", "name": "public", "external": True, "mtu": 1500},
    )
    cloud.put("openstack_identity_auth_scope_v3", {"id": "scope-1", "project_id": "project-1"})


class World:
    """A cluster.yml, both roots with their states, and a project."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.cloud = Objects(directory / "cloud")
        furnish(directory / "cloud")
        self.events: list[Event] = []
        self.roots = roots(directory / "state", directory / "cloud", self.events.append)
        self.raw: dict[str, Any] = yaml.safe_load(SAMPLE.read_text())
        self.id = identity.cluster_id(ClusterPaths(directory))
        self.more: dict[str, Any] = {}

    @property
    def cluster(self) -> Cluster:
        """What the cluster.yml says now."""
        return Cluster.model_validate(self.raw)

    def variables(self, root: str) -> dict[str, Any]:
        """Return a root's variables, made of cluster.yml as `up` makes them."""
        if root == "data":
            return {
                **self.cluster.terraform_variables("data"),
                "cluster_id": self.id,
                **self.more,
            }
        return {
            **self.cluster.terraform_variables("compute"),
            "cluster_id": self.id,
            "domain": self.cluster.domain,
            "ssh_public_key": KEY,
            "data": {
                name: {"id": f"not-made-{name}", "name": name}
                for name in self.cluster.terraform_variables("data")["volumes"]
            }
            | self.roots["data"].outputs().get("volumes", {}),
            **self.more,
        }

    def plan(self, root: str = "compute", **options: Any) -> Plan:
        """Plan a root."""
        return self.roots[root].plan(self.variables(root), **options)

    def up(self) -> dict[str, Any]:
        """Apply both roots and return the output `cluster`."""
        for root in ("data", "compute"):
            self.roots[root].apply(self.plan(root))
        found: dict[str, Any] = self.roots["compute"].outputs()["cluster"]
        return found

    def one(self, kind: str, name: str) -> dict[str, Any]:
        """Return the object of a name."""
        (found,) = [each for each in self.cloud.all(kind) if each["name"] == name]
        return found

    def made(self) -> list[tuple[str, dict[str, Any]]]:
        """Return all objects that were not there before, with their types."""
        return [
            (directory.name, each)
            for directory in sorted((self.directory / "cloud").iterdir())
            for each in self.cloud.all(directory.name)
            if not each["id"].endswith("-1")
        ]


if __name__ == "__main__":
    text = json.dumps(trim(json.loads(Path(sys.argv[1]).read_text())), indent=1, sort_keys=True)
    FACTS.write_text(text + "\n")
