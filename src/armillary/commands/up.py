"""`invoke up`: make a cluster what its cluster.yml says, from wherever it stands."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime

from rich.console import Console
from rich.table import Table

from armillary.commands.common import CommandFailed, load, locked, selection
from armillary.files import write
from armillary.models.endpoints import Endpoints
from armillary.models.report import StageReport
from armillary.report.progress import Line, Progress, duration
from armillary.stages import record
from armillary.stages.artifacts import Artifacts
from armillary.stages.configure import Configure, roles
from armillary.stages.contract import Context, Stage, StageError
from armillary.stages.preflight import Preflight
from armillary.stages.prepare import Prepare
from armillary.stages.provision import Provision, output
from armillary.stages.verify import Verify

STAGES: Sequence[Stage] = (
    Preflight(),
    Prepare(),
    Provision(),
    Artifacts(),
    Configure(),
    Verify(),
)


def up(
    console: Console,
    *,
    cloud: str = "local",
    cluster: str | None = None,
    replace: Sequence[str] = (),
    converge: bool = False,
    tags: Sequence[str] = (),
    bundle: str | None = None,
) -> None:
    """Run every stage that has something to do.

    Args:
        console: where to print.
        cloud: the folder of inventories/ to take when `cluster` does not say.
        cluster: which cluster.
        replace: hosts that may be made anew.
        converge: run every role again.
        tags: run these roles alone.
        bundle: a file of `invoke bundle`, from which alone everything is taken; `none` for networks again; what it was
            last when None.

    Raises:
        CommandFailed: cluster.yml is wrong, or a stage failed; says how to go on.
    """
    context = load(
        cloud, cluster, lambda doing: console.print(doing, soft_wrap=True), from_bundle=bundle
    )
    context.replace, context.converge = frozenset(replace), converge
    unknown = context.replace - {host.name for host in context.cluster.expanded_hosts()}
    if unknown:
        raise CommandFailed(f"--replace: no host is called {', '.join(sorted(unknown))}.")
    context.tags = frozenset(tags)
    if strange := context.tags - set(roles()):
        raise CommandFailed(
            f"--tags: no role is called {', '.join(sorted(strange))}. Roles: {', '.join(roles())}."
        )
    stages = [stage for stage in STAGES if not (tags and stage.name == "verify")]
    again = f"uv run invoke up {selection(cloud, cluster)}".rstrip()
    progress = Progress(console, f"Cluster {context.cluster.name} on cloud {context.cluster.cloud}")
    context.say = progress.say
    preflight = STAGES[0]
    expectations = [
        (stage.name, stage.title, record.expected(context.paths, stage.name, stage.expected))
        for stage in stages
    ]
    with progress.run(expectations):
        with progress.stage(preflight.name) as line:
            _apply(preflight, context, line, again)
        progress.expect(Artifacts.name, Artifacts().foreseen(context))
        with locked(context.paths):
            for stage in stages[1:]:
                with progress.stage(stage.name) as line:
                    _apply(stage, context, line, again)
                if stage.name == "provision":
                    _provisioned(context)
                if stage.name == Artifacts.name:
                    context.supply.remember()
    if tags:
        console.print(
            f"\nOnly {', '.join(sorted(context.tags))} ran. `{again}` makes all of the cluster."
        )
        return
    _finish(console, context, progress.lines, selection(cloud, cluster))


def _provisioned(context: Context) -> None:
    """Remember what was asked for, and make its names known on this machine."""
    write(context.paths.applied, context.config.read_text())
    entry = output(context)["entry"]
    context.cloud.publish_names(context.cluster, entry["floating_ip"] or entry["address"])


def _apply(stage: Stage, context: Context, line: Line, again: str) -> None:
    started = datetime.now(UTC)
    changed: bool | None = None
    error: str | None = None
    try:
        changed = stage.apply(context)
        line.outcome = "changed" if changed else "unchanged"
    except KeyboardInterrupt:
        error = "interrupted"
        raise CommandFailed(
            f"Stopped in stage `{stage.name}`. Nothing is lost; to go on: {again}"
        ) from None
    except StageError as failure:
        error = failure.wrong
        parts = [f"Stage `{stage.name}` failed: {failure.wrong}"]
        if failure.tail:
            parts.append(failure.tail)
        if failure.log is not None:
            parts.append(f"The whole log: {failure.log}")
        if failure.fix:
            parts.append(failure.fix)
        parts.append(f"Stages before it stand. To go on once it is mended: {again}")
        raise CommandFailed("\n".join(parts)) from failure
    except RuntimeError as failure:
        error = str(failure)
        raise CommandFailed(
            f"Stage `{stage.name}` failed: {failure}\n"
            f"Stages before it stand. To go on once it is mended: {again}"
        ) from failure
    except BaseException as failure:
        error = f"{type(failure).__name__}: {failure}"
        raise
    finally:
        if context.paths.root.is_dir():
            record.append(
                context.paths,
                StageReport(
                    stage=stage.name,
                    verb="apply",
                    started=started,
                    seconds=round((datetime.now(UTC) - started).total_seconds(), 2),
                    expected_seconds=line.expected,
                    changed=changed,
                    error=error,
                ),
            )


def _finish(console: Console, context: Context, lines: Sequence[Line], chosen: str) -> None:
    spent = duration(sum(line.seconds for line in lines))
    if all(line.outcome == "unchanged" for line in lines):
        console.print(f"\n[green]Nothing to change[/]: all of it is as cluster.yml says ({spent}).")
    else:
        console.print(f"\n[green]Cluster {context.cluster.name} is up[/] ({spent}).")
    show_access(console, context, chosen)


WIDE = 250


def show_access(console: Console, context: Context, chosen: str) -> None:
    """Print where a cluster is reached, in lines that are never folded: they are there to be copied.

    Args:
        console: where to print.
        context: the cluster.
        chosen: the options that mean it (`selection`).
    """
    wide(console).print(_access_table(context, chosen))


def wide(console: Console) -> Console:
    """Return a console that prints to the same place and folds no line."""
    return Console(
        file=console.file, force_terminal=console.is_terminal, width=WIDE, highlight=False
    )


def _access_table(context: Context, chosen: str) -> Table:
    """Return where the cluster is reached, how to log in, and what to type next."""
    found = Endpoints.model_validate_json(context.paths.endpoints.read_text())
    table = Table(show_header=True, header_style="bold", box=None, padding=(0, 2))
    for column in ("What", "Where", "Log in as"):
        table.add_column(column, overflow="fold")
    for endpoint in found.endpoints:
        table.add_row(endpoint.description, endpoint.url, endpoint.login or "")
    table.add_row("Passwords", _command("password USER", chosen), "")
    table.add_row("Kubernetes", f"export KUBECONFIG={context.paths.kubeconfig}", "")
    table.add_row("CA certificate", str(context.paths.pki / "ca.crt"), "")
    for what, command, does in (
        ("Next", "test", "proves that all of it works"),
        ("", "status", "what runs, and what is wrong"),
        ("", "down", "takes it down and keeps the data"),
    ):
        table.add_row(what, f"{_command(command, chosen)}   {does}", "")
    return table


def _command(words: str, chosen: str) -> str:
    return f"uv run invoke {words} {chosen}".rstrip()
