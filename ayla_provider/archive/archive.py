"""Copies hours of an event type into the customer's archive, and commits each by its manifest."""

from __future__ import annotations

import contextlib
import logging
import threading
import time
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from datetime import datetime
from functools import cached_property
from itertools import chain, repeat
from queue import SimpleQueue

from ayla_provider.archive.destination import Destination, Stored, folders_of, stored_at
from ayla_provider.archive.erasures import Erasures, Matcher
from ayla_provider.archive.listed_days import ListedDays
from ayla_provider.archive.records import Records
from ayla_provider.archive.transfer import Transfer
from ayla_provider.domain import manifest as manifests
from ayla_provider.domain.arrival import ArrivalRule, HourState, HourStatus
from ayla_provider.domain.coverage import Coverage, describe_lost
from ayla_provider.domain.erasure import ErasureKeys
from ayla_provider.domain.events import EventType
from ayla_provider.domain.hour import ExportHour, describe_hours, hour_of
from ayla_provider.domain.manifest import Manifest, ManifestFile
from ayla_provider.domain.parts import divide
from ayla_provider.domain.paths import (
    STREAM_POSITION,
    ExportFile,
    Layout,
    destination_path,
    hour_of_path,
    layout_of,
    manifest_path,
    parse_source,
)
from ayla_provider.domain.units import files_text, size_text
from ayla_provider.errors import (
    AylaConfigError,
    AylaConflictError,
    AylaDestinationError,
    AylaError,
    AylaLostError,
    AylaNewerFormatError,
    AylaNotSettledError,
    AylaSignInRefused,
    AylaTransferError,
    AylaUnprovenError,
)
from ayla_provider.source.export import Export
from ayla_provider.source.wait import describe_statuses
from ayla_provider.transport.spans import facts_of, span

_Copied = Future[tuple[ManifestFile, bool]]

log = logging.getLogger(__name__)

_PROGRESS_EVERY = 10.0
"""Seconds between two lines of progress."""

_SHOWN = 5
"""How many failures an error shows in full."""

_THREADS = 2
"""For each file that is copied at once: one reads, the other writes, see :class:`Transfer`."""

_NOT_NOTED = (AylaSignInRefused, AylaNotSettledError, AylaConflictError)
"""Failures that say nothing about the hour: of the account, of the time, and of another run at the same time."""


@dataclass(slots=True)
class ArchiveReport:
    """What a run did to some hours: counts and bytes, no names."""

    hours: Counter[str] = field(default_factory=Counter)
    """State to the number of hours."""
    files: int = 0
    """Files in the hours' manifests."""
    bytes: int = 0
    """Bytes in the hours' manifests."""
    copied_files: int = 0
    copied_bytes: int = 0
    """Bytes that this run copied."""
    manifests: list[Manifest] = field(default_factory=list)
    """The manifests of the hours that are complete."""
    manifests_written: int = 0
    seconds: float = 0.0


@dataclass(frozen=True, slots=True)
class HourPlan:
    """What a run would do to an hour."""

    status: HourStatus
    manifest: Manifest | None
    """The manifest that the hour has now."""
    to_copy: tuple[ExportFile, ...]
    """The files that the archive lacks, or has in another generation."""


@dataclass
class _HourJob:
    """The copy of one hour."""

    status: HourStatus
    manifest: Manifest | None
    manifest_stored: Stored | None
    existing: Mapping[str, Stored]
    """Path to what the destination has, for the folders of the hour's copies."""
    layout: Layout
    """How the paths of the hour's copies are made."""
    untrusted: Collection[str] = ()
    """Paths of copies that are written again; ``*`` for all of them."""
    matcher: Matcher | None = None
    """Finds the lines that the hour's copies must not have; None if no erasure touches the hour."""
    done: list[ManifestFile] = field(default_factory=list)
    lost: list[ManifestFile] = field(default_factory=list)
    """The manifest's entries of files that neither the destination nor the source has any more."""
    kept: list[ManifestFile] = field(default_factory=list)
    """The entries of files that the source no longer shows, and that were in doubt, but that the destination has."""
    unnamed: list[str] = field(default_factory=list)
    """The paths of the hour's copies that nothing names: it has no valid manifest, and the source doesn't show them."""
    committed: bool = False

    def trusts(self, path: str) -> bool:
        """Return whether a copy may be taken for what its listing says."""
        return path not in self.untrusted and "*" not in self.untrusted

    @property
    def doubtful(self) -> list[ManifestFile]:
        """The manifest's entries of copies that aren't trusted, and of lost files, which can be back."""
        entries = self.manifest.files if self.manifest else ()
        return [entry for entry in entries if entry.lost or not self.trusts(entry.path)]

    @property
    def unrepaired(self) -> list[ManifestFile]:
        """The lost files that this run was asked to repair."""
        return [entry for entry in self.lost if not self.trusts(entry.path)]

    @cached_property
    def entries(self) -> dict[str, list[ManifestFile]]:
        """Path to the manifest's entries of this path."""
        entries: dict[str, list[ManifestFile]] = {}
        for entry in self.manifest.files if self.manifest else ():
            entries.setdefault(entry.path, []).append(entry)
        return entries

    def refuse_other(self, export: Export) -> None:
        if self.manifest:
            self.manifest.refuse_other(export.url)

    @property
    def is_complete(self) -> bool:
        return len(self.done) == len(self.status.files)


class Archive:
    """
    A customer's archive of an export.

    :param layout: how the copies' paths are made. An hour that has copies in the other layout keeps that one
    :param max_workers: how many files are copied at once. Of small files, as many are read and as many are written at
        once. Each takes up to 7 MiB of memory, or 19 MiB to other stores than Cloud Storage
    :param erasure_keys: returns the keys of the erasure ledger. It is called only if an erasure touches an hour
    """

    def __init__(
        self,
        destination: Destination,
        *,
        layout: Layout = Layout.PARTITIONED,
        max_workers: int = 8,
        erasure_keys: Callable[[], ErasureKeys] | None = None,
    ) -> None:
        self.destination = destination
        self._erasure_keys = erasure_keys
        self.records = Records(destination)
        self._layout = layout
        self._mirrored_types: dict[EventType, bool] = {}
        """Whether the archive has copies of an event type in the layout ``mirror``, for those that were looked at."""
        self._mirrored_lock = threading.Lock()
        self._max_workers = max_workers
        self._stop = threading.Event()

    def stop(self) -> None:
        """Stop a copy that runs in another thread. Complete files stay; incomplete files leave nothing."""
        self._stop.set()

    def plan(self, export: Export, hours: Sequence[ExportHour], rule: ArrivalRule) -> list[HourPlan]:
        """
        Return what :meth:`take_in` would do, without doing it.

        :param hours: consecutive hours of one event type
        :raises AylaError: if source or destination can't be read
        """
        plans = []
        erasures = self._erasures()
        with self._pool() as pool:
            listed, _ = self._begin(export, hours, erasures, pool)
            statuses = export.status(hours, rule)
            for status in statuses:
                job = self._job(export, status, listed, erasures)
                if isinstance(job, AylaError):
                    raise job
                job.refuse_other(export)
                to_copy = tuple(file for file in status.files if self._existing_entry(job, file) is None)
                if job.manifest and job.manifest.removed:
                    to_copy = ()
                plans.append(HourPlan(status, job.manifest, to_copy))
        return plans

    def manifest(self, hour: ExportHour) -> Manifest | None:
        """
        Return the manifest of an hour, None if there is none yet.

        :raises AylaDestinationError: if it can't be read
        """
        return self.records.read_manifest(hour)[0]

    def take_in(
        self,
        export: Export,
        hours: Sequence[ExportHour],
        rule: ArrivalRule,
        *,
        written_by: Mapping[str, str],
        last_try: bool = False,
        untrusted: Collection[str] = (),
    ) -> ArchiveReport:
        """
        Copy what the source shows of some hours, and commit each hour that is complete.

        Files that the manifest or the destination already proves aren't copied again. Everything that can be copied is
        copied before an error is raised, so that the next try only has to do the rest.

        :param hours: consecutive hours of one event type
        :param written_by: for the manifests, see :class:`~ayla_provider.domain.manifest.Manifest`
        :param last_try: whether nobody tries again soon. Then each hour that can't be copied gets a note, see
            :class:`~ayla_provider.domain.failure.Failure`; an hour that fails permanently gets one in any case
        :param untrusted: paths of copies, and of manifests, that a verification found missing or damaged; ``*`` for all
            copies. They are written again
        :raises AylaConfigError: if the destination is the archive of a stream, or of another OEM's export
        :raises AylaNotSettledError: if an hour may still get files; the files so far were copied
        :raises AylaUnprovenError: if an object can't be placed in time and can be a file of an hour; the others were
            copied
        :raises AylaTransferError: if files couldn't be copied; it names them
        :raises AylaLostError: if neither the destination nor the source has an untrusted file any more. The manifest
            marks it as lost by then. Or if an hour has no manifest, and the destination has copies of it that the
            source doesn't show. Then nothing is committed
        :raises AylaError: if the run failed as a whole
        """
        with span("copy", **facts_of(hours)) as note:
            report = self._take_in(export, hours, rule, written_by, untrusted, last_try=last_try)
            note(
                files=report.files,
                bytes=report.bytes,
                copied_files=report.copied_files,
                copied_bytes=report.copied_bytes,
                manifests_written=report.manifests_written,
            )
        return report

    def _take_in(
        self,
        export: Export,
        hours: Sequence[ExportHour],
        rule: ArrivalRule,
        written_by: Mapping[str, str],
        untrusted: Collection[str],
        *,
        last_try: bool,
    ) -> ArchiveReport:
        # Before anything is copied, so that an erasure that begins later is noticed.
        erasures = self._erasures()
        run = _Run(self.records, export, written_by, _Progress(describe_hours(hours)), erasures)
        transfer = self._transfer(export, run)
        with self._pool(_THREADS) as pool, self._pool() as commits:
            listed, is_stream = self._begin(export, hours, erasures, pool)
            statuses = export.status(hours, rule)
            jobs = []
            results = pool.map(self._job, repeat(export), statuses, repeat(listed), repeat(erasures), repeat(untrusted))
            for status, job in zip(statuses, results, strict=True):
                if isinstance(job, AylaError):
                    run.failed(status, job)
                else:
                    job.refuse_other(export)
                    jobs.append(job)
            if any(job.manifest is None for job in jobs):
                self._refuse_stream(is_stream)
            jobs = [job for job in jobs if not run.left_alone(job)]
            log.info("Found %s", describe_statuses(statuses))
            run.progress.expect(jobs)
            # A manifest is written while the next hour is copied. The other pool's queue is full of files.
            closed = []
            futures = {}
            for job in jobs:
                if not job.status.files:
                    closed.append(commits.submit(run.close, job))
                for file in job.status.files:
                    futures[pool.submit(self._copy, transfer, job, file)] = (job, file)
            for future in _as_they_end(futures):
                job, file = futures[future]
                try:
                    entry, moved = future.result()
                except AylaError as error:
                    run.failed(job.status, error)
                else:
                    run.copied(job, file, entry, moved)
                    if job.is_complete:
                        closed.append(commits.submit(run.close, job))
            for commit in closed:
                commit.result()
        for job in jobs:
            for folder in folders_of(_paths(job.status, job.layout)):
                self.destination.remove_leftovers(folder)
            if job.unnamed and job.is_complete:
                run.failed(job.status, self._refusal_to_forget(job))
            if job.committed and job.unrepaired:
                run.failed(job.status, self._lost(job))
        run.note_failures(last_try=last_try)
        run.raise_failures()
        run.report.manifests.sort(key=lambda manifest: manifest.hour.start)
        run.report.seconds = time.monotonic() - run.started
        return run.report

    def copy_part(
        self, export: Export, hour: ExportHour, rule: ArrivalRule, number: int, max_bytes: int
    ) -> tuple[ArchiveReport, int]:
        """
        Copy a part of what the source shows of an hour, and commit nothing: :meth:`take_in` does, and decides.

        Files that the manifest or the destination already proves aren't copied again.

        :param number: the part's, from 1; an hour that has fewer parts by now has nothing to copy
        :param max_bytes: see :func:`~ayla_provider.domain.parts.divide`
        :returns: what was copied, and how many files the part has
        :raises AylaConfigError: if the destination is the archive of a stream, or of another OEM's export
        :raises AylaTransferError: if files couldn't be copied; it names them
        :raises AylaError: if the run failed as a whole
        """
        with span("copy", **facts_of([hour]), part=number) as note:
            report, files = self._copy_part(export, hour, rule, number, max_bytes)
            note(files=files, copied_files=report.copied_files, copied_bytes=report.copied_bytes)
        return report, files

    def _copy_part(
        self, export: Export, hour: ExportHour, rule: ArrivalRule, number: int, max_bytes: int
    ) -> tuple[ArchiveReport, int]:
        erasures = self._erasures()
        run = _Run(self.records, export, {}, _Progress(f"{hour}, part {number}"), erasures)
        transfer = self._transfer(export, run)
        with self._pool(_THREADS) as pool:
            listed, is_stream = self._begin(export, [hour], erasures, pool)
            (status,) = export.status([hour], rule)
            parts = divide(sorted(status.files, key=lambda file: file.name), max_bytes)
            status = replace(status, files=tuple(parts[number - 1]) if number <= len(parts) else ())
            job = self._job(export, status, listed, erasures)
            if isinstance(job, AylaError):
                raise job
            job.refuse_other(export)
            if job.manifest is None:
                self._refuse_stream(is_stream)
            if run.left_alone(job):
                return run.report, 0
            run.progress.expect([job])
            futures = {pool.submit(self._copy, transfer, job, file): file for file in status.files}
            for future in _as_they_end(futures):
                try:
                    _, moved = future.result()
                except AylaError as error:
                    run.failed(status, error)
                    continue
                run.progress.file_done()
                run.report.copied_files += moved
                run.report.copied_bytes += futures[future].size * moved
        run.raise_failures()
        run.report.seconds = time.monotonic() - run.started
        return run.report, len(status.files)

    def _transfer(self, export: Export, run: _Run) -> Transfer:
        return Transfer(export, self.destination, self._stop, run.progress.bytes_moved, self._max_workers)

    def _begin(
        self, export: Export, hours: Sequence[ExportHour], erasures: Erasures, pool: ThreadPoolExecutor
    ) -> tuple[ListedDays, Future[bool | None]]:
        """
        Begin to ask the destination what a run needs to know of it, while the source is listed.

        An error is raised where the answer is needed.

        :returns: the hours' copies and manifests; and whether the destination is the archive of a stream, None if that
            isn't known
        """
        # The order matters in a pool of one thread: nothing waits for what comes after it.
        listed = ListedDays(self.destination, hours, pool)
        pool.submit(erasures.begin)
        is_stream = pool.submit(self._is_stream_of_new, hours, listed)
        # The mirrored copies are in folders that are named as those of the source.
        export.folders_of(hours[0].event_type)
        pool.submit(self._begin_mirrored, export, hours, listed)
        return listed, is_stream

    def _is_stream_of_new(self, hours: Sequence[ExportHour], listed: ListedDays) -> bool | None:
        """Return whether the destination is the archive of a stream, if an hour has no manifest; None if unknown."""
        with contextlib.suppress(AylaError):
            if _any_is_new(hours, listed):
                return self.destination.read(STREAM_POSITION) is not None
        return None

    def _begin_mirrored(self, export: Export, hours: Sequence[ExportHour], listed: ListedDays) -> None:
        with contextlib.suppress(AylaError):
            if self._layout is Layout.PARTITIONED and _any_is_new(hours, listed):
                self._has_mirrored(export, hours[0].event_type)

    def _refuse_stream(self, looked: Future[bool | None]) -> None:
        """
        Refuse the archive of a stream, also for hours that it doesn't have.

        :param looked: what is known of it
        :raises AylaConfigError: if the destination has a stream's position
        """
        is_stream = looked.result()
        if is_stream is None:
            is_stream = self.destination.read(STREAM_POSITION) is not None
        if is_stream:
            raise AylaConfigError(
                f"the destination {self.destination.url} is the archive of a stream: it has {STREAM_POSITION}. Give "
                "the export a destination, or a prefix, of its own."
            )

    @contextlib.contextmanager
    def _pool(self, threads: int = 1) -> Iterator[ThreadPoolExecutor]:
        """
        Give threads, and wait for them at the end.

        :param threads: for each file that is copied at once
        """
        pool = ThreadPoolExecutor(threads * self._max_workers, thread_name_prefix="ayla-copy")
        try:
            yield pool
        except AylaError:
            # The run fails as a whole, before it copies. Another one may use this archive.
            raise
        except BaseException:
            # The task was ended: no thread may go on in the background.
            self.stop()
            raise
        finally:
            pool.shutdown(wait=True, cancel_futures=True)

    def _erasures(self) -> Erasures:
        """Return the erasure ledger, as it is now."""
        return Erasures(self.destination, self._erasure_keys)

    def _job(
        self,
        export: Export,
        status: HourStatus,
        listed: ListedDays,
        erasures: Erasures,
        untrusted: Collection[str] = (),
    ) -> _HourJob | AylaError:
        """Return the copy to do for an hour, or why the destination can't be read."""
        try:
            matcher = erasures.matcher(status.hour)
            manifest, stored = self._manifest_to_follow(status, listed, untrusted)
            copies: dict[Layout, Mapping[str, Stored]] = {}
            if manifest is None and status.state.settled:
                copies = {layout: self._copies_of(export, status.hour, layout, listed) for layout in Layout}
            layout = self._layout_of(manifest, copies)
            if copies and layout is Layout.PARTITIONED:
                # All of the hour's copies are in one folder, which is listed already.
                existing = copies[layout]
            else:
                existing = listed.stored_at(_paths(status, layout))
            job = _HourJob(status, manifest, stored, existing, layout, untrusted, matcher)
            self._look_for_lost(job)
            for own, paths in copies.items():
                job.unnamed += sorted(paths.keys() - _paths(status, own))
        except AylaError as error:
            return error
        return job

    def _manifest_to_follow(
        self, status: HourStatus, listed: ListedDays, untrusted: Collection[str]
    ) -> tuple[Manifest | None, Stored | None]:
        """Return an hour's manifest and its version. One that is to be written again counts as none."""
        path = manifest_path(status.hour)
        record = listed.manifest(path)
        if record is None:
            return None, None
        content, stored = record
        try:
            return self.records.parse_manifest(content, status.hour), stored
        except AylaNewerFormatError:
            raise
        except AylaDestinationError:
            if path not in untrusted:
                raise
            return None, stored

    def _layout_of(self, manifest: Manifest | None, copies: Mapping[Layout, Collection[str]]) -> Layout:
        """
        Return the layout of the copies that an hour has. If it has none, or some in both, it is that of the task.

        :param copies: those of an hour without a manifest
        """
        layouts = {layout for layout, paths in copies.items() if paths}
        if manifest is not None:
            layouts = {layout_of(entry.path) for entry in manifest.files}
        return layouts.pop() if len(layouts) == 1 else self._layout

    def _copies_of(self, export: Export, hour: ExportHour, layout: Layout, listed: ListedDays) -> dict[str, Stored]:
        """Return the copies of an hour in a layout, by path."""
        if layout is Layout.PARTITIONED:
            stored = listed.folder(hour.partition)
            return {path: stored[path] for path in stored if hour_of_path(path) == hour}
        if self._layout is Layout.PARTITIONED and not self._has_mirrored(export, hour.event_type):
            # A request for each event type, instead of one for each hour.
            return {}
        mirrored = self._mirrored(export, hour)
        return {path: mirrored[path] for path in mirrored if _is_mirror_of(export, hour, path)}

    def _has_mirrored(self, export: Export, event_type: EventType) -> bool:
        """Return whether the archive has copies of an event type in the layout ``mirror``."""
        with self._mirrored_lock:
            if event_type not in self._mirrored_types:
                listings = map(self.destination.tree, map(export.prefix, export.folders_of(event_type)))
                self._mirrored_types[event_type] = any(True for _ in chain.from_iterable(listings))
            return self._mirrored_types[event_type]

    def _mirrored(self, export: Export, hour: ExportHour) -> dict[str, Stored]:
        """Return the copies of an hour in the layout ``mirror``, by path, and perhaps others of its date."""
        folders = []
        for folder in export.folders_of(hour.event_type):
            prefix = export.prefix(folder)
            folders.append(f"{prefix}{hour.start:%Y-%m-%d}")
            if export.hour_pattern:
                folders.append(prefix + export.hour_pattern.window([hour.start])[0])
        listings = chain.from_iterable(map(self.destination.tree, folders))
        return {listed.stored.path: listed.stored for listed in listings if not listed.unfinished}

    def _refusal_to_forget(self, job: _HourJob) -> AylaLostError:
        """Return the error of an hour whose manifest would leave out copies that the archive has."""
        path = manifest_path(job.status.hour)
        problem = "can't be read" if job.manifest_stored else "is missing"
        which = "all of its files" if job.status.files else "its files"
        return AylaLostError(
            f"{job.status.hour}: its manifest {problem}, and Ayla no longer shows {which}. The archive still has "
            f"{files_text(len(job.unnamed))} of it, for example {job.unnamed[0]}. They stay, and the hour gets no "
            f"manifest. If the bucket has an earlier version, restore {path} ({self._other_versions(path)}). To record "
            "the hour without these files, move them out of the archive, and clear this task."
        )

    def _look_for_lost(self, job: _HourJob) -> None:
        """Find out which of the doubtful files that the source no longer shows are lost."""
        doubtful = job.doubtful
        if not doubtful:
            return
        names = {file.name for file in job.status.files}
        # An export that moved to another bucket shows a file under another name.
        paths = _paths(job.status, job.layout)
        gone = [entry for entry in doubtful if entry.source not in names and entry.path not in paths]
        existing = stored_at(self.destination, [entry.path for entry in gone])
        for entry in gone:
            stored = existing.get(entry.path)
            if stored and stored.size == entry.held_size and self.destination.crc32c(stored) == entry.held_crc32c:
                job.kept.append(replace(entry, version=stored.version, lost=""))
            else:
                job.lost.append(entry)

    def _lost(self, job: _HourJob) -> AylaLostError:
        """Return the error that names the lost files, and says what the bucket still has of them."""
        lost = job.unrepaired
        named = [f"{entry.path} ({self._other_versions(entry.path)})" for entry in lost[:_SHOWN]]
        if len(lost) > _SHOWN:
            named.append(f"and {len(lost) - _SHOWN} more")
        return AylaLostError(
            f"{job.status.hour}: {files_text(len(lost), 'lost')}. The archive's copy is missing or damaged, and Ayla "
            f"no longer shows the file: {', '.join(named)}. The manifest marks it as lost. Rows that were typed or "
            "loaded from it stay. If the bucket has an earlier version, restore the copy from there, and clear this "
            "task."
        )

    def _other_versions(self, path: str) -> str:
        match self.destination.has_earlier_version(path):
            case True:
                return "the bucket still has an earlier version"
            case False:
                return "no earlier version"
            case _:
                return "the store can't be asked for an earlier version"

    def _copy(self, transfer: Transfer, job: _HourJob, file: ExportFile) -> tuple[ManifestFile, bool]:
        """Return the manifest's entry of a file that is now in the destination, and whether it was copied just now."""
        entry = self._existing_entry(job, file)
        if entry:
            return entry, False
        path = destination_path(file, job.layout)
        standing = job.existing.get(path)
        copy = transfer.copy(file, path, standing, trusted=job.trusts(path), matcher=job.matcher)
        version = copy.stored.version
        return ManifestFile.of(file, path, copy.crc32c, copy.lines, version, copy.erased, copy.sha256), True

    def _existing_entry(self, job: _HourJob, file: ExportFile) -> ManifestFile | None:
        """Return the manifest's entry of a file that is proven to be in the destination already."""
        path = destination_path(file, job.layout)
        stored = job.existing.get(path)
        if stored is None or not job.trusts(path):
            return None
        for entry in job.entries.get(path, ()):
            if entry.lost:
                return None
            if entry.is_of(file, path):
                return self._trusted(entry, stored) if stored.size == entry.held_size else None
        if stored.size != file.size or job.matcher is not None:
            # Of a copy that no entry names, nobody knows whether what is to be erased was left out.
            return None
        if file.crc32c is None or self.destination.crc32c(stored) != file.crc32c:
            return None
        return ManifestFile.of(file, path, file.crc32c, version=stored.version)

    def _trusted(self, entry: ManifestFile, stored: Stored) -> ManifestFile | None:
        """Return the entry of a copy of the right size, None if the copy was changed since the entry was written."""
        if stored.crc32c is None and entry.version in ("", stored.version):
            return entry
        # The listing states the checksum, or the copy was written again.
        if self.destination.crc32c(stored) != entry.held_crc32c:
            return None
        return replace(entry, version=stored.version) if entry.version else entry


def _any_is_new(hours: Sequence[ExportHour], listed: ListedDays) -> bool:
    """Return whether an hour has no manifest."""
    return any(listed.lacks_manifest(manifest_path(hour)) for hour in hours)


def _as_they_end(futures: Collection[_Copied]) -> Iterator[_Copied]:
    """Yield futures as they end. ``as_completed()`` takes a fifth of the CPU of small files."""
    done: SimpleQueue[_Copied] = SimpleQueue()
    for future in futures:
        future.add_done_callback(done.put)
    for _ in futures:
        yield done.get()


def _paths(status: HourStatus, layout: Layout) -> set[str]:
    """Return the paths of the copies of all files that the source shows."""
    paths = set()
    for file in status.files:
        # A file whose name can't be a path fails later, in its copy; the rest of the hour is copied.
        with contextlib.suppress(AylaError):
            paths.add(destination_path(file, layout))
    return paths


def _is_mirror_of(export: Export, hour: ExportHour, path: str) -> bool:
    """Return whether a path is that of a copy of an hour in the layout ``mirror``."""
    times: list[datetime | None] = []
    for folder in export.folders_of(hour.event_type):
        prefix = export.prefix(folder)
        parsed = parse_source(path, prefix)
        if parsed:
            times.append(parsed[0])
        elif export.hour_pattern and path.startswith(prefix):
            times.append(export.hour_pattern.parse(path.removeprefix(prefix)))
    return any(time is not None and hour_of(time) == hour.start for time in times)


class _Run:
    """The bookkeeping of one run over some hours."""

    def __init__(
        self,
        records: Records,
        export: Export,
        written_by: Mapping[str, str],
        progress: _Progress,
        erasures: Erasures,
    ) -> None:
        self.records = records
        self.erasures = erasures
        self.export_url = export.url
        self.now: Callable[[], datetime] = export.now
        self.written_by = written_by
        self.report = ArchiveReport()
        self.failures: list[tuple[HourStatus, AylaError]] = []
        self.progress = progress
        self._lock = threading.Lock()
        self.started = time.monotonic()

    def left_alone(self, job: _HourJob) -> bool:
        """Return whether a rule removed the hour's copies because of their age. Then nothing is copied again."""
        manifest = job.manifest
        if manifest is None or not manifest.removed:
            return False
        log.warning(
            "%s stays as it is: a rule removed its files on %s.", manifest.hour, manifest.removed[0].removed[:10]
        )
        self.report.hours["removed"] += 1
        self.report.manifests.append(manifest)
        return True

    def copied(self, job: _HourJob, file: ExportFile, entry: ManifestFile, moved: bool) -> None:
        if moved:
            self.report.copied_files += 1
            self.report.copied_bytes += file.size
        self.progress.file_done()
        job.done.append(entry)

    def close(self, job: _HourJob) -> None:
        """Commit an hour whose files are all in the destination. Thread-safe."""
        status, previous = job.status, job.manifest
        # The source no longer shows the files that the archive has.
        expired = previous is not None and bool(previous.files) and not status.files
        if not status.state.settled and not expired:
            unproven = status.state is HourState.UNPROVEN
            self.failed(status, AylaUnprovenError(_unproven(status)) if unproven else _not_settled(status))
            return
        if job.unrepaired and status.state is HourState.UNPROVEN:
            # The object that can't be placed in time can be the lost file.
            self.failed(status, AylaUnprovenError(_unproven(status)))
            return
        if job.unnamed:
            # A manifest without these copies would make orphans of them.
            return
        manifest = manifests.revise(
            previous,
            status.hour,
            HourState.EMPTY if expired else status.state,
            [*job.done, *job.kept],
            written_at=self.now(),
            written_by=self.written_by,
            export=self.export_url,
            lost=job.lost,
        )
        written = manifest is not previous
        if written:
            try:
                if manifest.files:
                    self.erasures.refuse_change([manifest.hour])
                self.records.write_manifest(manifest, job.manifest_stored)
            except AylaError as error:
                self.failed(status, error)
                return
        log.info("%s %s", "Committed" if written else "Unchanged", manifests.describe(manifest))
        job.committed = True
        if manifest.lost:
            log.warning("%s: %s", manifest.hour, describe_lost(manifest))
        with self._lock:
            self.report.manifests_written += written
            self.report.manifests.append(manifest)
            self.report.hours[Coverage.LOST if manifest.lost else manifest.state.value] += 1
            self.report.files += len(manifest.files)
            self.report.bytes += manifest.size

    def failed(self, status: HourStatus, error: AylaError) -> None:
        self.failures.append((status, error))

    def note_failures(self, *, last_try: bool) -> None:
        """Leave a note on each hour that can't be copied, unless it only needs time."""
        noted: set[ExportHour] = set()
        for status, error in self.failures:
            # Only the first failure of an hour counts.
            if status.hour in noted:
                continue
            noted.add(status.hour)
            if isinstance(error, _NOT_NOTED) or (error.retryable and not last_try):
                continue
            try:
                self.records.note_failure(status, error, self.now(), self.written_by)
            except AylaError as refused:
                log.warning("The note about the failure can't be written: %s", refused)
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
        classes = {type(error) for error in errors}
        error_class = classes.pop() if len(classes) == 1 else AylaTransferError
        lines = [f"{len(errors)} failures; everything else was copied, and isn't copied again:"]
        lines += [f"- {error}" for error in errors[:_SHOWN]]
        if len(errors) > _SHOWN:
            lines.append(f"- and {len(errors) - _SHOWN} more")
        raise error_class("\n".join(lines))


class _Progress:
    """Reports in the log how far a long copy is. Thread-safe."""

    def __init__(self, what: str) -> None:
        self._what = what
        self._files = self._bytes = self._total_files = self._total_bytes = 0
        self._started = self._last_line = time.monotonic()
        self._lock = threading.Lock()

    def expect(self, jobs: Iterable[_HourJob]) -> None:
        for job in jobs:
            self._total_files += len(job.status.files)
            self._total_bytes += job.status.size

    def file_done(self) -> None:
        self._files += 1

    def bytes_moved(self, size: int) -> None:
        with self._lock:
            self._bytes += size
            now = time.monotonic()
            if now - self._last_line < _PROGRESS_EVERY:
                return
            self._last_line = now
        log.info(
            "%s: %d of %s done, %s copied of %s, %s/s",
            self._what,
            self._files,
            files_text(self._total_files),
            size_text(self._bytes),
            size_text(self._total_bytes),
            size_text(self._bytes / (now - self._started)),
        )


def _unproven(status: HourStatus) -> str:
    copied = " Its other files were copied." if status.files else ""
    return f"{status.problem} The hour gets no manifest until then.{copied}"


def _not_settled(status: HourStatus) -> AylaNotSettledError:
    return AylaNotSettledError(
        f"{status.hour} is {status.state.value}: {status.state.unsettled_because}. It gets no manifest. Put an "
        "AylaExportHourSensor before this task, or clear it later."
    )
