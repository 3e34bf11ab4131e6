"""
Snowflake as a warehouse.

Names are upper case there, as Snowflake makes them of names without quotes. Timestamps are ``TIMESTAMP_TZ``, always
at +00:00: they read as UTC for everybody, while ``TIMESTAMP_LTZ`` is shown in each session's zone and
``TIMESTAMP_NTZ`` doesn't say which zone it means.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from pathlib import Path
from types import TracebackType
from typing import Any
from uuid import uuid4

from ayla_provider.domain.tables import Column, ColumnType, Table
from ayla_provider.errors import AylaTableError, AylaWarehouseError
from ayla_provider.warehouse.base import LEDGER, Load
from ayla_provider.warehouse.sql import Dialect, View, as_it_stands, literal, views_of

DIALECT = Dialect(
    types={
        ColumnType.TEXT: "VARCHAR",
        ColumnType.INTEGER: "NUMBER(38, 0)",
        ColumnType.NUMBER: "DOUBLE",
        ColumnType.BOOLEAN: "BOOLEAN",
        ColumnType.UUID: "VARCHAR(36)",
        ColumnType.TIMESTAMP: "TIMESTAMP_TZ(6)",
    },
    day=lambda moment: f"to_date(convert_timezone('UTC', {moment}))",
    seconds=lambda start, end: f"floor(datediff(microsecond, {start}, {end}) / 1000000)",
    fold=str.upper,
)

_TURNS = Table(
    "turns",
    "A row for each event type. A load changes it first, and so waits for the one before it.",
    (
        Column("event_type", ColumnType.TEXT, "The event type."),
        Column("turns", ColumnType.INTEGER, "Loads so far."),
    ),
)
"""
What loads lock. Snowflake locks the rows that a statement changes: two loads of a new hour delete none, and would both
insert.
"""

# Moments are loaded at +00:00; and a lock is waited for during 15 minutes instead of 12 hours.
_SETTINGS = ("timezone = 'UTC'", "timestamp_input_format = 'AUTO'", "lock_timeout = 900")
_NO_SUCH_OBJECT = 2003
_REFUSED_VALUES = range(100_000, 101_000)
"""Errors that quote a value."""


class SnowflakeWarehouse:
    """
    A schema of Snowflake.

    :param connect: makes a connection, such as ``SnowflakeHook(...).get_conn``
    :param database: without one, the connection's
    :param schema: without one, the connection's
    """

    def __init__(
        self, connect: Callable[[], Any], *, database: str = "", schema: str = "", table_prefix: str = "ayla_"
    ) -> None:
        self.name = " ".join(("Snowflake", ".".join(part for part in (database, schema) if part))).strip()
        self._connect = connect
        self._database = database
        self._schema = schema
        self._prefix = table_prefix
        self._connection: Any = None

    def __enter__(self) -> SnowflakeWarehouse:
        with self._told("connect"):
            self._connection = self._connect()
            try:
                self._set_up()
            except BaseException:
                self._connection.close()
                raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._connection.close()

    def loaded(self, event_type: str, start: datetime, end: datetime) -> Mapping[datetime, str]:
        """Return the version of each hour that is loaded, from the ledger."""
        with self._told(f"read which hours of {event_type} are loaded"):
            if not self._columns_of(LEDGER):
                return {}
            rows = self._run(
                f"select {DIALECT.names(('folder_hour', 'version'))} from {self._relation(LEDGER.event_type)} "
                f"where {DIALECT.name('event_type')} = %s and {DIALECT.name('folder_hour')} >= {_MOMENT} "
                f"and {DIALECT.name('folder_hour')} < {_MOMENT}",
                (event_type, start.isoformat(), end.isoformat()),
            ).fetchall()
        return {hour.astimezone(UTC): version for hour, version in rows}

    def prepare(self, table: Table) -> None:
        """Make tables and views, and add the columns that are missing."""
        with self._told(f"make the tables of {table.event_type}"):
            for one in (_TURNS, LEDGER):
                self._make_table(one)
            standing = as_it_stands(table, self._make_table(table))
            turns, event_type = self._relation(_TURNS.event_type), DIALECT.name("event_type")
            # Should two tasks do this at once, there are two rows, and each load changes both.
            self._run(
                f"insert into {turns} ({DIALECT.names(_TURNS.columns)}) select %s, 0 "
                f"where not exists (select 1 from {turns} where {event_type} = %s)",
                (table.event_type, table.event_type),
            )
            for view in views_of(standing, self._relation, DIALECT):
                self._make_view(view)

    def replace(self, load: Load) -> None:
        """Copy the file into a temporary table, then put its rows in their place in one transaction."""
        what = f"{load.table.event_type} {load.hour:%Y-%m-%dT%HZ}"
        # Of letters that need no quotes, which the name of a table's stage can't be trusted to take.
        staged = f"AYLA_STAGED_{uuid4().hex.upper()}" if load.parquet else ""
        with self._told(f"load {what}"):
            try:
                if load.parquet:
                    self._stage(load.table, load.parquet, staged)
                self._run("begin transaction")
                try:
                    self._change(load, staged)
                    self._run("commit")
                except BaseException:
                    with suppress(Exception):
                        self._run("rollback")
                    raise
            finally:
                if staged:
                    # It goes with the session anyway.
                    with suppress(Exception):
                        self._run(f"drop table if exists {staged}")

    def _set_up(self) -> None:
        """Put the session into the place and the state that everything here relies on."""
        self._connection.autocommit(True)
        for setting in _SETTINGS:
            self._run(f"alter session set {setting}")
        if self._database:
            self._run(f"use database {DIALECT.name(self._database)}")
        if self._schema:
            self._run(f"use schema {DIALECT.name(self._schema)}")

    def _relation(self, name: str) -> str:
        return DIALECT.name(self._prefix + name)

    def _run(self, statement: str, values: Sequence[Any] | None = None) -> Any:
        return self._connection.cursor().execute(statement, values)

    def _columns_of(self, table: Table) -> dict[str, str]:
        """Return the type of each column that a table has; nothing if it isn't there."""
        from snowflake.connector.errors import ProgrammingError

        try:
            rows = self._run(f"describe table {self._relation(table.event_type)}").fetchall()
        except ProgrammingError as error:
            if error.errno == _NO_SUCH_OBJECT:
                return {}
            raise
        return {name: kind for name, kind, *_ in rows}

    def _make_table(self, table: Table) -> list[str]:
        """Make a table or add what it lacks, and return the names of the columns that stood there."""
        relation = self._relation(table.event_type)
        there = self._columns_of(table)
        if not there:
            columns = ", ".join(_definition(column) for column in table.columns)
            self._run(f"create table if not exists {relation} ({columns}) comment = {literal(table.description)}")
            there = self._columns_of(table)
        for column in table.columns:
            stands, wanted = there.get(column.name.upper()), DIALECT.types[column.type]
            if stands is None:
                self._run(f"alter table {relation} add column if not exists {_definition(column)}")
            elif _family(stands) != _family(wanted):
                raise AylaTableError(
                    f"{self.name}: column {column.name.upper()} of {relation} is {stands}, but {wanted} is needed for "
                    f"{table.event_type}. Rename the column or the table there, or choose another table_prefix."
                )
        return [name.lower() for name in there]

    def _make_view(self, view: View) -> None:
        name = (self._prefix + view.name).upper()
        # Replacing a view that is right would break the queries that run on it.
        shown = self._run(f"show views like {literal(name)} in schema")
        titles = [title[0] for title in shown.description]
        texts = [str(row[titles.index("text")]) for row in shown.fetchall() if str(row[titles.index("name")]) == name]
        if not any(text.rstrip("; \n").endswith(view.select) for text in texts):
            self._run(
                f"create or replace view {self._relation(view.name)} copy grants "
                f"comment = {literal(view.description)} as {view.select}"
            )

    def _stage(self, table: Table, parquet: Path, staged: str) -> None:
        """Copy the file into a temporary table, by that table's own stage: neither outlives the session."""
        columns = ", ".join(DIALECT.definition(column) for column in table.columns)
        file = str(parquet.resolve()).replace("\\", "\\\\").replace("'", "\\'")
        self._run(f"create temporary table {staged} ({columns})")
        self._run(f"put 'file://{file}' @%{staged} auto_compress = false source_compression = none overwrite = true")
        self._run(
            f"copy into {staged} from @%{staged} file_format = (type = parquet use_logical_type = true) "
            "match_by_column_name = case_insensitive on_error = abort_statement"
        )

    def _change(self, load: Load, staged: str) -> None:
        event_type, hour = DIALECT.names(("event_type",)), DIALECT.names(("folder_hour",))
        rows, ledger = self._relation(load.table.event_type), self._relation(LEDGER.event_type)
        key = load.hour.isoformat()
        turns = DIALECT.name("turns")
        turn = self._run(
            f"update {self._relation(_TURNS.event_type)} set {turns} = {turns} + 1 where {event_type} = %s",
            (load.table.event_type,),
        )
        taken = turn.rowcount
        self._run(f"delete from {rows} where {hour} = {_MOMENT}", (key,))
        inserted = 0
        if staged:
            columns = DIALECT.names(load.table.columns)
            inserted = self._run(f"insert into {rows} ({columns}) select {columns} from {staged}").rowcount
        if not taken or inserted != load.rows:
            why = f"{inserted} of {load.rows} rows arrived" if taken else "the row of its event type is gone"
            raise AylaWarehouseError(
                f"{self.name}: {load.table.event_type} {load.hour:%Y-%m-%dT%HZ} was not loaded, since {why}; "
                "the hour there is as it was. Try again."
            )
        self._run(f"delete from {ledger} where {event_type} = %s and {hour} = {_MOMENT}", (load.table.event_type, key))
        places = ", ".join(_MOMENT if column.type is ColumnType.TIMESTAMP else "%s" for column in LEDGER.columns)
        self._run(
            f"insert into {ledger} ({DIALECT.names(LEDGER.columns)}) select {places}",
            (
                load.table.event_type,
                key,
                load.version,
                load.rows,
                load.lines,
                load.duplicates,
                load.quarantined,
                load.loaded_at.isoformat(),
                load.loaded_by,
            ),
        )

    @contextmanager
    def _told(self, doing: str) -> Iterator[None]:
        from snowflake.connector.errors import Error

        try:
            yield
        except Error as error:
            said = str(error.raw_msg or error.msg).rstrip(". ")
            if error.errno in _REFUSED_VALUES:
                said = "a value was refused"
            # Without its cause: what Snowflake says of a value that it refuses holds the value.
            raise AylaWarehouseError(
                f"{self.name}: can't {doing}: {said} (error {error.errno}, query {error.sfqid or 'none'}). An hour "
                "is replaced as a whole or not at all. If a right is missing, see docs/snowflake.md; else try again."
            ) from None


_MOMENT = "to_timestamp_tz(%s)"


def _definition(column: Column) -> str:
    return f"{DIALECT.definition(column)} comment {literal(column.description)}"


def _family(type_name: str) -> str:
    """Return a type without its length or precision; a number of a scale is another type than an integer."""
    name, _, size = type_name.upper().replace(" ", "").rstrip(")").partition("(")
    scale = size.partition(",")[2]
    return {"DOUBLE": "FLOAT"}.get(name, name) + (f",{scale}" if scale not in ("", "0") else "")
