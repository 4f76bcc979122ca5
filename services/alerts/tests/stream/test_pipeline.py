"""Alerts through all stages, on a real Kafka: what comes out, and that the books close."""

from __future__ import annotations

import signal
from typing import Any

from armillary_alerts import topics
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
            until(lambda: len(stream.values("filter.ann.all")) > part * 10, "alerts pass", 60)
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
