"""Reads packets, makes rows of them, adds what is known; what cannot be read goes into quarantine."""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator, Sequence

import numpy as np
import pyarrow as pa
from confluent_kafka import Message

from armillary_alerts import table, topics
from armillary_alerts.annotate.catalog import Matcher
from armillary_alerts.filters.worker import to_ipc
from armillary_alerts.ledger import Entry
from armillary_alerts.ledger import Stage as LedgerStage
from armillary_alerts.packets import rows
from armillary_alerts.packets.decode import Decoder, Raw, Refused
from armillary_alerts.packets.schemas import SchemaStore, SchemasUnreachable
from armillary_alerts.settings import Settings
from armillary_alerts.stages import accounts, metrics
from armillary_alerts.stages.loop import Outgoing, Retry, Stage, header, ledger_message

#: Rows in one message are split until it is smaller than that: brokers take 1 MiB by default.
MAX_BATCH_BYTES = 900_000


class Annotator:
    """Makes rows of packets. It has no part of Kafka in it."""

    def __init__(self, settings: Settings) -> None:
        """Open the schemas and catalogues.

        Raises:
            OSError: a catalogue or a file is not there.
            ValueError: a catalogue lacks a column.
        """
        where = settings.schemas
        credentials = where.registry_user.read_text().strip() if where.registry_user else None
        self._decoder = Decoder(SchemaStore(where.directory, where.registry, credentials, where.ca))
        self._matcher = None
        if settings.catalogs and settings.catalogs_store:
            self._matcher = Matcher(
                settings.catalogs_store.open(), settings.catalogs, settings.catalogs_memory_mib
            )

    def rows(self, raws: Sequence[Raw]) -> tuple[pa.RecordBatch, list[Refused]]:
        """Return the rows of packets, and those that cannot be read.

        Raises:
            SchemasUnreachable: the schema registry does not answer.
        """
        decoded, refused = self._decoder.decode(raws)
        if not decoded:
            return table.empty(), refused
        _, found, more = rows.build(decoded)
        if self._matcher:
            found = self._matcher.match(found)
        return found, refused + more


def raw_of(message: Message) -> Raw:
    """Return a message of `topics.RAW` as a packet."""
    _, received = message.timestamp()
    return Raw(
        value=message.value() or b"",
        partition=message.partition() or 0,
        offset=message.offset() or 0,
        received=received,
        source=header(message, topics.HEADER_SOURCE).decode(errors="replace"),
        schema=header(message, topics.HEADER_SCHEMA),
    )


class Annotate(Stage):
    """The stage between `topics.RAW` and `topics.ANNOTATED`."""

    name = "annotate"
    subscribe = (topics.RAW,)

    def open(self) -> None:
        """Open the schemas and catalogues."""
        self._annotator = Annotator(self.settings)

    def work(self, messages: Sequence[Message]) -> Iterable[Outgoing]:
        """Return rows, packets for quarantine, and what the ledger says of both."""
        raws = [raw_of(message) for message in messages]
        try:
            found, refused = self._annotator.rows(raws)
        except SchemasUnreachable as error:
            raise Retry(str(error)) from error
        yield from self._send(found)
        bad: dict[tuple[int, int], Refused] = {(r.raw.partition, r.raw.offset): r for r in refused}
        for each in refused:
            yield quarantined(each)
        for group in accounts.of_raw(raws):
            wrong = sum(
                (raws[row].partition, raws[row].offset) in bad for row in group.rows.tolist()
            )
            yield ledger_message(
                Entry(
                    stage=LedgerStage.ANNOTATE,
                    worker=self.worker,
                    hour=group.hour,
                    partition=group.partition,
                    first=group.first,
                    last=group.last,
                    count=len(group.rows),
                    quarantined=wrong,
                )
            )
        metrics.ALERTS.labels(self.name, "annotated").inc(found.num_rows)
        metrics.ALERTS.labels(self.name, "quarantined").inc(len(refused))
        metrics.AGE.labels(self.name).set(time.time() - max(raw.received for raw in raws) / 1000)

    def _send(self, found: pa.RecordBatch) -> Iterator[Outgoing]:
        if not found.num_rows:
            return
        of = found.column("kafka_partition").to_numpy(zero_copy_only=False)
        for partition in np.unique(of):
            yield from messages_of(
                found.filter(pa.array(of == partition)), int(partition), self.partitions
            )


def messages_of(
    found: pa.RecordBatch, partition: int, partitions: dict[str, int]
) -> Iterator[Outgoing]:
    """Give rows of one partition of `topics.RAW` as messages of `topics.ANNOTATED`."""
    data = to_ipc(found)
    if len(data) > MAX_BATCH_BYTES and found.num_rows > 1:
        half = found.num_rows // 2
        # A slice shares the buffers of the whole; combined anew, it is only as long as it must be.
        for part in (found.slice(0, half), found.slice(half)):
            yield from messages_of(rows.concat([part]), partition, partitions)
        return
    yield Outgoing(
        topics.ANNOTATED, data, partition=partition % max(1, partitions.get(topics.ANNOTATED, 1))
    )


def quarantined(each: Refused) -> Outgoing:
    """Return a packet that cannot be read as a message of `topics.QUARANTINE`."""
    headers: dict[str, str | bytes] = {
        topics.HEADER_REASON: each.reason,
        topics.HEADER_RAW: f"{each.raw.partition}:{each.raw.offset}",
        topics.HEADER_SOURCE: each.raw.source,
    }
    return Outgoing(
        topics.QUARANTINE,
        each.raw.value,
        key=f"{each.raw.partition}:{each.raw.offset}".encode(),
        headers=headers,
        timestamp=each.raw.received,
    )
