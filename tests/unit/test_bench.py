"""The benchmark's report: nothing that was measured is lost, nothing that was not is made up."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from bench import sandbox
from bench.figures import TARGETS, Report, percentile, render
from bench.local import write_config
from bench.sandbox import when
from support.lab import Running

from armillary.config import read_cluster
from armillary.paths import ROOT

RUN = {
    "date": "2026-11-23 20:00 UTC",
    "commit": "abc1234",
    "machine": {"processors": "2", "memory": "24 GiB"},
    "versions": {"Kubernetes": "1.36.3"},
}


def _report(folder: Path, **changes: object) -> Report:
    return Report(folder / "benchmarks.json", folder / "benchmarks.md", {**RUN, **changes})


def test_a_figure_is_met_or_missed_by_its_target(tmp_path: Path) -> None:
    report = _report(tmp_path)
    report.add("up_cached", 359.9)
    report.add("down", 30.1)
    page = report.page.read_text().splitlines()
    assert "| first `up`, artifacts cached | 6 min 00 s | 6 min 00 s | met |" in page
    assert "| `down` | 30 s | 30 s | **missed** |" in page


def test_what_was_not_measured_is_said(tmp_path: Path) -> None:
    report = _report(tmp_path)
    report.add("up_cached", 100)
    assert report.page.read_text().count("| not yet |") == len(TARGETS) - 1


def test_what_was_measured_before_a_failure_stays(tmp_path: Path) -> None:
    report = _report(tmp_path)
    report.add("up_cached", 100)
    report.failed("one worker more", "AssertionError: no room\nand much more")
    kept = json.loads(report.json_file.read_text())
    assert kept["figures"]["up_cached"]["measured"] == 100
    assert "- one worker more: AssertionError: no room" in report.page.read_text()


def test_a_figure_of_an_earlier_run_keeps_that_runs_date(tmp_path: Path) -> None:
    """The cold `up` takes half an hour and is measured seldom."""
    first = _report(tmp_path)
    first.add("up_cold", 1700)
    first.failed("down", "broken")
    second = _report(tmp_path, date="2026-12-01 08:00 UTC")
    second.add("up_cached", 200)
    figures = json.loads(second.json_file.read_text())["figures"]
    assert figures["up_cold"]["run"]["date"].startswith("2026-11-23")
    assert figures["up_cached"]["run"]["date"].startswith("2026-12-01")
    page = second.page.read_text()
    assert page.index("2026-12-01") < page.index("2026-11-23")
    assert "could not be measured" not in page


@pytest.mark.parametrize(
    ("values", "share", "expected"),
    [
        ([5.0, 1.0, 3.0], 0.5, 3.0),
        ([float(n) for n in range(1, 21)], 0.5, 10.0),
        ([float(n) for n in range(1, 21)], 0.95, 19.0),
        ([7.0], 0.95, 7.0),
    ],
)
def test_a_percentile_is_a_value_that_was_seen(
    values: list[float], share: float, expected: float
) -> None:
    assert percentile(values, share) == expected


@pytest.mark.parametrize("workers", [2, 6])
def test_the_cluster_is_the_local_one_under_another_name(tmp_path: Path, workers: int) -> None:
    path = tmp_path / "cluster.yml"
    write_config(path, workers=workers)
    cluster, _ = read_cluster(path)
    local, _ = read_cluster(ROOT / "inventories" / "local" / "cluster.yml")
    assert cluster.name == "bench"
    assert len(cluster.workers()) == workers
    assert cluster.flavors == local.flavors
    assert cluster.components == local.components
    assert not cluster.network.hosts.overlaps(local.network.hosts)


def test_what_a_run_said_gives_the_times_of_its_parts(tmp_path: Path) -> None:
    log = tmp_path / "up.log"
    log.write_text(
        "  Provision (about 20 s)\n        2 s  terraform plan, data\n"
        "       58 s  waiting for the ssh key of a, b on the console\n"
        "       90 s  waiting for the ssh key of b on the console\n"
    )
    said = Running(None, log)  # type: ignore[arg-type]
    assert when(said, sandbox.WAITS) - when(said, "terraform plan, data") == 56
    with pytest.raises(LookupError, match="terraform apply"):
        when(said, "terraform apply")


def test_the_sandbox_is_measured_on_a_cluster_of_its_own(tmp_path: Path) -> None:
    sandbox.write_config(tmp_path / "cluster.yml")
    cluster, _ = read_cluster(tmp_path / "cluster.yml")
    assert cluster.name == sandbox.NAME
    assert len(cluster.expanded_hosts()) == 3


def test_the_page_is_what_the_figures_say() -> None:
    """Nobody has written into it by hand, and no figure was lost on the way."""
    folder = ROOT / "docs" / "reference"
    content = json.loads((folder / "benchmarks.json").read_text())
    assert (folder / "benchmarks.md").read_text() == render(content)
    assert set(content["figures"]) <= set(TARGETS)
    for name, figure in content["figures"].items():
        assert figure["target"] == TARGETS[name].most, f"{name} was promised otherwise then"


def test_what_is_written_is_read_again_as_it_was(tmp_path: Path) -> None:
    report = _report(tmp_path)
    report.add("up_cached", 100)
    report.stages("up_cached", [{"stage": name, "seconds": 1.0} for name in ("verify", "prepare")])
    page = report.page.read_text()
    _report(tmp_path).save()
    assert report.page.read_text() == page


def test_without_a_sandbox_the_plan_alone_is_measured(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("ARMILLARY_STATE_HOME", str(tmp_path / "state"))
    monkeypatch.setattr(sandbox, "HOSTS", 5)
    report = _report(tmp_path)
    sandbox.measure(report, tmp_path, cold=False)
    assert set(report.content["figures"]) == {"os_plan"}
    assert report.content["failed"] == {}
    assert "no sandbox is up" in capsys.readouterr().out
