"""What the service is made of, once for each process."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Mapping
from typing import Any

from confluent_kafka.admin import AdminClient

from armillary_alerts import topics
from armillary_alerts.archive import Archive
from armillary_alerts.filters.model import Filter, Kind
from armillary_alerts.service.accounts import MECHANISM, Accounts
from armillary_alerts.service.book import Book
from armillary_alerts.service.desk import Desk
from armillary_alerts.service.hub import Hub
from armillary_alerts.service.lag import KafkaAway, Lag, lags
from armillary_alerts.service.pods import KubernetesAway, Pods
from armillary_alerts.service.quarantine import Quarantine
from armillary_alerts.service.settings import Settings, secret
from armillary_alerts.service.stats import Statistics
from armillary_alerts.service.stream_setup import make_accounts, make_topics
from armillary_alerts.service.trial import RemoteTrial
from armillary_alerts.settings import read_kafka

LOG = logging.getLogger(__name__)

#: Seconds between two looks at the consumer groups.
LAG_EVERY = 5.0
#: Lags older than this are not told any more.
STALE = 60.0
#: Pods are compared with the filters so often, whether or not something has changed, in seconds.
RECONCILE_EVERY = 60.0


class Service:
    """All that the API, the page and Kubernetes' metrics share."""

    def __init__(self, settings: Settings, pods: Pods | None = None) -> None:
        """Make the parts; nothing is asked before `start`.

        Args:
            settings: what the operator says.
            pods: keeps the pods of Python filters; None where there are none.

        Raises:
            SettingsError: a file cannot be read.
        """
        self.settings = settings
        self.kafka = read_kafka(settings.kafka)
        self.hub = Hub(
            api_url=settings.hub.api_url,
            api_token=secret(settings.hub.token),
            prefix=settings.hub.prefix,
            hub_prefix=settings.hub.hub_prefix,
        )
        self.public_ca = secret(settings.public_kafka.ca) + "\n" if settings.public_kafka.ca else ""
        admin = AdminClient(self.kafka)
        self.book = Book(self.kafka)
        self.stats = Statistics(self.kafka)
        self.quarantine = Quarantine(self.kafka)
        self.accounts = Accounts(
            admin, secret(settings.accounts_secret).encode(), replication=settings.replication
        )
        python = settings.python_filters
        self.desk = Desk(
            self.book,
            self.accounts,
            Archive(settings.archive.open()) if settings.archive else None,
            settings.rules,
            RemoteTrial(python.trial_url, str(python.trial_ca) if python.trial_ca else None)
            if python
            else None,
        )
        self._admin = admin
        self._pods = pods
        self._stop = threading.Event()
        self._threads: list[threading.Thread] = []
        self._lags: tuple[float, Mapping[str, Lag]] = (0.0, {})
        self.problems: dict[str, str] = {}
        """What does not work at the moment, by part, for the operator."""

    def start(self) -> None:
        """Have the stream's topics and accounts, read what is in Kafka, and begin to look after lags and pods.

        Raises:
            SettingsError: a password cannot be read.
            KafkaAway: Kafka does not answer.
        """
        settings = self.settings
        passwords = {stage: secret(path) for stage, path in settings.stage_accounts.items()}
        make_accounts(self.accounts, passwords)
        for name in make_topics(
            self._admin, partitions=settings.partitions, replication=settings.replication
        ):
            LOG.info("Made topic %s", name)
        self.book.start()
        self.stats.start()
        self.quarantine.start()
        for name, look, seconds in (
            ("lag", self._look_at_lags, LAG_EVERY),
            ("filters", self._look_at_filters, RECONCILE_EVERY),
        ):
            thread = threading.Thread(
                target=self._repeat, args=(name, look, seconds), name=name, daemon=True
            )
            thread.start()
            self._threads.append(thread)

    def close(self) -> None:
        """Stop."""
        self._stop.set()
        self.book.changed.set()
        for thread in self._threads:
            thread.join(timeout=30)
        for part in (self.book, self.stats, self.quarantine):
            part.close()

    def lags(self) -> Mapping[str, Lag]:
        """Return the lag of each stage, and of each active Python filter as `filter:<owner>/<name>`.

        Raises:
            KafkaAway: it is not known; says why.
        """
        when, found = self._lags
        if time.monotonic() - when > STALE or not when:
            raise KafkaAway(
                self.problems.get("lag") or "The consumer groups have not been looked at yet."
            )
        return found

    def scaling(self) -> Mapping[str, int]:
        """Return the messages that each stage has yet to read: what Kubernetes scales by.

        Raises:
            KafkaAway: it is not known.
        """
        return {
            name: lag.total for name, lag in self.lags().items() if name in self.settings.stages
        }

    def _repeat(self, name: str, look: Callable[[], None], seconds: float) -> None:
        while not self._stop.is_set():
            try:
                look()
                self.problems.pop(name, None)
            except (KafkaAway, KubernetesAway) as error:
                self.problems[name] = str(error)
                LOG.warning("%s: %s", name, error)
            except Exception as error:
                self.problems[name] = f"{type(error).__name__}: {error}"
                LOG.exception("%s", name)
            if name == "filters":
                self.book.changed.wait(seconds)
                self.book.changed.clear()
            else:
                self._stop.wait(seconds)

    def _look_at_lags(self) -> None:
        groups = {name: (stage.group, stage.topics) for name, stage in self.settings.stages.items()}
        groups |= {
            f"filter:{each.id}": (each.topic, [topics.ANNOTATED])
            for each in self.book.all()
            if each.kind is Kind.PYTHON and each.state == "active"
        }
        found = lags(self._admin, dict(groups.values()))
        self._lags = (time.monotonic(), {name: found[group] for name, (group, _) in groups.items()})

    def _look_at_filters(self) -> None:
        for each in self.desk.settle():
            LOG.warning("Filter %s has failed: %s", each.id, each.reason)
        if self._pods:
            for line in self._pods.reconcile(self.book.all(), self._access, self._prepare):
                LOG.info("Python filters: %s", line)

    def _access(self, definition: Filter) -> tuple[Mapping[str, str], str]:
        account = self.accounts.account(definition.topic)
        return {
            "bootstrap.servers": str(self.kafka["bootstrap.servers"]),
            "security.protocol": str(self.kafka.get("security.protocol", "SASL_SSL")),
            "sasl.mechanism": MECHANISM,
            "sasl.username": account.username,
            "sasl.password": account.password,
        }, self.public_ca

    def _prepare(self, definition: Filter) -> Any:
        self.accounts.topic(definition)
        return self.accounts.of_filter(definition)
