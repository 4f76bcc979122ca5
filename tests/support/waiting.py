"""Wait for a condition, never for a time; longer where cluster.yml asks for patience."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TypeVar

Found = TypeVar("Found")

_slowness = [1]


def be_patient(factor: int) -> None:
    """Take limits of time so many times from now on: `patience` of the cluster.yml that is looked at."""
    _slowness[0] = factor


def patient(seconds: float) -> float:
    """Return a limit that was meant for a quick machine, for the one that is looked at."""
    return seconds * _slowness[0]


class TooLate(AssertionError):
    """What was waited for did not come about in time."""


def until(
    look: Callable[[], Found | None],
    what: str,
    limit: float,
    *,
    pause: float = 0.2,
    why: Callable[[], str] = lambda: "",
) -> Found:
    """Look again and again until there is something to see, and return it.

    Args:
        look: returns what is waited for, or something false as long as it is not there.
        what: what is waited for, for the message: "the pod is ready".
        limit: seconds on a quick machine.
        pause: seconds between two looks.
        why: asked, when it is too late, for what is to be said about it.

    Raises:
        TooLate: nothing was seen in time.
    """
    limit = patient(limit)
    deadline = time.monotonic() + limit
    while True:
        found = look()
        if found:
            return found
        if time.monotonic() > deadline:
            raise TooLate(f"Not seen within {limit:.0f} s: {what}. {why()}".rstrip())
        time.sleep(pause)
