"""What is wrong is said before anything is touched. No cluster is made here."""

from __future__ import annotations

import fcntl
import json
import os
import re
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from support import traces
from support.lab import Lab

from armillary.paths import ClusterPaths
from armillary.tools.incus import server
from e2e.conftest import CONFIG

CHANGES = {
    "no such key": ("flavor: worker", "flavour: worker"),
    "no network": ("10.78.0.0/24", "10.78.0.0/33"),
    "even control planes": ("role: control_plane, count: 1", "role: control_plane, count: 2"),
    "no such user": ("admins: [astronomer]", "admins: [astronaut]"),
    "not YAML": ("  worker: {cpus: 2", "  worker: {cpus: 2: 3"),
}
READERS = ("plan", "down", "status", "open", "test")
"""Commands besides `up` that read cluster.yml first."""


@pytest.fixture
def apart(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Lab:
    """A cluster.yml of its own and an empty place for state."""
    monkeypatch.setenv("ARMILLARY_STATE_HOME", str(tmp_path / "state"))
    config = tmp_path / "cluster.yml"
    config.write_text(CONFIG.read_text())
    return Lab(config, tmp_path)


@pytest.mark.parametrize("mistake", CHANGES)
def test_a_mistake_in_cluster_yml_is_named_with_its_line(apart: Lab, mistake: str) -> None:
    """Every command that reads the file refuses it, and leaves no trace, not even a directory."""
    right, wrong = CHANGES[mistake]
    text = apart.config.read_text()
    assert right in text
    apart.config.write_text(text.replace(right, wrong, 1))
    line = (
        apart.config.read_text()
        .splitlines()
        .index(next(each for each in apart.config.read_text().splitlines() if wrong in each))
    )
    there = traces.look()
    commands = ("up", *(READERS if mistake == "no such key" else ()))
    for command in commands:
        said = apart.invoke(command, code=1, timeout=60).stderr
        assert f"{apart.config.name}:{line + 1}:" in said, said
    assert traces.look().more_than(there, "e2e") == {}
    assert not (apart.scratch / "state").exists()


def test_a_cluster_yml_that_is_not_there_is_said(apart: Lab) -> None:
    apart.config.unlink()
    said = apart.invoke("up", code=1, timeout=60).stderr
    assert "does not exist" in said
    assert "local" in said, "the clusters that there are should be named"


@pytest.mark.skipif(server() is None, reason="the identity is the Incus daemon's, and none runs")
def test_a_cluster_of_another_cloud_is_refused(apart: Lab) -> None:
    """With its state here and another daemon, nothing that would touch the cloud is done."""
    paths = ClusterPaths.of(apart.name)
    paths.make()
    elsewhere = {"cloud": "local", "certificate": "0" * 64, "machine": socket.gethostname()}
    paths.identity.write_text(json.dumps(elsewhere))
    paths.applied.write_text(apart.config.read_text())
    there = traces.look()
    said = [
        apart.invoke("up", code=1).stderr,
        apart.invoke("plan", code=1).stderr,
        apart.invoke("down", code=1).stderr,
        apart.invoke("down", "--with-data", "--yes-lose", apart.name, code=1).stderr,
    ]
    for text in said:
        assert "was made in another cloud" in text
        assert "0" * 64 in text, "what differs should be said"
    assert json.loads(paths.identity.read_text()) == elsewhere
    assert traces.look().more_than(there, apart.name) == {}


def test_a_second_run_says_who_is_at_work(apart: Lab) -> None:
    with _held(ClusterPaths.of(apart.name)):
        for command in ("up", "down"):
            said = apart.invoke(command, code=1, timeout=60).stderr
            assert re.search(rf"Another run \(process {os.getpid()}\)", said), said


@contextmanager
def _held(paths: ClusterPaths) -> Iterator[None]:
    """Be a run at work."""
    paths.make()
    with paths.lock.open("w") as stream:
        fcntl.flock(stream, fcntl.LOCK_EX)
        stream.write(str(os.getpid()))
        stream.flush()
        yield
