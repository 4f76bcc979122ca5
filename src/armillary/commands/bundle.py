"""`invoke bundle`: write one file with all that a cluster needs where no network reaches."""

from __future__ import annotations

from pathlib import Path

from rich.console import Console

from armillary.bundle.pack import pack
from armillary.clouds import builder
from armillary.commands.common import CommandFailed, load
from armillary.report.progress import Progress
from armillary.stages.artifacts import Artifacts
from armillary.stages.contract import StageError

SUFFIX = "-bundle.tar"


def bundle(
    console: Console, *, cloud: str = "local", cluster: str | None = None, output: str | None = None
) -> None:
    """Write a bundle for a cluster.

    Args:
        console: where to print.
        cloud: the folder of inventories/ to take when `cluster` does not say.
        cluster: which cluster.
        output: the file to write.

    Raises:
        CommandFailed: cluster.yml is wrong, or something cannot be built; says how to go on.
    """
    context = load(cloud, cluster)
    target = Path(output or f"{context.cluster.name}{SUFFIX}").absolute()
    if not target.parent.is_dir():
        raise CommandFailed(
            f"{target.parent} does not exist; make it, or choose another place with --output."
        )
    progress = Progress(console, f"Bundle for cluster {context.cluster.name}")
    context.say = progress.say
    steps = [
        (Artifacts.name, Artifacts.title, Artifacts().foreseen(context)),
        ("pack", "Fetch the rest and write it", 90.0),
    ]
    with progress.run(steps):
        with progress.stage(Artifacts.name) as line:
            try:
                builder.install(context.say)
                line.outcome = "changed" if Artifacts().apply(context) else "unchanged"
            except StageError as error:
                raise CommandFailed(str(error)) from error
        with progress.stage("pack") as line:
            pack(context.cluster, context.cloud, context.supply, target, context.say)
            line.outcome = "changed"
    size = target.stat().st_size
    console.print(
        f"\n[green]Wrote[/] {target} ({size / 1e9:.2f} GB), and its digest beside it. On the machine in the closed "
        "network, in a directory with both files:\n\n"
        f"    tar -xOf {target.name} install.sh | sh -s {target.name}",
        soft_wrap=True,
    )
