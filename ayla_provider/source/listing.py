"""What is kept of a listing: all files, or the newest one of each hour and how many others there are."""

from __future__ import annotations

from collections.abc import Container, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from itertools import chain

from ayla_provider.domain.arrival import FileTotals
from ayla_provider.domain.hour import ExportHour
from ayla_provider.domain.paths import ExportFile
from ayla_provider.domain.unplaced import Unplaced, UnplacedObjects
from ayla_provider.errors import AylaUnavailable

MOST_FILES = 100_000
"""Files that an hour may have. Real hours have some dozens. A file in a list takes half a kilobyte or more."""


@dataclass(slots=True)
class Listing:
    """The objects of an event folder, or some of them."""

    count: int = 0
    """The number of all objects of the last listing."""
    last_name: str = ""
    """The name of the last object."""
    others_count: int = 0
    """The number of objects that aren't files in a dated folder."""
    strays: int = 0
    """The number of these that are neither placeholders of folders nor ignored by the connection."""
    first_stray: str = ""
    unplaced: UnplacedObjects = field(default_factory=UnplacedObjects)
    """These, see :class:`UnplacedObjects`."""
    ignored_objects: Container[str] = ()
    """The names that the connection says aren't export data."""
    _kept: dict[ExportHour, list[ExportFile]] = field(default_factory=dict)
    _others: dict[ExportHour, FileTotals] = field(default_factory=dict)

    @property
    def files(self) -> list[ExportFile]:
        """The files that were kept, in the order of the listing within each hour."""
        return list(chain.from_iterable(self._kept.values()))

    @property
    def files_count(self) -> int:
        """The number of files, also of those that were only counted."""
        return sum(map(len, self._kept.values())) + sum(totals.files for totals in self._others.values())

    def files_of(self, hours: Sequence[ExportHour]) -> list[ExportFile]:
        """Return the files of some consecutive hours that were kept."""
        kept = [of_hour for hour, of_hour in self._kept.items() if hours[0] <= hour <= hours[-1]]
        return list(chain.from_iterable(kept))

    @property
    def others(self) -> Mapping[ExportHour, FileTotals]:
        """The files of each hour that were only counted."""
        return self._others

    def begin(self) -> None:
        """Begin another listing, which adds to this one."""
        self.count = 0
        self.last_name = ""

    def leave_out(self, name: str, prefix: str, created: datetime) -> None:
        """
        Take an object that isn't a file in a dated folder.

        :param prefix: the event folder's
        """
        self.others_count += 1
        # Some tools make objects that are placeholders for folders.
        if name.endswith("/") or name in self.ignored_objects:
            return
        self.strays += 1
        self.first_stray = self.first_stray or name
        self.unplaced.add(Unplaced.of(name, prefix, created))

    def add(self, file: ExportFile) -> None:
        """
        Take a file.

        :raises AylaUnavailable: if its hour has too many
        """
        hour = file.hour
        of_hour = self._kept.setdefault(hour, [])
        of_hour.append(file)
        if len(of_hour) + self._totals(hour).files > MOST_FILES:
            raise AylaUnavailable(
                f"{hour} has more than {MOST_FILES:,} files, the first of them {of_hour[0].name!r}. This package "
                "handles no such hour. Ask Ayla support what writes them."
            )

    def _totals(self, hour: ExportHour) -> FileTotals:
        return self._others.get(hour, FileTotals())


class NewestListing(Listing):
    """Keeps the newest file of each hour, and counts the others."""

    def add(self, file: ExportFile) -> None:
        """See :meth:`Listing.add`."""
        super().add(file)
        hour = file.hour
        of_hour = self._kept[hour]
        if len(of_hour) > 1:
            dropped = min(of_hour, key=lambda kept: kept.created)
            of_hour.remove(dropped)
            before = self._totals(hour)
            self._others[hour] = FileTotals(before.files + 1, before.bytes + dropped.size)
