"""What follows from a cluster.yml: hosts, slots, Terraform's variables, the JSON Schema."""

from __future__ import annotations

import copy
import hashlib
import json
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import yaml
from pydantic import ValidationError
from support.samples import sample, switched_on, with_kafka

from armillary.config import load_cluster, parse_cluster, schema_text
from armillary.models.cluster import INTERFACE_LENGTH, Cluster, json_schema
from armillary.models.quantity import GIB, Duration, Size

ROOT = Path(__file__).resolve().parents[2]
SAMPLE = ROOT / "inventories" / "local" / "cluster.yml"
OPENSTACK = ROOT / "inventories" / "openstack" / "cluster.yml"
SCHEMA = ROOT / "docs" / "reference" / "cluster.schema.json"


@pytest.fixture
def raw() -> dict[str, Any]:
    data = yaml.safe_load(SAMPLE.read_text())
    assert isinstance(data, dict)
    return data


def test_sample_loads_and_has_the_hosts_it_shows() -> None:
    cluster = load_cluster(SAMPLE)
    hosts = [(host.name, host.role, host.slot, host.address) for host in cluster.expanded_hosts()]
    assert hosts == [
        ("services-1", "services", 10, "10.77.0.10"),
        ("control-1", "control_plane", 20, "10.77.0.20"),
        ("worker-1", "worker", 30, "10.77.0.30"),
        ("worker-2", "worker", 31, "10.77.0.31"),
    ]
    assert cluster.services_host().name == "services-1"
    assert [host.name for host in cluster.control_planes()] == ["control-1"]
    assert [host.name for host in cluster.workers()] == ["worker-1", "worker-2"]


@pytest.mark.parametrize("sample", [SAMPLE, OPENSTACK], ids=lambda path: path.parent.name)
def test_sample_begins_with_the_schema_for_editors(sample: Path) -> None:
    first = sample.read_text().split("\n", 1)[0]
    name, _, reference = first.partition("=")
    assert name == "# yaml-language-server: $schema"
    assert (sample.parent / reference).resolve() == SCHEMA
    jsonschema.Draft202012Validator(json_schema()).validate(yaml.safe_load(sample.read_text()))


def test_variables_of_the_data_root() -> None:
    assert load_cluster(SAMPLE).terraform_variables("data") == {
        "cluster": "local",
        "volumes": {
            "services-1-registry": {"size_gib": 20, "shared": False, "type": None},
            "worker-1-data": {"size_gib": 20, "shared": False, "type": None},
            "worker-2-data": {"size_gib": 20, "shared": False, "type": None},
            "homes": {"size_gib": 50, "shared": True, "type": None},
        },
    }


def test_variables_of_the_compute_root() -> None:
    variables = load_cluster(SAMPLE).terraform_variables("compute")
    assert variables["cluster"] == "local"
    assert variables["network"] == {
        "name": "local-net",
        "hosts": "10.77.0.0/24",
        "pods": "10.244.0.0/16",
        "backend": "host-gw",
    }
    assert list(variables["hosts"]) == ["services-1", "control-1", "worker-1", "worker-2"]
    assert variables["hosts"]["worker-2"] == {
        "role": "worker",
        "slot": 31,
        "flavor": "worker",
        "cpus": 2,
        "memory_mib": 6144,
        "disk_gib": 20,
        "image": "armillary-host",
        "volumes": {
            "data": {
                "volume": "worker-2-data",
                "mount": "/var/lib/armillary/data",
                "shared": False,
            },
            "homes": {"volume": "homes", "mount": "/srv/shared", "shared": True},
        },
    }
    assert "homes" not in variables["hosts"]["services-1"]["volumes"]
    json.dumps(variables)


def test_sample_of_openstack() -> None:
    cluster = load_cluster(OPENSTACK)
    assert {host.role for host in cluster.expanded_hosts()} == {
        "services",
        "control_plane",
        "worker",
    }
    assert cluster.floating_ips() == {"services-1": "new"}
    assert load_cluster(SAMPLE).floating_ips() == {}
    compute = cluster.terraform_variables("compute")
    assert compute["hosts"]["worker-1"]["flavor"] == "m1.large"
    assert compute["hosts"]["worker-1"]["image"] == "debian-12"
    assert compute["openstack"] == {
        "cloud": "openstack",
        "external_network": "public",
        "network": None,
        "dns_servers": [],
        "access": "bastion",
        "allow_from": ["0.0.0.0/0"],
        "load_balancer": "none",
        "server_group_policy": "soft-anti-affinity",
        "exports": "/var/lib/armillary/exports",
        "floating_ips": {"services-1": "new"},
    }
    data = cluster.terraform_variables("data")["openstack"]
    assert data["cloud"] == "openstack"
    json.dumps([compute, data])


@pytest.mark.parametrize(("name", "brokers"), [("local", 1), ("openstack", 3)])
def test_samples_have_kafka_when_its_lines_are_switched_on(name: str, brokers: int) -> None:
    assert load_cluster(ROOT / "inventories" / name / "cluster.yml").brokers() == []
    cluster, _ = parse_cluster(switched_on(sample(name), "kafka"))
    slots = [(host.name, host.slot) for host in cluster.brokers()]
    assert slots == [(f"kafka-{number}", 13 + number) for number in range(1, brokers + 1)]
    assert cluster.own_components == {"jupyterhub", "kafka"}
    hosts = cluster.terraform_variables("compute")["hosts"]
    # A broker has its log, and no space of Kubernetes' hosts.
    assert list(hosts["kafka-1"]["volumes"]) == ["log"]
    assert "kafka-1-log" in cluster.terraform_variables("data")["volumes"]
    jsonschema.Draft202012Validator(json_schema()).validate(with_kafka(name))


def test_own_components_are_those_that_run_here() -> None:
    store = {"containers": {"archive": {}}}
    raw = yaml.safe_load(OPENSTACK.read_text())
    raw["components"]["object_store"] = store
    assert Cluster.model_validate(raw).own_components == {"jupyterhub"}
    raw = yaml.safe_load(switched_on(SAMPLE.read_text(), "objects"))
    raw["components"]["object_store"] = store
    assert Cluster.model_validate(raw).own_components == {"jupyterhub", "object_store"}


def test_volume_types_of_openstack() -> None:
    raw = yaml.safe_load(OPENSTACK.read_text())
    raw["openstack"] |= {"volume_type": "hdd", "boot_volume": {}}
    raw["shared"]["homes"]["type"] = "ssd"
    cluster = Cluster.model_validate(raw)
    volumes = cluster.terraform_variables("data")["volumes"]
    assert {key: volume["type"] for key, volume in volumes.items()} == {
        "services-1-registry": "hdd",
        "worker-1-data": "hdd",
        "worker-2-data": "hdd",
        "homes": "ssd",
    }
    hosts = cluster.terraform_variables("compute")["hosts"].values()
    assert all(host["boot_volume"] == {"type": "hdd"} for host in hosts)


def test_a_group_of_hosts_may_differ_from_the_others() -> None:
    raw = yaml.safe_load(OPENSTACK.read_text())
    raw["openstack"] |= {"volume_type": "hdd", "availability_zone": "az1"}
    raw["hosts"]["worker"] |= {
        "image": "debian-12-gpu",
        "availability_zones": ["az2", "az3"],
        "boot_volume": {},
    }
    hosts = Cluster.model_validate(raw).terraform_variables("compute")["hosts"]
    differs = ("image", "availability_zone", "boot_volume")
    assert {name: [host[key] for key in differs] for name, host in hosts.items()} == {
        "services-1": ["debian-12", "az1", None],
        "control-1": ["debian-12", "az1", None],
        "worker-1": ["debian-12-gpu", "az2", {"type": "hdd"}],
        "worker-2": ["debian-12-gpu", "az3", {"type": "hdd"}],
    }


def test_every_volume_a_host_mounts_is_one_the_data_root_makes(raw: dict[str, Any]) -> None:
    raw["hosts"]["worker"]["count"] = 5
    cluster = Cluster.model_validate(raw)
    made = set(cluster.terraform_variables("data")["volumes"])
    hosts = cluster.terraform_variables("compute", image="debian-12")["hosts"].values()
    assert {v["volume"] for host in hosts for v in host["volumes"].values()} == made
    assert {host["image"] for host in hosts} == {"debian-12"}


def test_hosts_keep_their_slots_when_groups_grow_and_others_come(raw: dict[str, Any]) -> None:
    before = {h.name: h.slot for h in Cluster.model_validate(raw).expanded_hosts()}
    gpu = copy.deepcopy(raw["hosts"]["worker"]) | {"first_slot": 60}
    raw["hosts"] = {"gpu": gpu, **raw["hosts"]}
    raw["hosts"]["worker"]["count"] = 9
    raw["hosts"]["control"]["count"] = 3
    after = {h.name: h.slot for h in Cluster.model_validate(raw).expanded_hosts()}
    assert before.items() <= after.items()
    assert after["gpu-2"] == 61
    assert len(set(after.values())) == len(after)


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("local", "local-net"),
        ("eleven-char", "eleven-char-net"),
        ("twelve-chars", "twelve-c-" + hashlib.sha256(b"twelve-chars").hexdigest()[:6]),
    ],
)
def test_network_name_fits_an_interface(raw: dict[str, Any], name: str, expected: str) -> None:
    network_name = Cluster.model_validate(raw | {"name": name}).network_name
    assert network_name == expected
    assert len(network_name) <= INTERFACE_LENGTH


def test_defaults(raw: dict[str, Any]) -> None:
    for key in ("domain", "images", "components", "shared"):
        del raw[key]
    raw["network"] = {"hosts": "10.77.0.0/24"}
    cluster = Cluster.model_validate(raw)
    assert cluster.domain == "local.armillary.internal"
    assert str(cluster.network.pods) == "10.244.0.0/16"
    assert str(cluster.network.services) == "10.96.0.0/16"
    assert cluster.network.backend == "host-gw"
    assert cluster.images.source == "build"
    assert cluster.components.jupyterhub is None


def test_the_model_itself_holds_the_rules(raw: dict[str, Any]) -> None:
    """Also a cluster that was not read from a file cannot break them."""
    raw["hosts"]["control"]["count"] = 2
    with pytest.raises(ValidationError, match=r"hosts\.control\.count: 2 control planes"):
        Cluster.model_validate(raw)


def test_cluster_survives_json() -> None:
    cluster = load_cluster(SAMPLE)
    text = cluster.model_dump_json(by_alias=True)
    assert Cluster.model_validate(json.loads(text)) == cluster


@pytest.mark.parametrize(
    ("text", "size"), [("512MiB", GIB // 2), ("20GiB", 20 * GIB), ("1TiB", 1024 * GIB)]
)
def test_size_is_read_and_written(text: str, size: int) -> None:
    assert Size.of(text).bytes == size
    assert str(Size.of(text)) == text


def test_size_in_units() -> None:
    assert (Size.of("1536MiB").mib, Size.of("1536MiB").gib) == (1536, 2)
    assert Size.of("1GiB") < Size.of("1025MiB")


@pytest.mark.parametrize(
    ("text", "seconds"), [("1h", 3600), ("30m", 1800), ("1h30m", 5400), ("90s", 90)]
)
def test_duration_is_read(text: str, seconds: int) -> None:
    assert Duration.parse(text).seconds == seconds
    assert Duration.parse(str(Duration.parse(text))).seconds == seconds


def test_committed_schema_is_the_model_s() -> None:
    assert SCHEMA.read_text() == schema_text(), (
        "docs/reference/cluster.schema.json is stale; armillary.config.write_json_schema writes it"
    )


def test_schema_takes_the_sample(raw: dict[str, Any]) -> None:
    jsonschema.Draft202012Validator.check_schema(json_schema())
    jsonschema.Draft202012Validator(json_schema()).validate(raw)


@pytest.mark.parametrize(
    "path",
    [
        (),
        ("network",),
        ("flavors", "worker"),
        ("hosts", "worker"),
        ("hosts", "worker", "volumes", "data"),
        ("shared", "homes"),
        ("images",),
        ("openstack",),
        ("openstack", "network"),
        ("components",),
        ("components", "jupyterhub"),
        ("components", "jupyterhub", "authenticator"),
        ("components", "jupyterhub", "authenticator", "users", 0),
        ("components", "jupyterhub", "profiles", 0),
        ("components", "jupyterhub", "culling"),
    ],
)
def test_schema_refuses_unknown_keys(raw: dict[str, Any], path: tuple[str | int, ...]) -> None:
    if path[:1] == ("openstack",):
        raw = yaml.safe_load(OPENSTACK.read_text())
        raw["openstack"]["network"] = {"name": "n", "subnet": "s"}
    part: Any = raw
    for step in path:
        part = part[step]
    part["unknown_key"] = 1
    with pytest.raises(jsonschema.ValidationError, match="unknown_key"):
        jsonschema.Draft202012Validator(json_schema()).validate(raw)


@pytest.mark.parametrize(
    ("path", "value"),
    [
        (("flavors", "worker", "memory"), "6GB"),
        (("network", "hosts"), "10.77.0.0"),
        (("hosts", "worker", "role"), "slave"),
        (("hosts", "worker", "count"), 0),
        (("images", "source"), "mirrors"),
        (("name",), "Local"),
        (("components", "jupyterhub", "culling", "idle"), 60),
    ],
)
def test_schema_refuses_wrong_values(
    raw: dict[str, Any], path: tuple[str, ...], value: Any
) -> None:
    part = raw
    for step in path[:-1]:
        part = part[step]
    part[path[-1]] = value
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.Draft202012Validator(json_schema()).validate(raw)


def test_schema_s_own_examples_are_valid(raw: dict[str, Any]) -> None:
    """Fix texts are made of them, so they must be right."""
    schema = json_schema()

    def look(node: Any) -> None:
        if isinstance(node, list):
            for each in node:
                look(each)
        if isinstance(node, dict):
            for example in node.get("examples", []) if "description" in node else []:
                check = {key: value for key, value in node.items() if key != "examples"}
                validator = jsonschema.Draft202012Validator({**check, "$defs": schema["$defs"]})
                validator.validate(example)
            for each in node.values():
                look(each)

    look(schema)
