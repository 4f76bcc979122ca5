"""`invoke bench`: measure what Armillary promises, and write it down."""

from __future__ import annotations

import os
import sys

from armillary.commands.common import GOOD, WRONG
from armillary.paths import ROOT
from armillary.tools.process import run

HOURS = 3 * 3600.0
TESTS = ROOT / "tests"


def bench(*, cloud: str = "local", cold: bool = False, spawns: int = 20) -> int:
    """Run tests/bench on a cluster of its own, `bench`, which is taken down in the end.

    The figures go to docs/reference/benchmarks.json and benchmarks.md.

    Args:
        cloud: `local`, or `sandbox`: the OpenStack of `invoke sandbox up`; where there is none, only what needs none.
        cold: measure the first `up` with empty caches too, which takes half an hour more; with `sandbox`, make the sandbox
            anew.
        spawns: how many times a user's server is started.

    Returns:
        0 when all was measured, 1 when something could not be.
    """
    arguments = [f"--cloud={cloud}", f"--spawns={spawns}", *(["--cold"] if cold else [])]
    path = os.pathsep.join(filter(None, [str(TESTS), os.environ.get("PYTHONPATH")]))
    done = run(
        [sys.executable, "-u", "-m", "bench", *arguments],
        timeout=HOURS,
        cwd=ROOT,
        env={"PYTHONPATH": path},
        check=False,
        on_line=lambda line: print(line, flush=True),
    )
    return GOOD if done.returncode == 0 else WRONG
