"""uv: where the program itself lies, so that it can be lent to an image's build."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

from armillary.tools.process import CommandMissing, run


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
