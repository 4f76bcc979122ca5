"""Takes packets from an outside Kafka into `topics.RAW`, as they are.

The place in the outside stream is kept here, in `topics.POSITIONS`, in the same transaction as the packets: a crash neither
loses nor doubles any, although two Kafkas take part.
"""

from __future__ import annotations

import json
import time
from collections.abc import Iterable, Sequence
from typing import Any

from confluent_kafka import Consumer, KafkaException, Message, TopicPartition

from armillary_alerts import topics
from armillary_alerts.ledger import Entry
from armillary_alerts.ledger import Stage as LedgerStage
from armillary_alerts.settings import Settings, Source, read_kafka
from armillary_alerts.stages import accounts, metrics, whole
from armillary_alerts.stages.loop import (
    MAX_MESSAGE,
    Outgoing,
    Sender,
    Stage,
    ledger_message,
)


class Ingest(Stage):
    """The stage between an outside Kafka and `topics.RAW`."""

    def __init__(self, settings: Settings, source: Source) -> None:
        super().__init__(settings)
        self.name = f"ingest-{source.name}"
        self.subscribe = source.topics
        self._source = source
        self._next = 0
        self._received = 0

    def consumer(self) -> Consumer:
        """Return what reads the outside Kafka."""
        return Consumer(
            {
                "fetch.wait.max.ms": 100,
                **read_kafka(self._source.kafka),
                "group.id": self._source.group,
                "client.id": self.settings.instance,
                "enable.auto.commit": False,
                "auto.offset.reset": self._source.start,
                "isolation.level": "read_committed",
                "queued.max.messages.kbytes": self.settings.buffer_mib * 1024,
                "fetch.max.bytes": self.settings.buffer_mib * 2**19,
                "receive.message.max.bytes": self.settings.buffer_mib * 2**20 + 2**24,
                "message.max.bytes": MAX_MESSAGE,
                "allow.auto.create.topics": False,
            }
        )

    def assigned(self, consumer: Consumer, partitions: Sequence[TopicPartition]) -> None:
        """Go on where the last transaction ended, whoever's it was."""
        known = self.positions()
        for place in partitions:
            offset = known.get(self._key(place.topic, place.partition))
            if offset is not None:
                place.offset = offset
        consumer.assign(list(partitions))

    def positions(self) -> dict[str, int]:
        """Return the places in outside streams, by their key in `topics.POSITIONS`."""
        found: dict[str, int] = {}
        for message in whole.read(self.settings.kafka_settings(), topics.POSITIONS):
            value = message.value()
            if value is not None:
                found[(message.key() or b"").decode()] = int(json.loads(value)["offset"])
        return found

    def work(self, messages: Sequence[Message]) -> Iterable[Outgoing]:
        """Return the packets, spread over the partitions."""
        self._received = time.time_ns() // 1_000_000
        count = max(1, self.partitions.get(topics.RAW, 1))
        for message in messages:
            headers: dict[str, str | bytes] = {
                topics.HEADER_SOURCE: f"{self._source.name}:{message.topic()}:"
                f"{message.partition()}:{message.offset()}"
            }
            if self._source.schema_in_key and message.key():
                headers[topics.HEADER_SCHEMA] = message.key() or b""
            self._next = (self._next + 1) % count
            yield Outgoing(
                topics.RAW,
                message.value() or b"",
                headers=headers,
                partition=self._next,
                timestamp=self._received,
            )
        metrics.ALERTS.labels("ingest", "received").inc(len(messages))

    def after(self, sender: Sender) -> Iterable[Outgoing]:
        """Return what the ledger says, and the new places in the outside stream."""
        yield from received(sender, self.worker, self._received)
        for place in self._places:
            yield Outgoing(
                topics.POSITIONS,
                json.dumps({"offset": place.offset}).encode(),
                key=self._key(place.topic, place.partition).encode(),
            )

    def once(self, consumer: Consumer, sender: Sender, batch: Sequence[Message]) -> bool:
        """Do a batch; then tell the outside Kafka how far it is, for those who look at lag there."""
        self._places = super().places(batch)
        done = super().once(consumer, sender, batch)
        if done:
            try:
                consumer.commit(offsets=self._places, asynchronous=True)
            except KafkaException:
                # Nothing depends on it.
                return True
        return done

    def places(self, batch: Sequence[Message]) -> list[TopicPartition]:
        """Return nothing: the outside Kafka has no part in the transaction."""
        return []

    def _key(self, topic: str, partition: int) -> str:
        return f"{self._source.name}:{topic}:{partition}"


def received(sender: Sender, worker: str, milliseconds: int) -> Iterable[Outgoing]:
    """Return what the ledger says of packets that have arrived in `topics.RAW` in this transaction."""
    for partition, offsets in sorted(sender.arrived.items()):
        yield ledger_message(
            Entry(
                stage=LedgerStage.INGEST,
                worker=worker,
                hour=accounts.hour_of(milliseconds),
                partition=partition,
                first=min(offsets),
                last=max(offsets),
                count=len(offsets),
            )
        )


class Publisher:
    """Puts packets of any origin into `topics.RAW`, with what the ledger says of them: files, a simulation."""

    def __init__(self, settings: Settings, name: str) -> None:
        """Connect.

        Raises:
            StreamError: Kafka does not answer.
        """
        self._sender = Sender(settings, name)
        self._worker = f"{name}-{settings.instance}"
        self._count = max(1, self._sender.topics().get(topics.RAW, 1))
        self._next = 0

    def publish(self, packets: Iterable[tuple[bytes, str]], schema: bytes = b"") -> int:
        """Send packets in one transaction, and return how many.

        Args:
            packets: the bytes, and where they come from.
            schema: of all of them, where they do not say.

        Raises:
            Retry: they could not be sent, and none of them was.
        """
        now = time.time_ns() // 1_000_000
        self._sender.begin()
        try:
            self._sender.send(self._messages(packets, schema, now))
            self._sender.flush()
            count = sum(len(offsets) for offsets in self._sender.arrived.values())
            self._sender.send(list(received(self._sender, self._worker, now)))
            self._sender.flush()
            self._sender.commit(None, [])  # type: ignore[arg-type]
        except Exception:
            self._sender.abort()
            raise
        return count

    def _messages(
        self, packets: Iterable[tuple[bytes, str]], schema: bytes, now: int
    ) -> Iterable[Outgoing]:
        more: dict[str, Any] = {topics.HEADER_SCHEMA: schema} if schema else {}
        for value, source in packets:
            self._next = (self._next + 1) % self._count
            yield Outgoing(
                topics.RAW,
                value,
                headers={topics.HEADER_SOURCE: source, **more},
                partition=self._next,
                timestamp=now,
            )
