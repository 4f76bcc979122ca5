"""The books: what closes, and what does not."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest
from armillary_alerts import audit
from armillary_alerts.ledger import Entry, Stage, Tally

HOUR = datetime(2025, 11, 25, 3, tzinfo=UTC)


def entry(stage: Stage, first: int, last: int, **more: Any) -> Entry:
    """Return an entry of partition 0."""
    worker = f"{stage.value}-one"
    return Entry(stage=stage, worker=worker, hour=HOUR, partition=0, first=first, last=last, **more)


def books() -> list[Entry]:
    """Return an hour that closes: 10 alerts, one of them in quarantine."""
    return [
        entry(Stage.INGEST, 0, 9, count=10),
        entry(Stage.ANNOTATE, 0, 4, count=5, quarantined=1),
        entry(Stage.ANNOTATE, 5, 9, count=5),
        entry(Stage.FILTER, 0, 9, count=9, filters={"a/b": Tally(passed=2, rejected=6, failed=1)}),
        entry(Stage.FILTER, 3, 3, count=0, again=1, filters_again={"a/b": Tally(passed=1)}),
        entry(Stage.ARCHIVE, 0, 9, count=9),
    ]


def test_an_hour_closes() -> None:
    found = audit.close(HOUR, books())
    assert found.closes
    assert found.report().startswith(
        "2025-11-25 03:00 UTC: received 10 = archived 9 + quarantined 1: closes."
    )
    (book,) = found.filters
    assert (book.seen, book.passed, book.rejected, book.failed, book.again) == (9, 2, 6, 1, 1)


@pytest.mark.parametrize("lost", [0, 1, 2, 3, 5])
def test_it_does_not_close_without_any_one_entry(lost: int) -> None:
    entries = books()
    del entries[lost]
    found = audit.close(HOUR, entries)
    assert not found.closes
    assert "DOES NOT CLOSE" in found.report()


def test_it_does_not_close_when_a_stage_did_alerts_twice() -> None:
    found = audit.close(HOUR, [*books(), entry(Stage.ARCHIVE, 4, 6, count=0)])
    assert found.closes
    found = audit.close(
        HOUR,
        [*books()[:-1], entry(Stage.ARCHIVE, 0, 5, count=5), entry(Stage.ARCHIVE, 5, 9, count=4)],
    )
    assert not found.closes
    assert "twice: archive, partition 0: 0-5 and 5-9" in found.report()


def test_it_does_not_close_when_a_filter_lost_count() -> None:
    entries = books()
    entries[3] = entry(Stage.FILTER, 0, 9, count=9, filters={"a/b": Tally(passed=2, rejected=6)})
    assert not audit.close(HOUR, entries).closes


def test_other_hours_and_workers_of_single_filters_are_left_out() -> None:
    other = Entry(
        stage=Stage.INGEST, worker="x", hour=HOUR.replace(hour=4), partition=0, first=0, last=9, count=10
    )  # fmt: skip
    python = Entry(
        stage=Stage.FILTER, worker="python-a", hour=HOUR, partition=0, first=0, last=9, count=9,
        filters={"a/py": Tally(passed=9)},
    )  # fmt: skip
    found = audit.close(HOUR, [*books(), other, python])
    assert found.closes
    assert [book.filter for book in found.filters] == ["a/b", "a/py"]
