"""Endpoints and reports keep what they hold through JSON, and take nothing else."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest
from pydantic import ValidationError
from rich.console import Console

from armillary.models.endpoints import Endpoint, Endpoints
from armillary.models.report import Check, StageReport
from armillary.report.checks import show
from armillary.report.progress import Progress


def test_endpoints_survive_json_and_are_found_by_name() -> None:
    hub = Endpoint(
        name="hub",
        url="https://hub.demo.example.org/",
        login="ada",
        secret_ref="secrets.yml#jupyterhub.users.ada",
    )
    endpoints = Endpoints(cluster="demo", endpoints=[hub])
    again = Endpoints.model_validate_json(endpoints.model_dump_json())
    assert again == endpoints
    assert again.get("hub") == hub
    assert again.get("nothing") is None


def test_endpoints_have_no_place_for_a_password() -> None:
    with pytest.raises(ValidationError, match="password"):
        Endpoint.model_validate({"name": "hub", "url": "https://x", "password": "s"})


@pytest.mark.parametrize(
    ("results", "error", "ok"),
    [
        ([], None, True),
        ([True, True], None, True),
        ([True, None], None, None),
        ([None, False], None, False),
        ([True], "terraform: exit 1", False),
    ],
)
def test_report_says_good_wrong_or_unknown(
    results: list[bool | None], error: str | None, ok: bool | None
) -> None:
    checks = [Check(name=str(number), ok=result) for number, result in enumerate(results)]
    started = datetime(2026, 11, 23, tzinfo=UTC)
    report = StageReport(
        stage="provision", verb="apply", started=started, seconds=1.5, checks=checks, error=error
    )
    assert report.ok is ok
    assert StageReport.model_validate_json(report.model_dump_json()) == report


def test_people_are_told_what_is_wrong_and_what_is_worth_knowing() -> None:
    console = Console(record=True, width=100)
    checks = [
        Check(name="good", ok=True, detail="never shown"),
        Check(name="noted", ok=True, detail="never shown", note="by the way"),
        Check(name="bad", ok=False, detail="why it is", note="never shown"),
    ]
    assert show(console, checks, since=False) == 1
    said = console.export_text()
    assert "by the way" in said
    assert "why it is" in said
    assert "never shown" not in said


def test_a_run_tells_how_long_a_stage_takes_as_known_when_it_starts() -> None:
    console = Console(record=True, width=100, force_terminal=False)
    progress = Progress(console, "run")
    with progress.run([("build", "Build", 1200.0), ("start", "Start", 60.0)]):
        progress.expect("build", 2.0)
        for name in ("build", "start"):
            with progress.stage(name) as line:
                line.outcome = "unchanged"
    said = console.export_text()
    assert "Build (about 2.0 s)" in said
    assert "Start (about 60 s)" in said
