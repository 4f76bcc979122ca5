"""What commands print of a cluster, where nothing has to run for it."""

from __future__ import annotations

import io
import json
from pathlib import Path

import pytest
from rich.console import Console

from armillary.commands.access import show_urls
from armillary.commands.common import UNTOLD, selection
from armillary.commands.test import test as run_tests
from armillary.models.endpoints import Endpoint, Endpoints
from armillary.paths import ROOT, ClusterPaths

NAME = "elsewhere"


@pytest.fixture
def config(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A cluster.yml in no folder of inventories/, of which nothing is made."""
    monkeypatch.setenv("ARMILLARY_STATE_HOME", str(tmp_path / "state"))
    path = tmp_path / "cluster.yml"
    text = (ROOT / "inventories/local/cluster.yml").read_text()
    path.write_text(text.replace("name: local", f"name: {NAME}", 1))
    return path


def test_commands_mean_the_same_cluster_again() -> None:
    assert selection("local", None) == ""
    assert selection("openstack", None) == "--cloud openstack"
    assert selection("openstack", "science") == "--cluster science"


def test_the_table_says_of_which_cluster_it_speaks(config: Path) -> None:
    paths = ClusterPaths.of(NAME)
    paths.make()
    hub = Endpoint(name="hub", url="https://hub.example.org/", login="astronomer")
    paths.endpoints.write_text(Endpoints(cluster=NAME, endpoints=[hub]).model_dump_json())
    said = io.StringIO()
    show_urls(Console(file=said), cluster=str(config))
    commands = [line for line in said.getvalue().splitlines() if "invoke" in line]
    assert len(commands) == 4
    for line in commands:
        assert f"--cluster {config}" in line


def test_what_is_left_out_is_told_programs_in_their_language(config: Path) -> None:
    said = io.StringIO()
    assert run_tests(Console(file=said), cluster=str(config), verify=True, as_json=True) == UNTOLD
    told = json.loads(said.getvalue())
    assert told["ok"] is None
    assert told["left_out"].startswith(f"No cluster {NAME} is up")
    assert f"`uv run invoke up --cluster {config}`" in told["left_out"]
