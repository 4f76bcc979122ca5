"""The program by which the role `kafka` tells a broker what is to be there, against a real broker."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from confluent_kafka import Consumer, KafkaError, Producer
from confluent_kafka.admin import ConfigResource, ResourceType
from support.kafka import ADMIN, PASSWORD, Broker, broker
from support.waiting import until

from armillary.paths import ROOT

FILES = ROOT / "ansible" / "roles" / "kafka" / "files"
TOOL = FILES / "armillary-kafka"
SECONDS = 30.0
ALERTS = {
    "name": "alerts",
    "partitions": 2,
    "replicas": 1,
    "config": {"retention.ms": "3600000", "min.insync.replicas": "1", "cleanup.policy": "delete"},
}
INGEST = {"name": "ingest", "password": "one", "produce": ["alerts"]}
READER = {"name": "reader", "password": "two", "consume": ["alerts"], "groups": ["reader"]}


@pytest.fixture(scope="module")
def kafka(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Broker]:
    with broker(tmp_path_factory.mktemp("kafka"), users={}) as made:
        yield made


@pytest.fixture
def tool(kafka: Broker, tmp_path_factory: pytest.TempPathFactory) -> Tool:
    return Tool(kafka)


class Tool:
    """The program, told of a broker on this machine."""

    def __init__(self, kafka: Broker) -> None:
        self.settings = kafka.folder / "tool.json"
        # As the role brings it to hosts.
        library = str(kafka.folder / "kafka-python.zip")
        subprocess.run([sys.executable, FILES / "pack.py", library], check=True, timeout=60)
        self.settings.write_text(
            json.dumps(
                {
                    "library": library,
                    "id": 1,
                    "unit": "armillary-kafka-of-tests",
                    "directory": str(kafka.folder),
                    "is_volume": False,
                    "volume_mib": 0,
                    "least_mib": 1,
                    "due": str(kafka.folder / "due"),
                    "remembered": str(kafka.folder / "remembered.json"),
                    "brokers": kafka.internal,
                    "brokers_protocol": "PLAINTEXT",
                    "clients": kafka.bootstrap,
                    "clients_protocol": "SASL_PLAINTEXT",
                    "certificate": None,
                    "key": None,
                    "authority": None,
                }
            )
        )

    def run(self, *arguments: str, given: str = "") -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            # Of the host's own packages it sees none.
            [sys.executable, "-IS", TOOL, *arguments],
            input=given,
            capture_output=True,
            text=True,
            timeout=90,
            env={**os.environ, "ARMILLARY_KAFKA": str(self.settings)},
        )

    def apply(self, topics: list[dict[str, Any]], users: list[dict[str, Any]]) -> list[str]:
        """Make it so; return what was done."""
        wanted = {"topics": topics, "users": [{"name": ADMIN, "password": PASSWORD}, *users]}
        ended = self.run("apply", given=json.dumps(wanted))
        assert ended.returncode == 0, ended.stderr
        done: list[str] = json.loads(ended.stdout)["done"]
        return done

    def change(self, **values: object) -> None:
        self.settings.write_text(json.dumps(json.loads(self.settings.read_text()) | values))


def produce(kafka: Broker, user: str, password: str) -> KafkaError | None:
    """Return why a message could not be sent as a user; None when it was."""
    told: list[KafkaError | None] = []
    as_user = replace(kafka, passwords={user: password})
    settings = {"message.timeout.ms": 5000, "log_level": 0}
    producer = Producer(as_user.client(user, settings))
    producer.produce("alerts", b"x", on_delivery=lambda error, _: told.append(error))
    assert producer.flush(SECONDS) == 0
    return told[0]


def consumed(kafka: Broker, user: str, password: str, group: str) -> KafkaError | None:
    """Return why nothing could be read as a user and in a group; None when something was."""
    as_user = replace(kafka, passwords={user: password})
    settings = {"group.id": group, "auto.offset.reset": "earliest", "log_level": 0}
    consumer = Consumer(as_user.client(user, settings))
    try:
        consumer.subscribe(["alerts"])
        (message,) = consumer.consume(1, SECONDS)
        return message.error()
    finally:
        consumer.close()


def test_what_is_listed_is_made_once(kafka: Broker, tool: Tool) -> None:
    assert tool.apply([ALERTS], [INGEST, READER]) == [
        "topic alerts made",
        "user ingest: password set",
        "user reader: password set",
        "user ingest: rights",
        "user reader: rights",
    ]
    assert tool.apply([ALERTS], [INGEST, READER]) == []
    until(lambda: produce(kafka, "ingest", "one") is None, "ingest may send", SECONDS)
    assert consumed(kafka, "reader", "two", "reader-1") is None
    # Nobody may do what the other may, nor in another's group, nor without the password.
    error = produce(kafka, "reader", "two")
    assert error is not None and error.code() == KafkaError.TOPIC_AUTHORIZATION_FAILED
    error = consumed(kafka, "reader", "two", "other")
    assert error is not None and error.code() == KafkaError.GROUP_AUTHORIZATION_FAILED
    assert produce(kafka, "ingest", "two") is not None


def test_a_topic_grows_and_takes_new_settings_and_never_shrinks(kafka: Broker, tool: Tool) -> None:
    tool.apply([ALERTS], [])
    config = ALERTS["config"] | {"retention.ms": "7200000"}  # type: ignore[operator]
    larger = ALERTS | {"partitions": 3, "config": config}
    assert tool.apply([larger], []) == ["topic alerts: 3 partitions", "topic alerts: retention.ms"]
    assert tool.apply([larger], []) == []
    resource = ConfigResource(ResourceType.TOPIC, "alerts")
    # The futures come to nothing when the client is gone.
    client = kafka.admin()
    (found,) = client.describe_configs([resource]).values()
    assert found.result(SECONDS)["retention.ms"].value == "7200000"
    for wrong, said in ((ALERTS, "partitions: 3"), (larger | {"replicas": 2}, "replicas: 1")):
        refused = tool.run("apply", given=json.dumps({"topics": [wrong], "users": []}))
        assert refused.returncode == 1
        assert said in refused.stderr


def test_users_change_and_go(kafka: Broker, tool: Tool) -> None:
    tool.apply([], [INGEST, READER])
    assert tool.apply([], [INGEST | {"password": "three"}, READER]) == ["user ingest: password set"]
    assert tool.apply([], [INGEST | {"password": "three", "produce": ["night"]}]) == [
        "user reader taken out",
        "user ingest: rights",
        "user reader: rights",
    ]
    until(lambda: produce(kafka, "ingest", "three") is not None, "it may not any more", SECONDS)
    assert produce(kafka, "reader", "two") is not None
    # Those whom a program made are its own business.
    assert tool.apply([], []) == ["user ingest taken out", "user ingest: rights"]
    assert produce(kafka, ADMIN, PASSWORD) is None


def test_a_full_volume_is_told(kafka: Broker, tool: Tool) -> None:
    assert tool.run("room").returncode == 0
    tool.change(least_mib=1 << 40)
    full = tool.run("room")
    assert full.returncode == 1
    assert "are kept so that Kafka can stop and start in good order" in full.stderr
    # A quota that statvfs does not tell of.
    tool.change(least_mib=1, volume_mib=4096)
    assert tool.run("room").returncode == 0
    with (kafka.folder / "filler").open("wb") as filler:
        os.posix_fallocate(filler.fileno(), 0, 64 << 20)
        tool.change(least_mib=1, volume_mib=64)
        full = tool.run("room")
    assert full.returncode == 1
    assert "are kept so that Kafka" in full.stderr
    tool.change(least_mib=1, volume_mib=0, is_volume=True)
    unmounted = tool.run("room")
    assert unmounted.returncode == 1
    assert "is not mounted" in unmounted.stderr


@pytest.mark.skipif(not Path("/run/systemd/system").is_dir(), reason="systemd does not run here")
def test_a_broker_that_does_not_run_is_told(kafka: Broker, tool: Tool) -> None:
    found = json.loads(tool.run("state").stdout)
    assert found["unit"] == "inactive"
    assert found["wrong"].startswith("The broker does not run")
    late = tool.run("ready", "0")
    assert late.returncode == 1
    assert "The broker does not run" in late.stderr


@pytest.mark.parametrize("arguments", [[], ["nonsense"], ["ready"]])
def test_what_it_is_for_is_said_to_those_who_ask_wrongly(tool: Tool, arguments: list[str]) -> None:
    ended = tool.run(*arguments)
    assert ended.returncode != 0
