"""The stream on this machine: a real Kafka, workers in processes of their own, an archive in a directory."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import uuid
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest
import yaml
from confluent_kafka import Producer
from confluent_kafka.admin import NewTopic

ROOT = Path(__file__).parents[4]
# The platform's own helpers: its Kafka, waiting.
sys.path += [str(ROOT / "tests")]

from armillary_alerts import audit, topics  # noqa: E402
from armillary_alerts.archive import Archive, open_store  # noqa: E402
from armillary_alerts.filters.model import Filter, Limits, State  # noqa: E402
from armillary_alerts.settings import Settings, load  # noqa: E402
from support.waiting import until  # noqa: E402


@pytest.fixture(scope="session")
def broker(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    """A Kafka for the session."""
    from support.kafka import broker as run

    limits = {"message.max.bytes": str(10 << 20), "transaction.abort.timed.out.transaction.cleanup.interval.ms": "1000"}  # fmt: skip
    with run(tmp_path_factory.mktemp("kafka"), heap=384, properties=limits) as made:
        yield made


@dataclass
class Stream:
    """A stream of its own: topics, settings, an archive. Topics have fixed names, so they are made anew for each."""

    folder: Path
    kafka: Any
    path: Path
    settings: Settings
    workers: list[subprocess.Popen[bytes]] = field(default_factory=list)

    def start(self, *command: str, instance: str = "one") -> subprocess.Popen[bytes]:
        """Start a worker."""
        own = self.folder / f"settings-{'-'.join(command)}-{instance}.yml"
        own.write_text(
            yaml.safe_dump(yaml.safe_load(self.path.read_text()) | {"instance": instance})
        )
        log = (self.folder / f"{'-'.join(command)}-{instance}.log").open("ab")
        worker = subprocess.Popen(
            [sys.executable, "-m", "armillary_alerts.cli", "--settings", str(own), *command],
            stdout=log,
            stderr=log,
        )
        self.workers.append(worker)
        return worker

    def logs(self) -> str:
        """What the workers have logged."""
        return "\n".join(
            f"--- {p.name}\n{p.read_text()[-3000:]}" for p in self.folder.glob("*.log")
        )

    def stop(self) -> None:
        """End all workers in good order."""
        for worker in self.workers:
            if worker.poll() is None:
                worker.send_signal(signal.SIGTERM)
        for worker in self.workers:
            try:
                worker.wait(30)
            except subprocess.TimeoutExpired:
                worker.kill()
                worker.wait(10)
        self.workers.clear()

    def define(self, name: str, text: str, owner: str = "ann", **more: Any) -> Filter:
        """Activate a filter, with its topic."""
        made = Filter(owner=owner, name=name, text=text, state=State.ACTIVE, limits=Limits(**more))
        self.topic(made.topic)
        self.produce(topics.FILTERS, made.model_dump_json().encode(), made.id.encode())
        return made

    def topic(self, name: str, partitions: int = 1) -> None:
        """Make a topic."""
        admin = self.kafka.admin()
        for future in admin.create_topics([NewTopic(name, partitions, 1)]).values():
            future.result(30)

    def drop(self, name: str) -> None:
        """Take a topic away."""
        admin = self.kafka.admin()
        for future in admin.delete_topics([name]).values():
            future.result(30)
        until(lambda: name not in admin.list_topics(timeout=10).topics, "the topic is gone", 30)

    def settings_change(self, **more: Any) -> None:
        """Change the settings of workers that start from now on."""
        self.path.write_text(yaml.safe_dump(yaml.safe_load(self.path.read_text()) | more))
        self.settings = load(self.path)

    def produce(self, topic: str, value: bytes | None, key: bytes | None = None) -> None:
        """Send one message."""
        producer = Producer(self.kafka.client())
        producer.produce(topic, value, key)
        assert producer.flush(30) == 0

    def read(self, topic: str) -> list[Any]:
        """Return all committed messages that a topic holds."""
        from armillary_alerts.stages import whole

        return list(whole.read(self.kafka.client(), topic))

    def values(self, topic: str) -> list[dict[str, Any]]:
        """Return what they say, for those in JSON."""
        return [json.loads(message.value()) for message in self.read(topic)]

    def archive(self) -> Archive:
        """Return the archive."""
        return Archive(open_store(str(self.folder / "archive")))

    def hours(self) -> list[datetime]:
        """Return the hours that the ledger knows."""
        found = {line["hour"] for line in self.values(topics.LEDGER)}
        return sorted(datetime.fromisoformat(each) for each in found)

    def audits(self) -> list[audit.Audit]:
        """Close the books of all hours."""
        return [audit.audit(self.kafka.client(), hour, self.archive()) for hour in self.hours()]

    def done(self, count: int, *, limit: float = 120, filtered: bool = True) -> list[audit.Audit]:
        """Wait until so many packets are accounted for, and return the books."""

        def look() -> list[audit.Audit] | None:
            found = self.audits()
            got = sum(a.total("archived") + a.total("quarantined") for a in found)
            seen = sum(a.total("filtered") + a.total("quarantined") for a in found)
            return found if got >= count and (not filtered or seen >= count) else None

        def why() -> str:
            return "\n".join(a.report() for a in self.audits()) + "\n" + self.logs()

        return until(look, f"{count} packets are accounted for", limit, pause=1.0, why=why)


@pytest.fixture
def stream(broker: Any, tmp_path: Path) -> Iterator[Stream]:
    """A stream with empty topics and no workers."""
    admin = broker.admin()
    old = [name for name in admin.list_topics(timeout=10).topics if not name.startswith("__")]
    if old:
        for future in admin.delete_topics(old).values():
            future.result(30)
        until(
            lambda: not set(old) & set(admin.list_topics(timeout=10).topics), "topics are gone", 30
        )
    new = [
        NewTopic(
            name,
            3 if name in (topics.RAW, topics.ANNOTATED) else 1,
            1,
            config={"cleanup.policy": "compact"} if name in topics.COMPACTED else {"max.message.bytes": str(10 << 20)},
        )
        for name in topics.DECLARED
    ]  # fmt: skip
    for future in admin.create_topics(new).values():
        future.result(30)
    (tmp_path / "kafka.json").write_text(json.dumps(broker.client()))
    path = tmp_path / "settings.yml"
    path.write_text(
        yaml.safe_dump(
            {
                "kafka": str(tmp_path / "kafka.json"),
                "group": f"test-{uuid.uuid4().hex[:8]}",
                "session_seconds": 6,
                "metrics_port": None,
                "archive": {"store": {"url": str(tmp_path / "archive")}, "seconds": 1.0},
            }
        )
    )
    made = Stream(tmp_path, broker, path, load(path))
    yield made
    made.stop()
