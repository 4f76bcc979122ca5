"""The roots of the cloud `openstack`, on a provider that knows the official one's schema. No cloud.

What is made here is files (tests/support/facts_provider.py); Terraform, the roots, the wrapper and
the gate are the real ones.
"""

from __future__ import annotations

import copy
import json
import shutil
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytest
import yaml
from support.samples import with_kafka
from support.servers import lacking_provider

from armillary.gate import check_plan
from armillary.models.quota import DEFAULT_RULES, DHCP_PORTS, quota_needed
from armillary.paths import ClusterPaths
from armillary.tools.process import run
from armillary.tools.terraform import Terraform, TerraformError
from tests.support.openstack import FACTS, KEY, ROOTS, World, provider, used

INSTANCE = "openstack_compute_instance_v2"
VOLUME = "openstack_blockstorage_volume_v3"
PORT = "openstack_networking_port_v2"
RULE = "openstack_networking_secgroup_rule_v2"

BROKERS = ("kafka-1", "kafka-2", "kafka-3")

Edit = Callable[[dict[str, Any]], object]


def host(name: str) -> str:
    """Return Terraform's address of a host."""
    return f'{INSTANCE}.host["{name}"]'


def _with_objects(world: World) -> None:
    archive = {"quota": "2GiB", "write": ["alerts"], "read": ["spark"]}
    world.raw["openstack"]["s3"] = True
    world.raw["components"]["object_store"] = {"containers": {"archive": archive}}


@pytest.fixture
def world(tmp_path: Path) -> World:
    return World(tmp_path)


@pytest.fixture(scope="module")
def applied(tmp_path_factory: pytest.TempPathFactory) -> World:
    """A cluster of the sample with containers, applied once; tests work on copies of it."""
    made = World(tmp_path_factory.mktemp("applied"))
    _with_objects(made)
    made.up()
    return made


@pytest.fixture
def planned(applied: World) -> Iterator[World]:
    """The applied cluster, for a test to edit its cluster.yml and plan, nothing more."""
    raw, more = copy.deepcopy(applied.raw), applied.more
    yield applied
    applied.raw, applied.more = raw, more


@pytest.fixture
def running(applied: World, tmp_path: Path) -> World:
    """A copy of the applied cluster, for a test to do with as it likes."""
    directory = tmp_path / "copy"
    # Terraform's own directory holds the path of the state it was made for.
    kept = shutil.ignore_patterns("data", "bin", "mirror", "root", "initialised", "plan")
    shutil.copytree(applied.directory / "cloud", directory / "cloud")
    for root in ("data", "compute"):
        shutil.copytree(applied.roots[root].directory, directory / "state" / root, ignore=kept)
    shutil.copy(ClusterPaths(applied.directory).cluster_id, directory)
    found = World(directory)
    _with_objects(found)
    return found


# --- the facts --------------------------------------------------------------------------------


def test_facts_are_those_of_what_the_roots_use() -> None:
    facts = json.loads(FACTS.read_text())
    for kind, names in used().items():
        assert set(facts[kind]) == names, (
            "tests/support/openstack.py says how to make the file anew"
        )
    assert facts["licence_of_the_provider"] == "MPL-2.0"


@pytest.mark.parametrize(
    ("path", "said"),
    [
        (("resources", PORT), f'does not support resource type "{PORT}"'),
        (("data_sources", "openstack_images_image_ids_v2"), "does not support data source"),
        (("resources", PORT, "attributes", "fixed_ip"), "does not expect an argument"),
        (("resources", VOLUME, "attributes", "enable_online_resize"), "enable_online_resize"),
    ],
    ids=lambda value: value[-1] if isinstance(value, tuple) else "",
)
def test_roots_that_use_what_the_facts_lack_are_not_valid(
    tmp_path: Path, path: tuple[str, ...], said: str
) -> None:
    facts = json.loads(FACTS.read_text())
    part = facts
    for step in path[:-1]:
        part = part[step]
    part.pop(path[-1], None)
    if path[-1] == "fixed_ip":
        del facts["resources"][PORT]["block_types"]["fixed_ip"]
        said = "fixed_ip"
    poorer = tmp_path / "facts.json"
    poorer.write_text(json.dumps(facts))
    root = "data" if VOLUME in path else "compute"
    with pytest.raises(TerraformError, match=said):
        Terraform(
            ROOTS / root, tmp_path / "state", providers=[provider(poorer, tmp_path)]
        ).validate()


# --- what is made -----------------------------------------------------------------------------


def test_output_is_what_every_cloud_gives_and_more(applied: World) -> None:
    output = applied.roots["compute"].outputs()["cluster"]
    homes, registry = (
        applied.one(VOLUME, f"science-{x}") for x in ("homes", "services-1-registry")
    )
    services, worker = output["hosts"]["services-1"], output["hosts"]["worker-1"]
    assert worker | {"instance_id": "", "zone": ""} == {
        "role": "worker",
        "address": "10.77.0.30",
        "access_address": "10.77.0.30",
        "floating_ip": None,
        "instance_name": "science-worker-1",
        "instance_id": "",
        "zone": "",
        "volumes": {
            "data": {
                "mount": "/var/lib/armillary/data",
                "kind": "block",
                "serial": applied.one(VOLUME, "science-worker-1-data")["id"],
                "server": None,
                "export": None,
            },
            "homes": {
                "mount": "/srv/shared",
                "kind": "nfs",
                "serial": None,
                "server": "10.77.0.10",
                "export": "/var/lib/armillary/exports/homes",
            },
        },
    }
    assert {key: volume["serial"] for key, volume in services["volumes"].items()} == {
        "registry": registry["id"],
        "homes": homes["id"],
    }
    assert services["volumes"]["homes"]["mount"] == "/var/lib/armillary/exports/homes"
    assert services["access_address"] == services["floating_ip"] == output["bastion"]["address"]
    assert output["entry"] == {"address": "10.77.0.10", "floating_ip": services["floating_ip"]}
    assert output["network"] == {
        "name": "science-net",
        "hosts": "10.77.0.0/24",
        "gateway": "10.77.0.1",
        "domain": "science.armillary.internal",
        "mtu": 1450,
    }


def test_every_object_bears_the_cluster_s_id(applied: World) -> None:
    # Associations and attachments are parts of others; Keystone's EC2 credentials bear nothing.
    without = {
        "openstack_compute_volume_attach_v2",
        "openstack_identity_ec2_credential_v3",
        "openstack_networking_floatingip_associate_v2",
        "openstack_networking_router_interface_v2",
    }
    bare = [
        kind
        for kind, each in applied.made()
        if applied.id
        not in json.dumps([each.get(key) for key in ("name", "tags", "metadata", "description")])
    ]
    assert set(bare) <= without


def test_each_volume_is_attached_once_and_shared_ones_to_the_services_host(applied: World) -> None:
    instances = {each["id"]: each["name"] for each in applied.cloud.all(INSTANCE)}
    volumes = {each["id"]: each["name"] for each in applied.cloud.all(VOLUME)}
    attached = [
        (volumes[each["volume_id"]], instances[each["instance_id"]])
        for each in applied.cloud.all("openstack_compute_volume_attach_v2")
    ]
    assert sorted(attached) == [
        ("science-homes", "science-services-1"),
        ("science-services-1-registry", "science-services-1"),
        ("science-worker-1-data", "science-worker-1"),
        ("science-worker-2-data", "science-worker-2"),
    ]


def open_ports(world: World, source: str) -> set[tuple[str, int]]:
    """Return the groups and ports that rules by range open to `source`."""
    groups = {
        each["id"]: each["name"] for each in world.cloud.all("openstack_networking_secgroup_v2")
    }
    return {
        (groups[rule["security_group_id"]], rule["port_range_min"])
        for rule in world.cloud.all(RULE)
        if rule["remote_ip_prefix"] == source
    }


def test_from_outside_five_ports_of_one_host_are_open(applied: World) -> None:
    assert open_ports(applied, "0.0.0.0/0") == {
        ("science-services", port) for port in (22, 80, 443, 5000, 7443)
    }
    rules = applied.cloud.all(RULE)
    assert {rule["direction"] for rule in rules} == {"ingress"}
    # By address are the world, and pods, which no group has for members; all else goes by role.
    ranges = {rule["remote_ip_prefix"] for rule in rules if not rule["remote_group_id"]}
    assert ranges == {"0.0.0.0/0", "10.244.0.0/16"}


def test_brokers_are_open_to_each_other_and_to_kubernetes_alone(world: World) -> None:
    _kafka(world.raw)
    world.up()
    groups = {
        each["id"]: each["name"] for each in world.cloud.all("openstack_networking_secgroup_v2")
    }
    found = {
        (rule["port_range_min"], rule["port_range_max"], groups[rule["remote_group_id"]])
        for rule in world.cloud.all(RULE)
        if groups[rule["security_group_id"]] == "science-kafka"
    }
    assert found == {
        (9091, 9093, "science-kafka"),
        (9092, 9092, "science-kubernetes"),
        (9404, 9404, "science-kubernetes"),
    }
    port = world.one(PORT, "science-kafka-1")
    assert {groups[each] for each in port["security_group_ids"]} == {
        "science-hosts",
        "science-kafka",
    }
    # As a host of Kubernetes, pods would pass.
    assert port["allowed_address_pairs"] == []


def test_without_kafka_nothing_of_it_is_made(world: World) -> None:
    made = {change.address for change in world.plan().creates}
    assert made
    assert not [address for address in made if "kafka" in address]


def test_ports_have_the_slots_addresses_and_pods_may_pass(applied: World) -> None:
    ports = {each["name"]: each for each in applied.cloud.all(PORT)}
    pairs = {
        name: [pair["ip_address"] for pair in port["allowed_address_pairs"]]
        for name, port in ports.items()
    }
    assert pairs == {
        "science-services-1": [],
        "science-control-1": ["10.244.0.0/16"],
        "science-worker-1": ["10.244.0.0/16"],
        "science-worker-2": ["10.244.0.0/16"],
    }
    assert ports["science-worker-2"]["fixed_ip"][0]["ip_address"] == "10.77.0.31"
    # Nothing that takes any address takes a host's.
    (subnet,) = applied.cloud.all("openstack_networking_subnet_v2")
    assert subnet["allocation_pool"] == [{"start": "10.77.0.2", "end": "10.77.0.9"}]


def test_hosts_know_their_user_and_no_key_of_theirs_is_told(applied: World) -> None:
    text = applied.one(INSTANCE, "science-control-1")["user_data"]
    assert text.startswith("#cloud-config\n")
    data = yaml.safe_load(text)
    (user,) = data["users"]
    assert (user["name"], user["uid"], user["primary_group"]) == ("armillary", 990, "users")
    assert user["ssh_authorized_keys"] == [KEY]
    # Made by the host itself and printed on its console, which cloud-init does by default.
    assert "ssh_keys" not in data
    assert "no_ssh_fingerprints" not in data
    assert data["ssh_genkeytypes"] == ["ed25519"]


def test_credentials_open_the_containers_alone_and_are_told_nobody(applied: World) -> None:
    (credential,) = applied.cloud.all("openstack_identity_application_credential_v3")
    assert credential["unrestricted"] is False
    assert {rule["service"] for rule in credential["access_rules"]} == {"object-store"}
    assert {rule["path"] for rule in credential["access_rules"]} == {
        "/v1/AUTH_project-1/science-archive",
        "/v1/AUTH_project-1/science-archive/**",
    }
    outputs = applied.roots["data"].outputs()
    assert outputs["containers"] == {"archive": "science-archive"}
    for name in ("science-archive", "science-archive+segments"):
        made = applied.one("openstack_objectstorage_container_v1", name)
        assert made["metadata"]["quota-bytes"] == str(2 * 2**30)
    # A container that holds something is not deleted.
    assert (
        applied.one("openstack_objectstorage_container_v1", "science-archive")["force_destroy"]
        is False
    )
    secret = credential["secret"]
    assert outputs["credentials"]["application_credential"]["secret"] == secret
    keys = {
        each["access"]: each for each in applied.cloud.all("openstack_identity_ec2_credential_v3")
    }
    given = outputs["credentials"]["s3"]
    assert given.keys() == {"alerts", "spark"}
    assert {each["access"] for each in given.values()} == keys.keys()
    for told in (secret, *(each["secret"] for each in keys.values())):
        assert not [event for event in applied.events if told in event]


# --- again, and changes -----------------------------------------------------------------------


def test_second_plan_changes_nothing_and_the_checkout_is_left_alone(planned: World) -> None:
    before = {path: path.stat().st_mtime_ns for path in ROOTS.rglob("*")}
    assert {path.suffix for path in before} == {"", ".tf"}
    assert not planned.plan("data").has_changes
    assert not planned.plan().has_changes
    assert {path: path.stat().st_mtime_ns for path in ROOTS.rglob("*")} == before
    for terraform in planned.roots.values():
        assert terraform.directory.stat().st_mode & 0o777 == 0o700
        assert terraform.state_file.stat().st_mode & 0o077 == 0


def test_the_same_terraform_can_be_used_by_hand(planned: World) -> None:
    terraform = planned.roots["compute"]
    program = str(terraform.directory / "bin" / "terraform")
    shown = run([program, "state", "list"], timeout=60, cwd=terraform.root).stdout.splitlines()
    assert shown == terraform.state_list()
    assert host("worker-1") in shown
    assert "valid" in run([program, "validate"], timeout=60, cwd=terraform.root).stdout


def test_drift_is_seen_and_mended(running: World) -> None:
    port = running.one(PORT, "science-worker-1")
    running.cloud.put(PORT, port | {"security_group_ids": []})
    instance = running.one(INSTANCE, "science-worker-2")
    running.cloud.remove(INSTANCE, instance["id"])
    (rule,) = [each for each in running.cloud.all(RULE) if each["port_range_min"] == 2049]
    running.cloud.remove(RULE, rule["id"])
    plan = running.plan()
    assert [change.name for change in plan.updates] == ["science-worker-1"]
    assert plan.updates[0].changed == ("security_group_ids",)
    assert {change.address for change in plan.creates} == {
        host("worker-2"),
        f'{RULE}.this["services-nfs-from-kubernetes"]',
    }
    assert check_plan(plan, set()) == []
    running.roots["compute"].apply(plan)
    assert not running.plan().has_changes


def test_a_worker_more_touches_nothing_else(planned: World) -> None:
    planned.raw["hosts"]["worker"]["count"] = 3
    data = planned.plan("data")
    assert [change.name for change in data.creates] == ["science-worker-3-data"]
    plan = planned.plan()
    assert {change.kind for change in plan.creates} == {
        INSTANCE,
        PORT,
        "openstack_compute_volume_attach_v2",
        "terraform_data",
    }
    assert (plan.updates, plan.replaces, plan.deletes) == ((), (), ())


def test_control_planes_from_one_to_three_leave_the_first_alone(planned: World) -> None:
    planned.raw["hosts"]["control"]["count"] = 3
    plan = planned.plan()
    assert (plan.updates, plan.replaces, plan.deletes) == ((), (), ())
    assert {change.name for change in plan.creates if change.kind == INSTANCE} == {
        "science-control-2",
        "science-control-3",
    }


def test_volumes_grow_in_place(planned: World) -> None:
    planned.raw["shared"]["homes"]["size"] = "300GiB"
    plan = planned.plan("data")
    assert [(change.name, change.changed) for change in plan.updates] == [
        ("science-homes", ("size",))
    ]
    assert check_plan(plan, set()) == []


def test_zone_of_volumes_makes_none_anew(planned: World) -> None:
    planned.raw["openstack"]["volume_availability_zone"] = "az2"
    assert not planned.plan("data").has_changes


@pytest.mark.parametrize(
    ("edit", "said"),
    [
        (
            lambda raw: raw["openstack"].update(image="debian-13"),
            'made anew, because of image: "debian-12" -> "debian-13"',
        ),
        (
            lambda raw: raw["openstack"].update(boot_volume={"type": "ssd"}),
            'made anew, because of boot_volume: "" -> "ssd"',
        ),
        (
            lambda raw: raw["openstack"].update(availability_zone="az2"),
            "made anew, because of availability_zone",
        ),
        (
            lambda raw: raw["hosts"]["worker"].update(availability_zones=["az1", "az2"]),
            "made anew, because of availability_zone",
        ),
        (
            lambda raw: raw["hosts"]["worker"].update(boot_volume={}),
            'made anew, because of boot_volume: "" -> "default"',
        ),
        (
            lambda raw: raw["flavors"]["worker"].update(name="m1.xlarge"),
            "would be stopped to change its flavor_name",
        ),
        (
            lambda raw: raw["hosts"]["worker"].update(count=1),
            "would be deleted, which nobody asked",
        ),
    ],
    ids=[
        "image",
        "boot-volume",
        "zone",
        "zone-of-group",
        "boot-volume-of-group",
        "flavor",
        "host-gone",
    ],
)
def test_gate_refuses_what_hosts_would_not_survive(planned: World, edit: Edit, said: str) -> None:
    planned.cloud.put("openstack_images_image_v2", {"id": "image-13-1", "name": "debian-13"})
    edit(planned.raw)
    plan = planned.plan()
    refusals = check_plan(plan, set())
    assert [refusal for refusal in refusals if "science-worker-2" in refusal and said in refusal]
    asked = {host(f"{name}-1") for name in ("services", "control", "worker")} | {host("worker-2")}
    assert check_plan(plan, asked) == []


def test_gate_refuses_to_lose_data(planned: World) -> None:
    planned.raw["hosts"]["worker"]["count"] = 1
    planned.raw["openstack"]["s3"] = False
    planned.raw["components"] = {
        name: part for name, part in planned.raw["components"].items() if name != "object_store"
    }
    refusals = check_plan(planned.plan("data"), set())
    assert any("The volume science-worker-2-data would be deleted" in each for each in refusals)
    assert any("The container science-archive would be deleted" in each for each in refusals)


def test_hosts_stay_when_image_or_user_data_are_new_and_get_them_when_asked(running: World) -> None:
    """The cloud has another image of the same name, and this release other user data."""
    running.cloud.remove("openstack_images_image_v2", "image-1")
    running.cloud.put("openstack_images_image_v2", {"id": "newer-1", "name": "debian-12"})
    running.more["ssh_public_key"] = KEY.replace("IJ", "XY")
    assert not running.plan().has_changes

    plan = running.plan(replace=[host("worker-1")])
    assert [change.address for change in plan.replaces if change.kind == INSTANCE] == [
        host("worker-1")
    ]
    assert check_plan(plan, set())
    assert check_plan(plan, {host("worker-1")}) == []
    before = running.one(INSTANCE, "science-worker-1")
    running.roots["compute"].apply(plan)
    after = running.one(INSTANCE, "science-worker-1")
    assert after["id"] != before["id"]
    assert after["image_id"] == "newer-1"
    assert "XY armillary" in after["user_data"]
    assert not running.plan().has_changes


def test_hosts_stay_when_the_cloud_takes_their_image_away(running: World) -> None:
    running.cloud.remove("openstack_images_image_v2", "image-1")
    assert not running.plan().has_changes
    (warning,) = [event for event in running.events if event.kind == "warning"]
    assert "The cloud has no image debian-12. Hosts that are there stay as they are" in warning


def test_down_leaves_data_and_what_was_there_before(running: World) -> None:
    neighbour = {"id": "neighbour-1", "name": "science-worker-1", "tags": []}
    running.cloud.put(INSTANCE, neighbour)
    # cluster.yml has been edited into nonsense meanwhile.
    running.raw["openstack"]["floating_ips"] = {"services-1": "198.51.100.1"}
    running.roots["compute"].destroy(running.variables("compute"))
    assert running.roots["compute"].state_list() == []
    assert {kind for kind, _ in running.made()} == {
        VOLUME,
        "openstack_identity_application_credential_v3",
        "openstack_identity_ec2_credential_v3",
        "openstack_objectstorage_container_v1",
    }
    running.roots["data"].destroy(running.variables("data"))
    assert running.made() == []
    assert running.cloud.all(INSTANCE) == [neighbour]


# --- choices ----------------------------------------------------------------------------------


def _own_network(raw: dict[str, Any]) -> None:
    raw["openstack"]["network"] = {"name": "there", "subnet": "there-subnet"}
    raw["network"]["backend"] = "vxlan"
    raw["openstack"]["floating_ips"] = {"services-1": "198.51.100.7", "worker-1": "new"}


def _kafka(raw: dict[str, Any]) -> None:
    there = with_kafka("openstack")
    raw["flavors"], raw["hosts"] = there["flavors"], there["hosts"]
    raw["components"]["kafka"] = there["components"]["kafka"]


def _everything(raw: dict[str, Any]) -> None:
    _kafka(raw)
    raw["hosts"]["control"]["count"] = 3
    raw["hosts"]["kafka"]["availability_zones"] = ["a", "b"]
    raw["openstack"] |= {
        "boot_volume": {"type": "ssd"},
        "load_balancer": "octavia",
        "access": "direct",
        "allow_from": ["192.0.2.0/24", "198.51.100.0/24"],
        "dns_servers": ["192.0.2.53"],
        "server_group_policy": "anti-affinity",
        "s3": True,
        "floating_ips": {"services-1": "new", **dict.fromkeys(BROKERS, "new")},
    }
    raw["backup"] = {"container": "backup"}
    raw["components"]["object_store"] = {
        "containers": {"archive": {"quota": "1TiB", "write": ["alerts"]}, "alerts": {}}
    }


def _exists(world: World, cidr: str) -> None:
    network = {"id": "there-1", "name": "there", "external": False, "mtu": 8950}
    world.cloud.put("openstack_networking_network_v2", network)
    subnet = {"id": "sub-1", "name": "there-subnet", "cidr": cidr, "gateway_ip": "10.77.0.254"}
    world.cloud.put("openstack_networking_subnet_v2", subnet | {"network_id": "there-1"})


def _unlike_groups(raw: dict[str, Any]) -> None:
    """Control planes in three zones, and workers that start from volumes of another image."""
    raw["hosts"]["control"] |= {"count": 3, "availability_zones": ["az1", "az2", "az3"]}
    raw["hosts"]["worker"] |= {
        "image": "debian-13",
        "availability_zones": ["az2"],
        "boot_volume": {"type": "ssd"},
    }


@pytest.mark.parametrize(
    "edit", [lambda raw: None, _own_network, _kafka, _everything, _unlike_groups]
)
def test_what_is_planned_is_the_quota_that_is_computed(world: World, edit: Edit) -> None:
    edit(world.raw)
    _exists(world, "10.77.0.0/24")
    count: Counter[str] = Counter()
    for root in ("data", "compute"):
        count.update(change.kind for change in world.plan(root).creates)
    needed = asdict(quota_needed(world.cluster))
    planned = {
        "instances": count[INSTANCE],
        "server_groups": count["openstack_compute_servergroup_v2"],
        "volumes": count[VOLUME]
        + sum(host.boot_volume is not None for host in world.cluster.expanded_hosts()),
        "networks": count["openstack_networking_network_v2"],
        "subnets": count["openstack_networking_subnet_v2"],
        "routers": count["openstack_networking_router_v2"],
        "ports": count[PORT]
        + count["openstack_networking_router_interface_v2"] * (1 + DHCP_PORTS)
        + count["openstack_lb_loadbalancer_v2"],
        "floating_ips": count["openstack_networking_floatingip_v2"],
        "security_groups": count["openstack_networking_secgroup_v2"],
        "security_group_rules": count[RULE]
        + DEFAULT_RULES * count["openstack_networking_secgroup_v2"],
        "load_balancers": count["openstack_lb_loadbalancer_v2"],
        "listeners": count["openstack_lb_listener_v2"],
        "pools": count["openstack_lb_pool_v2"],
        "health_monitors": count["openstack_lb_monitor_v2"],
        "containers": count["openstack_objectstorage_container_v1"],
    }
    assert planned == {name: needed[name] for name in planned}


def test_existing_network_given_floating_ip_and_tunnels(world: World) -> None:
    _own_network(world.raw)
    _exists(world, "10.77.0.0/24")
    output = world.up()
    assert output["network"]["gateway"] == "10.77.0.254"
    assert output["network"]["mtu"] == 8950
    assert output["bastion"] == {"host": "services-1", "address": "198.51.100.7"}
    # The bastion is the way to all others, whatever address they have.
    assert output["hosts"]["worker-1"]["access_address"] == "10.77.0.30"
    assert output["hosts"]["worker-1"]["floating_ip"].startswith("198.51.100.")
    assert not world.cloud.all("openstack_networking_router_v2")
    assert {len(port["allowed_address_pairs"]) for port in world.cloud.all(PORT)} == {0}
    assert open_ports(world, "10.244.0.0/16") == set()
    (tunnel,) = [rule for rule in world.cloud.all(RULE) if rule["protocol"] == "udp"]
    assert tunnel["port_range_min"] == 8472


def test_groups_of_hosts_have_zones_images_and_disks_of_their_own(world: World) -> None:
    _unlike_groups(world.raw)
    world.raw["openstack"]["availability_zone"] = "az9"
    world.cloud.put("openstack_images_image_v2", {"id": "image-13-1", "name": "debian-13"})
    world.up()
    servers = {each["name"]: each for each in world.cloud.all(INSTANCE)}
    assert {name: each["availability_zone"] for name, each in servers.items()} == {
        "science-services-1": "az9",
        **{f"science-control-{number}": f"az{number}" for number in (1, 2, 3)},
        **{f"science-worker-{number}": "az2" for number in (1, 2)},
    }
    assert servers["science-control-1"]["image_id"] == "image-1"
    assert servers["science-control-1"]["block_device"] == []
    (disk,) = servers["science-worker-1"]["block_device"]
    assert (disk["uuid"], disk["volume_type"], disk["volume_size"]) == ("image-13-1", "ssd", 20)
    assert not world.plan().has_changes


def test_all_choices_at_once(world: World) -> None:
    _everything(world.raw)
    output = world.up()
    assert output["bastion"] is None
    (balancer,) = world.cloud.all("openstack_lb_loadbalancer_v2")
    assert output["entry"]["address"] == balancer["vip_address"]
    for source in ("192.0.2.0/24", "198.51.100.0/24"):
        assert open_ports(world, source) == {
            ("science-services", 22),
            ("science-services", 5000),
            ("science-hosts", 22),
            ("science-kafka", 9094),
        }
    assert open_ports(world, "10.77.0.0/24") == {
        ("science-worker", 8080),
        ("science-worker", 8443),
        ("science-control_plane", 6443),
    }
    members = {
        (member["address"], member["protocol_port"])
        for each in world.cloud.all("openstack_lb_members_v2")
        for member in each["member"]
    }
    assert members == {
        *((f"10.77.0.{slot}", 6443) for slot in (20, 21, 22)),
        *((f"10.77.0.{slot}", port) for slot in (30, 31) for port in (8080, 8443)),
    }
    listeners = world.cloud.all("openstack_lb_listener_v2")
    assert {each["protocol_port"] for each in listeners} == {80, 443, 7443}
    control = world.one(INSTANCE, "science-control-3")
    assert control["image_id"] != "image-1"
    (disk,) = control["block_device"]
    assert (disk["uuid"], disk["volume_size"], disk["volume_type"]) == ("image-1", 20, "ssd")
    assert disk["delete_on_termination"] is True
    groups = {
        each["name"].removesuffix(f"-{world.id}"): each
        for each in world.cloud.all("openstack_compute_servergroup_v2")
    }
    assert [group["policies"] for group in groups.values()] == [["anti-affinity"]] * 2
    brokers = [world.one(INSTANCE, f"science-{name}") for name in BROKERS]
    for instance, name in ((control, "control-plane"), *((each, "kafka") for each in brokers)):
        hints = [hint["group"] for hint in instance["scheduler_hints"]]
        assert hints == [groups[f"science-{name}"]["id"]]
    assert world.one(INSTANCE, "science-worker-1")["scheduler_hints"] == []
    # What Kafka calls racks.
    assert [output["hosts"][name]["zone"] for name in BROKERS] == ["a", "b", "a"]
    assert not world.plan().has_changes


# --- mistakes ---------------------------------------------------------------------------------


def _refused(world: World, *expected: str, root: str = "compute") -> None:
    with pytest.raises(TerraformError) as refused:
        world.plan(root)
    said = " ".join(str(refused.value).split())
    assert [message for message in expected if message not in said] == []


def test_subnet_of_another_range_is_named(world: World) -> None:
    _own_network(world.raw)
    _exists(world, "10.99.0.0/24")
    _refused(world, "The subnet there-subnet is 10.99.0.0/24; write that as network.hosts")


def test_what_the_project_lacks_is_named(world: World) -> None:
    world.raw["openstack"] |= {"image": "debian-13", "external_network": "publik"}
    _refused(world, "Your query returned no results", "publik")
    assert [event for event in world.events if "The cloud has no image debian-13." in event]


def test_wrong_variables_are_all_named(world: World) -> None:
    world.more = {
        "cluster": "Not A Name",
        "cluster_id": "not-a-uuid",
        "ssh_public_key": "no key",
        "network": {"name": "n", "hosts": "10.77.0.0/24", "pods": "10.244", "backend": "bgp"},
    }
    _refused(
        world,
        "The name of a cluster is",
        "cluster_id is a UUID",
        "ssh_public_key is one line",
        "are IPv4 networks",
        "network.backend is host-gw or vxlan",
    )
    world.more = {}
    hosts = world.variables("compute")["hosts"]
    hosts["worker-2"] |= {"slot": 30, "role": "king"}
    hosts["worker-1"]["volumes"]["homes"] |= {"mount": "srv"}
    hosts["control-1"] |= {"slot": 9}
    world.more = {
        "data": {},
        "hosts": hosts,
        "openstack": {
            "cloud": "c",
            "external_network": "public",
            "exports": "/srv/exports",
            "floating_ips": {"nobody-1": "new"},
            "access": "rope",
            "load_balancer": "f5",
        },
    }
    _refused(
        world,
        "Two hosts have the same slot",
        "Every slot is 10 or more",
        "A role is services",
        "which the data root has not made",
        "A mount is an absolute path",
    )
    world.more = {"openstack": world.more["openstack"]}
    _refused(
        world,
        "A floating IP is for a host that is not there",
        "The services host has a floating IP",
        "openstack.access is bastion or direct",
        "openstack.load_balancer is none or octavia",
    )
    world.more = {"volumes": {"v": {"size_gib": 0.5, "shared": False}}, "cluster_id": "x"}
    _refused(world, "size_gib is a whole number", "cluster_id is a UUID", root="data")


@pytest.mark.parametrize(
    ("root", "old", "new", "said"),
    [
        ("compute", "flavor_name  ", "flavour_name  ", 'argument named "flavour_name" is not expected'),
        ("compute", "  network_id         = local.network_id\n", "", '"network_id" is required'),
        ("compute", "    uuid     ", "    uid     ", 'argument named "uid" is not expected'),
        ("compute", "  fixed_ip {", "  fixed_ips {", 'type "fixed_ips" are not expected'),
        ("compute", ".id : data.openstack_networking_subnet_v2", ".ids : data.openstack_networking_subnet_v2", 'no argument, nested block, or exported attribute named "ids"'),
        ("data", "openstack_blockstorage_volume_v3\" \"this", "openstack_blockstorage_volume_v4\" \"this", "openstack_blockstorage_volume_v4"),
        ("data", "  size                 = each", "  size                 = [each", "size"),
        ("data", "  name     = each.value\n", "", '"name" is required'),
    ],
)  # fmt: skip
def test_planted_mistakes_are_named(
    tmp_path: Path, root: str, old: str, new: str, said: str
) -> None:
    wrong = tmp_path / "openstack" / root
    shutil.copytree(ROOTS / root, wrong)
    (path,) = [each for each in wrong.glob("*.tf") if old in each.read_text()]
    text = path.read_text().replace(old, new)
    if "[each" in new:
        text = text.replace("[each.value.size_gib", "[each.value.size_gib]")
    path.write_text(text)
    terraform = Terraform(wrong, tmp_path / "state", providers=[provider(FACTS, tmp_path)])
    with pytest.raises(TerraformError) as refused:
        terraform.validate()
    text = " ".join(str(refused.value).split())
    assert said in text
    assert path.name in text


# --- where the provider comes from ------------------------------------------------------------


def test_provider_is_taken_from_where_terraform_looks_and_pinned_for_the_cluster(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    served = Terraform(ROOTS / "data", tmp_path / "a", providers=[provider(FACTS, tmp_path)])
    served.init()
    plugins = tmp_path / "home" / ".terraform.d" / "plugins"
    shutil.copytree(served.directory / "mirror", plugins)
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.setenv("ARMILLARY_PYTHON", sys.executable)
    monkeypatch.setenv("TF_DISABLE_PLUGIN_TLS", "1")
    found = Terraform(ROOTS / "data", tmp_path / "b")
    found.validate()
    assert "h1:" in (found.directory / "root" / ".terraform.lock.hcl").read_text()

    # Another package of the same version is not taken for it.
    (program,) = [path for path in plugins.rglob("*") if path.is_file()]
    program.write_text(program.read_text() + "# other\n")
    (found.directory / "initialised").unlink()
    with pytest.raises(TerraformError, match="checksum"):
        found.init()


def test_lock_file_of_a_release_does_not_bind_the_tests(tmp_path: Path) -> None:
    released = tmp_path / "openstack" / "data"
    shutil.copytree(ROOTS / "data", released)
    lock = released / ".terraform.lock.hcl"
    lock.write_text(
        'provider "registry.terraform.io/terraform-provider-openstack/openstack" {\n'
        '  version = "3.4.0"\n  hashes = ["h1:AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA="]\n}\n'
    )
    before = lock.read_text()
    Terraform(released, tmp_path / "state", providers=[provider(FACTS, tmp_path)]).validate()
    assert lock.read_text() == before


def test_a_provider_that_cannot_be_had_is_explained(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "empty").mkdir()
    config = tmp_path / "closed.tfrc"
    config.write_text(
        f'provider_installation {{\n  filesystem_mirror {{\n    path = "{tmp_path}/empty"\n  }}\n}}\n'
    )
    monkeypatch.setenv("TF_CLI_CONFIG_FILE", str(config))
    with pytest.raises(TerraformError) as refused:
        Terraform(ROOTS / "data", tmp_path / "state").init()
    assert "terraform-provider-openstack/openstack" in str(refused.value)
    assert "~/.terraform.d/plugins here; docs/reference/openstack.md" in str(refused.value)
    # Tests on a real cloud say so in a line, and are skipped.
    why = lacking_provider(tmp_path / "skipped")
    assert "terraform-provider-openstack/openstack" in why
    assert "\n" not in why


# --- how fast ---------------------------------------------------------------------------------


def test_plan_of_fifty_hosts_without_changes(
    world: World, record_property: Callable[[str, object], None]
) -> None:
    world.raw["hosts"]["worker"]["count"] = 48
    world.up()
    began = time.monotonic()
    plan = world.plan()
    seconds = time.monotonic() - began
    assert not plan.has_changes
    assert len([change for change in plan.noops if change.kind == INSTANCE]) == 50
    record_property("plan of 50 hosts without changes, seconds", round(seconds, 2))
    print(f"plan of 50 hosts without changes: {seconds:.2f} s")
