"""All objects of an archive, as its listings show them: in a temporary database, so that memory doesn't grow."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from datetime import UTC, datetime
from typing import Any, Self

from ayla_provider.archive.destination import Destination, Listed, Stored
from ayla_provider.archive.temporary import TemporaryDatabase


class Inventory:
    """The objects of a destination, listed prefix by prefix. Use it as a context manager, in one thread."""

    def __init__(self, destination: Destination) -> None:
        self._destination = destination
        self._prefixes: list[str] = []
        self._database = TemporaryDatabase(
            "path text primary key, size integer, version text, crc32c text, modified real, offline integer, "
            "unfinished integer, named integer default 0"
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
        self._database.run("update rows set named = 1 where path = ?", path)
        rows = self._database.run("select * from rows where path = ? and not unfinished", path)
        return _listed(rows[0]) if rows else None

    def below(self, prefix: str) -> Iterator[Listed]:
        """Yield the objects whose path begins with a prefix, in the order of their paths."""
        query = "select * from rows where not unfinished and path < ? and path > ? order by path"
        return self._pages(query, f"{prefix}\U0010ffff", after=prefix)

    def unnamed(self, before: datetime) -> Iterator[Listed]:
        """
        Yield what no manifest names, in the order of the paths: objects, and the rest of uploads.

        :param before: aware; what was written later is left out
        """
        query = "select * from rows where not named and modified < ? and path > ? order by path"
        return self._pages(query, before.timestamp(), after="")

    def _pages(self, query: str, value: object, *, after: str) -> Iterator[Listed]:
        return map(_listed, self._database.pages(query, value, after=(after,), key=slice(0, 1)))

    def _add(self, objects: Iterable[Listed]) -> None:
        self._database.insert("insert or ignore into rows values (?, ?, ?, ?, ?, ?, ?, 0)", map(_row, objects))


def _row(listed: Listed) -> tuple[Any, ...]:
    stored = listed.stored
    facts = (stored.path, stored.size, stored.version, stored.crc32c)
    return (*facts, listed.modified.timestamp(), listed.offline, listed.unfinished)


def _listed(row: tuple[Any, ...]) -> Listed:
    path, size, version, crc32c, modified, offline, unfinished, _ = row
    stored = Stored(path, size, version, crc32c)
    return Listed(stored, datetime.fromtimestamp(modified, UTC), bool(offline), bool(unfinished))
