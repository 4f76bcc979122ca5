"""How alerts of a batch are counted for the ledger: by partition of `topics.RAW` and hour of receipt."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from armillary_alerts.packets.decode import Raw

Numbers = npt.NDArray[np.int64]
HOUR_MS = 3_600_000


def hour_of(milliseconds: int) -> datetime:
    """Return the start of the hour of a time in milliseconds since 1970."""
    return datetime.fromtimestamp(milliseconds // HOUR_MS * 3600, UTC)


class Group:
    """Alerts of one partition and hour."""

    def __init__(self, partition: int, hour: int, rows: Numbers, offsets: Numbers) -> None:
        self.partition = partition
        self.hour = hour_of(hour * HOUR_MS)
        self.rows = rows
        """Their numbers in the batch."""
        self.first = int(offsets[rows].min())
        self.last = int(offsets[rows].max())


def groups(partitions: Numbers, offsets: Numbers, received: Numbers) -> Iterator[Group]:
    """Part a batch.

    Args:
        partitions, offsets: in `topics.RAW`.
        received: milliseconds since 1970.
    """
    hours = received // HOUR_MS
    for partition, hour in np.unique(np.column_stack([partitions, hours]), axis=0).tolist():
        rows = np.flatnonzero((partitions == partition) & (hours == hour))
        yield Group(partition, hour, rows, offsets)


def of_rows(batch: pa.RecordBatch) -> Iterator[Group]:
    """Part rows of the alert table."""
    return groups(
        batch.column("kafka_partition").to_numpy(zero_copy_only=False).astype(np.int64),
        batch.column("kafka_offset").to_numpy(zero_copy_only=False).astype(np.int64),
        batch.column("received").cast(pa.int64()).to_numpy(zero_copy_only=False),
    )


def of_raw(raws: list[Raw]) -> Iterator[Group]:
    """Part packets as they came."""
    return groups(
        np.array([raw.partition for raw in raws], np.int64),
        np.array([raw.offset for raw in raws], np.int64),
        np.array([raw.received for raw in raws], np.int64),
    )
