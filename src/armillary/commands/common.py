"""What every command starts with: the cluster that is meant, its cloud, its lock."""

from __future__ import annotations

import fcntl
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from armillary import identity
from armillary.bundle.use import choose
from armillary.clouds import cloud_of
from armillary.config import ConfigError, parse_cluster, read_cluster
from armillary.models.change import check_change
from armillary.models.cluster import Cluster
from armillary.paths import ROOT, ClusterPaths
from armillary.report.checks import GOOD, UNTOLD, WRONG
from armillary.stages.contract import Context

__all__ = [
    "GOOD",
    "UNTOLD",
    "WRONG",
    "CommandFailed",
    "applied",
    "config_file",
    "load",
    "locked",
    "selection",
]
INVENTORIES = ROOT / "inventories"


class CommandFailed(RuntimeError):
    """A command ends here; the message is all that a person needs."""

    def __init__(self, message: str, code: int = WRONG) -> None:
        super().__init__(message)
        self.code = code


def config_file(cloud: str, cluster: str | None) -> Path:
    """Return the cluster.yml that is meant.

    Args:
        cloud: the folder of inventories/ to take when `cluster` does not say.
        cluster: the name of a folder in inventories/, or the path of a cluster.yml.

    Raises:
        CommandFailed: there is no such file; names those there are.
    """
    wanted = cluster or os.environ.get("ARMILLARY_CLUSTER") or cloud
    path = (
        Path(wanted) if wanted.endswith((".yml", ".yaml")) else INVENTORIES / wanted / "cluster.yml"
    )
    if not path.is_file():
        known = ", ".join(sorted(each.parent.name for each in INVENTORIES.glob("*/cluster.yml")))
        raise CommandFailed(
            f"{path} does not exist. Clusters in inventories/: {known}. "
            "`--cluster` takes one of them, or the path of a cluster.yml."
        )
    return path


def selection(cloud: str, cluster: str | None) -> str:
    """Return the options with which a command means this cluster again; empty where none are needed."""
    if cluster:
        return f"--cluster {cluster}"
    return "" if cloud == "local" else f"--cloud {cloud}"


def load(
    cloud: str,
    cluster: str | None,
    say: Callable[[str], None] = lambda _: None,
    *,
    from_bundle: str | None = None,
) -> Context:
    """Read and check the cluster.yml that is meant, and take up the bundle it is made from, if it is.

    Args:
        cloud: the folder of inventories/ to take when `cluster` does not say.
        cluster: the name of a folder in inventories/, or the path of a cluster.yml.
        say: told what is being done.
        from_bundle: a bundle's file, or `none`; what it was last when None.

    Raises:
        CommandFailed: it is wrong, or asks for a change that is not possible.
        BundleError: the bundle cannot be used.
        CloudError: this release does not know its cloud.
        WrongCloud: the cluster lives in another cloud than the one at hand.
    """
    path = config_file(cloud, cluster)
    try:
        shown = path.relative_to(Path.cwd()) if path.is_absolute() else path
    except ValueError:
        shown = path
    try:
        wanted, positions = read_cluster(shown)
    except ConfigError as error:
        raise CommandFailed(str(error)) from error
    paths = ClusterPaths.of(wanted.name)
    if paths.applied.exists():
        problems = check_change(applied(paths), wanted, positions)
        if problems:
            raise CommandFailed(str(ConfigError(problems)))
    choose(wanted, paths, from_bundle, say)
    context = Context(wanted, path, paths, cloud_of(wanted, paths), say)
    if identity.pinned(paths) is not None and context.cloud.ready():
        identity.check(paths, wanted.name, context.cloud.identity())
    return context


def applied(paths: ClusterPaths) -> Cluster:
    """Return the cluster as it was last provisioned."""
    return parse_cluster(paths.applied.read_text(), str(paths.applied))[0]


@contextmanager
def locked(paths: ClusterPaths) -> Iterator[None]:
    """Keep other runs away from this cluster; the kernel lets go when this process ends, however.

    Raises:
        CommandFailed: another run is at it.
    """
    paths.make()
    with paths.lock.open("a+") as stream:
        try:
            fcntl.flock(stream, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            stream.seek(0)
            raise CommandFailed(
                f"Another run (process {stream.read().strip() or 'unknown'}) is at work on "
                f"{paths.root.name}. Wait for it, or end it and try again."
            ) from None
        stream.truncate(0)
        stream.write(str(os.getpid()))
        stream.flush()
        yield
