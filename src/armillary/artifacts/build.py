"""Build or fetch artifacts, once for each content, and keep them in the cache.

    <cache>/artifacts/<name>/<key>/bin/<binary>     or <file>, of those that Maven fetches
                                  /manifest.json     what was built, with the digest of each binary
                                  /<name>.tar.gz     the binaries, to be copied to hosts

A key is the digest of all that shapes the binaries, so a directory that is there is right and is
never built again. It appears by one rename, when everything in it is done.
"""

from __future__ import annotations

import gzip
import hashlib
import json
import os
import tarfile
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from armillary.artifacts import jars
from armillary.artifacts.manifest import Artifact, load_manifest
from armillary.building import BuildError, Hints, hint, locked, replacing
from armillary.bundle import contents
from armillary.paths import ROOT, cache_home
from armillary.tools import go, maven
from armillary.tools.process import (
    CommandError,
    CommandMissing,
    CommandTimeout,
    Completed,
    tail,
)

# Part of every key: to be raised when this file or tools/go.py builds in another way.
BUILDER_REVISION = 1
MANIFEST = "manifest.json"

Progress = Callable[[str], None]

# What a failed build printed, and what to do about it; the first that fits is shown.
HINTS = (
    (
        ("SECURITY ERROR", "checksum mismatch"),
        "A module is not the one that {folder}/go.sum names. If go.mod was changed on purpose, run "
        "`go mod tidy` in {folder} and review the difference; otherwise do not go on: what the "
        "module proxy (GOPROXY) hands out has been altered.",
    ),
    (
        ("missing go.sum entry", "updates to go.mod needed", "go.mod file indicates go"),
        "{folder}/go.mod and go.sum do not belong together. Run `go mod tidy` in {folder} and "
        "commit both.",
    ),
    (
        ("403 Forbidden", "404 Not Found", "410 Gone"),
        "The module proxy does not serve that module. Set GOPROXY to one that does, or choose a "
        "version in {folder}/go.mod that needs other modules.",
    ),
    (
        ("dial tcp", "no such host", "i/o timeout", "connection refused", "TLS handshake"),
        "The module proxy cannot be reached. Check GOPROXY and the network, then run the same "
        "command again: it goes on where it stopped.",
    ),
    (
        ("no space left on device",),
        "The disk that holds {cache} is full. Free some space there or set ARMILLARY_CACHE_HOME.",
    ),
    (
        ("signal: killed", "cannot allocate memory"),
        "The machine ran out of memory. End other programs, then run the same command again.",
    ),
)


MAVEN_HINTS = (
    (
        ("Checksum validation failed",),
        "The Maven repository (settings.xml of Maven) hands out damaged files. Run the same command again; if it "
        "stays so, tell who runs the repository.",
    ),
    (
        ("Could not find artifact", "status: 403", "status: 404", "Forbidden", "Not Found"),
        "The Maven repository (settings.xml of Maven) does not serve that file. Set a mirror that does, or choose "
        "another version in {folder}/pom.xml.",
    ),
    (
        ("UnknownHostException", "Connection refused", "timed out", "PKIX path", "Unknown host"),
        "The Maven repository cannot be reached. Check the network, and the proxy and mirrors in Maven's settings.xml, "
        "then run the same command again.",
    ),
    (
        ("No space left on device",),
        "The disk that holds {cache} is full. Free some space there or set ARMILLARY_CACHE_HOME.",
    ),
)


class ArtifactError(BuildError):
    """An artifact could not be built."""

    kind = "Artifact"


@dataclass(frozen=True)
class BuiltArtifact:
    """An artifact in the cache."""

    name: str
    version: str
    key: str
    bin_dir: Path
    binaries: dict[str, str]
    """File name: sha256."""
    built: bool
    """False when it was in the cache already."""
    seconds: float


def artifact_key(entry: Artifact, root: Path = ROOT) -> str:
    """Return the digest of all that shapes this artifact's files.

    Where Maven fetches them, that is checksums.sha256. Where Go makes them: go.mod, go.sum and every other file of its folder (but hidden ones and tests), the
    entry as far as the compiler sees it, the Go version and target, the C compiler and libraries
    where they are used, and this builder's revision.
    """
    if entry.kind == "maven":
        sums = jars.read_sums(root / entry.folder)
        return hashlib.sha256(json.dumps(sums, sort_keys=True).encode()).hexdigest()
    facts: dict[str, Any] = {
        "builder": BUILDER_REVISION,
        "name": entry.name,
        "binaries": entry.binaries,
        "ldflags": entry.ldflags(),
        "tags": entry.tags,
        "cgo": entry.cgo,
        "go": go.version(),
        "target": go.target(),
        "c": go.c_packages(entry.apt) if entry.cgo else {},
        "files": {
            str(path.relative_to(root / entry.folder)): _digest(path)
            for path in _sources(root / entry.folder)
        },
    }
    return hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()


def artifact_path(
    entry: Artifact, *, cache: Path | None = None, root: Path = ROOT, key: str | None = None
) -> Path:
    """Return the directory in which this artifact lies, or will lie, in the cache.

    Args:
        entry: which.
        cache: the cache, if it is another.
        root: the checkout, if it is another.
        key: what tells it from others, where it is not built here.
    """
    cache = cache or cache_home()
    key = key or contents.key(cache, "artifacts", entry.name) or artifact_key(entry, root)
    return cache / "artifacts" / entry.name / key


def build_artifact(
    entry: Artifact,
    *,
    cache: Path | None = None,
    root: Path = ROOT,
    progress: Progress = lambda line: None,
) -> BuiltArtifact:
    """Return this artifact from the cache; build it when it is not there.

    Two processes never build the same one: the second waits and takes what the first has made.
    An interrupted build leaves nothing that could be taken for an artifact; the next one goes on
    with all packages that were compiled.

    Raises:
        ArtifactError: it could not be built.
    """
    cache = cache or cache_home()

    def build(staging: Path) -> dict[str, Any]:
        if contents.read(cache):
            raise ArtifactError(entry.name, contents.LACKS, contents.LACKING)
        if entry.kind == "maven":
            fetch_artifact(entry, staging / "bin", cache=cache, root=root, progress=progress)
            return {}
        out, caches = staging / "bin", go.Caches.under(cache)
        compile_artifact(entry, out, caches=caches, root=root, progress=progress)
        return {"go": go.version(), "target": go.target()}

    home = artifact_path(entry, cache=cache, root=root)
    return keep_artifact(entry, home, entry.files(root), build, progress)


def keep_artifact(
    entry: Artifact,
    home: Path,
    files: Sequence[str],
    make: Callable[[Path], dict[str, Any]],
    progress: Progress,
) -> BuiltArtifact:
    """Return what is at this place in the cache; make it when it is not there.

    Args:
        entry: which artifact it is.
        home: its directory, named by its key.
        files: the names of its files.
        make: writes the binaries to `bin` below the directory it is given, and returns what manifest.json is to say of
            how they were made.
        progress: told when another process makes it.
    """
    started = time.monotonic()
    if built := _cached(entry, home, files):
        return built
    home.parent.mkdir(parents=True, exist_ok=True)
    with locked(home.parent / ".lock", lambda: progress(f"{entry.name}: another build is on")):
        if built := _cached(entry, home, files):
            return built
        with replacing(home) as staging:
            facts = make(staging)
            digests = {one: _digest(staging / "bin" / one) for one in sorted(files)}
            seconds = time.monotonic() - started
            _write_manifest(entry, staging, digests, {**facts, "seconds": round(seconds, 1)})
    return BuiltArtifact(entry.name, entry.version, home.name, home / "bin", digests, True, seconds)


def build_all(
    names: Sequence[str] | None = None,
    *,
    cache: Path | None = None,
    root: Path = ROOT,
    progress: Progress = lambda line: None,
) -> list[BuiltArtifact]:
    """Build the artifacts of these names, or all, one after the other.

    Raises:
        ArtifactError: one could not be built; those before it stay built.
        ManifestError: artifacts.yml is wrong, or has no such name.
    """
    manifest = load_manifest(root)
    entries = [manifest.get(name) for name in (manifest.names() if names is None else names)]
    return [build_artifact(entry, cache=cache, root=root, progress=progress) for entry in entries]


def compile_artifact(
    entry: Artifact,
    out: Path,
    *,
    caches: go.Caches,
    root: Path = ROOT,
    progress: Progress = lambda line: None,
) -> dict[str, str]:
    """Compile an artifact's binaries into `out`, whatever the cache holds; return their digests.

    Raises:
        ArtifactError: it could not be built.
    """
    if entry.cgo:
        present = go.c_packages(entry.apt)
        if missing := [package for package in entry.apt if package not in present]:
            raise ArtifactError(
                entry.name,
                f"Debian packages are missing on this machine: {', '.join(missing)}.",
                f"Run `apt-get install {' '.join(missing)}`, then the same command again.",
            )
    out.mkdir(parents=True)
    folder = root / entry.folder
    caches.packages.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="go-", dir=out.parent) as scratch:
        for number, (binary, package) in enumerate(entry.binaries.items(), start=1):
            progress(
                f"{entry.name} {entry.version}: building {binary} "
                f"({number} of {len(entry.binaries)})"
            )
            try:
                go.build(
                    package,
                    out / binary,
                    folder=folder,
                    caches=caches,
                    scratch=Path(scratch),
                    ldflags=entry.ldflags(),
                    tags=entry.tags,
                    cgo=entry.cgo,
                    jobs=max(2, (os.cpu_count() or 2) // 2),
                    on_line=progress,
                )
            except CommandError as error:
                code = error.completed.returncode
                raise _failed(
                    entry,
                    f"go ended with exit code {code}.",
                    error.completed,
                    HINTS,
                    caches.packages,
                ) from error
            except CommandTimeout as error:
                raise _failed(
                    entry, "go did not end in time.", error.completed, HINTS, caches.packages
                ) from error
    for binary in entry.binaries:
        (out / binary).chmod(0o755)
    return {binary: _digest(out / binary) for binary in sorted(entry.binaries)}


def fetch_artifact(
    entry: Artifact,
    out: Path,
    *,
    cache: Path,
    root: Path = ROOT,
    progress: Progress = lambda line: None,
) -> None:
    """Have Maven fetch an artifact's files into `out`, and compare each with checksums.sha256.

    Raises:
        ArtifactError: they could not be fetched, or are others.
    """
    progress(f"{entry.name} {entry.version}: fetching it with Maven")
    folder, repository = root / entry.folder, maven.repository(cache)
    try:
        maven.install(progress)
        maven.copy_dependencies(folder, out, cache=cache)
    except CommandMissing as error:
        raise ArtifactError(
            entry.name,
            "Maven is missing on this machine.",
            f"Have it installed: `apt-get install {' '.join(maven.PACKAGES)}`, then the same command again.",
        ) from error
    except CommandError as error:
        code = error.completed.returncode
        raise _failed(
            entry, f"mvn ended with exit code {code}.", error.completed, MAVEN_HINTS, repository
        ) from error
    except CommandTimeout as error:
        raise _failed(
            entry, "mvn did not end in time.", error.completed, MAVEN_HINTS, repository
        ) from error
    if wrong := jars.differences(jars.read_sums(folder), jars.digests(out)):
        raise ArtifactError(
            entry.name,
            f"what Maven fetched is not what {entry.folder}/{jars.SUMS} says:",
            f"If {jars.POM} was changed on purpose, run `uv run python scripts/lock_maven.py {folder.name}` and review "
            "the difference; otherwise do not go on: what the Maven repository hands out has been altered.",
            last="\n".join(f"    {line}" for line in wrong[:20]),
        )


def verify_artifact(
    entry: Artifact,
    *,
    cache: Path | None = None,
    root: Path = ROOT,
    rebuild: bool = False,
    progress: Progress = lambda line: None,
) -> list[str]:
    """Return what is wrong with this artifact in the cache: nothing, when it is as it was built.

    With `rebuild` it is also compiled anew from empty package caches, and each binary that does
    not come out byte for byte the same is named. What Maven fetches is compared whenever it is fetched.

    Raises:
        ArtifactError: it was not in the cache and could not be built.
    """
    cache = cache or cache_home()
    built = build_artifact(entry, cache=cache, root=root, progress=progress)
    wrong = [
        f"{entry.name}: {built.bin_dir / binary} is not what was built: its sha256 is "
        f"{actual}, not {digest}. Remove {built.bin_dir.parent} and build again."
        for binary, digest in built.binaries.items()
        if (actual := _digest(built.bin_dir / binary)) != digest
    ]
    if rebuild and entry.kind == "go":
        with tempfile.TemporaryDirectory(prefix=".verify-", dir=cache / "artifacts") as name:
            # The modules are content-addressed by go.sum; what is compiled from them is in doubt.
            caches = go.Caches(modules=cache / "go" / "mod", packages=Path(name) / "packages")
            again = compile_artifact(
                entry, Path(name) / "bin", caches=caches, root=root, progress=progress
            )
        wrong += [
            f"{entry.name}: {binary} came out as {again[binary]} this time, as {digest} before."
            for binary, digest in built.binaries.items()
            if again[binary] != digest
        ]
    return wrong


def archive_artifact(
    entry: Artifact,
    *,
    cache: Path | None = None,
    root: Path = ROOT,
    progress: Progress = lambda line: None,
) -> Path:
    """Return a .tar.gz of this artifact's binaries, built first when it is not in the cache.

    The binaries lie at its top, owned by root, with no times in it: the same binaries give the
    same archive.

    Raises:
        ArtifactError: it was not in the cache and could not be built.
    """
    return archive_binaries(build_artifact(entry, cache=cache, root=root, progress=progress))


def archive_binaries(built: BuiltArtifact) -> Path:
    """Return a .tar.gz of an artifact's binaries, as `archive_artifact` does."""
    archive = built.bin_dir.parent / f"{built.name}.tar.gz"
    with locked(built.bin_dir.parent.parent / ".lock"):
        if archive.is_file():
            return archive
        unfinished = archive.with_suffix(".part")
        with (
            unfinished.open("wb") as file,
            gzip.GzipFile("", "wb", compresslevel=1, fileobj=file, mtime=0) as packed,
            tarfile.open(fileobj=packed, mode="w", format=tarfile.GNU_FORMAT) as tar,
        ):
            for binary in sorted(built.binaries):
                member = tarfile.TarInfo(binary)
                member.size = (built.bin_dir / binary).stat().st_size
                member.mode = 0o755 if os.access(built.bin_dir / binary, os.X_OK) else 0o644
                member.uname = member.gname = "root"
                with (built.bin_dir / binary).open("rb") as content:
                    tar.addfile(member, content)
        unfinished.replace(archive)
    return archive


def _cached(entry: Artifact, home: Path, files: Sequence[str]) -> BuiltArtifact | None:
    """Return what is in the cache, or None when it is not there or has been cut short."""
    try:
        known = json.loads((home / MANIFEST).read_text())
        binaries = {name: each["sha256"] for name, each in known["binaries"].items()}
        whole = binaries.keys() == set(files) and all(
            (home / "bin" / name).stat().st_size == each["size"]
            for name, each in known["binaries"].items()
        )
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return None
    if not whole:
        return None
    return BuiltArtifact(
        entry.name, entry.version, home.name, home / "bin", binaries, False, known["seconds"]
    )


def _write_manifest(
    entry: Artifact, directory: Path, digests: dict[str, str], facts: dict[str, Any]
) -> None:
    (directory / MANIFEST).write_text(
        json.dumps(
            {
                "name": entry.name,
                "version": entry.version,
                "licence": entry.licence,
                "key": directory.name,
                **facts,
                "binaries": {
                    binary: {
                        **({"package": entry.binaries[binary]} if entry.kind == "go" else {}),
                        "sha256": digest,
                        "size": (directory / "bin" / binary).stat().st_size,
                    }
                    for binary, digest in digests.items()
                },
            },
            indent=2,
        )
        + "\n"
    )


def _failed(
    entry: Artifact, what: str, completed: Completed, hints: Hints, cache: Path
) -> ArtifactError:
    """Turn a failed command into an error that says what to do next."""
    return ArtifactError(
        entry.name,
        what,
        hint(hints, completed).format(folder=entry.folder, cache=cache),
        command=f"cd {entry.folder} && {' '.join(completed.argv)}",
        last=tail(completed),
    )


def _sources(folder: Path) -> list[Path]:
    """Return the files of a module that can reach its binaries.

    Anything may be embedded, so all but tests, and hidden files (editors leave them about).
    """
    return sorted(
        path
        for path in folder.rglob("*")
        if path.is_file()
        and not path.name.endswith("_test.go")
        and not any(part.startswith(".") for part in path.relative_to(folder).parts)
    )


def _digest(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
