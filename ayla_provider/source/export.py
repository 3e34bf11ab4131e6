"""The export in the vendor's bucket, in any cloud."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from functools import cached_property
from typing import TYPE_CHECKING

from ayla_provider.domain.arrival import (
    SHORTEST_RETENTION,
    ArrivalRule,
    HourStatus,
    SignsOfLife,
    needs_life,
    settle,
)
from ayla_provider.domain.events import EVENT_FOLDERS, EventType, parse_event_type
from ayla_provider.domain.hour import ExportHour, FolderStyle, describe_hour, describe_hours
from ayla_provider.domain.paths import ExportFile, hour_text, parse_source, source_prefix, source_window
from ayla_provider.errors import TEMPORARY, AylaConfigError, AylaUnavailable
from ayla_provider.source.listing import Listing, NewestListing

if TYPE_CHECKING:
    from ayla_provider.source.bucket import Source

log = logging.getLogger(__name__)


class Export:
    """
    One OEM's export in the vendor's bucket. Every listing is bounded by a prefix below its root.

    :param source: the bucket
    :param root: the prefix of all event folders: ``<oem_id>/``, or nothing where the bucket is the OEM's own
    :param event_folders: event type to the spelling of its folder, where the connection sets it
    :param rule: when an hour counts as complete, as the connection sets it
    :param now: the clock, aware
    """

    def __init__(
        self,
        source: Source,
        root: str,
        *,
        event_folders: Mapping[EventType, str] | None = None,
        rule: ArrivalRule | None = None,
        now: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        self.source = source
        self.root = root
        self.declared_folders: Mapping[EventType, str] = event_folders or {}
        """Event type to the spelling of its folder, where the connection sets it."""
        self.rule = rule or ArrivalRule()
        self.now = now
        self._found_folders: dict[EventType, str] = {}

    @property
    def url(self) -> str:
        """The URL of the folder of all event folders, such as ``gs://bucket/<oem_id>/``."""
        return f"{self.source.url}/{self.root}"

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
        declared = {folder: event_type for event_type, folder in self.declared_folders.items()}
        found: dict[EventType, str] = {}
        for folder in folders:
            event_type = declared.get(folder) or self._event_type_of(folder)
            if event_type is None:
                continue
            if folder not in declared and event_type in self.declared_folders:
                # The connection says that another folder is the event type's.
                continue
            if event_type in found:
                raise AylaConfigError(
                    f"two folders below {self.url} mean event type {event_type}: {found[event_type]!r} and {folder!r}. "
                    "Say in the connection's event_folders which to take, as {\""
                    f'{event_type}": "{folder}"}}.'
                )
            found[event_type] = folder
        for event_type in self.declared_folders.keys() - found.keys():
            log.warning(
                "%r, declared in event_folders, doesn't exist (yet).", self.prefix(self.declared_folders[event_type])
            )
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

    def list_files(self, hours: Sequence[ExportHour]) -> list[ExportFile]:
        """
        Return the files of some hours: one listing, bounded on both sides.

        :param hours: consecutive hours of one event type
        """
        return self._list(hours, Listing()).files_of(hours)

    def _list(self, hours: Sequence[ExportHour], listing: Listing) -> Listing:
        """Fill a listing with the files of some hours, and perhaps of hours around them."""
        event_type = hours[0].event_type
        prefix = self.prefix(self.folder_of(event_type))
        start_offset, end_offset = source_window(prefix, hours[0].start, hours[-1].end)
        what = f"{describe_hours(hours)}: the list of {self.source.url}/{prefix}"
        self.listed(event_type, prefix, what, listing=listing, start_offset=start_offset, end_offset=end_offset)
        if listing.strays:
            log.warning(
                "%d objects below %s are in no folder named by a time, and are ignored; the first is %r.",
                listing.strays,
                prefix,
                listing.first_stray,
            )
        return listing

    def status(self, hours: Sequence[ExportHour], rule: ArrivalRule, *, keep_files: bool = True) -> list[HourStatus]:
        """
        Return the status of each hour.

        It takes one bounded listing. If an hour is either empty or overdue, it also takes a search for a sign of life:
        one result for each event type, until one is found. If an hour may have expired, it also takes a look for the
        oldest object.

        :param hours: consecutive hours of one event type
        :param keep_files: whether each status has all files; otherwise it has the newest one, and counts the others
        """
        now = self.now()
        listing = self._list(hours, Listing() if keep_files else NewestListing())
        files = listing.files_of(hours)
        life = SignsOfLife.of(files)
        with_files = {file.hour for file in files}
        due = [
            hour
            for hour in hours
            if hour not in with_files and needs_life(hour.start, (), now=now, patience=rule.patience)
        ]
        in_doubt = [hour for hour in due if not life.after(hour.start, rule.patience)]
        if in_doubt:
            life = SignsOfLife.of([*files, *self._sign_of_life(in_doubt)])
        if due and now - due[0].start > SHORTEST_RETENTION:
            life = replace(life, oldest_hour=self._oldest_hour)
        return settle(hours, files, rule, now=now, life=life, others=listing.others)

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
        """Return the first file of an event type in a later hour, None if there is none."""
        prefix = self.prefix(self._found_folders[event_type])
        what = f"{event_type}: the look for a sign of life after {describe_hour(hour.start)}"
        # Exports are known to use the style with a space, which sorts first.
        for style in (FolderStyle.SPACE, FolderStyle.HYPHEN):
            file = self._first_file(event_type, prefix, what, prefix + hour_text(hour.end, style))
            if file is None or file.hour.start > hour.start:
                return file
        return None

    @cached_property
    def _oldest_hour(self) -> datetime | None:
        """The start of the oldest hour with a file, of any event type."""
        starts = []
        for event_type, folder in (self._found_folders or self.event_folders()).items():
            prefix = self.prefix(folder)
            file = self._first_file(event_type, prefix, f"{event_type}: the look for the oldest object", prefix)
            if file:
                starts.append(file.hour.start)
        return min(starts, default=None)

    def _first_file(self, event_type: EventType, prefix: str, what: str, offset: str) -> ExportFile | None:
        # The first object is a file, unless a tool made placeholders for folders: then a second try reads more of them.
        for max_results in (1, 100):
            listing = self.listed(event_type, prefix, what, start_offset=offset, max_results=max_results)
            if listing.files:
                return listing.files[0]
            if not listing.ignored:
                break
        return None

    def listed(
        self,
        event_type: EventType,
        prefix: str,
        what: str,
        *,
        listing: Listing | None = None,
        max_results: int | None = None,
        **bounds: str,
    ) -> Listing:
        """
        List an event folder.

        :param what: what is listed, for errors
        :param listing: what to fill and return; by default, a new one that keeps all files
        :param max_results: how many objects at most; by default all
        :param bounds: ``start_offset``, ``end_offset``: see :meth:`~ayla_provider.source.bucket.Source.objects`
        :raises AylaError: if the folder can't be listed
        """
        listing = Listing() if listing is None else listing
        last_name = ""
        for item in self.source.objects(prefix, what, max_results=max_results, **bounds):
            if item.name <= last_name:
                raise AylaUnavailable(f"{what}: {item.name!r} comes after {last_name!r}, out of order. {TEMPORARY}")
            last_name = item.name
            parsed = parse_source(item.name, prefix)
            if parsed is None:
                listing.ignore(item.name)
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
