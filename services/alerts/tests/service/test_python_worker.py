"""A filter in Python on the stream: its own account, its results, its line in the ledger, and what its owner is told."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from typing import Any

import pytest
from armillary_alerts import topics
from armillary_alerts.client import Alerts
from armillary_alerts.filters.model import Filter
from armillary_alerts.ledger import Entry, Stage
from armillary_alerts.notices import Notice, NoticeKind
from armillary_alerts.python_filter.worker import Worker
from armillary_alerts.service.accounts import MECHANISM
from armillary_alerts.service.state import Service
from confluent_kafka import OFFSET_BEGINNING, Consumer, KafkaException, Producer, TopicPartition
from conftest import Clients
from rows import alerts as rows
from rows import message
from support.waiting import until

LIMIT = 90.0
#: The service tells of the last day.
HOUR = datetime.now(UTC).replace(minute=0, second=0, microsecond=0)
#: Of rows.py's alerts this passes a fiftieth.
NARROW = "def filter(alert):\n    return {'how': 'bright'} if alert['mag'] < 15.1 else False\n"


@pytest.fixture
def alerts(client: Clients) -> Alerts:
    """The observer's client."""
    return client("observer")


#: Starts a filter's worker; what it returns ends it.
Run = Callable[[Filter], Callable[[], None]]


@pytest.fixture
def run(service: Service, kafka: Any) -> Iterator[Run]:
    """Run filters' workers, each with the account that its pod has, until the test ends."""
    ends = []

    def start(definition: Filter) -> Callable[[], None]:
        service._prepare(definition)
        account = service.accounts.account(definition.topic)
        access = {
            **kafka.client(),
            "security.protocol": "SASL_PLAINTEXT",
            "sasl.mechanism": MECHANISM,
            "sasl.username": account.username,
            "sasl.password": account.password,
        }

        def connected() -> Worker | None:
            # What Kafka's controller knows, its broker learns a moment later.
            try:
                return Worker(access, definition, "python-test")
            except KafkaException:
                return None

        worker = until(connected, "Kafka takes the filter's account", LIMIT)
        stop = threading.Event()
        thread = threading.Thread(target=worker.run, args=(stop,), daemon=True)
        thread.start()

        def end() -> None:
            stop.set()
            thread.join(60)

        ends.append(end)
        assert worker.ready.wait(LIMIT), "the worker has no part of the stream"
        return end

    yield start
    for end in ends:
        end()


def feed(kafka: Any, count: int, first: int, partition: int = 0) -> None:
    """Send annotated alerts."""
    producer = Producer(kafka.client("stage"))
    sent = rows(count, first=first, received=HOUR, partition=partition)
    producer.produce(topics.ANNOTATED, message(sent), partition=partition)
    assert producer.flush(30) == 0


def collect(kafka: Any, topic: str) -> Callable[[], list[Any]]:
    """Return what tells, each time, all committed messages of a topic so far."""
    consumer = Consumer(
        {
            **kafka.client("stage"),
            "group.id": "alerts.test",
            "isolation.level": "read_committed",
            "enable.auto.commit": False,
        }
    )
    known = consumer.list_topics(topic, timeout=30).topics[topic]
    consumer.assign(
        [TopicPartition(topic, number, OFFSET_BEGINNING) for number in known.partitions]
    )
    found: list[Any] = []

    def look() -> list[Any]:
        found.extend(each for each in consumer.consume(1000, 0.5) if not each.error())
        return found

    return look


def entries(kafka: Any, definition: Filter) -> Callable[[], list[Entry]]:
    """Return what tells the ledger's entries of a filter."""
    look = collect(kafka, topics.LEDGER)
    return lambda: [
        entry
        for each in look()
        if definition.id in (entry := Entry.model_validate_json(each.value())).filters
    ]


def test_a_filter_sends_and_accounts_for_every_alert(
    kafka: Any, service: Service, alerts: Alerts, run: Run
) -> None:
    sent = alerts.save("worker-one", NARROW).activate()
    definition = service.book.get("observer", "worker-one")
    assert definition
    run(definition)
    feed(kafka, 700, 0)
    feed(kafka, 300, 700, partition=1)
    with sent.stream(since="beginning", seconds=30) as stream:
        taken = stream.take(20, LIMIT)
    assert len(taken) == 20
    assert set(taken["filter"].map(lambda each: each["how"])) == {"bright"}
    assert set(taken["mag"] < 15.1) == {True}
    look = entries(kafka, definition)
    until(lambda: sum(each.count for each in look()) >= 1000, "the ledger has all", LIMIT)
    for entry in look():
        tally = entry.filters[definition.id]
        assert (entry.stage, entry.hour) == (Stage.FILTER, HOUR)
        assert tally.passed + tally.rejected + tally.failed == entry.count
    assert sum(each.filters[definition.id].passed for each in look()) == 20
    stats = until(lambda: (s := sent.stats()).seen >= 1000 and s, "the owner sees it", LIMIT)
    assert (stats.passed, stats.rejected, stats.failed) == (20, 980, 0)


def test_one_that_hangs_is_stopped_and_the_next_is_unmoved(
    kafka: Any, service: Service, alerts: Alerts, run: Run
) -> None:
    code = "def filter(alert):\n    while alert['kafka_offset'] >= 1000:\n        pass\n    return False\n"
    hangs = Filter(
        owner="observer",
        name="worker-hangs",
        kind="python",
        text=code,
        limits={"seconds": 0.3},
        state="active",
    )
    good = Filter(owner="observer", name="worker-good", kind="python", text=NARROW, state="active")
    service.book.put(hangs)
    service.book.put(good)
    run(good)
    run(hangs)
    feed(kafka, 50, 1000)
    look = collect(kafka, good.topic)
    until(lambda: len(look()) >= 1, "the good one sends", LIMIT)
    told = collect(kafka, topics.NOTICES)

    def stopped() -> Notice | None:
        notices = [
            Notice.model_validate_json(each.value())
            for each in told()
            if each.key() == hangs.id.encode()
        ]
        return next((each for each in notices if each.kind is NoticeKind.STOPPED), None)

    notice = until(stopped, "its owner is told", LIMIT)
    assert "took more than 0.3 s of processor time" in notice.text
    until(lambda: alerts.filter("worker-hangs").state == "failed", "the service marks it", LIMIT)
    assert alerts.filter("worker-good").state == "active"
    books = entries(kafka, hangs)
    until(lambda: books(), "its books are written", LIMIT)
    assert sum(each.filters[hangs.id].failed for each in books()) == 50


def test_what_passes_everything_is_held_at_its_limit(
    kafka: Any, service: Service, alerts: Alerts, run: Run
) -> None:
    code = "def filter(alert):\n    return True\n"
    wide = Filter(
        owner="observer",
        name="worker-wide",
        kind="python",
        text=code,
        limits={"alerts_per_hour": 100},
        state="active",
    )
    service.book.put(wide)
    run(wide)
    feed(kafka, 250, 2000)
    books = entries(kafka, wide)
    until(lambda: sum(each.count for each in books()) >= 250, "the ledger has all", LIMIT)
    (tally,) = [each.filters[wide.id] for each in books()]
    assert (tally.passed, tally.failed) == (100, 150)
    notices = until(
        lambda: alerts.filter("worker-wide").stats().notices.to_dict("records"),
        "its owner is told",
        LIMIT,
    )
    assert "150 alerts more than the 100 an hour" in notices[0]["text"]


def test_after_a_restart_nothing_is_missed_or_sent_twice(
    kafka: Any, service: Service, run: Run
) -> None:
    kept = Filter(owner="observer", name="worker-kept", kind="python", text=NARROW, state="active")
    service.book.put(kept)
    first = run(kept)
    feed(kafka, 100, 3000)
    look = collect(kafka, kept.topic)
    until(lambda: len(look()) >= 2, "the first sends", LIMIT)
    # It is gone, as a pod that is replaced; meanwhile the stream goes on.
    first()
    feed(kafka, 100, 3100)
    run(kept)
    feed(kafka, 100, 3200)
    until(lambda: len(look()) >= 6, "the second goes on", LIMIT)
    offsets = [json.loads(each.value())["kafka_offset"] for each in look()]
    assert sorted(offsets) == sorted(set(offsets)) == [3000, 3001, 3100, 3101, 3200, 3201]


def test_a_filters_account_can_do_nothing_else(kafka: Any, service: Service, run: Run) -> None:
    mine = Filter(owner="observer", name="worker-mine", kind="python", text=NARROW, state="active")
    run(mine)
    account = service.accounts.account(mine.topic)
    producer = Producer(
        {
            **kafka.client(),
            "security.protocol": "SASL_PLAINTEXT",
            "sasl.mechanism": MECHANISM,
            "sasl.username": account.username,
            "sasl.password": account.password,
            "message.timeout.ms": 10_000,
            "log_level": 0,
        }
    )
    refused: list[Any] = []
    for topic in ("filter.observer.worker-good", topics.ANNOTATED, topics.FILTERS):
        producer.produce(topic, b"x", on_delivery=lambda error, _: refused.append(error))
    producer.flush(30)
    assert len(refused) == 3
    assert all(refused)
