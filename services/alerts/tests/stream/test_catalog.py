"""Cross-matches, against a search of every pair."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from armillary_alerts import table
from armillary_alerts.annotate.catalog import Catalog, Matcher
from armillary_alerts.archive import open_store


def alerts(ra: np.ndarray, dec: np.ndarray) -> pa.RecordBatch:
    """Return alerts that have a place alone."""
    arrays = [
        pa.array({"ra": ra, "dec": dec}[f.name]) if f.name in ("ra", "dec") else pa.nulls(len(ra), f.type)
        for f in table.SCHEMA
    ]  # fmt: skip
    return pa.RecordBatch.from_arrays(arrays, schema=table.SCHEMA)


def store(folder: Path, name: str, ra: np.ndarray, dec: np.ndarray) -> None:
    """Write a catalogue."""
    (folder / name).mkdir()
    size = len(ra)
    values = {
        "id": np.arange(size),
        "ra": ra,
        "dec": dec,
        "g": np.arange(size, dtype="f4"),
        "class": ["star"] * size,
    }
    pq.write_table(pa.table(values), folder / name / "part-0.parquet")


def distances(ra: np.ndarray, dec: np.ndarray, ra2: np.ndarray, dec2: np.ndarray) -> np.ndarray:
    """Return all distances in arcsec (haversine)."""
    a, d = np.radians(ra)[:, None], np.radians(dec)[:, None]
    a2, d2 = np.radians(ra2)[None], np.radians(dec2)[None]
    h = np.sin((d - d2) / 2) ** 2 + np.cos(d) * np.cos(d2) * np.sin((a - a2) / 2) ** 2
    return np.degrees(2 * np.arcsin(np.sqrt(h))) * 3600


@pytest.mark.parametrize(
    "centre", [(150.0, 2.0), (0.001, -30.0), (210.0, 89.99), (45.0, 0.0), (300.0, -89.999)]
)
def test_the_nearest_is_found_everywhere_on_the_sky(
    tmp_path: Path, centre: tuple[float, float]
) -> None:
    rng = np.random.default_rng(3)
    dec = np.clip(centre[1] + rng.uniform(-0.02, 0.02, 400), -90, 90)
    ra = (
        centre[0] + rng.uniform(-0.02, 0.02, 400) / max(np.cos(np.radians(centre[1])), 1e-4)
    ) % 360
    ra2 = (ra[:300] + rng.normal(0, 4 / 3600, 300) / max(np.cos(np.radians(centre[1])), 1e-4)) % 360
    dec2 = np.clip(dec[:300] + rng.normal(0, 4 / 3600, 300), -90, 90)
    store(tmp_path, "stars", ra2, dec2)
    catalog = Catalog(name="stars", path="stars", radius=5.0, mag="g", kind="class")
    found = Matcher(open_store(str(tmp_path)), [catalog]).match(alerts(ra, dec))
    apart = distances(ra, dec, ra2, dec2)
    nearest = apart.argmin(axis=1)
    within = apart.min(axis=1) <= 5.0
    assert 50 < within.sum() < 400
    ids = found.column("xmatch_id").to_pylist()
    assert [None if each is None else int(each) for each in ids] == [
        int(n) if near else None for n, near in zip(nearest, within, strict=True)
    ]
    distance = found.column("xmatch_distance").to_numpy(zero_copy_only=False)
    assert distance[within] == pytest.approx(apart.min(axis=1)[within], abs=2e-3)
    assert found.schema.equals(table.SCHEMA)


def test_all_catalogues_are_named_the_nearest_first(tmp_path: Path) -> None:
    here = (np.array([10.0]), np.array([20.0]))
    store(tmp_path, "far", here[0], here[1] + 1.5 / 3600)
    store(tmp_path, "near", here[0], here[1] + 0.5 / 3600)
    catalogs = [Catalog(name=name, path=name, kind="class") for name in ("far", "near")]
    (row,) = Matcher(open_store(str(tmp_path)), catalogs).match(alerts(*here)).to_pylist()
    assert [each["catalog"] for each in row["xmatch"]] == ["near", "far"]
    assert (row["xmatch_catalog"], row["xmatch_kind"], row["xmatch_id"]) == ("near", "star", "0")
    assert row["xmatch_distance"] == pytest.approx(0.5, abs=1e-4)


def test_memory_is_bounded_by_tiles(tmp_path: Path) -> None:
    rng = np.random.default_rng(5)
    ra, dec = rng.uniform(0, 360, 20_000), np.degrees(np.arcsin(rng.uniform(-1, 1, 20_000)))
    store(tmp_path, "sky", ra, dec)
    matcher = Matcher(open_store(str(tmp_path)), [Catalog(name="sky", path="sky")], memory_mib=0)
    found = matcher.match(alerts(ra[:300], dec[:300]))
    assert [int(each) for each in found.column("xmatch_id").to_pylist()] == list(range(300))
    assert len(matcher._tiles) == 1


def test_a_catalogue_without_a_column_is_refused(tmp_path: Path) -> None:
    store(tmp_path, "stars", np.array([1.0]), np.array([1.0]))
    with pytest.raises(ValueError, match="stars has no column z"):
        Matcher(open_store(str(tmp_path)), [Catalog(name="stars", path="stars", redshift="z")])
