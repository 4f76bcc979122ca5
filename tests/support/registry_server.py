"""A registry on this machine, for tests: the project's own, with TLS and one user."""

from __future__ import annotations

import base64
import datetime
import ipaddress
import json
import os
import signal
import socket
import ssl
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from armillary.artifacts import build_artifact, load_manifest
from armillary.paths import ROOT

# bcrypt of "secret", the only hash that the registry takes.
USERS = "push:$2b$04$Fm94Jecyso/cK23fnRvup.hQGRbQkv9mxKoj/VQ1y3Ylj3gOlX/aa\n"


@dataclass
class Server:
    """A registry on loopback with TLS and one user."""

    folder: Path
    address: str

    @property
    def ca(self) -> Path:
        return self.folder / "certificate.pem"

    def authfile(self, password: str = "secret", *, address: str | None = None) -> Path:
        """Return a file with which skopeo is the registry's user, there or where `address` says."""
        address = address or self.address
        path = self.folder / f"auth-{password}-{address.rpartition(':')[2]}.json"
        word = base64.b64encode(f"push:{password}".encode()).decode()
        path.touch(mode=0o600)
        path.write_text(json.dumps({"auths": {address: {"auth": word}}}))
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


@contextmanager
def serve(folder: Path) -> Iterator[Server]:
    """Run a registry until the block ends; its blobs are in `data` of this directory.

    Args:
        folder: for its files; a certificate in it is used, or made.
    """
    binary = build_artifact(load_manifest(ROOT).get("registry")).bin_dir / "registry"
    if not (folder / "certificate.pem").exists():
        certificate(folder)
    (folder / "users").write_text(USERS)
    (folder / "data").mkdir(exist_ok=True)
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    (folder / "config.yml").write_text(
        "version: 0.1\n"
        f"storage: {{filesystem: {{rootdirectory: {folder}/data}}}}\n"
        f"http: {{addr: '127.0.0.1:{port}', secret: x,"
        f" tls: {{certificate: {folder}/certificate.pem, key: {folder}/key.pem}}}}\n"
        f"auth: {{htpasswd: {{realm: test, path: {folder}/users}}}}\n"
    )
    with (folder / "log").open("w") as log:
        process = subprocess.Popen(
            [binary, "serve", folder / "config.yml"],
            stdout=log,
            stderr=log,
            env={
                # It takes all that begins so for its configuration, skopeo's REGISTRY_AUTH_FILE too.
                **{name: value for name, value in os.environ.items() if name[:9] != "REGISTRY_"},
                "OTEL_TRACES_EXPORTER": "none",
            },
        )
        try:
            deadline = time.monotonic() + 20
            while not answers(port, folder / "certificate.pem"):
                assert process.poll() is None, (folder / "log").read_text()
                assert time.monotonic() < deadline, "the registry does not answer"
            yield Server(folder, f"127.0.0.1:{port}")
        finally:
            process.send_signal(signal.SIGTERM)
            process.wait(20)
