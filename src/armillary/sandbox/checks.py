"""How the sandbox is: its container, its APIs, the agents behind them, Ceph."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from keystoneauth1.exceptions import ClientException
from openstack.config import OpenStackConfig
from openstack.connection import Connection
from openstack.exceptions import SDKException

from armillary.files import read_yaml
from armillary.models.report import Check
from armillary.paths import ROOT, ClusterPaths
from armillary.sandbox import container
from armillary.sandbox.container import ADDRESS, NAME, SUBNET
from armillary.sandbox.state import ADMIN, admin_clouds_file, clouds_file
from armillary.status import https_check
from armillary.tools.incus import exec_in, server
from armillary.tools.process import CommandError, CommandTimeout

TIMEOUT = 15
NONE = "no sandbox is up; `uv run invoke sandbox up` makes one"
SERVICES = ROOT / "ansible" / "sandbox" / "group_vars" / "all.yml"
ANSWERS = {200, 300, 401}
"""What a service's root says: its versions, or that it wants a token."""


AGENTS = (
    "nova-conductor",
    "nova-scheduler",
    "nova-compute",
    "cinder-scheduler",
    "cinder-volume",
    "neutron-linuxbridge-agent",
    "neutron-dhcp-agent",
    "neutron-l3-agent",
    "neutron-metadata-agent",
)


def is_up(paths: ClusterPaths) -> bool:
    """Tell whether there is a sandbox to work in: its container runs, and who works in it can sign in."""
    up = clouds_file(paths).exists() and server() is not None
    return up and container.state() == "Running"


def go_directly() -> None:
    """Keep what goes to the sandbox away from a proxy that this machine uses for the world."""
    for name in ("no_proxy", "NO_PROXY"):
        os.environ[name] = ",".join(filter(None, [os.environ.get(name), ADDRESS, str(SUBNET)]))


def connect(file: Path, cloud: str) -> Connection:
    """Return a connection by one entry of one clouds.yaml, whatever this process's environment says."""
    config = OpenStackConfig(config_files=[str(file)], load_envvars=False)
    return Connection(config=config.get_one(cloud=cloud, api_timeout=TIMEOUT))


def checks(paths: ClusterPaths) -> list[Check]:
    """Look at every part of the sandbox at once.

    Returns:
        one check a part; `ok` is None where it could not be told.
    """
    if not paths.secrets.exists():
        return [Check(name=NAME, ok=None, detail="There is none; `invoke sandbox up` makes it.")]
    again = "`invoke sandbox up` starts it."
    if server() is None:
        return [Check(name="container", ok=False, detail=f"Incus does not answer; {again}")]
    try:
        state = container.state()
    except CommandError as error:
        return [Check(name="container", ok=None, detail=str(error))]
    if state != "Running":
        detail = f"It is {state.lower()}; {again}" if state else f"It is not there; {again}"
        return [Check(name="container", ok=False, detail=detail)]
    looks: list[Callable[[], list[Check]]] = [
        *(
            _api(paths, name, facts)
            for name, facts in read_yaml(SERVICES)["sandbox_services"].items()
        ),
        lambda: _agents(paths),
        _ceph,
    ]
    with ThreadPoolExecutor(len(looks)) as pool:
        found = [check for part in pool.map(lambda look: look(), looks) for check in part]
    return [Check(name="container", ok=True), *found]


def _api(paths: ClusterPaths, name: str, facts: dict[str, str]) -> Callable[[], list[Check]]:
    url = f"https://{ADDRESS}:{facts['port']}{facts['health']}"
    return lambda: [https_check(paths, name, url, ANSWERS)]


def _agents(paths: ClusterPaths) -> list[Check]:
    """Ask Nova, Cinder and Neutron which of their parts they have heard from lately."""
    try:
        with connect(admin_clouds_file(paths), ADMIN["cloud"]) as cloud:
            heard = {
                **{each.binary: each.state == "up" for each in cloud.compute.services()},
                **{each.binary: each.state == "up" for each in cloud.block_storage.services()},
                **{each.binary: each.is_alive for each in cloud.network.agents()},
            }
            pools = list(cloud.block_storage.backend_pools())
            free = sum(float(each.capabilities["free_capacity_gb"]) for each in pools)
    except (SDKException, ClientException, OSError) as error:
        return [Check(name="agents", ok=False, detail=f"Could not ask for them: {error}")]
    return [*agents(heard), capacity(free)]


def capacity(free: float) -> Check:
    """Return a check of what Cinder's scheduler knows to be free, in GiB.

    It hears of it some time after cinder-volume is up; until then every volume ends in error.
    """
    return Check(
        name="room for volumes",
        ok=free > 0,
        detail="" if free > 0 else "Cinder's scheduler has not heard of any yet.",
    )


def agents(heard: Mapping[str, bool]) -> list[Check]:
    """Return a check for each agent that there has to be, from which of them are up."""
    return [
        Check(
            name=name,
            ok=heard.get(name, False),
            detail=""
            if heard.get(name)
            else f"Not heard of lately; see `incus exec {NAME} journalctl -u {name}`.",
        )
        for name in AGENTS
    ]


def _ceph() -> list[Check]:
    try:
        health = exec_in(NAME, ["timeout", "10", "ceph", "health"], timeout=20).stdout.strip()
    except (CommandError, CommandTimeout) as error:
        return [Check(name="ceph", ok=False, detail=str(error))]
    return [Check(name="ceph", ok=health == "HEALTH_OK", detail=health)]
