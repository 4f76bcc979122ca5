"""What building a binary and building an image have in common: one at a time, whole or not at all, and said why not."""

from __future__ import annotations

import fcntl
import shutil
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from armillary.tools.process import Completed

STAGING = ".building-"
OTHERWISE = "Run the same command again after correcting this; what is built stays built."
Hints = Sequence[tuple[Sequence[str], str]]
"""Words that programs print, and what to do where one of them is seen."""


class BuildError(RuntimeError):
    """Something could not be built; the message says what, why, and what to do.

    Args:
        name: what was being built.
        what: what is wrong.
        hint: what to do about it.
        command: the command that failed.
        last: the last lines it printed.
    """

    kind = "Build"

    def __init__(self, name: str, what: str, hint: str, *, command: str = "", last: str = ""):
        self.name, self.hint, self.command, self.last_lines = name, hint, command, last
        parts = [f"{self.kind} {name}: {what}"]
        if command:
            parts.append(f"    $ {command}")
        if last:
            parts.append(last)
        super().__init__("\n".join([*parts, hint]))


def hint(hints: Hints, completed: Completed) -> str:
    """Return what to do about what a command printed."""
    printed = completed.stdout + completed.stderr
    return next(
        (text for marks, text in hints if any(mark in printed for mark in marks)), OTHERWISE
    )


@contextmanager
def locked(path: Path, waiting: Callable[[], None] = lambda: None) -> Iterator[None]:
    """Hold a lock that ends with this process, however it ends.

    Args:
        path: the file of the lock.
        waiting: told when another process has it.
    """
    with path.open("w") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            waiting()
            fcntl.flock(file, fcntl.LOCK_EX)
        yield


@contextmanager
def replacing(home: Path) -> Iterator[Path]:
    """Give a path to make a directory at, which becomes `home` if all goes well; the caller has the lock.

    What builds that were cut short have left beside it goes first.
    """
    for leftover in home.parent.glob(f"{STAGING}*"):
        shutil.rmtree(leftover, ignore_errors=True)
    with tempfile.TemporaryDirectory(prefix=STAGING, dir=home.parent) as name:
        staging = Path(name) / home.name
        yield staging
        shutil.rmtree(home, ignore_errors=True)
        staging.rename(home)
