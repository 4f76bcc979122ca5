"""The example notebook, cell by cell, on the stack of these tests."""

from __future__ import annotations

import json
import linecache
from pathlib import Path
from typing import Any

import matplotlib as mpl
import pytest
from armillary_alerts.client import http
from confluent_kafka import Producer
from conftest import HubAtHand
from rows import COUNT

NOTEBOOK = Path(__file__).parents[4] / "notebooks" / "alerts.ipynb"
#: What it asks of a real night, and what of that of rows.py.
CHANGED = {
    'condition = "reliability > 0.9 AND mag < 18.5 AND ss_object_id IS NULL"': 'condition = "mag < 15.1"',
    "wanted = 50": "wanted = 3",
}


def cells() -> list[str]:
    """Return the notebook's code."""
    found = [
        "".join(each["source"])
        for each in json.loads(NOTEBOOK.read_text())["cells"]
        if each["cell_type"] == "code"
    ]
    for old, new in CHANGED.items():
        assert sum(old in each for each in found) == 1, f"the notebook has no longer {old!r}"
        found = [each.replace(old, new) for each in found]
    return found


def test_it_runs_from_top_to_bottom(
    url: str,
    hub: HubAtHand,
    kafka: Any,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    # What the platform puts into a user's server.
    settings = tmp_path / "alerts.json"
    settings.write_text(json.dumps({"url": url}))
    monkeypatch.setattr(http, "SETTINGS", settings)
    monkeypatch.setenv("JUPYTERHUB_API_TOKEN", hub.tokens["observer"])
    mpl.use("Agg")
    # The filter stage, which has tests of its own, is not part of this: what it would send is there before.
    space: dict[str, Any] = {"__name__": "__main__"}
    for number, source in enumerate(cells()):
        name = f"<cell {number}>"
        linecache.cache[name] = (len(source), None, source.splitlines(keepends=True), name)
        if "bright.activate()" in source:
            space["bright"].activate()
            producer = Producer(kafka.client("stage"))
            for alert in space["backtest"].sample.head(3).to_dict("records"):
                producer.produce(space["bright"].topic, json.dumps(alert))
            assert producer.flush(30) == 0
        exec(compile(source, name, "exec"), space)
    said = capsys.readouterr().out
    assert "There is no column 'relaibility'" in said
    last = json.loads(said.strip().splitlines()[-1])
    assert (last["backtest_seen"], last["backtest_passed"], last["arrived"], last["state"]) == (
        COUNT,
        COUNT // 50,
        3,
        "paused",
    )
