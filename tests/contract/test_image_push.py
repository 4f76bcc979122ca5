"""Images go into a real registry: once each, if one may, with a clear word when it is full."""

from __future__ import annotations

import os
import shutil
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest
from support.registry_server import Server, certificate, serve

from armillary.images import BuiltImage, ImageError, build_all, push
from armillary.tools.process import run

pytestmark = pytest.mark.skipif(
    not (shutil.which("buildah") and shutil.which("skopeo")), reason="needs buildah and skopeo"
)

CLUSTER_NAME = "registry.test.armillary.internal:5000"


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Server]:
    """A registry that keeps its blobs in `data`."""
    with serve(tmp_path) as found:
        yield found


@pytest.fixture(scope="module")
def images() -> list[BuiltImage]:
    return build_all(["pause", "etcd"])


def test_a_pushed_image_comes_back_as_it_was(
    server: Server, images: list[BuiltImage], tmp_path: Path
) -> None:
    references = push(
        images, CLUSTER_NAME, authfile=server.authfile(), ca=server.ca, address=server.address
    )
    pause = images[0]
    assert references["pause"] == f"{CLUSTER_NAME}/kubernetes/pause@{pause.digest}"
    trust = tmp_path / "trust"
    trust.mkdir()
    shutil.copy(server.ca, trust / "ca.crt")
    run(
        [
            "skopeo",
            "copy",
            f"--src-authfile={server.authfile()}",
            f"--src-cert-dir={trust}",
            f"docker://{server.address}/{pause.repository}@{pause.digest}",
            f"oci:{tmp_path / 'back'}:{pause.tag}",
        ],
        timeout=60,
    )
    blobs = {path.name for path in (pause.layout / "blobs" / "sha256").iterdir()}
    assert {path.name for path in (tmp_path / "back" / "blobs" / "sha256").iterdir()} == blobs


def test_a_second_push_uploads_nothing(server: Server, images: list[BuiltImage]) -> None:
    push(images, server.address, authfile=server.authfile(), ca=server.ca)
    before = len(server.requests())
    first = server.requests()
    assert any(line.startswith("PUT ") for line in first)
    push(images, server.address, authfile=server.authfile(), ca=server.ca)
    second = server.requests()[before:]
    assert second
    assert {line.split()[0] for line in second} == {"GET"}


def test_a_wrong_password_is_refused_and_said(server: Server, images: list[BuiltImage]) -> None:
    with pytest.raises(ImageError, match="refuses the user and password") as error:
        push(images, server.address, authfile=server.authfile("wrong"), ca=server.ca)
    assert "secret" not in str(error.value).replace("secrets.yml", "")
    assert not any(line.startswith("PUT ") for line in server.requests())


def test_a_registry_of_another_ca_is_refused(
    server: Server, images: list[BuiltImage], tmp_path: Path
) -> None:
    stranger = tmp_path / "stranger"
    stranger.mkdir()
    certificate(stranger)
    with pytest.raises(ImageError, match="certificate that the cluster's CA did not sign"):
        push(
            images,
            server.address,
            authfile=server.authfile(),
            ca=stranger / "certificate.pem",
        )
    assert not any(line.startswith("PUT ") for line in server.requests())


def test_a_registry_that_is_away_is_named(
    images: list[BuiltImage], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("armillary.images.publish.PAUSE", 0.01)
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    with pytest.raises(ImageError, match=rf"127\.0\.0\.1:{port} does not answer"):
        push(images, f"127.0.0.1:{port}")


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A disk of 8 MiB below the registry that the `server` fixture starts after it."""
    if os.geteuid() != 0:
        pytest.skip("mounting needs root")
    data = tmp_path / "data"
    data.mkdir()
    run(["mount", "-t", "tmpfs", "-o", "size=8m", "tmpfs", str(data)], timeout=30)
    try:
        yield data
    finally:
        run(["umount", "--lazy", str(data)], timeout=30)


def test_a_full_disk_is_said_and_with_room_the_push_goes_through(
    small_disk: Path, server: Server, images: list[BuiltImage], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("armillary.images.publish.PAUSE", 0.01)
    with pytest.raises(ImageError, match=r"disk of the registry .* is full") as error:
        push(images, server.address, authfile=server.authfile(), ca=server.ca)
    assert error.value.name == "etcd"
    # What was cut off is taken back: it would keep the disk full for days.
    left = [path for path in small_disk.rglob("_uploads/*/data") if path.stat().st_size]
    assert not left, error.value
    run(["mount", "-o", "remount,size=64m", str(small_disk)], timeout=30)
    assert push(images, server.address, authfile=server.authfile(), ca=server.ca).keys() == {
        "pause",
        "etcd",
    }
