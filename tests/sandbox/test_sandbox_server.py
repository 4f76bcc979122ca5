"""A server as a cluster's host needs it: reached over a floating IP, known by its own key, with a volume."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from openstack.connection import Connection
from support.guest import Guest
from support.guest import guest as guest_of
from support.waiting import until

pytestmark = [pytest.mark.sandbox, pytest.mark.slow]


@pytest.fixture(scope="module")
def guest(member: Connection, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Guest]:
    """A server in a network of its own, with a floating IP."""
    work = tmp_path_factory.mktemp("guest")
    with guest_of(member, work, work.parent.name) as found:
        yield found


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
