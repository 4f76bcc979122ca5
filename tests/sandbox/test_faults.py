"""A real OpenStack fails in the middle of `up`, in five ways: each is said plainly, and the next `up` goes on.

That credentials of another project are refused is seen in test_servers_as_hosts.py. The tests build on each other: what one fault
left half made, the next `up` finishes or runs into the next fault.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager

import pytest
from openstack.connection import Connection
from openstack.exceptions import SDKException
from support.servers import ServerLab
from support.waiting import until

from armillary.paths import ROOT, ClusterPaths
from armillary.sandbox import container
from armillary.sandbox.checks import connect
from armillary.sandbox.state import ADMIN, admin_clouds_file, clouds_file
from armillary.stages import record
from armillary.tools.incus import exec_in

pytestmark = [pytest.mark.sandbox, pytest.mark.slow]

NAME = "faults"
UP = ("up", "--tags", "backup")
"""The role with least to do: these tests are about the stage before."""
COMPUTE = "terraform apply, compute"
MINUTES = 900.0


@pytest.fixture(scope="module")
def lab(
    paths: ClusterPaths, provider: None, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[ServerLab]:
    """A cluster of which nothing is made yet."""
    scratch = tmp_path_factory.mktemp("faults")
    config = scratch / "cluster.yml"
    text = (ROOT / "inventories" / "sandbox" / "cluster.yml").read_text()
    lines = [line for line in text.splitlines() if not line.startswith("backup:")]
    config.write_text("\n".join(lines).replace("name: rehearsal", f"name: {NAME}") + "\n")
    os.environ["OS_CLIENT_CONFIG_FILE"] = str(clouds_file(paths))
    found = ServerLab(config, scratch)
    yield found
    if found.paths.root.exists():
        found.invoke("down", "--with-data", "--yes-lose", NAME)


@pytest.fixture(scope="module")
def admin(paths: ClusterPaths) -> Iterator[Connection]:
    """Who may break the cloud."""
    with connect(admin_clouds_file(paths), ADMIN["cloud"]) as connection:
        yield connection


@contextmanager
def stopped(service: str) -> Iterator[None]:
    """Have a service of the cloud's not running."""
    exec_in(container.NAME, ["systemctl", "stop", service])
    try:
        yield
    finally:
        exec_in(container.NAME, ["systemctl", "start", service])


def broken_off(lab: ServerLab, said: str) -> str:
    """Check what every failed `up` says, and return the error it noted of the stage."""
    assert "Stage `provision` failed" in said
    assert f"To go on once it is mended: uv run invoke up --cluster {lab.config}" in said
    assert "Traceback" not in said
    last = record.history(lab.paths)[-1]
    assert last["stage"] == "provision"
    error: str = last["error"]
    return error


def test_a_quota_that_shrinks_in_mid_apply(
    lab: ServerLab, member: Connection, admin: Connection
) -> None:
    project = member.current_project_id
    before = admin.compute.get_quota_set(project).instances
    with lab.begin(*UP) as running:
        running.until_it_says("terraform apply, data", MINUTES)
        admin.compute.update_quota_set(project, instances=1)
        try:
            assert running.wait(MINUTES) == 1
        finally:
            admin.compute.update_quota_set(project, instances=before)
    broken_off(lab, running.output)
    assert "Quota exceeded for instances" in running.output
    assert "`invoke doctor` says what is wanted" in running.output


def test_servers_that_go_to_error(lab: ServerLab, admin: Connection) -> None:
    (service,) = admin.compute.services(binary="nova-compute")
    admin.compute.disable_service(service)
    try:
        said = lab.invoke(*UP, code=1, timeout=MINUTES)
    finally:
        admin.compute.enable_service(service)
    broken_off(lab, said.stdout + said.stderr)
    assert "No valid host was found" in said.stderr, (
        "the reason is Nova's, which Terraform's provider does not tell"
    )
    assert "The server is made anew by the next `up`" in said.stderr


def test_an_api_that_answers_503_for_a_minute(lab: ServerLab, member: Connection) -> None:
    with lab.begin(*UP) as running:
        running.until_it_says(COMPUTE, MINUTES)
        with stopped("nova-api"):
            assert running.wait(MINUTES) == 1
            assert "503" in broken_off(lab, running.output)
            assert "run the command again when it answers" in running.output
            refused = lab.invoke("doctor", code=2)
            assert "cannot say what is in the project" in " ".join(refused.stdout.split())
    until(lambda: _answers(member), "Nova answers again", 120, pause=2)


def test_a_volume_stuck_in_attaching(lab: ServerLab, member: Connection, admin: Connection) -> None:
    volume = member.block_storage.find_volume(f"{NAME}-homes", ignore_missing=False)
    with lab.begin(*UP) as running:
        running.until_it_says(COMPUTE, MINUTES)
        admin.block_storage.reset_volume_status(volume, "attaching", "detached", None)
        assert running.wait(MINUTES) == 1
    broken_off(lab, running.output)
    assert "Nothing on it is lost" in running.output
    refused = lab.invoke(*UP, code=1)
    assert f"volume {NAME}-homes: It is `attaching`" in refused.stderr
    assert "Nothing was touched" in refused.stderr
    admin.block_storage.reset_volume_status(volume, "available", "detached", None)


def test_up_goes_on_from_all_of_them(lab: ServerLab) -> None:
    lab.invoke(*UP, timeout=MINUTES)
    servers = [thing for thing in lab.things() if thing.kind == "server"]
    assert sorted((one.name, one.status) for one in servers) == [
        (f"{NAME}-{host}", "ACTIVE") for host in ("control-1", "services-1", "worker-1")
    ]
    assert "✓ Provision hosts and volumes (Terraform): unchanged" in lab.invoke(*UP).stdout
    assert lab.on_host("worker-1", "hostname") == "worker-1"


def test_nothing_is_left_of_any_attempt(lab: ServerLab) -> None:
    mark = lab.cloud.mark(lab.paths)
    lab.invoke("down", "--with-data", "--yes-lose", NAME)
    assert [thing for thing in lab.cloud.things() if thing.mark == mark] == []
    lab.invoke("orphans")


def _answers(member: Connection) -> bool:
    try:
        return bool(list(member.compute.flavors()))
    except SDKException:
        return False
