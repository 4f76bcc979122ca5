"""Names of the Kafka topics, and what a message in each of them is."""

from __future__ import annotations

from typing import Final

#: Packets as the survey sent them. Key: none. Headers: `HEADER_*`. Time stamp: when ingest received it.
RAW: Final = "alerts.raw"

#: Arrow IPC streams: one record batch of `table.SCHEMA` a message, all rows from one partition of `RAW`.
ANNOTATED: Final = "alerts.annotated"

#: Packets that cannot be read, as they came, with `HEADER_REASON` and where in `RAW` they stand.
QUARANTINE: Final = "alerts.quarantine"

#: What each stage did with which alerts: JSON of `ledger.Entry`.
LEDGER: Final = "alerts.ledger"

#: Filters, by `Filter.id`: JSON of `filters.model.Filter`; compacted; a null value removes one.
FILTERS: Final = "alerts.filters"

#: What owners of filters must know: JSON of `notices.Notice`. Key: `Filter.id`.
NOTICES: Final = "alerts.notices"

#: Where ingest stands in an outside Kafka; compacted. Key: source, topic and partition.
POSITIONS: Final = "alerts.positions"

#: Topics of filters' results begin so: JSON, one passed alert a message. Key: alert id.
FILTER_PREFIX: Final = "filter."

#: Topics that users' annotators write to begin so, and end in the owner: JSON of `annotate.feedback.Annotation`.
ANNOTATION_PREFIX: Final = "annotations."

#: Topics that keep the newest message of each key.
COMPACTED: Final = frozenset({FILTERS, POSITIONS})

#: All topics that must be there before the first worker starts.
DECLARED: Final = (
    RAW,
    ANNOTATED,
    QUARANTINE,
    LEDGER,
    FILTERS,
    NOTICES,
    POSITIONS,
)

HEADER_SURVEY: Final = "survey"
HEADER_SOURCE: Final = "source"
HEADER_REASON: Final = "reason"
HEADER_FILTER: Final = "filter"
HEADER_VERSION: Final = "version"
HEADER_RAW: Final = "raw"
#: The packet's schema, where the sender put it beside the packet.
HEADER_SCHEMA: Final = "schema"


def of_filter(owner: str, name: str) -> str:
    """Return the topic that a filter's results go to.

    Args:
        owner, name: as in `filters.model.Filter`: neither has a dot in it, so no two filters share a topic.
    """
    return f"{FILTER_PREFIX}{owner}.{name}"
