"""uv: where the program itself lies, so that it can be lent to an image's build; and packages installed by it."""

from __future__ import annotations

import os
import platform as machine
import shutil
from collections.abc import Callable
from pathlib import Path

from armillary.tools.process import CommandMissing, run

GLIBC = "2_28"
"""Wheels for this one or older run on the hosts (Debian 12 has 2.36)."""
INSTALL_SECONDS = 900.0


def program() -> Path:
    """Return uv's own binary; what is on PATH may be a version manager's script.

    Raises:
        CommandMissing: uv is not installed.
    """
    # https://docs.astral.sh/uv/reference/environment/: uv names itself to what it runs.
    for found in (os.environ.get("UV"), shutil.which("uv")):
        if found and Path(found).is_file():
            with open(found, "rb") as file:
                if file.read(4) == b"\x7fELF":
                    return Path(found)
    told = run(["uv", "run", "--no-project", "printenv", "UV"], timeout=60, check=False)
    if not (path := Path(told.stdout.strip() or "/nonexistent")).is_file():
        raise CommandMissing("uv")
    return path


def platform() -> str:
    """Return what hosts of this machine's architecture are, in uv's words."""
    return f"{machine.machine()}-manylinux_{GLIBC}"


def install(
    requirements: Path, target: Path, python: str, on_line: Callable[[str], None] | None = None
) -> None:
    """Install the wheels that a lock file names into a directory; nothing is built, and digests are compared.

    Args:
        requirements: a requirements.txt in which each package has its version and digests.
        target: the directory, which is made; programs go to `bin` in it.
        python: the version of Python that will run it; any other may be here.
        on_line: called with each line that uv prints.

    Raises:
        CommandError, CommandTimeout: not all of it could be had.
        CommandMissing: uv is not installed.
    """
    wanted = ["--python-version", python, "--python-platform", platform(), "--only-binary", ":all:"]
    run(
        [
            *(str(program()), "pip", "install", "--quiet", "--no-deps"),
            *("--require-hashes", "--link-mode", "copy", "--target", str(target), *wanted),
            *("--requirement", str(requirements)),
        ],
        timeout=INSTALL_SECONDS,
        on_line=on_line,
    )
