"""A server as a cluster's host needs it: reached over a floating IP, known by its own key, with a volume."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

import pytest
from openstack.connection import Connection
from support.waiting import until

from armillary.tools.process import run

pytestmark = [pytest.mark.sandbox, pytest.mark.slow]

BOOT = 300.0
"""Seconds; processors may be emulated."""
KEY = re.compile(r"^.*?(ssh-ed25519 \S+)", re.MULTILINE)
ENDED = "-----END SSH HOST KEY KEYS-----"


@dataclass(frozen=True)
class Guest:
    """A server that is reached by ssh."""

    id: str
    ssh: Callable[[str], str]


@pytest.fixture(scope="module")
def guest(member: Connection, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Guest]:
    """A server in a network of its own, with a floating IP."""
    work, network, compute = tmp_path_factory.mktemp("guest"), member.network, member.compute
    name = work.parent.name
    with ExitStack() as made:
        key = compute.create_keypair(name=name)
        made.callback(compute.delete_keypair, key)
        identity = work / "key"
        identity.touch(mode=0o600)
        identity.write_text(key.private_key)
        net = network.create_network(name=name)
        made.callback(network.delete_network, net)
        subnet = network.create_subnet(
            network_id=net.id, name=name, ip_version=4, cidr="192.168.77.0/24"
        )
        public = network.find_network("public", ignore_missing=False)
        router = network.create_router(name=name, external_gateway_info={"network_id": public.id})
        made.callback(network.delete_router, router)
        network.add_interface_to_router(router, subnet_id=subnet.id)
        made.callback(network.remove_interface_from_router, router, subnet_id=subnet.id)
        group = network.create_security_group(name=name)
        made.callback(network.delete_security_group, group)
        network.create_security_group_rule(
            security_group_id=group.id,
            direction="ingress",
            protocol="tcp",
            port_range_min=22,
            port_range_max=22,
        )
        port = network.create_port(network_id=net.id, name=name, security_groups=[group.id])
        made.callback(network.delete_port, port)
        address = network.create_ip(floating_network_id=public.id, port_id=port.id)
        made.callback(network.delete_ip, address)
        server = compute.create_server(
            name=name,
            image_id=member.image.find_image("debian-12", ignore_missing=False).id,
            flavor_id=compute.find_flavor("m1.small", ignore_missing=False).id,
            key_name=key.name,
            networks=[{"port": port.id}],
        )
        made.callback(compute.wait_for_delete, server, wait=120)
        made.callback(compute.delete_server, server)
        compute.wait_for_server(server, wait=180)
        hosts = work / "known_hosts"
        hosts.write_text(f"{address.floating_ip_address} {_host_key(member, server.id)}\n")
        yield Guest(server.id, _ssh(address.floating_ip_address, identity, hosts))


def _host_key(member: Connection, server: str) -> str:
    def console() -> str:
        return str(member.compute.get_server_console_output(server)["output"])

    shown = until(
        lambda: text if ENDED in (text := console()) else None,
        "the host keys on the console",
        BOOT,
        pause=3,
        why=lambda: console()[-2000:],
    )
    found = KEY.search(shown)
    assert found is not None, shown
    return found[1]


def _ssh(address: str, identity: Path, hosts: Path) -> Callable[[str], str]:
    options = [
        "-F/dev/null",
        f"-i{identity}",
        "-oIdentitiesOnly=yes",
        "-oBatchMode=yes",
        "-oStrictHostKeyChecking=yes",
        f"-oUserKnownHostsFile={hosts}",
        "-oGlobalKnownHostsFile=/dev/null",
        "-oConnectTimeout=10",
    ]

    def ssh(command: str) -> str:
        return run(["ssh", *options, f"debian@{address}", command], timeout=120).stdout

    return ssh


def test_the_server_is_reached_and_its_key_is_the_console_s(guest: Guest) -> None:
    def name() -> str:
        try:
            return guest.ssh("cloud-init status --wait")
        except RuntimeError:
            return ""

    assert "done" in until(name, "ssh", 120, pause=2)


def test_metadata_names_the_server(guest: Guest) -> None:
    url = "http://169.254.169.254/openstack/latest/meta_data.json"
    ask = f"import urllib.request as u; print(u.urlopen('{url}', timeout=60).read().decode())"
    assert guest.id in guest.ssh(f'python3 -c "{ask}"')


def test_the_kernel_has_nfs(guest: Guest) -> None:
    guest.ssh("sudo modprobe --all nfs nfsd")
    assert "nfsd" in guest.ssh("cat /proc/filesystems")


def test_a_volume_is_found_by_its_serial(member: Connection, guest: Guest, name: str) -> None:
    storage, compute = member.block_storage, member.compute
    volume = storage.create_volume(size=1, name=name)
    try:
        storage.wait_for_status(volume, "available", failures=["error"], wait=60)
        compute.create_volume_attachment(guest.id, volume_id=volume.id)
        storage.wait_for_status(volume, "in-use", failures=["error"], wait=90)
        device = f"/dev/disk/by-id/virtio-{volume.id[:20]}"
        until(lambda: "yes" in guest.ssh(f"test -b {device} && echo yes || echo no"), device, 60)
        guest.ssh(f"sudo mkfs.ext4 -q {device} && sudo mount {device} /mnt && sudo touch /mnt/kept")
        guest.ssh("sudo umount /mnt")
        compute.delete_volume_attachment(guest.id, volume.id)
        storage.wait_for_status(volume, "available", failures=["error"], wait=90)
    finally:
        storage.delete_volume(volume)
        storage.wait_for_delete(volume, wait=60)
