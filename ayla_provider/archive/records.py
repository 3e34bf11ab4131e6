"""What an archive says of its hours, in small JSON files beside the copies: manifests, and notes on failures."""

from __future__ import annotations

import io
import logging
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Executor
from datetime import datetime

from ayla_provider.archive.destination import Destination, Stored, url_of
from ayla_provider.domain import failure as failures
from ayla_provider.domain import manifest as manifests
from ayla_provider.domain.arrival import HourStatus
from ayla_provider.domain.failure import Failure
from ayla_provider.domain.manifest import Manifest
from ayla_provider.domain.paths import failure_path, manifest_path
from ayla_provider.errors import AylaConflictError, AylaDestinationError, AylaError
from ayla_provider.transport.checksum import Crc32c

log = logging.getLogger(__name__)


class Records:
    """The manifests of an archive, and its notes on failures. Thread-safe."""

    def __init__(self, destination: Destination) -> None:
        self._destination = destination

    def manifest(self, event_type: str, hour: datetime) -> tuple[Manifest, Stored] | tuple[None, None]:
        """
        Return the manifest of an hour, and what stands there; None for both if there is none.

        :raises AylaDestinationError: if it can't be read
        """
        path = manifest_path(event_type, hour)
        found = self._destination.read(path)
        if found is None:
            return None, None
        content, stored = found
        return manifests.loads(content, url_of(self._destination, path)), stored

    def manifests(
        self, event_type: str, hours: Sequence[datetime], pool: Executor
    ) -> dict[datetime, Manifest | AylaDestinationError]:
        """
        Return the manifests of those hours that have one, or why it can't be read.

        One listing per day, and one read per manifest.

        :param pool: does many at once
        :raises AylaDestinationError: if the destination can't be listed
        """
        there = [hour for hour, _ in self._standing(manifest_path, event_type, hours, pool)]

        def read(hour: datetime) -> Manifest | AylaDestinationError | None:
            try:
                return self.manifest(event_type, hour)[0]
            except AylaDestinationError as error:
                return error

        found = zip(there, pool.map(read, there), strict=True)
        return {hour: manifest for hour, manifest in found if manifest is not None}

    def write_manifest(self, manifest: Manifest, replaces: Stored | None) -> None:
        """
        Commit an hour.

        :param replaces: the stored manifest that this one follows, None if there was none
        :raises AylaConflictError: if another run committed it in the meantime
        """
        write_json(self._destination, manifest_path(manifest.event_type, manifest.hour), manifest.dumps(), replaces)

    def failures(self, event_type: str, hours: Sequence[datetime], pool: Executor) -> dict[datetime, Failure]:
        """
        Return the notes on those hours that have one, also where the hour was copied since.

        :raises AylaDestinationError: if they can't be read
        """
        there = self._standing(failure_path, event_type, hours, pool)
        found = {}
        for (hour, _), read in zip(there, pool.map(self._destination.read, [path for _, path in there]), strict=True):
            if read and (known := failures.loads(read[0])):
                found[hour] = known
        return found

    def note_failure(self, status: HourStatus, error: AylaError, now: datetime, written_by: Mapping[str, str]) -> None:
        """
        Note that an hour couldn't be copied.

        :raises AylaDestinationError: if the destination doesn't take it
        """
        path = failure_path(status.event_type, status.hour)
        content, stored = self._destination.read(path) or (b"", None)
        made = failures.note(failures.loads(content), status, error, now=now, written_by=written_by)
        try:
            write_json(self._destination, path, made.dumps(), stored)
        except AylaConflictError:
            log.info("%s was written by another run in the meantime, and is left so.", path)

    def _standing(
        self,
        path_of: Callable[[str, datetime], str],
        event_type: str,
        hours: Iterable[datetime],
        pool: Executor,
    ) -> list[tuple[datetime, str]]:
        """Return the hours whose record stands there, and its path."""
        paths = [(hour, path_of(event_type, hour)) for hour in hours]
        folders = sorted({path.rpartition("/")[0] for _, path in paths})
        there: set[str] = set()
        listed: Iterator[dict[str, Stored]] = pool.map(self._destination.folder, folders)
        for listing in listed:
            there.update(listing)
        return [(hour, path) for hour, path in paths if path in there]


def write_json(destination: Destination, path: str, text: str, replaces: Stored | None) -> None:
    """
    Write a small JSON file.

    :param replaces: what stands there, None if nothing
    :raises AylaConflictError: if something else stands there
    :raises AylaDestinationError: if the destination doesn't take it
    """
    content = text.encode()
    try:
        destination.write(
            path,
            io.BytesIO(content),
            size=len(content),
            crc32c=Crc32c(content).base64,
            replaces=replaces,
            content_type="application/json",
        )
    except AylaConflictError:
        # Also the answer to a write that went through, but whose answer got lost and which was then repeated.
        standing = destination.read(path)
        if standing is None or standing[0] != content:
            raise
