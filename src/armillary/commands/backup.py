"""`invoke backup` and `invoke restore`: the shared spaces, into the object store and back."""

from __future__ import annotations

import json
import re
import shlex
from datetime import datetime
from pathlib import PurePosixPath
from typing import Any

from rich.console import Console
from rich.table import Table

from armillary.commands.access import ssh_command
from armillary.commands.common import CommandFailed, load
from armillary.models.cluster import Cluster
from armillary.models.rules import EXPORTS
from armillary.stages.contract import Context
from armillary.tools.process import CommandError, Completed, run

HOURS = 12 * 3600.0
PROGRAM = "/usr/local/sbin/armillary-backup"
"""What role `backup` puts on the services host."""
SNAPSHOT = re.compile(r"latest|[0-9a-f]{8,64}")


def backup(
    console: Console,
    *,
    cloud: str = "local",
    cluster: str | None = None,
    only_list: bool = False,
    as_json: bool = False,
) -> None:
    """Back the shared spaces up now, and print the backups there are.

    Raises:
        CommandFailed: the cluster has no backups, or this one could not be made; says why.
    """
    context = _context(cloud, cluster)
    if not only_list:
        if not as_json:
            console.print("Backing up the shared spaces; what has not changed is not sent again.")
        _on_services(context, "systemctl", "start", "armillary-backup.service")
    found = json.loads(_on_services(context, PROGRAM, "list").stdout or "[]")
    if as_json:
        console.print_json(json.dumps({"ok": True, "backups": found}))
        return
    console.print(_table(context.cluster, found))


def restore(
    console: Console,
    *,
    snapshot: str,
    path: str,
    cloud: str = "local",
    cluster: str | None = None,
    in_place: bool = False,
) -> None:
    """Bring back a file or a directory of a shared space.

    Args:
        console: where to print.
        snapshot: which backup: its ID, or `latest`.
        path: what, as users see it, such as /srv/shared/homes/astronomer.
        cloud: the folder of inventories/ to take when `cluster` does not say.
        cluster: which cluster.
        in_place: over what is there, not beside it.

    Raises:
        CommandFailed: there is no such backup or path; says why.
    """
    context = _context(cloud, cluster)
    if not SNAPSHOT.fullmatch(snapshot):
        raise CommandFailed(f"`{snapshot}` is no backup's ID. `invoke backup --list` shows them.")
    space, source = exported(context.cluster, path)
    target = "/" if in_place else f"{EXPORTS}/{space}/restored/{snapshot}"
    done = _on_services(context, PROGRAM, "restore", snapshot, source, target)
    if not in_place:
        there = f"{target}{source}"
        if not _is_there(context, there):
            raise CommandFailed(f"Backup {snapshot} has nothing at {path}.\n{done.stdout}")
        mount = context.cluster.shared[space].mount
        console.print(f"{path} as it was is at {mount}/restored/{snapshot}{source}.")
        return
    console.print(f"{path} is as it was; what came later than the backup is still there.")


def exported(cluster: Cluster, path: str) -> tuple[str, str]:
    """Return the shared space that a path on Kubernetes hosts is in, and its path on the services host.

    Raises:
        CommandFailed: it is in none.
    """
    wanted = PurePosixPath(path)
    if ".." not in wanted.parts:
        for name, space in cluster.shared.items():
            if wanted.is_relative_to(space.mount):
                inside = wanted.relative_to(space.mount)
                return name, str(PurePosixPath(EXPORTS) / name / inside)
    mounts = ", ".join(space.mount for space in cluster.shared.values())
    raise CommandFailed(f"`{path}` is in no shared space. Those are below {mounts}.")


def _context(cloud: str, cluster: str | None) -> Context:
    context = load(cloud, cluster)
    if context.cluster.backup is None:
        raise CommandFailed(
            f"Cluster {context.cluster.name} has no backups: there is no `backup` in cluster.yml "
            "(docs/how-to/backup.md)."
        )
    return context


def _on_services(context: Context, *argv: str) -> Completed:
    host = context.cluster.services_host().name
    try:
        return run([*ssh_command(context, host), shlex.join(["sudo", *argv])], timeout=HOURS)
    except CommandError as error:
        why = error.completed.stderr
        if argv[0] == "systemctl":
            log = ["sudo", "journalctl", "-u", argv[-1], "-n", "20", "--no-pager", "-o", "cat"]
            why = run([*ssh_command(context, host), *log], timeout=60, check=False).stdout
        raise CommandFailed(f"`{' '.join(argv)}` failed on {host}:\n{why}") from error


def _is_there(context: Context, path: str) -> bool:
    host = context.cluster.services_host().name
    command = [*ssh_command(context, host), shlex.join(["sudo", "test", "-e", path])]
    return run(command, timeout=60, check=False).returncode == 0


def _table(cluster: Cluster, found: list[dict[str, Any]]) -> Table:
    table = Table(box=None, padding=(0, 2), header_style="bold")
    for column in ("Backup", "Made", "Of"):
        table.add_column(column, overflow="fold")
    mounts = {f"{EXPORTS}/{name}": space.mount for name, space in cluster.shared.items()}
    for each in found:
        made = datetime.fromisoformat(re.sub(r"\.\d+", "", each["time"]).replace("Z", "+00:00"))
        spaces = ", ".join(mounts.get(path, path) for path in each["paths"])
        table.add_row(each["short_id"], f"{made:%Y-%m-%d %H:%M %z}", spaces)
    return table
