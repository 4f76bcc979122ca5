"""What may change between two versions of a cluster.yml, once the cluster is there."""

from __future__ import annotations

from collections.abc import Iterator

from armillary.models.cluster import Cluster
from armillary.models.parts import ExistingNetwork, SharedSpace, Volume
from armillary.models.problem import Finding, Path, Positions, Problem, format_path
from armillary.models.rules import slots

_ANEW = (
    "{}. For another one, make a new cluster beside this one (a directory of its own "
    "under inventories/), move the data, and take this one down with `invoke down --with-data`"
)


def check_change(old: Cluster, new: Cluster, new_file_positions: Positions) -> list[Problem]:
    """Return what must not change from the cluster that is there (`old`) to the file (`new`).

    Allowed, and so not mentioned: workers more or less, groups of workers more or less, larger
    volumes and spaces, control planes from 1 to 3, flavors, components, images.
    """
    findings = [
        *_fixed_values(old, new),
        *_fixed_groups(old, new),
        *_kept_volumes(old, new),
    ]
    return [new_file_positions.problem(finding) for finding in findings]


def _fixed_values(old: Cluster, new: Cluster) -> Iterator[Finding]:
    fixed: tuple[tuple[Path, str], ...] = (
        (("name",), "all that was made for the cluster carries its name"),
        (("cloud",), "the cluster's hosts and data are in the old one"),
        (("domain",), "certificates and the address of Kubernetes' API have the old one"),
        (("network", "hosts"), "all hosts would get other addresses, and etcd lose its members"),
        (("network", "pods"), "Kubernetes hosts keep the range they were given when they joined"),
        (("network", "services"), "the certificate of the API and DNS have the old range in them"),
        (("openstack", "network"), "every host would be made anew in the other network"),
        (
            ("openstack", "external_network"),
            "the router and every new floating IP would get other addresses",
        ),
        (
            ("openstack", "server_group_policy"),
            "a server group keeps its policy, and control planes their server group",
        ),
    )
    for path, why in fixed:
        if path[0] == "openstack" and not (old.openstack and new.openstack):
            continue  # another cloud, which is said already
        before, after = _text(_value(old, path)), _text(_value(new, path))
        if before != after:
            undo = f"write `{path[-1]}: {before}` again" if before else f"take `{path[-1]}` out"
            yield Finding(
                path,
                f"changed from `{before or 'nothing'}` to `{after or 'nothing'}` in a cluster that "
                f"exists: {why}",
                _ANEW.format(undo),
            )


def _value(cluster: Cluster, path: Path) -> object:
    value: object = cluster
    for step in path:
        value = getattr(value, str(step))
    return value


def _text(value: object) -> str:
    """Write a value as cluster.yml has it; "" for one that is not there."""
    if isinstance(value, ExistingNetwork):
        return f"{{name: {value.name}, subnet: {value.subnet}}}"
    return "" if value is None else str(value)


def _fixed_groups(old: Cluster, new: Cluster) -> Iterator[Finding]:
    for name, before in old.hosts.items():
        after = new.hosts.get(name)
        if after is None:
            if before.role != "worker":
                yield Finding(
                    ("hosts", name),
                    f"the group `{name}` is gone, or has another name: its hosts, of role "
                    f"`{before.role}`, hold what the cluster knows",
                    f"write `{name}` again, as it was",
                )
            continue
        if after.role != before.role:
            yield Finding(
                ("hosts", name, "role"),
                f"changed from `{before.role}` to `{after.role}`: hosts that are there keep what "
                "they do",
                f"write `role: {before.role}` again, and add a group for the other role",
            )
        elif slots(after).start != slots(before).start:
            yield Finding(
                ("hosts", name, "first_slot"),
                f"changed from {slots(before).start} to {slots(after).start}: the hosts that are "
                "there would get other addresses",
                f"write `first_slot: {slots(before).start}`",
            )
        if before.role == "kafka" and after.count != before.count:
            yield Finding(
                ("hosts", name, "count"),
                f"from {before.count} broker{'s' if before.count > 1 else ''} to {after.count}: who may decide in Kafka was "
                "fixed when it was made, and topics stay where they are",
                f"write `count: {before.count}` again. For another number, make a new cluster and move the topics "
                "(MirrorMaker)",
            )
        if before.role == "control_plane" and after.count < before.count:
            yield Finding(
                ("hosts", name, "count"),
                f"from {before.count} control planes to {after.count}: etcd would lose the "
                "majority of its members and stop, with all of Kubernetes' data",
                f"write `count: {before.count}` again",
            )


def _kept_volumes(old: Cluster, new: Cluster) -> Iterator[Finding]:
    for name, group in old.hosts.items():
        if name in new.hosts:
            path: Path = ("hosts", name, "volumes")
            yield from _kept(path, dict(group.volumes), dict(new.hosts[name].volumes))
    yield from _kept(("shared",), dict(old.shared), dict(new.shared))


def _kept(
    path: Path,
    before: dict[str, Volume] | dict[str, SharedSpace],
    after: dict[str, Volume] | dict[str, SharedSpace],
) -> Iterator[Finding]:
    for name, volume in before.items():
        now = after.get(name)
        line = f"{name}: {{size: {volume.size}, mount: {volume.mount}}}"
        if now is None:
            yield Finding(
                (*path, name),
                f"`{name}` is gone, or has another name, and it holds data",
                f"write `{line}` again under {format_path(path)}; a volume goes with its whole "
                "group of workers, or with `invoke down --with-data`, which names all it loses",
            )
            continue
        if now.size < volume.size:
            yield Finding(
                (*path, name, "size"),
                f"made smaller, from {volume.size} to {now.size}: what is on it would be cut off",
                f"write `size: {volume.size}` or more; for a smaller one, add a volume with "
                "another name and move the data",
            )
