"""The mission's own path on a real OpenStack: hosts, registry, NFS, volumes, object store; down, up again, nothing left.

Tests build on each other, in the order they stand in; Kubernetes has a file of its own, for it takes long on emulated processors.
"""

from __future__ import annotations

import json
import os
import time
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import openstack
import pytest
import requests
from openstack.connection import Connection
from openstack.exceptions import HttpException
from support.registry import PullPort, empty_image, with_file
from support.s3 import S3
from support.servers import ServerLab
from support.waiting import until

from armillary.clouds.openstack.objects import KEY
from armillary.paths import ROOT, ClusterPaths
from armillary.sandbox.state import MEMBER, OTHER, clouds_file
from armillary.tools.terraform import Terraform

pytestmark = [pytest.mark.sandbox, pytest.mark.slow]

NAME = "rehearse"
HOSTS = ("--tags", "base", "--tags", "registry", "--tags", "nfs", "--tags", "backup")
"""As far as hosts go; what runs on Kubernetes takes a quarter of an hour more where processors are emulated."""
UP = 1800.0
SPACE = "/srv/shared"
NEIGHBOUR = "rehearse-neighbour"
"""Names of others' things in the project begin as the cluster's do."""


@pytest.fixture(scope="module")
def lab(
    paths: ClusterPaths, provider: None, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[ServerLab]:
    """The cluster, with its hosts up."""
    scratch = tmp_path_factory.mktemp("servers")
    config = scratch / "cluster.yml"
    text = (ROOT / "inventories" / "sandbox" / "cluster.yml").read_text()
    config.write_text(text.replace("name: rehearsal", f"name: {NAME}"))
    os.environ["OS_CLIENT_CONFIG_FILE"] = str(clouds_file(paths))
    found = ServerLab(config, scratch)
    try:
        found.invoke("up", *HOSTS, timeout=UP)
        yield found
    finally:
        if found.paths.root.exists():
            found.invoke("down", "--with-data", "--yes-lose", NAME)


@pytest.fixture(scope="module")
def neighbours(member: Connection) -> Iterator[dict[str, str]]:
    """What somebody else has in the project, called nearly like the cluster's own: kind -> id."""
    network = member.network.create_network(name=f"{NAME}-net")
    group = member.network.create_security_group(name=f"{NAME}-hosts", description=NEIGHBOUR)
    volume = member.block_storage.create_volume(size=1, name=f"{NAME}-homes")
    member.object_store.create_container(NEIGHBOUR)
    yield {"network": network.id, "group": group.id, "volume": volume.id}
    member.network.delete_network(network)
    member.network.delete_security_group(group)
    member.block_storage.delete_volume(volume)
    member.object_store.delete_container(NEIGHBOUR)


def _all_there(member: Connection, neighbours: dict[str, str]) -> bool:
    member.network.get_network(neighbours["network"])
    member.network.get_security_group(neighbours["group"])
    member.block_storage.get_volume(neighbours["volume"])
    return NEIGHBOUR in {each.name for each in member.object_store.containers()}


def _credentials(lab: ServerLab) -> dict[str, Any]:
    root = Terraform(ROOT / "terraform" / "openstack" / "data", lab.paths.terraform / "data")
    found: dict[str, Any] = root.outputs()["credentials"]
    return found


def test_what_is_made_is_not_made_again(lab: ServerLab) -> None:
    said = lab.invoke("up", "--tags", "base", timeout=UP).stdout
    assert "✓ Provision hosts and volumes (Terraform): unchanged" in said
    assert "✓ Configure hosts and platform (Ansible): unchanged" in said


def test_the_doctor_finds_nothing_missing(lab: ServerLab) -> None:
    assert "Nothing is missing." in lab.invoke("doctor").stdout


def test_the_doctor_names_all_that_is_missing_at_once(lab: ServerLab, tmp_path: Path) -> None:
    """The cluster is another, of which nothing is made, and nothing is."""
    there = [(thing.kind, thing.id) for thing in lab.cloud.things()]
    wrong = tmp_path / "cluster.yml"
    text = lab.config.read_text()
    for right, instead in (
        (f"name: {NAME}", "name: too-much"),
        ("image: debian-12", "image: debian-11\n  availability_zone: moon"),
        ("external_network: public", "external_network: publik"),
        ("worker: {name: m1.large", "worker: {name: m9.large"),
        ("worker: {role: worker, count: 1", "worker: {role: worker, count: 200"),
    ):
        assert right in text
        text = text.replace(right, instead)
    wrong.write_text(text)
    checks = json.loads(lab.invoke("doctor", "--json", code=1, config=wrong).stdout)["checks"]
    said = [check["detail"] for check in checks if check["ok"] is False]
    for lacking in (
        "no usable image `debian-11`",
        "no availability zone `moon`",
        "no external network `publik`",
        "no flavor `m9.large`",
        "202 wanted",
    ):
        assert [one for one in said if lacking in one], lacking
    refused = lab.invoke("up", code=1, config=wrong).stderr
    assert "Nothing was touched" in refused
    assert not ClusterPaths.of("too-much").applied.exists()
    assert [(thing.kind, thing.id) for thing in lab.cloud.things()] == there


def test_hosts_are_known_by_the_keys_on_their_consoles(lab: ServerLab) -> None:
    known = lab.paths.known_hosts
    right = known.read_text()
    assert lab.on_host("worker-1", "hostname") == "worker-1"
    lines = [line.split(" ") for line in right.splitlines()]
    keys = [line[2] for line in lines]
    known.write_text(
        "".join(
            f"{line[0]} {line[1]} {key}\n"
            for line, key in zip(lines, keys[1:] + keys[:1], strict=True)
        )
    )
    try:
        assert not lab.host_does("services-1", "true")
    finally:
        known.write_text(right)


def test_an_image_goes_through_the_registry(lab: ServerLab, tmp_path: Path) -> None:
    registry = lab.registry()
    image = with_file(empty_image(tmp_path / "image"), "survey", "ztf")
    reference = registry.push(lab.account("push"), image, "test/survey")
    registry.pull(lab.account("push"), reference, tmp_path / "again")
    # The account that only pulls is good at the port that only hosts reach.
    port = PullPort.of(lab.paths, lab.inventory(), "worker-1")
    path = f"test/survey/manifests/{image.digest}"
    found = port.ask("HEAD", path, lab.account("pull"))
    assert (found.status_code, found.headers["Docker-Content-Digest"]) == (200, image.digest)
    assert port.ask("HEAD", path).status_code == 401, "trusted, reached, and not for everybody"
    pushed = port.ask("POST", "test/survey/blobs/uploads/", lab.account("pull"))
    assert pushed.status_code in (401, 403, 405)
    with pytest.raises(requests.exceptions.ConnectionError):
        registry.session.get(f"https://{port.address}/v2/", timeout=10)


def test_what_one_host_writes_another_reads(lab: ServerLab) -> None:
    assert lab.on_host("worker-1", "findmnt", "-no", "FSTYPE", SPACE) == "nfs4"
    lab.on_host(
        "worker-1", "sh", "-c", f"echo M31 > {SPACE}/target && chown 1000:100 {SPACE}/target"
    )
    assert lab.on_host("control-1", "cat", f"{SPACE}/target") == "M31"
    assert lab.on_host("control-1", "stat", "-c", "%u:%g", f"{SPACE}/target") == "1000:100"


def test_the_space_is_for_kubernetes_hosts_alone(lab: ServerLab) -> None:
    """Each by its address; `no_root_squash` holds for them and nobody else in their network."""
    exported = lab.on_host("services-1", "exportfs", "-s").splitlines()
    addresses = {host.name: host.address for host in lab.cluster.expanded_hosts()}
    allowed = {line.split()[1].partition("(")[0] for line in exported}
    assert allowed == {addresses["control-1"], addresses["worker-1"]}
    source = f"{addresses['services-1']}:/var/lib/armillary/exports/homes"
    mount = ["timeout", "20", "mount", "-t", "nfs4", source, "/mnt"]
    assert not lab.host_does("services-1", *mount), "it is in the network, and no Kubernetes host"


def test_a_full_space_harms_no_other_disk(lab: ServerLab) -> None:
    """Its volume is its quota."""
    free = ["df", "--output=avail", "-BM", "/", "/var/lib/registry"]
    before = lab.on_host("services-1", *free).split()[1:]
    too_much = f"{SPACE}/too-much"
    assert not lab.host_does("worker-1", "fallocate", "--length", "8G", too_much)
    after = lab.on_host("services-1", *free).split()[1:]
    lab.on_host("worker-1", "rm", "-f", too_much)
    for was, now in zip(before, after, strict=True):
        assert int(was.strip("M")) - int(now.strip("M")) < 100
    lab.on_host("control-1", "sh", "-c", f"echo again > {SPACE}/room && rm {SPACE}/room")


def test_the_credential_opens_its_containers_and_nothing_else(
    lab: ServerLab, member: Connection, paths: ClusterPaths, neighbours: dict[str, str]
) -> None:
    made = _credentials(lab)["application_credential"]
    container, data = f"{NAME}-archive", os.urandom(2**20)
    with openstack.connect(
        load_yaml_config=False,
        load_envvars=False,
        auth_type="v3applicationcredential",
        auth_url=member.config.get_auth_args()["auth_url"],
        application_credential_id=made["id"],
        application_credential_secret=made["secret"],
        region_name="RegionOne",
        cacert=str(paths.pki / "ca.crt"),
    ) as program:
        store = program.object_store
        store.upload_object(container=container, name="m31.fits", data=data)
        assert store.download_object("m31.fits", container=container) == data
        store.delete_object("m31.fits", container=container)
        for refused in (
            lambda: store.upload_object(container=NEIGHBOUR, name="x", data=b"x"),
            lambda: list(program.compute.servers()),
            lambda: list(program.block_storage.volumes()),
        ):
            with pytest.raises(HttpException) as answer:
                refused()
            assert answer.value.status_code in (401, 403)


def test_an_object_by_s3(lab: ServerLab, member: Connection, paths: ClusterPaths) -> None:
    """Each account that cluster.yml names has keys of its own."""
    url, authority = member.endpoint_for("object-store").split("/v1/")[0], str(paths.pki / "ca.crt")
    alerts, spark = (
        S3(url, keys["access"], keys["secret"], "RegionOne", authority)
        for keys in (_credentials(lab)["s3"][name] for name in ("alerts", "spark"))
    )
    assert alerts.access != spark.access
    data = os.urandom(2**20)
    assert alerts.call("PUT", f"/{NAME}-archive/spectrum", data).status_code == 200
    assert spark.call("GET", f"/{NAME}-archive/spectrum").content == data
    assert alerts.call("DELETE", f"/{NAME}-archive/spectrum").status_code == 204


def test_a_larger_number_grows_the_homes_while_they_are_in_use(lab: ServerLab) -> None:
    size = ["df", "--output=size", "-BM", SPACE]
    before = int(lab.on_host("worker-1", *size).splitlines()[-1].strip("M "))
    lab.config.write_text(
        lab.config.read_text().replace("homes: {size: 2GiB", "homes: {size: 3GiB")
    )
    lab.invoke("up", *HOSTS, timeout=UP)
    after = int(lab.on_host("worker-1", *size).splitlines()[-1].strip("M "))
    assert after > before + 900
    assert lab.on_host("worker-1", "cat", f"{SPACE}/target") == "M31"


def test_a_backup_brings_back_what_was_deleted(lab: ServerLab) -> None:
    home, note = f"{SPACE}/homes/astronomer", f"{SPACE}/homes/astronomer/note"
    made = f"mkdir -p {home} && echo first > {note} && chown -R 1000:100 {home}"
    lab.on_host("worker-1", "sh", "-c", made)
    assert SPACE in lab.invoke("backup").stdout
    lab.on_host("worker-1", "sh", "-c", f"echo second > {note}")
    (backup,) = json.loads(lab.invoke("backup", "--list", "--json").stdout)["backups"]
    assert backup["short_id"] in lab.invoke("backup", "--list").stdout
    lab.invoke("restore", home, "--snapshot", backup["short_id"])
    beside = lab.on_host("worker-1", "find", f"{SPACE}/restored", "-name", "note")
    assert lab.on_host("worker-1", "cat", beside) == "first"
    assert lab.on_host("worker-1", "cat", note) == "second"
    lab.on_host("worker-1", "rm", note)
    lab.invoke("restore", note, "--in-place")
    assert lab.on_host("worker-1", "cat", note) == "first"
    assert lab.on_host("worker-1", "stat", "-c", "%u:%g", note) == "1000:100"


def test_what_cannot_be_restored_is_said(lab: ServerLab) -> None:
    assert "is in no shared space" in lab.invoke("restore", "/etc/passwd", code=1).stderr
    assert "is in no shared space" in lab.invoke("restore", f"{SPACE}/../etc", code=1).stderr
    nothing = lab.invoke("restore", f"{SPACE}/homes/nobody", code=1)
    assert "has nothing at" in nothing.stderr
    unknown = lab.invoke("restore", SPACE, "--snapshot", "00000000", code=1)
    assert "00000000" in unknown.stderr


def test_backups_tell_nobody_their_secrets(lab: ServerLab) -> None:
    for file in ("environment", "password"):
        mode = lab.on_host("services-1", "stat", "-c", "%a %U", f"/etc/armillary/backup/{file}")
        assert mode == "600 root"


WRITER = f"""
import os, time
with open("{SPACE}/written", "a") as space, open("/run/acknowledged", "w") as here:
    for number in range(40):
        print(number, file=space, flush=True)
        os.fsync(space.fileno())
        print(number, file=here, flush=True)
        time.sleep(0.5)
"""


def test_nothing_synced_is_lost_when_the_server_s_plug_is_pulled(
    lab: ServerLab, member: Connection
) -> None:
    lab.on_host("worker-1", "systemd-run", "--unit=writer", "python3", "-c", WRITER)

    def acknowledged() -> list[str]:
        return lab.on_host("worker-1", "cat", "/run/acknowledged").splitlines()

    until(lambda: len(acknowledged()) > 5, "some lines written", 60)
    server = member.compute.find_server(f"{NAME}-services-1", ignore_missing=False)
    member.compute.reboot_server(server, "HARD")
    member.compute.wait_for_server(server, status="ACTIVE", wait=120)
    until(lambda: lab.host_does("services-1", "true"), "the services host is back", 300, pause=2)
    until(lambda: len(acknowledged()) == 40, "all lines written", 240, pause=2)
    written = lab.on_host("control-1", "cat", f"{SPACE}/written").split()
    assert written == [str(number) for number in range(40)]


def test_credentials_for_another_project_are_refused(lab: ServerLab, tmp_path: Path) -> None:
    other = tmp_path / "cluster.yml"
    text = lab.config.read_text()
    other.write_text(text.replace(f"cloud: {MEMBER['cloud']}\n", f"cloud: {OTHER['cloud']}\n"))
    for command in ("up", "plan", "down"):
        refused = lab.invoke(command, code=1, config=other)
        assert "was made in another cloud than the one at hand" in refused.stderr
        assert "project: made in" in refused.stderr


def test_what_no_state_knows_is_listed(lab: ServerLab, member: Connection) -> None:
    stranger = str(uuid.uuid4())
    volume = member.block_storage.create_volume(size=1, name="left-over", metadata={KEY: stranger})
    try:
        said = lab.invoke("orphans", "--json", code=1).stdout
        assert volume.id in said
        assert stranger in said
        assert f"{NAME}-homes" not in said
    finally:
        member.block_storage.wait_for_status(volume, "available", wait=60)
        member.block_storage.delete_volume(volume)
        member.block_storage.wait_for_delete(volume, wait=60)
    lab.invoke("orphans")


def test_down_keeps_data_and_nothing_else(
    lab: ServerLab, member: Connection, neighbours: dict[str, str]
) -> None:
    started = time.monotonic()
    said = lab.invoke("down").stdout
    print(f"down: {time.monotonic() - started:.0f} s")
    assert f"server: {NAME}-control-1, {NAME}-services-1, {NAME}-worker-1" in said
    assert said.index("    server: ") < said.index("    network: ")
    assert {thing.kind for thing in lab.things()} == {
        "volume",
        "container",
        "application credential",
    }
    assert _all_there(member, neighbours)


def test_up_finds_the_data(lab: ServerLab) -> None:
    lab.invoke("up", *HOSTS, timeout=UP)
    assert lab.on_host("worker-1", "cat", f"{SPACE}/target") == "M31"
    assert lab.registry().ask("GET", "test/survey/tags/list", lab.account("push")).ok


def test_down_with_data_leaves_nothing(
    lab: ServerLab, member: Connection, neighbours: dict[str, str]
) -> None:
    mark = lab.cloud.mark(lab.paths)
    refused = lab.invoke("down", "--with-data", "--yes-lose", NEIGHBOUR, code=1)
    for lost in (
        "volume homes (",
        f"container {NAME}-archive",
        f"container {NAME}-backup and every backup in it",
        f"application credential {NAME}-{mark}",
    ):
        assert lost in refused.stdout
    lab.invoke("down", "--with-data", "--yes-lose", NAME)
    assert [thing for thing in lab.cloud.things() if thing.mark == mark] == []
    assert not lab.paths.root.exists()
    assert _all_there(member, neighbours)
