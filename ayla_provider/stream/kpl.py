"""
Records of the Kinesis Producer Library, which packs several user records into one of the stream.

The format is public: four bytes, a message of Protocol Buffers, and its MD5. The message has a table of partition keys
and the user records, which refer to it::

    message AggregatedRecord { repeated string partition_key_table = 1; repeated string explicit_hash_key_table = 2;
                               repeated Record records = 3; }
    message Record { required uint64 partition_key_index = 1; optional uint64 explicit_hash_key_index = 2;
                     required bytes data = 3; repeated Tag tags = 4; }
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator

from ayla_provider.domain.stream import StreamRecord

MAGIC = b"\xf3\x89\x9a\xc2"
"""What an aggregated record starts with."""

_DIGEST = 16
_VARINT, _FIXED64, _BYTES, _FIXED32 = 0, 1, 2, 5
_LONGEST_VARINT = 10


class _MalformedError(Exception):
    """The bytes aren't a message of this form."""


def user_records(record: StreamRecord) -> list[StreamRecord]:
    """
    Return the user records of an aggregated record, in their order, with their places.

    A record that isn't aggregated is returned as it is. So is one that is damaged, because nothing of it can be
    trusted: the caller finds that it isn't JSON, and keeps its bytes.
    """
    if not record.data.startswith(MAGIC):
        return [record]
    message, digest = record.data[len(MAGIC) : -_DIGEST], record.data[-_DIGEST:]
    # The format's own checksum, against damage and not against an attacker.
    if hashlib.md5(message, usedforsecurity=False).digest() != digest:
        return [record]
    try:
        return _decoded(record, message)
    except _MalformedError:
        return [record]


def _decoded(record: StreamRecord, message: bytes) -> list[StreamRecord]:
    keys: list[str] = []
    contents: list[bytes] = []
    for field, value in _fields(message):
        if field == 1 and isinstance(value, bytes):
            keys.append(value.decode(errors="replace"))
        if field == 3 and isinstance(value, bytes):
            contents.append(value)
    if not contents:
        raise _MalformedError
    decoded = []
    for place, content in enumerate(contents):
        key_index, data = _user_record(content)
        if key_index >= len(keys):
            raise _MalformedError
        decoded.append(StreamRecord(record.number, place, record.arrived_at, keys[key_index], data))
    return decoded


def _user_record(content: bytes) -> tuple[int, bytes]:
    """Return the index of a user record's key, and its data."""
    key_index: int | None = None
    data: bytes | None = None
    for field, value in _fields(content):
        if field == 1 and isinstance(value, int):
            key_index = value
        if field == 3 and isinstance(value, bytes):
            data = value
    if key_index is None or data is None:
        raise _MalformedError
    return key_index, data


def _fields(message: bytes) -> Iterator[tuple[int, int | bytes]]:
    """Yield the number and the value of each field of a message."""
    offset = 0
    while offset < len(message):
        tag, offset = _varint(message, offset)
        field, kind = tag >> 3, tag & 7
        if kind == _VARINT:
            number, offset = _varint(message, offset)
            yield field, number
            continue
        if kind == _BYTES:
            length, offset = _varint(message, offset)
        elif kind in (_FIXED32, _FIXED64):
            length = 4 if kind == _FIXED32 else 8
        else:
            raise _MalformedError
        end = offset + length
        if end > len(message):
            raise _MalformedError
        yield field, message[offset:end]
        offset = end


def _varint(message: bytes, offset: int) -> tuple[int, int]:
    """Return the number at an offset, and the offset after it."""
    number = 0
    for index in range(_LONGEST_VARINT):
        if offset + index >= len(message):
            raise _MalformedError
        byte = message[offset + index]
        number |= (byte & 0x7F) << (7 * index)
        if byte < 0x80:
            return number, offset + index + 1
    raise _MalformedError
