"""A small image, and a cluster's worth of Incus objects that a test leaves no trace of."""

from __future__ import annotations

import io
import json
import os
import signal
import subprocess
import tarfile
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import pytest
from support.waiting import until

from armillary.tools.incus import SOCKET, incus, query
from armillary.tools.process import run

IMAGE = "tfp-tiny"
POOL = "armillary"
MARK = "user.armillary.cluster"

needs_incus = [
    pytest.mark.incus,
    pytest.mark.skipif(
        not os.access(SOCKET, os.R_OK | os.W_OK),
        reason=f"no Incus daemon on {SOCKET}: `invoke up` starts one",
    ),
]

# A shell as init: takes an address by DHCP, and goes down at Incus's SIGPWR.
INIT = """\
#!/bin/busybox sh
trap 'exit 0' PWR
ip link set lo up
udhcpc -i eth0 -s /etc/udhcpc.sh -t 1000 -T 1 -q &
while :; do sleep 3600 & wait $!; done
"""
UDHCPC = """\
#!/bin/busybox sh
if [ "$1" = bound ]; then ip addr add "$ip/$mask" dev "$interface"; fi
if [ "$1" = deconfig ]; then ip link set "$interface" up; fi
"""


@contextmanager
def tiny_image(directory: Path, alias: str = IMAGE) -> Iterator[str]:
    """Have an image of 2 MB that is up in a fraction of a second."""
    machine = run(["uname", "-m"], timeout=5).stdout.strip()
    run(["apt-get", "download", "busybox-static"], timeout=120, cwd=directory)
    (package,) = directory.glob("busybox-static_*.deb")
    run(["dpkg-deb", "-x", str(package), str(directory / "deb")], timeout=30)
    busybox = (directory / "deb/bin/busybox").read_bytes()
    path = directory / f"{alias}.tar.gz"
    with tarfile.open(path, "w:gz", compresslevel=1) as tar:
        metadata = {
            "architecture": machine,
            "creation_date": 1,
            "properties": {"for": alias},
        }
        _add(tar, "metadata.yaml", json.dumps(metadata).encode())
        for name in ("dev", "etc", "proc", "run", "sys", "sbin", "tmp", "mnt", "root"):
            info = tarfile.TarInfo(f"rootfs/{name}")
            info.type, info.mode = tarfile.DIRTYPE, 0o755
            tar.addfile(info)
        _add(tar, "rootfs/bin/busybox", busybox)
        _add(tar, "rootfs/sbin/init", INIT.encode())
        _add(tar, "rootfs/etc/udhcpc.sh", UDHCPC.encode())
        for applet in ("sh", "ip", "udhcpc", "sleep", "cat", "touch", "ls"):
            info = tarfile.TarInfo(f"rootfs/bin/{applet}")
            info.type, info.linkname = tarfile.SYMTYPE, "busybox"
            tar.addfile(info)
    _forget_image(alias)
    incus("image", "import", str(path), "--alias", alias)
    try:
        yield alias
    finally:
        _forget_image(alias)


def _forget_image(alias: str) -> None:
    known = {image["name"]: image["target"] for image in query("/1.0/images/aliases?recursion=1")}
    if alias in known:
        query(f"/1.0/images/{known[alias]}", "DELETE")


def _add(tar: tarfile.TarFile, name: str, content: bytes) -> None:
    info = tarfile.TarInfo(name)
    info.size, info.mode = len(content), 0o755
    tar.addfile(info, io.BytesIO(content))


def instance(name: str) -> dict[str, Any]:
    """Return an instance as Incus has it."""
    found: dict[str, Any] = query(f"/1.0/instances/{name}")
    return found


def volume(name: str) -> dict[str, Any]:
    """Return a custom volume as Incus has it."""
    found: dict[str, Any] = query(f"/1.0/storage-pools/{POOL}/volumes/custom/{name}")
    return found


def named(prefix: str) -> dict[str, dict[str, Any]]:
    """Return all instances, volumes and networks of a cluster, keyed `<kind>/<name>`."""
    found = {
        "instance": query("/1.0/instances?recursion=1"),
        "volume": query(f"/1.0/storage-pools/{POOL}/volumes/custom?recursion=1"),
        "network": query("/1.0/networks?recursion=1"),
    }
    return {
        f"{kind}/{item['name']}": item
        for kind, items in found.items()
        for item in items
        if item["name"].startswith(prefix)
    }


def clean(prefix: str) -> None:
    """Delete whatever of a test cluster is there, whoever made it."""
    assert prefix.startswith("tfp-")
    until(lambda: not _busy(prefix), "Incus finishes what was begun", 60, pause=0.02)
    found = named(prefix)
    for kind in ("instance", "volume", "network"):
        keys = [key for key in found if key.startswith(kind)]
        with ThreadPoolExecutor(8) as pool:
            list(pool.map(lambda key: _delete(key, found[key]), keys))


def _delete(key: str, item: dict[str, Any]) -> None:
    kind, name = key.split("/")
    if kind == "instance":
        if item["status"] != "Stopped":
            query(f"/1.0/instances/{name}/state", "PUT", {"action": "stop", "force": True})
        query(f"/1.0/instances/{name}", "DELETE")
    elif kind == "volume":
        query(f"/1.0/storage-pools/{POOL}/volumes/custom/{name}", "DELETE")
    else:
        query(f"/1.0/networks/{name}", "DELETE")


def _busy(prefix: str) -> bool:
    running = (query("/1.0/operations?recursion=1") or {}).get("running") or []
    return any(f"/{prefix}" in json.dumps(each.get("resources") or {}) for each in running)


@contextmanager
def group(argv: list[str], cwd: Path) -> Iterator[subprocess.Popen[str]]:
    """Run a program as the leader of a process group, which is gone at the end."""
    program = subprocess.Popen(
        argv,
        cwd=cwd,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    )
    try:
        yield program
    finally:
        with suppress(ProcessLookupError):
            os.killpg(program.pid, signal.SIGKILL)
        program.communicate()


def providers(leader: int) -> list[int]:
    """Return the processes of the provider in a process group."""
    found = []
    for entry in Path("/proc").iterdir():
        if not entry.name.isdigit():
            continue
        try:
            command = (entry / "cmdline").read_bytes()
            process_group = os.getpgid(int(entry.name))
        except (OSError, ProcessLookupError):
            continue
        if process_group == leader and b"armillary.incus_provider" in command:
            found.append(int(entry.name))
    return found
