"""Incus, by its command-line client."""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from armillary.tools.process import CommandError, Completed, run

SOCKET = Path("/var/lib/incus/unix.socket")


def installed() -> bool:
    """Tell whether the client is on this machine."""
    return shutil.which("incus") is not None


def incus(*arguments: str, timeout: float = 60, input: str | None = None) -> Completed:
    """Run one `incus` command."""
    return run(["incus", *arguments], timeout=timeout, input=input)


def query(path: str, method: str = "GET", data: Mapping[str, Any] | None = None) -> Any:
    """Ask the REST API and return its answer's metadata.

    Raises:
        CommandError: the API refused; its message is the last line.
    """
    arguments = ["query", "--wait", "-X", method]
    if data is not None:
        arguments += ["-d", json.dumps(data)]
    out = incus(*arguments, path, timeout=180).stdout
    return json.loads(out) if out.strip() else None


def server() -> dict[str, Any] | None:
    """Return what the daemon says of itself, or None when none answers."""
    if not installed() or not SOCKET.exists():
        return None
    try:
        answer: dict[str, Any] = json.loads(incus("query", "/1.0", timeout=10).stdout)
    except (CommandError, ValueError):
        return None
    return answer


def instances(prefix: str = "") -> list[dict[str, Any]]:
    """Return the instances whose names start with `prefix`, with their state."""
    everything: list[dict[str, Any]] = query("/1.0/instances?recursion=1")
    return [each for each in everything if each["name"].startswith(prefix)]


def exec_in(instance: str, argv: Sequence[str], *, timeout: float = 60) -> Completed:
    """Run a program inside an instance, as root."""
    return incus("exec", "-T", instance, "--", *argv, timeout=timeout)


def exists(path: str) -> bool:
    """Tell whether the API has an object at this path (`/1.0/storage-pools/armillary`).

    Raises:
        CommandError: the API could not tell.
    """
    try:
        query(path)
    except CommandError as error:
        if re.search(r"not found|No such object", error.completed.stderr, re.IGNORECASE):
            return False
        raise
    return True
