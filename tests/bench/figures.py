"""The figures: what is promised, what was measured, and the page that shows both."""

from __future__ import annotations

import json
import math
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from armillary.files import write
from armillary.report.progress import duration


@dataclass(frozen=True)
class Target:
    """One figure: what it is, and the most it may be."""

    title: str
    most: float
    unit: str
    """`s`, `GiB`, `things` or `times`."""


TARGETS: Mapping[str, Target] = {
    "up_cold": Target("first `up`, empty caches", 1800, "s"),
    "up_cached": Target("first `up`, artifacts cached", 360, "s"),
    "up_nothing": Target("`up` that changes nothing", 60, "s"),
    "worker_at_2": Target("one worker more, 2 to 3", 90, "s"),
    "worker_at_5": Target("one worker more, 5 to 6", 90, "s"),
    "worker_growth": Target("the same, at 5 over at 2", 1.25, "times"),
    "down": Target("`down`", 30, "s"),
    "left_after_down": Target("left after it, data excepted", 0, "things"),
    "left_after_data": Target("left after `down --with-data`", 0, "things"),
    "idle_memory": Target("idle memory of the whole", 5, "GiB"),
    "spawn_p50": Target("a user's server, warm: p50 of 20", 10, "s"),
    "spawn_p95": Target("a user's server, warm: p95 of 20", 20, "s"),
    "sandbox_up": Target("first `sandbox up`, empty caches", 480, "s"),
    "sandbox_cached": Target("first `sandbox up`, images cached", 480, "s"),
    "os_doctor": Target("OpenStack: `doctor`", 10, "s"),
    "os_apply": Target("OpenStack: Terraform, three servers, nothing there before", 60, "s"),
    "os_ssh": Target("OpenStack: from a server's making to ssh, processors emulated", 90, "s"),
    "os_ssh_three": Target("the same, three servers at once, the last of them", 90, "s"),
    "os_up": Target("OpenStack: first `up` to registry and NFS, processors emulated", 900, "s"),
    "os_down": Target("OpenStack: `down`", 60, "s"),
    "os_left": Target("OpenStack: left after `down --with-data`", 0, "things"),
    "os_plan": Target("OpenStack: plan that changes nothing, 50 hosts, no cloud asked", 5, "s"),
}


@dataclass
class Report:
    """What was measured so far; every addition is written down at once.

    Figures of an earlier run stay until they are measured again, each with the run it is of.
    """

    json_file: Path
    page: Path
    run: Mapping[str, Any]
    """When, where and of what: machine, versions, date."""

    def __post_init__(self) -> None:
        try:
            self.content: dict[str, Any] = json.loads(self.json_file.read_text())
        except FileNotFoundError:
            self.content = {}
        for key in ("figures", "details", "stages"):
            self.content.setdefault(key, {})
        self.content["failed"] = {}

    def add(self, name: str, value: float, **details: Any) -> None:
        """Add a figure of TARGETS, and what else is to be known of it."""
        target = TARGETS[name]
        self.content["figures"][name] = {
            "title": target.title,
            "target": target.most,
            "measured": round(value, 2),
            "unit": target.unit,
            "met": value <= target.most,
            "run": dict(self.run),
        }
        if details:
            self.content["details"][name] = details
        self.save()

    def stages(self, name: str, reports: Sequence[Mapping[str, Any]]) -> None:
        """Keep the seconds of each stage of the `up` behind a figure."""
        self.content["stages"][name] = {each["stage"]: each["seconds"] for each in reports}
        self.save()

    def step(self, name: str, measure: Callable[[], None]) -> None:
        """Measure something; what goes wrong is noted, and what was measured before stays."""
        print(f"\n=== {name}", flush=True)
        try:
            measure()
        except Exception as error:
            print(f"{type(error).__name__}: {error}", file=sys.stderr)
            self.failed(name, f"{type(error).__name__}: {error}")

    def failed(self, step: str, why: str) -> None:
        """Say that a step did not come to its end; what is there from earlier stays."""
        self.content["failed"][step] = why
        self.save()

    def save(self) -> None:
        """Write both files."""
        write(self.json_file, json.dumps(self.content, indent=1) + "\n")
        write(self.page, render(self.content))


def percentile(values: Sequence[float], share: float) -> float:
    """Return the nearest-rank percentile: the least value that `share` of all do not exceed."""
    ordered = sorted(values)
    return ordered[max(0, math.ceil(share * len(ordered)) - 1)]


def render(content: Mapping[str, Any]) -> str:
    """Return docs/reference/benchmarks.md."""
    figures = content["figures"]
    lines = [
        "# Benchmarks",
        "",
        "Written by `uv run invoke bench`, and `bench --cloud sandbox` on a real OpenStack; every figure is measured, on the machine named below.",
        "The same as JSON: [benchmarks.json](benchmarks.json).",
        "",
        "| What | At most | Measured | |",
        "|---|---|---|---|",
    ]
    for name, target in TARGETS.items():
        found = figures.get(name)
        measured = _in_words(found["measured"], target.unit) if found else "not yet"
        verdict = {True: "met", False: "**missed**", None: ""}[found["met"] if found else None]
        limit = _in_words(target.most, target.unit)
        lines.append(f"| {target.title} | {limit} | {measured} | {verdict} |")
    lines += ["", *_runs(figures), *_stages(content["stages"])]
    if content.get("failed"):
        lines += ["## What could not be measured in the last run", ""]
        lines += [f"- {step}: {why.splitlines()[0]}" for step, why in content["failed"].items()]
        lines.append("")
    return "\n".join(lines).rstrip() + "\n"


def _in_words(value: float, unit: str) -> str:
    if unit == "s":
        return duration(value)
    if unit == "things":
        return f"{value:.0f}" if value else "nothing"
    return f"{value:.2f} {unit}" if value != round(value) else f"{value:.0f} {unit}"


def _runs(figures: Mapping[str, Any]) -> list[str]:
    """Return the runs the figures are of, latest first, each with what it was of."""
    runs: dict[str, tuple[Mapping[str, Any], list[str]]] = {}
    for figure in figures.values():
        run = figure["run"]
        runs.setdefault(run["date"], (run, []))[1].append(figure["title"])
    lines = []
    for date, (run, titles) in sorted(runs.items(), reverse=True):
        which = "all of the above" if len(runs) == 1 else "; ".join(titles)
        lines += [f"Measured {date}, commit {run['commit']}: {which}.", ""]
        lines += [f"- {key}: {value}" for key, value in run["machine"].items()]
        lines += [f"- {key}: {value}" for key, value in run["versions"].items()]
        lines.append("")
    return lines


def _stages(stages: Mapping[str, Mapping[str, float]]) -> list[str]:
    if not stages:
        return []
    names = list(dict.fromkeys(stage for found in stages.values() for stage in found))
    lines = ["## Where the time goes", "", f"| `up` | {' | '.join(names)} |"]
    lines.append("|---" * (len(names) + 1) + "|")
    for name, found in stages.items():
        cells = [duration(found[stage]) if stage in found else "" for stage in names]
        title = TARGETS[name].title.replace("`", "") if name in TARGETS else name
        lines.append(f"| {title} | {' | '.join(cells)} |")
    return [*lines, ""]
