"""The export in the vendor's bucket, in any cloud."""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

from ayla_provider.domain.arrival import (
    EXPIRY,
    SHORTEST_RETENTION,
    WITNESS_SPAN,
    ArrivalRule,
    HourStatus,
    Kept,
    SignsOfLife,
    is_evidence,
    needs_life,
    settle,
)
from ayla_provider.domain.events import EVENT_FOLDERS, EventType, parse_event_type
from ayla_provider.domain.hour import (
    ONE_HOUR,
    ExportHour,
    FolderStyle,
    describe_hour,
    describe_hours,
    hour_of,
    hours_between,
)
from ayla_provider.domain.hour_pattern import HourPattern
from ayla_provider.domain.paths import ExportFile, hour_text, parse_source, source_prefix, source_window
from ayla_provider.domain.unplaced import Unplaced
from ayla_provider.errors import TEMPORARY, AylaConfigError, AylaUnavailable
from ayla_provider.source.listing import Listing, NewestListing
from ayla_provider.source.unplaced import PAGE, IgnoredObjects, UnplacedSearch
from ayla_provider.transport.spans import facts_of, span

if TYPE_CHECKING:
    from ayla_provider.source.bucket import Source

log = logging.getLogger(__name__)

_ONE_DAY = timedelta(days=1)

_RECENT = timedelta(days=2)
"""How old a date may be so that a listing from it also has all later dates: they fit into one more page or two."""


class Export:
    """
    One OEM's export in the vendor's bucket. Every listing is bounded by a prefix below its root.

    :param source: the bucket
    :param root: the prefix of all event folders: ``<oem_id>/``, or nothing where the bucket is the OEM's own
    :param event_folders: event type to the spelling of its folder, or of its folders, the present one first, where the
        connection sets it
    :param rule: when an hour counts as complete, as the connection sets it
    :param ignored_objects: patterns of the names, below ``root``, of objects that aren't export data, as the connection
        sets them. They never hide a file in a dated folder of a known event type
    :param hour_pattern: how folders write their time, if not only in the known styles
    :param retention: how long the vendor keeps files, as the connection sets it; None if nobody knows
    :param now: the clock, aware
    """

    def __init__(
        self,
        source: Source,
        root: str,
        *,
        event_folders: Mapping[EventType, str | tuple[str, ...]] | None = None,
        rule: ArrivalRule | None = None,
        ignored_objects: Sequence[str] = (),
        hour_pattern: HourPattern | None = None,
        retention: timedelta | None = None,
        now: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        self.source = source
        self.root = root
        self._all_declared = {
            event_type: (folders,) if isinstance(folders, str) else folders
            for event_type, folders in (event_folders or {}).items()
        }
        self.declared_folders: Mapping[EventType, str] = {
            event_type: folders[0] for event_type, folders in self._all_declared.items()
        }
        """Event type to the spelling of its present folder, where the connection sets it."""
        self.rule = rule or ArrivalRule()
        self.ignored_objects = IgnoredObjects(root, ignored_objects)
        self.hour_pattern = hour_pattern
        self.retention = retention
        self.now = now
        self._undeclared: list[str] = []
        """The folders of no known event type, as the bucket showed them last."""
        self._passed_over: dict[EventType, list[str]] = {}
        """Event type to the folders that mean it, but that the connection doesn't name for it."""
        self._found_folders: dict[EventType, str] = {}

    @property
    def url(self) -> str:
        """The URL of the folder of all event folders, such as ``gs://bucket/<oem_id>/``."""
        return f"{self.source.url}/{self.root}"

    @contextlib.contextmanager
    def standing_still(self, source: Source) -> Iterator[None]:
        """
        Read another source, at one time, during a ``with`` block.

        :param source: shows the same bucket
        """
        before = self.source, self.now
        now = self.now()
        self.source, self.now = source, lambda: now
        try:
            yield
        finally:
            self.source, self.now = before

    def prefix(self, folder: str) -> str:
        """Return the prefix of all object names in an event folder."""
        return source_prefix(self.root, folder)

    def event_folders(self) -> dict[EventType, str]:
        """
        Return event type to folder spelling, as the bucket shows them now: one listing.

        The result includes folders of undocumented event types, with a warning, under an identifier of their own.

        :raises AylaConfigError: if two folders mean one event type and ``event_folders`` doesn't say which to take
        """
        folders = self.source.folders(self.root, f"the list of event folders below {self.url}")
        declared = {folder for names in self._all_declared.values() for folder in names}
        found: dict[EventType, str] = {}
        self._undeclared = []
        self._passed_over = {}
        for folder in folders:
            if folder in declared:
                continue
            event_type = self._event_type_of(folder)
            is_ignored = self.prefix(folder) in self.ignored_objects
            if event_type not in EVENT_FOLDERS:
                if is_ignored:
                    continue
                self._undeclared.append(folder)
            if event_type is None:
                continue
            if event_type in self._all_declared:
                # The connection says that another folder is the event type's.
                if not is_ignored:
                    self._passed_over.setdefault(event_type, []).append(folder)
                continue
            if event_type in found:
                raise AylaConfigError(
                    f"two folders below {self.url} mean event type {event_type}: {found[event_type]!r} and {folder!r}. "
                    "Say in the connection's event_folders which to take, as {\""
                    f'{event_type}": "{folder}"}}.'
                )
            found[event_type] = folder
        for event_type, names in self._all_declared.items():
            # An event type whose present folder doesn't exist yet can have an earlier one.
            existing = [name for name in names if name in folders]
            if existing:
                found[event_type] = existing[0]
            else:
                log.warning("%r, declared in event_folders, doesn't exist (yet).", self.prefix(names[0]))
        self._found_folders = found
        return dict(found)

    def _event_type_of(self, folder: str) -> EventType | None:
        prefix = self.prefix(folder)
        try:
            event_type = parse_event_type(folder)
        except AylaConfigError:
            log.warning("The folder %r can't be an event type, and is ignored.", prefix)
            return None
        if event_type not in EVENT_FOLDERS:
            log.warning(
                "The folder %r is of an event type that Ayla's documents don't list; you can copy it as %r.",
                prefix,
                event_type,
            )
        return event_type

    def folder_of(self, event_type: EventType) -> str:
        """Return the spelling of an event type's folder: the declared one, else the found one, else Ayla's usual."""
        if event_type in self.declared_folders:
            return self.declared_folders[event_type]
        if event_type not in self._found_folders:
            self.event_folders()
        return self._found_folders.get(event_type) or EVENT_FOLDERS.get(event_type) or event_type

    def folders_of(self, event_type: EventType) -> tuple[str, ...]:
        """Return the spellings of all folders of an event type, the present one first, see :meth:`folder_of`."""
        return self._all_declared.get(event_type) or (self.folder_of(event_type),)

    def _prefixes_of(self, event_type: EventType) -> list[str]:
        return [self.prefix(folder) for folder in self.folders_of(event_type)]

    def list_files(self, hours: Sequence[ExportHour]) -> list[ExportFile]:
        """
        Return the files of some hours: one listing, bounded on both sides.

        :param hours: consecutive hours of one event type
        """
        listing = self._list(hours, Listing(ignored_objects=self.ignored_objects))
        return self._apart(hours[0].event_type, listing.files_of(hours))

    def _apart(self, event_type: EventType, files: list[ExportFile]) -> list[ExportFile]:
        """Return files of several event folders, with paths of their own: two folders can have a file of one name."""
        if len(self.folders_of(event_type)) == 1:
            return files
        seen = set()
        apart = []
        for file in files:
            own = (file.folder_time, file.style, file.file)
            if own in seen:
                folder, _, _ = file.name.removeprefix(self.root).partition("/")
                file = replace(file, file=f"{folder}/{file.file}")
            seen.add(own)
            apart.append(file)
        return apart

    def _list(self, hours: Sequence[ExportHour], listing: Listing) -> Listing:
        """Fill a listing with the files of some hours, and perhaps of hours around them."""
        with span("list", **facts_of(hours)) as note:
            for prefix in self._prefixes_of(hours[0].event_type):
                self._list_folder(hours, listing, prefix)
            note(files=listing.files_count)
        if listing.strays:
            log.warning(
                "%d objects of %s are in no folder named by a time, and aren't copied; the first is %r.",
                listing.strays,
                hours[0].event_type,
                listing.first_stray,
            )
        return listing

    def _list_folder(self, hours: Sequence[ExportHour], listing: Listing, prefix: str) -> None:
        event_type = hours[0].event_type
        start_offset, _ = source_window(prefix, hours[0].start, hours[-1].end)
        last_date = hours[-1].start.astimezone(UTC).date()
        # Up to the end of the date, because names such as 2026-11-01T07 are after those of the known styles.
        day_after = (last_date + _ONE_DAY).isoformat()
        if self.now().astimezone(UTC).date() - last_date <= _RECENT:
            # Names such as 20261101T07 are after all names of later dates. Of these, there are few yet.
            day_after = day_after.replace("-", "")
        end_offset = f"{prefix}{day_after}"
        what = f"{describe_hours(hours)}: the list of {self.source.url}/{prefix}"
        self.listed(event_type, prefix, what, listing=listing, start_offset=start_offset, end_offset=end_offset)
        if self.hour_pattern:
            start, end = self.hour_pattern.window(hour.start for hour in hours)
            self.listed(
                event_type,
                prefix,
                what,
                listing=listing,
                start_offset=prefix + start,
                end_offset=prefix + end,
                without=(start_offset, end_offset),
            )

    def status(self, hours: Sequence[ExportHour], rule: ArrivalRule, *, keep_files: bool = True) -> list[HourStatus]:
        """
        Return the status of each hour.

        It takes one bounded listing. If an hour without files is due, it also takes a search for a sign of life (few
        results for each event type, until one is found) and for objects that can't be placed in time (a fixed number
        of one-page listings). If such an hour may have expired, it also takes one page of older files.

        :param hours: consecutive hours of one event type
        :param keep_files: whether each status has all files; otherwise it has the newest one, and counts the others
        """
        now = self.now()
        kind = Listing if keep_files else NewestListing
        listing = self._list(hours, kind(ignored_objects=self.ignored_objects))
        files = self._apart(hours[0].event_type, listing.files_of(hours))
        life = SignsOfLife.of(files, now)
        with_files = {file.hour for file in files}
        due = [
            hour
            for hour in hours
            if hour not in with_files and needs_life(hour.start, (), now=now, patience=rule.patience)
        ]
        unplaced = list(listing.unplaced)
        if due:
            unplaced += self.unplaced(due)
        in_doubt = [hour for hour in due if not life.after(hour.start)]
        if in_doubt:
            life = SignsOfLife.of([*files, *self._sign_of_life(in_doubt)], now)
        kept = None
        if due and now - due[0].start > SHORTEST_RETENTION:
            kept = Kept([*files, *self._older_files(due[0])])
        return settle(hours, files, rule, now=now, life=life, kept=kept, unplaced=unplaced, others=listing.others)

    def unplaced(self, hours: Sequence[ExportHour]) -> list[Unplaced]:
        """
        Return objects that can't be placed in time, and can be files of hours without files.

        :param hours: consecutive hours of one event type
        :raises AylaError: if the export can't be listed
        """
        # The folders of a minute ago don't show that an event type got a new one since.
        event_type = hours[0].event_type
        folder = self.event_folders().get(event_type)
        own = self.folders_of(event_type)
        undeclared = [name for name in self._undeclared if name not in own]
        search = UnplacedSearch(self, hours, self.now())
        found = search.find(folder, undeclared)
        for other in own:
            if folder is not None and other != folder:
                found += search.in_folder(other)
        for other in self._passed_over.get(event_type, []):
            found += search.passed_over(other)
        return found

    def all_unplaced(self, hours: Sequence[ExportHour]) -> list[Unplaced]:
        """
        Return objects that can't be placed in time, and can be files of hours with or without files.

        :param hours: consecutive hours of one event type
        :raises AylaError: if the export can't be listed
        """
        listing = self._list(hours, NewestListing(ignored_objects=self.ignored_objects))
        return [*listing.unplaced, *self.unplaced(hours)]

    def hours_before(self, event_type: EventType, end: datetime) -> list[ExportHour]:
        """
        Return the hours before a time of which the source has files, the oldest first.

        It takes a request for each 1,000 objects, of the whole event folder where the connection sets ``hour_pattern``.

        :param end: aware, on the hour
        """
        listing = NewestListing(ignored_objects=self.ignored_objects)
        what = f"{event_type}: the list of files before {describe_hour(end)}"
        for prefix in self._prefixes_of(event_type):
            end_offset = "" if self.hour_pattern else prefix + hour_text(end, FolderStyle.SPACE)
            self.listed(event_type, prefix, what, listing=listing, end_offset=end_offset)
        return sorted({file.hour for file in listing.files if file.hour.start < end})

    def oldest_hours(self, event_type: EventType) -> list[ExportHour]:
        """Return the oldest hours of which the source has files, as many as a page shows, the oldest first."""
        hours: set[ExportHour] = set()
        last: ExportHour | None = None
        for prefix in self._prefixes_of(event_type):
            listing = self.listed(
                event_type,
                prefix,
                f"{event_type}: the look for the oldest files",
                end_offset=prefix + hour_text(self.now(), FolderStyle.SPACE),
                max_results=PAGE,
            )
            of_folder = {file.hour for file in listing.files}
            hours |= of_folder
            if of_folder and listing.count == PAGE:
                # Its later hours are unknown.
                last = min(filter(None, (last, max(of_folder))))
        return sorted(hour for hour in hours if last is None or hour <= last)

    def _older_files(self, hour: ExportHour) -> list[ExportFile]:
        """Return a page of files that are old enough to prove that the source still keeps an hour."""
        what = f"{hour}: the look for older files"
        start = hour.start - EXPIRY - WITNESS_SPAN
        files = []
        for prefix in self._prefixes_of(hour.event_type):
            first = prefix + hour_text(start, FolderStyle.SPACE)
            end = prefix + hour_text(hour.start, FolderStyle.SPACE)
            listing = self.listed(hour.event_type, prefix, what, start_offset=first, end_offset=end, max_results=PAGE)
            files += listing.files
        return files + self._by_pattern(hour.event_type, what, start, hour.start)

    def _by_pattern(self, event_type: EventType, what: str, start: datetime, end: datetime) -> list[ExportFile]:
        """Return a page of the files of an interval whose folders are named as the connection's pattern says."""
        if self.hour_pattern is None or end <= start:
            return []
        first, last = self.hour_pattern.window(hours_between(start, end))
        files = []
        for prefix in self._prefixes_of(event_type):
            listing = self.listed(
                event_type, prefix, what, start_offset=prefix + first, end_offset=prefix + last, max_results=PAGE
            )
            files += listing.files
        return files

    def _sign_of_life(self, hours: Sequence[ExportHour]) -> list[ExportFile]:
        """Return a file later than the newest of these hours after which there is one; an empty list if none is."""
        later = self.later_than(hours[-1])
        if later:
            return later
        # The exporter is stalled. Search by halves for the newest hour after which it was still alive.
        # It was alive after hours[alive], with these files, and not after hours[stalled].
        alive, files = -1, later
        stalled = len(hours) - 1
        while stalled - alive > 1:
            middle = (alive + stalled) // 2
            later = self.later_than(hours[middle])
            if later:
                alive, files = middle, later
            else:
                stalled = middle
        return files

    def later_than(self, hour: ExportHour) -> list[ExportFile]:
        """
        Return one file of a later hour, of any event type; an empty list if there is none.

        The event type of ``hour`` comes first, because it is the most likely to have one.
        """
        if hour.event_type not in self._found_folders:
            self.event_folders()
        for event_type in sorted(self._found_folders, key=lambda event_type: event_type != hour.event_type):
            file = self._first_after(hour, event_type)
            if file:
                return [file]
        return []

    def _first_after(self, hour: ExportHour, event_type: EventType) -> ExportFile | None:
        """Return the first file of an event type in a later hour that is evidence, None if there is none."""
        folders = self._all_declared.get(event_type) or (self._found_folders[event_type],)
        for folder in folders:
            file = self._first_in_folder(hour, event_type, self.prefix(folder))
            if file:
                return file
        return None

    def _first_in_folder(self, hour: ExportHour, event_type: EventType, prefix: str) -> ExportFile | None:
        what = f"{event_type}: the look for a sign of life after {describe_hour(hour.start)}"
        now = self.now()
        present = hour_of(now) + ONE_HOUR
        for start, end in ((hour.end, min(hour.end + _ONE_DAY, present)), (present - _ONE_DAY, present)):
            for file in self._by_pattern(event_type, what, start, end):
                if file.hour.start > hour.start and is_evidence(file, now):
                    return file
        _, end_offset = source_window(prefix, hour.start, present + ONE_HOUR)
        # Exports are known to use the style with a space, which sorts first.
        for style in (FolderStyle.SPACE, FolderStyle.HYPHEN):
            start_offset = prefix + hour_text(hour.end, style)
            if start_offset >= end_offset:
                continue
            # The first object mostly is evidence. If it isn't, others of the same page can be.
            for max_results in (1, PAGE):
                listing = self.listed(
                    event_type,
                    prefix,
                    what,
                    start_offset=start_offset,
                    end_offset=end_offset,
                    max_results=max_results,
                )
                for file in listing.files:
                    if file.hour.start > hour.start and is_evidence(file, now):
                        return file
                if listing.count < max_results:
                    # The names in the other style sort later, so they were in this listing.
                    return None
        return None

    def _parse_by_pattern(self, name: str, prefix: str) -> tuple[datetime, FolderStyle, str] | None:
        """
        Return what the connection's pattern says about an object, as :func:`parse_source` does.

        The file keeps the name of its folder, so that no copy has the path of a file from another style's folder.
        """
        relative = name.removeprefix(prefix)
        time = self.hour_pattern.parse(relative) if self.hour_pattern else None
        return None if time is None else (time, FolderStyle.SPACE, relative)

    def listed(
        self,
        event_type: EventType,
        prefix: str,
        what: str,
        *,
        listing: Listing | None = None,
        max_results: int | None = None,
        without: tuple[str, str] = ("", ""),
        **bounds: str,
    ) -> Listing:
        """
        List an event folder.

        :param what: what is listed, for errors
        :param listing: what to fill and return; by default, a new one that keeps all files
        :param max_results: how many objects at most; by default all
        :param without: the bounds of names to leave out, inclusive and exclusive, because another listing has them
        :param bounds: ``start_offset``, ``end_offset``: see :meth:`~ayla_provider.source.bucket.Source.objects`
        :raises AylaError: if the folder can't be listed
        """
        listing = Listing() if listing is None else listing
        listing.begin()
        for item in self.source.objects(prefix, what, max_results=max_results, **bounds):
            last_name = listing.last_name
            if item.name <= last_name:
                raise AylaUnavailable(f"{what}: {item.name!r} comes after {last_name!r}, out of order. {TEMPORARY}")
            listing.count += 1
            listing.last_name = item.name
            if without[0] <= item.name < without[1]:
                continue
            parsed = parse_source(item.name, prefix) or self._parse_by_pattern(item.name, prefix)
            if parsed is None:
                listing.leave_out(item.name, prefix, item.created)
                continue
            folder_time, style, file = parsed
            listing.add(
                ExportFile(
                    event_type=event_type,
                    folder_time=folder_time,
                    style=style,
                    file=file,
                    name=item.name,
                    size=item.size,
                    crc32c=item.crc32c,
                    generation=item.generation,
                    created=item.created,
                    etag=item.etag,
                )
            )
        return listing
