"""What to do about an error of OpenStack's, in words for whoever is woken by it."""

from __future__ import annotations

import re
from typing import Any

from openstack.connection import Connection
from openstack.exceptions import SDKException

from armillary.clouds.openstack.objects import mark_of

_KNOWN = (
    (
        r"quota exceeded|exceeds? .*quota|over ?quota|quotaexceeded",
        "The project's quota was enough a moment ago and is not now. `invoke doctor` says what is wanted, what is free and what to "
        "ask for.",
    ),
    (
        r"no valid host|state 'ERROR'|status: ERROR",
        "The cloud could not place a server. Where it has no room, another flavor or availability zone in cluster.yml may have; "
        "else ask its operators. The server is made anew by the next `up`.",
    ),
    (
        r"volume status must be|invalid volume|status must be available|attaching|detaching|reserved",
        "A volume is stuck between two states. `openstack volume show ID` tells; where it stays so, the cloud's operators set it back "
        "with `openstack volume set --state available --detached ID`. Nothing on it is lost.",
    ),
    (
        r"got 50[0234]\b|\b50[234] (service|bad|gateway)|service unavailable|bad gateway|gateway time-?out",
        "A service of the cloud is down or overloaded. What was made is kept; run the command again when it answers (`invoke doctor`).",
    ),
    (
        r"got 40[13]\b|forbidden|unauthorized",
        "The cloud refused. The user of clouds.yaml needs the role `member` in the project, and for containers and keys of S3 an "
        "unrestricted credential (docs/reference/openstack.md).",
    ),
)  # fmt: skip


NO_REASON = "the cloud gives no reason"


def advice(wrong: str) -> str:
    """Return what to do about an error, by its text; empty where nothing is known of it."""
    return next((text for mark, text in _KNOWN if re.search(mark, wrong, re.IGNORECASE)), "")


def faults(connection: Connection, mark: str) -> list[str]:
    """Return, in a line each, why servers of a cluster are in ERROR: Terraform's provider does not say.

    Args:
        connection: signed in.
        mark: the cluster's UUID.
    """
    compute = connection.compute
    try:
        return [
            # Nova's list leaves out the fault of a server that no host took (it is in cell0); asked for alone it has it.
            f"{server.name}: {_message(server) or _message(compute.get_server(server.id)) or NO_REASON}"
            for server in compute.servers(details=True, status="ERROR")
            if mark_of(server) == mark
        ]
    except SDKException as error:
        return [f"(why servers are in ERROR cannot be asked: {error})"]


def _message(server: Any) -> str:
    return str((server.fault or {}).get("message") or "").strip()
