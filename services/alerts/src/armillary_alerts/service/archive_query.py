"""Archived alerts for a notebook: asked for in the same SQL as filters, so that no user needs a key of the object store."""

from __future__ import annotations

from collections.abc import Iterator

import duckdb
import pyarrow as pa
from pydantic import BaseModel, ConfigDict, Field

from armillary_alerts.archive import Archive
from armillary_alerts.filters import dialect

LARGEST = 1_000_000
BATCH = 5_000
MEMORY_MIB = 512


class QueryError(ValueError):
    """The query cannot be run; says why."""


class ArchiveQuery(BaseModel):
    """Which alerts of a night, and what of them."""

    model_config = ConfigDict(extra="forbid")

    sql: str = Field(
        default="SELECT * FROM alerts",
        max_length=dialect.MAX_SQL,
        description="As a filter's: SELECT ... FROM alerts WHERE ..., or the condition alone.",
        examples=["SELECT alert_id, ra, dec, mag FROM alerts WHERE drb > 0.9"],
    )
    limit: int = Field(default=100_000, ge=1, le=LARGEST, description="Rows at most.")

    def run(self, archive: Archive, night: int) -> pa.RecordBatchReader:
        """Return the rows, as they are read.

        Args:
            archive: where the night is.
            night: yyyymmdd.

        Raises:
            ArchiveError: there is no such night.
            SqlError: the SQL is not allowed.
            QueryError: it does not fit the table.
        """
        connection = duckdb.connect(config={"memory_limit": f"{MEMORY_MIB}MiB", "threads": "1"})
        try:
            parsed = dialect.parse(connection, self.sql)
            fields = ", ".join(f'{text} AS "{name}"' for name, text in parsed.select)
            # The dialect has taken the text apart and written it anew: what is put together here is harmless.
            query = f"SELECT {fields} FROM alerts WHERE {parsed.where} LIMIT {self.limit}"  # noqa: S608
            relation = archive.relation(connection, night).query("alerts", query)
            assert relation
            reader = relation.to_arrow_reader(BATCH)
        except duckdb.Error as error:
            connection.close()
            raise QueryError(str(error).split("\n\nLINE", 1)[0]) from error
        except Exception:
            connection.close()
            raise

        def rows() -> Iterator[pa.RecordBatch]:
            with connection:
                yield from reader

        return pa.RecordBatchReader.from_batches(reader.schema, rows())
