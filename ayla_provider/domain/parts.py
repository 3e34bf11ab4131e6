"""How an hour that is too large for one task is divided into parts: by its files, in the order of their names."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Protocol, TypeVar

MAX_BYTES_PER_TASK = 50 * 1000**3
"""Bytes of files that one task types, by default. It takes about ten minutes."""


class _Sized(Protocol):
    @property
    def size(self) -> int: ...


File = TypeVar("File", bound=_Sized)


def divide(files: Iterable[File], most: int) -> list[list[File]]:
    """
    Return the parts of an hour, each a list of files; none if there are no files.

    The same files in the same order give the same parts, on every worker. Files that come last change only the last
    part.

    :param files: in the order of their names
    :param most: how many bytes of files a part has at most, unless it is a single file
    """
    parts: list[list[File]] = []
    total = 0
    for file in files:
        if not parts or total + file.size > most:
            parts.append([])
            total = 0
        parts[-1].append(file)
        total += file.size
    return parts
