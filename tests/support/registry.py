"""A container registry as tests use it: who is let in, from here and from hosts, and images made on the spot."""

from __future__ import annotations

import base64
import gzip
import hashlib
import io
import json
import tarfile
from collections.abc import Mapping
from dataclasses import dataclass, field
from email.parser import HeaderParser
from pathlib import Path
from typing import Any

import requests

from armillary.files import write_secret
from armillary.paths import ClusterPaths
from armillary.secrets import load
from armillary.tools import skopeo
from armillary.tools.process import run
from support.inventory import Inventory
from support.waiting import patient

TIMEOUT = 20.0
MANIFEST = "application/vnd.oci.image.manifest.v1+json"
LAYER = "application/vnd.oci.image.layer.v1.tar+gzip"
CONFIG = "application/vnd.oci.image.config.v1+json"
TAG = "made"
PULL_PORT = 5001
"""ansible/roles/registry/defaults/main.yml: only hosts need it, and clouds open it to nobody else."""


@dataclass(frozen=True)
class Account:
    """A user of the registry."""

    username: str
    password: str = field(repr=False)


@dataclass(frozen=True)
class Image:
    """An image in an OCI layout on this machine."""

    layout: Path
    digest: str
    """`sha256:...` of its manifest."""


class Registry:
    """A cluster's registry, over HTTPS with nothing but the cluster's CA to trust."""

    def __init__(self, address: str, ca: Path, work: Path) -> None:
        """Know where it is; nothing is asked of it yet.

        Args:
            address: `host:port`.
            ca: the cluster's CA certificate.
            work: a directory for files with passwords, which are for their owner alone.
        """
        self.address, self.ca, self.work = address, ca, work
        self.session = requests.Session()
        self.session.trust_env = False
        self.session.verify = str(ca)
        # A registry says 404 to who cannot read the manifest it has.
        self.session.headers["Accept"] = f"{MANIFEST}, */*"

    def ask(
        self, method: str, path: str, account: Account | None = None, **options: Any
    ) -> requests.Response:
        """Send one request of the registry's API; whatever the answer, it is returned.

        Args:
            method: GET, POST, ...
            path: below `/v2/`.
            account: who asks; nobody when None.
            options: for requests.
        """
        auth = (account.username, account.password) if account else None
        return self.session.request(
            method,
            f"https://{self.address}/v2/{path}",
            auth=auth,
            timeout=patient(TIMEOUT),
            **options,
        )

    def pull(self, account: Account, reference: str, layout: Path) -> Path:
        """Fetch an image by digest into an OCI layout (made anew), and return that.

        Raises:
            requests.HTTPError: the registry refused, or does not have it.
        """
        repository, digest = reference.removeprefix(f"{self.address}/").split("@")
        (layout / "blobs" / "sha256").mkdir(parents=True)
        (layout / "oci-layout").write_text(json.dumps({"imageLayoutVersion": "1.0.0"}))
        content = self._content(account, f"{repository}/manifests/{digest}", digest)
        manifest = json.loads(content)
        for digest in (blob["digest"] for blob in (manifest["config"], *manifest["layers"])):
            _add(layout, self._content(account, f"{repository}/blobs/{digest}", digest))
        _write_index(layout, _add(layout, content))
        return layout

    def _content(self, account: Account, path: str, digest: str) -> bytes:
        answer = self.ask("GET", path, account)
        answer.raise_for_status()
        assert _digest(answer.content) == digest, f"{path} has the digest {_digest(answer.content)}"
        return answer.content

    def push(self, account: Account, image: Image, repository: str) -> str:
        """Push an image; return the reference of it by digest.

        Raises:
            CommandError: skopeo could not, or was refused; says why.
        """
        token = base64.b64encode(f"{account.username}:{account.password}".encode()).decode()
        authfile = self.work / f"auth-{account.username}.json"
        write_secret(authfile, json.dumps({"auths": {self.address: {"auth": token}}}))
        target = skopeo.Registry(self.address, authfile, self.ca)
        target.push(f"oci:{image.layout}:{TAG}", repository, TAG, timeout=patient(120))
        return f"{self.address}/{repository}@{image.digest}"

    def delete(self, account: Account, repository: str, digest: str) -> None:
        """Delete an image; its layers go with the next collection of garbage."""
        self.ask("DELETE", f"{repository}/manifests/{digest}", account).raise_for_status()


@dataclass(frozen=True)
class Answer:
    """What a registry said to a host."""

    status_code: int
    headers: Mapping[str, str]


@dataclass(frozen=True)
class PullPort:
    """The port that hosts pull from, asked by a host: it trusts what hosts trust."""

    address: str
    ssh_config: Path
    host: str

    @classmethod
    def of(cls, paths: ClusterPaths, inventory: Inventory, host: str) -> PullPort:
        """Return a cluster's, asked by one of its hosts."""
        name = address_of(inventory).rpartition(":")[0]
        return cls(f"{name}:{PULL_PORT}", paths.ssh_config, host)

    def ask(self, method: str, path: str, account: Account | None = None) -> Answer:
        """Have the host send one request of the registry's API; whatever the answer, it is returned.

        Args:
            method: GET, POST, ...
            path: below `/v2/`.
            account: who asks; nobody when None. The password goes by curl's input.

        Raises:
            CommandError: there is no way there, or the certificate is not trusted.
        """
        asked = "--head" if method == "HEAD" else f"--request {method}"
        limit = patient(TIMEOUT)
        curl = (
            f"curl --silent --show-error --max-time {limit:.0f} {asked} --output /dev/null --dump-header - --config - "
            f"--header 'Accept: {MANIFEST}, */*' https://{self.address}/v2/{path}"
        )
        user = f'user = "{account.username}:{account.password}"\n' if account else ""
        command = ["ssh", "-F", str(self.ssh_config), "-o", "LogLevel=ERROR", self.host, curl]
        said = run(command, input=user, timeout=2 * limit).stdout
        status, _, headers = said.replace("\r\n", "\n").strip().partition("\n")
        return Answer(int(status.split()[1]), HeaderParser().parsestr(headers, headersonly=True))


def accounts(paths: ClusterPaths) -> dict[str, Account]:
    """Return the registry's accounts, `push` and `pull`, from the cluster's secrets."""
    return {
        name: Account(account["username"], account["password"])
        for name, account in load(paths)["registry"].items()
    }


def address_of(inventory: Inventory) -> str:
    """Return where the cluster's registry is, `host:port`."""
    address: str = inventory.variables["armillary_registry"]
    return address


def empty_image(layout: Path) -> Path:
    """Make an OCI layout (which must not be there) with an image of nothing, and return it."""
    (layout / "blobs" / "sha256").mkdir(parents=True)
    (layout / "oci-layout").write_text(json.dumps({"imageLayoutVersion": "1.0.0"}))
    config = {
        "architecture": "amd64",
        "os": "linux",
        "config": {},
        "rootfs": {"type": "layers", "diff_ids": []},
    }
    manifest = {
        "schemaVersion": 2,
        "mediaType": MANIFEST,
        "config": {"mediaType": CONFIG, **_add(layout, json.dumps(config).encode())},
        "layers": [],
    }
    _write_index(layout, _add(layout, json.dumps(manifest).encode()))
    return layout


def with_file(layout: Path, path: str, content: str) -> Image:
    """Put a layer with one file on the image in an OCI layout.

    Args:
        layout: a layout with one image.
        path: of the file in the image, without a leading slash.
        content: of the file.
    """
    index = json.loads((layout / "index.json").read_text())
    manifest = json.loads(_blob(layout, index["manifests"][0]["digest"]).read_text())
    config = json.loads(_blob(layout, manifest["config"]["digest"]).read_text())
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as tar:
        info = tarfile.TarInfo(path)
        info.size, info.mode = len(content), 0o644
        tar.addfile(info, io.BytesIO(content.encode()))
    config["rootfs"]["diff_ids"].append(_digest(buffer.getvalue()))
    config.get("history", []).append({"created_by": "armillary verify"})
    manifest["layers"].append(
        {"mediaType": LAYER, **_add(layout, gzip.compress(buffer.getvalue(), mtime=0))}
    )
    manifest["config"].update(_add(layout, json.dumps(config).encode()))
    added = _add(layout, json.dumps(manifest).encode())
    _write_index(layout, added)
    return Image(layout, added["digest"])


def _write_index(layout: Path, manifest: dict[str, Any]) -> None:
    """Say which is the layout's one image."""
    tag = {"org.opencontainers.image.ref.name": TAG}
    entry = {"mediaType": MANIFEST, **manifest, "annotations": tag}
    (layout / "index.json").write_text(json.dumps({"schemaVersion": 2, "manifests": [entry]}))


def _digest(content: bytes) -> str:
    return "sha256:" + hashlib.sha256(content).hexdigest()


def _blob(layout: Path, digest: str) -> Path:
    return layout / "blobs" / digest.replace(":", "/")


def _add(layout: Path, content: bytes) -> dict[str, Any]:
    """Add a blob to a layout; return what is said of it where it is referred to."""
    digest = _digest(content)
    _blob(layout, digest).write_bytes(content)
    return {"digest": digest, "size": len(content)}
