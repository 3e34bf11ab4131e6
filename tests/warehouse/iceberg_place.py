"""Iceberg tables of a test's own, in a folder, with an SQL catalog; and a way to look into them."""

from __future__ import annotations

import re
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import duckdb
from pyiceberg.catalog import Catalog
from pyiceberg.catalog.sql import SqlCatalog
from pyiceberg.schema import Schema
from pyiceberg.table import Table
from pyiceberg.types import DecimalType, NestedField

from ayla_provider.archive.destination import Destination
from ayla_provider.archive.local import FileDestination
from ayla_provider.domain.tables import table_like
from ayla_provider.warehouse.base import LEDGER
from ayla_provider.warehouse.duckdb import DIALECT
from ayla_provider.warehouse.iceberg import IcebergWarehouse
from ayla_provider.warehouse.sql import views_of, with_existing_columns
from tests.warehouse.contract import as_dicts

NAMESPACE = "ayla"


def the_disk(url: str) -> Destination:
    """The destination of all files."""
    assert url == "file:///"
    return FileDestination("/")


def in_sqlite(folder: Path) -> Catalog:
    """A catalog in a file, with its tables beside it."""
    return SqlCatalog(
        "test", uri=f"sqlite:///{folder / 'catalog.db'}?timeout=60", warehouse=f"file://{folder / 'tables'}"
    )


def iceberg(folder: Path, catalog: Callable[[Path], Catalog] = in_sqlite) -> IcebergWarehouse:
    """The warehouse in a folder, not yet connected."""
    return IcebergWarehouse(lambda: catalog(folder), the_disk, namespace=NAMESPACE)


def existing(warehouse: IcebergWarehouse, event_type: str = "datapoint") -> Table:
    """A table that exists."""
    table = warehouse.table(event_type)
    assert table
    return table


def dsns(warehouse: IcebergWarehouse, event_type: str = "datapoint") -> list[str]:
    """The devices of all rows, as pyiceberg reads them."""
    return sorted(existing(warehouse, event_type).scan().to_arrow().column("dsn").to_pylist())


def files(warehouse: IcebergWarehouse, event_type: str = "datapoint") -> list[Path]:
    """All files in a table's folder, and in that of its ledger."""
    location = Path(existing(warehouse, event_type).location().removeprefix("file://"))
    folders = (location, Path(f"{location}-ledger"))
    return sorted(path for folder in folders for path in folder.rglob("*") if path.is_file())


def reached(table: Table) -> set[str]:
    """All files that a table needs, as an independent reader finds them."""
    metadata = table.metadata
    found = {table.metadata_location, *(entry.metadata_file for entry in metadata.metadata_log)}
    for snapshot in metadata.snapshots:
        found.add(snapshot.manifest_list)
        for manifest in snapshot.manifests(table.io):
            found.add(manifest.manifest_path)
            entries = manifest.fetch_manifest_entry(table.io, discard_deleted=True)
            found |= {entry.data_file.file_path for entry in entries}
    folded = table.properties.get("ayla.loads")
    if folded:
        found.add(folded.rpartition(" ")[2])
    return {url.removeprefix("file://") for url in found}


class InIceberg:
    """A namespace. The views that documents show are made by DuckDB."""

    shows_added_columns = True

    def __init__(self, warehouse: IcebergWarehouse, catalog: Catalog) -> None:
        self.warehouse = warehouse
        self._catalog = catalog

    def rows(self, name: str) -> list[dict[str, Any]]:
        """All rows of a table or view."""
        if name == LEDGER.event_type:
            return self._ledger()
        with duckdb.connect() as session:
            session.execute("set TimeZone = 'Pacific/Auckland'")
            for event_type in self.warehouse.event_types():
                columns = existing(self.warehouse, event_type).scan().to_arrow()
                session.register(f"ayla_{event_type}", columns)
                identity = "time_uuid" if "time_uuid" in columns.column_names else None
                table = with_existing_columns(table_like(event_type, (), identity), columns.column_names)
                for view in views_of(table, lambda name: DIALECT.name(f"ayla_{name}"), DIALECT):
                    session.execute(f"create view ayla_{view.name} as {view.select}")
            found = session.execute(f"select * from ayla_{name}")
            return as_dicts([title[0] for title in found.description or ()], found.fetchall())

    def _ledger(self) -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = []
        start, end = datetime(2000, 1, 1, tzinfo=UTC), datetime(2100, 1, 1, tzinfo=UTC)
        for event_type in self.warehouse.event_types():
            ledger = self.warehouse.ledger(existing(self.warehouse, event_type))
            for hour, entry in ledger.entries(start, end).items():
                values = {name: getattr(entry, name) for name in LEDGER.names[2:]}
                values["loaded_at"] = datetime.fromisoformat(values["loaded_at"])
                found.append({"event_type": event_type, "folder_hour": hour, **values})
        return found

    def run(self, statement: str) -> None:
        """Do what a statement of the contract says."""
        if statement.startswith("drop view"):
            return
        if match := re.fullmatch(r"drop table {(\w+)}", statement):
            self._catalog.drop_table((NAMESPACE, f"ayla_{match[1]}"))
        elif match := re.fullmatch(r"delete from {loads} where version = '(\w+)'", statement):
            self._forget(match[1])
        elif match := re.fullmatch(r"delete from {(\w+)} where (dsn = '[^']+')", statement):
            existing(self.warehouse, match[1]).delete(match[2])
        elif match := re.fullmatch(r"create table {(\w+)} \(dsn numeric\(10, 2\)\)", statement):
            schema = Schema(NestedField(1, "dsn", DecimalType(10, 2), required=False))
            self._catalog.create_table((NAMESPACE, f"ayla_{match[1]}"), schema)
        else:
            raise NotImplementedError(statement)

    def _forget(self, version: str) -> None:
        for event_type in self.warehouse.event_types():
            table = existing(self.warehouse, event_type)
            gone = [name for name, text in table.properties.items() if text.startswith(f'["{version}"')]
            with table.transaction() as transaction:
                transaction.remove_properties(*gone)
