"""What a cell of a CSV file looks like, and what the cells of each column of a layout must look like."""

from __future__ import annotations

import binascii
import contextlib
import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from datetime import UTC, datetime
from enum import Enum
from functools import lru_cache

from ayla_provider.domain.csv.columns import STRING_BASE_TYPES, ColumnLayout
from ayla_provider.domain.events import fold
from ayla_provider.domain.tables import TABLES, ColumnType

NULLS = ("", "null")
"""How files write that there is no value."""

INTEGER_PATTERN = r"\s*[+-]?\d+\s*"
"""A regular expression for a whole number, in the syntax that Python and DuckDB share."""

NUMBER_PATTERN = r"\s*[+-]?(\d+(\.\d*)?|\.\d+)([eE][+-]?\d+)?\s*"
"""The same for any number."""

DATES = {
    "Wed Feb 05 12:08:26 UTC 2020": re.compile(r"[A-Z][a-z]{2} [A-Z][a-z]{2} [ \d]\d \d\d:\d\d:\d\d \S+ \d{4}"),
    "ISO 8601": re.compile(r"\d{4}-\d\d-\d\d[T ]\d\d:\d\d(:\d\d(\.\d+)?)?( ?(Z|UTC|[+-]\d\d:?\d\d))?"),
}
"""Each style of a date, named by an example, and its pattern."""

_OTHER_NAMES = {"connection": ("connection", "connectivity")}
"""What the rows of an event type call it, where that isn't only its own name. Folded, see :func:`.fold`."""


def time_of(cell: str) -> datetime | None:
    """Return the time that a cell holds, aware; None if it isn't a time in UTC in one of the :data:`DATES` styles."""
    for read in (_java_time, datetime.fromisoformat):
        with contextlib.suppress(ValueError):
            time = read(cell)
            return time if time.tzinfo else time.replace(tzinfo=UTC)
    return None


def _java_time(cell: str) -> datetime:
    return datetime.strptime(cell, "%a %b %d %H:%M:%S UTC %Y").replace(tzinfo=UTC)


def names_in_rows(event_type: str) -> tuple[str, ...]:
    """Return the names by which the rows of an event type call it, folded: see :func:`.fold`."""
    return _OTHER_NAMES.get(event_type, (fold(event_type),))


class CellKind(Enum):
    """A kind of cells. The value is its name for people."""

    DATE = "a date"
    UUID = "a UUID"
    INTEGER = "a whole number"
    NUMBER = "a number"
    FLAG = "true or false"
    BASE64 = "base64"
    TEXT = "text"
    EMPTY = "empty"
    NAME = "a name (not a date or UUID)"
    BASE_TYPE = "a base type"
    STATUS = "Online or Offline"
    DIRECTION = "input or output"
    IP = "an IP address"
    EVENT_TYPE = "the event type"

    @property
    def label(self) -> str:
        """The kind's name for people."""
        return self.value

    def matches(self, cell: str) -> bool:
        """
        Return whether a filled cell is of this kind.

        :raises KeyError: for :attr:`EVENT_TYPE`, which depends on the layout: see :func:`expected`
        """
        return bool(_TESTS[self](cell))


_Test = Callable[[str], object]


def _pattern(pattern: str, flags: re.RegexFlag = re.NOFLAG) -> _Test:
    return re.compile(pattern, flags).fullmatch


def _is_date(cell: str) -> bool:
    return any(pattern.fullmatch(cell) for pattern in DATES.values())


def _is_name(cell: str) -> bool:
    return not (_is_date(cell) or CellKind.UUID.matches(cell))


def _is_base64(cell: str) -> bool:
    try:
        binascii.a2b_base64(cell, strict_mode=True)
    except ValueError:
        return False
    return True


def is_encoded_text(cell: str) -> bool:
    """Return whether a cell is base64 of printable text. Many plain words are valid base64, too."""
    try:
        return binascii.a2b_base64(cell, strict_mode=True).decode().isprintable()
    except ValueError:
        return False


_TESTS: dict[CellKind, _Test] = {
    CellKind.DATE: _is_date,
    CellKind.UUID: _pattern(r"[0-9a-fA-F]{8}(-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}"),
    CellKind.INTEGER: _pattern(INTEGER_PATTERN),
    CellKind.NUMBER: _pattern(NUMBER_PATTERN),
    CellKind.FLAG: _pattern("true|false|t|f|0|1", re.IGNORECASE),
    CellKind.BASE64: _is_base64,
    CellKind.TEXT: lambda cell: True,
    CellKind.EMPTY: lambda cell: False,
    CellKind.NAME: _is_name,
    CellKind.BASE_TYPE: _pattern("|".join((*STRING_BASE_TYPES, "integer", "decimal", "boolean", "float"))),
    CellKind.STATUS: _pattern("online|offline", re.IGNORECASE),
    CellKind.DIRECTION: _pattern("input|output", re.IGNORECASE),
    CellKind.IP: _pattern(r"\d{1,3}(\.\d{1,3}){3}|[0-9a-fA-F]*:[0-9a-fA-F:.]*:[0-9a-fA-F.]*"),
}

_GUESSES: tuple[tuple[CellKind, _Test], ...] = (
    *(
        (kind, _TESTS[kind])
        for kind in (
            CellKind.DATE,
            CellKind.UUID,
            CellKind.BASE_TYPE,
            CellKind.STATUS,
            CellKind.DIRECTION,
            CellKind.INTEGER,
            CellKind.NUMBER,
            CellKind.FLAG,
            CellKind.IP,
        )
    ),
    # Stricter than the test of a column that is known to be base64.
    (CellKind.BASE64, is_encoded_text),
)
"""The kinds that the cells alone can show. The first that fits counts."""

_KIND_OF_TYPE = {
    ColumnType.TEXT: CellKind.TEXT,
    ColumnType.INTEGER: CellKind.NUMBER,
    ColumnType.NUMBER: CellKind.NUMBER,
    ColumnType.BOOLEAN: CellKind.FLAG,
    ColumnType.UUID: CellKind.UUID,
    ColumnType.TIMESTAMP: CellKind.DATE,
}
_KIND_OF_COLUMN = {
    "id": CellKind.UUID,
    "base_type": CellKind.BASE_TYPE,
    "status": CellKind.STATUS,
    "direction": CellKind.DIRECTION,
    "ip": CellKind.IP,
    "oem_id": CellKind.NAME,
    "oem_model": CellKind.NAME,
    "dsn": CellKind.NAME,
    "property_name": CellKind.NAME,
    "display_name": CellKind.NAME,
    "scope": CellKind.NAME,
    "provider": CellKind.NAME,
    "registration_type": CellKind.NAME,
}


def is_true(cell: str) -> bool | None:
    """Return what a flag says; None if it isn't one."""
    return cell.lower() in ("true", "t", "1") if CellKind.FLAG.matches(cell) else None


def filled(cells: Iterable[str]) -> list[str]:
    """Return the cells that hold a value."""
    return [cell for cell in cells if cell not in NULLS]


def guess(cells: Iterable[str]) -> CellKind:
    """Return the kind of at least 95 % of the filled cells."""
    values = filled(cells)
    if not values:
        return CellKind.EMPTY
    for kind, test in _GUESSES:
        others = sum(not test(value) for value in values)
        if 20 * others <= len(values):
            return kind
    return CellKind.TEXT


@dataclass(frozen=True, slots=True)
class Expected:
    """
    What the cells of a column must be.

    :param matches: whether a filled cell is that
    """

    kind: CellKind
    matches: Callable[[str], object]


@lru_cache(maxsize=1024)
def expected(layout: ColumnLayout, name: str) -> Expected:
    """
    Return what the cells of a column must be.

    :param name: one of the layout's columns
    """
    if name == "event_type" and name not in layout.base64_columns:
        names = names_in_rows(layout.event_type)
        return Expected(CellKind.EVENT_TYPE, lambda cell: fold(cell) in names)
    kind = _kind_of(layout, name)
    return Expected(kind, kind.matches)


def _kind_of(layout: ColumnLayout, name: str) -> CellKind:
    if name in layout.base64_columns:
        return CellKind.BASE64
    own_types = {column.name: column.type for column in layout.own}
    if name not in own_types and name in _KIND_OF_COLUMN:
        return _KIND_OF_COLUMN[name]
    table = TABLES.get(layout.event_type)
    table_types = {column.name: column.type for column in table.data} if table else {}
    return _KIND_OF_TYPE[own_types.get(name) or table_types.get(name, ColumnType.TEXT)]
