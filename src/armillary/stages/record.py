"""How long each stage took, and how it ended, run by run (`stages.json`)."""

from __future__ import annotations

import json
from typing import Any

from armillary.files import write
from armillary.models.report import StageReport
from armillary.paths import ClusterPaths

KEEP = 200


def append(paths: ClusterPaths, report: StageReport) -> None:
    """Add one run of one stage."""
    kept = history(paths)
    kept.append(report.model_dump(mode="json"))
    write(paths.stages, json.dumps(kept[-KEEP:], indent=1) + "\n")


def history(paths: ClusterPaths) -> list[dict[str, Any]]:
    """Return the recorded runs, oldest first."""
    try:
        found: list[dict[str, Any]] = json.loads(paths.stages.read_text())
    except (FileNotFoundError, ValueError):
        return []
    return found


def expected(paths: ClusterPaths, stage: str, default: float) -> float:
    """Return the seconds this stage took here when it last did anything, else the default."""
    for report in reversed(history(paths)):
        if report["stage"] == stage and report["changed"] and not report["error"]:
            return float(report["seconds"])
    return default
