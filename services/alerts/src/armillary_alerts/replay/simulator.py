"""Makes alert packets from a seed, in the surveys' published schemas, of their real sizes."""

from __future__ import annotations

import gzip
import io
import json
import struct
from collections.abc import Iterator
from typing import Any, Final, Literal

import fastavro
import numpy as np
from astropy.io import fits

from armillary_alerts.packets.layout import ZERO_POINT, magnitude
from armillary_alerts.packets.schemas import PACKAGE, SchemaStore
from armillary_alerts.replay import ztf_fields
from armillary_alerts.replay.sky import BANDS, Scene, scene

#: Rubin's schema that is written: 11.1.
LSST_SCHEMA: Final = 1101
#: Earlier detections of an object that is seen for long, about: with them packets are some 82 kB.
LSST_HISTORY: Final = 30
ZTF_HISTORY: Final = 12
#: Sides of cut-outs, in pixels.
LSST_SIDE: Final = 66
ZTF_SIDE: Final = 63
#: First alert number: those from it on are all of 9 bytes in Avro.
FIRST: Final = 3 << 58


class Simulator:
    """Alert packets from a seed: the same seed gives the same packets."""

    def __init__(
        self, seed: int, survey: Literal["lsst", "ztf"] = "lsst", schemas: SchemaStore | None = None
    ) -> None:
        """Make ready.

        Args:
            seed: of everything.
            survey: whose packets.
            schemas: where Rubin's schema is; by default its package.

        Raises:
            ValueError: Rubin's schema cannot be had.
        """
        self.seed = seed
        self.survey = survey
        if survey == "ztf":
            self.schema = fastavro.parse_schema(ztf_fields.schema())
        else:
            text = (schemas or SchemaStore()).get(LSST_SCHEMA)
            if text is None:
                raise ValueError(
                    f"Rubin's schema is not here: install {PACKAGE} beside, or name a directory or a registry in the settings."
                )
            self.schema = fastavro.parse_schema(json.loads(text))
        side = ZTF_SIDE if survey == "ztf" else LSST_SIDE
        blank = io.BytesIO()
        fits.PrimaryHDU(np.zeros((side, side), ">f4")).writeto(blank)
        self._side = side
        self._header = blank.getvalue()[:2880]

    def alert_id(self, number: int) -> int:
        """Return the survey's number of an alert."""
        return FIRST + (self.seed << 36) + number

    def scene(self, number: int) -> Scene:
        """Return what is behind an alert."""
        if self.survey == "ztf":
            return scene(self.seed, number, 3, ZTF_HISTORY)
        return scene(self.seed, number, len(BANDS), LSST_HISTORY)

    def packet(self, number: int) -> bytes:
        """Return a packet: LSST's in Confluent's wire format, ZTF's as a container file."""
        found = self.scene(number)
        if self.survey == "ztf":
            out = io.BytesIO()
            mark = struct.pack(">qq", self.seed, number)
            fastavro.writer(out, self.schema, [self._ztf(found)], sync_marker=mark)
            return out.getvalue()
        out = io.BytesIO(struct.pack(">bI", 0, LSST_SCHEMA))
        out.seek(0, io.SEEK_END)
        fastavro.schemaless_writer(out, self.schema, self._lsst(found))
        return out.getvalue()

    def packets(self, count: int, first: int = 0) -> Iterator[tuple[bytes, str]]:
        """Give packets, each with where it comes from."""
        for number in range(first, first + count):
            yield self.packet(number), f"simulator:{self.survey}:{self.seed}:{number}"

    def copies(self, pool: list[bytes], count: int, first: int) -> Iterator[tuple[bytes, str]]:
        """Give packets made before, each under a number of its own: for rates at which none can be made anew.

        Args:
            pool: packets number 0 and following.
            count: how many.
            first: number of the first; greater than those of the pool.
        """
        for number in range(first, first + count):
            old = number % len(pool)
            packet = pool[old].replace(_long(self.alert_id(old)), _long(self.alert_id(number)))
            yield packet, f"simulator:{self.survey}:{self.seed}:{number}"

    def _image(self, rng: np.random.Generator, flux: float) -> bytes:
        """Return a cut-out as FITS: noise, and a source in the middle."""
        y, x = np.indices((self._side, self._side)) - self._side // 2
        image = rng.normal(0, 1, x.shape) + flux / 200.0 * np.exp(-(x**2 + y**2) / 8.0)
        data = image.astype(">f4").tobytes()
        return self._header + data + bytes(-len(data) % 2880)

    def _lsst(self, found: Scene) -> dict[str, Any]:
        rng = np.random.default_rng([self.seed, 2, found.number])
        named = {f["name"]: f for f in self.schema["fields"]}
        source = _type(named["diaSource"]["type"], self.schema)
        forced = _type(named["prvDiaForcedSources"]["type"], self.schema)
        object_ = _type(named["diaObject"]["type"], self.schema)
        last = len(found.mjd) - 1
        sources = []
        for n in range(len(found.mjd)):
            point = _filled(source, rng)
            number = self.alert_id(found.number) if n == last else found.object * 1000 + n
            point |= {
                "diaSourceId": number, "diaObjectId": found.object, "ssObjectId": None, "visit": 2025112500000 + n,
                "detector": 94, "midpointMjdTai": float(found.mjd[n]), "ra": found.ra, "dec": found.dec,
                "band": BANDS[found.band[n]], "psfFlux": float(found.flux[n]), "psfFluxErr": float(found.flux_err[n]),
                "snr": float(abs(found.flux[n]) / found.flux_err[n]), "reliability": found.reliability,
                "extendedness": 0.0, "timeWithdrawnMjdTai": None, "scienceFlux": float(found.flux[n]) + 500.0,
                "timeProcessedMjdTai": float(found.mjd[n]), "isNegative": bool(found.flux[n] < 0),
            }  # fmt: skip
            sources.append(point)
        past = []
        for n in range(len(found.forced_mjd)):
            point = _filled(forced, rng)
            point |= {
                "diaForcedSourceId": found.object * 1000 + n, "diaObjectId": found.object, "ra": found.ra,
                "dec": found.dec, "visit": 2025112500000 + n, "detector": 94, "psfFlux": float(found.forced_flux[n]),
                "psfFluxErr": float(found.forced_err[n]), "midpointMjdTai": float(found.forced_mjd[n]),
                "band": BANDS[found.forced_band[n]], "timeWithdrawnMjdTai": None,
            }  # fmt: skip
            past.append(point)
        thing = _filled(object_, rng)
        thing |= {
            "diaObjectId": found.object, "ra": found.ra, "dec": found.dec, "nDiaSources": len(found.mjd),
            "firstDiaSourceMjdTai": float(found.mjd[0]), "lastDiaSourceMjdTai": float(found.mjd[-1]),
        }  # fmt: skip
        flux = float(found.flux[-1])
        return {
            "diaSourceId": self.alert_id(found.number),
            "observation_reason": "field_survey",
            "target_name": None,
            "diaSource": sources[-1],
            "prvDiaSources": sources[:-1] or None,
            "prvDiaForcedSources": past or None,
            "diaObject": thing,
            "ssSource": None,
            "mpc_orbits": None,
            "cutoutDifference": self._image(rng, flux),
            "cutoutScience": self._image(rng, flux + 3000.0),
            "cutoutTemplate": self._image(rng, 3000.0),
        }

    def _ztf(self, found: Scene) -> dict[str, Any]:
        rng = np.random.default_rng([self.seed, 2, found.number])
        named = {f["name"]: f for f in self.schema["fields"]}
        mags, errors = magnitude(found.flux, found.flux_err)
        # JD of the start of a 30 s exposure, in UTC.
        shift = 2400000.5 - 37.0 / 86400.0 - 15.0 / 86400.0
        points = []
        for n in range(len(found.mjd)):
            last = n == len(found.mjd) - 1
            kind = named["candidate" if last else "prv_candidates"]["type"]
            point = _filled(_type(kind, self.schema), rng)
            point |= {
                "jd": float(found.mjd[n]) + shift, "fid": int(found.band[n]), "ra": found.ra, "dec": found.dec,
                "candid": self.alert_id(found.number) if last else found.object * 1000 + n, "exptime": 30.0,
                "magpsf": float(mags[n]), "sigmapsf": float(errors[n]), "isdiffpos": "t" if found.flux[n] > 0 else "f",
                "diffmaglim": 20.5, "rb": found.reliability, "magzpsci": 26.3, "ssdistnr": -999.0, "ssmagnr": -999.0,
                "ssnamenr": "null", "nbad": 0, "fwhm": 2.1, "programid": 1,
            }  # fmt: skip
            if last:
                point |= {
                    "drb": found.reliability, "ndethist": len(found.mjd), "ncovhist": 300, "classtar": 0.98,
                    "jdstarthist": float(found.mjd[0]) + shift, "sgscore1": 0.5, "distpsnr1": 3.0, "distnr": 0.4,
                    "magnr": 19.0,
                }  # fmt: skip
            points.append(point)
        past = []
        scale = 10 ** ((26.3 - ZERO_POINT) / 2.5)
        for n in range(len(found.forced_mjd)):
            point = _filled(_type(named["fp_hists"]["type"], self.schema), rng)
            point |= {
                "jd": float(found.forced_mjd[n]) + shift, "fid": int(found.forced_band[n]), "magzpsci": 26.3,
                "forcediffimflux": float(found.forced_flux[n]) * scale, "exptime": 30.0, "procstatus": "0",
                "forcediffimfluxunc": float(found.forced_err[n]) * scale, "programid": 1,
            }  # fmt: skip
            past.append(point)
        flux = float(found.flux[-1])
        stamps = {
            "cutoutScience": flux + 3000.0,
            "cutoutTemplate": 3000.0,
            "cutoutDifference": flux,
        }
        return {
            "schemavsn": ztf_fields.VERSION,
            "publisher": "Armillary simulator",
            "objectId": f"ZTF25{_letters(found.object)}",
            "candid": self.alert_id(found.number),
            "candidate": points[-1],
            "prv_candidates": points[:-1] or None,
            "fp_hists": past or None,
        } | {
            name: {
                "fileName": f"candid{found.number}_{name}.fits.gz",
                "stampData": gzip.compress(self._image(rng, bright), 1, mtime=0),
            }
            for name, bright in stamps.items()
        }


def _type(kind: Any, schema: Any) -> Any:
    """Return the record that a field is, or is a list of."""
    if isinstance(kind, list):
        return next(_type(each, schema) for each in kind if each != "null")
    if isinstance(kind, dict) and kind["type"] == "array":
        return _type(kind["items"], schema)
    if isinstance(kind, str):
        return _named(schema, kind)
    return kind


def _named(schema: Any, name: str) -> Any:
    """Return the type of a name, wherever in the schema it is defined."""
    if isinstance(schema, list):
        return next((found for each in schema if (found := _named(each, name))), None)
    if not isinstance(schema, dict):
        return None
    if schema.get("type") == "record":
        if schema["name"] == name:
            return schema
        return next((found for f in schema["fields"] if (found := _named(f["type"], name))), None)
    return _named(schema.get("items", schema.get("type")), name)


def _filled(record: Any, rng: np.random.Generator) -> dict[str, Any]:
    """Return a record with plausible values in all fields, so that it takes the bytes that a real one does."""
    draws = iter(rng.normal(0, 10, len(record["fields"])).tolist())
    out: dict[str, Any] = {}
    for field in record["fields"]:
        kinds = field["type"] if isinstance(field["type"], list) else [field["type"]]
        kind = next((each for each in kinds if each != "null"), "null")
        value = next(draws)
        if kind in ("float", "double"):
            out[field["name"]] = value
        elif kind in ("int", "long"):
            out[field["name"]] = abs(int(value * 10))
        elif kind == "boolean":
            out[field["name"]] = False
        elif kind == "string":
            out[field["name"]] = "v1"
        else:
            out[field["name"]] = None
    return out


def _letters(number: int) -> str:
    out = ""
    for _ in range(7):
        number, rest = divmod(number, 26)
        out += chr(97 + rest)
    return out


def _long(value: int) -> bytes:
    """Return a number as Avro writes it."""
    rest = (value << 1) ^ (value >> 63)
    out = bytearray()
    while rest > 0x7F:
        out.append((rest & 0x7F) | 0x80)
        rest >>= 7
    out.append(rest)
    return bytes(out)
