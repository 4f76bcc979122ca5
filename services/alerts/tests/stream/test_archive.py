"""The archive: what is written, put together, read by others, and taken away after a crash."""

from __future__ import annotations

from pathlib import Path

import duckdb
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from armillary_alerts import table
from armillary_alerts.archive import ALERTS, Archive, ArchiveError, open_store
from armillary_alerts.packets import rows
from armillary_alerts.packets.decode import Decoder, Raw
from armillary_alerts.replay.simulator import Simulator
from armillary_alerts.stages.archive import Writer, compact


@pytest.fixture(scope="module")
def batch() -> pa.RecordBatch:
    """60 simulated alerts of one night."""
    simulator = Simulator(21, "ztf")
    raws = [Raw(simulator.packet(n), n % 3, n, 1_700_000_000_000) for n in range(60)]
    _, found, refused = rows.build(Decoder().decode(raws)[0])
    assert not refused
    return found


def write(folder: Path, found: pa.RecordBatch, name: str) -> Writer:
    """Write rows as the archive stage does."""
    writer = Writer(open_store(str(folder)))
    for path, part in writer.paths(found, name).items():
        writer.write(path, part)
    return writer


def test_rows_come_back_as_they_were(tmp_path: Path, batch: pa.RecordBatch) -> None:
    write(tmp_path, batch, "part-0")
    archive = Archive(open_store(str(tmp_path)))
    (night,) = archive.nights()
    found = archive.read(night).sort_by("alert_id")
    assert found.schema.names == table.SCHEMA.names
    assert found.cast(table.SCHEMA).equals(pa.Table.from_batches([batch]).sort_by("alert_id"))
    cells = {int(path.parent.name[4:]) for path in tmp_path.rglob("*.parquet")}
    shift = 2 * (table.HEALPIX_ORDER - table.PARTITION_ORDER)
    assert cells == {healpix >> shift for healpix in batch.column("healpix").to_pylist()}
    with pytest.raises(ArchiveError, match="20000101"):
        archive.scan(20000101)


def test_it_is_read_by_duckdb_and_pandas_and_spark_can(
    tmp_path: Path, batch: pa.RecordBatch
) -> None:
    write(tmp_path, batch, "part-0")
    glob = f"{tmp_path}/{ALERTS}/**/*.parquet"
    with duckdb.connect() as connection:
        count = connection.sql(
            f"SELECT count(*), min(night) FROM read_parquet('{glob}', hive_partitioning = true)"
        )
        assert count.fetchall() == [(60, batch.column("night")[0].as_py())]
    # Hidden from Spark and pyarrow: names that begin with an underscore.
    visible = [path for path in tmp_path.rglob("*") if path.is_file()]
    assert all(path.suffix == ".parquet" for path in visible)
    pandas = pytest.importorskip("pandas")
    assert len(pandas.read_parquet(tmp_path / ALERTS)) == 60


def test_rows_written_twice_are_read_once_and_put_together(
    tmp_path: Path, batch: pa.RecordBatch
) -> None:
    for name, part in (("a", batch.slice(0, 40)), ("b", batch.slice(20, 40)), ("c", batch)):
        write(tmp_path, part, name)
    store = open_store(str(tmp_path))
    archive = Archive(store)
    (night,) = archive.nights()
    assert archive.scan(night).count_rows() == 140
    assert archive.read(night, ["alert_id"]).num_rows == 60
    before, after = compact(store, night, 1 << 30)
    assert before > after == len(list((tmp_path / ALERTS).glob("*/*")))
    assert archive.scan(night).count_rows() == 60
    assert sorted(archive.read(night, ["alert_id"]).column(0).to_pylist()) == sorted(batch.column("alert_id").to_pylist())  # fmt: skip
    for path in tmp_path.rglob("*.parquet"):
        healpix = pq.read_table(path, partitioning=None).column("healpix").to_pylist()
        assert healpix == sorted(healpix)
    assert compact(store, night, 1 << 30) == (after, after)


def test_large_files_and_those_being_written_are_left_alone(
    tmp_path: Path, batch: pa.RecordBatch
) -> None:
    write(tmp_path, batch, "a")
    writer = write(tmp_path, batch, "b")
    store = open_store(str(tmp_path))
    (night,) = Archive(store).nights()
    before, after = compact(store, night, 1)
    assert before == after
    writer.note(0, "open", {"end": 10, "files": list(writer.paths(batch, "b"))})
    assert compact(store, night, 1 << 30) == (before, before)


def test_what_a_crash_left_is_taken_away(tmp_path: Path, batch: pa.RecordBatch) -> None:
    writer = write(tmp_path, batch.slice(0, 30), "done")
    files = writer.paths(batch.slice(30), "undone")
    writer.note(1, "undone", {"end": 99, "files": list(files)})
    writer.note(1, "done", {"end": 50, "files": list(writer.paths(batch.slice(0, 30), "done"))})
    for path, part in list(files.items())[:-1] or list(files.items()):
        writer.write(path, part)
    writer.tidy(1, 50)
    archive = Archive(open_store(str(tmp_path)))
    (night,) = archive.nights()
    assert archive.scan(night).count_rows() == 30
    assert not list((tmp_path / "_writing").rglob("*.json"))


def test_an_address_that_cannot_be_is_refused() -> None:
    with pytest.raises(ArchiveError, match="s3://bucket/prefix or a directory"):
        open_store("ftp://x/y")
    with pytest.raises(ArchiveError, match="https://host:port"):
        open_store("s3://bucket/x", endpoint="host:9000")
