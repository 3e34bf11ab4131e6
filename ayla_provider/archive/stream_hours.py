"""The manifests of a stream's hours: which files an hour has, and whether it is complete."""

from __future__ import annotations

import logging
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import datetime

from ayla_provider.archive.destination import Destination, url_of
from ayla_provider.archive.records import Records
from ayla_provider.archive.stream_reading import has_unread_parents
from ayla_provider.domain import manifest as manifests
from ayla_provider.domain.arrival import HourState
from ayla_provider.domain.events import EventType
from ayla_provider.domain.hour import ONE_HOUR, ExportHour, hour_of
from ayla_provider.domain.manifest import Manifest, ManifestFile
from ayla_provider.domain.paths import (
    MANIFESTS,
    STREAM_POSITION,
    manifest_path,
    parse_manifest_path,
    parse_stream_path,
)
from ayla_provider.domain.stream import BatchFile, ShardPosition, StreamState
from ayla_provider.domain.units import files_text
from ayla_provider.errors import AylaConfigError, AylaConflictError, AylaDestinationError

log = logging.getLogger(__name__)

LATENESS = ONE_HOUR
"""How long after its end an hour is open. What arrives later gives the hour another revision."""

_AT_ONCE = 8
"""How many manifests are read or written at once."""

_TRIES = 5
"""How often a manifest is written that somebody else writes at the same time."""


def complete_to(state: StreamState, positions: Mapping[str, ShardPosition]) -> datetime | None:
    """
    Return the end of the hours that are complete: each shard was read past their end, and :data:`LATENESS` further.

    :returns: aware, on the hour; None if no hour is
    """
    times: list[datetime] = []
    for shard in state.shards:
        position = positions.get(shard.id, ShardPosition())
        # What a shard has arrived after what its parents have.
        if position.closed or has_unread_parents(shard, state, positions):
            continue
        if position.read_to is None:
            return None
        times.append(position.read_to)
    return hour_of(min(times) - LATENESS) if times else None


class StreamHours:
    """
    The hours of a stream in a destination.

    :param stream: the stream's URL
    :param written_at: aware
    :param written_by: for the manifests, see :class:`~ayla_provider.domain.manifest.Manifest`
    """

    def __init__(
        self, destination: Destination, stream: str, written_at: datetime, written_by: Mapping[str, str]
    ) -> None:
        self._destination = destination
        self._records = Records(destination)
        self._stream = stream
        self._written_at = written_at
        self._written_by = written_by

    def refuse_foreign(self) -> None:
        """
        Refuse a destination that has manifests, but no position of a stream.

        :raises AylaConfigError: if it is the archive of an export
        :raises AylaDestinationError: if it has hours of a stream, and their position is missing
        """
        listed = next(iter(self._destination.tree(f"{MANIFESTS}/")), None)
        if listed is None:
            return
        hour = parse_manifest_path(listed.stored.path)
        manifest, _ = self._records.read_manifest(hour) if hour else (None, None)
        if manifest is None or not manifest.is_stream:
            raise _is_an_export(self._destination)
        raise AylaDestinationError(
            f"{url_of(self._destination, STREAM_POSITION)} is missing, and the destination has hours of the stream "
            f"{manifest.export}. Without it, nobody knows which records the hours have. Restore it from an earlier "
            "version of the object, or choose an empty destination."
        )

    def add(
        self, files: Iterable[BatchFile], created: datetime, is_complete: Callable[[ExportHour], bool]
    ) -> set[ExportHour]:
        """
        Add files to the manifests of their hours, each once, and return the hours.

        Files of records that aren't events of a known type are in no hour.

        :param created: when the batch was read
        :param is_complete: returns whether an hour is complete
        :raises AylaError: if a manifest can't be read or written
        """
        by_hour: dict[ExportHour, list[ManifestFile]] = {}
        for file in files:
            event_type, start, batch = parse_stream_path(file.path) or (None, created, 0)
            if event_type is not None:
                by_hour.setdefault(ExportHour(event_type, start), []).append(_entry(file, batch, created))

        def add(hour: ExportHour) -> None:
            self._change(hour, by_hour[hour], is_complete=is_complete(hour))

        self._each(add, sorted(by_hour))
        return set(by_hour)

    def complete(self, hours: Collection[ExportHour]) -> None:
        """
        Write into the manifests of hours that they are complete.

        :raises AylaError: if a manifest can't be read or written
        """
        self._each(lambda hour: self._change(hour, (), is_complete=True), sorted(hours))

    def read(self, hours: Sequence[ExportHour]) -> list[Manifest]:
        """
        Return the manifests of hours.

        :raises AylaDestinationError: if one can't be read
        """
        with ThreadPoolExecutor(_AT_ONCE, thread_name_prefix="ayla-hours") as pool:
            found = [manifest for manifest, _ in pool.map(self._records.read_manifest, hours)]
        return [manifest for manifest in found if manifest]

    def _each(self, change: Callable[[ExportHour], None], hours: Sequence[ExportHour]) -> None:
        with ThreadPoolExecutor(_AT_ONCE, thread_name_prefix="ayla-hours") as pool:
            list(pool.map(change, hours))

    def _change(self, hour: ExportHour, files: Sequence[ManifestFile], *, is_complete: bool) -> None:
        for attempt in range(1, _TRIES + 1):
            previous, stored = self._records.read_manifest(hour)
            known = files if previous else [*self._without_manifest(hour, files), *files]
            manifest = self._changed(hour, previous, known, is_complete)
            if manifest is previous:
                return
            try:
                self._records.write_manifest(manifest, stored)
            except AylaConflictError:
                if attempt == _TRIES:
                    raise
            else:
                log.info("Committed %s", manifests.describe(manifest))
                return

    def _without_manifest(self, hour: ExportHour, files: Sequence[ManifestFile]) -> list[ManifestFile]:
        """Return the files of earlier batches that an hour has although its manifest was removed."""
        ours = {file.path for file in files}
        found = []
        for path, stored in sorted(self._destination.folder(hour.partition).items()):
            parsed = parse_stream_path(path)
            if parsed is None or path in ours:
                continue
            crc32c = self._destination.crc32c(stored)
            found.append(ManifestFile(path, parsed[2], stored.size, crc32c, self._written_at.isoformat(), path))
        if found:
            log.warning(
                "%s is missing, although the hour has %s: it is written again",
                url_of(self._destination, manifest_path(hour)),
                files_text(len(found)),
            )
        return found

    def _changed(
        self, hour: ExportHour, previous: Manifest | None, files: Sequence[ManifestFile], is_complete: bool
    ) -> Manifest:
        if previous is not None:
            self._refuse_other(previous)
        before = previous.files if previous else ()
        known = {file.path for file in before}
        added = [file for file in files if file.path not in known]
        newest = max((file.generation for file in before), default=0)
        if any(file.generation < newest for file in added):
            raise AylaDestinationError(
                f"{url_of(self._destination, STREAM_POSITION)} is older than {hour}, which has records of the later "
                f"batch {newest}: records would be there twice. Restore the newest version of the position, and clear "
                "the task."
            )
        after = tuple(sorted([*before, *added], key=lambda file: file.source))
        state = _state_of(after, is_complete or (previous is not None and previous.state is not HourState.OPEN))
        if previous and not added and previous.state is state:
            return previous
        manifest = Manifest(
            hour=hour,
            state=state,
            revision=previous.revision if previous else 1,
            files=after,
            written_at=self._written_at.isoformat(),
            written_by=self._written_by,
            export=self._stream,
            is_stream=True,
        )
        return replace(manifest, revision=previous.revision + 1) if previous and added else manifest

    def _refuse_other(self, manifest: Manifest) -> None:
        if not manifest.is_stream:
            raise _is_an_export(self._destination)
        if manifest.export != self._stream:
            raise AylaConfigError(
                f"{url_of(self._destination, manifest_path(manifest.hour))} is an hour of the stream "
                f"{manifest.export}, and not of {self._stream}. Give each stream its own destination."
            )


def hours_of_types(event_types: Iterable[EventType], start: datetime, end: datetime) -> list[ExportHour]:
    """Return each hour of some event types from ``start`` to ``end``, exclusive; none if the end isn't later."""
    starts = range((end - start) // ONE_HOUR)
    return [ExportHour(event_type, start + number * ONE_HOUR) for event_type in event_types for number in starts]


def _entry(file: BatchFile, batch: int, created: datetime) -> ManifestFile:
    return ManifestFile(file.path, batch, file.size, file.crc32c, created.isoformat(), file.path, file.lines)


def _state_of(files: Collection[ManifestFile], is_complete: bool) -> HourState:
    if not is_complete:
        return HourState.OPEN
    return HourState.LANDED if files else HourState.EMPTY


def _is_an_export(destination: Destination) -> AylaConfigError:
    return AylaConfigError(
        f"the destination {destination.url} is the archive of an export. Give the stream a destination, or a prefix, "
        "of its own."
    )
