"""The REST API and the client: a filter is made, tested, switched on and read by its owner alone."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import duckdb
import pandas as pd
import pytest
import requests
from armillary_alerts import topics
from armillary_alerts.client import Alerts, AlertsError
from armillary_alerts.notices import Notice, NoticeKind
from armillary_alerts.service.state import Service
from confluent_kafka import Consumer, KafkaError, Producer
from confluent_kafka.admin import AdminClient
from conftest import Clients, HubAtHand
from rows import COUNT, NIGHTS
from support.waiting import until

#: Of the nights in rows.py this passes a fiftieth.
NARROW = "mag < 15.1"
#: And this half.
WIDE = "mag < 17.5"


@pytest.fixture
def alerts(client: Clients) -> Alerts:
    """The astronomer's client."""
    return client("astronomer")


@pytest.fixture
def fresh(alerts: Alerts) -> Callable[[str], str]:
    """Names that no other test has used."""
    numbers = iter(range(100))

    def name(word: str) -> str:
        return f"{word}-{len(alerts.filters())}-{next(numbers)}"

    return name


def refused(call: Callable[[], object]) -> AlertsError:
    """Return how the service refuses."""
    with pytest.raises(AlertsError) as caught:
        call()
    return caught.value


def test_nobody_comes_in_without_the_hubs_word(url: str, hub: HubAtHand) -> None:
    asked = url + "api/v1/filters"
    assert requests.get(asked, timeout=20).status_code == 401
    for token in ("", "wrong", "0" * 32):
        head = {"Authorization": f"token {token}"}
        assert requests.get(asked, headers=head, timeout=20).status_code in (401, 403)
    good = {"Authorization": f"Bearer {hub.tokens['astronomer']}"}
    assert requests.get(asked, headers=good, timeout=20).status_code == 200


def test_a_token_made_for_something_else_does_not_open_the_service(
    url: str, hub: HubAtHand
) -> None:
    head = {"Authorization": f"token {hub.others['astronomer']}"}
    answer = requests.get(url + "api/v1/me", headers=head, timeout=20)
    assert answer.status_code == 403
    assert "access:services!service=alerts" in answer.json()["detail"]


def test_it_describes_itself(url: str) -> None:
    described = requests.get(url + "api/v1/openapi.json", timeout=20).json()
    paths = {path.removeprefix("/services/alerts/api/v1") for path in described["paths"]}
    assert paths >= {
        "/validate",
        "/filters",
        *(
            f"/filters/{{owner}}/{{name}}{verb}"
            for verb in ("", "/backtest", "/activate", "/pause", "/stats")
        ),
    }


def test_columns_come_with_units(alerts: Alerts) -> None:
    columns = alerts.columns()
    assert columns.loc["ra", "unit"] == "deg"
    assert columns.loc["mag", "ucd"].startswith("phot.mag")


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("mga < 18", "There is no column 'mga'"),
        ("SELECT * FROM read_csv('/etc/passwd')", "FROM names one table, alerts"),
        ("ATTACH '/tmp/x.db'", "ATTACH"),
        ("lower(mag) < 18 AND", "Not understood"),
        ("def filter(alert) return 1", "SyntaxError"),
        (
            "def filter(alert):\n    import socket\nraise RuntimeError('no')",
            "RuntimeError: no (line 3)",
        ),
    ],
)
def test_a_wrong_filter_is_refused_and_explained(alerts: Alerts, text: str, said: str) -> None:
    for call in (lambda: alerts.validate(text), lambda: alerts.save("wrong", text)):
        error = refused(call)
        assert error.status == 422
        assert said in str(error)
    assert "wrong" not in alerts.filters().index


def test_validate_tells_what_is_sent(alerts: Alerts) -> None:
    columns = alerts.validate("SELECT alert_id, mag - 1 AS brighter FROM alerts WHERE drb > 0.9")
    assert list(columns["name"]) == ["alert_id", "brighter"]


def test_a_backtest_counts_each_alert_once_and_draws(
    alerts: Alerts, fresh: Callable[[str], str]
) -> None:
    done = alerts.save(fresh("narrow"), NARROW).backtest(NIGHTS[0])
    assert (done.seen, done.passed, done.failed, done.every) == (COUNT, COUNT // 50, 0, 1)
    assert done.share == pytest.approx(0.02)
    assert done.allowed
    assert set(done.sample["mag"] < 15.1) == {True}
    assert done.picture.startswith(b"\x89PNG")
    assert "40 of 2,000 passed (2.00%), can be activated" in repr(done)


def test_a_backtest_in_python_is_the_same(alerts: Alerts, fresh: Callable[[str], str]) -> None:
    def bright(alert: dict[str, Any]) -> Any:
        return {"brightness": -alert["mag"]} if alert["mag"] < 15.1 else False

    done = alerts.save(fresh("python"), bright).backtest(NIGHTS[0])
    assert (done.seen, done.passed, done.failed) == (COUNT, COUNT // 50, 0)
    assert done.sample["filter"][0] == {"brightness": pytest.approx(-15.0)}


def test_failures_are_counted_and_told(alerts: Alerts, fresh: Callable[[str], str]) -> None:
    code = "def filter(alert):\n    if alert['alert_id'] % 10 == 9:\n        raise ValueError('every tenth')\n    return False\n"
    done = alerts.save(fresh("tenth"), code).backtest(NIGHTS[0])
    assert (done.passed, done.failed) == (0, COUNT // 10)
    assert done.reason == "ValueError: every tenth (line 3)"


def test_a_night_that_is_not_there_is_said(alerts: Alerts, fresh: Callable[[str], str]) -> None:
    error = refused(lambda: alerts.save(fresh("narrow"), NARROW).backtest(20200101))
    assert "There is no night 20200101 to test on: archived are 20261123, 20261124" in str(error)


def test_one_that_passes_too_much_is_not_switched_on(
    alerts: Alerts, client: Clients, fresh: Callable[[str], str]
) -> None:
    wide = alerts.save(fresh("wide"), WIDE)
    error = refused(wide.activate)
    assert error.status == 409
    assert (
        "passed 50.0% of the alerts of the night 20261124 (1,000 of 2,000). More than 5.0%"
        in str(error)
    )
    assert alerts.filter(wide.id.split("/")[1]).state == "draft"
    assert refused(lambda: wide.activate(override=True)).status == 403
    # An admin's word counts, for anybody's filter.
    ada = client("admin-ada")
    ada._http.json("POST", f"filters/{wide.id}/activate", override=True)
    assert alerts.filter(wide.id.split("/")[1]).state == "active"
    wide.pause()


def test_a_filter_is_the_owners_alone(
    alerts: Alerts, client: Clients, fresh: Callable[[str], str]
) -> None:
    name = fresh("private")
    alerts.save(name, NARROW)
    observer = client("observer")
    path = f"filters/astronomer/{name}"
    for method, where in (
        ("GET", path),
        ("POST", f"{path}/activate"),
        ("DELETE", path),
        ("GET", f"{path}/stats"),
    ):
        assert (
            refused(lambda method=method, where=where: observer._http.json(method, where)).status
            == 404
        )
    assert refused(lambda: observer._http.json("PUT", path, {"text": "TRUE"})).status == 403
    assert refused(lambda: observer._http.json("GET", "filters", everybody=True)).status == 403
    assert name not in observer.filters().index


def test_limits_above_what_is_allowed_are_refused(alerts: Alerts) -> None:
    error = refused(lambda: alerts.save("greedy", NARROW, seconds=30))
    assert error.status == 403
    assert "seconds" in str(error)


def test_a_new_text_must_be_switched_on_again(alerts: Alerts, fresh: Callable[[str], str]) -> None:
    name = fresh("changed")
    assert alerts.save(name, NARROW).activate().state == "active"
    assert alerts.save(name, NARROW, description="the same").state == "active"
    changed = alerts.save(name, "mag < 15.05")
    assert changed.state == "draft"
    assert "version 2" in repr(changed)


def test_definitions_outlive_the_service(
    service: Service, alerts: Alerts, fresh: Callable[[str], str]
) -> None:
    """They are in Kafka: who starts anew reads them there."""
    from armillary_alerts.service.book import Book

    name = fresh("kept")
    alerts.save(name, NARROW)
    book = Book(service.kafka)
    book.start()
    try:
        kept = book.get("astronomer", name)
        assert kept
        assert kept.text == NARROW
    finally:
        book.close()


def test_the_owner_reads_what_is_sent_and_nobody_else_does(
    kafka: Any, alerts: Alerts, client: Clients, fresh: Callable[[str], str]
) -> None:
    sent = alerts.save(fresh("read"), NARROW).activate()
    with sent.stream(seconds=20) as stream:
        producer = Producer(kafka.client("stage"))
        for number in range(3):
            producer.produce(sent.topic, json.dumps({"alert_id": number}).encode())
        assert producer.flush(20) == 0
        taken = stream.take(3, 30)
    assert list(taken["alert_id"]) == [0, 1, 2]
    with sent.stream(since="beginning", seconds=20) as stream:
        assert next(iter(stream)) == {"alert_id": 0}
    access = client("observer")._http.json("GET", "kafka")
    consumer = Consumer(
        {
            **kafka.client(),
            "security.protocol": "SASL_PLAINTEXT",
            "sasl.mechanism": access["sasl_mechanism"],
            "sasl.username": access["username"],
            "sasl.password": access["password"],
            "group.id": access["group_prefix"] + "curious",
            "log_level": 0,
        }
    )
    try:
        consumer.subscribe([sent.topic])
        seen = until(lambda: consumer.poll(1.0), "an answer to who may not read", 60)
        assert seen.error()
        assert seen.error().code() in (
            KafkaError.TOPIC_AUTHORIZATION_FAILED,
            KafkaError.UNKNOWN_TOPIC_OR_PART,
        )
    finally:
        consumer.close()


def test_a_stream_goes_on_where_it_stopped(
    kafka: Any, alerts: Alerts, fresh: Callable[[str], str]
) -> None:
    sent = alerts.save(fresh("group"), NARROW).activate()
    producer = Producer(kafka.client("stage"))
    for number in range(4):
        producer.produce(sent.topic, json.dumps({"alert_id": number}).encode())
    producer.flush(20)
    with sent.stream(since="beginning", group="paper", seconds=20) as stream:
        assert len(stream.take(4, 60)) == 4
    producer.produce(sent.topic, json.dumps({"alert_id": 4}).encode())
    producer.flush(20)
    with sent.stream(group="paper", seconds=20) as stream:
        assert list(stream.take(1, 60)["alert_id"]) == [4]


def test_passwords_are_not_shown(service: Service, alerts: Alerts) -> None:
    account = service.accounts.account("user.astronomer")
    assert account.password not in repr(account)
    assert "token" not in repr(alerts._http)


def test_one_that_was_stopped_is_failed_and_says_why(
    kafka: Any, alerts: Alerts, fresh: Callable[[str], str]
) -> None:
    name = fresh("stopped")
    alerts.save(name, NARROW).activate()
    told = Notice(
        owner="astronomer",
        name=name,
        kind=NoticeKind.STOPPED,
        text="It was ended: over its limit of time.",
        count=7,
    )
    producer = Producer(kafka.client("stage"))
    producer.produce(topics.NOTICES, key=f"astronomer/{name}", value=told.model_dump_json())
    producer.flush(20)

    def failed() -> bool:
        return alerts.filter(name).state == "failed"

    until(failed, "the filter is failed", 60)
    stats = alerts.filter(name).stats()
    assert stats.reason == "It was ended: over its limit of time."
    assert list(stats.notices["count"]) == [7]
    # Mended and switched on again, it is forgiven.
    assert alerts.save(name, "mag < 15.09").activate().state == "active"


def test_a_deleted_filter_leaves_nothing(
    kafka: Any, service: Service, alerts: Alerts, fresh: Callable[[str], str]
) -> None:
    name = fresh("gone")
    gone = alerts.save(name, NARROW).activate()
    admin = AdminClient(service.kafka)
    assert gone.topic in admin.list_topics(timeout=20).topics
    gone.delete()
    until(lambda: gone.topic not in admin.list_topics(timeout=20).topics, "the topic is gone", 30)
    assert name not in alerts.filters().index
    assert refused(gone.stats).status == 404


def test_a_night_as_a_table(alerts: Alerts) -> None:
    assert alerts.nights() == list(NIGHTS)
    bright = alerts.archive(NIGHTS[1], f"SELECT alert_id, ra, dec, mag FROM alerts WHERE {NARROW}")
    assert isinstance(bright, pd.DataFrame)
    assert (len(bright), list(bright.columns)) == (COUNT // 50, ["alert_id", "ra", "dec", "mag"])
    with pytest.warns(UserWarning, match="These are the first 10 alerts"):
        assert len(alerts.archive(NIGHTS[1], limit=10)) == 10


def test_a_night_in_duckdb(alerts: Alerts) -> None:
    connection = alerts.duckdb(NIGHTS[0], "SELECT object_id, mag, history_flux FROM alerts")
    assert isinstance(connection, duckdb.DuckDBPyConnection)
    found = connection.sql("SELECT count(*), count(DISTINCT object_id) FROM alerts").fetchall()
    assert found == [(COUNT, 500)]


@pytest.mark.parametrize(
    "sql",
    [
        "SELECT * FROM read_parquet('/etc/passwd')",
        "COPY alerts TO '/tmp/x'",
        "TRUE; DROP TABLE alerts",
    ],
)
def test_the_archive_is_asked_in_the_dialect_of_filters(alerts: Alerts, sql: str) -> None:
    assert refused(lambda: alerts.archive(NIGHTS[0], sql)).status == 422
