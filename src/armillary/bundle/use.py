"""Unpack a bundle, and have everything taken from it."""

from __future__ import annotations

import hashlib
import json
import os
import platform
import shutil
import tarfile
from collections.abc import Callable
from pathlib import Path

from armillary.building import locked, replacing
from armillary.bundle import contents
from armillary.bundle.contents import (
    FILE,
    HOSTS,
    MACHINE,
    BundleError,
    Contents,
    Member,
)
from armillary.files import write
from armillary.models.cluster import Cluster
from armillary.paths import ROOT, ClusterPaths, all_clusters, cache_home

Say = Callable[[str], None]
NONE = "none"
"""In place of a file: use no bundle any more."""
_LEFT = ("checkout.tar", "install.sh", "wheels/")
"""What is for install.sh alone."""
_CHUNK = 1 << 20
_APT = """\
Dir::Etc::SourceList "{directory}/sources.list";
Dir::Etc::SourceParts "/dev/null";
Dir::State::Lists "{directory}/lists";
APT::Sandbox::User "root";
"""
_TERRAFORM = """\
provider_installation {{
  filesystem_mirror {{
    path = {path}
  }}
}}
"""


def choose(cluster: Cluster, paths: ClusterPaths, asked: str | None, say: Say) -> None:
    """Have everything taken from the bundle that is asked for, or was last; of none, from networks.

    Args:
        cluster: what it is for.
        paths: its state directory, which remembers.
        asked: a bundle's file, `none`, or None for what it was last.
        say: told what is being done.

    Raises:
        BundleError: it cannot be used.
    """
    if asked == NONE:
        paths.bundle.unlink(missing_ok=True)
    elif asked is not None:
        home = _unpack(Path(asked), cluster, say)
        paths.make()
        write(paths.bundle, f"{home}\n")
        _sweep(home.parent)
    if not paths.bundle.exists():
        return
    home = Path(paths.bundle.read_text().strip())
    if contents.read(home) is None:
        raise BundleError(
            f"The bundle of cluster {paths.root.name} was unpacked in {home}, and is gone. Give "
            "`--bundle FILE` again, or `--bundle none` where networks can be reached."
        )
    os.environ["ARMILLARY_CACHE_HOME"] = str(home)
    os.environ["APT_CONFIG"] = str(home / "apt.conf")
    if (home / "providers").is_dir():
        os.environ["TF_CLI_CONFIG_FILE"] = str(home / "terraform.rc")


def host_packages() -> dict[str, str]:
    """Return the archive of Debian packages for hosts and what tells it from others; empty where there is none."""
    found = contents.read(cache_home())
    if found is None or HOSTS not in found.files:
        return {}
    return {"archive": str(cache_home() / HOSTS), "id": found.files[HOSTS].sha256[:16]}


def _unpack(file: Path, cluster: Cluster, say: Say) -> Path:
    """Return the directory into which a bundle is unpacked, and unpack it when it is not."""
    cache = cache_home()
    bundles = cache.parent if (cache / FILE).exists() else cache / "bundles"
    try:
        with tarfile.open(file) as tar:
            first = tar.next()
            head = tar.extractfile(first) if first and first.name == FILE else None
            if head is None:
                raise BundleError(f"{file} is no bundle: it does not begin with {FILE}.")
            found = contents.parse(head.read().decode(), file)
            _check(found, file, cluster)
            home = bundles / found.id
            bundles.mkdir(parents=True, exist_ok=True)
            with locked(bundles / ".lock", lambda: say("another run unpacks a bundle")):
                if not home.is_dir():
                    with replacing(home) as staging:
                        _extract(tar, found, staging, file, say)
                        (staging / FILE).write_text(found.model_dump_json(indent=1) + "\n")
                        _settle(found, staging, home)
    except (OSError, tarfile.TarError, EOFError) as error:
        raise BundleError(
            f"{file} cannot be read as a bundle: {error}. Copy it anew; `sha256sum --check "
            f"{file}.sha256` tells whether a copy is whole."
        ) from error
    return home


def _check(found: Contents, file: Path, cluster: Cluster) -> None:
    """Refuse a bundle that is for something else, before any of it is unpacked."""
    if found.machine != platform.machine():
        raise BundleError(f"{file} is for {found.machine}; this machine is {platform.machine()}.")
    if found.recipes != contents.recipes(ROOT):
        raise BundleError(
            f"{file} was made by another version of Armillary ({found.made_by}): what is built differs. Use the "
            f"checkout in it (`tar -xOf {file} install.sh | sh -s {file}`), or make the bundle anew with this one."
        )
    if found.cloud != cluster.cloud:
        raise BundleError(
            f"{file} is for clusters on `{found.cloud}`; {cluster.name} is on `{cluster.cloud}`. Make one with "
            "`invoke bundle --cluster` and this cluster.yml."
        )


def _extract(tar: tarfile.TarFile, found: Contents, target: Path, file: Path, say: Say) -> None:
    """Write a bundle's files, each having been compared with its digest."""
    wanted = {place: one for place, one in found.files.items() if not place.startswith(_LEFT)}
    _have_room(target.parent, sum(one.size for one in wanted.values()))
    for member in tar:
        if member.name not in wanted:
            continue
        said = wanted.pop(member.name)
        place = target / member.name
        place.parent.mkdir(parents=True, exist_ok=True)
        if member.islnk():
            # To one of these, which has been compared; with the digest that this one is to have.
            if found.files.get(member.linkname) != said:
                raise BundleError(f"{file}: {member.name} is not what {FILE} says.")
            os.link(target / member.linkname, place)
            continue
        say(f"unpacking {member.name}")
        _copy(tar, member, place, said, file)
    if wanted:
        raise BundleError(
            f"{file} is cut short: {len(wanted)} files are missing, such as {next(iter(wanted))}."
        )


def _copy(
    tar: tarfile.TarFile, member: tarfile.TarInfo, place: Path, said: Member, file: Path
) -> None:
    source = tar.extractfile(member)
    assert source is not None
    digest = hashlib.sha256()
    with place.open("wb") as target:
        while chunk := source.read(_CHUNK):
            digest.update(chunk)
            target.write(chunk)
    if digest.hexdigest() != said.sha256:
        raise BundleError(
            f"{file}: {member.name} is not what {FILE} says; the file was damaged or altered. Copy it anew."
        )
    place.chmod(0o755 if member.mode & 0o100 else 0o644)


def _settle(found: Contents, staging: Path, home: Path) -> None:
    """Unpack the artifacts' archives, and write the settings by which apt and Terraform look here alone."""
    for name, key in found.keys["artifacts"].items():
        folder = staging / "artifacts" / name / key
        with tarfile.open(folder / f"{name}.tar.gz") as archive:
            archive.extractall(folder / "bin", filter="data")
    (staging / "lists").mkdir()
    # Nobody but this user can have written there.
    (staging / "sources.list").write_text(f"deb [trusted=yes] file:{home}/{MACHINE} ./\n")
    (staging / "apt.conf").write_text(_APT.format(directory=home))
    (staging / "terraform.rc").write_text(
        _TERRAFORM.format(path=json.dumps(str(home / "providers")))
    )


def _have_room(directory: Path, size: int) -> None:
    # Artifacts' binaries come out of their archives, which stay.
    free, needed = shutil.disk_usage(directory).free, int(size * 1.5)
    if free < needed:
        raise BundleError(
            f"{directory} has {free / 1e9:.1f} GB free; to unpack the bundle takes {needed / 1e9:.1f} GB. Free some, "
            "or set ARMILLARY_CACHE_HOME."
        )


def _sweep(bundles: Path) -> None:
    """Remove what was unpacked for clusters that use something else now."""
    used = {paths.bundle.read_text().strip() for paths in all_clusters() if paths.bundle.exists()}
    for each in bundles.iterdir():
        if each.is_dir() and str(each) not in used:
            shutil.rmtree(each, ignore_errors=True)
