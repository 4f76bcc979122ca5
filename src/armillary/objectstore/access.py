"""How the object store is opened: one shape for every cloud."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from armillary import secrets
from armillary.models.cluster import Cluster
from armillary.paths import ClusterPaths

PORT = 7480
"""Where the services host serves it."""
REGION = "us-east-1"
"""What programs that speak S3 take for granted where nobody tells them."""
OWN = "own_object_store"
"""Among the secrets: of a store on the services host."""
CLOUDS = "object_store"
"""Among the secrets: of the cloud's own store."""


@dataclass(frozen=True)
class Key:
    """A key of S3."""

    access: str
    secret: str = field(repr=False)


@dataclass(frozen=True)
class Access:
    """Where the object store is, what is in it, and the keys."""

    endpoint: str
    """URL of S3; buckets are paths below it."""
    region: str
    """What requests are signed for."""
    ca: str
    """The authority to trust (PEM); empty where the public ones will do."""
    containers: Mapping[str, str]
    """Name in cluster.yml: name there."""
    keys: Mapping[str, Key]
    """Service or user: its key."""
    apart: bool
    """Whether a key opens no more than cluster.yml says; OpenStack's open all of the project's containers."""
    secret: str
    """Below which of the cluster's secrets the keys are, at `s3`."""


def writer(cluster: Cluster) -> tuple[str, str] | None:
    """Return somebody who may write, and a container, by its name in cluster.yml; None where nobody may."""
    store = cluster.components.object_store
    found = [
        (each.write[0], name)
        for name, each in (store.containers if store else {}).items()
        if each.write
    ]
    return found[0] if found else None


def access(cluster: Cluster, paths: ClusterPaths) -> Access | None:
    """Return how a cluster's object store is opened; None where there is none, or none is made yet.

    Args:
        cluster: whose.
        paths: its state directory, with its secrets and its authority.
    """
    store = cluster.components.object_store
    where = OWN if cluster.has_own_object_store else CLOUDS
    kept = secrets.load(paths).get(where)
    if store is None or kept is None:
        return None
    containers = {name: f"{cluster.name}-{name}" for name in store.containers}
    keys = {name: Key(**key) for name, key in kept["s3"].items() if name in cluster.s3_keys}
    if cluster.has_own_object_store:
        # By its address: pods and users' machines need no DNS that knows the cluster.
        endpoint = f"https://{cluster.services_host().address}:{PORT}"
        ca = (paths.pki / "ca.crt").read_text()
        return Access(endpoint, REGION, ca, containers, keys, True, where)
    return Access(kept["endpoint"], kept["region"], kept["ca"], containers, keys, False, where)
