"""The image that hosts of the `local` cloud start from: Debian 12, made with mmdebstrap."""

from __future__ import annotations

import hashlib
import os
import shutil
import tarfile
import tempfile
from collections.abc import Callable
from pathlib import Path

from armillary.bundle import contents
from armillary.clouds.contract import CloudError
from armillary.paths import ROOT, cache_home
from armillary.tools import apt
from armillary.tools.incus import exists, incus, query
from armillary.tools.process import run

ALIAS = "armillary-host"
SOURCE = ROOT / "images" / "host"


def key() -> str:
    """Return the content key of the image's recipe (hex, 12 characters)."""
    templates = sorted((SOURCE / "templates").iterdir())
    return _digest([*_rootfs_sources(), SOURCE / "metadata.yaml", *templates])


def _rootfs_sources() -> list[Path]:
    return [SOURCE / "packages.txt", SOURCE / "customize.sh"]


def _digest(paths: list[Path]) -> str:
    digest = hashlib.sha256()
    for path in paths:
        digest.update(path.name.encode() + b"\0" + path.read_bytes())
    return digest.hexdigest()[:12]


def ensure(progress: Callable[[str], None]) -> None:
    """Have the image in Incus under its alias, building and importing it when it is not.

    Raises:
        CommandError: mmdebstrap, mksquashfs or the import failed.
    """
    wanted = key()
    if exists(f"/1.0/images/aliases/{ALIAS}"):
        target = query(f"/1.0/images/aliases/{ALIAS}")["target"]
        if query(f"/1.0/images/{target}")["properties"].get("armillary.key") == wanted:
            return
        incus("image", "delete", ALIAS)
    folder = build(progress)
    progress("importing the host image into Incus")
    with tempfile.TemporaryDirectory(prefix="armillary-") as scratch:
        metadata = Path(scratch) / "metadata.tar"
        with tarfile.open(metadata, "w") as archive:
            archive.add(SOURCE / "metadata.yaml", "metadata.yaml")
            archive.add(SOURCE / "templates", "templates")
        incus(
            "image",
            "import",
            str(metadata),
            str(folder / "rootfs.squashfs"),
            "--alias",
            ALIAS,
            f"armillary.key={wanted}",
            timeout=300,
        )


def build(progress: Callable[[str], None]) -> Path:
    """Return the directory in the cache with the image's files, made when it is not there.

    Raises:
        CommandError: mmdebstrap or mksquashfs failed.
    """
    folder = cache_home() / "host-image" / _digest(_rootfs_sources())
    if not folder.is_dir():
        if contents.read(cache_home()):
            raise CloudError(f"The image of hosts: {contents.LACKS} {contents.LACKING}")
        _build(folder, progress)
    return folder


def remove() -> None:
    """Take the image out of Incus; the built files stay in the cache."""
    if exists(f"/1.0/images/aliases/{ALIAS}"):
        incus("image", "delete", ALIAS)


def _build(folder: Path, progress: Callable[[str], None]) -> None:
    folder.parent.mkdir(parents=True, exist_ok=True)
    work = Path(tempfile.mkdtemp(prefix=".building-", dir=folder.parent))
    try:
        tree = work / "rootfs"
        packages = ",".join((SOURCE / "packages.txt").read_text().split())
        archives = [
            f"deb {source.uri} {source.suite} main"
            for source in apt.sources()
            if source.suite.startswith(apt.SUITE) and not source.suite.endswith("-backports")
        ]
        progress("building the host image: Debian packages")
        run(
            [
                "mmdebstrap",
                "--quiet",
                "--variant=minbase",
                f"--include={packages}",
                "--aptopt=Apt::Install-Recommends false",
                "--dpkgopt=path-exclude=/usr/share/doc/*",
                f'--customize-hook={SOURCE / "customize.sh"} "$1"',
                apt.SUITE,
                str(tree),
                *archives,
            ],
            timeout=900,
            env={"SOURCE_DATE_EPOCH": "0", "TMPDIR": str(work)},
        )
        progress("building the host image: squashfs")
        run(
            ["mksquashfs", str(tree), str(work / "rootfs.squashfs"), "-comp", "zstd",
             "-Xcompression-level", "3", "-noappend", "-quiet", "-no-progress"],
            timeout=600,
        )  # fmt: skip
        shutil.rmtree(tree)
        os.rename(work, folder)
    finally:
        shutil.rmtree(work, ignore_errors=True)
