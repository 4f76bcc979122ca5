"""The container images of a cluster: built here, kept by content, pushed to its registry."""

from armillary.images.build import (
    ImageError,
    build_all,
    build_image,
    image_key,
    image_path,
    read_manifests,
)
from armillary.images.kept import BuiltImage
from armillary.images.manifest import Image, Manifest, load_manifest
from armillary.images.publish import push
from armillary.manifests import ManifestError

__all__ = [
    "BuiltImage",
    "Image",
    "ImageError",
    "Manifest",
    "ManifestError",
    "build_all",
    "build_image",
    "image_key",
    "image_path",
    "load_manifest",
    "push",
    "read_manifests",
]
