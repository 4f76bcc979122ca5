"""Filters as they stand now: follows `topics.FILTERS`."""

from __future__ import annotations

import logging
import threading
import time
import uuid
from typing import Final

from confluent_kafka import OFFSET_BEGINNING, Consumer, KafkaError, KafkaException, TopicPartition
from pydantic import ValidationError

from armillary_alerts import topics
from armillary_alerts.filters.model import Filter, Kind, State
from armillary_alerts.settings import Settings
from armillary_alerts.stages.loop import StreamError

_LOG: Final = logging.getLogger(__name__)


class Definitions:
    """Reads filters in the background; what changes is here within a second."""

    def __init__(self, settings: Settings, *, limit: float = 120.0) -> None:
        """Read all there is.

        Raises:
            StreamError: Kafka does not hand them out within `limit` seconds.
        """
        self._filters: dict[str, Filter] = {}
        self._lock = threading.Lock()
        self._stop = threading.Event()
        self._ready = threading.Event()
        self._consumer = Consumer(
            {
                "fetch.wait.max.ms": 500,
                **settings.kafka_settings(),
                # Never joined: every worker reads all.
                "group.id": f"{settings.group}-definitions-{uuid.uuid4().hex}",
                "enable.auto.commit": False,
                "isolation.level": "read_committed",
                "allow.auto.create.topics": False,
                "enable.partition.eof": True,
            }
        )
        self._thread = threading.Thread(target=self._run, args=(limit,), daemon=True)
        self._thread.start()
        if not self._ready.wait(limit):
            self.close()
            raise StreamError(
                f"The filters ({topics.FILTERS}) cannot be read within {limit:.0f} s."
            )

    def close(self) -> None:
        """Stop reading."""
        self._stop.set()
        self._thread.join(10)

    def active(self) -> list[Filter]:
        """Return the active filters in SQL, by id."""
        with self._lock:
            return [
                each
                for _, each in sorted(self._filters.items())
                if each.state is State.ACTIVE and each.kind is Kind.SQL
            ]

    def _run(self, limit: float) -> None:
        try:
            left = self._begin(limit)
        except KafkaException as error:
            _LOG.error("Filters cannot be read: %s", error)
            return
        while not self._stop.is_set():
            for message in self._consumer.consume(500, 0.5):
                problem = message.error()
                if problem is None:
                    self._take(message.key() or b"", message.value())
                elif problem.code() == KafkaError._PARTITION_EOF:
                    left.discard(message.partition() or 0)
            if not left:
                self._ready.set()
        self._consumer.close()

    def _begin(self, limit: float) -> set[int]:
        deadline = time.monotonic() + limit
        while True:
            found = self._consumer.list_topics(topics.FILTERS, timeout=10).topics[topics.FILTERS]
            if found.error is None:
                break
            if time.monotonic() > deadline or self._stop.wait(1.0):
                raise KafkaException(found.error)
        self._consumer.assign(
            [TopicPartition(topics.FILTERS, n, OFFSET_BEGINNING) for n in found.partitions]
        )
        return set(found.partitions)

    def _take(self, key: bytes, value: bytes | None) -> None:
        name = key.decode(errors="replace")
        try:
            with self._lock:
                if value is None:
                    self._filters.pop(name, None)
                else:
                    self._filters[name] = Filter.model_validate_json(value)
        except ValidationError as error:
            # Left as it was: a filter that cannot be read is no reason to stop the others.
            _LOG.error("The definition of filter %s cannot be read: %s", name, error)
