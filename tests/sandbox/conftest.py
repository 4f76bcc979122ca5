"""The sandbox that tests use; without one they are skipped, and it is said how to have one."""

from __future__ import annotations

import uuid
from collections.abc import Iterator

import pytest
from openstack.connection import Connection

from armillary.paths import ClusterPaths
from armillary.sandbox import container
from armillary.sandbox.checks import connect, go_directly
from armillary.sandbox.state import MEMBER, clouds_file, sandbox_paths
from armillary.tools.incus import server


@pytest.fixture(scope="session")
def paths() -> ClusterPaths:
    """The sandbox's state directory."""
    found = sandbox_paths()
    up = clouds_file(found).exists() and server() is not None and container.state() == "Running"
    if not up:
        pytest.skip("no sandbox is up; `uv run invoke sandbox up` makes one")
    go_directly()
    return found


@pytest.fixture(scope="session")
def member(paths: ClusterPaths) -> Iterator[Connection]:
    """The project that users of the sandbox work in."""
    with connect(clouds_file(paths), MEMBER["cloud"]) as connection:
        yield connection


@pytest.fixture
def name() -> str:
    """A name that nothing else has."""
    return f"test-{uuid.uuid4().hex[:8]}"
