"""The UUID by which a cluster's objects are known, and the cloud that a cluster is pinned to."""

from __future__ import annotations

import uuid
from pathlib import Path

import pytest

from armillary.identity import WrongCloud, check, cluster_id, pin, pinned
from armillary.paths import ClusterPaths


def test_cluster_id_is_made_once_for_each_cluster(tmp_path: Path) -> None:
    one, other = ClusterPaths(tmp_path / "one"), ClusterPaths(tmp_path / "other")
    for paths in (one, other):
        paths.make()
    first = cluster_id(one)
    assert str(uuid.UUID(first)) == first
    assert cluster_id(one) == first
    assert cluster_id(other) != first


PIN = {"cloud": "openstack", "auth_url": "https://a.example/v3", "project": "1", "region": "here"}


def test_a_cluster_is_pinned_once_and_another_cloud_is_refused(tmp_path: Path) -> None:
    paths = ClusterPaths(tmp_path)
    assert pinned(paths) is None
    check(paths, "science", PIN)
    pin(paths, PIN)
    check(paths, "science", dict(reversed(PIN.items())))
    other = PIN | {"project": "2", "region": "there"}
    with pytest.raises(WrongCloud) as refused:
        check(paths, "science", other)
    said = str(refused.value)
    assert "project: made in 1, now 2" in said
    assert "region: made in here, now there" in said
    assert "auth_url" not in said
    assert "Nothing was touched" in said
    # The first `up` alone pins.
    pin(paths, other)
    assert pinned(paths) == PIN


@pytest.mark.parametrize("name", PIN)
def test_whatever_tells_clouds_apart_is_compared(tmp_path: Path, name: str) -> None:
    paths = ClusterPaths(tmp_path)
    pin(paths, PIN)
    for other in (PIN | {name: "x"}, {key: PIN[key] for key in PIN if key != name}):
        with pytest.raises(WrongCloud, match=f"{name}: made in"):
            check(paths, "science", other)
