"""Hours in PostgreSQL: plain tables, an index on the hour, a ledger, and views over them."""

from __future__ import annotations

import logging
import re
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import closing, contextmanager, suppress
from datetime import UTC, datetime
from types import TracebackType
from typing import Any

import duckdb

from ayla_provider.domain.tables import Table
from ayla_provider.errors import AylaWarehouseError
from ayla_provider.warehouse.base import LEDGER, Load
from ayla_provider.warehouse.postgres_copy import NULL, CsvPipe
from ayla_provider.warehouse.postgres_tables import (
    CATALOG,
    DIALECT,
    Relation,
    as_it_stands,
    in_order,
    relations,
    statements,
    view_comment,
)
from ayla_provider.warehouse.sql import View, literal, views_of

log = logging.getLogger(__name__)

# Readers queue behind a statement that waits for a table; sooner fail, and be tried again.
_DDL_PATIENCE = "60s"
_CANT_BE_A_VIEW = ("42P16", "42809", "42703")  # invalid_table_definition, wrong_object_type, undefined_column


class PostgresWarehouse:
    """
    Hours in a PostgreSQL database.

    :param connect: returns a connection of psycopg, version 2 or 3: ``PostgresHook(...).get_conn``
    :param schema: is made if it isn't there; without it the connection's own
    :param table_prefix: stands before the name of each table and view
    :param name: for people
    """

    def __init__(
        self, connect: Callable[[], Any], *, schema: str = "", table_prefix: str = "ayla_", name: str = "PostgreSQL"
    ) -> None:
        self.name = name
        self._connect = connect
        self._schema = schema
        self._prefix = table_prefix

    def __enter__(self) -> PostgresWarehouse:
        """Connect; for this and the rest see the protocol."""
        try:
            self._connection = self._connect()
        except _errors() as error:
            raise AylaWarehouseError(f"{self.name} can't be reached: {_said(error)}") from None
        self._connection.autocommit = False
        if not self._schema:
            with self._transaction("asking for the connection's schema") as session:
                ((current,),) = session.fetch("select current_schema()")
            if not current:
                raise AylaWarehouseError(f"No schema of the search path is there in {self.name}: name one.")
            self._schema = current
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Disconnect."""
        with suppress(*_errors()):
            self._connection.close()

    def loaded(self, event_type: str, start: datetime, end: datetime) -> Mapping[datetime, str]:
        """Return the version of each hour that is loaded."""
        ledger = self._quoted(LEDGER.event_type)
        with self._transaction(f"reading which hours of {event_type} are loaded") as session:
            if session.fetch("select to_regclass(%s)", ledger) == [(None,)]:
                return {}
            rows = session.fetch(
                f"select folder_hour, version from {ledger} where event_type = %s and folder_hour >= %s "
                "and folder_hour < %s order by folder_hour",
                *(event_type, start, end),
            )
        return {hour.astimezone(UTC): version for hour, version in rows}

    def prepare(self, table: Table) -> None:
        """Make what is missing, one task at a time; nothing is locked if nothing is."""
        with self._transaction(f"preparing the table of {table.event_type}") as session:
            if self._is_there(session, table):
                return
            _lock(session, "ayla_provider: prepare")
            session.run(f"set local lock_timeout = '{_DDL_PATIENCE}'")
            if not session.fetch("select from pg_namespace where nspname = %s", self._schema):
                session.run(f"create schema {DIALECT.name(self._schema)}")
            for statement in self._statements(table, self._found(session)):
                session.run(statement)
            found = self._found(session)
            for view in self._views(table, found):
                self._make(session, view, found.get(self._prefix + view.name))

    def replace(self, load: Load) -> None:
        """Put an hour's rows in place of those that stand there."""
        table, hour = self._quoted(load.table.event_type), f"{load.hour:%Y-%m-%d %H:%M} UTC"
        with self._transaction(f"loading {load.table.event_type} of {hour}") as session:
            _lock(session, f"ayla_provider: {table} {hour}")
            session.run(f"delete from {table} where folder_hour = %s", load.hour)
            if load.parquet:
                names = DIALECT.names(load.table.names)
                with CsvPipe(load.parquet, names) as rows:
                    copied = session.copy(
                        f"copy {table} ({names}) from stdin (format csv, null {literal(NULL)}, encoding 'UTF8')", rows
                    )
                if copied != load.rows:
                    raise AylaWarehouseError(
                        f"{self.name} took {copied} rows of {load.table.event_type} of {hour}, not {load.rows}: "
                        "nothing was changed. Load the hour again."
                    )
            self._note(session, load)

    def _note(self, session: _Session, load: Load) -> None:
        ledger, event_type = self._quoted(LEDGER.event_type), load.table.event_type
        session.run(f"delete from {ledger} where event_type = %s and folder_hour = %s", event_type, load.hour)
        counts = (load.rows, load.lines, load.duplicates, load.quarantined)
        values = (event_type, load.hour, load.version, *counts, load.loaded_at, load.loaded_by)
        places = ", ".join(["%s"] * len(values))
        session.run(f"insert into {ledger} ({DIALECT.names(LEDGER.names)}) values ({places})", *values)

    def _quoted(self, name: str) -> str:
        return DIALECT.name(self._schema, self._prefix + name)

    def _found(self, session: _Session) -> dict[str, Relation]:
        return relations(session.fetch(CATALOG, self._schema, self._prefix))

    def _is_there(self, session: _Session, table: Table) -> bool:
        found = self._found(session)
        return not any(self._statements(table, found)) and not self._views(table, found)

    def _statements(self, table: Table, found: Mapping[str, Relation]) -> Iterator[str]:
        for one, key in ((LEDGER, ("event_type", "folder_hour")), (table, ("folder_hour",))):
            name = self._prefix + one.event_type
            yield from statements(one, self._schema, name, found.get(name), key)

    def _views(self, table: Table, found: Mapping[str, Relation]) -> list[View]:
        """Return the views that aren't there, or were made from other statements."""
        standing = as_it_stands(table, found.get(self._prefix + table.event_type))
        comments = {name: relation.comment for name, relation in found.items()}
        return [
            view
            for view in views_of(standing, self._quoted, DIALECT)
            if comments.get(self._prefix + view.name) != view_comment(view)
        ]

    def _make(self, session: _Session, view: View, there: Relation | None) -> None:
        quoted, select = self._quoted(view.name), view.select
        if there:
            select = in_order(select, session.columns(f"select * from ({select}) as made limit 0"), there.columns)
        session.run("savepoint before_view")
        try:
            session.run(f"create or replace view {quoted} as {select}")
        except _errors() as error:
            if _state(error) not in _CANT_BE_A_VIEW:
                raise
            session.run("rollback to savepoint before_view")
            log.warning("%s stays as it is: %s. Drop it, and the next load makes it anew.", quoted, _said(error))
        else:
            session.run(f"comment on view {quoted} is {literal(view_comment(view))}")

    @contextmanager
    def _transaction(self, doing: str) -> Iterator[_Session]:
        try:
            with closing(self._connection.cursor()) as cursor:
                session = _Session(cursor)
                # Under another level the statements behind a lock don't see what its last holder wrote.
                session.run("set transaction isolation level read committed")
                yield session
            self._connection.commit()
        except _errors(duckdb.Error) as error:
            # The driver's own error quotes rows: it mustn't show behind ours.
            raise AylaWarehouseError(f"{self.name}: {doing} failed: {_said(error)}. Nothing was changed.") from None
        finally:
            with suppress(*_errors()):
                self._connection.rollback()


class _Session:
    """A cursor, whatever the driver and whatever rows the connection is set to give."""

    def __init__(self, cursor: Any) -> None:
        self._cursor = cursor

    def run(self, statement: str, *values: object) -> None:
        self._cursor.execute(statement, values or None)

    def fetch(self, statement: str, *values: object) -> list[tuple[Any, ...]]:
        self.run(statement, *values)
        return [tuple(row.values() if isinstance(row, dict) else row) for row in self._cursor.fetchall()]

    def columns(self, statement: str) -> list[str]:
        self.run(statement)
        return [column[0] for column in self._cursor.description]

    def copy(self, statement: str, rows: CsvPipe) -> int:
        """Return how many rows were copied."""
        if hasattr(self._cursor, "copy_expert"):
            self._cursor.copy_expert(statement, rows)
        else:
            with self._cursor.copy(statement) as copy:
                while chunk := rows.read():
                    copy.write(chunk)
        return int(self._cursor.rowcount)


def _lock(session: _Session, what: str) -> None:
    """Wait for others who do the same, until the end of the transaction."""
    session.run("select pg_advisory_xact_lock(hashtextextended(%s, 0))", what)


def _errors(*others: type[Exception]) -> tuple[type[Exception], ...]:
    """Return the drivers' errors, and others; a driver that isn't loaded didn't make the connection."""
    return (*others, *(sys.modules[name].Error for name in ("psycopg", "psycopg2") if name in sys.modules))


def _state(error: Exception) -> str | None:
    return getattr(error, "sqlstate", None) or getattr(error, "pgcode", None)


def _said(error: Exception) -> str:
    """Return what an error says, without what it quotes of a row."""
    state, diagnosis = _state(error), getattr(error, "diag", None)
    if diagnosis is None or state is None:
        return " ".join(str(error).split())
    text = diagnosis.message_primary
    if state.startswith("22"):  # data exceptions name the value
        place = re.match(r"COPY .+?, line \d+, column ([^:\n]+)", diagnosis.context or "")
        text = type(error).__name__ + (f" in the column {place[1]}" if place else "")
    return f"{text} (SQLSTATE {state})"
