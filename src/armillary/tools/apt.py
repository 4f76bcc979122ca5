"""Debian's packages: what is installed, what is missing, and which mirror this machine uses."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from armillary.tools.process import run

SUITE = "bookworm"
"""The Debian of images and of the machines that hosts are."""
BACKPORTS = Path("/etc/apt/sources.list.d/armillary-backports.sources")
KEYRING = "/usr/share/keyrings/debian-archive-keyring.gpg"
ENVIRONMENT = {"DEBIAN_FRONTEND": "noninteractive"}


@dataclass(frozen=True)
class Source:
    """One line of apt's configuration: an archive and a suite of it."""

    uri: str
    suite: str


def sources() -> list[Source]:
    """Return Debian's own archives as apt is configured to reach them, in apt's order."""
    listed = run(
        ["apt-get", "indextargets", "--format", "$(ORIGIN)|$(REPO_URI)|$(RELEASE)|$(COMPONENT)"],
        timeout=30,
    ).stdout
    found: list[Source] = []
    for line in listed.splitlines():
        origin, uri, suite, component = line.split("|")
        source = Source(uri, suite)
        if origin == "Debian" and component == "main" and source not in found:
            found.append(source)
    return found


def missing(packages: Sequence[str]) -> list[str]:
    """Return those of the packages that are not installed."""
    shown = run(
        ["dpkg-query", "-W", "-f", "${Package} ${db:Status-Status}\n", *packages],
        timeout=30,
        check=False,
    ).stdout
    present = {line.split()[0] for line in shown.splitlines() if line.endswith(" installed")}
    return [package for package in packages if package not in present]


def available(packages: Sequence[str]) -> bool:
    """Tell whether apt can install all of these, as far as its lists go."""
    shown = run(["apt-cache", "policy", *packages], timeout=60, env={"LC_ALL": "C"}).stdout
    return shown.count("Candidate: ") - shown.count("Candidate: (none)") == len(packages)


def update() -> None:
    """Fetch the package lists."""
    run(["apt-get", "update", "-q"], timeout=300, env=ENVIRONMENT)


def enable_backports(release: str) -> bool:
    """Add this release's backports from the mirror in use; return False when they were there."""
    suite = f"{release}-backports"
    known = sources()
    if any(source.suite == suite for source in known):
        return False
    uri = next((source.uri for source in known if source.suite == release), None)
    if uri is None:
        raise RuntimeError(
            f"apt knows no Debian archive for {release}; add one to /etc/apt/sources.list.d and run "
            "`apt-get update`."
        )
    BACKPORTS.write_text(
        "# Added by Armillary: Incus comes from here. `invoke down` leaves it in place.\n"
        f"Types: deb\nURIs: {uri}\nSuites: {suite}\nComponents: main\nSigned-By: {KEYRING}\n"
    )
    return True


def install(packages: Sequence[str]) -> None:
    """Install packages without their recommendations."""
    run(
        ["apt-get", "install", "-y", "-q", "--no-install-recommends", *packages],
        timeout=900,
        env=ENVIRONMENT,
    )
