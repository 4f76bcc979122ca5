"""Bundles for closed networks: what is refused, and that nothing a host installs is left out."""

from __future__ import annotations

import io
import platform
import tarfile
from pathlib import Path
from typing import Any

import pytest

from armillary.artifacts import artifact_key, artifact_path, load_manifest
from armillary.bundle import contents
from armillary.bundle.contents import BundleError, Contents, Member
from armillary.bundle.pack import host_packages
from armillary.bundle.use import choose
from armillary.config import read_cluster
from armillary.files import read_yaml
from armillary.models.cluster import Cluster
from armillary.paths import ROOT, ClusterPaths

EMPTY = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"


@pytest.fixture
def cluster() -> Cluster:
    return read_cluster(ROOT / "inventories" / "local" / "cluster.yml")[0]


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty cache; what a bundle that is used changes of the environment is put back."""
    for name in ("APT_CONFIG", "TF_CLI_CONFIG_FILE"):
        monkeypatch.setenv(name, "")
    monkeypatch.setenv("ARMILLARY_CACHE_HOME", str(tmp_path / "cache"))
    return tmp_path / "cache"


def write_bundle(path: Path, **changes: Any) -> Path:
    """Write a bundle with nothing in it, whose bundle.json says otherwise as asked."""
    said = {
        "made_by": "0.1.0",
        "recipes": contents.recipes(ROOT),
        "machine": platform.machine(),
        "python": "3.11",
        "cluster": "local",
        "cloud": "local",
        "keys": {"artifacts": {}, "images": {}},
        "files": {},
    } | changes
    text = Contents.model_construct(**said).model_dump_json().encode()
    with tarfile.open(path, "w") as tar:
        head = tarfile.TarInfo(contents.FILE)
        head.size = len(text)
        tar.addfile(head, io.BytesIO(text))
    return path


def take(file: Path, cluster: Cluster) -> None:
    choose(cluster, ClusterPaths(file.parent / "state"), str(file), lambda line: None)


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"machine": "vax"}, "is for vax; this machine is"),
        ({"recipes": "0" * 64}, "made by another version of Armillary"),
        ({"cloud": "openstack"}, "is for clusters on `openstack`"),
        ({"format": 2}, "was not written by this release"),
        ({"files": {"../../etc/passwd": Member(sha256=EMPTY, size=0)}}, "was not written by this"),
        ({"files": {"/etc/passwd": Member(sha256=EMPTY, size=0)}}, "was not written by this"),
        ({"files": {"images/x": Member(sha256=EMPTY, size=0)}}, "is cut short: 1 files are missing"),
        ({"files": {"images/x": Member(sha256=EMPTY, size=10**18)}}, "GB free; to unpack"),
    ],
)  # fmt: skip
def test_a_bundle_for_something_else_is_refused(
    tmp_path: Path, cache: Path, cluster: Cluster, changes: dict[str, Any], said: str
) -> None:
    with pytest.raises(BundleError, match=said):
        take(write_bundle(tmp_path / "bad.tar", **changes), cluster)
    assert not [path for path in cache.glob("bundles/*") if path.name != ".lock"]
    assert not (tmp_path / "state" / "bundle").exists()


@pytest.mark.parametrize("text", ["", "no tar at all, but long enough to be one" * 40])
def test_what_is_no_bundle_is_refused(
    tmp_path: Path, cache: Path, cluster: Cluster, text: str
) -> None:
    (tmp_path / "bad.tar").write_text(text)
    with pytest.raises(BundleError, match=r"cannot be read as a bundle|is no bundle"):
        take(tmp_path / "bad.tar", cluster)


def test_keys_are_the_bundles_own(tmp_path: Path, cache: Path, cluster: Cluster) -> None:
    """This machine may have another C compiler, and would work out another key."""
    entry = load_manifest(ROOT).get("runc")
    keys = {"artifacts": {"pause": "ours"}, "images": {}}
    plain = artifact_path(entry, cache=cache)
    assert plain.name == artifact_key(entry)
    with pytest.raises(BundleError, match="cannot be read"):
        # It names an artifact, and has none.
        take(write_bundle(tmp_path / "bad.tar", keys=keys), cluster)
    cache.mkdir(exist_ok=True)
    text = Contents(
        made_by="", recipes="", machine="", python="", cluster="", cloud="",
        keys={"artifacts": {"runc": "ours"}, "images": {}}, files={},
    ).model_dump_json()  # fmt: skip
    (cache / contents.FILE).write_text(text)
    assert artifact_path(entry, cache=cache).name == "ours"


def test_a_bundle_that_is_gone_is_missed(tmp_path: Path, cache: Path, cluster: Cluster) -> None:
    paths = ClusterPaths(tmp_path / "state")
    paths.make()
    paths.bundle.write_text(f"{tmp_path / 'gone'}\n")
    with pytest.raises(BundleError, match="and is gone"):
        choose(cluster, paths, None, lambda line: None)
    choose(cluster, paths, "none", lambda line: None)
    assert not paths.bundle.exists()


def test_all_that_roles_install_is_carried() -> None:
    """Each role takes the names from a list in its defaults, by which a bundle knows them."""
    carried = set(host_packages())
    used = set()
    for tasks in (ROOT / "ansible" / "roles").glob("*/tasks/*.yml"):
        role = tasks.parents[1].name
        defaults = read_yaml(tasks.parents[1] / "defaults" / "main.yml") or {}
        for task in _tasks(read_yaml(tasks)):
            if "ansible.builtin.apt" not in task:
                continue
            name = task["ansible.builtin.apt"]["name"].strip("{} ")
            assert name.startswith(role) and name.endswith("_packages"), f"{tasks}: {name}"
            assert set(defaults[name]) <= carried
            used |= set(defaults[name])
    assert {"nfs-kernel-server", "restic", "haproxy"} <= used == carried


def _tasks(listed: Any) -> list[dict[str, Any]]:
    """Return tasks with those in their blocks."""
    found = []
    for task in listed or []:
        found += [task, *_tasks(task.get("block"))]
    return found
