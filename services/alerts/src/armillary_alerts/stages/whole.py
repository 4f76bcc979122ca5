"""Reads a whole topic, once."""

from __future__ import annotations

import time
import uuid
from collections.abc import Iterator, Mapping
from typing import Any

from confluent_kafka import (
    OFFSET_BEGINNING,
    Consumer,
    KafkaError,
    KafkaException,
    Message,
    TopicPartition,
)

from armillary_alerts.stages.loop import StreamError


def read(
    kafka: Mapping[str, Any], topic: str, *, since: int | None = None, limit: float = 120.0
) -> Iterator[Message]:
    """Give the committed messages that a topic holds now.

    Args:
        kafka: librdkafka's settings.
        topic: its name.
        since: milliseconds since 1970: only messages written from then on.
        limit: seconds that Kafka may be silent for.

    Raises:
        StreamError: the topic is not there, or Kafka does not answer.
    """
    consumer = Consumer(
        {
            **kafka,
            "group.id": f"whole-{uuid.uuid4().hex}",
            "enable.auto.commit": False,
            "isolation.level": "read_committed",
            "allow.auto.create.topics": False,
            # The end of a partition can be told by this alone: marks of transactions take offsets too.
            "enable.partition.eof": True,
        }
    )
    try:
        places = _places(consumer, topic, since)
        consumer.assign(places)
        left = {place.partition for place in places}
        quiet = time.monotonic()
        while left:
            found = consumer.consume(1000, 0.5)
            for message in found:
                problem = message.error()
                if problem is None:
                    yield message
                elif problem.code() == KafkaError._PARTITION_EOF:
                    left.discard(message.partition() or 0)
            if found:
                quiet = time.monotonic()
            elif time.monotonic() - quiet > limit:
                raise StreamError(f"Kafka does not hand out {topic}: silent for {limit:.0f} s.")
    except KafkaException as error:
        raise StreamError(f"{topic} cannot be read: {error}") from error
    finally:
        consumer.close()


def _places(consumer: Consumer, topic: str, since: int | None) -> list[TopicPartition]:
    found = consumer.list_topics(topic, timeout=30).topics[topic]
    if found.error is not None:
        raise KafkaException(found.error)
    if since is None:
        return [TopicPartition(topic, number, OFFSET_BEGINNING) for number in found.partitions]
    asked = [TopicPartition(topic, number, since) for number in found.partitions]
    # -1: nothing so new in this partition.
    return [p for p in consumer.offsets_for_times(asked, timeout=30) if p.offset >= 0]
