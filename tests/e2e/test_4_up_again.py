"""`up` on a cluster that is up: it does what is to be done, and nothing else."""

from __future__ import annotations

from pathlib import Path

import pytest
from kubernetes.client.exceptions import ApiException
from support.lab import Lab, expected_objects
from support.waiting import until

GONE = ("kube-system", "storage")
"""What serves the default StorageClass: nothing that is up notices at once when it is gone."""
NOT_FOUND = 404


def test_up_changes_nothing_and_says_so(running: Lab) -> None:
    running.until_well(120)
    there = running.lives()
    done = running.invoke("up")
    assert "Nothing to change" in done.stdout
    assert running.lives() == there
    assert "Nothing to change" in running.invoke("plan").stdout


def test_a_deployment_that_somebody_removed_is_missed_and_made_again(running: Lab) -> None:
    running.until_well(120)
    namespace, name = GONE
    with running.kube() as kube:
        kube.apps.delete_namespaced_deployment(name, namespace)
        wrong = until(running.wrong, "it is missed", 30, pause=1)
        assert f"{namespace}/{name}" in wrong
        assert wrong[f"{namespace}/{name}"], "there is no reason with it"
        running.invoke("status", code=1)
        running.invoke("up")
        made = kube.apps.read_namespaced_deployment(name, namespace)
        assert made.status.available_replicas == made.spec.replicas
    assert running.wrong() == {}


@pytest.fixture(scope="module")
def three_workers(lab: Lab, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The cluster.yml with one worker more."""
    text = lab.config.read_text()
    assert text.count("role: worker, count: 2") == 1
    path = tmp_path_factory.mktemp("three") / "cluster.yml"
    path.write_text(text.replace("role: worker, count: 2", "role: worker, count: 3"))
    return path


def test_a_worker_more_touches_no_other_host(running: Lab, three_workers: Path) -> None:
    """It joins; nothing on the others is so much as restarted."""
    running.until_well(120)
    there = running.lives()
    planned = running.invoke("plan", config=three_workers).stdout
    assert f"{running.name}-worker-3" in planned
    running.invoke("up", config=three_workers)
    after = running.lives()
    assert after.keys() - there.keys() == {f"{running.name}-worker-3"}
    assert {name: after[name] for name in there} == there
    with running.kube() as kube:
        node = kube.core.read_node("worker-3")
        conditions = {each.type: each.status for each in node.status.conditions}
        assert conditions["Ready"] == "True"
        with kube.namespace("e2e") as namespace:
            image = running.inventory().image("debian")
            kube.claim(namespace, "own", "ReadWriteOnce")
            kube.start_pod(namespace, "on-it", image, node="worker-3", claims={"own": "/data"})
            kube.running(namespace, "on-it")
    assert "Nothing to change" in running.invoke("plan", config=three_workers).stdout


def test_a_worker_less_and_one_made_anew(running: Lab, three_workers: Path) -> None:
    """By one `up`, each as it was asked for, and nothing else.

    The last worker's node is drained and forgotten and the host gone; its volume waits for another day. The host that
    `--replace` names is another, with its data as it was.
    """
    if running.instance("worker-3") not in running.instances():
        running.invoke("up", config=three_workers)
    there = running.lives()
    volume = f"{running.name}-worker-3-data"
    assert volume in running.volumes()
    running.on_host("worker-2", "sh", "-c", "echo kept > /var/lib/armillary/data/replaced")
    assert (
        "no host is called worker-9" in running.invoke("up", "--replace", "worker-9", code=1).stderr
    )
    running.invoke("up", "--replace", "worker-2")
    assert running.instances() == expected_objects(running.cluster)[0]
    assert volume in running.volumes(), "data was deleted unasked"
    after = running.lives()
    assert [name for name in after if after[name] != there[name]] == [f"{running.name}-worker-2"]
    assert running.on_host("worker-2", "cat", "/var/lib/armillary/data/replaced") == "kept"
    with running.kube() as kube, pytest.raises(ApiException) as answer:
        kube.core.read_node("worker-3")
    assert answer.value.status == NOT_FOUND
    assert running.wrong() == {}
    assert "Nothing to change" in running.invoke("plan").stdout
