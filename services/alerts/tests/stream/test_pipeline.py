"""Alerts through all stages, on a real Kafka: what comes out, and that the books close."""

from __future__ import annotations

import json
import signal
from typing import Any

from armillary_alerts import topics
from armillary_alerts.annotate import feedback
from armillary_alerts.replay.simulator import Simulator
from armillary_alerts.stages.ingest import Publisher
from support.waiting import until


def test_alerts_pass_all_stages_and_the_books_close(stream: Any) -> None:
    bright = stream.define("bright", "SELECT alert_id, mag, band FROM alerts WHERE mag < 21")
    stream.define("all", "SELECT alert_id FROM alerts")
    for stage in ("annotate", "filter", "archive"):
        stream.start(stage)
    lsst, ztf = Simulator(1, "lsst"), Simulator(2, "ztf")
    publisher = Publisher(stream.settings, "test")
    publisher.publish(lsst.packets(60))
    publisher.publish(ztf.packets(40))
    publisher.publish([(b"\x00\x00\x00\xff\xff no such schema", "broken:1"), (b"", "broken:2")])

    (books,) = stream.done(102)

    assert books.closes, books.report()
    assert (books.total("received"), books.total("quarantined")) == (102, 2)
    every = {lsst.alert_id(n) for n in range(60)} | {ztf.alert_id(n) for n in range(40)}
    assert {line["alert_id"] for line in stream.values("filter.ann.all")} == every
    sent = stream.values(bright.topic)
    assert sent
    assert all(line["mag"] < 21 for line in sent)
    reasons = [
        dict(message.headers())["reason"].decode() for message in stream.read(topics.QUARANTINE)
    ]
    assert sorted(reasons) == ["empty packet", "schema number 65535 is not known"]
    archive = stream.archive()
    rows = [
        archive.read(night, ["alert_id", "survey", "history_mjd"]) for night in archive.nights()
    ]
    assert {each for part in rows for each in part.column("alert_id").to_pylist()} == every


def test_workers_that_are_killed_lose_nothing_and_send_nothing_twice(stream: Any) -> None:
    stream.define("all", "SELECT alert_id FROM alerts")
    for stage in ("annotate", "filter", "archive"):
        stream.start(stage, instance="one")
        stream.start(stage, instance="two")
    simulator = Simulator(3, "lsst")
    pool = [simulator.packet(number) for number in range(50)]
    publisher = Publisher(stream.settings, "test")
    killed = 0
    for part in range(12):
        publisher.publish(simulator.copies(pool, 100, 1000 + part * 100))
        if part in (3, 6, 9):
            until(lambda: stream.values("filter.ann.all"), "alerts pass", 60)
            stage = ("annotate", "filter", "archive")[killed]
            victim = stream.workers[killed * 2]
            victim.send_signal(signal.SIGKILL)
            victim.wait(10)
            stream.start(stage, instance="one")
            killed += 1

    books = stream.done(1200, limit=180)

    assert all(each.closes for each in books), "\n".join(each.report() for each in books)
    sent = [line["alert_id"] for line in stream.values("filter.ann.all")]
    assert sorted(sent) == [simulator.alert_id(1000 + n) for n in range(1200)]
    archive = stream.archive()
    found = [n for night in archive.nights() for n in archive.scan(night).to_table(columns=["alert_id"]).column(0).to_pylist()]  # fmt: skip
    assert sorted(found) == sorted(sent)


def test_a_broker_that_dies_in_a_burst_loses_nothing(stream: Any) -> None:
    stream.define("all", "SELECT alert_id FROM alerts")
    for stage in ("annotate", "filter", "archive"):
        stream.start(stage)
    simulator = Simulator(4, "ztf")
    pool = [simulator.packet(number) for number in range(50)]
    publisher = Publisher(stream.settings, "test")
    publisher.publish(simulator.copies(pool, 200, 1000))
    until(lambda: stream.values("filter.ann.all"), "alerts pass", 60)
    publisher.publish(simulator.copies(pool, 200, 1200))
    stream.kafka.kill()
    stream.kafka.start()
    publisher = Publisher(stream.settings, "test")
    publisher.publish(simulator.copies(pool, 200, 1400))
    # Kubernetes starts a worker again that gave up while the broker was away.
    for stage in ("annotate", "filter", "archive"):
        stream.start(stage, instance="two")

    books = stream.done(600, limit=240)

    assert all(each.closes for each in books), "\n".join(each.report() for each in books)
    sent = [line["alert_id"] for line in stream.values("filter.ann.all")]
    assert sorted(sent) == [simulator.alert_id(1000 + n) for n in range(600)]


def test_hostile_filters_harm_themselves_alone(stream: Any) -> None:
    endless = " OR ".join(
        f"list_sum(list_transform(history_flux, lambda x: exp(sin(cos(exp(sin(x + {n}))))))) < -1"
        for n in range(150)
    )
    stream.define("good", "SELECT alert_id FROM alerts WHERE mag > 0", "ann")
    stream.define("endless", endless, "eve", seconds=0.001)
    stream.define(
        "tenth", "CASE WHEN alert_id % 10 = 0 THEN CAST('x' AS INT) ELSE 1 END = 1", "bob"
    )
    stream.define("everything", "SELECT * FROM alerts", "cat", alerts_per_hour=30)
    stream.settings_change(filter_seconds=0.001)
    for stage in ("annotate", "filter", "archive"):
        stream.start(stage)
    # No topic for its results: its owner is told, and no other waits.
    lost = stream.define("lost", "SELECT alert_id FROM alerts", "dan")
    stream.drop(lost.topic)
    simulator = Simulator(6, "ztf")
    Publisher(stream.settings, "test").publish(simulator.packets(100))

    (books,) = stream.done(100)

    assert books.closes, books.report()
    tally = {book.filter: (book.passed, book.rejected, book.failed) for book in books.filters}
    assert tally["bob/tenth"] == (90, 0, 10)
    assert tally["cat/everything"][0] == 30
    assert tally["cat/everything"][2] == 70
    assert tally["dan/lost"] == (0, 0, 100)
    assert len(stream.values("filter.ann.good")) == tally["ann/good"][0] > 90
    assert len(stream.values("filter.cat.everything")) == 30
    told = {(n["owner"], n["kind"]): n["text"] for n in stream.values(topics.NOTICES)}
    assert "Could not convert string 'x'" in told["bob", "failed_alerts"]
    assert "limit is 30 alerts an hour" in told["cat", "over_limit"]
    assert "is not there" in told["dan", "failed_alerts"]


def test_an_outside_kafka_is_read_once_whatever_dies(stream: Any) -> None:
    stream.topic("ztf_20251125_programid1", 2)
    outside = stream.folder / "outside.json"
    outside.write_text(json.dumps(stream.kafka.client()))
    stream.settings_change(
        sources=[
            {"name": "ztf", "kafka": str(outside), "topics": ["^ztf_.*"], "group": "armillary-test"}
        ],
        batch=20,
    )
    simulator = Simulator(8, "ztf")
    for number in range(60):
        stream.produce("ztf_20251125_programid1", simulator.packet(number), str(number).encode())
    ingest = stream.start("ingest", "ztf")
    until(lambda: len(stream.read(topics.RAW)) >= 20, "packets come in", 60)
    ingest.send_signal(signal.SIGKILL)
    ingest.wait(10)
    for number in range(60, 100):
        stream.produce("ztf_20251125_programid1", simulator.packet(number), str(number).encode())
    stream.start("ingest", "ztf")
    for stage in ("annotate", "filter", "archive"):
        stream.start(stage)

    (books,) = stream.done(100)

    assert books.closes, books.report()
    assert books.total("received") == 100
    sources = [dict(message.headers())["source"].decode() for message in stream.read(topics.RAW)]
    assert len(set(sources)) == len(sources) == 100
    assert sources[0].startswith("ztf:ztf_20251125_programid1:")


def test_what_an_annotator_says_wakes_filters_again(stream: Any) -> None:
    stream.define(
        "bright", "SELECT alert_id, kafka_partition, kafka_offset FROM alerts WHERE mag > 0"
    )
    woken = stream.define(
        "novae",
        "SELECT alert_id, annotated_by, annotations[1].label AS label FROM alerts "
        "WHERE annotated_by = 'ann' AND annotations[1].score > 0.9",
    )
    stream.topic(feedback.topic_of("ann"))
    simulator = Simulator(9, "ztf")
    Publisher(stream.settings, "test").publish(simulator.packets(10))
    for stage in ("annotate", "filter", "archive", "feedback"):
        stream.start(stage)
    first = until(lambda: stream.values("filter.ann.bright"), "alerts pass", 90, why=stream.logs)[0]
    said = feedback.Annotation(
        kafka_partition=first["kafka_partition"], kafka_offset=first["kafka_offset"], label="nova", score=0.95
    )  # fmt: skip
    for _ in range(2):
        stream.produce(feedback.topic_of("ann"), said.model_dump_json().encode())
    stream.produce(feedback.topic_of("ann"), b"no annotation")

    found = until(lambda: stream.values(woken.topic), "the filter is woken", 90, why=stream.logs)

    assert found == [{"alert_id": first["alert_id"], "annotated_by": "ann", "label": "nova"}]
    (books,) = stream.done(10)
    assert books.closes, books.report()
    assert len(stream.values("filter.ann.bright")) == 10


def test_the_wrong_settings_are_named(stream: Any) -> None:
    worker = stream.start("ingest", "nowhere")
    assert worker.wait(60) == 1
    assert "There is no source 'nowhere'" in stream.logs()
