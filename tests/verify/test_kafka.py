"""Kafka: who may send and read can, from TLS and a password on; nobody else can, and every broker has what it is to have."""

from __future__ import annotations

import json
import secrets
import socket
import subprocess
from collections.abc import Iterator
from typing import Any

import pytest
from kafka import KafkaConsumer, KafkaProducer
from kafka.admin import (
    ACL,
    ACLFilter,
    ACLOperation,
    ACLPermissionType,
    ACLResourcePatternType,
    KafkaAdminClient,
    ResourcePattern,
    ResourcePatternFilter,
    ResourceType,
    ScramMechanism,
    UserScramCredentialDeletion,
    UserScramCredentialUpsertion,
)
from kafka.errors import (
    GroupAuthorizationFailedError,
    KafkaError,
    TopicAuthorizationFailedError,
)
from support.inventory import Inventory
from support.ports import free_ports
from support.waiting import until

from armillary import secrets as kept
from armillary.models.cluster import Cluster
from armillary.paths import ClusterPaths

HostOf = Any
SECONDS = 60.0
TOOL = "/usr/local/lib/armillary/armillary-kafka"
CLIENTS = 9092


class Clients:
    """Makes clients of the cluster's Kafka; those of a cluster behind a bastion go by way of a broker's host."""

    def __init__(
        self, inventory: Inventory, paths: ClusterPaths, passwords: dict[str, str]
    ) -> None:
        self.brokers = inventory.of_role("kafka")
        self.ca = str(paths.pki / "ca.crt")
        self.passwords = passwords
        self.proxy: str | None = None

    def settings(self, user: str | None, **more: Any) -> dict[str, Any]:
        """Return settings of a client that logs in as a user, or not at all."""
        found: dict[str, Any] = {
            "bootstrap_servers": [f"{broker.address}:{CLIENTS}" for broker in self.brokers],
            "security_protocol": "SSL",
            "ssl_cafile": self.ca,
            "proxy_url": self.proxy,
            "bootstrap_timeout_ms": 10_000,
        }
        if user is not None:
            found |= {
                "security_protocol": "SASL_SSL",
                "sasl_mechanism": "SCRAM-SHA-512",
                "sasl_plain_username": user,
                "sasl_plain_password": self.passwords.get(user, "wrong"),
            }
        return found | more

    def send(self, topic: str, value: bytes, user: str | None, **more: Any) -> None:
        """Send a message that all replicas have.

        Raises:
            KafkaError: it could not be sent.
        """
        producer = KafkaProducer(**self.settings(user, acks="all", max_block_ms=15_000, **more))
        try:
            producer.send(topic, value).get(SECONDS)
        finally:
            producer.close(5)

    def read(self, topic: str, user: str, group: str) -> bytes:
        """Return a topic's first message.

        Raises:
            KafkaError: it could not be read.
        """
        consumer = KafkaConsumer(
            topic,
            **self.settings(user, group_id=group, auto_offset_reset="earliest"),
            consumer_timeout_ms=int(SECONDS * 1000),
        )
        try:
            found: bytes = next(consumer).value
            return found
        finally:
            consumer.close()


@pytest.fixture(scope="module")
def clients(cluster: Cluster, inventory: Inventory, paths: ClusterPaths) -> Iterator[Clients]:
    """Clients of the cluster's Kafka, if it has one."""
    if cluster.components.kafka is None:
        pytest.skip("this cluster has no Kafka")
    made = Clients(inventory, paths, dict(kept.load(paths)["kafka"]["users"]))
    first = made.brokers[0]
    try:
        socket.create_connection((first.address, CLIENTS), timeout=5).close()
        yield made
        return
    except OSError:
        pass
    (port,) = free_ports(1)
    way = ["ssh", "-F", str(paths.ssh_config), "-N", "-D", f"127.0.0.1:{port}", first.name]
    with subprocess.Popen(way) as tunnel:
        try:
            until(lambda: _listens(port), "the way by ssh is open", SECONDS)
            made.proxy = f"socks5://127.0.0.1:{port}"
            yield made
        finally:
            tunnel.terminate()


def _listens(port: int) -> bool:
    try:
        socket.create_connection(("127.0.0.1", port), timeout=1).close()
    except OSError:
        return False
    return True


@pytest.fixture(scope="module")
def admin(clients: Clients) -> Iterator[KafkaAdminClient]:
    """Kafka's administrator."""
    client = KafkaAdminClient(**clients.settings("admin"))
    yield client
    client.close()


@pytest.fixture(scope="module")
def topic(clients: Clients, admin: KafkaAdminClient) -> Iterator[str]:
    """A topic of this proof's, two users of its own, and what the two may do; taken away in the end."""
    name = f"armillary-proof-{secrets.token_hex(4)}"
    sender, reader = f"{name}-sender", f"{name}-reader"
    words = {user: secrets.token_hex(16) for user in (sender, reader)}
    clients.passwords |= words
    mechanism = ScramMechanism.SCRAM_SHA_512
    rights = [
        _allow(sender, ResourceType.TOPIC, name, ACLOperation.WRITE),
        _allow(reader, ResourceType.TOPIC, name, ACLOperation.READ),
        _allow(reader, ResourceType.GROUP, name, ACLOperation.READ),
    ]
    try:
        admin.create_topics({name: {"num_partitions": 3}}, wait_for_metadata=True)
        admin.alter_user_scram_credentials(
            [UserScramCredentialUpsertion(u, mechanism, w.encode(), 8192) for u, w in words.items()]
        )
        assert not admin.create_acls(rights)["failed"]
        yield name
    finally:
        admin.delete_topics([name])
        admin.alter_user_scram_credentials(
            [UserScramCredentialDeletion(user, mechanism) for user in words]
        )
        admin.delete_acls(
            [
                ACLFilter(
                    f"User:{user}",
                    None,
                    ACLOperation.ANY,
                    ACLPermissionType.ANY,
                    ResourcePatternFilter(ResourceType.ANY, None, ACLResourcePatternType.ANY),
                )
                for user in words
            ]
        )


def _allow(user: str, kind: ResourceType, name: str, operation: ACLOperation) -> ACL:
    pattern = ResourcePattern(kind, name, ACLResourcePatternType.PREFIXED)
    return ACL(f"User:{user}", "*", operation, ACLPermissionType.ALLOW, pattern)


@pytest.fixture(scope="module")
def sent(clients: Clients, topic: str) -> bytes:
    """A message in the topic, sent by who may."""
    value = secrets.token_hex(16).encode()

    def try_it() -> bool:
        try:
            clients.send(topic, value, f"{topic}-sender")
        except KafkaError:
            return False  # rights take a moment to reach every broker
        return True

    until(try_it, "who may send can", SECONDS)
    return value


def test_who_may_read_reads_what_who_may_send_has_sent(
    clients: Clients, topic: str, sent: bytes
) -> None:
    assert clients.read(topic, f"{topic}-reader", f"{topic}-group") == sent


def test_who_may_not_is_refused(clients: Clients, topic: str, sent: bytes) -> None:
    with pytest.raises(TopicAuthorizationFailedError):
        clients.send(topic, b"x", f"{topic}-reader")
    with pytest.raises(GroupAuthorizationFailedError):
        clients.read(topic, f"{topic}-reader", "another-group")


@pytest.mark.parametrize(
    "how",
    [
        {"user": "nobody"},
        {"user": "admin", "sasl_plain_password": "wrong"},
        {"user": None},
        {"user": None, "security_protocol": "PLAINTEXT"},
    ],
    ids=["a stranger", "a wrong password", "no login", "no TLS"],
)
def test_nobody_comes_in_otherwise(clients: Clients, topic: str, how: dict[str, Any]) -> None:
    with pytest.raises(KafkaError):
        clients.send(topic, b"x", **how)


def test_topics_and_users_of_cluster_yml_are_there(
    cluster: Cluster, clients: Clients, admin: KafkaAdminClient
) -> None:
    kafka = cluster.components.kafka
    assert kafka is not None
    there = {one["name"]: one for one in admin.describe_topics()}
    for topic in kafka.topics:
        assert len(there[topic.name]["partitions"]) >= topic.partitions
    for user in kafka.users:
        KafkaAdminClient(**clients.settings(user.name)).close()


def test_every_broker_is_well(clients: Clients, on_host: HostOf) -> None:
    for broker in clients.brokers:
        host = on_host(broker.name)
        with host.sudo():
            state = json.loads(host.check_output(f"{TOOL} state"))
        assert state["wrong"] == ""
        assert len(state["brokers"]) == len(clients.brokers)


def test_topics_are_on_a_volume(clients: Clients, on_host: HostOf) -> None:
    for broker in clients.brokers:
        assert on_host(broker.name).mount_point("/var/lib/kafka").exists
