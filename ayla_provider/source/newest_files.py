"""The newest files of an event folder, found with few listings however long its history is."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import UTC, date, timedelta
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from ayla_provider.domain.paths import ExportFile
    from ayla_provider.source.export import Export


@dataclass(slots=True)
class NewestFiles:
    """
    Bounded listings of one event folder, counted.

    All bounds are dates, in which both styles of folder times sort alike.
    """

    export: Export
    event_type: str
    folder: str
    requests: int = field(default=0, init=False)

    @property
    def prefix(self) -> str:
        """What the names of all objects in the folder begin with."""
        return self.export.prefix(self.folder)

    def newest(self) -> list[ExportFile]:
        """Return the files of the newest day or two; if all are empty, those of the week before as well."""
        today = self.export.now().astimezone(UTC).date()
        start, objects = today - timedelta(days=1), self._list(today - timedelta(days=1))
        if not objects and (newest := self._newest_day(start)):
            start, objects = newest, self._list(newest, newest + timedelta(days=1))
        if objects and not any(one.size for one in objects):
            objects += self._list(start - timedelta(days=7), start)
        return objects

    def _newest_day(self, end: date) -> date | None:
        """Return the newest date before this one that has a folder: farther and farther back, then by halves."""
        newest = None
        for back in (7, 56, 448, None):
            start = end - timedelta(days=back) if back else date.min
            newest = self._first(start, end)
            if newest:
                break
            end = start
        while newest and (middle := newest + (end - newest) / 2) > newest:
            later = self._first(middle, end)
            newest, end = (later, end) if later else (newest, middle)
        return newest

    def _first(self, start: date, end: date) -> date | None:
        # More than one, since a folder's placeholder, which some tools make, is no file.
        objects = self._list(start, end, max_results=10)
        return objects[0].folder_time.date() if objects else None

    def _list(self, start: date, end: date | None = None, max_results: int | None = None) -> list[ExportFile]:
        before = self.export.source.requests
        found = self.export.listed(
            self.event_type,
            self.prefix,
            f"the list of {self.export.source.url}/{self.prefix}",
            start_offset=f"{self.prefix}{start.isoformat()}",
            # A colon sorts after the digits, so that without an end all dates are in.
            end_offset=f"{self.prefix}{end.isoformat() if end else ':'}",
            max_results=max_results,
        )
        self.requests += self.export.source.requests - before
        return found.files
