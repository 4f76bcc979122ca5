"""How hosts are reached by ssh: one configuration file, for Ansible, for `invoke ssh`, and for people (`ssh -F`)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from armillary.files import write
from armillary.paths import ClusterPaths

USER = "armillary"


def write_config(paths: ClusterPaths, output: Mapping[str, Any]) -> None:
    """Write ssh_config(5) for the hosts of a cluster, by name and by address.

    Args:
        paths: the cluster's state directory; its known_hosts pins the hosts' keys.
        output: Terraform's output `cluster` of the compute root.
    """
    bastion = (output.get("bastion") or {}).get("host")
    blocks = []
    for name, host in sorted(output["hosts"].items()):
        lines = [f"Host {name} {host['access_address']}", f"  HostName {host['access_address']}"]
        if bastion is not None and name != bastion:
            lines.append(f"  ProxyJump {bastion}")
        blocks.append("\n".join(lines))
    blocks.append(
        "\n  ".join(
            [
                "Host *",
                f"User {USER}",
                f"IdentityFile {paths.private_key}",
                "IdentitiesOnly yes",
                f"UserKnownHostsFile {paths.known_hosts}",
                "GlobalKnownHostsFile /dev/null",
                "StrictHostKeyChecking yes",
                "PreferredAuthentications publickey",
                # A host that is gone in mid-session is noticed after two minutes, and not when TCP gives up.
                "ConnectTimeout 60",
                "ServerAliveInterval 15",
                "ServerAliveCountMax 8",
            ]
        )
    )
    write(paths.ssh_config, "\n\n".join(blocks) + "\n", mode=0o600)
