"""Artifacts of kind `python`: programs with all that they import, as one directory that runs wherever it is put.

<name>/bin/<program>     starts with what lies in lib alone, beside Python's own library
<name>/lib/              what requirements.txt names, out of wheels
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from armillary.artifacts.contract import Job
from armillary.artifacts.entry import Artifact
from armillary.manifests import ManifestError
from armillary.tools import uv

PYTHON = "3.11"
"""Of the hosts: Debian 12's. Compiled modules fit no other."""
REQUIREMENTS = "requirements.txt"
HINTS = (
    (
        ("hash mismatch", "Hash mismatch", "`--require-hashes`"),
        "A package is not the one that {folder}/requirements.txt names. If requirements.in was changed on purpose, lock "
        "again as its first lines say; otherwise do not go on: what the package index hands out has been altered.",
    ),
    (
        ("No solution found", "has no wheels", "was not found in the package registry"),
        "The package index has no such package, or no wheel of it. Check UV_INDEX_URL (uv's settings), or choose another "
        "version in {folder}/requirements.in and lock again as its first lines say.",
    ),
)
_START = b"""\
#!/usr/bin/python3 -IS
import pathlib, sys
sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "lib"))
"""


def check(entry: Artifact, folder: Path) -> None:
    """Compare an entry with its requirements.txt.

    Raises:
        ManifestError: they do not fit.
    """
    assert entry.module
    lock = folder / REQUIREMENTS
    text = lock.read_text() if lock.is_file() else ""
    locked = re.search(rf"^{re.escape(entry.module)}==(\S+)", text, re.MULTILINE)
    if not locked or locked.group(1) != entry.version:
        raise ManifestError(
            f"Artifact {entry.name}: artifacts.yml says {entry.version}, {entry.folder}/{REQUIREMENTS} "
            f"{'has ' + locked.group(1) if locked else 'has no ' + entry.module}. Lock again as requirements.in says, "
            "or correct `version`."
        )


def facts(entry: Artifact) -> dict[str, Any]:
    """Return for which Python it is, and how its programs start."""
    return {"python": PYTHON, "platform": uv.platform(), "start": _START.decode()}


def make(job: Job) -> None:
    """Make the directory of an artifact, out of wheels with the digests of its requirements.txt.

    Raises:
        CommandError, CommandTimeout: uv cannot; says why.
    """
    [tree] = job.entry.binaries
    home = job.out / tree
    job.progress(f"{job.entry.name} {job.entry.version}: installing from its lock file")
    uv.install(job.folder / REQUIREMENTS, home / "lib", PYTHON, job.progress)
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
