"""Python programs with all that they import, as one directory that runs wherever it is put.

<name>/bin/<program>     starts with what lies in lib alone, beside Python's own library
<name>/lib/              what requirements.txt names, out of wheels
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from armillary.artifacts.manifest import Artifact
from armillary.tools import uv

PYTHON = "3.11"
"""Of the hosts: Debian 12's. Compiled modules fit no other."""
REQUIREMENTS = "requirements.txt"
_START = b"""\
#!/usr/bin/python3 -IS
import pathlib, sys
sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "lib"))
"""


def facts() -> dict[str, Any]:
    """Return what shapes such a directory, beside the files of its folder."""
    return {"python": PYTHON, "platform": uv.platform(), "start": _START.decode()}


def install(
    entry: Artifact, out: Path, root: Path, progress: Callable[[str], None] = lambda line: None
) -> None:
    """Make the directory of an artifact, out of wheels with the digests of its requirements.txt.

    Args:
        entry: which.
        out: where the directory is made.
        root: the checkout.
        progress: told what uv says.

    Raises:
        CommandError, CommandTimeout: uv cannot; says why.
    """
    [tree] = entry.binaries
    home = out / tree
    uv.install(root / entry.folder / REQUIREMENTS, home / "lib", PYTHON, progress)
    (home / "lib" / "bin").rename(home / "bin")
    for program in (home / "bin").iterdir():
        _settle(program)
    # These name the Python that uv ran with and digests of the programs as they were; nothing here reads them.
    for record in (home / "lib").glob("*.dist-info/RECORD"):
        record.unlink()
    (home / "lib" / ".lock").unlink(missing_ok=True)


def _settle(program: Path) -> None:
    """Have a program find what lies beside it, and nothing that the host or a user has installed."""
    first, _, rest = program.read_bytes().partition(b"\n")
    if first.startswith(b"#!") and b"python" in first:
        program.write_bytes(_START + rest)
    program.chmod(0o755)
