"""Frames of JSON between a runner and a filter's process, with a deadline and bounded sizes."""

from __future__ import annotations

import json
import os
import selectors
import struct
import subprocess
import time
from pathlib import Path
from typing import Any

HEADER = struct.Struct(">I")
#: The key of an answer that says why an alert failed.
ERROR = "__error__"
PIECE = 1 << 16
#: How often a process that does not answer is looked at, in seconds.
LOOK = 0.1
#: Time by the clock that a process gets, as a multiple of the processor time it is allowed; and seconds besides.
#: A busy machine is no fault of a filter's; one that sleeps is.
PATIENCE, GRACE = 5.0, 5.0


class Fault(Exception):
    """The process hung, died or broke the protocol; the message is for the filter's owner."""


def frame(message: Any) -> bytes:
    """Return a message as it goes over the pipe; NaN stays what it is.

    Raises:
        TypeError, ValueError: it is no JSON.
    """
    body = json.dumps(message).encode()
    return HEADER.pack(len(body)) + body


class Budget:
    """Processor time that a process has for something, and the time by the clock that goes with it."""

    def __init__(self, pid: int, seconds: float) -> None:
        self._pid = pid
        self._cpu = _cpu_seconds(pid) + seconds
        self._deadline = time.monotonic() + PATIENCE * seconds + GRACE

    @property
    def spent(self) -> bool:
        """Nothing is left of it."""
        return time.monotonic() > self._deadline or _cpu_seconds(self._pid) > self._cpu


def _cpu_seconds(pid: int) -> float:
    """Return the processor time that a process has used; 0 where it is gone."""
    try:
        text = Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        return 0.0
    # The name before it can hold anything: https://man7.org/linux/man-pages/man5/proc_pid_stat.5.html
    user, system = text.rpartition(")")[2].split()[11:13]
    return (int(user) + int(system)) / os.sysconf("SC_CLK_TCK")


class Channel:
    """The runner's end. Sends while it waits for answers: pipes are small, and both sides could wait for ever."""

    def __init__(self, process: subprocess.Popen[bytes], largest: int) -> None:
        """Take the pipes of a process.

        Args:
            process: with stdin and stdout as pipes.
            largest: bytes that an answer may have.
        """
        assert process.stdin
        assert process.stdout
        self.process = process
        self.largest = largest
        self._stdin, self._stdout = process.stdin, process.stdout
        self._out = memoryview(b"")
        self._answers = 0
        for pipe in (self._stdin, self._stdout):
            os.set_blocking(pipe.fileno(), False)

    def queue(self, message: Any) -> None:
        """Have a message sent with the next `receive`."""
        self._out = memoryview(bytes(self._out) + frame(message))

    def budget(self, seconds: float) -> Budget:
        """Return so much processor time, from now on."""
        return Budget(self.process.pid, seconds)

    def receive(self, budget: Budget) -> Any:
        """Return the next answer.

        Raises:
            Fault: what came is no answer.
            TimeoutError: the budget is spent.
            EOFError: the process ended.
        """
        self._answers += 1
        if self._answers % 16 == 0 and budget.spent:
            raise TimeoutError
        (size,) = HEADER.unpack(self._read(HEADER.size, budget))
        if size > self.largest:
            raise Fault("the filter's process answered more than a result may hold")
        try:
            return json.loads(self._read(size, budget))
        except (ValueError, RecursionError) as error:
            raise Fault("the filter's process answered what is no JSON") from error

    def close(self) -> None:
        """End the process."""
        self.process.kill()
        self.process.wait()
        for pipe in (self._stdin, self._stdout):
            pipe.close()

    def _read(self, size: int, budget: Budget) -> bytes:
        found = bytearray()
        with selectors.DefaultSelector() as selector:
            selector.register(self._stdout, selectors.EVENT_READ)
            if self._out:
                selector.register(self._stdin, selectors.EVENT_WRITE)
            while len(found) < size:
                ready = selector.select(LOOK)
                if not ready and budget.spent:
                    raise TimeoutError
                for key, _ in ready:
                    if key.fileobj is self._stdin:
                        self._write(selector)
                        continue
                    part = os.read(self._stdout.fileno(), size - len(found))
                    if not part:
                        raise EOFError
                    found += part
        return bytes(found)

    def _write(self, selector: selectors.BaseSelector) -> None:
        try:
            self._out = self._out[os.write(self._stdin.fileno(), self._out[:PIECE]) :]
        except BlockingIOError:
            return
        except BrokenPipeError:
            self._out = memoryview(b"")
        if not self._out:
            selector.unregister(self._stdin)
