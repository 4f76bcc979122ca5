"""A client of a scenario's brokers: `client.py SETTINGS ACTION [ARGUMENTS]`.

check                  those who may send and read can, and nobody else
load FILE STOP         send numbers with acks=all until the file STOP is there, and write to FILE those that were acknowledged
audit FILE             read all, and end with 1 when one that was acknowledged is not there
"""

from __future__ import annotations

import json
import sys
import time
import uuid
from pathlib import Path
from typing import Any

from confluent_kafka import Consumer, KafkaError, KafkaException, Producer, TopicPartition
from confluent_kafka.admin import AdminClient

SETTINGS = json.loads(Path(sys.argv[1]).read_text())
TOPIC = "alerts"
SECONDS = 60.0


def client(user: str | None, **more: Any) -> dict[str, Any]:
    """Return settings of a client: as a user, or with no login."""
    found = {
        "bootstrap.servers": SETTINGS["bootstrap"],
        "ssl.ca.location": SETTINGS["ca"],
        "log_level": 0,
    }
    login = {
        "security.protocol": "SASL_SSL",
        "sasl.mechanism": "SCRAM-SHA-512",
        "sasl.username": user,
        "sasl.password": SETTINGS["users"].get(user or "", "wrong"),
    }
    return (
        found
        | (login if user else {})
        | {name.replace("__", "."): value for name, value in more.items()}
    )


def send(settings: dict[str, Any], value: bytes) -> KafkaError | None:
    told: list[KafkaError | None] = []
    producer = Producer(settings | {"message.timeout.ms": 8000, "acks": "all"})
    producer.produce(TOPIC, value, on_delivery=lambda error, _: told.append(error))
    left = producer.flush(SECONDS)
    assert left == 0 and told
    return told[0]


def read(settings: dict[str, Any], wanted: bytes) -> KafkaError | None:
    """Read from the beginning until a message is seen; return why it cannot be."""
    group = settings.pop("group")
    consumer = Consumer(
        settings | {"group.id": f"{group}-{uuid.uuid4()}", "auto.offset.reset": "earliest"}
    )
    deadline = time.monotonic() + SECONDS
    try:
        consumer.subscribe([TOPIC])
        while time.monotonic() < deadline:
            message = consumer.poll(1)
            if message is None:
                continue
            if message.error():
                return message.error()
            if message.value() == wanted:
                return None
        raise AssertionError(f"{wanted!r} was not seen within {SECONDS} s")
    finally:
        consumer.close()


def refused(error: KafkaError | None, *codes: int) -> None:
    assert error is not None, "it was let in"
    assert not codes or error.code() in codes, error


def check() -> None:
    value = str(uuid.uuid4()).encode()
    assert send(client("observatory"), value) is None
    assert read(client("analysis", group="analysis"), value) is None
    refused(send(client("analysis"), value), KafkaError.TOPIC_AUTHORIZATION_FAILED)
    refused(
        read(client("observatory", group="analysis"), value), KafkaError.GROUP_AUTHORIZATION_FAILED
    )
    refused(read(client("analysis", group="other"), value), KafkaError.GROUP_AUTHORIZATION_FAILED)
    # A wrong password, a user who is not there, no login over TLS, and no TLS.
    for settings in (
        client("observatory", sasl__password="wrong"),
        client("nobody"),
        client(None, security__protocol="SSL"),
        client(None, security__protocol="PLAINTEXT"),
        client("observatory", ssl__ca__location="probe"),
    ):
        refused(send(settings, value))
    brokers = AdminClient(client("admin")).list_topics(timeout=SECONDS).brokers
    assert len(brokers) == SETTINGS["brokers"], brokers


def load(file: str, stop: str) -> None:
    with Path(file).open("w", buffering=1) as acknowledged:

        def told(error: KafkaError | None, message: Any) -> None:
            if error is None:
                acknowledged.write(message.value().decode() + "\n")

        producer = Producer(
            client("observatory", acks="all", enable__idempotence=True, linger__ms=5)
        )
        number = 0
        while not Path(stop).exists():
            try:
                producer.produce(
                    TOPIC, str(number).encode(), key=str(number).encode(), on_delivery=told
                )
            except BufferError:
                producer.poll(0.1)
                continue
            number += 1
            producer.poll(0.002)
        left = producer.flush(120)
    print(f"{number} sent, {left} in doubt")


def audit(file: str) -> None:
    acknowledged = set(Path(file).read_text().split())
    assert len(acknowledged) > 100, f"only {len(acknowledged)} were acknowledged"
    consumer = Consumer(client("analysis", group__id=f"analysis-{uuid.uuid4()}"))
    topic = consumer.list_topics(TOPIC, timeout=SECONDS).topics[TOPIC]
    seen: list[str] = []
    for partition in topic.partitions:
        place = TopicPartition(TOPIC, partition, 0)
        _, end = consumer.get_watermark_offsets(place, timeout=SECONDS)
        consumer.assign([place])
        while consumer.position([place])[0].offset < end:
            message = consumer.poll(SECONDS)
            if message is None or message.error():
                raise KafkaException(message and message.error())
            seen.append((message.value() or b"").decode())
            if message.offset() == end - 1:
                break
    consumer.close()
    lost = acknowledged - set(seen)
    numbers = [one for one in seen if one.isdigit()]
    print(
        f"{len(acknowledged)} acknowledged, {len(numbers)} found, {len(numbers) - len(set(numbers))} twice, {len(lost)} lost"
    )
    assert not lost, sorted(lost)[:10]


if __name__ == "__main__":
    {"check": check, "load": load, "audit": audit}[sys.argv[2]](*sys.argv[3:])
