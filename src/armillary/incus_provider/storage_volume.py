"""`incus_storage_volume`: a custom volume. It may be attached to several instances at once."""

from __future__ import annotations

from typing import Any

from armillary.incus_provider.api import path_of
from armillary.incus_provider.resource import (
    Resource,
    ResourceError,
    Session,
    check_config,
    marked,
    merged,
    seen_config,
    size_bytes,
    write,
)
from armillary.incus_provider.schema import MAP, STRING, Attribute, Schema, State


class StorageVolume(Resource):
    """A storage volume; it can grow in place and never shrinks."""

    noun = "storage volume"
    schema = Schema(
        {
            "name": Attribute(STRING, "Name.", required=True, replaces=True),
            "pool": Attribute(STRING, "Storage pool.", required=True, replaces=True),
            "type": Attribute(STRING, "Type of volume.", default="custom", replaces=True),
            "content_type": Attribute(
                STRING, "filesystem or block.", default="filesystem", replaces=True
            ),
            "description": Attribute(STRING, "What it is for.", default=""),
            "config": Attribute(MAP, "Incus's volume settings, among them size."),
        }
    )

    def path(self, state: State) -> str:
        return path_of("storage-pools", state["pool"], "volumes", state["type"], state["name"])

    def label(self, state: State) -> str:
        return f"storage volume {state['pool']}/{state['name']}"

    def import_state(self, name: str) -> State:
        pool, separator, volume = name.partition("/")
        if not separator or not pool or not volume:
            raise ResourceError(f"{name!r} does not name a volume: write POOL/VOLUME")
        return {**self.schema.empty(), "pool": pool, "type": "custom", "name": volume}

    def to_state(self, known: State, found: dict[str, Any]) -> State:
        return {
            "name": found["name"],
            "pool": known["pool"],
            "type": found["type"],
            "content_type": found["content_type"],
            "description": found["description"],
            "config": seen_config(known, found, others=False),
        }

    def validate(self, config: State) -> list[ResourceError]:
        errors = check_config(config)
        if config["type"] not in (None, "custom") and isinstance(config["type"], str):
            errors.append(ResourceError("Only volumes of type custom can be made", "", "type"))
        size = _size(config)
        if size is not None:
            try:
                size_bytes(size)
            except ValueError as error:
                errors.append(ResourceError(str(error), "", "config"))
        return errors

    def check_update(self, prior: State, planned: State) -> list[ResourceError]:
        before, after = _size(prior), _size(planned)
        if before is None or after is None or size_bytes(after) >= size_bytes(before):
            return []
        return [
            ResourceError(
                f"The {self.label(prior)} cannot be made smaller",
                f"It has {before}, wanted is {after}. A volume only grows: write {before} or more.",
                "config",
            )
        ]

    def disagreements(
        self, session: Session, planned: State, found: dict[str, Any]
    ) -> dict[str, tuple[Any, Any]]:
        differing = {
            name: (found[name], planned[name])
            for name in ("type", "content_type")
            if found[name] != planned[name]
        }
        size, wanted = (found.get("config") or {}).get("size"), _size(planned)
        if size and wanted and size_bytes(size) > size_bytes(wanted):
            differing["config"] = (f"size {size}", f"size {wanted}")
        return differing

    def post(self, session: Session, planned: State) -> None:
        body = {
            "name": planned["name"],
            "type": planned["type"],
            "content_type": planned["content_type"],
            "description": planned["description"],
            "config": marked(session, planned["config"]),
        }
        session.incus.change("POST", path_of("storage-pools", planned["pool"], "volumes"), body)

    def put(self, session: Session, prior: State, planned: State) -> None:
        def change(found: dict[str, Any]) -> dict[str, Any]:
            config = merged(session, found["config"], prior, planned)
            return {"config": config, "description": planned["description"]}

        write(session, self.path(prior), change)

    def remove(self, session: Session, state: State, found: dict[str, Any]) -> None:
        users = [str(url).split("?")[0].rsplit("/", 1)[-1] for url in found.get("used_by") or []]
        if users:
            raise ResourceError(
                f"The {self.label(state)} is in use",
                f"Attached to: {', '.join(sorted(users))}. Detach it or take those down first.",
            )
        session.incus.change("DELETE", self.path(state))


def _size(state: State) -> str | None:
    config = state["config"]
    size = config.get("size") if isinstance(config, dict) else None
    return size if isinstance(size, str) else None
