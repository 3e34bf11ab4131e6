"""Layouts that users declare, for files that no built-in layout fits."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import replace
from typing import Any

from ayla_provider.domain.csv.columns import COLUMN_LAYOUTS, RESOURCE_TAGS, ColumnLayout
from ayla_provider.domain.csv.recognition import MADE, NAME_PATTERN
from ayla_provider.domain.events import parse_event_type
from ayla_provider.domain.tables import TABLES, Column, ColumnType
from ayla_provider.errors import AylaConfigError

BASE64 = "base64"
TYPES = (*(kind.value for kind in ColumnType if kind is not ColumnType.DATE), BASE64)
"""The types that may follow the name of a column."""

_FIELDS = {"event_type", "name", "columns", "identity"}
_LAYOUT_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,62}")
_ALWAYS_BASE64 = {name for layout in COLUMN_LAYOUTS for name in layout.base64_columns}
_ID = Column("id", ColumnType.UUID, "Identifies the event.")
_KNOWN_COLUMNS = {column.name: column for table in TABLES.values() for column in table.data if column.name not in MADE}
_KNOWN_COLUMNS |= {"id": _ID, "resource_tags": RESOURCE_TAGS}
"""The columns that have a meaning in any table, by name."""


def declared(value: Any) -> tuple[ColumnLayout, ...]:
    """
    Return the layouts of a list of declarations.

    :param value: a list of objects with ``event_type``, ``name``, ``columns`` and, optionally, ``identity``
    :raises AylaConfigError: if it isn't such a list; the error names the declaration and what is wrong in it
    """
    if not isinstance(value, list | tuple):
        raise AylaConfigError(f"layouts is {_shown(value)}: expected a list of declarations")
    layouts: list[ColumnLayout] = []
    for number, declaration in enumerate(value, start=1):
        layout = _Declaration(declaration, f"layouts, declaration {number}").layout()
        if any(layout.name == other.name for other in (*COLUMN_LAYOUTS, *layouts)):
            raise AylaConfigError(f"layouts, declaration {number}: there is another layout {layout.name!r}")
        _refuse_other_types(layout, layouts)
        layouts.append(layout)
    return tuple(layouts)


def _shown(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 60 else f"{text[:57]}..."


def _refuse_other_types(layout: ColumnLayout, others: Iterable[ColumnLayout]) -> None:
    """
    Refuse a column that another layout of the same table has with another type.

    :raises AylaConfigError: if there is one
    """
    for other in (*COLUMN_LAYOUTS, *others):
        if other.event_type != layout.event_type:
            continue
        types = {column.name: column.type for column in other.own}
        for column in layout.own:
            if types.get(column.name, column.type) is not column.type:
                raise AylaConfigError(
                    f"layouts, {layout.name}: column {column.name!r} is {column.type.value}, but "
                    f"{types[column.name].value} in {other.name}, and both go into one table"
                )


class _Declaration:
    """
    One declaration, checked.

    :param where: which declaration it is, for errors
    :raises AylaConfigError: if it isn't valid
    """

    def __init__(self, value: Any, where: str) -> None:
        self._where = where
        if not isinstance(value, dict):
            raise self._wrong(f"{_shown(value)}: expected an object with event_type, name and columns")
        unknown = sorted(str(key) for key in set(value) - _FIELDS)
        if unknown:
            raise self._wrong(f"unknown field {unknown[0]!r}: expected {', '.join(sorted(_FIELDS))}")
        name = value.get("name")
        if not isinstance(name, str) or not _LAYOUT_NAME.fullmatch(name):
            raise self._wrong(f"name is {_shown(name)}: expected up to 63 letters, digits, '_', '.' or '-'")
        self._name, self._where = name, f"{where} ({name})"
        if not isinstance(value.get("event_type"), str):
            raise self._wrong(f"event_type is {_shown(value.get('event_type'))}: expected one such as 'datapoint'")
        try:
            self._event_type = parse_event_type(value["event_type"])
        except AylaConfigError as error:
            raise self._wrong(str(error)) from None
        self._entries = self._split(value.get("columns"))
        self._identity = value.get("identity")
        table = TABLES.get(self._event_type)
        self._table = {column.name: column for column in table.data} if table else {}

    def layout(self) -> ColumnLayout:
        """Return the declared layout."""
        names = tuple(self._entries)
        definitions = [self._own_column(name) for name in names]
        own = tuple(column for column in definitions if column)
        self._refuse_clashes(names)
        is_value = "value" in names and self._entries["value"] is None
        return ColumnLayout(
            event_type=self._event_type,
            name=self._name,
            columns=names,
            base64_columns=tuple(name for name in names if self._is_base64(name)),
            base64_strings=("value",) if is_value else (),
            identity=self._identity_among(names),
            own=own,
        )

    def _wrong(self, what: str) -> AylaConfigError:
        return AylaConfigError(f"{self._where}: {what}")

    def _split(self, columns: Any) -> dict[str, str | None]:
        """Return the name of each column, and the type that is declared for it."""
        if not isinstance(columns, list | tuple) or not columns:
            raise self._wrong(f"columns is {_shown(columns)}: expected a list of names, in the order of the file")
        entries: dict[str, str | None] = {}
        for number, entry in enumerate(columns, start=1):
            # Anything but a string fails as an empty name does.
            name, colon, kind = entry.partition(":") if isinstance(entry, str) else ("", "", "")
            where = f"column {number} is {_shown(entry)}"
            if not re.fullmatch(NAME_PATTERN, name):
                raise self._wrong(f"{where}: expected a name of up to 63 lower-case letters, digits and '_'")
            if colon and kind not in TYPES:
                raise self._wrong(f"{where}: expected one of {', '.join(TYPES)} after the ':'")
            if name in MADE:
                raise self._wrong(f"{where}: the tables have a column of this name that isn't from the file")
            if name in entries:
                raise self._wrong(f"{where}: there is another column of this name")
            entries[name] = kind or None
        return entries

    def _is_base64(self, name: str) -> bool:
        return self._entries[name] == BASE64 or (self._entries[name] is None and name in _ALWAYS_BASE64)

    def _own_column(self, name: str) -> Column | None:
        """Return the definition of a column that the event type's table doesn't have."""
        kind = self._entries[name]
        if name in ("event_type", "value") or (name == "id" and "time_uuid" in self._table):
            self._refuse_special(name)
            return None
        if name in self._table:
            self._refuse_retyping(name, self._table[name])
            return None
        known = _KNOWN_COLUMNS.get(name)
        if known and kind is None:
            return known
        column_type = ColumnType.TEXT if kind in (None, BASE64) else ColumnType(kind)
        if known:
            return replace(known, type=column_type, part_of=None)
        return Column(name, column_type, f"Declared in the layout {self._name}.", personal=True)

    def _refuse_special(self, name: str) -> None:
        kind = self._entries[name]
        if name == "value" and not ("val_string" in self._table and "base_type" in self._entries):
            raise self._wrong("column 'value': only with 'base_type', in datapoint and datapoint_ack")
        if kind is not None and not (name == "id" and kind == ColumnType.UUID):
            raise self._wrong(f"column {name!r} has a meaning of its own: leave out ':{kind}'")

    def _refuse_retyping(self, name: str, column: Column) -> None:
        kind = self._entries[name]
        # Base64 is decoded to text.
        loads_as = ColumnType.TEXT if kind == BASE64 else kind
        if kind is not None and loads_as != column.type:
            raise self._wrong(f"column {name!r} is {column.type.value} in the table: not {kind!r}")

    def _refuse_clashes(self, names: tuple[str, ...]) -> None:
        clashes = [(name, f"{name}_raw") for name in names if self._is_base64(name)]
        if "time_uuid" in self._table:
            clashes += [("id", "time_uuid"), *(("value", name) for name in names if name.startswith("val_"))]
        for name, other in clashes:
            if name in names and other in names:
                raise self._wrong(f"columns {name!r} and {other!r} would become one column of the table")

    def _identity_among(self, names: tuple[str, ...]) -> str | None:
        if self._identity is None:
            table = TABLES.get(self._event_type)
            usual = (table.identity, "id") if table and table.identity else ()
            return next((name for name in usual if name in names), None)
        if self._identity not in names:
            raise self._wrong(f"identity is {_shown(self._identity)}: expected one of its columns")
        return str(self._identity)
