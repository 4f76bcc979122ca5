"""What breaks by itself, and what of it comes back by itself."""

from __future__ import annotations

import base64
import os
import secrets
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from support.hub import HubError, HubSession
from support.kube import Kube
from support.lab import Lab
from support.registry import Account, Image, Registry, with_file
from support.waiting import until

from armillary.files import write_secret
from armillary.images.build import ImageError
from armillary.images.kept import BuiltImage
from armillary.images.publish import push

NAMESPACE = "jupyterhub"
NOTICED = 120.0
"""Seconds until Kubernetes has noticed that a host is gone; 50 s by default."""
BACK = 240.0
"""Seconds until everything is well after a host is back."""
VOLUME = "/var/lib/registry"
LEFT = 20 * 2**20
LARGE = 60 * 10**6


@pytest.fixture
def user(running: Lab) -> Iterator[HubSession]:
    """A user whose server runs."""
    running.until_well(60)
    with running.browser("astronomer") as browser:
        browser.start_server()
        try:
            yield browser
        finally:
            until(lambda: _answers(browser), "the hub answers", BACK)
            browser.stop_server()


def test_a_users_server_outlives_the_hub(running: Lab, user: HubSession) -> None:
    """While the hub is away the kernel computes on; then the hub knows the user as before."""
    with running.kube() as kube, user.kernel() as kernel:
        server = _pod(kube, f"hub.jupyter.org/username={user.user}")
        hub = _hub(kube)
        kernel.execute("x = 6 * 7")
        kube.core.delete_namespaced_pod(hub.metadata.name, NAMESPACE, grace_period_seconds=0)
        until(lambda: not _answers(user), "the hub is gone", 30, pause=0.05)
        assert kernel.value("x") == 42
        until(lambda: _answers(user), "the hub is back", BACK)
        assert _hub(kube).metadata.uid != hub.metadata.uid
        # The same cookies, and no signing in in between.
        assert user.is_running()
        assert kernel.value("x") == 42
        after = _pod(kube, f"hub.jupyter.org/username={user.user}")
        assert after.metadata.uid == server.metadata.uid
        assert [c.restart_count for c in after.status.container_statuses] == [0]
    with user.kernel() as another:
        assert another.value("1 + 1") == 2


def test_a_worker_that_was_switched_off_comes_back(running: Lab) -> None:
    """The one with the hub: `status` says what is gone and why, and nobody has to do anything."""
    running.until_well(60)
    with running.kube() as kube:
        worker = _hub(kube).spec.node_name
        running.stop_host(worker)
        try:
            until(lambda: f"node {worker}" in running.wrong(), "it is missed", NOTICED, pause=1)
            wrong = running.wrong()
            assert "NodeStatusUnknown" in wrong[f"node {worker}"]
            assert "hub" in wrong
        finally:
            running.start_host(worker)
        running.until_well(BACK)
        where = {
            pod.spec.node_name
            for pod in kube.core.list_namespaced_pod("kube-system").items
            if pod.status.phase == "Running"
        }
        assert worker in where
    with running.browser("observer") as browser:
        browser.start_server()
        browser.stop_server()


def test_the_services_host_comes_back_by_itself(running: Lab, tmp_path: Path) -> None:
    """Registry, the way to the API and the way in for users: all of it starts with the host."""
    running.until_well(60)
    registry, account = running.registry(), running.account("push")
    running.stop_host("services-1")
    try:
        wrong = running.wrong()
        assert {"registry", "hub", "kubernetes"} <= wrong.keys(), "it is not in the way of all this"
    finally:
        running.start_host("services-1")
    running.until_well(BACK)
    registry.pull(account, running.inventory().image("debian"), tmp_path / "layout")
    with running.browser("observer") as browser:
        assert not browser.is_running()


def test_a_full_registry_says_so_and_recovers(running: Lab, tmp_path: Path) -> None:
    """No room for an image: the error names registry and disk; what was there stays whole."""
    running.until_well(60)
    registry, account = running.registry(), running.account("push")
    debian = registry.pull(account, running.inventory().image("debian"), tmp_path / "layout")
    repository = f"armillary-e2e/{secrets.token_hex(4)}"
    small = with_file(debian, "etc/small", "before")
    kept = registry.push(account, small, repository)
    try:
        text = base64.b64encode(os.urandom(LARGE)).decode()
        large = with_file(debian, "etc/large", text)
        send = _sender(running, registry, account, large, repository, tmp_path)
        with _full_disk(running):
            with pytest.raises(ImageError) as failed:
                send()
            said = str(failed.value)
            assert f"the disk of the registry {registry.address} is full" in said
            assert account.password not in said
            registry.pull(account, kept, tmp_path / "while-full")
        send()
        registry.pull(account, kept, tmp_path / "kept")
        pushed = f"{registry.address}/{repository}@{large.digest}"
        registry.pull(account, pushed, tmp_path / "pushed")
        registry.delete(account, repository, large.digest)
    finally:
        registry.delete(account, repository, small.digest)
    assert running.wrong() == {}


def _sender(
    lab: Lab, registry: Registry, account: Account, image: Image, repository: str, work: Path
) -> Callable[[], None]:
    """Return what pushes an image as `up` does."""
    authfile = work / "auth.json"
    word = base64.b64encode(f"{account.username}:{account.password}".encode()).decode()
    write_secret(authfile, f'{{"auths": {{"{registry.address}": {{"auth": "{word}"}}}}}}')
    built = BuiltImage(
        name="large",
        key="",
        layout=image.layout,
        digest=image.digest,
        reference=f"{repository}:made",
        size=LARGE,
        built=True,
        seconds=0,
    )

    def send() -> None:
        push([built], registry.address, authfile=authfile, ca=lab.paths.pki / "ca.crt")

    return send


@contextmanager
def _full_disk(lab: Lab) -> Iterator[None]:
    """Fill the registry's volume but for `LEFT` bytes."""
    script = f"""
    set -e
    fallocate -l {LEFT} {VOLUME}/.room
    n=0
    for size in 1024 256 64 16 4 1; do
      while fallocate -l "${{size}}M" "{VOLUME}/.filler-$n" 2> /dev/null; do n=$((n + 1)); done
      rm -f "{VOLUME}/.filler-$n"
    done
    rm {VOLUME}/.room
    sync {VOLUME}
    """
    try:
        lab.on_host("services-1", "sh", "-c", script, timeout=120)
        yield
    finally:
        lab.on_host("services-1", "sh", "-c", f"rm -f {VOLUME}/.filler-* {VOLUME}/.room; sync")


def _hub(kube: Kube) -> Any:
    """Return the hub's pod that is not on its way out."""
    deployment = kube.apps.read_namespaced_deployment("hub", NAMESPACE)
    labels = deployment.spec.selector.match_labels
    return _pod(kube, ",".join(f"{key}={value}" for key, value in labels.items()))


def _pod(kube: Kube, labels: str) -> Any:
    """Return the one pod of these labels that is not on its way out."""
    pods = [
        pod
        for pod in kube.core.list_namespaced_pod(NAMESPACE, label_selector=labels).items
        if pod.metadata.deletion_timestamp is None
    ]
    assert len(pods) == 1, [pod.metadata.name for pod in pods]
    return pods[0]


def _answers(browser: HubSession) -> bool:
    """Tell whether the hub answers for a user who has signed in."""
    try:
        browser.is_running()
    except (HubError, OSError):
        return False
    return True
