"""Drafts a declaration for a file that no layout fits. A person then corrects it."""

from __future__ import annotations

from typing import Any

from ayla_provider.domain.csv.cells import CellKind, expected, guess
from ayla_provider.domain.csv.columns import COLUMN_LAYOUTS, ColumnLayout
from ayla_provider.domain.csv.declaration import declared
from ayla_provider.domain.csv.fit import holds
from ayla_provider.domain.csv.recognition import column_name, recognise
from ayla_provider.domain.csv.sample import Shape
from ayla_provider.domain.events import fold
from ayla_provider.domain.tables import TABLES
from ayla_provider.errors import AylaConfigError, AylaLayoutError

_DECLARED_TYPES = {
    CellKind.DATE: "timestamp",
    CellKind.UUID: "uuid",
    CellKind.INTEGER: "integer",
    CellKind.NUMBER: "number",
    CellKind.FLAG: "boolean",
    CellKind.BASE64: "base64",
}
_KNOWN_NAMES = {name for layout in COLUMN_LAYOUTS for name in layout.columns} | {
    name for table in TABLES.values() for name in table.names
}


def draft(event_type: str, shape: Shape) -> dict[str, Any]:
    """
    Return a declaration under which the file is recognised.

    The names are those of the header. A file without a header takes the names of the built-in layout that it begins and
    ends like. Any other column is named by its place, such as ``column_7``, with the type of nearly all of its cells.
    """
    names = _names_of_header(shape) if shape.header else _names_of_nearest_layout(event_type, shape)
    declaration = _declaration(event_type, shape, names)
    if _is_recognised(declaration, shape):
        return declaration
    return _declaration(event_type, shape, [""] * shape.columns)


def _names_of_header(shape: Shape) -> list[str]:
    names: list[str] = []
    for at in range(shape.columns):
        names.append(column_name(shape, at, taken=set(names)))
    return names


def _names_of_nearest_layout(event_type: str, shape: Shape) -> list[str]:
    """Return the names of the layout that most columns agree with, from the start and from the end; "" in between."""
    best = [""] * shape.columns
    for layout in COLUMN_LAYOUTS:
        if layout.event_type == event_type:
            best = max(best, _names_at_both_ends(layout, shape), key=_count_names)
    return best


def _count_names(names: list[str]) -> int:
    return sum(bool(name) for name in names)


def _names_at_both_ends(layout: ColumnLayout, shape: Shape) -> list[str]:
    width = min(len(layout.columns), shape.columns)
    at_start = 0
    while at_start < width and _is_like(layout, at_start, shape):
        at_start += 1
    at_end = 0
    while at_end < width - at_start and _is_like(layout, -1 - at_end, shape):
        at_end += 1
    between = shape.columns - at_start - at_end
    return [
        *layout.columns[:at_start],
        *[""] * between,
        *layout.columns[len(layout.columns) - at_end :],
    ]


def _is_like(layout: ColumnLayout, at: int, shape: Shape) -> bool:
    """
    Return whether a column holds what the layout's column does.

    Where the layout allows any text, a column of numbers, flags, dates or UUIDs doesn't count as like it.

    :param at: the place in both, from 0; negative from the end
    """
    name, cells = layout.columns[at], _cells(shape, at)
    if not holds(layout, name, cells):
        return False
    any_text = name != "value" and expected(layout, name).kind in (CellKind.TEXT, CellKind.NAME)
    return not (any_text and guess(cells) in (CellKind.NUMBER, CellKind.FLAG, CellKind.DATE, CellKind.UUID))


def _cells(shape: Shape, at: int) -> list[str]:
    return [row[at] for row in shape.rows]


def _declaration(event_type: str, shape: Shape, names: list[str]) -> dict[str, Any]:
    """
    Return a declaration with these names, as far as they can be declared.

    :param names: a name for each column, "" where its place is to name it
    """
    declaration: dict[str, Any] = {"event_type": event_type, "name": f"my-{event_type}-{shape.columns}", "columns": []}
    # A name made from the place must not be one that the header gives to another column.
    prefix = "place" if any(fold(name).startswith("column") for name in shape.names) else "column"
    for at, name in enumerate(names):
        declared_type = _DECLARED_TYPES.get(guess(_cells(shape, at)))
        suffix = f":{declared_type}" if declared_type else ""
        by_place = f"{prefix}_{at + 1}{suffix}"
        # A known name has a type already.
        by_name = name if name in _KNOWN_NAMES else f"{name}{suffix}"
        with_name = [*declaration["columns"], by_name]
        if name and _is_declarable(declaration | {"columns": with_name}, shape):
            declaration["columns"] = with_name
        else:
            declaration["columns"] = [*declaration["columns"], by_place]
    return declaration


def _is_declarable(declaration: dict[str, Any], shape: Shape) -> bool:
    """Return whether a declaration is valid, and its last column holds what it declares."""
    try:
        (layout,) = declared([declaration])
    except AylaConfigError:
        return False
    return holds(layout, layout.columns[-1], _cells(shape, len(layout.columns) - 1))


def _is_recognised(declaration: dict[str, Any], shape: Shape) -> bool:
    layouts = declared([declaration])
    try:
        recognised = recognise(layouts[0].event_type, shape, (*layouts, *COLUMN_LAYOUTS), file="")
    except AylaLayoutError:
        return False
    return recognised.layout in layouts
