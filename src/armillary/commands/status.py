"""`invoke status`: what runs, since when, what is wrong and why."""

from __future__ import annotations

from rich.console import Console

from armillary import status as look
from armillary.commands.common import load
from armillary.report.checks import WRONG, show
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
    about = {"cluster": context.cluster.name, "last_run": record.history(context.paths)[-6:]}
    code = show(console, checks, about if as_json else None)
    if code == WRONG and not as_json:
        console.print("\n`invoke up` mends what differs from cluster.yml.")
    return code
