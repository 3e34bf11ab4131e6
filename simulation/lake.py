"""The lake tables beside the DuckDB file: in Iceberg, with a catalog in a SQLite file, or in Delta Lake."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC
from typing import TYPE_CHECKING, Any

from ayla_provider.archive.destination import Destination
from ayla_provider.archive.local import FileDestination
from ayla_provider.warehouse.base import TABLE_PREFIX, ErasableWarehouse
from ayla_provider.warehouse.duckdb import DuckDBWarehouse
from simulation.worker import Place

if TYPE_CHECKING:
    import pyarrow as pa

CATALOG, NAMESPACE = "iceberg_default", "simulation"
"""The catalog's tables are below its name, and Airflow's provider takes the name of the connection."""

LAKES = ("iceberg", "delta")
"""The formats of lake tables."""

_NOT_OF_ROWS = {"date"}
"""The columns of lake tables that the reference doesn't have."""


def warehouse_of(place: Place, lake: str = "", table_prefix: str = TABLE_PREFIX) -> ErasableWarehouse:
    """
    Return the lake tables, or the tables in the DuckDB file.

    :param lake: the format; empty for the DuckDB file
    """
    if lake == "iceberg":
        from pyiceberg.catalog.sql import SqlCatalog

        from ayla_provider.warehouse.iceberg import IcebergWarehouse

        place.lake_folder.mkdir(exist_ok=True)
        return IcebergWarehouse(lambda: SqlCatalog(CATALOG, **place.iceberg_catalog), _the_disk, namespace=NAMESPACE)
    if lake == "delta":
        from ayla_provider.warehouse.delta import DeltaWarehouse

        place.lake_folder.mkdir(exist_ok=True)
        return DeltaWarehouse(FileDestination(place.lake_folder))
    return DuckDBWarehouse(place.database, table_prefix=table_prefix)


def rows_of_lake(place: Place, event_type: str) -> Iterator[dict[str, Any]]:
    """Yield the rows of a lake table, as the format's own library reads them."""
    table = _table(place, event_type)
    for row in table.to_pylist() if table is not None else ():
        row["folder_hour"] = row["folder_hour"].astimezone(UTC)
        yield {name: value for name, value in row.items() if name not in _NOT_OF_ROWS}


def _table(place: Place, event_type: str) -> pa.Table | None:
    name = f"{TABLE_PREFIX}{event_type}"
    if place.lake == "delta":
        from deltalake import DeltaTable

        url = str(place.lake_folder / name)
        return DeltaTable(url).to_pyarrow_table() if DeltaTable.is_deltatable(url) else None
    from pyiceberg.catalog.sql import SqlCatalog
    from pyiceberg.exceptions import NoSuchTableError

    try:
        return SqlCatalog(CATALOG, **place.iceberg_catalog).load_table(f"{NAMESPACE}.{name}").scan().to_arrow()
    except NoSuchTableError:
        return None


def _the_disk(url: str) -> Destination:
    """Return the destination of all files."""
    return FileDestination("/")
