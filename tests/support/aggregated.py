"""An encoder of the Kinesis Producer Library's aggregated records, independent of our decoder."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable

MAGIC = bytes([0xF3, 0x89, 0x9A, 0xC2])


def varint(number: int) -> bytes:
    groups = [number & 0x7F]
    while number := number >> 7:
        groups.append(number & 0x7F)
    return bytes(group | 0x80 for group in groups[:-1]) + bytes(groups[-1:])


def field(number: int, value: int | bytes) -> bytes:
    if isinstance(value, int):
        return varint(number << 3) + varint(value)
    return varint(number << 3 | 2) + varint(len(value)) + value


def enveloped(message: bytes) -> bytes:
    return MAGIC + message + hashlib.md5(message).digest()


def aggregated(records: Iterable[tuple[str, bytes]], extras: bytes = b"", extras_of_record: bytes = b"") -> bytes:
    """
    Return an aggregated record.

    :param records: keys and data
    :param extras: further fields of the message
    :param extras_of_record: further fields of each user record
    """
    records = list(records)
    keys = sorted({key for key, _ in records})
    message = b"".join(field(1, key.encode()) for key in keys) + extras
    for key, data in records:
        message += field(3, field(1, keys.index(key)) + extras_of_record + field(3, data))
    return enveloped(message)
