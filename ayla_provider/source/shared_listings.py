"""Listings that several looks share: no part of the bucket is listed twice."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import islice
from typing import Any

from ayla_provider.errors import AylaError
from ayla_provider.source.bucket import Download, ObjectVersion, Source, SourceObject

MOST_OBJECTS = 20_000
"""How many objects are remembered. An object takes half a kilobyte. What is beyond is listed again for each look."""


@dataclass(frozen=True, slots=True)
class _Failure:
    """A listing that failed."""

    error: AylaError
    what: str
    """What was listed, as the error says it."""

    def again(self, what: str) -> AylaError:
        """Return the error as another look would get it."""
        kind = type(self.error)
        # Without its constructor, which may want other arguments than the text.
        error = kind.__new__(kind, str(self.error).replace(self.what, what))
        error.__dict__.update(self.error.__dict__)
        return error


@dataclass(frozen=True, slots=True)
class _Part:
    """What is known of the names between two bounds."""

    start: str
    """Inclusive."""
    end: str
    """Exclusive."""
    objects: list[SourceObject] = field(default_factory=list)
    """In the order of their names."""
    failure: _Failure | None = None

    def between(self, start: str, end: str) -> Iterator[SourceObject]:
        """
        Yield the objects between two bounds.

        :param start: inclusive
        :param end: exclusive
        """
        first = bisect_left(self.objects, start, key=_name)
        last = bisect_left(self.objects, end, key=_name)
        yield from self.objects[first:last]


class SharedListings:
    """
    A bucket of the vendor, of which looks at about the same time read each part once.

    Each look gets what it would get from the bucket: the objects within its bounds, or the error of the listing. Use it
    in one thread, and for some seconds: it never looks again. If looks ask for the earliest hours first, the number of
    listings doesn't depend on the number of looks.

    :param source: the bucket
    """

    def __init__(self, source: Source) -> None:
        self._source = source
        self.url = source.url
        self._parts: dict[str, list[_Part]] = {}
        """Prefix to the parts of its names that are known, in order. They don't overlap."""
        self._folders: dict[str, list[str] | _Failure] = {}
        self._room = MOST_OBJECTS

    @property
    def client(self) -> Any:
        """See :class:`~ayla_provider.source.bucket.Source`."""
        return self._source.client

    @property
    def requests(self) -> int:
        """See :class:`~ayla_provider.source.bucket.Source`."""
        return self._source.requests

    def objects(
        self, prefix: str, what: str, *, start_offset: str = "", end_offset: str = "", max_results: int | None = None
    ) -> Iterator[SourceObject]:
        """See :class:`~ayla_provider.source.bucket.Source`."""
        end_of_prefix = _after(prefix)
        position = max(prefix, start_offset)
        end = min(end_offset or end_of_prefix, end_of_prefix)
        left = max_results
        while position < end and left != 0:
            part, following = self._look_up(prefix, position)
            if part is None:
                stop = end if following is None else min(end, following.start)
                found = self._list(prefix, what, position, stop, left)
            else:
                if part.failure:
                    raise part.failure.again(what)
                stop = part.end
                found = islice(part.between(position, end), left)
            for item in found:
                if left is not None:
                    left -= 1
                yield item
            position = stop

    def _look_up(self, prefix: str, position: str) -> tuple[_Part | None, _Part | None]:
        """Return the part that holds a position, and the first part after it; None where there is none."""
        for part in self._parts.get(prefix, ()):
            if position < part.start:
                return None, part
            if position < part.end:
                return part, None
        return None, None

    def _list(self, prefix: str, what: str, start: str, end: str, most: int | None) -> Iterator[SourceObject]:
        """Yield what the bucket has between two bounds, and remember it."""
        objects: list[SourceObject] = []
        count = 0
        previous = ""
        is_kept = True
        listed = self._source.objects(
            prefix,
            what,
            start_offset="" if start == prefix else start,
            end_offset="" if end == _after(prefix) else end,
            max_results=most,
        )
        try:
            for item in listed:
                count += 1
                # An answer out of order, or beyond its bounds, is the business of the one that gets it.
                is_kept = is_kept and len(objects) < self._room and max(previous, start) <= item.name < end
                is_kept = is_kept and item.name != previous
                previous = item.name
                if is_kept:
                    objects.append(item)
                else:
                    objects.clear()
                yield item
        except AylaError as error:
            self._add(prefix, _Part(start, end, failure=_Failure(error, what)))
            raise
        if is_kept:
            # A full answer says nothing about the names after its last one.
            known_end = f"{previous}\0" if count == most else end
            self._add(prefix, _Part(start, known_end, objects))
            self._room -= len(objects)

    def _add(self, prefix: str, part: _Part) -> None:
        parts = self._parts.setdefault(prefix, [])
        parts.append(part)
        parts.sort(key=lambda known: known.start)

    def folders(self, prefix: str, what: str) -> list[str]:
        """See :class:`~ayla_provider.source.bucket.Source`."""
        if prefix not in self._folders:
            try:
                self._folders[prefix] = self._source.folders(prefix, what)
            except AylaError as error:
                self._folders[prefix] = _Failure(error, what)
                raise
        known = self._folders[prefix]
        if isinstance(known, _Failure):
            raise known.again(what)
        return list(known)

    def children(self, prefix: str, what: str) -> Iterator[SourceObject | str]:
        """See :class:`~ayla_provider.source.bucket.Source`. Not shared: no look needs it."""
        return self._source.children(prefix, what)

    def open(self, version: ObjectVersion, what: str, offset: int, end: int | None = None) -> Download:
        """See :class:`~ayla_provider.source.bucket.Source`."""
        return self._source.open(version, what, offset, end)

    def close(self) -> None:
        """See :class:`~ayla_provider.source.bucket.Source`."""
        self._source.close()


def _name(item: SourceObject) -> str:
    return item.name


def _after(prefix: str) -> str:
    """Return the bound after all names with a prefix, which ends with an ASCII character, such as a slash."""
    return f"{prefix[:-1]}{chr(ord(prefix[-1]) + 1)}"
