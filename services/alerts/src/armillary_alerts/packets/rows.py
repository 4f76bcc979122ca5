"""From packets to rows of the alert table: column by column, never row by row."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

import cdshealpix.nested
import numpy as np
import numpy.typing as npt
import pyarrow as pa
from astropy import units
from astropy.coordinates import Latitude, Longitude

from armillary_alerts import table, topics
from armillary_alerts.annotate import features
from armillary_alerts.packets.decode import Decoded, Refused
from armillary_alerts.packets.layout import TAI_MINUS_UTC, History, magnitude

_BANDS: Final = np.array(["u", "g", "r", "i", "z", "y"])
_CODES: Final = {"u": 0, "g": 1, "r": 2, "i": 3, "z": 4, "y": 5}
_NO_BAND: Final = 6

#: Rows of the rotation from ICRS to galactic coordinates (Hipparcos catalogue, volume 1, equation 1.5.11).
_GALACTIC: Final = np.array(
    [
        [-0.0548755604162154, -0.8734370902348850, -0.4838350155487132],
        [+0.4941094278755837, -0.4448296299600112, +0.7469822444972189],
        [-0.8676661490190047, -0.1980763734312015, +0.4559837761750669],
    ]
)

#: MJD of 1970-01-01.
_UNIX: Final = 40587

Floats = npt.NDArray[np.float64]


def build(decoded: Sequence[Decoded]) -> tuple[list[Decoded], pa.RecordBatch, list[Refused]]:
    """Make rows of packets.

    Returns:
        The packets that became rows, in the order they were given; the rows, without cross-matches; and those that lack
        what each alert must have, with the reason.
    """
    try:
        return _build(decoded)
    except Exception as error:
        if len(decoded) == 1:
            why = f"it cannot become a row of the alert table: {type(error).__name__}: {error}"
            return [], table.empty(), [Refused(decoded[0].raw, why[:300])]
    # One of them has a value of a kind that no schema of ours gives; each is tried alone.
    kept: list[Decoded] = []
    parts: list[pa.RecordBatch] = []
    refused: list[Refused] = []
    for each in decoded:
        good, rows, bad = build([each])
        kept += good
        refused += bad
        parts.append(rows)
    return kept, concat(parts), refused


def concat(parts: Sequence[pa.RecordBatch]) -> pa.RecordBatch:
    """Return batches of the alert table as one."""
    if not parts:
        return table.empty()
    whole = pa.Table.from_batches(parts, table.SCHEMA).combine_chunks().to_batches()
    return whole[0] if whole else table.empty()


def _build(decoded: Sequence[Decoded]) -> tuple[list[Decoded], pa.RecordBatch, list[Refused]]:
    values: dict[str, list[Any]] = {}
    history = History()
    versions: list[str] = []
    offsets: list[float] = []
    runs: list[tuple[int, int]] = []
    for n, each in enumerate(decoded):
        if not runs or decoded[n - 1].layout is not each.layout:
            runs.append((n, n))
        runs[-1] = (runs[-1][0], n + 1)
    for begin, end in runs:
        layout = decoded[begin].layout
        packets = [each.packet for each in decoded[begin:end]]
        for name, take in layout.scalars.items():
            column = values.setdefault(name, [])
            column += [None] * (begin - len(column))
            column += take(packets)
        layout.history(packets, history)
        said = layout.version_of
        versions += [said(p) or layout.version if said else layout.version for p in packets]
        offsets += [layout.night_offset] * (end - begin)
    size = len(decoded)
    for column in values.values():
        column += [None] * (size - len(column))
    why = _reasons(values, size)
    if any(why):
        good = [each for each, reason in zip(decoded, why, strict=True) if not reason]
        bad = [Refused(d.raw, reason) for d, reason in zip(decoded, why, strict=True) if reason]
        if not good:
            return [], table.empty(), bad
        kept, rows, more = build(good)
        return kept, rows, bad + more
    columns = _columns(decoded, values, history, versions, np.array(offsets))
    return list(decoded), _batch(columns, size), []


def _reasons(values: dict[str, list[Any]], size: int) -> list[str]:
    """Return what each packet lacks; empty for those that lack nothing."""
    why = [""] * size
    for name, low, high in (("ra", -1e-9, 360.0 + 1e-9), ("dec", -90.0, 90.0), ("mjd", 1e4, 2e5)):
        for n, value in enumerate(values[name]):
            if not isinstance(value, int | float) or not low <= value <= high:
                why[n] = why[n] or f"{name} is {value!r}"
    for n, value in enumerate(values["alert_id"]):
        if not isinstance(value, int) or not -(2**63) <= value < 2**63:
            why[n] = why[n] or f"alert_id is {str(value)[:40]!r}"
    return why


def _columns(
    decoded: Sequence[Decoded],
    values: dict[str, list[Any]],
    history: History,
    versions: list[str],
    offsets: Floats,
) -> dict[str, Any]:
    size = len(decoded)
    out: dict[str, Any] = dict(values)
    ra, dec = np.array(values["ra"], float) % 360.0, np.array(values["dec"], float)
    mjd = np.array(values["mjd"], float)
    flux, flux_err = _floats(values.get("flux"), size), _floats(values.get("flux_err"), size)
    out |= {"ra": ra, "dec": dec, "mjd": mjd, "flux": flux, "flux_err": flux_err}
    out["mag"], out["mag_err"] = magnitude(flux, flux_err)
    out["is_positive"] = pa.array(flux > 0, mask=np.isnan(flux))
    out["healpix"] = cell(ra, dec, table.HEALPIX_ORDER)
    out["gal_l"], out["gal_b"] = galactic(ra, dec)
    out["night"] = nights(mjd, offsets)
    points = _points(history, values["band"], mjd, flux, flux_err)
    out |= features.compute(points, mjd, flux, offsets)
    first = _floats(values.get("first_mjd"), size)
    first = np.where(
        np.isfinite(first), np.minimum(first, out["packet_first"]), out["packet_first"]
    )
    del out["packet_first"]
    out["first_mjd"], out["age"] = first, mjd - first
    bounds = pa.array(points.bounds.astype(np.int32))
    out["history_mjd"] = pa.ListArray.from_arrays(bounds, pa.array(points.mjd))
    out["history_flux"] = pa.ListArray.from_arrays(bounds, pa.array(points.flux.astype(np.float32)))
    out["history_flux_err"] = pa.ListArray.from_arrays(
        bounds, pa.array(points.flux_err.astype(np.float32), from_pandas=True)
    )
    out["history_forced"] = pa.ListArray.from_arrays(bounds, pa.array(points.forced))
    names = pa.array(_BANDS).take(pa.array(points.band, mask=points.band == _NO_BAND))
    out["history_band"] = pa.ListArray.from_arrays(bounds, names)
    out["survey"] = [each.layout.survey for each in decoded]
    out["schema_version"] = versions
    out["received"] = pa.array([each.raw.received for each in decoded], pa.int64()).cast(
        pa.timestamp("ms", "UTC")
    )
    out["source"] = [each.raw.source or None for each in decoded]
    out["kafka_topic"] = [topics.RAW] * size
    out["kafka_partition"] = [each.raw.partition for each in decoded]
    out["kafka_offset"] = [each.raw.offset for each in decoded]
    return out


def _batch(columns: dict[str, Any], size: int) -> pa.RecordBatch:
    arrays = []
    for field in table.SCHEMA:
        value = columns.get(field.name)
        if value is None:
            arrays.append(pa.nulls(size, field.type))
        elif isinstance(value, pa.Array):
            arrays.append(value if value.type == field.type else value.cast(field.type))
        else:
            arrays.append(pa.array(value, field.type, from_pandas=True))
    return pa.RecordBatch.from_arrays(arrays, schema=table.SCHEMA)


def _floats(values: list[Any] | None, size: int) -> Floats:
    found = np.full(size, np.nan) if values is None else np.array(values, float)
    found[~np.isfinite(found)] = np.nan
    return found


def _points(
    history: History, bands: list[Any], mjd: Floats, flux: Floats, flux_err: Floats
) -> features.Points:
    """Return all measurements with those of the alerts themselves, by alert and time; without those of no use."""
    size = len(mjd)
    row = np.concatenate([np.repeat(np.arange(size), history.counts), np.arange(size)])
    when = np.concatenate([_floats(history.mjd, 0), mjd])
    values = np.concatenate([_floats(history.flux, 0), flux])
    errors = np.concatenate([_floats(history.flux_err, 0), flux_err])
    code = np.array([_CODES.get(band, _NO_BAND) for band in (*history.band, *bands)], np.int8)
    forced = np.concatenate([np.array(history.forced, bool), np.zeros(size, bool)])
    last = np.concatenate([np.zeros(len(history.mjd), bool), np.ones(size, bool)])
    use = last | (np.isfinite(when) & np.isfinite(values))
    order = np.lexsort((last, when, row))
    order = order[use[order]]
    row = row[order]
    bounds = np.searchsorted(row, np.arange(size + 1))
    return features.Points(
        row,
        bounds,
        when[order],
        code[order],
        values[order],
        errors[order],
        forced[order],
        last[order],
    )


def cell(ra: Floats, dec: Floats, order: int) -> npt.NDArray[np.int64]:
    """Return nested HEALPix cells of places in degrees."""
    lon, lat = Longitude(ra, units.deg), Latitude(dec, units.deg)
    found = cdshealpix.nested.lonlat_to_healpix(lon, lat, order, num_threads=1)
    return np.asarray(found).astype(np.int64)


def galactic(ra: Floats, dec: Floats) -> tuple[Floats, Floats]:
    """Return galactic longitude and latitude of places, all in degrees."""
    a, d = np.radians(ra), np.radians(dec)
    x, y, z = _GALACTIC @ np.array([np.cos(d) * np.cos(a), np.cos(d) * np.sin(a), np.sin(d)])
    return np.degrees(np.arctan2(y, x)) % 360.0, np.degrees(np.arcsin(np.clip(z, -1, 1)))


def nights(mjd: Floats, offsets: Floats) -> npt.NDArray[np.int32]:
    """Return the dates of the evenings, as yyyymmdd.

    Args:
        mjd: TAI.
        offsets: of local noon from midnight UTC, in days.
    """
    days = np.floor(mjd - TAI_MINUS_UTC - offsets).astype(np.int64)
    unique, back = np.unique(days, return_inverse=True)
    dates = [str(np.datetime64(int(day) - _UNIX, "D")).replace("-", "") for day in unique]
    return np.array([int(date) for date in dates], np.int32)[back]
