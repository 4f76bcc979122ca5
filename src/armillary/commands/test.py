"""`invoke test`: the project's own tests, then the proof that the running cluster works."""

from __future__ import annotations

import json
import sys
import tempfile
import xml.etree.ElementTree as ElementTree
from pathlib import Path
from typing import Any

from rich.console import Console

from armillary.commands.common import GOOD, UNTOLD, WRONG, CommandFailed, load, selection
from armillary.paths import ROOT
from armillary.report.checks import ANSWERS
from armillary.tools.process import run

HOUR = 3600.0


def test(
    console: Console,
    *,
    cloud: str = "local",
    cluster: str | None = None,
    unit: bool = False,
    verify: bool = False,
    as_json: bool = False,
    select: str | None = None,
) -> int:
    """Run the tests that are asked for; all that can run here when none is named.

    Args:
        console: where to print.
        cloud: the folder of inventories/ to take when `cluster` does not say.
        cluster: which cluster `verify` looks at.
        unit: only unit and contract tests.
        verify: only the proof on the running cluster.
        as_json: print one JSON object instead of pytest's output.
        select: handed to pytest's -k.

    Returns:
        0 when all passed, 1 when one failed, 2 when `verify` was asked for and no cluster is up.

    Raises:
        CommandFailed: cluster.yml is wrong.
    """
    suites: dict[str, list[str]] = {}
    if unit or not verify:
        # A process for each processor; tests of one file share what they start, and stay together.
        beside = ["--numprocesses=auto", "--dist=loadfile"]
        suites["unit"] = ["tests/unit", "tests/contract", "-m", "not slow", *beside]
    context = load(cloud, cluster)
    code, left_out = GOOD, ""
    if verify or not unit:
        if context.paths.endpoints.exists():
            suites["verify"] = ["tests/verify", f"--cluster={context.config}"]
        else:
            made = f"uv run invoke up {selection(cloud, cluster)}".rstrip()
            left_out = (
                f"No cluster {context.cluster.name} is up, so tests/verify is left out; "
                f"`{made}` makes one."
            )
            code = UNTOLD if verify else GOOD
    if left_out and not as_json:
        console.print(left_out)
    results: dict[str, Any] = {}
    for name, arguments in suites.items():
        if select:
            arguments = [*arguments, "-k", select]
        passed, results[name] = _pytest(arguments, quiet=as_json)
        if not passed:
            code = WRONG
    if as_json:
        found = {"ok": ANSWERS[code], "suites": results} | (
            {"left_out": left_out} if left_out else {}
        )
        console.print_json(json.dumps(found))
    return code


def _pytest(arguments: list[str], *, quiet: bool) -> tuple[bool, dict[str, Any]]:
    with tempfile.TemporaryDirectory(prefix="armillary-test-") as scratch:
        report = Path(scratch) / "report.xml"
        color = ["--color=yes"] if sys.stdout.isatty() and not quiet else []
        completed = run(
            [sys.executable, "-m", "pytest", f"--junitxml={report}", *color, *arguments],
            timeout=2 * HOUR,
            cwd=ROOT,
            check=False,
            on_line=None if quiet else lambda line: print(line, flush=True),
        )
        if not report.exists():
            raise CommandFailed(f"pytest did not start:\n{completed.stdout}{completed.stderr}")
        return completed.returncode == 0, _summary(report)


def _summary(report: Path) -> dict[str, Any]:
    """Return counts, and each test with its seconds, from pytest's JUnit file."""
    tree = ElementTree.parse(report)  # noqa: S314 - pytest has just written it
    suite = next(tree.getroot().iter("testsuite"))
    tests = []
    for case in suite.iter("testcase"):
        kinds = [child.tag for child in case if child.tag in ("failure", "error", "skipped")]
        tests.append(
            {
                "name": f"{case.get('classname')}::{case.get('name')}",
                "seconds": float(case.get("time") or 0),
                "outcome": kinds[0] if kinds else "passed",
            }
        )
    outcomes = [each["outcome"] for each in tests]
    return {
        "passed": outcomes.count("passed"),
        "failed": outcomes.count("failure") + outcomes.count("error"),
        "skipped": outcomes.count("skipped"),
        "seconds": float(suite.get("time") or 0),
        "tests": tests,
    }
