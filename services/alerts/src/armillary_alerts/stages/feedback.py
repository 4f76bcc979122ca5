"""Sends alerts that users' annotators spoke of through the filters again (as Lasair does)."""

from __future__ import annotations

import logging
import time
import uuid
from collections.abc import Iterable, Mapping, Sequence
from typing import Final

import pyarrow as pa
from confluent_kafka import Consumer, KafkaException, Message, TopicPartition
from pydantic import ValidationError

from armillary_alerts import topics
from armillary_alerts.annotate import feedback
from armillary_alerts.packets.schemas import SchemasUnreachable
from armillary_alerts.stages import metrics
from armillary_alerts.stages.annotate import Annotator, messages_of, raw_of
from armillary_alerts.stages.loop import MAX_MESSAGE, Outgoing, Retry, Stage

_LOG: Final = logging.getLogger(__name__)

#: Seconds that Kafka may take to hand out a packet again.
FETCH: Final = 10.0


class Feedback(Stage):
    """The stage between users' annotations and `topics.ANNOTATED`."""

    name = "feedback"
    subscribe = (f"^{topics.ANNOTATION_PREFIX.replace('.', '[.]')}.*",)

    def batch_size(self) -> int:
        """Return how many annotations are worked on at once."""
        return 100

    def open(self) -> None:
        """Open what makes rows of packets, and what fetches packets."""
        self._annotator = Annotator(self.settings)
        self._memory = feedback.Memory()
        self._added: list[tuple[str, feedback.Annotation]] = []
        self._packets = Consumer(
            {
                "fetch.wait.max.ms": 50,
                **self.settings.kafka_settings(),
                "group.id": f"{self.settings.group}-packets-{uuid.uuid4().hex}",
                "enable.auto.commit": False,
                "isolation.level": "read_committed",
                "fetch.max.bytes": MAX_MESSAGE,
                "queued.max.messages.kbytes": 2 * MAX_MESSAGE // 1024,
                "auto.offset.reset": "error",
            }
        )

    def close(self) -> None:
        """Let go of them."""
        self._packets.close()

    def work(self, messages: Sequence[Message]) -> Iterable[Outgoing]:
        """Return annotated alerts."""
        self._added = []
        for message in messages:
            owner = (message.topic() or "").removeprefix(topics.ANNOTATION_PREFIX)
            try:
                annotation = feedback.Annotation.model_validate_json(message.value() or b"")
            except ValidationError as error:
                _LOG.warning("An annotation of %s cannot be read: %s", owner, error)
                metrics.ALERTS.labels(self.name, "refused").inc()
                continue
            said = self._memory.add(owner, annotation)
            if said is None:
                metrics.ALERTS.labels(self.name, "again").inc()
                continue
            self._added.append((owner, annotation))
            row = self._row(annotation)
            if row is None:
                _LOG.warning(
                    "%s speaks of an alert that is not there: partition %d, offset %d.",
                    owner, annotation.kafka_partition, annotation.kafka_offset,
                )  # fmt: skip
                metrics.ALERTS.labels(self.name, "refused").inc()
                continue
            metrics.ALERTS.labels(self.name, "annotated").inc()
            yield from messages_of(
                feedback.annotate(row, owner, said), annotation.kafka_partition, self.partitions
            )

    def refused(self, failed: Mapping[str, str]) -> None:
        """Forget what was said: it comes again."""
        for owner, annotation in self._added:
            self._memory.forget(owner, annotation)

    def _row(self, annotation: feedback.Annotation) -> pa.RecordBatch | None:
        """Return the alert, made anew of its packet; None where there is none."""
        if annotation.kafka_partition >= self.partitions.get(topics.RAW, 0):
            return None
        place = TopicPartition(topics.RAW, annotation.kafka_partition, annotation.kafka_offset)
        try:
            low, high = self._packets.get_watermark_offsets(place, timeout=FETCH)
            if not low <= annotation.kafka_offset < high:
                return None
            self._packets.assign([place])
            deadline = time.monotonic() + FETCH
            while time.monotonic() < deadline:
                message = self._packets.poll(1.0)
                if message is None or message.error() is not None:
                    continue
                if message.offset() != annotation.kafka_offset:
                    return None
                found, _ = self._annotator.rows([raw_of(message)])
                return found if found.num_rows else None
        except (KafkaException, SchemasUnreachable) as error:
            raise Retry(f"A packet cannot be fetched again: {error}") from error
        raise Retry("A packet cannot be fetched again: Kafka does not answer.")
