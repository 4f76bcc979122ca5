"""Users' filters in SQL: checked here, evaluated all together in a process that can be ended."""

from __future__ import annotations

import contextlib
import os
import select
import subprocess
import sys
import threading
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Final, Self

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from armillary_alerts.filters import worker
from armillary_alerts.filters.dialect import FUNCTIONS, SqlError
from armillary_alerts.filters.model import Filter

__all__ = ["FUNCTIONS", "Engine", "EngineError", "Outcome", "OutputColumn", "SqlError", "validate"]

#: A process that cannot be interrupted is ended after GRACE seconds of processor time and PATIENCE times those allowed.
GRACE: Final = 3.0
PATIENCE: Final = 2.0

# Not -m: what is pickled must be of the module's own name, not of __main__.
_PROGRAM: Final = "import sys; from armillary_alerts.filters import worker; sys.exit(worker.main())"

_lock = threading.Lock()
_checker: worker.Evaluator | None = None


class EngineError(RuntimeError):
    """Filters cannot be evaluated at all, and none of them is at fault."""


@dataclass(frozen=True)
class OutputColumn:
    """A column of what a filter sends."""

    name: str
    type: str


@dataclass(frozen=True)
class Outcome:
    """What one filter made of one batch. Every row is in exactly one of passed, rejected and failed."""

    filter: Filter
    seen: int
    passed: npt.NDArray[np.int64]
    """Numbers of the rows that passed."""
    failed: npt.NDArray[np.int64]
    """Numbers of the rows that it failed on."""
    columns: tuple[str, ...] = ()
    """Names of what it sends."""
    made: bytes = b""
    """What it sends as an Arrow IPC stream, where that is more than columns of the batch."""
    batch: pa.RecordBatch | None = None
    """What it looked at."""
    reason: str = ""
    """Why the first failed, in words for the owner."""
    stopped: bool = False
    """It was over a limit, or cannot run at all: it must not run again before it is changed."""

    @cached_property
    def output(self) -> pa.Table:
        """What it sends: a row for each that passed, in the same order."""
        if self.made:
            with pa.ipc.open_stream(self.made) as reader:
                return reader.read_all()
        if self.batch is None or not self.columns:
            return pa.table({})
        columns = [self.batch.column(name).take(pa.array(self.passed)) for name in self.columns]
        return pa.table(columns, names=list(self.columns))

    @property
    def plain(self) -> bool:
        """True when it sends columns of the batch as they are."""
        return not self.made

    @property
    def rejected(self) -> int:
        """How many rows did not pass, and did not fail."""
        return self.seen - len(self.passed) - len(self.failed)


def validate(sql: str) -> tuple[OutputColumn, ...]:
    """Check a filter's SQL; nothing of it is run on data.

    Args:
        sql: `SELECT ... FROM alerts WHERE ...`, or `WHERE ...`, or the condition alone.

    Returns:
        The columns that it sends.

    Raises:
        SqlError: says what is wrong.
    """
    global _checker
    with _lock:
        if _checker is None:
            _checker = worker.Evaluator(memory_mib=128)
        schema = _checker.columns(sql)
    return tuple(OutputColumn(field.name, str(field.type)) for field in schema)


class Engine:
    """Evaluates many SQL filters on batches of alerts.

    All conditions are columns of one query. Its process is bounded in memory and in processor time; when it is over,
    or dies, the filters are evaluated one by one, and the one at fault is named. Not for use by two threads at once.
    """

    def __init__(self, *, seconds: float = 1.0, memory_mib: int = 512) -> None:
        """Start the process.

        Args:
            seconds: processor time for all filters together on one batch.
            memory_mib: for the queries' data.

        Raises:
            EngineError: it does not start.
        """
        self._seconds = seconds
        self._memory = memory_mib
        self._process: subprocess.Popen[bytes] | None = None
        self._start()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """End the process."""
        self._end()

    @property
    def pid(self) -> int | None:
        """The process's number, for accounting of its processor time."""
        return self._process.pid if self._process else None

    def evaluate(self, batch: pa.RecordBatch, filters: Sequence[Filter]) -> list[Outcome]:
        """Evaluate filters on a batch.

        Args:
            batch: rows of `table.SCHEMA`.
            filters: of kind sql; their state is not looked at.

        Returns:
            An outcome for each filter, in the same order.

        Raises:
            EngineError: the process cannot be started again, or has a fault of its own.
        """
        if not filters or not batch.num_rows:
            empty = np.empty(0, np.int64)
            return [Outcome(each, 0, empty, empty) for each in filters]
        data = worker.to_ipc(batch)
        budget = max([self._seconds, *(each.limits.seconds for each in filters)])
        answer = self._ask(worker.Job(data, tuple(each.text for each in filters), budget))
        if answer.verdicts:
            return [
                _outcome(each, batch, verdict)
                for each, verdict in zip(filters, answer.verdicts, strict=True)
            ]
        return [self._alone(data, batch, each) for each in filters]

    def _alone(self, data: bytes, batch: pa.RecordBatch, each: Filter) -> Outcome:
        answer = self._ask(worker.Job(data, (each.text,), each.limits.seconds))
        if answer.verdicts:
            return _outcome(each, batch, answer.verdicts[0])
        if answer.over:
            reason = f"It was ended, and is stopped: over its limit of {answer.over}."
        else:
            reason = f"It cannot run: {answer.error}"
        rows = batch.num_rows
        every = np.arange(rows, dtype=np.int64)
        return Outcome(each, rows, np.empty(0, np.int64), every, reason=reason, stopped=True)

    def _ask(self, job: worker.Job) -> worker.Answer:
        if self._process is None or self._process.poll() is not None:
            self._start()
        process = self._process
        assert process is not None
        assert process.stdin
        assert process.stdout
        killed = threading.Event()
        done = threading.Event()
        limit = _used(process.pid) + GRACE + PATIENCE * job.seconds

        def watch() -> None:
            while not done.wait(0.2):
                if _used(process.pid) > limit:
                    killed.set()
                    process.kill()
                    return

        watcher = threading.Thread(target=watch, daemon=True)
        watcher.start()
        try:
            worker.send(process.stdin, job)  # type: ignore[arg-type]
            answer = worker.receive(process.stdout)  # type: ignore[arg-type]
        except (BrokenPipeError, EOFError):
            answer = None
        finally:
            done.set()
            watcher.join()
        if isinstance(answer, worker.Answer):
            if answer.bug:
                raise EngineError(
                    f"Filters cannot be evaluated, and none is at fault:\n{answer.bug}"
                )
            if answer.over:
                # What was taken stays taken: the next filter shall not pay for it.
                self._end()
            return answer
        self._end()
        return worker.Answer(
            over=f"time: more than {job.seconds:g} s of processor time"
            if killed.is_set()
            else f"memory: {self._memory} MiB"
        )

    def _start(self) -> None:
        self._end()
        self._process = subprocess.Popen(
            [sys.executable, "-c", _PROGRAM, str(self._memory)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            start_new_session=True,
        )
        assert self._process.stdout
        ready, _, _ = select.select([self._process.stdout], [], [], 120)
        if not ready or worker.receive(self._process.stdout) != "ready":  # type: ignore[arg-type]
            self._end()
            raise EngineError(
                "The process that evaluates filters does not start; its log says why."
            )

    def _end(self) -> None:
        process, self._process = self._process, None
        if process is None:
            return
        process.kill()
        process.wait()
        for stream in (process.stdin, process.stdout):
            if stream:
                with contextlib.suppress(BrokenPipeError):
                    stream.close()


def _used(pid: int) -> float:
    """Return the processor time a process has used, in seconds: a busy machine is no fault of a filter's."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text(encoding="ascii").rpartition(")")[2].split()
    except (FileNotFoundError, ProcessLookupError):
        return 0.0
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def _outcome(each: Filter, batch: pa.RecordBatch, verdict: worker.Verdict) -> Outcome:
    flags = np.frombuffer(verdict.flags, np.uint8)
    return Outcome(
        each,
        batch.num_rows,
        np.flatnonzero(flags == worker.PASSED),
        np.flatnonzero(flags == worker.FAILED),
        columns=verdict.columns,
        made=verdict.output,
        batch=batch,
        reason=verdict.reason,
    )
