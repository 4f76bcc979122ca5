"""Requests to the alert service."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import requests

#: Where the platform says in users' servers where the service is: {"url": ..., "ca": path of its certificates}.
SETTINGS = Path("/etc/armillary/alerts.json")
#: A backtest of a large night takes minutes.
WAIT = 900.0


class AlertsError(RuntimeError):
    """The service refuses, and says why; `status` as in HTTP, 0 where it does not answer."""

    def __init__(self, message: str, status: int = 0) -> None:
        super().__init__(message)
        self.status = status


class Http:
    """The service's REST API, with the user's token."""

    def __init__(
        self, url: str | None = None, token: str | None = None, ca: str | None = None
    ) -> None:
        """Find the service.

        Args:
            url: of the service, such as https://hub.example.org/services/alerts/. Default: what the platform says.
            token: JupyterHub's, with the scope access:services!service=alerts. Default: this server's own.
            ca: path of certificates that the service's is checked against.

        Raises:
            AlertsError: it is not said where the service is, or who asks.
        """
        settings: dict[str, str] = {}
        if url is None:
            try:
                settings = json.loads(SETTINGS.read_text())
            except (OSError, ValueError) as error:
                raise AlertsError(
                    "This server does not know an alert service: name its `url`, or ask whoever runs the platform "
                    f"whether alerts are switched on ({SETTINGS}: {error})."
                ) from error
        token = token or os.environ.get("JUPYTERHUB_API_TOKEN")
        if not token:
            raise AlertsError(
                "There is no token of JupyterHub's here: make one on the hub's page Token, and give it as `token`."
            )
        self.url = (url or settings["url"]).rstrip("/") + "/api/v1/"
        self._session = requests.Session()
        self._session.headers["Authorization"] = f"token {token}"
        ca = ca or settings.get("ca")
        if ca:
            self._session.verify = ca
            # Else a bundle that the environment names would be taken instead of this one.
            self._session.trust_env = False

    def __repr__(self) -> str:
        return f"Http({self.url!r})"

    def json(self, method: str, path: str, body: Any = None, **query: Any) -> Any:
        """Send a request; return what is answered, None where that is nothing.

        Raises:
            AlertsError: the service refuses, or does not answer.
        """
        answer = self.send(method, path, body, **query)
        return answer.json() if answer.content else None

    def send(
        self, method: str, path: str, body: Any = None, *, stream: bool = False, **query: Any
    ) -> requests.Response:
        """Send a request; return the answer.

        Raises:
            AlertsError: the service refuses, or does not answer.
        """
        query = {key: value for key, value in query.items() if value is not None}
        try:
            answer = self._session.request(
                method, self.url + path, json=body, params=query, timeout=WAIT, stream=stream
            )
        except requests.RequestException as error:
            raise AlertsError(f"The alert service does not answer: {error}") from error
        if answer.ok:
            return answer
        raise AlertsError(_why(answer), answer.status_code)


def _why(answer: requests.Response) -> str:
    try:
        detail = answer.json()["detail"]
    except (ValueError, KeyError, TypeError):
        return f"The alert service answers {answer.status_code}."
    if isinstance(detail, list):
        return "; ".join(f"{'.'.join(map(str, each['loc'][1:]))}: {each['msg']}" for each in detail)
    return str(detail)
