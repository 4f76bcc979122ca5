"""Real artifacts come out byte for byte the same, whatever checkout and caches they come from."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from armillary.artifacts import build_artifact, load_manifest
from armillary.artifacts.build import compile_artifact
from armillary.paths import ROOT, cache_home
from armillary.tools import go


@pytest.mark.slow
@pytest.mark.parametrize("name", ["cni", "crane", "runc"])
def test_two_builds_give_the_same_bytes(tmp_path: Path, name: str) -> None:
    """The one that clusters get, and one from another checkout with no package compiled before."""
    entry = load_manifest(ROOT).get(name)
    kept = build_artifact(entry).binaries
    # go.sum vouches for the modules, so they are fetched once only.
    modules = go.Caches.under(cache_home()).modules
    root = tmp_path / "somewhere" / "else"
    shutil.copytree(ROOT / entry.folder, root / entry.folder)
    caches = go.Caches(modules=modules, packages=root / "packages")
    assert compile_artifact(entry, root / "bin", caches=caches, root=root) == kept
    assert kept.keys() == entry.binaries.keys()
