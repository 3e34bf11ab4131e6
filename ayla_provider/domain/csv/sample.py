"""The form of a CSV file of the export: columns, header, line ends, styles of dates. Not its values."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from functools import lru_cache

from ayla_provider.domain.csv.cells import DATES, NULLS, CellKind, guess
from ayla_provider.domain.csv.columns import COLUMN_LAYOUTS
from ayla_provider.domain.events import fold

HEAD = 256 * 1024
"""How many bytes at the beginning of a file are looked at; more if they hold only a few lines."""

LONGEST_ROW = 4 * 1024 * 1024
"""No row is longer, in bytes. Ayla's longest values have half a mebibyte; base64 adds a third."""

LONGEST_HEAD = 2 * LONGEST_ROW
"""How many bytes are looked at if a file begins with long lines, unless they hold no row."""

ROWS = 300
"""How many rows are looked at."""

# Ten lines that aren't empty, so that a single odd line isn't alone.
_FIRST_LINES = re.compile(rb"(?:[\r\n]*[^\r\n][^\n]*\n){10}")


@dataclass(frozen=True, slots=True)
class Shape:
    """The form of the first rows of a file."""

    rows: list[list[str]] = field(repr=False)
    """The rows that have as many columns as most, without the header."""
    columns: int
    """How many columns most rows have."""
    odd_rows: int
    """How many rows have another number of columns."""
    header: bool
    line_ends: str
    """``CRLF``, ``LF``, ``CR``, several of them joined by ``and``, or ``no``."""
    quotes: bool
    """Whether a cell begins with a quote."""
    utf8: bool
    names: tuple[str, ...] = field(default=(), repr=False)
    """The cells of the header."""

    @property
    def dates(self) -> list[str]:
        """The styles of the dates, each as an example."""
        return [style for style, pattern in DATES.items() if any(map(pattern.fullmatch, _cells(self.rows)))]

    def without_header(self) -> Shape:
        """Return the form if the first line is a row like any other."""
        if len(self.names) != self.columns:
            return replace(self, header=False, names=(), odd_rows=self.odd_rows + 1)
        return replace(self, header=False, names=(), rows=[list(self.names), *self.rows])


def head_of(data: bytes) -> bytes:
    """
    Return the part of a file's beginning by which its layout is recognised.

    :param data: the beginning of the file, for which :func:`is_enough` is true, or all of it
    """
    first_lines = _FIRST_LINES.match(data)
    return data[: max(HEAD, first_lines.end())] if first_lines else data


def is_enough(data: bytes) -> bool:
    """Return whether the beginning of a file holds so many lines that a single odd one doesn't decide on its layout."""
    return len(data) >= LONGEST_HEAD or _FIRST_LINES.match(data) is not None


def shape_of(data: bytes, *, whole: bool, rows: int = ROWS) -> Shape:
    """
    Return the form of the first rows of a file.

    Cells are split at commas and nothing else. Quotes have no meaning: a reader that takes a stray quote for the start
    of a quoted cell swallows the lines after it.

    :param data: the beginning of the file, or all of it
    :param whole: whether it is all of the file; if not, the last line may be cut, and is left out
    :param rows: how many rows to look at
    """
    if not whole:
        data = data[: data.rfind(b"\n") + 1] or data
    text = _without_long_lines(data).decode("utf-8-sig", "replace")
    lines = [line.removesuffix("\r").split(",") for line in text.split("\n") if line.strip("\r")]
    lines = lines[: rows + 1]
    names = _header_of(text, lines)
    body = lines[1:] if names else lines[:rows]
    columns = _usual_length(body)
    regular = [row for row in body if len(row) == columns]
    return Shape(
        rows=regular,
        columns=columns,
        odd_rows=len(body) - len(regular),
        header=bool(names),
        line_ends=_line_ends(data),
        quotes=re.search(r'(^|,)"', text, re.MULTILINE) is not None,
        utf8="\ufffd" not in text,
        names=names,
    )


def _without_long_lines(data: bytes) -> bytes:
    """Return the lines, with an empty one for each that is too long to be a row."""
    if len(data) <= LONGEST_ROW:
        return data
    lines = data.split(b"\n")
    return b"\n".join(line if len(line.removesuffix(b"\r")) <= LONGEST_ROW else b"" for line in lines)


def _usual_length(rows: list[list[str]]) -> int:
    if not rows:
        return 0
    ((length, _),) = Counter(map(len, rows)).most_common(1)
    return length


def _line_ends(data: bytes) -> str:
    crlf = data.count(b"\r\n")
    counts = {"CRLF": crlf, "LF": data.count(b"\n") - crlf, "CR": data.count(b"\r") - crlf}
    return " and ".join(name for name, count in counts.items() if count) or "no"


_KNOWN_NAMES = {fold(name) for layout in COLUMN_LAYOUTS for name in layout.columns}
_LONGEST_NAME = 200
"""No name of a column in a header is longer, in characters."""

_NEVER_A_NAME = (CellKind.DATE, CellKind.UUID, CellKind.INTEGER, CellKind.NUMBER, CellKind.STATUS)


def _header_of(text: str, lines: list[list[str]]) -> tuple[str, ...]:
    """Return the cells of the header; none if there is no header. Only the very first line can be one."""
    if not lines or text[0] in "\r\n":
        return ()
    names = [cell.strip() for cell in lines[0]]
    return tuple(names) if is_header(names, lines[1:]) else ()


def is_header(first: list[str], rest: list[list[str]]) -> bool:
    """Return whether the first row is a header: known column names, or names above values that can't be names."""
    known = sum(len(cell) <= _LONGEST_NAME and _is_known_name(cell) for cell in first)
    if 2 * known > len(first):
        return True
    if len(set(first)) < len(first) or not all(_is_name(cell) for cell in first):
        return False
    for at in range(len(first)):
        below = [row[at] for row in rest if len(row) == len(first)]
        if guess(below) in _NEVER_A_NAME:
            return True
    return False


# Of an hour with thousands of files, the first lines have many cells in common.
@lru_cache(maxsize=1024)
def _is_known_name(cell: str) -> bool:
    return fold(cell) in _KNOWN_NAMES


def _is_name(cell: str) -> bool:
    return cell[:1].isalpha() and cell not in NULLS and not any(kind.matches(cell) for kind in _NEVER_A_NAME)


def _cells(rows: list[list[str]]) -> Iterator[str]:
    return (cell for row in rows for cell in row)
