"""Real artifacts come out byte for byte the same, whatever checkout and caches they come from."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from armillary.artifacts import build_artifact, load_manifest
from armillary.artifacts.build import make_artifact
from armillary.paths import ROOT, cache_home


@pytest.mark.slow
@pytest.mark.parametrize("name", ["cni", "crane", "runc"])
def test_two_builds_give_the_same_bytes(tmp_path: Path, name: str) -> None:
    """The one that clusters get, and one from another checkout with no package compiled before."""
    entry = load_manifest(ROOT).get(name)
    kept = build_artifact(entry).binaries
    root = tmp_path / "somewhere" / "else"
    shutil.copytree(ROOT / entry.folder, root / entry.folder)
    # go.sum vouches for the modules, so they are fetched once only.
    again = make_artifact(
        entry, root / "bin", cache=cache_home(), compiled=root / "compiled", root=root
    )
    assert again == kept
    assert kept.keys() == entry.binaries.keys()
