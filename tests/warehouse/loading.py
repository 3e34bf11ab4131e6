"""Hours on their way into a DuckDB file, and what it contains afterwards."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import duckdb

from ayla_provider.archive.local import FileDestination
from ayla_provider.domain.hour import ExportHour
from ayla_provider.domain.privacy import PrivacyPolicy
from ayla_provider.domain.typed_manifest import TypedManifest
from ayla_provider.rows.typed_archive import TypedArchive
from ayla_provider.warehouse.base import Load
from ayla_provider.warehouse.duckdb import DuckDBWarehouse

LOADED_AT = datetime(2026, 11, 2, tzinfo=UTC)


def load_of(made: TypedManifest, parquet: Path | None) -> Load:
    return Load(
        table=made.table,
        hour=made.hour.start,
        version=made.version,
        rows=made.rows,
        lines=made.lines,
        duplicates=made.duplicates,
        quarantined=made.quarantined,
        parquet=parquet,
        loaded_at=LOADED_AT,
        loaded_by="test",
    )


def archive_of(folder: Path, policy: PrivacyPolicy | None = None) -> TypedArchive:
    archive, rows = FileDestination(folder / "archive"), FileDestination(folder / "rows")
    return TypedArchive(archive, rows, policy=policy, max_malformed=1)


def load(warehouse: DuckDBWarehouse, archive: TypedArchive, event_type: str, hours: Iterable[datetime]) -> None:
    """Load hours of the archive, as the operator does."""
    for hour in hours:
        made = archive.ensure(ExportHour(event_type, hour), {}).manifest
        with archive.fetched(made) as parquet:
            warehouse.prepare(made.table)
            warehouse.replace(load_of(made, parquet))


def everything(path: Path) -> dict[str, list[tuple[Any, ...]]]:
    """Return the rows of every table and view, in an order that doesn't depend on how they came there."""
    with duckdb.connect(str(path)) as duck:
        duck.execute("set TimeZone = 'UTC'")
        names = duck.execute("select table_name from information_schema.tables").fetchall()
        return {name: sorted(duck.execute(f'select * from "{name}"').fetchall(), key=repr) for (name,) in names}
