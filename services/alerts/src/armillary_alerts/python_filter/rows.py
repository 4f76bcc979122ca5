"""Alerts as a Python filter sees them, and its results as they are sent."""

from __future__ import annotations

from datetime import datetime
from typing import Any

import pyarrow as pa


def alerts(batch: pa.RecordBatch | pa.Table) -> list[dict[str, Any]]:
    """Return rows of the alert table as plain dicts: numbers, strings, lists; times as ISO 8601."""
    return [{name: _plain(value) for name, value in row.items()} for row in batch.to_pylist()]


def _plain(value: Any) -> Any:
    return value.isoformat() if isinstance(value, datetime) else value
