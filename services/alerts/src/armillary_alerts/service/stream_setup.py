"""The stream's topics, and the accounts of its stages: each may do in Kafka what its work is, and nothing else."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from confluent_kafka import KafkaError, KafkaException
from confluent_kafka.admin import (
    AclOperation,
    AdminClient,
    NewTopic,
    ResourcePatternType,
    ResourceType,
)

from armillary_alerts import topics
from armillary_alerts.service.accounts import Account, Accounts
from armillary_alerts.service.lag import TIMEOUT, KafkaAway

DAY: Final = 86_400_000
#: A message of annotated alerts is a batch; a packet of Rubin's has 82 KB as a rule and can have megabytes.
LARGEST_MESSAGE: Final = 8 << 20


@dataclass(frozen=True)
class Topic:
    """How a topic is made."""

    days: int
    """Messages are kept so long."""
    partitions: int = 0
    """0: as many as the operator says."""

    def config(self, name: str) -> dict[str, str]:
        """Return Kafka's settings for it."""
        common = {"max.message.bytes": str(LARGEST_MESSAGE)}
        if name in topics.COMPACTED:
            # Read from the beginning by every worker: it shall stay short.
            return {
                **common,
                "cleanup.policy": "compact",
                "segment.ms": str(3_600_000),
                "min.cleanable.dirty.ratio": "0.1",
            }
        return {**common, "retention.ms": str(self.days * DAY)}


TOPICS: Final[dict[str, Topic]] = {
    topics.RAW: Topic(days=7),
    topics.ANNOTATED: Topic(days=2),
    topics.QUARANTINE: Topic(days=30, partitions=1),
    topics.LEDGER: Topic(days=30),
    topics.FILTERS: Topic(days=0, partitions=1),
    topics.NOTICES: Topic(days=30, partitions=1),
    topics.POSITIONS: Topic(days=0, partitions=1),
}


@dataclass(frozen=True)
class Rights:
    """What a stage reads and writes; names that end with a dot are beginnings of names."""

    reads: tuple[str, ...] = ()
    writes: tuple[str, ...] = ()


STAGES: Final[dict[str, Rights]] = {
    "ingest": Rights((topics.POSITIONS,), (topics.RAW, topics.POSITIONS, topics.LEDGER)),
    "simulate": Rights((), (topics.RAW, topics.LEDGER)),
    "annotate": Rights((topics.RAW,), (topics.ANNOTATED, topics.QUARANTINE, topics.LEDGER)),
    "feedback": Rights(
        (topics.RAW, topics.ANNOTATION_PREFIX),
        (topics.ANNOTATED, topics.QUARANTINE, topics.LEDGER),
    ),
    "filter": Rights(
        (topics.ANNOTATED, topics.FILTERS), (topics.FILTER_PREFIX, topics.LEDGER, topics.NOTICES)
    ),
    "archive": Rights((topics.ANNOTATED, topics.FILTERS, topics.FILTER_PREFIX), (topics.LEDGER,)),
}


def username(stage: str) -> str:
    """Return what a stage's account is called."""
    return f"alerts-{stage}"


def make_topics(admin: AdminClient, *, partitions: int, replication: int) -> list[str]:
    """Make the stream's topics, as far as they are missing; return those that were made.

    Raises:
        KafkaAway: Kafka does not answer, or refuses.
    """
    wanted = [
        NewTopic(name, each.partitions or partitions, replication, config=each.config(name))
        for name, each in TOPICS.items()
    ]
    made = []
    try:
        for name, answer in admin.create_topics(wanted, request_timeout=TIMEOUT).items():
            try:
                answer.result()
                made.append(name)
            except KafkaException as error:
                if error.args[0].code() != KafkaError.TOPIC_ALREADY_EXISTS:
                    raise
    except KafkaException as error:
        raise KafkaAway(f"Kafka does not make the topics: {error.args[0].str()}") from error
    return made


def make_accounts(accounts: Accounts, passwords: Mapping[str, str]) -> None:
    """Make the stages' accounts.

    Args:
        accounts: makes them.
        passwords: by stage; those of `STAGES`.

    Raises:
        ValueError: there is no such stage.
        KafkaAway: Kafka does not answer, or refuses.
    """
    for stage, password in passwords.items():
        if stage not in STAGES:
            raise ValueError(f"There is no stage {stage}; there are {', '.join(STAGES)}.")
        rights = STAGES[stage]
        operations = [
            *((name, AclOperation.READ) for name in rights.reads),
            *((name, AclOperation.WRITE) for name in rights.writes),
            *((name, AclOperation.DESCRIBE) for name in {*rights.reads, *rights.writes}),
        ]
        # Of consumer groups and of transactions, as the stages make them (stages/loop.py).
        name = f"alerts-{stage}"
        accounts.make(
            Account(username(stage), password),
            [
                *(
                    (ResourceType.TOPIC, topic, _pattern(topic), operation)
                    for topic, operation in operations
                ),
                (ResourceType.GROUP, name, ResourcePatternType.PREFIXED, AclOperation.READ),
                (
                    ResourceType.TRANSACTIONAL_ID,
                    name,
                    ResourcePatternType.PREFIXED,
                    AclOperation.WRITE,
                ),
                (
                    ResourceType.TRANSACTIONAL_ID,
                    name,
                    ResourcePatternType.PREFIXED,
                    AclOperation.DESCRIBE,
                ),
            ],
        )


def _pattern(name: str) -> ResourcePatternType:
    return ResourcePatternType.PREFIXED if name.endswith(".") else ResourcePatternType.LITERAL
