"""What a project lacks is told before anything is made: openstacksdk asks a project that is played on loopback."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import pytest
import yaml
from openstack.connection import Connection

from armillary.clouds.openstack.preflight import preflight
from armillary.models.cluster import Cluster
from armillary.models.report import Check
from armillary.paths import ROOT
from tests.support.project import Project, image, signed_in

SAMPLE = ROOT / "inventories/openstack/cluster.yml"
HOSTS = 4
"""Of the sample."""


@pytest.fixture
def project() -> Project:
    return Project()


@pytest.fixture
def connection(project: Project) -> Iterator[Connection]:
    with signed_in(project) as found:
        yield found


@pytest.fixture
def raw() -> dict[str, Any]:
    found: dict[str, Any] = yaml.safe_load(SAMPLE.read_text())
    return found


Found = dict[str, Check]


def look(
    connection: Connection, raw: Mapping[str, Any], made: Mapping[str, int] | None = None
) -> Found:
    """Return what is found, by name."""
    checks = preflight(connection, Cluster.model_validate(raw), made or {})
    found = {check.name: check for check in checks}
    assert len(found) == len(checks)
    return found


def short(found: Found) -> set[str]:
    """Return the names of what is not as it should be."""
    return {name for name, check in found.items() if check.ok is not True}


def test_a_project_with_room_lacks_nothing(connection: Connection, raw: dict[str, Any]) -> None:
    found = look(connection, raw)
    assert short(found) == set()
    assert len(found) > 20


# --- images -----------------------------------------------------------------------------------


def test_of_two_images_of_a_name_the_newer_is_taken(
    project: Project, connection: Connection, raw: dict[str, Any]
) -> None:
    project.answers["image/v2/images"]["images"] += [
        image("debian-12", "2026-11-20T00:00:00Z", id="newer"),
        image("debian-12", "2026-11-24T00:00:00Z", id="not-whole", status="saving"),
    ]
    check = look(connection, raw)["image debian-12"]
    assert check.ok
    assert "newer" in check.detail
    assert "not-whole" not in check.detail


def test_hosts_that_are_there_need_no_image(
    project: Project, connection: Connection, raw: dict[str, Any]
) -> None:
    project.answers["image/v2/images"]["images"] = []
    gone = look(connection, raw, {"instances": HOSTS})["image debian-12"]
    assert gone.ok
    assert "stay as they are" in gone.detail
    missing = look(connection, raw, {"instances": HOSTS - 1})["image debian-12"]
    assert missing.ok is False
    assert "no usable image `debian-12`" in missing.detail
