"""One server of an OpenStack, made by its API without any cluster."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

from openstack.connection import Connection

from armillary.clouds.openstack.console import host_key
from armillary.tools.process import CommandError, run
from support.waiting import until

BOOT = 300.0
"""Seconds; processors may be emulated."""


@dataclass(frozen=True)
class Guest:
    """A server that is reached by ssh."""

    id: str
    ssh: Callable[[str], str]
    """Runs a shell line and returns what it prints."""
    seconds: float
    """From the call of the API until ssh answered."""


@contextmanager
def guest(member: Connection, work: Path, name: str) -> Iterator[Guest]:
    """Have a server in a network of its own, with a floating IP; all of it goes at the end.

    Args:
        member: the project to make it in.
        work: a directory for keys.
        name: what everything is called.
    """
    network, compute = member.network, member.compute
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
        began = time.monotonic()
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
        ssh = _ssh(address.floating_ip_address, identity, hosts)
        until(lambda: _answers(ssh), "ssh answers", BOOT, pause=1)
        yield Guest(server.id, ssh, time.monotonic() - began)


def _answers(ssh: Callable[[str], str]) -> bool:
    try:
        ssh("true")
    except CommandError:
        return False
    return True


def _host_key(member: Connection, server: str) -> str:
    def console() -> str:
        return str(member.compute.get_server_console_output(server)["output"])

    return until(
        lambda: host_key(console()),
        "the host keys on the console",
        BOOT,
        pause=1,
        why=lambda: console()[-2000:],
    )


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
