"""Who may do what in the sandbox."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml
from openstack.connection import Connection
from openstack.exceptions import HttpException, SDKException

from armillary.paths import ClusterPaths
from armillary.sandbox.checks import checks, connect
from armillary.sandbox.state import MEMBER, OTHER, admin_clouds_file, clouds_file

pytestmark = pytest.mark.sandbox


def test_all_of_it_is_well(paths: ClusterPaths) -> None:
    found = checks(paths)
    assert len(found) > 15
    assert [check for check in found if check.ok is not True] == []


def test_the_member_gets_a_token(member: Connection) -> None:
    assert member.authorize()
    project = member.identity.get_project(member.current_project_id)
    assert project.name == MEMBER["project"]


def test_a_wrong_password_is_refused(paths: ClusterPaths, tmp_path: Path) -> None:
    clouds = yaml.safe_load(clouds_file(paths).read_text())
    clouds["clouds"][MEMBER["cloud"]]["auth"]["password"] += "x"
    wrong = tmp_path / "clouds.yaml"
    wrong.write_text(yaml.safe_dump(clouds))
    with (
        connect(wrong, MEMBER["cloud"]) as connection,
        pytest.raises(SDKException, match="401"),
    ):
        connection.authorize()


def test_a_member_is_no_administrator(member: Connection) -> None:
    with pytest.raises(HttpException) as refused:
        member.identity.create_project(name="forbidden")
    assert refused.value.status_code == 403


def test_a_neighbour_does_not_see_the_project(paths: ClusterPaths, member: Connection) -> None:
    volume = member.block_storage.create_volume(size=1, name="private")
    try:
        with connect(clouds_file(paths), OTHER["cloud"]) as neighbour:
            assert neighbour.current_project_id != member.current_project_id
            assert neighbour.block_storage.find_volume(volume.id) is None
    finally:
        member.block_storage.wait_for_status(volume, "available", wait=60)
        member.block_storage.delete_volume(volume)


def test_nobody_else_reads_the_passwords(paths: ClusterPaths) -> None:
    for path in (paths.secrets, clouds_file(paths), admin_clouds_file(paths)):
        assert path.stat().st_mode & 0o077 == 0
