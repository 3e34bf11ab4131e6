"""The newest files of an event type, found with few listings however long its history is."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import UTC, date, timedelta
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from ayla_provider.domain.events import EventType
    from ayla_provider.domain.paths import ExportFile
    from ayla_provider.source.export import Export

ONE_DAY = timedelta(days=1)


@dataclass(slots=True)
class NewestFiles:
    """
    Bounded listings of the event folders of one event type, counted.

    All bounds are dates, which sort alike in both styles of folder times.
    """

    export: Export
    event_type: EventType
    requests: int = field(default=0, init=False)

    @property
    def prefixes(self) -> list[str]:
        """The prefixes of all object names in the folders."""
        return [self.export.prefix(folder) for folder in self.export.folders_of(self.event_type)]

    def newest(self) -> list[ExportFile]:
        """Return the files of the newest day or two; if all are empty, those of the week before as well."""
        today = self.export.now().astimezone(UTC).date()
        start = today - ONE_DAY
        # Folders that are later than tomorrow prove nothing.
        files = self._list(start, today + 2 * ONE_DAY)
        if not files:
            newest_day = self._newest_day(start)
            if newest_day:
                start = newest_day
                files = self._list(start, start + ONE_DAY)
        if files and not any(file.size for file in files):
            files += self._list(start - 7 * ONE_DAY, start)
        return files

    def _newest_day(self, end: date) -> date | None:
        """Return the newest date before this one that has a folder; None if there is none."""
        # First go back by longer and longer steps, until a step holds a folder.
        first = None
        for days in (7, 56, 448, None):
            start = end - days * ONE_DAY if days else date.min
            first = self._first(start, end)
            if first:
                break
            end = start
        # The newest date is now between first and end. Search by halves.
        while first:
            middle = first + (end - first) / 2
            if middle <= first:
                break
            later = self._first(middle, end)
            if later:
                first = later
            else:
                end = middle
        return first

    def _first(self, start: date, end: date) -> date | None:
        # More than one result, because the placeholders of folders that some tools make aren't files.
        files = self._list(start, end, max_results=10)
        return min((file.folder_time.date() for file in files), default=None)

    def _list(self, start: date, end: date, max_results: int | None = None) -> list[ExportFile]:
        before = self.export.source.requests
        files: list[ExportFile] = []
        for prefix in self.prefixes:
            listing = self.export.listed(
                self.event_type,
                prefix,
                f"the list of {self.export.source.url}/{prefix}",
                start_offset=f"{prefix}{start.isoformat()}",
                end_offset=f"{prefix}{end.isoformat()}",
                max_results=max_results,
            )
            files += listing.files
        self.requests += self.export.source.requests - before
        return files
