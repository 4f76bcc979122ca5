"""The object store that the role `objectstore` makes: a real Swift, as the role configures it."""

from __future__ import annotations

import contextlib
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import boto3
import jinja2
import pytest
import requests
from botocore.exceptions import ClientError
from support import swift
from support.swift import ACCOUNT, Container, Key, Store

from armillary.paths import ROOT

QUOTA = 2**20


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Store]:
    """A store with one container that two share, and one that is the other's alone."""
    with swift.serve(tmp_path_factory.mktemp("swift")) as found:
        found.have(
            {
                "archive": Container(write=["alerts"], read=["spark"]),
                "small": Container(write=["alerts"], quota=QUOTA),
                "private": Container(write=["spark"]),
            }
        )
        yield found


def refused(call: Any, **arguments: Any) -> str:
    """Return the code of the error that a call of S3 ends in."""
    with pytest.raises(ClientError) as caught:
        call(**arguments)
    return str(caught.value.response["Error"]["Code"])


def test_what_one_writes_the_other_reads_by_both_protocols(store: Store) -> None:
    data = bytes(range(256)) * 1000
    store.s3("alerts").put_object(Bucket="archive", Key="night/1", Body=data)
    assert store.s3("spark").get_object(Bucket="archive", Key="night/1")["Body"].read() == data
    url = f"{store.url}/v1/AUTH_{ACCOUNT}/archive/night/1"
    assert requests.get(url, headers=store.token("spark"), timeout=30).content == data
    listed = store.s3("spark").list_objects_v2(Bucket="archive")["Contents"]
    assert ("night/1", len(data)) in {(each["Key"], each["Size"]) for each in listed}


def test_who_may_only_read_cannot_write_or_delete(store: Store) -> None:
    store.s3("alerts").put_object(Bucket="archive", Key="kept", Body=b"1")
    spark = store.s3("spark")
    assert refused(spark.put_object, Bucket="archive", Key="kept", Body=b"2") == "AccessDenied"
    assert refused(spark.delete_object, Bucket="archive", Key="kept") == "AccessDenied"
    assert refused(spark.create_multipart_upload, Bucket="archive", Key="k") == "AccessDenied"
    assert store.s3("alerts").get_object(Bucket="archive", Key="kept")["Body"].read() == b"1"


def test_a_key_opens_no_other_container(store: Store) -> None:
    store.s3("spark").put_object(Bucket="private", Key="secret", Body=b"1")
    alerts = store.s3("alerts")
    assert refused(alerts.get_object, Bucket="private", Key="secret") == "AccessDenied"
    assert refused(alerts.list_objects_v2, Bucket="private") == "AccessDenied"
    assert refused(alerts.list_buckets) == "AccessDenied"
    assert refused(alerts.create_bucket, Bucket="mine") == "AccessDenied"
    url = f"{store.url}/v1/AUTH_{ACCOUNT}/private"
    headers = store.token("alerts")
    assert requests.get(f"{url}/secret", headers=headers, timeout=30).status_code == 403
    # Nor may it open its own to others.
    own = f"{store.url}/v1/AUTH_{ACCOUNT}/archive"
    opened = {**headers, "X-Container-Read": ".r:*"}
    assert requests.post(own, headers=opened, timeout=30).status_code == 403


def test_wrong_and_missing_keys_are_refused(store: Store) -> None:
    wrong = Key(store.keys["alerts"].access, "not-the-secret")
    imposter = Store(store.folder, store.url, {"alerts": wrong, "nobody": Key("test:nobody", "x")})
    get = {"Bucket": "archive", "Key": "kept"}
    assert refused(imposter.s3("alerts").get_object, **get) == "SignatureDoesNotMatch"
    assert refused(imposter.s3("nobody").get_object, **get) == "SignatureDoesNotMatch"
    with pytest.raises(requests.HTTPError, match="401"):
        imposter.token("alerts")
    url = f"{store.url}/v1/AUTH_{ACCOUNT}/archive/kept"
    assert requests.get(url, timeout=30).status_code == 401


def test_a_full_container_says_so(store: Store) -> None:
    alerts = store.s3("alerts")
    alerts.put_object(Bucket="small", Key="fits", Body=b"x" * (QUOTA - 10))
    with pytest.raises(ClientError, match="Upload exceeds quota") as caught:
        alerts.put_object(Bucket="small", Key="more", Body=b"x" * 11)
    assert caught.value.response["Error"]["Code"] == "EntityTooLarge"
    part = {"Bucket": "small", "Key": "parts"}
    upload = alerts.create_multipart_upload(**part)["UploadId"]
    with pytest.raises(ClientError, match="Upload exceeds quota"):
        alerts.upload_part(**part, UploadId=upload, PartNumber=1, Body=b"x" * (QUOTA + 1))
    # What is stored can be read and deleted, and then there is room.
    assert alerts.head_object(Bucket="small", Key="fits")["ContentLength"] == QUOTA - 10
    alerts.delete_object(Bucket="small", Key="fits")
    alerts.put_object(Bucket="small", Key="more", Body=b"x" * 11)


def test_containers_are_made_once_changed_when_asked_and_closed_when_undeclared(
    tmp_path: Path,
) -> None:
    with swift.serve(tmp_path) as store:
        first = {
            "archive": Container(write=["alerts"], read=["spark"]),
            "old": Container(write=["spark"]),
        }
        assert store.have(first) == ["archive", "archive+segments", "old", "old+segments"]
        assert store.have(first) == []
        spark = store.s3("spark")
        spark.put_object(Bucket="old", Key="kept", Body=b"1")
        second = {"archive": Container(write=["alerts"], quota=10)}
        assert store.have(second) == ["archive", "archive+segments", "old", "old+segments"]
        assert store.have(second) == []
        assert refused(spark.get_object, Bucket="old", Key="kept") == "AccessDenied"
        assert refused(spark.list_objects_v2, Bucket="archive") == "AccessDenied"
        assert (
            refused(store.s3("alerts").put_object, Bucket="archive", Key="k", Body=b"x" * 11)
            == "EntityTooLarge"
        )
        # Data of a container that is no longer declared are there for the operator.
        url = f"{store.url}/v1/AUTH_{ACCOUNT}/old/kept"
        assert requests.get(url, headers=store.token("operator"), timeout=30).content == b"1"
        assert store.have({**second, "old": Container(write=["spark"])}) == ["old", "old+segments"]
        assert spark.get_object(Bucket="old", Key="kept")["Body"].read() == b"1"


def test_the_files_of_a_secret_are_all_that_a_program_needs(
    store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    role = ROOT / "ansible" / "roles" / "objectstore_key" / "templates"
    environment = jinja2.Environment(loader=jinja2.FileSystemLoader(role), trim_blocks=True)
    key = store.keys["alerts"]
    known = {
        "objectstore_key_account": "alerts",
        "objectstore_key_mount": str(tmp_path),
        "objectstore_key_store": {
            "endpoint": store.url,
            "region": store.region,
            "ca": "",
            "can": {"checksums": True},
            "s3": {"alerts": {"access": key.access, "secret": key.secret}},
        },
    }
    for name in ("config", "credentials"):
        text = environment.get_template(f"{name}.j2").render(known)
        (tmp_path / name).write_text(text)
    monkeypatch.setenv("AWS_CONFIG_FILE", str(tmp_path / "config"))
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(tmp_path / "credentials"))
    client = boto3.session.Session().client("s3")
    client.put_object(Bucket="archive", Key="by files", Body=b"1")
    assert client.get_object(Bucket="archive", Key="by files")["Body"].read() == b"1"


def test_parts_go_with_the_object_they_are_of(store: Store) -> None:
    alerts, place = store.s3("alerts"), {"Bucket": "archive", "Key": "large"}
    begun = alerts.create_multipart_upload(**place)["UploadId"]
    made = alerts.upload_part(**place, UploadId=begun, PartNumber=1, Body=b"1" * QUOTA)
    parts = {"Parts": [{"PartNumber": 1, "ETag": made["ETag"]}]}
    alerts.complete_multipart_upload(**place, UploadId=begun, MultipartUpload=parts)
    segments = f"{store.url}/v1/AUTH_{ACCOUNT}/archive%2Bsegments"
    assert "large" in requests.get(segments, headers=store.token("operator"), timeout=30).text
    alerts.delete_object(**place)
    assert requests.get(segments, headers=store.token("operator"), timeout=30).text == ""


def test_a_connection_ends_with_an_upload_that_was_refused_unread(store: Store) -> None:
    """The body may or may not come after all; neither way may it be taken for another request, nor one for it."""
    url = store.s3("alerts").generate_presigned_url(
        "put_object", Params={"Bucket": "archive", "Key": "unread"}
    )
    host = store.url.removeprefix("http://")
    name, port = host.split(":")
    with socket.create_connection((name, int(port)), timeout=30) as wire:
        wire.sendall(
            f"PUT {url.removeprefix(store.url)} HTTP/1.1\r\nHost: {host}\r\nContent-Length: 1\r\n"
            "Expect: 100-continue\r\nIf-Match: x\r\n\r\n".encode()
        )
        assert b" 501 " in wire.recv(65536).split(b"\r\n")[0]
        with contextlib.suppress(ConnectionError):
            wire.sendall(f"GET /healthcheck HTTP/1.1\r\nHost: {host}\r\n\r\n".encode())
            assert wire.recv(65536) == b""
