"""
Which layout a file has. What the columns hold decides it, never their number alone.

Two layouts of one event type can have the same number of columns, and a column that Ayla inserts shifts all after it.
So each column of a layout must hold what it should, and a column that no normal row leaves empty must be filled.
"""

from __future__ import annotations

import contextlib
import re
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import groupby

from ayla_provider.domain.csv.cells import guess
from ayla_provider.domain.csv.columns import COLUMN_LAYOUTS, ColumnLayout
from ayla_provider.domain.csv.fit import MOST_NEW_COLUMNS, OBJECTIONS_SHOWN, is_declared, misfits, objections_to, place
from ayla_provider.domain.csv.foreign import format_of
from ayla_provider.domain.csv.sample import Shape
from ayla_provider.domain.tables import PROVENANCE, TABLES
from ayla_provider.domain.units import counted, first_few
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
"""The names of columns that every warehouse accepts."""

MADE = {column.name for column in PROVENANCE} | {
    column.name for table in TABLES.values() for column in table.data if column.name.endswith("_raw")
}
"""Columns of the tables that aren't in any file."""

MOST_COLUMNS = 256
"""How many columns a file may have. PostgreSQL's tables end at 1,600, dropped columns included."""

ADVICE = (
    "The archive keeps the file unchanged. To load it: download it, run python -m ayla_provider inspect FILE, which "
    "drafts a declaration, declare its layout in the task's argument layouts, and clear the task. If it isn't export "
    "data, add its name to the task's argument ignored_files instead."
)
"""What to do about a file that isn't recognised."""


def refuse_other_format(event_type: str, data: bytes, *, file: str) -> None:
    """
    Refuse a file that isn't CSV at all.

    :param data: its first bytes
    :param file: its name, for the error
    :raises AylaLayoutError: naming the format
    """
    other = format_of(data)
    if other:
        raise AylaLayoutError(
            f"{event_type}, {file}: a {other} file, but plain CSV was expected.",
            "Ask Ayla support why. If it isn't export data, add its name to the task's argument ignored_files. Copies "
            "aren't affected: they hold the vendor's bytes.",
        )


def recognise(
    event_type: str, shape: Shape, layouts: Sequence[ColumnLayout] = COLUMN_LAYOUTS, *, file: str
) -> Recognised:
    """
    Return what the columns of a file are.

    A first line of plain words looks like a header. It is a row like any other if it names no column and the rows below
    it fit a layout.

    If several layouts fit, one with exactly as many columns as the file wins, then one that the user declared.

    :param shape: the form of the file's first rows; at least one row
    :param layouts: the built-in ones and those that the user declared
    :param file: its name, for the error
    :raises AylaLayoutError: if no layout fits, or more than one
    :raises ValueError: if there are no rows
    """
    if not shape.rows:
        raise ValueError(f"{file}: there are no rows to recognise a layout by")
    try:
        return _recognise(event_type, shape, layouts, file)
    except AylaLayoutError:
        if shape.header and not _may_name_columns(shape.names, layouts):
            with contextlib.suppress(AylaLayoutError):
                return _recognise(event_type, shape.without_header(), layouts, file)
        raise


def _recognise(event_type: str, shape: Shape, layouts: Sequence[ColumnLayout], file: str) -> Recognised:
    if shape.columns > MOST_COLUMNS:
        raise AylaLayoutError(
            f"{event_type}, {file}: {shape.columns:,} columns, more than the {MOST_COLUMNS} that a file may have.",
            ADVICE,
        )
    known = [layout for layout in layouts if layout.event_type == event_type]
    placed = {layout.name: place(layout, shape) for layout in known}
    objections = {layout.name: objections_to(layout, shape, placed[layout.name]) for layout in known}
    fitting = _best([layout for layout in known if not objections[layout.name]], shape)
    if len(fitting) == 1:
        more = shape.columns - len(fitting[0].columns)
        if more > MOST_NEW_COLUMNS:
            raise AylaLayoutError(
                f"{event_type}, {file}: {more} new columns, more than the {MOST_NEW_COLUMNS} that "
                "are loaded undeclared.",
                ADVICE,
            )
        return _recognised(fitting[0], shape, placed[fitting[0].name].places)
    if fitting:
        reason = f"its columns fit more than one layout: {' and '.join(layout.name for layout in fitting)}."
    elif objections:
        each = [f"{name}: {first_few(against, OBJECTIONS_SHOWN)}" for name, against in objections.items()]
        reason = f"its columns match no known layout. {'. '.join(each)}."
    else:
        reason = "its columns match no known layout. No layout of this event type is known."
    finding = f"{event_type}, {file}: {reason} Found: {described(shape)}; {_described_columns(shape)}."
    raise AylaLayoutError(finding, ADVICE)


@dataclass(frozen=True, slots=True)
class KnownColumns:
    """
    A layout that other files of an event type have had.

    :param new_columns: those that the files had beside those of the layout
    """

    layout: ColumnLayout
    new_columns: tuple[str, ...] = ()


def recognise_shortened(shape: Shape, known: Sequence[KnownColumns]) -> Recognised | None:
    """
    Return what the columns of a file are whose lines were erased but for a few, which don't show it.

    They are those of the only layout of other files that has so many columns. If none has, all of its lines are
    malformed whatever the layout is.

    :param shape: see :func:`recognise`
    :param known: what the columns of other files are, the latest last
    :returns: None if nobody can say
    """
    placed = [(each, place(each.layout, shape)) for each in known]
    fitting = [
        (each, places)
        for each, places in placed
        if not places.why_not and shape.columns == len(each.layout.columns) + len(each.new_columns)
    ]
    if len(fitting) > 1:
        fitting = [(each, places) for each, places in fitting if not misfits(each.layout, shape.rows, places.places)]
    if len(fitting) == 1:
        each, places = fitting[0]
        return _recognised(each.layout, shape, places.places)
    widths = {len(each.layout.columns) + len(each.new_columns) for each in known}
    if known and shape.columns not in widths:
        latest = known[-1]
        return Recognised(latest.layout, (*latest.layout.columns, *latest.new_columns), False, latest.new_columns)
    return None


def _may_name_columns(cells: Sequence[str], layouts: Sequence[ColumnLayout]) -> bool:
    """Return whether a word in the cells is also in the name of a column, such as ``time`` in ``Event Time``."""
    known = {word for layout in layouts for name in layout.columns for word in name.split("_")}
    words = {word.lower() for cell in cells for word in re.findall("[A-Z]?[a-z]+|[A-Z]+", cell)}
    return not known.isdisjoint(words)


def described(shape: Shape) -> str:
    """Return the form of the rows in words, without any value: ``5 rows of 6 columns, no header row, ...``."""
    parts = [
        f"{counted(len(shape.rows), 'row', 'rows')} of {counted(shape.columns, 'column', 'columns')}",
        "a header row" if shape.header else "no header row",
        f"{shape.line_ends} line ends",
        f"dates as {' and as '.join(shape.dates)}" if shape.dates else "no date in a known style",
    ]
    if shape.quotes:
        parts.append("cells in quotes")
    if shape.odd_rows:
        parts.append(f"{counted(shape.odd_rows, 'row', 'rows')} of another length")
    if not shape.utf8:
        parts.append("not all of it UTF-8")
    return ", ".join(parts)


def _described_columns(shape: Shape) -> str:
    kinds = [guess(row[at] for row in shape.rows).label for at in range(shape.columns)]
    parts = []
    for kind, run in groupby(range(shape.columns), key=kinds.__getitem__):
        places = list(run)
        first, last = places[0] + 1, places[-1] + 1
        span = f"column {first}" if first == last else f"columns {first} to {last}"
        parts.append(f"{span} {kind}")
    return ", ".join(parts)


def _best(fitting: list[ColumnLayout], shape: Shape) -> list[ColumnLayout]:
    """Of layouts that fit, prefer exact ones, declared ones, confirmed orders, and those that no other one contains."""
    exact = [layout for layout in fitting if len(layout.columns) == shape.columns]
    fitting = exact or fitting
    declared = [layout for layout in fitting if is_declared(layout)]
    fitting = declared or fitting
    # Where the rows don't show in which order two columns are, the order of real files counts.
    names = [set(layout.columns) for layout in fitting if layout.confirmed]
    fitting = [layout for layout in fitting if layout.confirmed or set(layout.columns) not in names]
    return [layout for layout in fitting if not any(set(layout.columns) < set(other.columns) for other in fitting)]


def _recognised(layout: ColumnLayout, shape: Shape, places: Sequence[int]) -> Recognised:
    names: dict[int, str] = dict(zip(places, layout.columns, strict=True))
    for at in range(shape.columns):
        if at not in names:
            names[at] = column_name(shape, at, taken=set(names.values()))
    columns = tuple(names[at] for at in range(shape.columns))
    return Recognised(layout, columns, shape.header, tuple(name for name in columns if name not in layout.columns))


def column_name(shape: Shape, at: int, taken: set[str]) -> str:
    """
    Return a name for a column that no layout names: the header's, if every warehouse accepts it, else its place.

    :param at: its place, from 0
    :param taken: the names of other columns
    """
    in_header = shape.names[at] if at < len(shape.names) else ""
    name = re.sub(r"[^a-z0-9]+", "_", in_header.strip().lower()).strip("_")
    if not re.fullmatch(NAME_PATTERN, name) or name in taken | MADE:
        name = f"column_{at + 1}"
    while name in taken:
        name += "_x"
    return name
