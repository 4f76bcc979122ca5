"""What owners of filters and annotators must know."""

from __future__ import annotations

from datetime import UTC, datetime
from enum import StrEnum

from pydantic import BaseModel, ConfigDict, Field


class NoticeKind(StrEnum):
    """What a notice is about."""

    FAILED_ALERTS = "failed_alerts"
    STOPPED = "stopped"
    OVER_LIMIT = "over_limit"


class Notice(BaseModel):
    """One message to the owner of a filter."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    owner: str
    name: str
    kind: NoticeKind
    text: str = Field(description="What happened and what to do, in words.")
    count: int = Field(default=0, ge=0, description="How many alerts it is about.")
    at: datetime = Field(default_factory=lambda: datetime.now(UTC))
