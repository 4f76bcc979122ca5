"""`invoke plan`: what `up` would do, and nothing done."""

from __future__ import annotations

from rich.console import Console

from armillary.clouds.contract import CloudError
from armillary.commands.common import CommandFailed, load
from armillary.commands.up import STAGES
from armillary.stages.contract import StageError
from armillary.tools.terraform import TerraformError


def plan(console: Console, *, cloud: str = "local", cluster: str | None = None) -> bool:
    """Print, stage by stage, what `up` would do.

    Returns:
        whether there is anything to do.

    Raises:
        CommandFailed: cluster.yml is wrong, or a stage cannot tell.
    """
    context = load(cloud, cluster)
    if not context.paths.applied.exists():
        hosts = ", ".join(host.name for host in context.cluster.expanded_hosts())
        console.print(f"Nothing is there yet. `up` would prepare this machine and make: {hosts}.")
        return True
    if not context.cloud.ready():
        try:
            context.cloud.wake(context.say)
        except CloudError as error:
            raise CommandFailed(str(error)) from error
    anything = False
    for stage in STAGES:
        try:
            lines = stage.plan(context)
        except (StageError, TerraformError, CloudError) as error:
            raise CommandFailed(f"{stage.title}: {error}") from error
        except KeyError:
            lines = ["everything, once the hosts are there"]
        for line in lines:
            console.print(f"  {stage.name:<10} {line}", markup=False, highlight=False)
        anything = anything or bool(lines)
    if not anything:
        console.print("Nothing to change: all of it is as cluster.yml says.")
    return anything
