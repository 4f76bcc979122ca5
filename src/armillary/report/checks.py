"""Checks as people and programs read them: a table, and one exit code."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

from rich.console import Console
from rich.table import Table

from armillary.models.report import Check

GOOD, WRONG, UNTOLD = 0, 1, 2
ANSWERS: dict[int, bool | None] = {GOOD: True, WRONG: False, UNTOLD: None}


def verdict(checks: Sequence[Check]) -> int:
    """Return 0 when all is well, 1 when something is wrong, 2 when something could not be told."""
    if any(check.ok is False for check in checks):
        return WRONG
    return UNTOLD if any(check.ok is None for check in checks) else GOOD


def show(
    console: Console,
    checks: Sequence[Check],
    about: Mapping[str, Any] | None = None,
    *,
    since: bool = True,
) -> int:
    """Print checks; return their verdict.

    Args:
        console: where to.
        checks: what was looked at.
        about: what a program is told besides; None prints for people.
        since: whether people are told since when.
    """
    code = verdict(checks)
    if about is None:
        console.print(table(checks, since=since))
    else:
        found = [check.model_dump(mode="json") for check in checks]
        console.print_json(json.dumps({**about, "ok": ANSWERS[code], "checks": found}))
    return code


def table(checks: Sequence[Check], *, since: bool = True) -> Table:
    """Return one line a check, with what is wrong where something is, or else what is worth knowing.

    Args:
        checks: what was looked at.
        since: whether there is a column for since when.
    """
    found = Table(box=None, padding=(0, 2), header_style="bold")
    for column in ("", "Part", *(["Since"] if since else []), "What is wrong, or worth knowing"):
        found.add_column(column, overflow="fold")
    for check in checks:
        mark = {True: "[green]✓[/]", False: "[red]✗[/]", None: "[yellow]?[/]"}[check.ok]
        when = f"{check.since:%Y-%m-%d %H:%M}" if check.since else ""
        detail = check.note if check.ok else check.detail
        found.add_row(mark, check.name, *([when] if since else []), detail)
    return found
