"""Artifacts of kind python: installed from a lock file, whole, the same each time, and run with nothing of the machine's."""

from __future__ import annotations

import json
import subprocess
import tarfile
from pathlib import Path

import pytest

from armillary.artifacts import (
    Artifact,
    ArtifactError,
    ManifestError,
    archive_artifact,
    artifact_key,
    build_artifact,
    load_manifest,
    verify_artifact,
)
from armillary.paths import ROOT


def make_root(root: Path, requirements: str | None = None, version: str = "") -> Artifact:
    """Make a checkout with one artifact: the smallest of Swift's packages with a program, alone."""
    lock = (ROOT / "artifacts" / "swift" / "requirements.txt").read_text()
    name = "charset-normalizer"
    block = lock[lock.index(f"{name}==") :].split("\n")
    own = "\n".join([block[0], *(line for line in _hashes(block[1:]))]) + "\n"
    entry = {
        "name": "detector",
        "version": version or block[0].split("==")[1].split()[0],
        "licence": "MIT",
        "kind": "python",
        "module": name,
        "binaries": {"detector": name},
    }
    folder = root / "artifacts" / "detector"
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "requirements.txt").write_text(own if requirements is None else requirements)
    (root / "artifacts" / "artifacts.yml").write_text(json.dumps({"artifacts": [entry]}))
    return load_manifest(root).get("detector")


def _hashes(lines: list[str]) -> list[str]:
    found = []
    for line in lines:
        if not line.lstrip().startswith("--hash"):
            break
        found.append(line)
    return found


def test_it_runs_wherever_it_is_put_with_nothing_of_the_machines(tmp_path: Path) -> None:
    entry = make_root(tmp_path)
    archive = archive_artifact(entry, cache=tmp_path / "cache", root=tmp_path)
    with tarfile.open(archive) as tar:
        tar.extractall(tmp_path / "elsewhere", filter="data")
        assert {(each.uid, each.mtime) for each in tar.getmembers()} == {(0, 0)}
    program = tmp_path / "elsewhere" / "detector" / "bin" / "normalizer"
    (tmp_path / "image.txt").write_text("Ångström", encoding="latin-1")
    command = ["/usr/bin/python3", "-IS", program, "--minimal", tmp_path / "image.txt"]
    env = {"PYTHONPATH": "/nonexistent", "PATH": "/usr/bin"}
    shown = subprocess.run(command, capture_output=True, text=True, env=env, timeout=60)
    assert shown.returncode == 0, shown.stderr
    assert program.read_text().startswith("#!/usr/bin/python3 -IS\n")


def test_two_caches_hold_the_same_and_running_it_changes_nothing(tmp_path: Path) -> None:
    entry = make_root(tmp_path)
    one = build_artifact(entry, cache=tmp_path / "one", root=tmp_path)
    two = build_artifact(entry, cache=tmp_path / "two", root=tmp_path)
    assert one.binaries == two.binaries
    archives = [
        archive_artifact(entry, cache=tmp_path / each, root=tmp_path) for each in ("one", "two")
    ]
    assert archives[0].read_bytes() == archives[1].read_bytes()
    (one.bin_dir / "detector" / "lib" / "charset_normalizer" / "__pycache__").mkdir()
    (one.bin_dir / "detector" / "lib" / "charset_normalizer" / "__pycache__" / "x.pyc").touch()
    assert not build_artifact(entry, cache=tmp_path / "one", root=tmp_path).built
    assert verify_artifact(entry, cache=tmp_path / "one", root=tmp_path, rebuild=True) == []


def test_verify_names_what_was_altered_in_the_directory(tmp_path: Path) -> None:
    entry = make_root(tmp_path)
    built = build_artifact(entry, cache=tmp_path / "cache", root=tmp_path)
    module = built.bin_dir / "detector" / "lib" / "charset_normalizer" / "api.py"
    module.write_bytes(module.read_bytes().replace(b"0", b"1"))
    [wrong] = verify_artifact(entry, cache=tmp_path / "cache", root=tmp_path)
    assert "detector is not what was built" in wrong


def test_key_changes_with_the_lock_file(tmp_path: Path) -> None:
    entry = make_root(tmp_path)
    before = artifact_key(entry, tmp_path)
    lock = tmp_path / "artifacts" / "detector" / "requirements.txt"
    lock.write_text(lock.read_text() + "# locked again\n")
    assert artifact_key(entry, tmp_path) != before


def test_a_package_with_another_digest_is_refused(tmp_path: Path) -> None:
    entry = make_root(tmp_path)
    lock = tmp_path / "artifacts" / "detector" / "requirements.txt"
    version = entry.version
    lock.write_text(f"charset-normalizer=={version} --hash=sha256:{'0' * 64}\n")
    with pytest.raises(ArtifactError, match="has been altered") as caught:
        build_artifact(entry, cache=tmp_path / "cache", root=tmp_path)
    assert "artifacts/detector/requirements.txt" in str(caught.value)
    assert not list((tmp_path / "cache").rglob("bin"))


@pytest.mark.parametrize(
    ("requirements", "version", "message"),
    [
        (None, "1.0.0", r"says 1\.0\.0, artifacts/detector/requirements\.txt has "),
        ("", "1.0.0", "has no charset-normalizer. Lock again"),
    ],
)
def test_a_lock_file_that_does_not_fit_is_named(
    tmp_path: Path, requirements: str | None, version: str, message: str
) -> None:
    with pytest.raises(ManifestError, match=message):
        make_root(tmp_path, requirements, version)
