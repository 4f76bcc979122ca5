"""The parts of cluster.yml. What holds between parts is in rules.py."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field

from armillary.models.problem import invalid
from armillary.models.quantity import Duration, Size
from armillary.models.values import (
    Address4,
    BrokerAddress,
    CloudName,
    DiskSize,
    DownloadUrl,
    FloatingIp,
    IdleTime,
    Label,
    MemorySize,
    MirroredImage,
    MountPoint,
    Network4,
    NotebookImage,
    RootDiskSize,
    SourceNetwork,
    TimeOfDay,
    Title,
    UserName,
    check_count,
    parse_network,
    within,
)

Cloud = Literal["local", "openstack"]
Role = Literal["services", "control_plane", "worker"]

#: The number of a host's address in the hosts' network, from which each role counts.
FIRST_SLOT: dict[Role, int] = {"services": 10, "control_plane": 20, "worker": 30}


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


class BootVolume(Part):
    """That hosts start from a volume instead of the disk of their flavor."""

    type: CloudName | None = Field(
        default=None,
        description="A volume type of the cloud; default: `openstack.volume_type`.",
        examples=["ssd"],
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
        description="Whether control planes should (soft), or must, be on different hypervisors.",
    )
    containers: list[Label] = Field(
        default_factory=list,
        description="Containers in Swift, and an application credential that opens them alone.",
        examples=[["archive"]],
    )
    s3: bool = Field(
        default=False,
        description="An EC2 credential too, for programs that speak S3. OpenStack cannot restrict "
        "it to containers.",
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


class AlertSource(Part):
    """A stream of alerts outside, from a survey or another broker."""

    name: Label = Field(description="What it is called here.", examples=["fink"])
    survey: Literal["lsst", "ztf"] = Field(description="Whose packets they are.", examples=["ztf"])
    brokers: list[BrokerAddress] = Field(
        min_length=1,
        description="Where its Kafka is: host and port.",
        examples=[["kafka.example.org:9092"]],
    )
    topics: list[str] = Field(
        min_length=1,
        description="Topics to read; one that begins with `^` is a regular expression.",
        examples=[["^ztf_.*_programid1$"]],
    )
    tls: bool = Field(default=True, description="That its brokers speak TLS.")
    mechanism: Literal["PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512"] = Field(
        default="SCRAM-SHA-512", description="How to log in, where it wants that."
    )
    username: str | None = Field(
        default=None, description="Whom to log in as. Default: nobody.", examples=["my-group"]
    )
    password_file: str | None = Field(
        default=None,
        description="A file of this machine with the password, readable by you alone; needed with `username`.",
        examples=["/root/fink.password"],
    )
    schema_registry: str | None = Field(
        default=None,
        description="Where LSST's schemas are, by their ids. Needed for `lsst`, unless the schemas are installed.",
        examples=["https://schemas.example.org"],
    )


class AlertReplicas(Part):
    """How many pods a stage has: more when alerts wait, fewer when none do."""

    least: Annotated[int, AfterValidator(within(1, 100, "pods"))] = Field(
        default=1, description="Always there.", examples=[1]
    )
    most: Annotated[int, AfterValidator(within(1, 100, "pods"))] = Field(
        default=2, description="At most.", examples=[4]
    )


class AlertReplayer(Part):
    """Made-up alerts in place of, or beside, a survey's: to try filters on, and to measure."""

    survey: Literal["lsst", "ztf"] = Field(default="ztf", description="Whose packets are made.")
    rate: Annotated[float, AfterValidator(within(0.01, 10_000, "alerts a second"))] = Field(
        default=5, description="Alerts a second, in the mean.", examples=[5]
    )


class AlertPythonFilters(Part):
    """Filters in Python, each in a pod of its own."""

    most: Annotated[int, AfterValidator(within(1, 500, "filters"))] = Field(
        default=10, description="How many run at once, of all users together.", examples=[10]
    )
    cpu: Annotated[float, AfterValidator(within(0.05, 64, "processors"))] = Field(
        default=0.5, description="Processors that one can use.", examples=[0.5]
    )
    memory: Size = Field(
        default=Size.of("1GiB"), description="Memory that one can use.", examples=["1GiB"]
    )


class AlertStages(Part):
    """The stages of the stream, each scaled by itself."""

    ingest: AlertReplicas = Field(
        default_factory=lambda: AlertReplicas(most=1), description="Receives alerts from outside."
    )
    annotate: AlertReplicas = Field(
        default_factory=AlertReplicas,
        description="Reads packets, adds light-curve features and cross-matches.",
    )
    filter: AlertReplicas = Field(
        default_factory=AlertReplicas, description="Evaluates users' filters in SQL."
    )
    archive: AlertReplicas = Field(
        default_factory=lambda: AlertReplicas(most=1), description="Writes Parquet files."
    )


class Alerts(Part):
    """Alerts of sky surveys: received, annotated, filtered as users say, archived. Needs Kafka and JupyterHub."""

    sources: list[AlertSource] = Field(
        default_factory=list, description="Streams outside to receive from. Default: none."
    )
    replayer: AlertReplayer | None = Field(
        default=None,
        description="Made-up alerts. Default: none.",
        examples=[{"survey": "ztf", "rate": 5}],
    )
    container: Label = Field(
        default="alerts",
        description="The object store's container with the archive: one of `components.object_store.containers`, which "
        "`alerts` may write.",
        examples=["alerts"],
    )
    partitions: Annotated[int, AfterValidator(within(1, 1000, "partitions"))] = Field(
        default=6,
        description="Of the stream's topics: so many pods of a stage can share the work.",
        examples=[6],
    )
    share_limit: Annotated[float, AfterValidator(within(0.0001, 1, "as a share"))] = Field(
        default=0.05,
        description="A filter that passes more than this share of a night is only switched on by an admin.",
        examples=[0.05],
    )
    filters_per_user: Annotated[int, AfterValidator(within(1, 10_000, "filters"))] = Field(
        default=50, description="How many filters a user can have.", examples=[50]
    )
    python_filters: AlertPythonFilters | None = Field(
        default_factory=AlertPythonFilters, description="Filters in Python; `null` for none."
    )
    stages: AlertStages = Field(
        default_factory=AlertStages, description="How many pods each stage has."
    )


class Components(Part):
    """What runs on the cluster for its users."""

    jupyterhub: JupyterHub | None = Field(default=None, description="Notebooks for users.")
    alerts: Alerts | None = Field(
        default=None, description="Alerts of sky surveys, with users' filters."
    )
