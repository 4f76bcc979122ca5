"""The README's other commands, on the cluster that is up."""

from __future__ import annotations

import json

import pytest
from support.lab import Lab, lines_of

from armillary import secrets
from armillary.tools.incus import query

VERIFY = 1500.0


def test_the_proof_passes(running: Lab) -> None:
    """`invoke test --verify`: the whole of tests/verify, each test in the summary below it."""
    done = running.invoke("test", "--verify", timeout=VERIFY)
    assert lines_of(done, " passed", " in ")


def test_the_proof_tells_programs_too(running: Lab) -> None:
    done = running.invoke("test", "--verify", "--json", "--select", "hosts_answer", timeout=VERIFY)
    found = json.loads(done.stdout)
    assert found["ok"] is True
    assert found["suites"]["verify"]["passed"] > 0


def test_open_shows_where_and_as_whom(running: Lab) -> None:
    shown = running.invoke("open").stdout
    assert f"https://hub.{running.cluster.domain}/" in shown
    assert "astronomer" in shown
    assert json.loads(running.invoke("open", "--json").stdout)["cluster"] == running.name


def test_passwords_are_shown_to_who_asks_for_one(running: Lab) -> None:
    words = secrets.load(running.paths)["jupyterhub"]["users"]
    shown = running.invoke("password", "astronomer", quiet=True).stdout
    assert shown.strip() == words["astronomer"]
    assert "observer" in running.invoke("password", "stranger", code=1).stderr
    assert not any(word in running.invoke("open").stdout for word in words.values())


def test_status_is_good_and_says_since_when(running: Lab) -> None:
    table = running.invoke("status").stdout
    for part in ("registry", "kubernetes", "hub", "node worker-1", "node control-1"):
        assert part in table
    checks = json.loads(running.invoke("status", "--json").stdout)["checks"]
    assert all(check["since"] for check in checks if check["name"].startswith("node "))


def test_the_doctor_finds_nothing_missing(running: Lab) -> None:
    assert "Nothing is missing." in running.invoke("doctor").stdout
    assert json.loads(running.invoke("doctor", "--json").stdout)["ok"] is True


def test_what_no_state_knows_is_listed_and_left_alone(running: Lab) -> None:
    """What is of a cluster whose state is on another machine; of this one nothing is."""
    volumes = "/1.0/storage-pools/armillary/volumes/custom"
    about = {"name": "e2estranger-homes", "type": "custom", "description": "homes of e2estranger"}
    query(volumes, "POST", about)
    try:
        found = json.loads(running.invoke("orphans", "--json", code=1).stdout)["orphans"]
        assert "e2estranger" in {each["cluster"] for each in found}
        assert running.name not in {each["cluster"] for each in found}
        said = running.invoke("orphans", code=1).stdout
        assert any("e2estranger-homes" in line for line in said.splitlines())
        assert "Nothing was touched" in " ".join(said.split())
    finally:
        query(f"{volumes}/e2estranger-homes", "DELETE")


def test_ssh_is_a_shell_on_the_host(running: Lab) -> None:
    done = running.invoke("ssh", "worker-1", input="hostname; exit\n")
    assert "worker-1" in done.stdout.split()
    assert "worker-2" in running.invoke("ssh", "worker-9", code=1).stderr


@pytest.mark.parametrize(
    "component",
    [
        "registry",
        "balancer",
        "kubelet",
        "containerd",
        "hub",
        "kube-system/coredns",
    ],
)
def test_logs_shows_what_a_part_says(running: Lab, component: str) -> None:
    shown = running.invoke("logs", component).stdout
    assert shown.strip()
    assert "No entries" not in shown


def test_logs_shows_as_much_as_is_asked_for(running: Lab) -> None:
    assert len(running.invoke("logs", "kubelet", "--lines", "3").stdout.splitlines()) <= 4


def test_a_cluster_of_another_cloud_is_refused_by_every_command(running: Lab) -> None:
    """With another daemon's certificate in the identity, no command goes near the cluster."""
    identity = running.paths.identity
    right = identity.read_text()
    identity.write_text(json.dumps({**json.loads(right), "certificate": "0" * 64}))
    try:
        for command, *arguments in (
            ("up",),
            ("plan",),
            ("status",),
            ("open",),
            ("test", "--verify"),
            ("ssh", "worker-1"),
            ("logs", "registry"),
            ("down",),
            ("down", "--with-data", "--yes-lose", running.name),
        ):
            said = running.invoke(command, *arguments, code=1).stderr
            assert "was made in another cloud" in said, f"{command}: {said}"
    finally:
        identity.write_text(right)
    assert running.status()["ok"] is True
