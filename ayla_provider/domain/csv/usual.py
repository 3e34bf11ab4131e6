"""
Recognises a usual file, many times faster than :func:`~ayla_provider.domain.csv.recognition.recognise`.

An hour can have thousands of small files, and to try each layout on each cell takes longer than to load them.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from functools import lru_cache

from ayla_provider.domain.csv.cells import DATES, NULLS, NUMBER_PATTERN, CellKind, expected
from ayla_provider.domain.csv.columns import STRING_BASE_TYPES, ColumnLayout
from ayla_provider.domain.csv.fit import EVIDENCE, NEVER_EMPTY
from ayla_provider.domain.csv.recognition import Recognised
from ayla_provider.domain.csv.sample import ROWS, is_header

# A pattern for a cell may match a comma, because no cell holds one.
_DATE = "|".join(pattern.pattern for pattern in DATES.values()).replace(r"\S", r"[^\s,]")
_UUID = r"[0-9a-fA-F]{8}(?:-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}"
_END = r"(?=[,\r]|$)"
_EMPTY = f"(?:null)?{_END}"
_PATTERNS = {
    CellKind.DATE: _DATE,
    CellKind.UUID: _UUID,
    CellKind.NUMBER: NUMBER_PATTERN,
    CellKind.FLAG: "true|false",
    CellKind.BASE64: "(?:[A-Za-z0-9+/]{4})*(?:[A-Za-z0-9+/]{2}==|[A-Za-z0-9+/]{3}=)?",
    CellKind.TEXT: "[^,]*",
    CellKind.NAME: f"(?!(?:{_DATE}|{_UUID}){_END})[^,]*",
    CellKind.BASE_TYPE: "|".join((*STRING_BASE_TYPES, "integer", "decimal", "boolean", "float")),
    CellKind.STATUS: "Online|Offline",
    CellKind.DIRECTION: "input|output",
    CellKind.IP: r"\d{1,3}(?:\.\d{1,3}){3}",
}
"""A pattern for cells that are certainly of a kind. Other cells may be of the kind, too."""

_ANY_TEXT = (CellKind.TEXT, CellKind.NAME)
_NEVER_IN_A_HEADER = (CellKind.DATE, CellKind.UUID)


def recognise_usual(event_type: str, head: bytes, layouts: Sequence[ColumnLayout], *, whole: bool) -> Recognised | None:
    """
    Return what the columns of a file are, if it is a usual one; then ``recognise`` would return the same.

    A usual file has no header, only one layout has as many columns, and every row is exactly as that layout says.
    None for another file, which can still be one that ``recognise`` knows.

    :param head: the beginning of the file, or all of it
    :param whole: whether it is all of the file; if not, the last line may be cut, and is left out
    """
    if not whole:
        head = head[: head.rfind(b"\n") + 1]
    count = head.partition(b"\n")[0].count(b",") + 1
    same = [layout for layout in layouts if layout.event_type == event_type and len(layout.columns) == count]
    pattern = _row_pattern(same[0]) if len(same) == 1 else None
    if pattern is None:
        return None
    try:
        lines = head.decode().split("\n", ROWS + 1)[: ROWS + 1]
    except UnicodeDecodeError:
        return None
    if not _is_row(lines[0], same[0]) or not all(map(pattern.fullmatch, filter(None, lines))):
        return None
    return Recognised(same[0], same[0].columns, header=False, new_columns=())


def _is_row(line: str, layout: ColumnLayout) -> bool:
    """Return whether a line is certainly a row and not a header, and holds enough evidence for its layout."""
    cells = line.removesuffix("\r").split(",")
    kinds = [expected(layout, name).kind for name, cell in zip(layout.columns, cells, strict=True) if cell not in NULLS]
    telling = [kind for kind in kinds if kind not in _ANY_TEXT]
    return (
        len(telling) >= EVIDENCE
        and any(kind in _NEVER_IN_A_HEADER for kind in telling)
        and not is_header([cell.strip() for cell in cells], [])
    )


@lru_cache(maxsize=64)
def _row_pattern(layout: ColumnLayout) -> re.Pattern[str] | None:
    """Return the pattern of a row in which every cell is what it should be; None for a kind without a pattern."""
    own = [column.name for column in layout.own]
    cells = []
    for name in layout.columns:
        pattern = _PATTERNS.get(expected(layout, name).kind)
        if pattern is None:
            return None
        always = name in NEVER_EMPTY and name not in own
        cells.append(f"(?!{_EMPTY})(?:{pattern})" if always else f"(?:{_EMPTY}|{pattern})")
    return re.compile(",".join(cells) + "\r?")
