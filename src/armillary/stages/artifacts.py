"""What the hosts and the cluster run: binaries from Go modules, images from lock files."""

from __future__ import annotations

from typing import Any

from armillary.artifacts.build import (
    ArtifactError,
    archive_artifact,
    artifact_path,
    build_artifact,
)
from armillary.artifacts.manifest import load_manifest
from armillary.images.build import ImageError, build_all, image_path, read_manifests
from armillary.models.report import Check
from armillary.paths import ROOT, cache_home
from armillary.stages.contract import Context, StageError


class Artifacts:
    """Build what is not in the cache yet."""

    name = "artifacts"
    title = "Build binaries and images"
    expected = 1200.0

    def plan(self, context: Context) -> list[str]:
        cache = cache_home()
        lines = [
            f"build artifact {entry.name} {entry.version}"
            for entry in load_manifest(ROOT).artifacts
            if not artifact_path(entry, cache=cache, root=ROOT).exists()
        ]
        images, _ = read_manifests(ROOT)
        return lines + [
            f"build image {entry.name}"
            for entry in images.images
            if not image_path(entry, cache=cache, root=ROOT).exists()
        ]

    def apply(self, context: Context) -> bool:
        changed = False
        try:
            for artifact in load_manifest(ROOT).artifacts:
                changed |= build_artifact(
                    artifact, cache=cache_home(), root=ROOT, progress=context.say
                ).built
            images = build_all(None, cache=cache_home(), root=ROOT, progress=context.say)
            changed |= any(image.built for image in images)
        except (ArtifactError, ImageError) as error:
            raise StageError(str(error)) from error
        return changed

    def verify(self, context: Context) -> list[Check]:
        return [
            Check(name="artifacts", ok=False, detail=f"to do: {line}")
            for line in self.plan(context)
        ]

    def destroy(self, context: Context) -> None:
        """Leave the cache: it belongs to the machine and serves every cluster on it."""


def artifact_variables() -> dict[str, Any]:
    """Return `armillary_artifacts`: version, key, archive and directory of each artifact."""
    found: dict[str, Any] = {}
    for entry in load_manifest(ROOT).artifacts:
        built = build_artifact(entry, cache=cache_home(), root=ROOT, progress=lambda line: None)
        archive = archive_artifact(entry, cache=cache_home(), root=ROOT, progress=lambda line: None)
        found[entry.name] = {
            "version": entry.version,
            "key": built.key,
            "archive": str(archive),
            "bin_dir": str(built.bin_dir),
        }
    return found
