"""What a filter sends, as it comes."""

from __future__ import annotations

import json
import time
import uuid
from collections.abc import Iterator
from datetime import datetime
from types import TracebackType
from typing import Any, Self

import pandas as pd
from confluent_kafka import OFFSET_END, Consumer, KafkaError, TopicPartition

from armillary_alerts.client.http import AlertsError


class Stream:
    """Alerts that a filter passed: an iterator, and a source of tables. Close it, or use it with `with`."""

    def __init__(
        self,
        access: dict[str, Any],
        topic: str,
        *,
        since: datetime | str = "now",
        group: str | None = None,
        seconds: float | None = None,
    ) -> None:
        """Connect.

        Args:
            access: what the service says of the user's account in Kafka.
            topic: the filter's.
            since: `now`, `beginning`, or a time: alerts that were sent later come.
            group: goes on where a stream with this name stopped; `since` counts the first time.
            seconds: the iteration ends when nothing has come for so long. Default: never.
        """
        self.topic = topic
        self.seconds = seconds
        settings = {
            "bootstrap.servers": access["bootstrap_servers"],
            "security.protocol": access["security_protocol"],
            "sasl.mechanism": access["sasl_mechanism"],
            "sasl.username": access["username"],
            "sasl.password": access["password"],
            "group.id": f"{access['group_prefix']}{group or uuid.uuid4().hex}",
            "enable.auto.commit": group is not None,
            "auto.offset.reset": "latest" if since == "now" else "earliest",
            "isolation.level": "read_committed",
            "allow.auto.create.topics": False,
            "log_level": 3,
        }
        if access.get("ca"):
            settings["ssl.ca.pem"] = access["ca"]
        self._consumer = Consumer(settings)
        if group:
            self._consumer.subscribe([topic])
        else:
            self._assign(since)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def close(self) -> None:
        """Disconnect."""
        self._consumer.close()

    def __iter__(self) -> Iterator[dict[str, Any]]:
        """Yield alerts as they come, until none has come for `seconds`."""
        while (alert := self.next(self.seconds)) is not None:
            yield alert

    def next(self, seconds: float | None = None) -> dict[str, Any] | None:
        """Return the next alert; None where none comes in so many seconds.

        Raises:
            AlertsError: Kafka refuses.
        """
        deadline = None if seconds is None else time.monotonic() + seconds
        while True:
            left = 1.0 if deadline is None else min(1.0, deadline - time.monotonic())
            if left <= 0:
                return None
            message = self._consumer.poll(left)
            if message is None:
                continue
            error = message.error()
            if error is None:
                return json.loads(message.value() or b"null")  # type: ignore[no-any-return]
            if error.code() != KafkaError._PARTITION_EOF:
                raise AlertsError(f"Kafka does not hand out {self.topic}: {error.str()}")

    def take(self, count: int, seconds: float = 60.0) -> pd.DataFrame:
        """Return up to `count` alerts as a table; fewer where no more come within `seconds` in all."""
        deadline = time.monotonic() + seconds
        found: list[dict[str, Any]] = []
        while (
            len(found) < count
            and (alert := self.next(max(0.0, deadline - time.monotonic()))) is not None
        ):
            found.append(alert)
        return pd.DataFrame(found)

    def _assign(self, since: datetime | str) -> None:
        known = self._consumer.list_topics(self.topic, timeout=30).topics[self.topic]
        if known.error:
            raise AlertsError(
                f"There is no topic {self.topic} yet: activate the filter first ({known.error.str()})."
            )
        places = [TopicPartition(self.topic, number) for number in known.partitions]
        if isinstance(since, datetime):
            stamp = int(since.timestamp() * 1000)
            asked = [TopicPartition(self.topic, each.partition, stamp) for each in places]
            places = self._consumer.offsets_for_times(asked, timeout=30)
        elif since == "now":
            # By number, so that what comes between this line and the first look is not missed.
            places = [
                TopicPartition(self.topic, each.partition, self._end(each)) for each in places
            ]
        elif since == "beginning":
            places = [TopicPartition(self.topic, each.partition, 0) for each in places]
        else:
            raise AlertsError(f"`since` is 'now', 'beginning' or a datetime, not {since!r}.")
        self._consumer.assign(places)

    def _end(self, place: TopicPartition) -> int:
        ends = self._consumer.get_watermark_offsets(place, timeout=30)
        return ends[1] if ends else OFFSET_END
