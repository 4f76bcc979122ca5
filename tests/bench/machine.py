"""The machine that is measured on: what it is, and how much of its memory a cluster takes."""

from __future__ import annotations

import os
import platform
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from armillary.artifacts.manifest import load_manifest
from armillary.paths import ROOT, cache_home
from armillary.tools.incus import instances, query, server
from armillary.tools.process import run

GIB = 2**30
CGROUPS = Path("/sys/fs/cgroup")
SHARED = ("incusd", "dnsmasq", "lxcfs")
"""Programs outside the instances that run for them."""


def machine() -> dict[str, str]:
    """Return what the machine is, for people."""
    model = next(
        (
            line.partition(":")[2].strip()
            for line in Path("/proc/cpuinfo").read_text().splitlines()
            if line.startswith("model name")
        ),
        platform.machine(),
    )
    load = os.getloadavg()[0]
    memory = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") / GIB
    return {
        "processors": f"{len(os.sched_getaffinity(0))} of {model}",
        "memory": f"{memory:.0f} GiB",
        "kernel": platform.release(),
        "load before": f"{load:.1f}",
    }


def versions() -> dict[str, str]:
    """Return the versions of what is measured."""
    found = server()
    artifacts = {entry.name: entry.version for entry in load_manifest(ROOT).artifacts}
    incus = found["environment"]["server_version"] if found else "not installed before"
    return {
        "Kubernetes": artifacts["kubernetes"],
        "containerd": artifacts["containerd"],
        "Incus": incus,
        "Python": platform.python_version(),
    }


def commit() -> str:
    """Return the commit that is checked out, with `+` where files differ from it."""
    done = run(["git", "describe", "--always", "--dirty=+"], timeout=20, cwd=ROOT, check=False)
    return done.stdout.strip() or "unknown"


@contextmanager
def empty_caches() -> Iterator[dict[str, str]]:
    """Yield the environment of commands that find nothing built before, on the disk that the caches are on."""
    place = cache_home().parent
    place.mkdir(parents=True, exist_ok=True)
    caches = Path(tempfile.mkdtemp(prefix="bench-", dir=place))
    try:
        yield {"ARMILLARY_CACHE_HOME": str(caches)}
    finally:
        shutil.rmtree(caches, ignore_errors=True)


def memory_of(cluster: str) -> dict[str, float]:
    """Return GiB by instance and program, page cache excepted, which the kernel gives back."""
    found = {each["name"]: _of_instance(each["name"]) / GIB for each in instances(f"{cluster}-")}
    for program in SHARED:
        found[program] = sum(_resident(program)) / GIB
    return found


def _of_instance(name: str) -> int:
    """Return the bytes of an instance's control group: all but the cache, with shared memory."""
    pid = query(f"/1.0/instances/{name}/state")["pid"]
    for line in Path(f"/proc/{pid}/cgroup").read_text().splitlines():
        number, controllers, path = line.split(":", 2)
        payload = next(part for part in path.split("/") if part.startswith("lxc.payload."))
        if "memory" in controllers.split(","):
            directory = CGROUPS / "memory" / payload
            stat = _numbers(directory / "memory.stat")
            usage = int((directory / "memory.usage_in_bytes").read_text())
            return usage - stat["total_cache"] + stat.get("total_shmem", 0)
        if number == "0" and (CGROUPS / payload / "memory.current").exists():
            stat = _numbers(CGROUPS / payload / "memory.stat")
            usage = int((CGROUPS / payload / "memory.current").read_text())
            return usage - stat["file"] + stat["shmem"]
    raise RuntimeError(f"{name} (process {pid}) has no control group for memory")


def _numbers(path: Path) -> dict[str, int]:
    lines = (line.split() for line in path.read_text().splitlines())
    return {key: int(value) for key, value in lines}


def _resident(program: str) -> Iterator[int]:
    for path in Path("/proc").glob("[0-9]*/status"):
        try:
            fields = dict(line.split(":\t", 1) for line in path.read_text().splitlines())
        except (OSError, ValueError):
            continue
        if fields.get("Name") == program and "VmRSS" in fields:
            yield int(fields["VmRSS"].split()[0]) * 1024
