"""Schemas by number: from a registry, a directory, or Rubin's own package where it is installed."""

from __future__ import annotations

import base64
import importlib.metadata
import json
import re
import ssl
import time
import urllib.error
import urllib.request
from collections.abc import Mapping
from pathlib import Path
from typing import Final

import fastavro

#: Seconds after which a registry is asked again for a number that it did not know.
AGAIN: Final = 60.0
TIMEOUT: Final = 10.0
PACKAGE: Final = "lsst-alert-packet"


class SchemasUnreachable(RuntimeError):
    """The registry does not answer; the packet is not at fault."""


class SchemaStore:
    """Looks in the directory, then in Rubin's package, then asks the registry."""

    def __init__(
        self,
        directory: Path | None = None,
        registry: str | None = None,
        credentials: str | None = None,
        ca: Path | None = None,
        *,
        package: bool = True,
    ) -> None:
        """Open a store.

        Args:
            directory: of files `<number>.avsc`.
            registry: URL of a schema registry.
            credentials: `user:password` for it.
            ca: certificates that its own is checked against.
            package: look into `lsst-alert-packet`, if it is installed.
        """
        self._directory = directory
        self._registry = registry.rstrip("/") if registry else None
        self._credentials = credentials
        self._tls = ssl.create_default_context(cafile=str(ca) if ca else None)
        self._package = packaged() if package else {}
        self._unknown: dict[int, float] = {}

    def get(self, number: int) -> str | None:
        """Return a schema as JSON; None where there is none of this number.

        Raises:
            SchemasUnreachable: the registry does not answer.
        """
        if self._directory:
            path = self._directory / f"{number}.avsc"
            if path.is_file():
                return path.read_text(encoding="utf-8")
        if number in self._package:
            return json.dumps(load_files(self._package[number]))
        if self._registry and time.monotonic() >= self._unknown.get(number, 0.0):
            found = self._ask(number)
            if found is None:
                if len(self._unknown) > 10_000:
                    self._unknown.clear()
                self._unknown[number] = time.monotonic() + AGAIN
            return found
        return None

    def _ask(self, number: int) -> str | None:
        request = urllib.request.Request(f"{self._registry}/schemas/ids/{number}")  # noqa: S310 - the operator's URL
        if self._credentials:
            token = base64.b64encode(self._credentials.encode()).decode()
            request.add_header("Authorization", f"Basic {token}")
        try:
            with urllib.request.urlopen(request, timeout=TIMEOUT, context=self._tls) as answer:  # noqa: S310
                return str(json.load(answer)["schema"])
        except urllib.error.HTTPError as error:
            if error.code == 404:
                return None
            raise SchemasUnreachable(
                f"The schema registry says {error.code} of {number}."
            ) from error
        except (OSError, ValueError, KeyError) as error:
            raise SchemasUnreachable(f"The schema registry does not answer: {error}") from error


def packaged() -> Mapping[int, Path]:
    """Return the schemas of `lsst-alert-packet` by number; empty where it is not installed.

    Its files are read and its code is not run: it is GPL, and wants much else. Rubin numbers schemas by version: 11.1 is 1101.
    """
    try:
        root = Path(
            str(importlib.metadata.distribution(PACKAGE).locate_file("lsst/alert/packet/schema"))
        )
    except importlib.metadata.PackageNotFoundError:
        return {}
    found = {}
    for path in root.glob("*/*/lsst.v*.alert.avsc"):
        version = re.fullmatch(r"lsst\.v(\d+)_(\d+)\.alert\.avsc", path.name)
        if version:
            found[int(f"{version[1]}{int(version[2]):02d}")] = path
    return found


def load_files(path: Path) -> object:
    """Return a schema whose named types are in files beside it.

    Args:
        path: of the outermost one.
    """
    schema = fastavro.schema.load_schema(str(path))
    # What fastavro adds for itself is no part of the schema.
    return {key: value for key, value in schema.items() if not key.startswith("__")}
