"""Writes annotated alerts into the archive.

Files are named by what is in them, and the place in the stream moves on only when they are written. What a worker wrote
and did not get to account for is known by a note that it left before, and taken away by whoever reads that partition next.
"""

from __future__ import annotations

import json
import logging
import time
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final

import numpy as np
import pyarrow as pa
import pyarrow.fs as pafs
import pyarrow.parquet as pq
from confluent_kafka import Consumer, Message, TopicPartition

from armillary_alerts import table, topics
from armillary_alerts.archive import ALERTS, Store
from armillary_alerts.ledger import Entry
from armillary_alerts.ledger import Stage as LedgerStage
from armillary_alerts.settings import Settings
from armillary_alerts.stages import accounts, metrics
from armillary_alerts.stages.filter import MESSAGES, read_rows
from armillary_alerts.stages.loop import Outgoing, Retry, Sender, Stage, StreamError, ledger_message

_LOG: Final = logging.getLogger(__name__)

#: Notes of what is being written. No file of Parquet is in it.
NOTES: Final = "_writing"


class Writer:
    """Writes rows to a store."""

    def __init__(self, store: Store) -> None:
        self.store = store
        self._local = isinstance(store.filesystem, pafs.LocalFileSystem)

    def paths(self, found: pa.RecordBatch, name: str) -> dict[str, pa.RecordBatch]:
        """Return which rows go into which file: by night and HEALPix cell, by place within."""
        shift = 2 * (table.HEALPIX_ORDER - table.PARTITION_ORDER)
        cells = found.column("healpix").to_numpy(zero_copy_only=False) >> shift
        nights = found.column("night").to_numpy(zero_copy_only=False)
        healpix = found.column("healpix").to_numpy(zero_copy_only=False)
        out = {}
        for night, hpx in np.unique(np.column_stack([nights, cells]), axis=0).tolist():
            chosen = np.flatnonzero((nights == night) & (cells == hpx))
            chosen = chosen[np.argsort(healpix[chosen], kind="stable")]
            path = self.store.path(ALERTS, f"night={night}", f"hpx={hpx}", f"{name}.parquet")
            out[path] = found.take(pa.array(chosen))
        return out

    def write(self, path: str, found: pa.RecordBatch | pa.Table) -> None:
        """Write one file; it is there whole or not at all.

        Raises:
            OSError: the store does not take it.
        """
        filesystem = self.store.filesystem
        partial = f"{path}.partial" if self._local else path
        if self._local:
            filesystem.create_dir(path.rpartition("/")[0], recursive=True)
        whole = found if isinstance(found, pa.Table) else pa.Table.from_batches([found])
        # The directory's name says the night. In the files too, pandas would find two types of it, and refuse.
        whole = whole.drop_columns([n for n in ("night",) if n in whole.column_names])
        pq.write_table(whole, partial, filesystem=filesystem, compression="zstd")
        if self._local:
            filesystem.move(partial, path)

    def note(self, partition: int, name: str, body: dict[str, Any]) -> str:
        """Leave a note, and return where."""
        path = self.store.path(NOTES, f"{partition}", f"{name}.json")
        if self._local:
            self.store.filesystem.create_dir(path.rpartition("/")[0], recursive=True)
        with self.store.filesystem.open_output_stream(path) as stream:
            stream.write(json.dumps(body).encode())
        return path

    def tidy(self, partition: int, committed: int) -> None:
        """Take away what was written of a partition and not accounted for.

        Args:
            partition: of `topics.ANNOTATED`.
            committed: offset up to which the ledger accounts for it.
        """
        where = pafs.FileSelector(self.store.path(NOTES, f"{partition}"), allow_not_found=True)
        for info in self.store.filesystem.get_file_info(where):
            with self.store.filesystem.open_input_stream(info.path) as stream:
                text = stream.read()
            try:
                note = json.loads(text)
            except ValueError:
                note = {"end": committed, "files": []}
            if note["end"] > committed:
                _LOG.warning("Takes away %d files that were not accounted for.", len(note["files"]))
                for path in note["files"]:
                    self.delete(path)
            self.delete(info.path)

    def delete(self, path: str) -> None:
        """Delete a file that may be gone already."""
        if self.store.filesystem.get_file_info(path).type == pafs.FileType.File:
            self.store.filesystem.delete_file(path)


class ArchiveStage(Stage):
    """The stage between `topics.ANNOTATED` and the archive. It holds rows until there are enough for a file."""

    name = "archive"
    subscribe = (topics.ANNOTATED,)

    def __init__(self, settings: Settings) -> None:
        super().__init__(settings)
        if settings.archive is None:
            raise StreamError("The settings have no archive.")
        self._rules = settings.archive

    def batch_size(self) -> int:
        """Return how many messages are read at once."""
        return MESSAGES

    def open(self) -> None:
        """Open the store."""
        self._writer = Writer(self._rules.store.open())
        self._held: list[Message] = []
        self._bytes = 0
        self._since = 0.0
        self._notes: list[str] = []
        self._files: list[str] = []

    def assigned(self, consumer: Consumer, partitions: Sequence[TopicPartition]) -> None:
        """Forget what is held: it is read again by whoever has it now; and tidy what others left."""
        self._held, self._bytes = [], 0
        for place in consumer.committed(list(partitions), timeout=30):
            self._writer.tidy(place.partition, max(0, place.offset))
        # What was held and not accounted for is read again from there.

    def once(self, consumer: Consumer, sender: Sender, batch: Sequence[Message]) -> bool:
        """Hold a batch, and write when there is enough."""
        if not self._held:
            self._since = time.monotonic()
        self._held += batch
        self._bytes += sum(len(message.value() or b"") for message in batch)
        return self._flush(consumer, sender)

    def idle(self, consumer: Consumer, sender: Sender) -> None:
        """Write what was held for long enough."""
        self._flush(consumer, sender)

    def _flush(self, consumer: Consumer, sender: Sender, force: bool = False) -> bool:
        full = self._bytes >= self._rules.memory_mib * 2**19
        late = time.monotonic() - self._since >= self._rules.seconds
        if not self._held or not (full or late or force):
            return True
        held, self._held, self._bytes = self._held, [], 0
        # Rows that a file of which is lost in a crash are written again under another name: the note tells them.
        return super().once(consumer, sender, held)

    def last(self, consumer: Consumer, sender: Sender) -> None:
        """Write what is held."""
        self._flush(consumer, sender, force=True)

    def work(self, messages: Sequence[Message]) -> Iterable[Outgoing]:
        """Write files, and return what the ledger says of them."""
        self._notes, self._files = [], []
        by_partition: dict[int, list[Message]] = {}
        for message in messages:
            by_partition.setdefault(message.partition() or 0, []).append(message)
        for partition, part in sorted(by_partition.items()):
            yield from self._write(partition, part)

    def _write(self, partition: int, messages: Sequence[Message]) -> Iterable[Outgoing]:
        found = read_rows(messages)
        if not found.num_rows:
            return
        first, last = messages[0].offset() or 0, messages[-1].offset() or 0
        name = f"part-{partition:04d}-{first:012d}-{last:012d}"
        files = self._writer.paths(found, name)
        try:
            note = {"end": last + 1, "files": list(files)}
            self._notes.append(self._writer.note(partition, f"{first}-{time.time_ns()}", note))
            for path, part in files.items():
                self._files.append(path)
                self._writer.write(path, part)
        except OSError as error:
            raise Retry(f"The archive does not take a file: {error}") from error
        again = found.column("annotated_by").is_valid().to_numpy(zero_copy_only=False)
        for group in accounts.of_rows(found):
            back = int(again[group.rows].sum())
            yield ledger_message(
                Entry(
                    stage=LedgerStage.ARCHIVE,
                    worker=self.worker,
                    hour=group.hour,
                    partition=group.partition,
                    first=group.first,
                    last=group.last,
                    count=len(group.rows) - back,
                    again=back,
                    files=tuple(
                        path.removeprefix(self._writer.store.root).lstrip("/") for path in files
                    ),
                )
            )
        metrics.ALERTS.labels(self.name, "archived").inc(found.num_rows)

    def refused(self, failed: Mapping[str, str]) -> None:
        """Take away what was written: it is written again."""
        try:
            for path in self._files + self._notes:
                self._writer.delete(path)
        except OSError as error:
            _LOG.warning("Files of a batch that is done again stay for now: %s", error)

    def committed(self) -> None:
        """Take the notes away: what they name is accounted for."""
        for path in self._notes:
            try:
                self._writer.delete(path)
            except OSError as error:
                _LOG.warning("A note of what was written stays for now: %s", error)
        self._notes = []


def compact(store: Store, night: int, below: int) -> tuple[int, int]:
    """Put small files of a night together, without duplicates. Safe to run while others read and write.

    Readers who look in between may see rows twice, never not at all.

    Args:
        store: the archive's.
        night: yyyymmdd.
        below: bytes; larger files are left as they are.

    Returns:
        How many files there were, and are now.
    """
    writer = Writer(store)
    base = store.path(ALERTS, f"night={night}")
    infos = store.filesystem.get_file_info(
        pafs.FileSelector(base, recursive=True, allow_not_found=True)
    )
    small: dict[str, list[pafs.FileInfo]] = {}
    before = 0
    for info in infos:
        if info.type == pafs.FileType.File and info.path.endswith(".parquet"):
            before += 1
            if info.size < below:
                small.setdefault(info.path.rpartition("/")[0], []).append(info)
    unfinished = _unfinished(store)
    after = before
    for folder, files in sorted(small.items()):
        paths = sorted(info.path for info in files if info.path not in unfinished)
        if len(paths) < 2:
            continue
        parts = [
            pq.read_table(path, filesystem=store.filesystem, partitioning=None) for path in paths
        ]
        whole = _unique(pa.concat_tables(parts))
        writer.write(f"{folder}/compact-{time.time_ns()}.parquet", whole)
        for path in paths:
            writer.delete(path)
        after -= len(paths) - 1
    return before, after


def _unfinished(store: Store) -> set[str]:
    """Return the files that are being written, or were left over."""
    where = pafs.FileSelector(store.path(NOTES), recursive=True, allow_not_found=True)
    found: set[str] = set()
    for info in store.filesystem.get_file_info(where):
        if info.type == pafs.FileType.File:
            with store.filesystem.open_input_stream(info.path) as stream:
                try:
                    found |= set(json.loads(stream.read())["files"])
                except ValueError:
                    continue
    return found


def _unique(whole: pa.Table) -> pa.Table:
    """Return rows by place, each alert once (and once for each time it came back)."""
    whole = whole.sort_by(
        [("healpix", "ascending"), ("kafka_partition", "ascending"), ("kafka_offset", "ascending")]
    )
    keys = zip(
        whole.column("survey").to_pylist(),
        whole.column("alert_id").to_pylist(),
        whole.column("annotated_by").to_pylist(),
        strict=True,
    )
    seen: set[tuple[Any, ...]] = set()
    keep = np.ones(whole.num_rows, bool)
    for n, key in enumerate(keys):
        if key in seen:
            keep[n] = False
        seen.add(key)
    return whole.filter(pa.array(keep))
