"""The single values of cluster.yml: names, addresses, paths, image references.

Each is a plain Python type with a check that says what is wrong and what to write instead.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Callable, Iterable
from ipaddress import IPv4Address, IPv4Network
from typing import Annotated, Any

from pydantic import AfterValidator, BeforeValidator, Field, PlainSerializer, WithJsonSchema

from armillary.models.problem import invalid
from armillary.models.quantity import GIB, MIB, Duration, Size

#: RFC 1123, with a letter first: also what Kubernetes, Incus and OpenStack take as a host name.
LABEL = "[a-z]([a-z0-9-]*[a-z0-9])?"
LABEL_LENGTH = 63
DOMAIN_LENGTH = 200  # a DNS name ends at 253; the rest is for what clusters put before it
USER = "[a-z][a-z0-9_-]{0,31}"
TOPIC = "[a-z0-9]([a-z0-9._-]*[a-z0-9])?"
TOPIC_LENGTH = 200  # Kafka takes 249; the rest is for what programs put behind a prefix
TIME_OF_DAY = "([01][0-9]|2[0-3]):[0-5][0-9]"
MOUNT = "/[A-Za-z0-9._-]+(/[A-Za-z0-9._-]+)*"

#: Addresses of our own: RFC 1918 and the shared space of RFC 6598.
PRIVATE = tuple(
    IPv4Network(cidr) for cidr in ("10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16", "100.64.0.0/10")
)

#: Images of images/ that a user's server can run.
NOTEBOOK_IMAGES = ("notebook",)

#: A file system mounted over or inside one of these hides what the host itself needs.
SYSTEM_TREES = (  # names to compare with; nothing is written there
    *("/bin", "/boot", "/dev", "/etc", "/lib", "/lib32", "/lib64", "/proc", "/root", "/run"),
    *("/sbin", "/sys", "/tmp", "/usr", "/var/cache", "/var/lib/apt", "/var/lib/cloud"),  # noqa: S108
    *("/var/lib/dpkg", "/var/lib/systemd", "/var/log", "/var/run", "/var/tmp"),  # noqa: S108
)
#: These hold other people's directories: inside is fine, over them is not.
SHARED_TREES = (
    *("/", "/home", "/media", "/mnt", "/opt", "/opt/armillary", "/srv"),
    *("/var", "/var/lib", "/var/lib/armillary"),
)


def closest(word: str, choices: Iterable[str]) -> str | None:
    """Return the choice that `word` was probably meant to be, if there is one."""
    found = difflib.get_close_matches(word.lower().replace("-", "_"), list(choices), 1, 0.6)
    return found[0] if found else None


def _label_from(text: str) -> str:
    """Make the nearest DNS label of any text."""
    text = re.sub(r"[^a-z0-9]+", "-", text.lower()).strip("-")
    text = re.sub(r"^[0-9-]+", "", text)[:LABEL_LENGTH].strip("-")
    return text or "name"


def check_label(value: str) -> str:
    """Refuse what is not a DNS label."""
    if len(value) > LABEL_LENGTH:
        raise invalid(
            f"the name has {len(value)} characters, a host name can have {LABEL_LENGTH}",
            "write a shorter name",
        )
    if not re.fullmatch(LABEL, value):
        raise invalid(
            f"`{value}` cannot be a name: lower-case letters, digits and `-`, a letter first, "
            "no `-` at the end",
            f"write `{_label_from(value)}`",
        )
    return value


def check_domain(value: str) -> str:
    """Refuse what is not a DNS domain of two labels or more."""
    if len(value) > DOMAIN_LENGTH:
        raise invalid(
            f"the domain has {len(value)} characters, it can have {DOMAIN_LENGTH}",
            "write a shorter domain",
        )
    labels = value.split(".")
    for label in labels:
        if len(label) > LABEL_LENGTH or not re.fullmatch("[a-z0-9]([a-z0-9-]*[a-z0-9])?", label):
            raise invalid(
                f"`{value}` is not a domain: `{label}` cannot be a part of one",
                "write lower-case letters, digits and `-`, with dots between: "
                "`science.example.org`",
            )
    if len(labels) < 2:
        raise invalid(
            f"`{value}` is not a domain: it has no dot",
            f"write `{value}.armillary.internal`, or a domain of yours",
        )
    if labels[-1] == "local":
        raise invalid(
            "names under `.local` are looked up by multicast (RFC 6762), and Kubernetes has "
            "`cluster.local` for itself",
            f"write `{'.'.join(labels[:-1])}.internal`",
        )
    return value


def check_user(value: str) -> str:
    """Refuse what cannot be a user's name and the name of a home directory."""
    if not re.fullmatch(USER, value):
        raise invalid(
            f"`{value}` cannot be a user's name: lower-case letters, digits, `-` and `_`, "
            "a letter first, 32 at most",
            f"write `{_label_from(value)[:32].strip('-')}`",
        )
    return value


def check_topic(value: str) -> str:
    """Refuse what cannot be a topic of Kafka's, or what Kafka keeps to itself."""
    if len(value) > TOPIC_LENGTH or not re.fullmatch(TOPIC, value):
        tidy = re.sub(r"[^a-z0-9._-]+", "-", value.lower()).strip("._-")[:TOPIC_LENGTH]
        raise invalid(
            f"`{value}` cannot be a topic's name: lower-case letters, digits, `.`, `_` and `-`, a letter or digit "
            f"at both ends, {TOPIC_LENGTH} at most",
            f"write `{tidy.strip('._-') or 'alerts'}`",
        )
    return value


def check_prefix(value: str) -> str:
    """Refuse what no name of Kafka's begins with."""
    if not re.fullmatch("[a-z0-9._-]+", value) or len(value) > TOPIC_LENGTH:
        raise invalid(
            f"`{value}` is not the beginning of a name: lower-case letters, digits, `.`, `_` and `-`",
            "write what the names begin with, such as `alerts.`"
            if value in ("*", "")
            else f"write `{re.sub(r'[^a-z0-9._-]+', '-', value.lower())[:TOPIC_LENGTH]}`",
        )
    return value


def check_retention(value: Duration) -> Duration:
    """Refuse retention so short that a topic loses what nobody has had the time to read."""
    if value.seconds < 60:
        raise invalid(
            f"`{value}` is too short: a message is to be read first", "write `1m` or more"
        )
    return value


def parse_network(value: object) -> IPv4Network:
    """Read a private IPv4 network such as `10.77.0.0/24`."""
    if isinstance(value, IPv4Network):
        return value
    if not isinstance(value, str):
        raise invalid(f"`{value}` is not a network", "write a CIDR such as `10.77.0.0/24`")
    if ":" in value:
        raise invalid(
            f"`{value}` is IPv6, which this release cannot do",
            "write a private IPv4 network such as `10.77.0.0/24`",
        )
    if "/" not in value:
        raise invalid(
            f"`{value}` has no prefix length",
            f"write `{value}/24`" if re.fullmatch(r"[0-9.]+\.0", value) else "write `10.77.0.0/24`",
        )
    try:
        network = IPv4Network(value, strict=False)
    except ValueError as error:
        raise invalid(
            f"`{value}` is not a network", "write a CIDR such as `10.77.0.0/24`"
        ) from error
    if str(network) != value:
        address, _, prefix = value.partition("/")
        if prefix != str(network.prefixlen):
            raise invalid(f"`/{prefix}` is not a prefix length", f"write `{network}`")
        raise invalid(
            f"`{value}` has host bits set: {address} is an address inside {network}",
            f"write `{network}`",
        )
    if not any(network.subnet_of(private) for private in PRIVATE):
        raise invalid(
            f"`{value}` is not private: the cluster would hide real hosts on the internet",
            f"write a part of {', '.join(map(str, PRIVATE))}",
        )
    return network


def check_source(value: str) -> str:
    """Refuse what is not an IPv4 network to allow connections from; public ones are fine here."""
    try:
        network = IPv4Network(value, strict=False)
    except ValueError as error:
        raise invalid(
            f"`{value}` is not an IPv4 network",
            "write a CIDR such as `192.0.2.0/24`, or `192.0.2.7/32` for one address",
        ) from error
    if str(network) != value:
        raise invalid(f"`{value}` is not how the network is written", f"write `{network}`")
    return value


def check_address(value: str) -> str:
    """Refuse what is not one IPv4 address."""
    try:
        return str(IPv4Address(value))
    except ValueError as error:
        raise invalid(
            f"`{value}` is not an IPv4 address", "write an address such as `192.0.2.53`"
        ) from error


def check_floating_ip(value: str) -> str:
    """Refuse what is neither `new` nor one IPv4 address."""
    if value == "new":
        return value
    try:
        return str(IPv4Address(value))
    except ValueError as error:
        raise invalid(
            f"`{value}` is neither `new` nor an IPv4 address",
            "write `new`, or an address of the project (`openstack floating ip list`)",
        ) from error


def check_cloud_name(value: str) -> str:
    """Refuse names that no object of a cloud has."""
    if not value.strip() or value != value.strip() or len(value) > 255 or not value.isprintable():
        raise invalid(
            "a name in OpenStack is one line of 1 to 255 characters, no space at its ends",
            f"write `{value.strip()}`"
            if value.strip().isprintable() and value.strip()
            else "write the name as `openstack ... list` shows it",
        )
    return value


def check_mount(value: str) -> str:
    """Refuse a mount point that is not absolute, or that would hide a part of the system."""
    if not value.startswith("/"):
        raise invalid(f"`{value}` is not an absolute path", f"write `/srv/{value.strip('./')}`")
    tidy = "/" + "/".join(part for part in value.split("/") if part not in ("", "."))
    if ".." in tidy.split("/"):
        raise invalid(f"`{value}` has `..` in it", "write the path it ends at, such as `/srv/data`")
    for tree in SYSTEM_TREES:
        if tidy == tree or tidy.startswith(tree + "/"):
            raise invalid(
                f"`{value}` belongs to the system: a volume there would hide what is in it",
                "write a directory of its own, such as `/srv/data`",
            )
    if tidy in SHARED_TREES:
        raise invalid(
            f"`{value}` belongs to the system: a volume there would hide what is in it",
            f"write a directory inside it, such as `{tidy.rstrip('/')}/data`"
            if tidy != "/"
            else "write a directory of its own, such as `/srv/data`",
        )
    if tidy != value:
        raise invalid(f"`{value}` is not written plainly", f"write `{tidy}`")
    if not re.fullmatch(MOUNT, value):
        raise invalid(
            f"`{value}` has characters that paths of mounts should not have",
            "write letters, digits, `.`, `_` and `-` only, such as `/srv/data`",
        )
    return value


DOWNLOADS = r"https://[^\s/@?#]+/([^\s@?#]*/)?"
_REFERENCE = re.compile(
    r"(?P<registry>[a-z0-9-]+(?:\.[a-z0-9-]+)+(?::[0-9]+)?|localhost:[0-9]+)/"
    r"(?P<path>[a-z0-9]+(?:[._-]+[a-z0-9]+)*(?:/[a-z0-9]+(?:[._-]+[a-z0-9]+)*)*)"
    r"(?::(?P<tag>[A-Za-z0-9_][A-Za-z0-9._-]{0,127}))?(?:@(?P<digest>sha256:[0-9a-f]{64}))?"
)


def check_notebook_image(value: str) -> str:
    """Refuse what is neither an image of this project nor a full reference with a fixed version."""
    if value in NOTEBOOK_IMAGES or _fixed(value):
        return value
    known = ", ".join(f"`{name}`" for name in NOTEBOOK_IMAGES)
    hint = closest(value, NOTEBOOK_IMAGES)
    raise invalid(
        f"`{value}` is not an image of this project"
        + (f". Did you mean `{hint}`?" if hint else ""),
        f"write {known}, or a full reference such as `quay.io/jupyter/scipy-notebook:2026-11-02`",
    )


def check_mirrored_image(value: str) -> str:
    """Refuse what is no full reference with a fixed version."""
    if _fixed(value):
        return value
    raise invalid(
        f"`{value}` is no image's full reference",
        "write registry, path and tag, such as `quay.io/jupyter/scipy-notebook:2026-11-02`",
    )


def split_reference(value: str) -> tuple[str, str, str, str]:
    """Return registry, path, tag and digest of an image's full reference; "" for one it has not."""
    match = _REFERENCE.fullmatch(value)
    assert match, value
    return match["registry"], match["path"], match["tag"] or "", match["digest"] or ""


def check_download_url(value: str) -> str:
    """Refuse what is no beginning of https URLs that ends where a part of a path ends."""
    if not re.fullmatch(DOWNLOADS, value):
        raise invalid(
            f"`{value}` is no place of downloads",
            "write the beginning of URLs, from `https://` to a `/`, such as `https://github.com/`",
        )
    return value


def _fixed(value: str) -> bool:
    """Tell whether this is an image's full reference, with a tag that stays or a digest.

    Raises:
        PydanticCustomError: it is nearly one.
    """
    match = _REFERENCE.fullmatch(value)
    if match and match["tag"] == "latest" and not match["digest"]:
        raise invalid(
            f"`{value}` is another image every day",
            f"write a fixed tag or a digest: `{match['registry']}/{match['path']}:2026-11-02`",
        )
    if match and not match["tag"] and not match["digest"]:
        raise invalid(f"`{value}` has no tag", f"add a fixed tag or a digest: `{value}:2026-11-02`")
    if not match and _REFERENCE.fullmatch(f"docker.io/{value}") and "/" in value:
        raise invalid(f"`{value}` does not say which registry", f"write `docker.io/{value}`")
    return bool(match)


def check_disk(value: Size) -> Size:
    """Refuse disks below 1GiB, and such as clouds cannot make: they count in whole GiB."""
    if value.bytes < GIB:
        raise invalid(f"`{value}` is too small: a disk has 1GiB or more", "write `1GiB` or more")
    if value.bytes % GIB:
        raise invalid(
            f"`{value}` is not a whole number of GiB, as clouds make disks",
            f"write `{value.gib}GiB`",
        )
    return value


def check_root_disk(value: Size) -> Size:
    """Refuse a host's own disk that Debian and the pulled images do not fit on."""
    if value.bytes < 4 * GIB:
        raise invalid(
            f"`{value}` is too small: Debian, Kubernetes and the images a host pulls need 4GiB",
            "write `4GiB` or more; `10GiB` leaves room for upgrades",
        )
    return check_disk(value)


def check_memory(value: Size) -> Size:
    """Refuse memory that a Debian host does not start with."""
    if value.bytes < 512 * MIB:
        raise invalid(f"`{value}` is too little memory for a host", "write `512MiB` or more")
    return value


def check_time_of_day(value: str) -> str:
    """Refuse what is not `HH:MM`."""
    if not re.fullmatch(TIME_OF_DAY, value):
        raise invalid(f"`{value}` is not a time of day", 'write it as `"03:30"`')
    return value


def check_idle(value: Duration) -> Duration:
    """Refuse idle times that would stop servers in use, or never any.

    A server tells the hub of activity every five minutes (JUPYTERHUB_ACTIVITY_INTERVAL,
    https://jupyterhub.readthedocs.io/en/stable/howto/configuring/config-basics.html).
    """
    if value.seconds < 600:
        raise invalid(
            f"`{value}` is too short: servers report activity every 5 minutes, so one in use "
            "would be stopped",
            "write `10m` or more",
        )
    if value.seconds > 30 * 24 * 3600:
        raise invalid(f"`{value}` is longer than 30 days", "write `720h` or less")
    return value


def within(low: float, high: float, what: str) -> Callable[[Any], Any]:
    """Make a check that a number is from `low` to `high`; `what` names it."""

    def check(value: Any) -> Any:
        if not low <= value <= high:
            side = "few" if value < low else "many"
            raise invalid(
                f"{value} is too {side} {what}", f"write a number from {low:g} to {high:g}"
            )
        return value

    return check


def check_count(value: int) -> int:
    """Refuse groups of no hosts, and of more than any network here has addresses for."""
    if value < 1:
        raise invalid(
            f"a group of {value} hosts", "write `count: 1` or more, or take the group out"
        )
    if value > 1000:
        raise invalid(f"{value} hosts are too many for one group", "write 1000 or less")
    return value


def check_title(value: str) -> str:
    """Refuse titles that users cannot read in a list."""
    if not value.strip() or len(value) > 80 or not value.isprintable():
        raise invalid(
            "a title must be one line of 1 to 80 characters", "write `Virtual Observatory`"
        )
    return value


Label = Annotated[
    str,
    AfterValidator(check_label),
    Field(json_schema_extra={"pattern": f"^{LABEL}$", "maxLength": LABEL_LENGTH}),
]
Domain = Annotated[
    str,
    AfterValidator(check_domain),
    Field(json_schema_extra={"pattern": r"^[a-z0-9-]+(\.[a-z0-9-]+)+$"}),
]
UserName = Annotated[
    str, AfterValidator(check_user), Field(json_schema_extra={"pattern": f"^{USER}$"})
]
TopicName = Annotated[
    str,
    AfterValidator(check_topic),
    Field(json_schema_extra={"pattern": f"^{TOPIC}$", "maxLength": TOPIC_LENGTH}),
]
NamePrefix = Annotated[
    str,
    AfterValidator(check_prefix),
    Field(json_schema_extra={"pattern": "^[a-z0-9._-]+$", "maxLength": TOPIC_LENGTH}),
]
Retention = Annotated[Duration, AfterValidator(check_retention)]
Network4 = Annotated[
    IPv4Network,
    BeforeValidator(parse_network),
    PlainSerializer(str, return_type=str),
    WithJsonSchema({"type": "string", "pattern": "^[0-9]+(\\.[0-9]+){3}/[0-9]+$"}),
]
SourceNetwork = Annotated[str, AfterValidator(check_source)]
Address4 = Annotated[str, AfterValidator(check_address)]
FloatingIp = Annotated[str, AfterValidator(check_floating_ip)]
CloudName = Annotated[
    str, AfterValidator(check_cloud_name), Field(json_schema_extra={"maxLength": 255})
]
MountPoint = Annotated[
    str, AfterValidator(check_mount), Field(json_schema_extra={"pattern": f"^{MOUNT}$"})
]
NotebookImage = Annotated[str, AfterValidator(check_notebook_image)]
DiskSize = Annotated[Size, AfterValidator(check_disk)]
RootDiskSize = Annotated[Size, AfterValidator(check_root_disk)]
MemorySize = Annotated[Size, AfterValidator(check_memory)]
IdleTime = Annotated[Duration, AfterValidator(check_idle)]
TimeOfDay = Annotated[
    str,
    AfterValidator(check_time_of_day),
    Field(json_schema_extra={"pattern": f"^{TIME_OF_DAY}$"}),
]
Title = Annotated[str, AfterValidator(check_title)]
MirroredImage = Annotated[str, AfterValidator(check_mirrored_image)]
DownloadUrl = Annotated[
    str, AfterValidator(check_download_url), Field(json_schema_extra={"pattern": f"^{DOWNLOADS}$"})
]
