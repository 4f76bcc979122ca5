"""`invoke doctor`: what this machine and the cloud lack for a cluster; `up` asks the same before it makes anything."""

from __future__ import annotations

from rich.console import Console

from armillary.commands.common import load
from armillary.report.checks import GOOD, show
from armillary.stages.preflight import Preflight


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
    checks = Preflight().verify(context)
    about = {"cluster": context.cluster.name}
    code = show(console, checks, about if as_json else None, since=False)
    if code == GOOD and not as_json:
        console.print("\nNothing is missing.")
    return code
