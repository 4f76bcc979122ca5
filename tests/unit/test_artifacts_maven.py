"""Artifacts of kind maven: what checksums.sha256 names and nothing else, from a repository of the test's own."""

from __future__ import annotations

import hashlib
import json
import tarfile
from pathlib import Path

import pytest

from armillary.artifacts import (
    Artifact,
    ArtifactError,
    ManifestError,
    archive_artifact,
    artifact_key,
    artifact_path,
    build_artifact,
    load_manifest,
    verify_artifact,
)
from armillary.artifacts.maven import POM, SUMS
from armillary.models.parts import Images
from armillary.paths import ClusterPaths, cache_home
from armillary.supply import Supply
from armillary.tools import maven
from armillary.tools.process import CommandMissing, Completed

GROUP = "org.example.armillary"
POM_TEXT = """\
<project xmlns="http://maven.apache.org/POM/4.0.0">
  <modelVersion>4.0.0</modelVersion>
  <groupId>{group}</groupId><artifactId>{name}</artifactId><version>{version}</version>
  <packaging>{packaging}</packaging>
  <repositories><repository><id>here</id><url>file://{repository}</url></repository></repositories>
  <dependencies>{dependencies}</dependencies>
  <build><plugins><plugin>
    <artifactId>maven-dependency-plugin</artifactId><version>3.8.1</version>
  </plugin></plugins></build>
</project>
"""
DEPENDENCY = (
    f"<dependency><groupId>{GROUP}</groupId><artifactId>%s</artifactId><version>%s</version>"
    "<scope>%s</scope></dependency>"
)
VERSION = "1.0.0"
STAR, DUST = b"PK star", b"PK dust"


def publish(repository: Path, name: str, content: bytes, *needs: str) -> None:
    """Put something into a Maven repository."""
    folder = repository / GROUP.replace(".", "/") / name / VERSION
    folder.mkdir(parents=True)
    dependencies = "".join(DEPENDENCY % (one, VERSION, "compile") for one in needs)
    pom = POM_TEXT.format(
        group=GROUP,
        name=name,
        version=VERSION,
        packaging="jar",
        repository=repository,
        dependencies=dependencies,
    )
    for path, data in ((f"{name}-{VERSION}.pom", pom.encode()), (f"{name}-{VERSION}.jar", content)):
        (folder / path).write_bytes(data)
        (folder / f"{path}.sha1").write_text(hashlib.sha1(data, usedforsecurity=False).hexdigest())


def lock(folder: Path, **files: bytes) -> None:
    """Write checksums.sha256 of files."""
    sums = {
        f"{name}-{VERSION}.jar": hashlib.sha256(data).hexdigest() for name, data in files.items()
    }
    (folder / SUMS).write_text("".join(f"{one}  {name}\n" for name, one in sums.items()))


def make_root(root: Path, star: str = VERSION, **changes: object) -> Artifact:
    """Lay a checkout with one artifact, `sky`, which needs `star`, which needs `dust`; `test` is for tests alone."""
    repository = root / "repository"
    publish(repository, "star", STAR, "dust")
    publish(repository, "dust", DUST)
    publish(repository, "test", b"PK test")
    folder = root / "artifacts" / "sky"
    folder.mkdir(parents=True)
    wanted = DEPENDENCY % ("star", star, "compile") + DEPENDENCY % ("test", VERSION, "test")
    (folder / POM).write_text(
        POM_TEXT.format(
            group="armillary.artifacts",
            name="sky",
            version="7",
            packaging="pom",
            repository=repository,
            dependencies=wanted,
        )
    )
    lock(folder, star=STAR, dust=DUST)
    module = f"{GROUP}:star"
    entry = {
        "name": "sky",
        "kind": "maven",
        "version": star if star[:1].isdigit() else VERSION,
        "licence": "MIT",
        "module": module,
        "binaries": {"sky": module},
        **changes,
    }
    (root / "artifacts" / "artifacts.yml").write_text(json.dumps({"artifacts": [entry]}))
    return load_manifest(root).get("sky")


@pytest.fixture
def cache(tmp_path: Path) -> Path:
    """An empty artifact cache that shares with others the plugins that Maven has fetched for itself."""
    own, shared = maven.repository(tmp_path / "cache"), maven.repository(cache_home())
    own.mkdir(parents=True)
    for one in shared.iterdir() if shared.is_dir() else ():
        if one.name != "org":
            (own / one.name).symlink_to(one)
    (own / "org").mkdir()
    for one in (shared / "org").iterdir() if (shared / "org").is_dir() else ():
        (own / "org" / one.name).symlink_to(one)
    return tmp_path / "cache"


def test_what_is_locked_is_fetched_once_and_packed(
    tmp_path: Path, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    entry = make_root(tmp_path)
    built = build_artifact(entry, cache=cache, root=tmp_path)
    assert built.built
    assert {one.name: one.read_bytes() for one in (built.bin_dir / "sky").iterdir()} == {
        "star-1.0.0.jar": STAR,
        "dust-1.0.0.jar": DUST,
    }
    with tarfile.open(archive_artifact(entry, cache=cache, root=tmp_path)) as archive:
        assert [(one.name, one.mode) for one in archive] == [
            ("sky/dust-1.0.0.jar", 0o644),
            ("sky/star-1.0.0.jar", 0o644),
        ]

    def no_fetch(*args: object, **kwargs: object) -> Completed:
        raise AssertionError("mvn was called")

    monkeypatch.setattr(maven, "copy_dependencies", no_fetch)
    assert not build_artifact(entry, cache=cache, root=tmp_path).built


def test_what_is_not_as_locked_is_refused(tmp_path: Path, cache: Path) -> None:
    entry = make_root(tmp_path)
    lock(tmp_path / entry.folder, star=b"another", more=b"x")
    with pytest.raises(ArtifactError) as refused:
        build_artifact(entry, cache=cache, root=tmp_path)
    said = str(refused.value)
    assert "dust-1.0.0.jar was fetched and is not in it" in said
    assert "more-1.0.0.jar was not fetched" in said
    assert f"star-1.0.0.jar has the sha256 {hashlib.sha256(STAR).hexdigest()}; " in said
    assert "do not go on" in said
    assert not artifact_path(entry, cache=cache, root=tmp_path).exists()


def test_what_the_repository_lacks_is_named(tmp_path: Path, cache: Path) -> None:
    entry = make_root(tmp_path, star="1.1.0")
    with pytest.raises(ArtifactError, match=r"(?s)star.*1\.1\.0.*settings\.xml"):
        build_artifact(entry, cache=cache, root=tmp_path)


def test_missing_maven_is_named(
    tmp_path: Path, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def nothing(say: object) -> None:
        raise CommandMissing("mvn")

    monkeypatch.setattr(maven, "install", nothing)
    with pytest.raises(ArtifactError, match="apt-get install default-jre-headless maven"):
        build_artifact(make_root(tmp_path), cache=cache, root=tmp_path)


def test_verify_names_what_was_altered_and_fetches_it_anew(tmp_path: Path, cache: Path) -> None:
    entry = make_root(tmp_path)
    built = build_artifact(entry, cache=cache, root=tmp_path)
    assert verify_artifact(entry, cache=cache, root=tmp_path, rebuild=True) == []
    (built.bin_dir / "sky" / f"dust-{VERSION}.jar").write_bytes(b"PK dusk")
    (wrong,) = verify_artifact(entry, cache=cache, root=tmp_path, rebuild=True)
    assert "sky is not what was built" in wrong


def test_key_changes_with_the_lock_file(tmp_path: Path) -> None:
    entry = make_root(tmp_path)
    before = artifact_key(entry, tmp_path)
    lock(tmp_path / entry.folder, star=STAR)
    assert artifact_key(entry, tmp_path) != before


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"version": "1.0.1"}, r"artifacts\.yml says 1\.0\.1, pom\.xml asks for 1\.0\.0"),
        ({"module": "org.example:moon"}, r"pom\.xml does not ask for org\.example:moon"),
        ({"module": None}, r"artifacts\.0: .* `module` is the package"),
        ({"binaries": {"sky": ".", "sea": "."}}, r"artifacts\.0: .* `binaries` one directory"),
        ({"cgo": True}, r"artifacts\.0\.cgo: .* kind go"),
        ({"source": "services/none"}, r"services/none/checksums\.sha256: No such file"),
        ({"component": "kafkaa"}, r"artifacts\.0\.component: .* there is jupyterhub"),
        ({"kind": "npm"}, r"artifacts\.0\.kind"),
    ],
)
def test_a_wrong_entry_is_named(tmp_path: Path, changes: dict[str, object], message: str) -> None:
    with pytest.raises(ManifestError, match=message):
        make_root(tmp_path, **changes)


@pytest.mark.parametrize(
    "version", ["[1.0,2.0)", "LATEST", "1.1.0-SNAPSHOT", "", "${of.the.parent}"]
)
def test_a_pom_that_names_no_one_version_is_refused(tmp_path: Path, version: str) -> None:
    with pytest.raises(ManifestError, match="does not say one version of star"):
        make_root(tmp_path, star=version)


@pytest.mark.parametrize(
    ("text", "message"),
    [("", "is empty"), ("abc  star-1.0.0.jar\n", "line 1"), ("0" * 64 + "  ../x\n", "line 1")],
)
def test_a_broken_lock_is_named(tmp_path: Path, text: str, message: str) -> None:
    entry = make_root(tmp_path)
    (tmp_path / entry.folder / SUMS).write_text(text)
    with pytest.raises(ManifestError, match=rf"{message}.*scripts/lock_maven\.py sky"):
        load_manifest(tmp_path)


def test_what_a_component_needs_is_left_out_without_it(tmp_path: Path) -> None:
    def planned(*components: str) -> list[str]:
        found = Supply.of(
            Images(), tmp_path / "cluster.yml", ClusterPaths(tmp_path), frozenset(components)
        )
        found.cache = tmp_path
        return found.plan()

    def named(lines: list[str]) -> list[str]:
        return [line.split()[2] for line in lines if line.startswith("build artifact")]

    assert not {"kafka", "swift"} & set(named(planned()))
    # What is only fetched comes first.
    assert named(planned("kafka"))[0] == "kafka"
    assert named(planned("kafka", "object_store"))[:2] == ["swift", "kafka"]
