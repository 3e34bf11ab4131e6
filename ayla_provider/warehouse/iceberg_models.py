"""The tables of an Iceberg namespace as the fleet models need them."""

from __future__ import annotations

import secrets
from collections.abc import Collection, Mapping, Sequence
from datetime import UTC, date, datetime, timedelta
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pyiceberg.exceptions import CommitFailedException, ValidationException
from pyiceberg.expressions import AlwaysTrue
from pyiceberg.partitioning import UNPARTITIONED_PARTITION_SPEC, PartitionField, PartitionSpec
from pyiceberg.table import Table as IcebergTable
from pyiceberg.transforms import DayTransform, IdentityTransform

from ayla_provider.domain.tables import Column, ColumnType, Table
from ayla_provider.warehouse.iceberg import TYPES, IcebergWarehouse, Written, hours_in, refuse_row_deletes
from ayla_provider.warehouse.iceberg_rows import select_rows
from ayla_provider.warehouse.lake import LedgerEntry, get_file
from ayla_provider.warehouse.lake_models import Part, Piece, overtaken

if TYPE_CHECKING:
    import duckdb
    from pyiceberg.manifest import DataFile
    from pyiceberg.schema import Schema

_TRIES = 5
"""How often a commit is made that met a change of the metadata alone."""

_FIRST = datetime(1970, 1, 1, tzinfo=UTC)
_END = datetime(2200, 1, 1, tzinfo=UTC)

_OURS = {str(its): ours for ours, its in TYPES.items() if ours is not ColumnType.UUID}


class IcebergLake:
    """
    An Iceberg namespace, see :class:`~ayla_provider.warehouse.lake_models.Lake`.

    :param warehouse: connected
    """

    def __init__(self, warehouse: IcebergWarehouse) -> None:
        self._warehouse = warehouse
        self.name = warehouse.name

    def source(self, event_type: str) -> TableAt | None:
        """Return the table of an event type as it is now; None if it doesn't exist."""
        table = self._warehouse.table(event_type)
        return TableAt(self._warehouse, event_type, table, None) if table else None

    def own(self, table: Table, partition: str | None) -> TableAt:
        """Return a table that isn't one of an event type as it is now. It is created if it doesn't exist."""
        found = self._warehouse.table(table.event_type) or self._warehouse.create(
            table, lambda schema: _spec(schema, partition)
        )
        return TableAt(self._warehouse, table.event_type, found, partition)


def _spec(schema: Schema, partition: str | None) -> PartitionSpec:
    if partition is None:
        return UNPARTITIONED_PARTITION_SPEC
    column = schema.find_field(partition)
    is_day = column.field_type == TYPES[ColumnType.DATE]
    transform, name = (IdentityTransform(), partition) if is_day else (DayTransform(), f"{partition}_day")
    return PartitionSpec(PartitionField(source_id=column.field_id, field_id=1000, transform=transform, name=name))


class TableAt:
    """A table as of one version, see :class:`~ayla_provider.warehouse.lake_models.LakeTable`."""

    def __init__(self, warehouse: IcebergWarehouse, name: str, table: IcebergTable, partition: str | None) -> None:
        self._warehouse = warehouse
        self._name = name
        self._table = table
        self._partition = partition

    @property
    def columns(self) -> Sequence[Column]:
        """The columns of our types."""
        fields = self._table.schema().fields
        return [Column(one.name, _OURS[kind], "") for one in fields if (kind := str(one.field_type)) in _OURS]

    @property
    def field_ids(self) -> Mapping[str, int]:
        """The identifiers that the columns have in data files."""
        return {one.name: one.field_id for one in self._table.schema().fields}

    def pieces(self) -> Sequence[Piece]:
        """Return its data files."""
        return list(self._files)

    @cached_property
    def _files(self) -> dict[Piece, DataFile]:
        found: dict[Piece, DataFile] = {}
        for task in self._table.scan().plan_files():
            refuse_row_deletes(self._warehouse.name, f"read {self._warehouse.relation(self._name)}", task)
            file = task.file
            if self._has_hours:
                piece = Piece(file.file_path, None, *hours_in(self._table, file))
            else:
                piece = Piece(file.file_path, self._part(file))
            found[piece] = file
        return found

    @property
    def _has_hours(self) -> bool:
        return self._partition is None and "folder_hour_day" in {one.name for one in self._table.spec().fields}

    def _part(self, file: DataFile) -> Part:
        if self._partition is None:
            return None
        day: Any = file.partition[0]
        return day if day is None or isinstance(day, date) else (_FIRST + timedelta(days=day)).date()

    def fetch(self, piece: Piece, target: Path) -> Path:
        """Return a data file on this disk."""
        destination, path = self._warehouse.storage.place(piece.name)
        return get_file(destination, path, target)

    def select(self, connection: duckdb.DuckDBPyConnection, files: Sequence[Path]) -> str:
        """Return DuckDB's query for the rows of data files on this disk."""
        return select_rows(connection, files, self._table.schema())

    def entries(self) -> Mapping[datetime, LedgerEntry]:
        """Return what its ledger says of all hours."""
        return self._warehouse.ledger(self._table).entries(_FIRST, _END)

    def replace(
        self, connection: duckdb.DuckDBPyConnection, parts: Collection[Part], new: Mapping[Part, Sequence[Path]]
    ) -> None:
        """Replace partitions in one commit."""
        warehouse, doing = self._warehouse, f"write {self._warehouse.relation(self._name)}"
        before = self._table.metadata.current_snapshot_id
        old = [file for piece, file in self._files.items() if piece.part in parts]
        written = Written()
        try:
            for part, files in new.items():
                for local in files:
                    url = self._url(part)
                    written.urls.append(url)
                    written.files.append(warehouse.data_file(self._table, local, url))
            summary = {"ayla.days": str(len(parts))}
            for number in range(1, _TRIES + 1):
                try:
                    made = warehouse.commit(
                        doing,
                        _without_retries(self._table),
                        AlwaysTrue(),
                        properties={},
                        summary=summary,
                        old=old,
                        new=[written],
                    )
                    break
                except CommitFailedException:
                    # Not every catalog says whether rows changed, or the metadata alone.
                    self._table = warehouse.existing_table(self._name)
                    if self._table.metadata.current_snapshot_id != before or number == _TRIES:
                        raise overtaken(warehouse.name, doing) from None
        except ValidationException:
            warehouse.discard(written)
            raise overtaken(warehouse.name, doing) from None
        except BaseException:
            warehouse.discard(written)
            raise
        self._table = warehouse.existing_table(self._name)
        self.__dict__.pop("_files", None)
        if self._table.metadata.current_snapshot_id != made:
            raise overtaken(warehouse.name, doing)

    def _url(self, part: Part) -> str:
        day = f"day={part.isoformat()}/" if part else ""
        return f"{self._table.location()}/data/{day}{self._name}-{secrets.token_hex(16)}.parquet"


def _without_retries(table: IcebergTable) -> IcebergTable:
    """Return a table whose commits pyiceberg doesn't make again after other commits."""
    properties = {**table.properties, "commit.retry.num-retries": "0"}
    metadata = table.metadata.model_copy(update={"properties": properties})
    return IcebergTable(table.name(), metadata, table.metadata_location, table.io, table.catalog, table.config)
