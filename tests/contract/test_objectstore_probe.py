"""What `up` finds out of an object store: of a whole one, of an old one, of some that lack a part, and of some that refuse."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
import requests
from support import swift
from support.swift import ACCOUNT, Container, Store

from armillary.objectstore.abilities import Abilities, keep, read
from armillary.objectstore.access import Key
from armillary.objectstore.probe import ObjectStoreError, health, probe
from armillary.paths import ROOT, ClusterPaths
from armillary.tools import uv

CONTAINERS = {"archive": Container(write=["alerts"], read=["spark"])}
OLD = """\
swift==2.34.1 --hash=sha256:c338dcd1bc2d3188b61f61d40cfc3350e55b72f183c75a81812cfc563f0a44f1
six==1.17.0 --hash=sha256:4721f391ed90541fddacab5acf947aa0d3dc7d27b2e1e8eda2be8970586c3274
"""
"""The last Swift before uploads in chunks, checksums and conditions: what many clouds have."""


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Store]:
    with swift.serve(tmp_path_factory.mktemp("swift")) as found:
        found.have(CONTAINERS)
        yield found


def ask(store: Store, who: str = "alerts", region: str | None = None) -> Abilities:
    return probe(store.access(["archive"], region), who, "archive")


def stored(store: Store) -> str:
    """Return the names of all that is stored."""
    url, headers = f"{store.url}/v1/AUTH_{ACCOUNT}", store.token("operator")
    return "".join(
        requests.get(f"{url}/archive{more}", headers=headers, timeout=30).text
        for more in ("", "%2Bsegments")
    )


def test_the_locked_swift_can_do_what_is_written_down_and_nothing_is_left(
    store: Store, tmp_path: Path
) -> None:
    # Keystone's region is not always S3's.
    found = ask(store, region="RegionOne")
    assert found.region == "us-east-1"
    cannot = {name for name, value in found.model_dump().items() if value is False}
    assert cannot == {"conditional_replace"}
    assert stored(store) == ""
    paths = ClusterPaths(tmp_path)
    assert read(paths) is None
    keep(paths, found)
    assert read(paths) == found


def test_an_old_swift_lacks_what_it_lacks(tmp_path: Path) -> None:
    lock = (ROOT / "artifacts" / "swift" / "requirements.txt").read_text()
    others = re.sub(r"^swift==.*\\\n(    --hash.*\n)+", "", lock, flags=re.MULTILINE)
    (tmp_path / "requirements.txt").write_text(others + OLD)
    home = tmp_path / "swift"
    uv.install(tmp_path / "requirements.txt", home / "lib", "3.11")
    (home / "lib" / "bin").rename(home / "bin")
    for program in (home / "bin").glob("swift-*-server"):
        first, rest = program.read_text().split("\n", 1)
        assert first.startswith("#!")
        program.write_text(f"import sys; sys.path.insert(0, {str(home / 'lib')!r})\n{rest}")
    # Then its configuration could be nowhere else, and it had to remember its tokens; by S3 it needs none.
    for module, old, new in (
        ("utils/__init__.py", "/etc/swift/swift.conf", f"{tmp_path}/store/swift.conf"),
        ("middleware/tempauth.py", "raise Exception('Memcache required')", "memcache_client = {}"),
    ):
        file = home / "lib" / "swift" / "common" / module
        file.write_text(file.read_text().replace(old, new))
    (tmp_path / "store").mkdir()
    with swift.serve(tmp_path / "store", home=home) as store:
        store.s3("operator").create_bucket(Bucket="archive")
        found = ask(store, "operator")
    can = {name for name, value in found.model_dump().items() if value is True}
    # To delete many it wants a Content-MD5, which today's clients do not send.
    assert can == {"conditional_multipart", "copy_object"}


@pytest.mark.parametrize(
    ("left_out", "says"),
    [
        (
            "slo",
            "cannot take an upload in parts .*NotImplemented.*\n.*ask who runs the cloud for s3api",
        ),
        (
            "s3api",
            "cannot list a container .*no answer of S3.*\n.*ask who runs the cloud for s3api",
        ),
    ],
)
def test_a_store_that_lacks_what_everybody_needs_is_refused(
    tmp_path: Path, left_out: str, says: str
) -> None:
    with swift.serve(tmp_path, left_out=[left_out]) as store:
        store.have(CONTAINERS)
        with pytest.raises(ObjectStoreError, match=re.compile(says, re.DOTALL)):
            ask(store)
        assert stored(store) == ""


def test_each_refusal_says_why_and_what_to_do(store: Store) -> None:
    access = store.access(["archive"])
    for wrong, who, bucket, says in (
        (
            replace(access, keys={"alerts": Key("test:alerts", "x")}),
            "alerts",
            "archive",
            "the key of `alerts`",
        ),
        (access, "alerts", "nowhere", "NoSuchBucket|AccessDenied"),
        (access, "spark", "archive", "keeps `spark` from writing to its own container"),
    ):
        with pytest.raises(ObjectStoreError, match=says) as caught:
            probe(wrong, who, bucket)
        assert not caught.value.full
    with pytest.raises(ObjectStoreError, match="does not answer"):
        probe(replace(access, endpoint="http://127.0.0.1:9"), "alerts", "archive")


def test_a_full_container_is_told_from_a_store_that_cannot(tmp_path: Path) -> None:
    with swift.serve(tmp_path) as store:
        store.have({"archive": Container(write=["alerts"], quota=2**20)})
        with pytest.raises(ObjectStoreError, match="archive has no room for the 6 MiB") as caught:
            ask(store)
        assert caught.value.full
        assert stored(store) == ""


def test_health_is_asked_with_a_key_and_says_what_is_wrong(tmp_path: Path) -> None:
    with swift.serve(tmp_path) as store:
        store.have(CONTAINERS)
        access = store.access(["archive"])
        assert health(access, "spark", "archive", 10) == ""
        wrong = replace(access, keys={"spark": Key("test:spark", "x")})
        assert "answered 403 SignatureDoesNotMatch" in health(wrong, "spark", "archive", 10)
        store.stop("container")
        assert "container server is down" in health(access, "spark", "archive", 30)
        store.stop("proxy")
        assert "does not answer" in health(access, "spark", "archive", 10)
