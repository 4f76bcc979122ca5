"""A registry's upload API: find out why uploads fail, and take back one that was cut off."""

from __future__ import annotations

import base64
import json
from pathlib import Path
from urllib.parse import urljoin, urlsplit

import requests

PROBE = b"\0" * 65536
TIMEOUT = 30.0


def refusal(address: str, repository: str, *, authfile: Path | None, ca: Path | None) -> str:
    """Upload a few bytes, take them back, and return what the registry said if it failed.

    A client which sends a large blob sees a broken connection only: the registry answers before it
    has read all. https://github.com/opencontainers/distribution-spec/blob/main/spec.md#push

    Args:
        address: `host:port`.
        repository: the path to upload to.
        authfile: containers-auth.json(5).
        ca: the CA certificate (PEM) that signed the registry's.

    Returns:
        The body of the registry's error, an empty string when the upload went well or the registry
        did not answer.
    """
    try:
        with _session(address, authfile, ca) as session:
            start = f"https://{address}/v2/{repository}/blobs/uploads/"
            begun = session.post(start, timeout=TIMEOUT)
            if begun.status_code >= 400:
                return begun.text
            place = urljoin(start, begun.headers["Location"])
            sent = session.patch(
                place,
                data=PROBE,
                headers={"Content-Type": "application/octet-stream"},
                timeout=TIMEOUT,
            )
            _discard(session, place)
            return sent.text if sent.status_code >= 400 else ""
    except (requests.RequestException, KeyError):
        return ""


def cancel(address: str, upload: str, *, authfile: Path | None, ca: Path | None) -> bool:
    """Take back an upload that was cut off, which else keeps its bytes for days.

    Args:
        address: `host:port`.
        upload: the URL of the upload.
        authfile: containers-auth.json(5).
        ca: the CA certificate (PEM) that signed the registry's.

    Returns:
        True when the registry has removed it.
    """
    # What names the upload came out of a program's error message.
    if urlsplit(upload).netloc != address:
        return False
    try:
        with _session(address, authfile, ca) as session:
            return _discard(session, upload)
    except (requests.RequestException, KeyError):
        return False


def _discard(session: requests.Session, upload: str) -> bool:
    """Remove an upload, under the address that it has after the bytes it took."""
    status = session.get(upload, timeout=TIMEOUT)
    place = urljoin(upload, status.headers["Location"])
    return session.delete(place, timeout=TIMEOUT).status_code < 400


def _session(address: str, authfile: Path | None, ca: Path | None) -> requests.Session:
    session = requests.Session()
    # Neither the proxy of the environment nor its CA bundle is meant for a cluster's registry.
    session.trust_env = False
    if ca:
        session.verify = str(ca)
    if authfile:
        entry = json.loads(authfile.read_text()).get("auths", {}).get(address, {})
        user, _, password = base64.b64decode(entry.get("auth", "")).decode().partition(":")
        if user:
            session.auth = (user, password)
    return session
