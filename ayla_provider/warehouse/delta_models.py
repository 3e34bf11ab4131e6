"""The tables of a Delta folder as the fleet models need them."""

from __future__ import annotations

import secrets
from collections.abc import Collection, Mapping, Sequence
from datetime import UTC, date, datetime
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

from ayla_provider.domain.tables import Column, Table
from ayla_provider.rows.duck import literal, quoted
from ayla_provider.warehouse.delta import DeltaWarehouse
from ayla_provider.warehouse.delta_tables import (
    PARTITION,
    WHOLE,
    DataFile,
    NewFile,
    columns_of,
    commit,
    describe,
    fields_of,
    files_of,
    partition_field,
)
from ayla_provider.warehouse.lake import LAKE_TYPES, LedgerEntry, get_file, put_file, remove_quietly
from ayla_provider.warehouse.lake_models import Part, Piece, overtaken

if TYPE_CHECKING:
    import duckdb
    from deltalake import DeltaTable

_FIRST = datetime(1970, 1, 1, tzinfo=UTC)
_END = datetime(2200, 1, 1, tzinfo=UTC)


class DeltaLake:
    """
    A folder of Delta tables, see :class:`~ayla_provider.warehouse.lake_models.Lake`.

    :param warehouse: connected
    """

    def __init__(self, warehouse: DeltaWarehouse) -> None:
        self._warehouse = warehouse
        self.name = warehouse.name

    def source(self, event_type: str) -> TableAt | None:
        """Return the table of an event type as it is now; None if it doesn't exist."""
        table = self._warehouse.tables.open(event_type)
        return TableAt(self._warehouse, event_type, table) if table else None

    def own(self, table: Table, partition: str | None) -> TableAt:
        """Return a table that isn't one of an event type as it is now. It is created if it doesn't exist."""
        from deltalake.exceptions import DeltaError

        tables, name = self._warehouse.tables, table.event_type
        found = tables.open(name)
        if found is None:
            of_day = [partition_field(f"The day of {partition}, UTC: the table's partition.")] if partition else []
            try:
                tables.create(table, [*fields_of(table.columns), *of_day], [PARTITION] if partition else [])
            except DeltaError:
                # Another task may have created it.
                if tables.open(name) is None:
                    raise
            found = self._warehouse.existing(name)
        return TableAt(self._warehouse, name, found)


class TableAt:
    """A table as of one version, see :class:`~ayla_provider.warehouse.lake_models.LakeTable`."""

    field_ids: Mapping[str, int] | None = None

    def __init__(self, warehouse: DeltaWarehouse, name: str, table: DeltaTable) -> None:
        self._warehouse = warehouse
        self._tables = warehouse.tables
        self._name = name
        self._table = table
        self._folder = warehouse.tables.folder(name)

    @cached_property
    def columns(self) -> Sequence[Column]:
        """Its columns."""
        return columns_of(self._table)

    def pieces(self) -> Sequence[Piece]:
        """Return its data files."""
        return list(self._files)

    @cached_property
    def _files(self) -> dict[Piece, DataFile]:
        return {Piece(file.path, file.day, file.first, file.last): file for file in files_of(self._table)}

    def fetch(self, piece: Piece, target: Path) -> Path:
        """Return a data file on this disk."""
        return get_file(self._tables.destination, f"{self._folder}/{piece.name}", target)

    def select(self, connection: duckdb.DuckDBPyConnection, files: Sequence[Path]) -> str:
        """Return DuckDB's query for the rows of data files on this disk."""
        types = {column.name: LAKE_TYPES[column.type] for column in self.columns}
        if not files:
            nothing = (f"cast(null as {kind}) as {quoted(name)}" for name, kind in types.items())
            return f"select {', '.join(nothing)} where false"
        paths = ", ".join(literal(str(file)) for file in files)
        scan = f"read_parquet([{paths}], union_by_name = true, hive_partitioning = false)"
        existing = {name for name, *_ in connection.execute(f"describe select * from {scan}").fetchall()}
        selected = (
            f"cast({quoted(name) if name in existing else 'null'} as {kind}) as {quoted(name)}"
            for name, kind in types.items()
        )
        return f"select {', '.join(selected)} from {scan}"

    def entries(self) -> Mapping[datetime, LedgerEntry]:
        """Return what its ledger says of all hours."""
        return self._warehouse.entries(self._table, self._name, _FIRST, _END)

    def replace(
        self, connection: duckdb.DuckDBPyConnection, parts: Collection[Part], new: Mapping[Part, Sequence[Path]]
    ) -> None:
        """Replace partitions in one commit."""
        from deltalake.exceptions import CommitFailedError

        doing = f"write {self._tables.url(self._name)}"
        removed = [file for piece, file in self._files.items() if piece.part in parts]
        added: list[NewFile] = []
        written: list[str] = []
        is_refused = True
        try:
            for part, files in new.items():
                for local in files:
                    file = self._described(connection, part, local)
                    written.append(f"{self._folder}/{file.path}")
                    put_file(self._tables.destination, written[-1], local)
                    added.append(file)
            # From here on, whatever ends this task, the commit may be made.
            is_refused = False
            try:
                commit(self._table, added, removed, says={"ayla.days": len(parts)})
            except CommitFailedError:
                is_refused = not self._landed(added)
                if is_refused or not added:
                    raise overtaken(self._warehouse.name, doing) from None
        except BaseException:
            if is_refused:
                remove_quietly(self._tables.destination, written)
            raise
        after = self._table.version() + 1
        self._table = self._warehouse.existing(self._name)
        self.__dict__.pop("_files", None)
        if self._table.version() > after:
            raise overtaken(self._warehouse.name, doing)

    def _described(self, connection: duckdb.DuckDBPyConnection, part: Part, local: Path) -> NewFile:
        """Return the new file for a Parquet file of this disk."""
        ((rows,),) = connection.execute(f"select count(*) from read_parquet({literal(str(local))})").fetchall()
        name = f"{_label(part)}-{secrets.token_hex(8)}.parquet"
        path = f"{PARTITION}={part.isoformat()}/{name}" if part else f"{WHOLE}/{name}"
        return NewFile(path, local.stat().st_size, part, describe(connection, local, self.columns, rows))

    def _landed(self, added: Sequence[NewFile]) -> bool:
        """Return whether a commit is there that was refused: its answer can have been lost, and it was made again."""
        named = {file.path for file in files_of(self._warehouse.existing(self._name))}
        return bool(added) and named >= {file.path for file in added}


def _label(part: date | None) -> str:
    return f"day-{part:%Y%m%d}" if part else "all"
