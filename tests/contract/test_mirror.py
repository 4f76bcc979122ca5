"""Images and binaries of other projects: copied as they are, by digest, from real registries and servers that play them."""

from __future__ import annotations

import io
import re
import shutil
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
import yaml
from rich.console import Console
from support import upstream as players
from support.registry_server import Server, serve
from support.upstream import CUT, Upstream

from armillary.artifacts import (
    Artifact,
    ArtifactError,
    BuiltArtifact,
    artifact_path,
    build_artifact,
    load_manifest,
)
from armillary.bundle import packages, wheels
from armillary.bundle.pack import pack
from armillary.bundle.use import choose
from armillary.clouds.contract import Carried
from armillary.config import read_cluster
from armillary.files import read_yaml
from armillary.images import BuiltImage, ImageError, build_all, push, read_manifests
from armillary.mirror import lock
from armillary.models.parts import Images
from armillary.models.report import Check
from armillary.paths import ROOT, ClusterPaths, cache_home
from armillary.report.checks import show
from armillary.stages.artifacts import CACHED, Artifacts
from armillary.stages.contract import Context
from armillary.stages.preflight import Preflight
from armillary.supply import Supply
from armillary.tools import go, skopeo
from armillary.tools.process import CommandError, run

pytestmark = pytest.mark.skipif(
    not (shutil.which("buildah") and shutil.which("skopeo")), reason="needs buildah and skopeo"
)

OTHER = {"amd64": "arm64", "arm64": "amd64"}
FURTHER = "quay.io/survey/tools:2026-11-02"
# Of these one is many binaries in an archive, one a binary as it is.
BINARIES = ("cni", "runc")
REGISTRIES = ("registry.k8s.io", "quay.io")


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A checkout with two small images that their project publishes, pause and one with a CNI plugin."""
    path = tmp_path_factory.mktemp("checkout")
    tools = {
        "name": "tools",
        "repository": "kubernetes/tools",
        "tag": "v{cni}",
        "upstream": "registry.k8s.io/tools",
        "binaries": {"cni": ["ptp"]},
    }
    (path / "images" / "tools").mkdir(parents=True)
    (path / "images" / "tools" / "Containerfile").write_text("FROM scratch\nCOPY bin/ /\n")
    return checkout(path, ["pause"], ["pause", *BINARIES], tools)


def checkout(
    path: Path, images: Sequence[str], artifacts: Sequence[str], *further: dict[str, Any]
) -> Path:
    """Write a checkout with some of this one's images and artifacts, and further images."""
    for kind, wanted in (("images", images), ("artifacts", artifacts)):
        content = read_yaml(ROOT / kind / f"{kind}.yml")
        content[kind] = [each for each in content[kind] if each["name"] in wanted]
        for name in wanted:
            shutil.copytree(ROOT / kind / name, path / kind / name)
        if kind == "images":
            content[kind] += further
        (path / kind).mkdir(parents=True, exist_ok=True)
        (path / kind / f"{kind}.yml").write_text(yaml.safe_dump(content))
    return path


@pytest.fixture(scope="module")
def bare(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A checkout with nothing to build or copy."""
    return checkout(tmp_path_factory.mktemp("bare"), [], [])


@pytest.fixture(scope="module")
def tools(root: Path) -> BuiltImage:
    """One of its images, built here."""
    (built,) = build_all(["tools"], root=root)
    return built


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory, tools: BuiltImage) -> Iterator[Upstream]:
    """All that is upstream: pause for two kinds of machines, the tools and further images for one."""
    with players.play(tmp_path_factory.mktemp("upstream"), REGISTRIES) as found:
        fill(found, tools)
        yield found


def fill(world: Upstream, tools: BuiltImage) -> None:
    """Publish what the small checkout takes, and users' images."""
    (pause,) = build_all(["pause"])
    world.push(tools, "tools", tools.tag)
    world.push(tools, "survey/tools", "2026-11-02")
    here = go.architecture()
    variants = {
        here: world.push(pause, "pause", "here"),
        OTHER[here]: world.push(tools, "pause", "there"),
    }
    world.push_list("pause", pause.tag, variants)
    for name in BINARIES:
        world.downloads.publish(artifact(name))


@pytest.fixture
def led(world: Upstream, monkeypatch: pytest.MonkeyPatch) -> Upstream:
    """The same, and this process is led there."""
    for name, value in world.environment.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr("armillary.tools.skopeo.PAUSE", 0.01)
    monkeypatch.setattr("armillary.tools.download.PAUSE", 0.01)
    world.downloads.faults.clear()
    world.downloads.asked.clear()
    return world


@pytest.fixture
def cluster(tmp_path: Path) -> Iterator[Server]:
    """A cluster's registry."""
    (tmp_path / "registry").mkdir()
    with serve(tmp_path / "registry") as found:
        yield found


@pytest.fixture
def empty_cache(tmp_path: Path) -> Path:
    """A cache with nothing but Go's own."""
    (tmp_path / "cache").mkdir()
    (tmp_path / "cache" / "go").symlink_to(cache_home() / "go")
    return tmp_path / "cache"


def artifact(name: str) -> Artifact:
    return load_manifest(ROOT).get(name)


def supply(world: Upstream, root: Path, place: Path, cache: Path, **settings: object) -> Supply:
    """Return what a cluster is made of whose cluster.yml is in `place`."""
    published = [one for one in load_manifest(ROOT).artifacts if one.upstream]
    urls = [url for one in published for url in one.downloads(go.architecture())]
    wanted = Images(**{"source": "mirror", "downloads": world.places(urls), **settings})  # type: ignore[arg-type]
    found = Supply.of(wanted, place / "cluster.yml", ClusterPaths(place / "state"))
    found.root = root
    found.cache = cache
    return found


def test_images_are_in_the_clusters_registry_under_the_digests_they_have_upstream(
    led: Upstream, root: Path, tmp_path: Path, empty_cache: Path, cluster: Server
) -> None:
    made = supply(led, root, tmp_path, empty_cache, mirror=[FURTHER], platforms="all")
    images = {image.name: image for image in made.images()}
    assert images.keys() == {"pause", "tools", FURTHER}
    push([*images.values()], cluster.address, authfile=cluster.authfile(), ca=cluster.ca)
    for theirs, name in (("pause", "pause"), ("tools", "tools"), ("survey/tools", FURTHER)):
        ours = images[name]
        there = players.manifest(cluster, "HEAD", ours.repository, ours.tag)
        assert there.headers["Docker-Content-Digest"] == led.digest(theirs, ours.tag)
    assert images[FURTHER].reference == "quay.io/survey/tools:2026-11-02"
    # Each platform's, with its layers.
    pause = images["pause"]
    listed = players.manifest(cluster, "GET", pause.repository, pause.tag).json()["manifests"]
    assert {one["platform"]["architecture"] for one in listed} == set(OTHER)
    for one in listed:
        players.manifest(cluster, "GET", pause.repository, one["digest"])


def test_of_an_image_for_several_platforms_the_hosts_own_is_taken(
    led: Upstream, root: Path, tmp_path: Path, empty_cache: Path
) -> None:
    pause, *_ = supply(led, root, tmp_path, empty_cache).images()
    assert pause.digest == led.digest("pause", "here")
    # The list is what the lock knows it by, so that another kind of machine takes its own.
    tag = pause.tag
    pinned = lock.read(tmp_path / lock.NAME).images
    assert pinned[f"registry.k8s.io/pause:{tag}"] == led.digest("pause", tag)


def test_what_was_taken_once_is_taken_again_whatever_the_tag_means_by_then(
    led: Upstream, root: Path, tmp_path: Path, tools: BuiltImage
) -> None:
    before = led.digest("tools", tools.tag)
    (tmp_path / "one").mkdir()
    first = supply(led, root, tmp_path / "one", tmp_path / "cache-1").images()[1]
    other = led.push(build_all(["pause"])[0], "tools", tools.tag)
    try:
        assert other != before
        again = supply(led, root, tmp_path / "one", tmp_path / "cache-2").images()[1]
        assert first.digest == again.digest == before
        (tmp_path / "two").mkdir()
        assert supply(led, root, tmp_path / "two", tmp_path / "cache-2").images()[1].digest == other
    finally:
        assert led.push(tools, "tools", tools.tag) == before


def test_what_is_in_the_cache_is_copied_no_more(
    led: Upstream, root: Path, tmp_path: Path, empty_cache: Path
) -> None:
    first = supply(led, root, tmp_path, empty_cache)
    assert first.plan()
    assert all(one.built for one in [*first.images(), *first.artifacts()][:2])
    asked, images = len(led.downloads.asked), len(led.registry.requests())
    second = supply(led, root, tmp_path, empty_cache)
    assert second.plan() == []
    assert not any(one.built for one in [*second.images(), *second.artifacts()])
    assert (len(led.downloads.asked), len(led.registry.requests())) == (asked, images)


def test_binaries_are_those_that_were_published(
    led: Upstream, root: Path, tmp_path: Path, empty_cache: Path
) -> None:
    made = {one.name: one for one in supply(led, root, tmp_path, empty_cache).artifacts()}
    assert not made["pause"].key.startswith("upstream-")
    assert set(lock.read(tmp_path / lock.NAME).files) == {
        url for name in BINARIES for url in artifact(name).downloads(go.architecture())
    }


@pytest.mark.parametrize(
    "name", [one.name for one in load_manifest(ROOT).artifacts if one.upstream]
)
def test_each_artifact_is_taken_as_its_project_publishes_it(
    led: Upstream, tmp_path: Path, empty_cache: Path, name: str
) -> None:
    built = _there(artifact(name))
    led.downloads.publish(artifact(name))
    taken = supply(led, ROOT, tmp_path, empty_cache).artifact(name)
    assert taken.key.startswith("upstream-")
    assert taken.binaries == built.binaries
    assert lock.read(tmp_path / lock.NAME).files.keys() == set(
        artifact(name).downloads(go.architecture())
    )


@pytest.mark.parametrize("name", [one.name for one in read_manifests()[0].images if one.upstream])
def test_each_image_is_taken_under_the_tag_that_kubeadm_asks_for(
    led: Upstream, tmp_path: Path, empty_cache: Path, cluster: Server, name: str
) -> None:
    entry = read_manifests()[0].get(name)
    for part in entry.binaries:
        _there(artifact(part))
    (built,) = build_all([name])
    path = str(entry.upstream).partition("/")[2]
    # One is there already, among other platforms'.
    published = led.digest("pause", "here") if path == "pause" else led.push(built, path, entry.tag)
    # Nothing is built: the checkout has no base for it.
    alone = checkout(tmp_path / "checkout", [name], [*entry.binaries])
    text = (alone / "images" / "images.yml").read_text()
    (alone / "images" / "images.yml").write_text(text.replace(f"base: {entry.base}", "base: null"))
    taken = supply(led, alone, tmp_path, empty_cache).images()
    push(taken, cluster.address, authfile=cluster.authfile(), ca=cluster.ca)
    reference = f"kubernetes/{name}:{entry.tag}"
    assert f"{cluster.address}/{reference}" in _asked_by_kubeadm(f"{cluster.address}/kubernetes")
    there = players.manifest(cluster, "HEAD", f"kubernetes/{name}", entry.tag)
    assert there.headers["Docker-Content-Digest"] == published


def _asked_by_kubeadm(repository: str) -> list[str]:
    kubernetes = artifact("kubernetes")
    kubeadm = str(_there(kubernetes).bin_dir / "kubeadm")
    version = f"--kubernetes-version=v{kubernetes.version}"
    asked = ["config", "images", "list", version, f"--image-repository={repository}"]
    return run([kubeadm, *asked], timeout=60).stdout.split()


def _there(entry: Artifact) -> BuiltArtifact:
    """Return what was built of an artifact: minutes, where it was not."""
    if not artifact_path(entry).exists():
        pytest.skip(f"{entry.name} was not built here yet; `uv run python scripts/prepare.py`")
    return build_artifact(entry)


def test_a_download_goes_on_after_a_server_that_is_busy_and_a_line_that_breaks(
    led: Upstream, root: Path, tmp_path: Path, empty_cache: Path
) -> None:
    (url,) = artifact("cni").downloads(go.architecture())
    path = led.downloads.path(url)
    led.downloads.faults[path] = [503, CUT, 503]
    supply(led, root, tmp_path, empty_cache).artifact("cni")
    assert led.downloads.asked.count(path) == 4


def test_a_file_that_is_not_what_it_was_is_refused(
    led: Upstream, root: Path, tmp_path: Path
) -> None:
    (url,) = artifact("cni").downloads(go.architecture())
    supply(led, root, tmp_path, tmp_path / "cache-1").artifact("cni")
    file = led.downloads.folder / url.removeprefix("https://")
    good = file.read_bytes()
    file.write_bytes(good[:-1] + bytes([good[-1] ^ 1]))
    try:
        made = supply(led, root, tmp_path, tmp_path / "cache-2")
        with pytest.raises(ArtifactError, match=r"mirror\.lock\.yml says"):
            made.artifact("cni")
        left = (tmp_path / "cache-2" / "artifacts" / "cni").iterdir()
        assert [path.name for path in left] == [".lock"]
    finally:
        file.write_bytes(good)


def test_who_is_not_logged_in_is_told_how_to(
    led: Upstream, bare: Path, tmp_path: Path, empty_cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("REGISTRY_AUTH_FILE", str(tmp_path / "login.json"))
    registry = led.registry.address
    reference = f"{registry}/survey/tools:2026-11-02"
    made = supply(led, bare, tmp_path, empty_cache, source="build", mirror=[reference])
    with pytest.raises(ImageError) as error:
        made.images()
    (check,) = made.checks()
    assert (check.name, check.ok) == (f"registry {registry}", False)
    (told,) = re.findall(r"Log in with `(skopeo login \S+)`", str(error.value))
    run([*told.split(), "--username=push", "--password-stdin"], timeout=60, input="secret")
    (check,) = made.checks()
    assert check.ok is True
    assert made.images()[-1].digest == led.digest("survey/tools", "2026-11-02")


@pytest.fixture
def tried(led: Upstream, monkeypatch: pytest.MonkeyPatch) -> tuple[str, str]:
    """An image in a registry that fails as asked: its reference, and the path of its manifest."""
    login = led.registry.authfile(address=led.downloads.address)
    monkeypatch.setenv("REGISTRY_AUTH_FILE", str(login))
    place, tag = "survey/tools", "2026-11-02"
    return f"{led.downloads.address}/{place}:{tag}", f"/v2/{place}/manifests/{tag}"


def test_a_registry_that_is_busy_is_asked_again(
    led: Upstream, bare: Path, tmp_path: Path, empty_cache: Path, tried: tuple[str, str]
) -> None:
    reference, path = tried
    exact = f"/v2/survey/tools/manifests/{led.digest('survey/tools', '2026-11-02')}"
    led.downloads.faults |= {path: [503, 503], exact: [502]}
    made = supply(led, bare, tmp_path, empty_cache, source="build", mirror=[reference])
    assert made.images()[-1].digest == led.digest("survey/tools", "2026-11-02")
    assert (led.downloads.asked.count(path), led.downloads.asked.count(exact)) == (3, 2)


def test_a_registry_that_stays_busy_is_given_up(
    led: Upstream, bare: Path, tmp_path: Path, empty_cache: Path, tried: tuple[str, str]
) -> None:
    reference, path = tried
    led.downloads.faults[path] = [503] * 20
    made = supply(led, bare, tmp_path, empty_cache, source="build", mirror=[reference])
    with pytest.raises(ImageError, match="could not be copied"):
        made.images()
    assert led.downloads.asked.count(path) == skopeo.ATTEMPTS


def test_a_registry_that_has_had_enough_is_not_asked_again(
    led: Upstream, bare: Path, tmp_path: Path, empty_cache: Path, tried: tuple[str, str]
) -> None:
    """What Docker Hub says to who asks too often."""
    reference, path = tried
    led.downloads.faults[path] = [429] * 100
    with pytest.raises(CommandError):
        skopeo.digest(reference)
    once = led.downloads.asked.count(path)
    made = supply(led, bare, tmp_path, empty_cache, source="build", mirror=[reference])
    with pytest.raises(ImageError, match="has had enough requests") as error:
        made.images()
    assert f"skopeo login {led.downloads.address}" in str(error.value)
    assert led.downloads.asked.count(path) == 2 * once


def test_auto_mirrors_where_upstream_answers_and_keeps_to_it(
    led: Upstream, root: Path, tmp_path: Path, empty_cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "state").mkdir()
    made = supply(led, root, tmp_path, empty_cache, source="auto")
    assert made.mirrors
    assert [check.note for check in made.choice()] == [
        "mirror: all places of the platform's projects answer"
    ]
    assert "registry registry.k8s.io" in [check.name for check in made.checks()]
    made.remember()
    monkeypatch.setenv("HOME", str(_nowhere(tmp_path)))
    later = supply(led, root, tmp_path, empty_cache, source="auto")
    assert later.mirrors
    assert [check.note for check in later.choice()] == [
        "mirror: so it was when the cluster was made"
    ]


def test_auto_is_remembered_by_up_alone(
    led: Upstream, root: Path, tmp_path: Path, empty_cache: Path
) -> None:
    """`bundle` and scripts/prepare.py build for clusters that are not there, and have no state directory."""
    config = tmp_path / "cluster.yml"
    cluster, _ = read_cluster(ROOT / "inventories" / "local" / "cluster.yml")
    paths = ClusterPaths(tmp_path / "state")
    context = Context(cluster, config, paths, Nothing(), lambda line: None)  # type: ignore[arg-type]
    context.supply = supply(led, root, tmp_path, empty_cache, source="auto")
    assert Artifacts().foreseen(context) == Artifacts.expected
    assert Artifacts().apply(context)
    assert Artifacts().foreseen(context) == CACHED
    # What `doctor` shows where all is in the cache.
    assert [check.name for check in Preflight().verify(context)] == ["images.source: auto"]
    assert not paths.root.exists()


def test_auto_builds_where_upstream_does_not_answer_and_says_who_does_not(
    led: Upstream, root: Path, tmp_path: Path, empty_cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOME", str(_nowhere(tmp_path)))
    made = supply(led, root, tmp_path, empty_cache, source="auto")
    assert not made.mirrors
    (check,) = made.checks()
    assert check.ok is True
    assert check.note.startswith("build: not all places")
    assert "registry registry.k8s.io: registry.k8s.io/" in check.note
    assert "connection refused" in check.note
    shown = Console(file=io.StringIO(), width=200)
    show(shown, [check], since=False)
    assert "connection refused" in shown.file.getvalue()  # type: ignore[attr-defined]


def test_mirror_says_who_does_not_answer(
    led: Upstream, root: Path, tmp_path: Path, empty_cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOME", str(_nowhere(tmp_path)))
    checks = supply(led, root, tmp_path, empty_cache).checks()
    wrong = [check for check in checks if check.ok is False]
    assert [check.name for check in wrong] == ["registry registry.k8s.io"]
    assert "connection refused" in wrong[0].detail
    assert len(checks) > 1


def test_a_bundle_carries_what_was_copied(
    root: Path, tools: BuiltImage, tmp_path: Path, empty_cache: Path, cluster: Server,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    """All of it is there when those it was copied from are gone. What else bundles carry, tests/e2e looks at."""
    monkeypatch.setattr(packages, "download", lambda *_: None)
    monkeypatch.setattr(wheels, "download", lambda *_: None)
    # Without the tag's or the path's marks they would have one name.
    further = [FURTHER, "quay.io/survey-tools:2026-11-02"]
    wanted, _ = read_cluster(ROOT / "inventories" / "local" / "cluster.yml")
    monkeypatch.setenv("ARMILLARY_STATE_HOME", str(tmp_path / "state"))
    paths = ClusterPaths.of(wanted.name)
    file = tmp_path / "bundle.tar"
    with players.play(_made(tmp_path / "upstream"), REGISTRIES) as world:
        fill(world, tools)
        world.push(tools, "survey-tools", "2026-11-02")
        for name, value in world.environment.items():
            monkeypatch.setenv(name, value)
        outside = supply(world, root, tmp_path, empty_cache, mirror=further)
        pack(wanted, Nothing(), outside, file, lambda line: None)  # type: ignore[arg-type]
        digests = {image.name: image.digest for image in outside.images()}
        binaries = {one.name: one.binaries for one in outside.artifacts()}
    shutil.rmtree(empty_cache)
    monkeypatch.setenv("ARMILLARY_CACHE_HOME", str(empty_cache))
    for name in ("APT_CONFIG", "TF_CLI_CONFIG_FILE"):
        monkeypatch.setenv(name, "")
    choose(wanted, paths, str(file), lambda line: None)
    (tmp_path / lock.NAME).unlink()
    inside = supply(world, root, tmp_path, cache_home(), mirror=further)
    assert inside.bundled
    assert inside.plan() == inside.checks() == []
    images = inside.images()
    assert {image.name: image.digest for image in images} == digests
    assert digests.keys() == {"pause", "tools", *further}
    assert {one.name: one.binaries for one in inside.artifacts()} == binaries
    pushed = push(images, cluster.address, authfile=cluster.authfile(), ca=cluster.ca)
    assert {name: where.partition("@")[2] for name, where in pushed.items()} == digests
    lacking = supply(world, root, tmp_path, cache_home(), mirror=["quay.io/survey/other:1"])
    assert lacking.plan() == ["copy image quay.io/survey/other:1"]
    with pytest.raises(ImageError, match="the bundle in use does not have it"):
        lacking.images()


class Nothing:
    """A cloud whose clusters need nothing."""

    def preflight(self, cluster: object) -> list[Check]:
        return []

    def carried(self, scratch: Path, say: object) -> Carried:
        return Carried((), for_hosts=False, folders={})


def _made(path: Path) -> Path:
    path.mkdir()
    return path


def _nowhere(folder: Path) -> Path:
    """Return a home directory in which Kubernetes' registry is somewhere that does not answer."""
    players.lead(folder / "nowhere", {"registry.k8s.io": "127.0.0.1:9"})
    return folder / "nowhere"
