"""One cluster for all of these tests, `e2e`: made by the first that wants it, always taken down."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from support import traces
from support.lab import FIRST, Lab
from support.traces import Traces

from armillary.paths import ROOT
from armillary.tools.incus import incus, query, server
from armillary.tools.process import CommandError

CONFIG = ROOT / "tests" / "e2e" / "cluster.yml"


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--keep", action="store_true", help="leave the cluster `e2e` up in the end")


@pytest.fixture(scope="session")
def before() -> Traces:
    """What was on this machine before any of it."""
    return traces.look()


@pytest.fixture(scope="session")
def lab(
    request: pytest.FixtureRequest, before: Traces, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Lab]:
    """The cluster, be it up or not."""
    found = Lab(CONFIG, tmp_path_factory.mktemp("e2e"))
    yield found
    if request.config.getoption("--keep"):
        return
    try:
        if found.paths.root.exists():
            found.invoke("down", "--with-data", "--yes-lose", "e2e")
    finally:
        _sweep(found)


@pytest.fixture
def running(lab: Lab) -> Lab:
    """The cluster, up: made now where it is not."""
    if not lab.paths.endpoints.exists():
        lab.invoke("up", timeout=FIRST)
    return lab


def _sweep(lab: Lab) -> None:
    """Take away what `down` could not, so that one failure does not make the next."""
    if server() is None:
        return
    for name in lab.instances():
        incus("delete", "--force", name, timeout=60)
    for name in lab.volumes():
        query(f"/1.0/storage-pools/armillary/volumes/custom/{name}", "DELETE")
    for name in lab.networks():
        try:
            incus("network", "delete", name)
        except CommandError as error:
            print(error)
