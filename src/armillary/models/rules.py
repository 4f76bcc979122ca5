"""What must hold between the parts of cluster.yml.

Rules read a `Draft`: the parts that are well-formed by themselves. So all problems of a file are
found at once, those of its parts and those between them.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from ipaddress import IPv4Network
from typing import TYPE_CHECKING, Any, TypeVar

from pydantic import TypeAdapter, ValidationError

from armillary.models.parts import (
    FIRST_SLOT,
    Authenticator,
    Backup,
    Cloud,
    Flavor,
    HostGroup,
    Kafka,
    KafkaTopic,
    Network,
    ObjectStore,
    OpenStack,
    Profile,
    Role,
    SharedSpace,
    Volume,
)
from armillary.models.problem import Finding, Path
from armillary.models.quantity import GIB, Size
from armillary.models.values import LABEL_LENGTH, Label, closest

if TYPE_CHECKING:
    from armillary.models.cluster import Cluster

T = TypeVar("T")

#: Where the roles `registry` and `storage` keep their data.
REGISTRY_MOUNT = "/var/lib/registry"
DATA_MOUNT = "/var/lib/armillary/data"
#: Below this the services host has the volumes of its object store, each at a name of its own.
OBJECTS = "/var/lib/armillary/objects"
#: Whose key makes the object store's containers.
OPERATOR = "operator"
#: Where a broker of Kafka keeps its topics.
KAFKA_MOUNT = "/var/lib/kafka"
#: Of an odd number of brokers more than half can go on deciding.
BROKERS = (1, 3, 5)
#: Replicas of a topic that names none.
REPLICAS = 3
#: Kafka's own administrator, and how it calls those who have not logged in.
KAFKA_NAMES = ("admin", "anonymous")
#: The shared space users' homes are in.
HOMES = "homes"

#: Where the services host has the shared spaces of a cloud whose volumes one host alone can have.
EXPORTS = "/var/lib/armillary/exports"

#: A pod network has a /24 for each Kubernetes host (kubeadm's default node-cidr-mask-size).
POD_PREFIX = 24
#: kube-apiserver takes service networks from /12 on; below /24 names run out too soon.
SERVICE_PREFIXES = (12, 24)

#: What a worker keeps for the kubelet, containerd, the network and the cluster's own pods.
RESERVED_MEMORY = Size(GIB)
RESERVED_CPUS = 0.5
#: The least a host of each role works with. Control plane: kubeadm's own preflight wants 2 CPUs
#: and 1700 MiB, https://kubernetes.io/docs/setup/production-environment/tools/kubeadm/install-kubeadm/
LEAST: dict[Role, tuple[int, Size]] = {
    "services": (1, Size.of("1GiB")),
    "kafka": (1, Size.of("1GiB")),
    "control_plane": (2, Size.of("2GiB")),
    "worker": (1, Size.of("2GiB")),
}
#: What the services host needs with an object store on it.
OBJECTS_MEMORY = Size.of("2GiB")


@dataclass(frozen=True)
class Draft:
    """The well-formed parts of a cluster.yml; `*_complete` says that none of a kind is missing."""

    name: str | None = None
    cloud: Cloud | None = None
    network: Network | None = None
    openstack: OpenStack | None = None
    openstack_there: bool = False
    flavors: Mapping[str, Flavor] = field(default_factory=dict)
    flavor_names: Sequence[str] | None = None
    hosts: Mapping[str, HostGroup] = field(default_factory=dict)
    hosts_complete: bool = False
    shared: Mapping[str, SharedSpace] = field(default_factory=dict)
    shared_complete: bool = False
    backup: bool = False
    backup_container: str | None = None
    jupyterhub: bool = False
    object_store: ObjectStore | None = None
    authenticator: Authenticator | None = None
    profiles: Mapping[int, Profile] = field(default_factory=dict)
    profiles_complete: bool = False
    kafka: Kafka | None = None
    kafka_there: bool = False

    @classmethod
    def of(cls, cluster: Cluster) -> Draft:
        """Make the draft of a cluster whose parts are all well-formed."""
        hub = cluster.components.jupyterhub
        return cls(
            name=cluster.name,
            cloud=cluster.cloud,
            network=cluster.network,
            openstack=cluster.openstack,
            openstack_there=cluster.openstack is not None,
            flavors=cluster.flavors,
            flavor_names=list(cluster.flavors),
            hosts=cluster.hosts,
            hosts_complete=True,
            shared=cluster.shared,
            shared_complete=True,
            backup=cluster.backup is not None,
            backup_container=cluster.backup.container if cluster.backup else None,
            object_store=cluster.components.object_store,
            jupyterhub=hub is not None,
            authenticator=hub.authenticator if hub else None,
            profiles=dict(enumerate(hub.profiles)) if hub else {},
            profiles_complete=hub is not None,
            kafka=cluster.components.kafka,
            kafka_there=cluster.components.kafka is not None,
        )

    @classmethod
    def from_raw(cls, raw: Mapping[str, Any]) -> Draft:
        """Make the draft of plain data, leaving out what is not well-formed."""
        flavors = raw.get("flavors")
        hosts = _valid(HostGroup, raw.get("hosts"))
        shared = _valid(SharedSpace, raw.get("shared", {}))
        components = raw.get("components", {})
        components = components if isinstance(components, dict) else {}
        backup = _try(Backup, raw.get("backup"))
        hub = components.get("jupyterhub")
        settings = hub if isinstance(hub, dict) else {}
        kafka = components.get("kafka")
        listed = settings.get("profiles")
        profiles = _valid(Profile, dict(enumerate(listed)) if isinstance(listed, list) else None)
        return cls(
            name=_try(Label, raw.get("name")),
            cloud=_try(Cloud, raw.get("cloud")),
            network=_try(Network, raw.get("network")),
            openstack=_try(OpenStack, raw.get("openstack")),
            openstack_there="openstack" in raw,
            flavors=_valid(Flavor, flavors),
            flavor_names=list(flavors) if isinstance(flavors, dict) else None,
            hosts=hosts,
            hosts_complete=_all_valid(hosts, raw.get("hosts")),
            shared=shared,
            shared_complete=_all_valid(shared, raw.get("shared", {})),
            backup=raw.get("backup") is not None,
            backup_container=backup.container if backup else None,
            object_store=_try(ObjectStore, components.get("object_store")),
            jupyterhub=isinstance(hub, dict),
            authenticator=_try(Authenticator, settings.get("authenticator")),
            profiles=profiles,
            profiles_complete=_all_valid(profiles, listed),
            kafka=_try(Kafka, kafka),
            kafka_there=kafka is not None,
        )

    def of_role(self, role: Role) -> dict[str, HostGroup]:
        """The groups of a role, by name."""
        return {name: group for name, group in self.hosts.items() if group.role == role}


def _try(kind: Any, value: object) -> Any:
    try:
        return TypeAdapter(kind).validate_python(value)
    except ValidationError:
        return None


def _valid(kind: type[T], parts: object) -> dict[Any, T]:
    if not isinstance(parts, dict):
        return {}
    tried = {key: _try(kind, part) for key, part in parts.items()}
    return {key: part for key, part in tried.items() if part is not None}


def _all_valid(valid: Mapping[Any, object], raw: object) -> bool:
    return isinstance(raw, (dict, list)) and len(valid) == len(raw)


def slots(group: HostGroup) -> range:
    """The slots of a group's hosts: their numbers in the hosts' network."""
    first = group.first_slot if group.first_slot is not None else FIRST_SLOT[group.role]
    return range(first, first + group.count)


def host_names(name: str, group: HostGroup) -> list[str]:
    """The names of a group's hosts."""
    return [f"{name}-{number}" for number in range(1, group.count + 1)]


def shared_by(group: HostGroup, shared: Mapping[str, SharedSpace]) -> Mapping[str, SharedSpace]:
    """The shared spaces that the hosts of a group have: those of Kubernetes have all."""
    return shared if on_kubernetes(group.role) else {}


def on_kubernetes(role: Role) -> bool:
    """Tell whether hosts of a role are nodes of Kubernetes."""
    return role in ("control_plane", "worker")


def replicas_of(topic: KafkaTopic, brokers: int) -> int:
    """On how many brokers each message of a topic is."""
    return topic.replicas or min(REPLICAS, brokers)


def in_sync_of(topic: KafkaTopic, brokers: int) -> int:
    """How many replicas must have a message before it counts as sent."""
    return topic.min_insync_replicas or max(1, replicas_of(topic, brokers) - 1)


def _listed_twice(listed: Sequence[object], places: Sequence[Path]) -> Iterator[Finding]:
    """Name each entry of a list that stands in it before."""
    for index, each in enumerate(listed):
        if each in listed[:index]:
            yield Finding(places[index], f"`{each}` is listed twice", "take one of the two out")


# --- networks ---------------------------------------------------------------------------------


def _networks_apart(draft: Draft) -> Iterator[Finding]:
    if not draft.network:
        return
    named = [(key, getattr(draft.network, key)) for key in ("hosts", "pods", "services")]
    for (one, first), (other, second) in itertools.combinations(named, 2):
        if first.overlaps(second):
            taken = [network for key, network in named if key != other]
            yield Finding(
                ("network", other),
                f"`{second}` overlaps network.{one} (`{first}`)",
                f"write a network of its own, such as `{_free(other, taken)}`",
            )


def _free(key: str, taken: Sequence[IPv4Network]) -> IPv4Network:
    choices = {
        "hosts": ("10.77.0.0/24", "192.168.77.0/24", "172.31.77.0/24", "100.64.77.0/24"),
        "pods": ("10.244.0.0/16", "10.200.0.0/16", "172.20.0.0/16", "100.72.0.0/16"),
        "services": ("10.96.0.0/16", "10.112.0.0/16", "172.22.0.0/16", "100.80.0.0/16"),
    }[key]
    networks = [IPv4Network(choice) for choice in choices]
    return next((n for n in networks if not any(n.overlaps(t) for t in taken)), networks[-1])


def _hosts_have_addresses(draft: Draft) -> Iterator[Finding]:
    if not draft.network:
        return
    network = draft.network.hosts
    last = network.num_addresses - 2  # the one after it is for broadcasts
    for name, group in draft.hosts.items():
        wanted = slots(group)[-1]
        if wanted <= last:
            continue
        prefix = 32 - (wanted + 1).bit_length()
        larger = IPv4Network((network.network_address, prefix), strict=False)
        wrong = f"host `{name}-{group.count}` takes address number {wanted} of `{network}`"
        if network.prefixlen > 24:
            yield Finding(
                ("network", "hosts"),
                f"too small: {wrong}, which ends at {last}",
                f"write `/24`: `{IPv4Network((network.network_address, 24), strict=False)}`",
            )
        else:
            room = max(0, last + 1 - slots(group)[0])
            yield Finding(
                ("hosts", name, "count"),
                f"too many hosts: {wrong}, which ends at {last}",
                f"write {room} or less, or set network.hosts to `{larger}` in a new cluster",
            )


def _pods_have_addresses(draft: Draft) -> Iterator[Finding]:
    if not draft.network:
        return
    network = draft.network.pods
    nodes = sum(group.count for group in draft.hosts.values() if on_kubernetes(group.role))
    room = 2 ** (POD_PREFIX - network.prefixlen) if network.prefixlen <= POD_PREFIX else 0
    if nodes > room or not room:
        prefix = min(16, POD_PREFIX - max(1, nodes - 1).bit_length())
        base = IPv4Network((network.network_address, prefix), strict=False)
        yield Finding(
            ("network", "pods"),
            f"`{network}` is too small: each Kubernetes host takes a /{POD_PREFIX} of it, which "
            f"makes room for {room} hosts; there are {nodes}",
            f"write a larger one, such as `{base}`",
        )


def _services_have_addresses(draft: Draft) -> Iterator[Finding]:
    if not draft.network:
        return
    network, (low, high) = draft.network.services, SERVICE_PREFIXES
    if not low <= network.prefixlen <= high:
        size = "large" if network.prefixlen < low else "small"
        fit = IPv4Network((network.network_address, 16), strict=False)
        yield Finding(
            ("network", "services"),
            f"`{network}` is too {size}: Kubernetes services need a /{low} to a /{high}",
            f"write `{fit}`",
        )


# --- hosts ------------------------------------------------------------------------------------


def _roles_filled(draft: Draft) -> Iterator[Finding]:
    if not draft.hosts_complete:
        return
    wanted: dict[Role, tuple[str, str]] = {
        "services": (
            "no group has the role `services`: the registry needs a host",
            "add `services: {role: services, flavor: services, volumes: {registry: "
            f"{{size: 20GiB, mount: {REGISTRY_MOUNT}}}}}}}`",
        ),
        "control_plane": (
            "no group has the role `control_plane`: Kubernetes needs 1 or 3 such hosts",
            "add `control: {role: control_plane, flavor: control}`",
        ),
        "worker": (
            "no group has the role `worker`: users' servers need a host to run on",
            "add `worker: {role: worker, count: 2, flavor: worker, volumes: {data: "
            f"{{size: 20GiB, mount: {DATA_MOUNT}}}}}}}`",
        ),
    }
    for role, (wrong, fix) in wanted.items():
        if not draft.of_role(role):
            yield Finding(("hosts",), wrong, fix)


def _one_group_where_one_is_meant(draft: Draft) -> Iterator[Finding]:
    for role in ("services", "kafka", "control_plane"):
        first, *more = draft.of_role(role) or [""]
        for name in more:
            yield Finding(
                ("hosts", name, "role"),
                f"a second group of role `{role}`; `{first}` is one already",
                "take one of the two groups out"
                + (f", and write `count: 3` in `{first}` for three" if role != "services" else ""),
            )


def _counts_make_sense(draft: Draft) -> Iterator[Finding]:
    for name in draft.of_role("services"):
        count = draft.hosts[name].count
        if count > 1:
            yield Finding(
                ("hosts", name, "count"),
                f"{count} services hosts; the registry runs on exactly one",
                "write `count: 1`",
            )
    for name in draft.of_role("kafka"):
        count = draft.hosts[name].count
        if count not in BROKERS:
            fit = max(each for each in BROKERS if each < count)
            yield Finding(
                ("hosts", name, "count"),
                f"{count} brokers; more than half must be up to decide, so Kafka runs on 1, 3 or 5"
                + (f": {count} survive no more losses than {count - 1}" if count in (2, 4) else ""),
                f"write `count: {fit}`" + (f" or {fit + 2}" if fit < BROKERS[-1] else ""),
            )
    for name in draft.of_role("control_plane"):
        count = draft.hosts[name].count
        if count % 2 == 0:
            yield Finding(
                ("hosts", name, "count"),
                f"{count} control planes: of an even number, etcd survives no more losses than "
                f"of {count - 1}, and one more host can fail",
                f"write `count: {1 if count == 2 else 3}`" + (" or 3" if count == 2 else ""),
            )
        elif count > 3:
            yield Finding(
                ("hosts", name, "count"),
                f"{count} control planes; this release knows 1 or 3",
                "write `count: 3`",
            )


def _slots_apart(draft: Draft) -> Iterator[Finding]:
    for name, group in draft.hosts.items():
        if group.first_slot is not None and group.role != "worker":
            yield Finding(
                ("hosts", name, "first_slot"),
                f"hosts of role `{group.role}` start at slot {FIRST_SLOT[group.role]} always",
                "take the line out",
            )
    workers = draft.of_role("worker")
    for (one, first), (other, second) in itertools.combinations(workers.items(), 2):
        a, b = slots(first), slots(second)
        if a.start < b.stop and b.start < a.stop:
            last = max(slots(group).stop for group in workers.values())
            yield Finding(
                ("hosts", other, "first_slot"),
                f"its hosts would have the addresses of `{one}`'s: slots {b.start} to "
                f"{b.stop - 1}, and {a.start} to {a.stop - 1}",
                f"write `first_slot: {(last // 10 + 3) * 10}` in `{other}`, which leaves both "
                "room to grow",
            )


def _names_fit(draft: Draft) -> Iterator[Finding]:
    if draft.name is None:
        return
    long = "makes a name of {} characters, `{}`; names of hosts and volumes can have {}"
    for name, group in draft.hosts.items():
        hosts = host_names(name, group)
        full = f"{draft.name}-{hosts[-1]}"
        if len(full) > LABEL_LENGTH:
            yield Finding(
                ("hosts", name),
                long.format(len(full), full, LABEL_LENGTH),
                f"shorten the name of the group or of the cluster by {len(full) - LABEL_LENGTH}",
            )
            continue
        for volume in group.volumes:
            full = f"{draft.name}-{hosts[-1]}-{volume}"
            if len(full) > LABEL_LENGTH:
                yield Finding(
                    ("hosts", name, "volumes", volume),
                    long.format(len(full), full, LABEL_LENGTH),
                    f"shorten the name of the volume by {len(full) - LABEL_LENGTH}",
                )
    for space in draft.shared:
        full = f"{draft.name}-{space}"
        if len(full) > LABEL_LENGTH:
            yield Finding(
                ("shared", space),
                long.format(len(full), full, LABEL_LENGTH),
                f"shorten the name of the space by {len(full) - LABEL_LENGTH}",
            )


def _volume_names_differ(draft: Draft) -> Iterator[Finding]:
    taken: dict[str, str] = {}
    wanted: list[tuple[Path, str]] = [
        (("hosts", name, "volumes", volume), f"{host}-{volume}")
        for name, group in draft.hosts.items()
        for volume in group.volumes
        for host in host_names(name, group)
    ]
    wanted += [(("shared", space), space) for space in draft.shared]
    for path, key in wanted:
        here = ".".join(map(str, path))
        if key in taken and taken[key] != here:
            yield Finding(
                path,
                f"its disk would be named `{key}`, as one of {taken[key]} is",
                "give one of the two another name",
            )
        taken[key] = here
    for name, group in draft.hosts.items():
        for space in shared_by(group, draft.shared):
            if space in group.volumes:
                yield Finding(
                    ("hosts", name, "volumes", space),
                    f"shared.{space} has the same name, and these hosts have both",
                    "give one of the two another name",
                )


def _flavors_exist(draft: Draft) -> Iterator[Finding]:
    if draft.flavor_names is None:
        return
    for name, group in draft.hosts.items():
        if group.flavor not in draft.flavor_names:
            hint = closest(group.flavor, draft.flavor_names)
            there = ", ".join(f"`{flavor}`" for flavor in draft.flavor_names) or "none"
            yield Finding(
                ("hosts", name, "flavor"),
                f"no flavor `{group.flavor}`" + (f". Did you mean `{hint}`?" if hint else ""),
                f"write one of those under `flavors` ({there}), or add `{group.flavor}` to them",
            )


def _flavors_suffice(draft: Draft) -> Iterator[Finding]:
    for name, group in draft.hosts.items():
        flavor = draft.flavors.get(group.flavor)
        if not flavor:
            continue
        cpus, memory = LEAST[group.role]
        if flavor.cpus < cpus:
            yield Finding(
                ("flavors", group.flavor, "cpus"),
                f"{flavor.cpus} is too few for hosts.{name}: the role `{group.role}` needs {cpus}",
                f"write `cpus: {cpus}` or more, or give `{name}` another flavor",
            )
        if flavor.memory < memory:
            yield Finding(
                ("flavors", group.flavor, "memory"),
                f"{flavor.memory} is too little for hosts.{name}: the role `{group.role}` needs "
                f"{memory}",
                f"write `memory: {memory}` or more, or give `{name}` another flavor",
            )


# --- volumes ----------------------------------------------------------------------------------


def _volumes_needed(draft: Draft) -> Iterator[Finding]:
    needed: tuple[tuple[Role, str, str, str], ...] = (
        ("services", "registry", REGISTRY_MOUNT, "the registry keeps its images there"),
        ("worker", "data", DATA_MOUNT, "claims of pods are kept there"),
        ("kafka", "log", KAFKA_MOUNT, "the broker keeps its topics there"),
    )
    for role, volume, mount, why in needed:
        for name, group in draft.of_role(role).items():
            if all(each.mount != mount for each in group.volumes.values()):
                yield Finding(
                    ("hosts", name, "volumes"),
                    f"no volume is mounted at {mount}: {why}",
                    f"add `volumes: {{{volume}: {{size: 20GiB, mount: {mount}}}}}`",
                )


def _mounts_apart(draft: Draft) -> Iterator[Finding]:
    seen = set()
    for name, group in draft.hosts.items():
        mounts: list[tuple[Path, Volume | SharedSpace]] = [
            (("hosts", name, "volumes", key), volume) for key, volume in group.volumes.items()
        ]
        mounts += [
            (("shared", key), space) for key, space in shared_by(group, draft.shared).items()
        ]
        for (one, first), (other, second) in itertools.combinations(mounts, 2):
            if (one, other) in seen:
                continue
            seen.add((one, other))
            place = ".".join(map(str, one))
            if first.mount == second.mount:
                wrong = f"`{second.mount}` is where {place} is mounted"
            elif second.mount.startswith(first.mount + "/"):
                wrong = f"`{second.mount}` is inside `{first.mount}`, where {place} is mounted"
            elif first.mount.startswith(second.mount + "/"):
                wrong = f"`{second.mount}` holds `{first.mount}`, where {place} is mounted"
            else:
                continue
            yield Finding(
                (*other, "mount"),
                wrong,
                f"write a directory of its own, such as `/srv/{other[-1]}-2`",
            )


# --- OpenStack --------------------------------------------------------------------------------


def _openstack_where_it_belongs(draft: Draft) -> Iterator[Finding]:
    if draft.cloud == "openstack" and not draft.openstack_there:
        yield Finding(
            ("openstack",),
            "`openstack` is missing: the cloud's entry in clouds.yaml, image and network",
            "add `openstack: {cloud: science, image: debian-12, external_network: public}` with "
            "names of your cloud's",
        )
    if draft.cloud not in (None, "openstack"):
        if draft.openstack_there:
            yield Finding(
                ("openstack",),
                f"the hosts come from cloud `{draft.cloud}`, which takes nothing from here",
                "take `openstack` out, or write `cloud: openstack`",
            )
        for path, what in _openstack_names(draft):
            yield Finding(
                path, f"cloud `{draft.cloud}` has no such names of {what}s", "take it out"
            )


def _openstack_names(draft: Draft) -> Iterator[tuple[Path, str]]:
    """What names an object of OpenStack's outside of `openstack`."""
    for name, flavor in draft.flavors.items():
        if flavor.name is not None:
            yield ("flavors", name, "name"), "flavor"
    for name, group in draft.hosts.items():
        for key in ("image", "availability_zones", "boot_volume"):
            if getattr(group, key) is not None:
                yield ("hosts", name, key), key.replace("_", " ").removesuffix("s")
        for volume, part in group.volumes.items():
            if part.type is not None:
                yield ("hosts", name, "volumes", volume, "type"), "volume type"
    for name, space in draft.shared.items():
        if space.type is not None:
            yield ("shared", name, "type"), "volume type"


def _openstack_flavors_named(draft: Draft) -> Iterator[Finding]:
    if draft.cloud != "openstack":
        return
    for name, flavor in draft.flavors.items():
        if flavor.name is None:
            yield Finding(
                ("flavors", name, "name"),
                "`name` is missing: which flavor of the cloud it is",
                "add `name: m1.medium`, one that `openstack flavor list` shows and that has at "
                f"least {flavor.cpus} processors, {flavor.memory} and {flavor.disk}",
            )


def _floating_ips_fit(draft: Draft) -> Iterator[Finding]:
    if not draft.openstack or not draft.hosts_complete:
        return
    hosts = [host for name, group in draft.hosts.items() for host in host_names(name, group)]
    owners: dict[str, str] = {}
    for host, address in draft.openstack.floating_ips.items():
        path: Path = ("openstack", "floating_ips", host)
        if host not in hosts:
            hint = closest(host, hosts) or closest(f"{host}-1", hosts)
            yield Finding(
                path,
                f"no host `{host}`" + (f". Did you mean `{hint}`?" if hint else ""),
                f"write one of the hosts: {', '.join(f'`{each}`' for each in hosts[:6])}",
            )
        if address in owners:
            yield Finding(
                path,
                f"`{address}` is the floating IP of `{owners[address]}` already",
                "write `new`, or another address of the project",
            )
        elif address != "new":
            owners[address] = host


def _lists_have_no_twins(draft: Draft) -> Iterator[Finding]:
    if not draft.openstack:
        return
    for key in ("allow_from", "dns_servers"):
        listed = getattr(draft.openstack, key)
        yield from _listed_twice(
            listed, [("openstack", key, index) for index in range(len(listed))]
        )


def _open_to_somebody(draft: Draft) -> Iterator[Finding]:
    if draft.openstack and not draft.openstack.allow_from:
        yield Finding(
            ("openstack", "allow_from"),
            "nobody could connect, this machine neither",
            "write the networks of your users and this machine's, or take the line out for all",
        )


def _exports_stay_free(draft: Draft) -> Iterator[Finding]:
    if draft.cloud != "openstack" or not draft.shared:
        return
    for name, group in draft.of_role("services").items():
        for volume, part in group.volumes.items():
            if f"{part.mount}/".startswith(f"{EXPORTS}/"):
                yield Finding(
                    ("hosts", name, "volumes", volume, "mount"),
                    f"`{part.mount}` is where this host keeps the shared spaces it serves",
                    f"write a directory of its own, such as `/srv/{volume}`",
                )


def _backups_make_sense(draft: Draft) -> Iterator[Finding]:
    if not draft.backup:
        return
    if draft.cloud == "local":
        yield Finding(
            ("backup",),
            "backups go into the object store of the cloud; that of `local` is on the machine of the homes",
            "take `backup` out, or use cloud `openstack`",
        )
    elif draft.shared_complete and not draft.shared:
        yield Finding(
            ("backup",),
            "backups are of the shared spaces, and there is none",
            f"add `shared: {{{HOMES}: {{size: 50GiB, mount: /srv/shared}}}}`, or take `backup` out",
        )


# --- object store -----------------------------------------------------------------------------

_STORE: Path = ("components", "object_store")


def _containers_named_well(draft: Draft) -> Iterator[Finding]:
    """Swift takes nearly every name; S3 takes 3 to 63 characters."""
    if not draft.object_store:
        return
    for name in draft.object_store.containers:
        full = f"{draft.name}-{name}"
        if draft.name is not None and len(full) > LABEL_LENGTH:
            yield Finding(
                (*_STORE, "containers", name),
                f"makes a name of {len(full)} characters; S3 takes {LABEL_LENGTH}",
                f"shorten it by {len(full) - LABEL_LENGTH}",
            )
    if not draft.object_store.containers:
        yield Finding(
            (*_STORE, "containers"),
            "an object store without a container: nobody could keep anything in it",
            "add `archive: {write: [alerts]}`, or take `object_store` out",
        )


def _keys_make_sense(draft: Draft) -> Iterator[Finding]:
    if not draft.object_store:
        return
    for name, container in draft.object_store.containers.items():
        path: Path = (*_STORE, "containers", name)
        for right, names in (("write", container.write), ("read", container.read)):
            for index, each in enumerate(names):
                if each in names[:index]:
                    yield Finding(
                        (*path, right, index),
                        f"`{each}` is listed twice",
                        "take one of the two out",
                    )
                elif right == "read" and each in container.write:
                    yield Finding(
                        (*path, right, index),
                        f"`{each}` is under `write` too, which includes reading",
                        "take it out of one of the two",
                    )
                elif each == OPERATOR:
                    yield Finding(
                        (*path, right, index),
                        f"`{OPERATOR}` is whose key makes the containers, and opens them all",
                        "give the service or the user another name",
                    )
        if name == draft.backup_container and (container.write or container.read):
            yield Finding(
                path,
                "the backups are in this container: whoever has a key of it could delete them",
                "give one of the two another name",
            )


def _keys_wanted_on_openstack(draft: Draft) -> Iterator[Finding]:
    if not draft.openstack or (draft.object_store is None and not draft.openstack.s3):
        return
    store = draft.object_store
    named = [
        (name, right, listed[0])
        for name, container in (store.containers if store else {}).items()
        for right, listed in (("write", container.write), ("read", container.read))
        if listed
    ]
    if named and not draft.openstack.s3:
        name, right, who = named[0]
        yield Finding(
            (*_STORE, "containers", name, right),
            f"`{who}` would get a key of S3, and OpenStack cannot restrict one to containers: it opens all that this user "
            "may open in the project",
            "add `s3: true` under `openstack` if that is fine, or take the names out",
        )
    if draft.openstack.s3 and not named:
        yield Finding(
            ("openstack", "s3"),
            "keys of S3, and nobody is named who gets one",
            "add `object_store: {containers: {archive: {write: [alerts]}}}` under `components`, or take `s3` out",
        )


def _objects_have_volumes(draft: Draft) -> Iterator[Finding]:
    """On `local` the object store is on volumes of the services host."""
    store = draft.object_store
    if not store or draft.cloud is None:
        return
    replicas: Path = (*_STORE, "replicas")
    if draft.cloud != "local":
        if store.replicas != 1:
            yield Finding(
                replicas,
                f"{store.replicas} replicas; the cloud's own object store decides how often it keeps what",
                "take the line out",
            )
        return
    for name, group in draft.of_role("services").items():
        yield from _volumes_for_objects(name, group, store)
        flavor = draft.flavors.get(group.flavor)
        if flavor and flavor.memory < OBJECTS_MEMORY:
            yield Finding(
                ("flavors", group.flavor, "memory"),
                f"{flavor.memory} is too little for hosts.{name} with an object store: it needs {OBJECTS_MEMORY}",
                f"write `memory: {OBJECTS_MEMORY}` or more, or give `{name}` another flavor",
            )


def _volumes_for_objects(host: str, group: HostGroup, store: ObjectStore) -> Iterator[Finding]:
    path: Path = ("hosts", host, "volumes")
    found: list[Volume] = []
    for key, volume in group.volumes.items():
        if volume.mount == OBJECTS or volume.mount.startswith(f"{OBJECTS}/"):
            if volume.mount.count("/") != OBJECTS.count("/") + 1:
                yield Finding(
                    (*path, key, "mount"),
                    f"volumes of the object store are directly below {OBJECTS}",
                    f"write `{OBJECTS}/{key}`",
                )
            found.append(volume)
    if len(found) < store.replicas:
        there = ", ".join(f"`{each.mount}`" for each in found) or "none"
        number = len(found) + 1
        yield Finding(
            path if not found else (*_STORE, "replicas"),
            f"no volume is mounted below {OBJECTS}: the object store keeps its objects there"
            if not found
            else f"{store.replicas} replicas need as many volumes below {OBJECTS}; there is {there}",
            f"add `objects{number}: {{size: 20GiB, mount: {OBJECTS}/d{number}}}` to hosts.{host}.volumes"
            + (f", or write `replicas: {len(found)}`" if found else ""),
        )
        return
    room = Size(sum(each.size.bytes for each in found) // store.replicas)
    for name, container in store.containers.items():
        if container.quota and container.quota > room:
            yield Finding(
                (*_STORE, "containers", name, "quota"),
                f"{container.quota} is more than the volumes below {OBJECTS} hold: {room}, each object "
                f"{store.replicas} times",
                f"write `quota: {Size(room.gib * GIB)}` or less, or larger volumes",
            )


# --- Kafka ------------------------------------------------------------------------------------


def _kafka_has_hosts(draft: Draft) -> Iterator[Finding]:
    if not draft.hosts_complete:
        return
    groups = list(draft.of_role("kafka"))
    if draft.kafka_there and not groups:
        yield Finding(
            ("components", "kafka"),
            "no group of hosts has the role `kafka`: its brokers need hosts of their own",
            "add `kafka: {role: kafka, count: 1, flavor: kafka, volumes: {log: "
            f"{{size: 20GiB, mount: {KAFKA_MOUNT}}}}}}}` to hosts, or take `kafka` out here",
        )
    if groups and not draft.kafka_there:
        yield Finding(
            ("hosts", groups[0]),
            "hosts of role `kafka`, and no `components.kafka`: nothing would run there",
            "add `kafka: {}` to components, or take the group out",
        )


def _all_brokers_outside_or_none(draft: Draft) -> Iterator[Finding]:
    """A client is sent to whichever broker has what it wants."""
    if not draft.openstack or not draft.hosts_complete:
        return
    brokers = [
        host for name, group in draft.of_role("kafka").items() for host in host_names(name, group)
    ]
    lacking = [host for host in brokers if host not in draft.openstack.floating_ips]
    if lacking and len(lacking) < len(brokers):
        yield Finding(
            ("openstack", "floating_ips"),
            f"some brokers of Kafka have a floating IP, and {', '.join(lacking)} none: clients outside are sent to "
            "every broker",
            f"add `{lacking[0]}: new`" + (" and the others" if len(lacking) > 1 else ""),
        )


def _topics_make_sense(draft: Draft) -> Iterator[Finding]:
    if not draft.kafka or not draft.hosts_complete:
        return
    brokers = sum(group.count for group in draft.of_role("kafka").values())
    path: Path = ("components", "kafka", "topics")
    # Kafka's own metrics write a dot as an underscore, so it takes one of the two names only.
    seen: dict[str, str] = {}
    for index, topic in enumerate(draft.kafka.topics):
        plain = topic.name.replace(".", "_")
        if plain in seen:
            other = seen[plain]
            yield Finding(
                (*path, index, "name"),
                f"`{topic.name}` is listed twice"
                if other == topic.name
                else f"`{topic.name}` and `{other}` are one name to Kafka, which takes `.` for `_` in places",
                "take one of the two out"
                if other == topic.name
                else "write another name for one of the two",
            )
        seen.setdefault(plain, topic.name)
        if not brokers:
            continue
        replicas = replicas_of(topic, brokers)
        if replicas > brokers:
            yield Finding(
                (*path, index, "replicas"),
                f"{replicas} replicas on {brokers} broker{'s' if brokers > 1 else ''}",
                f"write `replicas: {brokers}` or less, or a larger `count` of hosts of role `kafka`",
            )
        elif in_sync_of(topic, brokers) > replicas:
            yield Finding(
                (*path, index, "min_insync_replicas"),
                f"{topic.min_insync_replicas} of {replicas} replica{'s' if replicas > 1 else ''}: nothing could be sent",
                f"write `min_insync_replicas: {max(1, replicas - 1)}`, or more replicas",
            )


def _kafka_users_make_sense(draft: Draft) -> Iterator[Finding]:
    if not draft.kafka:
        return
    path: Path = ("components", "kafka", "users")
    users = draft.kafka.users
    yield from _listed_twice(
        [user.name for user in users], [(*path, index, "name") for index in range(len(users))]
    )
    for index, user in enumerate(users):
        if user.name in KAFKA_NAMES:
            yield Finding(
                (*path, index, "name"),
                f"`{user.name}` is Kafka's own"
                + (", and made for every cluster" if user.name == "admin" else ""),
                "write another name",
            )
        if user.consume and not user.groups:
            yield Finding(
                (*path, index, "consume"),
                f"`{user.name}` may read, and as no consumer group: nothing keeps where it is",
                f"add `groups: [{user.name}]`",
            )
        if not any((user.produce, user.consume, user.groups, user.transactions, user.manage)):
            yield Finding(
                (*path, index),
                f"`{user.name}` may do nothing",
                "add `produce: [alerts]`, or what else it is for, or take the user out",
            )


# --- components -------------------------------------------------------------------------------


def _homes_exist(draft: Draft) -> Iterator[Finding]:
    if draft.jupyterhub and draft.shared_complete and HOMES not in draft.shared:
        hint = closest(HOMES, draft.shared)
        yield Finding(
            ("shared",),
            f"no space `{HOMES}`: JupyterHub keeps the homes of users there"
            + (f". Is `{hint}` meant to be it?" if hint else ""),
            f"add `shared: {{{HOMES}: {{size: 50GiB, mount: /srv/shared}}}}`",
        )


def _users_make_sense(draft: Draft) -> Iterator[Finding]:
    if not draft.authenticator:
        return
    path: Path = ("components", "jupyterhub", "authenticator")
    users = [user.name for user in draft.authenticator.users]
    if not users:
        yield Finding(
            (*path, "users"), "nobody could log in", "add a user: `users: [{name: astronomer}]`"
        )
    for key, names in (("users", users), ("admins", list(draft.authenticator.admins))):
        last = ("name",) if key == "users" else ()
        yield from _listed_twice(names, [(*path, key, index, *last) for index in range(len(names))])
    for index, name in enumerate(draft.authenticator.admins):
        if name not in users:
            hint = closest(name, users)
            yield Finding(
                (*path, "admins", index),
                f"`{name}` is not one of the users" + (f". Did you mean `{hint}`?" if hint else ""),
                f"add `{{name: {name}}}` to users, or take `{name}` out here",
            )


def _profiles_make_sense(draft: Draft) -> Iterator[Finding]:
    path: Path = ("components", "jupyterhub", "profiles")
    names: dict[str, int] = {}
    for index, profile in draft.profiles.items():
        if profile.name in names:
            yield Finding(
                (*path, index, "name"),
                f"`{profile.name}` is the name of profile {names[profile.name] + 1} as well",
                "give one of the two another name",
            )
        names.setdefault(profile.name, index)
        for key, limit in (("memory_guarantee", "memory_limit"), ("cpu_guarantee", "cpu_limit")):
            kept, most = getattr(profile, key), getattr(profile, limit)
            if kept > most:
                yield Finding(
                    (*path, index, key),
                    f"{kept} is more than {limit}, {most}",
                    f"write `{key}: {most}` or less, or a larger {limit}",
                )
    if draft.profiles_complete:
        yield from _one_default(path, draft.profiles)


def _one_default(path: Path, profiles: Mapping[int, Profile]) -> Iterator[Finding]:
    chosen = [(index, profile.name) for index, profile in profiles.items() if profile.default]
    if not profiles:
        yield Finding(
            path,
            "users would have nothing to choose from",
            "add `- {name: vo, display_name: Virtual Observatory, image: notebook, cpu_limit: 2, "
            "memory_limit: 2GiB, default: true}`",
        )
    elif not chosen:
        yield Finding(
            path,
            "no profile is the default",
            f"add `default: true` to one of them, such as `{profiles[0].name}`",
        )
    for index, name in chosen[1:]:
        yield Finding(
            (*path, index, "default"),
            f"`{name}` is the default, and so is `{chosen[0][1]}`",
            "leave `default: true` at one of them",
        )


def _profiles_fit_workers(draft: Draft) -> Iterator[Finding]:
    """Each profile must fit on the largest worker, beside what the worker needs for itself."""
    workers = [
        (draft.flavors[group.flavor], group.flavor)
        for group in draft.of_role("worker").values()
        if group.flavor in draft.flavors
    ]
    if not draft.hosts_complete or not workers or not draft.profiles:
        return
    flavor, name = max(workers, key=lambda worker: worker[0].memory)
    profile = max(draft.profiles.values(), key=lambda each: each.memory_guarantee)
    needed = Size(profile.memory_guarantee.bytes + RESERVED_MEMORY.bytes)
    if flavor.memory < needed:
        yield Finding(
            ("flavors", name, "memory"),
            f"{flavor.memory} is too little for the largest profile: `{profile.name}` is "
            f"guaranteed {profile.memory_guarantee}, and a worker needs {RESERVED_MEMORY} for "
            f"itself, which makes {needed}",
            f"write `memory: {Size(needed.gib * GIB)}` or more, or lower the memory_guarantee",
        )
    flavor, name = max(workers, key=lambda worker: worker[0].cpus)
    profile = max(draft.profiles.values(), key=lambda each: each.cpu_guarantee)
    cpus = profile.cpu_guarantee + RESERVED_CPUS
    if flavor.cpus < cpus:
        yield Finding(
            ("flavors", name, "cpus"),
            f"{flavor.cpus} is too few for the largest profile: `{profile.name}` is guaranteed "
            f"{profile.cpu_guarantee:g}, and a worker needs {RESERVED_CPUS:g} for itself, which "
            f"makes {cpus:g}",
            f"write `cpus: {int(-(-cpus // 1))}` or more, or lower the cpu_guarantee",
        )
    for index, profile in draft.profiles.items():
        path: Path = ("components", "jupyterhub", "profiles", index)
        cpus_there = max(worker.cpus for worker, _ in workers)
        if profile.cpu_limit > cpus_there:
            yield Finding(
                (*path, "cpu_limit"),
                f"{profile.cpu_limit:g} processors; the largest worker has {cpus_there}",
                f"write `cpu_limit: {cpus_there}` or less, or a larger worker flavor",
            )
        memory_there = max(worker.memory for worker, _ in workers)
        left = Size(max(0, memory_there.bytes - RESERVED_MEMORY.bytes))
        if profile.memory_limit > left >= profile.memory_guarantee:  # else see above
            yield Finding(
                (*path, "memory_limit"),
                f"{profile.memory_limit} is more than the largest worker has: {memory_there}, of "
                f"which {RESERVED_MEMORY} is its own. One server could take the host down",
                f"write `memory_limit: {left}` or less, or a larger worker flavor",
            )


RULES: tuple[Callable[[Draft], Iterator[Finding]], ...] = (
    _networks_apart,
    _hosts_have_addresses,
    _pods_have_addresses,
    _services_have_addresses,
    _roles_filled,
    _one_group_where_one_is_meant,
    _counts_make_sense,
    _slots_apart,
    _names_fit,
    _volume_names_differ,
    _flavors_exist,
    _flavors_suffice,
    _volumes_needed,
    _mounts_apart,
    _openstack_where_it_belongs,
    _openstack_flavors_named,
    _floating_ips_fit,
    _lists_have_no_twins,
    _open_to_somebody,
    _containers_named_well,
    _keys_make_sense,
    _keys_wanted_on_openstack,
    _objects_have_volumes,
    _exports_stay_free,
    _backups_make_sense,
    _homes_exist,
    _kafka_has_hosts,
    _all_brokers_outside_or_none,
    _topics_make_sense,
    _kafka_users_make_sense,
    _users_make_sense,
    _profiles_make_sense,
    _profiles_fit_workers,
)


def check(draft: Draft) -> list[Finding]:
    """Apply all rules; each finding once."""
    return list(dict.fromkeys(finding for rule in RULES for finding in rule(draft)))
