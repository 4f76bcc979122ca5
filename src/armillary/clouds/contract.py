"""What every cloud answers; the rest of Armillary asks this and never which cloud it is."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, Protocol

from armillary.models.cluster import Cluster
from armillary.models.report import Check
from armillary.paths import ClusterPaths

Say = Callable[[str], None]
Root = Literal["data", "compute"]


class CloudError(RuntimeError):
    """The cloud cannot be used; the message says why and what to do."""


@dataclass(frozen=True)
class Thing:
    """One object in a cloud that was made for a cluster."""

    kind: str
    """In the cloud's own words: server, floating IP, storage volume, ..."""
    name: str
    id: str
    mark: str
    """What its cluster is known by there (`Cloud.mark`)."""
    lasting: bool
    """Whether `down` keeps it."""
    takes: Mapping[str, int] = field(default_factory=dict)
    """How much of which quota, by the names of models/quota.py, beside one of its kind."""
    status: str = ""
    """How it is, in the cloud's own word; empty for what has none."""


@dataclass(frozen=True)
class Carried:
    """What a bundle for a closed network carries for one cloud alone."""

    packages: Sequence[str]
    """Debian packages for the machine Armillary is typed on."""
    for_hosts: bool
    """Whether hosts install Debian packages: their image is not ours."""
    folders: Mapping[str, Path]
    """Directories, by their place in the cache."""


class Cloud(Protocol):
    """One kind of place that hosts come from."""

    name: str
    host_resource: str
    """The type of Terraform's resource that is a host; the roots call it `host`, by hosts' names."""

    def preflight(self, cluster: Cluster) -> list[Check]:
        """Return every shortfall at once, before anything is touched."""

    def prepare(self, say: Say) -> bool:
        """Have on this machine what the cloud needs; return whether anything was missing.

        Raises:
            CloudError: it cannot be had.
        """

    def carried(self, scratch: Path, say: Say) -> Carried:
        """Return what a bundle has to carry for this cloud, beside what every cluster runs.

        Args:
            scratch: a directory for what has to be made first.
            say: told what is being done.

        Raises:
            CloudError: some of it cannot be had.
        """

    def wake(self, say: Say) -> None:
        """Have a cloud that is installed answer; install nothing.

        Raises:
            CloudError: it does not.
        """

    def ready(self) -> bool:
        """Tell whether the cloud answers."""

    def identity(self) -> dict[str, str]:
        """Return what tells this cloud from every other; a cluster is pinned to it."""

    def mark(self, paths: ClusterPaths) -> str | None:
        """Return what all things of a cluster bear in this cloud; None when it never was in it."""

    def things(self) -> list[Thing]:
        """Return what any cluster has in this cloud, in the order it goes; asked of the cloud, not of Terraform.

        Raises:
            CloudError: the cloud cannot be asked.
        """

    def variables(self, paths: ClusterPaths, root: Root) -> dict[str, Any]:
        """Return the variables that only this cloud's roots know and cluster.yml does not say."""

    def advice(self, wrong: str) -> str:
        """Return what to do about an error of this cloud's that Terraform reports; empty where nothing is known of it."""

    def object_store(self, data: Mapping[str, Any]) -> dict[str, Any] | None:
        """Return how the cluster's containers in the cloud's own store are opened: secrets, so for files of 0600 alone.

        Args:
            data: the outputs of Terraform's root `data`.

        Returns:
            `auth_url`, `region`, `id` and `secret` of an application credential, `ca` (PEM; empty where the public
            authorities will do), `endpoint` (the URL of S3) and `s3` (service or user: `access` and `secret`); None where
            there are no containers.
        """

    def empty(self, container: str, say: Say) -> None:
        """Delete all that is in a container of the object store.

        Raises:
            CloudError: it cannot be.
        """

    def quirks(self) -> dict[str, bool]:
        """Return what roles must know of the hosts (`armillary_host_quirks`)."""

    def host_keys(self, hosts: Mapping[str, Any], say: Say) -> dict[str, str]:
        """Return each host's ssh public key by a way that cannot be listened in on.

        Args:
            hosts: the `hosts` of Terraform's output `cluster`.
            say: told what is waited for.
        """

    def halt(self, hosts: Mapping[str, Any], say: Say) -> None:
        """Shut hosts down in good order before they go: what they had written is on their volumes then.

        Args:
            hosts: those that go, of the `hosts` of Terraform's output `cluster`.
            say: told what is waited for.

        Raises:
            CloudError: one does not stop.
        """

    def publish_names(self, cluster: Cluster, address: str) -> list[str]:
        """Make the cluster's names known on this machine; return what a person should know."""

    def withdraw_names(self, cluster: Cluster) -> None:
        """Undo `publish_names`."""

    def tidy(self, *, data: bool) -> None:
        """After the last cluster is down, stop what `prepare` started; with `data`, all of it."""


def things_of(cloud: Cloud, paths: ClusterPaths) -> list[Thing]:
    """Return what the cloud has of one cluster, in the order it goes; nothing where it never was.

    Raises:
        CloudError: the cloud cannot be asked.
    """
    mark = cloud.mark(paths)
    return [] if mark is None else [thing for thing in cloud.things() if thing.mark == mark]
