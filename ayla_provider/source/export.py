"""The export as it stands in the vendor's bucket, whoever's cloud that is in."""

from __future__ import annotations

import logging
from bisect import bisect_left
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from functools import cached_property
from typing import TYPE_CHECKING

from ayla_provider.domain.arrival import SHORTEST_RETENTION, HourStatus, SignsOfLife, needs_life, settle
from ayla_provider.domain.events import EVENT_FOLDERS, EventType, parse_event_type
from ayla_provider.domain.hour import ONE_HOUR, FolderStyle, describe_hour
from ayla_provider.domain.paths import ExportFile, hour_text, parse_source, source_prefix, source_window
from ayla_provider.errors import PASSES, AylaConfigError, AylaUnavailable

if TYPE_CHECKING:
    from ayla_provider.source.bucket import Source

log = logging.getLogger(__name__)


class Export:
    """
    One OEM's export in the vendor's bucket. Every listing is bounded by a prefix below its root.

    :param source: the bucket
    :param root: the prefix of all event folders: ``<oem_id>/``, or nothing where the bucket is the OEM's own
    :param event_folders: event type to the spelling of its folder, where it was set by hand
    :param now: the clock, aware
    """

    def __init__(
        self,
        source: Source,
        root: str,
        *,
        event_folders: Mapping[EventType, str] | None = None,
        now: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        self.source = source
        self.root = root
        self.declared_folders: dict[str, str] = {str(key): folder for key, folder in (event_folders or {}).items()}
        """Event type to the spelling of its folder, where it was set by hand."""
        self._learnt: dict[str, str] = {}
        self.now = now

    @property
    def url(self) -> str:
        """Of the folder of all event folders, such as ``gs://bucket/<oem_id>/``."""
        return f"{self.source.url}/{self.root}"

    def prefix(self, folder: str) -> str:
        """Return what the names of all objects in an event folder begin with."""
        return source_prefix(self.root, folder)

    def event_folders(self) -> dict[str, str]:
        """
        Return event type to folder spelling, as the bucket shows them now: one listing.

        A folder of none of the documented event types is included, with a warning, under an identifier of its own.

        :raises AylaConfigError: if two folders mean one event type and ``event_folders`` doesn't say which to take
        """
        folders = self.source.folders(self.root, f"the list of event folders below {self.url}")
        declared = {folder: event_type for event_type, folder in self.declared_folders.items()}
        found: dict[str, str] = {}
        for folder in folders:
            event_type = declared.get(folder) or self._event_type_of(self.prefix(folder), folder)
            if event_type is None or (folder not in declared and event_type in self.declared_folders):
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
                "%r, declared in event_folders, isn't there (yet).", self.prefix(self.declared_folders[event_type])
            )
        self._learnt = found
        return dict(found)

    @staticmethod
    def _event_type_of(where: str, folder: str) -> str | None:
        try:
            event_type = parse_event_type(folder)
        except AylaConfigError:
            log.warning("The folder %r can't be an event type and is left out.", where)
            return None
        if event_type not in EVENT_FOLDERS:
            log.warning(
                "The folder %r is of an event type that Ayla's documents don't list; it can be copied as %r.",
                where,
                event_type,
            )
        return event_type

    def folder_of(self, event_type: str) -> str:
        """Return how the folder of an event type is spelt: as set, else as found, else as Ayla's exports spell it."""
        event_type = parse_event_type(event_type)
        if event_type in self.declared_folders:
            return self.declared_folders[event_type]
        if event_type not in self._learnt:
            self.event_folders()
        return self._learnt.get(event_type) or EVENT_FOLDERS.get(event_type) or event_type

    def list_files(self, event_type: str, start: datetime, end: datetime) -> list[ExportFile]:
        """
        Return the files of an event type in the hours from ``start`` to ``end``: one listing, bounded on both sides.

        :param start: aware, on the hour
        :param end: aware, on the hour, exclusive
        """
        event_type = parse_event_type(event_type)
        prefix = self.prefix(self.folder_of(event_type))
        start_offset, end_offset = source_window(prefix, start, end)
        what = f"{event_type}, {describe_hour(start)} to {describe_hour(end)}: the list of {self.source.url}/{prefix}"
        found = self.listed(event_type, prefix, what, start_offset=start_offset, end_offset=end_offset)
        strays = [name for name in found.others if not name.endswith("/")]
        if strays:
            log.warning(
                "%d objects below %s stand in no folder named by a time and are left out, the first is %r.",
                len(strays),
                prefix,
                strays[0],
            )
        return [file for file in found.files if start <= file.hour < end]

    def status(
        self, event_type: str, hours: Sequence[datetime], *, quiet_period: timedelta, patience: timedelta
    ) -> list[HourStatus]:
        """
        Return the status of each of some consecutive hours.

        One bounded listing; only where an hour hangs between empty and overdue a look for a sign of life, one result
        per event type, until one is found; and only where it may have expired a look for the oldest object.
        """
        now = self.now()
        files = self.list_files(event_type, hours[0], hours[-1] + ONE_HOUR)
        life = SignsOfLife.of(files)
        filled = {file.hour for file in files}
        bare = [hour for hour in hours if hour not in filled and needs_life(hour, (), now=now, patience=patience)]
        in_doubt = [hour for hour in bare if not life.after(hour, patience)]
        if in_doubt:
            life = SignsOfLife.of([*files, *self._sign_of_life(in_doubt, event_type)])
        if bare and now - bare[0] > SHORTEST_RETENTION:
            life = replace(life, oldest_hour=self._oldest_hour)
        return settle(event_type, hours, files, now=now, quiet_period=quiet_period, patience=patience, life=life)

    def _sign_of_life(self, hours: Sequence[datetime], event_type: str) -> list[ExportFile]:
        """Return an object later than the newest of these hours after which there is one; an empty list if none is."""
        if found := self.later_than(hours[-1], event_type):
            return found
        # The exporter is stalled: by halves to the hour where it was alive last.
        stalled = bisect_left(hours, True, hi=len(hours) - 1, key=lambda hour: not self.later_than(hour, event_type))
        return self.later_than(hours[stalled - 1], event_type) if stalled else []

    def later_than(self, hour: datetime, event_type: str) -> list[ExportFile]:
        """
        Return an object in a later hour than this, of this or of any event type; an empty list if there is none.

        :param event_type: asked first, since it is the likeliest to show
        """
        after = hour + ONE_HOUR
        first = parse_event_type(event_type)
        if first not in self._learnt:
            self.event_folders()
        for candidate in sorted(self._learnt, key=lambda known: known != first):
            prefix = self.prefix(self._learnt[candidate])
            # Of the two styles the one with a space, which sorts first, is the one that exports are known to have.
            for offset in (hour_text(after, FolderStyle.SPACE), hour_text(after, FolderStyle.HYPHEN)):
                what = f"{candidate}: the look for a sign of life after {describe_hour(hour)}"
                found = self._first_file(candidate, prefix, what, prefix + offset)
                if found is None:
                    break
                if found.hour > hour:
                    return [found]
        return []

    @cached_property
    def _oldest_hour(self) -> datetime | None:
        """The oldest hour of which the source has a file, of any event type."""
        oldest = []
        for event_type, folder in (self._learnt or self.event_folders()).items():
            prefix = self.prefix(folder)
            oldest.append(self._first_file(event_type, prefix, f"{event_type}: the look for the oldest object", prefix))
        return min((file.hour for file in oldest if file), default=None)

    def _first_file(self, event_type: str, prefix: str, what: str, offset: str) -> ExportFile | None:
        # The first object is a file, but for placeholders of folders, which some tools make.
        for results in (1, 100):
            found = self.listed(event_type, prefix, what, start_offset=offset, max_results=results)
            if found.files or not found.others:
                return next(iter(found.files), None)
        return None

    def listed(
        self, event_type: str, prefix: str, what: str, *, max_results: int | None = None, **bounds: str
    ) -> Listing:
        """
        Return what a listing of an event folder holds.

        :param what: what is listed, for errors
        :param max_results: where not all is wanted
        :param bounds: ``start_offset``, ``end_offset``: see :meth:`~ayla_provider.source.bucket.Source.objects`
        :raises AylaError: if it can't be listed
        """
        listing = Listing()
        last = ""
        for one in self.source.objects(prefix, what, max_results=max_results, **bounds):
            if one.name <= last:
                raise AylaUnavailable(f"{what}: {one.name!r} is listed after {last!r}, out of order. {PASSES}")
            last = one.name
            parsed = parse_source(one.name, prefix)
            if parsed:
                listing.files.append(
                    ExportFile(
                        event_type, *parsed, one.name, one.size, one.crc32c, one.generation, one.created, one.etag
                    )
                )
            else:
                listing.others.append(one.name)
        return listing


@dataclass(slots=True)
class Listing:
    """The objects of an event folder, as far as they were asked for."""

    files: list[ExportFile] = field(default_factory=list)
    others: list[str] = field(default_factory=list)
    """Names of objects that are no file in a dated folder."""
