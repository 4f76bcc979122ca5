"""Closes the books of an hour: received = archived + quarantined, and per filter seen = passed + rejected + failed."""

from __future__ import annotations

import itertools
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

import pyarrow.compute as pc
from confluent_kafka import Consumer, TopicPartition

from armillary_alerts import topics
from armillary_alerts.archive import Archive, ArchiveError
from armillary_alerts.ledger import Entry, Stage, Tally
from armillary_alerts.stages import whole
from armillary_alerts.stages.loop import header

#: Missing alerts that are named one by one.
NAMED = 1000


@dataclass(frozen=True)
class Missing:
    """An alert that was received, and is neither archived nor in quarantine."""

    partition: int
    offset: int
    source: str = ""
    """Where outside it came from; empty where its packet is no longer kept."""


@dataclass
class Stretch:
    """What the ledger says of one partition of `topics.RAW` in the hour."""

    partition: int
    received: int = 0
    annotated: int = 0
    quarantined: int = 0
    filtered: int = 0
    archived: int = 0

    @property
    def closes(self) -> bool:
        """All that was received is in the archive or in quarantine, and the filters saw all that could be read."""
        return (
            self.received == self.archived + self.quarantined
            and self.annotated == self.archived
            and self.annotated == self.filtered
        )


@dataclass
class FilterBook:
    """What the ledger says of one filter in the hour."""

    filter: str
    seen: int = 0
    passed: int = 0
    rejected: int = 0
    failed: int = 0
    again: int = 0
    """Alerts that came back through an annotator, and are not in the other counts."""

    @property
    def closes(self) -> bool:
        """Every alert that it saw became one of three."""
        return self.seen == self.passed + self.rejected + self.failed


@dataclass
class Audit:
    """The books of an hour."""

    hour: datetime
    partitions: list[Stretch] = field(default_factory=list)
    filters: list[FilterBook] = field(default_factory=list)
    overlaps: list[str] = field(default_factory=list)
    """Entries of one stage that account for the same alerts twice: it did them twice."""
    missing: list[Missing] = field(default_factory=list)

    def total(self, name: str) -> int:
        """Return the sum of a count over all partitions."""
        return sum(getattr(each, name) for each in self.partitions)

    @property
    def closes(self) -> bool:
        """All that was received is accounted for."""
        return (
            all(each.closes for each in self.partitions)
            and all(each.closes for each in self.filters)
            and not self.overlaps
        )

    def report(self) -> str:
        """Return it in words."""
        lines = [
            f"{self.hour:%Y-%m-%d %H}:00 UTC: "
            f"received {self.total('received')} = archived {self.total('archived')} "
            f"+ quarantined {self.total('quarantined')}"
            + (": closes." if self.closes else ": DOES NOT CLOSE.")
        ]
        lines += [
            f"  partition {each.partition}: received {each.received}, annotated {each.annotated}, "
            f"quarantined {each.quarantined}, filtered {each.filtered}, archived {each.archived}"
            for each in self.partitions
            if not each.closes
        ]
        lines += [f"  twice: {each}" for each in self.overlaps[:20]]
        lines += [
            f"  missing: partition {gone.partition}, offset {gone.offset} {gone.source}".rstrip()
            for gone in self.missing
        ]
        for book in self.filters:
            lines.append(
                f"  filter {book.filter}: seen {book.seen} = passed {book.passed} + rejected {book.rejected} "
                f"+ failed {book.failed}" + ("" if book.closes else ": DOES NOT CLOSE")
            )
        return "\n".join(lines)


def entries(kafka: Mapping[str, Any], hour: datetime) -> list[Entry]:
    """Read the ledger's entries of an hour.

    Raises:
        StreamError: Kafka does not hand them out.
    """
    since = int(hour.timestamp() * 1000)
    found = (
        Entry.model_validate_json(message.value() or b"")
        for message in whole.read(kafka, topics.LEDGER, since=since)
    )
    return [entry for entry in found if entry.hour == hour]


def close(hour: datetime, ledger: Iterable[Entry]) -> Audit:
    """Add up the entries of an hour.

    Args:
        hour: its start, UTC.
        ledger: entries; those of other hours are left out.
    """
    by_partition: dict[int, Stretch] = {}
    books: dict[str, FilterBook] = {}
    spans: dict[tuple[Stage, str, int], list[Entry]] = defaultdict(list)
    for entry in ledger:
        if entry.hour != hour:
            continue
        stretch = by_partition.setdefault(entry.partition, Stretch(entry.partition))
        if entry.stage is Stage.INGEST:
            stretch.received += entry.count
        elif entry.stage is Stage.ANNOTATE:
            stretch.annotated += entry.count - entry.quarantined
            stretch.quarantined += entry.quarantined
        elif entry.stage is Stage.ARCHIVE:
            stretch.archived += entry.count
        else:
            _add(books, entry)
            # Workers of filters in Python account for their own filter alone.
            if entry.worker.startswith("filter-"):
                stretch.filtered += entry.count
        if entry.count and (entry.stage is not Stage.FILTER or entry.worker.startswith("filter-")):
            spans[entry.stage, "", entry.partition].append(entry)
    overlaps = []
    for (stage, _, partition), group in sorted(spans.items()):
        group.sort(key=lambda each: (each.first, each.last))
        for one, two in itertools.pairwise(group):
            # Ingest's workers send at the same time into the same partitions, so theirs do interleave.
            if two.first <= one.last and stage is not Stage.INGEST:
                overlaps.append(f"{stage}, partition {partition}: {one.first}-{one.last} and {two.first}-{two.last}")  # fmt: skip
    return Audit(
        hour,
        [by_partition[key] for key in sorted(by_partition)],
        [books[key] for key in sorted(books)],
        overlaps,
    )


def _add(books: dict[str, FilterBook], entry: Entry) -> None:
    for name, tally in entry.filters.items():
        book = books.setdefault(name, FilterBook(name))
        book.seen += entry.count
        book.passed += tally.passed
        book.rejected += tally.rejected
        book.failed += tally.failed
    for name, tally in entry.filters_again.items():
        books.setdefault(name, FilterBook(name)).again += _sum(tally)


def _sum(tally: Tally) -> int:
    return tally.passed + tally.rejected + tally.failed


def audit(kafka: Mapping[str, Any], hour: datetime, archive: Archive | None = None) -> Audit:
    """Close the books of an hour, and name what is missing.

    Args:
        kafka: librdkafka's settings.
        hour: any time within it.
        archive: looked into, when the counts do not agree, for which alert it is.

    Raises:
        StreamError: Kafka does not hand out the ledger.
    """
    start = hour.astimezone(UTC).replace(minute=0, second=0, microsecond=0)
    ledger = entries(kafka, start)
    found = close(start, ledger)
    open_ = [p.partition for p in found.partitions if p.received != p.archived + p.quarantined]
    if open_ and archive is not None:
        found.missing = missing(kafka, archive, start, ledger, open_)
    return found


def missing(
    kafka: Mapping[str, Any],
    archive: Archive,
    hour: datetime,
    ledger: Sequence[Entry],
    partitions: Sequence[int],
) -> list[Missing]:
    """Return the alerts of an hour that are neither in the archive nor in quarantine.

    Args:
        kafka: librdkafka's settings.
        archive: where they should be.
        hour: its start, UTC.
        ledger: the hour's entries.
        partitions: of `topics.RAW`, that are looked at.
    """
    there = _archived(archive, hour)
    for message in whole.read(kafka, topics.QUARANTINE, since=int(hour.timestamp() * 1000)):
        number, _, place = (message.key() or b"").decode().partition(":")
        there.add((int(number), int(place)))
    gone: list[Missing] = []
    for partition in partitions:
        spans = [e for e in ledger if e.stage is Stage.INGEST and e.partition == partition]
        for first, last in sorted({(e.first, e.last) for e in spans}):
            for offset, source in _packets(kafka, partition, first, last, hour):
                if (partition, offset) not in there and len(gone) < NAMED:
                    gone.append(Missing(partition, offset, source))
    return sorted(set(gone), key=lambda each: (each.partition, each.offset))


def _archived(archive: Archive, hour: datetime) -> set[tuple[int, int]]:
    """Return the places in `topics.RAW` of the alerts of an hour that are in the archive."""
    found: set[tuple[int, int]] = set()
    begin, end = hour, hour + timedelta(hours=1)
    for night in archive.nights():
        try:
            rows = archive.scan(night).to_table(
                columns=["kafka_partition", "kafka_offset"],
                filter=(pc.field("received") >= begin) & (pc.field("received") < end),
            )
        except ArchiveError:
            continue
        found |= set(
            zip(
                rows.column("kafka_partition").to_pylist(),
                rows.column("kafka_offset").to_pylist(),
                strict=True,
            )
        )
    return found


def _packets(
    kafka: Mapping[str, Any], partition: int, first: int, last: int, hour: datetime
) -> Iterable[tuple[int, str]]:
    """Give offsets and origins of the packets of a stretch that are still kept."""
    consumer = Consumer(
        {
            **kafka,
            "group.id": "armillary-audit",
            "enable.auto.commit": False,
            "isolation.level": "read_committed",
            "enable.partition.eof": True,
            "auto.offset.reset": "earliest",
        }
    )
    begin = int(hour.timestamp() * 1000)
    try:
        consumer.assign([TopicPartition(topics.RAW, partition, first)])
        while found := consumer.consume(100, 10.0):
            for message in found:
                offset = message.offset() or 0
                if message.error() is not None or offset > last:
                    return
                if begin <= message.timestamp()[1] < begin + 3_600_000:
                    yield offset, header(message, topics.HEADER_SOURCE).decode(errors="replace")
                if offset == last:
                    return
    finally:
        consumer.close()
