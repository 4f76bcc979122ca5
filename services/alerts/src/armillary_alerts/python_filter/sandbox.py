"""The runner's side of the jail: gives a filter its batches, and outlives whatever it does.

A batch is answered alert by alert. Where the process hangs, dies or talks nonsense, the alert it was at counts as failed, a new
process goes on with the next one; after too many such faults the filter is stopped, and what follows fails with that reason. So
every alert has an outcome, whatever the user wrote.
"""

from __future__ import annotations

import subprocess
import sys
import time
from collections import deque
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Literal, Self

from armillary_alerts.python_filter.channel import ERROR, Budget, Channel, Fault
from armillary_alerts.python_filter.limits import MIB, JailLimits

PACKAGES = Path(__file__).parents[2]
CHILD = (
    f"import sys; sys.path.insert(0, {str(PACKAGES)!r}); "
    "from armillary_alerts.python_filter.child import main; main()"
)
#: All that a filter's process sees of an environment.
ENVIRONMENT = {
    "LANG": "C.UTF-8",
    "OPENBLAS_NUM_THREADS": "1",
    "OMP_NUM_THREADS": "1",
    # The address space is limited, and each further arena takes 64 MiB of it.
    "MALLOC_ARENA_MAX": "2",
}

Kind = Literal["passed", "rejected", "failed"]


class FilterBroken(ValueError):
    """The code could not be loaded; the message is for its owner."""


class JailMissing(RuntimeError):
    """This machine cannot shut a process in; the message is for the operator."""


@dataclass(frozen=True)
class Outcome:
    """What became of one alert."""

    kind: Kind
    annotations: dict[str, Any] = field(default_factory=dict)
    """What the filter returned, where that was a dict."""
    reason: str = ""
    """Why it failed."""


class Sandbox:
    """One filter's process, started anew whenever it has to be."""

    def __init__(self, code: str, limits: JailLimits | None = None) -> None:
        self.code = code
        self.limits = limits or JailLimits()
        self.stopped = ""
        """Why the filter runs no more; empty while it does."""
        self.restarts = 0
        self._faults: deque[float] = deque()
        self._failed_in_a_row = 0
        self._channel: Channel | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def start(self) -> None:
        """Start the process and load the code.

        Raises:
            FilterBroken: the code does not load, or hangs or dies while it does.
            JailMissing: this machine lacks what the jail is made of.
        """
        self.close()
        process = subprocess.Popen(
            # Nothing of the runner's environment, no user's packages, no current directory.
            [sys.executable, "-I", "-c", CHILD],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            cwd="/",
            env=ENVIRONMENT,
            start_new_session=True,
        )
        channel = self._channel = Channel(process, self.limits.result_bytes + 1024)
        channel.queue({"code": self.code, "limits": asdict(self.limits)})
        try:
            seconds = self.limits.load_seconds
            answer = self._receive(channel, channel.budget(seconds), seconds, "while it was loaded")
        except Fault as fault:
            self.close()
            raise FilterBroken(str(fault)) from None
        if answer == {"loaded": True}:
            return
        self.close()
        if isinstance(answer, dict) and "jail" in answer:
            raise JailMissing(str(answer["jail"]))
        raise FilterBroken(_text(answer, "error"))

    def run(self, batch: Sequence[dict[str, Any]]) -> list[Outcome]:
        """Return an outcome for each alert, in their order; takes at most some six times `faults` times `batch_seconds`.

        Raises:
            JailMissing: this machine lacks what the jail is made of.
        """
        outcomes: list[Outcome] = []
        while len(outcomes) < len(batch) and not self.stopped:
            try:
                if self._channel is None:
                    self.start()
                self._run(batch[len(outcomes) :], outcomes)
            except FilterBroken as error:
                self.stopped = str(error)
            except Fault as fault:
                outcomes.append(Outcome("failed", reason=str(fault)))
                self._note(str(fault))
        self._count(outcomes)
        missing = len(batch) - len(outcomes)
        return outcomes + [Outcome("failed", reason=f"stopped: {self.stopped}")] * missing

    def close(self) -> None:
        """End the process."""
        channel, self._channel = self._channel, None
        if channel:
            channel.close()

    def _run(self, batch: Sequence[dict[str, Any]], outcomes: list[Outcome]) -> None:
        channel = self._channel
        assert channel
        seconds = self.limits.batch_seconds
        budget = channel.budget(seconds)
        channel.queue(list(batch))
        # One by one: what came before a fault counts.
        outcomes.extend(
            _outcome(self._receive(channel, budget, seconds, "with a batch")) for _ in batch
        )

    def _count(self, outcomes: Sequence[Outcome]) -> None:
        """Stop a filter that fails on every alert: its owner learns more from one reason than from a million."""
        for number, outcome in enumerate(reversed(outcomes)):
            if outcome.kind != "failed":
                self._failed_in_a_row = number
                break
        else:
            self._failed_in_a_row += len(outcomes)
        if not self.stopped and self._failed_in_a_row >= self.limits.failures:
            self.stopped = (
                f"{self._failed_in_a_row} alerts in a row failed; the last: {outcomes[-1].reason}"
            )

    def _receive(self, channel: Channel, budget: Budget, seconds: float, doing: str) -> Any:
        try:
            return channel.receive(budget)
        except TimeoutError:
            raise Fault(
                f"the filter took more than {seconds:g} s of processor time {doing}, or slept"
            ) from None
        except EOFError:
            code = channel.process.wait()
            how = f"signal {-code}" if code < 0 else f"exit code {code}"
            raise Fault(
                f"the filter's process ended {doing} ({how}); it may use "
                f"{self.limits.memory // MIB} MiB of memory"
            ) from None

    def _note(self, reason: str) -> None:
        self.close()
        self.restarts += 1
        now = time.monotonic()
        self._faults.append(now)
        while self._faults[0] < now - self.limits.fault_window:
            self._faults.popleft()
        if len(self._faults) >= self.limits.faults:
            minutes = self.limits.fault_window / 60
            self.stopped = f"{len(self._faults)} faults in {minutes:g} minutes; the last: {reason}"


def _outcome(answer: Any) -> Outcome:
    if answer is True:
        return Outcome("passed")
    if answer is False:
        return Outcome("rejected")
    if not isinstance(answer, dict):
        raise Fault("the filter's process answered what is no result")
    if ERROR in answer:
        return Outcome("failed", reason=_text(answer, ERROR))
    return Outcome("passed", annotations=answer)


def _text(answer: Any, key: str) -> str:
    """Return what the process says of an error: bounded, and printable."""
    said = answer.get(key) if isinstance(answer, dict) else None
    return "".join(each if each.isprintable() else " " for each in str(said)[:600])
