"""`invoke doctor`: what this machine and the cloud lack for a cluster; `up` asks the same before it makes anything."""

from __future__ import annotations

import json

from rich.console import Console

from armillary.commands.common import load
from armillary.report.checks import ANSWERS, GOOD, table, verdict


def doctor(
    console: Console, *, cloud: str = "local", cluster: str | None = None, as_json: bool = False
) -> int:
    """Print what was looked at, and what is missing.

    Returns:
        0 when nothing is missing, 1 when something is, 2 when something could not be told.

    Raises:
        CommandFailed: cluster.yml is wrong.
    """
    context = load(cloud, cluster)
    checks = context.cloud.preflight(context.cluster)
    code = verdict(checks)
    if as_json:
        found = [check.model_dump(mode="json") for check in checks]
        answer = {"cluster": context.cluster.name, "ok": ANSWERS[code], "checks": found}
        console.print_json(json.dumps(answer))
        return code
    console.print(table(checks, since=False))
    if code == GOOD:
        console.print("\nNothing is missing.")
    return code
