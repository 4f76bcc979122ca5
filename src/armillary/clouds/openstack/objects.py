"""What of Armillary's clusters is in a project, asked of the cloud and not of Terraform's state.

Everything bears its cluster's UUID: as metadata, as a tag, or as the end of its name. Names alone are no proof: in a shared
project others may choose them alike.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from keystoneauth1 import exceptions as keystone
from openstack.connection import Connection
from openstack.exceptions import SDKException

from armillary.clouds.contract import CloudError, Thing

KEY = "armillary-cluster"
TAG = "armillary"
_UUID = re.compile(r"-([0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12})$")


def things(connection: Connection) -> list[Thing]:
    """Return all that any cluster has in the project, in the order it goes.

    Raises:
        CloudError: the cloud cannot be asked.
    """
    try:
        with ThreadPoolExecutor(len(_LISTS)) as pool:
            found = pool.map(lambda item: list(_of_kind(connection, *item)), _LISTS.items())
            return [thing for some in found for thing in sorted(some, key=lambda one: one.name)]
    except (keystone.ClientException, SDKException) as error:
        raise CloudError(f"The cloud cannot say what is in the project: {error}") from error


def taken(found: Iterable[Thing]) -> dict[str, int]:
    """Return how much of each quota these take, by the names of models/quota.py."""
    result: Counter[str] = Counter(dict.fromkeys(_QUOTAS.values(), 0))
    for each in found:
        if each.kind in _QUOTAS:
            result[_QUOTAS[each.kind]] += 1
        result.update(each.takes)
    return dict(result)


def _of_kind(
    connection: Connection, kind: str, look: Callable[[Connection], Iterable[Any]]
) -> Iterator[Thing]:
    for each in look(connection):
        mark = mark_of(each)
        if mark is not None:
            yield Thing(
                kind,
                _name_of(each),
                str(each.id),
                mark,
                lasting=kind in _LASTING,
                status=str(getattr(each, "status", None) or ""),
                takes=_takes(kind, each),
            )


def mark_of(each: Any) -> str | None:
    """Return the UUID of the cluster that an object of openstacksdk is of; None when it is nobody's."""
    metadata = getattr(each, "metadata", None)
    if isinstance(metadata, Mapping) and KEY in metadata:
        return str(metadata[KEY])
    for tag in getattr(each, "tags", None) or ():
        key, _, value = str(tag).partition("=")
        if key == KEY:
            return value
    in_name = _UUID.search(str(each.name or ""))
    return in_name.group(1) if in_name else None


def _name_of(each: Any) -> str:
    return str(getattr(each, "floating_ip_address", None) or each.name or each.id)


def _takes(kind: str, each: Any) -> dict[str, int]:
    if kind == "server":
        return {"cores": each.flavor.vcpus or 0, "ram": each.flavor.ram or 0}
    if kind == "volume":
        return {"gigabytes": each.size}
    if kind == "security group":
        return {"security_group_rules": len(each.security_group_rules or ())}
    return {}


def _containers(connection: Connection) -> Iterator[Any]:
    if not connection.has_service("object-store"):
        return
    for each in connection.object_store.containers():
        yield connection.object_store.get_container_metadata(each.name)


def _load_balancers(connection: Connection) -> Iterable[Any]:
    return (
        connection.load_balancer.load_balancers() if connection.has_service("load-balancer") else ()
    )


def _credentials(connection: Connection) -> Iterable[Any]:
    # openstacksdk's types still allow for Keystone's version 2, which has none.
    keystone: Any = connection.identity
    found: Iterable[Any] = keystone.application_credentials(user=connection.current_user_id)
    return found


# In the order in which they can go.
_LISTS: Mapping[str, Callable[[Connection], Iterable[Any]]] = {
    "load balancer": _load_balancers,
    "server": lambda at: at.compute.servers(details=True),
    "server group": lambda at: at.compute.server_groups(),
    "floating IP": lambda at: at.network.ips(tags=TAG),
    "port": lambda at: at.network.ports(tags=TAG),
    "router": lambda at: at.network.routers(tags=TAG),
    "subnet": lambda at: at.network.subnets(tags=TAG),
    "network": lambda at: at.network.networks(tags=TAG),
    "security group": lambda at: at.network.security_groups(tags=TAG),
    "snapshot": lambda at: at.block_storage.snapshots(details=True),
    "volume": lambda at: at.block_storage.volumes(details=True),
    "container": _containers,
    "application credential": _credentials,
}
_LASTING = {"snapshot", "volume", "container", "application credential"}
_QUOTAS = {
    "server": "instances",
    "server group": "server_groups",
    "volume": "volumes",
    "network": "networks",
    "subnet": "subnets",
    "router": "routers",
    "port": "ports",
    "floating IP": "floating_ips",
    "security group": "security_groups",
    "load balancer": "load_balancers",
}
