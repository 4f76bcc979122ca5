"""Run outside programs: the only place in Armillary where a subprocess starts."""

from __future__ import annotations

import os
import selectors
import signal
import subprocess
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from pathlib import Path
from typing import NoReturn, TypeVar

TAIL_LINES = 20
T = TypeVar("T")
_called_off: ContextVar[threading.Event | None] = ContextVar("called_off", default=None)
"""Set when what runs beside something else (`beside`) is not wanted any more."""


@dataclass(frozen=True)
class Completed:
    """What a finished program left behind."""

    argv: tuple[str, ...]
    returncode: int
    stdout: str
    stderr: str
    seconds: float


class CommandError(RuntimeError):
    """A program ended with an exit code other than 0."""

    def __init__(self, completed: Completed, shown: str | None = None) -> None:
        self.completed = completed
        command = shown or " ".join(completed.argv)
        super().__init__(
            f"`{command}` ended with exit code {completed.returncode}:\n{tail(completed)}"
        )


class CommandTimeout(RuntimeError):
    """A program did not end in time and was stopped, with all its children."""

    def __init__(self, completed: Completed, limit: float) -> None:
        self.completed = completed
        super().__init__(
            f"`{' '.join(completed.argv)}` was stopped after {limit:.0f} s:\n{tail(completed)}"
        )


class CommandCalledOff(RuntimeError):
    """A program that ran beside something else was stopped, with all its children, because that failed."""


class CommandMissing(RuntimeError):
    """The program is not installed."""

    def __init__(self, program: str) -> None:
        self.program = program
        super().__init__(f"`{program}` is not installed on this machine.")


def tail(completed: Completed, lines: int = TAIL_LINES) -> str:
    """Return the last lines of what the program printed, errors last."""
    text = completed.stdout.splitlines() + completed.stderr.splitlines()
    return "\n".join(f"    {line}" for line in text[-lines:])


def run(
    argv: Sequence[str],
    *,
    timeout: float,
    cwd: Path | str | None = None,
    env: Mapping[str, str] | None = None,
    input: str | None = None,
    on_line: Callable[[str], None] | None = None,
    check: bool = True,
) -> Completed:
    """Run a program to its end in a process group of its own.

    Args:
        argv: the program and its arguments; never a shell string. Secrets go in `input` or a file,
            for arguments show in the process list.
        timeout: seconds after which the whole process group is ended.
        cwd: the directory to run in.
        env: variables laid over this process's own environment.
        input: text for standard input; without it standard input is empty.
        on_line: called with each line as it is printed (stdout and stderr alike).
        check: raise `CommandError` when the exit code is not 0.

    Raises:
        CommandError: exit code other than 0, with `check`.
        CommandTimeout: not done within `timeout`.
        CommandCalledOff: it ran `beside` a block that failed.
        CommandMissing: no such program.
    """
    _go_on()
    started = time.monotonic()
    try:
        process = subprocess.Popen(
            list(argv),
            cwd=cwd,
            env={**os.environ, **env} if env is not None else None,
            stdin=subprocess.PIPE if input is not None else subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            start_new_session=True,
        )
    except FileNotFoundError as error:
        if cwd is not None and not Path(cwd).is_dir():
            raise
        raise CommandMissing(argv[0]) from error
    out: dict[str, bytearray] = {"stdout": bytearray(), "stderr": bytearray()}
    timed_out = False
    try:
        timed_out = _pump(process, out, input, on_line, started + timeout)
    except BaseException:
        _end_group(process)
        raise
    if timed_out:
        _end_group(process)
    process.wait()
    completed = Completed(
        tuple(argv),
        process.returncode,
        out["stdout"].decode(errors="replace"),
        out["stderr"].decode(errors="replace"),
        time.monotonic() - started,
    )
    if timed_out:
        raise CommandTimeout(completed, timeout)
    if check and completed.returncode != 0:
        raise CommandError(completed)
    return completed


@contextmanager
def beside(work: Callable[[], T]) -> Iterator[Future[T]]:
    """Do some work in a thread while the block runs; the block's end waits for it.

    Where the block fails, or is interrupted, the programs that the work runs are ended, and no other is begun.
    """
    called_off = threading.Event()

    def in_thread() -> T:
        _called_off.set(called_off)
        return work()

    with ThreadPoolExecutor(1) as pool:
        try:
            yield pool.submit(in_thread)
        except BaseException:
            called_off.set()
            raise


def _go_on() -> None:
    called_off = _called_off.get()
    if called_off is not None and called_off.is_set():
        raise CommandCalledOff("What this was wanted for has failed.")


def start_daemon(argv: Sequence[str], log: Path, env: Mapping[str, str] | None = None) -> int:
    """Start a program that outlives this one, in a session of its own, and return its process id.

    Raises:
        CommandMissing: no such program.
    """
    log.parent.mkdir(parents=True, exist_ok=True)
    with log.open("ab") as stream:
        try:
            process = subprocess.Popen(
                list(argv),
                env={**os.environ, **env} if env is not None else None,
                stdin=subprocess.DEVNULL,
                stdout=stream,
                stderr=stream,
                cwd="/",
                start_new_session=True,
            )
        except FileNotFoundError as error:
            raise CommandMissing(argv[0]) from error
    return process.pid


def replace_by(argv: Sequence[str]) -> NoReturn:
    """Become another program (an interactive ssh, say); never returns.

    Raises:
        CommandMissing: no such program.
    """
    try:
        os.execvp(argv[0], list(argv))
    except FileNotFoundError as error:
        raise CommandMissing(argv[0]) from error


def _pump(
    process: subprocess.Popen[bytes],
    out: dict[str, bytearray],
    input: str | None,
    on_line: Callable[[str], None] | None,
    deadline: float,
) -> bool:
    """Move bytes until both pipes are closed; return True when the deadline passed first."""
    pending = {"stdout": bytearray(), "stderr": bytearray()}
    with selectors.DefaultSelector() as selector:
        assert process.stdout is not None and process.stderr is not None
        selector.register(process.stdout, selectors.EVENT_READ, "stdout")
        selector.register(process.stderr, selectors.EVENT_READ, "stderr")
        to_write = memoryview(input.encode()) if input is not None else memoryview(b"")
        if input is not None:
            assert process.stdin is not None
            os.set_blocking(process.stdin.fileno(), False)
            selector.register(process.stdin, selectors.EVENT_WRITE, "stdin")
        while selector.get_map():
            left = deadline - time.monotonic()
            if left <= 0:
                return True
            _go_on()
            for key, _ in selector.select(min(left, 1.0)):
                if key.data == "stdin":
                    assert process.stdin is not None
                    try:
                        to_write = to_write[os.write(process.stdin.fileno(), to_write[:65536]) :]
                    except BrokenPipeError:
                        to_write = to_write[len(to_write) :]
                    if not to_write:
                        selector.unregister(process.stdin)
                        process.stdin.close()
                    continue
                chunk = os.read(key.fd, 65536)
                if not chunk:
                    selector.unregister(key.fileobj)
                    _emit(pending[key.data], b"\n" if pending[key.data] else b"", on_line)
                    continue
                out[key.data] += chunk
                _emit(pending[key.data], chunk, on_line)
            if process.poll() is not None and not selector.select(0.2):
                # A daemon the program left behind still holds the pipes.
                return False
    return False


def _emit(pending: bytearray, chunk: bytes, on_line: Callable[[str], None] | None) -> None:
    if on_line is None:
        return
    pending += chunk
    while (end := pending.find(b"\n")) >= 0:
        line = bytes(pending[:end]).decode(errors="replace").rstrip("\r")
        del pending[: end + 1]
        on_line(line)


def _end_group(process: subprocess.Popen[bytes]) -> None:
    """Ask the process group to end, then make it."""
    for number, patience in ((signal.SIGTERM, 10.0), (signal.SIGKILL, 10.0)):
        try:
            os.killpg(process.pid, number)
        except ProcessLookupError:
            return
        try:
            process.wait(patience)
            return
        except subprocess.TimeoutExpired:
            continue
