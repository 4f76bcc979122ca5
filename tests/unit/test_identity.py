"""The UUID by which a cluster's objects are known."""

from __future__ import annotations

import uuid
from pathlib import Path

from armillary.identity import cluster_id
from armillary.paths import ClusterPaths


def test_cluster_id_is_made_once_for_each_cluster(tmp_path: Path) -> None:
    one, other = ClusterPaths(tmp_path / "one"), ClusterPaths(tmp_path / "other")
    for paths in (one, other):
        paths.make()
    first = cluster_id(one)
    assert str(uuid.UUID(first)) == first
    assert cluster_id(one) == first
    assert cluster_id(other) != first
