"""Unpacks the gzipped files of a stream."""

from __future__ import annotations

import zlib
from collections.abc import Iterable, Iterator

from ayla_provider.transport.checksum import CHUNK

GZIP = 31
"""What zlib calls the format gzip: with the largest window, and a header without name and time."""

_PIECE = 64 * 1024


class NotGzipError(Exception):
    """The bytes aren't whole gzipped files. The message says what they are."""


def unpacked(blocks: Iterable[bytes]) -> Iterator[bytes]:
    """
    Yield the content of a gzipped file, or of several in a row, in blocks of at most a mebibyte.

    :raises NotGzipError: if something else is in front, in between or behind, or the end is missing
    """
    unpack = zlib.decompressobj(GZIP)
    try:
        for rest in _pieces(blocks):
            while rest:
                yield unpack.decompress(rest, CHUNK)
                rest = unpack.unconsumed_tail
                if unpack.eof and unpack.unused_data:
                    rest, unpack = unpack.unused_data, zlib.decompressobj(GZIP)
        yield unpack.flush()
    except zlib.error:
        raise NotGzipError("isn't gzip") from None
    if not unpack.eof:
        raise NotGzipError("is gzip without its end")


def _pieces(blocks: Iterable[bytes]) -> Iterator[bytes]:
    # What zlib hasn't unpacked yet is copied each time.
    for block in blocks:
        for start in range(0, len(block), _PIECE):
            yield block[start : start + _PIECE]
