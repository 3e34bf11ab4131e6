"""Hours of made-up rows, as Parquet files of the form that a warehouse gets."""

from __future__ import annotations

import uuid
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import duckdb

from ayla_provider.domain.tables import TABLES, ColumnType, Table
from ayla_provider.warehouse.base import Load

NOON = datetime(2026, 11, 1, 12, tzinfo=UTC)
HOUR = timedelta(hours=1)
PARQUET_TYPES = {
    ColumnType.TEXT: "varchar",
    ColumnType.INTEGER: "bigint",
    ColumnType.NUMBER: "double",
    ColumnType.BOOLEAN: "boolean",
    ColumnType.UUID: "varchar",
    ColumnType.TIMESTAMP: "timestamptz",
}

Row = Mapping[str, Any]


def identity(name: str) -> str:
    """A UUID, the same for the same name."""
    return str(uuid.uuid5(uuid.NAMESPACE_OID, name))


def parquet(folder: Path, table: Table, rows: Sequence[Row]) -> Path:
    """Write rows as typed ones. A column that a row doesn't name is empty."""
    path = folder / f"{uuid.uuid4().hex}.parquet"
    columns = ", ".join(f'"{column.name}" {PARQUET_TYPES[column.type]}' for column in table.columns)
    places = ", ".join("?" * len(table.columns))
    with duckdb.connect() as connection:
        connection.execute(f"set TimeZone = 'UTC'; create table rows ({columns})")
        for row in rows:
            connection.execute(f"insert into rows values ({places})", [row.get(name) for name in table.names])
        connection.execute(f"copy rows to '{path}' (format parquet, compression zstd)")
    return path


def made_load(
    folder: Path,
    event_type: str,
    hour: datetime,
    rows: Sequence[Row],
    *,
    version: str = "v1",
    table: Table | None = None,
) -> Load:
    """An hour of rows, for a warehouse."""
    table = table or TABLES[event_type]
    provenance = {"folder_hour": hour, "source_object": "a.csv", "source_generation": 1}
    return Load(
        table=table,
        hour=hour,
        version=version,
        rows=len(rows),
        lines=len(rows),
        duplicates=0,
        quarantined=0,
        parquet=parquet(folder, table, [{**provenance, **row} for row in rows]) if rows else None,
        loaded_at=datetime(2026, 11, 2, 3, 4, 5, 678000, tzinfo=UTC),
        loaded_by="dag's run",
    )
