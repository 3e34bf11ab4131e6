"""Hours of an event type into the customer's archive, each committed by its manifest."""

from __future__ import annotations

import contextlib
import logging
import threading
import time
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta

from ayla_provider.archive.destination import Destination, Stored
from ayla_provider.archive.records import Records
from ayla_provider.archive.transfer import Transfer
from ayla_provider.domain import manifest as manifests
from ayla_provider.domain.arrival import HourState, HourStatus
from ayla_provider.domain.hour import describe_hour
from ayla_provider.domain.manifest import Manifest, ManifestFile
from ayla_provider.domain.paths import ExportFile, Layout, destination_path
from ayla_provider.domain.units import files_text, size_text
from ayla_provider.errors import (
    AylaConflictError,
    AylaError,
    AylaNotSettledError,
    AylaSignInRefused,
    AylaTransferError,
)
from ayla_provider.source.export import Export
from ayla_provider.source.wait import describe_found, describe_interval

log = logging.getLogger(__name__)

_PROGRESS_EVERY = 10.0
"""Seconds between two lines of progress."""

_SHOWN = 5
"""How many failures an error tells in full."""

_SAY_NOTHING_OF_THE_HOUR = (AylaSignInRefused, AylaNotSettledError, AylaConflictError)
"""Failures that aren't noted: of the account, of the time, and of another run that is at it."""


@dataclass(slots=True)
class ArchiveReport:
    """What became of some hours: counts and bytes, never names."""

    hours: Counter[str] = field(default_factory=Counter)
    """State to the number of hours."""
    files: int = 0
    """Files in the hours' manifests."""
    bytes: int = 0
    """Bytes in the hours' manifests."""
    copied_files: int = 0
    copied_bytes: int = 0
    """Bytes that were moved by this run."""
    manifests: list[Manifest] = field(default_factory=list)
    """The manifests of the hours that are complete."""
    manifests_written: int = 0
    seconds: float = 0.0


@dataclass(frozen=True, slots=True)
class HourPlan:
    """What would be done for an hour."""

    status: HourStatus
    manifest: Manifest | None
    """The one that stands there."""
    to_copy: tuple[ExportFile, ...]
    """The files that aren't there yet, or in another generation."""


@dataclass(slots=True)
class _HourInProgress:
    status: HourStatus
    manifest: Manifest | None
    manifest_stored: Stored | None
    standing: Mapping[str, Stored]
    done: list[ManifestFile] = field(default_factory=list)

    def refuse_other(self, export: Export) -> None:
        if self.manifest:
            self.manifest.refuse_other(export.url)


class Archive:
    """
    A customer's archive of an export.

    :param layout: how the copies' paths are made
    :param max_workers: how many files are copied at once; each takes up to some 18 MiB of memory
    """

    def __init__(self, destination: Destination, *, layout: Layout = Layout.PARTITIONED, max_workers: int = 8) -> None:
        self.destination = destination
        self.records = Records(destination)
        self._layout = layout
        self._max_workers = max_workers
        self._stop = threading.Event()

    def stop(self) -> None:
        """End a copy that runs in another thread; what is complete stays, what isn't leaves nothing."""
        self._stop.set()

    def plan(
        self,
        export: Export,
        event_type: str,
        hours: Sequence[datetime],
        *,
        quiet_period: timedelta,
        patience: timedelta,
    ) -> list[HourPlan]:
        """
        Return what :meth:`take_in` would do, without doing it.

        :param hours: consecutive hours, aware
        :raises AylaError: if source or destination can't be seen
        """
        plans = []
        for status in export.status(event_type, hours, quiet_period=quiet_period, patience=patience):
            hour = self._look(status)
            if isinstance(hour, AylaError):
                raise hour
            hour.refuse_other(export)
            to_copy = tuple(file for file in status.files if self._standing_entry(hour, file) is None)
            plans.append(HourPlan(status, hour.manifest, to_copy))
        return plans

    def manifest(self, event_type: str, hour: datetime) -> Manifest | None:
        """
        Return the manifest of an hour, None if there is none yet.

        :raises AylaDestinationError: if it can't be read
        """
        return self.records.manifest(event_type, hour)[0]

    def take_in(
        self,
        export: Export,
        event_type: str,
        hours: Sequence[datetime],
        *,
        quiet_period: timedelta,
        patience: timedelta,
        written_by: Mapping[str, str],
        last_try: bool = False,
    ) -> ArchiveReport:
        """
        Copy what the source shows of some hours, and commit each hour that is complete.

        What the manifest and the destination already prove isn't moved again. All that can be copied is copied
        before an error is raised, so that the next try has only the rest to do.

        :param hours: consecutive hours, aware
        :param written_by: stands in the manifests, see :class:`~ayla_provider.domain.manifest.Manifest`
        :param last_try: whether nobody tries again soon: a note is then left on each hour that can't be copied, see
            :class:`~ayla_provider.domain.failure.Failure`. Where no try can succeed, one is left in any case
        :raises AylaNotSettledError: if an hour may still get files; those that are there were copied
        :raises AylaTransferError: if files couldn't be copied, naming them
        :raises AylaError: if it failed as a whole
        """
        run = _Run(self.records, export.url, written_by, _Progress(describe_interval(event_type, hours)))
        statuses = export.status(event_type, hours, quiet_period=quiet_period, patience=patience)
        transfer = Transfer(export, self.destination, self._stop, run.progress.bytes_moved)
        with self._pool() as pool:
            in_progress = []
            for status, looked in zip(statuses, pool.map(self._look, statuses), strict=True):
                if isinstance(looked, AylaError):
                    run.failed(status, looked)
                else:
                    looked.refuse_other(export)
                    in_progress.append(looked)
            log.info("Found %s", describe_found(event_type, statuses))
            run.progress.expect(in_progress)
            for hour in in_progress:
                if not hour.status.files:
                    run.close(hour)
            futures = {
                pool.submit(self._copy, transfer, hour, file): (hour, file)
                for hour in in_progress
                for file in hour.status.files
            }
            for future in as_completed(futures):
                hour, file = futures[future]
                try:
                    run.copied(hour, file, *future.result())
                except AylaError as error:
                    run.failed(hour.status, error)
        run.note_failures(export.now(), last_try=last_try)
        run.raise_failures()
        run.report.seconds = time.monotonic() - run.started
        return run.report

    @contextlib.contextmanager
    def _pool(self) -> Iterator[ThreadPoolExecutor]:
        pool = ThreadPoolExecutor(self._max_workers, thread_name_prefix="ayla-copy")
        try:
            yield pool
        except BaseException:
            # The task was ended: let no thread go on behind its back.
            self.stop()
            raise
        finally:
            pool.shutdown(wait=True, cancel_futures=True)

    def _look(self, status: HourStatus) -> _HourInProgress | AylaError:
        """Return what stands in the destination of an hour, or why that can't be seen."""
        try:
            manifest, stored = self.records.manifest(status.event_type, status.hour)
            return _HourInProgress(status, manifest, stored, self._standing(status))
        except AylaError as error:
            return error

    def _standing(self, status: HourStatus) -> dict[str, Stored]:
        standing: dict[str, Stored] = {}
        folders = set()
        for file in status.files:
            # A name that can't be placed fails when its copy is tried, and not the whole hour here.
            with contextlib.suppress(AylaError):
                folders.add(destination_path(file, self._layout).rpartition("/")[0])
        for folder in sorted(folders):
            standing.update(self.destination.folder(folder))
        return standing

    def _copy(self, transfer: Transfer, hour: _HourInProgress, file: ExportFile) -> tuple[ManifestFile, bool]:
        """Return the manifest's entry of a file that now stands in the destination, and whether it was moved."""
        entry = self._standing_entry(hour, file)
        if entry:
            return entry, False
        path = destination_path(file, self._layout)
        copy = transfer.copy(file, path, hour.standing.get(path))
        return ManifestFile.of(file, path, copy.crc32c, copy.lines), True

    def _standing_entry(self, hour: _HourInProgress, file: ExportFile) -> ManifestFile | None:
        """Return the manifest's entry of a file that is proven to stand in the destination already."""
        path = destination_path(file, self._layout)
        stands = hour.standing.get(path)
        if stands is None or stands.size != file.size:
            return None
        for entry in hour.manifest.files if hour.manifest else ():
            if entry.is_of(file, path):
                return entry
        if file.crc32c is None or self.destination.crc32c(stands) != file.crc32c:
            return None
        return ManifestFile.of(file, path, file.crc32c)


class _Run:
    """The bookkeeping of one run over some hours."""

    def __init__(self, records: Records, export_url: str, written_by: Mapping[str, str], progress: _Progress) -> None:
        self.records = records
        self.export_url = export_url
        self.written_by = written_by
        self.report = ArchiveReport()
        self.failures: list[tuple[HourStatus, AylaError]] = []
        self.progress = progress
        self.started = time.monotonic()

    def copied(self, hour: _HourInProgress, file: ExportFile, entry: ManifestFile, moved: bool) -> None:
        if moved:
            self.report.copied_files += 1
            self.report.copied_bytes += file.size
        self.progress.file_done()
        hour.done.append(entry)
        if len(hour.done) == len(hour.status.files):
            self.close(hour)

    def close(self, hour: _HourInProgress) -> None:
        """Commit an hour all of whose files stand in the destination."""
        status, previous = hour.status, hour.manifest
        expired = previous is not None and bool(previous.files) and not status.files
        if not status.state.settled and not expired:
            self.failed(status, _not_settled(status))
            return
        manifest = manifests.revise(
            previous,
            status.event_type,
            status.hour,
            HourState.EMPTY if expired else status.state,
            hour.done,
            written_at=datetime.now(UTC),
            written_by=self.written_by,
            export=self.export_url,
        )
        if manifest is not previous:
            try:
                self.records.write_manifest(manifest, hour.manifest_stored)
            except AylaError as error:
                self.failed(status, error)
                return
            self.report.manifests_written += 1
        log.info("%s %s", "Unchanged" if manifest is previous else "Committed", manifests.describe(manifest))
        self.report.manifests.append(manifest)
        self.report.hours[manifest.state.value] += 1
        self.report.files += len(manifest.files)
        self.report.bytes += manifest.size

    def failed(self, status: HourStatus, error: AylaError) -> None:
        self.failures.append((status, error))

    def note_failures(self, now: datetime, *, last_try: bool) -> None:
        """Leave a note on each hour that can't be copied, unless it only has to be waited for."""
        first = {status.hour: (status, error) for status, error in reversed(self.failures)}
        for status, error in first.values():
            if isinstance(error, _SAY_NOTHING_OF_THE_HOUR) or (error.retryable and not last_try):
                continue
            try:
                self.records.note_failure(status, error, now, self.written_by)
            except AylaError as refused:
                log.warning("No note of the failure is left: %s", refused)
                return

    def raise_failures(self) -> None:
        if not self.failures:
            return
        errors = [error for _, error in self.failures]
        for error in errors:
            if isinstance(error, AylaSignInRefused):
                raise error
        if len(errors) == 1:
            raise errors[0]
        kinds = {type(error) for error in errors}
        kind = kinds.pop() if len(kinds) == 1 else AylaTransferError
        told = "\n".join(f"- {error}" for error in errors[:_SHOWN])
        more = len(errors) - _SHOWN
        raise kind(
            f"{len(errors)} failures; everything else arrived and isn't moved again:\n{told}"
            + (f"\n- and {more} more" if more > 0 else "")
        )


class _Progress:
    """Says in the log how far a long copy is. Thread-safe."""

    def __init__(self, what: str) -> None:
        self._what = what
        self._files = self._bytes = self._total_files = self._total_bytes = 0
        self._started = self._said = time.monotonic()
        self._lock = threading.Lock()

    def expect(self, hours: Iterable[_HourInProgress]) -> None:
        for hour in hours:
            self._total_files += len(hour.status.files)
            self._total_bytes += hour.status.size

    def file_done(self) -> None:
        self._files += 1

    def bytes_moved(self, size: int) -> None:
        with self._lock:
            self._bytes += size
            now = time.monotonic()
            if now - self._said < _PROGRESS_EVERY:
                return
            self._said = now
        log.info(
            "%s: %d of %s done, %s moved of %s, %s/s",
            self._what,
            self._files,
            files_text(self._total_files),
            size_text(self._bytes),
            size_text(self._total_bytes),
            size_text(self._bytes / (now - self._started)),
        )


def _not_settled(status: HourStatus) -> AylaNotSettledError:
    why = {
        HourState.OPEN: "the hour isn't over",
        HourState.ARRIVING: "its newest file is so young that others may follow; those that are there were copied",
        HourState.PENDING: "no file has come yet, and files still may",
        HourState.OVERDUE: "no file has come, and nothing of a later hour either: Ayla's exporter seems to be stalled",
    }[status.state]
    return AylaNotSettledError(
        f"{status.event_type} {describe_hour(status.hour)} is {status.state.value}: {why}. It gets no manifest. Put an "
        "AylaExportHourSensor before this task, or clear it later."
    )
