"""Hours of made-up rows, as Parquet files of the form that a warehouse is given."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from ayla_provider.domain.tables import TABLES, ColumnType, Table
from ayla_provider.warehouse.base import Load

NOON = datetime(2026, 11, 1, 12, tzinfo=UTC)
HOUR = timedelta(hours=1)
ARROW = {
    ColumnType.TEXT: pa.string(),
    ColumnType.INTEGER: pa.int64(),
    ColumnType.NUMBER: pa.float64(),
    ColumnType.BOOLEAN: pa.bool_(),
    ColumnType.UUID: pa.string(),
    ColumnType.TIMESTAMP: pa.timestamp("us", tz="UTC"),
}

Row = Mapping[str, Any]


def parquet(path: Path, table: Table, hour: datetime, rows: Sequence[Row]) -> Path:
    """Write rows as typed ones; what a row doesn't name is empty."""
    provenance = {"folder_hour": hour, "source_object": "a.csv", "source_generation": 1}
    schema = pa.schema([(column.name, ARROW[column.type]) for column in table.columns])
    whole = [dict.fromkeys(table.names) | provenance | dict(row) for row in rows]
    pq.write_table(pa.Table.from_pylist(whole, schema), path, compression="zstd")
    return path


def load(
    folder: Path,
    event_type: str,
    hour: datetime,
    rows: Sequence[Row],
    *,
    version: str = "v1",
    table: Table | None = None,
) -> Load:
    """An hour of rows, to be put into a warehouse."""
    table = table or TABLES[event_type]
    return Load(
        table=table,
        hour=hour,
        version=version,
        rows=len(rows),
        lines=len(rows),
        duplicates=0,
        quarantined=0,
        parquet=parquet(folder / "an hour.parquet", table, hour, rows) if rows else None,
        loaded_at=datetime(2026, 11, 2, 3, 4, 5, 678000, tzinfo=UTC),
        loaded_by="dag's run",
    )
