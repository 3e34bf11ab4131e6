"""The lake of the demo: Iceberg tables on disk, beside the DuckDB file, and chDB, which reads them back."""

from __future__ import annotations

import contextlib
import json
import sqlite3
from collections.abc import Sequence
from datetime import datetime
from pathlib import Path
from uuid import UUID

import duckdb

from ayla_provider.domain.events import EVENT_TYPES
from demo.run import run_once
from harness.judges import Judge, Rows, comparable, plain
from harness.standalone import Standalone

LOADS = "ayla_export_to_iceberg"
READER = "chdb"

_NAMESPACE = "ayla"


def define(airflow: Standalone, folder: Path) -> None:
    """
    Create the connection to a catalog, and the pool, in Airflow.

    :param folder: where catalog and tables are
    """
    folder.mkdir()
    catalog = {"type": "sql", "uri": f"sqlite:///{folder}/catalog.db", "warehouse": f"file://{folder}"}
    fields = {"connection_id": "iceberg_default", "conn_type": "iceberg", "extra": json.dumps(catalog)}
    airflow.api("POST", "connections", json=fields)
    airflow.api("POST", "pools", json={"name": "ayla_iceberg", "slots": 2})


def load(airflow: Standalone) -> bool:
    """Let the sample DAG load all hours into the tables, and return whether it succeeded."""
    print("Loading the same hours into Iceberg tables ...", flush=True)
    return run_once(airflow, LOADS, timeout=900)


def differences(
    folder: Path, warehouse: Path, hours: Sequence[datetime], event_types: Sequence[str] = EVENT_TYPES
) -> list[str]:
    """
    Let chDB read each table, and return how its rows differ from those of the DuckDB file.

    :param folder: where catalog and tables are
    :param warehouse: a DuckDB file that no other process has open
    :param hours: those to compare; the tables can have newer ones
    """
    problems, wanted = [], {plain(hour) for hour in hours}
    judge = Judge(READER)
    try:
        for event_type in event_types:
            rows = judge.read("iceberg", metadata_of(folder, event_type))
            loaded, names = _rows(warehouse, event_type)
            found, expected = (
                comparable([row for row in side if plain(row["folder_hour"]) in wanted], names)
                for side in (rows, loaded)
            )
            if found != expected:
                problems.append(
                    f"{event_type}: chDB reads {len(found):,} rows of the Iceberg table, the DuckDB file has "
                    f"{len(expected):,}, and {len(set(found) ^ set(expected)):,} are different"
                )
    finally:
        judge.end()
    return problems


def metadata_of(folder: Path, event_type: str) -> str:
    """Return the URL of a table's current metadata, as the catalog has it."""
    query = "select metadata_location from iceberg_tables where table_namespace = ? and table_name = ?"
    with contextlib.closing(sqlite3.connect(folder / "catalog.db")) as catalog:
        ((location,),) = catalog.execute(query, [_NAMESPACE, f"ayla_{event_type}"]).fetchall()
    return str(location)


def summary(folder: Path) -> str:
    """Return what chDB finds in the tables: the rows of each event type, and the devices with most datapoints."""
    judge = Judge(READER)
    try:
        lines = [f"{'chDB reads from Iceberg':24}{'rows':>10}{'hours':>8}{'devices':>9}"]
        counts = "select count() as n, uniqExact(folder_hour) as hours, uniqExact(dsn) as devices from {table}"
        for event_type in EVENT_TYPES:
            (row,) = judge.read("iceberg", metadata_of(folder, event_type), counts)
            lines.append(f"{event_type:24}{row['n']:>10,}{row['hours']:>8,}{row['devices']:>9,}")
    finally:
        judge.end()
    return "\n".join(lines)


def _rows(warehouse: Path, event_type: str) -> tuple[Rows, list[str]]:
    with duckdb.connect(str(warehouse), read_only=True) as duck:
        duck.execute("set TimeZone = 'UTC'")
        found = duck.execute(f'select * from "ayla_{event_type}"')  # noqa: S608 - the name is one of ours
        names = [column[0] for column in found.description or ()]
        rows = [
            {name: str(value) if isinstance(value, UUID) else value for name, value in zip(names, row, strict=True)}
            for row in found.fetchall()
        ]
    return rows, names
