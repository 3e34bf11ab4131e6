"""A first declaration for a file that no layout fits, for a person to better."""

from __future__ import annotations

from typing import Any

from ayla_provider.domain.csv.cells import BASE64, DATE, FLAG, INTEGER, NAME, NUMBER, TEXT, UUID, expected, guess
from ayla_provider.domain.csv.columns import COLUMN_LAYOUTS, ColumnLayout
from ayla_provider.domain.csv.declaration import declared
from ayla_provider.domain.csv.recognition import column_name, holds, recognise
from ayla_provider.domain.csv.sample import Shape, squashed
from ayla_provider.domain.tables import TABLES
from ayla_provider.errors import AylaConfigError, AylaLayoutError

_TYPES = {
    DATE.label: "timestamp",
    UUID.label: "uuid",
    INTEGER.label: "integer",
    NUMBER.label: "number",
    FLAG.label: "boolean",
    BASE64.label: "base64",
}
_KNOWN = {name for layout in COLUMN_LAYOUTS for name in layout.columns} | {
    name for table in TABLES.values() for name in table.names
}


def draft(event_type: str, shape: Shape) -> dict[str, Any]:
    """
    Return a declaration under which the file is recognised.

    The names are the header's. Without one they are those of the built-in layout that the file begins and ends like,
    and ``column_7`` by the place for the rest, with the type that nearly all of its cells are of.
    """
    names = _of_header(shape) if shape.header else _of_nearest(event_type, shape)
    made = _declaration(event_type, shape, names)
    if _is_recognised(made, shape):
        return made
    return _declaration(event_type, shape, [""] * shape.columns)


def _of_header(shape: Shape) -> list[str]:
    names: list[str] = []
    for at in range(shape.columns):
        names.append(column_name(shape, at, taken=set(names)))
    return names


def _of_nearest(event_type: str, shape: Shape) -> list[str]:
    """Return the names of the layout that agrees with most columns from the start and from the end; "" in between."""
    found = [""] * shape.columns
    for layout in (one for one in COLUMN_LAYOUTS if one.event_type == event_type):
        width = min(len(layout.columns), shape.columns)
        ahead = next((at for at in range(width) if not _is_like(layout, at, shape)), width)
        most = width - ahead
        behind = next((at for at in range(most) if not _is_like(layout, -1 - at, shape)), most)
        names = [*layout.columns[:ahead], *[""] * (shape.columns - ahead - behind)]
        names += layout.columns[len(layout.columns) - behind :]
        found = max(found, names, key=lambda one: sum(map(bool, one)))
    return found


def _is_like(layout: ColumnLayout, at: int, shape: Shape) -> bool:
    """Whether a column is what it should be, and no number or the like where any text would do."""
    name, cells = layout.columns[at], _cells(shape, at)
    odd = name != "value" and expected(layout, name) in (TEXT, NAME) and guess(cells) in (NUMBER, FLAG, DATE, UUID)
    return holds(layout, name, cells) and not odd


def _cells(shape: Shape, at: int) -> list[str]:
    return [row[at] for row in shape.rows]


def _declaration(event_type: str, shape: Shape, names: list[str]) -> dict[str, Any]:
    made: dict[str, Any] = {"event_type": event_type, "name": f"my-{event_type}-{shape.columns}", "columns": []}
    # What stands for no name must not be one that the header has elsewhere.
    place = "place" if any(squashed(name).startswith("column") for name in shape.names) else "column"
    for at, name in enumerate(names):
        kind = _TYPES.get(guess(_cells(shape, at)).label)
        typed = f":{kind}" if kind else ""
        by_place = f"{place}_{at + 1}{typed}"
        wanted = [name] if name in _KNOWN else [f"{name}{typed}"] if name else []
        entries = [[*made["columns"], entry] for entry in (*wanted, by_place)]
        made["columns"] = next((one for one in entries if _is_declarable(made | {"columns": one}, shape)), entries[-1])
    return made


def _is_declarable(declaration: dict[str, Any], shape: Shape) -> bool:
    """Whether it can be declared, and its last column be what it is said to be."""
    try:
        (layout,) = declared([declaration])
    except AylaConfigError:
        return False
    return holds(layout, layout.columns[-1], _cells(shape, len(layout.columns) - 1))


def _is_recognised(declaration: dict[str, Any], shape: Shape) -> bool:
    layouts = declared([declaration])
    try:
        return recognise(layouts[0].event_type, shape, (*layouts, *COLUMN_LAYOUTS), file="").layout in layouts
    except AylaLayoutError:
        return False
