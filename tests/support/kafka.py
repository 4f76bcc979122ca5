"""A real Kafka on this machine, for tests: one broker in KRaft mode, from the project's own artifact, on loopback.

    with broker(tmp_path) as kafka:
        Producer(kafka.client()).produce("topic", b"...")

    with broker(tmp_path, users={"alice": "secret"}) as kafka:      # SCRAM-SHA-512, and nothing without an ACL
        AdminClient(kafka.client(ADMIN)).create_acls([...])
        Producer(kafka.client("alice"))

It starts in some five seconds; give it to a whole session of tests, and each test a topic of its own.
"""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from confluent_kafka import KafkaException
from confluent_kafka.admin import AdminClient

from armillary.artifacts import build_artifact, load_manifest
from armillary.paths import ROOT
from armillary.tools import apt
from support.ports import free_ports
from support.waiting import until

ADMIN = "admin"
PASSWORD = "admin-secret"
JRE = "default-jre-headless"
# One broker for tests: it shall start fast and be small.
PROPERTIES = {
    "process.roles": "broker,controller",
    "node.id": "1",
    "controller.listener.names": "CONTROLLER",
    "inter.broker.listener.name": "INTERNAL",
    "num.network.threads": "2",
    "num.io.threads": "2",
    "auto.create.topics.enable": "false",
    "group.initial.rebalance.delay.ms": "0",
    "offsets.topic.num.partitions": "3",
    "offsets.topic.replication.factor": "1",
    "transaction.state.log.num.partitions": "3",
    "transaction.state.log.replication.factor": "1",
    "transaction.state.log.min.isr": "1",
    "share.coordinator.state.topic.replication.factor": "1",
    "share.coordinator.state.topic.min.isr": "1",
    # By default half of a small heap.
    "log.cleaner.dedupe.buffer.size": str(8 << 20),
    "log.cleaner.threads": "1",
}


@dataclass
class Broker:
    """A broker on loopback; `stop`, `kill` and `start` make it fail and come back, with its data, on the same port."""

    folder: Path
    bootstrap: str
    internal: str
    """Where who is on this machine may do everything, without a password."""
    passwords: dict[str, str]
    """By user; empty where nobody has to log in."""
    java: list[str]
    environment: dict[str, str]
    process: subprocess.Popen[bytes] | None = field(default=None, init=False)

    @property
    def log(self) -> str:
        """What it has logged so far."""
        return (self.folder / "kafka.log").read_text()

    def client(
        self, user: str | None = None, settings: Mapping[str, Any] | None = None
    ) -> dict[str, Any]:
        """Return settings for confluent_kafka's clients.

        Args:
            user: whom to log in; where users are, by default nobody.
            settings: further ones of librdkafka: {"group.id": "x"}.
        """
        found: dict[str, Any] = {"bootstrap.servers": self.bootstrap}
        if user is not None:
            found |= {
                "security.protocol": "SASL_PLAINTEXT",
                "sasl.mechanism": "SCRAM-SHA-512",
                "sasl.username": user,
                "sasl.password": self.passwords[user],
            }
        return found | dict(settings or {})

    def admin(self) -> AdminClient:
        """Return a client that may do everything."""
        # That a broker which is being started does not answer is no news.
        return AdminClient(self.client(ADMIN if self.passwords else None, {"log_level": 0}))

    def start(self) -> None:
        """Run it until it answers; at most a minute."""
        with (self.folder / "kafka.log").open("ab") as log:
            self.process = subprocess.Popen(
                [*self.java, "kafka.Kafka", str(self.folder / "server.properties")],
                stdout=log,
                stderr=log,
                cwd=self.folder,
                env=self.environment,
            )
        until(self._answers, "Kafka answers", 60, why=lambda: self.log[-4000:])

    def stop(self) -> None:
        """Have it end in good order."""
        self._end(signal.SIGTERM)

    def kill(self) -> None:
        """End it as a crash does."""
        self._end(signal.SIGKILL)

    def _end(self, number: int) -> None:
        if self.process is None:
            return
        self.process.send_signal(number)
        try:
            self.process.wait(30)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait(10)
        self.process = None

    def _answers(self) -> bool:
        assert self.process is not None
        assert self.process.poll() is None, self.log[-4000:]
        admin = self.admin()
        try:
            return bool(admin.list_topics(timeout=5).brokers)
        except KafkaException:
            return False


@contextmanager
def broker(
    folder: Path,
    *,
    users: Mapping[str, str] | None = None,
    heap: int = 256,
    properties: Mapping[str, str] | None = None,
) -> Iterator[Broker]:
    """Run a Kafka broker until the block ends.

    Args:
        folder: for its files and data.
        users: passwords by name. Then clients log in by SCRAM-SHA-512, `ADMIN` may do everything, and others what ACLs
            allow them. Without, everybody may do everything.
        heap: of its JVM, MiB.
        properties: of server.properties, in place of or besides those here.
    """
    folder.mkdir(parents=True, exist_ok=True)
    jars = build_artifact(load_manifest(ROOT).get("kafka")).bin_dir / "kafka"
    client, internal, controller = free_ports(3)
    secured = users is not None
    passwords = {**users, ADMIN: PASSWORD} if users is not None else {}
    settings = {
        **PROPERTIES,
        "log.dirs": str(folder / "data"),
        "listeners": f"CLIENT://127.0.0.1:{client},INTERNAL://127.0.0.1:{internal},CONTROLLER://127.0.0.1:{controller}",
        "advertised.listeners": f"CLIENT://127.0.0.1:{client},INTERNAL://127.0.0.1:{internal}",
        "listener.security.protocol.map": "INTERNAL:PLAINTEXT,CONTROLLER:PLAINTEXT,CLIENT:"
        + ("SASL_PLAINTEXT" if secured else "PLAINTEXT"),
        "controller.quorum.voters": f"1@127.0.0.1:{controller}",
    }
    if secured:
        scram = "org.apache.kafka.common.security.scram.ScramLoginModule required;"
        settings |= {
            "sasl.enabled.mechanisms": "SCRAM-SHA-512",
            "listener.name.client.scram-sha-512.sasl.jaas.config": scram,
            "authorizer.class.name": "org.apache.kafka.metadata.authorizer.StandardAuthorizer",
            # The broker itself, by the listeners that no client is told of.
            "super.users": f"User:{ADMIN};User:ANONYMOUS",
        }
    settings |= properties or {}
    (folder / "server.properties").write_text(
        "".join(f"{name}={value}\n" for name, value in settings.items())
    )
    (folder / "log4j2.yml").write_text(
        "Configuration: {status: warn, Appenders: {Console: {name: out, PatternLayout: {pattern: '%d %p %c{1}: %m%n'}}},"
        " Loggers: {Logger: {name: org.apache.kafka.common.config, level: warn}, Root: {level: info, AppenderRef: {ref: out}}}}\n"
    )
    environment = {**os.environ, "JAVA_TOOL_OPTIONS": ""}
    java = [
        _java(),
        f"-Xmx{heap}m",
        "-XX:+UseSerialGC",
        "-XX:TieredStopAtLevel=1",
        f"-Dlog4j2.configurationFile={folder / 'log4j2.yml'}",
        "-cp",
        f"{jars}/*",
    ]
    made = Broker(
        folder, f"127.0.0.1:{client}", f"127.0.0.1:{internal}", passwords, java, environment
    )
    scrams = [f"SCRAM-SHA-512=[name={user},password={word}]" for user, word in passwords.items()]
    formatted = subprocess.run(
        [
            *java,
            "kafka.tools.StorageTool",
            "format",
            "--cluster-id=dGVzdC1jbHVzdGVyLWlkLQ",
            f"--config={folder / 'server.properties'}",
            *(f"--add-scram={one}" for one in scrams),
        ],
        capture_output=True,
        text=True,
        timeout=60,
        cwd=folder,
        env=environment,
    )
    assert formatted.returncode == 0, formatted.stdout + formatted.stderr
    try:
        made.start()
        yield made
    finally:
        made.stop()


def _java() -> str:
    """Return the program, installed from Debian where it is missing and this is root."""
    if not shutil.which("java"):
        if os.geteuid() != 0:
            pytest.skip(f"Java is missing: `apt-get install {JRE}`")
        apt.update()
        apt.install([JRE])
    found = shutil.which("java")
    assert found
    return found
