"""PostgreSQL: plain tables with an index on the hour, a ledger, and views over them."""

from __future__ import annotations

import logging
import re
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from datetime import datetime
from typing import Any

import duckdb

from ayla_provider.domain.erasure import Leftover
from ayla_provider.domain.tables import PROVENANCE, Column, Table
from ayla_provider.domain.work import postgres_name
from ayla_provider.errors import AylaConfigError, AylaWarehouseError
from ayla_provider.models.macros import POSTGRES
from ayla_provider.models.tables import Model
from ayla_provider.rows.duck import MEMORY, literal
from ayla_provider.warehouse.base import COMPARISONS, HOURS, LEDGER, TABLE_PREFIX, Load
from ayla_provider.warehouse.postgres_copy import NULL, CsvPipe
from ayla_provider.warehouse.postgres_tables import (
    CATALOG,
    DIALECT,
    Relation,
    in_order,
    index_and_comments,
    is_outdated,
    relations,
    usable_columns,
    view_comment,
)
from ayla_provider.warehouse.sql import View, views_of, with_existing_columns, with_percent_signs
from ayla_provider.warehouse.sql_warehouse import Explanation, SqlWarehouse

log = logging.getLogger(__name__)

# Readers queue behind a statement that waits for a table. It is better to fail soon and try again.
_LOCK_TIMEOUT = "60s"
_LONGEST_NAME = 63  # PostgreSQL cuts off what follows, so that two names can become one.
_NOT_REPLACEABLE = ("42P16", "42809", "42703")  # invalid_table_definition, wrong_object_type, undefined_column


class PostgresWarehouse(SqlWarehouse):
    """
    A schema of a PostgreSQL database.

    :param connect: returns a connection of psycopg, version 2 or 3: ``PostgresHook(...).get_conn``
    :param schema: is created if it doesn't exist; by default the connection's own
    :param table_prefix: is in front of the name of each table and view
    :param name: for people
    :param memory: the limit of the DuckDB that reads the Parquet files, as DuckDB writes sizes
    """

    dialect = DIALECT
    macros = POSTGRES
    history = (
        "removed rows stay in the table's files until a VACUUM FULL, and in its log and backups until these are removed"
    )

    def __init__(
        self,
        connect: Callable[[], Any],
        *,
        schema: str = "",
        table_prefix: str = TABLE_PREFIX,
        name: str = "PostgreSQL",
        memory: str = MEMORY,
    ) -> None:
        super().__init__(name, table_prefix)
        self._memory = memory
        self._connect = connect
        self._schema = schema
        self._connection: Any = None
        self._cursor: Any = None

    def prepare(self, table: Table) -> None:
        """Create what is missing, one task at a time. If nothing is missing, nothing is locked."""
        with self._errors(f"prepare the tables of {table.event_type}"):
            complete = self._is_complete(table)
        if not complete:
            super().prepare(table)

    def _open(self) -> None:
        self._connection = self._connect()
        # Transactions begin and end by statements of their own.
        self._connection.autocommit = True
        # psycopg 3 prepares statements that it sees often. A pooler such as PgBouncer gives each transaction another
        # session, which doesn't have them.
        if hasattr(self._connection, "prepare_threshold"):
            self._connection.prepare_threshold = None
        self._cursor = self._connection.cursor()
        if not self._schema:
            ((self._schema,),) = self._fetch("select current_schema()")
            if not self._schema:
                raise AylaWarehouseError(f"{self.name}: no schema of the search path exists. Name a schema.")

    def _close(self) -> None:
        with suppress(*_driver_errors()):
            self._connection.close()

    def _show_work(self) -> None:
        self._fetch("select set_config('application_name', %(name)s, false)", {"name": postgres_name(self._work)})

    def _name_elsewhere(self, table: str) -> tuple[str, str]:
        server = self._connection.info
        # The host of a socket is a folder.
        host = "localhost" if not server.host or server.host.startswith("/") else server.host
        return f"postgres://{host}:{server.port}", f"{server.dbname}.{self._schema}.{table}"

    def _relation(self, name: str) -> str:
        for part in (self._schema, self._prefix + name):
            if len(part.encode()) > _LONGEST_NAME:
                raise AylaConfigError(
                    f"{part!r} is longer than the {_LONGEST_NAME} bytes that PostgreSQL keeps of a name. Choose a "
                    "shorter schema or table_prefix."
                )
        return DIALECT.name(self._schema, self._prefix + name)

    def _run(self, statement: str, values: Mapping[str, Any] | None = None) -> Any:
        return self._cursor.execute(with_percent_signs(statement, values), values)

    def _fetch(self, statement: str, values: Mapping[str, Any] | None = None) -> list[tuple[Any, ...]]:
        self._run(statement, values)
        # A connection of psycopg can return each row as a dictionary.
        return [tuple(row.values() if isinstance(row, dict) else row) for row in self._cursor.fetchall()]

    @contextmanager
    def _transaction(self, load: Load | None = None) -> Iterator[None]:
        with super()._transaction(load):
            # At other levels, statements after a lock don't see what the lock's last holder wrote.
            self._run("set transaction isolation level read committed")
            yield

    @contextmanager
    def _preparing(self) -> Iterator[None]:
        with self._transaction():
            self._lock_text("ayla_provider: prepare")
            self._run(f"set local lock_timeout = '{_LOCK_TIMEOUT}'")
            if not self._fetch("select from pg_namespace where nspname = %(schema)s", {"schema": self._schema}):
                self._run(f"create schema {DIALECT.name(self._schema)}")
            yield

    def _existing(self) -> dict[str, Relation]:
        """Return the relations that exist, by name without prefix."""
        rows = self._fetch(CATALOG, {"schema": self._schema, "prefix": self._prefix})
        return {name.removeprefix(self._prefix): relation for name, relation in relations(rows).items()}

    def _columns(self, table: Table) -> dict[str, str]:
        relation = self._existing().get(table.event_type)
        return relation.columns if relation else {}

    def _is_complete(self, table: Table) -> bool:
        existing = self._existing()
        for each in (LEDGER, table):
            relation = existing.get(each.event_type)
            if relation is None or not relation.columns.keys() >= set(each.names):
                return False
            self._refuse_other_types(each, relation.columns)
            if any(self._index_and_comments(each, relation)):
                return False
        columns = with_existing_columns(table, usable_columns(existing[table.event_type].columns))
        views = views_of(columns, self._relation, DIALECT)
        return not any(is_outdated(view, existing.get(view.name)) for view in views)

    def _ensure_table(self, table: Table) -> tuple[list[str], bool]:
        _, changed = super()._ensure_table(table)
        relation = self._existing()[table.event_type]
        for statement in self._index_and_comments(table, relation):
            self._run(statement)
        return usable_columns(relation.columns), changed

    def _create_table(self, table: Table) -> None:
        definitions = list(map(DIALECT.definition, table.columns))
        if table in (LEDGER, HOURS, COMPARISONS):
            definitions.append(f"primary key ({DIALECT.names(_LEDGER_KEY)})")
        self._run(f"create table {self._relation(table.event_type)} ({', '.join(definitions)})")

    def _add_columns(self, table: Table, columns: Sequence[Column]) -> None:
        additions = (f"add column {DIALECT.definition(column)}" for column in columns)
        self._run(f"alter table {self._relation(table.event_type)} {', '.join(additions)}")

    def _index_and_comments(self, table: Table, relation: Relation) -> Iterator[str]:
        keys = ["folder_hour" if PROVENANCE[-1].name in table.names else table.names[0]]
        if isinstance(table, Model):
            # A run looks up the rows of a day, and the values that are valid then.
            keys += [name for name in (table.day, "valid_to") if name in table.names]
        return index_and_comments(table, self._relation(table.event_type), relation, keys)

    def _ensure_views(self, views: Sequence[View], *, tables_changed: bool) -> None:
        existing = self._existing()
        for view in views:
            if is_outdated(view, existing.get(view.name)):
                self._replace_view(view, existing.get(view.name))

    def _replace_view(self, view: View, existing: Relation | None) -> None:
        relation, select = self._relation(view.name), view.select
        if existing:
            self._run(f"select * from ({select}) as made limit 0")
            select = in_order(select, [column[0] for column in self._cursor.description], existing.columns)
        self._run("savepoint before_view")
        try:
            self._run(f"create or replace view {relation} as {select}")
        except _driver_errors() as error:
            if _state(error) not in _NOT_REPLACEABLE:
                raise
            self._run("rollback to savepoint before_view")
            log.warning("%s stays as it is: %s. Drop it, and the next load creates it again.", relation, _words(error))
        else:
            self._run(f"comment on view {relation} is {literal(view_comment(view))}")

    def _ensure_as_of(self) -> None:
        values = self._relation("property_value")
        # A function of its owner's table can read what its caller may read, and no more.
        self._run(
            f"create or replace function {self._relation('property_as_of')}(moment timestamp with time zone) "
            f"returns setof {values} language sql stable as $$ select * from {values} "
            "where valid_from <= moment and (valid_to is null or moment < valid_to) $$"
        )

    def _was_staged(self, table: str) -> None:
        # Without its numbers, PostgreSQL takes a temporary table for a small one.
        self._run(f"analyze {table}")

    def _lock_table(self, table: Table) -> None:
        self._lock_text(f"ayla_provider: {self._relation(table.event_type)}")

    def _lock(self, load: Load) -> None:
        self._lock_text(f"ayla_provider: {self._relation(load.table.event_type)} {load.hour:%Y-%m-%d %H:%M} UTC")

    def _lock_text(self, text: str) -> None:
        """Wait for others that lock the same text. The lock ends with the transaction."""
        self._run("select pg_advisory_xact_lock(hashtextextended(%(text)s, 0))", {"text": text})

    def _insert(self, load: Load, source: str) -> int:
        columns = DIALECT.names(load.table.names)
        statement = (
            f"copy {self._relation(load.table.event_type)} ({columns}) from stdin "
            f"(format csv, null {literal(NULL)}, encoding 'UTF8')"
        )
        total = 0
        for parquet in load.files:
            with CsvPipe(parquet, columns, self._memory) as rows:
                # psycopg 2 has copy_expert, psycopg 3 has copy.
                if hasattr(self._cursor, "copy_expert"):
                    self._cursor.copy_expert(statement, rows)
                else:
                    with self._cursor.copy(statement) as copy:
                        while chunk := rows.read():
                            copy.write(chunk)
            total += int(self._cursor.rowcount)
        return total

    def _forget_rows(self, event_types: Sequence[str], now: datetime) -> Sequence[Leftover]:
        """Write tables and their indexes again. Nobody can use a table in the meantime."""
        for event_type in event_types:
            self._run(f"vacuum (full) {self._relation(event_type)}")
        return [
            Leftover(
                self.name,
                "the write-ahead log, its archive, replicas that lag, and backups have erased rows until their own "
                "retention ends",
                None,
            )
        ]

    def _explain(self, error: Exception) -> Explanation | None:
        if isinstance(error, (*_driver_errors(), duckdb.Error)):
            return Explanation(_words(error))
        return None


_LEDGER_KEY = ("event_type", "folder_hour")


def _driver_errors() -> tuple[type[Exception], ...]:
    """Return the errors of the drivers that are loaded. A driver that isn't loaded didn't make the connection."""
    return tuple(sys.modules[name].Error for name in ("psycopg", "psycopg2") if name in sys.modules)


def _state(error: Exception) -> str | None:
    return getattr(error, "sqlstate", None) or getattr(error, "pgcode", None)


def _words(error: Exception) -> str:
    """Return an error's message without what it quotes of a row."""
    state, diagnosis = _state(error), getattr(error, "diag", None)
    if diagnosis is None or state is None:
        return " ".join(str(error).split())
    text = diagnosis.message_primary
    # The messages of class 22, data exceptions, quote the value.
    if state.startswith("22"):
        place = re.match(r"COPY .+?, line \d+, column ([^:\n]+)", diagnosis.context or "")
        text = type(error).__name__ + (f" in the column {place[1]}" if place else "")
    return f"{text} (SQLSTATE {state})"
