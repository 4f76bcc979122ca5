"""Debian packages with all that they depend on, as an archive in a folder that apt installs from."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from pathlib import Path

from armillary.bundle.contents import BundleError
from armillary.images.settings import debian_archives
from armillary.tools import apt
from armillary.tools.process import CommandError, CommandTimeout, run, tail

SECONDS = 1800.0


def download(
    packages: Sequence[str], target: Path, scratch: Path, say: Callable[[str], None]
) -> None:
    """Fetch packages and all that they depend on, down to Debian's own C library.

    Nothing that happens to be installed here is taken for granted there, and nothing of this machine's apt is changed.

    Args:
        packages: names.
        target: a directory to make; in the end an archive with an index.
        scratch: a directory for apt's lists.
        say: told what is being done.

    Raises:
        BundleError: apt cannot have one; says why.
    """
    target.mkdir(parents=True)
    lines = debian_archives(apt.SUITE)
    main = next(line.split()[1] for line in lines if line.split()[2] == apt.SUITE)
    (scratch / "sources.list").write_text(
        "\n".join([*lines, f"deb {main} {apt.SUITE}-backports main"]) + "\n"
    )
    (scratch / "status").touch()
    for folder in ("lists", "cache"):
        (scratch / folder).mkdir(exist_ok=True)
    options = {
        "Dir::Etc::SourceList": scratch / "sources.list",
        "Dir::Etc::SourceParts": "/dev/null",
        "Dir::Etc::Preferences": "/dev/null",
        "Dir::Etc::PreferencesParts": "/dev/null",
        "Dir::State::Status": scratch / "status",
        "Dir::State::Lists": scratch / "lists",
        "Dir::Cache": scratch / "cache",
        "Dir::Cache::Archives": target,
        # Its own user cannot enter a directory that is for us alone.
        "APT::Sandbox::User": "root",
        "Acquire::Languages": "none",
    }
    apt_get = [
        "apt-get",
        "--quiet",
        *(f"--option={name}={value}" for name, value in options.items()),
    ]
    try:
        say("asking Debian's archive what there is")
        run([*apt_get, "update"], timeout=SECONDS, env=apt.ENVIRONMENT)
        say(f"fetching {len(packages)} Debian packages and what they depend on")
        install = ["--yes", "--no-install-recommends", "--download-only", "install", *packages]
        run([*apt_get, *install], timeout=SECONDS, env=apt.ENVIRONMENT)
    except CommandError as error:
        raise BundleError(
            f"apt cannot fetch what closed networks need:\n{tail(error.completed)}\n"
            "Correct this (the names are in the roles' defaults and in src/armillary/clouds), then again."
        ) from error
    except CommandTimeout as error:
        raise BundleError(f"Debian's archive is too slow: {error}") from error
    for leftover in (target / "lock", target / "partial"):
        leftover.unlink() if leftover.is_file() else leftover.rmdir()
    _index(target)


def _index(folder: Path) -> None:
    """Write the index by which apt knows a folder of packages for an archive.

    https://wiki.debian.org/DebianRepository/Format#A.22Packages.22_Indices
    """
    stanzas = []
    for package in sorted(folder.glob("*.deb")):
        control = run(["dpkg-deb", "--field", str(package)], timeout=60).stdout.rstrip("\n")
        with package.open("rb") as file:
            digest = hashlib.file_digest(file, "sha256").hexdigest()
        stanzas.append(
            f"{control}\nFilename: ./{package.name}\nSize: {package.stat().st_size}\nSHA256: {digest}\n"
        )
    (folder / "Packages").write_text("\n".join(stanzas))
