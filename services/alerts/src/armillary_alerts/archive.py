"""The archive: Parquet, partitioned by night and HEALPix cell, in an object store or a directory."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

import duckdb
import pyarrow as pa
import pyarrow.dataset as ds
import pyarrow.fs as pafs

from armillary_alerts import table

#: alerts/night=20261125/hpx=123/<file>.parquet
PARTITIONING = ds.partitioning(
    pa.schema([pa.field("night", pa.int32()), pa.field("hpx", pa.int32())]), flavor="hive"
)

ALERTS = "alerts"


class ArchiveError(RuntimeError):
    """The archive cannot be reached or read."""


@dataclass(frozen=True)
class Store:
    """Where files are: a filesystem and a directory in it."""

    filesystem: pafs.FileSystem
    root: str

    def path(self, *parts: str) -> str:
        """Return the path of something below the root."""
        return "/".join([self.root.rstrip("/"), *parts])


def open_store(
    url: str,
    *,
    access_key: str | None = None,
    secret_key: str | None = None,
    endpoint: str | None = None,
    ca: Path | None = None,
    region: str = "us-east-1",
) -> Store:
    """Open an object store or a directory.

    Args:
        url: `s3://bucket/prefix` or a directory's path.
        access_key, secret_key: of the object store.
        endpoint: `https://host:port` of an S3-compatible store.
        ca: certificates that the endpoint's is checked against, when they are not the system's.
        region: what the store calls its region.

    Raises:
        ArchiveError: the address cannot be understood.
    """
    parts = urlsplit(url)
    if parts.scheme == "s3":
        scheme, _, host = (endpoint or "").partition("://")
        if endpoint and (scheme not in ("http", "https") or not host):
            raise ArchiveError(f"endpoint must be like https://host:port, not {endpoint!r}.")
        more = {"tls_ca_file_path": str(ca)} if ca else {}
        filesystem = pafs.S3FileSystem(
            access_key=access_key,
            secret_key=secret_key,
            region=region,
            endpoint_override=host or None,
            scheme=scheme or "https",
            connect_timeout=10,
            request_timeout=30,
            **more,
        )
        return Store(filesystem, f"{parts.netloc}{parts.path}".rstrip("/"))
    if parts.scheme in ("", "file"):
        return Store(pafs.LocalFileSystem(), str(Path(parts.path).absolute()))
    raise ArchiveError(f"An archive is s3://bucket/prefix or a directory, not {url!r}.")


class Archive:
    """Reads what was archived."""

    def __init__(self, store: Store) -> None:
        self.store = store

    def nights(self) -> list[int]:
        """Return the nights that have alerts, as yyyymmdd, rising."""
        where = pafs.FileSelector(self.store.path(ALERTS), allow_not_found=True)
        found = self.store.filesystem.get_file_info(where)
        names = (info.base_name for info in found if info.type == pafs.FileType.Directory)
        return sorted(int(name[6:]) for name in names if name.startswith("night="))

    def scan(self, night: int) -> ds.Dataset:
        """Return a night's alerts, as a dataset with the columns of `table.SCHEMA` and `hpx`.

        An alert that was received twice, or written again after a crash, can be in it twice: `relation` and `read`
        leave duplicates out.

        Args:
            night: yyyymmdd.

        Raises:
            ArchiveError: no such night.
        """
        base = self.store.path(ALERTS, f"night={night}")
        info = self.store.filesystem.get_file_info(base)
        if info.type != pafs.FileType.Directory:
            raise ArchiveError(f"No alerts of the night {night} are archived.")
        schema = table.SCHEMA.append(pa.field("hpx", pa.int32()))
        return ds.dataset(
            base,
            schema=schema,
            filesystem=self.store.filesystem,
            format="parquet",
            partitioning=PARTITIONING,
            partition_base_dir=self.store.path(ALERTS),
            exclude_invalid_files=False,
        )

    def read(self, night: int, columns: Sequence[str] | None = None) -> pa.Table:
        """Return a night's alerts without duplicates.

        Args:
            night: yyyymmdd.
            columns: which; all of `table.SCHEMA` by default.

        Raises:
            ArchiveError: no such night.
        """
        with duckdb.connect() as connection:
            wanted = ", ".join(f'"{name}"' for name in columns or table.SCHEMA.names)
            relation = self.relation(connection, night)
            return relation.select(wanted).to_arrow_table()

    def relation(
        self, connection: duckdb.DuckDBPyConnection, night: int
    ) -> duckdb.DuckDBPyRelation:
        """Return a night's alerts without duplicates, for SQL.

        Args:
            connection: DuckDB's, which the relation lives in.
            night: yyyymmdd.

        Raises:
            ArchiveError: no such night.
        """
        found = connection.from_arrow(self.scan(night)).query(
            "every",
            "SELECT * FROM every QUALIFY row_number() OVER (PARTITION BY survey, alert_id, annotated_by "
            "ORDER BY kafka_partition, kafka_offset) = 1",
        )
        assert found is not None
        return found
