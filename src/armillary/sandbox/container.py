"""The Incus container that the sandbox is, and its two bridges."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from ipaddress import IPv4Network
from pathlib import Path
from typing import Any

from armillary.clouds import host_image, incusd
from armillary.tools.incus import exec_in, exists, incus, query
from armillary.tools.process import CommandError

NAME = "sandbox"
NETWORK, SUBNET = f"{NAME}-net", IPv4Network("10.79.0.0/24")
EXTERNAL_NETWORK, EXTERNAL_SUBNET = f"{NAME}-ext", IPv4Network("10.79.1.0/24")
ADDRESS = str(SUBNET[10])
"""Pinned: it is in Keystone's catalogue, in Ceph's map of monitors and an end of every vxlan."""
GATEWAY = str(SUBNET[1])
BOOT_SECONDS = 90.0
INSTANCE = f"/1.0/instances/{NAME}"
# Some machines have a /dev/kvm that runs only kernels made for it; those have neither of these.
HARDWARE_VIRTUALISATION = {"vmx", "svm"}
KVM = Path("/dev/kvm")


class SandboxError(RuntimeError):
    """The sandbox cannot be had; the message says why and what to do."""


def virt_type(cpuinfo: str | None = None) -> str:
    """Return Nova's word for how guests run here: `kvm` when the machine can, `qemu` otherwise."""
    text = Path("/proc/cpuinfo").read_text() if cpuinfo is None else cpuinfo
    flags = next((line for line in text.splitlines() if line.startswith("flags")), "")
    able = HARDWARE_VIRTUALISATION & set(flags.split()) and os.access(KVM, os.R_OK | os.W_OK)
    return "kvm" if able else "qemu"


def networks() -> dict[str, dict[str, str]]:
    """Return the settings of the bridges by their names."""
    both = {"ipv4.nat": "true", "ipv6.address": "none"}
    return {
        NETWORK: {**both, "ipv4.address": f"{GATEWAY}/{SUBNET.prefixlen}"},
        # Neutron hands out its addresses.
        EXTERNAL_NETWORK: {
            **both,
            "ipv4.address": f"{EXTERNAL_SUBNET[1]}/{EXTERNAL_SUBNET.prefixlen}",
            "ipv4.dhcp": "false",
        },
    }


def instance(virt: str) -> dict[str, Any]:
    """Return the container as the Incus API wants it described."""
    characters = ["/dev/net/tun", "/dev/kmsg", *([str(KVM)] if virt == "kvm" else [])]
    return {
        "name": NAME,
        "description": "Armillary: a disposable all-in-one OpenStack",
        "type": "container",
        "source": {"type": "image", "alias": host_image.ALIAS},
        "profiles": [],
        "config": {"security.privileged": "true", "security.nesting": "true"},
        "devices": {
            "root": {"type": "disk", "path": "/", "pool": incusd.POOL},
            "eth0": {"type": "nic", "name": "eth0", "network": NETWORK, "ipv4.address": ADDRESS},
            "eth1": {"type": "nic", "name": "eth1", "network": EXTERNAL_NETWORK},
            **{
                Path(path).name: {"type": "unix-char", "path": path, "source": path}
                for path in characters
            },
        },
    }


def state() -> str | None:
    """Return `Running`, `Stopped` or what else Incus calls it; None when there is no container."""
    return str(query(INSTANCE)["status"]) if exists(INSTANCE) else None


def created_at() -> str:
    """Return when the container was made: one made anew is not configured yet."""
    return str(query(INSTANCE)["created_at"])


def ensure(say: Callable[[str], None]) -> bool:
    """Have the container running; return whether it had to be made or started.

    Raises:
        SandboxError: it has no network in time.
        CommandError: Incus refused.
    """
    for name, config in networks().items():
        if not exists(f"/1.0/networks/{name}"):
            say(f"making the bridge {name}")
            query("/1.0/networks", "POST", {"name": name, "type": "bridge", "config": config})
    before = state()
    if before is None:
        say("making the container")
        query("/1.0/instances", "POST", instance(virt_type()))
    if before != "Running":
        say("starting the container")
        incus("start", NAME, timeout=120)
    say("waiting for the container's network")
    _wait_for_network()
    return before != "Running"


def remove() -> bool:
    """Delete the container and its bridges; return whether there was any of it."""
    found = False
    if exists(INSTANCE):
        incus("delete", "--force", NAME, timeout=180)
        found = True
    for name in networks():
        if exists(f"/1.0/networks/{name}"):
            incus("network", "delete", name)
            found = True
    return found


def _wait_for_network() -> None:
    look = f"ip -4 -o address show dev eth0 | grep -qw {ADDRESS} && systemctl -q is-active systemd-resolved"
    deadline = time.monotonic() + BOOT_SECONDS
    while True:
        try:
            exec_in(NAME, ["sh", "-c", look], timeout=20)
        except CommandError as error:
            if time.monotonic() > deadline:
                raise SandboxError(
                    f"The container {NAME} did not get its address {ADDRESS} within "
                    f"{BOOT_SECONDS:.0f} s. See `incus console --show-log {NAME}`."
                ) from error
            time.sleep(0.5)
        else:
            return
