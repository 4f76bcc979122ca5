"""Follows topics from their beginning: what the service knows of filters, notices and the ledger, it has read from Kafka."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from confluent_kafka import (
    OFFSET_BEGINNING,
    Consumer,
    KafkaError,
    KafkaException,
    Message,
    TopicPartition,
)

from armillary_alerts.service.lag import TIMEOUT, KafkaAway

LOG = logging.getLogger(__name__)


class Follower:
    """Reads topics in a thread of its own and hands on each message; belongs to no group and commits nothing."""

    def __init__(
        self,
        kafka: Mapping[str, Any],
        names: Iterable[str],
        handle: Callable[[Message], None],
        since: float | None = None,
    ) -> None:
        """Prepare to follow.

        Args:
            kafka: librdkafka's settings.
            names: topics, which must be there.
            handle: called for each message, in this follower's thread; what it raises is logged.
            since: seconds since the epoch; earlier messages are left out. Default: from the beginning.
        """
        self._kafka = {
            **kafka,
            # Never used: nothing is committed, and partitions are assigned by hand.
            "group.id": "alerts-service",
            "enable.auto.commit": False,
            "enable.auto.offset.store": False,
            "isolation.level": "read_committed",
            "auto.offset.reset": "earliest",
            "enable.partition.eof": True,
        }
        self._names = list(names)
        self._handle = handle
        self._since = since
        self._stop = threading.Event()
        self._caught_up = threading.Event()
        self._changed = threading.Condition()
        self._thread: threading.Thread | None = None
        self.error = ""
        """Why nothing comes at the moment; empty while all is well."""

    def start(self, timeout: float = 60.0) -> None:
        """Start, and return when what was there has been read.

        Raises:
            KafkaAway: a topic is missing, or Kafka does not answer in time.
        """
        consumer = Consumer(self._kafka)
        try:
            there = consumer.list_topics(timeout=TIMEOUT).topics
            missing = [name for name in self._names if name not in there or there[name].error]
            if missing:
                raise KafkaAway(
                    f"Kafka has no topic {', '.join(missing)}, or this user may not see it."
                )
            places = [
                TopicPartition(name, number, OFFSET_BEGINNING)
                for name in self._names
                for number in there[name].partitions
            ]
            if self._since is not None:
                at = [
                    TopicPartition(each.topic, each.partition, int(self._since * 1000))
                    for each in places
                ]
                places = consumer.offsets_for_times(at, timeout=TIMEOUT)
            consumer.assign(places)
        except KafkaException as error:
            consumer.close()
            raise KafkaAway(f"Kafka does not answer: {error.args[0].str()}") from error
        except KafkaAway:
            consumer.close()
            raise
        waiting = {(each.topic, each.partition) for each in places}
        self._thread = threading.Thread(
            target=self._run, args=(consumer, waiting), name="follower", daemon=True
        )
        self._thread.start()
        if not self._caught_up.wait(timeout):
            self.close()
            raise KafkaAway(
                f"Kafka did not hand out {', '.join(self._names)} within {timeout:.0f} s. {self.error}".rstrip()
            )

    def close(self) -> None:
        """Stop following."""
        self._stop.set()
        if self._thread:
            self._thread.join(timeout=30)

    def wait(self, seen: Callable[[], bool], timeout: float) -> bool:
        """Wait until something has come in.

        Args:
            seen: asked after each message.
            timeout: seconds.
        """
        deadline = time.monotonic() + timeout
        with self._changed:
            while not seen():
                left = deadline - time.monotonic()
                if left <= 0 or not self._changed.wait(left):
                    return seen()
        return True

    def _run(self, consumer: Consumer, waiting: set[tuple[str, int]]) -> None:
        try:
            while not self._stop.is_set():
                message = consumer.poll(0.5)
                if message is None:
                    continue
                error = message.error()
                if error is None:
                    self.error = ""
                    self._take(message)
                elif error.code() == KafkaError._PARTITION_EOF:
                    self.error = ""
                    waiting.discard((message.topic(), message.partition()))
                    if not waiting:
                        self._caught_up.set()
                else:
                    # librdkafka goes on by itself, when Kafka does.
                    self.error = error.str()
                    LOG.warning("Following %s: %s", ", ".join(self._names), error.str())
        finally:
            consumer.close()

    def _take(self, message: Message) -> None:
        try:
            self._handle(message)
        except Exception:
            LOG.exception("A message in %s at %s cannot be read", message.topic(), message.offset())
        with self._changed:
            self._changed.notify_all()
