"""Two builds of an image from nothing are the same image, byte for byte."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from armillary.images import build_all
from armillary.paths import cache_home

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(
        not (shutil.which("buildah") and shutil.which("mmdebstrap") and shutil.which("skopeo")),
        reason="needs buildah, skopeo and mmdebstrap",
    ),
]


def empty_cache(directory: Path) -> Path:
    """Return a cache with the Go binaries of the real one, whose own test is elsewhere."""
    directory.mkdir()
    for name in ("artifacts", "go"):
        (cache_home() / name).mkdir(parents=True, exist_ok=True)
        (directory / name).symlink_to(cache_home() / name)
    return directory


def test_debian_with_packages_and_a_binary_come_out_the_same_twice(tmp_path: Path) -> None:
    """Of debian (mmdebstrap), netfilter (apt inside a build), kube-proxy (on both) and pause."""
    digests = []
    for attempt in ("first", "second"):
        built = build_all(
            ["debian", "netfilter", "kube-proxy", "pause"], cache=empty_cache(tmp_path / attempt)
        )
        assert all(each.built for each in built if each.name in ("kube-proxy", "pause"))
        digests.append({each.name: each.digest for each in built})
    assert digests[0] == digests[1]


def test_python_in_an_image_comes_out_the_same_twice(tmp_path: Path) -> None:
    """Of the hub: a virtual environment from a lock file, and its compiled files."""
    digests = [
        build_all(["hub"], cache=empty_cache(tmp_path / attempt))[0].digest
        for attempt in ("first", "second")
    ]
    assert digests[0] == digests[1]
