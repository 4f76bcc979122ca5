"""The programs a cluster's hosts run: built from Go modules pinned by go.sum, or fetched by Maven and pinned by checksums."""

from armillary.artifacts.build import (
    ArtifactError,
    BuiltArtifact,
    archive_artifact,
    archive_binaries,
    artifact_key,
    artifact_path,
    build_all,
    build_artifact,
    verify_artifact,
)
from armillary.artifacts.manifest import Artifact, Manifest, load_manifest
from armillary.manifests import ManifestError

__all__ = [
    "Artifact",
    "ArtifactError",
    "BuiltArtifact",
    "Manifest",
    "ManifestError",
    "archive_artifact",
    "archive_binaries",
    "artifact_key",
    "artifact_path",
    "build_all",
    "build_artifact",
    "load_manifest",
    "verify_artifact",
]
