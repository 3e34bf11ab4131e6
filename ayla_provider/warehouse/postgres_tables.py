"""What stands in a PostgreSQL schema, and the statements that bring it to what is wanted."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from ayla_provider.domain.tables import Column, ColumnType, Table
from ayla_provider.errors import AylaTableError
from ayla_provider.warehouse.sql import Dialect, View, literal

DIALECT = Dialect(
    # Spelled as the catalog spells them.
    types={
        ColumnType.TEXT: "text",
        ColumnType.INTEGER: "bigint",
        ColumnType.NUMBER: "double precision",
        ColumnType.BOOLEAN: "boolean",
        ColumnType.UUID: "uuid",
        ColumnType.TIMESTAMP: "timestamp with time zone",
    },
    day=lambda time: f"cast({time} at time zone 'UTC' as date)",
    seconds=lambda start, end: f"cast(floor(extract(epoch from {end} - {start})) as bigint)",
)

CATALOG = """
select c.relname, obj_description(c.oid, 'pg_class'), a.attname, format_type(a.atttypid, a.atttypmod),
  col_description(c.oid, a.attnum) is not null,
  exists (select from pg_index i where i.indrelid = c.oid and i.indkey[0] = a.attnum)
from pg_class c join pg_attribute a on a.attrelid = c.oid and a.attnum > 0 and not a.attisdropped
where c.relnamespace = (select oid from pg_namespace where nspname = %s) and starts_with(c.relname, %s)
  and c.relkind not in ('i', 'I')
order by c.relname, a.attnum
"""
"""The relations of a schema and prefix, column by column, as :func:`relations` reads them."""


@dataclass(slots=True)
class Relation:
    """
    A table or view that stands there.

    :param columns: name to type, in their order
    :param commented: the columns that have a comment
    :param indexed: the columns that an index starts with
    """

    comment: str | None = None
    columns: dict[str, str] = field(default_factory=dict)
    commented: set[str] = field(default_factory=set)
    indexed: set[str] = field(default_factory=set)


def relations(rows: Iterable[Sequence[Any]]) -> dict[str, Relation]:
    """Return what stands there, by name."""
    found: dict[str, Relation] = {}
    for relation, comment, column, its_type, is_commented, is_indexed in rows:
        one = found.setdefault(relation, Relation(comment))
        one.columns[column] = its_type
        if is_commented:
            one.commented.add(column)
        if is_indexed:
            one.indexed.add(column)
    return found


def statements(table: Table, schema: str, name: str, found: Relation | None, key: tuple[str, ...]) -> Iterator[str]:
    """
    Return what a table lacks; what stands there beyond it stays.

    :param name: with the prefix
    :param key: the columns that identify a row or a load; only the first has to have an index
    :raises AylaTableError: if a column is of another type
    """
    quoted, there = DIALECT.name(schema, name), found or Relation()
    _check_types(table, schema, name, there)
    if found is None:
        unique = f", primary key ({DIALECT.names(key)})" if len(key) > 1 else ""
        yield f"create table {quoted} ({', '.join(DIALECT.definition(one) for one in table.columns)}{unique})"
    elif new := [one for one in table.columns if one.name not in there.columns]:
        yield f"alter table {quoted} {', '.join(f'add column {DIALECT.definition(one)}' for one in new)}"
    if key[0] not in there.indexed and not (found is None and len(key) > 1):
        yield f"create index on {quoted} ({DIALECT.names(key[:1])})"
    if there.comment is None:
        yield f"comment on table {quoted} is {literal(table.description)}"
    for column in table.columns:
        if column.name not in there.commented:
            yield f"comment on column {quoted}.{DIALECT.name(column.name)} is {literal(column.description)}"


def _check_types(table: Table, schema: str, name: str, there: Relation) -> None:
    wanted = {column.name: DIALECT.types[column.type] for column in table.columns}
    other = [
        f"{column} is of the type {its_type} instead of {wanted[column]}"
        for column, its_type in there.columns.items()
        if wanted.get(column, its_type) != its_type
    ]
    if other:
        raise AylaTableError(
            f"The table {schema}.{name} stands there with other columns: {', '.join(other)}. "
            "Use another table_prefix, or drop the table and load its hours again."
        )


def as_it_stands(table: Table, found: Relation | None) -> Table:
    """
    Return a table with all columns that stand there and are of our types, in the order that they have there.

    So its views are the same for every task, whatever columns the hour of each has.
    """
    ours = {its_type: one for one, its_type in DIALECT.types.items()}
    known = {column.name: column for column in table.columns}
    standing = [
        known.get(name) or Column(name, ours[its_type], "")
        for name, its_type in (found.columns if found else {}).items()
        if its_type in ours
    ]
    return replace(table, columns=(*standing, *(one for one in table.columns if one not in standing)))


def view_comment(view: View) -> str:
    """Return a view's comment; from its end one sees whether it was made from this very statement."""
    return f"{view.description} [{hashlib.sha256(view.select.encode()).hexdigest()[:12]}]"


def in_order(select: str, names: Iterable[str], there: Iterable[str]) -> str:
    """
    Return a statement whose columns come in the order that a view has; PostgreSQL can only add some at its end.

    So a view is never dropped, and keeps its grants and what users built upon it.

    :param names: the statement's columns
    :param there: the view's
    """
    kept = list(there)
    order = [*kept, *(name for name in names if name not in kept)]
    return f"select {DIALECT.names(order)} from ({select}) as made"
