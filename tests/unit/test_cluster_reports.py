"""Endpoints and reports keep what they hold through JSON, and take nothing else."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest
from pydantic import ValidationError

from armillary.models.endpoints import Endpoint, Endpoints
from armillary.models.report import Check, StageReport


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
