"""`invoke alerts audit`: the books of the alert pipeline, closed for an hour."""

from __future__ import annotations

import re

from rich.console import Console

from armillary.commands.common import CommandFailed, load
from armillary.tools.process import run

NAMESPACE = "alerts"
HOUR = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}")
#: The ledger of a busy hour, and the archive of its night, are read.
SECONDS = 900.0
ACTIONS = ("audit",)


def alerts(
    console: Console,
    action: str,
    *,
    hour: str | None = None,
    cloud: str = "local",
    cluster: str | None = None,
    as_json: bool = False,
) -> int:
    """Close the books of an hour, and print them.

    Args:
        console: where to print.
        action: `audit`.
        hour: as 2026-11-25T03, UTC; the last full one by default.
        cloud: the folder of inventories/ to take when `cluster` does not say.
        cluster: which cluster.
        as_json: print JSON.

    Returns:
        The exit code: 0 every alert is accounted for, 1 one is not, 2 could not tell.

    Raises:
        CommandFailed: there is no such action or hour, or the cluster has no alerts.
    """
    if action not in ACTIONS:
        raise CommandFailed(f"There is no `alerts {action}`; there is `alerts {ACTIONS[0]}`.")
    if hour is not None and not HOUR.fullmatch(hour):
        raise CommandFailed(f"`{hour}` is no hour: write it as 2026-11-25T03, in UTC.")
    context = load(cloud, cluster)
    name = context.cluster.name
    if context.cluster.components.alerts is None:
        raise CommandFailed(
            f"Cluster {name} has no alerts: there is no `components.alerts` in cluster.yml (docs/how-to/alerts.md)."
        )
    if not context.paths.endpoints.exists():
        raise CommandFailed(f"Cluster {name} is not up; `invoke up` makes it.", code=2)
    done = run(
        [
            str(context.supply.artifact("kubernetes").bin_dir / "kubectl"),
            f"--kubeconfig={context.paths.kubeconfig}",
            f"--namespace={NAMESPACE}",
            "exec",
            "deployment/alerts",
            "--",
            *(
                "python3",
                "-m",
                "armillary_alerts.cli",
                "--settings",
                "/etc/alerts/audit.yml",
                "audit",
            ),
            *(("--hour", hour) if hour else ()),
            *(("--json",) if as_json else ()),
        ],
        timeout=SECONDS,
        check=False,
    )
    if done.stdout:
        console.print(done.stdout.rstrip(), markup=False, soft_wrap=True)
    if done.returncode not in (0, 1) or not done.stdout:
        raise CommandFailed(f"The books could not be read.\n{done.stderr.strip()}", code=2)
    return done.returncode
