"""Artifacts of kind `maven`: one directory with the files that a pom.xml asks for, each as checksums.sha256 says.

Maven 3.8, which Debian has, knows no lock file (docs/decisions/0015-kafka.md), so what it fetched is compared here.
"""

from __future__ import annotations

import hashlib
import re
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

from armillary.artifacts.contract import ArtifactError, Job
from armillary.artifacts.entry import Artifact
from armillary.files import write
from armillary.manifests import ManifestError
from armillary.tools import maven
from armillary.tools.process import CommandMissing

POM = "pom.xml"
SUMS = "checksums.sha256"
HINTS = (
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
)
_LINE = re.compile(r"^([0-9a-f]{64}) [ *]([^\s/]+)$")
_NAMESPACE = "{http://maven.apache.org/POM/4.0.0}"


def check(entry: Artifact, folder: Path) -> None:
    """Compare an entry with its pom.xml, in which each version must be one version; and look at checksums.sha256.

    Raises:
        ManifestError: they do not fit.
    """
    read_sums(folder)
    if wrong := _wrong_with_pom(entry, folder):
        raise ManifestError(f"Artifact {entry.name}, in {entry.folder}: {wrong}.")


def facts(entry: Artifact) -> dict[str, Any]:
    """Return nothing: pom.xml and checksums.sha256 say all."""
    return {}


def make(job: Job) -> None:
    """Have Maven fetch an artifact's files, and compare each with checksums.sha256.

    Raises:
        CommandError, CommandTimeout: Maven cannot be installed, or cannot fetch them.
        ArtifactError: there is no Maven, or the files are others.
    """
    entry = job.entry
    [tree] = entry.binaries
    job.progress(f"{entry.name} {entry.version}: fetching it with Maven")
    try:
        maven.install(job.progress)
        maven.copy_dependencies(job.folder, job.out / tree, cache=job.cache)
    except CommandMissing as error:
        raise ArtifactError(
            entry.name,
            "Maven is missing on this machine.",
            f"Have it installed: `apt-get install {' '.join(maven.PACKAGES)}`, then the same command again.",
        ) from error
    if wrong := _differences(read_sums(job.folder), _digests(job.out / tree)):
        raise ArtifactError(
            entry.name,
            f"what Maven fetched is not what {entry.folder}/{SUMS} says:",
            f"If {POM} was changed on purpose, run `uv run python scripts/lock_maven.py {entry.name}` and review "
            "the difference; otherwise do not go on: what the Maven repository hands out has been altered.",
            last="\n".join(f"    {line}" for line in wrong[:20]),
        )


def read_sums(folder: Path) -> dict[str, str]:
    """Return what checksums.sha256 says (file name: sha256); it can also be checked by `sha256sum --check`.

    Raises:
        ManifestError: it is missing, or a line is not as it must be.
    """
    path = folder / SUMS
    lock = f"`uv run python scripts/lock_maven.py {folder.name}` writes it."
    try:
        lines = path.read_text().splitlines()
    except OSError as error:
        raise ManifestError(f"{path}: {error.strerror}. {lock}") from error
    found: dict[str, str] = {}
    for number, line in enumerate(lines, start=1):
        match = _LINE.match(line)
        if match is None:
            raise ManifestError(f"{path}: line {number} is no checksum and file name. {lock}")
        found[match[2]] = match[1]
    if not found:
        raise ManifestError(f"{path} is empty. {lock}")
    return found


def write_sums(folder: Path, files: Path) -> dict[str, str]:
    """Write checksums.sha256 of the files in a directory, and return it."""
    found = _digests(files)
    write(folder / SUMS, "".join(f"{digest}  {name}\n" for name, digest in found.items()))
    return found


def _digests(directory: Path) -> dict[str, str]:
    """Return the sha256 of each file in a directory, by its name."""
    found = {}
    for path in sorted(directory.iterdir()):
        with path.open("rb") as file:
            found[path.name] = hashlib.file_digest(file, "sha256").hexdigest()
    return found


def _differences(wanted: dict[str, str], found: dict[str, str]) -> list[str]:
    """Return in what the files that were fetched differ from checksums.sha256, a line each."""
    return [
        *(f"{name} was fetched and is not in it" for name in sorted(found.keys() - wanted)),
        *(f"{name} was not fetched" for name in sorted(wanted.keys() - found)),
        *(
            f"{name} has the sha256 {found[name]}; {digest} is expected"
            for name, digest in sorted(wanted.items())
            if found.get(name, digest) != digest
        ),
    ]


def _wrong_with_pom(entry: Artifact, folder: Path) -> str | None:
    try:
        project = ElementTree.parse(folder / POM).getroot()  # noqa: S314 - a file of the checkout
    except OSError as error:
        return f"{POM}: {error.strerror}"
    except ElementTree.ParseError as error:
        return f"{POM} is no XML: {error}"
    own = project.findtext(f"{_NAMESPACE}version", "")
    versions: dict[str, str] = {}
    for one in project.iter(f"{_NAMESPACE}dependency"):
        group, name, said = (
            one.findtext(f"{_NAMESPACE}{tag}", "") for tag in ("groupId", "artifactId", "version")
        )
        said = said.replace("${project.version}", own)
        if not said or re.search(r"[\[(,$]|SNAPSHOT|LATEST|RELEASE", said):
            return f"{POM} does not say one version of {name}; what is fetched would change"
        versions[f"{group}:{name}"] = said
    found = versions.get(entry.module or "")
    if found != entry.version:
        asked = f"asks for {found}" if found else f"does not ask for {entry.module}"
        return f"artifacts.yml says {entry.version}, {POM} {asked}; make them the same"
    return None
