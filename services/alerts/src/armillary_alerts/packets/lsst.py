"""Rubin's packets: schemas 3.0 to 11.1 of `lsst.alert.packet`, and those after them that keep these names."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Sequence
from typing import Any, Final

from armillary_alerts import avro
from armillary_alerts.packets.layout import History, Layout, Packet, first_of, taken

_MJD = ("midpointMjdTai", "midPointTai")
_BAND = ("band", "filterName")
_FLUX = ("psfFlux", "psFlux")
_FLUX_ERR = ("psfFluxErr", "psFluxErr")
_FLAGS = (
    "pixelFlags_bad", "pixelFlags_edge", "pixelFlags_saturatedCenter", "pixelFlags_crCenter", "pixelFlags_nodataCenter",
    "flags",
)  # fmt: skip

_SOURCE = (
    "diaSourceId", "diaObjectId", "ssObjectId", *_MJD, "ra", "dec", "decl", *_BAND, *_FLUX, *_FLUX_ERR, "snr",
    "scienceFlux", "totFlux", "reliability", "extendedness", "isDipole", *_FLAGS,
)  # fmt: skip
_POINT = (*_MJD, *_BAND, *_FLUX, *_FLUX_ERR)
_OBJECT = ("diaObjectId", "firstDiaSourceMjdTai", "nDiaSources")
_SOLAR = ("ephOffset", "ephVmag", "designation")


def _all(names: Iterable[str]) -> avro.Wanted:
    return dict.fromkeys(names)


#: What is read of a packet. The cut-outs and the other hundreds of fields are passed over.
WANTED: Final[avro.Wanted] = {
    "alertId": None,
    "diaSourceId": None,
    "diaSource": _all(_SOURCE),
    "prvDiaSources": _all(_POINT),
    "prvDiaForcedSources": _all(_POINT),
    "diaObject": _all(_OBJECT),
    "ssSource": _all(_SOLAR),
}

#: Local noon on Cerro Pachon is at 16:43 UTC; Rubin's own day changes at 12:00 UTC, in daylight too.
NIGHT_OFFSET: Final = 0.5

Fields = Callable[..., frozenset[str]]


def layout(name: str, fields: Fields) -> Layout:
    """Return how packets of a schema are read.

    Args:
        name: the schema's full name: `lsst.v11_1.alert`.
        fields: names of the fields of the record at a path in the packet; none where there is no such record.

    Raises:
        PacketError: what an alert must have is not in it.
    """
    source = fields("diaSource")
    mjd, band = first_of(source, *_MJD), first_of(source, *_BAND)
    flux, flux_err = first_of(source, *_FLUX), first_of(source, *_FLUX_ERR)
    dec = first_of(source, "dec", "decl")
    number = first_of(fields(), "diaSourceId", "alertId")
    if not (mjd and band and flux and dec and number and "ra" in source):
        raise avro.PacketError(f"schema {name} lacks what every alert of Rubin's had so far")
    within = ("diaSource",)
    flags = [each for each in _FLAGS if each in source]
    found = {
        "alert_id": taken((), number),
        "object_id": _identifier("diaObjectId"),
        "ss_object_id": _identifier("ssObjectId"),
        "ra": taken(within, "ra"),
        "dec": taken(within, dec),
        "mjd": taken(within, mjd),
        "band": taken(within, band),
        "flux": taken(within, flux),
        "flux_err": taken(within, flux_err),
        "snr": taken(within, first_of(source, "snr")),
        "science_flux": taken(within, first_of(source, "scienceFlux", "totFlux")),
        "reliability": taken(within, first_of(source, "reliability")),
        "extendedness": taken(within, first_of(source, "extendedness")),
        "is_dipole": taken(within, first_of(source, "isDipole")),
        "has_flags": _any(flags) if flags else None,
        "ss_distance": taken(("ssSource",), first_of(fields("ssSource"), "ephOffset")),
        "ss_mag": taken(("ssSource",), first_of(fields("ssSource"), "ephVmag")),
        "survey_detections": taken(
            ("diaObject",), first_of(fields("diaObject"), "nDiaSources")
        ),
        "first_mjd": taken(
            ("diaObject",), first_of(fields("diaObject"), "firstDiaSourceMjdTai")
        ),
    }  # fmt: skip
    past = fields("prvDiaSources")
    forced = fields("prvDiaForcedSources")
    return Layout(
        survey="lsst",
        version=_version(name),
        night_offset=NIGHT_OFFSET,
        scalars={key: value for key, value in found.items() if value is not None},
        history=_history(_names(past), _names(forced)),
    )


def _version(name: str) -> str:
    found = re.search(r"v(\d+)_(\d+)", name)
    return f"{found[1]}.{found[2]}" if found else "unknown"


def _identifier(key: str) -> Callable[[Sequence[Packet]], list[str | None]]:
    """Numbers of objects become text, as of every survey; Rubin writes 0 for none in some versions."""

    def take(packets: Sequence[Packet]) -> list[str | None]:
        return [
            str(value) if (value := packet["diaSource"].get(key)) else None for packet in packets
        ]

    return take


def _any(flags: list[str]) -> Callable[[Sequence[Packet]], list[bool]]:
    def take(packets: Sequence[Packet]) -> list[bool]:
        sources = [packet["diaSource"] for packet in packets]
        return [any(source.get(flag) for flag in flags) for source in sources]

    return take


Names = tuple[str, str, str, str | None]


def _names(fields: frozenset[str]) -> Names | None:
    mjd, band = first_of(fields, *_MJD), first_of(fields, *_BAND)
    flux = first_of(fields, *_FLUX)
    if not (mjd and band and flux):
        return None
    return mjd, band, flux, first_of(fields, *_FLUX_ERR)


def _history(
    past: Names | None, forced: Names | None
) -> Callable[[Sequence[Packet], History], None]:
    def add(key: str, names: Names, packet: Packet, into: History) -> int:
        points = packet.get(key)
        if not points:
            return 0
        mjd, band, flux, flux_err = names
        into.mjd += [point[mjd] for point in points]
        into.band += [point[band] for point in points]
        into.flux += [point[flux] for point in points]
        into.flux_err += [point[flux_err] if flux_err else None for point in points]
        into.forced += [key == "prvDiaForcedSources"] * len(points)
        return len(points)

    def history(packets: Sequence[Packet], into: History) -> None:
        for packet in packets:
            count = add("prvDiaSources", past, packet, into) if past else 0
            if forced:
                count += add("prvDiaForcedSources", forced, packet, into)
            into.counts.append(count)

    return history


def is_packet(fields: Any) -> bool:
    """Return True for the outermost fields of a packet of Rubin's."""
    return "diaSource" in fields
