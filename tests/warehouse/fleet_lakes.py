"""Lakes of a test's own with fleet models, and a way to look into them."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import duckdb

from ayla_provider.archive.local import FileDestination
from ayla_provider.warehouse.delta import DeltaWarehouse
from ayla_provider.warehouse.iceberg import IcebergWarehouse
from tests.warehouse.contract import as_dicts
from tests.warehouse.iceberg_place import iceberg

LakeWarehouse = IcebergWarehouse | DeltaWarehouse

KINDS = ("iceberg", "delta")


@contextmanager
def lake(kind: str, folder: Path) -> Iterator[LakeWarehouse]:
    """A lake in a folder, connected."""
    made = iceberg(folder) if kind == "iceberg" else DeltaWarehouse(FileDestination(folder / "tables"))
    with made as warehouse:
        yield warehouse


class InLake:
    """A lake, whose tables are read as Arrow's."""

    shows_added_columns = True

    def __init__(self, warehouse: LakeWarehouse) -> None:
        self.warehouse: Any = warehouse

    def rows(self, name: str) -> list[dict[str, Any]]:
        """All rows of a table."""
        if isinstance(self.warehouse, IcebergWarehouse):
            table = self.warehouse.table(name)
            assert table, name
            rows: Any = table.scan().to_arrow()
        else:
            opened = self.warehouse.tables.open(name)
            assert opened, name
            rows = opened.to_pyarrow_table()
        with duckdb.connect() as session:
            session.execute("set TimeZone = 'UTC'")
            session.register("found", rows)
            titles = [title for title in rows.column_names if title != "date"]
            found = session.execute(f"select {', '.join(titles)} from found").fetchall()
        return as_dicts(titles, [[_utc(value) for value in row] for row in found])

    def run(self, statement: str) -> None:
        """Nothing can be run."""
        raise NotImplementedError(statement)


def _utc(value: Any) -> Any:
    return value.astimezone(UTC) if isinstance(value, datetime) else value
