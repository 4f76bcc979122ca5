"""`invoke status`: what runs, since when, what is wrong and why."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

from rich.console import Console
from rich.table import Table

from armillary import status as look
from armillary.commands.common import GOOD, UNTOLD, WRONG, load
from armillary.models.report import Check
from armillary.stages import record


def status(
    console: Console, *, cloud: str = "local", cluster: str | None = None, as_json: bool = False
) -> int:
    """Print the state of a cluster.

    Returns:
        0 when all is well, 1 when something is wrong, 2 when it could not be told.

    Raises:
        CommandFailed: cluster.yml is wrong.
    """
    context = load(cloud, cluster)
    checks = look.checks(context.paths, context.cluster)
    if as_json:
        more = {
            "cluster": context.cluster.name,
            "last_run": record.history(context.paths)[-6:],
        }
        return print_json(console, checks, more)
    code = print_table(console, checks)
    if code == WRONG:
        console.print("\n`invoke up` mends what differs from cluster.yml.")
    return code


def verdict(checks: Sequence[Check]) -> int:
    """Return the exit code that checks come to."""
    if any(check.ok is False for check in checks):
        return WRONG
    return UNTOLD if any(check.ok is None for check in checks) else GOOD


def print_json(console: Console, checks: Sequence[Check], more: Mapping[str, Any]) -> int:
    """Print checks as one JSON object, with what else is to be in it; return the exit code."""
    code = verdict(checks)
    answer = {
        **more,
        "ok": {GOOD: True, WRONG: False, UNTOLD: None}[code],
        "checks": [check.model_dump(mode="json") for check in checks],
    }
    console.print_json(json.dumps(answer))
    return code


def print_table(console: Console, checks: Sequence[Check]) -> int:
    """Print checks for people; return the exit code."""
    table = Table(box=None, padding=(0, 2), header_style="bold")
    for column in ("", "Part", "Since", "What is wrong"):
        table.add_column(column, overflow="fold")
    for check in checks:
        mark = {True: "[green]✓[/]", False: "[red]✗[/]", None: "[yellow]?[/]"}[check.ok]
        since = f"{check.since:%Y-%m-%d %H:%M}" if check.since else ""
        table.add_row(mark, check.name, since, "" if check.ok else check.detail)
    console.print(table)
    return verdict(checks)
