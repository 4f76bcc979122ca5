"""ZTF's packets: schema 3.3 and 4.02, and those that brokers add fields to.

Written after the published description of the fields (https://zwickytransientfacility.github.io/ztf-avro-alert/). The schema's files
have no licence and are not here; packets carry their own.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from typing import Any, Final

import numpy as np

from armillary_alerts import avro
from armillary_alerts.packets.layout import (
    POGSON,
    TAI_MINUS_UTC,
    ZERO_POINT,
    History,
    Layout,
    Packet,
    first_of,
    flux_of,
    number,
    taken,
)

_BANDS: Final = {1: "g", 2: "r", 3: "i"}
_JD0: Final = 2400000.5
#: Pixels of the camera, in arcsec.
_PIXEL: Final = 1.01
#: Seconds of an exposure, where the packet does not say: in ZTF nearly all are.
_EXPOSURE: Final = 30.0
#: A known solar system object this near, in arcsec, is taken to be the source.
_SAME: Final = 5.0

_CANDIDATE = (
    "jd", "fid", "exptime", "ra", "dec", "magpsf", "sigmapsf", "isdiffpos", "diffmaglim", "rb", "drb", "classtar", "nbad",
    "fwhm", "sgscore1", "distpsnr1", "magnr", "distnr", "ssdistnr", "ssmagnr", "ssnamenr", "ndethist", "jdstarthist",
)  # fmt: skip
_POINT = ("jd", "fid", "magpsf", "sigmapsf", "isdiffpos", "exptime")
_FORCED = ("jd", "fid", "forcediffimflux", "forcediffimfluxunc", "magzpsci", "exptime")

#: What is read of a packet.
WANTED: Final[avro.Wanted] = {
    "schemavsn": None,
    "objectId": None,
    "candid": None,
    "candidate": dict.fromkeys(_CANDIDATE),
    "prv_candidates": dict.fromkeys(_POINT),
    "fp_hists": dict.fromkeys(_FORCED),
}

#: Local noon on Palomar Mountain is at 19:47 UTC.
NIGHT_OFFSET: Final = 0.825

Take = Callable[[Sequence[Packet]], Iterable[Any]]


def layout(name: str, fields: Callable[..., frozenset[str]]) -> Layout:
    """Return how packets of a schema are read.

    Args:
        name: the schema's full name: `ztf.alert`.
        fields: names of the fields of the record at a path in the packet.

    Raises:
        PacketError: what an alert must have is not in it.
    """
    has = fields("candidate")
    needed = {"jd", "fid", "ra", "dec", "magpsf", "sigmapsf", "isdiffpos"}
    if not (needed <= has and {"candid", "objectId"} <= fields()):
        raise avro.PacketError(f"schema {name} lacks what every alert of ZTF's had so far")
    within = ("candidate",)

    def column(key: str, change: Callable[[Any], Any] | None = None) -> Take | None:
        take = taken(within, first_of(has, key))
        if take is None or change is None:
            return take
        return lambda packets: [None if v is None else change(v) for v in take(packets)]

    found: dict[str, Take | None] = {
        "alert_id": taken((), "candid"),
        "object_id": taken((), "objectId"),
        "ss_object_id": _solar if "ssdistnr" in has else None,
        "ra": column("ra"),
        "dec": column("dec"),
        "mjd": lambda packets: [_mjd(packet["candidate"]) for packet in packets],
        "band": column("fid", _BANDS.get),
        "flux": lambda packets: [_flux(packet["candidate"]) for packet in packets],
        "flux_err": lambda packets: [_flux_err(packet["candidate"]) for packet in packets],
        "snr": column("sigmapsf", lambda value: POGSON / value if value > 0 else None),
        "mag_limit": column("diffmaglim"),
        "reliability": _best("drb" in has),
        "rb": column("rb"),
        "drb": column("drb"),
        "extendedness": column("classtar", lambda value: 1 - value),
        "has_flags": column("nbad", lambda value: value > 0),
        "fwhm": column("fwhm"),
        "sg_score": column("sgscore1", _known),
        "sg_distance": column("distpsnr1", _known),
        "ref_mag": column("magnr", _known),
        "ref_distance": column("distnr", lambda value: value * _PIXEL if value >= 0 else None),
        "ss_distance": column("ssdistnr", _known),
        "ss_mag": column("ssmagnr", _known),
        "survey_detections": column("ndethist"),
        "first_mjd": column("jdstarthist", lambda value: value - _JD0 + TAI_MINUS_UTC),
    }
    return Layout(
        survey="ztf",
        version="unknown",
        night_offset=NIGHT_OFFSET,
        scalars={key: value for key, value in found.items() if value is not None},
        history=_history,
        version_of=lambda packet: packet.get("schemavsn"),
    )


def _known(value: float) -> float | None:
    """ZTF writes -999 for what is not known."""
    return None if value <= -99 else value


def _mjd(point: Packet) -> float | None:
    start = point["jd"]
    if start is None:
        return None
    exposure = point.get("exptime")
    if exposure is None or not 0 < exposure < 3600:
        exposure = _EXPOSURE
    return float(start - _JD0 + TAI_MINUS_UTC + exposure / 172800.0)


def _positive(point: Packet) -> bool:
    return point.get("isdiffpos") in ("t", "1", True, 1, "true", "True")


def _flux(point: Packet) -> float:
    mag = number(point.get("magpsf"))
    return float(flux_of(mag)) if _positive(point) else -float(flux_of(mag))


def _flux_err(point: Packet) -> float:
    mag, error = number(point.get("magpsf")), number(point.get("sigmapsf"))
    return float(flux_of(mag)) * error / POGSON


def _solar(packets: Sequence[Packet]) -> list[str | None]:
    out: list[str | None] = []
    for packet in packets:
        point = packet["candidate"]
        near = point.get("ssdistnr")
        name = point.get("ssnamenr")
        out.append(name if near is not None and 0 <= near <= _SAME and name != "null" else None)
    return out


def _best(deep: bool) -> Take:
    def take(packets: Sequence[Packet]) -> list[float | None]:
        points = [packet["candidate"] for packet in packets]
        return [
            point["drb"] if deep and point.get("drb") is not None else point.get("rb")
            for point in points
        ]

    return take


def _history(packets: Sequence[Packet], into: History) -> None:
    for packet in packets:
        points = [p for p in packet.get("prv_candidates") or () if p.get("magpsf") is not None]
        into.mjd += [_mjd(point) for point in points]
        into.band += [_BANDS.get(point["fid"]) for point in points]
        if points:
            mags = np.array([point["magpsf"] for point in points], float)
            errors = np.array([point["sigmapsf"] for point in points], float)
            fluxes = flux_of(mags)
            signs = np.array([1.0 if _positive(point) else -1.0 for point in points])
            into.flux += (fluxes * signs).tolist()
            into.flux_err += (fluxes * errors / POGSON).tolist()
        into.forced += [False] * len(points)
        forced = packet.get("fp_hists") or ()
        for point in forced:
            value = number(point.get("forcediffimflux"))
            zero = number(point.get("magzpsci"))
            # -99999: the measurement was tried and failed.
            scale = 10.0 ** ((ZERO_POINT - zero) / 2.5) if value > -99998 and zero > 0 else math.nan
            into.mjd.append(_mjd(point))
            into.band.append(_BANDS.get(point["fid"]))
            into.flux.append(value * scale)
            into.flux_err.append(number(point.get("forcediffimfluxunc")) * scale)
        into.forced += [True] * len(forced)
        into.counts.append(len(points) + len(forced))


def is_packet(fields: Any) -> bool:
    """Return True for the outermost fields of a packet of ZTF's."""
    return "candidate" in fields and "objectId" in fields
