"""Maven, from Debian: fetches the files that a pom.xml asks for, and what they depend on."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from pathlib import Path

from armillary.tools import apt
from armillary.tools.process import CommandMissing, Completed, run

PACKAGES = ("default-jre-headless", "maven")
"""Debian's; installed when something has to be fetched, for they are large and most machines need them never."""
LIMIT = 1800.0
# Where files come from is the user's business (settings.xml); what is fetched is the pom's.
_ENVIRONMENT = {"MAVEN_OPTS": "-Xmx256m", "MAVEN_ARGS": ""}


def repository(cache: Path) -> Path:
    """Return where Maven keeps what it fetched, inside Armillary's own cache directory."""
    return cache / "maven"


def install(say: Callable[[str], None]) -> None:
    """Install Maven from Debian when it is missing.

    Raises:
        CommandMissing: it is missing, and only root may install it.
        CommandError, CommandTimeout: apt cannot.
    """
    if shutil.which("mvn"):
        return
    if os.geteuid() != 0:
        raise CommandMissing("mvn")
    say("installing Maven from Debian")
    apt.update()
    apt.install(PACKAGES)


def copy_dependencies(
    folder: Path, target: Path, *, cache: Path, on_line: Callable[[str], None] | None = None
) -> Completed:
    """Copy what the pom.xml in `folder` needs at run time into `target`, each file by its name and version.

    Args:
        folder: of pom.xml.
        target: a directory, made when it is not there.
        cache: Armillary's; fetched files stay in it.
        on_line: told each line that Maven prints.

    Raises:
        CommandError, CommandTimeout: from `mvn`.
        CommandMissing: no Maven.
    """
    return run(
        [
            "mvn",
            "--batch-mode",
            "--no-transfer-progress",
            "--strict-checksums",
            f"--file={folder / 'pom.xml'}",
            f"-Dmaven.repo.local={repository(cache)}",
            "-Dstyle.color=never",
            "-DincludeScope=runtime",
            f"-DoutputDirectory={target}",
            "dependency:copy-dependencies",
        ],
        env=_ENVIRONMENT,
        timeout=LIMIT,
        on_line=on_line,
    )
