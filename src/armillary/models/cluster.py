"""What a cluster is: the model of cluster.yml, and what follows from it."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import Annotated, Any, Literal, Self

from pydantic import Field, model_validator

from armillary.models.parts import (
    Backup,
    BootVolume,
    Cloud,
    Components,
    Flavor,
    HostGroup,
    Images,
    Network,
    OpenStack,
    Part,
    Role,
    SharedSpace,
    Volume,
)
from armillary.models.problem import format_path
from armillary.models.rules import EXPORTS, Draft, check, host_names, shared_by, slots
from armillary.models.values import Domain, Label

#: The image that artifacts/ builds for hosts, under the name it has in Incus.
LOCAL_HOST_IMAGE = "armillary-host"

REGISTRY_PORT = 5000

#: The longest name Linux gives a network interface (IFNAMSIZ - 1).
INTERFACE_LENGTH = 15


@dataclass(frozen=True)
class Host:
    """One machine of a cluster."""

    name: str
    group: str
    role: Role
    slot: int
    address: str
    flavor_name: str
    flavor: Flavor
    volumes: dict[str, Volume]
    image: str
    """By the name the cloud knows it by."""
    availability_zone: str | None
    boot_volume: BootVolume | None
    """What it starts from, in place of its flavor's disk."""


class Cluster(Part):
    """A platform: one file, one cluster."""

    name: Label = Field(
        description="The cluster's name: first part of the names of all that is made for it.",
        examples=["local"],
    )
    cloud: Cloud = Field(description="Where the hosts come from.", examples=["local"])
    domain: Domain = Field(
        default_factory=lambda data: f"{data.get('name', 'cluster')}.armillary.internal",
        description="The DNS domain; `hub.<domain>` is where users log in. "
        "Default: `<name>.armillary.internal`.",
        examples=["science.example.org"],
    )
    network: Network = Field(description="Addresses.", examples=[{"hosts": "10.77.0.0/24"}])
    openstack: OpenStack | None = Field(
        default=None,
        description="What an OpenStack cloud needs to know; required with cloud `openstack`, and "
        "only there.",
        examples=[{"cloud": "science", "image": "debian-12", "external_network": "public"}],
    )
    flavors: dict[Label, Flavor] = Field(
        description="Sizes of hosts, by name.",
        examples=[{"worker": {"cpus": 2, "memory": "6GiB", "disk": "20GiB"}}],
    )
    hosts: dict[Label, HostGroup] = Field(
        description="Groups of hosts, by name.",
        examples=[{"control": {"role": "control_plane", "flavor": "control"}}],
    )
    shared: dict[Label, SharedSpace] = Field(
        default_factory=dict,
        description="Spaces all Kubernetes hosts share, by name.",
        examples=[{"homes": {"size": "50GiB", "mount": "/srv/shared"}}],
    )
    backup: Backup | None = Field(
        default=None,
        description="Backups of the shared spaces. Default: none. With cloud `openstack` only.",
        examples=[{"container": "backup", "at": "03:30"}],
    )
    patience: Annotated[int, Field(ge=1, le=20)] = Field(
        default=1,
        description="How many times longer than usual to wait for Kubernetes and what runs on it. For slow hosts: 6 where "
        "processors are emulated (QEMU without KVM).",
        examples=[1],
    )
    images: Images = Field(default_factory=Images, description="Where images come from.")
    components: Components = Field(
        default_factory=Components, description="What runs on the cluster for its users."
    )

    @model_validator(mode="after")
    def _rules_hold(self) -> Self:
        findings = check(Draft.of(self))
        if findings:
            raise ValueError(
                "; ".join(f"{format_path(each.path)}: {each.wrong}" for each in findings)
            )
        return self

    @property
    def network_name(self) -> str:
        """The name of the hosts' network: `<name>-net`, or with a digest where that is too long."""
        name = f"{self.name}-net"
        if len(name) <= INTERFACE_LENGTH:
            return name
        return f"{self.name[:8]}-{hashlib.sha256(self.name.encode()).hexdigest()[:6]}"

    @property
    def registry(self) -> str:
        """Where the private image registry is: host and port, as image references begin."""
        return f"registry.{self.domain}:{REGISTRY_PORT}"

    @property
    def containers(self) -> list[str]:
        """The containers that are made in the object store, without the cluster's name."""
        store = self.components.object_store
        backups = [self.backup.container] if self.backup else []
        return list(dict.fromkeys([*(store.containers if store else ()), *backups]))

    @property
    def has_own_object_store(self) -> bool:
        """Whether the object store runs on the services host: the cloud has none."""
        return self.components.object_store is not None and self.openstack is None

    @property
    def own_components(self) -> frozenset[str]:
        """The names of the components that run on this cluster's hosts, or on its Kubernetes."""
        named = {name for name, component in self.components if component is not None}
        return frozenset(named if self.has_own_object_store else named - {"object_store"})

    @property
    def s3_keys(self) -> list[str]:
        """The services and users that have a key of the object store."""
        store = self.components.object_store
        listed = store.containers.values() if store else ()
        return sorted({name for each in listed for name in (*each.write, *each.read)})

    def expanded_hosts(self) -> list[Host]:
        """All hosts, in order of their slots."""
        default = self.openstack
        hosts = [
            Host(
                name=name,
                group=key,
                role=group.role,
                slot=slot,
                address=str(self.network.hosts[slot]),
                flavor_name=group.flavor,
                flavor=self.flavors[group.flavor],
                volumes=dict(group.volumes),
                image=group.image or (default.image if default else LOCAL_HOST_IMAGE),
                availability_zone=self._zone(group, number),
                boot_volume=group.boot_volume or (default.boot_volume if default else None),
            )
            for key, group in self.hosts.items()
            for number, (name, slot) in enumerate(
                zip(host_names(key, group), slots(group), strict=True)
            )
        ]
        return sorted(hosts, key=lambda host: host.slot)

    def _zone(self, group: HostGroup, number: int) -> str | None:
        """Return the zone of a group's host, counted from 0."""
        if group.availability_zones:
            return group.availability_zones[number % len(group.availability_zones)]
        return self.openstack.availability_zone if self.openstack else None

    def _of_role(self, role: Role) -> list[Host]:
        return [host for host in self.expanded_hosts() if host.role == role]

    def services_host(self) -> Host:
        """The host of the registry."""
        return self._of_role("services")[0]

    def control_planes(self) -> list[Host]:
        """The hosts of Kubernetes' control plane: one or three."""
        return self._of_role("control_plane")

    def workers(self) -> list[Host]:
        """The hosts users' servers run on."""
        return self._of_role("worker")

    def brokers(self) -> list[Host]:
        """The hosts of Kafka: none, or 1, 3 or 5."""
        return self._of_role("kafka")

    def floating_ips(self) -> dict[str, str]:
        """The hosts with a floating IP: `new`, or an address; the services host is one of them.

        Empty where the cloud has none.
        """
        if self.openstack is None:
            return {}
        return {self.services_host().name: "new", **self.openstack.floating_ips}

    def terraform_variables(
        self, root: Literal["data", "compute"], *, image: str | None = None
    ) -> dict[str, Any]:
        """Return the variables of a Terraform root, as terraform/*/`root`/variables.tf has them.

        The caller adds what is not in cluster.yml: the cloud's own (`Cloud.variables`), and to
        those of `compute` `ssh_public_key`, and `data`, the output of the root data. `image` is
        the name the cloud knows the hosts' image by; default: what cluster.yml says.
        """
        if root == "data":
            return self._data_variables()
        return self._compute_variables(image)

    def _data_variables(self) -> dict[str, Any]:
        volumes = {
            f"{host.name}-{name}": self._volume(volume, shared=False)
            for host in self.expanded_hosts()
            for name, volume in host.volumes.items()
        }
        volumes |= {name: self._volume(space, shared=True) for name, space in self.shared.items()}
        variables: dict[str, Any] = {"cluster": self.name, "volumes": volumes}
        if self.openstack:
            variables["openstack"] = {
                "cloud": self.openstack.cloud,
                "availability_zone": self.openstack.volume_availability_zone,
                "containers": self._terraform_containers(),
                "s3": self.s3_keys,
            }
        return variables

    def _terraform_containers(self) -> dict[str, Any]:
        store = self.components.object_store
        declared = store.containers if store else {}
        found: dict[str, Any] = {}
        for name in self.containers:
            quota = declared[name].quota if name in declared else None
            segments = name in declared and bool(self.s3_keys)
            found[name] = {"quota_bytes": quota and quota.bytes, "segments": segments}
        return found

    def _volume(self, volume: Volume | SharedSpace, *, shared: bool) -> dict[str, Any]:
        default = self.openstack.volume_type if self.openstack else None
        return {"size_gib": volume.size.gib, "shared": shared, "type": volume.type or default}

    def _compute_variables(self, image: str | None) -> dict[str, Any]:
        hosts: dict[str, dict[str, Any]] = {}
        for host in self.expanded_hosts():
            volumes = {
                name: {"volume": f"{host.name}-{name}", "mount": volume.mount, "shared": False}
                for name, volume in host.volumes.items()
            }
            volumes |= {
                name: {"volume": name, "mount": space.mount, "shared": True}
                for name, space in shared_by(self.hosts[host.group], self.shared).items()
            }
            hosts[host.name] = {
                "role": host.role,
                "slot": host.slot,
                "flavor": host.flavor.name or host.flavor_name,
                "cpus": host.flavor.cpus,
                "memory_mib": host.flavor.memory.mib,
                "disk_gib": host.flavor.disk.gib,
                "image": image or host.image,
                "volumes": volumes,
            }
            if self.openstack:
                boot = host.boot_volume
                hosts[host.name] |= {
                    "availability_zone": host.availability_zone,
                    "boot_volume": boot and {"type": boot.type or self.openstack.volume_type},
                }
        variables: dict[str, Any] = {
            "cluster": self.name,
            "network": {
                "name": self.network_name,
                "hosts": str(self.network.hosts),
                "pods": str(self.network.pods),
                "backend": self.network.backend,
            },
            "hosts": hosts,
        }
        if self.openstack:
            variables["openstack"] = self._openstack_variables(self.openstack)
        return variables

    def _openstack_variables(self, settings: OpenStack) -> dict[str, Any]:
        given = settings.model_dump(
            mode="json",
            include={
                *("cloud", "external_network", "network", "dns_servers"),
                *("access", "allow_from", "load_balancer", "server_group_policy"),
            },
        )
        return {
            **given,
            "exports": EXPORTS,
            "floating_ips": self.floating_ips(),
        }


def json_schema() -> dict[str, Any]:
    """Return the JSON Schema of cluster.yml, for editors (docs/reference/cluster.schema.json)."""
    schema = Cluster.model_json_schema()
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "Armillary cluster.yml",
        **{key: value for key, value in schema.items() if key != "title"},
    }
