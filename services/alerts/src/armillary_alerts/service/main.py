"""The service, run: one process, up to three doors.

http      behind the hub's proxy, which ends TLS; the NetworkPolicy lets nobody else in
https     for notebooks
metrics   for Kubernetes' API server, which shows its certificate
"""

from __future__ import annotations

import asyncio
import logging
import ssl
from pathlib import Path
from typing import Any

import uvicorn
from kubernetes import client, config

from armillary_alerts.service import external_metrics, settings, trial
from armillary_alerts.service.app import create_app
from armillary_alerts.service.pods import Pods, PodSettings
from armillary_alerts.service.state import Service

LOG = logging.getLogger(__name__)


def serve(path: Path) -> None:
    """Run the service until it is told to end.

    Args:
        path: of its settings.

    Raises:
        SettingsError: they cannot be used.
        KafkaAway: Kafka does not answer.
    """
    wanted = settings.load(path)
    service = Service(wanted, _pods(wanted))
    service.start()
    try:
        app = create_app(service)
        doors = []
        listen = wanted.listen
        if listen.http:
            doors.append(_door(app, listen, listen.http, {}))
        if listen.https and listen.certificate:
            doors.append(_door(app, listen, listen.https, _tls(listen)))
        if listen.metrics and listen.certificate and listen.front_proxy_ca:
            metrics = external_metrics.create_app(service.scaling, wanted.namespace)
            shown = {"ssl_ca_certs": str(listen.front_proxy_ca), "ssl_cert_reqs": ssl.CERT_REQUIRED}
            doors.append(_door(metrics, listen, listen.metrics, {**_tls(listen), **shown}))
        asyncio.run(_run(doors))
    finally:
        service.close()


def serve_trial(port: int, certificate: Path, key: Path, largest_memory_mib: int) -> None:
    """Run the pod for trials until it is told to end."""
    app = trial.create_app(largest_memory_mib)
    uvicorn.run(
        app,
        host="0.0.0.0",  # noqa: S104 - a pod's; what may come in is the NetworkPolicy's
        port=port,
        ssl_certfile=str(certificate),
        ssl_keyfile=str(key),
        log_level="warning",
        server_header=False,
    )


def _pods(wanted: settings.Settings) -> Pods | None:
    python = wanted.python_filters
    if python is None:
        return None
    config.load_incluster_config()
    return Pods(
        client.ApiClient(),
        PodSettings(
            namespace=python.namespace,
            image=python.image,
            cpu=python.cpu,
            largest_memory_mib=python.memory_mib,
            priority_class=python.priority_class,
        ),
    )


def _tls(listen: settings.Listen) -> dict[str, Any]:
    return {"ssl_certfile": str(listen.certificate), "ssl_keyfile": str(listen.key)}


def _door(app: Any, listen: settings.Listen, port: int, more: dict[str, Any]) -> uvicorn.Server:
    return uvicorn.Server(
        uvicorn.Config(
            app,
            host=listen.host,
            port=port,
            log_level="info",
            # Paths hold users' and filters' names; what goes wrong is logged anyway.
            access_log=False,
            server_header=False,
            # The proxy's own address is all that can be told here, and nothing depends on it.
            proxy_headers=False,
            timeout_graceful_shutdown=10,
            lifespan="off",
            **more,
        )
    )


async def _run(doors: list[uvicorn.Server]) -> None:
    """Serve at all doors; when one ends, all do."""
    tasks = [asyncio.create_task(door.serve()) for door in doors]
    await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
    for door in doors:
        door.should_exit = True
    await asyncio.gather(*tasks)
