"""`up` killed and interrupted where it hurts, and `up` again: the end is that of an undisturbed one."""

from __future__ import annotations

import fcntl
import json

import pytest
from support.lab import FIRST, MINUTES, Lab, Running, expected_objects, processes_naming
from support.waiting import until

from armillary.stages import record

ANSIBLE = "registry: Write the configuration"
"""A task that comes early."""
AT_WORK = "kubernetes: Start the control plane"
"""The task of the role kubernetes in which kubeadm runs."""


@pytest.fixture(scope="module")
def one_up(lab: Lab) -> None:
    """Killed, interrupted and killed, then left alone to its end."""
    assert lab.instances() == [], "there is a cluster e2e already; `invoke down` it first"
    with lab.begin("up") as up:
        _kill_while_instances_are_made(lab, up)
    with lab.begin("up") as up:
        _interrupt_ansible(lab, up)
    with lab.begin("up") as up:
        _kill_while_kubernetes_is_made(lab, up)
    with lab.begin("up") as up:
        _others_are_refused(lab, up)
        assert up.wait(FIRST) == 0, up.output


def _kill_while_instances_are_made(lab: Lab, up: Running) -> None:
    until(
        lambda: lab.instances() or up.ended(),
        "the first instance is begun",
        FIRST,
        pause=0.02,
        why=lambda: up.output,
    )
    assert not up.ended(), up.output
    up.kill()
    assert not _completed(lab, "provision"), "it came too late: all hosts were made already"


def _interrupt_ansible(lab: Lab, up: Running) -> None:
    """Ctrl-C once: it stops what it started, and says how to go on."""
    up.until_it_says(ANSIBLE, FIRST)
    up.interrupt()
    assert up.wait(120) == 1, up.output
    assert "Stopped in stage `configure`. Nothing is lost" in up.output
    assert f"to go on: uv run invoke up --cluster {lab.config}" in up.output
    assert "Traceback" not in up.output
    last = record.history(lab.paths)[-1]
    assert (last["stage"], last["error"]) == ("configure", "interrupted")
    until(lambda: not processes_naming(str(lab.paths.root)), "what it started is gone", 10)


def _kill_while_kubernetes_is_made(lab: Lab, up: Running) -> None:
    up.until_it_says(AT_WORK, FIRST)
    until(lambda: lab.host_does("control-1", "pgrep", "-f", "kubeadm init"), "kubeadm runs", 60)
    up.kill()
    assert _completed(lab, "provision")
    assert not _completed(lab, "configure"), "it came too late: all was configured already"


def _others_are_refused(lab: Lab, up: Running) -> None:
    """Two at once would undo each other; the second is told who the first is."""
    up.until_it_says("Prepare this machine", MINUTES)
    for command in ("up", "down"):
        said = lab.invoke(command, code=1, timeout=60).stderr
        assert f"process {up.process.pid}" in said, said
    assert not up.ended(), up.output


def _completed(lab: Lab, stage: str) -> bool:
    return any(
        report["stage"] == stage and report["error"] is None for report in record.history(lab.paths)
    )


@pytest.mark.usefixtures("one_up")
def test_there_is_nothing_left_to_do(lab: Lab) -> None:
    assert "Nothing to change" in lab.invoke("plan").stdout


@pytest.mark.usefixtures("one_up")
def test_everything_is_well(lab: Lab) -> None:
    found = lab.status()
    assert found["ok"] is True, [check for check in found["checks"] if not check["ok"]]
    nodes = {c["name"].removeprefix("node ") for c in found["checks"] if c["name"][:5] == "node "}
    hosts = {host.name for host in lab.cluster.expanded_hosts() if host.role != "services"}
    assert nodes == hosts


@pytest.mark.usefixtures("one_up")
def test_nothing_was_made_twice_or_left_over(lab: Lab) -> None:
    """What the killed runs had begun was taken up, not made anew beside it."""
    assert (lab.instances(), lab.volumes()) == expected_objects(lab.cluster)
    assert len(lab.networks()) == 1


@pytest.mark.usefixtures("one_up")
def test_no_lock_is_left(lab: Lab) -> None:
    with lab.paths.lock.open() as stream:
        fcntl.flock(stream, fcntl.LOCK_EX | fcntl.LOCK_NB)
    left = [path.name for path in lab.paths.terraform.glob("*/.terraform.tfstate.lock.info")]
    assert left == []
    for state in lab.paths.terraform.glob("*/terraform.tfstate"):
        json.loads(state.read_text())


@pytest.mark.usefixtures("one_up")
def test_no_process_is_left(lab: Lab) -> None:
    """Terraform, its provider and Ansible lead their own sessions, which a kill does not reach."""
    assert processes_naming(str(lab.paths.root)) == []


@pytest.mark.usefixtures("one_up")
def test_every_stage_has_its_time_in_the_record(lab: Lab) -> None:
    done = [report for report in record.history(lab.paths) if report["error"] is None]
    assert {report["stage"] for report in done} == {
        "preflight",
        "prepare",
        "provision",
        "artifacts",
        "configure",
        "verify",
    }
    assert all(report["seconds"] >= 0 for report in done)
