"""The operator's page: behind the hub's sign-in, and true."""

from __future__ import annotations

import re
from datetime import UTC, datetime
from typing import Any

import pytest
import requests
from armillary_alerts import topics
from armillary_alerts.ledger import Entry, Stage, Tally
from armillary_alerts.service.state import Service
from confluent_kafka import Producer
from conftest import Clients, HubAtHand
from hub_process import Browser
from support.waiting import until

PREFIX = "/services/alerts/"


@pytest.fixture
def books(kafka: Any, service: Service, client: Clients) -> None:
    """An hour that closes, one that does not, a filter that was counted, packets in quarantine."""
    client("astronomer").save("on-the-page", "mag < 15.1").activate()
    now = datetime.now(UTC).replace(minute=0, second=0, microsecond=0)
    hours = [now.replace(hour=hour) for hour in (0, 1)] if now.hour >= 3 else []
    if not hours:
        pytest.skip("the hours before now are of yesterday: two of them are not told apart yet")
    producer = Producer(kafka.client("stage"))

    def say(stage: Stage, hour: datetime, count: int, **more: Any) -> None:
        entry = Entry(
            stage=stage,
            worker="test",
            hour=hour,
            partition=0,
            first=0,
            last=count - 1,
            count=count,
            **more,
        )
        for _ in range(2):  # as after a crash: it is counted once
            producer.produce(topics.LEDGER, entry.model_dump_json())

    for number, hour in enumerate(hours):
        say(Stage.INGEST, hour, 1000 + number)
        say(Stage.ANNOTATE, hour, 1000 + number, quarantined=5)
        say(Stage.ARCHIVE, hour, 995)
        say(
            Stage.FILTER,
            hour,
            995,
            filters={"astronomer/on-the-page": Tally(passed=20, rejected=970, failed=5)},
        )
    headers: list[tuple[str, str | bytes | None]] = [
        (topics.HEADER_REASON, "<b>not Avro</b>: the packet ends after 17 bytes"),
        (topics.HEADER_SURVEY, "ztf"),
    ]
    producer.produce(topics.QUARANTINE, b"x" * 17, headers=headers)
    assert producer.flush(30) == 0
    until(
        lambda: len(service.stats.hours()) >= 2 and service.quarantine.newest(),
        "the service has read them",
        60,
    )


def browse(url: str, hub: HubAtHand, user: str) -> tuple[Browser, Browser]:
    """Sign in at the hub; return the browser at the hub and at the service."""
    at_hub = Browser(hub.url)
    assert at_hub.sign_in(user, "only-here").status_code == 302
    at_service = Browser(url.removesuffix(PREFIX))
    # One browser: on loopback cookies are shared by all ports.
    at_service.session.cookies = at_hub.session.cookies
    return at_hub, at_service


def open_page(url: str, hub: HubAtHand, user: str) -> requests.Response:
    """Go to the page as a user does, by the hub's sign-in."""
    at_hub, at_service = browse(url, hub, user)
    away = at_service.get(PREFIX)
    assert away.status_code == 302
    assert away.headers["location"].startswith("/hub/api/oauth2/authorize?")
    back = at_hub.get(away.headers["location"])
    assert back.status_code == 302, back.text[:500]
    assert back.headers["location"].startswith(f"{PREFIX}oauth_callback?")
    home = at_service.get(back.headers["location"])
    assert home.status_code == 302, home.text
    return at_service.get(home.headers["location"])


def test_an_admin_sees_the_whole(url: str, hub: HubAtHand, books: None) -> None:
    page = open_page(url, hub, "admin-ada")
    assert page.status_code == 200
    text = page.text
    assert "astronomer/<wbr>on-the-page" in text
    # One alert of the second hour is missing, and said so in the first line.
    assert re.search(r'class="verdict bad">\s*<strong>\d things? to look at', text)
    assert "1 alerts of" in text
    assert "invoke alerts audit" in text
    assert "do not close" in text
    assert "closed" in text
    # What surveys send is shown and never believed.
    assert "&lt;b&gt;not Avro&lt;/b&gt;" in text
    assert "<b>not Avro" not in text
    for told in ("annotate", "Still to be read", "Newest in quarantine"):
        assert told in text


def test_a_user_sees_their_own(url: str, hub: HubAtHand, books: None) -> None:
    text = open_page(url, hub, "observer").text
    assert "on-the-page" not in text
    assert "Newest in quarantine" not in text
    assert "Ledger" in text


def test_the_page_loads_nothing_from_elsewhere(url: str, hub: HubAtHand, books: None) -> None:
    page = open_page(url, hub, "astronomer")
    assert page.headers["content-security-policy"].startswith("default-src 'none'")
    assert "frame-ancestors 'none'" in page.headers["content-security-policy"]
    assert not re.findall(r'(?:src|href)="https?:', page.text)
    for path in re.findall(r'(?:src|href)="(/services/alerts/static/[^"]+)"', page.text):
        assert requests.get(url.removesuffix(PREFIX) + path, timeout=20).status_code == 200


def test_a_sign_in_that_was_begun_elsewhere_is_refused(url: str) -> None:
    answer = requests.get(f"{url}oauth_callback", params={"code": "x", "state": "y"}, timeout=20)
    assert answer.status_code == 400


def test_the_cookie_opens_no_api(url: str, hub: HubAtHand, books: None) -> None:
    """So no other page can make a browser change something here."""
    at_hub, at_service = browse(url, hub, "astronomer")
    back = at_hub.get(at_service.get(PREFIX).headers["location"])
    at_service.get(back.headers["location"])
    assert at_service.get(PREFIX).status_code == 200
    assert at_service.get(f"{PREFIX}api/v1/filters").status_code == 401


def test_health_is_told_to_kubernetes(url: str) -> None:
    root = url.removesuffix(PREFIX)
    assert requests.get(f"{root}/healthz", timeout=20).json()["ok"] is True
