"""What else cluster.yml offers, on a real OpenStack: hosts that start from volumes, in a network that was there, with floating IPs
that were given, reached without a bastion. Ten minutes where processors are emulated.

Tests build on each other, in the order they stand in.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import pytest
import yaml
from openstack.connection import Connection
from support.servers import ServerLab

from armillary.paths import ROOT, ClusterPaths
from armillary.sandbox.state import clouds_file

pytestmark = [pytest.mark.sandbox, pytest.mark.slow]

NAME = "choices"
RANGE = "10.82.0.0/24"
HOSTS = ("services-1", "control-1", "worker-1")
UP = 1800.0
SERIAL_OF_ROOT = ("sh", "-c", "lsblk -nso SERIAL $(findmnt -no SOURCE /) | tail -n 1")
"""That of the whole disk, whether it has partitions or is one file system."""


@dataclass(frozen=True)
class There:
    """What the project had before the cluster."""

    network: str
    subnet: str
    router: str
    addresses: tuple[str, ...]
    """One for each of `HOSTS`."""


@pytest.fixture(scope="module")
def there(member: Connection) -> Iterator[There]:
    """A network with a way out, and floating IPs, which somebody made by hand."""
    network = member.network.create_network(name=f"{NAME}-there")
    subnet = member.network.create_subnet(
        network_id=network.id,
        name=f"{NAME}-there",
        ip_version=4,
        cidr=RANGE,
        allocation_pools=[{"start": "10.82.0.2", "end": "10.82.0.9"}],
    )
    external = member.network.find_network("public", ignore_missing=False)
    router = member.network.create_router(
        name=f"{NAME}-there", external_gateway_info={"network_id": external.id}
    )
    member.network.add_interface_to_router(router, subnet_id=subnet.id)
    ips = [member.network.create_ip(floating_network_id=external.id) for _ in HOSTS]
    addresses = tuple(ip.floating_ip_address for ip in ips)
    try:
        yield There(network.id, subnet.id, router.id, addresses)
    finally:
        for ip in ips:
            member.network.delete_ip(ip)
        member.network.remove_interface_from_router(router, subnet_id=subnet.id)
        member.network.delete_router(router)
        member.network.delete_network(network)


@pytest.fixture(scope="module")
def lab(
    paths: ClusterPaths, provider: None, there: There, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[ServerLab]:
    """The cluster, of which nothing is made yet, as small as it can be."""
    scratch = tmp_path_factory.mktemp("choices")
    content = yaml.safe_load((ROOT / "inventories" / "sandbox" / "cluster.yml").read_text())
    del content["backup"], content["components"]
    content["name"] = NAME
    content["network"]["hosts"] = RANGE
    content["hosts"]["services"]["volumes"]["registry"]["size"] = "1GiB"
    content["shared"]["homes"]["size"] = "1GiB"
    content["openstack"] |= {
        "network": {"name": f"{NAME}-there", "subnet": f"{NAME}-there"},
        "boot_volume": {"type": "rbd"},
        "floating_ips": dict(zip(HOSTS, there.addresses, strict=True)),
        "access": "direct",
        "s3": False,
    }
    config = scratch / "cluster.yml"
    config.write_text(yaml.safe_dump(content, sort_keys=False))
    os.environ["OS_CLIENT_CONFIG_FILE"] = str(clouds_file(paths))
    found = ServerLab(config, scratch)
    yield found
    if found.paths.root.exists():
        found.invoke("down", "--with-data", "--yes-lose", NAME)


def _servers(member: Connection) -> dict[str, Any]:
    """Return the cluster's servers by the names of their hosts."""
    found = member.compute.servers(name=f"^{NAME}-")
    return {server.name.removeprefix(f"{NAME}-"): server for server in found}


def _attached(member: Connection, server: Any) -> list[str]:
    """Return the ids of a server's volumes."""
    return [each.volume_id for each in member.compute.volume_attachments(server)]


def test_up_makes_it(lab: ServerLab, there: There) -> None:
    lab.invoke("doctor")
    lab.invoke("up", "--tags", "base", timeout=UP)
    for host, address in zip(HOSTS, there.addresses, strict=True):
        assert lab.on_host(host, "hostname") == host
        assert lab.inventory().hosts[host].access_address == address


def test_no_host_is_reached_through_another(lab: ServerLab) -> None:
    assert "ProxyJump" not in lab.paths.ssh_config.read_text()


def test_hosts_start_from_volumes(lab: ServerLab, member: Connection) -> None:
    servers = _servers(member)
    assert set(servers) == set(HOSTS)
    for host, server in servers.items():
        serial = lab.on_host(host, *SERIAL_OF_ROOT)
        assert serial, "the disk it started from is no volume"
        (boot,) = [volume for volume in _attached(member, server) if volume.startswith(serial)]
        volume = member.block_storage.get_volume(boot)
        assert (volume.is_bootable, volume.volume_type) == (True, "rbd")


def test_nothing_of_the_network_was_made(lab: ServerLab) -> None:
    kinds = {thing.kind for thing in lab.things()}
    assert kinds & {"network", "subnet", "router", "floating IP"} == set()
    assert kinds >= {"server", "port", "security group"}


def test_up_again_changes_nothing(lab: ServerLab, member: Connection) -> None:
    before = {host: server.id for host, server in _servers(member).items()}
    said = lab.invoke("up", "--tags", "base", timeout=UP).stdout
    assert "✓ Provision hosts and volumes (Terraform): unchanged" in said
    assert "✓ Configure hosts and platform (Ansible): unchanged" in said
    assert {host: server.id for host, server in _servers(member).items()} == before


def test_down_leaves_what_was_there(lab: ServerLab, member: Connection, there: There) -> None:
    mark = lab.cloud.mark(lab.paths)
    volumes = {each for server in _servers(member).values() for each in _attached(member, server)}
    lab.invoke("down", "--with-data", "--yes-lose", NAME)
    assert [thing for thing in lab.cloud.things() if thing.mark == mark] == []
    # Those that hosts started from go with their servers; they bear no mark.
    assert volumes & {volume.id for volume in member.block_storage.volumes()} == set()
    member.network.get_network(there.network)
    member.network.get_subnet(there.subnet)
    member.network.get_router(there.router)
    for address in there.addresses:
        ip = member.network.find_ip(address, ignore_missing=False)
        assert (ip.port_id, ip.tags) == (None, [])
