"""What a cell of a CSV file looks like, and what it should look like in each column of a layout."""

from __future__ import annotations

import binascii
import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import lru_cache

from ayla_provider.domain.csv.columns import STRING_BASE_TYPES, ColumnLayout
from ayla_provider.domain.tables import TABLES, ColumnType

NULLS = ("", "null")
"""How files write that there is no value."""


@dataclass(frozen=True, slots=True)
class Kind:
    """
    A kind of cells.

    :param label: for people
    :param matches: whether a filled cell is of this kind
    """

    label: str
    matches: Callable[[str], object]


DATES = {
    "Wed Feb 05 12:08:26 UTC 2020": re.compile(r"[A-Z][a-z]{2} [A-Z][a-z]{2} [ \d]\d \d\d:\d\d:\d\d \S+ \d{4}"),
    "ISO 8601": re.compile(r"\d{4}-\d\d-\d\d[T ]\d\d:\d\d(:\d\d(\.\d+)?)?( ?(Z|UTC|[+-]\d\d:?\d\d))?"),
}
"""Style of a date, by an example, and how it is recognised."""


def _pattern(label: str, pattern: str, flags: re.RegexFlag = re.NOFLAG) -> Kind:
    return Kind(label, re.compile(pattern, flags).fullmatch)


def _is_base64(value: str) -> bool:
    try:
        binascii.a2b_base64(value, strict_mode=True)
    except ValueError:
        return False
    return True


def _is_encoded_text(value: str) -> bool:
    """Whether it is base64, and so of something that can be read: many a plain word is base64, too."""
    try:
        return binascii.a2b_base64(value, strict_mode=True).decode().isprintable()
    except ValueError:
        return False


DATE = Kind("a date", lambda value: any(pattern.fullmatch(value) for pattern in DATES.values()))
UUID = _pattern("a UUID", r"[0-9a-fA-F]{8}(-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}")
INTEGER = _pattern("a whole number", r"\s*[+-]?\d+\s*")
NUMBER = _pattern("a number", r"\s*[+-]?(\d+(\.\d*)?|\.\d+)([eE][+-]?\d+)?\s*")
FLAG = _pattern("true or false", "true|false|t|f|0|1", re.IGNORECASE)
BASE64 = Kind("base64", _is_base64)
TEXT = Kind("text", lambda value: True)
EMPTY = Kind("empty", lambda value: False)
NAME = Kind("a name, no date and no UUID", lambda value: not (DATE.matches(value) or UUID.matches(value)))
BASE_TYPE = _pattern("a base type", "|".join((*STRING_BASE_TYPES, "integer", "decimal", "boolean", "float")))
STATUS = _pattern("Online or Offline", "online|offline", re.IGNORECASE)
DIRECTION = _pattern("input or output", "input|output", re.IGNORECASE)
IP = _pattern("an IP address", r"\d{1,3}(\.\d{1,3}){3}|[0-9a-fA-F]*:[0-9a-fA-F:.]*:[0-9a-fA-F.]*")

_GUESSES = (
    DATE,
    UUID,
    BASE_TYPE,
    STATUS,
    DIRECTION,
    INTEGER,
    NUMBER,
    FLAG,
    IP,
    Kind(BASE64.label, _is_encoded_text),
)
_BY_TYPE = {
    ColumnType.TEXT: TEXT,
    ColumnType.INTEGER: NUMBER,
    ColumnType.NUMBER: NUMBER,
    ColumnType.BOOLEAN: FLAG,
    ColumnType.UUID: UUID,
    ColumnType.TIMESTAMP: DATE,
}
_BY_NAME = {
    "id": UUID,
    "base_type": BASE_TYPE,
    "status": STATUS,
    "direction": DIRECTION,
    "ip": IP,
    **dict.fromkeys(("oem_id", "oem_model", "dsn", "property_name", "display_name", "scope", "provider"), NAME),
    "registration_type": NAME,
}
_CONSTANTS = {"connection": "connection|connectivity"}
"""What stands in a column ``event_type``, if it isn't simply that."""


def filled(cells: Iterable[str]) -> list[str]:
    """Return the cells that hold something."""
    return [cell for cell in cells if cell not in NULLS]


def guess(cells: Iterable[str]) -> Kind:
    """Return the kind that nearly all filled cells are of."""
    values = filled(cells)
    if not values:
        return EMPTY
    found = (kind for kind in _GUESSES if 20 * sum(not kind.matches(value) for value in values) <= len(values))
    return next(found, TEXT)


@lru_cache(maxsize=1024)
def expected(layout: ColumnLayout, name: str) -> Kind:
    """Return what stands in a column of a layout."""
    if name in layout.base64_columns:
        return BASE64
    table = TABLES.get(layout.event_type)
    types = {column.name: column.type for column in (*(table.data if table else ()), *layout.own)}
    if name == "event_type":
        words = _CONSTANTS.get(layout.event_type, layout.event_type.replace("_", "[ _-]?"))
        return _pattern("the event type", words, re.IGNORECASE)
    if name not in (column.name for column in layout.own) and name in _BY_NAME:
        return _BY_NAME[name]
    return _BY_TYPE[types.get(name, ColumnType.TEXT)]
