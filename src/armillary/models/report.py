"""What stages and checks report; kept as JSON in a cluster's state directory."""

from __future__ import annotations

from datetime import datetime

from pydantic import Field

from armillary.models.parts import Part


class Check(Part):
    """One thing that was looked at."""

    name: str
    ok: bool | None = Field(description="None: it could not be told.")
    detail: str = Field(default="", description="What is wrong, and why.")
    note: str = Field(default="", description="What is worth knowing though nothing is wrong.")
    since: datetime | None = Field(default=None, description="Since when it is so.")
    seconds: float | None = Field(default=None, description="How long looking took.")


class StageReport(Part):
    """One run of one stage."""

    stage: str
    verb: str = Field(description="check, plan, apply, verify or destroy")
    started: datetime
    seconds: float
    expected_seconds: float | None = None
    changed: bool | None = Field(default=None, description="None: it could not be told.")
    checks: list[Check] = Field(default_factory=list)
    error: str | None = None

    @property
    def ok(self) -> bool | None:
        """False if something is wrong, None if something could not be told, True otherwise."""
        if self.error is not None or any(check.ok is False for check in self.checks):
            return False
        return None if any(check.ok is None for check in self.checks) else True
