"""What users' annotators say of alerts."""

from __future__ import annotations

from collections import OrderedDict
from typing import Any, Final

import pyarrow as pa
from pydantic import BaseModel, ConfigDict, Field

from armillary_alerts import table, topics

#: Alerts whose annotations are remembered.
REMEMBERED: Final = 100_000


class Annotation(BaseModel):
    """One annotator's word on one alert. Its name is the topic's: `annotations.<owner>`, which only the owner writes to."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    kafka_partition: int = Field(ge=0, description="As in the alert that a filter sent.")
    kafka_offset: int = Field(ge=0, description="As in the alert that a filter sent.")
    label: str | None = Field(default=None, max_length=200, description="What it is.")
    score: float | None = Field(default=None, description="How sure that is.")
    text: str | None = Field(default=None, max_length=2000, description="In words.")


def topic_of(owner: str) -> str:
    """Return the topic that an owner's annotators write to."""
    return f"{topics.ANNOTATION_PREFIX}{owner}"


class Memory:
    """What was said of the newest alerts. Each annotator has one word on an alert: a second one wakes nobody."""

    def __init__(self) -> None:
        self._said: OrderedDict[tuple[int, int], dict[str, dict[str, Any]]] = OrderedDict()

    def add(self, annotator: str, annotation: Annotation) -> list[dict[str, Any]] | None:
        """Add a word; return all on the alert, or None if this annotator had its word already."""
        key = (annotation.kafka_partition, annotation.kafka_offset)
        said = self._said.setdefault(key, {})
        self._said.move_to_end(key)
        if annotator in said:
            return None
        said[annotator] = {
            "annotator": annotator,
            "label": annotation.label,
            "score": annotation.score,
            "text": annotation.text,
        }
        while len(self._said) > REMEMBERED:
            self._said.popitem(last=False)
        return list(said.values())

    def forget(self, annotator: str, annotation: Annotation) -> None:
        """Take a word back: the batch it came with is done again."""
        self._said.get((annotation.kafka_partition, annotation.kafka_offset), {}).pop(
            annotator, None
        )


def annotate(row: pa.RecordBatch, annotator: str, said: list[dict[str, Any]]) -> pa.RecordBatch:
    """Return an alert with what was said of it.

    Args:
        row: one row of the alert table.
        annotator: whose word it is this time.
        said: all that is known to have been said.
    """
    for name, value in (("annotations", said), ("annotated_by", annotator)):
        index = table.SCHEMA.get_field_index(name)
        kind = table.SCHEMA.field(index)
        row = row.set_column(index, kind, pa.array([value], kind.type))
    return row
