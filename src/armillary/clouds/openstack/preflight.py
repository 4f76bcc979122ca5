"""What a project lacks for a cluster: asked before anything is made, and all of it said at once.

No tool of the field asks for quotas before it starts; images and flavours that are not there show in the middle of a run.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from typing import Any

from keystoneauth1 import exceptions as keystone
from openstack.connection import Connection
from openstack.exceptions import SDKException

from armillary.clouds.openstack.objects import mark_of
from armillary.models.cluster import Cluster
from armillary.models.quota import quota_needed
from armillary.models.report import Check

SKEW_SECONDS = 60
"""Tokens and certificates bear times; beyond this they fail in ways that are hard to read."""
SOFT_POLICIES = (2, 15)
"""Nova's API version from which a server group may be soft-anti-affinity."""
UNLIMITED = -1


@dataclass(frozen=True)
class Room:
    """One quota: how much there may be, and how much there is."""

    limit: int
    used: int

    @property
    def free(self) -> int | None:
        """What is left; None where there is no limit."""
        return None if self.limit == UNLIMITED else max(0, self.limit - self.used)


Look = Callable[[Connection, Cluster], Iterable[Check]]


def preflight(
    connection: Connection, cluster: Cluster, made: Mapping[str, int], mark: str | None = None
) -> list[Check]:
    """Return what was looked at; `ok` is False for what is missing, None for what could not be told.

    Args:
        connection: signed in.
        cluster: what is wanted.
        made: how much of each quota the cluster takes already, by the names of models/quota.py.
        mark: the cluster's UUID; None when nothing of it is made yet.
    """
    looks: dict[str, Callable[[], Iterable[Check]]] = {
        "quotas": lambda: _quotas(connection, cluster, made),
        "quotas of load balancers": lambda: _balancer_quotas(connection, cluster, made),
        "images": lambda: _images(connection, cluster, made),
        "floating IPs": lambda: _floating_ips(connection, cluster, mark),
        **{
            name: lambda look=look: look(connection, cluster)  # type: ignore[misc]
            for name, look in LOOKS.items()
        },
    }
    with ThreadPoolExecutor(len(looks)) as pool:
        found = pool.map(lambda item: _careful(*item), looks.items())
        return [check for checks in found for check in checks]


def _careful(name: str, look: Callable[[], Iterable[Check]]) -> list[Check]:
    """Run a look; where the cloud does not answer, that is a finding too."""
    try:
        return list(look())
    except (SDKException, keystone.ClientException) as error:
        return [Check(name=name, ok=None, detail=f"The cloud cannot be asked: {error}")]


def rooms(connection: Connection) -> dict[str, Room]:
    """Return the project's quotas, by the names of models/quota.py."""
    compute = connection.compute.get_limits().absolute
    volumes = connection.block_storage.get_limits().absolute
    network = connection.network.get_quota(str(connection.current_project_id), details=True)
    found = {
        "instances": Room(compute.instances, compute.instances_used),
        "cores": Room(compute.total_cores, compute.total_cores_used),
        "ram": Room(compute.total_ram, compute.total_ram_used),
        "server_groups": Room(compute.server_groups, compute.server_groups_used),
        # Of each group.
        "server_group_members": Room(compute.server_group_members, 0),
        "volumes": Room(volumes.max_total_volumes, volumes.total_volumes_used),
        "gigabytes": Room(volumes.max_total_volume_gigabytes, volumes.total_gigabytes_used),
    }
    for name in (
        *("networks", "subnets", "routers", "ports", "floating_ips"),
        *("security_groups", "security_group_rules"),
    ):
        facts: Mapping[str, int] = getattr(network, name) or {}
        found[name] = Room(facts.get("limit", UNLIMITED), facts.get("used", 0))
    return found


def _quotas(connection: Connection, cluster: Cluster, made: Mapping[str, int]) -> Iterator[Check]:
    found = rooms(connection)
    needed = {**asdict(quota_needed(cluster)), **_sizes(connection, cluster)}
    for name in found.keys() & needed.keys():
        yield _quota(name, needed[name], made.get(name, 0), found[name])


def _sizes(connection: Connection, cluster: Cluster) -> dict[str, int]:
    """Return the cores and memory of the cloud's flavors, which may have more than is wanted of them."""
    there = {flavor.name: flavor for flavor in connection.compute.flavors()}
    cores, ram = 0, 0
    for host in cluster.expanded_hosts():
        flavor = there.get(host.flavor.name)
        cores += flavor.vcpus if flavor else host.flavor.cpus
        ram += flavor.ram if flavor else host.flavor.memory.mib
    return {"cores": cores, "ram": ram}


def _quota(name: str, total: int, made: int, room: Room) -> Check:
    wanted, words = max(0, total - made), name.replace("_", " ")
    return Check(
        name=f"quota {words}",
        ok=room.free is None or wanted <= room.free,
        detail=f"{wanted} wanted, {room.free} free of {room.limit}. Ask for a quota of "
        f"{room.used + wanted} {words}, free some, or make the cluster smaller.",
    )


def _balancer_quotas(
    connection: Connection, cluster: Cluster, made: Mapping[str, int]
) -> Iterator[Check]:
    assert cluster.openstack is not None
    if cluster.openstack.load_balancer != "octavia" or not connection.has_service("load-balancer"):
        return
    octavia, needed = connection.load_balancer, asdict(quota_needed(cluster))
    limits = octavia.get_quota(str(connection.current_project_id))
    pools = list(octavia.pools())
    # Octavia does not say how much is used.
    used = {
        "load_balancers": len(list(octavia.load_balancers())),
        "listeners": len(list(octavia.listeners())),
        "pools": len(pools),
        "members": sum(len(pool.members or ()) for pool in pools),
        "health_monitors": len(list(octavia.health_monitors())),
    }
    there = made.get("load_balancers", 0)
    for name, taken in used.items():
        limit = getattr(limits, name)
        # All hosts but the services host are members.
        own = max(0, made.get("instances", 0) - 1) if name == "members" else needed[name]
        room = Room(UNLIMITED if limit is None else limit, taken)
        yield _quota(name, needed[name], own * bool(there), room)


def _flavors(connection: Connection, cluster: Cluster) -> Iterator[Check]:
    there = {flavor.name: flavor for flavor in connection.compute.flavors()}
    for name, wanted in cluster.flavors.items():
        if wanted.name not in there:
            yield Check(
                name=f"flavor {name}",
                ok=False,
                detail=f"The cloud has no flavor `{wanted.name}`. It has: "
                f"{_fitting(there.values(), wanted)}.",
            )
            continue
        flavor = there[wanted.name]
        boots = all(
            host.boot_volume for host in cluster.expanded_hosts() if host.flavor_name == name
        )
        short = [
            f"{has} {what} where {least} are wanted"
            for has, least, what in (
                (flavor.vcpus, wanted.cpus, "processors"),
                (flavor.ram, wanted.memory.mib, "MiB of memory"),
                (flavor.disk, 0 if boots else wanted.disk.gib, "GiB of disk"),
            )
            if has < least
        ]
        yield Check(
            name=f"flavor {name}",
            ok=not short,
            detail=f"`{wanted.name}` has {'; '.join(short)}. Take another "
            f"({_fitting(there.values(), wanted)}), or want less.",
        )


def _fitting(flavors: Iterable[Any], wanted: Any) -> str:
    """Name the smallest flavours that are large enough."""
    fit = [f for f in flavors if f.vcpus >= wanted.cpus and f.ram >= wanted.memory.mib]
    names = [f.name for f in sorted(fit, key=lambda f: (f.ram, f.vcpus, f.disk))[:5]]
    return ", ".join(names) or "none that is large enough"


def _images(connection: Connection, cluster: Cluster, made: Mapping[str, int]) -> Iterator[Check]:
    new = len(cluster.expanded_hosts()) - made.get("instances", 0)
    hosts = cluster.expanded_hosts()
    for name in sorted({host.image for host in hosts}):
        disk = min(host.flavor.disk.gib for host in hosts if host.image == name)
        yield _image(connection, name, disk, new > 0)


def _image(connection: Connection, name: str, disk: int, needed: bool) -> Check:
    """Look for an image as terraform/openstack/compute does: the newest of the name; hosts that are there need none."""
    found = [image for image in connection.image.images(name=name) if image.status == "active"]
    if not found:
        others = sorted({i.name for i in connection.image.images() if "debian" in i.name.lower()})
        return Check(
            name=f"image {name}",
            ok=not needed,
            detail=f"The cloud has no usable image `{name}`. Hosts that are there stay as they are; none can be made. "
            f"Images of Debian: {', '.join(others) or 'none; upload one'}.",
        )
    image = max(found, key=lambda each: each.created_at)
    if (image.min_disk or 0) > disk:
        return Check(
            name=f"image {name}",
            ok=False,
            detail=f"`{name}` needs a disk of {image.min_disk} GiB, and a flavor in cluster.yml wants {disk} GiB. "
            "Want more disk.",
        )
    return Check(
        name=f"image {name}",
        ok=True,
        detail=f"The newest of {len(found)} of this name is taken: {image.id}, of {image.created_at}.",
    )


def _volume_types(connection: Connection, cluster: Cluster) -> Iterator[Check]:
    assert cluster.openstack is not None
    wanted = {cluster.openstack.volume_type}
    wanted |= {each.type for host in cluster.expanded_hosts() for each in host.volumes.values()}
    wanted |= {space.type for space in cluster.shared.values()}
    wanted |= {host.boot_volume.type for host in cluster.expanded_hosts() if host.boot_volume}
    there = sorted(each.name for each in connection.block_storage.types())
    for name in sorted(filter(None, wanted)):
        yield Check(
            name=f"volume type {name}",
            ok=name in there,
            detail=f"The cloud has no volume type `{name}`. It has: {', '.join(there)}.",
        )


def _zones(connection: Connection, cluster: Cluster) -> Iterator[Check]:
    assert cluster.openstack is not None
    # openstacksdk's types still allow for a version of Cinder without zones.
    cinder: Any = connection.block_storage
    of_hosts = {host.availability_zone for host in cluster.expanded_hosts()}
    for kind, wanted, ask in (
        ("availability zone", of_hosts, connection.compute),
        ("volume availability zone", {cluster.openstack.volume_availability_zone}, cinder),
    ):
        names = sorted(filter(None, wanted))
        there = sorted(zone.name for zone in ask.availability_zones()) if names else []
        for name in names:
            yield Check(
                name=f"{kind} {name}",
                ok=name in there,
                detail=f"The cloud has no {kind} `{name}`. It has: {', '.join(there)}.",
            )


def _networks(connection: Connection, cluster: Cluster) -> Iterator[Check]:
    assert cluster.openstack is not None
    settings = cluster.openstack
    external = [network.name for network in connection.network.networks(is_router_external=True)]
    yield Check(
        name="external network",
        ok=settings.external_network in external,
        detail=f"The cloud has no external network `{settings.external_network}`. It has: "
        f"{', '.join(sorted(external)) or 'none'}.",
    )
    if settings.network is None:
        return
    network = connection.network.find_network(settings.network.name)
    subnet = connection.network.find_subnet(settings.network.subnet)
    if network is None or subnet is None or subnet.network_id != network.id:
        yield Check(
            name="network",
            ok=False,
            detail=f"There is no network `{settings.network.name}` with a subnet "
            f"`{settings.network.subnet}`. Networks: "
            f"{', '.join(sorted(each.name for each in connection.network.networks()))}.",
        )
        return
    yield Check(
        name="network",
        ok=subnet.cidr == str(cluster.network.hosts),
        detail=f"`{settings.network.subnet}` is {subnet.cidr}, and network.hosts is "
        f"{cluster.network.hosts}. Write the subnet's range there.",
    )


def _floating_ips(connection: Connection, cluster: Cluster, mark: str | None) -> Iterator[Check]:
    given = {host: ip for host, ip in cluster.floating_ips().items() if ip != "new"}
    for host, address in given.items():
        found = connection.network.find_ip(address)
        taken = found is not None and found.port_id is not None
        yield Check(
            name=f"floating IP {address}",
            ok=found is not None and not (taken and not _ours(connection, found, mark)),
            detail=f"{address}, wanted for {host}, "
            + ("serves another host." if taken else "is no floating IP of this project.")
            + " `openstack floating ip list` shows those there are.",
        )


def _ours(connection: Connection, address: Any, mark: str | None) -> bool:
    return mark is not None and mark_of(connection.network.get_port(address.port_id)) == mark


def _server_groups(connection: Connection, cluster: Cluster) -> Iterator[Check]:
    assert cluster.openstack is not None
    policy = cluster.openstack.server_group_policy
    endpoint = connection.compute.get_endpoint_data()
    most = endpoint.max_microversion if endpoint else None
    yield Check(
        name="server group policy",
        ok=not policy.startswith("soft-") or (most is not None and most >= SOFT_POLICIES),
        detail=f"Nova here is too old for {policy}. Write `server_group_policy: anti-affinity`.",
    )


def _services(connection: Connection, cluster: Cluster) -> Iterator[Check]:
    assert cluster.openstack is not None
    wanted = {"compute": True, "network": True, "block-storage": True, "image": True}
    wanted["object-store"] = bool(cluster.containers) or cluster.openstack.s3
    wanted["load-balancer"] = cluster.openstack.load_balancer == "octavia"
    for name, needed in wanted.items():
        if needed:
            yield Check(
                name=f"service {name}",
                ok=connection.has_service(name),
                detail=f"The catalogue of the cloud has no {name}. Do without it in cluster.yml, or "
                "use another cloud.",
            )


def _object_store(connection: Connection, cluster: Cluster) -> Iterator[Check]:
    assert cluster.openstack is not None
    if not cluster.containers or not connection.has_service("object-store"):
        return
    account = connection.object_store.get_account_metadata()
    # https://docs.openstack.org/swift/latest/middleware.html#module-swift.common.middleware.account_quotas
    quota = (account.metadata or {}).get("quota-bytes")
    yield Check(
        name="quota object store",
        ok=quota is None or int(account.account_bytes_used or 0) < int(quota),
        detail=f"All {quota} bytes of the project's quota are taken. Delete something, or ask for more.",
    )


def _clock(connection: Connection, _: Cluster) -> Iterator[Check]:
    # A token of its own, issued now: not all servers in front of Keystone give a Date in answers.
    auth: Any = connection.session.auth
    said = auth.get_auth_ref(connection.session).issued.timestamp()
    skew = abs(time.time() - said)
    yield Check(
        name="clock",
        ok=skew <= SKEW_SECONDS,
        detail=f"This machine's clock and the cloud's are {skew:.0f} s apart. Set this one: "
        "`timedatectl set-ntp true`.",
    )


LOOKS: Mapping[str, Look] = {
    "services": _services,
    "flavors": _flavors,
    "volume types": _volume_types,
    "availability zones": _zones,
    "networks": _networks,
    "server group policy": _server_groups,
    "object store": _object_store,
    "clock": _clock,
}
