"""Runs one Python filter on the stream: reads annotated alerts, asks the jail, writes results, ledger and notices.

Results, what the ledger says of them and the place in the stream are one transaction of Kafka's: after a crash, whoever reads
committed messages sees each result once.
"""

from __future__ import annotations

import json
import logging
import threading
from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pyarrow as pa
from confluent_kafka import Consumer, KafkaError, KafkaException, Message, Producer, TopicPartition

from armillary_alerts import table, topics
from armillary_alerts.filters.model import Filter
from armillary_alerts.ledger import Entry, Stage, Tally
from armillary_alerts.notices import Notice, NoticeKind
from armillary_alerts.python_filter import rows
from armillary_alerts.python_filter.limits import MIB, JailLimits
from armillary_alerts.python_filter.sandbox import Outcome, Sandbox

LOG = logging.getLogger(__name__)

#: Alerts that the jail gets at once: what `limits.seconds` are for.
BATCH = 500
MESSAGES = 16
#: Failures are told their owner at most so often.
TELL_EVERY = timedelta(minutes=1)
TIMEOUT = 30.0


@dataclass(frozen=True)
class Result:
    """A message to the filter's topic."""

    key: str
    value: bytes


@dataclass
class Done:
    """What became of some messages."""

    results: list[Result] = field(default_factory=list)
    entries: list[Entry] = field(default_factory=list)
    notices: list[Notice] = field(default_factory=list)


def result(alert: dict[str, Any], annotations: dict[str, Any]) -> dict[str, Any]:
    """Return what a Python filter sends of an alert: its single values, and what the filter returned as `filter`."""
    sent = {name: rows.for_json(alert[name]) for name in table.SCALARS}
    return {**sent, "filter": annotations} if annotations else sent


class Runner:
    """One filter's evaluation, without Kafka."""

    def __init__(self, definition: Filter, worker: str, largest_memory_mib: int = 8192) -> None:
        self.definition = definition
        self._worker = worker
        memory = min(definition.limits.memory_mib, largest_memory_mib)
        self._sandbox = Sandbox(
            definition.text,
            JailLimits(memory=memory * MIB, batch_seconds=definition.limits.seconds),
        )
        self._sent: Counter[datetime] = Counter()
        self._over: Counter[datetime] = Counter()
        self._failures = 0
        self._reason = ""
        self._told: dict[NoticeKind, datetime] = {}

    @property
    def stopped(self) -> str:
        """Why the filter runs no more; empty while it does."""
        return self._sandbox.stopped

    def close(self) -> None:
        """End the filter's process."""
        self._sandbox.close()

    def run(self, batch: pa.RecordBatch) -> Done:
        """Return what becomes of the alerts of one message: all from one partition of the raw topic.

        Raises:
            JailMissing: this machine cannot shut a process in.
        """
        done = Done()
        tallies: dict[tuple[datetime, bool], list[tuple[int, str]]] = defaultdict(list)
        for start in range(0, batch.num_rows, BATCH):
            alerts = rows.alerts(batch.slice(start, BATCH))
            for alert, outcome in zip(alerts, self._sandbox.run(alerts), strict=True):
                hour = _hour(alert["received"])
                kind = self._take(done, alert, outcome, hour)
                again = alert["annotated_by"] is not None
                tallies[hour, again].append((int(alert["kafka_offset"]), kind))
        partition = batch.column("kafka_partition")[0].as_py() if batch.num_rows else 0
        done.entries = [
            self._entry(hour, partition, each, again=again)
            for (hour, again), each in sorted(tallies.items())
        ]
        done.notices = list(self._notices())
        return done

    def _take(self, done: Done, alert: dict[str, Any], outcome: Outcome, hour: datetime) -> str:
        kind: str = outcome.kind
        if kind == "passed":
            if self._sent[hour] >= self.definition.limits.alerts_per_hour:
                self._over[hour] += 1
                return "failed"
            self._sent[hour] += 1
            value = json.dumps(result(alert, outcome.annotations), allow_nan=False).encode()
            done.results.append(Result(str(alert["alert_id"]), value))
        elif kind == "failed":
            self._failures += 1
            self._reason = outcome.reason
        return kind

    def _entry(
        self, hour: datetime, partition: int, alerts: Sequence[tuple[int, str]], *, again: bool
    ) -> Entry:
        kinds = Counter(kind for _, kind in alerts)
        offsets = [offset for offset, _ in alerts]
        tally = {
            self.definition.id: Tally(
                passed=kinds["passed"], rejected=kinds["rejected"], failed=kinds["failed"]
            )
        }
        return Entry(
            stage=Stage.FILTER,
            worker=self._worker,
            hour=hour,
            partition=partition,
            first=min(offsets),
            last=max(offsets),
            count=0 if again else len(alerts),
            again=len(alerts) if again else 0,
            filters={} if again else tally,
            filters_again=tally if again else {},
        )

    def _notices(self) -> Iterator[Notice]:
        if self._sandbox.stopped:
            yield self._notice(
                NoticeKind.STOPPED,
                f"It was stopped: {self._sandbox.stopped}. Mend it and activate it again.",
                self._failures,
            )
            self._failures = 0
            return
        if self._failures and self._due(NoticeKind.FAILED_ALERTS):
            yield self._notice(
                NoticeKind.FAILED_ALERTS,
                f"It failed on {self._failures} alerts. The last: {self._reason}",
                self._failures,
            )
            self._failures = 0
        over = sum(self._over.values())
        if over and self._due(NoticeKind.OVER_LIMIT):
            most = self.definition.limits.alerts_per_hour
            yield self._notice(
                NoticeKind.OVER_LIMIT,
                f"It passed {over} alerts more than the {most} an hour that it may send; these were not sent.",
                over,
            )
            self._over.clear()

    def _due(self, kind: NoticeKind) -> bool:
        now = datetime.now(UTC)
        if now - self._told.get(kind, datetime.min.replace(tzinfo=UTC)) < TELL_EVERY:
            return False
        self._told[kind] = now
        return True

    def _notice(self, kind: NoticeKind, text: str, count: int) -> Notice:
        return Notice(
            owner=self.definition.owner,
            name=self.definition.name,
            kind=kind,
            text=text,
            count=count,
        )


def _hour(received: str | None) -> datetime:
    at = datetime.fromisoformat(received) if received else datetime.fromtimestamp(0, UTC)
    return at.astimezone(UTC).replace(minute=0, second=0, microsecond=0)


class Worker:
    """A runner in Kafka's stream."""

    def __init__(self, kafka: dict[str, Any], definition: Filter, worker: str) -> None:
        """Connect.

        Args:
            kafka: librdkafka's settings, for the filter's own account.
            definition: the filter.
            worker: what the ledger calls this worker.

        Raises:
            KafkaException: Kafka refuses, or does not answer.
        """
        self.ready = threading.Event()
        """Set when it has its part of the stream."""
        self._definition = definition
        self._runner = Runner(definition, worker)
        quiet = {"log_level": 4}
        self._consumer = Consumer(
            {
                **kafka,
                **quiet,
                "group.id": definition.topic,
                "enable.auto.commit": False,
                "auto.offset.reset": "latest",
                "isolation.level": "read_committed",
                # A filter that hangs takes its time before it is stopped.
                "max.poll.interval.ms": 900_000,
            }
        )
        self._producer = Producer(
            {**kafka, **quiet, "transactional.id": definition.topic, "compression.type": "zstd"}
        )
        self._producer.init_transactions(TIMEOUT)
        self._consumer.subscribe([topics.ANNOTATED], on_assign=self._assigned)

    def run(self, stop: threading.Event) -> None:
        """Work until told to stop. A filter that was stopped waits for it, and does nothing more.

        Raises:
            KafkaException: Kafka refuses for good.
            JailMissing: this machine cannot shut a process in.
        """
        try:
            while not stop.is_set() and not self._runner.stopped:
                messages = [
                    message for message in self._consumer.consume(MESSAGES, 1.0) if _good(message)
                ]
                if messages:
                    self._step(messages)
            if self._runner.stopped:
                LOG.warning("Filter %s is stopped: %s", self._definition.id, self._runner.stopped)
                stop.wait()
        finally:
            self._runner.close()
            self._consumer.close()

    def _step(self, messages: Sequence[Message]) -> None:
        done = [self._runner.run(batch) for message in messages for batch in _batches(message)]
        self._producer.begin_transaction()
        try:
            for each in done:
                for sent in each.results:
                    self._send(self._definition.topic, sent.key, sent.value)
                for entry in each.entries:
                    self._send(topics.LEDGER, None, entry.model_dump_json().encode())
                for notice in each.notices:
                    self._send(
                        topics.NOTICES, self._definition.id, notice.model_dump_json().encode()
                    )
            at = self._consumer.position(self._consumer.assignment())
            self._producer.send_offsets_to_transaction(
                at, self._consumer.consumer_group_metadata(), TIMEOUT
            )
            self._producer.commit_transaction(TIMEOUT)
        except KafkaException as error:
            if not error.args[0].txn_requires_abort():
                raise
            # The same messages are read again: from where the last transaction left off.
            LOG.warning(
                "A transaction of %s is undone: %s", self._definition.id, error.args[0].str()
            )
            self._producer.abort_transaction(TIMEOUT)
            for place in self._consumer.committed(self._consumer.assignment(), TIMEOUT):
                self._consumer.seek(place)

    def _send(self, topic: str, key: str | None, value: bytes) -> None:
        while True:
            try:
                self._producer.produce(topic, key=key, value=value)
                self._producer.poll(0)
                return
            except BufferError:
                self._producer.poll(0.5)

    def _assigned(self, consumer: Consumer, places: list[TopicPartition]) -> None:
        """Begin at the end where nothing was committed yet, and commit that at once: a restart then misses nothing."""
        found = consumer.committed(places, TIMEOUT)
        new = []
        for place in found:
            if place.offset < 0:
                ends = consumer.get_watermark_offsets(place, TIMEOUT)
                place.offset = ends[1] if ends else 0
                new.append(place)
        if new:
            consumer.commit(offsets=new, asynchronous=False)
        consumer.assign(found)
        self.ready.set()


def _good(message: Message) -> bool:
    error = message.error()
    if error is None:
        return True
    if error.code() == KafkaError._PARTITION_EOF:
        return False
    raise KafkaException(error)


def _batches(message: Message) -> Iterator[pa.RecordBatch]:
    with pa.ipc.open_stream(message.value() or b"") as reader:
        yield from (batch for batch in reader if batch.num_rows)


def run(folder: Path, worker: str, stop: threading.Event) -> None:
    """Run the filter whose settings are in a folder: kafka.json and filter.json.

    Raises:
        KafkaException: Kafka refuses for good.
        JailMissing: this machine cannot shut a process in.
    """
    kafka = json.loads((folder / "kafka.json").read_text())
    definition = Filter.model_validate_json((folder / "filter.json").read_text())
    Worker(kafka, definition, worker).run(stop)
