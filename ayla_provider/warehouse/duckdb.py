"""A DuckDB file: the warehouse that needs no server."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from pathlib import Path
from types import TracebackType
from typing import Any

from ayla_provider.domain.hour import describe_hour
from ayla_provider.domain.tables import Column, ColumnType, Table
from ayla_provider.errors import AylaConfigError, AylaTableError, AylaWarehouseError
from ayla_provider.warehouse.base import LEDGER, Load
from ayla_provider.warehouse.sql import Dialect, as_it_stands, literal, views_of

DIALECT = Dialect(
    types={
        ColumnType.TEXT: "VARCHAR",
        ColumnType.INTEGER: "BIGINT",
        ColumnType.NUMBER: "DOUBLE",
        ColumnType.BOOLEAN: "BOOLEAN",
        ColumnType.UUID: "UUID",
        ColumnType.TIMESTAMP: "TIMESTAMP WITH TIME ZONE",
    },
    # Whatever the time zone of the session that asks.
    day=lambda time: f"cast(timezone('UTC', {time}) as date)",
    seconds=lambda start, end: f"date_diff('second', {start}, {end})",
)


class DuckDBWarehouse:
    """
    See :class:`~ayla_provider.warehouse.base.Warehouse`.

    Only one process can have the file open, be it to read: give the tasks that load it a pool of one slot.

    :param path: the file, made if it isn't there
    :param schema: made if it isn't there
    :param memory: what DuckDB may take, as it writes sizes
    """

    def __init__(
        self, path: str | Path, *, schema: str = "main", table_prefix: str = "ayla_", memory: str = "512MB"
    ) -> None:
        self.name = f"DuckDB file {path}"
        self._path = Path(path)
        self._schema = schema
        self._prefix = table_prefix
        self._memory = memory
        self._duck: Any = None

    def __enter__(self) -> DuckDBWarehouse:
        """See :class:`~ayla_provider.warehouse.base.Warehouse`."""
        try:
            import duckdb
        except ImportError:
            raise AylaConfigError("DuckDB isn't installed: pip install 'airflow-provider-ayla[warehouse]'") from None
        with self._told("opening it"):
            self._path.parent.mkdir(parents=True, exist_ok=True)
            self._duck = duckdb.connect(str(self._path))
            self._duck.execute("set memory_limit = $memory", {"memory": self._memory})
            self._duck.execute(
                "set TimeZone = 'UTC'; set enable_progress_bar = false; set preserve_insertion_order = false; "
                "set autoinstall_known_extensions = false; set autoload_known_extensions = false"
            )
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """See :class:`~ayla_provider.warehouse.base.Warehouse`."""
        if self._duck is not None:
            self._duck.close()

    def loaded(self, event_type: str, start: datetime, end: datetime) -> Mapping[datetime, str]:
        """See :class:`~ayla_provider.warehouse.base.Warehouse`."""
        with self._told("reading what is loaded"):
            if not self._columns(LEDGER):
                return {}
            found = self._duck.execute(
                f"select folder_hour, version from {self._relation(LEDGER.event_type)} "
                "where event_type = $event_type and folder_hour >= $start and folder_hour < $end",
                {"event_type": event_type, "start": start, "end": end},
            ).fetchall()
        return {hour.astimezone(UTC): version for hour, version in found}

    def prepare(self, table: Table) -> None:
        """See :class:`~ayla_provider.warehouse.base.Warehouse`."""
        with self._told(f"preparing the table of {table.event_type}"), self._transaction():
            self._duck.execute(f"create schema if not exists {DIALECT.name(self._schema)}")
            grown = [self._grow(one) for one in (LEDGER, table)]
            if any(grown):
                whole = as_it_stands(table, self._columns(table))
                for view in views_of(whole, self._relation, DIALECT):
                    self._duck.execute(f"create or replace view {self._relation(view.name)} as {view.select}")
                    self._duck.execute(f"comment on view {self._relation(view.name)} is {literal(view.description)}")

    def replace(self, load: Load) -> None:
        """See :class:`~ayla_provider.warehouse.base.Warehouse`."""
        table, event_type = self._relation(load.table.event_type), load.table.event_type
        hour = {"hour": load.hour}
        with self._told(f"loading {event_type} {describe_hour(load.hour)}"), self._transaction():
            self._duck.execute(f"delete from {table} where folder_hour = $hour", hour)
            if load.parquet is not None:
                columns = DIALECT.names(load.table.columns)
                self._duck.execute(
                    f"insert into {table} ({columns}) select {columns} from read_parquet({literal(str(load.parquet))})"
                )
            ledger = self._relation(LEDGER.event_type)
            self._duck.execute(
                f"delete from {ledger} where event_type = $event_type and folder_hour = $hour",
                hour | {"event_type": event_type},
            )
            values = load.ledger_row()
            self._duck.execute(
                f"insert into {ledger} ({DIALECT.names(values)}) values ({', '.join(f'${name}' for name in values)})",
                values,
            )

    def _grow(self, table: Table) -> bool:
        """Make a table, or add the columns that it lacks; return whether there was something to do."""
        relation, there = self._relation(table.event_type), self._columns(table)
        if not there:
            definitions = ", ".join(map(DIALECT.definition, table.columns))
            self._duck.execute(f"create table {relation} ({definitions})")
            self._duck.execute(f"comment on table {relation} is {literal(table.description)}")
        missing = [column for column in table.columns if column.name not in there]
        for column in missing:
            if there:
                self._duck.execute(f"alter table {relation} add column {DIALECT.definition(column)}")
            self._duck.execute(
                f"comment on column {relation}.{DIALECT.name(column.name)} is {literal(column.description)}"
            )
        for column in table.columns:
            self._refuse_other_type(relation, column, there)
        return bool(missing)

    def _refuse_other_type(self, relation: str, column: Column, there: Mapping[str, str]) -> None:
        found, wanted = there.get(column.name), DIALECT.types[column.type]
        if found not in (None, wanted):
            raise AylaTableError(
                f"{self.name}: column {column.name} of {relation} is {found}, the rows have {wanted}: a privacy policy "
                "or a declared layout was changed. Load into tables with another table_prefix, or drop the table and "
                "load its hours again."
            )

    def _columns(self, table: Table) -> dict[str, str]:
        # As DuckDB itself finds names, whatever their case.
        found = self._duck.execute(
            "select column_name, data_type from duckdb_columns() where database_name = current_database() "
            "and lower(schema_name) = lower($schema) and lower(table_name) = lower($name)",
            {"schema": self._schema, "name": f"{self._prefix}{table.event_type}"},
        )
        return dict(found.fetchall())

    def _relation(self, name: str) -> str:
        return DIALECT.name(self._schema, f"{self._prefix}{name}")

    @contextlib.contextmanager
    def _transaction(self) -> Iterator[None]:
        self._duck.execute("begin transaction")
        try:
            yield
        except BaseException:
            with contextlib.suppress(Exception):
                self._duck.execute("rollback")
            raise
        self._duck.execute("commit")

    @contextlib.contextmanager
    def _told(self, doing: str) -> Iterator[None]:
        import duckdb

        try:
            yield
        except duckdb.Error as error:
            advice = "Nothing was changed. Clear the task to try again."
            if isinstance(error, duckdb.IOException) and "lock" in str(error):
                advice = (
                    "Another process has the file open, and DuckDB lets in only one, be it to read. Give the tasks "
                    "that use it a pool of one slot, and close what else has it open; the task tries again."
                )
            # Not DuckDB's own words, which can quote a row.
            raise AylaWarehouseError(f"{self.name}, {doing}: {type(error).__name__}. {advice}") from None
        except OSError as error:
            raise AylaWarehouseError(f"{self.name}, {doing}: {error.strerror or error}.") from None
