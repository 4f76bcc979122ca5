"""Which clouds.yaml a cluster's project is opened with; the project is played on loopback."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from armillary.clouds import builder
from armillary.clouds.contract import CloudError
from armillary.clouds.openstack import OpenStack
from armillary.clouds.openstack.connection import FILE
from armillary.config import load_cluster
from armillary.paths import ROOT, ClusterPaths
from tests.support.project import Project, clouds_yaml, played


@pytest.fixture
def auth_url(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """A project; this machine has no clouds.yaml where one is looked for, and nothing to install."""
    monkeypatch.setenv(FILE, "")
    monkeypatch.chdir(tmp_path)
    files = [str(tmp_path / "clouds.yaml")]
    monkeypatch.setattr("openstack.config.loader.CONFIG_FILES", files)
    monkeypatch.setattr(builder, "install", lambda say: False)
    with played(Project()) as found:
        yield found


def cloud(tmp_path: Path) -> OpenStack:
    """The sample's cloud, as another process would see it."""
    os.environ[FILE] = ""
    paths = ClusterPaths(tmp_path / "state")
    paths.make()
    return OpenStack(load_cluster(ROOT / "inventories/openstack/cluster.yml"), paths)


def test_a_cluster_remembers_its_clouds_yaml(tmp_path: Path, auth_url: str) -> None:
    with pytest.raises(CloudError, match=r"There is no clouds\.yaml"):
        assert cloud(tmp_path).connection
    file = clouds_yaml(tmp_path / "elsewhere" / "clouds.yaml", auth_url)
    first = cloud(tmp_path)
    os.environ[FILE] = str(file)
    first.prepare(print)
    again = cloud(tmp_path)
    assert again.ready()
    # Terraform's provider reads the same.
    assert os.environ[FILE] == str(file)

    # What the environment names counts more.
    other = cloud(tmp_path)
    named = clouds_yaml(tmp_path / "named" / "clouds.yaml", auth_url)
    os.environ[FILE] = str(named)
    other.prepare(print)
    assert other.paths.clouds_file.read_text() == f"{named}\n"

    named.unlink()
    with pytest.raises(CloudError, match=r"There is no clouds\.yaml"):
        assert cloud(tmp_path).connection


def test_terraform_finds_the_clouds_yaml_beside_which_a_command_is_typed(
    tmp_path: Path, auth_url: str
) -> None:
    file = clouds_yaml(tmp_path / "clouds.yaml", auth_url)
    assert cloud(tmp_path).ready()
    assert os.environ[FILE] == str(file)
