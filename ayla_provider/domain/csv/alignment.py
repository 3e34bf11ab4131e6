"""
Whether a file that has more columns than its layout can be read in more than one way.

Without a header, nothing says where a new column is. If it is between known ones and is read as if it were at the end,
each column after it gets the values of another one.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from ayla_provider.domain.csv.cells import NULLS, CellKind, expected, filled, is_encoded_text, is_true
from ayla_provider.domain.csv.columns import STRING_BASE_TYPES, ColumnLayout

_BASE_TYPES = {
    "val_int": ("integer",),
    "val_decimal": ("decimal",),
    "val_float": ("float",),
    "val_boolean": ("boolean",),
    "val_string": STRING_BASE_TYPES,
}
"""A column of values to the base types of the rows that fill it."""

_KINDS_OF_VALUE = {
    "integer": CellKind.INTEGER,
    "decimal": CellKind.NUMBER,
    "float": CellKind.NUMBER,
    "boolean": CellKind.FLAG,
}
"""Base type to what the column ``value`` holds. The other base types have base64."""

_ENOUGH, _ALL = 19, 20
"""Another reading counts if its evidence is at least this share of that of the first one."""

_Row = Sequence[str]
_Holds = Callable[[str, list[str]], bool]


@dataclass(frozen=True, slots=True)
class _Step:
    """What it means for a reading if a column is in a certain place."""

    gain: int
    """How much better the evidence is than in the column's own place; negative if worse."""
    differs: bool
    """Whether the column gets values there, and others than in its own place."""
    moved: str
    """The column's name; empty if the place is its own."""


def movable_column(
    layout: ColumnLayout, orders: Sequence[ColumnLayout], rows: Sequence[_Row], holds: _Holds
) -> str | None:
    """
    Return a column that may be elsewhere than in its own place; None if all new columns must be at the end.

    This weighs every reading in which new columns are between known ones. A reading counts if each column holds what it
    should. An empty column doesn't show its place.

    :param orders: layouts with the same columns, in each order that they can have
    :param rows: of one length, which is greater than the layout's
    :param holds: whether cells can be those of a column of the layout, by its name
    """
    rivals = [reading for order in orders for reading in _readings(layout, order, rows, holds)]
    return max(rivals)[1] if rivals else None


def _readings(
    layout: ColumnLayout, order: ColumnLayout, rows: Sequence[_Row], holds: _Holds
) -> Iterator[tuple[int, str]]:
    """Yield readings that aren't ruled out: their gain, and the first column that isn't in its own place."""
    most = len(rows[0]) - len(layout.columns)
    # How far right the last column is, and whether any column differs: the best reading so far.
    best: dict[tuple[int, bool], tuple[int, str]] = {(0, False): (0, "")}
    for at, name in enumerate(order.columns):
        steps = [_step(layout, name, rows, at + shift, holds) for shift in range(most + 1)]
        following: dict[tuple[int, bool], tuple[int, str]] = {}
        for (shift, differs), (gain, moved) in best.items():
            for further in range(shift, most + 1):
                if step := steps[further]:
                    state = (further, differs or step.differs)
                    reading = (gain + step.gain, moved or step.moved)
                    following[state] = max(following.get(state, reading), reading)
        best = following
    for (_, differs), (gain, moved) in best.items():
        if gain > 0 or (differs and gain == 0):
            yield gain, moved


def _step(layout: ColumnLayout, name: str, rows: Sequence[_Row], place: int, holds: _Holds) -> _Step | None:
    """Return what it means if a column is in a place; None if it can't be there."""
    own_place = layout.columns.index(name)
    if place == own_place:
        return _Step(0, differs=False, moved="")
    own, cells = ([row[at] for row in rows] for at in (own_place, place))
    if not holds(name, cells):
        return None
    evidence = _evidence(layout, name, place, rows)
    if filled(cells):
        # An empty cell says nothing, so fewer filled cells are no worse than more of them.
        evidence = evidence * len(filled(own)) // len(filled(cells))
    gain = _ALL * evidence - _ENOUGH * _evidence(layout, name, own_place, rows)
    return _Step(gain, differs=cells != own and bool(filled(cells)), moved=name)


def _evidence(layout: ColumnLayout, name: str, place: int, rows: Sequence[_Row]) -> int:
    """Return how many cells say that they are a column's, less those that say that they aren't."""
    return sum(_vote(layout, name, row[place], row) for row in rows if row[place] not in NULLS)


def _vote(layout: ColumnLayout, name: str, cell: str, row: _Row) -> int:
    """Return what a filled cell says: 1 if it is a column's, -1 if it isn't, 0 if it can't be known."""
    base_type = _cell(layout, "base_type", row)
    if base_type and base_type not in _BASE_TYPES.get(name, (base_type,)):
        return -1
    if name in ("registered_at", "unregistered_at") and "registered" in layout.columns:
        # The other date of a row may be filled, too.
        return int(is_true(_cell(layout, "registered", row)) is (name == "registered_at"))
    if name in layout.base64_strings:
        kind = _KINDS_OF_VALUE.get(base_type, CellKind.BASE64)
        matches: Callable[[str], object] = kind.matches
    else:
        kind, matches = expected(layout, name).kind, expected(layout, name).matches
    if kind is CellKind.TEXT:
        return 0
    if kind is CellKind.BASE64:
        matches = is_encoded_text
    return 1 if matches(cell) else -1


def _cell(layout: ColumnLayout, name: str, row: _Row) -> str:
    """Return a cell of a column that is in its own place in every reading, because normal rows fill it."""
    return row[layout.columns.index(name)] if name in layout.columns else ""
