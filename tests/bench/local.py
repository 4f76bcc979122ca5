"""The `local` cloud measured: first `up`, the next, a worker more, users' servers, `down`."""

from __future__ import annotations

import os
import statistics
import time
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import yaml
from support import traces
from support.hub import HubSession
from support.lab import FIRST, Lab
from support.traces import DATA, Traces

from armillary.paths import ROOT
from armillary.stages import record
from bench.figures import Report, percentile
from bench.machine import empty_caches, memory_of

NAME = "bench"
NETWORK = {"hosts": "10.80.0.0/24", "pods": "10.234.0.0/16", "services": "10.235.0.0/16"}
MOST_WORKERS = 6
MEMORY_SAMPLES = 5


class Bench:
    """One run of the benchmark."""

    def __init__(self, lab: Lab, report: Report, before: Traces, spawns: int) -> None:
        self.lab, self.report, self.before, self.spawns = lab, report, before, spawns

    def up(self, figure: str | None = None, **options: Any) -> float:
        """Run `up` and note its seconds, and those of its stages."""
        runs = len(record.history(self.lab.paths))
        seconds = self.lab.invoke("up", timeout=2 * FIRST, **options).seconds
        if figure:
            self.report.add(figure, seconds)
            self.report.stages(figure, record.history(self.lab.paths)[runs:])
        return seconds

    def cold(self) -> None:
        """The first `up` with empty caches; then nothing of it but the caches."""
        self.up("up_cold")
        self.lab.invoke("down", "--with-data", "--yes-lose", NAME)

    def cached(self) -> None:
        """The first `up` with all that is built at hand."""
        self.up("up_cached")

    def nothing(self) -> None:
        """`up` with nothing to do."""
        self.up("up_nothing")

    def memory(self) -> None:
        """What all of it takes when nobody is there: the median of some looks."""
        self.lab.until_well(180)
        looks = []
        for _ in range(MEMORY_SAMPLES):
            looks.append(memory_of(NAME))
            time.sleep(2)
        sums = [sum(look.values()) for look in looks]
        parts = {name: round(value, 3) for name, value in looks[-1].items()}
        self.report.add("idle_memory", statistics.median(sums), gib=parts)

    def spawn(self) -> None:
        """A user's server, started and stopped again and again; the first is not counted."""
        with self.lab.browser("astronomer") as browser:
            seconds = [_spawn(browser) for _ in range(self.spawns + 1)][1:]
        rounded = [round(value, 2) for value in seconds]
        self.report.add("spawn_p50", percentile(seconds, 0.5), seconds=rounded)
        self.report.add("spawn_p95", percentile(seconds, 0.95))

    def workers(self) -> None:
        """One worker more, with few and with many."""
        few = self._more_workers(3, "worker_at_2")
        self._more_workers(5, None)
        many = self._more_workers(MOST_WORKERS, "worker_at_5")
        self.report.add("worker_growth", many / few)

    def fewer(self) -> None:
        """Back to the hosts that `local` has, for `down` to be measured on."""
        self._more_workers(2, None)

    def _more_workers(self, count: int, figure: str | None) -> float:
        write_config(self.lab.config, workers=count)
        return self.up(figure)

    def down(self) -> None:
        """`down`, and what of the cluster is still on the machine; then without data too."""
        seconds = self.lab.invoke("down").seconds
        self.report.add("down", seconds, hosts=len(self.lab.cluster.expanded_hosts()))
        left = traces.look().more_than(self.before, NAME)
        left.pop(DATA, None)
        self.report.add("left_after_down", sum(map(len, left.values())), left=left)
        self.gone()
        left = traces.look().more_than(self.before, NAME)
        self.report.add("left_after_data", sum(map(len, left.values())), left=left)

    def gone(self) -> None:
        """Take all of it away."""
        if self.lab.paths.root.exists():
            self.lab.invoke("down", "--with-data", "--yes-lose", NAME)


def _spawn(browser: HubSession) -> float:
    seconds = browser.start_server()
    browser.stop_server()
    print(f"{seconds:.2f} s", flush=True)
    return seconds


def write_config(path: Path, *, workers: int) -> None:
    """Write the cluster.yml of `local` under another name, with other addresses."""
    content = yaml.safe_load((ROOT / "inventories" / "local" / "cluster.yml").read_text())
    content["name"] = NAME
    content.pop("domain", None)
    content["network"].update(NETWORK)
    content["hosts"]["worker"]["count"] = workers
    path.write_text(yaml.safe_dump(content, sort_keys=False))


def measure(report: Report, work: Path, *, cold: bool, spawns: int) -> None:
    """Measure all of it.

    Args:
        report: where the figures go.
        work: a directory for cluster.yml and logs.
        cold: measure the first `up` with empty caches too.
        spawns: how many times a user's server is started.
    """
    lab = Lab(work / "cluster.yml", work)
    write_config(lab.config, workers=2)
    if lab.paths.root.exists():
        print(f"Cluster {NAME} is there from an earlier run; it goes first.")
        lab.invoke("down", "--with-data", "--yes-lose", NAME)
    bench = Bench(lab, report, traces.look(), spawns)
    with empty_caches() if cold else nullcontext({}) as environment:
        os.environ.update(environment)
        try:
            if cold:
                report.step("first up, empty caches", bench.cold)
            report.step("first up", bench.cached)
            report.step("up that changes nothing", bench.nothing)
            report.step("idle memory", bench.memory)
            report.step("a user's server", bench.spawn)
            report.step("one worker more", bench.workers)
            report.step("workers go", bench.fewer)
            report.step("down", bench.down)
        finally:
            report.step("taking it away", bench.gone)
