"""What the ledger says of the last day: counts by hour, of the stream and of each filter.

For the owner and the operator to see; `invoke alerts audit` reads the whole ledger and says which alert is missing.
"""

from __future__ import annotations

import threading
from collections import defaultdict, deque
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

from confluent_kafka import Message
from pydantic import BaseModel, ConfigDict

from armillary_alerts import topics
from armillary_alerts.filters.model import Filter
from armillary_alerts.ledger import Entry, Stage
from armillary_alerts.service.follow import Follower

KEPT = timedelta(hours=25)


class Counts(BaseModel):
    """Alerts that a filter has seen: passed, rejected and failed are all of them."""

    model_config = ConfigDict(frozen=True)

    seen: int = 0
    passed: int = 0
    rejected: int = 0
    failed: int = 0

    def __add__(self, other: Counts) -> Counts:
        return Counts(
            seen=self.seen + other.seen,
            passed=self.passed + other.passed,
            rejected=self.rejected + other.rejected,
            failed=self.failed + other.failed,
        )


@dataclass
class Hour:
    """Alerts that were received in one hour, and what became of them."""

    start: datetime
    received: int = 0
    archived: int = 0
    quarantined: int = 0
    filters: dict[str, Counts] = field(default_factory=lambda: defaultdict(Counts))
    seen: set[tuple[object, ...]] = field(default_factory=set)
    """What is counted already: after a crash, a stage says some things twice."""

    @property
    def missing(self) -> int:
        """Neither archived nor in quarantine, so far."""
        return self.received - self.archived - self.quarantined


class Statistics:
    """The last day of the ledger."""

    def __init__(self, kafka: Mapping[str, Any]) -> None:
        since = (datetime.now(UTC) - KEPT).timestamp()
        self._follower = Follower(kafka, [topics.LEDGER], self._take, since=since)
        self._lock = threading.Lock()
        self._hours: dict[datetime, Hour] = {}
        self._arrivals: deque[tuple[datetime, int]] = deque()

    def start(self) -> None:
        """Read what is there.

        Raises:
            KafkaAway: Kafka does not answer.
        """
        self._follower.start()

    def close(self) -> None:
        """Stop reading."""
        self._follower.close()

    def hours(self) -> list[Hour]:
        """Return the hours in which alerts were received, newest first."""
        with self._lock:
            return [self._hours[start] for start in sorted(self._hours, reverse=True)]

    def of_filter(self, definition: Filter) -> dict[str, Counts]:
        """Return a filter's counts by hour, as 2026-11-26T03:00Z, oldest first."""
        with self._lock:
            return {
                start.strftime("%Y-%m-%dT%H:%MZ"): self._hours[start].filters[definition.id]
                for start in sorted(self._hours)
                if definition.id in self._hours[start].filters
            }

    def received(self, since: datetime, until: datetime) -> int:
        """Return how many alerts came in between two times."""
        with self._lock:
            return sum(count for at, count in self._arrivals if since <= at < until)

    def _take(self, message: Message) -> None:
        self.add(Entry.model_validate_json(message.value() or b""))

    def add(self, entry: Entry) -> None:
        """Count an entry."""
        with self._lock:
            hour = self._hours.setdefault(entry.hour, Hour(entry.hour))
            place = (entry.stage, entry.partition, entry.first)
            if entry.stage is Stage.FILTER:
                self._filters(hour, entry)
            elif place not in hour.seen:
                hour.seen.add(place)
                match entry.stage:
                    case Stage.INGEST:
                        hour.received += entry.count
                        self._arrivals.append((entry.at, entry.count))
                    case Stage.ANNOTATE:
                        hour.quarantined += entry.quarantined
                    case Stage.ARCHIVE:
                        hour.archived += entry.count
            self._forget()

    def _filters(self, hour: Hour, entry: Entry) -> None:
        for key, tally in [*entry.filters.items(), *entry.filters_again.items()]:
            place = (key, entry.partition, entry.first, bool(entry.again))
            if place in hour.seen:
                continue
            hour.seen.add(place)
            total = tally.passed + tally.rejected + tally.failed
            hour.filters[key] += Counts(seen=total, **tally.model_dump())

    def _forget(self) -> None:
        oldest = datetime.now(UTC) - KEPT
        for start in [start for start in self._hours if start < oldest]:
            del self._hours[start]
        while self._arrivals and self._arrivals[0][0] < oldest:
            self._arrivals.popleft()
