"""The user's filters, nights and streams."""

from __future__ import annotations

import inspect
import io
import textwrap
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Any

import pandas as pd
import pyarrow as pa

from armillary_alerts.client.http import AlertsError, Http
from armillary_alerts.client.stream import Stream

if TYPE_CHECKING:
    import duckdb


class Alerts:
    """The alert service, seen by one user."""

    def __init__(
        self, url: str | None = None, token: str | None = None, ca: str | None = None
    ) -> None:
        """Find the service; on the platform, nothing has to be said.

        Raises:
            AlertsError: there is none, or it does not know this token.
        """
        self._http = Http(url, token, ca)
        self.user: str = self._http.json("GET", "me")["name"]
        """Whose filters these are."""

    def __repr__(self) -> str:
        return f"<Alerts of {self.user}>"

    def columns(self) -> pd.DataFrame:
        """Return the columns that filters see, with their units and meanings."""
        return pd.DataFrame(self._http.json("GET", "table")).set_index("name")

    def nights(self) -> list[int]:
        """Return the archived nights, as yyyymmdd."""
        return list(self._http.json("GET", "nights"))

    def validate(self, text: str | Callable[..., Any]) -> pd.DataFrame:
        """Check a filter without keeping it; return the columns that it sends.

        Args:
            text: SQL, or a Python function.

        Raises:
            AlertsError: it is wrong; says what.
        """
        kind, source = _source(text)
        return pd.DataFrame(
            self._http.json("POST", "validate", {"kind": kind, "text": source})["columns"]
        )

    def save(
        self, name: str, text: str | Callable[..., Any], description: str = "", **limits: float
    ) -> AlertFilter:
        """Make a filter, or change it; it sends nothing before it is activated.

        Args:
            name: lower-case letters, digits, `-` and `_`.
            text: SQL (the condition alone, or SELECT ... FROM alerts WHERE ...), or a Python function of one alert, a dict, that
                returns True, False, or a dict that goes with the alert. The function must import what it uses itself.
            description: what it is for.
            limits: seconds, memory_mib, alerts_per_hour.

        Raises:
            AlertsError: it is wrong; says what.
        """
        kind, source = _source(text)
        body = {"kind": kind, "text": source, "description": description, "limits": limits}
        return AlertFilter(self._http, self._http.json("PUT", f"filters/{self.user}/{name}", body))

    def filter(self, name: str) -> AlertFilter:
        """Return a filter.

        Raises:
            AlertsError: there is none of this name.
        """
        return AlertFilter(self._http, self._http.json("GET", f"filters/{self.user}/{name}"))

    def filters(self) -> pd.DataFrame:
        """Return all filters of the user's."""
        found = pd.DataFrame(
            self._http.json("GET", "filters"),
            columns=["name", "state", "kind", "version", "changed", "description", "reason"],
        )
        return found.set_index("name")

    def archive(
        self, night: int, sql: str = "SELECT * FROM alerts", limit: int = 100_000
    ) -> pd.DataFrame:
        """Return archived alerts of a night.

        Args:
            night: yyyymmdd.
            sql: as a filter's.
            limit: rows at most; a warning says when there may be more.

        Raises:
            AlertsError: there is no such night, or the SQL is wrong.
        """
        return self.arrow(night, sql, limit).to_pandas()

    def arrow(
        self, night: int, sql: str = "SELECT * FROM alerts", limit: int = 100_000
    ) -> pa.Table:
        """Return archived alerts of a night, as `archive` does, as a table of Arrow's."""
        answer = self._http.send("POST", f"archive/{night}", {"sql": sql, "limit": limit})
        with pa.ipc.open_stream(io.BytesIO(answer.content)) as reader:
            found = reader.read_all()
        if found.num_rows == limit:
            import warnings

            warnings.warn(
                f"These are the first {limit:,} alerts; there may be more. Say `limit=`, or ask for less.",
                stacklevel=2,
            )
        return found

    def duckdb(
        self, night: int, sql: str = "SELECT * FROM alerts", limit: int = 100_000
    ) -> duckdb.DuckDBPyConnection:
        """Return a DuckDB with archived alerts of a night in its table `alerts`, for any SQL."""
        import duckdb

        connection = duckdb.connect()
        connection.register("archived", self.arrow(night, sql, limit))
        connection.execute("CREATE TABLE alerts AS SELECT * FROM archived").fetchall()
        connection.unregister("archived")
        return connection


class AlertFilter:
    """One filter."""

    def __init__(self, http: Http, definition: dict[str, Any]) -> None:
        self._http = http
        self._definition = definition
        self._path = f"filters/{definition['owner']}/{definition['name']}"

    def __repr__(self) -> str:
        return f"<AlertFilter {self.id}, version {self._definition['version']}, {self.state}>"

    @property
    def id(self) -> str:
        """Owner and name."""
        return f"{self._definition['owner']}/{self._definition['name']}"

    @property
    def text(self) -> str:
        """The SQL, or the function's source."""
        return str(self._definition["text"])

    @property
    def state(self) -> str:
        """draft, active, paused or failed, as it was known last."""
        return str(self._definition["state"])

    @property
    def topic(self) -> str:
        """The Kafka topic of its results."""
        return f"filter.{self._definition['owner']}.{self._definition['name']}"

    def backtest(self, night: int | None = None) -> Backtest:
        """Return what it would have sent in an archived night, by default the newest.

        Raises:
            AlertsError: there is no such night, or the filter cannot run.
        """
        found = self._http.json("POST", f"{self._path}/backtest", night=night)
        picture = self._http.send("GET", f"{self._path}/backtest.png").content
        return Backtest(
            **{
                key: found[key]
                for key in (
                    "night",
                    "every",
                    "seen",
                    "passed",
                    "failed",
                    "share",
                    "allowed",
                    "share_limit",
                    "reason",
                )
            },
            sample=pd.DataFrame(found["sample"]),
            picture=picture,
        )

    def activate(self, *, override: bool = False) -> AlertFilter:
        """Switch it on: within a minute it sends.

        Raises:
            AlertsError: it passes more than the set share of a night; `override` is for admins.
        """
        self._definition = self._http.json("POST", f"{self._path}/activate", override=override)[
            "filter"
        ]
        return self

    def pause(self) -> AlertFilter:
        """Switch it off; what it has sent stays."""
        self._definition = self._http.json("POST", f"{self._path}/pause")
        return self

    def stats(self) -> Stats:
        """Return what it has seen and sent in the last day, and what went wrong."""
        found = self._http.json("GET", f"{self._path}/stats")
        self._definition = found["filter"]
        hours = pd.DataFrame.from_dict(
            found["hours"], orient="index", columns=["seen", "passed", "rejected", "failed"]
        )
        return Stats(
            state=self.state,
            reason=self._definition["reason"] or "",
            hours=hours,
            notices=pd.DataFrame(found["notices"]),
            **found["total"],
        )

    def delete(self) -> None:
        """Delete it, and the topic of its results."""
        self._http.json("DELETE", self._path)

    def stream(
        self,
        *,
        since: datetime | str = "now",
        group: str | None = None,
        seconds: float | None = None,
    ) -> Stream:
        """Return what it sends, as it comes.

        Args:
            since: `now`, `beginning` or a time.
            group: goes on where a stream with this name stopped.
            seconds: the iteration ends when nothing has come for so long.
        """
        return Stream(
            self._http.json("GET", "kafka"), self.topic, since=since, group=group, seconds=seconds
        )


@dataclass(frozen=True)
class Backtest:
    """What a filter would have sent in a night. A notebook shows the picture."""

    night: int
    every: int
    seen: int
    passed: int
    failed: int
    share: float
    allowed: bool
    share_limit: float
    reason: str
    sample: pd.DataFrame
    picture: bytes

    def __repr__(self) -> str:
        more = f"; failed on {self.failed:,}: {self.reason}" if self.failed else ""
        judged = (
            "can be activated"
            if self.allowed
            else f"cannot be activated: more than {self.share_limit:.1%}"
        )
        return f"<Backtest of {self.night}: {self.passed:,} of {self.seen:,} passed ({self.share:.2%}), {judged}{more}>"

    def _repr_png_(self) -> bytes:
        return self.picture


@dataclass(frozen=True)
class Stats:
    """How a filter does. `seen` is the sum of the three others."""

    state: str
    reason: str
    seen: int
    passed: int
    rejected: int
    failed: int
    hours: pd.DataFrame
    notices: pd.DataFrame

    def __repr__(self) -> str:
        why = f" ({self.reason})" if self.reason else ""
        return f"<Stats: {self.state}{why}; seen {self.seen:,}, passed {self.passed:,}, rejected {self.rejected:,}, failed {self.failed:,}>"


def _source(text: str | Callable[..., Any]) -> tuple[str, str]:
    """Return kind and source of a filter, whose function may have any name."""
    if isinstance(text, str):
        return ("python" if "def filter(" in text else "sql"), text
    try:
        source = textwrap.dedent(inspect.getsource(text))
    except (OSError, TypeError) as error:
        raise AlertsError(
            f"The source of {text!r} cannot be found: give it as a text. ({error})"
        ) from error
    if not source.lstrip().startswith("def "):
        raise AlertsError(
            "A filter is a function that is made with `def`, not a lambda and not a method."
        )
    # Types that the notebook knows and the filter does not are only read, never looked up.
    source = f"from __future__ import annotations\n\n{source}"
    if text.__name__ != "filter":
        source += f"\n\nfilter = {text.__name__}\n"
    return "python", source


__all__ = ["AlertFilter", "Alerts", "Backtest", "Stats"]
