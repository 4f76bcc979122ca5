"""The names of a cluster on this machine: a marked block in /etc/hosts, where DNS does not know them."""

from __future__ import annotations

import os
import socket
from pathlib import Path

from armillary.clouds.contract import CloudError
from armillary.files import write
from armillary.models.cluster import Cluster

HOSTS_FILE = Path("/etc/hosts")
NAMES = ("hub", "registry", "api")


def publish(cluster: Cluster, address: str) -> list[str]:
    """Have the names lead to `address` here, and return the line of /etc/hosts that other machines need.

    Args:
        cluster: whose names.
        address: where users and kubectl come in.

    Raises:
        CloudError: DNS says otherwise or nothing, and /etc/hosts may not be written; says what to add.
    """
    names = [f"{name}.{cluster.domain}" for name in NAMES]
    line = f"{address} {' '.join(names)}"
    if all(_resolved(name) == address for name in names):
        return [line]
    try:
        _replace_block(cluster.name, line)
    except PermissionError as error:
        raise CloudError(
            f"Names of the cluster do not lead to {address} here, and this user may not write "
            f"{HOSTS_FILE}. Have DNS say so, or add this line to {HOSTS_FILE}, then go on:\n    {line}"
        ) from error
    return [line]


def withdraw(cluster: Cluster) -> None:
    """Take a cluster's block out, where there is one."""
    if f"# armillary {cluster.name}: begin" in HOSTS_FILE.read_text():
        _replace_block(cluster.name, None)


def _resolved(name: str) -> str | None:
    try:
        return socket.gethostbyname(name)
    except OSError:
        return None


def _replace_block(cluster: str, line: str | None) -> None:
    begin, end = f"# armillary {cluster}: begin", f"# armillary {cluster}: end"
    kept: list[str] = []
    inside = False
    for each in HOSTS_FILE.read_text().splitlines():
        if each == begin:
            inside = True
        elif each == end:
            inside = False
        elif not inside:
            kept.append(each)
    if line is not None:
        kept += [begin, line, end]
    text = "\n".join(kept) + "\n"
    if not os.access(HOSTS_FILE, os.W_OK):
        raise PermissionError(str(HOSTS_FILE))
    try:
        write(HOSTS_FILE, text)
    except OSError:
        # Where /etc/hosts is a mount of its own it cannot be replaced, only rewritten.
        HOSTS_FILE.write_text(text)
