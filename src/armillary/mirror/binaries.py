"""Binaries that a project publishes itself, in place of those built here."""

from __future__ import annotations

import hashlib
import json
import re
import tarfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from armillary.artifacts.build import BuiltArtifact, keep_artifact
from armillary.artifacts.contract import ArtifactError
from armillary.artifacts.entry import Artifact
from armillary.tools import go
from armillary.tools.download import DownloadError, download, text

ARCHIVES = (".tar.gz", ".tgz")
_SUM = re.compile(r"^(?P<sum>[0-9a-f]{64})(?:\s+\*?(?:\S*/)?(?P<name>[^\s/]+))?\s*$", re.MULTILINE)
_AGAIN = (
    "Run the same command again; what is there stays. A site's own copies are named in cluster.yml, "
    "`images.downloads`; `images.source: build` makes everything here."
)

Place = Callable[[str], str]
"""From a URL of a project to where this site has it."""


def placed(url: str, downloads: Mapping[str, str]) -> str:
    """Return where a site has what a project publishes at a URL; the longest beginning counts.

    Args:
        url: the project's own.
        downloads: beginnings of URLs, and what stands in their place.
    """
    for beginning in sorted(downloads, key=len, reverse=True):
        if url.startswith(beginning):
            return downloads[beginning] + url.removeprefix(beginning)
    return url


def urls(entry: Artifact) -> list[str]:
    """Return where a project publishes this artifact for this machine."""
    return list(entry.downloads(go.architecture()))


def key(entry: Artifact, sums: Mapping[str, str]) -> str | None:
    """Return the key of what was published, None where a checksum is not known.

    Args:
        entry: the artifact.
        sums: URL: sha256.
    """
    wanted = urls(entry)
    if not all(url in sums for url in wanted):
        return None
    facts = [sorted(entry.binaries), [(url, sums[url]) for url in wanted]]
    return f"upstream-{hashlib.sha256(json.dumps(facts).encode()).hexdigest()}"


def known(entry: Artifact, sums: Mapping[str, str]) -> dict[str, str]:
    """Return those of the checksums that are this artifact's."""
    return {url: sums[url] for url in urls(entry) if url in sums}


def published_sums(entry: Artifact, place: Place) -> dict[str, str]:
    """Return what a project says its files' checksums are (URL: sha256).

    Raises:
        ArtifactError: it does not say.
    """
    found: dict[str, str] = {}
    for url, (checksum, _) in entry.downloads(go.architecture()).items():
        try:
            said = text(place(checksum))
        except DownloadError as error:
            raise ArtifactError(entry.name, f"{error}.", _AGAIN) from error
        name = url.rpartition("/")[2]
        lines = [(match["sum"], match["name"]) for match in _SUM.finditer(said)]
        named = {one for one, of in lines if of == name}
        bare = {one for one, of in lines if of is None}
        sums = named or (bare if len(lines) == 1 else set())
        if len(sums) != 1:
            raise ArtifactError(entry.name, f"{place(checksum)} has no sha256 of {name}.", _AGAIN)
        found[url] = sums.pop()
    return found


def fetch(
    entry: Artifact,
    home: Path,
    sums: Mapping[str, str],
    place: Place,
    progress: Callable[[str], None],
) -> BuiltArtifact:
    """Return the artifact from the cache; download it when it is not there.

    Args:
        entry: which.
        home: its directory in the cache, named by its `key`.
        sums: URL: sha256.
        place: where this site has a URL.
        progress: told what is being done.

    Raises:
        ArtifactError: it could not be had, or is another than the checksum says.
    """

    def make(staging: Path) -> dict[str, Any]:
        (staging / "bin").mkdir(parents=True)
        for url, (_, binaries) in entry.downloads(go.architecture()).items():
            progress(f"{entry.name} {entry.version}: downloading {url.rpartition('/')[2]}")
            file = staging / "download"
            try:
                found = download(place(url), file)
            except DownloadError as error:
                raise ArtifactError(entry.name, f"{error}.", _AGAIN) from error
            if found != sums[url]:
                raise ArtifactError(
                    entry.name,
                    f"{place(url)} has the sha256 {found}; mirror.lock.yml says {sums[url]}.",
                    "Do not go on before you know why: it was altered there or on the way. If its project replaced it, "
                    "remove its line from mirror.lock.yml, and the next run takes what is there now.",
                )
            _unpack(entry, file, url, binaries, staging / "bin")
            file.unlink(missing_ok=True)
        return {"downloaded": known(entry, sums), "target": go.target()}

    return keep_artifact(entry, home, make, progress)


def _unpack(entry: Artifact, file: Path, url: str, binaries: tuple[str, ...], target: Path) -> None:
    """Have a download's binaries in a directory, under the names that artifacts.yml gives them."""
    if not url.endswith(ARCHIVES):
        (binary,) = binaries
        file.rename(target / binary)
        (target / binary).chmod(0o755)
        return
    wanted = set(binaries)
    with tarfile.open(file) as tar:
        for member in tar:
            name = member.name.rpartition("/")[2]
            content = tar.extractfile(member) if name in wanted and member.isfile() else None
            if content is None:
                continue
            with content, (target / name).open("wb") as binary_file:
                while chunk := content.read(1 << 20):
                    binary_file.write(chunk)
            (target / name).chmod(0o755)
            wanted.remove(name)
    if wanted:
        raise ArtifactError(
            entry.name,
            f"{url} does not hold {', '.join(sorted(wanted))}.",
            "Correct `upstream` in artifacts/artifacts.yml, or set `images.source: build`.",
        )
