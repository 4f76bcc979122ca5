"""JupyterHub as a person's browser sees it: pages, forms, cookies, kernels behind websockets.

Everything goes over HTTPS with the cluster's CA; no API token, no way around the front door.
"""

from __future__ import annotations

import base64
import json
import ssl
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from html.parser import HTMLParser
from pathlib import Path
from typing import Any, Self
from urllib.parse import quote, urljoin, urlsplit

import requests
import websocket
from requests.cookies import get_cookie_header

from support.waiting import patient, until


class HubError(RuntimeError):
    """JupyterHub, or a server of it, did not do what was asked; says what it answered."""


class SignInRefused(HubError):
    """The form was sent and the user not let in; `status` is the page's HTTP status."""

    def __init__(self, user: str, status: int) -> None:
        super().__init__(f"{user} was not let in: HTTP {status}")
        self.status = status


class SpawnFailed(HubError):
    """A server did not start; the message holds the hub's own last events."""


class CellFailed(HubError):
    """Code in a kernel raised an exception; `name` is its class, `value` its message."""

    def __init__(self, name: str, value: str, traceback: list[str]) -> None:
        super().__init__("\n".join(traceback) or f"{name}: {value}")
        self.name, self.value = name, value


class HubSession:
    """One person with one browser.

    Args:
        url: where the hub is, `https://hub.example.org/`.
        ca: the CA certificate to trust, and no other.
        user: who signs in.
        password: of the user.
        timeout: seconds to wait for the answer to any one request, on a quick machine.
    """

    def __init__(
        self, url: str, ca: Path, user: str, password: str, *, timeout: float = 30.0
    ) -> None:
        self.url = url.rstrip("/") + "/"
        self.ca, self.user, self.timeout = ca, user, patient(timeout)
        self._password = password
        self.server_path = f"user/{quote(user, safe='')}/"
        self.events: list[dict[str, Any]] = []
        """What the hub said of the last start of the server: progress, message, ready or failed."""
        self.cookies_set: list[str] = []
        """Every `Set-Cookie` header so far."""
        self.session = requests.Session()
        self.session.trust_env = False
        self.session.verify = str(ca)
        self.session.hooks["response"].append(self._note_cookies)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Close the browser; a running server goes on."""
        self.session.close()

    def _note_cookies(self, answer: requests.Response, **_: Any) -> None:
        self.cookies_set += answer.raw.headers.getlist("Set-Cookie")

    # Pages

    def page(self, path: str, method: str = "GET", **options: Any) -> requests.Response:
        """Open a page below the hub's address, following redirects; any status is returned."""
        headers = {"Sec-Fetch-Mode": "navigate", "Sec-Fetch-Site": "same-origin"}
        return self.session.request(
            method, urljoin(self.url, path), headers=headers, timeout=self.timeout, **options
        )

    def login(self) -> None:
        """Sign in by the form.

        Raises:
            SignInRefused: wrong name or password (403), or too many failures (429).
        """
        page = self.page("hub/login?next=%2Fhub%2Fhome")
        page.raise_for_status()
        form = Form.of(page.text, having="password")
        fields = {**form.fields, "username": self.user, "password": self._password}
        answer = self.page(urljoin(page.url, form.action), "POST", data=fields)
        if not answer.ok or urlsplit(answer.url).path != urlsplit(self.url).path + "hub/home":
            raise SignInRefused(self.user, answer.status_code)

    # The hub's and the server's REST API, as their own pages' scripts call it

    def call(self, method: str, path: str, **options: Any) -> requests.Response:
        """Send a request as a page's script does, with its XSRF token; any status is returned.

        Args:
            method: GET, POST, ...
            path: below the hub's address: `hub/api/users`, `user/ada/api/kernels`.
            options: for requests.
        """
        url = urljoin(self.url, path)
        headers = {"Sec-Fetch-Mode": "cors", "Sec-Fetch-Site": "same-origin"}
        if token := self._xsrf(urlsplit(url).path):
            headers["X-XSRFToken"] = token
        options.setdefault("timeout", self.timeout)
        return self.session.request(method, url, headers=headers, **options)

    def _xsrf(self, path: str) -> str | None:
        """Return the token of the most specific cookie that goes with a path."""
        found = [
            cookie
            for cookie in self.session.cookies
            if cookie.name == "_xsrf" and path.startswith(cookie.path)
        ]
        return max(found, key=lambda cookie: len(cookie.path)).value if found else None

    def _told(self, method: str, path: str, **options: Any) -> Any:
        """Send a request that has to succeed, and return its JSON, None when it has none."""
        answer = self.call(method, path, **options)
        if not answer.ok:
            raise HubError(
                f"{method} {path} as {self.user}: HTTP {answer.status_code}: {answer.text[:500]}"
            )
        return answer.json() if answer.content else None

    # The server

    def is_running(self) -> bool:
        """Tell whether the user has a server, be it on its way up or down."""
        return bool(self._told("GET", f"hub/api/users/{quote(self.user, safe='')}")["servers"])

    def start_server(self, profile: str | None = None, timeout: float = 120.0) -> float:
        """Send the form that starts a server, wait until it runs, and open it.

        Args:
            profile: slug of the profile to choose; the one the form has chosen when None.
            timeout: seconds until the server has to be there.

        Returns:
            seconds from sending the form until the server's own page was there.

        Raises:
            SpawnFailed: the hub gave up, or the time is over.
        """
        self.events.clear()
        page = self.page("hub/spawn")
        page.raise_for_status()
        form = Form.of(page.text, having="profile")
        fields = form.fields if profile is None else {**form.fields, "profile": profile}
        started = time.monotonic()
        parts = {name: (None, value) for name, value in fields.items()}
        answer = self.page(urljoin(page.url, form.action), "POST", files=parts)
        if not answer.ok:
            raise SpawnFailed(f"the hub answered HTTP {answer.status_code}: {answer.text[:500]}")
        self._follow(started + patient(timeout))
        self.open_server()
        return time.monotonic() - started

    def _follow(self, deadline: float) -> None:
        """Read the events of a start until the server is ready.

        Raises:
            SpawnFailed: it failed, or the deadline passed.
        """
        path = f"hub/api/users/{quote(self.user, safe='')}/server/progress"
        with self.call("GET", path, stream=True) as answer:
            if not answer.ok:
                raise SpawnFailed(f"GET {path}: HTTP {answer.status_code}: {answer.text[:500]}")
            # A blank line comes at least every 8 s, so the deadline is looked at.
            for line in answer.iter_lines(decode_unicode=True):
                if line.startswith("data:"):
                    self.events.append(json.loads(line.removeprefix("data:")))
                    if self.events[-1].get("ready"):
                        return
                    if self.events[-1].get("failed"):
                        raise SpawnFailed(f"{self.user}: {self._said()}")
                if time.monotonic() > deadline:
                    raise SpawnFailed(f"{self.user}: not ready in time: {self._said()}")
        raise SpawnFailed(f"{self.user}: the hub stopped telling: {self._said()}")

    def _said(self) -> str:
        return "; ".join(str(event.get("message")) for event in self.events[-6:])

    def open_server(self) -> None:
        """Open the server's page: that is what signs the browser in to it.

        Raises:
            HubError: it does not open.
        """
        page = self.page(f"{self.server_path}lab")
        if not page.ok or f"/{self.server_path}" not in page.url:
            raise HubError(f"the server of {self.user}: HTTP {page.status_code} at {page.url}")

    def stop_server(self, timeout: float = 60.0) -> float:
        """Stop the server, if there is one, and wait until it is gone; return the seconds.

        Raises:
            TooLate: it is still there.
        """
        started = time.monotonic()
        if self.is_running():
            path = f"hub/api/users/{quote(self.user, safe='')}/server"
            self._told("DELETE", path)
            until(lambda: not self.is_running(), f"server of {self.user} is gone", timeout)
        return time.monotonic() - started

    # Files in the home

    def upload(self, path: str, content: bytes) -> None:
        """Write a file below the home."""
        body = {"type": "file", "format": "base64", "content": base64.b64encode(content).decode()}
        self._told("PUT", self._contents(path), json=body)

    def download(self, path: str) -> bytes:
        """Return what is in a file below the home."""
        options = {"type": "file", "format": "base64", "content": "1"}
        found = self._told("GET", self._contents(path), params=options)
        return base64.b64decode(found["content"])

    def delete(self, path: str) -> None:
        """Delete a file below the home."""
        self._told("DELETE", self._contents(path))

    def _contents(self, path: str) -> str:
        return f"{self.server_path}api/contents/{quote(path)}"

    # Kernels

    @contextmanager
    def kernel(self, name: str = "python3", timeout: float = 60.0) -> Iterator[Kernel]:
        """Start a kernel on the server and connect to it; it is shut down in the end.

        Args:
            name: of the kernel's kind.
            timeout: seconds until it has to be connected.
        """
        timeout = patient(timeout)
        kernels = f"{self.server_path}api/kernels"
        identity = self._told("POST", kernels, json={"name": name}, timeout=timeout)["id"]
        try:
            connection = self._connect(f"{kernels}/{identity}/channels", timeout)
            try:
                yield Kernel(connection, self.user)
            finally:
                connection.close()
        finally:
            self._told("DELETE", f"{kernels}/{identity}")

    def _connect(self, path: str, timeout: float) -> websocket.WebSocket:
        url = urljoin(self.url, path)
        request = requests.Request("GET", url).prepare()
        return websocket.create_connection(
            url.replace("https:", "wss:", 1),
            timeout=timeout,
            cookie=get_cookie_header(self.session.cookies, request),  # type: ignore[no-untyped-call]
            header={"Sec-Fetch-Mode": "websocket"},
            origin=f"https://{urlsplit(url).netloc}",
            sslopt={"ca_certs": str(self.ca), "cert_reqs": ssl.CERT_REQUIRED},
            http_no_proxy=["*"],
        )


@dataclass(frozen=True)
class Execution:
    """What came of a piece of code: Jupyter's messages of the kinds that JupyterLab shows."""

    outputs: list[dict[str, Any]]
    """{type: stream | display_data | execute_result, and that message's content}."""
    seconds: float

    @property
    def text(self) -> str:
        """What was printed."""
        return "".join(
            each["text"]
            for each in self.outputs
            if each["type"] == "stream" and each["name"] == "stdout"
        )

    def shown(self, mime: str) -> list[Any]:
        """Return what was displayed in a form, such as `image/png`."""
        return [each["data"][mime] for each in self.outputs if mime in each.get("data", {})]


class Kernel:
    """A running kernel, spoken to in Jupyter's messaging protocol.

    https://jupyter-client.readthedocs.io/en/stable/messaging.html
    """

    def __init__(self, connection: websocket.WebSocket, user: str) -> None:
        self._connection, self._user = connection, user
        self._session = uuid.uuid4().hex

    def execute(self, code: str, timeout: float = 60.0) -> Execution:
        """Run code as a cell.

        Raises:
            CellFailed: it raised an exception.
            HubError: it did not end in time, or the connection broke.
        """
        started = time.monotonic()
        message = uuid.uuid4().hex
        self._connection.send(json.dumps(self._request(message, code)))
        outputs: list[dict[str, Any]] = []
        failure: CellFailed | None = None
        while True:
            kind, content = self._next(message, started + patient(timeout))
            if kind in ("stream", "display_data", "execute_result"):
                outputs.append({"type": kind, **content})
            elif kind == "error":
                failure = CellFailed(content["ename"], content["evalue"], content["traceback"])
            elif kind == "status" and content["execution_state"] == "idle":
                break
        if failure:
            raise failure
        return Execution(outputs, time.monotonic() - started)

    def value(self, expression: str, timeout: float = 60.0) -> Any:
        """Return the value of a Python expression; JSON has to be able to carry it."""
        code = f"print(__import__('json').dumps({expression}))"
        return json.loads(self.execute(code, timeout).text)

    def _request(self, message: str, code: str) -> dict[str, Any]:
        return {
            "channel": "shell",
            "header": {
                "msg_id": message,
                "msg_type": "execute_request",
                "username": self._user,
                "session": self._session,
                "version": "5.3",
            },
            "parent_header": {},
            "metadata": {},
            "content": {
                "code": code,
                "silent": False,
                "store_history": True,
                "allow_stdin": False,
                "stop_on_error": True,
            },
        }

    def _next(self, parent: str, deadline: float) -> tuple[str, dict[str, Any]]:
        """Return kind and content of the next message that answers `parent`."""
        while True:
            left = deadline - time.monotonic()
            if left <= 0:
                raise HubError("the code did not end in time")
            self._connection.settimeout(left)
            try:
                frame = self._connection.recv()
            except websocket.WebSocketTimeoutException:
                continue
            except (websocket.WebSocketException, OSError) as error:
                raise HubError(f"the connection to the kernel broke: {error}") from error
            if not isinstance(frame, str):
                continue  # Buffers of widgets.
            found = json.loads(frame)
            if found["parent_header"].get("msg_id") == parent:
                return found["msg_type"], found["content"]


@dataclass
class Form:
    """A page's form, as a browser sends it when nobody has touched it."""

    action: str
    fields: dict[str, str] = field(default_factory=dict)
    inputs: set[str] = field(default_factory=set)

    @classmethod
    def of(cls, page: str, *, having: str) -> Form:
        """Return the form of a page that has an input of this name.

        Raises:
            HubError: there is none.
        """
        parser = _Forms()
        parser.feed(page)
        found = next((form for form in parser.forms if having in form.inputs), None)
        if found is None:
            raise HubError(f"the page has no form with `{having}`: {page[:500]}")
        return found


class _Forms(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.forms: list[Form] = []
        self._inside = False

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        values = {name: value or "" for name, value in attrs}
        if tag == "form":
            self.forms.append(Form(values.get("action", "")))
            self._inside = True
        elif tag == "input" and self._inside and (name := values.get("name")):
            form = self.forms[-1]
            form.inputs.add(name)
            if values.get("type") not in ("radio", "checkbox", "submit") or "checked" in values:
                form.fields[name] = values.get("value", "")

    def handle_endtag(self, tag: str) -> None:
        if tag == "form":
            self._inside = False
