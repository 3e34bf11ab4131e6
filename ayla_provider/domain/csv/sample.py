"""What a CSV file of the export looks like, without what it says."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field

from ayla_provider.domain.csv.cells import DATE, DATES, INTEGER, NULLS, NUMBER, UUID, guess
from ayla_provider.domain.csv.columns import COLUMN_LAYOUTS

ROWS = 300
"""How many rows are looked at."""


@dataclass(frozen=True, slots=True)
class Shape:
    """What the first rows of a file look like, without what they say."""

    rows: list[list[str]] = field(repr=False)
    """Those that have as many columns as most; without the header."""
    columns: int
    """How many most rows have."""
    odd_rows: int
    """How many rows have another number."""
    header: bool
    line_ends: str
    quotes: bool
    utf8: bool
    names: tuple[str, ...] = field(default=(), repr=False)
    """The cells of the header."""

    @property
    def dates(self) -> list[str]:
        """The styles of the dates, each by an example."""
        return [style for style, pattern in DATES.items() if any(map(pattern.fullmatch, cells(self.rows)))]


def shape_of(data: bytes, *, whole: bool, rows: int = ROWS) -> Shape:
    """
    Return what the first rows of a file look like.

    Cells are what stands between commas: quotes mean nothing, since taking a stray one for the start of a quoted cell
    swallows the lines behind it.

    :param data: the beginning of the file, or all of it
    :param whole: whether it is all; otherwise the last line may be cut and is left out
    :param rows: how many to look at
    """
    if not whole:
        data = data[: data.rfind(b"\n") + 1] or data
    crlf = data.count(b"\r\n")
    ends = {"CRLF": crlf, "LF": data.count(b"\n") - crlf, "CR": data.count(b"\r") - crlf}
    text = data.decode("utf-8-sig", "replace")
    lines = [line.removesuffix("\r").split(",") for line in text.split("\n") if line.strip("\r")][: rows + 1]
    # Nowhere but in the very first line.
    names = tuple(lines[0]) if lines and text[0] not in "\r\n" and _is_header(lines[0], lines[1:]) else ()
    found = lines[1:] if names else lines[:rows]
    columns = Counter(map(len, found)).most_common(1)[0][0] if found else 0
    return Shape(
        rows=[row for row in found if len(row) == columns],
        columns=columns,
        odd_rows=sum(len(row) != columns for row in found),
        header=bool(names),
        line_ends=" and ".join(kind for kind, count in ends.items() if count) or "no",
        quotes=re.search(r'(^|,)"', text, re.MULTILINE) is not None,
        utf8="\ufffd" not in text,
        names=names,
    )


_KNOWN = {name.replace("_", "") for layout in COLUMN_LAYOUTS for name in layout.columns}
_NEVER_A_NAME = (DATE, UUID, INTEGER, NUMBER)


def squashed(name: str) -> str:
    """Return the name of a column without what doesn't count in a header: case, spaces, hyphens and underscores."""
    return re.sub(r"[\s_-]", "", name).lower()


def _is_header(first: list[str], rest: list[list[str]]) -> bool:
    """Whether the first row holds names: known ones, or such as stand above what is no name."""
    if 2 * sum(squashed(cell) in _KNOWN for cell in first) > len(first):
        return True
    if len(set(first)) < len(first) or not all(_is_name(cell.strip()) for cell in first):
        return False
    below = ([row[at] for row in rest if len(row) == len(first)] for at in range(len(first)))
    return any(guess(column) in _NEVER_A_NAME for column in below)


def _is_name(cell: str) -> bool:
    return cell[:1].isalpha() and cell not in NULLS and not any(kind.matches(cell) for kind in _NEVER_A_NAME)


def cells(rows: list[list[str]]) -> Iterator[str]:
    """Return all cells of some rows."""
    return (cell for row in rows for cell in row)
