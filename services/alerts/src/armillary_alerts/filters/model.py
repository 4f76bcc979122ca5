"""What a user's filter is."""

from __future__ import annotations

from datetime import UTC, datetime
from enum import StrEnum
from typing import Annotated, Self

from pydantic import BaseModel, ConfigDict, Field, StringConstraints

from armillary_alerts import topics

#: Names of owners and filters: parts of a Kafka topic's name, of a path and of a URL. No dot: it parts owner and name.
Label = Annotated[
    str, StringConstraints(pattern=r"^[a-z0-9]([a-z0-9_-]*[a-z0-9])?$", min_length=1, max_length=63)
]

MAX_TEXT = 20_000


class Kind(StrEnum):
    """How a filter is written."""

    SQL = "sql"
    PYTHON = "python"


class State(StrEnum):
    """Where a filter is in its life."""

    DRAFT = "draft"
    ACTIVE = "active"
    PAUSED = "paused"
    FAILED = "failed"


class Limits(BaseModel):
    """What a filter may use. What is over a limit counts as failed, in the ledger and to the owner."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    seconds: float = Field(
        default=2.0, gt=0, le=60, description="For one batch, in seconds; longer is ended."
    )
    memory_mib: int = Field(
        default=512, ge=64, le=8192, description="Memory while it runs, in MiB; more is ended."
    )
    alerts_per_hour: int = Field(
        default=20_000,
        ge=1,
        description="Alerts sent to its topic in an hour of the stream; further ones are not sent.",
    )


class Filter(BaseModel):
    """One filter of one user."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    owner: Label = Field(description="The user whose filter it is.")
    name: Label = Field(description="Unique among the owner's filters.")
    kind: Kind = Kind.SQL
    text: str = Field(
        min_length=1, max_length=MAX_TEXT, description="The SQL, or the Python function's source."
    )
    version: int = Field(default=1, ge=1, description="Grows with each change of the text.")
    state: State = State.DRAFT
    reason: str | None = Field(
        default=None, description="Why it failed, in words for its owner; null otherwise."
    )
    description: str = Field(default="", max_length=2000)
    created: datetime = Field(default_factory=lambda: datetime.now(UTC))
    changed: datetime = Field(default_factory=lambda: datetime.now(UTC))
    limits: Limits = Limits()

    @property
    def id(self) -> str:
        """Owner and name: `astronomer/young-supernovae`. Key of its messages in `topics.FILTERS`."""
        return f"{self.owner}/{self.name}"

    @property
    def topic(self) -> str:
        """The Kafka topic of its results."""
        return topics.of_filter(self.owner, self.name)

    def in_state(self, state: State, reason: str | None = None) -> Self:
        """Return the filter in another state, changed now."""
        return self.model_copy(
            update={"state": state, "reason": reason, "changed": datetime.now(UTC)}
        )
