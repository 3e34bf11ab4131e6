"""What a CSV file of the export looks like, without what it says; and which known layout it fits."""

from __future__ import annotations

import binascii
import csv
import io
import re
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

from ayla_provider.domain.columns import COLUMN_LAYOUTS, STRING_BASE_TYPES, ColumnLayout

ROWS = 50
"""How many rows are looked at."""


@dataclass(frozen=True, slots=True)
class Shape:
    """What the first rows of a file look like, without what they say."""

    rows: list[list[str]] = field(repr=False)
    columns: int
    """How many most rows have."""
    odd_rows: int
    """How many rows have another number."""
    header: bool
    line_ends: str
    quotes: bool
    utf8: bool


DATES = {
    "Wed Feb 05 12:08:26 UTC 2020": re.compile(r"[A-Z][a-z]{2} [A-Z][a-z]{2} [ \d]\d \d\d:\d\d:\d\d \S+ \d{4}"),
    "ISO 8601": re.compile(r"\d{4}-\d\d-\d\d[T ]\d\d:\d\d(:\d\d(\.\d+)?)?( ?(Z|UTC|[+-]\d\d:?\d\d))?"),
}
"""Style of a date, by an example, and how it is recognised."""

_UUID = re.compile(r"[0-9a-fA-F]{8}(-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}")
_NUMBER = re.compile(r"\s*[+-]?\d+(\.\d*)?([eE][+-]?\d+)?\s*")
_FLAG = re.compile(r"true|false|t|f|0|1", re.IGNORECASE)
_BASE_TYPE = re.compile("|".join((*STRING_BASE_TYPES, "integer", "decimal", "boolean", "float")))
_PATTERNS = {
    "base_type": ("a base type", _BASE_TYPE),
    **dict.fromkeys(("echo", "closed", "discarded", "registered"), ("true or false", _FLAG)),
    **dict.fromkeys(("lat", "long", "val_int", "val_decimal", "val_float"), ("a number", _NUMBER)),
}


def shape_of(data: bytes, *, whole: bool) -> Shape:
    """
    Return what the first rows of a file look like.

    :param data: the beginning of the file, or all of it
    :param whole: whether it is all; otherwise the last line may be cut and is left out
    """
    if not whole:
        data = data[: data.rfind(b"\n") + 1] or data
    crlf = data.count(b"\r\n")
    ends = {"CRLF": crlf, "LF": data.count(b"\n") - crlf, "CR": data.count(b"\r") - crlf}
    text = data.decode("utf-8-sig", "replace")
    try:
        rows = [row for row in csv.reader(io.StringIO(text, newline="")) if row]
    except csv.Error:
        rows = [line.split(",") for line in text.splitlines() if line]
    rows = rows[: ROWS + 1]
    names = {name for layout in COLUMN_LAYOUTS for name in layout.columns}
    header = bool(rows) and 2 * sum(cell.strip().lower().replace(" ", "_") in names for cell in rows[0]) > len(rows[0])
    rows = rows[1:] if header else rows[:ROWS]
    columns = Counter(map(len, rows)).most_common(1)[0][0] if rows else 0
    return Shape(
        rows=[row for row in rows if len(row) == columns],
        columns=columns,
        odd_rows=sum(len(row) != columns for row in rows),
        header=header,
        line_ends=" and ".join(kind for kind, count in ends.items() if count) or "no",
        quotes=re.search(r'(^|,)"', text, re.MULTILINE) is not None,
        utf8="\ufffd" not in text,
    )


def fit(known: list[ColumnLayout], shape: Shape) -> tuple[str, bool | None]:
    """Return in words whether there is a known layout that the rows fit, and whether they do; None if none can say."""
    if not known or not shape.rows:
        return "no layout known" if shape.rows else "no rows", None
    found = [(_misfits(layout, shape.rows), layout) for layout in known if len(layout.columns) == shape.columns]
    if not found:
        return f"an unknown layout of {shape.columns} columns", False
    misfits, layout = min(found, key=lambda one: len(one[0]))
    if misfits:
        return f"as many columns as {layout.name}, but {', '.join(misfits)}", False
    return f"fits {layout.name}", True


def _misfits(layout: ColumnLayout, rows: list[list[str]]) -> list[str]:
    """Name the columns that in most rows aren't what they should be; single rows may be malformed."""
    found = []
    for at, name in enumerate(layout.columns):
        kind, is_kind = _kind_of(name, layout)
        filled = [row[at] for row in rows if row[at] not in ("", "null")]
        if 2 * sum(not is_kind(value) for value in filled) > len(filled):
            found.append(f"column {at + 1} ({name}) isn't {kind}")
    return found


def _kind_of(name: str, layout: ColumnLayout) -> tuple[str, Callable[[str], object]]:
    if name in layout.base64_columns:
        return "base64", _is_base64
    if name.endswith(("_at", "_from_device")) or name == "event_time":
        return "a date", lambda value: any(pattern.fullmatch(value) for pattern in DATES.values())
    if name.endswith("uuid"):
        return "a UUID", _UUID.fullmatch
    kind, pattern = _PATTERNS.get(name, ("text", re.compile(".*", re.DOTALL)))
    return kind, pattern.fullmatch


def _is_base64(value: str) -> bool:
    try:
        binascii.a2b_base64(value, strict_mode=True)
    except ValueError:
        return False
    return True


def cells(rows: list[list[str]]) -> Iterator[str]:
    """Return all cells of some rows."""
    return (cell for row in rows for cell in row)
