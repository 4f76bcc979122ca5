"""artifacts/artifacts.yml: which programs are built, from which packages, and how."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from pydantic import BaseModel, ConfigDict

from armillary.artifacts import go, maven, python
from armillary.artifacts.contract import Kind
from armillary.artifacts.entry import Artifact
from armillary.manifests import ManifestError, read_manifest

KINDS: Mapping[str, Kind] = {"go": go, "python": python, "maven": maven}


class Manifest(BaseModel):
    """The whole of artifacts.yml."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    artifacts: tuple[Artifact, ...]

    def names(self) -> list[str]:
        """Return the artifacts' names, in the order in which they are built."""
        return [each.name for each in self.artifacts]

    def get(self, name: str) -> Artifact:
        """Return the artifact of this name.

        Raises:
            ManifestError: there is none; the message names those there are.
        """
        for each in self.artifacts:
            if each.name == name:
                return each
        raise ManifestError(
            f"No artifact is called {name!r}. artifacts/artifacts.yml has: "
            f"{', '.join(self.names())}."
        )


def load_manifest(root: Path) -> Manifest:
    """Read `root`/artifacts/artifacts.yml and check it against the lock files it names.

    Raises:
        ManifestError: names the file, the field and what to change.
    """
    path = root / "artifacts" / "artifacts.yml"
    manifest = read_manifest(path, Manifest)
    names = manifest.names()
    for name in names:
        if names.count(name) > 1:
            raise ManifestError(f"{path}: {name!r} is there {names.count(name)} times; keep one.")
    for each in manifest.artifacts:
        KINDS[each.kind].check(each, root / each.folder)
    return manifest
