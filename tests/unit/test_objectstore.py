"""What the object store is told to be, who gets which key, and how others are told to open it; nothing runs."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml

from armillary import secrets
from armillary.clouds.openstack import s3_endpoint
from armillary.endpoints import write_endpoints
from armillary.inventory import _object_store, _own_object_store
from armillary.models.cluster import Cluster
from armillary.models.endpoints import Endpoints
from armillary.models.rules import OBJECTS
from armillary.objectstore.access import OWN, access, writer
from armillary.paths import ROOT, ClusterPaths


def cluster(name: str = "local", **store: Any) -> Cluster:
    """Return a sample cluster, with another object store than its own if one is given."""
    raw = yaml.safe_load((ROOT / "inventories" / name / "cluster.yml").read_text())
    if store:
        raw["components"]["object_store"] = store
    if store and name == "local":
        raw["hosts"]["services"]["volumes"]["objects"] = {"size": "20GiB", "mount": f"{OBJECTS}/d1"}
    if name == "openstack":
        raw["openstack"]["s3"] = True
    return Cluster.model_validate(raw)


ARCHIVE = {"archive": {"quota": "2GiB", "write": ["alerts"], "read": ["spark"]}}


@pytest.fixture
def paths(tmp_path: Path) -> ClusterPaths:
    found = ClusterPaths(tmp_path)
    found.make()
    (found.pki / "ca.crt").write_text("an authority")
    return found


def test_keys_are_made_once_and_go_with_who_is_named(paths: ClusterPaths) -> None:
    first = secrets.ensure(paths, cluster(containers=ARCHIVE))[OWN]
    assert first["s3"].keys() == {"alerts", "spark"}
    assert first["s3"]["alerts"]["access"] == "local:alerts"
    assert first["s3"]["alerts"]["secret"] != first["s3"]["spark"]["secret"]
    second = secrets.ensure(paths, cluster(containers={"archive": {"write": ["alerts", "dask"]}}))[
        OWN
    ]
    assert second["s3"].keys() == {"alerts", "dask"}
    assert second["s3"]["alerts"] == first["s3"]["alerts"]
    assert {
        key: second[key] for key in ("hash_prefix", "hash_suffix", "token_key", "operator")
    } == {key: first[key] for key in ("hash_prefix", "hash_suffix", "token_key", "operator")}


def test_secrets_outlive_the_declaration_since_the_data_do(paths: ClusterPaths) -> None:
    before = secrets.ensure(paths, cluster(containers=ARCHIVE))[OWN]
    raw = cluster().model_dump(mode="json", by_alias=True)
    raw["components"].pop("object_store")
    without = Cluster.model_validate(_plain(raw))
    secrets.ensure(paths, without)
    assert access(without, paths) is None
    assert secrets.ensure(paths, cluster(containers=ARCHIVE))[OWN] == before


def _plain(value: Any) -> Any:
    """Take out what is null: cluster.yml has no nulls."""
    if isinstance(value, dict):
        return {key: _plain(each) for key, each in value.items() if each is not None}
    return [_plain(each) for each in value] if isinstance(value, list) else value


def test_one_shape_for_every_cloud(paths: ClusterPaths) -> None:
    own = cluster(containers=ARCHIVE)
    secrets.ensure(paths, own)
    local = _object_store(own, paths)
    key = {"access": "a", "secret": "b"}
    given = {"auth_url": "x", "id": "y", "secret": "z", "region": "RegionOne", "ca": ""}
    secrets.keep_object_store(
        paths, {**given, "endpoint": "https://cloud:8080", "s3": {"alerts": key, "spark": key}}
    )
    theirs = _object_store(cluster("openstack", containers=ARCHIVE), paths)
    assert local.keys() == theirs.keys()
    assert local["endpoint"] == "https://10.77.0.10:7480"
    assert (local["ca"], theirs["ca"]) == ("an authority", "")
    assert local["containers"] == {"archive": "local-archive"}
    assert (local["apart"], theirs["apart"]) == (True, False)
    # By reference: the inventory is no secret.
    assert local["s3"] == "{{ armillary_secrets.own_object_store.s3 }}"
    assert theirs["s3"] == "{{ armillary_secrets.object_store.s3 }}"
    opened = access(own, paths)
    assert opened is not None
    assert opened.keys["alerts"].secret not in str(local) + repr(opened)
    assert writer(own) == ("alerts", "archive")


def test_what_the_services_host_is_told(paths: ClusterPaths) -> None:
    found = _own_object_store(cluster(containers=ARCHIVE, replicas=1))
    assert found["devices"] == {"d1": 20}
    assert found["containers"] == [
        {
            "name": "local-archive",
            "quota_bytes": 2 * 2**30,
            "read": ["local:spark"],
            "write": ["local:alerts"],
        }
    ]
    assert _own_object_store(cluster("openstack", containers=ARCHIVE)) == {}


def test_endpoints_name_where_the_keys_are(paths: ClusterPaths) -> None:
    made = cluster(containers=ARCHIVE)
    secrets.ensure(paths, made)
    write_endpoints(paths, made)
    found = Endpoints.model_validate_json(paths.endpoints.read_text()).get("objects")
    assert found is not None
    assert found.url == "https://10.77.0.10:7480/"
    assert found.login == "alerts, spark"
    assert found.secret_ref == "secrets.yml#own_object_store.s3"
    opened = access(made, paths)
    assert opened is not None
    for key in opened.keys.values():
        assert key.secret not in paths.endpoints.read_text()


@pytest.mark.parametrize(
    ("swift", "s3"),
    [
        ("https://cloud:8080/v1/AUTH_1", "https://cloud:8080"),
        ("https://cloud/v1/AUTH_1/", "https://cloud"),
        ("https://ceph:8080/swift/v1", "https://ceph:8080"),
        ("https://ceph/swift/v1/AUTH_1", "https://ceph"),
        ("https://cloud/object-store/v1/AUTH_1", "https://cloud/object-store"),
    ],
)
def test_s3_is_beside_swift(swift: str, s3: str) -> None:
    assert s3_endpoint(swift) == s3
