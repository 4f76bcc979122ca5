"""How far each consumer group is behind: what the operator sees, and what Kubernetes scales by."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from confluent_kafka import ConsumerGroupTopicPartitions, KafkaException, TopicPartition
from confluent_kafka.admin import AdminClient, OffsetSpec

TIMEOUT = 10.0


class KafkaAway(RuntimeError):
    """Kafka does not answer, or refuses."""


@dataclass(frozen=True)
class Lag:
    """Messages that a consumer group has yet to read."""

    group: str
    partitions: Mapping[tuple[str, int], int]
    """By topic and partition."""

    @property
    def total(self) -> int:
        """Of all partitions."""
        return sum(self.partitions.values())


def lags(admin: AdminClient, groups: Mapping[str, Sequence[str]]) -> dict[str, Lag]:
    """Return the lag of each group on its topics.

    A group that has never committed has all that is there before it. Topics that are not there count as empty.

    Args:
        admin: of a user who may describe the groups and topics.
        groups: group -> the topics that it reads.

    Raises:
        KafkaAway: Kafka does not answer, or this user may not ask.
    """
    try:
        there = admin.list_topics(timeout=TIMEOUT).topics
        partitions = {
            topic: sorted(there[topic].partitions)
            for topics in groups.values()
            for topic in topics
            if topic in there
        }
        ends = _offsets(admin, partitions, OffsetSpec.latest())
        starts = _offsets(admin, partitions, OffsetSpec.earliest())
        return {
            group: Lag(
                group,
                _behind(
                    _committed(admin, group),
                    [t for t in topics if t in there],
                    partitions,
                    starts,
                    ends,
                ),
            )
            for group, topics in groups.items()
        }
    except KafkaException as error:
        raise KafkaAway(f"Kafka does not tell its offsets: {error.args[0].str()}") from error


def _offsets(
    admin: AdminClient, partitions: Mapping[str, Sequence[int]], spec: Any
) -> dict[tuple[str, int], int]:
    asked = {
        TopicPartition(topic, number): spec
        for topic, numbers in partitions.items()
        for number in numbers
    }
    if not asked:
        return {}
    answers = admin.list_offsets(asked, request_timeout=TIMEOUT)
    return {
        (each.topic, each.partition): answer.result().offset for each, answer in answers.items()
    }


def _committed(admin: AdminClient, group: str) -> dict[tuple[str, int], int]:
    (answer,) = admin.list_consumer_group_offsets(
        [ConsumerGroupTopicPartitions(group)], request_timeout=TIMEOUT
    ).values()
    return {(each.topic, each.partition): each.offset for each in answer.result().topic_partitions}


def _behind(
    committed: Mapping[tuple[str, int], int],
    topics: Sequence[str],
    partitions: Mapping[str, Sequence[int]],
    starts: Mapping[tuple[str, int], int],
    ends: Mapping[tuple[str, int], int],
) -> dict[tuple[str, int], int]:
    found = {}
    for topic in topics:
        for number in partitions[topic]:
            place = (topic, number)
            at = max(committed.get(place, -1), starts[place])
            found[place] = max(0, ends[place] - at)
    return found
