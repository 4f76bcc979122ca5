"""Write docs/reference/alert-table.md from the package's own description of the table: `uv run python scripts/alert_table.py`."""

from __future__ import annotations

from pathlib import Path

from armillary_alerts import table

PAGE = Path(__file__).parents[1] / "docs" / "reference" / "alert-table.md"
HEAD = f"""# The alert table

What filters see, what the archive keeps and what a filter that names no columns sends (all that are single values): one row an alert,
the same columns for every survey. Null where a survey does not tell. Units as in VOUnits, UCDs as in the IVOA's list; magnitudes are
AB, times MJD in TAI unless said. Columns LSST and ZTF name the packet's own field.

This page is made by `scripts/alert_table.py` from `services/alerts/src/armillary_alerts/table.py`, version {table.VERSION}.

"""


def text() -> str:
    """Return what the page must say."""
    return HEAD + table.describe()


if __name__ == "__main__":
    PAGE.write_text(text())
