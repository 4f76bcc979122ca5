"""A cluster is pinned to the cloud it was made in: everything else is refused."""

from __future__ import annotations

import json
import uuid
from collections.abc import Mapping

from armillary.files import write
from armillary.paths import ClusterPaths


class WrongCloud(RuntimeError):
    """The credentials at hand lead to another cloud than the one this cluster lives in."""


def pinned(paths: ClusterPaths) -> dict[str, str] | None:
    """Return the identity this cluster is pinned to; None before its first `up`."""
    try:
        found: dict[str, str] = json.loads(paths.identity.read_text())
    except FileNotFoundError:
        return None
    return found


def cluster_id(paths: ClusterPaths) -> str:
    """Return the UUID that all that is made for the cluster bears; the first call makes it.

    Names are not enough to know what is a cluster's own: in a shared project others may choose
    them alike. The cluster's state directory must exist when the first call is made.
    """
    try:
        return paths.cluster_id.read_text().strip()
    except FileNotFoundError:
        write(paths.cluster_id, f"{uuid.uuid4()}\n")
    return paths.cluster_id.read_text().strip()


def check(paths: ClusterPaths, cluster: str, identity: Mapping[str, str]) -> None:
    """Compare with the pinned identity.

    Raises:
        WrongCloud: they differ; says in what.
    """
    known = pinned(paths)
    if known is None or known == dict(identity):
        return
    lines = [
        f"    {key}: made in {known.get(key)}, now {identity.get(key)}"
        for key in sorted({*known, *identity})
        if known.get(key) != identity.get(key)
    ]
    raise WrongCloud(
        f"Cluster `{cluster}` was made in another cloud than the one at hand:\n"
        + "\n".join(lines)
        + "\nNothing was touched. Use the credentials it was made with. If that cloud is gone for "
        f"good, move {paths.root} away and run `up` for a new cluster."
    )


def pin(paths: ClusterPaths, identity: Mapping[str, str]) -> None:
    """Write the identity down at the first `up`."""
    if pinned(paths) is None:
        write(paths.identity, json.dumps(dict(identity), indent=2, sort_keys=True) + "\n")
