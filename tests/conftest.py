"""The cluster that tests look at: the one that `--cluster` names, if it is up."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
import testinfra
from support.hosts import HostOf
from support.inventory import Inventory
from support.kube import Kube
from support.waiting import be_patient
from testinfra.host import Host

from armillary.commands.common import load
from armillary.models.cluster import Cluster
from armillary.models.endpoints import Endpoints
from armillary.paths import ClusterPaths
from armillary.stages.contract import Context
from armillary.tools.process import run

LEFT_OUT = pytest.StashKey[str]()


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--cluster",
        default="local",
        help="the cluster that tests/verify looks at: a folder of inventories/, or the path of a "
        "cluster.yml (default: local)",
    )


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Leave out what needs a cluster when it is not up."""
    needing = [item for item in items if "context" in getattr(item, "fixturenames", ())]
    if needing and (missing := _missing(_context(config))):
        config.stash[LEFT_OUT] = f"{len(needing)} tests are left out: {missing}"
        config.hook.pytest_deselected(items=needing)
        items[:] = [item for item in items if item not in needing]


def pytest_report_collectionfinish(config: pytest.Config) -> str:
    return config.stash.get(LEFT_OUT, "")


def _context(config: pytest.Config) -> Context:
    return load("local", config.getoption("--cluster"))


def _missing(context: Context) -> str | None:
    """Return what to say when the cluster is not up."""
    if context.paths.endpoints.exists():
        return None
    return f"cluster {context.cluster.name} is not up; `uv run invoke up` makes it"


@pytest.fixture(scope="session")
def context(request: pytest.FixtureRequest) -> Context:
    """The cluster that is looked at."""
    found = _context(request.config)
    if missing := _missing(found):
        pytest.skip(missing)
    _go_directly(found)
    be_patient(found.cluster.patience)
    return found


def _go_directly(context: Context) -> None:
    """Keep what goes to the cluster away from a proxy that this machine uses for the world."""
    own = [f".{context.cluster.domain}", str(context.cluster.network.hosts)]
    own += [host.access_address for host in Inventory.read(context.paths).hosts.values()]
    for name in ("no_proxy", "NO_PROXY"):
        os.environ[name] = ",".join(filter(None, [os.environ.get(name), *own]))


@pytest.fixture(scope="session")
def cluster(context: Context) -> Cluster:
    """What cluster.yml says."""
    return context.cluster


@pytest.fixture(scope="session")
def paths(context: Context) -> ClusterPaths:
    """The files of the cluster's state directory."""
    return context.paths


@pytest.fixture(scope="session")
def endpoints(paths: ClusterPaths) -> Endpoints:
    """Where the cluster is reached."""
    return Endpoints.model_validate_json(paths.endpoints.read_text())


@pytest.fixture(scope="session")
def inventory(paths: ClusterPaths) -> Inventory:
    """The hosts, and what they share."""
    return Inventory.read(paths)


@pytest.fixture(scope="session")
def on_host(paths: ClusterPaths, inventory: Inventory) -> Iterator[HostOf]:
    """Gives a host by name, for testinfra: by ssh, with the cluster's key and the pinned ones.

    One connection a host serves all tests and ends with them.
    """
    # pytest's own directories are too long for the name of a socket.
    sockets = Path(tempfile.mkdtemp(prefix="armillary-ssh-"))
    hosts: dict[str, Host] = {}

    def connect(name: str) -> Host:
        if name not in hosts:
            hosts[name] = testinfra.get_host(
                f"ssh://{name}",
                ssh_config=str(paths.ssh_config),
                ssh_extra_args="-o BatchMode=yes -o LogLevel=ERROR",
                controlpath=str(sockets / name),
            )
        return hosts[name]

    yield connect
    for name in hosts:
        leave = ["ssh", "-o", f"ControlPath={sockets / name}", "-O", "exit", name]
        run(leave, timeout=10, check=False)
    shutil.rmtree(sockets)


@pytest.fixture(scope="session")
def kube(paths: ClusterPaths) -> Iterator[Kube]:
    """Kubernetes, as its administrator."""
    connection = Kube(paths.kubeconfig)
    yield connection
    connection.close()
