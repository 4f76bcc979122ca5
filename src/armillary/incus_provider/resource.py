"""What every kind of resource has in common: the mark, adoption, and the order of calls."""

from __future__ import annotations

import re
import threading
from abc import ABC, abstractmethod
from dataclasses import dataclass, field
from typing import Any, ClassVar

from armillary.incus_provider.api import (
    CONFLICT,
    PRECONDITION_FAILED,
    Incus,
    IncusError,
)
from armillary.incus_provider.schema import UNKNOWN, Schema, State

MARK = "user.armillary.cluster"
"""Key of the `config` of everything the provider makes; its value is the cluster's name."""

COMPUTED_PREFIXES = ("volatile.", "image.")
TRIES = 3


class ResourceError(Exception):
    """What was asked cannot be done; `attribute` is the one at fault, if it is one."""

    def __init__(self, summary: str, detail: str = "", attribute: str | None = None) -> None:
        self.summary = summary
        self.detail = detail
        self.attribute = attribute
        super().__init__(summary)


@dataclass
class Session:
    """The configured provider: whom it talks to, for which cluster, and whether to hurry."""

    incus: Incus
    cluster: str
    stopping: threading.Event = field(default_factory=threading.Event)


@dataclass
class Created:
    """The outcome of a create: the state of what this call made or adopted, and what went wrong.

    `state` is None when nothing is there that this call may answer for. Both are set when the
    object was made and a later step failed: Terraform then taints it.
    """

    state: State | None
    error: Exception | None = None


class Resource(ABC):
    """A kind of object in Incus."""

    noun: ClassVar[str]
    schema: ClassVar[Schema]

    @abstractmethod
    def path(self, state: State) -> str:
        """Return the API path of the object."""

    @abstractmethod
    def import_state(self, name: str) -> State:
        """Return the state that identifies the object a user names on import."""

    @abstractmethod
    def to_state(self, known: State, found: dict[str, Any]) -> State:
        """Return the state of an object found in Incus; `known` is what Terraform has of it."""

    @abstractmethod
    def post(self, session: Session, planned: State) -> None:
        """Make the object, with its mark, in one API call."""

    @abstractmethod
    def put(self, session: Session, prior: State, planned: State) -> None:
        """Change the object in place."""

    @abstractmethod
    def remove(self, session: Session, state: State, found: dict[str, Any]) -> None:
        """Delete the object."""

    def validate(self, config: State) -> list[ResourceError]:
        """Return what is wrong in a configuration. Values may be unknown."""
        return check_config(config)

    def disagreements(
        self, session: Session, planned: State, found: dict[str, Any]
    ) -> dict[str, tuple[Any, Any]]:
        """Return the attributes that cannot be changed in place and differ: (found, planned)."""
        return {}

    def replacements(self, session: Session, prior: State, planned: State) -> list[str]:
        """Return the attributes for whose sake the object must be replaced."""
        return [
            name
            for name, attribute in self.schema.attributes.items()
            if attribute.replaces and prior[name] != planned[name]
        ]

    def check_update(self, prior: State, planned: State) -> list[ResourceError]:
        """Return the reasons why an update in place must not happen."""
        return []

    def unsettled(self, prior: State, planned: State) -> list[str]:
        """Return the computed attributes that an update in place may change."""
        return []

    def finish(self, session: Session, planned: State) -> None:
        """Bring a made, adopted or updated object to its end state, and wait for that."""
        return

    def find(self, session: Session, state: State) -> dict[str, Any] | None:
        """Return the object, None when there is none."""
        return session.incus.find(self.path(state))

    def label(self, state: State) -> str:
        """Return how messages name the object."""
        return f"{self.noun} {state['name']}"

    def own(self, session: Session, found: dict[str, Any]) -> bool:
        """Tell whether an object bears this cluster's mark."""
        return bool((found.get("config") or {}).get(MARK) == session.cluster)

    def require_own(self, session: Session, state: State, found: dict[str, Any]) -> None:
        """Refuse an object which this cluster did not make.

        Raises:
            ResourceError: another cluster's, or not marked at all.
        """
        if self.own(session, found):
            return
        owner = (found.get("config") or {}).get(MARK)
        whose = f"it belongs to the cluster {owner!r}" if owner else f"it has no {MARK}"
        raise ResourceError(
            f"The {self.label(state)} exists already and is not this cluster's",
            f"Cluster {session.cluster!r} did not make it: {whose}. It was left untouched. Rename "
            "or delete it, or give the cluster another name.",
            "name",
        )

    def read(self, session: Session, state: State) -> State | None:
        """Return the object's present state, None when it is gone or no longer ours."""
        found = self.find(session, state)
        if found is None or not self.own(session, found):
            return None
        return self.to_state(state, found)

    def create(self, session: Session, planned: State) -> Created:
        """Make the object; or adopt it when a run that was killed has made it already."""
        path = self.path(planned)
        for _ in range(TRIES):
            session.incus.wait_while_busy(path)
            found = self.find(session, planned)
            if found is not None:
                return Created(self._adopt(session, planned, found))
            try:
                self.post(session, planned)
                self.finish(session, planned)
            except Exception as error:
                made = self._made(session, planned)
                if isinstance(error, IncusError) and error.code == CONFLICT and made is None:
                    continue
                return Created(made, error)
            return Created(self._settled(session, planned))
        raise ResourceError(
            f"The {self.label(planned)} comes and goes",
            "Incus refused to make it because it exists, and then did not have it. Does another "
            "program make and delete it at this moment?",
        )

    def update(self, session: Session, prior: State, planned: State) -> State:
        """Change the object in place and return its new state."""
        found = self.find(session, prior)
        if found is None:
            raise ResourceError(f"The {self.label(prior)} is gone; plan again")
        self.require_own(session, prior, found)
        self.put(session, prior, planned)
        self.finish(session, planned)
        return self._settled(session, planned)

    def delete(self, session: Session, state: State) -> bool:
        """Delete the object; one that is gone already is fine.

        Returns:
            False when an object of that name is left, because it does not bear our mark.
        """
        session.incus.wait_while_busy(self.path(state))
        found = self.find(session, state)
        if found is None:
            return True
        if not self.own(session, found):
            return False
        self.remove(session, state, found)
        return True

    def _adopt(self, session: Session, planned: State, found: dict[str, Any]) -> State:
        self.require_own(session, planned, found)
        differing = self.disagreements(session, planned, found)
        if differing:
            what = "; ".join(f"{k} is {a!r}, wanted {b!r}" for k, (a, b) in differing.items())
            raise ResourceError(
                f"The {self.label(planned)} exists already and differs from what is wanted",
                f"An earlier run of cluster {session.cluster!r} made it, but {what}. This cannot "
                "be changed in place: delete it (see `incus list`, `incus network list` or `incus "
                "storage volume list`) and try again.",
                next(iter(differing)),
            )
        self.put(session, self.to_state(planned, found), planned)
        self.finish(session, planned)
        return self._settled(session, planned)

    def _made(self, session: Session, planned: State) -> State | None:
        """Return the state of what a failed create left, None when it left nothing of ours."""
        try:
            found = self.find(session, planned)
        except IncusError:
            return None
        if found is None or not self.own(session, found):
            return None
        return self.to_state(_without_unknown(planned), found)

    def _settled(self, session: Session, planned: State) -> State:
        found = self.find(session, planned)
        if found is None:
            raise ResourceError(f"The {self.label(planned)} vanished while it was being made")
        return self.to_state(_without_unknown(planned), found)


def _without_unknown(state: State) -> State:
    return {name: None if value is UNKNOWN else value for name, value in state.items()}


def marked(session: Session, config: dict[str, str] | None) -> dict[str, str]:
    """Return a config with the cluster's mark in it."""
    return {**(config or {}), MARK: session.cluster}


def merged(
    session: Session, current: dict[str, str], prior: State, planned: State
) -> dict[str, str]:
    """Return the config to write: keys Terraform does not manage stay as they are in Incus."""
    kept = {key: value for key, value in current.items() if key not in (prior["config"] or {})}
    return marked(session, {**kept, **(planned["config"] or {})})


def seen_config(known: State, found: dict[str, Any], *, others: bool) -> dict[str, str] | None:
    """Return the part of an object's config that Terraform is to see.

    Args:
        known: Terraform's state of the object; its keys are always seen.
        found: the object.
        others: also show keys Terraform did not set (drift), but for those Incus itself keeps.
    """
    mine: dict[str, str] | None = known["config"]
    seen = {
        key: value
        for key, value in (found.get("config") or {}).items()
        if key in (mine or {}) or (others and key != MARK and not key.startswith(COMPUTED_PREFIXES))
    }
    return None if mine is None and not seen else seen


def write(session: Session, path: str, change: Any) -> None:
    """Read an object, let `change` make the new body from it, write that; again if it moved.

    Raises:
        IncusError: refused.
    """
    for left in reversed(range(TRIES)):
        found, etag = session.incus.get_with_etag(path)
        try:
            session.incus.change("PUT", path, change(found), etag)
            return
        except IncusError as error:
            if error.code != PRECONDITION_FAILED or not left:
                raise


def check_config(config: State) -> list[ResourceError]:
    """Return what is wrong in a resource's name and `config` map."""
    errors = []
    name = config.get("name")
    if isinstance(name, str) and not re.fullmatch(
        r"[a-zA-Z0-9]([a-zA-Z0-9_-]{0,61}[a-zA-Z0-9])?", name
    ):
        errors.append(
            ResourceError(
                f"{name!r} is no name Incus takes",
                "Letters, digits and hyphens, at most 63, no hyphen at either end.",
                "name",
            )
        )
    settings = config.get("config")
    for key, value in settings.items() if isinstance(settings, dict) else ():
        if key == MARK or key.startswith(COMPUTED_PREFIXES):
            errors.append(
                ResourceError(f"{key!r} is set by the provider or by Incus", "", "config")
            )
        elif value is None:
            errors.append(
                ResourceError(f"{key!r} has no value", "Leave the key out instead.", "config")
            )
    return errors


_UNITS = {"": 1, "B": 1}
for _power, _letter in enumerate("kMGTPE", start=1):
    _UNITS[f"{_letter}B"] = 1000**_power
    _UNITS[f"{_letter.upper()}iB"] = 1024**_power


def size_bytes(size: str) -> int:
    """Return a size such as `20GiB` in bytes, by Incus's own units.

    Raises:
        ValueError: no such unit or no number.
    """
    match = re.fullmatch(r"(\d+)\s*([A-Za-z]*)", size)
    if match is None or match[2] not in _UNITS:
        raise ValueError(f"{size!r} is no size; write for example 20GiB")
    return int(match[1]) * _UNITS[match[2]]
