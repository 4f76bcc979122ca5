"""The registry: an image made now is pushed, and a pod runs from it; nobody else gets in."""

from __future__ import annotations

import secrets
from collections.abc import Iterator

import pytest
from support.inventory import Inventory
from support.kube import Kube
from support.registry import Account, Image, PullPort, Registry, accounts, address_of, with_file
from support.waiting import until

from armillary.paths import ClusterPaths
from armillary.tools.process import CommandError

PROOF = "etc/armillary-proof"
UNAUTHORIZED = 401
REFUSED = {401, 403, 405}


@pytest.fixture(scope="module")
def users(paths: ClusterPaths) -> dict[str, Account]:
    """The registry's accounts."""
    return accounts(paths)


@pytest.fixture(scope="module")
def registry(
    inventory: Inventory, paths: ClusterPaths, tmp_path_factory: pytest.TempPathFactory
) -> Registry:
    """The port for pushing."""
    return Registry(address_of(inventory), paths.pki / "ca.crt", tmp_path_factory.mktemp("push"))


@pytest.fixture(scope="module")
def pull_port(inventory: Inventory, paths: ClusterPaths) -> PullPort:
    """The port that hosts pull from, asked by one of them."""
    return PullPort.of(paths, inventory, inventory.of_role("worker")[0].name)


@pytest.fixture(scope="module")
def word() -> str:
    """What no image held before."""
    return secrets.token_hex(16)


@pytest.fixture(scope="module")
def image(
    registry: Registry,
    users: dict[str, Account],
    inventory: Inventory,
    word: str,
    tmp_path_factory: pytest.TempPathFactory,
) -> Image:
    """The cluster's Debian, with one layer more."""
    layout = tmp_path_factory.mktemp("image") / "layout"
    registry.pull(users["push"], inventory.image("debian"), layout)
    return with_file(layout, PROOF, word)


@pytest.fixture(scope="module")
def repository(registry: Registry, users: dict[str, Account], image: Image) -> Iterator[str]:
    """Where in the registry it goes; taken away in the end."""
    name = f"armillary-verify/{secrets.token_hex(4)}"
    yield name
    registry.ask("DELETE", f"{name}/manifests/{image.digest}", users["push"])


def test_an_image_pushed_now_runs_on_a_worker(
    registry: Registry,
    users: dict[str, Account],
    image: Image,
    repository: str,
    word: str,
    kube: Kube,
    inventory: Inventory,
) -> None:
    """From this machine to the registry, from there to a worker, by digest all the way."""
    reference = registry.push(users["push"], image, repository)
    worker = inventory.of_role("worker")[-1].name
    with kube.namespace() as namespace:
        command = ["cat", f"/{PROOF}"]
        kube.start_pod(namespace, "proof", reference, command=command, node=worker)
        pod = until(
            lambda: kube.ended(namespace, "proof"),
            "the pod has run",
            60,
            why=lambda: kube.story(namespace, "proof"),
        )
        assert pod.status.phase == "Succeeded"
        assert pod.spec.node_name == worker
        assert pod.status.container_statuses[0].image_id.endswith(image.digest)
        assert kube.core.read_namespaced_pod_log("proof", namespace).strip() == word


def test_the_registry_gives_what_was_pushed(
    pull_port: PullPort,
    registry: Registry,
    users: dict[str, Account],
    image: Image,
    repository: str,
) -> None:
    """The digest names the content; a tag and a digest give the same."""
    registry.push(users["push"], image, repository)
    answer = pull_port.ask("HEAD", f"{repository}/manifests/{image.digest}", users["pull"])
    assert answer.status_code == 200
    assert answer.headers["Docker-Content-Digest"] == image.digest


@pytest.mark.parametrize("port", ["registry", "pull_port"])
def test_nobody_without_a_password_gets_in(
    port: str, request: pytest.FixtureRequest, inventory: Inventory, users: dict[str, Account]
) -> None:
    """Not to look, not to read, not to write; and a wrong password is as good as none."""
    there: Registry | PullPort = request.getfixturevalue(port)
    debian = inventory.image("debian")
    repository, digest = debian.removeprefix(f"{address_of(inventory)}/").split("@")
    assert there.ask("GET", f"{repository}/manifests/{digest}", users["push"]).status_code == 200
    for account in (None, Account(users["push"].username, "wrong"), Account("stranger", "wrong")):
        for method, path in (
            ("GET", ""),
            ("GET", "_catalog"),
            ("GET", f"{repository}/manifests/{digest}"),
            ("POST", f"{repository}/blobs/uploads/"),
            ("DELETE", f"{repository}/manifests/{digest}"),
        ):
            answer = there.ask(method, path, account)
            assert answer.status_code == UNAUTHORIZED, f"{method} {path} as {account}"


def test_the_pull_account_cannot_push(
    pull_port: PullPort, registry: Registry, users: dict[str, Account], image: Image
) -> None:
    """It is on every host, so it must not be able to change what hosts run."""
    assert pull_port.ask("GET", "", users["pull"]).status_code == 200
    ports: tuple[Registry | PullPort, ...] = (registry, pull_port)
    for there in ports:
        for method, path in (
            ("POST", "armillary/debian/blobs/uploads/"),
            ("PUT", "armillary/debian/manifests/bookworm"),
            ("DELETE", f"armillary/debian/manifests/{image.digest}"),
        ):
            answer = there.ask(method, path, users["pull"])
            assert answer.status_code in REFUSED, f"{there.address}: {method} {path}"
    with pytest.raises(CommandError):
        registry.push(users["pull"], image, "armillary-verify/forbidden")
