"""Looks for objects that can't be placed in time, with a fixed number of one-page listings per event folder."""

from __future__ import annotations

import logging
import re
from collections.abc import Container, Iterator, Sequence
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from fnmatch import fnmatchcase
from typing import TYPE_CHECKING

from ayla_provider.domain.hour import ONE_HOUR, ExportHour, FolderStyle
from ayla_provider.domain.paths import hour_text, source_window
from ayla_provider.domain.unplaced import Unplaced
from ayla_provider.source.listing import Listing, NewestListing

if TYPE_CHECKING:
    from ayla_provider.source.export import Export

log = logging.getLogger(__name__)

PAGE = 1000
"""Objects of a listing: one page."""

MOST_PAGES = 5
"""Pages of one gap, if nothing but ignored objects fills those before."""

MOST_FOLDERS = 10
"""Undeclared folders that a look lists. If there are more, the next one leaves every hour in doubt."""

_ONE_DAY = timedelta(days=1)

_BEFORE, _AFTER = timedelta(hours=12), timedelta(hours=14)
"""How far before and after its hour a name can state a local time; a clock of twelve hours states as early ones."""

_ESCAPED = re.compile(r"\[([*?\[])\]")


class IgnoredObjects(Container[str]):
    """
    The objects that the connection says aren't export data.

    :param root: the prefix of all event folders
    :param patterns: of names below it, such as ``Datapoint/README*`` or ``backup/*``; ``*`` also matches slashes. The
        first part is always the name of one folder, perhaps with ``[*]``, ``[?]``, or ``[[]`` for these characters
    """

    def __init__(self, root: str, patterns: Sequence[str]) -> None:
        self._root = root
        self._patterns = patterns
        self.count = len(patterns)

    def __contains__(self, name: object) -> bool:
        relative = str(name).removeprefix(self._root)
        return any(_matches(relative, pattern) for pattern in self._patterns)

    def end_of_group(self, name: str) -> str | None:
        """
        Return the bound after all names that a pattern ignores together with an object; None if there is no such group.

        Only a pattern whose single wildcard is a ``*`` at its end ignores all names that begin alike.
        """
        ends = []
        for pattern in self._patterns:
            start = self._root + _unescaped(pattern[:-1])
            last = start[-1:]
            if pattern[-1:] == "*" and not _has_wildcard(pattern[:-1]) and last.isascii() and name.startswith(start):
                ends.append(start[:-1] + chr(ord(last) + 1))
        return max(ends, default=None)


def _matches(relative: str, pattern: str) -> bool:
    if relative == pattern:
        return True
    folder, slash, rest = relative.partition("/")
    own_folder, _, own_rest = pattern.partition("/")
    return bool(slash) and folder in (own_folder, _unescaped(own_folder)) and fnmatchcase(rest, own_rest)


def _unescaped(pattern: str) -> str:
    return _ESCAPED.sub(r"\1", pattern)


def _has_wildcard(pattern: str) -> bool:
    """Whether a pattern can match more than one name. Its first part can't: it is the name of a folder."""
    _, _, rest = pattern.partition("/")
    return bool(re.search(r"[*?\[]", _ESCAPED.sub("", rest)))


class UnplacedSearch:
    """
    Looks for objects that leave hours without files in doubt.

    Names of the known styles leave gaps in the order of names, where all objects in any other style are. Few of these
    gaps can hold a file of the hours: those at the dates of the hours and of the present, those between years, and
    those before and after all dates. Names that state a local time are among those of neighbouring hours.

    :param export: the export
    :param hours: consecutive hours of one event type; the listing of their own files is somebody else's
    :param now: aware
    """

    def __init__(self, export: Export, hours: Sequence[ExportHour], now: datetime) -> None:
        self._export = export
        self._event_type = hours[0].event_type
        self._start = hours[0].start.astimezone(UTC)
        self._last = hours[-1].start.astimezone(UTC)
        self._now = now.astimezone(UTC)

    def find(self, folder: str | None, undeclared: Sequence[str]) -> list[Unplaced]:
        """
        Return what is there.

        :param folder: the event type's folder; None if it doesn't exist
        :param undeclared: the folders of no known event type
        :raises AylaError: if the export can't be listed
        """
        found: list[Unplaced] = []
        if folder is not None:
            found += self.in_folder(folder)
        for other in undeclared[:MOST_FOLDERS]:
            found += self._undeclared(other)
        for other in undeclared[MOST_FOLDERS : MOST_FOLDERS + 1]:
            found.append(Unplaced(self._export.prefix(other), self._now, all_hours=True, folder=other))
        return found

    def in_folder(self, folder: str) -> list[Unplaced]:
        """
        Return what is in a folder of the event type.

        :raises AylaError: if it can't be listed
        """
        found = []
        prefix = self._export.prefix(folder)
        for start, end in self._gaps():
            found += self._gap(prefix, start, end)
        for start, end in self._neighbours():
            found += self._among_files(prefix, start, end)
        return found

    def passed_over(self, folder: str) -> list[Unplaced]:
        """
        Return what is in a folder that means the event type, but isn't the one that the connection names.

        :raises AylaError: if it can't be listed
        """
        prefix = self._export.prefix(folder)
        start_offset, end_offset = source_window(prefix, self._start, self._last + ONE_HOUR)
        listing = self._export.listed(
            self._event_type,
            prefix,
            f"{self._event_type}: the look into {prefix}, which event_folders doesn't name",
            listing=NewestListing(ignored_objects=self._export.ignored_objects),
            start_offset=start_offset,
            end_offset=end_offset,
        )
        found = [*listing.unplaced, *self.in_folder(folder)]
        found += [
            Unplaced(file.name, file.created, file.hour.start, folder=folder, certain=True) for file in listing.files
        ]
        return [
            replace(unplaced, folder=folder, beside=self._export.folders_of(self._event_type)) for unplaced in found
        ]

    def _gaps(self) -> Iterator[tuple[str, str]]:
        """Yield the bounds of each gap, relative to the event folder; an empty text for no bound."""
        today = (self._now + ONE_HOUR).date()
        yield "", f"{self._start.year:04}-"
        dates = {self._start.date() - _ONE_DAY, self._last.date(), self._last.date() + _ONE_DAY, today - _ONE_DAY}
        # Names such as 2026-10/21/07 are before the first day of their month, such as 2026-10-7 after its last one.
        dates.add(self._start.date().replace(day=1) - _ONE_DAY)
        dates.add((self._last.date().replace(day=28) + 4 * _ONE_DAY).replace(day=1) - _ONE_DAY)
        for day in (self._start.date(), self._last.date()):
            # Names such as 2026-10-1 07:00:00 are before 2026-10-10.
            if day.day < 4:
                dates.add(day.replace(day=1) + (day.day * 10 - 2) * _ONE_DAY)
        for day in sorted(dates):
            if day < today and day != date(day.year, 12, 31):
                yield _after(day), (day + _ONE_DAY).isoformat()
        for year in range(self._start.year - 1, today.year):
            if year == self._start.year - 1 and self._start.timetuple().tm_yday > 2:
                # What such an object states is long before the hours.
                continue
            yield _after(date(year, 12, 31)), f"{year + 1:04}-"
        yield _after(today), ""

    def _neighbours(self) -> Iterator[tuple[str, str]]:
        """Yield the bounds of the neighbouring hours that the listing of the hours' own files doesn't show."""
        # From the beginning of the date on, for names such as 2026-11-01 - 07:00.
        yield min(_text_of(self._start - _BEFORE), self._start.date().isoformat()), _text_of(self._start)
        # The listing of the hours' own files ends there. Names with a hyphen come after all others of their date.
        last = self._last + ONE_HOUR + _AFTER
        yield f"{hour_text(self._last, FolderStyle.HYPHEN)}~", hour_text(last, FolderStyle.HYPHEN)

    def _among_files(self, prefix: str, start: str, end: str) -> list[Unplaced]:
        """Return what is among the files of other hours."""
        what = f"{self._event_type}: the look for objects that can't be placed in time among the files below {prefix}"
        listing = self._export.listed(
            self._event_type,
            prefix,
            what,
            listing=NewestListing(ignored_objects=self._export.ignored_objects),
            start_offset=prefix + start,
            end_offset=prefix + end,
            max_results=MOST_PAGES * PAGE,
        )
        if listing.count == MOST_PAGES * PAGE:
            log.warning("%s: after %d pages, the rest isn't read.", what, MOST_PAGES)
        return list(listing.unplaced)

    def _gap(self, prefix: str, start: str, end: str) -> list[Unplaced]:
        what = f"{self._event_type}: the look for objects that can't be placed in time below {prefix}"
        offset = prefix + start
        pages, groups = 0, 0
        while pages < MOST_PAGES:
            listing = self._export.listed(
                self._event_type,
                prefix,
                what,
                listing=Listing(ignored_objects=self._export.ignored_objects),
                start_offset=offset,
                end_offset=prefix + end if end else "",
                max_results=PAGE,
            )
            self._warn_of_the_future(listing)
            found = list(listing.unplaced)
            # Before the dates of the known styles, nothing follows the first file.
            if listing.count < PAGE or (listing.files and end):
                return found
            if found:
                # The page ends among such objects: nobody knows when the others were created.
                return [replace(unplaced, all_hours=True) for unplaced in found]
            after_group = self._export.ignored_objects.end_of_group(listing.last_name)
            if after_group is not None and groups < self._export.ignored_objects.count:
                # However many objects are ignored together, they cost one page.
                groups += 1
                offset = after_group
            else:
                pages += 1
                offset = listing.last_name + "\0"
            if end and offset >= prefix + end:
                return []
        log.warning("%s: after %d pages, the rest isn't read.", what, MOST_PAGES)
        return [] if listing.files else [Unplaced(listing.last_name, self._now, all_hours=True)]

    def _undeclared(self, other: str) -> list[Unplaced]:
        """Return the newest object that a look shows of a folder that can be the event type's under another name."""
        prefix = self._export.prefix(other)
        what = f"{self._event_type}: the look into the undeclared folder {prefix}"
        created: dict[str, datetime] = {}
        for start in ("", _text_of(self._start), _text_of(self._now - _ONE_DAY), ":"):
            objects = self._export.source.objects(prefix, what, start_offset=prefix + start, max_results=PAGE)
            for item in objects:
                if not item.name.endswith("/") and item.name not in self._export.ignored_objects:
                    created[item.name] = item.created
        if not created:
            return []
        newest = max(created, key=lambda name: created[name])
        return [Unplaced(newest, created[newest], folder=other)]

    def _warn_of_the_future(self, listing: Listing) -> None:
        future = [file for file in listing.files if file.hour.start > self._now + ONE_HOUR]
        if future:
            log.warning(
                "%d objects are in folders that are later than the present, and prove nothing about other hours; the "
                "first is %r. Ask Ayla support what wrote them.",
                len(future),
                future[0].name,
            )


def _after(day: date) -> str:
    """Return the bound after all hours of a date, in both known styles."""
    return f"{day.isoformat()}-24"


def _text_of(time: datetime) -> str:
    return hour_text(time, FolderStyle.SPACE)
