"""`invoke down`: take a cluster away; its data only when that is asked for by name."""

from __future__ import annotations

import shutil
import time
from collections.abc import Callable

from rich.console import Console

from armillary import identity
from armillary.clouds.contract import CloudError, Thing, things_of
from armillary.commands.common import CommandFailed, load, locked, selection
from armillary.report.progress import Progress
from armillary.stages.configure import Configure
from armillary.stages.contract import Context, StageError
from armillary.stages.provision import Provision, known_volumes
from armillary.tools.process import CommandError
from armillary.tools.terraform import TerraformError

LEAVE_SECONDS = 60.0
"""Clouds say that a thing is deleted some time before it is gone."""


def down(
    console: Console,
    *,
    cloud: str = "local",
    cluster: str | None = None,
    with_data: bool = False,
    yes_lose: str | None = None,
    ask: Callable[[str], str] = input,
) -> None:
    """Remove all that `up` made, and with `with_data` the volumes too.

    Args:
        console: where to print.
        cloud: the folder of inventories/ to take when `cluster` does not say.
        cluster: which cluster.
        with_data: the volumes, keys and passwords as well.
        yes_lose: the cluster's name, in place of typing it when asked.
        ask: asks a person for a line.

    Raises:
        CommandFailed: it was not confirmed, or something could not be removed.
    """
    context = load(cloud, cluster)
    name = context.cluster.name
    if not context.paths.root.exists():
        console.print(f"Cluster {name} is not there: nothing to take down.")
        return
    if with_data:
        _confirm(console, context, yes_lose, ask)
    progress = Progress(console, f"Taking down cluster {name}")
    context.say = progress.say
    steps = [("compute", "Hosts and network", 10.0)]
    if with_data:
        steps.append(("data", "Volumes, keys and passwords", 3.0))
    steps.append(("machine", "What was started on this machine", 2.0))
    with progress.run(steps), locked(context.paths):
        try:
            with progress.stage("compute") as line:
                context.cloud.wake(context.say)
                identity.check(context.paths, name, context.cloud.identity())
                _show(console, _things(context, lasting=with_data))
                Provision().destroy(context)
                Configure().destroy(context)
                _prove(context, lasting=False)
                line.outcome = "changed"
            if with_data:
                with progress.stage("data") as line:
                    Provision().destroy_data(context)
                    _prove(context, lasting=True)
                    shutil.rmtree(context.paths.root)
                    line.outcome = "changed"
            with progress.stage("machine") as line:
                context.cloud.withdraw_names(context.cluster)
                context.cloud.tidy(data=with_data)
                line.outcome = "changed"
        except (CloudError, CommandError, TerraformError, StageError, identity.WrongCloud) as error:
            raise CommandFailed(f"{error}\nTo go on: the same command again.") from error
    chosen = selection(cloud, cluster)
    if with_data:
        console.print(f"\nCluster {name} and its data are gone.")
    else:
        console.print(
            f"\nCluster {name} is down. Its volumes, keys and passwords are kept: "
            f"`{f'invoke up {chosen}'.rstrip()}` brings them back, "
            f"`{f'invoke down {chosen}'.rstrip()} --with-data` deletes them."
        )


def _things(context: Context, *, lasting: bool) -> list[Thing]:
    """Return what the cloud has of the cluster; with `lasting`, what `down` would keep as well."""
    return [each for each in things_of(context.cloud, context.paths) if lasting >= each.lasting]


def _show(console: Console, things: list[Thing]) -> None:
    """Tell what goes, in order, one line a kind."""
    kinds: dict[str, list[str]] = {}
    for each in things:
        kinds.setdefault(each.kind, []).append(each.name)
    for kind, names in kinds.items():
        console.print(f"    {kind}: {', '.join(names)}", soft_wrap=True)


def _prove(context: Context, *, lasting: bool) -> None:
    """Ask the cloud whether anything is left.

    Raises:
        CloudError: something is, and stays; names it.
    """
    deadline = time.monotonic() + LEAVE_SECONDS
    while left := _things(context, lasting=lasting):
        context.say(f"waiting for {', '.join(f'{each.kind} {each.name}' for each in left)} to go")
        if time.monotonic() > deadline:
            raise CloudError(
                "Terraform is done, and the cloud still has of this cluster:\n"
                + "\n".join(f"    {each.kind} {each.name} ({each.id})" for each in left)
                + "\nSee with the cloud's client what holds them, and delete them there."
            )
        time.sleep(1)


def _confirm(
    console: Console, context: Context, yes_lose: str | None, ask: Callable[[str], str]
) -> None:
    name = context.cluster.name
    console.print("This deletes for good:")
    for line in _lost(context):
        console.print(f"    {line}", soft_wrap=True)
    typed = yes_lose if yes_lose is not None else ask(f"Type the cluster's name ({name}): ")
    if typed.strip() != name:
        raise CommandFailed(f"`{typed.strip()}` is not `{name}`: nothing was touched.")


def _lost(context: Context) -> list[str]:
    """Return what goes with the data, a line each; what the cloud alone knows of is asked of it, if it answers.

    Where it does not, nothing is deleted: the next step is to wake it.
    """
    name, backup = context.cluster.name, context.cluster.backup
    volumes = sorted(known_volumes(context).items())
    lines = [f"volume {volume} ({facts['size_gib']} GiB)" for volume, facts in volumes]
    told = {f"{name}-{volume}" for volume, _ in volumes}
    for each in _things(context, lasting=True) if context.cloud.ready() else []:
        if each.lasting and each.name not in told:
            holds = backup is not None and each.name == f"{name}-{backup.container}"
            lines.append(f"{each.kind} {each.name}{' and every backup in it' if holds else ''}")
    return [*lines, f"keys and passwords in {context.paths.root}"]
