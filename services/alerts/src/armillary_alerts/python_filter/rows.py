"""Alerts as a Python filter sees them, and its results as they are sent."""

from __future__ import annotations

import math
from datetime import datetime
from typing import Any

import pyarrow as pa


def alerts(batch: pa.RecordBatch | pa.Table) -> list[dict[str, Any]]:
    """Return rows of the alert table as plain dicts: numbers, strings, lists; times as ISO 8601."""
    return [{name: _plain(value) for name, value in row.items()} for row in batch.to_pylist()]


def _plain(value: Any) -> Any:
    return value.isoformat() if isinstance(value, datetime) else value


def for_json(value: Any) -> Any:
    """Return a value with null in place of NaN and infinities, which JSON lacks: at any depth."""
    match value:
        case float():
            return value if math.isfinite(value) else None
        case dict():
            return {key: for_json(each) for key, each in value.items()}
        case list():
            return [for_json(each) for each in value]
    return value
