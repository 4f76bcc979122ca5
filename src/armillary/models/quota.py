"""What a cluster takes of an OpenStack project's quotas."""

from __future__ import annotations

from dataclasses import dataclass

from armillary.models.cluster import Cluster
from armillary.models.parts import OpenStack

#: Security groups of terraform/openstack/compute, and the rules every new group begins with.
GROUPS = 5
KAFKA_GROUPS = 1
DEFAULT_RULES = 2
#: Ports of DHCP agents that Neutron puts into a network of the project's: two in most clouds.
DHCP_PORTS = 2


@dataclass(frozen=True)
class Quota:
    """Numbers of objects, under OpenStack's own names; `ram` in MiB, `gigabytes` in GiB."""

    instances: int
    cores: int
    ram: int
    server_groups: int
    server_group_members: int
    volumes: int
    gigabytes: int
    networks: int
    subnets: int
    routers: int
    ports: int
    floating_ips: int
    security_groups: int
    security_group_rules: int
    load_balancers: int
    listeners: int
    pools: int
    members: int
    health_monitors: int
    containers: int


def quota_needed(cluster: Cluster) -> Quota:
    """Return what the whole cluster takes, as if nothing of it were there yet.

    Cores and memory are those of cluster.yml: the cloud's flavors may have more, and then take more, which the preflight counts.

    Raises:
        ValueError: the cluster's cloud is not OpenStack.
    """
    settings = cluster.openstack
    if settings is None:
        raise ValueError(f"cluster `{cluster.name}` is not for OpenStack")
    hosts = cluster.expanded_hosts()
    control_planes, workers = len(cluster.control_planes()), len(cluster.workers())
    brokers = len(cluster.brokers())
    groups = GROUPS + KAFKA_GROUPS * bool(brokers)
    made = settings.network is None
    balancer = settings.load_balancer == "octavia"
    data = [volume.size.gib for host in hosts for volume in host.volumes.values()]
    data += [space.size.gib for space in cluster.shared.values()]
    boot = [host.flavor.disk.gib for host in hosts if host.boot_volume]
    given = sum(address == "new" for address in cluster.floating_ips().values())
    return Quota(
        instances=len(hosts),
        cores=sum(host.flavor.cpus for host in hosts),
        ram=sum(host.flavor.memory.mib for host in hosts),
        server_groups=1 + bool(brokers),
        # The quota is of one group's members.
        server_group_members=max(control_planes, brokers),
        volumes=len(data) + len(boot),
        gigabytes=sum(data) + sum(boot),
        networks=int(made),
        subnets=int(made),
        routers=int(made),
        # The router's own, and the load balancer's.
        ports=len(hosts) + (1 + DHCP_PORTS) * made + balancer,
        floating_ips=given + balancer,
        security_groups=groups,
        security_group_rules=groups * DEFAULT_RULES + _rules(cluster, settings),
        load_balancers=int(balancer),
        # For 80, 443 and the API; workers are behind two of them.
        listeners=3 * balancer,
        pools=3 * balancer,
        members=(control_planes + 2 * workers) * balancer,
        health_monitors=3 * balancer,
        # Each that somebody has a key of has a second one, for parts of uploads.
        containers=len(cluster.containers) + len(_segmented(cluster)),
    )


def _rules(cluster: Cluster, settings: OpenStack) -> int:
    """Count the rules of terraform/openstack/compute/security.tf; a test compares the two."""
    balancer = settings.load_balancer == "octavia"
    from_outside = (2 if balancer else 5) + (settings.access == "direct")
    between_hosts = 8 + (settings.access == "bastion") + bool(cluster.shared)
    of_pods = 2 if cluster.network.backend == "host-gw" else 1
    brokers = cluster.brokers()
    between_hosts += 3 * bool(brokers)
    from_outside += any(host.name in settings.floating_ips for host in brokers)
    return from_outside * len(settings.allow_from) + between_hosts + of_pods + 3 * balancer


def _segmented(cluster: Cluster) -> list[str]:
    store = cluster.components.object_store
    return list(store.containers) if store and cluster.s3_keys else []
