"""Other projects' registries and places of downloads, played by this machine from what was built here."""

from __future__ import annotations

import hashlib
import json
import shutil
import ssl
import tarfile
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import requests

from armillary.artifacts import Artifact, build_artifact
from armillary.images import BuiltImage
from armillary.tools import go
from armillary.tools.certificates import certificates
from armillary.tools.process import run
from support.registry_server import Server, serve

LIST = "application/vnd.docker.distribution.manifest.list.v2+json"
MANIFEST = "application/vnd.docker.distribution.manifest.v2+json"
HANDED_ON = ("Accept", "Authorization")
HANDED_BACK = ("Content-Type", "Docker-Content-Digest", "WWW-Authenticate")
CUT = 0
"""In place of a status: half of the file, and no more."""


@dataclass
class Downloads:
    """Files over https, and below /v2/ what a registry says."""

    folder: Path
    address: str = ""
    asked: list[str] = field(default_factory=list)
    """The path of each request for a file or a manifest so far."""
    faults: dict[str, list[int]] = field(default_factory=dict)
    """Path: what the next requests for it are answered with, statuses or `CUT`."""

    def path(self, url: str) -> str:
        """Return where what a project publishes at a URL is here."""
        return "/" + url.removeprefix("https://")

    def put(self, url: str, content: bytes | Path) -> None:
        """Publish a file at a URL."""
        target = self.folder / url.removeprefix("https://")
        target.parent.mkdir(parents=True, exist_ok=True)
        target.unlink(missing_ok=True)
        if isinstance(content, Path):
            target.symlink_to(content)
        else:
            target.write_bytes(content)

    def publish(self, entry: Artifact) -> None:
        """Publish an artifact as its project does, from what was built of it here."""
        binaries = build_artifact(entry).bin_dir
        sums: dict[str, list[tuple[str, str]]] = {}
        for url, (checksum, names) in entry.downloads(go.architecture()).items():
            if url.endswith(("gz",)):
                archive = self.folder / "archive.tar.gz"
                with tarfile.open(archive, "w:gz", compresslevel=1) as tar:
                    for name in names:
                        tar.add(binaries / name, f"some/where/{name}")
                    tar.add(__file__, "some/README")
                self.put(url, archive.read_bytes())
                archive.unlink()
            else:
                self.put(url, binaries / names[0])
            with (self.folder / url.removeprefix("https://")).open("rb") as file:
                digest = hashlib.file_digest(file, "sha256").hexdigest()
            sums.setdefault(checksum, []).append((digest, url.rpartition("/")[2]))
        for checksum, lines in sums.items():
            # Kubernetes' have nothing but the sum in them.
            bare = checksum.startswith("https://dl.k8s.io/")
            text = lines[0][0] if bare else "".join(f"{sum}  {name}\n" for sum, name in lines)
            self.put(checksum, text.encode())


@dataclass
class Upstream:
    """What stands for all registries and places; `downloads` answers for the registry too, with faults as asked."""

    registry: Server
    downloads: Downloads
    settings: Path

    @property
    def environment(self) -> dict[str, str]:
        """What leads a command here: for images as an administrator would, and to trust what answers."""
        return {
            "HOME": str(self.settings / "home"),
            "REGISTRY_AUTH_FILE": str(self.registry.authfile()),
            **{
                name: str(self.settings / "ca.crt")
                for name in ("SSL_CERT_FILE", "REQUESTS_CA_BUNDLE")
            },
        }

    def places(self, urls: Sequence[str]) -> dict[str, str]:
        """Return `images.downloads` of a cluster.yml that takes these from here."""
        hosts = {url.split("/")[2] for url in urls}
        return {f"https://{host}/": f"https://{self.downloads.address}/{host}/" for host in hosts}

    def push(self, image: BuiltImage, path: str, tag: str) -> str:
        """Publish an image, in Docker's format as most are; return its digest.

        Args:
            image: one that was built here.
            path: in its registry.
            tag: there.
        """
        # Docker's format knows nothing of zstd, which layers built here have.
        with TemporaryDirectory(prefix="gzip-", dir=self.settings) as folder:
            packed = f"oci:{folder}:{image.tag}"
            copy = ["skopeo", "copy", "--quiet"]
            run([*copy, "--dest-compress-format=gzip", image.source, packed], timeout=300)
            run(
                [
                    *copy,
                    "--format=v2s2",
                    f"--dest-authfile={self.registry.authfile()}",
                    f"--dest-cert-dir={self._trust()}",
                    packed,
                    f"docker://{self.registry.address}/{path}:{tag}",
                ],
                timeout=300,
            )
        return self.digest(path, tag)

    def push_list(self, path: str, tag: str, platforms: Mapping[str, str]) -> str:
        """Publish a list of images that are there; return its digest.

        Args:
            path: in its registry.
            tag: there.
            platforms: architecture, as Go says it: the image's digest.
        """
        manifests = [
            {
                "mediaType": MANIFEST,
                "digest": digest,
                "size": len(self.ask("GET", path, digest).content),
                "platform": {"os": "linux", "architecture": architecture},
            }
            for architecture, digest in platforms.items()
        ]
        content = {"schemaVersion": 2, "mediaType": LIST, "manifests": manifests}
        self.ask("PUT", path, tag, data=json.dumps(content), headers={"Content-Type": LIST})
        return self.digest(path, tag)

    def digest(self, path: str, reference: str) -> str:
        """Return the digest of what it has."""
        return self.ask("HEAD", path, reference).headers["Docker-Content-Digest"]

    def ask(self, method: str, path: str, reference: str, **options: Any) -> requests.Response:
        """Send a request for a manifest."""
        return manifest(self.registry, method, path, reference, **options)

    def _trust(self) -> Path:
        trust = self.settings / "trust"
        trust.mkdir(exist_ok=True)
        shutil.copy(self.registry.ca, trust / "ca.crt")
        return trust


def manifest(
    server: Server, method: str, path: str, reference: str, **options: Any
) -> requests.Response:
    """Send a request for a manifest to a registry; what is refused is an error."""
    headers = {"Accept": f"{LIST}, {MANIFEST}", **options.pop("headers", {})}
    with requests.Session() as session:
        session.trust_env = False
        answer = session.request(
            method,
            f"https://{server.address}/v2/{path}/manifests/{reference}",
            auth=("push", "secret"),
            verify=str(server.ca),
            headers=headers,
            timeout=30,
            **options,
        )
    answer.raise_for_status()
    return answer


def lead(home: Path, locations: Mapping[str, str]) -> None:
    """Make a home directory like this user's, but that skopeo looks elsewhere for some registries.

    Debian 12's skopeo reads no other file of an unprivileged user.
    """
    config, containers = home / ".config", home / ".config" / "containers"
    containers.mkdir(parents=True)
    for theirs, ours in ((Path.home(), home), (Path.home() / ".config", config)):
        for each in theirs.iterdir() if theirs.is_dir() else ():
            if not (ours / each.name).exists():
                (ours / each.name).symlink_to(each)
    lines = [
        f'[[registry]]\nprefix = "{one}"\nlocation = "{location}"\n'
        for one, location in locations.items()
    ]
    (containers / "registries.conf").write_text("\n".join(lines))


@contextmanager
def play(folder: Path, registries: Sequence[str]) -> Iterator[Upstream]:
    """Answer for these registries, and for whatever `Upstream.places` is asked for, until the block ends."""
    for name in ("registry", "downloads", "settings"):
        (folder / name).mkdir()
    settings = folder / "settings"
    with (
        serve(folder / "registry") as registry,
        _downloads(folder / "downloads", registry) as downloads,
    ):
        lead(settings / "home", dict.fromkeys(registries, registry.address))
        known = certificates()
        (settings / "ca.crt").write_text(
            (known.read_text() if known else "") + registry.ca.read_text()
        )
        yield Upstream(registry, downloads, settings)


@contextmanager
def _downloads(folder: Path, registry: Server) -> Iterator[Downloads]:
    found = Downloads(folder)

    class Handler(SimpleHTTPRequestHandler):
        def __init__(self, *arguments: Any) -> None:
            super().__init__(*arguments, directory=str(folder))

        def do_GET(self) -> None:
            found.asked.append(self.path)
            fault = next(iter(found.faults.get(self.path, [])), None)
            if fault is None:
                if self.path.startswith("/v2/"):
                    self._hand_on()
                else:
                    super().do_GET()
                return
            found.faults[self.path].pop(0)
            if fault != CUT:
                self.send_response(fault)
                # skopeo waits by itself after 429, as long as it is told to.
                self.send_header("Retry-After", "0")
                self.send_header("Content-Length", "0")
                self.end_headers()
                return
            content = Path(self.translate_path(self.path)).read_bytes()
            self.send_response(200)
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content[: len(content) // 2])
            self.close_connection = True

        def _hand_on(self) -> None:
            """Say what the registry says."""
            kept = {name: ", ".join(self.headers.get_all(name, [])) for name in HANDED_ON}
            with requests.Session() as session:
                session.trust_env = False
                answer = session.get(
                    f"https://{registry.address}{self.path}",
                    headers=kept,
                    verify=str(registry.ca),
                    timeout=30,
                )
            self.send_response(answer.status_code)
            for name in HANDED_BACK:
                if name in answer.headers:
                    self.send_header(name, answer.headers[name])
            self.send_header("Content-Length", str(len(answer.content)))
            self.end_headers()
            self.wfile.write(answer.content)

        def log_message(self, *_: Any) -> None:
            """Say nothing: tests look at `asked`."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(registry.folder / "certificate.pem", registry.folder / "key.pem")
    server.socket = context.wrap_socket(server.socket, server_side=True)
    found.address = f"127.0.0.1:{server.server_address[1]}"
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield found
    finally:
        server.shutdown()
        server.server_close()
        thread.join(10)
