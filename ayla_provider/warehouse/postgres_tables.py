"""What exists in a PostgreSQL schema, and the statements that add what is missing."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from ayla_provider.domain.tables import Table
from ayla_provider.models.macros import POSTGRES
from ayla_provider.rows.duck import literal
from ayla_provider.warehouse.sql import Dialect, View

DIALECT = Dialect(
    # Spelled as the catalog spells them.
    types=POSTGRES.types,
    day=lambda time: f"cast({time} at time zone 'UTC' as date)",
    seconds=lambda start, end: f"cast(floor(extract(epoch from {end} - {start})) as bigint)",
    hours_later=lambda time, hours: f"{time} + interval '{hours} hours'",
    parameter=lambda name, _: f"%({name})s",
    sha256=lambda text: f"encode(sha256(convert_to({text}, 'UTF8')), 'hex')",
)

CATALOG = """
select c.relname, obj_description(c.oid, 'pg_class'), a.attname, format_type(a.atttypid, a.atttypmod),
  col_description(c.oid, a.attnum) is not null,
  exists (select from pg_index i where i.indrelid = c.oid and i.indkey[0] = a.attnum)
from pg_class c join pg_attribute a on a.attrelid = c.oid and a.attnum > 0 and not a.attisdropped
where c.relnamespace = (select oid from pg_namespace where nspname = %(schema)s) and starts_with(c.relname, %(prefix)s)
  and c.relkind not in ('i', 'I')
order by c.relname, a.attnum
"""
"""The relations of a schema and prefix, column by column, as :func:`relations` reads them."""


@dataclass(slots=True)
class Relation:
    """
    A table or view that exists.

    :param columns: name to type, in their order
    :param commented: the columns that have a comment
    :param indexed: the columns that an index starts with
    """

    comment: str | None = None
    columns: dict[str, str] = field(default_factory=dict)
    commented: set[str] = field(default_factory=set)
    indexed: set[str] = field(default_factory=set)


def relations(rows: Iterable[Sequence[Any]]) -> dict[str, Relation]:
    """Return the relations that exist, by name, from the rows of :data:`CATALOG`."""
    existing: dict[str, Relation] = {}
    for name, comment, column, column_type, is_commented, is_indexed in rows:
        relation = existing.setdefault(name, Relation(comment))
        relation.columns[column] = column_type
        if is_commented:
            relation.commented.add(column)
        if is_indexed:
            relation.indexed.add(column)
    return existing


def usable_columns(columns: Mapping[str, str]) -> list[str]:
    """
    Return the names of the columns that have a type of ours, which is what views are made over.

    Users can have columns of other types. Some of those types, such as json, have no equality, which views need.
    """
    ours = set(DIALECT.types.values())
    return [name for name, column_type in columns.items() if column_type in ours]


def index_and_comments(table: Table, quoted: str, existing: Relation, keys: Iterable[str]) -> Iterator[str]:
    """
    Yield the statements that add missing indexes and missing comments. Comments of the user's own stay.

    :param quoted: the table's qualified, quoted name
    :param existing: the table, which has all columns
    :param keys: the columns that an index each must start with
    """
    for key in keys:
        if key not in existing.indexed:
            yield f"create index on {quoted} ({DIALECT.name(key)})"
    if existing.comment is None:
        yield f"comment on table {quoted} is {literal(table.description)}"
    for column in table.columns:
        if column.name not in existing.commented:
            yield f"comment on column {quoted}.{DIALECT.name(column.name)} is {literal(column.description)}"


def view_comment(view: View) -> str:
    """Return a view's comment. Its end identifies the query that the view was made from."""
    return f"{view.description} [{hashlib.sha256(view.select.encode()).hexdigest()[:12]}]"


def is_outdated(view: View, existing: Relation | None) -> bool:
    """Return whether a view is missing, or was made from another query."""
    return existing is None or existing.comment != view_comment(view)


def in_order(select: str, names: Iterable[str], existing: Iterable[str]) -> str:
    """
    Return a query whose columns come in the order of an existing view: PostgreSQL can only add columns at its end.

    So a view is never dropped, and keeps its grants and what users built on it.

    :param names: the query's columns
    :param existing: the view's columns
    """
    order = list(existing)
    order += [name for name in names if name not in order]
    return f"select {DIALECT.names(order)} from ({select}) as made"
