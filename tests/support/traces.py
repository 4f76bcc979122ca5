"""What a cluster leaves on this machine: all that is there, to compare before and after."""

from __future__ import annotations

import re
import shutil
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from armillary.tools.incus import query, server
from armillary.tools.process import run

DAEMONS = ("incusd", "dnsmasq", "lxcfs", "forkproxy", "forkstart", "lxc")
"""What a program's name begins with that runs for Incus."""
TOOLS = {
    "ansible-playbook",
    "armillary.incus_provider",
    "armillary.tools.terraform_cli",
    "terraform-provider-incus",
}
"""What is among the first words of Terraform's command line, its provider's and Ansible's."""
DATA = "volumes"
"""The kind that `down` keeps."""


@dataclass(frozen=True)
class Traces:
    """What is on this machine, by kind."""

    kinds: Mapping[str, frozenset[str]]

    def of(self, cluster: str) -> dict[str, list[str]]:
        """Return what bears the name of a cluster; kinds with nothing are left out."""
        own = re.compile(rf"(^|[^a-z0-9]){re.escape(cluster)}([^a-z0-9]|$)")
        found = {
            kind: sorted(name for name in names if own.search(name))
            for kind, names in self.kinds.items()
        }
        return {kind: names for kind, names in found.items() if names}

    def more_than(self, before: Traces, cluster: str) -> dict[str, list[str]]:
        """Return what was not there before; kinds with nothing new are left out.

        Where other clusters run they come and go as they like: then only what bears this one's
        name counts.
        """
        new = Traces(
            {
                kind: names - before.kinds.get(kind, frozenset())
                for kind, names in self.kinds.items()
            }
        )
        others = [
            name for name in self.kinds.get("instances", ()) if not name.startswith(f"{cluster}-")
        ]
        if others:
            return new.of(cluster)
        return {kind: sorted(names) for kind, names in new.kinds.items() if names}


def look() -> Traces:
    """Return what is on this machine now."""
    return Traces(
        {
            **_incus(),
            "processes": frozenset(_processes()),
            "mounts": frozenset(
                " ".join(line.split()[:2])
                for line in Path("/proc/self/mounts").read_text().splitlines()
            ),
            "control groups": frozenset(
                str(path) for path in Path("/sys/fs/cgroup").glob("**/lxc.payload.*")
            ),
            "links": frozenset(path.name for path in Path("/sys/class/net").iterdir()),
            "firewall chains": frozenset(_chains()),
            "names": frozenset(Path("/etc/hosts").read_text().splitlines()),
        }
    )


def _incus() -> dict[str, frozenset[str]]:
    if server() is None:
        return {}
    found = {
        "instances": _names("/1.0/instances"),
        "networks": _names("/1.0/networks"),
        "images": frozenset(
            ", ".join(alias["name"] for alias in image["aliases"]) or image["fingerprint"]
            for image in query("/1.0/images?recursion=1")
        ),
    }
    volumes = frozenset(
        volume["name"]
        for pool in query("/1.0/storage-pools?recursion=1") or ()
        for volume in query(f"/1.0/storage-pools/{pool['name']}/volumes/custom?recursion=1")
    )
    return {**found, DATA: volumes}


def _names(path: str) -> frozenset[str]:
    found: list[dict[str, Any]] = query(f"{path}?recursion=1")
    return frozenset(each["name"] for each in found)


def _processes() -> Iterator[str]:
    """Yield the command lines of Incus's programs, of Terraform's and of Ansible's, its connections among them."""
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            words = path.read_bytes().decode(errors="replace").rstrip("\0").split("\0")
        except OSError:
            continue
        programs = {Path(word).name for word in words[:4]}
        connection = words[0].startswith("ssh: ") and words[0].endswith("[mux]")
        daemon = words[0].lstrip("[").rpartition("/")[2].startswith(DAEMONS)
        if connection or daemon or programs & TOOLS:
            yield " ".join(words)


def _chains() -> Iterator[str]:
    if shutil.which("nft") is None:
        return
    listed = run(["nft", "list", "chains"], timeout=30, check=False).stdout
    for line in listed.splitlines():
        if line.strip().startswith("chain "):
            yield line.strip().removesuffix("{").strip()
