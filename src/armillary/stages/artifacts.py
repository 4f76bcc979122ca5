"""What the hosts and the cluster run: binaries and images, from lock files."""

from __future__ import annotations

from typing import Any

from armillary.artifacts.build import archive_binaries
from armillary.artifacts.contract import ArtifactError
from armillary.images.build import ImageError
from armillary.manifests import ManifestError
from armillary.models.report import Check
from armillary.stages import record
from armillary.stages.contract import Context, StageError
from armillary.supply import Supply

CACHED = 2.0
"""Seconds where nothing has to be built or copied."""


class Artifacts:
    """Build what is not in the cache yet."""

    name = "artifacts"
    title = "Build binaries and images"
    expected = 1200.0

    def plan(self, context: Context) -> list[str]:
        return context.supply.plan()

    def foreseen(self, context: Context) -> float:
        """Return the seconds it is expected to take now, whatever it took when all was built."""
        if not self.plan(context):
            return CACHED
        return record.expected(context.paths, self.name, self.expected)

    def apply(self, context: Context) -> bool:
        supply = context.supply
        try:
            changed = any(artifact.built for artifact in supply.artifacts(context.say))
            changed |= any(image.built for image in supply.images(context.say))
        except (ArtifactError, ImageError, ManifestError) as error:
            raise StageError(str(error)) from error
        return changed

    def verify(self, context: Context) -> list[Check]:
        return [
            Check(name="artifacts", ok=False, detail=f"to do: {line}")
            for line in self.plan(context)
        ]

    def destroy(self, context: Context) -> None:
        """Leave the cache: it belongs to the machine and serves every cluster on it."""


def artifact_variables(supply: Supply) -> dict[str, Any]:
    """Return `armillary_artifacts`: version, key, archive and directory of each artifact."""
    return {
        built.name: {
            "version": built.version,
            "key": built.key,
            "archive": str(archive_binaries(built)),
            "bin_dir": str(built.bin_dir),
        }
        for built in supply.artifacts()
    }
