"""What may and may not change in the cluster.yml of a cluster that exists."""

from __future__ import annotations

import pytest

from armillary.config import parse_cluster
from armillary.models.change import check_change
from armillary.models.problem import Problem

OLD = """\
name: demo
cloud: local
domain: demo.example.org
network:
  hosts: 10.77.0.0/24
  pods: 10.244.0.0/16
  services: 10.96.0.0/16
flavors:
  small: {cpus: 2, memory: 2GiB, disk: 10GiB}
  large: {cpus: 2, memory: 6GiB, disk: 20GiB}
hosts:
  services:
    role: services
    flavor: small
    volumes:
      registry: {size: 20GiB, mount: /var/lib/registry}
  control:
    role: control_plane
    count: 3
    flavor: small
  worker:
    role: worker
    count: 2
    flavor: large
    volumes:
      data: {size: 20GiB, mount: /var/lib/armillary/data}
      scratch: {size: 10GiB, mount: /srv/scratch}
  gpu:
    role: worker
    first_slot: 60
    flavor: large
    volumes:
      data: {size: 20GiB, mount: /var/lib/armillary/data}
shared:
  homes: {size: 50GiB, mount: /srv/shared}
  papers: {size: 50GiB, mount: /srv/papers}
"""
OPENSTACK = (
    OLD.replace("cloud: local", "cloud: openstack")
    .replace("  small: {", "  small: {name: m1.small, ")
    .replace("  large: {", "  large: {name: m1.large, ")
    .replace(
        "flavors:\n",
        "openstack: {cloud: a, image: b, external_network: public}\nflavors:\n",
    )
)
BROKERS = (
    OLD.replace(
        "  gpu:",
        "  kafka: {role: kafka, count: 3, flavor: small, volumes: {log: {size: 10GiB, mount: /var/lib/kafka}}}\n  gpu:",
    )
    + "components: {kafka: {}}\n"
)
GPU = """\
  gpu:
    role: worker
    first_slot: 60
    flavor: large
    volumes:
      data: {size: 20GiB, mount: /var/lib/armillary/data}
"""


def change(*edits: tuple[str, str], start: str = OLD) -> list[Problem]:
    new = start
    for old_text, new_text in edits:
        assert new.count(old_text) == 1, old_text
        new = new.replace(old_text, new_text)
    cluster, positions = parse_cluster(new, "demo/cluster.yml")
    return check_change(parse_cluster(start)[0], cluster, positions)


REFUSED = [
    ("name: demo", "name: other", "name", 1, "carries its name", "write `name: demo` again"),
    (
        "domain: demo.example.org",
        "domain: other.example.org",
        "domain",
        3,
        "certificates",
        "`domain: demo.example.org`",
    ),
    (
        "  hosts: 10.77.0.0/24",
        "  hosts: 10.78.0.0/24",
        "network.hosts",
        5,
        "changed from `10.77.0.0/24` to `10.78.0.0/24`",
        "`hosts: 10.77.0.0/24` again",
    ),
    (
        "10.244.0.0/16",
        "10.245.0.0/16",
        "network.pods",
        6,
        "when they joined",
        "`pods: 10.244.0.0/16`",
    ),
    (
        "10.96.0.0/16",
        "10.97.0.0/16",
        "network.services",
        7,
        "certificate of the API",
        "`services: 10.96.0.0/16`",
    ),
    (
        "registry: {size: 20GiB",
        "registry: {size: 19GiB",
        "hosts.services.volumes.registry.size",
        16,
        "made smaller, from 20GiB to 19GiB",
        "write `size: 20GiB` or more",
    ),
    (
        "homes: {size: 50GiB",
        "homes: {size: 49GiB",
        "shared.homes.size",
        35,
        "made smaller, from 50GiB to 49GiB",
        "write `size: 50GiB` or more",
    ),
    (
        "      scratch: {size: 10GiB, mount: /srv/scratch}\n",
        "",
        "hosts.worker.volumes.scratch",
        25,
        "it holds data",
        "write `scratch: {size: 10GiB, mount: /srv/scratch}` again under hosts.worker.volumes",
    ),
    (
        "      scratch: {size",
        "      renamed: {size",
        "hosts.worker.volumes.scratch",
        25,
        "or has another name",
        "with its whole group of workers, or with `invoke down --with-data`",
    ),
    (
        "  papers: {size: 50GiB, mount: /srv/papers}\n",
        "",
        "shared.papers",
        34,
        "it holds data",
        "again under shared",
    ),
    (
        "    count: 3",
        "    count: 1",
        "hosts.control.count",
        19,
        "from 3 control planes to 1: etcd would lose the majority",
        "write `count: 3` again",
    ),
    (
        "  control:\n",
        "  masters:\n",
        "hosts.control",
        11,
        "the group `control` is gone",
        "write `control` again",
    ),
    (
        "    first_slot: 60",
        "    first_slot: 70",
        "hosts.gpu.first_slot",
        30,
        "would get other addresses",
        "write `first_slot: 60`",
    ),
]


@pytest.mark.parametrize(("old", "new", "path", "line", "wrong", "fix"), REFUSED)
def test_refused(old: str, new: str, path: str, line: int, wrong: str, fix: str) -> None:
    found = change((old, new))
    assert len(found) == 1, found
    assert (found[0].file, found[0].path, found[0].line) == ("demo/cluster.yml", path, line)
    assert wrong in found[0].wrong
    assert fix in found[0].fix


def test_another_cloud_is_refused() -> None:
    cluster, positions = parse_cluster(OPENSTACK, "demo/cluster.yml")
    found = check_change(parse_cluster(OLD)[0], cluster, positions)
    assert [(problem.path, problem.line) for problem in found] == [("cloud", 2)]
    assert "are in the old one" in found[0].wrong
    assert "write `cloud: local` again" in found[0].fix


@pytest.mark.parametrize(
    ("more", "path", "wrong", "fix"),
    [
        (
            "network: {name: n, subnet: s}",
            "openstack.network",
            "changed from `nothing` to `{name: n, subnet: s}`",
            "take `network` out",
        ),
        (
            "server_group_policy: anti-affinity",
            "openstack.server_group_policy",
            "a server group keeps its policy",
            "write `server_group_policy: soft-anti-affinity` again",
        ),
    ],
)
def test_of_openstack_refused(more: str, path: str, wrong: str, fix: str) -> None:
    found = change(("public}", f"public, {more}}}"), start=OPENSTACK)
    assert [problem.path for problem in found] == [path]
    assert wrong in found[0].wrong
    assert found[0].fix.startswith(fix)


@pytest.mark.parametrize(
    "more",
    [
        "boot_volume: {}",
        "floating_ips: {services-1: 198.51.100.7}",
        "allow_from: [192.0.2.0/24]",
        "load_balancer: octavia",
        "volume_type: ssd",
    ],
)
def test_of_openstack_allowed(more: str) -> None:
    assert change(("public}", f"public, {more}}}"), start=OPENSTACK) == []


def test_groups_that_change_roles_are_refused() -> None:
    swapped = (
        OLD.replace("  control:\n", "  x:\n")
        .replace("  services:\n    role", "  control:\n    role")
        .replace("  x:\n", "  services:\n")
    )
    cluster, positions = parse_cluster(swapped)
    found = check_change(parse_cluster(OLD)[0], cluster, positions)
    assert {"hosts.services.role", "hosts.control.role"} <= {problem.path for problem in found}


def test_all_refusals_at_once() -> None:
    assert len(change(*((old, new) for old, new, *_ in REFUSED[:4]))) == 4


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("cloud: local", "cloud: local  # the same"),
        ("    count: 2", "    count: 20"),
        ("    count: 2", "    count: 1"),
        (GPU, ""),
        ("    first_slot: 60", "    first_slot: 60\n    count: 4"),
        ("registry: {size: 20GiB", "registry: {size: 1TiB"),
        ("homes: {size: 50GiB", "homes: {size: 51GiB"),
        ("shared:\n", "shared:\n  more: {size: 1GiB, mount: /srv/more}\n"),
        ("  large: {cpus: 2", "  large: {cpus: 8"),
        ("shared:\n", "images: {source: build}\nshared:\n"),
        ("network:\n", "network:\n  backend: vxlan\n"),
        (
            "shared:\n",
            "components: {jupyterhub: {authenticator: {class: native, users: [{name: ada}]}, "
            "profiles: [{name: vo, display_name: V, image: notebook, cpu_limit: 1, "
            "memory_limit: 1GiB, default: true}]}}\nshared:\n",
        ),
    ],
)
def test_allowed(old: str, new: str) -> None:
    assert change((old, new)) == []


def test_control_planes_from_one_to_three_are_allowed() -> None:
    assert change(("    count: 1", "    count: 3"), start=OLD.replace("count: 3", "count: 1")) == []


def test_the_number_of_brokers_is_fixed() -> None:
    (problem,) = change(("role: kafka, count: 3", "role: kafka, count: 1"), start=BROKERS)
    assert (problem.path, problem.line) == ("hosts.kafka.count", 28)
    assert "from 3 brokers to 1" in problem.wrong
    assert "write `count: 3` again" in problem.fix


def test_brokers_may_come_to_a_cluster_that_is_there() -> None:
    with_brokers, positions = parse_cluster(BROKERS, "demo/cluster.yml")
    assert check_change(parse_cluster(OLD)[0], with_brokers, positions) == []
