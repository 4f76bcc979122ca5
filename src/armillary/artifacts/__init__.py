"""The programs a cluster's hosts run, built or fetched as lock files say."""

from armillary.artifacts.build import (
    BuiltArtifact,
    archive_artifact,
    archive_binaries,
    artifact_key,
    artifact_path,
    build_all,
    build_artifact,
    verify_artifact,
)
from armillary.artifacts.contract import ArtifactError
from armillary.artifacts.entry import Artifact
from armillary.artifacts.manifest import Manifest, load_manifest
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
