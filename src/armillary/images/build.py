"""Build container images, once for each content, and keep them in the cache as OCI layouts.

    <cache>/images/<name>/<key>/           see kept.py
    <cache>/buildah/                       buildah's storage: working space, may be removed at will
    <cache>/packages/                      what apt, uv and npm have downloaded; may be removed too

A key is the digest of all that shapes the image, so a directory that is there is right and is never
built again. It appears by one rename, when everything in it is done.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import platform
import shutil
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

from armillary.artifacts import artifact_key, build_artifact
from armillary.artifacts import load_manifest as load_artifacts
from armillary.artifacts.manifest import Manifest as Artifacts
from armillary.building import OTHERWISE, BuildError, hint, locked, replacing
from armillary.bundle import contents
from armillary.images import kept
from armillary.images.kept import BuiltImage
from armillary.images.manifest import Image, Manifest, Rootfs, load_manifest
from armillary.images.settings import (
    CACHE_INSIDE,
    INSIDE,
    STEPS,
    debian_archives,
    write_settings,
)
from armillary.paths import ROOT, cache_home
from armillary.tools import apt, apt_config, mmdebstrap
from armillary.tools.buildah import Storage
from armillary.tools.process import (
    CommandError,
    CommandMissing,
    CommandTimeout,
    Completed,
    tail,
)

# Part of every key: to be raised when this file, settings.py, tools/buildah.py or
# tools/mmdebstrap.py build in another way.
BUILDER_REVISION = 1
TIMEOUT = 1800.0

Progress = Callable[[str], None]

# What a failed build printed, and what to do about it; the first that fits is shown.
HINTS = (
    (
        ("no space left on device", "No space left on device", "Disk quota exceeded"),
        "The disk that holds {cache} is full. Free some space there or set ARMILLARY_CACHE_HOME.",
    ),
    (
        ("Hash mismatch", "do not match the hashes", "EINTEGRITY", "hash mismatch"),
        "A package is not the one that the lock file in {folder} names. If the lock was changed on "
        "purpose, lock again; otherwise do not go on: what the package index hands out differs.",
    ),
    (
        ("NO_PUBKEY", "is not signed", "EXPKEYSIG"),
        "Debian's archive key is missing or too old: install the package debian-archive-keyring.",
    ),
    (
        ("Unable to locate package", "has no installation candidate"),
        "The Debian mirror does not have that package. Check its name in {folder}/Containerfile, "
        "and the mirrors in /etc/apt.",
    ),
    (
        ("No solution found", "404", "403 Forbidden", "E403", "E404", "not found in the package"),
        "The package index does not serve that version. Check its settings (UV_DEFAULT_INDEX, "
        "pip.conf, .npmrc, /etc/apt), or lock other versions in {folder}.",
    ),
    (
        ("Could not resolve", "Temporary failure", "Connection refused", "timed out", "ENOTFOUND",
         "certificate verify failed", "invalid peer certificate", "Certificate verification"),
        "A package index or mirror cannot be reached. Check the network, its proxy and the CA "
        "bundle (SSL_CERT_FILE), then run the same command again.",
    ),
    (
        ("operation not permitted", "Operation not permitted", "permission denied"),
        "Building images needs root, or a user with a range in /etc/subuid and the package uidmap.",
    ),
)  # fmt: skip


class ImageError(BuildError):
    """An image could not be built or pushed."""

    kind = "Image"


def read_manifests(root: Path = ROOT) -> tuple[Manifest, Artifacts]:
    """Return images.yml and artifacts.yml, checked.

    Raises:
        ManifestError: of either; names the file, the entry and what to change.
    """
    artifacts = load_artifacts(root)
    return load_manifest(root, artifacts), artifacts


def image_key(entry: Image, root: Path = ROOT) -> str:
    """Return the digest of all that shapes this image.

    That is: the files of its folder, its entry, the keys of its base and artifacts, the steps that
    Containerfiles call, the machine's architecture and this builder's revision. Debian's archive
    moves daily and is not part of it, but for `debian` in images.yml
    (docs/decisions/0005-images.md).
    """
    manifest, artifacts = read_manifests(root)
    facts: dict[str, Any] = {
        "builder": BUILDER_REVISION,
        "machine": platform.machine(),
        "entry": entry.model_dump(mode="json", exclude={"upstream", "source"}),
        "base": image_key(manifest.get(entry.base), root) if entry.base else None,
        "artifacts": {
            name: artifact_key(artifacts.get(name), root) for name in sorted(entry.binaries)
        },
        "files": _digests(root / entry.folder),
        # Only where there is one: the keys of all other images stay what they are.
        **({"source": _digests(root / entry.source)} if entry.source else {}),
        "steps": _digests(STEPS) if entry.base or entry.rootfs else {},
    }
    return hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()


def image_path(entry: Image, *, cache: Path | None = None, root: Path = ROOT) -> Path:
    """Return the directory in which this image lies, or will lie, in the cache."""
    cache = cache or cache_home()
    key = contents.key(cache, "images", entry.name) or image_key(entry, root)
    return cache / "images" / entry.name / key


def build_image(
    entry: Image,
    *,
    cache: Path | None = None,
    root: Path = ROOT,
    progress: Progress = lambda line: None,
) -> BuiltImage:
    """Return this image from the cache; build it, its base and its artifacts when it is not there.

    One build runs at a time in a cache: a second waits and takes what the first has made. What an
    interrupted build leaves (files, containers, mounts) goes when the next one starts.

    Raises:
        ImageError: it could not be built.
        ArtifactError: an artifact it needs could not be built.
        ManifestError: images.yml or artifacts.yml is wrong.
    """
    cache = (cache or cache_home()).resolve()
    home = image_path(entry, cache=cache, root=root)
    if built := kept.read(entry.name, entry.reference, home):
        return built
    if contents.read(cache):
        raise ImageError(entry.name, contents.LACKS, contents.LACKING)
    manifest, artifacts = read_manifests(root)
    base = None
    if entry.base:
        base = build_image(manifest.get(entry.base), cache=cache, root=root, progress=progress)
    binaries = [
        build_artifact(artifacts.get(name), cache=cache, root=root, progress=progress).bin_dir / one
        for name, wanted in entry.binaries.items()
        for one in wanted
    ]
    versions = [artifacts.get(name).version for name in entry.binaries]
    storage = Storage(cache / "buildah")
    storage.root.mkdir(parents=True, exist_ok=True, mode=0o700)
    with locked(storage.root / ".lock", lambda: progress(f"{entry.name}: another build is on")):
        if built := kept.read(entry.name, entry.reference, home):
            return built
        started = time.monotonic()
        home.parent.mkdir(parents=True, exist_ok=True)
        with _explained(entry, cache), replacing(home) as staging:
            storage.prepare()
            try:
                digest = _build(
                    entry, staging, base, binaries, versions, storage, cache, root, progress
                )
            except BaseException:
                storage.prepare()
                raise
            if base:
                _share_blobs(staging, base.layout)
            kept.write_record(
                entry.name, entry.reference, staging, digest, time.monotonic() - started
            )
    if found := kept.read(entry.name, entry.reference, home, built=True):
        return found
    raise ImageError(entry.name, f"what was written to {home} is not whole.", OTHERWISE)


def build_all(
    names: Sequence[str] | None = None,
    *,
    cache: Path | None = None,
    root: Path = ROOT,
    progress: Progress = lambda line: None,
) -> list[BuiltImage]:
    """Build the images of these names, or all, one after the other.

    Raises:
        ImageError, ArtifactError: one could not be built; those before it stay built.
        ManifestError: images.yml is wrong, or has no such name.
    """
    manifest, _ = read_manifests(root)
    entries = [manifest.get(name) for name in (manifest.names() if names is None else names)]
    return [build_image(entry, cache=cache, root=root, progress=progress) for entry in entries]


def _build(
    entry: Image,
    layout: Path,
    base: BuiltImage | None,
    binaries: Sequence[Path],
    versions: Sequence[str],
    storage: Storage,
    cache: Path,
    root: Path,
    progress: Progress,
) -> str:
    """Build one image and write it to `layout`; return its digest."""
    progress(f"{entry.name}: building the image")
    scratch = storage.root / "tmp"
    settings = scratch / "settings"
    packages = cache / "packages"
    packages.mkdir(parents=True, exist_ok=True, mode=0o700)
    volumes: list[str] = []
    # An image from scratch has no shell to run anything with.
    if entry.base or entry.rootfs:
        suite = entry.rootfs.suite if entry.rootfs else apt.SUITE
        try:
            write_settings(settings, suite=suite)
        except LookupError as error:
            raise ImageError(entry.name, str(error), OTHERWISE) from error
        volumes = [f"{settings}:{INSIDE}:ro", f"{packages}:{CACHE_INSIDE}:rw"]
    context = scratch / "context"
    _write_context(root / entry.folder, context, binaries)
    if entry.source:
        _copy(root / entry.source, context / "source")
    if entry.rootfs:
        _write_rootfs(entry.rootfs, context / "rootfs.tar", settings, progress)
    image = f"localhost/armillary/{entry.name}:build"
    arguments = {}
    if base:
        # Without the key in it, for the name goes into the image's history.
        arguments["BASE"] = f"localhost/armillary/{entry.base}:base"
        if storage.identity(arguments["BASE"]) != _configuration(base.layout, base.digest):
            storage.remove(arguments["BASE"])
            storage.load(base.layout, base.tag, arguments["BASE"])
    labels = {"org.opencontainers.image.title": entry.name}
    if versions:
        labels["org.opencontainers.image.version"] = versions[0]
    storage.build(
        context,
        image,
        arguments=arguments,
        labels=labels,
        volumes=volumes,
        timeout=TIMEOUT,
        on_line=progress,
    )
    progress(f"{entry.name}: compressing the layers")
    digest = _without_annotations(layout, storage.export(image, layout, entry.tag))
    storage.remove(image)
    storage.prune()
    shutil.rmtree(settings, ignore_errors=True)
    shutil.rmtree(context)
    return digest


def _write_context(folder: Path, context: Path, binaries: Sequence[Path]) -> None:
    """Copy an image's folder and its binaries."""
    _copy(folder, context)
    for binary in binaries:
        target = context / "bin" / binary.name
        target.parent.mkdir(exist_ok=True)
        target.parent.chmod(0o755)
        shutil.copyfile(binary, target)
        target.chmod(0o755)


def _copy(folder: Path, target: Path) -> None:
    """Copy a folder's files, with the modes that git keeps and no others."""
    target.mkdir()
    for source in _files(folder):
        copy = target / source.relative_to(folder)
        copy.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(source, copy)
        copy.chmod(0o755 if os.access(source, os.X_OK) else 0o644)
    for directory in [target, *(path for path in target.rglob("*") if path.is_dir())]:
        directory.chmod(0o755)


def _write_rootfs(rootfs: Rootfs, target: Path, settings: Path, progress: Progress) -> None:
    """Make a Debian root file system with nothing of this machine's mirrors in it."""
    kept = "/etc/apt/apt.conf.d/99mmdebstrap"
    mmdebstrap.tarball(
        target,
        suite=rootfs.suite,
        packages=rootfs.packages,
        archives=debian_archives(rootfs.suite),
        apt_options=[option.rstrip(";") for option in apt_config.acquire_options()],
        hooks=[
            f'install -m 755 {STEPS / "seal"} "$1/tmp/seal"',
            f'rm -rf "$1{kept}" "$1/etc/apt/sources.list" "$1/etc/apt/auth.conf.d"',
            'mkdir "$1/etc/apt/auth.conf.d"',
            'chroot "$1" sh -c "cp /tmp/seal /run/seal && sh /run/seal && rm /run/seal"',
            # buildah makes them, with other modes, where they are missing.
            'for file in hosts hostname resolv.conf; do : > "$1/etc/$file"; done',
        ],
        on_line=progress,
    )


def _without_annotations(layout: Path, digest: str) -> str:
    """Take the annotations out of a layout's one manifest; return its new digest.

    buildah notes there what its storage called the base and the digest it had there, which is
    another one when the base was built in that storage than when it was loaded.
    """
    blobs = layout / "blobs" / "sha256"
    manifest = _blob(layout, digest)
    manifest.pop("annotations", None)
    content = json.dumps(manifest, separators=(",", ":")).encode()
    plain = hashlib.sha256(content).hexdigest()
    (blobs / digest.removeprefix("sha256:")).unlink()
    (blobs / plain).write_bytes(content)
    index = json.loads((layout / "index.json").read_text())
    (described,) = index["manifests"]
    described |= {"digest": f"sha256:{plain}", "size": len(content)}
    (layout / "index.json").write_text(json.dumps(index, separators=(",", ":")))
    return f"sha256:{plain}"


def _share_blobs(layout: Path, base: Path) -> None:
    """Keep a base's layers once on disk: link them instead of a second copy."""
    for blob in (layout / "blobs" / "sha256").iterdir():
        same = base / "blobs" / "sha256" / blob.name
        if same.is_file():
            blob.unlink()
            os.link(same, blob)


def _configuration(layout: Path, digest: str) -> str:
    """Return the id by which a storage knows the image of this manifest."""
    return str(_blob(layout, digest)["config"]["digest"]).removeprefix("sha256:")


def _blob(layout: Path, digest: str) -> dict[str, Any]:
    content: dict[str, Any] = json.loads(kept.manifest_path(layout, digest).read_text())
    return content


def _files(folder: Path) -> list[Path]:
    """Return the files of a folder that belong to an image: not editors' and not the README."""
    return sorted(
        path
        for path in folder.rglob("*")
        if path.is_file()
        and path != folder / "README.md"
        and not any(
            part.startswith(".") or part in ("__pycache__", "node_modules")
            for part in path.relative_to(folder).parts
        )
    )


def _digests(folder: Path) -> dict[str, str]:
    """Return path: mode and sha256 of the files of a folder."""
    found = {}
    for path in _files(folder):
        mode = "x" if os.access(path, os.X_OK) else "-"
        digest = hashlib.sha256(path.read_bytes()).hexdigest()
        found[str(path.relative_to(folder))] = mode + digest
    return found


@contextlib.contextmanager
def _explained(entry: Image, cache: Path) -> Iterator[None]:
    """Turn the errors of tools into one that says what to do next."""
    try:
        yield
    except CommandMissing as error:
        raise ImageError(
            entry.name, str(error), f"Run `apt-get install {error.program}`, then again."
        ) from error
    except CommandError as error:
        code = error.completed.returncode
        raise _failed(entry, f"exit code {code}.", error.completed, cache) from error
    except CommandTimeout as error:
        raise _failed(entry, "it did not end in time.", error.completed, cache) from error


def _failed(entry: Image, what: str, completed: Completed, cache: Path) -> ImageError:
    return ImageError(
        entry.name,
        what,
        hint(HINTS, completed).format(folder=entry.folder, cache=cache),
        command=" ".join(completed.argv),
        last=tail(completed),
    )
