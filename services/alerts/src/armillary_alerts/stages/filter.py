"""Evaluates all users' SQL filters on annotated alerts; each sends to a topic of its own."""

from __future__ import annotations

import json
import logging
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Final

import numpy as np
import numpy.typing as npt
import pyarrow as pa
from confluent_kafka import Consumer, Message, TopicPartition

from armillary_alerts import topics
from armillary_alerts.filters.model import Filter
from armillary_alerts.filters.sql import Engine, Outcome
from armillary_alerts.ledger import Entry, Tally
from armillary_alerts.ledger import Stage as LedgerStage
from armillary_alerts.notices import Notice, NoticeKind
from armillary_alerts.packets import rows
from armillary_alerts.stages import accounts, metrics
from armillary_alerts.stages.definitions import Definitions
from armillary_alerts.stages.loop import Outgoing, Stage, ledger_message

_LOG: Final = logging.getLogger(__name__)

#: Messages, each with some hundred rows, that are looked at together.
MESSAGES: Final = 16
#: Seconds between two notices of the same kind about a filter, from one worker.
NOTICE_SECONDS: Final = 300.0
#: Seconds after which a topic that did not take what was sent is tried again.
BROKEN_SECONDS: Final = 60.0
_EMPTY: Final = np.empty(0, np.int64)


def read_rows(messages: Sequence[Message]) -> pa.RecordBatch:
    """Return the rows of messages of `topics.ANNOTATED`."""
    parts: list[pa.RecordBatch] = []
    for message in messages:
        with pa.ipc.open_stream(message.value()) as reader:
            parts += [batch for batch in reader if batch.num_rows]
    return parts[0] if len(parts) == 1 else rows.concat(parts)


@dataclass
class _Hour:
    """What a filter has sent in the newest hour it was seen in."""

    hour: datetime
    sent: int = 0


@dataclass
class _Told:
    """What an owner was told last, and what has come up since."""

    at: float = -1e9
    count: int = 0


@dataclass
class _Pending:
    """What is to be remembered once the transaction is committed."""

    hours: dict[str, _Hour] = field(default_factory=dict)
    stopped: dict[str, Filter] = field(default_factory=dict)
    told: dict[tuple[str, NoticeKind], _Told] = field(default_factory=dict)
    counts: list[tuple[str, Tally]] = field(default_factory=list)


class FilterStage(Stage):
    """The stage between `topics.ANNOTATED` and the filters' topics."""

    name = "filter"
    subscribe = (topics.ANNOTATED,)

    def batch_size(self) -> int:
        """Return how many messages are worked on at once."""
        return MESSAGES

    def open(self) -> None:
        """Start the engine and read the filters."""
        self._engine = Engine(
            seconds=self.settings.filter_seconds, memory_mib=self.settings.filter_memory_mib
        )
        self._definitions = Definitions(self.settings)
        self._hours: dict[str, _Hour] = {}
        self._stopped: dict[str, Filter] = {}
        self._told: dict[tuple[str, NoticeKind], _Told] = {}
        self._broken: dict[str, tuple[float, str]] = {}
        self._share = 1.0
        self._topics_at = -1e9
        self._known: frozenset[str] = frozenset()
        self._pending = _Pending()

    def close(self) -> None:
        """End the engine."""
        self._definitions.close()
        self._engine.close()

    def assigned(self, consumer: Consumer, partitions: Sequence[TopicPartition]) -> None:
        """Take a share of each filter's limit by the hour: that of the partitions read here."""
        self._share = max(1, len(partitions)) / max(1, self.partitions.get(topics.ANNOTATED, 1))

    def work(self, messages: Sequence[Message]) -> Iterable[Outgoing]:
        """Return what filters send, what the ledger says of it, and notices."""
        self._pending = _Pending(dict(self._hours), dict(self._stopped), dict(self._told))
        found = read_rows(messages)
        if not found.num_rows:
            return
        filters = self._filters()
        again = found.column("annotated_by").is_valid().to_numpy(zero_copy_only=False)
        for rerun in (False, True):
            part = found.filter(pa.array(again == rerun)) if again.any() else found
            if not part.num_rows or (rerun and not again.any()):
                continue
            # An alert that comes back wakes those filters that look at what annotators say.
            chosen = [each for each in filters if not rerun or "annotat" in each.text.lower()]
            yield from self._evaluate(part, chosen, rerun)
        newest = found.column("received").cast(pa.int64()).to_numpy(zero_copy_only=False).max()
        metrics.AGE.labels(self.name).set(time.time() - int(newest) / 1000)

    def committed(self) -> None:
        """Remember what was sent and said."""
        self._hours, self._stopped, self._told = (
            self._pending.hours,
            self._pending.stopped,
            self._pending.told,
        )
        for name, tally in self._pending.counts:
            for outcome in ("passed", "rejected", "failed"):
                metrics.FILTERED.labels(name, outcome).inc(getattr(tally, outcome))

    def refused(self, failed: Mapping[str, str]) -> None:
        """Leave out for a while the topics of filters that did not take what was sent."""
        for topic, why in failed.items():
            if topic.startswith(topics.FILTER_PREFIX):
                self._broken[topic] = (time.monotonic() + BROKEN_SECONDS, why)

    def _filters(self) -> list[Filter]:
        """Return the filters that run now: active, and not stopped since they last changed."""
        active = self._definitions.active()
        self._pending.stopped = {
            each.id: each for each in active if self._pending.stopped.get(each.id) == each
        }
        return [each for each in active if each.id not in self._pending.stopped]

    def _evaluate(
        self, found: pa.RecordBatch, filters: Sequence[Filter], again: bool
    ) -> Iterator[Outgoing]:
        groups = list(accounts.of_rows(found))
        place = np.zeros(found.num_rows, np.int64)
        for n, group in enumerate(groups):
            place[group.rows] = n
        tallies: list[dict[str, Tally]] = [{} for _ in groups]
        lines = _Lines(found)
        for outcome in self._engine.evaluate(found, filters):
            sent, failed, notices = self._judge(outcome, groups[-1].hour)
            if len(sent):
                yield from lines.messages(outcome, sent)
            yield from notices
            good = np.bincount(place[sent], minlength=len(groups))
            bad = np.bincount(place[failed], minlength=len(groups))
            for n, group in enumerate(groups):
                tally = Tally(
                    passed=int(good[n]),
                    failed=int(bad[n]),
                    rejected=len(group.rows) - int(good[n]) - int(bad[n]),
                )
                tallies[n][outcome.filter.id] = tally
                self._pending.counts.append((outcome.filter.id, tally))
        for group, tally_of in zip(groups, tallies, strict=True):
            yield ledger_message(
                Entry(
                    stage=LedgerStage.FILTER,
                    worker=self.worker,
                    hour=group.hour,
                    partition=group.partition,
                    first=group.first,
                    last=group.last,
                    count=0 if again else len(group.rows),
                    again=len(group.rows) if again else 0,
                    filters={} if again else tally_of,
                    filters_again=tally_of if again else {},
                )
            )
        metrics.ALERTS.labels(self.name, "again" if again else "filtered").inc(found.num_rows)

    def _judge(
        self, outcome: Outcome, hour: datetime
    ) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64], list[Outgoing]]:
        """Return which rows are sent, which count as failed, and what the owner is told."""
        each = outcome.filter
        notices: list[Outgoing] = []
        passed, failed = outcome.passed, outcome.failed
        if outcome.stopped:
            self._pending.stopped[each.id] = each
            notices.append(self._notice(each, NoticeKind.STOPPED, outcome.reason, len(failed)))
            _LOG.warning("Filter %s is stopped: %s", each.id, outcome.reason)
            return passed, failed, notices
        if len(failed):
            notices += self._tell(
                each,
                NoticeKind.FAILED_ALERTS,
                "It failed on {count} alerts, which it neither passed nor rejected. The first: "
                + outcome.reason,
                len(failed),
            )
        away = self._away(each) if len(passed) else ""
        if away:
            notices += self._tell(
                each, NoticeKind.FAILED_ALERTS, "{count} alerts that it passed were not sent: " + away, len(passed)
            )  # fmt: skip
            return _EMPTY, np.union1d(failed, passed), notices
        count = self._pending.hours.get(each.id)
        if count is None or count.hour != hour:
            count = _Hour(hour)
        room = max(0, int(each.limits.alerts_per_hour * self._share) - count.sent)
        sent, over = passed[:room], passed[room:]
        self._pending.hours[each.id] = _Hour(hour, count.sent + len(sent))
        if len(over):
            notices += self._tell(
                each,
                NoticeKind.OVER_LIMIT,
                f"{{count}} alerts that it passed were not sent: its limit is {each.limits.alerts_per_hour} "
                "alerts an hour. Narrow it, or ask the operator for more.",
                len(over),
            )
        return sent, np.union1d(failed, over), notices

    def _away(self, each: Filter) -> str:
        """Return why a filter's topic takes nothing now; empty when it does."""
        broken = self._broken.get(each.topic)
        if broken and time.monotonic() < broken[0]:
            return f"its topic {each.topic} does not take them: {broken[1]}"
        if each.topic not in self._known and time.monotonic() > self._topics_at + 2.0:
            self._known = frozenset(self.list_topics())
            self._topics_at = time.monotonic()
        return "" if each.topic in self._known else f"its topic {each.topic} is not there."

    def _tell(self, each: Filter, kind: NoticeKind, text: str, count: int) -> list[Outgoing]:
        """Return a notice, at most every few minutes, with the count since the last."""
        told = self._pending.told.get((each.id, kind), _Told())
        total = told.count + count
        if time.monotonic() < told.at + NOTICE_SECONDS:
            self._pending.told[each.id, kind] = _Told(told.at, total)
            return []
        self._pending.told[each.id, kind] = _Told(time.monotonic(), 0)
        return [self._notice(each, kind, text.replace("{count}", str(total)), total)]

    def _notice(self, each: Filter, kind: NoticeKind, text: str, count: int) -> Outgoing:
        notice = Notice(owner=each.owner, name=each.name, kind=kind, text=text[:2000], count=count)
        return Outgoing(topics.NOTICES, notice.model_dump_json().encode(), key=each.id.encode())


class _Lines:
    """Rows as JSON; one that many filters send as it is, is written once."""

    def __init__(self, found: pa.RecordBatch) -> None:
        self._found = found
        self._ids = found.column("alert_id").to_numpy(zero_copy_only=False)
        self._written: dict[tuple[tuple[str, ...], int], bytes] = {}

    def messages(self, outcome: Outcome, sent: npt.NDArray[np.int64]) -> Iterator[Outgoing]:
        """Give what a filter sends for rows that passed."""
        each = outcome.filter
        headers: dict[str, str | bytes] = {
            topics.HEADER_FILTER: each.id,
            topics.HEADER_VERSION: str(each.version),
        }
        values = self._plain(outcome, sent) if outcome.plain else self._made(outcome, len(sent))
        for row, value in zip(sent.tolist(), values, strict=True):
            yield Outgoing(each.topic, value, key=str(self._ids[row]).encode(), headers=headers)

    def _plain(self, outcome: Outcome, sent: npt.NDArray[np.int64]) -> list[bytes]:
        columns = outcome.columns
        new = [row for row in sent.tolist() if (columns, row) not in self._written]
        if new:
            part = self._found.select(list(columns)).take(pa.array(new))
            for row, value in zip(new, part.to_pylist(), strict=True):
                self._written[columns, row] = to_json(value)
        return [self._written[columns, row] for row in sent.tolist()]

    def _made(self, outcome: Outcome, count: int) -> list[bytes]:
        return [to_json(value) for value in outcome.output.slice(0, count).to_pylist()]


def to_json(value: dict[str, Any]) -> bytes:
    """Return what a filter sends for one alert, as JSON; NaN and infinities, which JSON lacks, are null."""
    clean = {
        key: None if isinstance(item, float) and not np.isfinite(item) else item
        for key, item in value.items()
    }
    return json.dumps(clean, default=str, separators=(",", ":")).encode()
