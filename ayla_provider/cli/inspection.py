"""What an inspection of a file found, for people and as JSON."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ayla_provider.domain.csv.cells import filled, guess
from ayla_provider.domain.csv.columns import COLUMN_LAYOUTS, ColumnLayout
from ayla_provider.domain.csv.recognition import Recognised
from ayla_provider.domain.csv.sample import Shape
from ayla_provider.domain.tables import TABLES

_WIDTH = 28
"""How many characters of a value are shown."""


@dataclass(frozen=True, slots=True)
class Inspection:
    """
    What a file is.

    :param event_type: None if it isn't known
    :param recognised: None if no layout fits
    :param problem: why no layout fits; "" if one does
    :param declaration: a draft of a declaration, if no layout fits
    :param sample: the first rows as a load would store them
    :param no_sample: why there is no sample
    """

    path: Path
    event_type: str | None
    shape: Shape
    recognised: Recognised | None = None
    problem: str = ""
    declaration: dict[str, Any] | None = None
    sample: list[dict[str, object]] = field(default_factory=list)
    no_sample: str = ""

    @property
    def _has_header(self) -> bool:
        # A first line that looks like a header can be a row.
        return self.recognised.header if self.recognised else self.shape.header

    def columns(self) -> list[dict[str, Any]]:
        """Return what is known of each column, with the keys of the JSON output."""
        if self.recognised:
            return [self._column(at, name) for at, name in enumerate(self.recognised.columns)]
        return [self._column(at, None) for at in range(self.shape.columns)]

    def _column(self, at: int, name: str | None) -> dict[str, Any]:
        cells = [row[at] for row in self.shape.rows]
        values = filled(cells)
        column: dict[str, Any] = {"number": at + 1, "name": name, "kind": guess(cells).label}
        if self.recognised and name:
            column["type"] = _type_of(self.recognised.layout, name)
            column["new"] = name in self.recognised.new_columns
        else:
            column["example"] = values[0] if values else None
        return column | {"filled": round(len(values) / len(cells), 4)}

    def document(self) -> dict[str, Any]:
        """Return everything as JSON types."""
        layout = self.recognised.layout if self.recognised else None
        return {
            "file": str(self.path),
            "event_type": self.event_type,
            "layout": layout and layout.name,
            "confirmed": layout and layout.confirmed,
            "header": self._has_header,
            "line_ends": self.shape.line_ends,
            "dates": self.shape.dates,
            "quotes": self.shape.quotes,
            "utf8": self.shape.utf8,
            "rows": len(self.shape.rows),
            "odd_rows": self.shape.odd_rows,
            "columns": self.columns(),
            "problem": self.problem or None,
            "draft": [self.declaration] if self.declaration else None,
            "sample": [{name: _plain(value) for name, value in row.items()} for row in self.sample],
        }

    def text(self) -> Iterator[str]:
        """Yield the lines for people."""
        shape = self.shape
        yield f"file         {self.path}"
        yield f"event type   {self.event_type or 'not known'}"
        yield f"layout       {self._layout_text()}"
        yield f"header       {'yes' if self._has_header else 'no'}"
        yield f"line ends    {shape.line_ends}"
        yield f"dates        {' and '.join(shape.dates) or 'none of a known style'}"
        yield f"rows         {len(shape.rows)} looked at, {shape.odd_rows} more of another length"
        if shape.quotes:
            yield "quotes       some cells begin with a quote, which is part of the value"
        if not shape.utf8:
            yield "encoding     not all of it is UTF-8"
        yield ""
        if shape.rows:
            yield from _table([_cells(column) for column in self._shown_columns()])
            yield ""
        yield from self._outcome()

    def _layout_text(self) -> str:
        if not self.recognised:
            return "none that is known"
        layout = self.recognised.layout
        if layout not in COLUMN_LAYOUTS:
            return f"{layout.name}, declared"
        return f"{layout.name}, {'confirmed' if layout.confirmed else 'documented, but never seen in a file'}"

    def _shown_columns(self) -> Iterator[dict[str, Any]]:
        for column in self.columns():
            shown = dict(column)
            if shown.pop("new", False):
                shown["name"] += " (new)"
            if not self.recognised:
                del shown["name"]
            yield shown | {"filled": f"{column['filled']:.0%}"}

    def _outcome(self) -> Iterator[str]:
        if self.problem:
            yield self.problem
        if self.declaration:
            yield "\nA draft: correct its names and types, save it as a file, and try it with --layouts FILE.json:\n"
            yield json.dumps([self.declaration], indent=1)
        if self.no_sample:
            yield f"No typed rows are shown: {self.no_sample}"
        if self.sample:
            yield "The first rows, as they would be loaded:\n"
            yield from _table([self._sample_line(name) for name in self.sample[0]])

    def _sample_line(self, name: str) -> dict[str, str]:
        """Return a column of the sample as a line of a table: its name, and its value in each row."""
        line = {"column": name}
        for number, row in enumerate(self.sample, 1):
            line[f"row {number}"] = _cell(row[name])
        return line


def _type_of(layout: ColumnLayout, name: str) -> str:
    """Return the type that a column is loaded as, in words."""
    if name == "event_type":
        return "-"
    if name == "value":
        return "by base_type"
    table = TABLES.get(layout.event_type)
    columns = (*table.columns, *layout.own) if table else layout.own
    types = {column.name: column.type.value for column in columns}
    # The table calls this column so.
    target = "time_uuid" if name == "id" and name not in types else name
    return types.get(target, "text")


def _plain(value: object) -> object:
    return value if value is None or isinstance(value, str | int | float | bool) else str(value)


def _cell(value: object) -> str:
    """Return a value for a terminal: short, on one line, without control characters."""
    text = "" if value is None else str(value)
    text = "".join(_printable(character) for character in text[: _WIDTH + 1])
    return text if len(text) <= _WIDTH else f"{text[: _WIDTH - 3]}..."


def _cells(row: dict[str, Any]) -> dict[str, str]:
    return {name: _cell(value) for name, value in row.items()}


def _printable(character: str) -> str:
    # The escape that Python's source has for it, without the quotes.
    return character if character.isprintable() else ascii(character)[1:-1]


def _table(rows: list[dict[str, str]]) -> Iterator[str]:
    titles = list(rows[0])
    widths = {title: max(len(title), *(len(row[title]) for row in rows)) for title in titles}
    yield _table_line(dict(zip(titles, titles, strict=True)), widths)
    for row in rows:
        yield _table_line(row, widths)


def _table_line(row: dict[str, str], widths: dict[str, int]) -> str:
    return "  ".join(row[title].ljust(width) for title, width in widths.items()).rstrip()
