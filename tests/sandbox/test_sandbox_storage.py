"""Cinder, Swift, and Swift as S3."""

from __future__ import annotations

import os

import pytest
from openstack.connection import Connection
from support.s3 import S3
from support.waiting import until

from armillary.paths import ClusterPaths

pytestmark = pytest.mark.sandbox


def test_a_volume_and_its_snapshot(member: Connection, name: str) -> None:
    storage = member.block_storage
    volume = storage.create_volume(size=1, name=name)
    try:
        storage.wait_for_status(volume, "available", failures=["error"], wait=60)
        snapshot = storage.create_snapshot(volume_id=volume.id, name=name)
        storage.wait_for_status(snapshot, "available", failures=["error"], wait=60)
        storage.delete_snapshot(snapshot)
        storage.wait_for_delete(snapshot, wait=60)
    finally:
        storage.delete_volume(volume)
        storage.wait_for_delete(volume, wait=60)
    assert storage.find_volume(volume.id) is None


def test_an_object(member: Connection, name: str) -> None:
    swift, data = member.object_store, os.urandom(5 * 2**20)
    swift.create_container(name)
    try:
        swift.upload_object(container=name, name="image.fits", data=data)
        assert swift.download_object("image.fits", container=name) == data
    finally:
        swift.delete_object("image.fits", container=name)
        swift.delete_container(name)
    assert name not in {each.name for each in swift.containers()}


@pytest.fixture
def s3(member: Connection, paths: ClusterPaths) -> S3:
    """S3, with credentials that the member made."""
    identity = member.identity
    user, project = member.current_user_id, member.current_project_id
    answer = identity.post(f"/users/{user}/credentials/OS-EC2", json={"tenant_id": project})
    assert answer.status_code == 201, answer.text
    made = answer.json()["credential"]
    endpoint = member.endpoint_for("object-store").split("/v1/")[0]
    return S3(endpoint, made["access"], made["secret"], "RegionOne", str(paths.pki / "ca.crt"))


def test_an_object_by_s3(s3: S3, name: str, member: Connection) -> None:
    data = os.urandom(2**20)
    try:
        assert s3.call("PUT", f"/{name}").status_code == 200
        assert s3.call("PUT", f"/{name}/spectrum", data).status_code == 200
        assert s3.call("GET", f"/{name}/spectrum").content == data
        assert member.object_store.download_object("spectrum", container=name) == data
        assert s3.call("DELETE", f"/{name}/spectrum").status_code == 204
        assert s3.call("DELETE", f"/{name}").status_code == 204
    finally:
        user = member.current_user_id
        member.identity.delete(f"/users/{user}/credentials/OS-EC2/{s3.access}")


def test_s3_refuses_a_wrong_secret(s3: S3) -> None:
    wrong = S3(s3.url, s3.access, s3.secret[::-1], s3.region, s3.ca)
    until(lambda: wrong.call("GET", "/").status_code == 403, "the refusal", 10)
