"""mirror.lock.yml, beside cluster.yml: what was taken from elsewhere, and by which digests it is known from then on.

A tag and a URL say where something is; a digest says what it is. The first run believes the place, writes down what it
found, and every later one, on whatever machine, takes that and nothing else.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import yaml
from pydantic import BaseModel, ConfigDict, StringConstraints

from armillary.files import write
from armillary.manifests import read_manifest

NAME = "mirror.lock.yml"
_HEAD = """\
# What this cluster takes from other projects, by the digests found when it was first taken. Keep this file with cluster.yml:
# with both, another machine makes the same cluster. To have something taken anew, remove its line.
"""


class Lock(BaseModel):
    """mirror.lock.yml."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    images: dict[str, Annotated[str, StringConstraints(pattern="^sha256:[0-9a-f]{64}$")]] = {}
    """Reference with a tag: digest of its manifest, or of the list of its platforms' manifests."""
    files: dict[str, Annotated[str, StringConstraints(pattern="^[0-9a-f]{64}$")]] = {}
    """URL, as its project publishes it: sha256."""


def read(path: Path) -> Lock:
    """Return what the file says; nothing where there is none.

    Raises:
        ManifestError: it is not as it must be; names the line.
    """
    return read_manifest(path, Lock) if path.exists() else Lock()


def add(
    path: Path, *, images: dict[str, str] | None = None, files: dict[str, str] | None = None
) -> Lock:
    """Write further digests down, and return all.

    Raises:
        ManifestError: what is there is not as it must be.
    """
    before = read(path)
    after = Lock(images=before.images | (images or {}), files=before.files | (files or {}))
    if after != before:
        write(path, _HEAD + yaml.safe_dump(after.model_dump(), width=200))
    return after
