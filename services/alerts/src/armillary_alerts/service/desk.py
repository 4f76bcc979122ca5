"""What can be done with a filter, and when it is refused: the rules behind the REST API."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

from pydantic import BaseModel, ConfigDict, Field

from armillary_alerts.archive import Archive, ArchiveError
from armillary_alerts.filters.model import Filter, Kind, Limits, State
from armillary_alerts.filters.sql import SqlError, validate
from armillary_alerts.python_filter.sandbox import FilterBroken
from armillary_alerts.service import backtest
from armillary_alerts.service.accounts import Account, Accounts
from armillary_alerts.service.backtest import Backtest, BacktestError, Trial
from armillary_alerts.service.book import Book
from armillary_alerts.service.hub import User

#: Backtests kept in memory, the newest of each filter.
KEPT = 500


class Refused(RuntimeError):
    """Something is not done, and why; `status` as in HTTP."""

    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status = status


class Rules(BaseModel):
    """What the operator has set."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    share_limit: float = Field(
        default=0.05,
        gt=0,
        le=1,
        description="A filter that passes more of a night is not switched on, unless an admin says so.",
    )
    filters_per_user: int = Field(default=50, ge=1)
    largest: Limits = Field(
        default=Limits(),
        description="What users can set for their own filters; admins can go above.",
    )


class Wanted(BaseModel):
    """A filter as its owner writes it."""

    model_config = ConfigDict(extra="forbid")

    kind: Kind = Kind.SQL
    text: str = Field(
        min_length=1,
        max_length=20_000,
        description="SQL (`SELECT ... FROM alerts WHERE ...`, or the condition alone), or Python with `def filter(alert):`.",
        examples=["survey = 'ztf' AND drb > 0.9 AND mag < 18 AND n_history >= 3"],
    )
    description: str = Field(default="", max_length=2000)
    limits: Limits = Limits()


class Column(BaseModel):
    """A column of what a filter sends."""

    name: str
    type: str


class Desk:
    """Where filters are handed in."""

    def __init__(
        self,
        book: Book,
        accounts: Accounts,
        archive: Archive | None,
        rules: Rules,
        trial: Trial | None = None,
    ) -> None:
        self.book = book
        self.accounts = accounts
        self.archive = archive
        self.rules = rules
        self.trial = trial
        self._backtests: OrderedDict[str, Backtest] = OrderedDict()
        # One at a time: each may take the memory that it is allowed.
        self._turn = threading.Lock()

    def mine(self, user: User, *, everybody: bool = False) -> list[Filter]:
        """Return a user's filters, or for an admin everybody's.

        Raises:
            Refused: somebody who is no admin asks for everybody's.
        """
        if everybody and not user.admin:
            raise Refused(403, "Only an admin sees everybody's filters.")
        return [each for each in self.book.all() if everybody or each.owner == user.name]

    def get(self, user: User, owner: str, name: str) -> Filter:
        """Return a filter that is the user's, or for an admin anybody's.

        Raises:
            Refused: there is none; others' are as good as none.
        """
        found = self.book.get(owner, name) if owner == user.name or user.admin else None
        if found is None:
            raise Refused(404, f"You have no filter {owner}/{name}.")
        return found

    def validate(self, kind: Kind, text: str) -> list[Column]:
        """Check a filter's text; return the columns that it sends.

        Raises:
            Refused: it cannot run; says why.
        """
        if kind is Kind.PYTHON:
            if self.trial is None:
                raise Refused(
                    409,
                    "Filters in Python are not switched on here (components.alerts.python_filters).",
                )
            try:
                self.trial(Filter(owner="a", name="trial", kind=kind, text=text), [])
            except FilterBroken as error:
                raise Refused(422, str(error)) from error
            return []
        try:
            return [Column(name=each.name, type=each.type) for each in validate(text)]
        except SqlError as error:
            raise Refused(422, str(error)) from error

    def put(self, user: User, owner: str, name: str, wanted: Wanted) -> Filter:
        """Make a filter, or change it. One that was active and whose text changes is a draft again.

        Raises:
            Refused: it cannot run, is over a limit, or is another's.
        """
        if owner != user.name:
            raise Refused(403, f"Filters of {owner} are {owner}'s to write.")
        self._within(user, wanted.limits)
        before = self.book.get(owner, name)
        if before is None and len(self.mine(user)) >= self.rules.filters_per_user:
            raise Refused(
                409,
                f"You have {self.rules.filters_per_user} filters, which is all that is allowed. Delete one.",
            )
        self.validate(wanted.kind, wanted.text)
        now = datetime.now(UTC)
        if before is None:
            made = Filter(owner=owner, name=name, **dict(wanted), created=now, changed=now)
        else:
            same = (before.kind, before.text) == (wanted.kind, wanted.text)
            made = before.model_copy(
                update={
                    **dict(wanted),
                    "changed": now,
                    "version": before.version + (not same),
                    "state": before.state if same else State.DRAFT,
                    "reason": before.reason if same else None,
                }
            )
        self.book.put(made)
        return made

    def backtest(self, user: User, owner: str, name: str, night: int | None = None) -> Backtest:
        """Run a filter over an archived night.

        Raises:
            Refused: there is nothing to test on, or it cannot run.
        """
        definition = self.get(user, owner, name)
        if self.archive is None:
            raise Refused(409, "There is no archive to test on.")
        with self._turn:
            try:
                done = backtest.run(self.archive, definition, night, trial=self.trial)
            except (BacktestError, FilterBroken, ArchiveError) as error:
                raise Refused(409, str(error)) from error
        self._backtests[definition.id] = done
        self._backtests.move_to_end(definition.id)
        while len(self._backtests) > KEPT:
            self._backtests.popitem(last=False)
        return done

    def tested(self, definition: Filter) -> Backtest | None:
        """Return the newest backtest of the filter as it is."""
        found = self._backtests.get(definition.id)
        return found if found and found.filter.version == definition.version else None

    def activate(
        self, user: User, owner: str, name: str, *, override: bool = False
    ) -> tuple[Filter, Backtest | None]:
        """Switch a filter on, if it passes no more of a night than the set share.

        One that was not tested as it is now is tested on the newest night. Where no night is archived yet, there is nothing to test
        on: it is switched on, and its limit of alerts an hour holds.

        Args:
            user: who asks.
            owner, name: the filter.
            override: an admin's word, for one that passes more.

        Raises:
            Refused: it passes too much, or cannot run.
            KafkaAway: Kafka does not answer.
        """
        definition = self.get(user, owner, name)
        if override and not user.admin:
            raise Refused(
                403, "Only an admin can switch on a filter that passes more than the set share."
            )
        done = self.tested(definition)
        if done is None and self.archive is not None and self.archive.nights():
            done = self.backtest(user, owner, name)
        if done and done.seen and done.failed == done.seen:
            raise Refused(
                409, f"The filter failed on every alert of the night {done.night}: {done.reason}"
            )
        if done and done.share > self.rules.share_limit and not override:
            raise Refused(
                409,
                f"The filter passed {done.share:.1%} of the alerts of the night {done.night} ({done.passed:,} of {done.seen:,}). More than "
                f"{self.rules.share_limit:.1%} is only switched on by an admin: make it narrower, or ask one.",
            )
        self.accounts.topic(definition)
        self.accounts.of_owner(definition.owner)
        active = definition.in_state(State.ACTIVE)
        self.book.put(active)
        return active, done

    def pause(self, user: User, owner: str, name: str) -> Filter:
        """Switch a filter off; its results stay.

        Raises:
            Refused: there is none.
            KafkaAway: Kafka does not answer.
        """
        paused = self.get(user, owner, name).in_state(State.PAUSED)
        self.book.put(paused)
        return paused

    def delete(self, user: User, owner: str, name: str) -> None:
        """Remove a filter, its topic and its account. What it sent stays in the daily tables.

        Raises:
            Refused: there is none.
            KafkaAway: Kafka does not answer.
        """
        definition = self.get(user, owner, name)
        self.book.remove(definition)
        self.accounts.remove(definition)
        self._backtests.pop(definition.id, None)

    def account(self, user: User) -> Account:
        """Return the user's account in Kafka, which is made if it has to be.

        Raises:
            KafkaAway: Kafka does not answer.
        """
        return self.accounts.of_owner(user.name)

    def settle(self) -> list[Filter]:
        """Mark filters that were stopped as failed, with the reason; return them.

        Raises:
            KafkaAway: Kafka does not answer.
        """
        failed = [
            definition.in_state(State.FAILED, notice.text)
            for definition, notice in self.book.stopped()
        ]
        for each in failed:
            self.book.put(each)
        return failed

    def _within(self, user: User, limits: Limits) -> None:
        if user.admin:
            return
        largest = self.rules.largest
        over: Mapping[str, Any] = {
            key: value
            for key, value in limits.model_dump().items()
            if value > getattr(largest, key)
        }
        if over:
            allowed = ", ".join(f"{key} {getattr(largest, key)}" for key in over)
            raise Refused(
                403, f"Limits above what users can set: {', '.join(over)}. Allowed: {allowed}."
            )
