"""`down --with-data` names all that it will lose before a name is typed; the project is played on loopback."""

from __future__ import annotations

import io
from collections.abc import Iterator
from pathlib import Path

import pytest
from rich.console import Console

from armillary import identity
from armillary.commands.common import CommandFailed
from armillary.commands.down import down
from armillary.paths import ROOT, ClusterPaths
from tests.support.project import Project, clouds_yaml, played

NEIGHBOUR = "98fb6a8a-011f-4e6a-843b-38427cd56a0b"


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Project]:
    """A project that the clouds.yaml at hand opens, and a state directory for clusters."""
    monkeypatch.setenv("ARMILLARY_STATE_HOME", str(tmp_path / "state"))
    found = Project()
    with played(found) as auth_url:
        file = clouds_yaml(tmp_path / "clouds.yaml", auth_url)
        monkeypatch.setenv("OS_CLIENT_CONFIG_FILE", str(file))
        yield found


@pytest.fixture
def config(tmp_path: Path) -> Path:
    """The sample with backups."""
    path = tmp_path / "cluster.yml"
    text = (ROOT / "inventories/openstack/cluster.yml").read_text()
    path.write_text(text.replace("# backup: {", "backup: {"))
    return path


def test_all_that_would_be_lost_is_named_first(project: Project, config: Path) -> None:
    paths = ClusterPaths.of("science")
    paths.make()
    mark = identity.cluster_id(paths)
    project.answers["volume/v3/volumes/detail"]["volumes"] = [
        {"id": name, "name": name, "size": 9, "metadata": {"armillary-cluster": whose}}
        for name, whose in (
            ("science-homes", mark),
            ("science-of-before", mark),
            ("science-alike", NEIGHBOUR),
        )
    ]
    project.container("science-backup", mark)
    project.container("science-other", NEIGHBOUR)
    credentials = project.answers["identity/v3/users/user/application_credentials"]
    credentials["application_credentials"] = [{"id": "c", "name": f"science-{mark}"}]
    said = io.StringIO()
    before = sorted(paths.root.rglob("*"))
    with pytest.raises(CommandFailed, match="nothing was touched"):
        down(
            Console(file=said, width=200),
            cluster=str(config),
            with_data=True,
            ask=lambda _: "scinece",
        )
    assert sorted(line.strip() for line in said.getvalue().splitlines()) == [
        "This deletes for good:",
        f"application credential science-{mark}",
        "container science-backup and every backup in it",
        f"keys and passwords in {paths.root}",
        "volume homes (200 GiB)",
        "volume science-of-before",
        "volume services-1-registry (40 GiB)",
        "volume worker-1-data (50 GiB)",
        "volume worker-2-data (50 GiB)",
    ]
    assert sorted(paths.root.rglob("*")) == before
