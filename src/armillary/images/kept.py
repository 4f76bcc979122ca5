"""Images in the cache: what was built here, or copied from elsewhere.

<cache>/images/<name>/<key>/    an OCI layout where it was built, skopeo's `dir:` where it was copied, for that keeps Docker's
                                manifests as they are, and so their digests
              armillary.json    its digest, reference and size
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

RECORD = "armillary.json"


@dataclass(frozen=True)
class BuiltImage:
    """An image in the cache."""

    name: str
    key: str
    layout: Path
    """Its directory."""
    digest: str
    """Of the image's manifest, or of the list of its platforms' manifests, `sha256:...`."""
    reference: str
    """`<repository>:<tag>`, without a registry."""
    size: int
    """Bytes of the compressed layers, of all platforms."""
    built: bool
    """False when it was in the cache already."""
    seconds: float

    @property
    def repository(self) -> str:
        """Return the path in a registry."""
        return self.reference.rpartition(":")[0]

    @property
    def tag(self) -> str:
        """Return the tag."""
        return self.reference.rpartition(":")[2]

    @property
    def source(self) -> str:
        """Return what skopeo calls it: `oci:` and `dir:` are containers-transports(5)."""
        return f"dir:{self.layout}" if _is_dir(self.layout) else f"oci:{self.layout}:{self.tag}"


def read(name: str, reference: str, home: Path, *, built: bool = False) -> BuiltImage | None:
    """Return what is in the cache, or None when it is not there or has been cut short.

    Args:
        name: the image's.
        reference: `<repository>:<tag>` it is to have.
        home: its directory, named by its key.
        built: whether it was made just now.
    """
    try:
        known = json.loads((home / RECORD).read_text())
        digest, seconds = str(known["digest"]), float(known["seconds"])
        if known["reference"] != reference:
            return None
        size = layers_size(home, digest)
    except (OSError, ValueError, KeyError, TypeError):
        return None
    return BuiltImage(name, home.name, home, digest, reference, size, built, seconds)


def write_record(
    name: str, reference: str, directory: Path, digest: str, seconds: float, **facts: str
) -> None:
    """Note what was put into an image's directory; the last thing written to it.

    Raises:
        ValueError: it is not whole.
    """
    record = {
        "name": name,
        "key": directory.name,
        "digest": digest,
        "reference": reference,
        "size": layers_size(directory, digest),
        "seconds": round(seconds, 1),
        **facts,
    }
    (directory / RECORD).write_text(json.dumps(record, indent=2) + "\n")


def layers_size(directory: Path, digest: str) -> int:
    """Return the bytes of an image's layers.

    Raises:
        OSError, ValueError: a blob of the image is missing or has another size than the manifest says.
    """
    size = 0
    for manifest in _manifests(directory, digest):
        for part in [manifest["config"], *manifest["layers"]]:
            path = _blob(directory, part["digest"])
            if not path.is_file() or path.stat().st_size != part["size"]:
                raise ValueError(f"{path} is not whole")
        size += sum(int(layer["size"]) for layer in manifest["layers"])
    return size


def file_digest(path: Path) -> str:
    """Return the digest of a file, as manifests write it."""
    return "sha256:" + hashlib.sha256(path.read_bytes()).hexdigest()


def manifest_path(directory: Path, digest: str) -> Path:
    """Return the file of a manifest."""
    if not _is_dir(directory):
        return _blob(directory, digest)
    # skopeo names the first so, and those that it lists by their digests.
    listed = directory / f"{_hex(digest)}.manifest.json"
    return listed if listed.is_file() else directory / "manifest.json"


def _manifests(directory: Path, digest: str) -> Iterator[dict[str, Any]]:
    """Yield the manifests of an image: one, or one for each platform."""
    content: dict[str, Any] = json.loads(manifest_path(directory, digest).read_text())
    if "manifests" not in content:
        yield content
        return
    for each in content["manifests"]:
        yield from _manifests(directory, each["digest"])


def _blob(directory: Path, digest: str) -> Path:
    folder = directory if _is_dir(directory) else directory / "blobs" / "sha256"
    return folder / _hex(digest)


def _is_dir(directory: Path) -> bool:
    return not (directory / "oci-layout").exists()


def _hex(digest: str) -> str:
    return digest.removeprefix("sha256:")
