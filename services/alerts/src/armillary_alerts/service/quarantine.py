"""What could not be read lately, and why: the newest packets in quarantine, without the packets."""

from __future__ import annotations

import threading
from collections import Counter, deque
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

from confluent_kafka import Message

from armillary_alerts import topics
from armillary_alerts.service.follow import Follower

KEPT = 200
SINCE = timedelta(days=1)


@dataclass(frozen=True)
class Packet:
    """A packet in quarantine."""

    at: datetime
    survey: str
    reason: str
    source: str
    """Where it came from outside."""
    place: str
    """Partition and offset in the quarantine topic, from which it can be read."""
    size: int
    """Bytes."""


class Quarantine:
    """The last day's quarantine."""

    def __init__(self, kafka: Mapping[str, Any]) -> None:
        since = (datetime.now(UTC) - SINCE).timestamp()
        self._follower = Follower(kafka, [topics.QUARANTINE], self._take, since=since)
        self._lock = threading.Lock()
        self._packets: deque[Packet] = deque(maxlen=KEPT)
        self._reasons: Counter[str] = Counter()

    def start(self) -> None:
        """Read what is there.

        Raises:
            KafkaAway: Kafka does not answer.
        """
        self._follower.start()

    def close(self) -> None:
        """Stop reading."""
        self._follower.close()

    def newest(self, count: int = 20) -> list[Packet]:
        """Return the newest packets, newest first."""
        with self._lock:
            return list(reversed(self._packets))[:count]

    def reasons(self, count: int = 10) -> list[tuple[str, int]]:
        """Return the most frequent reasons since the service began or for a day before, and how often each was."""
        with self._lock:
            return self._reasons.most_common(count)

    def _take(self, message: Message) -> None:
        headers = {key: _text(value) for key, value in list(message.headers() or [])}
        _, milliseconds = message.timestamp()
        packet = Packet(
            at=datetime.fromtimestamp(milliseconds / 1000, UTC),
            survey=headers.get(topics.HEADER_SURVEY, ""),
            reason=headers.get(topics.HEADER_REASON, "no reason was given"),
            source=headers.get(topics.HEADER_SOURCE, ""),
            place=f"{message.partition()}:{message.offset()}",
            size=len(message.value() or b""),
        )
        with self._lock:
            self._packets.append(packet)
            if len(self._reasons) < KEPT or packet.reason in self._reasons:
                self._reasons[packet.reason] += 1


def _text(value: bytes | str | None) -> str:
    text = value.decode(errors="replace") if isinstance(value, bytes) else value or ""
    return "".join(each if each.isprintable() else "\ufffd" for each in text[:500])
