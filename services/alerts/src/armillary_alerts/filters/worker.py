"""Evaluates SQL filters, in a process of its own that can be ended; `sql.Engine` starts it.

Requests come on standard input and answers go to standard output, as pickles with their length before them. Both ends are
this package; what users write comes only as text within.
"""

from __future__ import annotations

import contextlib
import os
import pickle
import resource
import struct
import sys
import threading
import time
import traceback
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import BinaryIO, Final

import duckdb
import numpy as np
import numpy.typing as npt
import pyarrow as pa

from armillary_alerts import table
from armillary_alerts.filters import dialect

#: Laid on every connection; what cannot be changed back afterwards is the point.
SETTINGS: Final = {
    "enable_external_access": "false",
    "autoload_known_extensions": "false",
    "autoinstall_known_extensions": "false",
    "allow_community_extensions": "false",
    "python_enable_replacements": "false",
    "python_scan_all_frames": "false",
    "max_temp_directory_size": "0KiB",
    "threads": "1",
}

PASSED, REJECTED, FAILED = 1, 0, 2


@dataclass(frozen=True)
class Job:
    """Filters to evaluate on one batch."""

    batch: bytes
    """An Arrow IPC stream of `table.SCHEMA`."""
    texts: tuple[str, ...]
    """The filters' SQL."""
    seconds: float
    """Processor time that all of them together may take."""


@dataclass(frozen=True)
class Verdict:
    """What one filter said of each row."""

    flags: bytes
    """One byte a row: `PASSED`, `REJECTED` or `FAILED`."""
    columns: tuple[str, ...]
    """Names of what it sends."""
    output: bytes
    """Arrow IPC stream of what it sends, a row for each that passed; empty where it is columns of the table as they are."""
    reason: str
    """Why the first that failed did."""


@dataclass(frozen=True)
class Answer:
    """The verdicts, in the order of the job's texts; or why there are none."""

    verdicts: tuple[Verdict, ...] = ()
    over: str = ""
    """Not empty: a limit was passed, and this one."""
    error: str = ""
    """Not empty: the query as a whole failed; the filters must be evaluated one by one."""
    bug: str = ""
    """Not empty: no filter's fault."""
    seconds: float = 0.0


def connect(memory_mib: int = 512) -> duckdb.DuckDBPyConnection:
    """Open a database in memory that reaches nothing else."""
    connection = duckdb.connect(":memory:", config={**SETTINGS, "memory_limit": f"{memory_mib}MiB"})
    connection.execute("SET enable_progress_bar = false")
    connection.execute("SET lock_configuration = true")
    return connection


class Evaluator:
    """Evaluates filters in this process. Bounded in processor time, not in memory: see `sql.Engine`."""

    def __init__(self, memory_mib: int = 512) -> None:
        self._connection = connect(memory_mib)
        self._parsed: dict[str, dialect.Parsed] = {}

    def parse(self, text: str) -> dialect.Parsed:
        """Return a filter taken apart; remembers it.

        Raises:
            SqlError: it is not allowed.
        """
        found = self._parsed.get(text)
        if found is None:
            if len(self._parsed) > 5000:
                self._parsed.clear()
            found = self._parsed[text] = dialect.parse(self._connection, text)
        return found

    def columns(self, text: str) -> pa.Schema:
        """Return what a filter sends.

        Raises:
            SqlError: it is not allowed, or types do not fit.
        """
        parsed = self.parse(text)
        self._connection.register("alerts", pa.Table.from_batches([table.empty()]))
        try:
            self._connection.sql(f"SELECT {_flag(parsed)} FROM alerts").fetchall()  # noqa: S608
            found = self._connection.sql(
                f"SELECT {_fields(parsed)} FROM alerts"  # noqa: S608
            ).to_arrow_table()
        except duckdb.Error as error:
            raise dialect.SqlError(_plain(error)) from error
        finally:
            self._connection.unregister("alerts")
        return found.schema

    def evaluate(self, job: Job) -> Answer:
        """Evaluate all filters of a job in one query."""
        started = time.process_time()
        with pa.ipc.open_stream(job.batch) as reader:
            rows = reader.read_all()
        try:
            parsed = [self.parse(text) for text in job.texts]
            self._connection.register("alerts", rows)
            with self._limited(job.seconds) as over:
                try:
                    verdicts = self._verdicts(parsed, rows)
                except duckdb.InterruptException:
                    return Answer(over=over[0] if over else "interrupted")
        except dialect.SqlError as error:
            return Answer(error=str(error))
        except (duckdb.OutOfMemoryException, MemoryError) as error:
            return Answer(over=f"memory: {_plain(error)}")
        except duckdb.Error as error:
            return Answer(error=_plain(error))
        finally:
            with contextlib.suppress(duckdb.Error):
                self._connection.unregister("alerts")
        return Answer(tuple(verdicts), seconds=time.process_time() - started)

    def _verdicts(self, parsed: Sequence[dialect.Parsed], rows: pa.Table) -> list[Verdict]:
        fused = []
        for n, each in enumerate(parsed):
            fused.append(f"{_flag(each)} AS f{n}")
            if not each.plain:
                fused.append(f"{_packed(each)} AS o{n}")
        sql = f"SELECT {', '.join(fused)} FROM alerts"  # noqa: S608 - written by dialect.parse
        found = self._connection.sql(sql).to_arrow_table()
        return [self._verdict(n, each, rows, found) for n, each in enumerate(parsed)]

    def _verdict(self, n: int, parsed: dialect.Parsed, rows: pa.Table, found: pa.Table) -> Verdict:
        column = found.column(f"f{n}")
        flags: npt.NDArray[np.uint8] = column.fill_null(FAILED).to_numpy().astype(np.uint8)
        output = b""
        if not parsed.plain and (flags == PASSED).any():
            packed = found.column(f"o{n}").combine_chunks()
            made = packed.is_valid().to_numpy(zero_copy_only=False)
            flags[(flags == PASSED) & ~made] = FAILED
            output = to_ipc(pa.Table.from_struct_array(packed.filter(pa.array(made))))
        failed = np.flatnonzero(flags == FAILED)
        reason = self._reason(parsed, rows.slice(int(failed[0]), 1)) if len(failed) else ""
        return Verdict(flags.tobytes(), tuple(name for name, _ in parsed.select), output, reason)

    def _reason(self, parsed: dialect.Parsed, row: pa.Table) -> str:
        self._connection.register("one", row)
        try:
            self._connection.sql(
                f"SELECT {_fields(parsed)} FROM one AS alerts WHERE {parsed.where}"  # noqa: S608
            ).fetchall()
        except duckdb.Error as error:
            return _plain(error)
        finally:
            self._connection.unregister("one")
        return "It failed once and not when tried again."

    @contextlib.contextmanager
    def _limited(self, seconds: float) -> Iterator[list[str]]:
        """Interrupt the query when this process has used so many seconds of processor time.

        Not of wall time: a busy machine is no fault of a filter's.
        """
        over: list[str] = []
        done = threading.Event()
        deadline = time.process_time() + seconds

        def watch() -> None:
            while not done.wait(0.05):
                if time.process_time() > deadline:
                    over.append(f"time: more than {seconds:g} s of processor time")
                    self._connection.interrupt()
                    return

        thread = threading.Thread(target=watch, daemon=True)
        thread.start()
        try:
            yield over
        finally:
            done.set()
            thread.join()


def to_ipc(rows: pa.Table | pa.RecordBatch) -> bytes:
    """Return rows as an Arrow IPC stream."""
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, rows.schema) as writer:
        writer.write(rows)
    return sink.getvalue().to_pybytes()  # type: ignore[no-any-return]


def _flag(parsed: dialect.Parsed) -> str:
    """Return the condition as a number, null where it fails: TRY turns an error in one row into null."""
    return f"TRY(CASE WHEN ({parsed.where}) THEN 1::UTINYINT ELSE 0::UTINYINT END)"


def _packed(parsed: dialect.Parsed) -> str:
    """Return what it sends as one value, null where the alert does not pass or making it fails."""
    packed = ", ".join(f'"{name}" := {text}' for name, text in parsed.select)
    return f"TRY(CASE WHEN ({parsed.where}) THEN struct_pack({packed}) END)"


def _fields(parsed: dialect.Parsed) -> str:
    return ", ".join(f'{text} AS "{name}"' for name, text in parsed.select)


def _plain(error: BaseException) -> str:
    """Return an error without the query, which the owner did not write in this form."""
    return str(error).split("\n\nLINE", 1)[0].split("\nLINE", 1)[0].strip() or type(error).__name__


def send(stream: BinaryIO, value: object) -> None:
    """Write one message."""
    data = pickle.dumps(value, protocol=5)
    stream.write(struct.pack("<Q", len(data)))
    stream.write(data)
    stream.flush()


def receive(stream: BinaryIO) -> object | None:
    """Read one message; None at the end."""
    head = stream.read(8)
    if len(head) < 8:
        return None
    (length,) = struct.unpack("<Q", head)
    data = stream.read(length)
    if len(data) < length:
        return None
    message: object = pickle.loads(data)  # noqa: S301 - both ends are this package
    return message


def main() -> int:
    """Answer jobs until standard input ends."""
    memory_mib = int(sys.argv[1])
    # A query that asks for more than DuckDB's own limit covers gets an error from the kernel, and the process ends.
    with open("/proc/self/statm", encoding="ascii") as file:
        mapped = int(file.read().split()[0]) * os.sysconf("SC_PAGE_SIZE")
    limit = mapped + (2 * memory_mib + 512) * 2**20
    resource.setrlimit(resource.RLIMIT_AS, (limit, limit))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    resource.setrlimit(resource.RLIMIT_NPROC, (0, 0)) if os.getuid() else None
    out = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)
    evaluator = Evaluator(memory_mib)
    send(out, "ready")
    while (job := receive(sys.stdin.buffer)) is not None:
        assert isinstance(job, Job)
        try:
            answer = evaluator.evaluate(job)
        except Exception:
            answer = Answer(bug=traceback.format_exc())
        send(out, answer)
    return 0
