"""The small JSON files beside the copies of an archive: manifests, and notes about failures."""

from __future__ import annotations

import io
import logging
from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import Executor
from datetime import datetime

from ayla_provider.archive.destination import Destination, Stored, check_small, stored_at, url_of
from ayla_provider.domain import failure as failures
from ayla_provider.domain import manifest as manifests
from ayla_provider.domain import oldest as oldest_hours
from ayla_provider.domain.arrival import HourStatus
from ayla_provider.domain.events import EventType
from ayla_provider.domain.failure import Failure
from ayla_provider.domain.hour import ExportHour
from ayla_provider.domain.manifest import Manifest
from ayla_provider.domain.oldest import OldestHours
from ayla_provider.domain.paths import MANIFESTS, TYPED_RECEIPTS, failure_path, manifest_path, oldest_path
from ayla_provider.errors import AylaConfigError, AylaConflictError, AylaDestinationError, AylaError
from ayla_provider.transport.checksum import Crc32c

log = logging.getLogger(__name__)


def refuse_no_archive(archive: Destination) -> None:
    """
    Refuse a destination without any manifest: its URL is wrong, or nothing was copied into it yet.

    Otherwise a user with a mistyped URL would be told that there is nothing to remove, or that everything is done.

    :raises AylaConfigError: if it has none
    :raises AylaDestinationError: if it can't be listed
    """
    if not any(not listed.unfinished for listed in archive.tree(f"{MANIFESTS}/")):
        raise AylaConfigError(
            f"{archive.url} has no manifest of a copy in {MANIFESTS}/: it isn't an archive, or nothing was copied into "
            "it yet. Nothing was done. Correct the URL of the archive."
        )


def refuse_no_typed_rows(rows: Destination, archive_url: str) -> None:
    """
    Refuse a place of typed rows that a user named, and that has no receipt.

    The default place, in the archive, may be empty: an archive needn't have typed rows.

    :param archive_url: the archive's URL
    :raises AylaConfigError: if it has none
    :raises AylaDestinationError: if it can't be listed
    """
    if rows.url.startswith(f"{archive_url.rstrip('/')}/"):
        return
    if not any(not listed.unfinished for listed in rows.tree(f"{TYPED_RECEIPTS}/")):
        raise AylaConfigError(
            f"{rows.url} has no receipt of typed rows in {TYPED_RECEIPTS}/. Nothing was done. Correct the URL of the "
            "typed rows. If no load ever wrote any, leave it out."
        )


class Records:
    """The manifests of an archive, and its notes about failures. Thread-safe."""

    def __init__(self, destination: Destination) -> None:
        self._destination = destination

    def read_manifest(self, hour: ExportHour) -> tuple[Manifest, Stored] | tuple[None, None]:
        """
        Return the manifest of an hour, and the version of its file; None for both if there is none.

        :raises AylaDestinationError: if it can't be read
        """
        path = manifest_path(hour)
        record = self._destination.read(path)
        if record is None:
            return None, None
        content, stored = record
        return self.parse_manifest(content, hour), stored

    def parse_manifest(self, content: bytes, hour: ExportHour) -> Manifest:
        """
        Return the manifest of an hour, from the content of its file.

        :raises AylaDestinationError: if it isn't a valid manifest, or is that of another hour
        """
        path = manifest_path(hour)
        manifest = manifests.loads(content, url_of(self._destination, path))
        if manifest.hour != hour:
            raise AylaDestinationError(
                f"{url_of(self._destination, path)} is the manifest of another hour. Was it copied there? Move it away "
                "and clear the hour's copy."
            )
        return manifest

    def read_manifests(
        self, hours: Iterable[ExportHour], pool: Executor
    ) -> dict[ExportHour, Manifest | AylaDestinationError]:
        """
        Return the manifest of each hour that has one, or why it can't be read.

        It takes one listing per day, and one read per manifest.

        :param pool: reads many at once
        :raises AylaDestinationError: if the destination can't be listed
        """

        def read(hour: ExportHour) -> Manifest | AylaDestinationError | None:
            try:
                return self.read_manifest(hour)[0]
            except AylaDestinationError as error:
                return error

        with_record = self._with_record(manifest_path, hours, pool)
        results = zip(with_record, pool.map(read, with_record), strict=True)
        return {hour: result for hour, result in results if result is not None}

    def write_manifest(self, manifest: Manifest, replaces: Stored | None) -> None:
        """
        Commit an hour.

        :param replaces: the version of the manifest that this one follows, None if there was none
        :raises AylaConflictError: if another run has committed the hour since
        """
        write_json(self._destination, manifest_path(manifest.hour), manifest.dumps(), replaces)

    def read_failures(self, hours: Iterable[ExportHour], pool: Executor) -> dict[ExportHour, Failure]:
        """
        Return the note about each hour that has one, even if the hour was copied since.

        A note that can't be read is left out: it says whether to try the hour again, and no more.

        :raises AylaDestinationError: if the destination can't be listed
        """

        def read(hour: ExportHour) -> Failure | None:
            try:
                content, _ = self._destination.read(failure_path(hour)) or (b"", None)
            except AylaDestinationError as error:
                log.warning("The note about the failure of %s can't be read: %s", hour, error)
                return None
            return failures.loads(content)

        with_record = self._with_record(failure_path, hours, pool)
        notes = zip(with_record, pool.map(read, with_record), strict=True)
        return {hour: note for hour, note in notes if note}

    def note_failure(self, status: HourStatus, error: AylaError, now: datetime, written_by: Mapping[str, str]) -> None:
        """
        Note that an hour couldn't be copied.

        :raises AylaDestinationError: if the note can't be written
        """
        path = failure_path(status.hour)
        content, stored = self._destination.read(path) or (b"", None)
        note = failures.note(failures.loads(content), status, error, now=now, written_by=written_by)
        try:
            write_json(self._destination, path, note.dumps(), stored)
        except AylaConflictError:
            log.info("Another run has just written %s; it stays as it is.", path)

    def read_oldest(self, event_type: EventType) -> tuple[OldestHours | None, Stored | None]:
        """
        Return the record of an event type's oldest hours, and the version of its file; None for each that isn't there.

        :raises AylaDestinationError: if it can't be read
        """
        content, stored = self._destination.read(oldest_path(event_type)) or (b"", None)
        return oldest_hours.loads(content), stored

    def write_oldest(self, oldest: OldestHours, replaces: Stored | None) -> None:
        """
        Write the record of an event type's oldest hours.

        :param replaces: the version of the record that this one follows, None if there was none
        :raises AylaError: if it can't be written
        """
        write_json(self._destination, oldest_path(oldest.event_type), oldest.dumps(), replaces)

    def _with_record(
        self, path_of: Callable[[ExportHour], str], hours: Iterable[ExportHour], pool: Executor
    ) -> list[ExportHour]:
        """Return the hours that have a record of a kind."""
        paths = {hour: path_of(hour) for hour in hours}
        existing = stored_at(self._destination, paths.values(), pool)
        return [hour for hour, path in paths.items() if path in existing]


def write_json(destination: Destination, path: str, text: str, replaces: Stored | None) -> Stored:
    """
    Write a small JSON file, and return its new version.

    :param replaces: the version that is there now, None if there is none
    :raises AylaConflictError: if something else is there
    :raises AylaDestinationError: if the destination refuses it, or nobody could read it again
    """
    content = text.encode()
    check_small(len(content), url_of(destination, path))
    try:
        return destination.write(
            path,
            io.BytesIO(content),
            size=len(content),
            crc32c=Crc32c(content).base64,
            replaces=replaces,
            content_type="application/json",
        )
    except AylaConflictError:
        # A write that succeeded, but whose answer got lost, also ends here: the client repeats it.
        record = destination.read(path)
        if record is None or record[0] != content:
            raise
        return record[1]
