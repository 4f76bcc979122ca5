"""Cross-matches with catalogues: Parquet in the object store, found by HEALPix cell."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import cdshealpix.nested
import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.dataset as ds
from pydantic import BaseModel, ConfigDict, Field

from armillary_alerts import table
from armillary_alerts.archive import Store
from armillary_alerts.packets.rows import cell

#: Order of the cells in which sources are looked up: 3.2 arcmin wide, wider than any radius.
ORDER: Final = 10
#: Order of the cells in which a catalogue is read: 54 square degrees.
TILE: Final = 3

Floats = npt.NDArray[np.float64]


class Catalog(BaseModel):
    """A catalogue to match with, as the operator describes it."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str = Field(pattern=r"^[a-z0-9_]+$", description="What `xmatch.catalog` says.")
    path: str = Field(description="Directory of Parquet files, below the store's root.")
    radius: float = Field(default=2.0, gt=0, le=120, description="In arcsec.")
    ra: str = Field(default="ra", description="Column of the right ascension, ICRS, degrees.")
    dec: str = Field(default="dec", description="Column of the declination.")
    id: str = Field(default="id", description="Column of the identifier.")
    kind: str | None = Field(default=None, description="Column of what it is.")
    mag: str | None = Field(default=None, description="Column of a magnitude.")
    redshift: str | None = Field(default=None, description="Column of a redshift.")


@dataclass(frozen=True)
class _Tile:
    """Sources in one cell of order `TILE` and around it, by cell of order `ORDER`."""

    cells: npt.NDArray[np.int64]
    xyz: Floats
    values: pa.Table

    @property
    def nbytes(self) -> int:
        return int(self.cells.nbytes + self.xyz.nbytes + self.values.nbytes)


class Matcher:
    """Finds the nearest source of each catalogue.

    A catalogue is read by tiles, when the first alert falls into one; the tiles used last are kept, up to a size.
    """

    def __init__(self, store: Store, catalogs: Sequence[Catalog], memory_mib: int = 512) -> None:
        """Open catalogues.

        Args:
            store: where they are.
            catalogs: what they are.
            memory_mib: for tiles of all catalogues together; a tile larger than that is kept alone.

        Raises:
            OSError: a catalogue is not there.
            ValueError: it lacks a column.
        """
        self._catalogs = list(catalogs)
        self._limit = memory_mib * 2**20
        self._tiles: OrderedDict[tuple[str, int], _Tile] = OrderedDict()
        self._lock = threading.Lock()
        self._datasets: dict[str, ds.Dataset] = {}
        for each in self._catalogs:
            found = ds.dataset(
                store.path(each.path),
                filesystem=store.filesystem,
                format="parquet",
                partitioning="hive",
            )
            wanted = [each.ra, each.dec, each.id, each.kind, each.mag, each.redshift]
            lacking = [name for name in wanted if name and name not in found.schema.names]
            if lacking:
                raise ValueError(f"The catalogue {each.name} has no column {', '.join(lacking)}.")
            self._datasets[each.name] = found

    def match(self, batch: pa.RecordBatch) -> pa.RecordBatch:
        """Return the alerts with their cross-matches."""
        size = batch.num_rows
        if not self._catalogs or not size:
            return batch
        ra, dec = batch.column("ra").to_numpy(), batch.column("dec").to_numpy()
        matches: list[list[dict[str, Any]]] = [[] for _ in range(size)]
        for catalog in self._catalogs:
            for row, found in self._nearest(catalog, ra, dec):
                matches[row].append(found)
        for each in matches:
            each.sort(key=lambda found: found["distance"])
        nearest: list[Mapping[str, Any]] = [each[0] if each else {} for each in matches]
        new: dict[str, Any] = {"xmatch": [each or None for each in matches]}
        for key in ("catalog", "id", "distance", "kind", "mag", "redshift"):
            new[f"xmatch_{key}"] = [found.get(key) for found in nearest]
        for name, values in new.items():
            index = table.SCHEMA.get_field_index(name)
            batch = batch.set_column(
                index, table.SCHEMA.field(index), pa.array(values, table.BY_NAME[name].type)
            )
        return batch

    def _nearest(
        self, catalog: Catalog, ra: Floats, dec: Floats
    ) -> list[tuple[int, dict[str, Any]]]:
        tiles = cell(ra, dec, TILE)
        found: list[tuple[int, dict[str, Any]]] = []
        for number in np.unique(tiles):
            rows = np.flatnonzero(tiles == number)
            tile = self._tile(catalog, int(number))
            if not len(tile.cells):
                continue
            which, source, distance = _within(tile, ra[rows], dec[rows], catalog.radius)
            names = {
                "id": catalog.id,
                "kind": catalog.kind,
                "mag": catalog.mag,
                "redshift": catalog.redshift,
            }
            taken = tile.values.take(pa.array(source)).to_pylist()
            for place, values, apart in zip(which, taken, distance, strict=True):
                match = {key: values[name] if name else None for key, name in names.items()}
                match |= {"catalog": catalog.name, "distance": float(apart)}
                match["id"] = None if match["id"] is None else str(match["id"])
                match["kind"] = None if match["kind"] is None else str(match["kind"])
                found.append((int(rows[place]), match))
        return found

    def _tile(self, catalog: Catalog, number: int) -> _Tile:
        key = (catalog.name, number)
        with self._lock:
            tile = self._tiles.get(key)
            if tile is not None:
                self._tiles.move_to_end(key)
                return tile
            tile = self._tiles[key] = self._read(catalog, number)
            while (
                len(self._tiles) > 1 and sum(t.nbytes for t in self._tiles.values()) > self._limit
            ):
                self._tiles.popitem(last=False)
            return tile

    def _read(self, catalog: Catalog, number: int) -> _Tile:
        """Read the sources in a tile, and those just outside that are near enough to alerts inside."""
        lon, lat = cdshealpix.nested.vertices(np.array([number], np.uint64), TILE)
        ras, decs = lon.deg.ravel(), lat.deg.ravel()
        centre_lon, centre_lat = cdshealpix.nested.healpix_to_lonlat(
            np.array([number], np.uint64), TILE
        )
        low, high = decs.min() - 0.1, decs.max() + 0.1
        names = [n for n in (catalog.id, catalog.kind, catalog.mag, catalog.redshift) if n]
        dec, ra = pc.field(catalog.dec), pc.field(catalog.ra)
        where = (dec >= float(low)) & (dec <= float(high))
        off = (ras - centre_lon.deg[0] + 180.0) % 360.0 - 180.0
        if max(abs(low), abs(high)) < 80.0:
            margin = 0.1 / np.cos(np.radians(max(abs(low), abs(high))))
            left = (centre_lon.deg[0] + off.min() - margin) % 360.0
            right = (centre_lon.deg[0] + off.max() + margin) % 360.0
            inside = (ra >= float(left)) & (ra <= float(right))
            where &= inside if left <= right else (ra >= float(left)) | (ra <= float(right))
        del centre_lat
        found = self._datasets[catalog.name].to_table(
            columns=list(dict.fromkeys([catalog.ra, catalog.dec, *names])), filter=where
        )
        a = found.column(catalog.ra).to_numpy().astype(float)
        d = found.column(catalog.dec).to_numpy().astype(float)
        use = np.isfinite(a) & np.isfinite(d)
        found, a, d = found.filter(pa.array(use)), a[use] % 360.0, d[use]
        cells = cell(a, d, ORDER) if len(a) else np.empty(0, np.int64)
        order = np.argsort(cells, kind="stable")
        values = found.select(list(dict.fromkeys(names))).take(pa.array(order)).combine_chunks()
        return _Tile(cells[order], _xyz(a[order], d[order]), values)


def _within(
    tile: _Tile, ra: Floats, dec: Floats, radius: float
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64], Floats]:
    """Return, for places with a source within a radius: which, the nearest source's number, and its distance in arcsec."""
    around = np.asarray(
        cdshealpix.nested.neighbours(cell(ra, dec, ORDER).astype(np.uint64), ORDER, num_threads=1)
    ).astype(np.int64)
    begin = np.searchsorted(tile.cells, around, "left")
    count = np.searchsorted(tile.cells, around, "right") - begin
    count[around < 0] = 0
    per = count.ravel()
    total = int(per.sum())
    none = np.empty(0, np.int64)
    if not total:
        return none, none, np.empty(0)
    place = np.repeat(np.arange(len(ra)), count.sum(axis=1))
    starts = np.repeat(begin.ravel(), per)
    within = np.arange(total) - np.repeat(np.cumsum(per) - per, per)
    source = starts + within
    chord = np.linalg.norm(_xyz(ra, dec)[place] - tile.xyz[source], axis=1)
    distance = np.degrees(2 * np.arcsin(np.clip(chord / 2, 0, 1))) * 3600.0
    near = distance <= radius
    place, source, distance = place[near], source[near], distance[near]
    order = np.lexsort((distance, place))
    place, source, distance = place[order], source[order], distance[order]
    first = np.ones(len(place), bool)
    first[1:] = place[1:] != place[:-1]
    return place[first], source[first], distance[first]


def _xyz(ra: Floats, dec: Floats) -> Floats:
    a, d = np.radians(ra), np.radians(dec)
    return np.column_stack([np.cos(d) * np.cos(a), np.cos(d) * np.sin(a), np.sin(d)])
