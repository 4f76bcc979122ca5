"""The service as an ASGI app."""

from __future__ import annotations

import hashlib

from fastapi import FastAPI, Request
from fastapi.responses import JSONResponse, Response
from starlette.middleware.sessions import SessionMiddleware
from starlette.staticfiles import StaticFiles

from armillary_alerts.service import api, web
from armillary_alerts.service.desk import Refused
from armillary_alerts.service.hub import HubAway
from armillary_alerts.service.lag import KafkaAway
from armillary_alerts.service.settings import secret
from armillary_alerts.service.state import Service
from armillary_alerts.service.trial import TrialAway

DESCRIPTION = """Filters on the stream of alerts: made, tested and switched on by their owners.

Send JupyterHub's token with every request: `Authorization: token ...`. In a notebook that is done for you by
`armillary_alerts.client`; elsewhere, make a token on the hub's page *Token* with the scope `access:services!service=alerts`."""


def create_app(service: Service, *, secure: bool = True) -> FastAPI:
    """Return the app.

    Args:
        service: what it stands on; started and closed by the caller.
        secure: that browsers send the page's cookie by HTTPS alone.
    """
    prefix = service.settings.hub.prefix.rstrip("/")
    app = FastAPI(
        title="Alerts",
        version="1",
        description=DESCRIPTION,
        # What stands before it is the hub's proxy, which leaves the path as it is.
        openapi_url=f"{prefix}/api/v1/openapi.json",
        docs_url=None,
        redoc_url=None,
    )
    app.state.service = service
    app.add_middleware(
        SessionMiddleware,
        # One that follows from the hub's token needs no file of its own, and goes when that is changed.
        secret_key=hashlib.sha256(
            b"session:" + secret(service.settings.hub.token).encode()
        ).hexdigest(),
        session_cookie="alerts-session",
        path=service.settings.hub.prefix,
        max_age=14 * 86400,
        same_site="lax",
        https_only=secure,
    )
    app.include_router(api.router, prefix=prefix)
    app.include_router(web.router, prefix=prefix)
    app.mount(f"{prefix}/static", StaticFiles(directory=web.PAGE), name="static")

    @app.get("/healthz", include_in_schema=False)
    def healthz() -> Response:
        """Say whether Kafka hands out what this is made of."""
        return JSONResponse(
            {"ok": not service.book.error, "problems": service.problems},
            503 if service.book.error else 200,
        )

    @app.exception_handler(Refused)
    async def refused(_: Request, error: Refused) -> JSONResponse:
        return JSONResponse({"detail": str(error)}, error.status)

    @app.exception_handler(KafkaAway)
    @app.exception_handler(HubAway)
    @app.exception_handler(TrialAway)
    async def away(_: Request, error: RuntimeError) -> JSONResponse:
        return JSONResponse({"detail": str(error)}, 503, {"Retry-After": "10"})

    return app
