"""Kubernetes' API `external.metrics.k8s.io`, for one metric: how far each stage is behind. What the HPA scales by.

Only Kubernetes' API server asks here, on behalf of the HPA controller: it shows a certificate of the cluster's front-proxy authority,
which signs for nobody else, and the server this app runs in takes no other. The API server has authorized the question before it
sends it on. https://kubernetes.io/docs/tasks/extend-kubernetes/configure-aggregation-layer/
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from typing import Any

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse
from starlette.routing import Route

GROUP = "external.metrics.k8s.io"
VERSION = f"{GROUP}/v1beta1"
METRIC = "alerts_lag"
LABEL = "stage"

#: Returns the messages that each stage has yet to read; raises RuntimeError while it cannot tell.
Lags = Callable[[], Mapping[str, int]]


def create_app(lags: Lags, namespace: str) -> Starlette:
    """Return the app.

    Args:
        lags: asked at each question; must be quick.
        namespace: where the metric is.
    """

    def group(_: Request) -> JSONResponse:
        version = {"groupVersion": VERSION, "version": "v1beta1"}
        return JSONResponse(
            {
                "kind": "APIGroup",
                "apiVersion": "v1",
                "name": GROUP,
                "versions": [version],
                "preferredVersion": version,
            }
        )

    def resources(_: Request) -> JSONResponse:
        return JSONResponse(
            {
                "kind": "APIResourceList",
                "apiVersion": "v1",
                "groupVersion": VERSION,
                "resources": [
                    {
                        "name": METRIC,
                        "singularName": "",
                        "namespaced": True,
                        "kind": "ExternalMetricValueList",
                        "verbs": ["get"],
                    }
                ],
            }
        )

    def value(request: Request) -> JSONResponse:
        where, metric = request.path_params["namespace"], request.path_params["metric"]
        if where != namespace or metric != METRIC:
            return _status(
                404, "NotFound", f"there is one metric here: {METRIC} in namespace {namespace}"
            )
        try:
            stages = _selected(request.query_params.get("labelSelector", ""))
            known = lags()
        except ValueError as error:
            return _status(400, "BadRequest", str(error))
        except RuntimeError as error:
            # The HPA keeps the number of pods there is while it cannot be told.
            return _status(503, "ServiceUnavailable", str(error))
        now = datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
        items = [
            {
                "metricName": METRIC,
                "metricLabels": {LABEL: stage},
                "timestamp": now,
                "value": str(lag),
            }
            for stage, lag in sorted(known.items())
            if not stages or stage in stages
        ]
        return JSONResponse(
            {
                "kind": "ExternalMetricValueList",
                "apiVersion": VERSION,
                "metadata": {},
                "items": items,
            }
        )

    return Starlette(
        routes=[
            Route(f"/apis/{GROUP}", group),
            Route(f"/apis/{VERSION}", resources),
            Route(f"/apis/{VERSION}/namespaces/{{namespace}}/{{metric}}", value),
        ]
    )


def _selected(selector: str) -> set[str]:
    """Return the stages that a label selector of equalities names; empty for all.

    Raises:
        ValueError: it says more than that.
    """
    found = set()
    for term in filter(None, selector.split(",")):
        key, _, stage = term.replace("==", "=").partition("=")
        if key.strip() != LABEL or not stage.strip() or "!" in term:
            raise ValueError(f"a selector here is {LABEL}=<name>, not {term!r}")
        found.add(stage.strip())
    return found


def _status(code: int, reason: str, message: str) -> JSONResponse:
    content: dict[str, Any] = {
        "kind": "Status",
        "apiVersion": "v1",
        "status": "Failure",
        "reason": reason,
        "message": message,
        "code": code,
    }
    return JSONResponse(content, code)
