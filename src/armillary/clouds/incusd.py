"""The Incus daemon of this machine: installed, started, given a storage pool, and stopped."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import time
from collections.abc import Callable
from pathlib import Path

from armillary.tools import apt
from armillary.tools.incus import exists, incus, query, server
from armillary.tools.process import CommandError, run, start_daemon

POOL = "armillary"
DAEMON = Path("/usr/libexec/incus/incusd")
PACKAGES = (
    "attr",
    "btrfs-progs",
    "dnsmasq-base",
    "nftables",
    "squashfs-tools",
)
INCUS = ("incus-base", "incus-client")
"""Containers alone: the package `incus` is these and QEMU with some hundred libraries."""

LOG = Path("/var/log/incus/incus.log")
POOL_FILE = Path("/var/lib/incus/disks") / f"{POOL}.img"
"""What the pool is kept in; it is there while any cluster has data."""
STORAGE_PATH = Path("/var/lib/incus/storage-pools") / POOL
RECORD = Path("/var/lib/incus/armillary.json")
"""Which process is the daemon that Armillary started: beside what it holds, whoever asks from whatever checkout."""


class IncusError(RuntimeError):
    """Incus cannot be had on this machine; the message says why and what to do."""


def install(progress: Callable[[str], None]) -> None:
    """Install Incus and what it needs from Debian, when any of it is missing."""
    needed = apt.missing(PACKAGES)
    wants_incus = apt.missing(INCUS)
    if not needed and not wants_incus:
        return
    progress("installing Incus from Debian")
    if wants_incus and not apt.available(INCUS):
        apt.enable_backports(apt.SUITE)
    apt.update()
    apt.install([*needed, *wants_incus])


def start(progress: Callable[[str], None]) -> None:
    """Have a daemon that answers: systemd's where there is one, else one of our own.

    Raises:
        IncusError: it does not answer within a minute.
    """
    if server() is not None:
        return
    progress("starting the Incus daemon")
    if Path("/run/systemd/system").is_dir():
        run(["systemctl", "start", "incus.service"], timeout=120)
    else:
        pid = start_daemon([str(DAEMON), "--group", "incus-admin"], LOG)
        RECORD.write_text(json.dumps({"pid": pid}))
    try:
        incus("admin", "waitready", "--timeout=60", timeout=70)
    except CommandError as error:
        raise IncusError(
            f"The Incus daemon does not answer. The end of {LOG} says why:\n{_log_tail()}"
        ) from error


def ensure_pool(size_gib: int) -> None:
    """Have the storage pool: a btrfs file system in a sparse file, so that volumes have sizes."""
    if exists(f"/1.0/storage-pools/{POOL}"):
        return
    incus("storage", "create", POOL, "btrfs", f"size={size_gib}GiB", timeout=120)


def ensure_quotas() -> bool:
    """Have the pool's sizes enforced; return whether they were not.

    The kernel marks a file system's quotas inconsistent when a subvolume is deleted that still had numbers, says so in its
    log alone, and from then on lets every volume grow as it likes, until all of it is counted anew:
    https://btrfs.readthedocs.io/en/latest/Qgroups.html
    """
    shown = run(["btrfs", "qgroup", "show", str(STORAGE_PATH)], timeout=60, check=False)
    if "inconsistent" not in shown.stderr:
        return False
    run(["btrfs", "quota", "rescan", "-w", str(STORAGE_PATH)], timeout=1800)
    return True


def started_by_us() -> bool:
    """Tell whether the daemon that runs was started by Armillary, not by systemd or a person."""
    try:
        pid = int(json.loads(RECORD.read_text())["pid"])
        return DAEMON.name in Path(f"/proc/{pid}/cmdline").read_text()
    except (FileNotFoundError, ProcessLookupError, ValueError, KeyError):
        return False


def stop() -> None:
    """End the daemon Armillary started, when nothing uses it any more; its pool stays on disk."""
    if not started_by_us():
        return
    if server() is not None and query("/1.0/instances"):
        return
    pid = int(json.loads(RECORD.read_text())["pid"])
    os.kill(pid, signal.SIGTERM)
    deadline = time.monotonic() + 60
    while Path(f"/proc/{pid}").exists():
        if time.monotonic() > deadline:
            raise IncusError(f"The Incus daemon (process {pid}) did not end within a minute.")
        _reap(pid)
        time.sleep(0.1)
    for mount in reversed(_mounts()):
        run(["umount", mount], timeout=30, check=False)
    RECORD.unlink()


def remove_pool() -> None:
    """Delete the pool with everything in it."""
    if exists(f"/1.0/storage-pools/{POOL}"):
        incus("storage", "delete", POOL, timeout=60)


def custom_volumes() -> list[str]:
    """Return the names of the data volumes the pool holds."""
    if not exists(f"/1.0/storage-pools/{POOL}"):
        return []
    found = query(f"/1.0/storage-pools/{POOL}/volumes/custom?recursion=1")
    return sorted(volume["name"] for volume in found)


def _mounts() -> list[str]:
    lines = Path("/proc/self/mounts").read_text().splitlines()
    return [
        fields[1] for fields in map(str.split, lines) if fields[1].startswith("/var/lib/incus/")
    ]


def _reap(pid: int) -> None:
    """Collect the daemon's exit when it happens to be this process's child."""
    with contextlib.suppress(ChildProcessError):
        os.waitpid(pid, os.WNOHANG)


def _log_tail() -> str:
    try:
        return "\n".join(f"    {line}" for line in LOG.read_text().splitlines()[-20:])
    except FileNotFoundError:
        return f"    ({LOG} does not exist)"
