"""The Kafka of artifacts/kafka runs: what is produced is consumed, users are told apart, and a crash loses nothing."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import pytest
from confluent_kafka import Consumer, KafkaError, KafkaException, Producer
from confluent_kafka.admin import (
    AclBinding,
    AclOperation,
    AclPermissionType,
    NewTopic,
    ResourcePatternType,
    ResourceType,
)
from support.kafka import Broker, broker
from support.waiting import until

SECONDS = 30.0
ALLOWED = (
    (ResourceType.TOPIC, AclOperation.READ),
    (ResourceType.TOPIC, AclOperation.WRITE),
    (ResourceType.GROUP, AclOperation.READ),
)


@pytest.fixture(scope="module")
def kafka(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Broker]:
    with broker(tmp_path_factory.mktemp("kafka"), users={"alice": "one", "bob": "two"}) as made:
        admin = made.admin()
        for future in admin.create_topics([NewTopic("alerts", 1)]).values():
            future.result(SECONDS)
        for future in admin.create_acls([allow(*each) for each in ALLOWED]).values():
            future.result(SECONDS)
        # The controller has them; the broker learns of it a moment later.
        until(lambda: produce(made, "alice", b"first") is None, "alice may produce", SECONDS)
        yield made


def allow(resource: ResourceType, operation: AclOperation) -> AclBinding:
    """Return what allows alice to do something with topics, or groups, that begin with `alerts`."""
    pattern, permission = ResourcePatternType.PREFIXED, AclPermissionType.ALLOW
    return AclBinding(resource, "alerts", pattern, "User:alice", "*", operation, permission)


def produce(kafka: Broker, user: str | None, value: bytes) -> KafkaError | None:
    """Return why a message could not be sent; None when it was."""
    told: list[KafkaError | None] = []
    producer = Producer(
        kafka.client(user, {"message.timeout.ms": 8000, "acks": "all", "log_level": 0})
    )
    producer.produce("alerts", value, on_delivery=lambda error, _: told.append(error))
    assert producer.flush(SECONDS) == 0
    return told[0]


def consume(kafka: Broker, user: str, count: int) -> list[bytes]:
    """Return the first messages of the topic."""
    settings = {"group.id": "alerts-test", "auto.offset.reset": "earliest", "log_level": 0}
    consumer = Consumer(kafka.client(user, settings))
    try:
        consumer.subscribe(["alerts"])
        found = consumer.consume(count, SECONDS)
        for one in found:
            if one.error():
                raise KafkaException(one.error())
        return [one.value() or b"" for one in found]
    finally:
        consumer.close()


def test_what_was_acknowledged_survives_a_crash(kafka: Broker) -> None:
    assert produce(kafka, "alice", b"before") is None
    kafka.kill()
    kafka.start()
    assert consume(kafka, "alice", 2) == [b"first", b"before"]


def test_a_user_without_rights_is_refused(kafka: Broker) -> None:
    error = produce(kafka, "bob", b"no")
    assert error is not None and error.code() == KafkaError.TOPIC_AUTHORIZATION_FAILED


@pytest.mark.parametrize("user", ["alice", None])
def test_nobody_comes_in_without_the_right_password(kafka: Broker, user: str | None) -> None:
    wrong = replace(kafka, passwords={"alice": "other"})
    assert produce(wrong, user, b"no") is not None
