"""Nights of alerts for tests: positions in a field, brightnesses, histories. A tenth is bright; a hundredth is very bright."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import numpy as np
import pyarrow as pa
from armillary_alerts import table

NIGHTS = (20261123, 20261124)
COUNT = 2000


def alerts(
    count: int,
    *,
    first: int = 0,
    night: int = NIGHTS[0],
    received: datetime | None = None,
    partition: int = 0,
) -> pa.Table:
    """Return rows of the alert table.

    Args:
        count: how many.
        first: number of the first alert; numbers rise.
        night: yyyymmdd.
        received: when they came in.
        partition: of the raw topic.
    """
    random = np.random.default_rng([night, first])
    numbers = np.arange(first, first + count)
    day = datetime.strptime(str(night), "%Y%m%d").replace(tzinfo=UTC)
    mjd = (day - datetime(1858, 11, 17, tzinfo=UTC)) / timedelta(days=1)
    known = {
        "survey": ["ztf"] * count,
        "alert_id": numbers + night * 1_000_000,
        "object_id": [f"ZTF26{number % 500:07d}" for number in numbers],
        "ra": (40 + 120 * random.random(count)) % 360,
        "dec": -20 + 60 * random.random(count),
        "mjd": mjd + 1 + 0.1 + 0.4 * np.sort(random.random(count)),
        "night": np.full(count, night),
        "band": np.where(numbers % 2, "g", "r"),
        "mag": 15.0 + 5.0 * ((numbers % 100) / 100),
        "drb": random.random(count),
        "n_history": random.integers(1, 40, count),
        "history_mjd": [[mjd - 2, mjd - 1, mjd + 1.2]] * count,
        "history_flux": [[1000.0, 2000.0, float("nan")]] * count,
        "received": [received or day + timedelta(hours=27)] * count,
        "kafka_topic": ["alerts.raw"] * count,
        "kafka_partition": np.full(count, partition),
        "kafka_offset": numbers,
    }
    return pa.table(
        [
            pa.array(known[f.name], f.type) if f.name in known else pa.nulls(count, f.type)
            for f in table.SCHEMA
        ],
        schema=table.SCHEMA,
    )


def night_of_alerts(night: int) -> pa.Table:
    """Return a night as it is archived: some alerts twice, as after a crash."""
    every = alerts(COUNT, night=night)
    return pa.concat_tables([every, every.slice(0, 100)])


def message(rows: pa.Table) -> bytes:
    """Return rows as they are sent in the topic of annotated alerts."""
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, rows.schema) as writer:
        writer.write_table(rows, max_chunksize=len(rows))
    return bytes(sink.getvalue())
