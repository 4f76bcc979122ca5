"""What names an image in the cache, what changes that name, and what images.yml may hold."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from armillary.images import ManifestError, image_key, load_manifest, read_manifests
from armillary.images.settings import HANDED
from armillary.paths import ROOT

ARTIFACTS = """
artifacts:
  - name: tool
    version: 1.2.3
    licence: MIT
    binaries: {tool: ., helper: .}
"""
IMAGES = """
debian: "2026-01-01"
images:
  - {name: system, repository: armillary/system, tag: bookworm, rootfs: {suite: bookworm}}
  - {name: middle, repository: armillary/middle, tag: "1", base: system}
  - {name: top, repository: armillary/top, tag: "v{tool}", base: middle, binaries: {tool: [tool]}}
  - {name: alone, repository: armillary/alone, tag: "{tool}", binaries: {tool: [tool, helper]}}
  - {name: program, repository: armillary/program, tag: "1", base: system, source: services/program/src}
"""


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """A checkout with one artifact, a program and five images, of which three stand upon each other."""
    tool = tmp_path / "artifacts" / "tool"
    tool.mkdir(parents=True)
    (tmp_path / "artifacts" / "artifacts.yml").write_text(ARTIFACTS)
    (tool / "go.mod").write_text("module tool\n\ngo 1.26\n")
    (tool / "main.go").write_text("package main\n\nfunc main() {}\n")
    program = tmp_path / "services" / "program"
    (program / "src").mkdir(parents=True)
    (program / "src" / "main.py").write_text("print()\n")
    (program / "tests.py").write_text("assert True\n")
    for name in ("system", "middle", "top", "alone", "program"):
        folder = tmp_path / "images" / name
        folder.mkdir(parents=True)
        (folder / "Containerfile").write_text("FROM scratch\n")
    (tmp_path / "images" / "images.yml").write_text(IMAGES)
    return tmp_path


def keys(root: Path) -> dict[str, str]:
    manifest, _ = read_manifests(root)
    return {each.name: image_key(each, root) for each in manifest.images}


def edit(root: Path, old: str, new: str) -> None:
    path = root / "images" / "images.yml"
    assert old in path.read_text()
    path.write_text(path.read_text().replace(old, new))


def write(path: str, text: str) -> Callable[[Path], None]:
    def change(root: Path) -> None:
        (root / path).write_text(text)

    return change


def replace(old: str, new: str) -> Callable[[Path], None]:
    return lambda root: edit(root, old, new)


def executable(root: Path) -> None:
    (root / "images" / "alone" / "Containerfile").chmod(0o755)


@pytest.mark.parametrize(
    ("change", "changed"),
    [
        (write("images/middle/Containerfile", "FROM scratch\nUSER 1\n"), {"middle", "top"}),
        (write("images/system/more", "a file\n"), {"system", "middle", "top", "program"}),
        (write("services/program/src/main.py", "print(1)\n"), {"program"}),
        (write("services/program/tests.py", "assert 1\n"), set()),
        (executable, {"alone"}),
        (write("artifacts/tool/main.go", "package main\n\nfunc main() { }\n"), {"top", "alone"}),
        (replace("armillary/top", "armillary/summit"), {"top"}),
        (replace("2026-01-01", "2026-02-02"), {"system", "middle", "top", "program"}),
        (replace("[tool, helper]", "[tool]"), {"alone"}),
        (write("images/README.md", "words\n"), set()),
        (write("images/top/README.md", "words\n"), set()),
        (write("images/top/.Containerfile.swp", "an editor's\n"), set()),
    ],
)
def test_a_key_changes_with_what_shapes_the_image_and_nothing_else(
    root: Path, change: Callable[[Path], None], changed: set[str]
) -> None:
    before = keys(root)
    change(root)
    after = keys(root)
    assert {name for name in before if before[name] != after[name]} == changed


def test_a_key_does_not_depend_on_where_the_checkout_lies(root: Path, tmp_path: Path) -> None:
    elsewhere = tmp_path / "elsewhere"
    shutil.copytree(root / "images", elsewhere / "images")
    shutil.copytree(root / "artifacts", elsewhere / "artifacts")
    shutil.copytree(root / "services", elsewhere / "services")
    assert keys(elsewhere) == keys(root)


def test_tags_hold_the_versions_of_the_artifacts(root: Path) -> None:
    manifest, _ = read_manifests(root)
    assert manifest.get("top").tag == "v1.2.3"
    assert manifest.get("alone").tag == "1.2.3"


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ("base: system", "base: sistem", "middle: `base: sistem` is no image listed above it"),
        ("base: middle", "base: alone", "top: `base: alone` is no image listed above it"),
        ("name: alone", "name: top", "'top' is there more than once"),
        ("name: alone", "name: lonely", "images/lonely/Containerfile is missing"),
        ("armillary/top", "armillary/Top", "images.2.repository"),
        ("armillary/top", "registry:5000/top", "images.2.repository"),
        ('"v{tool}"', '"v{kubernetes}"', "may hold the name of an artifact"),
        ('"v{tool}"', '"v{tool"', "may hold the name of an artifact"),
        ("{tool: [tool]}", "{tol: [tool]}", "No artifact is called 'tol'"),
        ("{tool: [tool]}", "{tool: [tolo]}", "has no binary 'tolo', but tool, helper"),
        ("{tool: [tool]}", "{tool: []}", "images.2.binaries.tool"),
        ('tag: "1"', 'tag: "1", tags: []', "images.1.tags: Extra inputs"),
        ("armillary/middle, tag: \"1\"", "armillary/system, tag: bookworm", "would both be"),
        ("images:", "images: [", "is no YAML"),
        ("services/program/src", "services/programs", "`source: services/programs` is no folder"),
        ("services/program/src", "../elsewhere", "images.4.source"),
    ],
)  # fmt: skip
def test_a_mistake_in_images_yml_is_named(root: Path, old: str, new: str, said: str) -> None:
    edit(root, old, new)
    with pytest.raises(ManifestError) as error:
        read_manifests(root)
    assert said in str(error.value)


def test_an_unknown_image_is_answered_with_those_there_are(root: Path) -> None:
    manifest, _ = read_manifests(root)
    with pytest.raises(ManifestError, match="system, middle, top, alone"):
        manifest.get("bottom")


def test_the_projects_own_images_are_well_formed() -> None:
    manifest, artifacts = read_manifests()
    folders = {path.parent.name for path in (ROOT / "images").glob("*/Containerfile")}
    assert set(manifest.names()) == folders
    assert load_manifest(ROOT, artifacts) == manifest


def test_containerfiles_name_no_registry_and_seal_what_they_run() -> None:
    manifest, _ = read_manifests()
    for each in manifest.images:
        text = (ROOT / each.folder / "Containerfile").read_text()
        stages = text.split("FROM ")[1:]
        assert all(stage.startswith(("scratch", "${BASE}")) for stage in stages), each.name
        assert ("RUN" not in stages[-1]) or "/mnt/bin/seal" in stages[-1], each.name


def test_python_requirements_are_locked_by_digest() -> None:
    for path in (ROOT / "images").glob("*/requirements.txt"):
        blocks = path.read_text().replace("\\\n", "").splitlines()
        pinned = [line for line in blocks if line and not line.lstrip().startswith("#")]
        assert pinned, path
        assert all("==" in line and "--hash=sha256:" in line for line in pinned), path


@pytest.mark.parametrize(
    ("name", "handed"),
    [
        ("UV_DEFAULT_INDEX", True),
        ("UV_INDEX_MIRROR_PASSWORD", True),
        ("https_proxy", True),
        ("NPM_CONFIG_REGISTRY", True),
        ("UV_CACHE_DIR", False),
        ("UV_PROJECT_ENVIRONMENT", False),
        ("npm_config_prefix", False),
        ("OS_PASSWORD", False),
    ],
)
def test_only_settings_about_packages_reach_a_build(name: str, handed: bool) -> None:
    assert (HANDED.fullmatch(name) is not None) == handed
