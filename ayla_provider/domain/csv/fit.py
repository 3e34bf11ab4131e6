"""Whether one layout fits the rows of a file, and why it doesn't."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from ayla_provider.domain.csv.alignment import movable_column
from ayla_provider.domain.csv.cells import NULLS, CellKind, Expected, expected, filled, is_true, time_of
from ayla_provider.domain.csv.columns import COLUMN_LAYOUTS, ORDERED_BY_DATES, ColumnLayout
from ayla_provider.domain.csv.sample import Shape
from ayla_provider.domain.events import fold
from ayla_provider.domain.units import counted, first_few

NEVER_EMPTY = {
    "dsn",
    "property_name",
    "base_type",
    "time_uuid",
    "id",
    "event_type",
    "event_time",
    "status",
    "registered",
}

EVIDENCE = 2
"""How many telling columns must be filled, if the layout has as many. In other columns any text is allowed."""

MOST_NEW_COLUMNS = 64
"""How many columns a file may have beside those of its layout."""

OBJECTIONS_SHOWN = 3
"""How many objections to a layout an error names."""


def is_declared(layout: ColumnLayout) -> bool:
    """Return whether a user declared the layout."""
    return layout not in COLUMN_LAYOUTS


@dataclass(frozen=True, slots=True)
class Placement:
    """The place of each of a layout's columns in the file, from 0; or why there is none."""

    places: Sequence[int] = ()
    why_not: str = ""


def place(layout: ColumnLayout, shape: Shape) -> Placement:
    """Return where in the file the columns of a layout are."""
    count = len(layout.columns)
    if count > shape.columns:
        return Placement(why_not=f"has {count} columns")
    if not shape.header:
        return Placement(range(count))
    header = [fold(name) for name in shape.names]
    wanted = [fold(name) for name in layout.columns]
    missing = [name for name in layout.columns if fold(name) not in header]
    if not missing and len(header) <= shape.columns and len(set(wanted)) == count:
        return Placement([header.index(name) for name in wanted])
    # For a declared layout the header may spell the names otherwise. But it may not give one of them to another column.
    places = {name: at for at, name in enumerate(header[:count]) if not re.fullmatch(r"column\d+", name)}
    contradicts = any(places.get(name, at) != at for at, name in enumerate(wanted))
    if is_declared(layout) and count == shape.columns and not contradicts:
        return Placement(range(count))
    if missing:
        return Placement(why_not=f"the header lacks {first_few(missing, OBJECTIONS_SHOWN)}")
    return Placement(why_not=f"the header has {counted(len(header), 'name', 'names')}")


def objections_to(layout: ColumnLayout, shape: Shape, placed: Placement) -> list[str]:
    """Return in words why a layout doesn't fit; an empty list if it does."""
    if placed.why_not:
        return [placed.why_not]
    rows = _of_this_kind(layout, shape.rows, placed.places)
    if 2 * len(rows) <= len(shape.rows):
        return misfits(layout, shape.rows, placed.places) or ["at least half of the rows hold something else"]
    objections = [
        *misfits(layout, rows, placed.places),
        *_gaps(layout, rows, placed.places),
        *_lack_of_evidence(layout, rows, placed.places),
    ]
    return objections or [*_other_readings(layout, shape, rows), *_contradictions(layout, shape, rows)]


def _of_this_kind(layout: ColumnLayout, rows: list[list[str]], places: Sequence[int]) -> list[list[str]]:
    """
    Return the rows that look like rows of a layout: at least half of their telling cells are what they should be.

    Without this, a single malformed row would be the majority in a column that is mostly empty.
    """
    telling = [
        (at, expectation)
        for at, name in zip(places, layout.columns, strict=True)
        if _is_telling(expectation := expected(layout, name))
    ]

    def is_other(row: list[str]) -> bool:
        right = [bool(expectation.matches(row[at])) for at, expectation in telling if row[at] not in NULLS]
        return 2 * sum(right) < len(right)

    return [row for row in rows if not is_other(row)]


def _is_telling(expectation: Expected) -> bool:
    """Return whether the cells of a column can show that a layout doesn't fit."""
    return expectation.kind not in (CellKind.TEXT, CellKind.NAME)


def misfits(layout: ColumnLayout, rows: list[list[str]], places: Sequence[int]) -> list[str]:
    """Name the columns that hold something else in most rows. Single rows may be malformed."""
    found = []
    for at, name in zip(places, layout.columns, strict=True):
        expectation = expected(layout, name)
        if _is_misfit(expectation, [row[at] for row in rows]):
            found.append(f"column {at + 1} ({name}) isn't {expectation.kind.label}")
    return found


def _gaps(layout: ColumnLayout, rows: list[list[str]], places: Sequence[int]) -> Iterator[str]:
    """Name the columns that are empty in most rows although normal rows always fill them."""
    for at, name in zip(places, layout.columns, strict=True):
        if _is_gap(layout, name, [row[at] for row in rows]):
            yield f"column {at + 1} ({name}) is empty"


def holds(layout: ColumnLayout, name: str, cells: list[str]) -> bool:
    """Return whether some cells can be those of a column of a layout."""
    return not _is_misfit(expected(layout, name), cells) and not _is_gap(layout, name, cells)


def _is_misfit(expectation: Expected, cells: list[str]) -> bool:
    values = filled(cells)
    wrong = sum(not expectation.matches(value) for value in values)
    return 2 * wrong > len(values)


def _is_gap(layout: ColumnLayout, name: str, cells: list[str]) -> bool:
    own = [column.name for column in layout.own]
    return name in NEVER_EMPTY and name not in own and 2 * len(filled(cells)) < len(cells)


def is_order_uncertain(layout: ColumnLayout, *, header: bool) -> bool:
    """Return whether only the dates in a file show the order of its columns."""
    return layout in ORDERED_BY_DATES and not header


def is_contradicted(agree: int, contradict: int) -> bool:
    """Return whether more than one row in ten contradicts an order of columns."""
    return 10 * contradict > agree + contradict


def _contradictions(layout: ColumnLayout, shape: Shape, rows: list[list[str]]) -> Iterator[str]:
    if not is_order_uncertain(layout, header=shape.header):
        return
    votes = Counter(agrees(dict(zip(layout.columns, row, strict=False))) for row in rows)
    if is_contradicted(votes[True], votes[False]):
        yield f"registered contradicts the dates in {votes[False]} of {votes[True] + votes[False]} rows"


def agrees(row: Mapping[str, str]) -> bool | None:
    """
    Return whether the dates of a registration are in the right columns; None if they can't show it.

    The date of the event is filled, and isn't before the other one, which a row can keep from before.

    :param row: column to its cell
    """
    registered, on, off = is_true(row["registered"]), row["registered_at"], row["unregistered_at"]
    if registered is None or on == off:
        return None
    if on in NULLS or off in NULLS:
        return registered is (off in NULLS)
    first, second = time_of(on), time_of(off)
    if first is None or second is None or first == second:
        return None
    return registered is (first > second)


def _other_readings(layout: ColumnLayout, shape: Shape, rows: list[list[str]]) -> Iterator[str]:
    """Name a column that can't be found without a header, because the file has more columns than the layout."""
    more = shape.columns - len(layout.columns)
    if shape.header or not 0 < more <= MOST_NEW_COLUMNS:
        return
    orders = ORDERED_BY_DATES if layout in ORDERED_BY_DATES else (layout,)
    moved = movable_column(layout, orders, rows, lambda name, cells: holds(layout, name, cells))
    if moved:
        place = layout.columns.index(moved) + 1
        new = "the new column" if more == 1 else f"the {more} new columns"
        yield f"{new} may be at the end or ahead of column {place} ({moved})"


def _lack_of_evidence(layout: ColumnLayout, rows: list[list[str]], places: Sequence[int]) -> Iterator[str]:
    telling = [at for at, name in zip(places, layout.columns, strict=True) if _is_telling(expected(layout, name))]
    with_values = [at for at in telling if filled(row[at] for row in rows)]
    if len(with_values) < min(EVIDENCE, len(telling)):
        yield "too few of its columns are filled"
