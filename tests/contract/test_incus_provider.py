"""The Incus provider, driven by the real Terraform against a real Incus."""

from __future__ import annotations

import json
import os
import shlex
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from support.waiting import until

from armillary.gate import check_plan
from armillary.incus_provider.api import Incus
from armillary.tools.incus import exec_in, query
from armillary.tools.process import CommandError, run
from armillary.tools.terraform import Event, Plan, Terraform, TerraformError
from tests.contract.incus_lab import (
    MARK,
    POOL,
    clean,
    group,
    instance,
    named,
    needs_incus,
    providers,
    tiny_image,
    volume,
)

pytestmark = needs_incus

NETWORK = "tfp-provnet"
VERSIONS = """\
terraform {
  backend "local" {}
  required_providers {
    incus = {
      source  = "terraform.local/armillary/incus"
      version = "0.1.0"
    }
  }
}
"""
ROOT = (
    VERSIONS
    + """
variable "cluster" { type = string }
variable "network" { type = string }
variable "hosts" { type = any }
variable "volumes" { type = map(string) }

provider "incus" { cluster = var.cluster }

resource "incus_storage_volume" "v" {
  for_each = var.volumes
  name     = "${var.cluster}-${each.key}"
  pool     = "armillary"
  config   = { size = each.value }
}

resource "incus_instance" "i" {
  for_each = var.hosts
  name     = "${var.cluster}-${each.key}"
  image    = each.value.image
  profiles = []
  config   = each.value.config

  device {
    name       = "root"
    type       = "disk"
    properties = { path = "/", pool = "armillary" }
  }
  device {
    name       = "eth0"
    type       = "nic"
    properties = { network = var.network, name = "eth0" }
  }
  dynamic "device" {
    for_each = each.value.mounts
    content {
      name       = device.key
      type       = "disk"
      properties = {
        pool   = "armillary"
        source = incus_storage_volume.v[device.key].name
        path   = device.value
      }
    }
  }
  wait_for { type = "ipv4" }
}

output "addresses" { value = { for k, i in incus_instance.i : k => i.ipv4_address } }
"""
)


class World:
    """A test cluster: its variables, and Terraform for it."""

    def __init__(self, name: str, image: str, directory: Path) -> None:
        self.name, self.image = name, image
        self.root = directory / "root"
        self.root.mkdir()
        (self.root / "versions.tf").write_text(ROOT)
        self.events: list[Event] = []
        self.terraform = Terraform(self.root, directory / "state", self.events.append)
        self.hosts: dict[str, dict[str, Any]] = {}
        self.volumes: dict[str, str] = {}

    def host(self, name: str, *, config: dict[str, str] | None = None, **mounts: str) -> None:
        """Want a host with volumes mounted."""
        config = {"limits.memory": "64MiB"} | (config or {})
        self.hosts[name] = {"image": self.image, "config": config, "mounts": mounts}

    def plan(self, **options: Any) -> Plan:
        """Plan what the variables say."""
        return self.terraform.plan(self.variables(), **options)

    def variables(self) -> dict[str, Any]:
        """Return the root's variables."""
        return {
            "cluster": self.name,
            "network": NETWORK,
            "hosts": self.hosts,
            "volumes": self.volumes,
        }

    def apply(self) -> dict[str, Any]:
        """Plan and apply."""
        return self.terraform.apply(self.plan())

    def in_state(self) -> set[str]:
        """Return what Terraform's state holds, named as `named` does."""
        kinds = {"incus_instance": "instance", "incus_storage_volume": "volume"}
        state = json.loads(self.terraform.state_file.read_text())
        return {
            f"{kinds[resource['type']]}/{each['attributes']['name']}"
            for resource in state["resources"]
            for each in resource["instances"]
        }

    def in_incus(self) -> set[str]:
        """Return what Incus has of the cluster."""
        return set(named(f"{self.name}-"))

    def identities(self) -> dict[str, str]:
        """Return what tells an instance from one made anew under the same name."""
        return {
            key: item["config"]["volatile.uuid"]
            for key, item in named(f"{self.name}-").items()
            if key.startswith("instance/")
        }

    def command(self, *arguments: str) -> list[str]:
        """Return a command line of the cluster's own `terraform`, after writing the variables."""
        self.terraform.init()
        variables = self.terraform.directory / "test.tfvars.json"
        variables.write_text(json.dumps(self.variables()))
        verb, *rest = arguments
        program = str(self.terraform.directory / "bin/terraform")
        return [program, verb, f"-var-file={variables}", *rest]


@pytest.fixture(scope="module")
def image(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    config = {
        "ipv4.address": "10.89.7.1/24",
        "ipv4.nat": "false",
        "ipv6.address": "none",
    }
    clean(NETWORK)
    query("/1.0/networks", "POST", {"name": NETWORK, "type": "bridge", "config": config})
    with tiny_image(tmp_path_factory.mktemp("image")) as alias:
        yield alias
    clean(NETWORK)


@pytest.fixture
def world(image: str, tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[World]:
    name = f"tfp-{request.node.name.removeprefix('test_').split('[')[0].replace('_', '-')[:20]}"
    clean(name)
    yield World(name.rstrip("-"), image, tmp_path)
    clean(name)


def test_made_marked_and_stable(world: World) -> None:
    world.volumes = {"homes": "64MiB"}
    for number in range(3):
        world.host(f"h{number}", homes="/mnt")
    addresses = world.apply()["addresses"]
    assert len(set(addresses.values())) == 3
    assert all(address.startswith("10.89.7.") for address in addresses.values())
    made = named(f"{world.name}-")
    assert len(made) == 4
    assert {item["config"][MARK] for item in made.values()} == {world.name}
    exec_in(f"{world.name}-h0", ["/bin/touch", "/mnt/from-h0"])
    assert exec_in(f"{world.name}-h2", ["/bin/ls", "/mnt"]).stdout.split() == ["from-h0"]

    again = world.plan()
    assert not again.has_changes
    assert len(again.noops) == 4

    world.terraform.destroy(world.variables())
    assert world.in_incus() == set()
    assert world.terraform.state_list() == []


def test_drift_and_change_in_place(world: World) -> None:
    world.volumes = {"data": "64MiB", "more": "64MiB"}
    world.host("a", data="/mnt")
    world.host("b")
    world.apply()
    a, b = f"{world.name}-a", f"{world.name}-b"
    before = {name: query(f"/1.0/instances/{name}/state")["pid"] for name in (a, b)}

    # Somebody changes things by hand: Terraform sees it all, and undoes it.
    run(
        ["incus", "config", "set", a, "limits.memory=99MiB", "user.strange=x"],
        timeout=20,
    )
    query(f"/1.0/instances/{b}/state", "PUT", {"action": "stop", "force": True})
    plan = world.plan()
    assert {change.name: change.changed for change in plan.updates} == {
        a: ("config",),
        b: ("running",),
    }
    world.terraform.apply(plan)
    assert instance(a)["config"]["limits.memory"] == "64MiB"
    assert "user.strange" not in instance(a)["config"]
    assert instance(b)["status"] == "Running"
    assert not world.plan().has_changes

    # The configuration changes: in place, with the machine running on.
    world.volumes["data"] = "128MiB"
    world.host("a", config={"limits.memory": "96MiB", "user.note": "n"}, more="/opt")
    plan = world.plan()
    assert {change.name for change in plan.updates} == {a, f"{world.name}-data"}
    assert not plan.replaces
    assert not plan.deletes
    world.terraform.apply(plan)
    assert volume(f"{world.name}-data")["config"]["size"] == "128MiB"
    found = instance(a)
    assert found["config"]["limits.memory"] == "96MiB"
    assert set(found["devices"]) == {"root", "eth0", "more"}
    assert query(f"/1.0/instances/{a}/state")["pid"] == before[a]
    assert not world.plan().has_changes

    # A volume does not shrink, and an instance's image forces a replacement that the gate stops.
    world.volumes["data"] = "64MiB"
    with pytest.raises(TerraformError, match=r"has 128MiB, wanted is 64MiB") as refused:
        world.plan()
    assert refused.value.diagnostics[0].resource == 'incus_storage_volume.v["data"]'
    world.volumes["data"] = "128MiB"
    world.hosts["b"]["image"] = "armillary-other"
    with pytest.raises(TerraformError, match="no image 'armillary-other'"):
        world.plan()
    run(
        ["incus", "image", "alias", "create", "tfp-alias", _fingerprint(world)],
        timeout=20,
    )
    try:
        world.hosts["b"]["image"] = "tfp-alias"
        plan = world.plan()
    finally:
        run(["incus", "image", "alias", "delete", "tfp-alias"], timeout=20)
    assert [change.name for change in plan.replaces] == [b]
    (refusal,) = check_plan(plan, set())
    assert b in refusal
    assert 'image: "tfp-tiny" -> "tfp-alias"' in refusal
    assert check_plan(plan, {'incus_instance.i["b"]'}) == []


def _fingerprint(world: World) -> str:
    return str(query(f"/1.0/images/aliases/{world.image}")["target"])


def test_lost_state_adopts_and_imports(world: World) -> None:
    world.volumes = {"data": "64MiB"}
    world.host("a", data="/mnt")
    world.apply()
    before = world.identities()

    # As after a kill -9 between Incus's work and Terraform's note of it.
    world.terraform.state_file.unlink()
    plan = world.plan()
    assert len(plan.creates) == 2
    world.terraform.apply(plan)
    assert world.identities() == before
    assert not world.plan().has_changes

    program = str(world.terraform.directory / "bin/terraform")
    run(
        [program, "state", "rm", "incus_instance.i", "incus_storage_volume.v"],
        timeout=60,
        cwd=world.root,
    )
    for address, name in (
        ('incus_storage_volume.v["data"]', f"{POOL}/{world.name}-data"),
        ('incus_instance.i["a"]', f"{world.name}-a"),
    ):
        run([*world.command("import"), address, name], timeout=60, cwd=world.root)
    # Nothing in Incus changes; Terraform only learns the image's alias, and what to wait for.
    plan = world.plan()
    assert not plan.creates
    assert not plan.replaces
    world.terraform.apply(plan)
    assert world.identities() == before
    assert not world.plan().has_changes

    # What it would adopt must agree.
    world.terraform.state_file.unlink()
    world.volumes["data"] = "32MiB"
    with pytest.raises(TerraformError, match=r"size 64MiB.*wanted .*size 32MiB") as refused:
        world.apply()
    assert f"{POOL}/{world.name}-data" in str(refused.value)
    assert volume(f"{world.name}-data")["config"]["size"] == "64MiB"


@pytest.mark.parametrize("mark", [None, "another"])
def test_foreign_is_untouched(world: World, mark: str | None) -> None:
    name = f"{world.name}-a"
    config = {} if mark is None else {MARK: mark}
    source = {"type": "image", "alias": world.image}
    devices = {"root": {"type": "disk", "path": "/", "pool": POOL}}
    body = {
        "name": name,
        "source": source,
        "profiles": [],
        "config": config,
        "devices": devices,
    }
    query("/1.0/instances", "POST", body)
    before = instance(name)
    world.host("a")
    with pytest.raises(TerraformError, match=f"instance {name} exists already") as refused:
        world.plan()
    assert (f"cluster {mark!r}" if mark else f"has no {MARK}") in str(refused.value)
    assert refused.value.diagnostics[0].resource == 'incus_instance.i["a"]'
    importing = [*world.command("import"), 'incus_instance.i["a"]', name]
    assert run(importing, timeout=60, cwd=world.root, check=False).returncode == 1
    assert instance(name) == before


def test_destroy_spares_what_lost_its_mark(world: World) -> None:
    for name in ("kept", "gone", "plain"):
        world.host(name)
    world.apply()
    run(["incus", "config", "unset", f"{world.name}-kept", MARK], timeout=20)
    run(["incus", "delete", "--force", f"{world.name}-gone"], timeout=60)
    world.terraform.destroy(world.variables())
    assert world.in_incus() == {f"instance/{world.name}-kept"}
    assert instance(f"{world.name}-kept")["status"] == "Running"


def test_failed_start_is_made_anew(world: World) -> None:
    world.host("good")
    world.host("bad", config={"raw.lxc": "lxc.init.cmd=/no/such/program"})
    with pytest.raises(TerraformError) as failed:
        world.apply()
    (diagnostic,) = failed.value.diagnostics
    assert diagnostic.resource == 'incus_instance.i["bad"]'
    assert f"instance {world.name}-bad" in diagnostic.summary
    # What the failed create left is known to Terraform, so that it cannot be forgotten.
    assert world.in_state() == world.in_incus()
    before = world.identities()

    world.host("bad")
    plan = world.plan()
    assert [(change.name, change.tainted) for change in plan.replaces] == [
        (f"{world.name}-bad", True)
    ]
    assert check_plan(plan, set()) == []
    world.terraform.apply(plan)
    after = world.identities()
    assert after[f"instance/{world.name}-good"] == before[f"instance/{world.name}-good"]
    assert after.keys() == before.keys()
    assert not world.plan().has_changes


def test_mistakes_are_named(image: str, tmp_path: Path) -> None:
    root = tmp_path / "root"
    root.mkdir()
    mistakes = {
        "two devices named 'd'": """
            name = "tfp-a"
            image = "i"
            device {
              name = "d"
              type = "disk"
              properties = { path = "/" }
            }
            device {
              name = "d"
              type = "nic"
              properties = {}
            }""",
        "'tfp_!' is no name": 'name = "tfp_!"\nimage = "i"',
        "container or virtual-machine": 'name = "tfp-a"\nimage = "i"\ntype = "pod"',
        "'volatile.x' is set by": 'name = "tfp-a"\nimage = "i"\nconfig = { "volatile.x" = "1" }',
        f"'{MARK}' is set by": f'name = "tfp-a"\nimage = "i"\nconfig = {{ "{MARK}" = "1" }}',
        "'limits.cpu' has no value": 'name = "a"\nimage = "i"\nconfig = { "limits.cpu" = null }',
        "only type ipv4": 'name = "tfp-a"\nimage = "i"\nwait_for { type = "agent" }',
    }
    blocks = [
        f'resource "incus_instance" "m{n}" {{\n{body}\n}}'
        for n, body in enumerate(mistakes.values())
    ]
    blocks.append(
        'resource "incus_storage_volume" "v" {\nname = "tfp-v"\npool = "p"\n'
        'config = { size = "20 apples" }\n}'
    )
    (root / "versions.tf").write_text(
        VERSIONS + 'provider "incus" { cluster = "tfp-x" }\n' + "\n".join(blocks)
    )
    with pytest.raises(TerraformError) as refused:
        Terraform(root, tmp_path / "state").validate()
    said = {diagnostic.resource: str(diagnostic) for diagnostic in refused.value.diagnostics}
    for number, expected in enumerate(mistakes):
        assert expected in said[f"incus_instance.m{number}"]
    assert "'20 apples' is no size" in said["incus_storage_volume.v"]
    assert len(said) == len(mistakes) + 1


def test_no_daemon_is_said(world: World) -> None:
    provider = 'provider "incus" {\n cluster = var.cluster\n address = "/nowhere.socket"\n}'
    text = ROOT.replace('provider "incus" { cluster = var.cluster }', provider)
    (world.root / "versions.tf").write_text(text)
    world.host("a")
    with pytest.raises(TerraformError, match=r"does not answer on /nowhere\.socket"):
        world.plan()


@contextmanager
def _unfinished(world: World, hosts: int) -> Iterator[list[str]]:
    """Have hosts whose creation cannot end, two at a time, and the command that makes them.

    No address is given out while this lasts, and every creation waits for one: whenever the blow
    falls, two are under way and the others have not begun.
    """
    world.volumes = {"data": "64MiB"}
    for number in range(hosts):
        world.host(f"h{number}", data="/mnt")
    network = f"/1.0/networks/{NETWORK}"
    query(network, "PATCH", {"config": {"ipv4.dhcp": "false"}})
    try:
        yield world.command("apply", "-auto-approve", "-input=false", "-parallelism=2")
    finally:
        until(lambda: _gives_addresses(network), "Incus gives out addresses again", 30)


def _gives_addresses(network: str) -> bool:
    """Have addresses given out again; Incus fails when a host goes while it looks at the host's link."""
    try:
        query(network, "PATCH", {"config": {"ipv4.dhcp": "true"}})
    except CommandError as error:
        if "does not exist" not in error.completed.stderr:
            raise
        return False
    return True


def _wait_midway(world: World) -> None:
    """Wait until the first instance is there, at best with Incus still at work on it."""
    incus = Incus()
    until(
        lambda: any(f"/{world.name}-h" in url for url in incus.list("/1.0/instances")),
        "an instance is being made",
        60,
        pause=0.02,
    )


def _wait_two(world: World) -> None:
    """Wait until both creations under way have been told that they are running."""
    incus = Incus()
    until(
        lambda: (
            sum(
                each["status"] == "Running" and each["name"].startswith(f"{world.name}-h")
                for each in incus.list("/1.0/instances?recursion=1")
            )
            == 2
        ),
        "two instances run",
        60,
        pause=0.02,
    )


def _completes(world: World, hosts: int, before: dict[str, str]) -> None:
    """The next run ends as an undisturbed one would: nothing lost, doubled, or made anew."""
    world.apply()
    assert len(world.in_incus()) == hosts + 1
    assert world.in_state() == world.in_incus()
    after = world.identities()
    assert {key: after[key] for key in before} == before
    assert {instance(key.split("/")[1])["status"] for key in after} == {"Running"}
    assert not world.plan().has_changes


def test_interrupt_midway(world: World) -> None:
    hosts = 4
    with _unfinished(world, hosts) as command:
        with group(command, world.root) as terraform:
            _wait_two(world)
            os.killpg(terraform.pid, signal.SIGINT)
            out, _ = terraform.communicate(timeout=60)
            assert terraform.returncode == 1
            assert "Interrupt received" in out
        made = world.in_incus()
        assert len(made) == 3
        assert world.in_state() == made
    _completes(world, hosts, world.identities())


def test_provider_killed_midway(world: World) -> None:
    hosts = 4
    with _unfinished(world, hosts) as command:
        with group(command, world.root) as terraform:
            _wait_midway(world)
            for process in providers(terraform.pid):
                os.kill(process, signal.SIGKILL)
            terraform.communicate(timeout=60)
            assert terraform.returncode == 1
        assert len(world.in_incus()) <= 3
        assert world.in_incus() - world.in_state(), "nothing was left for the next run to adopt"
    _completes(world, hosts, {})


def test_terraform_killed_midway(world: World) -> None:
    hosts = 4
    with _unfinished(world, hosts) as command, group(command, world.root) as terraform:
        _wait_midway(world)
        assert providers(terraform.pid)
        os.kill(terraform.pid, signal.SIGKILL)
        terraform.wait(10)
        until(lambda: not providers(terraform.pid), "the provider notices and ends", 5, pause=0.02)
    _completes(world, hosts, {})
    assert any(
        event.kind == "note" and "an earlier run was killed (Apply of 20" in event
        for event in world.events
    )


def test_caller_killed_midway(world: World) -> None:
    hosts = 4
    with _unfinished(world, hosts) as command:
        with group(["/bin/sh", "-c", f"{shlex.join(command)}; true"], world.root) as shell:
            _wait_two(world)
            shell.kill()
            # Terraform stops by itself, in good order: all that was made is in the state.
            until(lambda: not providers(shell.pid), "Terraform notices and ends", 30, pause=0.02)
        made = world.in_incus()
        assert len(made) == 3
        assert world.in_state() == made
    _completes(world, hosts, world.identities())
