"""Light-curve features of many objects at once.

Definitions are those of the package `light-curve` (Malanchev et al. 2021, MNRAS 502, 5147), which the tests compare with. Its
wheels are GPL, and it takes one light curve at a time or lists of them; here all curves of a batch are one array, summed by
segments.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from armillary_alerts.packets.layout import magnitude

Floats = npt.NDArray[np.float64]

_G, _R = 1, 2
#: Days between a g and an r detection that make a colour.
_COLOR_DAYS: Final = 1.0
#: Magnitudes whose mean square scatter is below this are the same, but for rounding.
_SAME: Final = 1e-16


@dataclass(frozen=True)
class Points:
    """Measurements of many alerts: by alert, then by time. The alert itself is among them."""

    row: npt.NDArray[np.int64]
    """Which alert each belongs to."""
    bounds: npt.NDArray[np.int64]
    """Where each alert's begin, and where the last one's end."""
    mjd: Floats
    band: npt.NDArray[np.int8]
    flux: Floats
    flux_err: Floats
    forced: npt.NDArray[np.bool_]
    last: npt.NDArray[np.bool_]
    """True for the alert itself."""


def compute(points: Points, mjd: Floats, flux: Floats, offsets: Floats) -> dict[str, Any]:
    """Return what the object's history says, for each alert.

    Args:
        points: all measurements.
        mjd: of the alerts.
        flux: of the alerts, nJy.
        offsets: of local noon from midnight UTC, in days.

    Returns:
        Columns of the alert table, and `packet_first`: the first detection in the packet, MJD.
    """
    size = len(mjd)
    seen = ~points.forced
    row, when = points.row[seen], points.mjd[seen]
    past = seen & ~points.last & (points.mjd < mjd[points.row])
    out: dict[str, Any] = {
        "n_history": np.bincount(row, minlength=size),
        "n_forced": np.bincount(points.row[points.forced], minlength=size),
        "nights": _nights(row, np.floor(when - offsets[row]), size),
        "packet_first": _reduce(np.fmin, row, when, size),
        "last_mjd": _reduce(np.fmax, points.row[past], points.mjd[past], size),
    }
    own = np.full(size, -1, np.int8)
    own[points.row[points.last]] = points.band[points.last]
    same = seen & (points.band == own[points.row])
    same &= (points.flux > 0) == (flux > 0)[points.row]
    same &= points.mjd <= mjd[points.row]
    mag, mag_err = magnitude(points.flux, points.flux_err)
    same &= np.isfinite(mag)
    with np.errstate(all="ignore"):
        out |= _curves(points.row[same], points.mjd[same], mag[same], mag_err[same], size)
        out["lc_color_gr"] = _color(points, seen & np.isfinite(mag) & (points.flux > 0), mag, size)
    return out


def _curves(
    row: npt.NDArray[np.int64], t: Floats, m: Floats, e: Floats, size: int
) -> dict[str, Any]:
    """Return the features of light curves in one band each."""
    n = np.bincount(row, minlength=size)
    count = np.where(n > 0, n, np.nan)

    def total(values: Floats) -> Floats:
        return np.bincount(row, weights=values, minlength=size).astype(float)

    def least(number: int, values: Floats) -> Floats:
        return np.where((n >= number) & np.isfinite(values), values, np.nan)

    mean = total(m) / count
    off = m - mean[row]
    square = total(off**2)
    square = np.where(square > n * _SAME, square, 0.0)
    variance = square / (n - 1)
    spread = np.where(square > 0, square, np.nan)
    low, high = _reduce(np.fmin, row, m, size), _reduce(np.fmax, row, m, size)
    t0 = total(t) / count
    dt = t - t0[row]
    slope = total(dt * off) / total(dt**2)
    weight = np.where(e > 0, e, np.nan) ** -2.0
    weighted = total(weight * m) / total(weight)
    pull = (m - weighted[row]) / e
    chi2 = total(pull**2)
    # Neighbours within one light curve.
    step = row[1:] == row[:-1]
    dm, ds, of = np.diff(m)[step], np.diff(t)[step], row[1:][step]
    rate = np.where(ds > 0, dm / ds, np.nan)
    newest = np.full(size, np.nan)
    newest[of] = rate  # the last assignment of each row stays
    successive = np.bincount(of, weights=dm**2, minlength=size)
    fast = _reduce(np.fmax, of, np.abs(rate), size)
    return {
        "lc_n": n,
        "lc_mag_mean": mean,
        "lc_mag_std": least(2, np.sqrt(variance)),
        "lc_mag_min": low,
        "lc_mag_max": high,
        "lc_amplitude": (high - low) / 2,
        "lc_slope": least(2, slope),
        "lc_last_rate": least(2, newest),
        "lc_max_slope": least(2, fast),
        "lc_chi2": least(2, chi2 / (n - 1)),
        "lc_skew": least(3, n * np.sqrt(n - 1) / (n - 2) * total(off**3) / spread**1.5),
        "lc_stetson_k": least(2, total(np.abs(pull)) / np.sqrt(n * chi2)),
        "lc_eta": least(2, successive / spread),
    }


def _color(points: Points, use: npt.NDArray[np.bool_], mag: Floats, size: int) -> Floats:
    newest = []
    for band in (_G, _R):
        pick = use & (points.band == band)
        found, when = np.full(size, np.nan), np.full(size, np.nan)
        found[points.row[pick]] = mag[pick]  # by time: the newest stays
        when[points.row[pick]] = points.mjd[pick]
        newest.append((found, when))
    (g, tg), (r, tr) = newest
    return np.where(np.abs(tg - tr) <= _COLOR_DAYS, g - r, np.nan)


def _nights(row: npt.NDArray[np.int64], day: Floats, size: int) -> npt.NDArray[np.int64]:
    """Count different days; those of one row are in order."""
    if not len(row):
        return np.zeros(size, np.int64)
    new = np.ones(len(row), bool)
    new[1:] = (row[1:] != row[:-1]) | (day[1:] != day[:-1])
    return np.bincount(row[new], minlength=size)


def _reduce(ufunc: np.ufunc, row: npt.NDArray[np.int64], values: Floats, size: int) -> Floats:
    """Reduce the values of each row, which stand together; NaN for rows without."""
    out = np.full(size, np.nan)
    if len(row):
        starts = np.flatnonzero(np.concatenate([[True], row[1:] != row[:-1]]))
        out[row[starts]] = ufunc.reduceat(values, starts)
    return out
