"""All filters there are, and what is known of each: from Kafka, and written there."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Mapping
from typing import Any

from confluent_kafka import KafkaException, Message, Producer

from armillary_alerts import topics
from armillary_alerts.filters.model import Filter, State
from armillary_alerts.notices import Notice, NoticeKind
from armillary_alerts.service.follow import Follower
from armillary_alerts.service.lag import TIMEOUT, KafkaAway

#: Notices kept for each filter's owner to see.
NOTICES = 50
#: Until what was written has come back, in seconds.
ECHO = 15.0


class Book:
    """Filters by id. Reads its own writes: what `put` was given is there when it returns."""

    def __init__(self, kafka: Mapping[str, Any]) -> None:
        self._kafka = kafka
        self._lock = threading.Lock()
        self._filters: dict[str, Filter] = {}
        self._notices: dict[str, deque[Notice]] = {}
        self._read: dict[int, int] = {}
        self._producer: Producer | None = None
        self._follower = Follower(kafka, [topics.FILTERS, topics.NOTICES], self._take)
        self.changed = threading.Event()
        """Set whenever a filter has changed."""

    def start(self) -> None:
        """Read all there is.

        Raises:
            KafkaAway: Kafka does not answer.
        """
        self._producer = Producer(
            {**self._kafka, "acks": "all", "enable.idempotence": True, "message.timeout.ms": 10_000}
        )
        self._follower.start()

    def close(self) -> None:
        """Stop reading."""
        self._follower.close()

    @property
    def error(self) -> str:
        """Why nothing comes from Kafka at the moment; empty while all is well."""
        return self._follower.error

    def all(self) -> list[Filter]:
        """Return every filter, by owner and name."""
        with self._lock:
            return [self._filters[key] for key in sorted(self._filters)]

    def get(self, owner: str, name: str) -> Filter | None:
        """Return a filter."""
        with self._lock:
            return self._filters.get(f"{owner}/{name}")

    def notices(self, definition: Filter) -> list[Notice]:
        """Return what its owner was told of a filter, newest first."""
        with self._lock:
            return list(reversed(self._notices.get(definition.id, ())))

    def put(self, definition: Filter) -> None:
        """Write a filter down.

        Raises:
            KafkaAway: Kafka does not take it.
        """
        self._write(definition.id, definition.model_dump_json().encode())

    def remove(self, definition: Filter) -> None:
        """Take a filter away.

        Raises:
            KafkaAway: Kafka does not take it.
        """
        self._write(definition.id, None)

    def _write(self, key: str, value: bytes | None) -> None:
        assert self._producer, "started first"
        at: list[tuple[int, int]] = []
        failed: list[str] = []

        def delivered(error: Any, message: Message) -> None:
            if error:
                failed.append(error.str())
            else:
                at.append((message.partition() or 0, message.offset() or 0))

        try:
            self._producer.produce(
                topics.FILTERS, key=key.encode(), value=value, on_delivery=delivered
            )
            self._producer.flush(TIMEOUT + 5)
        except (KafkaException, BufferError) as error:
            raise KafkaAway(f"Kafka does not take the filter: {error}") from error
        if failed or not at:
            raise KafkaAway(
                f"Kafka does not take the filter: {failed[0] if failed else 'no answer'}."
            )
        if not self._follower.wait(lambda: self._read.get(at[0][0], -1) >= at[0][1], ECHO):
            raise KafkaAway("Kafka has taken the filter and does not hand it out again.")

    def _take(self, message: Message) -> None:
        key = (message.key() or b"").decode()
        value = message.value()
        if message.topic() == topics.NOTICES:
            if value is not None:
                self._notice(key, Notice.model_validate_json(value))
            return
        try:
            with self._lock:
                if value is None:
                    self._filters.pop(key, None)
                    self._notices.pop(key, None)
                else:
                    self._filters[key] = Filter.model_validate_json(value)
        finally:
            self._read[message.partition() or 0] = message.offset() or 0
            self.changed.set()

    def _notice(self, key: str, notice: Notice) -> None:
        with self._lock:
            self._notices.setdefault(key, deque(maxlen=NOTICES)).append(notice)
        if notice.kind is NoticeKind.STOPPED:
            self.changed.set()

    def stopped(self) -> list[tuple[Filter, Notice]]:
        """Return active filters that have said since their last change that they were stopped, and why."""
        found = []
        with self._lock:
            for key, notices in self._notices.items():
                definition = self._filters.get(key)
                newest = notices[-1]
                if (
                    definition
                    and definition.state is State.ACTIVE
                    and newest.kind is NoticeKind.STOPPED
                    and newest.at > definition.changed
                ):
                    found.append((definition, newest))
        return found
