"""Write a bundle."""

from __future__ import annotations

import hashlib
import os
import platform
import sys
import tarfile
from collections.abc import Callable, Iterator
from importlib.metadata import version
from pathlib import Path
from tempfile import TemporaryDirectory

from armillary.artifacts import archive_binaries
from armillary.bundle import packages, wheels
from armillary.bundle.contents import FILE, HOSTS, MACHINE, Contents, Kind, Member, recipes
from armillary.clouds import builder
from armillary.clouds.contract import Cloud
from armillary.files import read_yaml, write
from armillary.models.cluster import Cluster
from armillary.paths import ROOT
from armillary.supply import Supply
from armillary.tools.process import run

Say = Callable[[str], None]
INSTALLER = Path(__file__).with_name("install.sh")


def pack(cluster: Cluster, cloud: Cloud, supply: Supply, target: Path, say: Say) -> Contents:
    """Write all that a cluster needs, and Armillary itself, to one tar file; build what is not in the cache.

    Args:
        cluster: what it is for.
        cloud: its cloud.
        supply: its binaries and images.
        target: the file; it appears by one rename, with its digest in a file beside it.
        say: told what is being done.

    Raises:
        BundleError, CloudError: some of it cannot be had.
        ArtifactError, ImageError: some of it cannot be built.
    """
    with TemporaryDirectory(prefix=f".{target.name}-", dir=target.parent) as name:
        scratch = Path(name)
        keys, files = _gathered(supply, say)
        carried = cloud.carried(scratch, say)
        for place, folder in carried.folders.items():
            files |= _walk(folder, place)
        for part, wanted in (
            (MACHINE, [*builder.COPYING, *carried.packages]),
            (HOSTS, host_packages() if carried.for_hosts else []),
        ):
            if wanted:
                files |= _debian(part, wanted, scratch / part.replace("/", "-"), say)
        wheels.download(scratch / "wheels", say)
        files |= _walk(scratch / "wheels", "wheels")
        files["checkout.tar"] = _checkout(scratch / "checkout.tar")
        files["install.sh"] = INSTALLER
        say("taking every file's digest")
        contents = Contents(
            made_by=version("armillary"),
            recipes=recipes(ROOT),
            machine=platform.machine(),
            python=f"{sys.version_info.major}.{sys.version_info.minor}",
            cluster=cluster.name,
            cloud=cluster.cloud,
            keys=keys,
            files={place: _member(path) for place, path in sorted(files.items())},
        )
        (scratch / FILE).write_text(contents.model_dump_json(indent=1) + "\n")
        say(f"writing {target}")
        _write(scratch / "whole.tar", scratch / FILE, files, contents)
        with (scratch / "whole.tar").open("rb") as whole:
            digest = hashlib.file_digest(whole, "sha256").hexdigest()
        (scratch / "whole.tar").rename(target)
        write(target.with_name(f"{target.name}.sha256"), f"{digest}  {target.name}\n")
    return contents


def host_packages() -> list[str]:
    """Return the Debian packages that roles install: their defaults `<role>_packages`, `<role>_..._packages`."""
    found = set()
    for defaults in sorted((ROOT / "ansible" / "roles").glob("*/defaults/main.yml")):
        for name, value in (read_yaml(defaults) or {}).items():
            if name.startswith(defaults.parents[1].name) and name.endswith("_packages"):
                found |= set(value)
    return sorted(found)


def _gathered(supply: Supply, say: Say) -> tuple[dict[Kind, dict[str, str]], dict[str, Path]]:
    """Return the keys of all artifacts and images, and their files; an artifact's binaries in its archive."""
    keys: dict[Kind, dict[str, str]] = {"artifacts": {}, "images": {}}
    files: dict[str, Path] = {}
    for built in supply.artifacts(say):
        archive = archive_binaries(built)
        keys["artifacts"][built.name] = built.key
        for path in (archive, archive.with_name("manifest.json")):
            files[f"artifacts/{built.name}/{built.key}/{path.name}"] = path
    for image in supply.images(say):
        folder = image.layout.parent.name
        keys["images"][folder] = image.key
        files |= _walk(image.layout, f"images/{folder}/{image.key}")
    return keys, files


def _debian(part: str, wanted: list[str], scratch: Path, say: Say) -> dict[str, Path]:
    """Return the files of an archive of Debian packages: a folder, or where hosts are to have it, a tar of it."""
    scratch.mkdir()
    packages.download(wanted, scratch / "archive", scratch, say)
    if not part.endswith(".tar"):
        return _walk(scratch / "archive", part)
    with tarfile.open(scratch / "archive.tar", "w") as tar:
        # The index last: where it is, all is there.
        for path in sorted((scratch / "archive").iterdir(), key=lambda one: one.name == "Packages"):
            tar.add(path, path.name, filter=_plain)
    return {part: scratch / "archive.tar"}


def _checkout(target: Path) -> Path:
    """Write the files of this checkout to a tar, but for what git is told to leave alone."""
    listed = run(
        ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
        cwd=ROOT,
        timeout=60,
    ).stdout
    with tarfile.open(target, "w") as tar:
        for name in sorted(filter(None, listed.split("\0"))):
            if (ROOT / name).exists():
                tar.add(ROOT / name, name, filter=_plain)
    return target


def _write(target: Path, head: Path, files: dict[str, Path], contents: Contents) -> None:
    """Write the tar, bundle.json first; what is there twice, such as layers, is written once."""
    written: dict[str, str] = {}
    with tarfile.open(target, "w") as tar:
        tar.add(head, FILE, filter=_plain)
        # What one unpacks by hand comes first.
        for place in sorted(
            files, key=lambda one: (not one.startswith(("install", "checkout", "wheels")), one)
        ):
            member = _plain(tar.gettarinfo(files[place], place))
            if first := written.get(contents.files[place].sha256):
                member.type, member.linkname, member.size = tarfile.LNKTYPE, first, 0
                tar.addfile(member)
                continue
            written[contents.files[place].sha256] = place
            # gettarinfo takes a second name of a file for a link to the first.
            member.type, member.linkname = tarfile.REGTYPE, ""
            member.size = contents.files[place].size
            with files[place].open("rb") as content:
                tar.addfile(member, content)


def _plain(member: tarfile.TarInfo) -> tarfile.TarInfo:
    """Take out whose a file was and when."""
    member.uid = member.gid = member.mtime = 0
    member.uname = member.gname = "root"
    member.mode = 0o755 if member.mode & 0o100 else 0o644
    return member


def _member(path: Path) -> Member:
    with path.open("rb") as file:
        return Member(
            sha256=hashlib.file_digest(file, "sha256").hexdigest(), size=path.stat().st_size
        )


def _walk(folder: Path, place: str) -> dict[str, Path]:
    """Return the files of a directory by their places below another; links are followed."""
    return {f"{place}/{path.relative_to(folder)}": path for path in sorted(_files(folder))}


def _files(folder: Path) -> Iterator[Path]:
    # Terraform's providers are links to directories, which rglob does not follow.
    for directory, _, names in os.walk(folder, followlinks=True):
        yield from (Path(directory) / name for name in names if not name.startswith("."))
