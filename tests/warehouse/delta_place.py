"""Delta tables on disk, and a way to look into them that doesn't go through deltalake's reader of rows."""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Sequence
from dataclasses import asdict, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import duckdb
from deltalake import DeltaTable, Field, Schema
from deltalake.schema import PrimitiveType

from ayla_provider.archive.local import FileDestination
from ayla_provider.domain.tables import STREAM_TABLES, table_like
from ayla_provider.warehouse.base import is_own_name
from ayla_provider.warehouse.delta import DeltaWarehouse
from ayla_provider.warehouse.delta_ledger import FOLDER, TRANSACTION, WeekLedger, parse_week
from ayla_provider.warehouse.delta_tables import commit, types_of
from ayla_provider.warehouse.duckdb import DIALECT
from ayla_provider.warehouse.sql import views_of, with_existing_columns
from tests.warehouse.contract import as_dicts

ZONE = "Pacific/Auckland"
DUCKDB_TYPES = {"string": "varchar", "long": "bigint", "double": "double", "boolean": "boolean"}
DUCKDB_TYPES |= {"timestamp": "timestamptz"}


class InDelta:
    """A folder of tables."""

    shows_added_columns = True

    def __init__(self, folder: Path, warehouse: DeltaWarehouse | None = None) -> None:
        self.folder = folder
        self.warehouse = warehouse or DeltaWarehouse(FileDestination(folder))

    def path(self, event_type: str) -> Path:
        return self.folder / f"ayla_{event_type}"

    def table(self, event_type: str = "datapoint") -> DeltaTable:
        return DeltaTable(str(self.path(event_type)))

    def tables(self) -> list[str]:
        """The tables of event types."""
        names = sorted(path.name.removeprefix("ayla_") for path in self.folder.glob("ayla_*"))
        return [name for name in names if not is_own_name(name)]

    def rows(self, name: str) -> list[dict[str, Any]]:
        if name == "loads":
            return [row for event_type in self.tables() for row in self._ledger(event_type)]
        with duckdb.connect() as session:
            session.execute(f"set TimeZone = '{ZONE}'")
            for event_type in self.tables():
                self._copy(session, event_type)
            for event_type in self.tables():
                existing = types_of(self.table(event_type))
                known = STREAM_TABLES.get(event_type) or table_like(event_type, (), None)
                known = replace(known, columns=tuple(column for column in known.columns if column.name in existing))
                for view in views_of(with_existing_columns(known, existing), _name, DIALECT):
                    session.execute(f"create view {_name(view.name)} as {view.select}")
            found = session.execute(f"select * from {_name(name)}")
            return as_dicts([title[0] for title in found.description or ()], found.fetchall())

    def _copy(self, session: duckdb.DuckDBPyConnection, event_type: str) -> None:
        table = self.table(event_type)
        types = types_of(table)
        columns = ", ".join(f'"{name}" {DUCKDB_TYPES[kind]}' for name, kind in types.items())
        session.execute(f"create table {_name(event_type)} ({columns})")
        files = table.file_uris()
        if files:
            scan = f"read_parquet({files}, union_by_name = true, hive_partitioning = false)"
            session.execute(f"insert into {_name(event_type)} by name select * from {scan}")

    def ledger(self, event_type: str = "datapoint") -> list[WeekLedger]:
        """The weeks of the ledger that the table names."""
        folder = self.path(event_type) / FOLDER
        number = self.table(event_type).transaction_version(TRANSACTION)
        if not number:
            return []
        index = json.loads((folder / f"index-{number:016x}.json").read_text())
        paths = [folder / f"{week}-{number:016x}.json" for week, number in index["weeks"].items()]
        return [parse_week(path.read_bytes(), str(path)) for path in paths]

    def _ledger(self, event_type: str) -> list[dict[str, Any]]:
        rows = []
        for week in self.ledger(event_type):
            for hour, entry in week.hours.items():
                row = {"event_type": event_type, "folder_hour": hour, **asdict(entry)}
                row["loaded_at"] = datetime.fromisoformat(row["loaded_at"]).astimezone(UTC)
                del row["load"]
                rows.append(row)
        return rows

    def run(self, statement: str) -> None:
        """Do what a statement of the contract says."""
        if match := re.fullmatch(r"drop table \{(\w+)\}", statement):
            shutil.rmtree(self.path(match[1]))
        elif match := re.fullmatch(r"delete from \{loads\} where version = '(\w+)'", statement):
            self._forget(match[1])
        elif match := re.fullmatch(r"delete from \{(\w+)\} where (.*)", statement):
            self.table(match[1]).delete(match[2])
        elif statement == "create table {datapoint} (dsn numeric(10, 2))":
            fields = [Field("dsn", PrimitiveType("decimal(10,2)")), Field("date", PrimitiveType("date"))]
            DeltaTable.create(str(self.path("datapoint")), Schema(fields), partition_by=["date"])
        else:
            assert statement.startswith("drop view"), statement

    def _forget(self, version: str, event_type: str = "datapoint") -> None:
        tables = self.warehouse.tables
        index = tables.index(self.table(event_type), event_type)
        for week in self.ledger(event_type):
            hours = {hour: entry for hour, entry in week.hours.items() if entry.version != version}
            left = WeekLedger(week.week, hours)
            index = index.with_week(left, tables.write_week(event_type, left))
        commit(self.table(event_type), [], [], ledger=tables.write_index(event_type, index))

    def files(self, event_type: str = "datapoint") -> set[str]:
        """The Parquet files of rows that are there, whether the table names them or not."""
        folder = self.path(event_type)
        return {str(path.relative_to(folder)) for path in folder.glob("date=*/*.parquet")}

    def named(self, event_type: str = "datapoint") -> set[str]:
        """Those that the table names."""
        uris = self.table(event_type).file_uris()
        return {uri.removeprefix(f"{self.path(event_type)}/") for uri in uris}


def _name(name: str) -> str:
    return f'"ayla_{name}"'


def dsns(place: InDelta, event_type: str = "datapoint") -> list[str]:
    return sorted(row["dsn"] for row in place.rows(event_type))


def counts(place: InDelta, event_type: str, start: datetime, end: datetime) -> Sequence[int]:
    """Rows of each hour, as the ledger says and as they are: equal, if all is well."""
    held = place.warehouse.held(event_type, start, end)
    assert all(hour.rows == hour.counted == hour.loaded for hour in held.values()), held
    return [hour.rows for hour in held.values()]
