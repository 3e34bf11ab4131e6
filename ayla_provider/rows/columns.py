"""Brings some columns of a Parquet file to this disk, by range, without the rest of the file."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, BinaryIO

from ayla_provider.archive.destination import LONGEST_RANGE, Destination, Stored, url_of
from ayla_provider.archive.private import open_private
from ayla_provider.errors import AylaDestinationError
from ayla_provider.rows.duck import literal

_SMALL = 1024 * 1024
"""Bytes. A smaller file comes as a whole: the requests for parts of it take longer than the bytes."""

_TAIL = 64 * 1024
"""Bytes at the end of a file that are read first. The footer of an hour's file has fewer, as a rule."""

_GAP = 256 * 1024
"""Bytes. A smaller gap between two ranges is read along, because a request takes longer."""

_END = 8
"""Bytes after the footer: its length, and a mark."""


def fetch_columns(
    destination: Destination, stored: Stored, local: Path, duck: Any, is_wanted: Callable[[str], bool]
) -> bool:
    """
    Write a file that has some columns of a Parquet file where that file has them, and its footer, and holes elsewhere.

    Read only the wanted columns of it, and all rows of them: there is nothing else in it, neither what filters need.

    :param duck: a connection to DuckDB
    :param is_wanted: returns whether a column is wanted, by its name
    :returns: whether it is the whole file, because that is small
    :raises AylaError: if the destination holds another file by now, or it can't be read
    :raises duckdb.Error: if it isn't a Parquet file
    """
    with open_private(local, "wb") as file:
        if stored.size <= _SMALL:
            _copy(destination, stored, file, 0, stored.size)
            return True
        # What isn't written is a hole, which takes no space.
        file.truncate(stored.size)
        begin = _fetch_footer(destination, stored, file)
        file.flush()
        for start, end in _joined(_ranges(duck, local, is_wanted)):
            # What is behind the begin of the footer is there.
            _copy(destination, stored, file, start, min(end, begin))
    return False


def _fetch_footer(destination: Destination, stored: Stored, file: BinaryIO) -> int:
    """Write the end of a file, and return where it begins."""
    begin = max(0, stored.size - _TAIL)
    tail = _copy(destination, stored, file, begin, stored.size)
    footer = stored.size - _END - int.from_bytes(tail[-_END:-4], "little")
    if footer < 0:
        raise AylaDestinationError(f"{url_of(destination, stored.path)} isn't a Parquet file")
    if footer < begin:
        _copy(destination, stored, file, footer, begin)
    return min(begin, footer)


def _ranges(duck: Any, local: Path, is_wanted: Callable[[str], bool]) -> Iterator[tuple[int, int]]:
    """Yield where the wanted columns are: first byte, and the one after the last."""
    chunks = duck.execute(
        # A column without a dictionary has none, or one at 0.
        "select path_in_schema, if(dictionary_page_offset > 0, least(dictionary_page_offset, data_page_offset), "
        f"data_page_offset), total_compressed_size from parquet_metadata({literal(str(local))})"
    )
    for name, start, size in chunks.fetchall():
        if is_wanted(name):
            yield start, start + size


def _joined(ranges: Iterator[tuple[int, int]]) -> list[tuple[int, int]]:
    """Join ranges that are close to each other."""
    joined: list[tuple[int, int]] = []
    for start, end in sorted(ranges):
        if joined and start - joined[-1][1] <= _GAP:
            start, last = joined.pop()
            end = max(end, last)
        joined.append((start, end))
    return joined


def _copy(destination: Destination, stored: Stored, file: BinaryIO, start: int, end: int) -> bytes:
    """Write bytes of an object where it has them, and return the last ones that were read."""
    content = b""
    for begin in range(start, end, LONGEST_RANGE):
        content = destination.read_range(stored, begin, min(begin + LONGEST_RANGE, end))
        file.seek(begin)
        file.write(content)
    return content
