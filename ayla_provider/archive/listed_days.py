"""What a destination has of many hours, listed once for each day instead of once for each hour."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import Executor

from ayla_provider.archive.destination import Destination, Stored, folders_of
from ayla_provider.domain.hour import ExportHour
from ayla_provider.domain.paths import manifest_path
from ayla_provider.errors import AylaError

_FEWEST = 3
"""Of fewer hours, a listing of the day would take longer than to ask for each."""


class ListedDays:
    """
    The copies and manifests that a destination has of a run's hours. Thread-safe.

    A day that can't be listed is asked hour by hour, so that each hour has its own error.

    :param hours: of one event type
    :param pool: lists many days at once
    """

    def __init__(self, destination: Destination, hours: Sequence[ExportHour], pool: Executor) -> None:
        self._destination = destination
        self._folders: dict[str, dict[str, Stored]] = {}
        """Folder to what is in it, for the folders that have something."""
        self._listed: set[str] = set()
        """The days, as folders, that are listed."""
        if len(hours) < _FEWEST:
            return
        copies = {_day_of(hour.partition) for hour in hours}
        manifests = {_day_of(manifest_path(hour)) for hour in hours}
        # A day has one folder of manifests, and a folder of copies for each hour.
        for day, stored in zip(copies, pool.map(self._tree, copies), strict=True):
            self._add(day, stored)
        for day, stored in zip(manifests, pool.map(self._folder, manifests), strict=True):
            self._add(day, stored)

    def may_have(self, manifest: str) -> bool:
        """Return whether a manifest has to be read to know whether it is there."""
        day = _day_of(manifest)
        return day not in self._listed or manifest in self._folders.get(day, {})

    def folder(self, path: str) -> Mapping[str, Stored]:
        """Return the objects directly in a folder of copies, by path."""
        if _day_of(path) in self._listed:
            return self._folders.get(path, {})
        return self._destination.folder(path)

    def stored_at(self, paths: Iterable[str]) -> dict[str, Stored]:
        """Return the objects in the folders of some copies, by path."""
        existing: dict[str, Stored] = {}
        for folder in folders_of(paths):
            existing.update(self.folder(folder))
        return existing

    def _add(self, day: str, objects: list[Stored] | None) -> None:
        if objects is None:
            return
        self._listed.add(day)
        for stored in objects:
            self._folders.setdefault(_day_of(stored.path), {})[stored.path] = stored

    def _tree(self, day: str) -> list[Stored] | None:
        try:
            return [listed.stored for listed in self._destination.tree(f"{day}/") if not listed.unfinished]
        except AylaError:
            return None

    def _folder(self, day: str) -> list[Stored] | None:
        try:
            return list(self._destination.folder(day).values())
        except AylaError:
            return None


def _day_of(path: str) -> str:
    """Return the folder that something is in: of an hour's folder or manifest, its day."""
    return path.rpartition("/")[0]
