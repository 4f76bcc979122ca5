"""The reference of the alert table is what the package says."""

from __future__ import annotations

import importlib.util
from pathlib import Path

ROOT = Path(__file__).parents[4]


def test_the_reference_of_the_table_is_up_to_date() -> None:
    path = ROOT / "scripts" / "alert_table.py"
    spec = importlib.util.spec_from_file_location("alert_table", path)
    assert spec
    assert spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    assert module.PAGE.read_text() == module.text(), "run `uv run python scripts/alert_table.py`"
