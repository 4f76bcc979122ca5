"""images/images.yml: which container images are built, from what, and where they go."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field, StringConstraints

from armillary.artifacts.manifest import Manifest as Artifacts
from armillary.manifests import ManifestError, read_manifest

Name = Annotated[str, StringConstraints(pattern=r"^[a-z0-9][a-z0-9-]*$")]
# https://github.com/opencontainers/distribution-spec/blob/main/spec.md#pulling-manifests
Repository = Annotated[
    str, StringConstraints(pattern=r"^[a-z0-9]+([._-][a-z0-9]+)*(/[a-z0-9]+([._-][a-z0-9]+)*)*$")
]
Tag = Annotated[str, StringConstraints(pattern=r"^[\w{][\w{}.-]{0,127}$")]


class Rootfs(BaseModel):
    """A Debian root file system made by mmdebstrap, put into the context as rootfs.tar."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    suite: Name
    packages: tuple[str, ...] = ()


class Image(BaseModel):
    """One entry of images.yml."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    name: Name
    repository: Repository
    tag: Tag
    base: Name | None = None
    binaries: dict[Name, Annotated[tuple[Name, ...], Field(min_length=1)]] = {}
    rootfs: Rootfs | None = None
    debian: str | None = None
    upstream: (
        Annotated[str, StringConstraints(pattern=r"^[a-z0-9.-]+(:\d+)?(/[a-z0-9._-]+)+$")] | None
    ) = None
    """Registry and path of its project's own; its tag is the same."""
    source: Annotated[str, StringConstraints(pattern=r"^services(/[a-z0-9_.-]+)+$")] | None = None
    """A folder of programs of ours that the Containerfile finds as source/."""

    @property
    def reference(self) -> str:
        """Path in the registry, and tag."""
        return f"{self.repository}:{self.tag}"

    @property
    def folder(self) -> str:
        """The folder of the Containerfile, seen from the checkout."""
        return f"images/{self.name}"


class Manifest(BaseModel):
    """The whole of images.yml."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    debian: str
    """A word, a date as a rule, to change when Debian's packages are to be taken anew."""
    images: tuple[Image, ...]

    def names(self) -> list[str]:
        """Return the images' names, bases before what is built on them."""
        return [each.name for each in self.images]

    def get(self, name: str) -> Image:
        """Return the image of this name.

        Raises:
            ManifestError: there is none; the message names those there are.
        """
        for each in self.images:
            if each.name == name:
                return each
        raise ManifestError(
            f"No image is called {name!r}. images/images.yml has: {', '.join(self.names())}."
        )


def load_manifest(root: Path, artifacts: Artifacts) -> Manifest:
    """Read `root`/images/images.yml and check it against the folders and artifacts it names.

    Tags come back with their `{artifact}` filled in. `debian` is handed on to every image which is
    made from a root file system, and to those above it.

    Raises:
        ManifestError: names the file, the image, the field and what to change.
    """
    path = root / "images" / "images.yml"
    manifest = read_manifest(path, Manifest)
    known: dict[str, Image] = {}
    references: dict[str, str] = {}
    for each in manifest.images:
        if each.name in known:
            raise ManifestError(f"{path}: {each.name!r} is there more than once; keep one.")
        if each.base is not None and each.base not in known:
            raise ManifestError(
                f"{path}: {each.name}: `base: {each.base}` is no image listed above it. Move "
                f"{each.base}'s entry up, or correct `base`."
            )
        if not (root / each.folder / "Containerfile").is_file():
            raise ManifestError(
                f"{path}: {each.name}: {each.folder}/Containerfile is missing. Write it, or remove "
                "the entry."
            )
        if each.source is not None and not (root / each.source).is_dir():
            raise ManifestError(
                f"{path}: {each.name}: `source: {each.source}` is no folder of this checkout."
            )
        filled = each.model_copy(
            update={
                "tag": _tag(path, each, artifacts),
                "debian": manifest.debian if each.base or each.rootfs else None,
            }
        )
        reference = f"{filled.repository}:{filled.tag}"
        if reference in references:
            raise ManifestError(
                f"{path}: {each.name} and {references[reference]} would both be {reference}; give "
                "one another repository or tag."
            )
        references[reference] = each.name
        known[each.name] = filled
    return manifest.model_copy(update={"images": tuple(known.values())})


def _tag(path: Path, entry: Image, artifacts: Artifacts) -> str:
    """Return the tag with versions in it, having looked up each binary of the entry."""
    versions: dict[str, str] = {}
    for name, binaries in entry.binaries.items():
        try:
            artifact = artifacts.get(name)
        except ManifestError as error:
            raise ManifestError(f"{path}: {entry.name}: binaries.{name}: {error}") from error
        for binary in binaries:
            if binary not in artifact.binaries:
                raise ManifestError(
                    f"{path}: {entry.name}: artifact {name} has no binary {binary!r}, but "
                    f"{', '.join(artifact.binaries)}."
                )
        versions[name] = artifact.version
    try:
        return entry.tag.format(**versions)
    except (KeyError, IndexError, ValueError) as error:
        raise ManifestError(
            f"{path}: {entry.name}: tag {entry.tag!r} may hold the name of an artifact under "
            f"`binaries` in braces ({', '.join(versions) or 'it has none'}), and nothing else."
        ) from error
