"""`incus_instance`: a system container or a virtual machine."""

from __future__ import annotations

import time
from typing import Any

from armillary.incus_provider.api import IncusError, path_of
from armillary.incus_provider.resource import (
    Resource,
    ResourceError,
    Session,
    check_config,
    marked,
    merged,
    seen_config,
    write,
)
from armillary.incus_provider.schema import (
    BOOL,
    MAP,
    STRING,
    STRINGS,
    UNKNOWN,
    Attribute,
    Schema,
    State,
)

GRACE_SECONDS = 5
ADDRESS_SECONDS = 60
POLL_SECONDS = 0.1
TYPES = ("container", "virtual-machine")


class Instance(Resource):
    """An instance. Only its name, image and type force a replacement."""

    noun = "instance"
    schema = Schema(
        {
            "name": Attribute(STRING, "Name.", required=True, replaces=True),
            "image": Attribute(STRING, "Alias or fingerprint.", required=True, replaces=True),
            "type": Attribute(
                STRING,
                "container or virtual-machine.",
                default="container",
                replaces=True,
            ),
            "description": Attribute(STRING, "What it is for.", default=""),
            "profiles": Attribute(STRINGS, "Profiles, the last one wins.", default=["default"]),
            "config": Attribute(MAP, "Incus's instance settings."),
            "running": Attribute(BOOL, "Whether it is to run.", default=True),
            "ipv4_address": Attribute(STRING, "Its first IPv4 address.", computed=True),
            "mac_address": Attribute(STRING, "The MAC address beside it.", computed=True),
            "status": Attribute(STRING, "Running, Stopped, ...", computed=True),
        },
        {
            "device": {
                "name": Attribute(STRING, "Name.", required=True),
                "type": Attribute(STRING, "disk, nic, unix-char, ...", required=True),
                "properties": Attribute(MAP, "Incus's device settings.", required=True),
            },
            "wait_for": {"type": Attribute(STRING, "ipv4: wait for an address.", required=True)},
        },
    )

    def path(self, state: State) -> str:
        return path_of("instances", state["name"])

    def find(self, session: Session, state: State) -> dict[str, Any] | None:
        return session.incus.find(self.path(state) + "?recursion=1")

    def import_state(self, name: str) -> State:
        return {**self.schema.empty(), "name": name}

    def to_state(self, known: State, found: dict[str, Any]) -> State:
        mac, address = _address(found)
        return {
            "name": found["name"],
            "image": known["image"] or _image_of(found),
            "type": found["type"],
            "description": found["description"],
            "profiles": found["profiles"] or [],
            "config": seen_config(known, found, others=True),
            "running": found["status"] == "Running",
            "ipv4_address": address,
            "mac_address": mac,
            "status": found["status"],
            "device": [
                {
                    "name": name,
                    "type": properties["type"],
                    "properties": {k: v for k, v in properties.items() if k != "type"},
                }
                for name, properties in sorted((found["devices"] or {}).items())
            ],
            "wait_for": known["wait_for"],
        }

    def validate(self, config: State) -> list[ResourceError]:
        errors = check_config(config)
        if isinstance(config["type"], str) and config["type"] not in TYPES:
            errors.append(ResourceError(f"type is {' or '.join(TYPES)}", "", "type"))
        devices = config["device"] if isinstance(config["device"], list) else []
        names = [device["name"] for device in devices if device is not UNKNOWN]
        for name in sorted({n for n in names if isinstance(n, str) and names.count(n) > 1}):
            errors.append(ResourceError(f"There are two devices named {name!r}", "", "device"))
        for wait in config["wait_for"] if isinstance(config["wait_for"], list) else []:
            if wait is not UNKNOWN and wait["type"] not in ("ipv4", UNKNOWN):
                errors.append(ResourceError("wait_for knows only type ipv4", "", "wait_for"))
        return errors

    def replacements(self, session: Session, prior: State, planned: State) -> list[str]:
        names = super().replacements(session, prior, planned)
        if "image" in names and planned["image"] is not UNKNOWN:
            # An imported instance knows its image by fingerprint, the configuration by alias.
            wanted = session.incus.image_fingerprint(planned["image"])
            if prior["image"] == wanted:
                names.remove("image")
        return names

    def unsettled(self, prior: State, planned: State) -> list[str]:
        if prior["running"] == planned["running"] and prior["device"] == planned["device"]:
            return []
        return ["ipv4_address", "mac_address", "status"]

    def disagreements(
        self, session: Session, planned: State, found: dict[str, Any]
    ) -> dict[str, tuple[Any, Any]]:
        differing: dict[str, tuple[Any, Any]] = {}
        if found["type"] != planned["type"]:
            differing["type"] = (found["type"], planned["type"])
        wanted = session.incus.image_fingerprint(planned["image"])
        if _image_of(found) != wanted:
            differing["image"] = (_image_of(found), f"{planned['image']} ({wanted})")
        return differing

    def post(self, session: Session, planned: State) -> None:
        body = {
            "name": planned["name"],
            "type": planned["type"],
            "description": planned["description"],
            "profiles": planned["profiles"],
            "config": marked(session, planned["config"]),
            "devices": _devices(planned),
            "source": {
                "type": "image",
                "fingerprint": session.incus.image_fingerprint(planned["image"]),
            },
            # With the creation: a provider killed between two calls would leave it stopped.
            "start": planned["running"],
        }
        session.incus.change("POST", "/1.0/instances", body)

    def put(self, session: Session, prior: State, planned: State) -> None:
        def change(found: dict[str, Any]) -> dict[str, Any]:
            return {
                "architecture": found["architecture"],
                "config": merged(session, found["config"], prior, planned),
                "description": planned["description"],
                "devices": _devices(planned),
                "ephemeral": found["ephemeral"],
                "profiles": planned["profiles"],
                "stateful": found["stateful"],
            }

        write(session, self.path(prior), change)

    def finish(self, session: Session, planned: State) -> None:
        found = session.incus.get(self.path(planned))
        if planned["running"] and found["status"] != "Running":
            action = "unfreeze" if found["status"] == "Frozen" else "start"
            self._set_state(session, planned, action)
        elif not planned["running"] and found["status"] != "Stopped":
            self._stop(session, planned)
        if planned["running"] and planned["wait_for"]:
            self._wait_for_address(session, planned)

    def remove(self, session: Session, state: State, found: dict[str, Any]) -> None:
        if found["status"] != "Stopped":
            self._stop(session, state)
        session.incus.change("DELETE", self.path(state))

    def _stop(self, session: Session, state: State) -> None:
        try:
            self._set_state(session, state, "stop", timeout=GRACE_SECONDS)
        except IncusError:
            found = session.incus.find(self.path(state))
            if found is not None and found["status"] != "Stopped":
                self._set_state(session, state, "stop", force=True)

    def _set_state(self, session: Session, state: State, action: str, **options: Any) -> None:
        path = path_of("instances", state["name"], "state")
        session.incus.change("PUT", path, {"action": action, **options})

    def _wait_for_address(self, session: Session, planned: State) -> None:
        deadline = time.monotonic() + ADDRESS_SECONDS
        while not session.stopping.is_set():
            found = self.find(session, planned)
            if found is None or found["status"] != "Running":
                status = "gone" if found is None else found["status"]
                raise ResourceError(
                    f"The {self.label(planned)} did not stay up: it is {status}",
                    f"`incus info --show-log {planned['name']}` tells more.",
                )
            if _address(found)[1] is not None:
                return
            if time.monotonic() > deadline:
                raise ResourceError(
                    f"The {self.label(planned)} got no IPv4 address within {ADDRESS_SECONDS} s",
                    f"Look at `incus console --show-log {planned['name']}`, and whether the "
                    "machine's firewall lets DHCP through on the network's bridge.",
                )
            session.stopping.wait(POLL_SECONDS)


def _devices(state: State) -> dict[str, dict[str, str]]:
    return {
        device["name"]: {**(device["properties"] or {}), "type": device["type"]}
        for device in state["device"]
    }


def _image_of(found: dict[str, Any]) -> str | None:
    image = (found.get("config") or {}).get("volatile.base_image")
    return str(image) if image else None


def _address(found: dict[str, Any]) -> tuple[str | None, str | None]:
    """Return MAC and IPv4 address of the first interface that has one; eth0 comes first."""
    interfaces = ((found.get("state") or {}).get("network")) or {}
    for name in sorted(interfaces, key=lambda n: (n != "eth0", n)):
        # Interfaces that programs inside make (bridges of a pod network) are not the instance's.
        if name != "eth0" and not interfaces[name].get("host_name"):
            continue
        for address in interfaces[name].get("addresses") or []:
            if address["family"] == "inet" and address["scope"] == "global":
                return interfaces[name]["hwaddr"], address["address"]
    return (found.get("config") or {}).get("volatile.eth0.hwaddr"), None
