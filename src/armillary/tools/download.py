"""Files from the web: tried again where that may help, compared with what was promised."""

from __future__ import annotations

import hashlib
from pathlib import Path

import requests
from requests.adapters import HTTPAdapter
from urllib3.util.retry import Retry

ATTEMPTS = 5
PAUSE = 0.5
"""Seconds before the second attempt; twice as many before each one after that."""
PASSING = (429, 500, 502, 503, 504)
"""HTTP statuses after which trying again may help."""
_CHUNK = 1 << 20
_CONNECT, _READ = 10.0, 60.0
"""Seconds until it must answer, and between two pieces of it."""


class DownloadError(RuntimeError):
    """A file could not be had; the message says which and why."""


def download(url: str, target: Path) -> str:
    """Write what a URL gives to a file, and return its sha256 (hex).

    A transfer that is cut off is begun anew, as is one the server refuses for now (`PASSING`).

    Raises:
        DownloadError: it could not be had; nothing is left at `target`.
    """
    last = ""
    for _ in range(ATTEMPTS):
        try:
            return _transfer(url, target)
        except (requests.exceptions.ChunkedEncodingError, requests.exceptions.ReadTimeout) as error:
            last = str(error)
        except requests.RequestException as error:
            raise DownloadError(f"{url}: {_plainly(error)}") from error
        finally:
            target.with_suffix(".part").unlink(missing_ok=True)
    raise DownloadError(f"{url}: was cut off {ATTEMPTS} times: {last}")


def text(url: str) -> str:
    """Return what a URL gives, as text.

    Raises:
        DownloadError: it could not be had.
    """
    try:
        with _session() as session:
            answer = session.get(url, timeout=(_CONNECT, _READ))
            answer.raise_for_status()
            return answer.text
    except requests.RequestException as error:
        raise DownloadError(f"{url}: {_plainly(error)}") from error


def answers(url: str) -> str:
    """Return why the server of a URL does not have it, asked once; "" where it does.

    Nothing of the file is fetched.
    """
    try:
        with _session(attempts=1) as session:
            session.head(url, timeout=(_CONNECT, _CONNECT), allow_redirects=True).raise_for_status()
    except requests.RequestException as error:
        return _plainly(error)
    return ""


def _transfer(url: str, target: Path) -> str:
    digest = hashlib.sha256()
    part = target.with_suffix(".part")
    with (
        _session() as session,
        session.get(url, timeout=(_CONNECT, _READ), stream=True) as answer,
        part.open("wb") as file,
    ):
        answer.raise_for_status()
        for chunk in answer.iter_content(_CHUNK):
            digest.update(chunk)
            file.write(chunk)
    part.replace(target)
    return digest.hexdigest()


def _session(attempts: int = ATTEMPTS) -> requests.Session:
    session = requests.Session()
    # Said to the session, it would give way to REQUESTS_CA_BUNDLE: https://github.com/psf/requests/issues/3829
    retry = Retry(attempts - 1, backoff_factor=PAUSE, status_forcelist=PASSING)
    session.mount("https://", HTTPAdapter(max_retries=retry))
    return session


def _plainly(error: requests.RequestException) -> str:
    """Return what went wrong without the names of Python's objects."""
    if error.response is not None:
        return f"{error.response.status_code} {error.response.reason}"
    inner: BaseException = error
    while inner.args and isinstance(inner.args[0], BaseException):
        inner = inner.args[0]
    reason = getattr(inner, "reason", None)
    return str(reason or inner)
