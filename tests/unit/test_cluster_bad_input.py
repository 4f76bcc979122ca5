"""Wrong cluster.yml files: each names its line, what is wrong and what to write instead."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

import pytest

from armillary.config import ConfigError, load_cluster, parse_cluster
from armillary.models.problem import Problem

GOOD = """\
name: demo
cloud: local
domain: demo.example.org
network:
  hosts: 10.77.0.0/24
  pods: 10.244.0.0/16
  services: 10.96.0.0/16
  backend: host-gw
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
    flavor: small
  worker:
    role: worker
    count: 2
    flavor: large
    volumes:
      data: {size: 20GiB, mount: /var/lib/armillary/data}
shared:
  homes: {size: 50GiB, mount: /srv/shared}
images:
  source: build
components:
  jupyterhub:
    authenticator:
      class: native
      users:
        - name: ada
        - name: bob
      admins: [ada]
    profiles:
      - name: vo
        display_name: Virtual Observatory
        image: notebook
        cpu_limit: 2
        memory_limit: 2GiB
        memory_guarantee: 512MiB
        default: true
    culling: {idle: 1h}
"""

OPENSTACK = (
    GOOD.replace("cloud: local", "cloud: openstack")
    .replace("  small: {", "  small: {name: m1.small, ")
    .replace("  large: {", "  large: {name: m1.large, ")
    .replace(
        "flavors:\n",
        """\
openstack:
  cloud: science
  image: debian-12
  external_network: public
  dns_servers: [192.0.2.53]
  floating_ips:
    services-1: 198.51.100.7
  access: bastion
  allow_from: [192.0.2.0/24]
flavors:
""",
    )
)

#: GOOD, with an object store.
OBJECTS = GOOD.replace(
    "/var/lib/registry}\n",
    "/var/lib/registry}\n      objects: {size: 20GiB, mount: /var/lib/armillary/objects/d1}\n",
).replace(
    "components:\n",
    """\
components:
  object_store:
    replicas: 1
    containers:
      archive:
        quota: 10GiB
        write: [alerts]
        read: [spark]
""",
)
#: Kafka, in GOOD and in OPENSTACK.
KAFKA_HOSTS = """\
  kafka:
    role: kafka
    count: 3
    flavor: small
    volumes:
      log: {size: 10GiB, mount: /var/lib/kafka}
"""
KAFKA_PART = """\
  kafka:
    topics:
      - {name: alerts, partitions: 6}
      - {name: night.log, retention: 24h}
    users:
      - {name: ingest, produce: [alerts]}
      - {name: reader, consume: [alerts], groups: [reader]}
"""
KAFKA = GOOD.replace("  control:\n", f"{KAFKA_HOSTS}  control:\n") + KAFKA_PART
KAFKA_OPENSTACK = OPENSTACK.replace("  control:\n", f"{KAFKA_HOSTS}  control:\n") + KAFKA_PART

#: Stands in a case's text at the end of the line the problem must name.
HERE = "  # <--"


@dataclass(frozen=True)
class Case:
    """`old` of the `base` becomes `new`; then the problem at HERE (or `line`) is expected."""

    id: str
    old: str
    new: str
    path: str
    wrong: str
    fix: str
    line: int = 0
    also: tuple[str, str] = ("", "")
    base: str = field(default=GOOD, repr=False)

    @property
    def text(self) -> str:
        text = self.base
        for old, new in ((self.old, self.new), self.also):
            assert not old or text.count(old) == 1, f"{old!r} must be in the good file once"
            text = text.replace(old, new) if old else text
        return text

    @property
    def expected_line(self) -> int:
        lines = [n for n, line in enumerate(self.text.split("\n"), 1) if line.endswith(HERE)]
        assert len(lines) == (0 if self.line else 1)
        return self.line or lines[0]


HUB = "components.jupyterhub"
STORE = "components.object_store"
WORKER = "  worker:\n    role: worker\n    count: 2\n    flavor: large\n    volumes:\n"
DATA = "      data: {size: 20GiB, mount: /var/lib/armillary/data}\n"
CONTROL = "    role: control_plane\n    flavor: small\n"
REGISTRY = "    volumes:\n      registry: {size: 20GiB, mount: /var/lib/registry}\n"
USERS = "        - name: ada\n        - name: bob\n"
LARGE = "  large: {cpus: 2, memory: 6GiB, disk: 20GiB}"
TINY = ("role: services\n    flavor: small", "role: services\n    flavor: tiny")
PROFILE = """\
      - name: vo
        display_name: Virtual Observatory
        image: notebook
        cpu_limit: 2
        memory_limit: 2GiB
        memory_guarantee: 512MiB
        default: true
"""
SECOND = (
    "      - {name: big, display_name: B, image: notebook, cpu_limit: 1, "
    "memory_limit: 1GiB, default: true}"
)

CASES = [
    # keys
    Case(
        "key-misspelt",
        "    flavor: large",
        f"    flavour: large{HERE}",
        "hosts.worker.flavour",
        "unknown key. Did you mean `flavor`?",
        "write `flavor` instead of `flavour`",
    ),
    Case(
        "key-unknown",
        "cloud: local",
        f"cloud: local\nzebra: 1{HERE}",
        "zebra",
        "unknown key",
        "the keys here are `name`, `cloud`",
    ),
    Case(
        "key-of-a-profile",
        "        cpu_limit: 2",
        f"        cpu_limits: 2{HERE}",
        f"{HUB}.profiles[0].cpu_limits",
        "Did you mean `cpu_limit`?",
        "write `cpu_limit`",
    ),
    Case(
        "key-component-unknown",
        "  jupyterhub:\n",
        f"  zeppelin: {{}}{HERE}\n  jupyterhub:\n",
        "components.zeppelin",
        "unknown key",
        "the keys here are `jupyterhub`",
    ),
    Case(
        "key-in-flow-mapping",
        LARGE,
        "  large: {cpus: 2, memory: 6GiB,\n" + f"    disc: 20GiB}}{HERE}",
        "flavors.large.disc",
        "Did you mean `disk`?",
        "write `disk`",
    ),
    Case(
        "key-missing",
        CONTROL,
        "    role: control_plane\n",
        "hosts.control.flavor",
        "`flavor` is missing",
        "add `flavor: worker`",
        line=18,
    ),
    Case(
        "key-missing-at-top",
        "cloud: local\n",
        "",
        "cloud",
        "`cloud` is missing",
        "add `cloud: local`",
        line=1,
    ),
    Case(
        "key-missing-in-profile",
        "        image: notebook\n",
        "",
        f"{HUB}.profiles[0].image",
        "`image` is missing",
        "add `image: notebook`",
        line=40,
    ),
    Case(
        "group-twice",
        "shared:\n",
        f"  worker: {{role: worker, flavor: large}}{HERE}\nshared:\n",
        "hosts.worker",
        "is here twice: in line 21 and in line 27",
        "another name",
    ),
    Case(
        "flavor-twice",
        LARGE,
        f"{LARGE}\n  large: {{cpus: 4, memory: 6GiB, disk: 20GiB}}{HERE}",
        "flavors.large",
        "twice: in line 11 and in line 12",
        "another name",
    ),
    Case(
        "key-twice",
        "    count: 2\n",
        f"    count: 2\n    count: 3{HERE}\n",
        "hosts.worker.count",
        "in line 23 and in line 24",
        "take it out",
    ),
    Case(
        "key-without-value",
        "  homes: {size: 50GiB, mount: /srv/shared}",
        f"  homes: {{size: 50GiB, mount: }}{HERE}",
        "shared.homes.mount",
        "no value",
        "such as `mount: /srv/shared`",
    ),
    Case(
        "section-without-value",
        "    culling: {idle: 1h}",
        f"    culling:{HERE}",
        f"{HUB}.culling",
        "no value",
        "take the line out",
    ),
    Case("key-not-a-word", "cloud: local", f"cloud: local\n[a]: b{HERE}", "?", "a word", "`key:"),
    # kinds of values, YAML's traps
    Case(
        "bool-yes",
        "        default: true",
        f"        default: yes{HERE}",
        f"{HUB}.profiles[0].default",
        "`yes` is text to some YAML readers and true to others",
        "write `true`",
    ),
    Case("name-on", "name: demo", f"name: on{HERE}", "name", "`on` is text", 'or `"on"`'),
    Case(
        "user-no",
        "        - name: bob",
        f"        - name: no{HERE}",
        f"{HUB}.authenticator.users[1].name",
        "false to others",
        'or `"no"` if the text is meant',
    ),
    Case(
        "octal",
        "    count: 2",
        f"    count: 010{HERE}",
        "hosts.worker.count",
        "another number than it looks like",
        "such as `10`",
    ),
    Case(
        "underscore",
        "    count: 2",
        f"    count: 1_0{HERE}",
        "hosts.worker.count",
        "another number",
        "such as `10`",
    ),
    Case(
        "sexagesimal",
        "    culling: {idle: 1h}",
        f"    culling: {{idle: 1:30}}{HERE}",
        f"{HUB}.culling.idle",
        "`1:30` is another number",
        'or `"1:30"`',
    ),
    Case(
        "date",
        "name: demo",
        f"name: 2026-11-23{HERE}",
        "name",
        "a date to YAML",
        'or `"2026-11-23"`',
    ),
    Case("tag", "name: demo", f"name: !!binary demo{HERE}", "name", "a tag", "without `!`"),
    Case("tag-python", "name: demo", f"name: !!python/name:os.system x{HERE}", "name", "tag", "!"),
    Case(
        "merge-key",
        LARGE,
        f"{LARGE}\n  other: {{<<: {{cpus: 2}}, memory: 2GiB, disk: 9GiB}}{HERE}",
        "flavors.other.<<",
        "merge keys are not understood",
        "write the keys out",
    ),
    Case(
        "number-as-text",
        "    count: 2",
        f'    count: "2"{HERE}',
        "hosts.worker.count",
        "a whole number is needed",
        "write `2`, without quotes",
    ),
    Case(
        "number-not-whole",
        "    count: 2",
        f"    count: 2.5{HERE}",
        "hosts.worker.count",
        "a whole number is needed",
        "write `2`",
    ),
    Case(
        "text-as-number",
        "        display_name: Virtual Observatory",
        f"        display_name: 42{HERE}",
        f"{HUB}.profiles[0].display_name",
        "a text is needed",
        'write `"42"`, in quotes',
    ),
    Case(
        "bool-as-number",
        "    count: 2",
        f"    count: true{HERE}",
        "hosts.worker.count",
        "`true` is here, and a whole number is needed",
        "write `2`",
    ),
    Case(
        "list-where-mapping",
        "  homes: {size: 50GiB, mount: /srv/shared}",
        "  - homes",
        "shared",
        "`[homes]` is here, and a mapping (`key: value`) is needed",
        "write `{homes: {mount: /srv/shared, size: 50GiB}}`",
        line=27,
    ),
    Case(
        "user-as-text",
        "        - name: bob",
        f"        - bob{HERE}",
        f"{HUB}.authenticator.users[1]",
        "a mapping",
        "write `{name: bob}`",
    ),
    Case(
        "space-as-text",
        "  homes: {size: 50GiB, mount: /srv/shared}",
        f"  homes: /srv/shared{HERE}",
        "shared.homes",
        "a mapping (`key: value`) is needed",
        "write `{size: 50GiB, mount: /srv/shared}`",
    ),
    Case(
        "bool-as-word",
        "        default: true",
        f"        default: maybe{HERE}",
        f"{HUB}.profiles[0].default",
        "`maybe` is here, and `true` or `false` is needed",
        "write `true` or `false` here",
    ),
    Case(
        "list-needed",
        "      admins: [ada]",
        f"      admins: ada{HERE}",
        f"{HUB}.authenticator.admins",
        "`ada` is here, and a list (`- item`) is needed",
        "write `[astronomer]`",
    ),
    # choices
    Case(
        "cloud-unknown",
        "cloud: local",
        f"cloud: locale{HERE}",
        "cloud",
        "Did you mean `local`?",
        "write `local` or `openstack`",
    ),
    Case(
        "role-with-dash",
        "    role: control_plane",
        f"    role: control-plane{HERE}",
        "hosts.control.role",
        "Did you mean `control_plane`?",
        "`control_plane`",
    ),
    Case(
        "backend-unknown",
        "  backend: host-gw",
        f"  backend: calico{HERE}",
        "network.backend",
        "`calico` is not one of the choices",
        "write `host-gw` or `vxlan`",
    ),
    Case(
        "mirror-latest",
        "  source: build",
        f"  source: build\n  mirror: [quay.io/jupyter/base-notebook:latest]{HERE}",
        "images.mirror[0]",
        "is another image every day",
        "quay.io/jupyter/base-notebook:2026-11-02",
    ),
    Case(
        "mirror-no-registry",
        "  source: build",
        f"  source: build\n  mirror: [jupyter/base-notebook:2026-11-02]{HERE}",
        "images.mirror[0]",
        "does not say which registry",
        "write `docker.io/jupyter/base-notebook:2026-11-02`",
    ),
    Case(
        "mirror-own",
        "  source: build",
        f"  source: build\n  mirror: [notebook]{HERE}",
        "images.mirror[0]",
        "`notebook` is no image's full reference",
        "write registry, path and tag",
    ),
    Case(
        "platforms-unknown",
        "  source: build",
        f"  source: build\n  platforms: amd64{HERE}",
        "images.platforms",
        "`amd64` is not one of the choices",
        "write `hosts` or `all`",
    ),
    Case(
        "downloads-plain",
        "  source: build",
        f"  source: build\n  downloads:\n    https://github.com/: http://files.example.org/{HERE}",
        "images.downloads.https://github.com/",
        "`http://files.example.org/` is no place of downloads",
        "from `https://` to a `/`",
    ),
    Case(
        "source-unknown",
        "  source: build",
        f"  source: biuld{HERE}",
        "images.source",
        "Did you mean `build`?",
        "write `auto` or `build` or `mirror`",
    ),
    *(
        Case(
            f"{later}-later",
            "      class: native",
            f"      class: {later}{HERE}",
            f"{HUB}.authenticator.class",
            f"`{later}` comes in a later release",
            "write `native` for now",
        )
        for later in ("github", "egi")
    ),
    # names
    Case("name-capital", "name: demo", f"name: Demo{HERE}", "name", "lower-case", "write `demo`"),
    Case("name-underscore", "name: demo", f"name: de_mo{HERE}", "name", "name", "write `de-mo`"),
    Case("name-digit", "name: demo", f"name: 1demo{HERE}", "name", "a letter first", "`demo`"),
    Case("name-dash-end", "name: demo", f"name: demo-{HERE}", "name", "at the end", "`demo`"),
    Case("name-long", "name: demo", f"name: {'d' * 64}{HERE}", "name", "64 characters", "shorter"),
    Case(
        "group-name",
        "  control:\n",
        f"  Control:{HERE}\n",
        "hosts.Control",
        "cannot be a name",
        "write `control`",
    ),
    Case(
        "names-together-long",
        "  control:\n",
        f"  {'c' * 58}:{HERE}\n",
        f"hosts.{'c' * 58}",
        "makes a name of 65 characters",
        "by 2",
    ),
    Case(
        "volume-name-long",
        DATA,
        f"{DATA}      {'v' * 50}: {{size: 1GiB, mount: /srv/v}}{HERE}\n",
        f"hosts.worker.volumes.{'v' * 50}",
        "makes a name of 64 characters",
        "shorten the name of the volume by 1",
    ),
    Case(
        "space-name-long",
        "shared:\n",
        f"shared:\n  {'s' * 60}: {{size: 1GiB, mount: /srv/s}}{HERE}\n",
        f"shared.{'s' * 60}",
        "makes a name of 65 characters",
        "shorten the name of the space by 2",
    ),
    Case(
        "disk-names-clash",
        "shared:\n",
        f"shared:\n  worker-1-data: {{size: 1GiB, mount: /srv/s}}{HERE}\n",
        "shared.worker-1-data",
        "its disk would be named `worker-1-data`",
        "another name",
    ),
    Case(
        "volume-and-space-of-one-name",
        DATA,
        f"{DATA}      homes: {{size: 1GiB, mount: /srv/h}}{HERE}\n",
        "hosts.worker.volumes.homes",
        "shared.homes has the same name",
        "another name",
    ),
    Case(
        "domain-one-label",
        "domain: demo.example.org",
        f"domain: demo{HERE}",
        "domain",
        "has no dot",
        "write `demo.armillary.internal`",
    ),
    Case(
        "domain-url",
        "domain: demo.example.org",
        f"domain: https://demo.org{HERE}",
        "domain",
        "is not a domain",
        "science.example.org",
    ),
    Case(
        "domain-dots",
        "domain: demo.example.org",
        f"domain: demo..org{HERE}",
        "domain",
        "`` cannot be a part",
        "science.example.org",
    ),
    Case(
        "domain-local",
        "domain: demo.example.org",
        f"domain: demo.local{HERE}",
        "domain",
        "multicast",
        "write `demo.internal`",
    ),
    Case(
        "domain-long",
        "domain: demo.example.org",
        f"domain: {'abc.' * 50}org{HERE}",
        "domain",
        "203 characters",
        "shorter",
    ),
    # networks
    Case(
        "cidr-bad",
        "  hosts: 10.77.0.0/24",
        f"  hosts: 10.77.0.300/24{HERE}",
        "network.hosts",
        "is not a network",
        "`10.77.0.0/24`",
    ),
    Case(
        "cidr-host-bits",
        "  hosts: 10.77.0.0/24",
        f"  hosts: 10.77.0.1/24{HERE}",
        "network.hosts",
        "host bits set",
        "write `10.77.0.0/24`",
    ),
    Case(
        "cidr-no-prefix",
        "  hosts: 10.77.0.0/24",
        f"  hosts: 10.78.0.0{HERE}",
        "network.hosts",
        "no prefix length",
        "write `10.78.0.0/24`",
    ),
    Case(
        "cidr-netmask",
        "  hosts: 10.77.0.0/24",
        f"  hosts: 10.77.0.0/255.255.255.0{HERE}",
        "network.hosts",
        "is not a prefix length",
        "write `10.77.0.0/24`",
    ),
    Case(
        "cidr-number",
        "  hosts: 10.77.0.0/24",
        f"  hosts: 10.77{HERE}",
        "network.hosts",
        "`10.77` is not a network",
        "CIDR",
    ),
    Case(
        "cidr-ipv6",
        "  pods: 10.244.0.0/16",
        f"  pods: fd00::/48{HERE}",
        "network.pods",
        "IPv6, which this release cannot do",
        "IPv4",
    ),
    Case(
        "cidr-public",
        "  pods: 10.244.0.0/16",
        f"  pods: 8.8.0.0/16{HERE}",
        "network.pods",
        "not private",
        "192.168.0.0/16",
    ),
    Case(
        "cidr-overlap-hosts-pods",
        "  pods: 10.244.0.0/16",
        f"  pods: 10.64.0.0/12{HERE}",
        "network.pods",
        "overlaps network.hosts (`10.77.0.0/24`)",
        "`10.244.0.0/16`",
    ),
    Case(
        "cidr-overlap-pods-services",
        "  services: 10.96.0.0/16",
        f"  services: 10.244.0.0/20{HERE}",
        "network.services",
        "overlaps network.pods",
        "`10.96.0.0/16`",
    ),
    Case(
        "hosts-network-small",
        "  hosts: 10.77.0.0/24",
        f"  hosts: 10.77.0.0/27{HERE}",
        "network.hosts",
        "host `worker-2` takes address number 31 of `10.77.0.0/27`, which ends at 30",
        "`10.77.0.0/24`",
    ),
    Case(
        "pods-network-small",
        "  pods: 10.244.0.0/16",
        f"  pods: 10.244.0.0/23{HERE}",
        "network.pods",
        "room for 2 hosts; there are 3",
        "`10.244.0.0/16`",
    ),
    Case(
        "pods-network-tiny",
        "  pods: 10.244.0.0/16",
        f"  pods: 10.244.0.0/25{HERE}",
        "network.pods",
        "room for 0 hosts",
        "`10.244.0.0/16`",
    ),
    Case(
        "services-network-small",
        "  services: 10.96.0.0/16",
        f"  services: 10.96.0.0/28{HERE}",
        "network.services",
        "too small",
        "`10.96.0.0/16`",
    ),
    Case(
        "services-network-large",
        "  services: 10.96.0.0/16",
        f"  services: 10.128.0.0/11{HERE}",
        "network.services",
        "too large",
        "`10.128.0.0/16`",
    ),
    # hosts
    Case(
        "control-planes-two",
        CONTROL,
        f"{CONTROL}    count: 2{HERE}\n",
        "hosts.control.count",
        "2 control planes: of an even number",
        "write `count: 1` or 3",
    ),
    Case(
        "control-planes-four",
        CONTROL,
        f"{CONTROL}    count: 4{HERE}\n",
        "hosts.control.count",
        "even number",
        "write `count: 3`",
    ),
    Case(
        "control-planes-five",
        CONTROL,
        f"{CONTROL}    count: 5{HERE}\n",
        "hosts.control.count",
        "knows 1 or 3",
        "write `count: 3`",
    ),
    Case(
        "control-plane-groups-two",
        "  control:\n",
        "  ctl:\n    role: control_plane\n    flavor: small\n  control:\n",
        "hosts.control.role",
        "a second group of role `control_plane`; `ctl` is one already",
        "`count: 3` in `ctl`",
        line=22,
    ),
    Case(
        "services-two",
        "    role: services\n",
        f"    role: services\n    count: 2{HERE}\n",
        "hosts.services.count",
        "exactly one",
        "write `count: 1`",
    ),
    Case(
        "services-groups-two",
        "  control:\n",
        "  more:\n    role: services" + HERE + "\n    flavor: small\n" + REGISTRY + "  control:\n",
        "hosts.more.role",
        "a second group of role `services`",
        "take one of the two groups out",
    ),
    Case(
        "services-none",
        "  services:\n    role: services\n    flavor: small\n" + REGISTRY,
        "",
        "hosts",
        "no group has the role `services`",
        "add `services: {role: services",
        line=12,
    ),
    Case(
        "control-plane-none",
        "  control:\n" + CONTROL,
        "",
        "hosts",
        "no group has the role `control_plane`",
        "add `control: {role: control_plane",
        line=12,
    ),
    Case(
        "workers-none",
        WORKER + DATA,
        "",
        "hosts",
        "no group has the role `worker`",
        "add `worker: {role: worker, count: 2",
        line=12,
    ),
    Case(
        "count-zero",
        "    count: 2",
        f"    count: 0{HERE}",
        "hosts.worker.count",
        "a group of 0 hosts",
        "take the group out",
    ),
    Case(
        "count-negative",
        "    count: 2",
        f"    count: -1{HERE}",
        "hosts.worker.count",
        "a group of -1 hosts",
        "`count: 1` or more",
    ),
    Case(
        "count-above-slots",
        "    count: 2",
        f"    count: 226{HERE}",
        "hosts.worker.count",
        "host `worker-226` takes address number 255 of `10.77.0.0/24`, which ends at 254",
        "write 225 or less",
    ),
    Case(
        "count-absurd",
        "    count: 2",
        f"    count: 5000{HERE}",
        "hosts.worker.count",
        "too many",
        "1000 or less",
    ),
    Case(
        "slots-of-two-groups",
        "shared:\n",
        "  gpu:"
        + HERE
        + "\n    role: worker\n    flavor: large\n    volumes:\n"
        + DATA
        + "shared:\n",
        "hosts.gpu.first_slot",
        "addresses of `worker`'s: slots 30 to 30, and 30 to 31",
        "write `first_slot: 60` in `gpu`",
    ),
    Case(
        "slot-of-control-plane",
        CONTROL,
        f"{CONTROL}    first_slot: 40{HERE}\n",
        "hosts.control.first_slot",
        "start at slot 20 always",
        "take the line out",
    ),
    Case(
        "slot-low",
        "    count: 2",
        f"    first_slot: 5{HERE}",
        "hosts.worker.first_slot",
        "5 is too few",
        "from 30",
    ),
    Case(
        "flavor-unknown",
        "    flavor: large",
        f"    flavor: larg{HERE}",
        "hosts.worker.flavor",
        "no flavor `larg`. Did you mean `large`?",
        "(`small`, `large`)",
    ),
    Case(
        "control-plane-cpus",
        "  small: {cpus: 2,",
        "  small:\n    {cpus: 1,",
        "flavors.small.cpus",
        "1 is too few for hosts.control: the role `control_plane` needs 2",
        "write `cpus: 2`",
        line=11,
    ),
    Case(
        "control-plane-memory",
        "  small: {cpus: 2, memory: 2GiB, disk: 10GiB}",
        f"  small: {{cpus: 2, memory: 1536MiB, disk: 10GiB}}{HERE}",
        "flavors.small.memory",
        "1536MiB is too little for hosts.control",
        "write `memory: 2GiB`",
    ),
    Case(
        "services-memory",
        LARGE,
        f"{LARGE}\n  tiny: {{cpus: 1, memory: 768MiB, disk: 10GiB}}{HERE}",
        "flavors.tiny.memory",
        "768MiB is too little for hosts.services: the role `services` needs 1GiB",
        "write `memory: 1GiB` or more",
        also=("    role: services\n    flavor: small", "    role: services\n    flavor: tiny"),
    ),
    Case(
        "worker-memory-for-profile",
        LARGE,
        f"  large: {{cpus: 2, memory: 3GiB, disk: 20GiB}}{HERE}",
        "flavors.large.memory",
        "`vo` is guaranteed 2560MiB, and a worker needs 1GiB for itself, which makes 3584MiB",
        "write `memory: 4GiB` or more",
        also=(
            "memory_limit: 2GiB\n        memory_guarantee: 512MiB",
            "memory_limit: 2560MiB\n        memory_guarantee: 2560MiB",
        ),
    ),
    Case(
        "worker-cpus-for-profile",
        LARGE,
        f"{LARGE}{HERE}",
        "flavors.large.cpus",
        "`vo` is guaranteed 2, and a worker needs 0.5 for itself, which makes 2.5",
        "write `cpus: 3` or more",
        also=("        cpu_limit: 2\n", "        cpu_limit: 2\n        cpu_guarantee: 2\n"),
    ),
    Case(
        "profile-cpus-above-worker",
        "        cpu_limit: 2",
        f"        cpu_limit: 4{HERE}",
        f"{HUB}.profiles[0].cpu_limit",
        "the largest worker has 2",
        "write `cpu_limit: 2` or less",
    ),
    Case(
        "profile-memory-above-worker",
        "        memory_limit: 2GiB",
        f"        memory_limit: 6GiB{HERE}",
        f"{HUB}.profiles[0].memory_limit",
        "more than the largest worker has: 6GiB, of which 1GiB is its own",
        "write `memory_limit: 5GiB` or less",
    ),
    Case(
        "cpus-zero",
        LARGE,
        f"  large: {{cpus: 0, memory: 6GiB, disk: 20GiB}}{HERE}",
        "flavors.large.cpus",
        "0 is too few processors",
        "from 1 to 512",
    ),
    # sizes
    *(
        Case(
            f"size-{written}",
            DATA,
            f"      data: {{size: {written}, mount: /var/lib/armillary/data}}{HERE}\n",
            "hosts.worker.volumes.data.size",
            wrong,
            fix,
        )
        for written, wrong, fix in (
            ("20GB", "the unit of `20GB` must be written `GiB`", "write `20GiB`"),
            ("20G", "must be written `GiB`", "write `20GiB`"),
            ("20gib", "must be written `GiB`", "write `20GiB`"),
            ("20 GiB", "no space before it", "write `20GiB`"),
            ("1.5GiB", "has a fraction", "write `1536MiB`"),
            ("1536MiB", "not a whole number of GiB", "write `2GiB`"),
            ("20", "`20` has no unit", "write `20GiB`"),
            ("512MiB", "is too small: a disk has 1GiB or more", "write `1GiB`"),
            ("0GiB", "no room at all", "such as `20GiB`"),
            ("-5GiB", "`-5GiB` is not a size", "whole number"),
            ("20furlongs", "`furlongs` in `20furlongs` is not a unit", "MiB, GiB or TiB"),
            ("large", "`large` is not a size", "`20GiB`"),
            ("true", "a size is needed here", "`20GiB`"),
        )
    ),
    Case(
        "memory-of-flavor",
        LARGE,
        f"  large: {{cpus: 2, memory: 256MiB, disk: 20GiB}}{HERE}",
        "flavors.large.memory",
        "too little memory for a host",
        "`512MiB` or more",
    ),
    Case(
        "disk-of-flavor",
        LARGE,
        f"  large: {{cpus: 2, memory: 6GiB, disk: 2GiB}}{HERE}",
        "flavors.large.disk",
        "is too small: Debian, Kubernetes",
        "`4GiB` or more",
    ),
    # volumes and mounts
    Case(
        "registry-volume-missing",
        REGISTRY,
        "",
        "hosts.services.volumes",
        "no volume is mounted at /var/lib/registry",
        "add `volumes: {registry: {size: 20GiB, mount: /var/lib/registry}}`",
        line=13,
    ),
    Case(
        "data-volume-elsewhere",
        "    volumes:\n" + DATA,
        f"    volumes:{HERE}\n      data: {{size: 20GiB, mount: /srv/data}}\n",
        "hosts.worker.volumes",
        "no volume is mounted at /var/lib/armillary/data",
        "mount: /var/lib/armillary/data}}`",
    ),
    *(
        Case(
            f"mount-{mount}",
            "  homes: {size: 50GiB, mount: /srv/shared}",
            f"  homes: {{size: 50GiB, mount: {mount}}}{HERE}",
            "shared.homes.mount",
            wrong,
            fix,
        )
        for mount, wrong, fix in (
            ("srv/shared", "is not an absolute path", "write `/srv/srv/shared`"),
            ("/", "belongs to the system", "such as `/srv/data`"),
            ("/etc", "belongs to the system", "such as `/srv/data`"),
            ("/usr/share/homes", "belongs to the system", "such as `/srv/data`"),
            ("/var/lib", "belongs to the system", "inside it, such as `/var/lib/data`"),
            ("//etc/", "belongs to the system", "such as `/srv/data`"),
            ("/srv/../etc", "has `..` in it", "the path it ends at"),
            ("/srv/shared/", "is not written plainly", "write `/srv/shared`"),
            ("/srv/sha red", "characters that paths", "such as `/srv/data`"),
            ("/var/lib/armillary/data", "is where hosts.worker.volumes.data is", "`/srv/homes-2`"),
            ("/var/lib/armillary/data/h", "is inside `/var/lib/armillary/data`", "of its own"),
        )
    ),
    Case(
        "mount-twice-in-a-group",
        DATA,
        f"{DATA}      more: {{size: 1GiB, mount: /var/lib/armillary/data}}{HERE}\n",
        "hosts.worker.volumes.more.mount",
        "is where hosts.worker.volumes.data is mounted",
        "write a directory of its own",
    ),
    Case(
        "mount-holds-another",
        DATA,
        f"      deep: {{size: 1GiB, mount: /srv/x/y}}\n"
        f"      top: {{size: 1GiB, mount: /srv/x}}{HERE}\n{DATA}",
        "hosts.worker.volumes.top.mount",
        "`/srv/x` holds `/srv/x/y`",
        "write a directory of its own",
    ),
    Case(
        "homes-missing",
        "  homes: {size: 50GiB",
        "  home: {size: 50GiB",
        "shared",
        "no space `homes`: JupyterHub keeps the homes of users there. Is `home` meant",
        "add `shared: {homes: {size: 50GiB, mount: /srv/shared}}`",
        line=27,
    ),
    # users
    Case(
        "users-empty",
        f"      users:\n{USERS}      admins: [ada]",
        f"      users: []{HERE}",
        f"{HUB}.authenticator.users",
        "nobody could log in",
        "add a user",
    ),
    Case(
        "user-twice",
        "        - name: bob",
        f"        - name: ada{HERE}",
        f"{HUB}.authenticator.users[1].name",
        "`ada` is listed twice",
        "take one",
    ),
    Case(
        "user-capital",
        "        - name: bob",
        f"        - name: Bob{HERE}",
        f"{HUB}.authenticator.users[1].name",
        "cannot be a user's name",
        "write `bob`",
    ),
    Case(
        "user-path",
        "        - name: bob",
        f"        - name: ../ada{HERE}",
        f"{HUB}.authenticator.users[1].name",
        "cannot be a user's name",
        "write `ada`",
    ),
    Case(
        "admin-unknown",
        "      admins: [ada]",
        f"      admins: [adam]{HERE}",
        f"{HUB}.authenticator.admins[0]",
        "`adam` is not one of the users. Did you mean `ada`?",
        "add `{name: adam}` to users",
    ),
    Case(
        "admin-twice",
        "      admins: [ada]",
        f"      admins: [ada, ada]{HERE}",
        f"{HUB}.authenticator.admins[1]",
        "`ada` is listed twice",
        "take one",
    ),
    # profiles
    Case(
        "profiles-empty",
        f"    profiles:\n{PROFILE}",
        f"    profiles: []{HERE}\n",
        f"{HUB}.profiles",
        "nothing to choose from",
        "add `- {name: vo",
    ),
    Case(
        "profiles-without-default",
        "    profiles:\n",
        f"    profiles:{HERE}\n",
        f"{HUB}.profiles",
        "no profile is the default",
        "add `default: true` to one of them, such as `vo`",
        also=("        default: true\n", ""),
    ),
    Case(
        "profiles-with-two-defaults",
        PROFILE,
        f"{PROFILE}{SECOND}{HERE}\n",
        f"{HUB}.profiles[1].default",
        "`big` is the default, and so is `vo`",
        "at one of them",
    ),
    Case(
        "profile-twice",
        PROFILE,
        PROFILE + SECOND.replace("big", "vo").replace(", default: true", "") + HERE + "\n",
        f"{HUB}.profiles[1].name",
        "`vo` is the name of profile 1 as well",
        "another name",
    ),
    Case(
        "guarantee-above-limit",
        "        memory_guarantee: 512MiB",
        f"        memory_guarantee: 3GiB{HERE}",
        f"{HUB}.profiles[0].memory_guarantee",
        "3GiB is more than memory_limit, 2GiB",
        "write `memory_guarantee: 2GiB` or less",
    ),
    Case(
        "cpu-guarantee-above-limit",
        "        cpu_limit: 2",
        f"        cpu_limit: 1\n        cpu_guarantee: 1.5{HERE}",
        f"{HUB}.profiles[0].cpu_guarantee",
        "1.5 is more than cpu_limit, 1",
        "or a larger cpu_limit",
    ),
    Case(
        "title-empty",
        "        display_name: Virtual Observatory",
        f'        display_name: " "{HERE}',
        f"{HUB}.profiles[0].display_name",
        "one line of 1 to 80",
        "Virtual Observatory",
    ),
    *(
        Case(
            f"image-{written}",
            "        image: notebook",
            f"        image: {written}{HERE}",
            f"{HUB}.profiles[0].image",
            wrong,
            fix,
        )
        for written, wrong, fix in (
            ("notebok", "Did you mean `notebook`?", "write `notebook`"),
            ("hub", "not an image of this project", "or a full reference"),
            ("jupyter/scipy:1", "does not say which registry", "`docker.io/jupyter/scipy:1`"),
            ("quay.io/jupyter/scipy", "has no tag", "`quay.io/jupyter/scipy:2026-11-02`"),
            ("quay.io/a/b:latest", "is another image every day", "fixed tag or a digest"),
            ("Quay.IO/a b", "not an image", "full reference"),
        )
    ),
    # durations
    *(
        Case(
            f"idle-{written}",
            "    culling: {idle: 1h}",
            f"    culling: {{idle: {written}}}{HERE}",
            f"{HUB}.culling.idle",
            wrong,
            fix,
        )
        for written, wrong, fix in (
            ("60", "`60` has no unit", "write `60m`"),
            ("1 hour", "`1 hour` is not a duration", "such as `1h`"),
            ("-1h", "is not a duration", "such as `1h`"),
            ('""', "is not a duration", "such as `1h`"),
            ("1m", "too short: servers report activity every 5 minutes", "`10m` or more"),
            ("1000h", "longer than 30 days", "`720h` or less"),
        )
    ),
    # OpenStack
    *(
        Case(id, old, new, path, wrong, fix, line, base=OPENSTACK)
        for id, old, new, path, wrong, fix, line in (
            (
                "openstack-flavor-unnamed",
                "  small: {name: m1.small, cpus: 2, memory: 2GiB, disk: 10GiB}",
                f"  small: {{cpus: 2, memory: 2GiB, disk: 10GiB}}{HERE}",
                "flavors.small.name",
                "`name` is missing: which flavor of the cloud it is",
                "`openstack flavor list` shows and that has at least 2 processors, 2GiB and 10GiB",
                0,
            ),
            (
                "openstack-key-misspelt",
                "  external_network: public",
                f"  externalnetwork: public{HERE}",
                "openstack.externalnetwork",
                "Did you mean `external_network`?",
                "write `external_network`",
                0,
            ),
            (
                "openstack-image-missing",
                "  image: debian-12\n",
                "",
                "openstack.image",
                "`image` is missing",
                "add `image: debian-12`",
                9,
            ),
            (
                "openstack-name-empty",
                "  image: debian-12",
                f'  image: " "{HERE}',
                "openstack.image",
                "one line of 1 to 255 characters",
                "as `openstack ... list` shows it",
                0,
            ),
            (
                "openstack-name-with-space",
                "  cloud: science",
                f'  cloud: "science "{HERE}',
                "openstack.cloud",
                "no space at its ends",
                "write `science`",
                0,
            ),
            (
                "openstack-network-as-text",
                "  external_network: public",
                f"  external_network: public\n  network: science-net{HERE}",
                "openstack.network",
                "a mapping (`key: value`) is needed",
                "write `{name: science-net, subnet: science-subnet}`",
                0,
            ),
            (
                "openstack-subnet-missing",
                "  external_network: public",
                f"  external_network: public\n  network: {{name: science-net}}{HERE}",
                "openstack.network.subnet",
                "`subnet` is missing",
                "add `subnet: science-subnet`",
                0,
            ),
            (
                "openstack-dns-server",
                "[192.0.2.53]",
                f"[dns.example.org]{HERE}",
                "openstack.dns_servers[0]",
                "`dns.example.org` is not an IPv4 address",
                "such as `192.0.2.53`",
                0,
            ),
            (
                "openstack-dns-server-twice",
                "[192.0.2.53]",
                f"[192.0.2.53, 192.0.2.53]{HERE}",
                "openstack.dns_servers[1]",
                "`192.0.2.53` is listed twice",
                "take one of the two out",
                0,
            ),
            (
                "openstack-floating-ip-of-nobody",
                "    services-1: 198.51.100.7",
                f"    services: 198.51.100.7{HERE}",
                "openstack.floating_ips.services",
                "no host `services`. Did you mean `services-1`?",
                "write one of the hosts: `services-1`, `control-1`",
                0,
            ),
            (
                "openstack-floating-ip-not-one",
                "    services-1: 198.51.100.7",
                f"    services-1: newer{HERE}",
                "openstack.floating_ips.services-1",
                "`newer` is neither `new` nor an IPv4 address",
                "write `new`, or an address of the project",
                0,
            ),
            (
                "openstack-floating-ip-twice",
                "    services-1: 198.51.100.7\n",
                f"    services-1: 198.51.100.7\n    worker-1: 198.51.100.7{HERE}\n",
                "openstack.floating_ips.worker-1",
                "is the floating IP of `services-1` already",
                "write `new`",
                0,
            ),
            (
                "openstack-access-unknown",
                "  access: bastion",
                f"  access: bastoin{HERE}",
                "openstack.access",
                "Did you mean `bastion`?",
                "write `bastion` or `direct`",
                0,
            ),
            (
                "openstack-allow-from-host-bits",
                "[192.0.2.0/24]",
                f"[192.0.2.7/24]{HERE}",
                "openstack.allow_from[0]",
                "is not how the network is written",
                "write `192.0.2.0/24`",
                0,
            ),
            (
                "openstack-allow-from-name",
                "[192.0.2.0/24]",
                f"[everybody]{HERE}",
                "openstack.allow_from[0]",
                "`everybody` is not an IPv4 network",
                "or `192.0.2.7/32` for one address",
                0,
            ),
            (
                "openstack-allow-from-nobody",
                "[192.0.2.0/24]",
                f"[]{HERE}",
                "openstack.allow_from",
                "nobody could connect",
                "or take the line out for all",
                0,
            ),
            (
                "openstack-load-balancer-unknown",
                "  access: bastion",
                f"  load_balancer: haproxy{HERE}",
                "openstack.load_balancer",
                "`haproxy` is not one of the choices",
                "write `none` or `octavia`",
                0,
            ),
            (
                "openstack-policy-unknown",
                "  access: bastion",
                f"  server_group_policy: affinity{HERE}",
                "openstack.server_group_policy",
                "`affinity` is not one of the choices",
                "`soft-anti-affinity` or `anti-affinity`",
                0,
            ),
            (
                "openstack-s3-for-nobody",
                "  access: bastion",
                f"  s3: true{HERE}",
                "openstack.s3",
                "nobody is named who gets one",
                "add `object_store: {containers:",
                0,
            ),
            (
                "openstack-keys-without-consent",
                "components:\n",
                f"components:\n  object_store:\n    containers:\n      archive:\n        read: [spark]{HERE}\n",
                "components.object_store.containers.archive.read",
                "`spark` would get a key of S3, and OpenStack cannot restrict one",
                "add `s3: true` under `openstack`",
                0,
            ),
            (
                "openstack-replicas",
                "components:\n",
                "components:\n  object_store:\n"
                f"    replicas: 3{HERE}\n    containers: {{archive: {{}}}}\n",
                "components.object_store.replicas",
                "3 replicas; the cloud's own object store decides",
                "take the line out",
                0,
            ),
            (
                "openstack-boot-volume-as-bool",
                "  access: bastion",
                f"  boot_volume: true{HERE}",
                "openstack.boot_volume",
                "`true` is here, and a mapping",
                "write `{type: ssd}`",
                0,
            ),
            (
                "backup-at-without-quotes",
                "flavors:\n",
                f"backup:\n  at: 12:30{HERE}\nflavors:\n",
                "backup.at",
                "`12:30` is another number than it looks like to YAML",
                'or `"12:30"` if the text is meant',
                0,
            ),
            (
                "backup-at-no-time",
                "flavors:\n",
                f"backup:\n  at: midnight{HERE}\nflavors:\n",
                "backup.at",
                "`midnight` is not a time of day",
                'write it as `"03:30"`',
                0,
            ),
            (
                "openstack-exports-taken",
                REGISTRY,
                REGISTRY + f"      x: {{size: 1GiB, mount: /var/lib/armillary/exports}}{HERE}\n",
                "hosts.services.volumes.x.mount",
                "is where this host keeps the shared spaces it serves",
                "such as `/srv/x`",
                0,
            ),
        )
    ),
    Case(
        "openstack-without-section",
        OPENSTACK[OPENSTACK.index("openstack:\n") : OPENSTACK.index("flavors:\n")],
        "",
        "openstack",
        "`openstack` is missing",
        "add `openstack: {cloud: science, image: debian-12, external_network: public}`",
        line=1,
        base=OPENSTACK,
    ),
    Case(
        "openstack-key-to-the-backups",
        "components:\n",
        "backup: {}\ncomponents:\n  object_store:\n    containers:\n"
        f"      backup:{HERE}\n        read: [spark]\n",
        f"{STORE}.containers.backup",
        "whoever has a key of it could delete them",
        "give one of the two another name",
        also=("  access: bastion", "  access: bastion\n  s3: true"),
        base=OPENSTACK,
    ),
    Case(
        "backup-on-local",
        "flavors:\n",
        f"backup: {{container: backup}}{HERE}\nflavors:\n",
        "backup",
        "that of `local` is on the machine of the homes",
        "take `backup` out",
    ),
    *(
        Case(
            f"objects-{name}",
            old,
            new,
            path,
            wrong,
            fix,
            also=TINY if name == "memory" else ("", ""),
            base=OBJECTS,
        )
        for name, old, new, path, wrong, fix in (
            (
                "without-containers",
                "    containers:\n      archive:\n        quota: 10GiB\n        write: [alerts]\n        read: [spark]\n",
                f"    containers: {{}}{HERE}\n",
                f"{STORE}.containers",
                "an object store without a container",
                "add `archive: {write: [alerts]}`",
            ),
            (
                "without-a-volume",
                "    volumes:\n      registry: {size: 20GiB, mount: /var/lib/registry}\n"
                "      objects: {size: 20GiB, mount: /var/lib/armillary/objects/d1}\n",
                f"    volumes:{HERE}\n      registry: {{size: 20GiB, mount: /var/lib/registry}}\n",
                "hosts.services.volumes",
                "no volume is mounted below /var/lib/armillary/objects",
                "add `objects1: {size: 20GiB, mount: /var/lib/armillary/objects/d1}` to hosts.services.volumes",
            ),
            (
                "volume-not-below",
                "objects: {size: 20GiB, mount: /var/lib/armillary/objects/d1}",
                f"objects: {{size: 20GiB, mount: /var/lib/armillary/objects}}{HERE}",
                "hosts.services.volumes.objects.mount",
                "directly below /var/lib/armillary/objects",
                "write `/var/lib/armillary/objects/objects`",
            ),
            (
                "volume-too-far-below",
                "objects: {size: 20GiB, mount: /var/lib/armillary/objects/d1}",
                f"objects: {{size: 20GiB, mount: /var/lib/armillary/objects/a/b}}{HERE}",
                "hosts.services.volumes.objects.mount",
                "directly below /var/lib/armillary/objects",
                "write `/var/lib/armillary/objects/objects`",
            ),
            (
                "more-replicas-than-volumes",
                "    replicas: 1",
                f"    replicas: 2{HERE}",
                f"{STORE}.replicas",
                "2 replicas need as many volumes below /var/lib/armillary/objects",
                "add `objects2: {size: 20GiB, mount: /var/lib/armillary/objects/d2}` to hosts.services.volumes, or "
                "write `replicas: 1`",
            ),
            (
                "no-replicas",
                "    replicas: 1",
                f"    replicas: 0{HERE}",
                f"{STORE}.replicas",
                "0 is too few replicas",
                "write a number from 1 to 5",
            ),
            (
                "quota-without-room",
                "        quota: 10GiB",
                f"        quota: 21GiB{HERE}",
                f"{STORE}.containers.archive.quota",
                "21GiB is more than the volumes below /var/lib/armillary/objects hold: 20GiB",
                "write `quota: 20GiB` or less",
            ),
            (
                "quota-without-unit",
                "        quota: 10GiB",
                f"        quota: 10{HERE}",
                f"{STORE}.containers.archive.quota",
                "`10` has no unit",
                "write `10GiB`",
            ),
            (
                "name-of-a-container",
                "      archive:\n",
                f"      archive/raw:{HERE}\n",
                f"{STORE}.containers.archive/raw",
                "cannot be a name",
                "write `archive-raw`",
            ),
            (
                "name-of-a-container-long",
                "      archive:\n",
                f"      {'c' * 60}:{HERE}\n",
                f"{STORE}.containers.{'c' * 60}",
                "makes a name of 65 characters",
                "shorten it by 2",
            ),
            (
                "name-of-a-service",
                "        write: [alerts]",
                f"        write: [Alerts]{HERE}",
                f"{STORE}.containers.archive.write[0]",
                "cannot be a user's name",
                "write `alerts`",
            ),
            (
                "writer-twice",
                "        write: [alerts]",
                f"        write: [alerts, alerts]{HERE}",
                f"{STORE}.containers.archive.write[1]",
                "`alerts` is listed twice",
                "take one of the two out",
            ),
            (
                "writer-and-reader",
                "        read: [spark]",
                f"        read: [alerts]{HERE}",
                f"{STORE}.containers.archive.read[0]",
                "under `write` too, which includes reading",
                "take it out of one of the two",
            ),
            (
                "operator",
                "        read: [spark]",
                f"        read: [operator]{HERE}",
                f"{STORE}.containers.archive.read[0]",
                "whose key makes the containers",
                "another name",
            ),
            (
                "memory",
                "  small: {cpus: 2, memory: 2GiB, disk: 10GiB}",
                f"  small: {{cpus: 2, memory: 2GiB, disk: 10GiB}}\n  tiny: {{cpus: 2, memory: 1GiB, disk: 10GiB}}{HERE}",
                "flavors.tiny.memory",
                "1GiB is too little for hosts.services with an object store: it needs 2GiB",
                "write `memory: 2GiB` or more",
            ),
        )
    ),
    Case(
        "openstack-section-on-local",
        "flavors:\n",
        f"openstack: {{cloud: a, image: b, external_network: c}}{HERE}\nflavors:\n",
        "openstack",
        "the hosts come from cloud `local`",
        "or write `cloud: openstack`",
    ),
    Case(
        "flavor-name-on-local",
        LARGE,
        f"  large: {{name: m1.large, cpus: 2, memory: 6GiB, disk: 20GiB}}{HERE}",
        "flavors.large.name",
        "cloud `local` has no such names of flavors",
        "take it out",
    ),
    *(
        Case(
            f"group-{key}-on-local",
            "    role: control_plane\n",
            f"    role: control_plane\n    {key}: {value}{HERE}\n",
            f"hosts.control.{key}",
            f"cloud `local` has no such names of {key.replace('_', ' ').removesuffix('s')}s",
            "take it out",
        )
        for key, value in (
            ("image", "debian-12"),
            ("availability_zones", "[az1]"),
            ("boot_volume", "{type: ssd}"),
        )
    ),
    *(
        Case(
            f"group-{key}-{path}-wrong",
            "    role: control_plane\n",
            f"    role: control_plane\n    {key}: {value}{HERE}\n",
            f"hosts.control.{path}",
            wrong,
            fix,
            base=OPENSTACK,
        )
        for key, value, path, wrong, fix in (
            ("image", "''", "image", "one line of 1 to 255", "`openstack ... list` shows it"),
            ("availability_zones", "az1", "availability_zones", "a list", ""),
            ("availability_zones", "[az1, '']", "availability_zones[1]", "one line of 1", ""),
            ("boot_volume", "true", "boot_volume", "a mapping", "write `{type: ssd}`"),
            ("boot_volume", "{typ: ssd}", "boot_volume.typ", "unknown key", "`type`"),
        )
    ),
    Case(
        "volume-type-on-local",
        "  homes: {size: 50GiB, mount: /srv/shared}",
        f"  homes: {{size: 50GiB, mount: /srv/shared, type: ssd}}{HERE}",
        "shared.homes.type",
        "cloud `local` has no such names of volume types",
        "take it out",
    ),
    # Kafka
    Case(
        "kafka-without-hosts",
        KAFKA_HOSTS,
        "",
        "components.kafka",
        "no group of hosts has the role `kafka`",
        "add `kafka: {role: kafka, count: 1,",
        also=("  kafka:\n    topics:", f"  kafka:{HERE}\n    topics:"),
        base=KAFKA,
    ),
    Case(
        "kafka-hosts-without-kafka",
        "  control:\n",
        KAFKA_HOSTS.replace("kafka:\n", f"kafka:{HERE}\n", 1) + "  control:\n",
        "hosts.kafka",
        "no `components.kafka`",
        "add `kafka: {}` to components",
    ),
    Case(
        "kafka-second-group",
        "  control:\n",
        KAFKA_HOSTS.replace("  kafka:", "  more:").replace("role: kafka", f"role: kafka{HERE}")
        + "  control:\n",
        "hosts.more.role",
        "a second group of role `kafka`",
        "write `count: 3` in `kafka` for three",
        base=KAFKA,
    ),
    *(
        Case(id, old, new + HERE, path, wrong, fix, base=KAFKA)
        for id, old, new, path, wrong, fix in (
            (
                "kafka-two-brokers",
                "    count: 3",
                "    count: 2",
                "hosts.kafka.count",
                "2 survive no more losses than 1",
                "write `count: 1` or 3",
            ),
            (
                "kafka-seven-brokers",
                "    count: 3",
                "    count: 7",
                "hosts.kafka.count",
                "Kafka runs on 1, 3 or 5",
                "write `count: 5`",
            ),
            (
                "kafka-first-slot",
                "    count: 3",
                "    count: 3\n    first_slot: 40",
                "hosts.kafka.first_slot",
                "hosts of role `kafka` start at slot 14 always",
                "take the line out",
            ),
            (
                "kafka-topic-name",
                "      - {name: alerts, partitions: 6}",
                "      - {name: All Alerts, partitions: 6}",
                "components.kafka.topics[0].name",
                "`All Alerts` cannot be a topic's name",
                "write `all-alerts`",
            ),
            (
                "kafka-topic-of-kafka-s-own",
                "      - {name: alerts, partitions: 6}",
                "      - {name: __consumer_offsets}",
                "components.kafka.topics[0].name",
                "cannot be a topic's name",
                "write `consumer_offsets`",
            ),
            (
                "kafka-topic-twice",
                "      - {name: night.log, retention: 24h}",
                "      - {name: alerts}",
                "components.kafka.topics[1].name",
                "`alerts` is listed twice",
                "take one of the two out",
            ),
            (
                "kafka-topics-that-collide",
                "      - {name: night.log, retention: 24h}",
                "      - {name: night.log}\n      - {name: night_log}",
                "components.kafka.topics[2].name",
                "`night_log` and `night.log` are one name to Kafka",
                "write another name",
            ),
            (
                "kafka-topic-without-partitions",
                "      - {name: alerts, partitions: 6}",
                "      - {name: alerts, partitions: 0}",
                "components.kafka.topics[0].partitions",
                "0 is too few partitions",
                "write a number from 1 to 1000",
            ),
            (
                "kafka-more-replicas-than-brokers",
                "      - {name: alerts, partitions: 6}",
                "      - {name: alerts, replicas: 4}",
                "components.kafka.topics[0].replicas",
                "4 replicas on 3 brokers",
                "write `replicas: 3` or less",
            ),
            (
                "kafka-more-in-sync-than-replicas",
                "      - {name: alerts, partitions: 6}",
                "      - {name: alerts, min_insync_replicas: 4}",
                "components.kafka.topics[0].min_insync_replicas",
                "4 of 3 replicas: nothing could be sent",
                "write `min_insync_replicas: 2`",
            ),
            (
                "kafka-retention-too-short",
                "      - {name: night.log, retention: 24h}",
                "      - {name: night.log, retention: 10s}",
                "components.kafka.topics[1].retention",
                "`10s` is too short",
                "write `1m` or more",
            ),
            (
                "kafka-cleanup-unknown",
                "      - {name: night.log, retention: 24h}",
                "      - {name: night.log, cleanup: never}",
                "components.kafka.topics[1].cleanup",
                "never",
                "delete",
            ),
            (
                "kafka-user-twice",
                "      - {name: ingest, produce: [alerts]}",
                "      - {name: ingest, produce: [alerts]}\n      - {name: ingest, produce: [night]}",
                "components.kafka.users[1].name",
                "`ingest` is listed twice",
                "take one of the two out",
            ),
            (
                "kafka-user-admin",
                "      - {name: ingest, produce: [alerts]}",
                "      - {name: admin, produce: [alerts]}",
                "components.kafka.users[0].name",
                "`admin` is Kafka's own, and made for every cluster",
                "write another name",
            ),
            (
                "kafka-user-without-group",
                "      - {name: reader, consume: [alerts], groups: [reader]}",
                "      - {name: reader, consume: [alerts]}",
                "components.kafka.users[1].consume",
                "as no consumer group",
                "add `groups: [reader]`",
            ),
            (
                "kafka-user-who-may-nothing",
                "      - {name: ingest, produce: [alerts]}",
                "      - {name: ingest}",
                "components.kafka.users[0]",
                "`ingest` may do nothing",
                "take the user out",
            ),
            (
                "kafka-user-who-may-everything",
                "      - {name: ingest, produce: [alerts]}",
                '      - {name: ingest, produce: ["*"]}',
                "components.kafka.users[0].produce[0]",
                "`*` is not the beginning of a name",
                "such as `alerts.`",
            ),
        )
    ),
    Case(
        "kafka-no-log-volume",
        "    volumes:\n      log: {size: 10GiB, mount: /var/lib/kafka}",
        f"    volumes:{HERE}\n      log: {{size: 10GiB, mount: /srv/kafka}}",
        "hosts.kafka.volumes",
        "no volume is mounted at /var/lib/kafka: the broker keeps its topics there",
        "add `volumes: {log: {size: 20GiB, mount: /var/lib/kafka}}`",
        base=KAFKA,
    ),
    Case(
        "kafka-outside-in-part",
        "    services-1: 198.51.100.7",
        "    services-1: 198.51.100.7\n    kafka-2: new",
        "openstack.floating_ips",
        "some brokers of Kafka have a floating IP, and kafka-1, kafka-3 none",
        "add `kafka-1: new` and the others",
        also=("  floating_ips:\n", f"  floating_ips:{HERE}\n"),
        base=KAFKA_OPENSTACK,
    ),
]


def problems_of(text: str) -> list[Problem]:
    with pytest.raises(ConfigError) as caught:
        parse_cluster(text, "demo/cluster.yml")
    return caught.value.problems


def test_the_good_files_are_good() -> None:
    for text in (GOOD, OPENSTACK, OBJECTS, KAFKA, KAFKA_OPENSTACK):
        assert parse_cluster(text)[0].name == "demo"


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.id)
def test_problem_is_named(case: Case) -> None:
    found = problems_of(case.text)
    assert len(found) == 1, "one mistake is one problem:\n" + "\n".join(map(str, found))
    problem = found[0]
    assert (problem.path, problem.line) == (case.path, case.expected_line)
    assert case.wrong in problem.wrong
    assert case.fix in problem.fix
    assert str(problem).startswith(f"demo/cluster.yml:{case.expected_line}: {case.path}: ")


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.id)
def test_problem_column_is_of_what_is_wrong(case: Case) -> None:
    """The column is where a word begins, not in blank space or in a comment."""
    problem = problems_of(case.text)[0]
    line = case.text.split("\n")[problem.line - 1]
    assert line[problem.column - 1].strip(), line
    assert "#" not in line[: problem.column - 1]


@pytest.mark.parametrize(
    ("text", "line", "wrong", "fix"),
    [
        ("", 1, "the file is empty", "inventories/local/cluster.yml"),
        ("# only a comment\n", 1, "the file is empty", "start from a copy"),
        ("---\n", 1, "the file is empty", "start from a copy"),
        ("- a\n- b\n", 1, "a mapping", "start from a copy"),
        ("just words\n", 1, "a mapping", "start from a copy"),
        ("name: demo\nnetwork:\n\thosts: x\n", 3, "a tab", "replace the tab by spaces"),
        ("name: demo\nnetwork:\n  \thosts: x\n", 3, "a tab", "replace the tab by spaces"),
        ("name: demo: cloud\n", 1, "a `:` where there cannot be one", "in quotes"),
        ('name: "demo\ncloud: local\n', 3, "not YAML", "missing quote"),
        ("name: [demo\ncloud: local\n", 2, "not YAML", "bracket"),
        ("name: *nothing\n", 1, "undefined alias", "look for"),
        ("name: demo\n---\nname: other\n", 2, "a second document", "take the line"),
        ("name: de\x07mo\n", 1, "a character that YAML does not allow: 0x0007", "delete"),
        ("name: &a [*a]\n", 1, "an alias that holds itself", "write it out"),
        ("name: " + "[" * 5000 + "\n", 0, "nested too deeply", "start from"),
    ],
)
def test_what_is_not_a_cluster_file(text: str, line: int, wrong: str, fix: str) -> None:
    found = problems_of(text)
    assert len(found) == 1
    assert found[0].line == line
    assert wrong in found[0].wrong
    assert fix in found[0].fix


def test_aliases_that_multiply_are_stopped() -> None:
    lines = ["a0: &a0 [x, x, x, x, x, x, x, x, x, x]"]
    lines += [f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 10)}]" for n in range(1, 10)]
    assert "too many" in problems_of("\n".join(lines))[0].wrong


def test_aliases_of_good_files_work() -> None:
    text = GOOD.replace("services: 10.96.0.0/16", "services: &x 10.96.0.0/16")
    assert parse_cluster(text)[0].network.services.prefixlen == 16


def _problem_of_file(path: Path) -> Problem:
    with pytest.raises(ConfigError) as caught:
        load_cluster(path)
    assert len(caught.value.problems) == 1
    return caught.value.problems[0]


def test_file_that_is_not_there_names_those_that_are(tmp_path: Path) -> None:
    (tmp_path / "local").mkdir()
    (tmp_path / "local" / "cluster.yml").write_text(GOOD)
    problem = _problem_of_file(tmp_path / "locla" / "cluster.yml")
    assert "no such file" in problem.wrong
    assert str(tmp_path / "local" / "cluster.yml") in problem.fix
    assert str(problem).startswith(f"{tmp_path}/locla/cluster.yml: there is no such file")


def test_directory(tmp_path: Path) -> None:
    problem = _problem_of_file(tmp_path)
    assert "is a directory" in problem.wrong
    assert str(tmp_path / "cluster.yml") in problem.fix


def test_file_that_is_not_utf8(tmp_path: Path) -> None:
    path = tmp_path / "cluster.yml"
    path.write_bytes(b"name: demo\ncloud: l\xe9cal\n")
    problem = _problem_of_file(path)
    assert (problem.line, problem.column) == (2, 9)
    assert "0xe9" in problem.wrong
    assert "iconv" in problem.fix


def test_byte_order_mark_and_windows_line_ends_are_read(tmp_path: Path) -> None:
    path = tmp_path / "cluster.yml"
    path.write_bytes(b"\xef\xbb\xbf" + GOOD.replace("\n", "\r\n").encode())
    assert load_cluster(path).name == "demo"


def test_all_problems_at_once_in_order_of_lines() -> None:
    text = (
        GOOD.replace("name: demo", "name: Demo")
        .replace("10.77.0.0/24", "10.77.0.1/24")
        .replace("flavor: large", "flavour: large")
        .replace("role: control_plane", "role: control_plane\n    count: 2")
        .replace("admins: [ada]", "admins: [eve]")
        .replace("image: notebook", "image: notebok")
        .replace("default: true", "default: yes")
    )
    with pytest.raises(ConfigError) as caught:
        parse_cluster(text, "cluster.yml")
    paths = [problem.path for problem in caught.value.problems]
    hub = "components.jupyterhub"
    assert paths == [
        "name",
        "network.hosts",
        "hosts.control.count",
        "hosts.worker.flavour",
        f"{hub}.authenticator.admins[0]",
        f"{hub}.profiles[0].image",
        f"{hub}.profiles[0].default",
    ]
    assert str(caught.value).endswith("7 problems. Nothing was changed.")


def test_default_domain_is_no_problem_of_its_own() -> None:
    text = GOOD.replace("domain: demo.example.org\n", "").replace("cloud: local", "cloud: x")
    assert [problem.path for problem in problems_of(text)] == ["cloud"]


def test_message_is_what_a_sysadmin_reads() -> None:
    problem = problems_of(GOOD.replace("flavor: large", "flavour: large"))[0]
    assert str(problem) == (
        "demo/cluster.yml:24: hosts.worker.flavour: unknown key. Did you mean `flavor`?\n"
        "    fix: write `flavor` instead of `flavour`"
    )
