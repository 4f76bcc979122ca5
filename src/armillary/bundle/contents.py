"""What a bundle says of itself, and what a cache that a bundle filled holds.

bundle.json                       this: what is in it, with the digest of every file
install.sh                        makes the Python environment, without a network
checkout.tar                      the files of Armillary that made it
wheels/                           Python packages
packages/machine/, hosts.tar      Debian packages, each an archive for apt
providers/                        Terraform's, where the cloud's come from its registry
artifacts/<name>/<key>/           as in the cache, the binaries in their archive
images/<name>/<key>/              as in the cache
host-image/<key>/                 as in the cache
"""

from __future__ import annotations

import hashlib
import json
from functools import lru_cache
from pathlib import Path
from typing import Annotated, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, ValidationError

FILE = "bundle.json"
LACKS = "the bundle in use does not have it, and nothing is fetched or built beside a bundle."
LACKING = (
    "Make a bundle for this cluster.yml with this release (`invoke bundle`), or give `--bundle none` "
    "where networks can be reached."
)
MACHINE = "packages/machine"
"""Debian packages for the machine Armillary is typed on."""
HOSTS = "packages/hosts.tar"
"""Debian packages for a cluster's hosts."""
PROVIDERS = "providers"
_RECIPES = ("artifacts", "images", "services", "src/armillary/images/steps")

Kind = Literal["artifacts", "images"]


def _inside(place: str) -> str:
    """Refuse a path that leads elsewhere."""
    if place.startswith("/") or ".." in Path(place).parts:
        raise ValueError(f"{place} leads out of the bundle")
    return place


Place = Annotated[str, AfterValidator(_inside)]


class BundleError(RuntimeError):
    """A bundle cannot be written or used; the message says why and what to do."""


class Member(BaseModel):
    """A file of a bundle."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    sha256: str
    size: int


class Contents(BaseModel):
    """bundle.json."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    format: Literal[1] = 1
    made_by: str
    """Armillary's version."""
    recipes: str
    """`recipes` of the checkout that made it."""
    machine: str
    """The architecture, in the kernel's words."""
    python: str
    """Major and minor version that the wheels are for."""
    cluster: str
    cloud: str
    keys: dict[Kind, dict[str, str]]
    """Name: key, under which it lies in the cache."""
    files: dict[Place, Member]

    @property
    def id(self) -> str:
        """Return what tells this bundle from others (hex, 16 characters)."""
        return hashlib.sha256(self.model_dump_json().encode()).hexdigest()[:16]


def recipes(root: Path) -> str:
    """Return the digest of all that a checkout says about what is built, and how."""
    digest = hashlib.sha256()
    for folder in _RECIPES:
        for path in sorted((root / folder).rglob("*")):
            name = path.relative_to(root)
            if path.is_file() and not any(
                part[0] == "." or part == "__pycache__" for part in name.parts
            ):
                digest.update(f"{name}\0{path.stat().st_size}\0".encode() + path.read_bytes())
    return digest.hexdigest()


def read(directory: Path) -> Contents | None:
    """Return what a bundle that was unpacked into this directory holds; None where none was.

    Raises:
        BundleError: its bundle.json is not one of this release's.
    """
    try:
        return _read(directory / FILE)
    except FileNotFoundError:
        return None


@lru_cache
def _read(path: Path) -> Contents:
    return parse(path.read_text(), path)


def parse(text: str, where: Path) -> Contents:
    """Return what the text of a bundle.json says.

    Raises:
        BundleError: it is not one of this release's.
    """
    try:
        return Contents.model_validate(json.loads(text))
    except (ValueError, ValidationError) as error:
        raise BundleError(
            f"{where} was not written by this release of Armillary. Use the release that made the "
            "bundle (its checkout is inside), or make the bundle anew."
        ) from error


def key(cache: Path, kind: Kind, name: str) -> str | None:
    """Return the key under which a bundle brought something into this cache; None where none did."""
    found = read(cache)
    return found.keys[kind].get(name) if found else None
