"""What differs between surveys, and between the versions of a survey's schema."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

import numpy as np

Packet = Mapping[str, Any]

#: AB magnitude of 1 nJy.
ZERO_POINT: Final = 31.4

#: One magnitude of a small relative error: 2.5 / ln(10).
POGSON: Final = 2.5 / math.log(10)

#: TAI minus UTC since 2017; no leap second is to come (CGPM 2022, resolution 4).
TAI_MINUS_UTC: Final = 37.0 / 86400.0


@dataclass
class History:
    """Measurements of objects, those of one packet after those of another."""

    counts: list[int] = field(default_factory=list)
    mjd: list[float | None] = field(default_factory=list)
    band: list[str | None] = field(default_factory=list)
    flux: list[float | None] = field(default_factory=list)
    flux_err: list[float | None] = field(default_factory=list)
    forced: list[bool] = field(default_factory=list)


@dataclass(frozen=True)
class Layout:
    """How packets of one schema are read."""

    survey: str
    version: str
    night_offset: float
    """MJD (UTC) minus this, rounded down, is the night: local noon at the telescope."""
    scalars: Mapping[str, Callable[[Sequence[Packet]], Iterable[Any]]]
    """For columns of the alert table: their values in each packet."""
    history: Callable[[Sequence[Packet], History], None]
    """Adds the measurements of each packet, the alert itself not among them."""
    version_of: Callable[[Packet], str | None] | None = None
    """The version, where the packet says it and not the schema."""


def first_of(names: frozenset[str], *wanted: str) -> str | None:
    """Return the first wanted name that a record has."""
    return next((name for name in wanted if name in names), None)


def taken(
    path: tuple[str, ...], name: str | None
) -> Callable[[Sequence[Packet]], Iterable[Any]] | None:
    """Return what takes a field out of each packet; None where the schema does not have it."""
    if name is None:
        return None
    key = name
    if not path:
        return lambda packets: [packet.get(key) for packet in packets]
    (outer,) = path

    def take(packets: Sequence[Packet]) -> list[Any]:
        return [
            None if (inner := packet.get(outer)) is None else inner.get(key) for packet in packets
        ]

    return take


def number(value: Any) -> float:
    """Return a number, NaN for what is none."""
    return math.nan if value is None else float(value)


def magnitude(flux: Any, flux_err: Any) -> tuple[Any, Any]:
    """Return AB magnitudes of the absolute values of fluxes in nJy, and their uncertainties; NaN where the flux is 0."""
    with np.errstate(all="ignore"):
        size = np.abs(flux)
        size = np.where(size > 0, size, np.nan)
        return ZERO_POINT - 2.5 * np.log10(size), POGSON * np.abs(flux_err) / size


def flux_of(mag: Any) -> Any:
    """Return fluxes in nJy of AB magnitudes."""
    with np.errstate(all="ignore"):
        return 10.0 ** ((ZERO_POINT - mag) / 2.5)
