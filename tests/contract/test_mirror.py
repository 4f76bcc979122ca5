"""Images and binaries of other projects: copied as they are, by digest, from real registries and servers that play them."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from support import upstream as players
from support.registry_server import Server, serve
from support.upstream import CUT, Upstream

from armillary.artifacts import Artifact, ArtifactError, load_manifest
from armillary.images import ImageError, build_all, push
from armillary.mirror import lock
from armillary.models.parts import Images
from armillary.paths import ROOT, ClusterPaths
from armillary.supply import Supply
from armillary.tools import go

pytestmark = pytest.mark.skipif(
    not (shutil.which("buildah") and shutil.which("skopeo")), reason="needs buildah and skopeo"
)

OTHER = {"amd64": "arm64", "arm64": "amd64"}
FURTHER = "quay.io/survey/tools:2026-11-02"
CNI = "https://github.com/containernetworking/plugins/releases/download/"


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A checkout with few, small things."""
    path = tmp_path_factory.mktemp("checkout")
    for name in (
        "images/pause",
        "images/etcd",
        "artifacts/pause",
        "artifacts/etcd",
        "artifacts/cni",
    ):
        shutil.copytree(ROOT / name, path / name)
    for kind, kept in (("images", ("pause", "etcd")), ("artifacts", ("pause", "etcd", "cni"))):
        text = (ROOT / kind / f"{kind}.yml").read_text()
        head, *entries = text.split("\n  - name: ")
        chosen = [entry for entry in entries if entry.split("\n", 1)[0] in kept]
        (path / kind / f"{kind}.yml").write_text("\n  - name: ".join([head, *chosen]) + "\n")
    return path


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Upstream]:
    """All that is upstream: pause for two kinds of machines, etcd and a further image for one."""
    with players.play(
        tmp_path_factory.mktemp("upstream"), ["registry.k8s.io", "quay.io", "docker.io"]
    ) as found:
        pause, etcd = build_all(["pause", "etcd"])
        found.push(etcd, "etcd", etcd.tag)
        found.push(etcd, "survey/tools", "2026-11-02")
        here = go.architecture()
        variants = {
            here: found.push(pause, "pause", "here"),
            OTHER[here]: found.push(etcd, "pause", "there"),
        }
        found.push_list("pause", pause.tag, variants)
        for name in ("cni", "etcd"):
            found.downloads.publish(artifact(name))
        yield found


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
    return tmp_path / "cache"


def artifact(name: str) -> Artifact:
    return load_manifest(ROOT).get(name)


def supply(world: Upstream, root: Path, place: Path, cache: Path, **settings: object) -> Supply:
    """Return what a cluster is made of whose cluster.yml is in `place`."""
    urls = [url for name in ("cni", "etcd") for url in artifact(name).downloads(go.architecture())]
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
    assert images.keys() == {"pause", "etcd", FURTHER}
    push([*images.values()], cluster.address, authfile=cluster.authfile(), ca=cluster.ca)
    for theirs, name in (("pause", "pause"), ("etcd", "etcd"), ("survey/tools", FURTHER)):
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
    led: Upstream, root: Path, tmp_path: Path
) -> None:
    (etcd,) = build_all(["etcd"])
    before = led.digest("etcd", etcd.tag)
    (tmp_path / "one").mkdir()
    first = supply(led, root, tmp_path / "one", tmp_path / "cache-1").images()[1]
    other = led.push(build_all(["pause"])[0], "etcd", etcd.tag)
    try:
        assert other != before
        again = supply(led, root, tmp_path / "one", tmp_path / "cache-2").images()[1]
        assert first.digest == again.digest == before
        (tmp_path / "two").mkdir()
        assert supply(led, root, tmp_path / "two", tmp_path / "cache-2").images()[1].digest == other
    finally:
        assert led.push(etcd, "etcd", etcd.tag) == before


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
    from armillary.artifacts import build_artifact

    made = {one.name: one for one in supply(led, root, tmp_path, empty_cache).artifacts()}
    for name in ("cni", "etcd"):
        assert made[name].key.startswith("upstream-")
        assert made[name].binaries == build_artifact(artifact(name)).binaries
    assert set(lock.read(tmp_path / lock.NAME).files) == {
        url for name in ("cni", "etcd") for url in artifact(name).downloads(go.architecture())
    }


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


def test_who_is_not_logged_in_is_told_to(
    led: Upstream, root: Path, tmp_path: Path, empty_cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("REGISTRY_AUTH_FILE", str(tmp_path / "nobody.json"))
    reference = "docker.io/survey/tools:2026-11-02"
    made = supply(led, root, tmp_path, empty_cache, source="build", mirror=[reference])
    with pytest.raises(ImageError, match=r"Log in with `skopeo login docker\.io`"):
        made.images()
    (check,) = made.checks()
    assert check.ok is False
    assert check.name == "registry docker.io"


def test_a_registry_that_has_had_enough_is_not_asked_again(
    led: Upstream, root: Path, tmp_path: Path, empty_cache: Path
) -> None:
    """What Docker Hub says to who asks too often."""
    reference = f"{led.downloads.address}/survey/tools:2026-11-02"
    led.downloads.faults["/v2/"] = [429] * 20
    led.downloads.faults["/v2/survey/tools/manifests/2026-11-02"] = [429] * 20
    made = supply(led, root, tmp_path, empty_cache, source="build", mirror=[reference])
    with pytest.raises(ImageError, match="has had enough requests") as error:
        made.images()
    assert f"skopeo login {led.downloads.address}" in str(error.value)


def test_auto_mirrors_where_upstream_answers_and_keeps_to_it(
    led: Upstream, root: Path, tmp_path: Path, empty_cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "state").mkdir()
    made = supply(led, root, tmp_path, empty_cache, source="auto")
    assert made.mirrors
    made.remember()
    monkeypatch.setenv("CONTAINERS_REGISTRIES_CONF", str(_nowhere(tmp_path)))
    assert supply(led, root, tmp_path, empty_cache, source="auto").mirrors


def test_auto_builds_where_upstream_does_not_answer_and_mirror_says_who_does_not(
    led: Upstream, root: Path, tmp_path: Path, empty_cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CONTAINERS_REGISTRIES_CONF", str(_nowhere(tmp_path)))
    assert not supply(led, root, tmp_path, empty_cache, source="auto").mirrors
    checks = supply(led, root, tmp_path, empty_cache).checks()
    wrong = [check for check in checks if check.ok is False]
    assert [check.name for check in wrong] == ["registry registry.k8s.io"]
    assert "connection refused" in wrong[0].detail
    assert len(checks) > 1


def _nowhere(folder: Path) -> Path:
    path = folder / "nowhere.conf"
    path.write_text('[[registry]]\nprefix = "registry.k8s.io"\nlocation = "127.0.0.1:9"\n')
    return path
