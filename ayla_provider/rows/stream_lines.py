"""
The lines of a stream's files that DuckDB wouldn't read as they are: rewritten here, or refused with a reason.

DuckDB spells numbers in its own way: 1.50 becomes 1.5, and of 30 digits 17 are left. So a line with such a number is
written again with each of its cells as text. The text of a number is the one that the record has.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from typing import Any, NoReturn

from ayla_provider.domain.stream_layout import BODIES, METADATA, WRAPPER, Place
from ayla_provider.rows.intake import EMPTY_LINE

_SAFE_FROM_1 = rb"[0-9]{0,17}|[0-9]{0,8}\.(?:0|[0-9]{0,5}[1-9])"
_SAFE_FROM_0 = rb"(?:\.0|\.[0-9]{0,3}[1-9])?"
_SAFE_BELOW_0 = rb"[1-9](?:" + _SAFE_FROM_1 + rb")|0\.[0-9]{0,3}[1-9]"
_SENT_AT = rb'(?<="timestamp":[0-9])\.[0-9]+E12|(?<="timestamp":\s)[0-9]\.[0-9]+E12'
SAFE_NUMBER = rb"(?:[1-9](?:" + _SAFE_FROM_1 + rb")|0" + _SAFE_FROM_0 + rb"|-(?:" + _SAFE_BELOW_0 + rb"))(?=[,}])"
"""The pattern of a number that DuckDB spells as it is spelled."""

# The first character of a value, and then what may follow it. This is faster than to look at whole values.
_UNSAFE_NUMBER = (
    rb'":[-0-9\s](?!(?:(?<=[1-9])(?:'
    + _SAFE_FROM_1
    + rb")|(?<=0)"
    + _SAFE_FROM_0
    + rb"|(?<=-)(?:"
    + _SAFE_BELOW_0
    + rb")|(?<=\s)(?:[1-9](?:"
    + _SAFE_FROM_1
    + rb")|0"
    + _SAFE_FROM_0
    + rb"|-(?:"
    + _SAFE_BELOW_0
    + rb")))\s*[,}]|"
    + _SENT_AT
    + rb'|(?<=\s)["tfn{\[])'
)
# Any list but one of plain words. A list in a text is found, too, which does no harm.
_UNSAFE_LIST = rb'\[(?!\s*(?:"[^"\\\n]*"\s*(?:,\s*"[^"\\\n]*"\s*)*)?\])'
_UNSAFE_TEXT = rb"\\u(?:0000|[dD][89a-fA-F])"

# Not one pattern: each of these begins with a character that is found fast. Most blocks lack some of them.
_UNUSUAL = {
    b":": re.compile(_UNSAFE_NUMBER),
    b"[": re.compile(_UNSAFE_LIST),
    b"\\": re.compile(_UNSAFE_TEXT),
}


def unusual_lines(block: bytes, start: int = 0) -> list[tuple[int, int]]:
    """
    Return the lines that DuckDB can't read, or would change: the begin and the end of each.

    A line that it can read is sometimes among them, which only takes longer.

    :param block: whole lines, each with its end
    :param start: where to begin: at the beginning of a line
    """
    found: set[tuple[int, int]] = set()
    for character, pattern in _UNUSUAL.items():
        if character not in block:
            continue
        end = start
        while match := pattern.search(block, end):
            begin = block.rfind(b"\n", 0, match.start()) + 1
            end = block.find(b"\n", match.start()) + 1
            found.add((begin, end))
    return sorted(found)


class LineError(Exception):
    """A line isn't a record. The message is the reason, without quoting the line."""


class _Number(str):
    """A number as it is spelled."""

    __slots__ = ()


class Object(list[tuple[str, Any]]):
    """The keys and values of an object, in their order. A key can be there twice."""


def rewritten(line: bytes, event_type: str) -> tuple[bytes, set[Place]]:
    """
    Return a line with each cell as text, so that every reader takes it in the same way. Also return its record's keys.

    :param line: without its end
    :raises LineError: if the line isn't a record
    """
    if not line:
        raise LineError(EMPTY_LINE)
    try:
        parsed = json.loads(
            line.decode(), parse_int=_Number, parse_float=_Number, parse_constant=_refuse, object_pairs_hook=Object
        )
        envelope = keys_of(parsed, "the line")
        event = keys_of(envelope["event"], "event")
        inner = keys_of(event[WRAPPER], WRAPPER) if WRAPPER in event else None
        cells = _record(event if inner is None else inner, event_type)
        if inner is not None:
            cells = {WRAPPER: cells}
        place = {"place": int(envelope["place"])} if "place" in envelope else {}
        known = {"shard": str(envelope["shard"]), "sequence": str(envelope["sequence"])} | place
        text = json.dumps(known | {"event": cells}, ensure_ascii=False, separators=(",", ":"))
        if "\\u0000" in text and _holds_nul(cells):
            raise LineError("holds a NUL")
        return text.encode(), set(_places(cells))
    except UnicodeDecodeError:
        raise LineError("not UTF-8") from None
    except UnicodeEncodeError:
        raise LineError("holds half of a surrogate pair") from None
    except (ValueError, KeyError, RecursionError):
        raise LineError("not a record of a stream") from None


def _refuse(name: str) -> NoReturn:
    raise LineError(f"holds {name}, which isn't JSON")


def keys_of(value: Any, what: str) -> dict[str, Any]:
    """
    Return the keys and values of an object.

    :raises LineError: if it isn't an object, or has a key twice
    """
    if not isinstance(value, Object):
        raise LineError(f"{what} isn't a JSON object")
    keys = dict(value)
    if len(keys) < len(value):
        raise LineError(f"{what} has a key twice")
    return keys


def _record(record: dict[str, Any], event_type: str) -> dict[str, Any]:
    """Return a record with the cells of its own level, its metadata, and its body as text."""
    levels = (METADATA, *BODIES[event_type])
    cells: dict[str, Any] = {}
    for key, value in record.items():
        if key in levels and value is not None:
            cells[key] = {name: _text(cell) for name, cell in keys_of(value, key).items()}
        elif key != "timestamp":
            cells[key] = _text(value)
    return cells


def _places(cells: dict[str, Any], outer: Place = ()) -> Iterator[Place]:
    for key, value in cells.items():
        yield (*outer, key)
        if isinstance(value, dict):
            yield from _places(value, (*outer, key))


def _text(value: Any) -> str | None:
    """Return the text of a cell: that of a list or an object is compact JSON, as DuckDB writes it."""
    if value is None or isinstance(value, str):
        return value
    if isinstance(value, bool):
        return "true" if value else "false"
    return _json(value)


def _json(value: Any) -> str:
    if isinstance(value, Object):
        return "{" + ",".join(f"{_json(str(key))}:{_json(each)}" for key, each in value) + "}"
    if isinstance(value, list):
        return "[" + ",".join(map(_json, value)) + "]"
    if isinstance(value, _Number):
        return str(value)
    if isinstance(value, str):
        return _ESCAPE.sub(lambda match: _upper(match.group()), json.dumps(value, ensure_ascii=False))
    return json.dumps(value)


_ESCAPE = re.compile(r"\\(?:u[0-9a-f]{4}|.)")


def _upper(escape: str) -> str:
    return "\\u" + escape[2:].upper() if escape.startswith("\\u") else escape


def _holds_nul(cells: dict[str, Any]) -> bool:
    values = [*cells, *cells.values()]
    return any(_holds_nul(value) if isinstance(value, dict) else "\0" in (value or "") for value in values)
