"""The parts of cluster.yml. What holds between parts is in rules.py."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field

from armillary.models.problem import invalid
from armillary.models.quantity import Duration, Size
from armillary.models.values import (
    Address4,
    CloudName,
    DiskSize,
    DownloadUrl,
    FloatingIp,
    IdleTime,
    Label,
    MemorySize,
    MirroredImage,
    MountPoint,
    NamePrefix,
    Network4,
    NotebookImage,
    Retention,
    RootDiskSize,
    SourceNetwork,
    TimeOfDay,
    Title,
    TopicName,
    UserName,
    check_count,
    parse_network,
    within,
)

Cloud = Literal["local", "openstack"]
Role = Literal["services", "kafka", "control_plane", "worker"]

#: The number of a host's address in the hosts' network, from which each role counts.
FIRST_SLOT: dict[Role, int] = {
    "services": 10,
    "kafka": 14,
    "control_plane": 20,
    "worker": 30,
}


class Part(BaseModel):
    """What all parts share: unknown keys refused, nothing converted, nothing changed later."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)


def _later(*later: str) -> BeforeValidator:
    """Refuse values that the design has and this release has not."""

    def check(value: Any) -> Any:
        if value in later:
            raise invalid(f"`{value}` comes in a later release", f"write `{_NOW[value]}` for now")
        return value

    return BeforeValidator(check)


_NOW = {"github": "native", "egi": "native"}


class Network(Part):
    """The three networks of a cluster."""

    hosts: Network4 = Field(
        description="Addresses of the hosts. Host number N of the network is the host of slot N.",
        examples=["10.77.0.0/24"],
    )
    pods: Network4 = Field(
        default=parse_network("10.244.0.0/16"),
        description="Addresses of pods: every Kubernetes host takes a /24 of it.",
        examples=["10.244.0.0/16"],
    )
    services: Network4 = Field(
        default=parse_network("10.96.0.0/16"),
        description="Addresses of Kubernetes services.",
        examples=["10.96.0.0/16"],
    )
    backend: Literal["host-gw", "vxlan"] = Field(
        default="host-gw",
        description="How pods of two hosts reach each other: plain routes (host-gw: fastest, all "
        "hosts in one network) or tunnels (vxlan: where the cloud drops packets of pods).",
    )


class Flavor(Part):
    """The size of a host. On OpenStack, what the cloud's own flavor must have at least."""

    name: CloudName | None = Field(
        default=None,
        description="OpenStack's own name of the flavor (`openstack flavor list`). Required with "
        "cloud `openstack`, and only there.",
        examples=["m1.medium"],
    )

    cpus: Annotated[int, AfterValidator(within(1, 512, "processors"))] = Field(
        description="Virtual processors.", examples=[2]
    )
    memory: MemorySize = Field(description="Memory.", examples=["6GiB"])
    disk: RootDiskSize = Field(
        description="The host's own disk, which goes when the host goes.", examples=["20GiB"]
    )


_VOLUME_TYPE = Field(
    default=None,
    description="A volume type of the cloud, in place of `openstack.volume_type`.",
    examples=["ssd"],
)


class Volume(Part):
    """A disk that outlives the hosts."""

    size: DiskSize = Field(description="It can grow later, never shrink.", examples=["20GiB"])
    mount: MountPoint = Field(
        description="Where hosts have it, an absolute path.", examples=["/var/lib/armillary/data"]
    )
    type: CloudName | None = _VOLUME_TYPE


class BootVolume(Part):
    """That hosts start from a volume instead of the disk of their flavor."""

    type: CloudName | None = Field(
        default=None,
        description="A volume type of the cloud; default: `openstack.volume_type`.",
        examples=["ssd"],
    )


class HostGroup(Part):
    """Hosts of one kind: `<group>-1`, `<group>-2` and so on."""

    role: Role = Field(description="What the hosts do.", examples=["worker"])
    flavor: Label = Field(
        description="How large they are: a key of `flavors`.", examples=["worker"]
    )
    count: Annotated[int, AfterValidator(check_count)] = Field(
        default=1, description="How many.", examples=[2], json_schema_extra={"minimum": 1}
    )
    first_slot: Annotated[int, AfterValidator(within(30, 65000, "for a worker's slot"))] | None = (
        Field(
            default=None,
            description="For a second group of workers: the number in the hosts' network its "
            "addresses start at, so that groups can grow without a host changing its address.",
            examples=[60],
        )
    )
    volumes: dict[Label, Volume] = Field(
        default_factory=dict,
        description="Disks that each host of the group has for itself.",
        examples=[{"data": {"size": "20GiB", "mount": "/var/lib/armillary/data"}}],
    )
    image: CloudName | None = Field(
        default=None,
        description="With cloud `openstack`: another image than `openstack.image`.",
        examples=["debian-12-gpu"],
    )
    availability_zones: list[CloudName] | None = Field(
        default=None,
        description="With cloud `openstack`: other zones than `openstack.availability_zone`; the hosts take them in turn, so "
        "that three control planes can be in three.",
        examples=[["az1", "az2", "az3"]],
    )
    boot_volume: BootVolume | None = Field(
        default=None,
        description="With cloud `openstack`: that these hosts start from volumes, or from volumes of another type than "
        "`openstack.boot_volume` says.",
        examples=[{"type": "ssd"}],
    )


class SharedSpace(Part):
    """A space that all Kubernetes hosts can read and write at once."""

    size: DiskSize = Field(description="It can grow later, never shrink.", examples=["50GiB"])
    mount: MountPoint = Field(
        description="Where hosts have it, an absolute path.", examples=["/srv/shared"]
    )
    type: CloudName | None = _VOLUME_TYPE


class ExistingNetwork(Part):
    """A network of the project that hosts are put into."""

    name: CloudName = Field(description="The network's name.", examples=["science-net"])
    subnet: CloudName = Field(
        description="The name of its IPv4 subnet; `network.hosts` must be the subnet's range.",
        examples=["science-subnet"],
    )


class OpenStack(Part):
    """What only an OpenStack cloud needs to know."""

    cloud: CloudName = Field(
        description="The entry of clouds.yaml with the address and the credentials.",
        examples=["science"],
    )
    image: CloudName = Field(
        description="The name of the image hosts start from: Debian 12 with cloud-init.",
        examples=["debian-12"],
    )
    external_network: CloudName = Field(
        description="The network floating IPs come from.", examples=["public"]
    )
    network: ExistingNetwork | None = Field(
        default=None,
        description="An existing network to use. Default: a network, a subnet and a router are "
        "made.",
        examples=[{"name": "science-net", "subnet": "science-subnet"}],
    )
    dns_servers: list[Address4] = Field(
        default_factory=list,
        description="DNS servers of the subnet that is made. Default: the cloud's own.",
        examples=[["192.0.2.53"]],
    )
    availability_zone: CloudName | None = Field(
        default=None, description="The hosts' zone. Default: Nova chooses.", examples=["nova"]
    )
    volume_availability_zone: CloudName | None = Field(
        default=None, description="The volumes' zone. Default: Cinder chooses.", examples=["nova"]
    )
    boot_volume: BootVolume | None = Field(
        default=None,
        description="Start hosts from volumes. Default: from the disk of the flavor.",
        examples=[{"type": "ssd"}],
    )
    volume_type: CloudName | None = Field(
        default=None,
        description="The type of volumes that name none themselves. Default: the cloud's own.",
        examples=["ssd"],
    )
    floating_ips: dict[Label, FloatingIp] = Field(
        default_factory=dict,
        description="Hosts with a floating IP: `new`, or an address of the project, which stays "
        "when the cluster goes. The services host always has one.",
        examples=[{"services-1": "new"}],
    )
    access: Literal["bastion", "direct"] = Field(
        default="bastion",
        description="How ssh reaches hosts: through the services host (bastion), or each by its "
        "own address (direct).",
    )
    allow_from: list[SourceNetwork] = Field(
        default_factory=lambda: ["0.0.0.0/0"],
        description="Networks that may connect to the open ports.",
        examples=[["192.0.2.0/24"]],
    )
    load_balancer: Literal["none", "octavia"] = Field(
        default="none",
        description="What users and Kubernetes' API are reached through: the services host "
        "(none), or a load balancer of Octavia.",
    )
    server_group_policy: Literal["soft-anti-affinity", "anti-affinity"] = Field(
        default="soft-anti-affinity",
        description="Whether control planes, and brokers of Kafka, should (soft), or must, be on different hypervisors.",
    )
    s3: bool = Field(
        default=False,
        description="That the keys of `components.object_store` may be made. OpenStack cannot restrict a key of S3 to "
        "containers: each opens all that this user may open in the project.",
    )


class Keep(Part):
    """How many backups are kept: the newest of so many days, weeks and months that have one."""

    daily: int = Field(default=7, ge=1, description="Days.", examples=[7])
    weekly: int = Field(default=5, ge=0, description="Weeks.", examples=[5])
    monthly: int = Field(default=12, ge=0, description="Months.", examples=[12])


class Backup(Part):
    """Backups of the shared spaces, by restic into a container of the cloud's object store."""

    container: Label = Field(
        default="backup",
        description="The container, which is made: `<cluster>-<container>`.",
        examples=["backup"],
    )
    at: TimeOfDay = Field(
        default="03:30",
        description="When, each day, by the services host's clock.",
        examples=["03:30"],
    )
    keep: Keep = Field(
        default_factory=Keep, description="How many are kept.", examples=[{"daily": 7}]
    )


class Images(Part):
    """Where the images in the cluster's registry come from."""

    source: Literal["auto", "build", "mirror"] = Field(
        default="build",
        description="build: made here, from package registries and lock files. mirror: what Kubernetes' own project and "
        "others publish is taken as it is, and the rest made here. auto: mirror where those registries answer at the "
        "first `up`, else build.",
        examples=["build"],
    )
    mirror: list[MirroredImage] = Field(
        default_factory=list,
        description="Further images to copy into the cluster's registry, for users' servers; users need no way to their "
        "registries then.",
        examples=[["quay.io/jupyter/scipy-notebook:2026-11-02"]],
    )
    platforms: Literal["hosts", "all"] = Field(
        default="hosts",
        description="Which of an image's platforms are copied: that of the hosts, or all it has.",
        examples=["hosts"],
    )
    downloads: dict[DownloadUrl, DownloadUrl] = Field(
        default_factory=dict,
        description="Where a site keeps its own copies of downloads: beginnings of URLs, and what stands in their place.",
        examples=[{"https://github.com/": "https://files.example.org/github/"}],
    )


class User(Part):
    """Somebody who can log in."""

    name: UserName = Field(description="The name to log in with.", examples=["astronomer"])


class Authenticator(Part):
    """Who can log in, and how."""

    class_: Annotated[Literal["native"], _later("github", "egi")] = Field(
        alias="class",
        description="native: the users listed here, with passwords made for this cluster.",
        examples=["native"],
    )
    users: list[User] = Field(
        description="Everybody who can log in.", examples=[[{"name": "astronomer"}]]
    )
    admins: list[UserName] = Field(
        default_factory=list,
        description="Those of the users who can stop others' servers.",
        examples=[["astronomer"]],
    )

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True, populate_by_name=True)


_Cpu = AfterValidator(within(0.01, 512, "processors"))


class Profile(Part):
    """A choice in the list a user sees before a server starts."""

    name: Label = Field(description="What the choice is called in files.", examples=["vo"])
    display_name: Title = Field(description="What users see.", examples=["Virtual Observatory"])
    description: str = Field(default="", description="A line below the name.")
    image: NotebookImage = Field(
        description="An image of this project, or a full reference with a fixed tag.",
        examples=["notebook"],
    )
    cpu_limit: Annotated[float, _Cpu] = Field(
        description="Processors a server can use at most.", examples=[2]
    )
    cpu_guarantee: Annotated[float, _Cpu] = Field(
        default=0.1, description="Processors kept free for it.", examples=[0.1]
    )
    memory_limit: Size = Field(
        description="Memory a server can use; above it, it is killed.", examples=["2GiB"]
    )
    memory_guarantee: Size = Field(
        default=Size.of("512MiB"), description="Memory kept free for it.", examples=["512MiB"]
    )
    default: bool = Field(default=False, description="Chosen for those who do not choose.")


class Culling(Part):
    """When servers that nobody uses are stopped."""

    idle: IdleTime = Field(
        default=Duration(3600), description="Stop a server after so long with no activity."
    )


class JupyterHub(Part):
    """Notebooks for users."""

    authenticator: Authenticator = Field(
        description="Who can log in.",
        examples=[{"class": "native", "users": [{"name": "astronomer"}]}],
    )
    profiles: list[Profile] = Field(
        description="What users can choose from.",
        examples=[
            [
                {
                    "name": "vo",
                    "display_name": "Virtual Observatory",
                    "image": "notebook",
                    "cpu_limit": 2,
                    "memory_limit": "2GiB",
                    "default": True,
                }
            ]
        ],
    )
    culling: Culling = Field(
        default_factory=Culling, description="When servers that nobody uses are stopped."
    )


class Container(Part):
    """A container of the object store; a bucket, in the words of S3."""

    quota: DiskSize | None = Field(
        default=None,
        description="How much it holds at most; as much again in parts of uploads. Default: as much as there is room for.",
        examples=["50GiB"],
    )
    write: list[UserName] = Field(
        default_factory=list,
        description="Services and users that write, read and delete; each gets a key.",
        examples=[["alerts"]],
    )
    read: list[UserName] = Field(
        default_factory=list,
        description="Services and users that only read; each gets a key.",
        examples=[["spark"]],
    )


class ObjectStore(Part):
    """Containers for objects, by S3 and by Swift's own protocol."""

    containers: dict[Label, Container] = Field(
        description="The containers, which are made: `<cluster>-<container>`.",
        examples=[{"archive": {"quota": "50GiB", "write": ["alerts"]}}],
    )
    replicas: Annotated[int, AfterValidator(within(1, 5, "replicas"))] = Field(
        default=1,
        description="How often each object is kept, each time on another volume. With cloud `local` only: on OpenStack the "
        "cloud decides.",
        examples=[1],
    )


class KafkaTopic(Part):
    """A topic, made when it is not there; a topic that is taken out of the file stays with what is in it."""

    name: TopicName = Field(description="The topic's name.", examples=["alerts"])
    partitions: Annotated[int, AfterValidator(within(1, 1000, "partitions"))] = Field(
        default=3,
        description="How many consumers of one group can share it. It can grow later, never shrink; keys move then.",
        examples=[6],
    )
    replicas: Annotated[int, AfterValidator(within(1, 5, "replicas"))] | None = Field(
        default=None,
        description="On how many brokers each message is. Default: 3, or 1 where there is one broker. Fixed once the "
        "topic is made.",
        examples=[3],
    )
    min_insync_replicas: Annotated[int, AfterValidator(within(1, 5, "replicas"))] | None = Field(
        default=None,
        description="How many must have a message before it counts as sent (`acks=all`). Default: all replicas but "
        "one, so that one broker may be down.",
        examples=[2],
    )
    retention: Retention = Field(
        default=Duration(7 * 24 * 3600),
        description="How long messages are kept.",
        examples=["168h"],
    )
    cleanup: Literal["delete", "compact", "compact,delete"] = Field(
        default="delete",
        description="delete: what is older than `retention` goes. compact: the last message of each key stays.",
    )


class KafkaUser(Part):
    """Somebody, or a program, that Kafka lets in, with a password made for this cluster; nothing is allowed but this.

    Each right is for all names that begin so.
    """

    name: Label = Field(description="The name to log in with.", examples=["ingest"])
    produce: list[NamePrefix] = Field(
        description="Topics to send to.", default_factory=list, examples=[["alerts"]]
    )
    consume: list[NamePrefix] = Field(
        description="Topics to read.", default_factory=list, examples=[["alerts"]]
    )
    groups: list[NamePrefix] = Field(
        description="Consumer groups to read as; needed with `consume`.",
        default_factory=list,
        examples=[["alerts"]],
    )
    transactions: list[NamePrefix] = Field(
        description="Transactional ids to send with, for exactly-once.",
        default_factory=list,
        examples=[["alerts"]],
    )
    manage: list[NamePrefix] = Field(
        description="Topics to make, change and delete.",
        default_factory=list,
        examples=[["alerts"]],
    )


class Kafka(Part):
    """Kafka, on the hosts of role `kafka`: TLS, a password for each user, and nothing allowed that is not listed."""

    topics: list[KafkaTopic] = Field(
        default_factory=list,
        description="Topics that are there from the start.",
        examples=[[{"name": "alerts", "partitions": 6}]],
    )
    users: list[KafkaUser] = Field(
        default_factory=list,
        description="Who is let in, besides the administrator `admin`.",
        examples=[[{"name": "ingest", "produce": ["alerts"]}]],
    )


class Components(Part):
    """What runs on the cluster for its users."""

    jupyterhub: JupyterHub | None = Field(default=None, description="Notebooks for users.")
    object_store: ObjectStore | None = Field(
        default=None,
        description="An object store: with cloud `local` on volumes of the services host, on OpenStack the cloud's own.",
    )
    kafka: Kafka | None = Field(
        default=None, description="Streams of messages, on hosts of role `kafka`."
    )
