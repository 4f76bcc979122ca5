"""The image that guests of the sandbox start from: Debian 12 as a disk, a kernel and an initrd.

Loop devices and a boot loader are not needed: mkfs.ext4 fills the file system, Glance ties the kernel to the disk.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import tempfile
from pathlib import Path

from armillary.images.settings import debian_archives
from armillary.paths import ROOT, cache_home
from armillary.tools import apt, apt_config, mmdebstrap
from armillary.tools.process import run

SOURCE = ROOT / "images" / "guest"
PACKAGES = ("e2fsprogs", "mmdebstrap", "qemu-utils")
SIZE_MIB = 1500
LABEL = "armillary-root"


def key() -> str:
    """Return the content key of the image's recipe (hex, 12 characters)."""
    digest = hashlib.sha256(f"{apt.SUITE} {SIZE_MIB} {LABEL}".encode())
    for name in ("packages.txt", "prepare.sh", "customize.sh"):
        digest.update(b"\0" + (SOURCE / name).read_bytes())
    return digest.hexdigest()[:12]


def files() -> dict[str, str]:
    """Return the key and the paths of the built files."""
    folder = cache_home() / "guest-image" / key()
    return {
        "key": key(),
        "kernel": str(folder / "vmlinuz"),
        "initrd": str(folder / "initrd"),
        "disk": str(folder / "disk.qcow2"),
    }


def ensure() -> bool:
    """Have the image in the cache; return whether it had to be built.

    Raises:
        LookupError: apt knows no Debian archive.
        CommandError: a step of the build failed.
    """
    folder = Path(files()["disk"]).parent
    if folder.is_dir():
        return False
    if missing := apt.missing(PACKAGES):
        apt.update()
        apt.install(missing)
    folder.parent.mkdir(parents=True, exist_ok=True)
    work = Path(tempfile.mkdtemp(prefix=".building-", dir=folder.parent))
    try:
        _build(work)
        os.rename(work, folder)
    finally:
        shutil.rmtree(work, ignore_errors=True)
    return True


def _build(work: Path) -> None:
    tree, raw = work / "root", work / "disk.raw"
    mmdebstrap.tarball(
        tree,
        suite=apt.SUITE,
        packages=(SOURCE / "packages.txt").read_text().split(),
        archives=debian_archives(apt.SUITE),
        apt_options=[option.rstrip(";") for option in apt_config.acquire_options()],
        hooks=[f'{SOURCE / "customize.sh"} "$1" {work}'],
        # A quarter of what a host's first packages take is fetching them, where processors are emulated.
        keep_lists=True,
        early=[f'{SOURCE / "prepare.sh"} "$1"'],
    )
    with raw.open("wb") as stream:
        stream.truncate(SIZE_MIB * 2**20)
    lazy = "lazy_itable_init=1,lazy_journal_init=1"
    run(
        ["mkfs.ext4", "-q", "-F", "-L", LABEL, "-E", lazy, "-m", "1", "-d", str(tree), str(raw)],
        timeout=300,
    )
    shutil.rmtree(tree)
    run(
        ["qemu-img", "convert", "-O", "qcow2", "-c", str(raw), str(work / "disk.qcow2")],
        timeout=600,
    )
    raw.unlink()
