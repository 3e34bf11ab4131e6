"""
The shapes of a stream's lines: the same keys in the same order, whatever the values are.

The lines of a file have few shapes. So one regular expression finds out about whole blocks that DuckDB reads each line
as it is, and which keys the records have. To parse each line would take several times as long.
"""

from __future__ import annotations

import json
import re
from collections.abc import Collection, Iterator, Mapping
from enum import IntEnum

from ayla_provider.domain.stream_layout import Place, is_sent_at, levels_of
from ayla_provider.rows.stream_lines import SAFE_NUMBER, LineError, Object, keys_of

MOST_SHAPES = 8
"""Of a file. A line is compared with one shape after the other."""

ENVELOPE = {"shard", "sequence", "event"}
"""The keys that each line has."""

_MOST_KEYS = 250
"""Of a shape. The time to compile a pattern grows with its keys."""


_AT_ONCE = 16 * 1024
"""How many bytes are looked at for the sake of one backslash."""


class _Slot(IntEnum):
    """What a value can be. Each member also takes what those before it take."""

    TEXT = 0
    ANY = 1
    SENT_AT = 2


_Skeleton = tuple[bytes, ...]
"""What is around the values of a line: its keys, braces, commas and line end."""

# json.dumps() of Python writes spaces by default. Ayla's pipeline doesn't.
_SEPARATORS = ((", ", ": "), (",", ":"))

_NUMBER = rb"-?(?:0|[1-9][0-9]*+)(?:\.[0-9]++)?(?:[eE][-+]?[0-9]++)?"
_ANY_NUMBER = _NUMBER + rb"(?=[,}])"
# A text as DuckDB reads it: not with a NUL, or half of a surrogate pair.
_TEXT = rb'"[^"\\\n]*+(?:\\(?!u0000|u[dD][89a-fA-F])[^\n][^"\\\n]*+)*+"'
# In a block without a backslash, a text ends at the next quotation mark. To look for one character is the fastest.
_PLAIN_TEXT = rb'"[^"]*+"'
_WORD = rb'"[^"\\\n]*+"'


class _Values:
    """The patterns of values, from those of a text and a number."""

    def __init__(self, text: bytes, number: bytes) -> None:
        word = b"(?:" + text + b"|true|false|null|" + SAFE_NUMBER + b")"
        pair = text + b": ?" + word
        nested = rb"\[(?:" + _WORD + b"(?:, ?" + _WORD + rb")*+)?\]|\{(?:" + pair + b"(?:, ?" + pair + rb")*+)?\}"
        other = b"true|false|null|" + nested
        self.by_slot = {
            _Slot.TEXT: text,
            _Slot.ANY: b"(?:" + text + b"|" + number + b"|" + other + b")",
            # When the record was sent isn't loaded, so its spelling doesn't matter.
            _Slot.SENT_AT: b"(?:" + text + b"|" + _ANY_NUMBER + b"|" + other + b")",
        }


_PLAIN = _Values(_PLAIN_TEXT, SAFE_NUMBER)
_SAFE = _Values(_TEXT, SAFE_NUMBER)
_QUOTABLE = _Values(_TEXT, b"(" + _NUMBER + b")(?=[,}])")


class Shapes:
    """The shapes of the lines of a file. They are learned from lines."""

    def __init__(self, event_type: str) -> None:
        self.keys: set[Place] = set()
        """The place of each key of the records whose lines have a known shape."""
        self._levels = levels_of(event_type)
        self._shapes: dict[_Skeleton, list[_Slot]] = {}
        self._patterns: dict[_Values, re.Pattern[bytes]] = {}

    def unknown_lines(self, block: bytes) -> Iterator[tuple[int, int]]:
        """
        Yield the lines whose shape isn't known: the begin and the end of each.

        If the shape of a line is learned before the next one is asked for, the lines after it have it, too.

        :param block: whole lines, each with its end
        """
        begin, escape = 0, -1
        while begin < len(block):
            if escape < begin:
                escape = block.find(b"\\", begin)
                escape = len(block) if escape < 0 else escape
            # A line without a backslash takes half as long.
            values = _PLAIN
            limit = len(block) if escape == len(block) else block.rfind(b"\n", begin, escape) + 1
            if limit <= begin:
                values = _SAFE
                limit = block.find(b"\n", begin + _AT_ONCE) + 1 or len(block)
            begin = self._end_of_known(values, block, begin, limit)
            if begin < limit:
                end = block.index(b"\n", begin) + 1
                yield begin, end
                begin = end

    def quoted(self, line: bytes) -> bytes | None:
        """
        Return a line with quotation marks around its numbers, so that DuckDB keeps their spelling.

        :param line: with its end
        :returns: None if the line has no known shape, whatever its numbers are
        """
        match = self._pattern(_QUOTABLE).fullmatch(line)
        if not match:
            return None
        parts, done = [], 0
        for group in range(1, match.re.groups + 1):
            begin, end = match.span(group)
            if begin >= 0:
                parts += [line[done:begin], b'"', line[begin:end], b'"']
                done = end
        return b"".join((*parts, line[done:]))

    def learn(self, line: bytes) -> bool:
        """
        Learn the shape of a line that DuckDB reads as it is. Return whether it has one.

        :param line: with its end
        """
        try:
            envelope = keys_of(json.loads(line, object_pairs_hook=Object), "the line")
            for separators in _SEPARATORS:
                shape = _Shape(envelope, self._levels, separators)
                if len(shape.keys) <= _MOST_KEYS and re.fullmatch(shape.pattern(_SAFE), line):
                    return self._add(shape)
        except (ValueError, LineError, RecursionError):
            pass
        return False

    def _add(self, shape: _Shape) -> bool:
        skeleton = tuple(shape.skeleton)
        known = self._shapes.get(skeleton, shape.slots)
        if skeleton not in self._shapes and len(self._shapes) >= MOST_SHAPES:
            return False
        self._shapes[skeleton] = list(map(max, known, shape.slots))
        self.keys |= shape.keys
        self._patterns.clear()
        return True

    def _end_of_known(self, values: _Values, block: bytes, begin: int, end: int) -> int:
        """Return where the first line begins that has no known shape."""
        match = self._pattern(values).match(block, begin, end)
        return match.end() if match else begin

    def _pattern(self, values: _Values) -> re.Pattern[bytes]:
        """Return the pattern of lines of all known shapes."""
        pattern = self._patterns.get(values)
        if pattern is None:
            shapes = (_joined(skeleton, slots, values) for skeleton, slots in self._shapes.items())
            # Without a shape, nothing matches.
            one = b"(?:" + (b"|".join(shapes) or b"(?!)") + b")"
            # Possessive, or Python remembers where each line begins, to try others.
            pattern = self._patterns[values] = re.compile(one if values is _QUOTABLE else one + b"*+")
        return pattern


class _Shape:
    """The shape of a line."""

    def __init__(self, envelope: Mapping[str, object], levels: Collection[Place], separators: tuple[str, str]) -> None:
        """
        Find the shape of a line.

        :raises LineError: if the line isn't a record
        """
        if not ENVELOPE.issubset(envelope):
            raise LineError("without a key of the envelope")
        self.keys: set[Place] = set()
        self.slots: list[_Slot] = []
        self.skeleton = [b""]
        """What is before the first value, between two, and after the last one."""
        self._levels = levels
        # The envelope is written by this package. The record in it is as it was sent.
        self._comma, self._colon = _SEPARATORS[1]
        self._literal("{")
        for number, (key, value) in enumerate(envelope.items()):
            self._key(key, number)
            if key == "event":
                self._comma, self._colon = separators
                self._object((), value)
                self._comma, self._colon = _SEPARATORS[1]
            else:
                self._value(_Slot.TEXT if isinstance(value, str) else _Slot.ANY)
        self._literal("}\n")

    def pattern(self, values: _Values) -> bytes:
        """Return the regular expression of the line with its end, with those of its values."""
        return _joined(self.skeleton, self.slots, values)

    def _object(self, place: Place, value: object) -> None:
        """
        Add an object whose keys are columns.

        :raises LineError: if the value isn't one, or has a key twice
        """
        self._literal("{")
        for number, (key, inner) in enumerate(keys_of(value, "a part of the record").items()):
            at = (*place, key)
            self.keys.add(at)
            self._key(key, number)
            if at not in self._levels:
                slot = _Slot.TEXT if isinstance(inner, str) else _Slot.ANY
                self._value(_Slot.SENT_AT if is_sent_at(at) else slot)
            elif inner is None:
                self._literal("null")
            else:
                self._object(at, inner)
        self._literal("}")

    def _key(self, key: str, number: int) -> None:
        comma = self._comma if number else ""
        self._literal(f"{comma}{json.dumps(key, ensure_ascii=False)}{self._colon}")

    def _literal(self, text: str) -> None:
        self.skeleton[-1] += text.encode()

    def _value(self, slot: _Slot) -> None:
        self.slots.append(slot)
        self.skeleton.append(b"")


def _joined(skeleton: Collection[bytes], slots: Collection[_Slot], values: _Values) -> bytes:
    *before, last = map(re.escape, skeleton)
    fields = (text + values.by_slot[slot] for text, slot in zip(before, slots, strict=True))
    return b"".join((*fields, last))
