"""A node and its pods as network namespaces, wired as the CNI plugin `ptp` wires them."""

from __future__ import annotations

import ctypes
import itertools
import select
import socket
import subprocess
import threading
import time
import uuid
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

CLONE_NEWNET = 0x40000000
PATIENCE = 0.4
"""Seconds after which an attempt counts as dropped; an allowed one takes a millisecond."""

T = TypeVar("T")


@dataclass(frozen=True)
class Probe:
    """One attempt to reach a port."""

    source: str
    target: str
    port: int
    protocol: str = "tcp"


class Namespace:
    """A network namespace, and a thread that lives in it."""

    def __init__(self, name: str) -> None:
        self.name = name
        _ip("netns", "add", name)
        self._thread = ThreadPoolExecutor(1, initializer=self._enter)

    def _enter(self) -> None:
        libc = ctypes.CDLL(None, use_errno=True)
        with open(f"/var/run/netns/{self.name}") as handle:
            if libc.setns(handle.fileno(), CLONE_NEWNET):
                raise OSError(ctypes.get_errno(), f"setns {self.name}")

    def do(self, action: Callable[[], T]) -> T:
        """Run in the namespace's thread; sockets that are made there stay in the namespace."""
        return self._thread.submit(action).result()

    def ip(self, *arguments: str) -> None:
        """Run ip(8) in the namespace."""
        _ip("-n", self.name, *arguments)

    def close(self) -> None:
        """Delete the namespace."""
        self._thread.shutdown()
        _ip("netns", "delete", self.name)


class Lab:
    """A router that stands for a node, and namespaces around it, each with one address.

    Every host answers on `ports`: TCP and UDP.
    """

    def __init__(self, addresses: dict[str, str], ports: Iterable[int]) -> None:
        prefix = f"netpol-{uuid.uuid4().hex[:8]}"
        self.addresses = addresses
        self.ports = tuple(ports)
        self.router = Namespace(f"{prefix}-node")
        self.hosts: dict[str, Namespace] = {"node": self.router}
        self._servers: list[socket.socket] = []
        self._closing = threading.Event()
        self._fresh_ports = itertools.cycle(range(10000, 65000))
        _ip("-n", self.router.name, "link", "set", "lo", "up")
        for key in ("ipv4/ip_forward", "ipv6/conf/all/forwarding"):
            self.router.do(lambda key=key: _write(Path("/proc/sys/net") / key, "1"))  # type: ignore[misc]
        for index, (name, address) in enumerate(addresses.items()):
            if name != "node":
                self._attach(f"{prefix}-{index}", name, address, f"veth{index}")
        for name in self.hosts:
            if name != "node":
                self._serve(name)
        threading.Thread(target=self._answer, daemon=True).start()

    def _attach(self, namespace: str, name: str, address: str, link: str) -> None:
        host = self.hosts[name] = Namespace(namespace)
        gateway, whole = ("fe80::1", "128") if ":" in address else (self.addresses["node"], "32")
        self.router.ip(
            "link", "add", link, "type", "veth", "peer", "name", "eth0", "netns", namespace
        )
        self.router.ip(
            "address", "add", f"{gateway}/{whole}", "dev", link, *_NO_DAD[":" in gateway]
        )
        self.router.ip("link", "set", link, "up")
        host.ip("link", "set", "lo", "up")
        host.ip("address", "add", f"{address}/{whole}", "dev", "eth0", *_NO_DAD[":" in gateway])
        host.ip("link", "set", "eth0", "up")
        if ":" not in address:
            host.ip("route", "add", gateway, "dev", "eth0")
        host.ip("route", "add", "default", "via", gateway, "dev", "eth0")
        self.router.ip("route", "add", f"{address}/{whole}", "dev", link)

    def _serve(self, name: str) -> None:
        address = self.addresses[name]
        family = socket.AF_INET6 if ":" in address else socket.AF_INET

        def listen() -> None:
            for port in self.ports:
                tcp = socket.socket(family, socket.SOCK_STREAM)
                tcp.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
                tcp.bind((address, port))
                tcp.listen(64)
                udp = socket.socket(family, socket.SOCK_DGRAM)
                udp.bind((address, port))
                self._servers += [tcp, udp]

        self.hosts[name].do(listen)

    def _answer(self) -> None:
        """Echo datagrams, and what comes over connections, until closed."""
        poll = select.poll()
        sockets = {each.fileno(): each for each in self._servers}
        listening = {each.fileno() for each in self._servers if each.type == socket.SOCK_STREAM}
        for number in sockets:
            poll.register(number, select.POLLIN)
        while not self._closing.is_set():
            for number, _ in poll.poll(100):
                server = sockets[number]
                if number in listening:
                    connection, _ = server.accept()
                    sockets[connection.fileno()] = connection
                    poll.register(connection.fileno(), select.POLLIN)
                elif server.type == socket.SOCK_DGRAM:
                    data, peer = server.recvfrom(512)
                    server.sendto(data, peer)
                elif data := _received(server):
                    server.sendall(data)
                else:
                    poll.unregister(number)
                    sockets.pop(number).close()

    def reached(self, probes: Iterable[Probe]) -> dict[Probe, bool]:
        """Try all probes at once and say which got an answer."""
        waiting: dict[int, tuple[Probe, socket.socket]] = {}
        outcome: dict[Probe, bool] = {}
        poll = select.poll()
        for probe in probes:
            outcome[probe] = False
            client = self.hosts[probe.source].do(lambda probe=probe: self._start(probe))  # type: ignore[misc]
            waiting[client.fileno()] = (probe, client)
            poll.register(client, select.POLLIN if probe.protocol == "udp" else select.POLLOUT)
        end = time.monotonic() + PATIENCE
        while waiting and (left := end - time.monotonic()) > 0:
            for number, _ in poll.poll(left * 1000):
                probe, client = waiting.pop(number)
                poll.unregister(number)
                failed = client.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
                outcome[probe] = not failed
                client.close()
        for _, client in waiting.values():
            client.close()
        return outcome

    def _start(self, probe: Probe) -> socket.socket:
        address = self.addresses[probe.target]
        family = socket.AF_INET6 if ":" in address else socket.AF_INET
        kind = socket.SOCK_DGRAM if probe.protocol == "udp" else socket.SOCK_STREAM
        client = socket.socket(family, kind)
        client.setblocking(False)
        if kind == socket.SOCK_DGRAM:
            # A port used a moment ago belongs to a flow that was allowed then, and still is.
            client.bind(("", next(self._fresh_ports)))
        client.connect_ex((address, probe.port))
        if probe.protocol == "udp":
            client.send(b"?")
        return client

    def connect(self, probe: Probe) -> socket.socket:
        """Open a TCP connection that stays.

        Raises:
            OSError: it was refused or dropped.
        """

        def dial() -> socket.socket:
            return socket.create_connection((self.addresses[probe.target], probe.port), PATIENCE)

        return self.hosts[probe.source].do(dial)

    def close(self) -> None:
        """Delete everything."""
        self._closing.set()
        for server in self._servers:
            server.close()
        for host in self.hosts.values():
            host.close()


_NO_DAD: dict[bool, tuple[str, ...]] = {True: ("nodad",), False: ()}


def _received(connection: socket.socket) -> bytes:
    try:
        return connection.recv(512)
    except OSError:
        return b""


def _write(path: Path, text: str) -> None:
    path.write_text(text)


def _ip(*arguments: str) -> None:
    subprocess.run(["ip", *arguments], check=True, timeout=10)
