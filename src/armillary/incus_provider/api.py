"""Incus's REST API over its unix socket.

Source: https://linuxcontainers.org/incus/docs/main/rest-api/
"""

from __future__ import annotations

import http.client
import json
import socket
import threading
import time
from collections.abc import Iterator
from typing import Any
from urllib.parse import quote

DEFAULT_SOCKET = "/var/lib/incus/unix.socket"
CONNECT_SECONDS = 10
CALL_SECONDS = 300
CONFLICT = 409
NOT_FOUND = 404
PRECONDITION_FAILED = 412


class IncusError(Exception):
    """Incus refused a call or an operation failed.

    `code` is the HTTP status; an operation that failed carries Incus's own status code.
    """

    def __init__(self, code: int, message: str) -> None:
        self.code = code
        super().__init__(message)


class IncusUnreachable(IncusError):
    """Nothing answers on the socket."""

    def __init__(self, path: str, reason: str) -> None:
        super().__init__(
            0,
            f"Incus does not answer on {path} ({reason}). Is the daemon running? `incus info` "
            "shows it; `invoke up` starts it.",
        )


class _UnixConnection(http.client.HTTPConnection):
    def __init__(self, path: str, timeout: float) -> None:
        super().__init__("incus", timeout=timeout)
        self._path = path

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.sock.settimeout(CONNECT_SECONDS)
        self.sock.connect(self._path)
        self.sock.settimeout(self.timeout)


def path_of(*parts: str) -> str:
    """Join parts of an API path, each quoted: `path_of("instances", "a")` is /1.0/instances/a."""
    return "/1.0/" + "/".join(quote(part, safe="") for part in parts)


class Incus:
    """One Incus daemon.

    Every call opens its own connection, so that threads share nothing; on a unix socket that costs
    well under a millisecond.

    Args:
        address: path of the socket, with or without a leading `unix://`.
    """

    def __init__(self, address: str = DEFAULT_SOCKET) -> None:
        self.address = address.removeprefix("unix://")
        self._images: dict[str, str] = {}
        self._images_lock = threading.Lock()

    def get(self, path: str) -> dict[str, Any]:
        """Return the metadata of an object.

        Raises:
            IncusError: `code` 404 when there is none.
        """
        return self.get_with_etag(path)[0]

    def get_with_etag(self, path: str) -> tuple[dict[str, Any], str]:
        """Return an object's metadata and the ETag with which it may be replaced."""
        answer, etag = self._call("GET", path)
        return dict(answer["metadata"]), etag

    def find(self, path: str) -> dict[str, Any] | None:
        """Return the metadata of an object, None when there is none."""
        try:
            return self.get(path)
        except IncusError as error:
            if error.code == NOT_FOUND:
                return None
            raise

    def list(self, path: str) -> list[Any]:
        """Return a list the API answers with."""
        return list(self._call("GET", path)[0]["metadata"] or [])

    def change(
        self, method: str, path: str, body: dict[str, Any] | None = None, etag: str = ""
    ) -> None:
        """Make a change and wait until it is done, be it at once or as an operation.

        Raises:
            IncusError: refused, or the operation failed.
        """
        answer, _ = self._call(method, path, body, etag)
        if answer.get("type") == "async":
            self._wait(str(answer["operation"]))

    def image_fingerprint(self, image: str) -> str:
        """Return the full fingerprint of an image, given by alias or by (part of) a fingerprint.

        Raises:
            IncusError: there is no such image; the message names it.
        """
        with self._images_lock:
            if image not in self._images:
                alias = self.find(path_of("images", "aliases", image))
                found = self.find(path_of("images", str(alias["target"]) if alias else image))
                if found is None:
                    known = ", ".join(sorted(self._aliases())) or "none"
                    raise IncusError(
                        NOT_FOUND,
                        f"Incus has no image {image!r}. Aliases it has: {known}.",
                    )
                self._images[image] = str(found["fingerprint"])
            return self._images[image]

    def wait_while_busy(self, path: str, limit: float = CALL_SECONDS) -> None:
        """Wait for operations on an object which a provider that was killed left running.

        Raises:
            IncusError: still busy after `limit` seconds.
        """
        deadline = time.monotonic() + limit
        while (operation := self._running_on(path)) is not None:
            if time.monotonic() > deadline:
                raise IncusError(
                    0,
                    f"Incus operation {operation} on {path} is still running after {limit:.0f} s",
                )
            try:
                self._wait(f"/1.0/operations/{operation}")
            except IncusError:
                # Its failure was another call's; what it left is looked at next.
                continue

    def _aliases(self) -> Iterator[str]:
        for url in self.list("/1.0/images/aliases"):
            yield str(url).rsplit("/", 1)[-1]

    def _running_on(self, path: str) -> str | None:
        listed = self._call("GET", "/1.0/operations?recursion=1")[0]["metadata"] or {}
        for operation in listed.get("running") or []:
            resources: dict[str, Any] = operation.get("resources") or {}
            if any(path in (urls or []) for urls in resources.values()):
                return str(operation["id"])
        return None

    def _wait(self, operation: str) -> None:
        try:
            answer, _ = self._call("GET", f"{operation.split('?')[0]}/wait")
        except IncusError as error:
            if error.code == NOT_FOUND:
                return  # Incus forgets an operation some seconds after its end.
            raise
        metadata = answer["metadata"]
        if metadata.get("err"):
            raise IncusError(int(metadata.get("status_code") or 0), str(metadata["err"]))

    def _call(
        self, method: str, path: str, body: dict[str, Any] | None = None, etag: str = ""
    ) -> tuple[dict[str, Any], str]:
        headers = {"Content-Type": "application/json"}
        if etag:
            headers["If-Match"] = etag
        connection = _UnixConnection(self.address, CALL_SECONDS)
        try:
            data = None if body is None else json.dumps(body)
            connection.request(method, path, data, headers)
            response = connection.getresponse()
            raw = response.read()
        except TimeoutError as error:
            raise IncusError(
                0, f"Incus did not finish {method} {path} within {CALL_SECONDS} s"
            ) from error
        except (OSError, http.client.HTTPException) as error:
            raise IncusUnreachable(self.address, str(error) or type(error).__name__) from error
        finally:
            connection.close()
        try:
            answer = json.loads(raw)
        except ValueError as error:
            raise IncusError(response.status, f"Incus answered {raw[:200]!r}") from error
        if answer.get("type") == "error":
            raise IncusError(int(answer.get("error_code") or response.status), str(answer["error"]))
        return answer, response.headers.get("ETag") or ""
