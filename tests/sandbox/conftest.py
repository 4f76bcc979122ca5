"""The sandbox that tests use; without one they are skipped, and it is said how to have one."""

from __future__ import annotations

import uuid
from collections.abc import Iterator

import pytest
from openstack.connection import Connection
from support.servers import lacking_provider

from armillary.paths import ClusterPaths
from armillary.sandbox.checks import NONE, connect, go_directly, is_up
from armillary.sandbox.state import MEMBER, clouds_file, sandbox_paths


@pytest.fixture(scope="session")
def paths() -> ClusterPaths:
    """The sandbox's state directory."""
    found = sandbox_paths()
    if not is_up(found):
        pytest.skip(NONE)
    go_directly()
    return found


@pytest.fixture(scope="session")
def provider(tmp_path_factory: pytest.TempPathFactory) -> None:
    """That Terraform finds the official provider; what needs it is skipped where it does not."""
    if why := lacking_provider(tmp_path_factory.mktemp("provider")):
        pytest.skip(why)


@pytest.fixture(scope="session")
def member(paths: ClusterPaths) -> Iterator[Connection]:
    """The project that users of the sandbox work in."""
    with connect(clouds_file(paths), MEMBER["cloud"]) as connection:
        yield connection


@pytest.fixture
def name() -> str:
    """A name that nothing else has."""
    return f"test-{uuid.uuid4().hex[:8]}"
