"""Light-curve features, against the package whose definitions they follow."""

from __future__ import annotations

import importlib

import numpy as np
import pytest
from armillary_alerts.annotate import features
from armillary_alerts.packets.layout import ZERO_POINT


def points(curves: list[tuple[np.ndarray, np.ndarray, np.ndarray]]) -> features.Points:
    """Return light curves in one band as measurements, the last of each being the alert."""
    row = np.concatenate([np.full(len(t), n) for n, (t, _, _) in enumerate(curves)])
    mjd = np.concatenate([t for t, _, _ in curves])
    mag = np.concatenate([m for _, m, _ in curves])
    err = np.concatenate([e for _, _, e in curves])
    flux = 10 ** ((ZERO_POINT - mag) / 2.5)
    last = np.append(row[1:] != row[:-1], True)
    size = len(row)
    bounds = np.searchsorted(row, np.arange(len(curves) + 1))
    return features.Points(
        row, bounds, mjd, np.full(size, 2, np.int8), flux, err * flux / (2.5 / np.log(10)),
        np.zeros(size, bool), last,
    )  # fmt: skip


def test_features_are_those_of_light_curve() -> None:
    light_curve = pytest.importorskip("light_curve", reason="uv sync --group alerts-tests")
    rng = np.random.default_rng(2)
    curves = []
    for n in range(60):
        size = 4 + n % 17
        t = np.sort(rng.uniform(61000, 61100, size))
        curves.append((t, rng.normal(20, 0.5, size), rng.uniform(0.01, 0.2, size)))
    made = points(curves)
    found = features.compute(made, made.mjd[made.last], made.flux[made.last], np.zeros(60))
    expected = {
        "lc_mag_mean": "Mean", "lc_mag_std": "StandardDeviation", "lc_amplitude": "Amplitude",
        "lc_max_slope": "MaximumSlope", "lc_chi2": "ReducedChi2", "lc_skew": "Skew", "lc_stetson_k": "StetsonK",
        "lc_eta": "Eta", "lc_slope": "LinearTrend",
    }  # fmt: skip
    for name, theirs in expected.items():
        feature = getattr(light_curve, theirs)()
        for n, (t, m, e) in enumerate(curves):
            assert found[name][n] == pytest.approx(feature(t, m, e)[0], rel=1e-6), (name, n)


def test_what_one_measurement_does_not_tell_is_null() -> None:
    one = (np.array([61000.0]), np.array([20.0]), np.array([0.1]))
    two = (np.array([61000.0, 61001.5]), np.array([20.0, 19.0]), np.array([0.1, 0.1]))
    made = points([one, two])
    found = features.compute(made, made.mjd[made.last], made.flux[made.last], np.zeros(2))
    for name in ("lc_mag_std", "lc_slope", "lc_last_rate", "lc_chi2", "lc_skew", "lc_eta"):
        assert np.isnan(found[name][0]), name
    assert found["lc_last_rate"][1] == pytest.approx(-1 / 1.5)
    assert found["lc_n"].tolist() == [1, 2]
    assert found["nights"].tolist() == [1, 2]
    assert np.isnan(found["last_mjd"][0])
    assert found["last_mjd"][1] == 61000.0


def test_an_equal_light_curve_has_no_scatter() -> None:
    flat = (np.array([61000.0, 61001.0, 61002.0]), np.full(3, 20.1), np.full(3, 0.1))
    made = points([flat])
    found = features.compute(made, made.mjd[made.last], made.flux[made.last], np.zeros(1))
    assert found["lc_mag_std"][0] == 0
    assert np.isnan(found["lc_skew"][0])
    assert np.isnan(found["lc_eta"][0])


def test_other_bands_signs_and_forced_measurements_are_left_out() -> None:
    made = features.Points(
        row=np.zeros(5, np.int64),
        bounds=np.array([0, 5]),
        mjd=np.array([1.0, 2.0, 3.0, 4.0, 5.0]) + 61000,
        band=np.array([2, 1, 2, 2, 2], np.int8),
        flux=np.array([1000.0, 900.0, -1000.0, 500.0, 1500.0]),
        flux_err=np.full(5, 10.0),
        forced=np.array([False, False, False, True, False]),
        last=np.array([False, False, False, False, True]),
    )
    found = features.compute(made, np.array([61005.0]), np.array([1500.0]), np.zeros(1))
    assert found["lc_n"].tolist() == [2]
    assert found["n_history"].tolist() == [4]
    assert found["n_forced"].tolist() == [1]
    assert found["last_mjd"][0] == 61003.0


def test_nothing_is_imported_that_is_gpl() -> None:
    source = importlib.import_module("armillary_alerts.annotate.features").__file__
    assert source
    with open(source, encoding="utf-8") as file:
        assert "import light_curve" not in file.read()
