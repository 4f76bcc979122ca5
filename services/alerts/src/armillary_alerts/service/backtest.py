"""What a filter would have sent in a night that is archived, by the engines that run it live."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, Protocol

import duckdb
import numpy as np
import pyarrow as pa

from armillary_alerts import table
from armillary_alerts.archive import Archive
from armillary_alerts.filters.model import Filter, Kind
from armillary_alerts.filters.sql import Engine
from armillary_alerts.python_filter import rows as python_rows
from armillary_alerts.python_filter.worker import result
from armillary_alerts.service import picture

#: Alerts that one backtest looks at, by kind; of a night with more, every nth, by a hash of the alert's number.
LARGEST = {Kind.SQL: 500_000, Kind.PYTHON: 20_000}
BATCH = 2_000
#: Alerts shown of what would have been sent.
SAMPLE = 20


class BacktestError(ValueError):
    """There is nothing to test on, or the filter cannot be tested; says why."""


class Trial(Protocol):
    """Runs a Python filter on alerts, somewhere with nothing to lose."""

    def __call__(
        self, definition: Filter, alerts: Sequence[dict[str, Any]]
    ) -> list[tuple[str, dict[str, Any], str]]:
        """Return for each alert what became of it: passed, rejected or failed; what it returned; why it failed."""


@dataclass(frozen=True)
class Backtest:
    """What a filter made of a night."""

    filter: Filter
    night: int
    every: int
    """Of so many alerts one was looked at; 1: all."""
    seen: int
    passed: int
    failed: int
    sample: list[dict[str, Any]]
    """The first few that passed, as they would have been sent."""
    reason: str
    """Why the first failed."""
    picture: bytes
    """PNG."""
    seconds: float
    at: datetime = field(default_factory=lambda: datetime.now(UTC))

    @property
    def share(self) -> float:
        """Passed of seen, 0 to 1."""
        return self.passed / self.seen if self.seen else 0.0


@dataclass(frozen=True)
class _Part:
    """What became of one batch."""

    passed: Sequence[int]
    failed: int
    sent: Sequence[dict[str, Any]]
    reason: str


def run(
    archive: Archive,
    definition: Filter,
    night: int | None = None,
    *,
    trial: Trial | None = None,
    largest: int | None = None,
    memory_mib: int = 512,
) -> Backtest:
    """Run a filter over an archived night.

    Args:
        archive: where nights are.
        definition: the filter, whatever its state.
        night: yyyymmdd; the newest by default.
        trial: runs a filter in Python.
        largest: alerts looked at; by default `LARGEST` of its kind.
        memory_mib: for DuckDB, which reads the night.

    Raises:
        BacktestError: there is no such night, or the filter cannot run at all.
    """
    nights = archive.nights()
    night = night or (nights[-1] if nights else None)
    if night is None or night not in nights:
        there = (
            f"archived are {', '.join(map(str, nights[-10:]))}"
            if nights
            else "no night is archived yet"
        )
        raise BacktestError(
            f"There is no night {night} to test on: {there}."
            if night
            else "There is no night to test on yet."
        )
    began = time.monotonic()
    largest = largest or LARGEST[definition.kind]
    seen: list[Any] = []
    passed: list[Any] = []
    sample: list[dict[str, Any]] = []
    failed, reason = 0, ""
    with duckdb.connect(config={"memory_limit": f"{memory_mib}MiB", "threads": "1"}) as connection:
        connection.register("alerts", archive.scan(night))
        ((rows,),) = connection.execute("SELECT count(*) FROM alerts").fetchall()
        every = -(-rows // largest) or 1
        columns = ", ".join(f'"{name}"' for name in table.SCHEMA.names)
        chosen = f"SELECT {columns} FROM alerts WHERE hash(alert_id) % {every} = 0"  # noqa: S608
        reader = connection.sql(chosen).to_arrow_reader(BATCH)
        known: set[int] = set()
        with _Evaluator(definition, trial) as evaluate:
            for batch in reader:
                batch = _new(batch, known)
                if not batch.num_rows:
                    continue
                part = evaluate(batch)
                places = _places(batch)
                seen.append(places)
                passed.append(places[list(part.passed)])
                sample += list(part.sent)[: SAMPLE - len(sample)]
                failed += part.failed
                reason = reason or part.reason
    everything = np.concatenate(seen) if seen else np.empty((0, 3))
    sent = np.concatenate(passed) if passed else np.empty((0, 3))
    title = f"{definition.id}, version {definition.version}: {len(sent):,} of {len(everything):,} alerts of {_date(night)}"
    if every > 1:
        title += f" (one of {every})"
    return Backtest(
        filter=definition,
        night=night,
        every=every,
        seen=len(everything),
        passed=len(sent),
        failed=failed,
        sample=sample,
        reason=reason,
        picture=picture.draw(title, everything, sent),
        seconds=round(time.monotonic() - began, 3),
    )


class _Evaluator:
    """Evaluates batches with the engine of the filter's kind."""

    def __init__(self, definition: Filter, trial: Trial | None) -> None:
        self._definition = definition
        self._trial = trial
        self._engine: Engine | None = None

    def __enter__(self) -> Callable[[pa.RecordBatch], _Part]:
        if self._definition.kind is Kind.PYTHON:
            return self._python
        self._engine = Engine(
            seconds=self._definition.limits.seconds, memory_mib=self._definition.limits.memory_mib
        )
        return self._sql

    def __exit__(self, *_: object) -> None:
        if self._engine:
            self._engine.close()

    def _sql(self, batch: pa.RecordBatch) -> _Part:
        assert self._engine
        (outcome,) = self._engine.evaluate(batch, [self._definition])
        if outcome.stopped:
            raise BacktestError(outcome.reason)
        sent = outcome.output.slice(0, SAMPLE)
        return _Part(
            outcome.passed.tolist(),
            len(outcome.failed),
            python_rows.for_json(python_rows.alerts(sent)),
            outcome.reason,
        )

    def _python(self, batch: pa.RecordBatch) -> _Part:
        if self._trial is None:
            raise BacktestError(
                "Filters in Python are not switched on here: components.alerts.python_filters."
            )
        alerts = python_rows.alerts(batch)
        outcomes = self._trial(self._definition, alerts)
        passed = [number for number, (kind, _, _) in enumerate(outcomes) if kind == "passed"]
        sent = [result(alerts[number], outcomes[number][1]) for number in passed[:SAMPLE]]
        reasons = [reason for kind, _, reason in outcomes if kind == "failed"]
        for reason in reasons:
            if reason.startswith("stopped: "):
                raise BacktestError(f"The filter was stopped: {reason.removeprefix('stopped: ')}")
        return _Part(passed, len(reasons), sent, reasons[0] if reasons else "")


def _new(batch: pa.RecordBatch, known: set[int]) -> pa.RecordBatch:
    """Leave out alerts that came before: as they are read, so that no night has to fit into memory."""
    keys = zip(
        *(batch.column(name).to_pylist() for name in ("survey", "alert_id", "annotated_by")),
        strict=True,
    )
    keep = []
    for key in map(hash, keys):
        keep.append(key not in known)
        known.add(key)
    batch = pa.RecordBatch.from_arrays(batch.columns, schema=table.SCHEMA)
    return batch if all(keep) else batch.filter(pa.array(keep))


def _places(batch: pa.RecordBatch) -> Any:
    columns = [batch.column(name).to_numpy(zero_copy_only=False) for name in ("ra", "dec", "mjd")]
    return np.column_stack([np.asarray(each, dtype=float) for each in columns])


def _date(night: int) -> str:
    return f"{night // 10000}-{night // 100 % 100:02d}-{night % 100:02d}"
