"""Real artifacts come out byte for byte the same, whatever checkout and caches they come from."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from armillary.artifacts import load_manifest
from armillary.artifacts.build import compile_artifact
from armillary.paths import ROOT, cache_home
from armillary.tools import go


@pytest.mark.slow
@pytest.mark.parametrize("name", ["cni", "crane", "runc"])
def test_two_builds_give_the_same_bytes(tmp_path: Path, name: str) -> None:
    entry = load_manifest(ROOT).get(name)
    # go.sum vouches for the modules, so they are fetched once only.
    modules = go.Caches.under(cache_home()).modules
    digests = []
    for place in ("one", "somewhere/else"):
        root = tmp_path / place
        shutil.copytree(ROOT / entry.folder, root / entry.folder)
        caches = go.Caches(modules=modules, packages=root / "packages")
        digests.append(compile_artifact(entry, root / "bin", caches=caches, root=root))
    assert digests[0] == digests[1]
    assert digests[0].keys() == entry.binaries.keys()
