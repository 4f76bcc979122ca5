"""What of the OpenStack cloud needs no cloud: keys on consoles, ways to hosts, what is a cluster's own, paths in backups."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from armillary import ssh
from armillary.clouds.contract import Thing
from armillary.clouds.openstack.advice import advice
from armillary.clouds.openstack.console import host_key
from armillary.clouds.openstack.objects import mark_of, taken
from armillary.commands.backup import exported
from armillary.commands.common import CommandFailed
from armillary.config import read_cluster
from armillary.paths import ROOT, ClusterPaths

ID = "98fb6a8a-011f-4e6a-843b-38427cd56a0b"
BOOT = (
    "[   12.3] cloud-init[379]: ...\r\n-----BEGIN SSH HOST KEY KEYS-----\r\n"
    "ecdsa-sha2-nistp256 AAAAE2VjZHNh root@worker-1\r\n"
    "ssh-ed25519 AAAAC3NzaC1lZDI1{} root@worker-1\r\n-----END SSH HOST KEY KEYS-----\r\n"
)


def test_the_key_of_the_last_boot_is_the_host_s() -> None:
    assert host_key(BOOT.format("one") + BOOT.format("two")) == "ssh-ed25519 AAAAC3NzaC1lZDI1two"


@pytest.mark.parametrize(
    "log",
    [
        "",
        "Booting ...",
        # Half of it is there yet.
        BOOT.format("one").split("-----END")[0],
        # Only cloud-init's own block counts, not what somebody prints at a prompt.
        "login: ssh-ed25519 AAAAC3NzaC1lZDI1evil",
    ],
)
def test_what_is_no_whole_block_of_keys_is_not_believed(log: str) -> None:
    assert host_key(log) is None


def test_hosts_are_reached_through_the_bastion_and_it_directly(tmp_path: Path) -> None:
    paths = ClusterPaths(tmp_path)
    paths.make()
    hosts = {
        "services-1": {"access_address": "198.51.100.7"},
        "worker-1": {"access_address": "10.77.0.30"},
    }
    ssh.write_config(paths, {"hosts": hosts, "bastion": {"host": "services-1"}})
    text = paths.ssh_config.read_text()
    worker = text[text.index("Host worker-1") : text.index("Host *")]
    services = text[text.index("Host services-1") : text.index("Host worker-1")]
    assert "ProxyJump services-1" in worker
    assert "ServerAliveInterval" in text, "what is gone in mid-session would be waited for"
    assert "ProxyJump" not in services
    assert "StrictHostKeyChecking yes" in text
    assert paths.ssh_config.stat().st_mode & 0o077 == 0
    ssh.write_config(paths, {"hosts": hosts, "bastion": None})
    assert "ProxyJump" not in paths.ssh_config.read_text()


@pytest.mark.parametrize(
    ("each", "mark"),
    [
        ({"metadata": {"armillary-cluster": ID}, "name": "a"}, ID),
        ({"tags": ["armillary", f"armillary-cluster={ID}"], "name": "a"}, ID),
        ({"name": f"science-control-plane-{ID}"}, ID),
        # A neighbour's, called as ours are.
        ({"name": "science-net", "tags": ["armillary"]}, None),
        ({"name": "science-homes", "metadata": {"armillary": ID}}, None),
        ({"name": f"science-{ID}-old"}, None),
        ({"name": None}, None),
    ],
)
def test_a_thing_is_a_cluster_s_by_its_uuid_alone(each: dict[str, Any], mark: str | None) -> None:
    assert mark_of(SimpleNamespace(**each)) == mark


def test_what_is_there_takes_its_part_of_the_quotas() -> None:
    found = taken(
        [
            Thing("server", "a", "1", ID, False, {"cores": 2, "ram": 2048}),
            Thing("server", "b", "2", ID, False, {"cores": 1, "ram": 1024}),
            Thing("volume", "c", "3", ID, True, {"gigabytes": 40}),
        ]
    )
    assert (found["instances"], found["cores"], found["ram"]) == (2, 3, 3072)
    assert (found["volumes"], found["gigabytes"], found["routers"]) == (1, 40, 0)


def test_paths_in_shared_spaces_are_known_on_the_services_host() -> None:
    cluster = read_cluster(ROOT / "inventories" / "sandbox" / "cluster.yml")[0]
    exports = "/var/lib/armillary/exports/homes"
    assert exported(cluster, "/srv/shared") == ("homes", exports)
    assert exported(cluster, "/srv/shared/homes/a b") == ("homes", f"{exports}/homes/a b")
    for path in ("/srv", "/srv/sharedx", "srv/shared", "/srv/shared/../../etc"):
        with pytest.raises(CommandFailed, match="is in no shared space"):
            exported(cluster, path)


@pytest.mark.parametrize(
    ("wrong", "told"),
    [
        (
            'got 403 instead: {"forbidden": {"message": "Quota exceeded for instances: Requested 1"}}',
            "ask for",
        ),
        ("unexpected state 'ERROR', wanted target 'ACTIVE'", "could not place"),
        (
            "Invalid volume: Volume status must be available to reserve, but it is attaching",
            "stuck",
        ),
        ("but got 503 instead: <h1>503 Service Unavailable</h1>", "when it answers"),
        ('got 403 instead: {"error": {"message": "You are not authorized"}}', "role `member`"),
        ("Your query returned no results", ""),
        ("server 50313e9a does not exist", ""),
    ],
)
def test_what_to_do_about_an_error_is_told_by_its_text(wrong: str, told: str) -> None:
    assert (told in advice(wrong)) if told else advice(wrong) == ""
