"""What all stages share: read a batch, work on it, send what came of it and the place in the stream in one transaction.

After a crash the broker takes back what an unfinished transaction sent, and the batch is read again: whoever reads
committed messages only sees each result once (https://kafka.apache.org/documentation/#usingtransactions).
"""

from __future__ import annotations

import logging
import signal
import threading
import time
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from confluent_kafka import Consumer, KafkaError, KafkaException, Message, Producer, TopicPartition

from armillary_alerts import topics
from armillary_alerts.ledger import Entry
from armillary_alerts.settings import Settings
from armillary_alerts.stages import metrics

_LOG: Final = logging.getLogger(__name__)

#: How long Kafka may take for one step of a transaction, in seconds.
STEP: Final = 30.0
#: Largest message that is sent, in bytes: 8 MiB packets and some room for headers.
MAX_MESSAGE: Final = 9 * 2**20


class StreamError(RuntimeError):
    """The stage cannot go on, and must be started again."""


class Retry(RuntimeError):
    """The batch must be done again."""


@dataclass(frozen=True)
class Outgoing:
    """A message to be sent."""

    topic: str
    value: bytes | None
    key: bytes | None = None
    headers: Mapping[str, str | bytes] = field(default_factory=dict)
    partition: int = -1
    timestamp: int = 0


def consumer_settings(settings: Settings, stage: str) -> dict[str, Any]:
    """Return librdkafka's settings for a stage's consumer."""
    return {
        "fetch.wait.max.ms": 100,
        **settings.kafka_settings(),
        "group.id": f"{settings.group}-{stage}",
        "client.id": settings.instance,
        "enable.auto.commit": False,
        "auto.offset.reset": "earliest",
        "isolation.level": "read_committed",
        "session.timeout.ms": int(settings.session_seconds * 1000),
        "heartbeat.interval.ms": int(settings.session_seconds * 1000 / 4),
        "max.poll.interval.ms": 300_000,
        "queued.max.messages.kbytes": settings.buffer_mib * 1024,
        "fetch.max.bytes": settings.buffer_mib * 2**19,
        "message.max.bytes": MAX_MESSAGE,
        "receive.message.max.bytes": settings.buffer_mib * 2**20 + 2**24,
        "allow.auto.create.topics": False,
        "partition.assignment.strategy": "range",
    }


def producer_settings(settings: Settings, stage: str) -> dict[str, Any]:
    """Return librdkafka's settings for a stage's transactional producer."""
    return {
        "compression.type": "lz4",
        **settings.kafka_settings(),
        "client.id": settings.instance,
        "transactional.id": f"{settings.group}-{stage}-{settings.instance}",
        "transaction.timeout.ms": int(settings.transaction_seconds * 1000),
        "message.max.bytes": MAX_MESSAGE,
        "queue.buffering.max.kbytes": 256 * 1024,
        "linger.ms": 5,
    }


class Sender:
    """A transactional producer."""

    def __init__(self, settings: Settings, stage: str) -> None:
        """Connect, and end what an earlier worker of this name left undone.

        Raises:
            StreamError: Kafka does not answer.
        """
        self._producer = Producer(producer_settings(settings, stage))
        try:
            self._producer.init_transactions(STEP * 2)
        except KafkaException as error:
            raise StreamError(f"Kafka does not open transactions: {error}") from error
        self.failed: dict[str, str] = {}
        """By topic: why what was sent in this transaction did not arrive."""
        self.arrived: dict[int, list[int]] = defaultdict(list)
        """Offsets of what arrived in `topics.RAW` in this transaction, by partition."""

    def begin(self) -> None:
        """Begin a transaction."""
        self.failed.clear()
        self.arrived.clear()
        self._producer.begin_transaction()

    def send(self, messages: Iterable[Outgoing]) -> None:
        """Send within the transaction.

        Raises:
            Retry: what was sent does not arrive.
        """
        for each in messages:
            more: dict[str, Any] = {"partition": each.partition} if each.partition >= 0 else {}
            if each.timestamp:
                more["timestamp"] = each.timestamp
            while True:
                try:
                    self._producer.produce(
                        each.topic,
                        value=each.value,
                        key=each.key,
                        headers=list(each.headers.items()) or None,
                        on_delivery=self._delivered,
                        **more,
                    )
                    break
                except BufferError:
                    self._producer.poll(0.1)
                except KafkaException as error:
                    self.failed[each.topic] = str(error)
                    raise Retry(f"{each.topic}: {error}") from error
            self._producer.poll(0)

    def flush(self) -> None:
        """Wait until all has arrived.

        Raises:
            Retry: something has not.
        """
        left = self._producer.flush(STEP)
        if left or self.failed:
            raise Retry(f"not delivered: {self.failed or left}")

    def commit(self, consumer: Consumer, offsets: Sequence[TopicPartition]) -> None:
        """Commit the transaction with the place in the stream.

        Raises:
            Retry: it could not be committed, and is undone.
            StreamError: another has taken over, or Kafka is away for too long.
        """
        try:
            if offsets:
                self._again(
                    lambda: self._producer.send_offsets_to_transaction(
                        list(offsets), consumer.consumer_group_metadata(), STEP
                    )
                )
            self._again(lambda: self._producer.commit_transaction(STEP))
        except KafkaException as error:
            raise self._judge(error) from error

    def abort(self) -> None:
        """Undo the transaction.

        Raises:
            StreamError: it cannot be undone from here; the broker does when time is over.
        """
        try:
            self._producer.purge()
            self._again(lambda: self._producer.abort_transaction(STEP))
        except KafkaException as error:
            raise StreamError(f"A transaction cannot be undone: {error}") from error

    def topics(self) -> dict[str, int]:
        """Return the topics there are, with how many partitions.

        Raises:
            Retry: Kafka does not answer.
        """
        try:
            found = self._producer.list_topics(timeout=STEP).topics
        except KafkaException as error:
            raise Retry(f"Kafka does not answer: {error}") from error
        return {name: len(each.partitions) for name, each in found.items() if each.error is None}

    def _again(self, step: Callable[[], None]) -> None:
        """Do a step until it succeeds or fails for good."""
        deadline = time.monotonic() + STEP * 2
        while True:
            try:
                step()
                return
            except KafkaException as error:
                reason: KafkaError = error.args[0]
                if not reason.retriable() or time.monotonic() > deadline:
                    raise
                time.sleep(0.1)

    def _judge(self, error: KafkaException) -> Exception:
        reason: KafkaError = error.args[0]
        if reason.txn_requires_abort():
            return Retry(str(error))
        return StreamError(f"The transaction failed for good: {error}")

    def _delivered(self, error: KafkaError | None, message: Message) -> None:
        if error is not None:
            self.failed[message.topic() or ""] = str(error)
        elif message.topic() == topics.RAW:
            self.arrived[message.partition() or 0].append(message.offset() or 0)


class Stage:
    """One stage. Its subclass says what is read, and what comes of a batch."""

    name: str
    subscribe: tuple[str, ...]

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self.stopping = threading.Event()
        self.partitions: dict[str, int] = {}
        """Of each topic there is, how many."""
        self.list_topics: Callable[[], dict[str, int]] = dict
        """Asks Kafka which topics there are now, and how many partitions each has."""

    @property
    def worker(self) -> str:
        """What the ledger calls this worker."""
        return f"{self.name}-{self.settings.instance}"

    def consumer(self) -> Consumer:
        """Return what reads."""
        return Consumer(consumer_settings(self.settings, self.name))

    def places(self, batch: Sequence[Message]) -> list[TopicPartition]:
        """Return the place in the stream after a batch, which is part of its transaction."""
        ends: dict[tuple[str, int], int] = {}
        for message in batch:
            key = (message.topic() or "", message.partition() or 0)
            ends[key] = max(ends.get(key, 0), (message.offset() or 0) + 1)
        return [TopicPartition(topic, partition, end) for (topic, partition), end in ends.items()]

    def after(self, sender: Sender) -> Iterable[Outgoing]:
        """Return what is to be sent when the rest of the transaction has arrived."""
        return ()

    def batch_size(self) -> int:
        """Return how many messages are worked on at once."""
        return self.settings.batch

    def open(self) -> None:
        """Make ready what the stage needs."""

    def close(self) -> None:
        """Let go of it."""

    def work(self, messages: Sequence[Message]) -> Iterable[Outgoing]:
        """Return what is to be sent for a batch.

        Raises:
            Retry: it cannot be done now.
        """
        raise NotImplementedError

    def refused(self, failed: Mapping[str, str]) -> None:
        """Be told which topics did not take what was sent, before the batch is done again."""

    def committed(self) -> None:
        """Be told that the batch is done."""

    def idle(self, consumer: Consumer, sender: Sender) -> None:
        """Be told that there is nothing to read now."""

    def last(self, consumer: Consumer, sender: Sender) -> None:
        """Be told that no further batch comes."""

    def assigned(self, consumer: Consumer, partitions: Sequence[TopicPartition]) -> None:
        """Be told of partitions that this worker reads from now on."""

    def stop(self, *_: object) -> None:
        """End after this batch."""
        self.stopping.set()

    def run(self) -> None:
        """Work until told to stop.

        Raises:
            StreamError: it cannot go on and must be started again.
        """
        if threading.current_thread() is threading.main_thread():
            signal.signal(signal.SIGTERM, self.stop)
            signal.signal(signal.SIGINT, self.stop)
        sender = Sender(self.settings, self.name)
        self.list_topics = sender.topics
        self.partitions = sender.topics()
        self.open()
        consumer = self.consumer()
        try:
            consumer.subscribe(list(self.subscribe), on_assign=self._assign)
            waits = 0.0
            while not self.stopping.is_set():
                batch = self._read(consumer)
                if not batch:
                    self.idle(consumer, sender)
                    continue
                started = time.monotonic()
                if self.once(consumer, sender, batch):
                    metrics.BATCH.labels(self.name).observe(time.monotonic() - started)
                    self._lag(consumer)
                    waits = 0.0
                else:
                    metrics.RETRIES.labels(self.name).inc()
                    waits = min(5.0, waits * 2 + 0.1)
                    self.stopping.wait(waits)
            self.last(consumer, sender)
        finally:
            consumer.close()
            self.close()

    def _assign(self, consumer: Consumer, partitions: list[TopicPartition]) -> None:
        _LOG.info(
            "%s reads %s", self.worker, ", ".join(f"{p.topic}/{p.partition}" for p in partitions)
        )
        self.assigned(consumer, partitions)

    def _read(self, consumer: Consumer) -> list[Message]:
        try:
            found = consumer.consume(self.batch_size(), self.settings.linger)
        except KafkaException as error:
            raise StreamError(f"Reading failed: {error}") from error
        good = []
        for message in found:
            problem = message.error()
            if problem is None:
                good.append(message)
            elif problem.fatal():
                raise StreamError(f"Reading failed: {problem}")
            elif problem.code() != KafkaError._PARTITION_EOF:
                _LOG.warning("%s: %s", self.worker, problem)
        return good

    def once(self, consumer: Consumer, sender: Sender, batch: Sequence[Message]) -> bool:
        """Do a batch in one transaction; False when it must be done again."""
        sender.begin()
        try:
            sender.send(self.work(batch))
            sender.flush()
            sender.send(self.after(sender))
            sender.flush()
            sender.commit(consumer, self.places(batch))
        except Retry as error:
            _LOG.warning("%s does a batch again: %s", self.worker, error)
            sender.abort()
            self.refused(dict(sender.failed))
            self._rewind(consumer, batch)
            return False
        self.committed()
        return True

    def _rewind(self, consumer: Consumer, batch: Sequence[Message]) -> None:
        first: dict[tuple[str, int], int] = {}
        for message in batch:
            key = (message.topic() or "", message.partition() or 0)
            offset = message.offset() or 0
            first[key] = min(first.get(key, offset), offset)
        mine = {(p.topic, p.partition) for p in consumer.assignment()}
        for (topic, partition), offset in first.items():
            if (topic, partition) in mine:
                consumer.seek(TopicPartition(topic, partition, offset))

    def _lag(self, consumer: Consumer) -> None:
        for place in consumer.position(consumer.assignment()):
            try:
                _, high = consumer.get_watermark_offsets(place, cached=True)
            except KafkaException:
                continue
            if high >= 0 and place.offset >= 0:
                metrics.LAG.labels(self.name, place.topic, place.partition).set(high - place.offset)


def ledger_message(entry: Entry) -> Outgoing:
    """Return a line of the ledger as a message."""
    return Outgoing(
        topics.LEDGER, entry.model_dump_json().encode(), key=f"{entry.partition}".encode()
    )


def header(message: Message, name: str) -> bytes:
    """Return a message's header; empty where it has none of this name."""
    pairs: Any = message.headers() or ()
    for key, value in pairs:
        if key == name and value is not None:
            return value if isinstance(value, bytes) else str(value).encode()
    return b""
