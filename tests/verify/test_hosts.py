"""Every host: who gets in, what time it is there, whom it trusts, where its data goes."""

from __future__ import annotations

import secrets
import time
from pathlib import Path

import pytest
from support.hosts import HostOf
from support.inventory import Inventory
from support.registry import PullPort
from support.waiting import patient

from armillary.models.cluster import Cluster
from armillary.models.rules import EXPORTS
from armillary.paths import ClusterPaths
from armillary.ssh import USER
from armillary.tools.process import run

CLOCK_TOLERANCE = 2.0
REFUSED_TRUST = 60
"""curl's exit code for a certificate that nobody it trusts has signed."""
FILE_SYSTEM_OWN = 0.07
"""What ext4 keeps of a device for itself, at most: inode tables and journal."""


@pytest.fixture(params=["services", "control_plane", "worker"])
def names(request: pytest.FixtureRequest, inventory: Inventory) -> list[str]:
    """The hosts of one role."""
    return [host.name for host in inventory.of_role(request.param)]


def test_inventory_has_every_host_of_the_cluster(inventory: Inventory, cluster: Cluster) -> None:
    assert set(inventory.hosts) == {host.name for host in cluster.expanded_hosts()}


def test_hosts_answer_with_the_pinned_key(names: list[str], on_host: HostOf) -> None:
    """The connection would fail with any other host key; the name tells it is the right host."""
    assert {name: on_host(name).check_output("hostname") for name in names} == {
        name: name for name in names
    }


def test_a_host_with_another_key_is_not_trusted(
    names: list[str],
    inventory: Inventory,
    paths: ClusterPaths,
    tmp_path: Path,
) -> None:
    """Pinning works: with somebody else's key in known_hosts there is no connection.

    A bastion on the way there is known by its right key.
    """
    run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(tmp_path / "other")], timeout=10)
    kind, key = (tmp_path / "other.pub").read_text().split()[:2]
    address = inventory.hosts[names[0]].access_address
    (tmp_path / "known_hosts").write_text(f"{address} {kind} {key}\n")
    refused = run(
        [
            "ssh",
            *("-F", str(paths.ssh_config)),
            *("-o", f"UserKnownHostsFile={tmp_path / 'known_hosts'}"),
            *("-o", f"HostKeyAlgorithms={kind}", "-o", "BatchMode=yes"),
            *(names[0], "true"),
        ],
        timeout=patient(20),
        check=False,
    )
    assert refused.returncode == 255
    assert "Host key verification failed" in refused.stderr


@pytest.mark.parametrize("user", [USER, "root"])
def test_passwords_are_not_even_asked_for(names: list[str], user: str, paths: ClusterPaths) -> None:
    for name in names:
        refused = run(
            [
                "ssh",
                *("-F", str(paths.ssh_config), "-o", "PubkeyAuthentication=no"),
                *("-o", "PreferredAuthentications=password,keyboard-interactive"),
                *("-o", "NumberOfPasswordPrompts=1", "-o", "BatchMode=yes"),
                *(f"{user}@{name}", "true"),
            ],
            timeout=patient(20),
            check=False,
        )
        assert refused.returncode == 255
        # In brackets: the ways in that the host offers.
        assert "Permission denied (publickey)." in refused.stderr


def test_clocks_agree_with_the_controllers(names: list[str], on_host: HostOf) -> None:
    for name in names:
        before = time.time()
        there = float(on_host(name).check_output("date +%s.%N"))
        after = time.time()
        assert before - CLOCK_TOLERANCE <= there <= after + CLOCK_TOLERANCE, name


def test_hosts_trust_the_clusters_authority(
    names: list[str], on_host: HostOf, inventory: Inventory, paths: ClusterPaths
) -> None:
    """The registry's TLS is trusted by default, and by that authority alone."""
    url = f"https://{PullPort.of(paths, inventory, names[0]).address}/v2/"
    curl = f"curl -sS -m {patient(10):.0f} -o /dev/null"
    for name in names:
        host = on_host(name)
        status = host.check_output(f"{curl} -w '%%{{http_code}}' %s", url)
        assert status == "401", f"{name}: {url} answered {status}"
        other = "/usr/share/ca-certificates/mozilla/ISRG_Root_X1.crt"
        without = host.run(f"{curl} --cacert %s --capath /var/empty %s", other, url)
        assert without.rc == REFUSED_TRUST, f"{name}: {without.stderr}"


def test_volumes_are_mounted_and_written(
    names: list[str], on_host: HostOf, inventory: Inventory, cluster: Cluster
) -> None:
    """Where cluster.yml says there is a volume, there is one; what is written is read again."""
    script = """
    set -e
    mountpoint -q "$1"
    test "$(stat -c %d "$1")" != "$(stat -c %d /)"
    file=$(mktemp "$1/.verify-XXXXXX")
    trap 'rm "$file"' EXIT
    echo "$2" > "$file"
    sync "$file"
    cat "$file"
    """
    for name in names:
        mounts = {key: v["mount"] for key, v in inventory.hosts[name].volumes.items()}
        assert mounts == _wanted(cluster, inventory, name)
        for mount in mounts.values():
            word = secrets.token_hex(8)
            with on_host(name).sudo():
                ran = on_host(name).run("bash -c %s write %s %s", script, mount, word)
            assert (ran.rc, ran.stdout.strip()) == (0, word), f"{name}: {mount}: {ran.stderr}"


def test_volumes_have_their_size(
    names: list[str], on_host: HostOf, inventory: Inventory, cluster: Cluster
) -> None:
    """A block device is as large as asked for, here and by NFS; of a directory, no more can be used than that."""
    shared = {name: space.size for name, space in cluster.shared.items()}
    sizes = {
        host.name: shared | {name: volume.size for name, volume in host.volumes.items()}
        for host in cluster.expanded_hosts()
    }
    script = """
    file=$(mktemp "$1/.verify-XXXXXX")
    trap 'rm "$file"' EXIT
    fallocate -l "$2" "$file" && ! fallocate -l "$3" "$file"
    """
    for name in names:
        host = on_host(name)
        for volume, facts in inventory.hosts[name].volumes.items():
            mount, size = facts["mount"], sizes[name][volume].gib * 2**30
            if facts["kind"] in ("block", "nfs"):
                found = int(host.check_output("df -B1 --output=size %s", mount).split()[1])
                assert size * (1 - FILE_SYSTEM_OWN) <= found <= size
                continue
            little, too_much = str(size // 100), str(size + 2**20)
            with host.sudo():
                ran = host.run("bash -c %s allocate %s %s %s", script, mount, little, too_much)
            assert ran.rc == 0, f"{name}: {mount} is not of {size} bytes: {ran.stderr}"
            assert "quota exceeded" in ran.stderr


def _wanted(cluster: Cluster, inventory: Inventory, name: str) -> dict[str, str]:
    """Return volume -> mount point of a host, as cluster.yml has it; the services host has what it exports by NFS."""
    host = next(each for each in cluster.expanded_hosts() if each.name == name)
    found = {volume: space.mount for volume, space in host.volumes.items()}
    if host.role != "services":
        return found | {volume: space.mount for volume, space in cluster.shared.items()}
    mounted = [each for other in inventory.hosts.values() for each in other.volumes.items()]
    exported = {volume for volume, facts in mounted if facts["kind"] == "nfs"}
    return found | {volume: f"{EXPORTS}/{volume}" for volume in exported}
