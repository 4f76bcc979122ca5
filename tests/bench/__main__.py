"""Measure: `uv run invoke bench`."""

from __future__ import annotations

import argparse
import sys
import tempfile
from datetime import UTC, datetime
from pathlib import Path

from armillary.paths import ROOT
from armillary.tools.incus import instances, server
from bench import local, sandbox
from bench.figures import Report
from bench.machine import commit, machine, versions


def main() -> int:
    """Measure all there is and return 0, or 1 where something could not be measured."""
    parser = argparse.ArgumentParser(prog="invoke bench", description=__doc__)
    parser.add_argument("--cloud", choices=["local", "sandbox"], default="local")
    parser.add_argument("--cold", action="store_true", help="with empty caches first")
    parser.add_argument("--spawns", type=int, default=20)
    parser.add_argument("--out", type=Path, default=ROOT / "docs" / "reference")
    arguments = parser.parse_args()
    known = {sandbox.CONTAINER} if arguments.cloud == "sandbox" else set()
    others = [each["name"] for each in instances() if each["name"] not in known] if server() else []
    if others:
        print(f"Not alone, so the figures will be worse: {', '.join(others)} run here too.")
    run = {
        "date": f"{datetime.now(UTC):%Y-%m-%d %H:%M} UTC",
        "commit": commit(),
        "machine": {**machine(), "other instances": len(others)},
        "versions": versions(),
    }
    out: Path = arguments.out
    report = Report(out / "benchmarks.json", out / "benchmarks.md", run)
    with tempfile.TemporaryDirectory(prefix="armillary-bench-") as work:
        if arguments.cloud == "sandbox":
            sandbox.measure(report, Path(work), cold=arguments.cold)
        else:
            local.measure(report, Path(work), cold=arguments.cold, spawns=arguments.spawns)
    print(report.page.read_text())
    return 1 if report.content["failed"] else 0


if __name__ == "__main__":
    sys.exit(main())
