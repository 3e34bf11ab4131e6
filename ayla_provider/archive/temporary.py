"""A temporary database for what would take much memory: the objects of a large archive."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable, Iterator, Sequence
from itertools import islice
from typing import Any, TypeVar

_AT_ONCE = 1000
"""How many rows are written or read at once."""


Item = TypeVar("Item")


def chunks(items: Iterable[Item], size: int) -> Iterator[list[Item]]:
    """Yield the items in lists of a size; the last one can be shorter."""
    remaining = iter(items)
    while chunk := list(islice(remaining, size)):
        yield chunk


class TemporaryDatabase:
    """
    One table in a temporary file. Use it in one thread, and close it.

    SQLite removes its file when the process ends, however it ends.

    :param table: the columns of the table ``rows``, as SQL has them
    """

    def __init__(self, table: str) -> None:
        # An empty name is a temporary database on disk. A damaged one would only mean another run.
        self._database = sqlite3.connect("", isolation_level=None)
        self._database.execute("pragma synchronous = off")
        self._database.execute("pragma journal_mode = off")
        self._database.execute(f"create table rows ({table}) without rowid")

    def close(self) -> None:
        """Remove the table and its file."""
        self._database.close()

    def run(self, statement: str, *values: Any) -> list[tuple[Any, ...]]:
        """Run a statement, and return its rows."""
        return self._database.execute(statement, values).fetchall()

    def insert(self, statement: str, rows: Iterable[Sequence[Any]]) -> None:
        """
        Insert rows.

        :param statement: such as ``insert or ignore into rows values (?, ?)``
        """
        for chunk in chunks(rows, _AT_ONCE):
            self._database.execute("begin")
            self._database.executemany(statement, chunk)
            self._database.execute("commit")

    def pages(self, query: str, *values: Any, after: Sequence[Any], key: slice) -> Iterator[tuple[Any, ...]]:
        """
        Yield the rows of a query page by page, so that the table can be changed between two rows.

        :param query: with a mark for each of ``values``, then for each part of ``after``; it must be ordered by the key
        :param after: the key before the first row
        :param key: where a row has its key
        """
        while True:
            rows = self.run(f"{query} limit {_AT_ONCE}", *values, *after)
            yield from rows
            if len(rows) < _AT_ONCE:
                return
            after = rows[-1][key]
