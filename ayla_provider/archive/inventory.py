"""All objects of an archive, as its listings show them: in a temporary database, so that memory doesn't grow."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Iterable, Iterator
from datetime import UTC, datetime
from typing import Any, Self

from ayla_provider.archive.destination import Destination, Listed, Stored

_AT_ONCE = 1000
"""How many rows are written or read at once."""


class Inventory:
    """
    The objects of a destination, listed prefix by prefix. Use it as a context manager, in one thread.

    SQLite removes its file when the process ends, however it ends.
    """

    def __init__(self, destination: Destination) -> None:
        self._destination = destination
        self._prefixes: list[str] = []
        # An empty name is a temporary database on disk. A damaged one would only mean another run.
        self._database = sqlite3.connect("", isolation_level=None)
        self._database.execute("pragma synchronous = off")
        self._database.execute("pragma journal_mode = off")
        self._database.execute(
            "create table objects (path text primary key, size integer, version text, crc32c text, modified real, "
            "offline integer, unfinished integer, named integer default 0) without rowid"
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self._database.close()

    def list(self, prefix: str) -> None:
        """
        List all objects whose path begins with a prefix. What was listed before isn't listed again.

        :raises AylaDestinationError: if the destination can't be listed
        """
        if self.covers(prefix):
            return
        self._add(self._destination.tree(prefix))
        self._prefixes.append(prefix)

    def search(self, is_wanted: Callable[[str], bool]) -> None:
        """
        List the whole destination, and keep the objects whose path is wanted.

        :raises AylaDestinationError: if the destination can't be listed
        """
        self._add(listed for listed in self._destination.tree("") if is_wanted(listed.stored.path))

    def covers(self, path: str) -> bool:
        """Return whether an object at this path would have been listed."""
        return any(path.startswith(prefix) for prefix in self._prefixes)

    def find(self, path: str) -> Listed | None:
        """Return an object, and note that a manifest names it; None if the listings don't show it."""
        self._database.execute("update objects set named = 1 where path = ?", (path,))
        row = self._database.execute("select * from objects where path = ? and not unfinished", (path,)).fetchone()
        return _listed(row) if row else None

    def below(self, prefix: str) -> Iterator[Listed]:
        """Yield the objects whose path begins with a prefix, in the order of their paths."""
        query = "select * from objects where not unfinished and path > ? and path < ? order by path limit ?"
        return self._pages(query, prefix, f"{prefix}\U0010ffff", _AT_ONCE)

    def unnamed(self, before: datetime) -> Iterator[Listed]:
        """
        Yield what no manifest names, in the order of the paths: objects, and the rest of uploads.

        :param before: aware; what was written later is left out
        """
        query = "select * from objects where not named and path > ? and modified < ? order by path limit ?"
        return self._pages(query, "", before.timestamp(), _AT_ONCE)

    def _pages(self, query: str, after: str, *arguments: object) -> Iterator[Listed]:
        """Run a query page by page, so that the database can be changed between two rows."""
        while True:
            rows = self._database.execute(query, (after, *arguments)).fetchall()
            yield from map(_listed, rows)
            if len(rows) < _AT_ONCE:
                return
            after = rows[-1][0]

    def _add(self, objects: Iterable[Listed]) -> None:
        rows: list[tuple[Any, ...]] = []
        for listed in objects:
            rows.append(_row(listed))
            if len(rows) == _AT_ONCE:
                self._insert(rows)
                rows.clear()
        self._insert(rows)

    def _insert(self, rows: Iterable[tuple[Any, ...]]) -> None:
        self._database.execute("begin")
        self._database.executemany("insert or ignore into objects values (?, ?, ?, ?, ?, ?, ?, 0)", rows)
        self._database.execute("commit")


def _row(listed: Listed) -> tuple[Any, ...]:
    stored = listed.stored
    facts = (stored.path, stored.size, stored.version, stored.crc32c)
    return (*facts, listed.modified.timestamp(), listed.offline, listed.unfinished)


def _listed(row: tuple[Any, ...]) -> Listed:
    path, size, version, crc32c, modified, offline, unfinished, _ = row
    stored = Stored(path, size, version, crc32c)
    return Listed(stored, datetime.fromtimestamp(modified, UTC), bool(offline), bool(unfinished))
