"""Several runs of pytest come out as one, with nothing lost on the way."""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path

import pytest

from armillary.paths import ROOT
from armillary.tools.process import Completed, run

TESTS = """
import pytest

def test_good():
    pass

def test_bad():
    assert 1 == 2, "not so"

def test_left_out():
    pytest.skip("no such thing here")

@pytest.fixture
def broken():
    raise RuntimeError("cannot be made")

def test_without_ground(broken):
    pass
"""


@pytest.fixture
def apart(monkeypatch: pytest.MonkeyPatch) -> None:
    """Keep these runs out of the record of the run that this test is part of."""
    monkeypatch.delenv("ARMILLARY_TEST_RECORD", raising=False)
    monkeypatch.delenv("PYTEST_ADDOPTS", raising=False)
    monkeypatch.delenv("PYTEST_XDIST_WORKER", raising=False)


def _pytest(target: Path, record: Path | None = None, *arguments: str) -> Completed:
    path = os.pathsep.join(filter(None, [str(ROOT / "tests"), os.environ.get("PYTHONPATH")]))
    return run(
        [
            *(sys.executable, "-m", "pytest", "-q", "-p", "support.record", "-c", os.devnull),
            *(f"--rootdir={target.parent}", "-p", "no:cacheprovider", str(target)),
            *arguments,
        ],
        timeout=60,
        env={"PYTHONPATH": path} | ({"ARMILLARY_TEST_RECORD": str(record)} if record else {}),
        check=False,
    )


@pytest.mark.usefixtures("apart")
def test_the_summary_of_a_record_is_that_of_its_runs(tmp_path: Path) -> None:
    record = tmp_path / "all.jsonl"
    for name in ("test_one.py", "test_two.py"):
        (tmp_path / name).write_text(TESTS)
        assert _pytest(tmp_path / name, record).returncode == 1
    assert len(record.read_text().splitlines()) == 8
    shown = _pytest(record)
    assert shown.returncode == 1
    assert "4 failed, 2 passed, 2 skipped" in shown.stdout.splitlines()[-1]
    assert "not so" in shown.stdout
    assert "cannot be made" in shown.stdout


@pytest.mark.usefixtures("apart")
def test_a_record_of_nothing_but_good_is_good(tmp_path: Path) -> None:
    record = tmp_path / "all.jsonl"
    entry = {"test": ".ci/run::lint", "outcome": "passed", "seconds": 1, "reason": ""}
    record.write_text(json.dumps(entry) + "\n")
    shown = _pytest(record)
    assert shown.returncode == 0
    assert shown.stdout.splitlines()[-1].startswith("1 passed")


@pytest.mark.usefixtures("apart")
def test_what_several_processes_report_is_recorded_once(tmp_path: Path) -> None:
    record = tmp_path / "all.jsonl"
    (tmp_path / "test_one.py").write_text(TESTS)
    _pytest(tmp_path / "test_one.py", record, "--numprocesses=2")
    names = [
        json.loads(line)["test"].rpartition("::")[2] for line in record.read_text().splitlines()
    ]
    assert sorted(names) == ["test_bad", "test_good", "test_left_out", "test_without_ground"]
