"""What a destination has of many hours, listed once for each day instead of once for each hour."""

from __future__ import annotations

import threading
from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import Executor, Future

from ayla_provider.archive.destination import Destination, Stored, folders_of
from ayla_provider.domain.hour import ExportHour
from ayla_provider.domain.paths import manifest_path
from ayla_provider.errors import AylaError

_FEWEST = 3
"""Fewer hours are asked one by one: a listing of the day would take longer."""


class ListedDays:
    """
    The copies and manifests that a destination has of a run's hours. Thread-safe.

    The requests begin at once, and nobody waits for them before asking. A day that can't be listed is asked hour by
    hour, so that each hour has its own error.

    :param hours: of one event type
    :param pool: asks for several days or hours at once
    """

    def __init__(self, destination: Destination, hours: Sequence[ExportHour], pool: Executor) -> None:
        self._destination = destination
        self._folders: dict[str, dict[str, Stored]] = {}
        """Folder to what is in it, for the folders that have something."""
        self._listed: set[str] = set()
        """The days, as folders, that are listed."""
        self._days: dict[str, Future[list[Stored] | None]] = {}
        """The listings of days that have begun."""
        self._begun_folders: dict[str, Future[dict[str, Stored]]] = {}
        """Folder of an hour's copies to the listing that has begun."""
        self._begun_manifests: dict[str, Future[tuple[bytes, Stored] | None]] = {}
        """Path of a manifest to the read that has begun."""
        self._lock = threading.Lock()
        if len(hours) < _FEWEST:
            for hour in hours:
                manifest = manifest_path(hour)
                self._begun_manifests[manifest] = pool.submit(destination.read, manifest)
                self._begun_folders[hour.partition] = pool.submit(destination.folder, hour.partition)
            return
        # A day has one folder of manifests, and a folder of copies for each hour.
        for day in {_day_of(manifest_path(hour)) for hour in hours}:
            self._days[day] = pool.submit(self._folder, day)
        for day in {_day_of(hour.partition) for hour in hours}:
            self._days[day] = pool.submit(self._tree, day)

    def manifest(self, path: str) -> tuple[bytes, Stored] | None:
        """
        Return the content of a manifest, and its version; None if there is none.

        :raises AylaDestinationError: if it can't be read
        """
        begun = self._begun_manifests.pop(path, None)
        if begun is not None:
            return begun.result()
        return self._destination.read(path) if self.may_have(path) else None

    def lacks_manifest(self, path: str) -> bool:
        """
        Return whether there is no manifest, as far as that is known without a request of its own.

        :raises AylaDestinationError: if it can't be read
        """
        begun = self._begun_manifests.get(path)
        if begun is not None:
            return begun.result() is None
        return not self.may_have(path)

    def may_have(self, manifest: str) -> bool:
        """Return whether a manifest has to be read to know whether it is there."""
        self._wait()
        day = _day_of(manifest)
        return day not in self._listed or manifest in self._folders.get(day, {})

    def folder(self, path: str) -> Mapping[str, Stored]:
        """Return the objects directly in a folder of copies, by path."""
        begun = self._begun_folders.pop(path, None)
        if begun is not None:
            return begun.result()
        self._wait()
        if _day_of(path) in self._listed:
            return self._folders.get(path, {})
        return self._destination.folder(path)

    def stored_at(self, paths: Iterable[str]) -> dict[str, Stored]:
        """Return the objects in the folders of some copies, by path."""
        existing: dict[str, Stored] = {}
        for folder in folders_of(paths):
            existing.update(self.folder(folder))
        return existing

    def _wait(self) -> None:
        """Wait for the listings of days."""
        with self._lock:
            while self._days:
                day, begun = self._days.popitem()
                self._add(day, begun.result())

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
