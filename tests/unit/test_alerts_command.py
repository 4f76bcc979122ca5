"""`invoke alerts audit`: what is refused before a cluster is asked."""

from __future__ import annotations

from pathlib import Path

import pytest
from rich.console import Console

from armillary.commands.alerts import alerts
from armillary.commands.common import CommandFailed
from armillary.paths import ROOT


@pytest.mark.parametrize(
    ("action", "hour", "said"),
    [
        ("audits", None, "There is no `alerts audits`; there is `alerts audit`."),
        ("audit", "2026-11-25", "`2026-11-25` is no hour: write it as 2026-11-25T03"),
        ("audit", "2026-11-25T03; rm -r /", "is no hour"),
        ("audit", None, "has no alerts: there is no `components.alerts` in cluster.yml"),
    ],
)
def test_what_cannot_be_audited_is_said(
    action: str, hour: str | None, said: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ARMILLARY_STATE_HOME", str(tmp_path))
    with pytest.raises(CommandFailed) as caught:
        alerts(Console(), action, hour=hour, cluster=str(ROOT / "tests" / "e2e" / "cluster.yml"))
    assert said in str(caught.value)
