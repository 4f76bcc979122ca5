"""A sky that changes: objects of a few classes, when they are looked at, and how bright they are then."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum
from typing import Final

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]

BANDS: Final = ("u", "g", "r", "i", "z", "y")
#: Alerts of one visit: they are in one field of view.
VISIT: Final = 10_000
#: Radius of the field of view, in degrees.
FIELD: Final = 1.75
#: MJD of the first visit.
START: Final = 61_000.2
#: Days from one visit to the next: DMTN-149's 37 s.
CADENCE: Final = 37.0 / 86_400.0


class Kind(StrEnum):
    """What an object is."""

    SUPERNOVA = "supernova"
    FAST = "fast transient"
    RR_LYRAE = "RR Lyrae"
    AGN = "AGN"
    ASTEROID = "asteroid"
    ARTEFACT = "artefact"


#: How common each is among alerts.
SHARES: Final = {
    Kind.SUPERNOVA: 0.05,
    Kind.FAST: 0.005,
    Kind.RR_LYRAE: 0.4,
    Kind.AGN: 0.3,
    Kind.ASTEROID: 0.145,
    Kind.ARTEFACT: 0.1,
}


@dataclass(frozen=True)
class Scene:
    """One alert: what was seen, and what was seen before."""

    number: int
    kind: Kind
    object: int
    ra: float
    dec: float
    mjd: Floats
    """Times of the detections, the alert's last."""
    band: npt.NDArray[np.int64]
    """Numbers in `BANDS`."""
    flux: Floats
    """Difference fluxes, nJy."""
    flux_err: Floats
    forced_mjd: Floats
    forced_band: npt.NDArray[np.int64]
    forced_flux: Floats
    forced_err: Floats
    reliability: float


def scene(seed: int, number: int, bands: int, history: int) -> Scene:
    """Make an alert.

    Args:
        seed: of the whole sky.
        number: of the alert, from 0.
        bands: how many of `BANDS` the survey has, from g on if fewer than all.
        history: earlier detections an object that is seen for long has, about.
    """
    rng = np.random.default_rng([seed, number])
    kind = list(SHARES)[int(rng.choice(len(SHARES), p=list(SHARES.values())))]
    visit = number // VISIT
    now = START + visit * CADENCE
    field = np.random.default_rng([seed, 1 << 40, visit])
    ra0, dec0 = field.uniform(0, 360), np.degrees(np.arcsin(field.uniform(-0.95, 0.1)))
    radius, angle = FIELD * np.sqrt(rng.uniform()), rng.uniform(0, 2 * np.pi)
    dec = float(np.clip(dec0 + radius * np.sin(angle), -89.9, 89.9))
    ra = float((ra0 + radius * np.cos(angle) / np.cos(np.radians(dec))) % 360.0)
    curve, length = _curve(kind, rng, now)
    count = 0 if length == 0 else int(rng.poisson(history * min(1.0, length / 300.0)))
    times = np.sort(now - rng.uniform(0.02, max(length, 0.02), count))
    mjd = np.append(times, now)
    first = 0 if bands == len(BANDS) else 1
    band = rng.integers(first, first + bands, len(mjd))
    error = rng.uniform(80.0, 250.0, len(mjd))
    flux = curve(mjd, band) + rng.normal(0, 1, len(mjd)) * error
    # It was detected: each is at least 5 sigma, the alert included.
    weak = np.abs(flux) < 5 * error
    flux[weak] = np.where(flux[weak] < 0, -5.0, 5.0) * error[weak] * rng.uniform(1, 1.3, weak.sum())
    forced_count = 0 if kind in (Kind.ASTEROID, Kind.ARTEFACT) else int(rng.poisson(2 * history))
    forced = np.sort(now - rng.uniform(0.02, 365.0, forced_count))
    forced_band = rng.integers(first, first + bands, forced_count)
    forced_err = rng.uniform(80.0, 250.0, forced_count)
    forced_flux = curve(forced, forced_band) + rng.normal(0, 1, forced_count) * forced_err
    reliability = rng.beta(1, 6) if kind is Kind.ARTEFACT else rng.beta(12, 1)
    return Scene(
        number, kind, int(rng.integers(1 << 40, 1 << 41)), ra, dec, mjd, band, flux, error, forced, forced_band,
        forced_flux, forced_err, float(reliability),
    )  # fmt: skip


def _curve(
    kind: Kind, rng: np.random.Generator, now: float
) -> tuple[Callable[[Floats, npt.NDArray[np.int64]], Floats], float]:
    """Return how bright an object is, and for how many days it has been seen."""
    color = rng.normal(0, 0.15, len(BANDS))
    peak = 10 ** ((31.4 - rng.uniform(18.5, 23.0)) / 2.5)
    scale = 10 ** (-color / 2.5)
    if kind in (Kind.SUPERNOVA, Kind.FAST):
        rise, fall = (
            (rng.uniform(12, 20), rng.uniform(25, 60))
            if kind is Kind.SUPERNOVA
            else (0.5, rng.uniform(1, 4))
        )
        since = rng.uniform(0.1, 4.0 * rise + fall)
        begin = now - since

        def burst(t: Floats, band: npt.NDArray[np.int64]) -> Floats:
            # Rises as a fireball, falls exponentially.
            dt = t - begin
            up = np.clip(dt / rise, 0, 1) ** 2
            down = np.exp(-np.clip(dt - rise, 0, None) / fall)
            return np.asarray(np.where(dt > rise, down, up) * peak * scale[band])

        return burst, float(since)
    if kind is Kind.RR_LYRAE:
        period, phase, depth = rng.uniform(0.45, 0.7), rng.uniform(), peak * rng.uniform(0.3, 0.6)

        def saw(t: Floats, band: npt.NDArray[np.int64]) -> Floats:
            place = (t / period + phase) % 1.0
            shape = np.where(place < 0.15, place / 0.15, (1 - place) / 0.85)
            return np.asarray((shape - 0.5) * 2 * depth * scale[band])

        return saw, 365.0
    if kind is Kind.AGN:
        phases, sizes = rng.uniform(0, 2 * np.pi, 12), rng.normal(0, 1, 12)
        periods = np.geomspace(5, 800, 12)

        def walk(t: Floats, band: npt.NDArray[np.int64]) -> Floats:
            # A sum of waves, longer ones stronger: like a damped random walk over a year.
            waves = (
                sizes * np.sqrt(periods / 800) * np.sin(2 * np.pi * t[:, None] / periods + phases)
            )
            return np.asarray(waves.sum(axis=1) * peak * 0.5 * scale[band])

        return walk, 365.0

    def steady(t: Floats, band: npt.NDArray[np.int64]) -> Floats:
        return np.full(len(t), peak) * scale[band]

    return steady, 0.0
