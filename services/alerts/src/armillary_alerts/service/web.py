"""The page, and how a browser signs in for it: by JupyterHub's OAuth, as every service of the hub does."""

from __future__ import annotations

import secrets
from pathlib import Path
from typing import Any

from fastapi import APIRouter, Request
from fastapi.responses import HTMLResponse, RedirectResponse, Response
from jinja2 import Environment, FileSystemLoader, select_autoescape
from starlette.concurrency import run_in_threadpool

from armillary_alerts.service.overview import overview
from armillary_alerts.service.state import Service

PAGE = Path(__file__).with_name("page")
STATE_SECONDS = 600
#: The page loads nothing from elsewhere and is shown in no other page.
HEADERS = {
    "Content-Security-Policy": "default-src 'none'; style-src 'self'; script-src 'self'; connect-src 'self'; img-src 'self' data:; "
    "base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
    "Referrer-Policy": "same-origin",
    "X-Content-Type-Options": "nosniff",
    "Cache-Control": "no-store",
}

router = APIRouter(include_in_schema=False)
_templates = Environment(loader=FileSystemLoader(PAGE), autoescape=select_autoescape())
_templates.filters["count"] = lambda number: f"{number:,}"


@router.get("/")
async def page(request: Request) -> Response:
    """Return the page, or the part of it that changes; who has not signed in is sent to the hub."""
    service: Service = request.app.state.service
    part = request.headers.get("x-part") == "main"
    token = request.session.get("token")
    user = await service.hub.user(token) if token else None
    if user is None:
        request.session.clear()
        return Response(status_code=401) if part else _sign_in(request, service)
    view = await run_in_threadpool(overview, service, user)
    values: dict[str, Any] = {
        "view": view,
        "user": user,
        "prefix": service.settings.hub.prefix,
        "hub_prefix": service.settings.hub.hub_prefix,
    }
    return HTMLResponse(
        _templates.get_template("main.html" if part else "page.html").render(values),
        headers=HEADERS,
    )


@router.get("/oauth_callback")
async def oauth_callback(
    request: Request, code: str = "", state: str = "", error: str = ""
) -> Response:
    """Take the hub's answer to a sign-in."""
    service: Service = request.app.state.service
    expected = request.session.pop("state", None)
    if not expected or not secrets.compare_digest(expected, state):
        return HTMLResponse(
            "<p>This sign-in was not begun here, or took too long. Open the page again.</p>",
            400,
            HEADERS,
        )
    if error or not code:
        return HTMLResponse(
            "<p>JupyterHub did not sign you in. You may not use this service; ask an admin.</p>",
            403,
            HEADERS,
        )
    token = await service.hub.token(code)
    if await service.hub.user(token) is None:
        return HTMLResponse("<p>You may not use this service; ask an admin.</p>", 403, HEADERS)
    request.session["token"] = token
    return RedirectResponse(service.settings.hub.prefix, 302)


def _sign_in(request: Request, service: Service) -> Response:
    state = secrets.token_urlsafe(24)
    request.session["state"] = state
    return RedirectResponse(service.hub.sign_in_url(state), 302)
