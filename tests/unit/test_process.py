"""Outside programs that run beside something else."""

from __future__ import annotations

import subprocess
import time
from pathlib import Path

import pytest
from support.waiting import until

from armillary.tools.process import CommandCalledOff, Completed, beside, run

FOREVER = "echo $$ > $0 && sleep 600 & wait"
LIMIT = 30.0


def test_what_runs_beside_has_its_result() -> None:
    with beside(lambda: run(["echo", "M31"], timeout=LIMIT)) as working:
        pass
    assert working.result(0).stdout == "M31\n"


def test_what_fails_beside_is_told_where_it_is_waited_for() -> None:
    with (
        beside(lambda: Path("/nonexistent").read_text()) as working,
        pytest.raises(FileNotFoundError),
    ):
        working.result(LIMIT)


@pytest.mark.parametrize("error", [KeyboardInterrupt, RuntimeError])
def test_where_the_block_fails_its_programs_end(tmp_path: Path, error: type[BaseException]) -> None:
    written = tmp_path / "pid"
    started = time.monotonic()
    with pytest.raises(error), beside(lambda: _twice(written)) as working:
        until(lambda: written.exists() and written.read_text() != "", "it runs", LIMIT)
        raise error
    assert time.monotonic() - started < LIMIT
    with pytest.raises(CommandCalledOff):
        working.result(0)
    group = written.read_text().strip()
    shown = subprocess.run(["ps", "-o", "stat=", "-g", group], capture_output=True, text=True)
    # What has ended is there until somebody asks how.
    assert [each for each in shown.stdout.split() if not each.startswith("Z")] == []
    assert not (tmp_path / "second").exists()


def _twice(written: Path) -> Completed:
    try:
        return run(["sh", "-c", FOREVER, str(written)], timeout=600)
    finally:
        run(["touch", str(written.parent / "second")], timeout=LIMIT)
