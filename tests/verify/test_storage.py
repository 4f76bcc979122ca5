"""Volumes: what is written stays when the pod goes, is read elsewhere, and goes with its claim."""

from __future__ import annotations

import secrets
from collections.abc import Iterator
from typing import Any

import pytest
from kubernetes.client.exceptions import ApiException
from support.hosts import HostOf
from support.inventory import Inventory
from support.kube import NOT_FOUND, Kube
from support.waiting import until

DEFAULT = "storageclass.kubernetes.io/is-default-class"
SHARED = "shared"
FILE = "/data/word"


@pytest.fixture(scope="module")
def namespace(kube: Kube) -> Iterator[str]:
    with kube.namespace() as name:
        yield name


@pytest.fixture
def word() -> str:
    """What nobody wrote before."""
    return secrets.token_hex(16)


def test_one_storage_class_is_the_default(kube: Kube) -> None:
    classes = kube.storage.list_storage_class().items
    default = [c for c in classes if (c.metadata.annotations or {}).get(DEFAULT) == "true"]
    assert len(default) == 1
    assert default[0].metadata.name != SHARED


def test_what_a_pod_wrote_another_reads(
    kube: Kube, namespace: str, inventory: Inventory, word: str, on_host: HostOf
) -> None:
    """On the default class: bound, written, the pod deleted, read; with the claim the data goes."""
    image = inventory.image("debian")
    kube.claim(namespace, "own", "ReadWriteOnce")
    kube.start_pod(namespace, "writer", image, claims={"own": "/data"})
    host = kube.running(namespace, "writer").spec.node_name
    _write(kube, namespace, "writer", word)
    volume = _bound(kube, namespace, "own")
    kube.delete_pod(namespace, "writer")
    kube.start_pod(namespace, "reader", image, claims={"own": "/data"})
    kube.running(namespace, "reader")
    assert _read(kube, namespace, "reader") == word
    kube.delete_pod(namespace, "reader")
    _gone_with_claim(kube, namespace, "own", volume, on_host, host, word)


def test_every_worker_makes_volumes(kube: Kube, inventory: Inventory) -> None:
    """Those that joined later too."""
    workers = [host.name for host in inventory.of_role("worker")]
    image = inventory.image("debian")
    with kube.namespace() as namespace:
        for worker in workers:
            kube.claim(namespace, worker, "ReadWriteOnce")
            kube.start_pod(namespace, worker, image, claims={worker: "/data"}, node=worker)
        for worker in workers:
            kube.running(namespace, worker)
            _write(kube, namespace, worker, worker)


def test_what_is_written_on_one_host_is_read_on_another(
    kube: Kube, namespace: str, inventory: Inventory, word: str, on_host: HostOf
) -> None:
    """On the class `shared`: both pods run at once, and each sees what the other writes."""
    workers = [host.name for host in inventory.of_role("worker")]
    if len(workers) < 2:
        pytest.skip("there is one worker only, so nothing is shared between hosts")
    image = inventory.image("debian")
    kube.claim(namespace, "common", "ReadWriteMany", storage_class=SHARED)
    for pod, worker in (("here", workers[0]), ("there", workers[1])):
        kube.start_pod(namespace, pod, image, node=worker, claims={"common": "/data"})
    assert [kube.running(namespace, pod).spec.node_name for pod in ("here", "there")] == workers[:2]
    _write(kube, namespace, "here", word)
    assert _read(kube, namespace, "there") == word
    _write(kube, namespace, "there", word[::-1])
    assert _read(kube, namespace, "here") == word[::-1]
    volume = _bound(kube, namespace, "common")
    for pod in ("here", "there"):
        kube.delete_pod(namespace, pod)
    _gone_with_claim(kube, namespace, "common", volume, on_host, workers[0], word[::-1])


def _bound(kube: Kube, namespace: str, claim: str) -> Any:
    """Return the volume that a claim is bound to."""
    found = kube.core.read_namespaced_persistent_volume_claim(claim, namespace)
    assert found.status.phase == "Bound"
    return kube.core.read_persistent_volume(found.spec.volume_name)


def _write(kube: Kube, namespace: str, pod: str, word: str) -> None:
    script = f'printf %s "$1" > {FILE} && sync {FILE}'
    ran = kube.run(namespace, pod, ["bash", "-c", script, "write", word])
    assert ran.code == 0, ran.err


def _read(kube: Kube, namespace: str, pod: str) -> str:
    return kube.run(namespace, pod, ["cat", FILE]).out


def _gone_with_claim(
    kube: Kube, namespace: str, claim: str, volume: Any, on_host: HostOf, host: str, word: str
) -> None:
    """Delete a claim, and see that its volume and what was written on the host's disk go too."""
    directory, there = _directory(volume), on_host(host)
    if directory:
        with there.sudo():
            assert there.check_output("cat %s", f"{directory}/word") == word
    kube.core.delete_namespaced_persistent_volume_claim(claim, namespace)

    def volume_is_gone() -> bool:
        try:
            kube.core.read_persistent_volume(volume.metadata.name)
        except ApiException as error:
            return bool(error.status == NOT_FOUND)
        return False

    until(volume_is_gone, f"volume {volume.metadata.name} is gone", 60)
    if directory:
        with there.sudo():
            assert there.run("test -e %s", directory).rc == 1


def _directory(volume: Any) -> str | None:
    """Return where a volume's data is on its host, None where it is not in a directory."""
    source = volume.spec.local or volume.spec.host_path
    return source.path if source else None
