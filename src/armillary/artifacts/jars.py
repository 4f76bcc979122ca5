"""Artifacts of kind `maven`: the files that a pom.xml asks for, each as checksums.sha256 says.

Maven 3.8, which Debian has, knows no lock file (docs/decisions/0015-kafka.md), so what it fetched is compared here.
"""

from __future__ import annotations

import hashlib
import re
from pathlib import Path
from xml.etree import ElementTree

from armillary.files import write
from armillary.manifests import ManifestError

POM = "pom.xml"
SUMS = "checksums.sha256"
_LINE = re.compile(r"^([0-9a-f]{64}) [ *]([^\s/]+)$")
_NAMESPACE = "{http://maven.apache.org/POM/4.0.0}"


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
    found = digests(files)
    write(folder / SUMS, "".join(f"{digest}  {name}\n" for name, digest in found.items()))
    return found


def digests(directory: Path) -> dict[str, str]:
    """Return the sha256 of each file in a directory, by its name."""
    found = {}
    for path in sorted(directory.iterdir()):
        with path.open("rb") as file:
            found[path.name] = hashlib.file_digest(file, "sha256").hexdigest()
    return found


def differences(wanted: dict[str, str], found: dict[str, str]) -> list[str]:
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


def check_pom(folder: Path, version: str) -> str | None:
    """Return what is wrong with pom.xml: nothing, when each version in it is one version and its own is `version`."""
    try:
        project = ElementTree.parse(folder / POM).getroot()  # noqa: S314 - a file of the checkout
    except OSError as error:
        return f"{POM}: {error.strerror}"
    except ElementTree.ParseError as error:
        return f"{POM} is no XML: {error}"
    found = project.findtext(f"{_NAMESPACE}version")
    if found != version:
        return f"artifacts.yml says {version}, {POM} {found}; make them the same"
    for one in project.iter(f"{_NAMESPACE}dependency"):
        name, said = one.findtext(f"{_NAMESPACE}artifactId"), one.findtext(f"{_NAMESPACE}version")
        if not said or re.search(r"[\[(,]|SNAPSHOT|LATEST|RELEASE", said):
            return f"{POM} does not say one version of {name}; what is fetched would change"
    return None
