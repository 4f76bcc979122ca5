"""A pytest plugin (`-p support.record`) that sums up several runs of pytest as one.

Where `ARMILLARY_TEST_RECORD` names a file, each test's outcome is added to it as a line of JSON. A
run of pytest on such a file shows every outcome again, and ends with the one summary of them all.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

VARIABLE = "ARMILLARY_TEST_RECORD"
WORKER = "PYTEST_XDIST_WORKER"
SUFFIX = ".jsonl"


def pytest_runtest_logreport(report: pytest.TestReport) -> None:
    """Add a test's outcome: that of its body, or of what failed or was skipped around it."""
    path = os.environ.get(VARIABLE)
    # What a worker of pytest-xdist reports, its controller reports again.
    if path is None or WORKER in os.environ or (report.when != "call" and report.passed):
        return
    entry = {
        "test": report.nodeid,
        "outcome": report.outcome,
        "seconds": round(report.duration, 2),
        "reason": "" if report.passed else _reason(report),
    }
    with Path(path).open("a") as stream:
        stream.write(json.dumps(entry) + "\n")


def _reason(report: pytest.TestReport) -> str:
    if isinstance(report.longrepr, tuple):
        return str(report.longrepr[2])
    return report.longreprtext[-4000:]


def pytest_collect_file(file_path: Path, parent: pytest.Collector) -> pytest.Collector | None:
    """Take a file of outcomes for a file of tests, where it is given by name."""
    if file_path.suffix != SUFFIX:
        return None
    file: Outcomes = Outcomes.from_parent(parent, path=file_path)
    return file


class Outcomes(pytest.File):
    """A file of outcomes."""

    def collect(self) -> Iterator[pytest.Item]:
        for line in self.path.read_text().splitlines():
            entry = json.loads(line)
            yield Outcome.from_parent(self, name=entry["test"], entry=entry)


class Outcome(pytest.Item):
    """A test that was run before."""

    def __init__(self, *, entry: dict[str, Any], **options: Any) -> None:
        super().__init__(**options)
        self.entry = entry

    def runtest(self) -> None:
        """Come out as it came out."""
        if self.entry["outcome"] == "failed":
            pytest.fail(self.entry["reason"], pytrace=False)
        if self.entry["outcome"] == "skipped":
            pytest.skip(self.entry["reason"])

    def reportinfo(self) -> tuple[Path, int | None, str]:
        return self.path, None, self.name
