"""The Ansible inventory: generated from cluster.yml and Terraform's output, never edited."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import yaml

from armillary.bundle.use import host_packages
from armillary.clouds.contract import Cloud
from armillary.files import write
from armillary.models.cluster import Cluster, Host
from armillary.models.rules import (
    DATA_MOUNT,
    EXPORTS,
    HOMES,
    KAFKA_MOUNT,
    OBJECTS,
    OPERATOR,
    in_sync_of,
    replicas_of,
)
from armillary.objectstore import abilities
from armillary.objectstore.access import PORT, REGION, access
from armillary.paths import ClusterPaths
from armillary.ssh import USER

GROUPS = {
    "services": "services",
    "kafka": "kafka",
    "control_plane": "control_plane",
    "worker": "workers",
}
KAFKA_PORT = 9092
"""Where clients inside find a broker of Kafka."""


@dataclass(frozen=True)
class Inventory:
    """What Ansible is told of a cluster."""

    hosts: Mapping[str, Mapping[str, Any]]
    """Each host's own variables, by its name."""
    shared: Mapping[str, Any]
    """The variables that every host has."""

    def write(self, paths: ClusterPaths) -> None:
        """Write `inventory/hosts.yml` and `inventory/group_vars/all.yml` of a cluster's state."""
        groups: dict[str, Any] = {group: {"hosts": {}} for group in GROUPS.values()}
        for name, variables in self.hosts.items():
            groups[GROUPS[variables["armillary_role"]]]["hosts"][name] = dict(variables)
        groups["kubernetes"] = {"children": {"control_plane": {}, "workers": {}}}
        write(paths.inventory / "hosts.yml", _dump({"all": {"children": groups}}))
        group_vars = paths.inventory / "group_vars"
        group_vars.mkdir(mode=0o700, exist_ok=True)
        write(group_vars / "all.yml", _dump(self.shared))


def inventory(
    paths: ClusterPaths,
    cluster: Cluster,
    cloud: Cloud,
    output: Mapping[str, Any],
    artifacts: Mapping[str, Any],
    images: Mapping[str, str],
) -> Inventory:
    """Return the inventory of a cluster.

    Args:
        paths: the cluster's state directory.
        cluster: what the cluster is.
        cloud: asked for the hosts' quirks.
        output: Terraform's output `cluster` of the compute root.
        artifacts: name -> {version, key, archive, bin_dir}.
        images: name -> reference in the cluster's registry.
    """
    return Inventory(
        hosts=_hosts(cluster, output),
        shared=_shared(paths, cluster, cloud, output, artifacts, images),
    )


def _hosts(cluster: Cluster, output: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
    flavors = {host.name: host.flavor for host in cluster.expanded_hosts()}
    served = {cluster.services_host().name: {"armillary_objectstore": _own_object_store(cluster)}}
    kafka = _kafka(cluster, output)
    served |= {host.name: {"armillary_kafka": kafka} for host in cluster.brokers()}
    return {
        name: {
            **served.get(name, {}),
            "ansible_host": host["access_address"],
            "armillary_address": host["address"],
            "armillary_role": host["role"],
            "armillary_volumes": host["volumes"],
            "armillary_nfs_clients": _clients(host["address"], output["hosts"]),
            "armillary_cpus": flavors[name].cpus,
            "armillary_memory_mib": flavors[name].memory.mib,
        }
        for name, host in output["hosts"].items()
    }


def _clients(server: str, hosts: Mapping[str, Any]) -> list[str]:
    """Return the addresses of the hosts that mount by NFS what a host exports.

    A variable of the host's own: of a worker more, it has to hear.
    """
    return sorted(
        host["address"]
        for host in hosts.values()
        if any(v["kind"] == "nfs" and v["server"] == server for v in host["volumes"].values())
    )


def _shared(
    paths: ClusterPaths,
    cluster: Cluster,
    cloud: Cloud,
    output: Mapping[str, Any],
    artifacts: Mapping[str, Any],
    images: Mapping[str, str],
) -> dict[str, Any]:
    addresses: dict[str, list[str]] = {role: [] for role in GROUPS}
    for _, host in sorted(output["hosts"].items()):
        addresses[host["role"]].append(host["address"])
    return {
        "ansible_user": USER,
        "ansible_become": True,
        "ansible_ssh_common_args": f"-F {paths.ssh_config}",
        "armillary_cluster": cluster.name,
        "armillary_domain": cluster.domain,
        "armillary_network": {
            "hosts": str(cluster.network.hosts),
            "pods": str(cluster.network.pods),
            "services": str(cluster.network.services),
            "backend": cluster.network.backend,
        },
        "armillary_state_dir": str(paths.root),
        "armillary_pki_dir": str(paths.pki),
        "armillary_kubeconfig": str(paths.kubeconfig),
        "armillary_registry": cluster.registry,
        "armillary_services_address": addresses["services"][0],
        "armillary_control_plane_addresses": addresses["control_plane"],
        "armillary_worker_addresses": addresses["worker"],
        "armillary_artifacts": dict(artifacts),
        "armillary_images": dict(images),
        "armillary_patience": cluster.patience,
        "armillary_packages": host_packages(),
        "armillary_storage": _storage(cluster),
        "armillary_prefetch": _prefetch(cluster, images),
        "armillary_backup": _backup(cluster),
        "armillary_object_store": _object_store(cluster, paths),
        "armillary_host_quirks": cloud.quirks(),
        # What Kafka is to have is its own hosts' business; others want to know where it is.
        "armillary_components": cluster.components.model_dump(
            mode="json", by_alias=True, exclude={"kafka"}
        ),
        "armillary_kafka_bootstrap": bootstrap(cluster),
    }


def _kafka(cluster: Cluster, output: Mapping[str, Any]) -> dict[str, Any]:
    """Return what each broker of Kafka is to know of all of them, and of what is to be there; empty without Kafka."""
    kafka = cluster.components.kafka
    if kafka is None:
        return {}
    found = output["hosts"]
    brokers = [host for host in cluster.brokers() if host.name in found]
    count = len(cluster.brokers())
    return {
        "brokers": {
            host.name: {
                "id": number,
                "address": found[host.name]["address"],
                "outside": found[host.name].get("floating_ip"),
                "rack": found[host.name].get("zone"),
                "volume_mib": _room(host, KAFKA_MOUNT),
            }
            for number, host in enumerate(brokers, start=1)
        },
        "topics": [
            {
                "name": topic.name,
                "partitions": topic.partitions,
                "replicas": replicas_of(topic, count),
                "config": {
                    "retention.ms": str(topic.retention.seconds * 1000),
                    "min.insync.replicas": str(in_sync_of(topic, count)),
                    "cleanup.policy": topic.cleanup,
                },
            }
            for topic in kafka.topics
        ],
        "users": [user.model_dump(mode="json") for user in kafka.users],
    }


def _room(host: Host, mount: str) -> int:
    """Return the size of a host's volume (MiB)."""
    return next(one.size.mib for one in host.volumes.values() if one.mount == mount)


def bootstrap(cluster: Cluster) -> str:
    """Return what clients inside a cluster begin with: each broker's address and port; empty without Kafka."""
    return ",".join(f"{host.address}:{KAFKA_PORT}" for host in cluster.brokers())


def _storage(cluster: Cluster) -> dict[str, str]:
    """Return where Kubernetes hosts keep volumes and homes; empty where no space is shared."""
    shared = cluster.shared[HOMES].mount if HOMES in cluster.shared else ""
    return {
        "local": f"{DATA_MOUNT}/claims",
        "shared": shared and f"{shared}/claims",
        "homes": shared and f"{shared}/homes",
    }


def _object_store(cluster: Cluster, paths: ClusterPaths) -> dict[str, Any]:
    """Return how the object store is opened and what it can do; empty where there is none. Keys by reference."""
    found = access(cluster, paths)
    if found is None:
        return {}
    known = abilities.read(paths)
    return {
        "endpoint": found.endpoint,
        "region": known.region if known else found.region,
        "ca": found.ca,
        "containers": dict(found.containers),
        "apart": found.apart,
        "s3": f"{{{{ armillary_secrets.{found.secret}.s3 }}}}",
        "can": known.model_dump(mode="json") if known else {},
    }


def _own_object_store(cluster: Cluster) -> dict[str, Any]:
    """Return what the services host's object store is to be; empty where it has none."""
    store = cluster.components.object_store
    if store is None or not cluster.has_own_object_store:
        return {}

    def accounts(names: Sequence[str]) -> list[str]:
        return [f"{cluster.name}:{name}" for name in names]

    return {
        "account": cluster.name,
        "operator": OPERATOR,
        "port": PORT,
        "region": REGION,
        "replicas": store.replicas,
        # A larger volume takes more of the objects.
        "devices": {
            volume.mount.rpartition("/")[2]: volume.size.gib
            for volume in cluster.services_host().volumes.values()
            if volume.mount.startswith(f"{OBJECTS}/")
        },
        "containers": [
            {
                "name": f"{cluster.name}-{name}",
                "quota_bytes": each.quota and each.quota.bytes,
                "read": accounts(each.read),
                "write": accounts(each.write),
            }
            for name, each in store.containers.items()
        ],
    }


def _backup(cluster: Cluster) -> dict[str, Any]:
    """Return what is backed up, where to and when; empty for none."""
    if cluster.backup is None:
        return {}
    return {
        "container": f"{cluster.name}-{cluster.backup.container}",
        "at": cluster.backup.at,
        "keep": cluster.backup.keep.model_dump(),
        "directories": [f"{EXPORTS}/{space}" for space in sorted(cluster.shared)],
    }


def _prefetch(cluster: Cluster, images: Mapping[str, str]) -> list[str]:
    """Return the images of the cluster's registry that users' servers run."""
    hub = cluster.components.jupyterhub
    if hub is None:
        return []
    return sorted({images[each.image] for each in hub.profiles if each.image in images})


def _dump(content: Mapping[str, Any]) -> str:
    return yaml.safe_dump(dict(content), sort_keys=True, width=1000)
