"""What Prometheus is told."""

from __future__ import annotations

from typing import Final

from prometheus_client import Counter, Gauge, Histogram, start_http_server

ALERTS: Final = Counter(
    "armillary_alerts_total", "Alerts by stage and what became of them.", ["stage", "outcome"]
)
FILTERED: Final = Counter(
    "armillary_alerts_filter_total", "Alerts by filter and outcome.", ["filter", "outcome"]
)
BATCH: Final = Histogram(
    "armillary_alerts_batch_seconds",
    "Time that a batch took, its transaction included.",
    ["stage"],
    buckets=(0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30),
)
LAG: Final = Gauge(
    "armillary_alerts_lag",
    "Messages yet to be read, by partition.",
    ["stage", "topic", "partition"],
)
AGE: Final = Gauge(
    "armillary_alerts_age_seconds",
    "Age of the newest alert of the last batch since it was received.",
    ["stage"],
)
RETRIES: Final = Counter(
    "armillary_alerts_retries_total", "Batches that had to be done again.", ["stage"]
)


def serve(host: str, port: int | None) -> None:
    """Answer Prometheus from now on, if there is a port for it."""
    if port is not None:
        start_http_server(port, host)
