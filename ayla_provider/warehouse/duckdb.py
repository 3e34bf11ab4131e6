"""A DuckDB file: the warehouse that needs no server."""

from __future__ import annotations

import os
import secrets
import stat
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from datetime import datetime
from pathlib import Path
from typing import Any

from ayla_provider.archive.private import private_umask
from ayla_provider.domain.erasure import Leftover
from ayla_provider.domain.tables import Column, Table
from ayla_provider.errors import AylaConfigError
from ayla_provider.models.macros import DUCKDB
from ayla_provider.rows.duck import MEMORY, connect, literal
from ayla_provider.warehouse.base import TABLE_PREFIX, Load
from ayla_provider.warehouse.sql import Dialect, View
from ayla_provider.warehouse.sql_warehouse import Explanation, SqlWarehouse

DIALECT = Dialect(
    types={kind: name.upper() for kind, name in DUCKDB.types.items()},
    # Independent of the time zone of the session that asks.
    day=lambda time: f"cast(timezone('UTC', {time}) as date)",
    seconds=lambda start, end: f"date_diff('second', {start}, {end})",
    hours_later=lambda time, hours: f"{time} + interval '{hours} hours'",
    parameter=lambda name, _: f"${name}",
)


class DuckDBWarehouse(SqlWarehouse):
    """
    A DuckDB file, see :class:`~ayla_provider.warehouse.base.Warehouse`.

    Only one process at a time can open the file, even to read it. Give the tasks that load it a pool of one slot. A new
    file, and a new folder for it, is readable for the user of the task alone.

    :param path: the file; it is created if it doesn't exist
    :param schema: is created if it doesn't exist
    :param memory: DuckDB's limit, as DuckDB writes sizes
    """

    dialect = DIALECT
    macros = DUCKDB
    history = (
        "pages of removed rows stay in the file until DuckDB uses them again, "
        "or until the file is copied with COPY FROM DATABASE"
    )

    def __init__(
        self, path: str | Path, *, schema: str = "main", table_prefix: str = TABLE_PREFIX, memory: str = MEMORY
    ) -> None:
        super().__init__(f"DuckDB file {path}", table_prefix)
        self._path = Path(path)
        self._schema = schema
        self._memory = memory
        self._duck: Any = None

    def _open(self) -> None:
        if self._path.is_dir():
            raise AylaConfigError(f"database is the folder {self._path}: name a file in it, such as ayla.duckdb")
        with private_umask():
            self._path.parent.mkdir(parents=True, exist_ok=True)
            if not self._path.exists():
                self._create()
            self._duck = connect(self._path, self._memory)
        self._run("set preserve_insertion_order = false")

    def _create(self) -> None:
        """
        Create the file at once.

        DuckDB writes the first blocks one after the other. If the disk is full, or the task is killed, it leaves a file
        that it never opens again.
        """
        whole = self._path.with_name(f".{self._path.name}.{secrets.token_hex(4)}")
        try:
            connect(whole, self._memory).close()
            # Another task can have created it by now, and not every file system has links.
            with suppress(OSError):
                os.link(whole, self._path)
        finally:
            whole.unlink(missing_ok=True)

    def _close(self) -> None:
        # It can write the file a last time.
        with private_umask():
            self._duck.close()

    def _name_elsewhere(self, table: str) -> tuple[str, str]:
        # OpenLineage has no rule for DuckDB.
        return f"duckdb://{self._path}", f"{self._schema}.{table}"

    def _relation(self, name: str) -> str:
        return DIALECT.name(self._schema, f"{self._prefix}{name}")

    def _run(self, statement: str, values: Mapping[str, Any] | None = None) -> Any:
        # DuckDB creates files beside its own: the log of changes, and what doesn't fit into the memory.
        with private_umask():
            return self._duck.execute(statement, values)

    def _fetch(self, statement: str, values: Mapping[str, Any] | None = None) -> list[tuple[Any, ...]]:
        rows: list[tuple[Any, ...]] = self._run(statement, values).fetchall()
        return rows

    def _columns(self, table: Table) -> dict[str, str]:
        # DuckDB ignores the case of names.
        columns = self._fetch(
            "select lower(column_name), data_type from duckdb_columns() where database_name = current_database() "
            "and lower(schema_name) = lower($schema) and lower(table_name) = lower($name)",
            {"schema": self._schema, "name": f"{self._prefix}{table.event_type}"},
        )
        return dict(columns)

    @contextmanager
    def _preparing(self) -> Iterator[None]:
        with self._transaction():
            self._run(f"create schema if not exists {DIALECT.name(self._schema)}")
            yield

    def _create_table(self, table: Table) -> None:
        relation = self._relation(table.event_type)
        self._run(f"create table {relation} ({', '.join(map(DIALECT.definition, table.columns))})")
        self._run(f"comment on table {relation} is {literal(table.description)}")
        self._comment_on(relation, table.columns)

    def _add_columns(self, table: Table, columns: Sequence[Column]) -> None:
        relation = self._relation(table.event_type)
        for column in columns:
            self._run(f"alter table {relation} add column {DIALECT.definition(column)}")
        self._comment_on(relation, columns)

    def _comment_on(self, relation: str, columns: Sequence[Column]) -> None:
        for column in columns:
            self._run(f"comment on column {relation}.{DIALECT.name(column.name)} is {literal(column.description)}")

    def _ensure_views(self, views: Sequence[View], *, tables_changed: bool) -> None:
        if not tables_changed:
            return
        for view in views:
            relation = self._relation(view.name)
            self._run(f"create or replace view {relation} as {view.select}")
            self._run(f"comment on view {relation} is {literal(view.description)}")

    def _ensure_as_of(self) -> None:
        self._run(
            f"create or replace macro {self._relation('property_as_of')}(moment) as table "
            f"select * from {self._relation('property_value')} "
            "where valid_from <= moment and (valid_to is null or moment < valid_to)"
        )

    def _lock(self, load: Load) -> None:
        """Do nothing: the file itself is locked, because only one process can have it open."""

    def _insert(self, load: Load, source: str) -> int:
        columns = DIALECT.names(load.table.columns)
        total = 0
        for parquet in load.files:
            ((rows,),) = self._fetch(
                f"insert into {self._relation(load.table.event_type)} ({columns}) "
                f"select {columns} from read_parquet({literal(str(parquet))})"
            )
            total += int(rows)
        return total

    def _forget_rows(self, event_types: Sequence[str], now: datetime) -> Sequence[Leftover]:
        """
        Copy everything into a new file, which takes the place of the old one.

        DuckDB leaves the bytes of deleted rows in the file, whatever it is asked to do. It takes as much disk space
        again as the database. A process that is killed leaves the old file as it was, and perhaps the unfinished new
        one, which the next erasure replaces.
        """
        new = self._path.with_name(f".{self._path.name}.erased")
        for path in (new, _log_of(new)):
            path.unlink(missing_ok=True)
        self._run("checkpoint")
        ((old_name,),) = self._fetch("select current_database()")
        old = DIALECT.name(old_name)
        self._run(f"attach {literal(str(new))} as ayla_erased")
        try:
            self._run(f"copy from database {old} to ayla_erased")
            for statement in self._comments(old_name):
                self._run(statement)
            self._run("checkpoint ayla_erased")
        finally:
            self._run("detach ayla_erased")
        self._duck.close()
        new.chmod(stat.S_IMODE(self._path.stat().st_mode))
        with new.open("rb") as file:
            os.fsync(file.fileno())
        new.replace(self._path)
        _log_of(self._path).unlink(missing_ok=True)
        self._open()
        return []

    def _comments(self, database: str) -> list[str]:
        """Return the statements that give the new file the comments of the old one."""
        statements = []
        for kind, function, name in (("table", "duckdb_tables", "table_name"), ("view", "duckdb_views", "view_name")):
            rows = self._fetch(
                f"select schema_name, {name}, comment from {function}() "
                "where database_name = $database and comment is not null and not internal",
                {"database": database},
            )
            for schema, relation, comment in rows:
                full = DIALECT.name("ayla_erased", schema, relation)
                statements.append(f"comment on {kind} {full} is {literal(comment)}")
        rows = self._fetch(
            "select schema_name, table_name, column_name, comment from duckdb_columns() "
            "where database_name = $database and comment is not null and not internal",
            {"database": database},
        )
        for schema, relation, column, comment in rows:
            full = f"{DIALECT.name('ayla_erased', schema, relation)}.{DIALECT.name(column)}"
            statements.append(f"comment on column {full} is {literal(comment)}")
        return statements

    def _explain(self, error: Exception) -> Explanation | None:
        if isinstance(error, OSError):
            return Explanation(error.strerror or str(error))
        try:
            import duckdb
        except ImportError:
            return None
        if isinstance(error, duckdb.IOException) and "lock" in str(error):
            return Explanation(
                "another process has the file open, and DuckDB allows only one, even to read it",
                "Give the tasks that use the file a pool of one slot, and close other programs that have it open. "
                "The task tries again.",
            )
        # The end of a transaction has another type, but the same words.
        if isinstance(error, duckdb.OutOfMemoryException) or "iB used)" in str(error):
            return Explanation(
                "DuckDB needs more memory, because long values of an hour must fit into it",
                "Raise the operator's memory, then clear the task. Nothing was loaded.",
            )
        # Not DuckDB's own words, which can quote a row.
        return Explanation(type(error).__name__) if isinstance(error, duckdb.Error) else None


def _log_of(path: Path) -> Path:
    """Return the path of a database's write-ahead log."""
    return path.with_name(f"{path.name}.wal")
