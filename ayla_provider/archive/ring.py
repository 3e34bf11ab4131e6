"""The files of an archive in the order in which they are read: in a temporary database, so that memory doesn't grow."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Self

from ayla_provider.archive.temporary import TemporaryDatabase
from ayla_provider.domain.events import EventType
from ayla_provider.domain.hour import ExportHour
from ayla_provider.domain.position import FilePlace

_AT_ONCE = 1000
"""How many files are written at once."""


@dataclass(frozen=True, slots=True)
class Content:
    """A file, and what it should hold."""

    hour: ExportHour
    path: str
    size: int
    """In bytes."""
    crc32c: str
    """Base64."""
    offline: bool
    """Whether it is in an archive tier, so that it can't be read now."""

    @property
    def place(self) -> FilePlace:
        """Its place in the order."""
        return FilePlace(self.hour.start, self.path)


class Ring:
    """The files of each event type, ordered by hour and path. Use it as a context manager, in one thread."""

    def __init__(self) -> None:
        self._rows: list[tuple[Any, ...]] = []
        self._database = TemporaryDatabase(
            "event_type text, hour integer, path text, size integer, crc32c text, offline integer, "
            "primary key (event_type, hour, path)"
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self._database.close()

    def add(self, content: Content) -> None:
        """Add a file."""
        hour = int(content.hour.start.timestamp())
        facts = (content.path, content.size, content.crc32c, content.offline)
        self._rows.append((content.hour.event_type, hour, *facts))
        if len(self._rows) == _AT_ONCE:
            self._insert()

    def event_types(self) -> list[EventType]:
        """Return the event types that have files."""
        self._insert()
        rows = self._database.run("select distinct event_type from rows order by event_type")
        return [EventType(name) for (name,) in rows]

    def size(self, event_type: EventType, until: FilePlace | None = None) -> int:
        """
        Return the bytes of an event type's files.

        :param until: the last file that counts; None for all
        """
        self._insert()
        key = _key(until) if until else (2**62, "")
        query = "select coalesce(sum(size), 0) from rows where event_type = ? and (hour, path) <= (?, ?)"
        ((size,),) = self._database.run(query, event_type, *key)
        return int(size)

    def after(self, event_type: EventType, place: FilePlace | None) -> Iterator[Content]:
        """Yield an event type's files behind a place, in their order; all for None."""
        self._insert()
        key = _key(place) if place else (-(2**62), "")
        query = "select * from rows where event_type = ? and (hour, path) > (?, ?) order by hour, path"
        return map(_content, self._database.pages(query, event_type, after=key, key=slice(1, 3)))

    def find(self, event_type: EventType, places: Iterable[FilePlace]) -> Iterator[Content]:
        """Yield the files at these places that exist."""
        self._insert()
        for place in places:
            query = "select * from rows where event_type = ? and hour = ? and path = ?"
            yield from map(_content, self._database.run(query, event_type, *_key(place)))

    def _insert(self) -> None:
        self._database.insert("insert or replace into rows values (?, ?, ?, ?, ?, ?)", self._rows)
        self._rows.clear()


def _key(place: FilePlace) -> tuple[int, str]:
    return int(place.hour.timestamp()), place.path


def _content(row: tuple[Any, ...]) -> Content:
    event_type, hour, path, size, crc32c, offline = row
    start = datetime.fromtimestamp(hour, UTC)
    return Content(ExportHour(EventType(event_type), start), path, size, crc32c, bool(offline))
