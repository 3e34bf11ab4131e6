r"""
Speed of loading an hour into PostgreSQL, compared with ``psql \copy`` of the same rows into the same kind of table.

    python -m benchmarks.postgres "host=/run/postgresql dbname=postgres user=postgres" [--parquet FILE] [--rows 1000000]

It creates two schemas and drops them. It writes the CSV file for ``psql`` in advance, which doesn't count.
"""

from __future__ import annotations

import argparse
import subprocess
import tempfile
import time
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

import duckdb
import psycopg

from ayla_provider.domain.tables import TABLES, Column, ColumnType, Table
from ayla_provider.rows.duck import literal
from ayla_provider.warehouse.base import Load
from ayla_provider.warehouse.postgres import PostgresWarehouse
from ayla_provider.warehouse.postgres_tables import DIALECT
from benchmarks.results import Result, as_text, compared

HOUR = datetime(2026, 3, 1, 10, tzinfo=UTC)
OURS, PEERS = "ayla_benchmark", "ayla_benchmark_psql"
ROUNDS = 3

_DUCKDB_TYPES = {
    ColumnType.TEXT: "varchar",
    ColumnType.INTEGER: "bigint",
    ColumnType.NUMBER: "double",
    ColumnType.BOOLEAN: "boolean",
    ColumnType.UUID: "varchar",
    ColumnType.TIMESTAMP: "timestamptz",
}
# As long as in real exports. Other columns stay empty.
_VALUES = {
    "oem_id": "'0000abcd'",
    "oem_model": "'model-' || (i % 7)",
    "dsn": "'AC000W' || lpad((i % 20000)::varchar, 9, '0')",
    "property_name": "'prop_' || (i % 40)",
    "display_name": "'Property ' || (i % 40)",
    "display_name_raw": "base64(('Property ' || (i % 40))::blob)",
    "base_type": "['integer', 'decimal', 'string', 'boolean'][1 + i % 4]",
    "time_uuid": "uuid()",
    "user_uuid": "case when i % 10 > 0 then md5((i % 15000)::varchar)::uuid end",
    "echo": "false",
    "discarded": "false",
    "scope": "'user'",
    "val_int": "case when i % 4 = 0 then i % 1000 end",
    "val_decimal": "case when i % 4 = 1 then (i % 1000) / 7.0 end",
    "val_boolean": "case when i % 4 = 3 then i % 8 = 3 end",
    "val_string": """case when i % 4 = 2 then '{"state": ' || (i % 99) || '}' end""",
    "value_raw": "i % 1000",
    "direction": "'output'",
    "folder_hour": f"timestamptz '{HOUR}'",
    "source_object": "'datapoint/2026-03-01T10-00-00.csv'",
    "source_generation": "1700000000000000",
}


PEER = "psql \\copy"
HOW = {PEER: "the same rows from a CSV file into the same table, without a transaction that replaces the hour before"}


def made_up(parquet: Path, table: Table, rows: int) -> None:
    """Write made-up datapoints."""

    def value(column: Column) -> str:
        moment = f"timestamptz '{HOUR}' + to_microseconds((random() * 3.6e9)::bigint)"
        made = _VALUES.get(column.name, moment if column.type is ColumnType.TIMESTAMP else "null")
        return f"cast({made} as {_DUCKDB_TYPES[column.type]}) as {DIALECT.name(column.name)}"

    with duckdb.connect() as connection:
        connection.execute("set TimeZone = 'UTC'")
        select = f"select {', '.join(map(value, table.columns))} from range({rows}) made(i)"
        connection.execute(f"copy ({select}) to {literal(str(parquet))} (format parquet, compression zstd)")


def measure(parquet: Path, table: Table, dsn: str) -> list[Result]:
    """
    Load a Parquet file into empty tables, ours and the peer's alternately. The best round of each counts.

    :param dsn: the libpq connection string of a database with permission to create schemas
    """
    with tempfile.TemporaryDirectory() as folder, duckdb.connect() as connection:
        csv = Path(folder, "rows.csv")
        connection.execute("set TimeZone = 'UTC'")
        connection.execute(f"copy (from read_parquet({literal(str(parquet))})) to {literal(str(csv))} (header false)")
        rows = connection.execute(f"select count(*) from read_parquet({literal(str(parquet))})").fetchall()[0][0]
        ours, peers = [], []
        for _ in range(ROUNDS):
            ours.append(rows / _seconds(dsn, OURS, table, _loader(dsn, table, parquet, rows)))
            peers.append(rows / _seconds(dsn, PEERS, table, _psql(dsn, table, csv)))
    return compared(f"PostgreSQL: replace an hour, {rows:,} rows", "rows/s", ours, {PEER: peers}, max)


def _warehouse(dsn: str, schema: str) -> PostgresWarehouse:
    return PostgresWarehouse(lambda: psycopg.connect(dsn), schema=schema)


def _loader(dsn: str, table: Table, parquet: Path, rows: int) -> Callable[[], object]:
    def load() -> None:
        with _warehouse(dsn, OURS) as warehouse:
            warehouse.replace(Load(table, HOUR, "benchmark", rows, rows, 0, 0, parquet, datetime.now(UTC)))

    return load


def _psql(dsn: str, table: Table, csv: Path) -> Callable[[], object]:
    relation = DIALECT.name(PEERS, f"ayla_{table.event_type}")
    command = f"\\copy {relation} ({DIALECT.names(table.names)}) from '{csv}' (format csv)"
    return lambda: subprocess.run(["psql", "-q", "-X", "-d", dsn, "-c", command], check=True)


def _seconds(dsn: str, schema: str, table: Table, run: Callable[[], object]) -> float:
    """Return the seconds of a load into new tables, after the server has flushed pending writes."""
    with psycopg.connect(dsn, autocommit=True) as connection:
        connection.execute(f"drop schema if exists {schema} cascade")
        with _warehouse(dsn, schema) as warehouse:
            warehouse.prepare(table)
        connection.execute("checkpoint")
        start = time.perf_counter()
        run()
        seconds = time.perf_counter() - start
        connection.execute(f"drop schema {schema} cascade")
    return seconds


def main() -> None:
    """Print the measurement."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("dsn")
    parser.add_argument("--parquet", type=Path, help="typed rows of datapoints; made up if missing")
    parser.add_argument("--rows", type=int, default=1_000_000)
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        parquet, table = given.parquet or Path(folder, "rows.parquet"), TABLES["datapoint"]
        if not given.parquet:
            made_up(parquet, table, given.rows)
        print(as_text(measure(parquet, table, given.dsn)))


if __name__ == "__main__":
    main()
