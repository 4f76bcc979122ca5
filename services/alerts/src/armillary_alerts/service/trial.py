"""Filters in Python, tried before they run: in a pod that has no network, no secrets and no rights.

The service hands code and alerts over by HTTPS and gets outcomes back; the jail is the same as that of a filter that runs
(`python_filter.jail`). One trial runs at a time: it is as large as the pod.
"""

from __future__ import annotations

import threading
from collections.abc import Sequence
from typing import Any

import requests
from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import JSONResponse
from starlette.routing import Route

from armillary_alerts.filters.model import Filter
from armillary_alerts.python_filter.channel import frame
from armillary_alerts.python_filter.limits import MIB, JailLimits
from armillary_alerts.python_filter.sandbox import FilterBroken, JailMissing, Sandbox

#: Of a request: BATCH alerts with their histories.
LARGEST = 256 * MIB
WAIT = 600.0


class TrialAway(RuntimeError):
    """The pod for trials does not answer."""


def jail_limits(definition: Filter, largest_memory_mib: int = 1024) -> JailLimits:
    """Return the jail's limits for a filter."""
    memory = min(definition.limits.memory_mib, largest_memory_mib)
    return JailLimits(memory=memory * MIB, batch_seconds=definition.limits.seconds)


def create_app(largest_memory_mib: int = 1024) -> Starlette:
    """Return the app that runs in the pod for trials."""
    turn = threading.Lock()

    def run(asked: dict[str, Any]) -> JSONResponse:
        definition = Filter.model_validate(asked["filter"])
        with turn, Sandbox(definition.text, jail_limits(definition, largest_memory_mib)) as sandbox:
            try:
                sandbox.start()
            except FilterBroken as error:
                return JSONResponse({"broken": str(error)})
            except JailMissing as error:
                return JSONResponse({"error": str(error)}, 503)
            outcomes = sandbox.run(asked["alerts"])
        return JSONResponse(
            {"outcomes": [[each.kind, each.annotations, each.reason] for each in outcomes]}
        )

    async def trial(request: Request) -> JSONResponse:
        if int(request.headers.get("content-length", LARGEST + 1)) > LARGEST:
            return JSONResponse({"error": "too large"}, 413)
        return await run_in_threadpool(run, await request.json())

    def well(_: Request) -> JSONResponse:
        return JSONResponse({"ok": True})

    return Starlette(routes=[Route("/trial", trial, methods=["POST"]), Route("/healthz", well)])


class RemoteTrial:
    """The service's side."""

    def __init__(self, url: str, ca: str | None = None) -> None:
        """Take the address.

        Args:
            url: such as https://alerts-trial.alerts.svc:8443.
            ca: path of the certificates that its own is checked against; default: the system's.
        """
        self._url = url.rstrip("/")
        self._session = requests.Session()
        # No proxy of the environment's, nobody's .netrc.
        self._session.trust_env = False
        self._session.verify = ca or True

    def __call__(
        self, definition: Filter, alerts: Sequence[dict[str, Any]]
    ) -> list[tuple[str, dict[str, Any], str]]:
        """Return what became of each alert.

        Raises:
            FilterBroken: the code does not load.
            TrialAway: the pod does not answer.
        """
        # JSON with NaN in it, as between the jail and its runner.
        body = frame({"filter": definition.model_dump(mode="json"), "alerts": list(alerts)})[4:]
        try:
            answer = self._session.post(
                f"{self._url}/trial",
                data=body,
                headers={"content-type": "application/json"},
                timeout=WAIT,
            )
            found = answer.json()
        except (requests.RequestException, ValueError) as error:
            raise TrialAway(
                f"The pod that tries filters in Python does not answer: {error}"
            ) from error
        if answer.status_code != 200:
            raise TrialAway(
                f"The pod that tries filters in Python answers: {found.get('error', answer.status_code)}"
            )
        if "broken" in found:
            raise FilterBroken(found["broken"])
        return [(kind, annotations, reason) for kind, annotations, reason in found["outcomes"]]
