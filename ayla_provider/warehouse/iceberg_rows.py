"""Rewrites the data files of an Iceberg table with DuckDB: sorted, or without some hours."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from pyiceberg.types import (
    BinaryType,
    BooleanType,
    DateType,
    DecimalType,
    DoubleType,
    FloatType,
    IcebergType,
    IntegerType,
    LongType,
    NestedField,
    StringType,
    TimestampType,
    TimestamptzType,
)

from ayla_provider.errors import AylaWarehouseError
from ayla_provider.rows.duck import literal, quoted
from ayla_provider.warehouse.iceberg_io import Storage
from ayla_provider.warehouse.lake import copy_query, get_file

if TYPE_CHECKING:
    import duckdb
    from pyiceberg.manifest import DataFile
    from pyiceberg.schema import Schema
    from pyiceberg.table import Table

_TYPES: dict[type[IcebergType], str] = {
    StringType: "VARCHAR",
    LongType: "BIGINT",
    IntegerType: "INTEGER",
    DoubleType: "DOUBLE",
    FloatType: "FLOAT",
    BooleanType: "BOOLEAN",
    TimestamptzType: "TIMESTAMP WITH TIME ZONE",
    TimestampType: "TIMESTAMP",
    DateType: "DATE",
    BinaryType: "BLOB",
}
"""Our types, and those of columns that others may add to a table."""


def copy_files(
    storage: Storage,
    table: Table,
    files: Sequence[DataFile],
    connection: duckdb.DuckDBPyConnection,
    folder: Path,
    target: Path,
    *,
    where: str = "",
    sorted_by_device: bool = False,
    file_size: int = 0,
) -> int:
    """
    Copy the rows of data files into a new file, or into several.

    Columns are found by their identifier, as Iceberg does: a column that was renamed keeps its values.

    :param folder: on this disk, for copies of the data files
    :param target: the new file; with ``file_size``, the folder of the new files
    :param where: an SQL condition; only the rows that fulfil it are copied
    :param sorted_by_device: so that queries for a device skip files
    :param file_size: bytes from which on another file begins; 0 for one file
    :returns: how many rows were copied
    :raises AylaWarehouseError: if the table has a column that can't be copied
    """
    schema = table.schema()
    copies: list[Path] = []
    selects: list[str] = []
    for number, file in enumerate(files):
        destination, path = storage.place(file.file_path)
        local = folder / f"old-{number}.parquet"
        copies.append(local)
        selects.append(_select(connection, get_file(destination, path, local), schema))
    query = f"select * from ({' union all '.join(selects)}) as rows"
    if where:
        query += f" where {where}"
    if sorted_by_device and "dsn" in schema.column_names:
        query += " order by dsn, folder_hour"
    ids = {field.name: field.field_id for field in schema.fields}
    try:
        return copy_query(connection, query, target, ids, file_size=file_size)
    finally:
        for local in copies:
            local.unlink(missing_ok=True)


def select_rows(connection: duckdb.DuckDBPyConnection, files: Sequence[Path], schema: Schema) -> str:
    """
    Return the query for the rows of data files on this disk, with the columns of a table as they are called now.

    Columns whose type this package doesn't know are left out.
    """
    known = [one for one in schema.fields if isinstance(one.field_type, DecimalType) or type(one.field_type) in _TYPES]
    alike: dict[str, list[str]] = {}
    for file in files:
        alike.setdefault(_columns_in(connection, file, known), []).append(literal(str(file)))
    selects = [
        f"select {columns} from read_parquet([{', '.join(paths)}], hive_partitioning = false)"
        for columns, paths in alike.items()
    ]
    if selects:
        return " union all ".join(selects)
    nothing = (f"cast(null as {_duckdb_type(one.name, one.field_type)}) as {quoted(one.name)}" for one in known)
    return f"select {', '.join(nothing)} where false"


def _select(connection: duckdb.DuckDBPyConnection, parquet: Path, schema: Schema) -> str:
    """Return the query for the rows of a data file, with the columns of the table as they are called now."""
    columns = _columns_in(connection, parquet, schema.fields)
    return f"select {columns} from read_parquet({literal(str(parquet))}, hive_partitioning = false)"


def _columns_in(connection: duckdb.DuckDBPyConnection, parquet: Path, fields: Iterable[NestedField]) -> str:
    """Return what a query selects to get the columns of a table from a data file."""
    described = connection.execute(
        f"select name, field_id, num_children from parquet_schema({literal(str(parquet))})"
    ).fetchall()
    # The first row is the root.
    names = {name for name, _, _ in described[1:]}
    by_id = {field_id: name for name, field_id, _ in described[1:] if field_id is not None}
    columns: list[str] = []
    for field in fields:
        # A file that another program added can have no identifiers. Names count then.
        name = by_id.get(field.field_id) if by_id else field.name if field.name in names else None
        value = quoted(name) if name else "null"
        columns.append(f"cast({value} as {_duckdb_type(field.name, field.field_type)}) as {quoted(field.name)}")
    return ", ".join(columns)


def _duckdb_type(name: str, of: IcebergType) -> str:
    if isinstance(of, DecimalType):
        return f"DECIMAL({of.precision}, {of.scale})"
    found = _TYPES.get(type(of))
    if found is None:
        raise AylaWarehouseError(
            f"the table has a column {name} of the type {of}, which this provider doesn't rewrite. Compact the table "
            "with the program that added the column."
        )
    return found
