"""What the page shows, worked out from what the service knows."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta

from armillary_alerts.filters.model import Filter, State
from armillary_alerts.service.hub import User
from armillary_alerts.service.lag import KafkaAway, Lag
from armillary_alerts.service.quarantine import Packet
from armillary_alerts.service.state import Service
from armillary_alerts.service.stats import Counts, Hour

#: An hour's books are open until so long after its end: alerts of it may still be on their way.
OPEN = timedelta(minutes=10)
PACKETS = 20
NEWEST = 6
KINDS = {State.ACTIVE: "good", State.FAILED: "bad", State.PAUSED: "off", State.DRAFT: "open"}
BARS_WIDTH, BARS_HEIGHT = 960, 84


@dataclass(frozen=True)
class HourRow:
    """An hour's books."""

    name: str
    received: int
    archived: int
    quarantined: int
    missing: int
    kind: str
    words: str


@dataclass(frozen=True)
class Bar:
    """An hour in the picture."""

    x: float
    width: float
    height: float
    bad: bool
    title: str


@dataclass(frozen=True)
class StageRow:
    """A stage."""

    name: str
    lag: int
    worst: str


@dataclass(frozen=True)
class FilterRow:
    """A filter."""

    id: str
    kind: str
    state: str
    language: str
    seen: int
    passed: int
    failed: int
    share: str
    told: str


@dataclass(frozen=True)
class Overview:
    """The page."""

    at: datetime
    problems: list[str]
    received: int
    rate: str
    lag: int
    lag_problem: str
    quarantined: int
    quarantined_share: str
    hours: list[HourRow]
    bars: list[Bar]
    stages: list[StageRow]
    filters: list[FilterRow]
    reasons: list[tuple[str, int]]
    packets: list[Packet] = field(default_factory=list)

    @property
    def well(self) -> bool:
        """Nothing is wrong."""
        return not self.problems

    @property
    def verdict(self) -> str:
        """The page in one sentence."""
        if self.problems:
            return f"{len(self.problems)} thing{'s' if len(self.problems) > 1 else ''} to look at"
        if not self.hours:
            return "All is well. No alert was received in the last day."
        return "All is well. Every alert of the hours that are closed is accounted for."

    @property
    def shown(self) -> list[HourRow]:
        """The newest hours, and those that do not close."""
        return [
            row for number, row in enumerate(self.hours) if number < NEWEST or row.kind == "bad"
        ]

    @property
    def most(self) -> int:
        """Alerts of the fullest hour."""
        return max((row.received for row in self.hours), default=0)

    @property
    def active(self) -> int:
        """Filters that are on."""
        return sum(each.state == State.ACTIVE for each in self.filters)

    @property
    def failed_filters(self) -> int:
        """Filters that were stopped."""
        return sum(each.state == State.FAILED for each in self.filters)


def overview(service: Service, user: User) -> Overview:
    """Return what a user sees: an admin everybody's filters and the quarantine's packets, others their own filters."""
    now = datetime.now(UTC)
    hours = service.stats.hours()
    rows = [_hour(each, now) for each in hours]
    try:
        known: dict[str, Lag] = dict(service.lags())
        lag_problem = ""
    except KafkaAway as error:
        known, lag_problem = {}, str(error)
    problems = [f"{part}: {said}" for part, said in sorted(service.problems.items())]
    if service.book.error:
        problems.append(f"Kafka: {service.book.error}")
    problems += [
        f"{row.missing:,} alerts of {row.name} UTC are missing: `invoke alerts audit` says which."
        for row in rows
        if row.kind == "bad"
    ]
    filters = service.desk.mine(user, everybody=user.admin)
    day = sum(each.received for each in hours)
    quarantined = sum(each.quarantined for each in hours)
    recent = service.stats.received(now - timedelta(hours=1), now)
    return Overview(
        at=now,
        problems=problems,
        received=recent,
        rate=f"{recent / 3600:,.1f} a second",
        lag=sum(each.total for each in known.values()),
        lag_problem=lag_problem,
        quarantined=quarantined,
        quarantined_share=f"{quarantined / day:.2%} of what was received"
        if day
        else "nothing was received",
        hours=rows,
        bars=_bars(hours, rows, now),
        stages=[_stage(name, lag) for name, lag in sorted(known.items())],
        filters=[_filter(service, each) for each in filters],
        reasons=service.quarantine.reasons(),
        packets=service.quarantine.newest(PACKETS) if user.admin else [],
    )


def _hour(hour: Hour, now: datetime) -> HourRow:
    closed = now >= hour.start + timedelta(hours=1) + OPEN
    if hour.missing <= 0:
        kind, words = ("good", "closed") if closed else ("good", "closed so far")
    else:
        kind, words = ("bad", "do not close") if closed else ("open", "on their way")
    return HourRow(
        name=hour.start.strftime("%m-%d %H:00"),
        received=hour.received,
        archived=hour.archived,
        quarantined=hour.quarantined,
        missing=max(0, hour.missing),
        kind=kind,
        words=words,
    )


def _bars(hours: Sequence[Hour], rows: Sequence[HourRow], now: datetime) -> list[Bar]:
    most = max((each.received for each in hours), default=0) or 1
    current = now.replace(minute=0, second=0, microsecond=0)
    width = BARS_WIDTH / 24
    found = []
    for hour, row in zip(hours, rows, strict=True):
        ago = round((current - hour.start).total_seconds() / 3600)
        if 0 <= ago < 24 and hour.received:
            height = max(1.5, BARS_HEIGHT * hour.received / most)
            title = f"{row.name}: {hour.received:,} received, {row.words}"
            found.append(
                Bar(
                    BARS_WIDTH - (ago + 1) * width + 2,
                    width - 4,
                    round(height, 1),
                    row.kind == "bad",
                    title,
                )
            )
    return found


def _stage(name: str, lag: Lag) -> StageRow:
    if not lag.total:
        return StageRow(name, 0, "up to date")
    (topic, partition), most = max(lag.partitions.items(), key=lambda item: item[1])
    return StageRow(name, lag.total, f"{topic}, partition {partition}: {most:,}")


def _filter(service: Service, definition: Filter) -> FilterRow:
    total = sum(service.stats.of_filter(definition).values(), Counts())
    notices = service.book.notices(definition)
    told = definition.reason or (
        f"{notices[0].at:%m-%d %H:%M}: {notices[0].text}" if notices else ""
    )
    return FilterRow(
        id=definition.id,
        kind=KINDS[definition.state],
        state=definition.state.value,
        language={"sql": "SQL", "python": "Python"}[definition.kind.value],
        seen=total.seen,
        passed=total.passed,
        failed=total.failed,
        share=f"{total.passed / total.seen:.2%}" if total.seen else "",
        told=told,
    )
