"""The ledger: what each stage did with which alerts, in `topics.LEDGER`."""

from __future__ import annotations

from datetime import UTC, datetime
from enum import StrEnum

from pydantic import BaseModel, ConfigDict, Field


class Stage(StrEnum):
    """Who writes into the ledger."""

    INGEST = "ingest"
    ANNOTATE = "annotate"
    FILTER = "filter"
    ARCHIVE = "archive"


class Tally(BaseModel):
    """What one filter made of the alerts of an entry: seen = passed + rejected + failed."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    passed: int = Field(default=0, ge=0)
    rejected: int = Field(default=0, ge=0)
    failed: int = Field(default=0, ge=0)


class Entry(BaseModel):
    """What one stage did with alerts of one partition of `topics.RAW` that came in within one hour."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    stage: Stage
    worker: str = Field(description="Which worker wrote it.")
    hour: datetime = Field(description="Start of the hour in which the alerts were received, UTC.")
    partition: int = Field(ge=0, description="Of `topics.RAW`.")
    first: int = Field(ge=0, description="Offset of the first alert in `topics.RAW`.")
    last: int = Field(ge=0, description="Offset of the last.")
    count: int = Field(ge=0, description="How many alerts this entry accounts for.")
    quarantined: int = Field(default=0, ge=0, description="Of these, put into quarantine.")
    again: int = Field(
        default=0, ge=0, description="Rows that came back through an annotator; not in `count`."
    )
    filters: dict[str, Tally] = Field(default_factory=dict, description="By `Filter.id`.")
    filters_again: dict[str, Tally] = Field(
        default_factory=dict, description="The same, of the rows that came back."
    )
    files: tuple[str, ...] = Field(default=(), description="What the archive wrote.")
    at: datetime = Field(default_factory=lambda: datetime.now(UTC))
