"""One file of an archive, looked at by a person: which layout it has, what its columns hold, and a draft of one."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path, PurePath
from typing import Any

from ayla_provider.domain.csv.cells import filled, guess
from ayla_provider.domain.csv.columns import COLUMN_LAYOUTS, ColumnLayout
from ayla_provider.domain.csv.declaration import declared
from ayla_provider.domain.csv.declaration_draft import draft
from ayla_provider.domain.csv.recognition import Recognised, recognise
from ayla_provider.domain.csv.sample import HEAD, Shape, shape_of
from ayla_provider.domain.events import EVENT_TYPES, parse_event_type
from ayla_provider.domain.tables import TABLES
from ayla_provider.errors import AylaConfigError, AylaError, AylaLayoutError

SAMPLE_ROWS = 3
_WIDTH = 28
"""How many characters of a value are shown."""


@dataclass(frozen=True, slots=True)
class Inspection:
    """
    What was found.

    :param event_type: None if it isn't known
    :param found: None if no layout fits
    :param problem: why no layout fits; "" if one does
    :param declaration: a draft of a layout, if none fits
    :param sample: the first rows as they would be loaded
    :param no_sample: why there is none
    """

    path: Path
    event_type: str | None
    shape: Shape
    found: Recognised | None = None
    problem: str = ""
    declaration: dict[str, Any] | None = None
    sample: list[dict[str, object]] = field(default_factory=list)
    no_sample: str = ""

    def columns(self) -> list[dict[str, Any]]:
        """Return what is known of each column."""
        names = self.found.columns if self.found else [None] * self.shape.columns
        return [self._column(at, name) for at, name in enumerate(names)]

    def _column(self, at: int, name: str | None) -> dict[str, Any]:
        cells = [row[at] for row in self.shape.rows]
        values = filled(cells)
        column: dict[str, Any] = {"number": at + 1, "name": name, "kind": guess(cells).label}
        if self.found and name:
            column["type"] = _type_of(self.found.layout, name)
            column["new"] = name in self.found.new_columns
        else:
            column["example"] = values[0] if values else None
        return column | {"filled": round(len(values) / len(cells), 4)}

    def document(self) -> dict[str, Any]:
        """Return all of it in JSON's types."""
        layout = self.found.layout if self.found else None
        return {
            "file": str(self.path),
            "event_type": self.event_type,
            "layout": layout and layout.name,
            "confirmed": layout and layout.confirmed,
            "header": self.shape.header,
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
        """Yield the lines that people read."""
        shape = self.shape
        yield f"file         {self.path}"
        yield f"event type   {self.event_type or 'not known'}"
        yield f"layout       {self._layout_text()}"
        yield f"header       {'yes' if shape.header else 'no'}"
        yield f"line ends    {shape.line_ends}"
        yield f"dates        {' and '.join(shape.dates) or 'none of a known style'}"
        yield f"rows         {len(shape.rows)} looked at, {shape.odd_rows} more of another length"
        if shape.quotes:
            yield "quotes       some cells begin with one; it is taken as a part of the value"
        if not shape.utf8:
            yield "encoding     not all of it is UTF-8"
        yield ""
        if shape.rows:
            yield from _table([{name: _cell(value) for name, value in one.items()} for one in self._shown_columns()])
            yield ""
        yield from self._outcome()

    def _layout_text(self) -> str:
        if not self.found:
            return "none that is known"
        layout = self.found.layout
        if layout not in COLUMN_LAYOUTS:
            return f"{layout.name}, declared"
        return f"{layout.name}, {'confirmed' if layout.confirmed else 'documented, but never seen in a file'}"

    def _shown_columns(self) -> Iterator[dict[str, Any]]:
        for column in self.columns():
            shown = {key: value for key, value in column.items() if key != "new" and (self.found or key != "name")}
            if column.get("new"):
                shown["name"] += " (new)"
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
            names = list(self.sample[0])
            rows = [{f"row {number}": row[name] for number, row in enumerate(self.sample, 1)} for name in names]
            yield from _table(
                [
                    {"column": name, **{title: _cell(value) for title, value in row.items()}}
                    for name, row in zip(names, rows, strict=True)
                ]
            )


def look_into(file: str, *, event_type: str | None = None, layouts: str | None = None) -> Inspection:
    """
    Look into a file.

    :param file: its path, best as it stands in the archive, since that names the event type
    :param layouts: the path of a JSON file with declarations: see :func:`.declared`
    :raises AylaConfigError: if a file can't be read, or an argument is wrong
    """
    own = _declared_in(layouts) if layouts else ()
    path, shape = _shape_in(file)
    known = (*own, *COLUMN_LAYOUTS)
    said = parse_event_type(event_type) if event_type else _event_type_in(path, known)
    if not shape.rows:
        return Inspection(path, said, shape, problem="There are no rows in it to recognise a layout by.")
    if not said:
        fitting = _tried(shape, known, path)
        if len(fitting) != 1:
            types = f"fits {' and '.join(fitting)}" if fitting else "fits no layout of any event type"
            return Inspection(path, None, shape, problem=f"The file {types}. Say which it is of: --event-type NAME.")
        said = fitting[0]
    try:
        found = recognise(said, shape, known, file=path.name)
    except AylaLayoutError as error:
        return Inspection(path, said, shape, problem=error.finding, declaration=draft(said, shape))
    sample, no_sample = _sample(path, found)
    return Inspection(path, said, shape, found, sample=sample, no_sample=no_sample)


def _tried(shape: Shape, known: Sequence[ColumnLayout], path: Path) -> list[str]:
    """Return the event types of which a layout fits."""
    fitting = []
    for event_type in dict.fromkeys(layout.event_type for layout in known):
        try:
            recognise(event_type, shape, known, file=path.name)
        except AylaLayoutError:
            continue
        fitting.append(event_type)
    return fitting


def _declared_in(file: str) -> tuple[ColumnLayout, ...]:
    try:
        value = json.loads(Path(file).read_text(encoding="utf-8"))
    except OSError as error:
        raise AylaConfigError(f"{file} can't be read: {error.strerror}") from None
    except ValueError as error:
        raise AylaConfigError(f"{file} isn't JSON: {error}") from None
    return declared(value)


def _shape_in(file: str) -> tuple[Path, Shape]:
    path = Path(file.removeprefix("file://"))
    if "://" in file and not file.startswith("file://"):
        raise AylaConfigError(f"{file} isn't on this machine: download it first, and keep its name")
    try:
        with path.open("rb") as opened:
            data = opened.read(HEAD + 1)
    except OSError as error:
        raise AylaConfigError(f"{path} can't be read: {error.strerror}") from None
    if data.startswith(b"\x1f\x8b"):
        raise AylaConfigError(f"{path} is packed with gzip: unpack it first")
    return path, shape_of(data[:HEAD], whole=len(data) <= HEAD)


def _event_type_in(path: PurePath, known: Sequence[ColumnLayout]) -> str | None:
    """Return the event type that a folder of the path names, as both layouts of the archive do; the innermost one."""
    types = {*EVENT_TYPES, *(layout.event_type for layout in known)}
    for part in reversed(path.parts[:-1]):
        name = part.removeprefix("event_type=")
        try:
            event_type = parse_event_type(name)
        except AylaConfigError:
            continue
        if name != part or event_type in types:
            return event_type
    return None


def _type_of(layout: ColumnLayout, name: str) -> str:
    """Return what a column is loaded as."""
    table = TABLES.get(layout.event_type)
    types = {column.name: column.type.value for column in (*(table.columns if table else ()), *layout.own)}
    if name == "event_type":
        return "-"
    if name == "value":
        return "by base_type"
    return types.get("time_uuid" if name == "id" and name not in types else name, "text")


def _sample(path: Path, found: Recognised) -> tuple[list[dict[str, object]], str]:
    """Return the first rows, typed; or why not."""
    try:
        from ayla_provider.rows.parquet import sample

        return sample(path, found, SAMPLE_ROWS), ""
    except ModuleNotFoundError as error:
        if error.name != "duckdb":
            raise
        return [], "they need DuckDB, pip install 'airflow-provider-ayla[warehouse]'"
    except AylaError as error:
        return [], str(error)


def _plain(value: object) -> object:
    return value if value is None or isinstance(value, str | int | float | bool) else str(value)


def _cell(value: object) -> str:
    """Return a value for a terminal: on one line, short, and without what could command it."""
    text = "" if value is None else str(value)
    text = "".join(one if one.isprintable() else ascii(one)[1:-1] for one in text[: _WIDTH + 1])
    return text if len(text) <= _WIDTH else f"{text[: _WIDTH - 3]}..."


def _table(rows: list[dict[str, str]]) -> Iterator[str]:
    titles = list(rows[0])
    widths = {title: max(len(title), *(len(row[title]) for row in rows)) for title in titles}
    for row in ({title: title for title in titles}, *rows):
        yield "  ".join(row[title].ljust(widths[title]) for title in titles).rstrip()
