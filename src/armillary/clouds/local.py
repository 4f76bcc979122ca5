"""The `local` cloud: Incus instances on the machine Armillary is typed on."""

from __future__ import annotations

import os
import re
import shutil
import socket
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from armillary.clouds import builder, host_image, hosts_file, incusd
from armillary.clouds.contract import Carried, CloudError, Root, Say, Thing
from armillary.models.cluster import Cluster
from armillary.models.report import Check
from armillary.paths import ClusterPaths
from armillary.tools.incus import exec_in, exists, installed, query, server
from armillary.tools.process import CommandError, run

DISK_GIB = 30
GROWTH_GIB = 5
"""What a cluster that was there before may grow by: what it holds is no longer free."""
MEMORY_GIB = 8
BOOT_SECONDS = 90
_OF_CLUSTER = re.compile(r" of ([a-z][a-z0-9-]*)$")
"""How the descriptions end that terraform/local gives."""


class Local:
    """Incus system containers as hosts."""

    name = "local"
    host_resource = "incus_instance"

    def preflight(self, cluster: Cluster | None = None) -> list[Check]:
        """Check root, the release, disk, memory and the kernel."""
        release = _os_release()
        free = shutil.disk_usage(_existing(Path("/var/lib/incus"))).free / 2**30
        wanted = GROWTH_GIB if incusd.POOL_FILE.exists() else DISK_GIB
        memory = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") / 2**30
        filesystems = Path("/proc/filesystems").read_text().split()
        return [
            Check(
                name="root",
                ok=os.geteuid() == 0,
                detail="The local cloud installs packages and runs containers: run this as root.",
            ),
            Check(
                name="release",
                ok=(release.get("ID"), release.get("VERSION_ID")) == ("debian", "12"),
                detail=f"This is {release.get('PRETTY_NAME', 'an unknown system')}; the local cloud "
                "needs Debian 12. Use such a machine, or `--cloud openstack`.",
            ),
            Check(
                name="disk",
                ok=free >= wanted,
                detail=f"{free:.0f} GiB are free under /var/lib; {wanted} GiB are needed. Free some.",
            ),
            Check(
                name="memory",
                ok=memory >= MEMORY_GIB - 0.5,
                detail=f"This machine has {memory:.0f} GiB of memory; {MEMORY_GIB} GiB are needed.",
            ),
            Check(
                name="kernel",
                ok={"overlay", "btrfs"} <= set(filesystems) or _loadable("overlay", "btrfs"),
                detail="The kernel has no overlay or btrfs file system; use Debian's own kernel.",
            ),
        ]

    def prepare(self, say: Say) -> bool:
        """Install and start Incus, make the storage pool and the host image."""
        changed = False

        def tell(doing: str) -> None:
            nonlocal changed
            changed = True
            say(doing)

        try:
            builder.install(tell)
            incusd.install(tell)
            incusd.start(tell)
            free = shutil.disk_usage(_existing(Path("/var/lib/incus"))).free
            incusd.ensure_pool(max(20, int(free / 2**30 * 0.8)))
            if incusd.ensure_quotas():
                tell("counted anew what each volume holds")
            host_image.ensure(tell)
        except (CommandError, incusd.IncusError) as error:
            raise CloudError(str(error)) from error
        return changed

    def carried(self, scratch: Path, say: Say) -> Carried:
        """Return Incus and the image of hosts."""
        folder = host_image.build(say)
        return Carried(
            packages=(*incusd.PACKAGES, *incusd.INCUS),
            for_hosts=False,
            folders={f"host-image/{folder.name}": folder},
        )

    def wake(self, say: Say) -> None:
        """Start the daemon where it is installed."""
        if not installed():
            raise CloudError("Incus is not installed on this machine: there is no cluster here.")
        try:
            incusd.start(say)
        except (CommandError, incusd.IncusError) as error:
            raise CloudError(str(error)) from error

    def ready(self) -> bool:
        return server() is not None

    def identity(self) -> dict[str, str]:
        """Return the fingerprint of this machine's Incus daemon."""
        found = server()
        if found is None:
            raise CloudError("Incus does not answer on this machine; `invoke up` starts it.")
        return {
            "cloud": self.name,
            "certificate": found["environment"]["certificate_fingerprint"],
            "machine": socket.gethostname(),
        }

    def mark(self, paths: ClusterPaths) -> str | None:
        """Return the cluster's name: this machine's clusters have no other project to share."""
        return paths.root.name

    def things(self) -> list[Thing]:
        """Ask the daemon; where none runs there are only volumes, and those belong to no run."""
        if server() is None:
            return []
        pool = f"/1.0/storage-pools/{incusd.POOL}"
        lists = {
            "instance": ("/1.0/instances?recursion=1", False),
            "network": ("/1.0/networks?recursion=1", False),
        }
        try:
            if exists(pool):
                lists["storage volume"] = (f"{pool}/volumes/custom?recursion=1", True)
            return [
                Thing(kind, each["name"], each["name"], found.group(1), lasting=lasting)
                for kind, (path, lasting) in lists.items()
                for each in sorted(query(path), key=lambda one: str(one["name"]))
                if (found := _OF_CLUSTER.search(each["description"]))
            ]
        except CommandError as error:
            raise CloudError(f"Incus cannot say what there is: {error}") from error

    def variables(self, paths: ClusterPaths, root: Root) -> dict[str, Any]:
        return {"host_quirks": self.quirks()} if root == "compute" else {}

    def advice(self, wrong: str) -> str:
        """Return nothing: Incus says what to do."""
        return ""

    def object_store(self, data: Mapping[str, Any]) -> None:
        """Return None: there is none."""

    def empty(self, container: str, say: Say) -> None:
        """Nothing to do: there is no object store."""

    def quirks(self) -> dict[str, bool]:
        """Return what this kernel and its control groups ask of the hosts."""
        return {
            "in_container": True,
            "cgroup_v1": not Path("/sys/fs/cgroup/cgroup.controllers").exists(),
            "restrict_oom_score_adj": not _has_capability(24),
            "no_conntrack_tuning": True,
        }

    def host_keys(self, hosts: Mapping[str, Any], say: Say) -> dict[str, str]:
        """Read each host's key through Incus, which needs no network to trust."""
        keys: dict[str, str] = {}
        deadline = time.monotonic() + BOOT_SECONDS
        command = "systemctl is-active -q ssh && cat /etc/ssh/ssh_host_ed25519_key.pub"
        while missing := sorted(set(hosts) - set(keys)):
            say(f"waiting for ssh on {', '.join(missing)}")
            for name in missing:
                try:
                    shown = exec_in(hosts[name]["instance_name"], ["sh", "-c", command], timeout=20)
                except CommandError:
                    continue
                keys[name] = " ".join(shown.stdout.split()[:2])
            if time.monotonic() > deadline:
                raise CloudError(
                    f"{', '.join(missing)} did not start ssh within {BOOT_SECONDS} s. "
                    f"See `incus console --show-log {hosts[missing[0]]['instance_name']}`."
                )
            if missing and len(keys) < len(hosts):
                time.sleep(0.3)
        return keys

    def halt(self, hosts: Mapping[str, Any], say: Say) -> None:
        """Nothing to do: volumes are directories of this machine, which go on without the host."""

    def publish_names(self, cluster: Cluster, address: str) -> list[str]:
        """Keep a marked block of names in this machine's /etc/hosts."""
        return hosts_file.publish(cluster, address)

    def withdraw_names(self, cluster: Cluster) -> None:
        hosts_file.withdraw(cluster)

    def tidy(self, *, data: bool) -> None:
        """Stop the daemon when no instance is left; with `data`, remove an empty pool as well."""
        if server() is None:
            return
        if query("/1.0/instances"):
            return
        host_image.remove()
        if data and not incusd.custom_volumes():
            incusd.remove_pool()
        incusd.stop()


def _os_release() -> dict[str, str]:
    lines = Path("/etc/os-release").read_text().splitlines()
    pairs = (line.split("=", 1) for line in lines if "=" in line)
    return {key: value.strip('"') for key, value in pairs}


def _existing(path: Path) -> Path:
    while not path.exists():
        path = path.parent
    return path


def _loadable(*modules: str) -> bool:
    return all(
        run(["modprobe", "--dry-run", module], timeout=10, check=False).returncode == 0
        for module in modules
    )


def _has_capability(number: int) -> bool:
    """Tell whether this process may hand on a Linux capability (24: CAP_SYS_RESOURCE)."""
    status = Path("/proc/self/status").read_text().splitlines()
    bounding = next(line.split()[1] for line in status if line.startswith("CapBnd"))
    return bool(int(bounding, 16) >> number & 1)
