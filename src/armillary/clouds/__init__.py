"""What differs between clouds; nothing else may ask which cloud it is."""

from __future__ import annotations

from armillary.clouds.contract import Cloud, CloudError
from armillary.clouds.local import Local
from armillary.clouds.openstack import OpenStack
from armillary.models.cluster import Cluster
from armillary.paths import ClusterPaths

__all__ = ["Cloud", "CloudError", "cloud_of"]


def cloud_of(cluster: Cluster, paths: ClusterPaths) -> Cloud:
    """Return the cloud a cluster is on.

    Args:
        cluster: what it is.
        paths: its state directory.
    """
    return OpenStack(cluster, paths) if cluster.cloud == "openstack" else Local()
