"""`invoke orphans`: what is left in a cloud of clusters that this machine knows nothing of."""

from __future__ import annotations

import json

from rich.console import Console
from rich.table import Table

from armillary.commands.common import GOOD, WRONG, load
from armillary.paths import all_clusters


def orphans(
    console: Console, *, cloud: str = "local", cluster: str | None = None, as_json: bool = False
) -> int:
    """Print every object of Armillary's whose cluster has no state directory here; touch none.

    Args:
        console: where to print.
        cloud: the folder of inventories/ to take when `cluster` does not say.
        cluster: whose cluster.yml says which cloud is meant.
        as_json: print one JSON object.

    Returns:
        0 when there is none, 1 when there are some.

    Raises:
        CommandFailed: cluster.yml is wrong.
        CloudError: the cloud cannot be asked.
    """
    at = load(cloud, cluster).cloud
    known = {at.mark(paths) for paths in all_clusters()}
    found = [thing for thing in at.things() if thing.mark not in known]
    if as_json:
        rows = [
            {"kind": each.kind, "name": each.name, "id": each.id, "cluster": each.mark}
            for each in found
        ]
        console.print_json(json.dumps({"ok": not rows, "orphans": rows}))
        return WRONG if found else GOOD
    if not found:
        console.print("No orphans: whatever Armillary made here belongs to a cluster known here.")
        return GOOD
    table = Table(box=None, padding=(0, 2), header_style="bold")
    for column in ("Kind", "Name", "ID", "Cluster"):
        table.add_column(column, overflow="fold")
    for each in found:
        table.add_row(each.kind, each.name, each.id, each.mark)
    console.print(table)
    console.print(
        "\nNo state directory on this machine knows these clusters; another machine may. Nothing "
        "was touched. What nobody needs goes with the cloud's own client, in this order."
    )
    return WRONG
