"""The object store: what is put in comes out by both protocols, quotas hold, and a key opens what it is meant to and no more."""

from __future__ import annotations

import os
import secrets as random
import socket
import ssl
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import boto3
import pytest
import requests
from boto3.s3.transfer import TransferConfig
from botocore.config import Config
from botocore.exceptions import ClientError

from armillary import secrets
from armillary.models.cluster import Cluster
from armillary.models.rules import OPERATOR
from armillary.objectstore import abilities
from armillary.objectstore.access import Access, access, writer
from armillary.paths import ClusterPaths
from armillary.status import checks

MIB = 2**20
Client = Callable[[str], Any]


@pytest.fixture(scope="module")
def opened(cluster: Cluster, paths: ClusterPaths) -> Access:
    """How the store is opened."""
    found = access(cluster, paths)
    if found is None or writer(cluster) is None:
        pytest.skip("the cluster has no object store that somebody may write to")
    return found


@pytest.fixture(scope="module")
def ca(opened: Access, tmp_path_factory: pytest.TempPathFactory) -> str | bool:
    """Whom to trust."""
    if not opened.ca:
        return True
    file = tmp_path_factory.mktemp("ca") / "ca.crt"
    file.write_text(opened.ca)
    return str(file)


@pytest.fixture(scope="module")
def s3(opened: Access, paths: ClusterPaths, ca: str | bool) -> Client:
    """Gives a client of S3 for somebody's key."""
    known = abilities.read(paths)
    assert known is not None, "`up` has not asked what the store can do"
    checksums = "when_supported" if known.checksums else "when_required"

    def client(name: str, secret: str | None = None) -> Any:
        key = opened.keys[name]
        return boto3.client(
            "s3",
            endpoint_url=opened.endpoint,
            region_name=known.region,
            aws_access_key_id=key.access,
            aws_secret_access_key=secret or key.secret,
            verify=ca,
            config=Config(
                s3={"addressing_style": "path"},
                signature_version="s3v4",
                request_checksum_calculation=checksums,
                response_checksum_validation=checksums,
                retries={"total_max_attempts": 2},
            ),
        )

    return client


@pytest.fixture(scope="module")
def place(cluster: Cluster, opened: Access, s3: Client) -> Iterator[dict[str, str]]:
    """A name for an object that its writer may use; what is below it is deleted in the end."""
    who, container = writer(cluster) or ("", "")
    bucket, prefix = opened.containers[container], f"proof-{random.token_hex(6)}/"
    yield {"who": who, "Bucket": bucket, "prefix": prefix}
    client = s3(who)
    for each in client.list_objects_v2(Bucket=bucket, Prefix=prefix).get("Contents", []):
        client.delete_object(Bucket=bucket, Key=each["Key"])


def test_status_asks_it(cluster: Cluster, paths: ClusterPaths, opened: Access) -> None:
    found = {check.name: check for check in checks(paths, cluster)}
    assert found["objects"].ok is True, found["objects"].detail


def test_what_is_put_comes_out_by_both_protocols(
    cluster: Cluster,
    paths: ClusterPaths,
    opened: Access,
    s3: Client,
    place: dict[str, str],
    ca: str | bool,
) -> None:
    data, key = os.urandom(3 * MIB), f"{place['prefix']}m31.fits"
    client = s3(place["who"])
    client.put_object(Bucket=place["Bucket"], Key=key, Body=data)
    assert client.get_object(Bucket=place["Bucket"], Key=key)["Body"].read() == data
    if cluster.has_own_object_store:
        kept = secrets.load(paths)["own_object_store"]
        headers = {"X-Auth-User": f"{cluster.name}:{OPERATOR}", "X-Auth-Key": kept["operator"]}
        answer = requests.get(
            f"{opened.endpoint}/auth/v1.0", headers=headers, verify=ca, timeout=30
        )
        url = f"{answer.headers['X-Storage-Url']}/{place['Bucket']}/{key}"
        assert url.startswith("https://")
        token = {"X-Auth-Token": answer.headers["X-Auth-Token"]}
        assert requests.get(url, headers=token, verify=ca, timeout=30).content == data


def test_an_upload_in_parts_with_checksums(
    paths: ClusterPaths, s3: Client, place: dict[str, str], tmp_path: Path
) -> None:
    (tmp_path / "night.parquet").write_bytes(data := os.urandom(12 * MIB))
    client, key = s3(place["who"]), f"{place['prefix']}night.parquet"
    known = abilities.read(paths)
    assert known is not None
    client.upload_file(
        str(tmp_path / "night.parquet"),
        place["Bucket"],
        key,
        ExtraArgs={"ChecksumAlgorithm": "CRC32"} if known.checksums_of_parts else {},
        Config=TransferConfig(multipart_threshold=5 * MIB, multipart_chunksize=5 * MIB),
    )
    head = client.head_object(Bucket=place["Bucket"], Key=key)
    assert head["ContentLength"] == len(data)
    assert head["ETag"].strip('"').endswith("-3")
    client.download_file(place["Bucket"], key, str(tmp_path / "back"))
    assert (tmp_path / "back").read_bytes() == data
    if known.checksums:
        with pytest.raises(ClientError, match=r"BadDigest|checksum|InvalidRequest"):
            client.put_object(
                Bucket=place["Bucket"],
                Key=f"{place['prefix']}bad",
                Body=b"1",
                ChecksumCRC32="AAAAAA==",
            )


def test_a_quota_holds(cluster: Cluster, opened: Access, s3: Client, place: dict[str, str]) -> None:
    """A request that says it brings more than the quota is refused before it brings anything."""
    store = cluster.components.object_store
    assert store is not None
    limited = [(name, each) for name, each in store.containers.items() if each.quota and each.write]
    if not limited:
        pytest.skip("no container with a quota that somebody may write to")
    name, container = limited[0]
    assert container.quota is not None
    bucket, key = opened.containers[name], f"{place['prefix']}too-large"
    url = s3(container.write[0]).generate_presigned_url(
        "put_object", Params={"Bucket": bucket, "Key": key}
    )
    answer = _announce(url, container.quota.bytes + 1, opened.ca)
    assert answer.split()[1] == "413", answer


def _announce(url: str, size: int, ca: str) -> str:
    """Send the head of an upload, and return the first line of what is answered before the body."""
    parts = urlsplit(url)
    host, port = parts.hostname or "", parts.port or 443
    context = ssl.create_default_context(cadata=ca or None)
    with (
        socket.create_connection((host, port), timeout=30) as plain,
        context.wrap_socket(plain, server_hostname=host) as wire,
    ):
        wire.sendall(
            f"PUT {parts.path}?{parts.query} HTTP/1.1\r\nHost: {parts.netloc}\r\nContent-Length: {size}\r\n"
            "Expect: 100-continue\r\nConnection: close\r\n\r\n".encode()
        )
        return wire.recv(4096).decode(errors="replace").split("\r\n")[0]


def test_wrong_keys_are_refused(
    s3: Client, place: dict[str, str], opened: Access, ca: str | bool
) -> None:
    with pytest.raises(ClientError) as caught:
        s3(place["who"], "not-the-secret").list_objects_v2(Bucket=place["Bucket"])
    assert caught.value.response["ResponseMetadata"]["HTTPStatusCode"] == 403
    url = f"{opened.endpoint}/{place['Bucket']}"
    assert requests.get(url, verify=ca, timeout=30).status_code in (401, 403, 412)


def test_a_key_does_what_it_is_for_and_no_more(
    cluster: Cluster, opened: Access, s3: Client, place: dict[str, str]
) -> None:
    if not opened.apart:
        pytest.skip("OpenStack cannot restrict keys of S3 to containers")
    store = cluster.components.object_store
    assert store is not None
    key = f"{place['prefix']}shared"
    s3(place["who"]).put_object(Bucket=place["Bucket"], Key=key, Body=b"1")
    for name, container in store.containers.items():
        bucket = opened.containers[name]
        for who in opened.keys:
            client = s3(who)
            if who in (*container.write, *container.read):
                client.list_objects_v2(Bucket=bucket, MaxKeys=1)
            else:
                _refused(client.list_objects_v2, Bucket=bucket)
                _refused(client.get_object, Bucket=bucket, Key=key)
            if who not in container.write:
                _refused(client.put_object, Bucket=bucket, Key=key, Body=b"2")
                _refused(client.delete_object, Bucket=bucket, Key=key)
    assert s3(place["who"]).get_object(Bucket=place["Bucket"], Key=key)["Body"].read() == b"1"


def _refused(call: Any, **arguments: Any) -> None:
    with pytest.raises(ClientError) as caught:
        call(**arguments)
    assert caught.value.response["Error"]["Code"] == "AccessDenied"
