"""Build artifacts, once for each content, and keep them in the cache.

    <cache>/artifacts/<name>/<key>/bin/<binary>      of other kinds than Go: a directory
                                  /manifest.json     what was built, with the digest of each binary
                                  /<name>.tar.gz     the binaries, to be copied to hosts

A key is the digest of all that shapes the binaries, so a directory that is there is right and is
never built again. It appears by one rename, when everything in it is done.
"""

from __future__ import annotations

import gzip
import hashlib
import json
import tarfile
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from armillary.artifacts.contract import ArtifactError, Job, Progress
from armillary.artifacts.entry import Artifact
from armillary.artifacts.manifest import KINDS, load_manifest
from armillary.building import hint, locked, replacing
from armillary.bundle import contents
from armillary.paths import ROOT, cache_home
from armillary.tools.process import CommandError, CommandTimeout, tail

# Part of every key: to be raised when a kind makes its artifacts in another way.
BUILDER_REVISION = 1
MANIFEST = "manifest.json"

# What a failed tool of any kind printed, and what to do about it; after what the kind itself knows.
HINTS = (
    (
        ("no space left on device", "No space left on device"),
        "The disk that holds {cache} is full. Free some space there or set ARMILLARY_CACHE_HOME.",
    ),
    (
        ("signal: killed", "cannot allocate memory"),
        "The machine ran out of memory. End other programs, then run the same command again.",
    ),
)


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
    """Return the digest of all that shapes this artifact's binaries.

    That is: the lock file and every other file of its folder (but hidden ones and tests), what its
    kind says (of Go: the entry as far as the compiler sees it, the Go version and target, the C
    compiler and libraries where they are used), and this builder's revision.
    """
    facts: dict[str, Any] = {
        "builder": BUILDER_REVISION,
        "name": entry.name,
        "binaries": entry.binaries,
        **KINDS[entry.kind].facts(entry),
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
        make_artifact(entry, staging / "bin", cache=cache, root=root, progress=progress)
        return KINDS[entry.kind].facts(entry)

    return keep_artifact(entry, artifact_path(entry, cache=cache, root=root), build, progress)


def keep_artifact(
    entry: Artifact, home: Path, make: Callable[[Path], dict[str, Any]], progress: Progress
) -> BuiltArtifact:
    """Return what is at this place in the cache; make it when it is not there.

    Args:
        entry: which artifact it is.
        home: its directory, named by its key.
        make: writes the binaries to `bin` below the directory it is given, and returns what manifest.json is to say of
            how they were made.
        progress: told when another process makes it.
    """
    started = time.monotonic()
    if built := _cached(entry, home):
        return built
    home.parent.mkdir(parents=True, exist_ok=True)
    with locked(home.parent / ".lock", lambda: progress(f"{entry.name}: another build is on")):
        if built := _cached(entry, home):
            return built
        with replacing(home) as staging:
            facts = make(staging)
            digests = {one: _digest(staging / "bin" / one) for one in sorted(entry.binaries)}
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


def make_artifact(
    entry: Artifact,
    out: Path,
    *,
    cache: Path,
    compiled: Path | None = None,
    root: Path = ROOT,
    progress: Progress = lambda line: None,
) -> dict[str, str]:
    """Make an artifact in `out`, whether or not the cache holds it; return the digest of each of its binaries.

    Args:
        entry: which.
        out: a directory, which is made.
        cache: where tools keep what they fetched.
        compiled: where compilers keep what they compiled. Default: in the cache.
        root: the checkout.
        progress: told what is being done.

    Raises:
        ArtifactError: it could not be made.
    """
    out.mkdir(parents=True)
    kind = KINDS[entry.kind]
    try:
        kind.make(Job(entry, root / entry.folder, out, cache, compiled, progress))
    except (CommandError, CommandTimeout) as error:
        done = error.completed
        program = Path(done.argv[0]).name
        timed_out = isinstance(error, CommandTimeout)
        raise ArtifactError(
            entry.name,
            f"{program} {'did not end in time' if timed_out else f'ended with exit code {done.returncode}'}.",
            hint((*kind.HINTS, *HINTS), done).format(folder=entry.folder, cache=cache),
            command=f"cd {entry.folder} && {' '.join(done.argv)}",
            last=tail(done),
        ) from error
    return {binary: _digest(out / binary) for binary in sorted(entry.binaries)}


def verify_artifact(
    entry: Artifact,
    *,
    cache: Path | None = None,
    root: Path = ROOT,
    rebuild: bool = False,
    progress: Progress = lambda line: None,
) -> list[str]:
    """Return what is wrong with this artifact in the cache: nothing, when it is as it was built.

    With `rebuild` it is also made anew, compilers with empty caches, and each binary that does not
    come out byte for byte the same is named.

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
    if rebuild:
        with tempfile.TemporaryDirectory(prefix=".verify-", dir=cache / "artifacts") as name:
            # Lock files vouch for what was fetched; what was compiled from it is in doubt.
            again = make_artifact(
                entry,
                Path(name) / "bin",
                cache=cache,
                compiled=Path(name) / "compiled",
                root=root,
                progress=progress,
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
            for path in _files(built.bin_dir):
                member = tarfile.TarInfo(str(path.relative_to(built.bin_dir)))
                member.size = path.stat().st_size
                member.mode = 0o755 if path.stat().st_mode & 0o100 else 0o644
                member.uname = member.gname = "root"
                with path.open("rb") as content:
                    tar.addfile(member, content)
        unfinished.replace(archive)
    return archive


def _cached(entry: Artifact, home: Path) -> BuiltArtifact | None:
    """Return what is in the cache, or None when it is not there or has been cut short."""
    try:
        known = json.loads((home / MANIFEST).read_text())
        binaries = {name: each["sha256"] for name, each in known["binaries"].items()}
        whole = binaries.keys() == entry.binaries.keys() and all(
            _size(home / "bin" / name) == each["size"] for name, each in known["binaries"].items()
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
                        "package": entry.binaries[binary],
                        "sha256": digest,
                        "size": _size(directory / "bin" / binary),
                    }
                    for binary, digest in digests.items()
                },
            },
            indent=2,
        )
        + "\n"
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


def _files(path: Path) -> list[Path]:
    """Return a file, or all files of a directory but what Python leaves there when it runs them."""
    found = sorted(path.rglob("*")) if path.is_dir() else [path]
    return [each for each in found if not each.is_dir() and "__pycache__" not in each.parts]


def _size(path: Path) -> int:
    return sum(each.stat().st_size for each in _files(path)) or path.stat().st_size


def _digest(path: Path) -> str:
    """Return the SHA-256 (hex) of a file, or of a directory: of its files' names, modes and digests."""
    if path.is_dir():
        facts = [
            [str(each.relative_to(path)), each.stat().st_mode & 0o111, _digest(each)]
            for each in _files(path)
        ]
        return hashlib.sha256(json.dumps(facts).encode()).hexdigest()
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
