"""Images go into a real registry: once each, if one may, with a clear word when it is full."""

from __future__ import annotations

import base64
import datetime
import ipaddress
import json
import os
import shutil
import signal
import socket
import ssl
import subprocess
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from armillary.artifacts import build_artifact
from armillary.artifacts import load_manifest as load_artifacts
from armillary.images import BuiltImage, ImageError, build_all, push
from armillary.paths import ROOT
from armillary.tools.process import run

pytestmark = pytest.mark.skipif(
    not (shutil.which("buildah") and shutil.which("skopeo")), reason="needs buildah and skopeo"
)

# bcrypt of "secret", the only hash that the registry takes.
USERS = "push:$2b$04$Fm94Jecyso/cK23fnRvup.hQGRbQkv9mxKoj/VQ1y3Ylj3gOlX/aa\n"
CLUSTER_NAME = "registry.test.armillary.internal:5000"


@dataclass
class Server:
    """A registry on loopback with TLS and one user."""

    folder: Path
    address: str

    @property
    def ca(self) -> Path:
        return self.folder / "certificate.pem"

    def authfile(self, password: str = "secret") -> Path:
        path = self.folder / f"auth-{password}.json"
        word = base64.b64encode(f"push:{password}".encode()).decode()
        path.touch(mode=0o600)
        path.write_text(json.dumps({"auths": {self.address: {"auth": word}}}))
        return path

    def requests(self) -> list[str]:
        """Return the method and path of each request so far, without the query."""
        lines = (self.folder / "log").read_text().splitlines()
        return [
            line.split('"')[1].split("?")[0].removesuffix(" HTTP/1.1")
            for line in lines
            if line.startswith("127.0.0.1 - ")
        ]


def certificate(folder: Path) -> None:
    """Write a certificate for 127.0.0.1 that is its own CA."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "registry")])
    now = datetime.datetime.now(datetime.UTC)
    signed = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(hours=1))
        .not_valid_after(now + datetime.timedelta(hours=1))
        .add_extension(
            x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]),
            critical=False,
        )
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .sign(key, hashes.SHA256())
    )
    (folder / "certificate.pem").write_bytes(signed.public_bytes(serialization.Encoding.PEM))
    (folder / "key.pem").write_bytes(
        key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        )
    )


def answers(port: int, ca: Path) -> bool:
    """Tell whether something speaks TLS with this CA's certificate on a port of loopback."""
    try:
        with (
            socket.create_connection(("127.0.0.1", port), timeout=1) as plain,
            ssl.create_default_context(cafile=str(ca)).wrap_socket(
                plain, server_hostname="127.0.0.1"
            ),
        ):
            return True
    except OSError:
        return False


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Server]:
    """A registry that keeps its blobs in `data`."""
    binary = build_artifact(load_artifacts(ROOT).get("registry")).bin_dir / "registry"
    certificate(tmp_path)
    (tmp_path / "users").write_text(USERS)
    (tmp_path / "data").mkdir(exist_ok=True)
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    (tmp_path / "config.yml").write_text(
        "version: 0.1\n"
        f"storage: {{filesystem: {{rootdirectory: {tmp_path}/data}}}}\n"
        f"http: {{addr: '127.0.0.1:{port}', secret: x,"
        f" tls: {{certificate: {tmp_path}/certificate.pem, key: {tmp_path}/key.pem}}}}\n"
        f"auth: {{htpasswd: {{realm: test, path: {tmp_path}/users}}}}\n"
    )
    with (tmp_path / "log").open("w") as log:
        process = subprocess.Popen(
            [binary, "serve", tmp_path / "config.yml"],
            stdout=log,
            stderr=log,
            env={**os.environ, "OTEL_TRACES_EXPORTER": "none"},
        )
        try:
            deadline = time.monotonic() + 20
            while not answers(port, tmp_path / "certificate.pem"):
                assert process.poll() is None, (tmp_path / "log").read_text()
                assert time.monotonic() < deadline, "the registry does not answer"
            yield Server(tmp_path, f"127.0.0.1:{port}")
        finally:
            process.send_signal(signal.SIGTERM)
            process.wait(20)


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
