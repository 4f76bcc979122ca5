"""`incus_network`: a network, in practice a bridge with DHCP and NAT."""

from __future__ import annotations

from typing import Any

from armillary.incus_provider.api import path_of
from armillary.incus_provider.resource import (
    Resource,
    Session,
    marked,
    merged,
    seen_config,
    write,
)
from armillary.incus_provider.schema import MAP, STRING, Attribute, Schema, State


class Network(Resource):
    """A managed network. Keys of its config that Terraform does not set are Incus's business."""

    noun = "network"
    schema = Schema(
        {
            "name": Attribute(STRING, "Name, also of the bridge.", required=True, replaces=True),
            "type": Attribute(STRING, "Type of network.", default="bridge", replaces=True),
            "description": Attribute(STRING, "What it is for.", default=""),
            "config": Attribute(MAP, "Incus's network settings."),
        }
    )

    def path(self, state: State) -> str:
        return path_of("networks", state["name"])

    def import_state(self, name: str) -> State:
        return {**self.schema.empty(), "name": name}

    def to_state(self, known: State, found: dict[str, Any]) -> State:
        return {
            "name": found["name"],
            "type": found["type"],
            "description": found["description"],
            "config": seen_config(known, found, others=False),
        }

    def disagreements(
        self, session: Session, planned: State, found: dict[str, Any]
    ) -> dict[str, tuple[Any, Any]]:
        if found["type"] == planned["type"]:
            return {}
        return {"type": (found["type"], planned["type"])}

    def post(self, session: Session, planned: State) -> None:
        body = {**planned, "config": marked(session, planned["config"])}
        session.incus.change("POST", "/1.0/networks", body)

    def put(self, session: Session, prior: State, planned: State) -> None:
        def change(found: dict[str, Any]) -> dict[str, Any]:
            config = merged(session, found["config"], prior, planned)
            return {"config": config, "description": planned["description"]}

        write(session, self.path(prior), change)

    def remove(self, session: Session, state: State, found: dict[str, Any]) -> None:
        session.incus.change("DELETE", self.path(state))
