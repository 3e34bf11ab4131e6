"""
Snowflake as a warehouse.

Names are in upper case, as Snowflake reads names without quotes. Timestamps are ``TIMESTAMP_TZ``, always at +00:00, so
everyone reads UTC. ``TIMESTAMP_LTZ`` would be shown in each session's zone; ``TIMESTAMP_NTZ`` doesn't name its zone.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext, suppress
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any
from uuid import uuid4

from ayla_provider.domain.erasure import Leftover
from ayla_provider.domain.tables import Column, ColumnType, Table
from ayla_provider.domain.work import snowflake_tag
from ayla_provider.errors import AylaWarehouseError
from ayla_provider.models import tables as models
from ayla_provider.models.macros import SNOWFLAKE
from ayla_provider.rows.duck import literal
from ayla_provider.warehouse import fleet
from ayla_provider.warehouse.base import SAFE_TO_RETRY, TABLE_PREFIX, Load
from ayla_provider.warehouse.sql import Dialect, View, with_percent_signs
from ayla_provider.warehouse.sql_warehouse import Explanation, SqlWarehouse


def _parameter(name: str, column_type: ColumnType) -> str:
    return f"to_timestamp_tz(%({name})s)" if column_type is ColumnType.TIMESTAMP else f"%({name})s"


DIALECT = Dialect(
    types={kind: name.upper() for kind, name in SNOWFLAKE.types.items()},
    day=lambda moment: f"to_date(convert_timezone('UTC', {moment}))",
    seconds=lambda start, end: f"floor(datediff(microsecond, {start}, {end}) / 1000000)",
    hours_later=lambda time, hours: f"dateadd(hour, {hours}, {time})",
    parameter=_parameter,
    fold=str.upper,
    sha256=lambda text: f"sha2({text}, 256)",
)

_TURNS = Table(
    "turns",
    "A row for each event type. A load changes it first, and so waits for the one before it.",
    (
        Column("event_type", ColumnType.TEXT, "The event type."),
        Column("turns", ColumnType.INTEGER, "Loads so far."),
    ),
)
"""The table that loads lock: Snowflake locks the rows that a statement changes."""

# Without an offset, timestamps are UTC. A statement waits 15 minutes for a lock instead of 12 hours.
_SETTINGS = ("timezone = 'UTC'", "timestamp_input_format = 'AUTO'", "lock_timeout = 900")
_FAIL_SAFE = timedelta(days=7)
_NO_SUCH_OBJECT = 2003
_REFUSED_VALUES = range(100_000, 101_000)
"""Errors that quote a value."""


class SnowflakeWarehouse(SqlWarehouse):
    """
    A schema of Snowflake.

    :param connect: returns a connection, such as ``SnowflakeHook(...).get_conn``
    :param database: by default the connection's
    :param schema: by default the connection's
    """

    dialect = DIALECT
    macros = SNOWFLAKE
    own_tables = (_TURNS,)

    def __init__(
        self, connect: Callable[[], Any], *, database: str = "", schema: str = "", table_prefix: str = TABLE_PREFIX
    ) -> None:
        super().__init__(f"Snowflake {'.'.join(filter(None, (database, schema)))}".rstrip(), table_prefix)
        self._connect = connect
        self._database = database
        self._schema = schema
        self._connection: Any = None

    def _open(self) -> None:
        self._connection = self._connect()
        try:
            self._connection.autocommit(True)
            for setting in _SETTINGS:
                self._run(f"alter session set {setting}")
            if self._database:
                self._run(f"use database {DIALECT.name(self._database)}")
            if self._schema:
                self._run(f"use schema {DIALECT.name(self._schema)}")
        except BaseException:
            self._connection.close()
            raise

    def _close(self) -> None:
        self._connection.close()

    def _show_work(self) -> None:
        self._run(f"alter session set query_tag = {_literal(snowflake_tag(self._work))}")

    def _name_elsewhere(self, table: str) -> tuple[str, str]:
        session = self._connection
        parts = (self._database or session.database, self._schema or session.schema, table)
        return f"snowflake://{session.account}", ".".join(DIALECT.fold(part) for part in parts)

    def _relation(self, name: str) -> str:
        return DIALECT.name(self._prefix + name)

    def _run(self, statement: str, values: Mapping[str, Any] | None = None) -> Any:
        parameters = None
        if values is not None:
            parameters = {name: _parameter_value(value) for name, value in values.items()}
        return self._connection.cursor().execute(with_percent_signs(statement, parameters), parameters)

    def _fetch(self, statement: str, values: Mapping[str, Any] | None = None) -> list[Sequence[Any]]:
        rows: list[Sequence[Any]] = self._run(statement, values).fetchall()
        return rows

    def _columns(self, table: Table) -> dict[str, str]:
        from snowflake.connector.errors import ProgrammingError

        try:
            rows = self._fetch(f"describe table {self._relation(table.event_type)}")
        except ProgrammingError as error:
            if error.errno == _NO_SUCH_OBJECT:
                return {}
            raise
        return {name.lower(): column_type for name, column_type, *_ in rows}

    def _create_table(self, table: Table) -> None:
        columns = ", ".join(map(_definition, table.columns))
        self._run(
            f"create table if not exists {self._relation(table.event_type)} ({columns}) "
            f"comment = {_literal(table.description)}"
        )

    def _add_columns(self, table: Table, columns: Sequence[Column]) -> None:
        for column in columns:
            self._run(f"alter table {self._relation(table.event_type)} add column if not exists {_definition(column)}")

    def _same_type(self, existing: str, wanted: str) -> bool:
        return _family(existing) == _family(wanted)

    def prepare(self, table: Table) -> None:
        """Create what is missing, and the event type's row in the table of turns."""
        super().prepare(table)
        with self._errors(f"prepare the tables of {table.event_type}"):
            turns, values = self._relation(_TURNS.event_type), {"event_type": table.event_type}
            # If two tasks do this at once, there are two rows. Each load then changes both, which does no harm.
            self._run(
                f"insert into {turns} ({DIALECT.names(_TURNS.columns)}) select %(event_type)s, 0 "
                f"where not exists (select 1 from {turns} where {self._equals('event_type')})",
                values,
            )

    def _ensure_views(self, views: Sequence[View], *, tables_changed: bool) -> None:
        for view in views:
            self._ensure_view(view)

    def _ensure_view(self, view: View) -> None:
        name = (self._prefix + view.name).upper()
        # Replacing a view that is right would break the queries that run on it.
        cursor = self._run(f"show views like {_literal(name)} in schema")
        titles = [column[0] for column in cursor.description]
        # In a pattern an underscore is any character, so others can match.
        for row in cursor.fetchall():
            existing = dict(zip(titles, row, strict=True))
            if existing["name"] == name and str(existing["text"]).rstrip("; \n").endswith(view.select):
                return
        self._run(
            f"create or replace view {self._relation(view.name)} copy grants "
            f"comment = {_literal(view.description)} as {view.select}"
        )

    @contextmanager
    def _staged(self, load: Load) -> Iterator[str]:
        """Copy the files into a temporary table, by that table's own stage. Neither outlives the session."""
        if load.parquet is None:
            yield ""
            return
        # Letters that need no quotes: it isn't documented that the name of a table's stage can have quotes.
        name = f"AYLA_STAGED_{uuid4().hex.upper()}"
        columns = ", ".join(map(DIALECT.definition, load.table.columns))
        try:
            self._run(f"create temporary table {name} ({columns})")
            for number, parquet in enumerate(load.files):
                # Files of one name replace each other.
                folder = f"{name}/{number}" if number else name
                file = str(parquet.resolve()).replace("\\", "\\\\").replace("'", "\\'")
                self._run(
                    f"put 'file://{file}' @%{folder} auto_compress = false source_compression = none overwrite = true"
                )
            self._run(
                f"copy into {name} from @%{name} file_format = (type = parquet use_logical_type = true) "
                "match_by_column_name = case_insensitive on_error = abort_statement"
            )
            yield name
        finally:
            # It goes with the session anyway.
            with suppress(Exception):
                self._run(f"drop table if exists {name}")

    def _lock(self, load: Load) -> None:
        """Change the event type's row in the table of turns. Another load waits until this transaction ends."""
        turns = DIALECT.name("turns")
        changed = self._run(
            f"update {self._relation(_TURNS.event_type)} set {turns} = {turns} + 1 where {self._equals('event_type')}",
            {"event_type": load.table.event_type},
        )
        if not changed.rowcount:
            raise AylaWarehouseError(
                f"{self.name}: can't load {load}: the row of its event type in "
                f"{self._relation(_TURNS.event_type)} is gone. {SAFE_TO_RETRY}"
            )

    def _insert(self, load: Load, source: str) -> int:
        columns = DIALECT.names(load.table.columns)
        inserted = self._run(
            f"insert into {self._relation(load.table.event_type)} ({columns}) select {columns} from {source}"
        )
        return int(inserted.rowcount)

    def _engine(self) -> fleet.Engine:
        """
        Return how a run of the models runs statements.

        A statement that makes a table ends the transaction that it is in, also if the table is temporary. So each
        change of a table is a transaction of its own.
        """
        return replace(
            super()._engine(),
            create=lambda name, select: f"create or replace temporary table {name} as {select}",
            transaction=nullcontext,
            writing=self._transaction,
        )

    def _ensure_as_of(self) -> None:
        value = models.PROPERTY_VALUE
        columns = ", ".join(map(DIALECT.definition, value.columns))
        select = (
            f"select {DIALECT.names(value.names)} from {self._relation(value.name)} "
            "where valid_from <= moment and (valid_to is null or moment < valid_to)"
        )
        self._run(
            f"create or replace function {self._relation('property_as_of')}(moment timestamp_tz) "
            f"returns table ({columns}) as $$ {select} $$"
        )

    def expire(self, event_types: Iterable[str], now: datetime) -> Sequence[Leftover]:
        """Return how long the warehouse keeps removed rows."""
        return self.forget(event_types, now)

    def _forget_rows(self, event_types: Sequence[str], now: datetime) -> Sequence[Leftover]:
        """Return how long Time Travel and Fail-safe keep erased rows. Nobody can shorten Fail-safe."""
        left = []
        for event_type in event_types:
            table = self._relation(event_type)
            days = self._time_travel(table)
            kept = f"{days} days" if days is not None else "up to 90 days"
            left.append(
                Leftover(
                    f"{self.name}, table {table}",
                    f"Time Travel keeps removed rows for {kept}, and Fail-safe for {_FAIL_SAFE.days} days after that, "
                    "unless the table is transient",
                    None if days is None else now + timedelta(days=days) + _FAIL_SAFE,
                )
            )
        return left

    def _time_travel(self, table: str) -> int | None:
        """Return for how many days Time Travel keeps rows of a table; None if it can't be asked."""
        from snowflake.connector.errors import Error

        with suppress(Error):
            rows = self._fetch(f"show parameters like 'DATA_RETENTION_TIME_IN_DAYS' in table {table}")
            return int(rows[0][1]) if rows else None
        return None

    def _explain(self, error: Exception) -> Explanation | None:
        from snowflake.connector.errors import Error

        if not isinstance(error, Error):
            return None
        words = str(error.raw_msg or error.msg).rstrip(". ")
        if error.errno in _REFUSED_VALUES:
            words = "a value was refused"
        return Explanation(
            f"{words} (error {error.errno}, query {error.sfqid or 'none'})",
            f"{SAFE_TO_RETRY} If a right is missing, see this provider's page on Snowflake.",
        )


def _literal(text: str) -> str:
    """Return a text as a literal of Snowflake, where a backslash is an escape."""
    return literal(text.replace("\\", "\\\\"))


def _parameter_value(value: Any) -> Any:
    return value.isoformat() if isinstance(value, datetime) else value


def _definition(column: Column) -> str:
    return f"{DIALECT.definition(column)} comment {_literal(column.description)}"


def _family(type_name: str) -> str:
    """Return a type without its length or precision; a number with a scale is another type than an integer."""
    name, _, size = type_name.upper().replace(" ", "").rstrip(")").partition("(")
    scale = size.partition(",")[2]
    return {"DOUBLE": "FLOAT"}.get(name, name) + (f",{scale}" if scale not in ("", "0") else "")
