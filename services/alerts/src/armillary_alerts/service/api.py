"""The REST API. Everything in it is the user's own; its OpenAPI description is at api/v1/openapi.json."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from datetime import datetime
from typing import Annotated, Any

import pyarrow as pa
from fastapi import APIRouter, Depends, HTTPException, Path, Query, Request
from fastapi.responses import Response, StreamingResponse
from pydantic import BaseModel, ConfigDict, Field

from armillary_alerts import table
from armillary_alerts.archive import ArchiveError
from armillary_alerts.filters.dialect import SqlError
from armillary_alerts.filters.model import Filter, Kind
from armillary_alerts.notices import Notice
from armillary_alerts.service.accounts import MECHANISM
from armillary_alerts.service.archive_query import ArchiveQuery, QueryError
from armillary_alerts.service.backtest import Backtest
from armillary_alerts.service.desk import Column, Desk, Wanted
from armillary_alerts.service.hub import User
from armillary_alerts.service.state import Service
from armillary_alerts.service.stats import Counts

ARROW = "application/vnd.apache.arrow.stream"

Name = Annotated[str, Path(pattern=r"^[a-z0-9]([a-z0-9_-]*[a-z0-9])?$", max_length=63)]


class Me(BaseModel):
    """Who asks, and what holds for them."""

    name: str
    admin: bool
    share_limit: float
    nights: list[int]


class KafkaAccess(BaseModel):
    """How the user reads their results in Kafka."""

    bootstrap_servers: str
    security_protocol: str
    sasl_mechanism: str
    username: str
    password: str
    ca: str = Field(description="Certificates that the brokers' are checked against, PEM.")
    group_prefix: str = Field(description="Consumer groups of the user's begin so.")


class Text(BaseModel):
    """A filter's text to check."""

    model_config = ConfigDict(extra="forbid")

    kind: Kind = Kind.SQL
    text: str = Field(min_length=1, max_length=20_000)


class Valid(BaseModel):
    """What a filter whose text is right sends."""

    columns: list[Column] = Field(
        description="Of a filter in SQL; one in Python sends all single values and its own."
    )


class Tested(BaseModel):
    """What a filter made of a night."""

    night: int
    version: int
    every: int = Field(description="Of so many alerts one was looked at; 1: all.")
    seen: int
    passed: int
    failed: int
    share: float
    allowed: bool = Field(description="Whether it can be switched on without an admin.")
    share_limit: float
    sample: list[dict[str, Any]]
    reason: str = Field(description="Why the first failed.")
    seconds: float
    at: datetime
    picture: str = Field(description="Path of the picture, from the API's root.")


class Activated(BaseModel):
    """A filter that is on."""

    filter: Filter
    backtest: Tested | None = Field(
        description="What it was judged by; null where no night is archived yet."
    )


class Stats(BaseModel):
    """How a filter does."""

    filter: Filter
    topic: str
    hours: dict[str, Counts] = Field(
        description="Counts of the ledger by hour (UTC), the last day's."
    )
    total: Counts
    notices: list[Notice] = Field(description="What its owner was told, newest first.")


class TableColumn(BaseModel):
    """A column of the alert table."""

    name: str
    type: str
    unit: str
    ucd: str
    description: str


async def current_user(request: Request) -> AsyncIterator[User]:
    """Take the user from the request's token; the page's cookie is not enough to change anything."""
    service: Service = request.app.state.service
    scheme, _, token = request.headers.get("authorization", "").partition(" ")
    if scheme.lower() not in ("token", "bearer") or not token.strip():
        raise HTTPException(
            401,
            "Send JupyterHub's token: `Authorization: token ...`.",
            {"WWW-Authenticate": 'Bearer realm="JupyterHub"'},
        )
    user = await service.hub.user(token.strip())
    if user is None:
        raise HTTPException(
            403, f"JupyterHub does not know this token, or it lacks the scope {service.hub.scope}."
        )
    yield user


def the_service(request: Request) -> Service:
    """Return what the app was made with."""
    service: Service = request.app.state.service
    return service


def the_desk(request: Request) -> Desk:
    """Return the desk."""
    return the_service(request).desk


Me_ = Annotated[User, Depends(current_user)]
Service_ = Annotated[Service, Depends(the_service)]
Desk_ = Annotated[Desk, Depends(the_desk)]

router = APIRouter(prefix="/api/v1")


@router.get("/me", summary="Who I am here")
def me(user: Me_, desk: Desk_) -> Me:
    """Return the user that the token is of."""
    nights = desk.archive.nights() if desk.archive else []
    return Me(name=user.name, admin=user.admin, share_limit=desk.rules.share_limit, nights=nights)


@router.get("/table", summary="The columns that filters see")
def columns(_: Me_) -> list[TableColumn]:
    """Return the alert table's columns."""
    return [
        TableColumn(
            name=each.name,
            type=str(each.type),
            unit=each.unit,
            ucd=each.ucd,
            description=each.description,
        )
        for each in table.COLUMNS
    ]


@router.get("/kafka", summary="My account in Kafka, which reads my filters' results")
def kafka(user: Me_, service: Service_, response: Response) -> KafkaAccess:
    """Return the user's account; it is made when it is asked for the first time."""
    response.headers["Cache-Control"] = "no-store"
    account = service.desk.account(user)
    return KafkaAccess(
        bootstrap_servers=service.settings.public_kafka.bootstrap_servers,
        security_protocol=service.settings.public_kafka.security_protocol,
        sasl_mechanism=MECHANISM,
        username=account.username,
        password=account.password,
        ca=service.public_ca,
        group_prefix=f"{account.username}.",
    )


@router.post("/validate", summary="Check a filter's text")
def validate(_: Me_, desk: Desk_, wanted: Text) -> Valid:
    """Check it without keeping it. 422 says what is wrong."""
    return Valid(columns=desk.validate(wanted.kind, wanted.text))


@router.get("/filters", summary="My filters")
def filters(user: Me_, desk: Desk_, everybody: bool = False) -> list[Filter]:
    """Return the user's filters; an admin can ask for everybody's."""
    return desk.mine(user, everybody=everybody)


@router.get("/filters/{owner}/{name}", summary="One filter")
def one(user: Me_, desk: Desk_, owner: Name, name: Name) -> Filter:
    """Return a filter."""
    return desk.get(user, owner, name)


@router.put("/filters/{owner}/{name}", summary="Make or change a filter")
def put(user: Me_, desk: Desk_, owner: Name, name: Name, wanted: Wanted) -> Filter:
    """Keep a filter. One whose text changes is a draft until it is activated again."""
    return desk.put(user, owner, name, wanted)


@router.delete("/filters/{owner}/{name}", status_code=204, summary="Delete a filter and its topic")
def delete(user: Me_, desk: Desk_, owner: Name, name: Name) -> None:
    """Delete a filter."""
    desk.delete(user, owner, name)


@router.post("/filters/{owner}/{name}/backtest", summary="What it would have sent in a night")
def backtest(
    user: Me_,
    desk: Desk_,
    owner: Name,
    name: Name,
    night: Annotated[
        int | None, Query(ge=19700101, le=99991231, description="yyyymmdd; default: the newest.")
    ] = None,
) -> Tested:
    """Run the filter over an archived night, by the engine that runs it live."""
    return _tested(desk, desk.backtest(user, owner, name, night))


@router.get(
    "/filters/{owner}/{name}/backtest.png",
    summary="The newest backtest as a picture",
    response_class=Response,
    responses={200: {"content": {"image/png": {}}}},
)
def picture(user: Me_, desk: Desk_, owner: Name, name: Name) -> Response:
    """Return a sky map and the rate over the night."""
    done = desk.tested(desk.get(user, owner, name))
    if done is None:
        raise HTTPException(404, "This version of the filter was not backtested yet.")
    return Response(
        done.picture, media_type="image/png", headers={"Cache-Control": "private, no-cache"}
    )


@router.post("/filters/{owner}/{name}/activate", summary="Switch a filter on")
def activate(
    user: Me_,
    desk: Desk_,
    owner: Name,
    name: Name,
    override: Annotated[
        bool, Query(description="An admin's word for a filter that passes more than the set share.")
    ] = False,
) -> Activated:
    """Switch a filter on: live within a minute. 409 says why not, such as that it would pass too much."""
    active, done = desk.activate(user, owner, name, override=override)
    return Activated(filter=active, backtest=_tested(desk, done) if done else None)


@router.post("/filters/{owner}/{name}/pause", summary="Switch a filter off")
def pause(user: Me_, desk: Desk_, owner: Name, name: Name) -> Filter:
    """Switch a filter off; its results stay."""
    return desk.pause(user, owner, name)


@router.get("/filters/{owner}/{name}/stats", summary="How a filter does")
def stats(user: Me_, service: Service_, owner: Name, name: Name) -> Stats:
    """Return what the ledger counted, and what its owner was told."""
    definition = service.desk.get(user, owner, name)
    hours = service.stats.of_filter(definition)
    return Stats(
        filter=definition,
        topic=definition.topic,
        hours=hours,
        total=sum(hours.values(), Counts()),
        notices=service.desk.book.notices(definition),
    )


@router.get("/nights", summary="Nights in the archive")
def nights(_: Me_, desk: Desk_) -> list[int]:
    """Return the archived nights, as yyyymmdd."""
    return desk.archive.nights() if desk.archive else []


@router.post(
    "/archive/{night}",
    summary="Archived alerts, as an Arrow stream",
    response_class=StreamingResponse,
    responses={200: {"content": {ARROW: {}}}},
)
def archive(_: Me_, desk: Desk_, night: int, query: ArchiveQuery) -> StreamingResponse:
    """Return alerts of a night that meet a condition, without duplicates. No more rows than `limit` come; as many as that say that there may be more."""
    if desk.archive is None:
        raise HTTPException(409, "There is no archive.")
    try:
        reader = query.run(desk.archive, night)
    except (QueryError, SqlError) as error:
        raise HTTPException(422, str(error)) from error
    except ArchiveError as error:
        raise HTTPException(404, str(error)) from error
    return StreamingResponse(_arrow(reader), media_type=ARROW)


class _Pieces:
    """A file whose bytes are taken as they are written."""

    closed = False

    def __init__(self) -> None:
        self._pieces: list[bytes] = []

    def write(self, data: Any) -> int:
        self._pieces.append(bytes(data))
        return len(data)

    def flush(self) -> None:
        """Nothing is held back."""

    def take(self) -> bytes:
        """Return what was written since the last time."""
        taken, self._pieces = b"".join(self._pieces), []
        return taken


def _arrow(reader: pa.RecordBatchReader) -> Iterator[bytes]:
    pieces = _Pieces()
    with pa.ipc.new_stream(pa.PythonFile(pieces, mode="w"), reader.schema) as writer:
        for batch in reader:
            writer.write_batch(batch)
            yield pieces.take()
    yield pieces.take()


def _tested(desk: Desk, done: Backtest) -> Tested:
    limit = desk.rules.share_limit
    return Tested(
        night=done.night,
        version=done.filter.version,
        every=done.every,
        seen=done.seen,
        passed=done.passed,
        failed=done.failed,
        share=done.share,
        allowed=done.share <= limit,
        share_limit=limit,
        sample=done.sample,
        reason=done.reason,
        seconds=done.seconds,
        at=done.at,
        picture=f"filters/{done.filter.owner}/{done.filter.name}/backtest.png?version={done.filter.version}",
    )
