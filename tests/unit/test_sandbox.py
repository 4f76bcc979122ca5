"""What the sandbox is called, where it is, and who may read what it writes."""

from __future__ import annotations

import stat
from ipaddress import ip_address
from pathlib import Path

import pytest
import yaml

from armillary.commands.common import CommandFailed
from armillary.commands.sandbox import sandbox
from armillary.models.report import Check
from armillary.paths import ClusterPaths
from armillary.report.checks import verdict
from armillary.sandbox import checks, container, guest, state


@pytest.fixture
def paths(tmp_path: Path) -> ClusterPaths:
    """An empty state directory."""
    found = ClusterPaths(tmp_path / "sandbox")
    found.make()
    return found


def test_every_name_says_whose_it_is() -> None:
    names = [container.NAME, *container.networks(), container.instance("kvm")["name"]]
    assert all(name.startswith("sandbox") for name in names)
    # A bridge is an interface, whose name has 15 characters at most.
    assert all(len(name) <= 15 for name in container.networks())


def test_the_address_is_pinned_and_the_networks_are_apart() -> None:
    eth0 = container.instance("qemu")["devices"]["eth0"]
    assert ip_address(eth0["ipv4.address"]) in container.SUBNET
    assert not container.SUBNET.overlaps(container.EXTERNAL_SUBNET)


def test_kvm_is_used_where_processors_have_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(container.os, "access", lambda *_: True)
    assert container.virt_type("model : x\nflags\t\t: fpu vmx sse\n") == "kvm"
    assert container.virt_type("flags\t\t: fpu sse\n") == "qemu"
    monkeypatch.setattr(container.os, "access", lambda *_: False)
    assert container.virt_type("flags\t\t: fpu svm\n") == "qemu"


def test_the_container_gets_kvm_only_where_it_is_used() -> None:
    assert container.instance("kvm")["devices"]["kvm"]["source"] == "/dev/kvm"
    assert "kvm" not in container.instance("qemu")["devices"]


def test_passwords_are_made_once_and_differ(paths: ClusterPaths) -> None:
    first = state.ensure_secrets(paths)
    assert state.ensure_secrets(paths) == first
    flat = [*first["users"].values(), *first["databases"].values(), *map(first.get, state.ALONE)]
    assert len(set(flat)) == len(flat) == 2 * len(state.COMPONENTS) + len(state.ALONE)


def test_clouds_yaml_has_the_member_and_not_the_administrator(paths: ClusterPaths) -> None:
    secrets = state.ensure_secrets(paths)
    state.write_clouds(paths, secrets)
    members = yaml.safe_load(state.clouds_file(paths).read_text())["clouds"]
    assert set(members) == {"sandbox", "sandbox-other"}
    assert members["sandbox"]["auth"]["password"] == secrets["member"]
    assert members["sandbox"]["auth"]["auth_url"].startswith("https://")
    assert secrets["admin"] not in state.clouds_file(paths).read_text()
    administrator = yaml.safe_load(state.admin_clouds_file(paths).read_text())["clouds"]
    assert set(administrator) == {"sandbox-admin"}


def test_only_the_owner_reads_what_is_secret(paths: ClusterPaths) -> None:
    state.write_clouds(paths, state.ensure_secrets(paths))
    for path in (paths.secrets, state.clouds_file(paths), state.admin_clouds_file(paths)):
        assert stat.S_IMODE(path.stat().st_mode) == 0o600


def test_the_inventory_has_no_secret(paths: ClusterPaths) -> None:
    secrets = state.ensure_secrets(paths)
    _write_inventory(paths)
    text = (paths.inventory / "hosts.yml").read_text()
    assert container.ADDRESS in text
    assert not any(password in text for password in secrets["users"].values())


def test_what_changes_the_configuration_changes_its_digest(paths: ClusterPaths) -> None:
    state.ensure_secrets(paths)
    _write_inventory(paths)
    before = state.configured_from(paths)
    assert state.configured_from(paths) == before
    _write_inventory(paths, virt_type="kvm")
    assert state.configured_from(paths) != before


def _write_inventory(paths: ClusterPaths, virt_type: str = "qemu") -> None:
    state.write_inventory(
        paths, virt_type=virt_type, gateway=container.GATEWAY, guest=guest.files()
    )


def test_an_action_that_there_is_not(capsys: pytest.CaptureFixture[str]) -> None:
    from rich.console import Console

    with pytest.raises(CommandFailed, match="up, down, status"):
        sandbox(Console(), "start")


@pytest.mark.parametrize(
    ("outcomes", "code"), [([True], 0), ([True, None], 2), ([None, False], 1), ([], 0)]
)
def test_exit_codes(outcomes: list[bool | None], code: int) -> None:
    assert verdict([Check(name="part", ok=ok) for ok in outcomes]) == code


def test_an_agent_that_never_came_is_missed() -> None:
    heard = dict.fromkeys(checks.AGENTS[1:], True) | {checks.AGENTS[1]: False, "other": True}
    assert [each.ok for each in checks.agents(heard)] == [False, False] + [True] * 7


def test_it_is_not_well_before_volumes_can_be_made() -> None:
    """cinder-volume is up some time before Cinder's scheduler knows of anything that is free."""
    assert checks.capacity(0.0).ok is False
    assert checks.capacity(18.7).ok is True
