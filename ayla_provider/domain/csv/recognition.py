"""
Which layout a file has: by what stands in its columns, never by their number alone.

Two layouts of one event type can have as many columns as each other, and a column that Ayla inserts would shift all
behind it. So each column of a layout must hold what it should, and those that no normal row leaves empty be filled.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby

from ayla_provider.domain.csv.cells import NAME, NULLS, TEXT, Kind, expected, filled, guess
from ayla_provider.domain.csv.columns import COLUMN_LAYOUTS, ColumnLayout
from ayla_provider.domain.csv.sample import Shape, squashed
from ayla_provider.domain.tables import PROVENANCE, TABLES
from ayla_provider.errors import AylaLayoutError


@dataclass(frozen=True, slots=True)
class Recognised:
    """
    What the columns of a file are.

    :param columns: the name of every column of the file, in its order
    :param header: whether the first line names them
    :param new_columns: those of :attr:`columns` that the layout doesn't have
    """

    layout: ColumnLayout
    columns: tuple[str, ...]
    header: bool
    new_columns: tuple[str, ...]


NAME_PATTERN = r"[a-z][a-z0-9_]{0,62}"
"""What every warehouse takes as the name of a column."""

MADE = {column.name for column in PROVENANCE} | {
    column.name for table in TABLES.values() for column in table.data if column.name.endswith("_raw")
}
"""Columns of the tables that aren't in any file."""

_NEVER_EMPTY = {
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
_EVIDENCE = 2
"""How many columns must hold something that not every text is, if the layout has as many of such a kind."""

ADVICE = (
    "The file stays in the archive as it is. Download it and run python -m ayla_provider inspect FILE, which also "
    "drafts a declaration; declare its layout in the task's argument layouts, and clear the task."
)
"""How an error ends."""

_TOLD = 3
"""How many objections to a layout are told."""


def recognise(
    event_type: str, shape: Shape, layouts: Sequence[ColumnLayout] = COLUMN_LAYOUTS, *, file: str
) -> Recognised:
    """
    Return what the columns of a file are.

    A layout of just as many columns is preferred to one that knows only the first of them, and one that the user
    declared to a built-in one.

    :param shape: of the file's first rows, of which there is at least one
    :param layouts: the built-in ones and those that the user declared
    :param file: its name, for the error
    :raises AylaLayoutError: if no layout fits, or more than one
    """
    if not shape.rows:
        raise ValueError(f"{file}: there are no rows to recognise a layout by")
    known = [layout for layout in layouts if layout.event_type == event_type]
    placed = {layout.name: _placed(layout, shape) for layout in known}
    objections = {layout.name: _objections(layout, shape, placed[layout.name]) for layout in known}
    fitting = _best([layout for layout in known if not objections[layout.name]], shape)
    if len(fitting) == 1:
        return _recognised(fitting[0], shape, placed[fitting[0].name].places)
    if fitting:
        said = f"its columns fit {' and '.join(layout.name for layout in fitting)}, and nothing tells which it is."
    else:
        each = [f"{name}: {_some(against)}" for name, against in objections.items()]
        said = f"its columns are of no known layout. {'. '.join(each) or 'None is known of this event type'}."
    raise AylaLayoutError(f"{event_type}, {file}: {said} Found: {described(shape)}. {ADVICE}")


def fit(known: list[ColumnLayout], shape: Shape) -> tuple[str, bool | None]:
    """Return in words whether there is a known layout that the rows fit, and whether they do; None if none can say."""
    if not known or not shape.rows:
        return "no layout known" if shape.rows else "no rows", None
    found = [
        (_misfits(layout, shape.rows, range(shape.columns)), layout)
        for layout in known
        if len(layout.columns) == shape.columns
    ]
    if not found:
        return f"an unknown layout of {shape.columns} columns", False
    misfits, layout = min(found, key=lambda one: len(one[0]))
    if misfits:
        return f"as many columns as {layout.name}, but {', '.join(misfits)}", False
    return f"fits {layout.name}", True


def described(shape: Shape) -> str:
    """Return in words what the rows look like, without a value of any."""
    kinds = [guess(row[at] for row in shape.rows).label for at in range(shape.columns)]
    runs = [(kind, list(places)) for kind, places in groupby(range(shape.columns), key=kinds.__getitem__)]
    said = [
        f"{shape.columns} columns",
        "a header row" if shape.header else "no header row",
        f"dates as {' and as '.join(shape.dates)}" if shape.dates else "no date of a known style",
        *(["cells in quotes, which mean nothing in Ayla's files"] if shape.quotes else []),
        *(f"{_span(places)} {kind}" for kind, places in runs),
    ]
    return ", ".join(said)


def _span(places: list[int]) -> str:
    first, last = places[0] + 1, places[-1] + 1
    return f"column {first}" if first == last else f"columns {first} to {last}"


def _some(objections: list[str]) -> str:
    more = len(objections) - _TOLD
    return ", ".join([*objections[:_TOLD], *([f"and {more} more"] if more > 0 else [])])


def _best(fitting: list[ColumnLayout], shape: Shape) -> list[ColumnLayout]:
    """Of layouts that all fit, take the exact ones, the declared ones, and those that aren't a part of another."""
    fitting = [layout for layout in fitting if len(layout.columns) == shape.columns] or fitting
    fitting = [layout for layout in fitting if _is_declared(layout)] or fitting
    return [layout for layout in fitting if not any(set(layout.columns) < set(other.columns) for other in fitting)]


def _is_declared(layout: ColumnLayout) -> bool:
    return layout not in COLUMN_LAYOUTS


@dataclass(frozen=True, slots=True)
class _Placed:
    """Where in the file each column of a layout stands, or why that can't be."""

    places: Sequence[int] = ()
    why_not: str = ""


def _placed(layout: ColumnLayout, shape: Shape) -> _Placed:
    count = len(layout.columns)
    if count > shape.columns:
        return _Placed(why_not=f"has {count} columns")
    if not shape.header:
        return _Placed(range(count))
    names = [squashed(name) for name in shape.names]
    wanted = [squashed(name) for name in layout.columns]
    missing = [name for name in layout.columns if squashed(name) not in names]
    if not missing and len(names) <= shape.columns and len(set(wanted)) == count:
        return _Placed([names.index(name) for name in wanted])
    # Of a declared layout the header may spell the names otherwise, but not call another column so.
    said = {name: at for at, name in enumerate(names[:count]) if not re.fullmatch(r"column\d+", name)}
    contradicts = any(said.get(name, at) != at for at, name in enumerate(wanted))
    if _is_declared(layout) and count == shape.columns and not contradicts:
        return _Placed(range(count))
    return _Placed(why_not=f"the header lacks {_some(missing)}" if missing else f"the header has {len(names)} names")


def _objections(layout: ColumnLayout, shape: Shape, placed: _Placed) -> list[str]:
    """Return in words why a layout doesn't fit."""
    if placed.why_not:
        return [placed.why_not]
    rows = _of_this_kind(layout, shape.rows, placed.places)
    if 2 * len(rows) <= len(shape.rows):
        return _misfits(layout, shape.rows, placed.places) or ["at least half of the rows hold something else"]
    return [
        *_misfits(layout, rows, placed.places),
        *_gaps(layout, rows, placed.places),
        *_lack_of_evidence(layout, rows, placed.places),
    ]


def _of_this_kind(layout: ColumnLayout, rows: list[list[str]], places: Sequence[int]) -> list[list[str]]:
    """
    Leave out the rows of which most cells that can be told aren't what they should be.

    In a column that is mostly empty a single malformed row would be the majority.
    """
    kinds = [(at, expected(layout, name)) for at, name in zip(places, layout.columns, strict=True)]
    telling = [(at, kind) for at, kind in kinds if kind not in (TEXT, NAME)]

    def is_other(row: list[str]) -> bool:
        right = [bool(kind.matches(row[at])) for at, kind in telling if row[at] not in NULLS]
        return 2 * sum(right) < len(right)

    return [row for row in rows if not is_other(row)]


def _misfits(layout: ColumnLayout, rows: list[list[str]], places: Sequence[int]) -> list[str]:
    """Name the columns that in most rows aren't what they should be; single rows may be malformed."""
    found = []
    for at, name in zip(places, layout.columns, strict=True):
        kind = expected(layout, name)
        if _is_misfit(kind, [row[at] for row in rows]):
            found.append(f"column {at + 1} ({name}) isn't {kind.label}")
    return found


def _gaps(layout: ColumnLayout, rows: list[list[str]], places: Sequence[int]) -> Iterator[str]:
    """Name the columns that are empty in most rows though normal rows always fill them."""
    for at, name in zip(places, layout.columns, strict=True):
        if _is_gap(layout, name, [row[at] for row in rows]):
            yield f"column {at + 1} ({name}) is empty"


def holds(layout: ColumnLayout, name: str, cells: list[str]) -> bool:
    """Whether some cells are what stands in a column of a layout."""
    return not _is_misfit(expected(layout, name), cells) and not _is_gap(layout, name, cells)


def _is_misfit(kind: Kind, cells: list[str]) -> bool:
    values = filled(cells)
    return 2 * sum(not kind.matches(value) for value in values) > len(values)


def _is_gap(layout: ColumnLayout, name: str, cells: list[str]) -> bool:
    own = (column.name for column in layout.own)
    return name in _NEVER_EMPTY and name not in own and 2 * len(filled(cells)) < len(cells)


def _lack_of_evidence(layout: ColumnLayout, rows: list[list[str]], places: Sequence[int]) -> Iterator[str]:
    telling = [
        at for at, name in zip(places, layout.columns, strict=True) if expected(layout, name) not in (TEXT, NAME)
    ]
    if sum(bool(filled(row[at] for row in rows)) for at in telling) < min(_EVIDENCE, len(telling)):
        yield "too few of its columns are filled"


def _recognised(layout: ColumnLayout, shape: Shape, places: Sequence[int]) -> Recognised:
    names: dict[int, str] = dict(zip(places, layout.columns, strict=True))
    for at in range(shape.columns):
        names.setdefault(at, column_name(shape, at, taken=set(names.values())))
    columns = tuple(names[at] for at in range(shape.columns))
    return Recognised(layout, columns, shape.header, tuple(name for name in columns if name not in layout.columns))


def column_name(shape: Shape, at: int, taken: set[str]) -> str:
    """
    Return a name for a column that no layout names: the header's, if a warehouse takes it, else its place.

    :param at: its place, from 0
    """
    said = shape.names[at] if at < len(shape.names) else ""
    name = re.sub(r"[^a-z0-9]+", "_", said.strip().lower()).strip("_")
    if not re.fullmatch(NAME_PATTERN, name) or name in taken | MADE:
        name = f"column_{at + 1}"
    while name in taken:
        name += "_x"
    return name
