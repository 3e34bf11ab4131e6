"""One run that drains a stream into an archive: batch by batch, each committed by its position."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import replace
from datetime import datetime, timedelta
from pathlib import Path

from ayla_provider.archive.destination import Destination, Stored
from ayla_provider.archive.erasures import Erasures, Matcher
from ayla_provider.archive.private import make_private_folder
from ayla_provider.archive.records import write_json
from ayla_provider.archive.stream_hours import StreamHours, complete_to, hours_of_types
from ayla_provider.archive.stream_reading import BatchReader, ReadBatch, begin_of, has_unread_parents
from ayla_provider.archive.stream_report import StreamReport, read_position
from ayla_provider.archive.stream_spool import FileKey, LocalFile, batch_folder, write_files
from ayla_provider.archive.stream_upload import StreamUpload
from ayla_provider.domain.erasure import ErasureKeys
from ayla_provider.domain.events import EventType
from ayla_provider.domain.hour import ONE_HOUR, ExportHour, hour_of
from ayla_provider.domain.paths import STREAM_POSITION, parse_stream_path
from ayla_provider.domain.stream import (
    Batch,
    BatchFile,
    Gap,
    KnownGap,
    ShardPosition,
    ShardRange,
    StreamPosition,
    StreamState,
    describe_gap,
)
from ayla_provider.domain.units import counted, first_few, size_text
from ayla_provider.errors import AylaConfigError, AylaStreamLossError, AylaStreamResetError
from ayla_provider.stream.base import Stream

log = logging.getLogger(__name__)

_SHOWN = 5
"""How many gaps an error shows."""


class Drain:
    """
    One run. Call :meth:`begin`, :meth:`read_all` and :meth:`end`, in this order.

    See :meth:`~ayla_provider.archive.stream.StreamArchive.drain` for the arguments.
    """

    position: StreamPosition
    """As the destination will have it with the next write."""

    def __init__(
        self,
        destination: Destination,
        stream: Stream,
        now: datetime,
        written_by: Mapping[str, str],
        *,
        accept_loss: bool,
        stop: threading.Event,
        erasure_keys: Callable[[], ErasureKeys] | None = None,
    ) -> None:
        self._erasure_keys = erasure_keys
        self._erasures = Erasures(destination, erasure_keys)
        self._matchers: dict[FileKey, Matcher | None] = {}
        self.report = StreamReport()
        self._destination, self._stream, self._now = destination, stream, now
        self._written_by, self._accept_loss = written_by, accept_loss
        self._hours = StreamHours(destination, stream.url, now, written_by)
        self._upload = StreamUpload(destination)
        self._reader = BatchReader(stream, now, accept_loss=accept_loss, stop=stop, matcher_of=self._matcher_of)
        self._stored: Stored | None = None

    def begin(self, oem_id: str) -> None:
        """
        Read the position, and finish the batch that an earlier run began.

        :raises AylaError: see :meth:`~ayla_provider.archive.stream.StreamArchive.drain`
        """
        state = self._stream.state()
        position, self._stored = read_position(self._destination)
        if position is None:
            self._hours.refuse_foreign()
            since = _first_whole_hour(max(state.created_at, self._now - state.retention))
            position = StreamPosition(self._stream.url, state.created_at, since, since)
        self._refuse_other(position, oem_id)
        must_announce = position.is_by_task(self._written_by) or not position.ended
        self.position = replace(
            position,
            oem_id=position.oem_id or oem_id,
            to_announce=position.to_announce if must_announce else (),
            ended=False,
            written_by=self._written_by,
        )
        self._measure_lag(state)
        is_new = state.created_at != position.created_at
        if is_new and not self._accept_loss:
            raise AylaStreamResetError(
                f"{self._stream.url} was created at {state.created_at.isoformat()}, and the stream of the archive "
                f"{self._destination.url} was created at {position.created_at.isoformat()}. Records of that stream may "
                "be lost. To go on with the new one, run the task once with accept_loss."
            )
        if self.position.pending and is_new:
            self._save(self.position.pending, self._upload.present(self.position.pending.files))
        elif self.position.pending:
            self._finish(self.position.pending, state)
        if is_new:
            self._start_again(state)

    def read_all(self, max_records: int, max_bytes: int) -> None:
        """
        Read and commit batches, until all is read that arrived before the run began.

        :raises AylaError: see :meth:`~ayla_provider.archive.stream.StreamArchive.drain`
        """
        ended: set[str] = set()
        while True:
            state = self._stream.state()
            vanished = self._vanished(state)
            if not vanished and not self._is_more_to_read(state, ended):
                return
            # Each batch asks again which erasures there are.
            self._erasures, self._matchers = Erasures(self._destination, self._erasure_keys), {}
            with batch_folder() as scratch:
                batch = self._reader.read(
                    state,
                    self.position.shards,
                    ended,
                    _new_folder(scratch, "spools"),
                    max_records=max_records,
                    max_bytes=max_bytes,
                )
                batch.gaps[:0] = vanished
                ended |= batch.ended
                self._commit(batch, state, _new_folder(scratch, "files"))

    def end(self) -> None:
        """
        Note that the run came to its end, and report what it found.

        :raises AylaStreamLossError: if there are gaps that no run has reported yet
        """
        gaps = self.position.gaps
        unreported = [known.gap for known in gaps if not known.reported and not known.acknowledged]
        has_loss = bool(unreported) and not self._accept_loss
        accepted = self._accept_loss
        gaps = tuple(KnownGap(known.gap, True, known.acknowledged or accepted) for known in gaps)
        self._write(replace(self.position, gaps=gaps, ended=not has_loss))
        self.report.unacknowledged_gaps = self.position.unacknowledged
        self.report.complete_to = self.position.proven_to
        if has_loss:
            raise _loss(self._stream.url, self._destination.url, unreported)
        self.report.hours = self._hours.read(self.position.to_announce)

    def _matcher_of(self, key: FileKey) -> Matcher | None:
        """Return what finds the lines of an hour that are erased; None if there are none."""
        if key not in self._matchers:
            # The event type makes no difference.
            hour = ExportHour(key.event_type or EventType("datapoint"), key.hour)
            self._matchers[key] = self._erasures.matcher(hour)
        return self._matchers[key]

    def _refuse_other(self, position: StreamPosition, oem_id: str) -> None:
        if position.stream != self._stream.url:
            raise AylaConfigError(
                f"the destination {self._destination.url} is the archive of the stream {position.stream}, and this "
                f"task reads {self._stream.url}. Give each stream its own destination."
            )
        if oem_id and position.oem_id and oem_id != position.oem_id:
            raise AylaConfigError(
                f"the destination {self._destination.url} has records of the OEM {position.oem_id!r}, and oem_id is "
                f"{oem_id!r}. Correct oem_id, or give each OEM its own destination."
            )

    def _measure_lag(self, state: StreamState) -> None:
        read_to = [shard.read_to for shard in self.position.shards.values() if shard.read_to and not shard.closed]
        if not read_to:
            return
        self.report.lag = max(self._now - min(read_to), timedelta(0))
        if self.report.lag * 2 > state.retention:
            log.warning(
                "%s was read up to %s, %s ago. It keeps records for %s, so records are lost soon. Drain it more often, "
                "or let it keep records for longer.",
                self._stream.url,
                min(read_to).isoformat(),
                self.report.lag,
                state.retention,
            )

    def _is_more_to_read(self, state: StreamState, ended: Collection[str]) -> bool:
        shards = self.position.shards
        unread = [shard for shard in state.shards if not shards.get(shard.id, ShardPosition()).closed]
        return any(shard.id not in ended and not has_unread_parents(shard, state, shards) for shard in unread)

    def _vanished(self, state: StreamState) -> list[Gap]:
        """Return the gaps of shards that expired before they were read to their end."""
        shards, known = self.position.shards, {shard.id for shard in state.shards}
        expired = self._now - state.retention
        gone = [shard for shard, position in shards.items() if shard not in known and not position.closed]
        gaps = [_gap_of(shard, shards[shard].read_to, expired) for shard in sorted(gone)]
        # A shard that came and went between two runs shows only as the parent of another one.
        parents = {parent for shard in state.shards if shard.id not in shards for parent in shard.parents}
        unseen = parents - known - shards.keys() if shards else set()
        begin = min((position.read_to for position in shards.values() if position.read_to), default=None)
        return gaps + [_gap_of(shard, begin, expired) for shard in sorted(unseen)]

    def _commit(self, batch: ReadBatch, state: StreamState, folder: Path) -> None:
        """Bring a batch into the destination, and commit the position after it."""
        oem_id = self._oem_of(batch)
        local = write_files(batch.sorted_spools, self.position.batch, folder)
        positions = dict(self.position.shards)
        positions.update({shard: part.position for shard, part in batch.ranges.items()})
        ranges = dict(batch.ranges)
        # All shards, because a shard that isn't known later is one that was created since.
        for shard in state.shards:
            if shard.id not in ranges:
                was = positions[shard.id] = begin_of(shard, positions)
                ranges[shard.id] = ShardRange(was.after, None, was.read_to, was.closed)
        pending = Batch(self._now, ranges, tuple(each.file for each in local), tuple(batch.gaps), oem_id)
        if local:
            self._erasures.refuse_change([hour for each in local if (hour := _hour_of(each.file))])
            self._write(replace(self.position, pending=pending))
        self._complete(pending, self._upload.all(local), state, {})

    def _oem_of(self, batch: ReadBatch) -> str:
        """Return the OEM that the records state; empty if none does."""
        expected = self.position.oem_id
        for oem_id, (shard, number) in batch.oem_ids().items():
            if expected and oem_id != expected:
                raise AylaConfigError(
                    f"{self._stream.url}, shard {shard}, record {number}: it is of the OEM {oem_id!r}, and the "
                    f"archive {self._destination.url} is of the OEM {expected!r}. Nothing of this batch is committed. "
                    "Correct oem_id, or give each OEM its own stream."
                )
            expected = expected or oem_id
        return expected

    def _finish(self, pending: Batch, state: StreamState) -> None:
        """Finish a batch that an earlier run began. Its records are read again if files of it are missing."""
        log.info("Finishing the batch %d, which an earlier run began", self.position.batch)
        present = self._upload.present(pending.files)
        if len(present) == len(pending.files):
            self._complete(pending, list(present.values()), state, self.position.shards)
            return
        with batch_folder() as scratch:
            try:
                again = self._reader.read_again(state, self.position.shards, pending, _new_folder(scratch, "spools"))
            except AylaStreamResetError:
                if not self._accept_loss:
                    raise
                self._save(pending, present)
                return
            local = write_files(again.sorted_spools, self.position.batch, _new_folder(scratch, "files"))
            missing = [each for each in local if each.file.path not in present]
            promised = [file for file in pending.files if file.path not in present]
            if _contents(each.file for each in missing) != _contents(promised):
                pending = self._changed(pending, present, missing, again)
                self._write(replace(self.position, pending=pending))
            uploaded = self._upload.all(missing)
        self._complete(pending, [*present.values(), *uploaded], state, self.position.shards)

    def _changed(
        self, pending: Batch, present: Mapping[str, BatchFile], missing: Sequence[LocalFile], again: ReadBatch
    ) -> Batch:
        """Return a batch of which the stream no longer has all records: its missing files have what is left."""
        short = {
            shard: part
            for shard, part in pending.ranges.items()
            if part.records > (again.spools[shard].records if shard in again.spools else 0)
        }
        if present and not short and not again.erased:
            raise AylaStreamResetError(
                f"{self._stream.url} returns other records for the batch {self.position.batch} than an earlier run "
                f"read, and the archive has {first_few(sorted(present), 1)} of it already. Move the files of this "
                "batch away, and clear the task: the batch is then read again."
            )
        log.warning("The batch %d is made again of what the stream returns now", self.position.batch)
        files = {each.file.path: each.file for each in missing} | dict(present)
        lost = sum(file.lines for file in pending.files) - sum(file.lines for file in files.values())
        gaps = []
        for shard, part in short.items():
            begin = self.position.shards.get(shard, ShardPosition()).read_to
            first_left = again.spools[shard].first_arrival if shard in again.spools else None
            gaps.append(
                Gap(shard, begin, first_left or part.read_to or pending.until, lost if len(short) == 1 else None)
            )
        return replace(pending, files=tuple(files[path] for path in sorted(files)), gaps=(*pending.gaps, *gaps))

    def _save(self, pending: Batch, present: Mapping[str, BatchFile]) -> None:
        """Commit what the archive has of a batch whose records can't be read again."""
        gaps = []
        if len(present) < len(pending.files):
            for shard, part in pending.ranges.items():
                if part.to is not None:
                    was = self.position.shards.get(shard, ShardPosition())
                    gaps.append(Gap(shard, was.read_to, part.read_to or pending.until))
        files = tuple(file for file in pending.files if file.path in present)
        saved = replace(pending, files=files, gaps=(*pending.gaps, *gaps))
        self._write(replace(self.position, pending=saved))
        self._complete(saved, list(present.values()), None, self.position.shards)

    def _start_again(self, state: StreamState) -> None:
        """Forget the shards of a stream that was created again."""
        shards = self.position.shards.items()
        # The new stream, too, may have had records that have expired.
        end = max(state.created_at, self._now - state.retention)
        lost = [_gap_of(shard, was.read_to, end) for shard, was in shards if not was.closed]
        self.report.gaps += lost
        gaps = (*self.position.gaps, *map(KnownGap, lost))
        self._write(replace(self.position, created_at=state.created_at, shards={}, gaps=gaps))

    def _complete(
        self,
        batch: Batch,
        files: Sequence[BatchFile],
        state: StreamState | None,
        others: Mapping[str, ShardPosition],
    ) -> None:
        """
        Write the manifests of a batch whose files are in the destination, and commit the position after it.

        :param files: as they are in the destination
        :param state: None if it is of another stream
        :param others: the positions of shards that the batch doesn't have
        """
        before = self.position
        shards = {**others, **{shard: part.position for shard, part in batch.ranges.items()}}
        proven_to = _later(before.proven_to, complete_to(state, shards) if state else None)
        gaps = (*before.gaps, *map(KnownGap, batch.gaps))

        def is_over(hour: ExportHour) -> bool:
            return proven_to is not None and hour.end <= proven_to

        def is_complete(hour: ExportHour) -> bool:
            # Nobody knows what an hour had if records of it may have expired.
            return is_over(hour) and not any(known.gap.touches(hour) for known in gaps)

        hours = self._hours.add(files, batch.until, is_complete)
        event_types = tuple(sorted({*before.event_types, *(hour.event_type for hour in hours)}))
        open_hours = {*before.open_hours, *hours}
        # Hours without records are complete, too.
        over = hours_of_types(event_types, before.complete_to, proven_to or before.complete_to)
        completed = {hour for hour in (*open_hours, *over) if is_complete(hour)}
        self._hours.complete(completed.difference(hours))
        self._write(
            replace(
                before,
                oem_id=before.oem_id or batch.oem_id,
                shards=shards,
                batch=before.batch + bool(batch.files),
                pending=None,
                event_types=event_types,
                open_hours=tuple(sorted(hour for hour in open_hours if not is_over(hour))),
                complete_to=max(before.complete_to, proven_to or before.complete_to),
                gaps=gaps,
                to_announce=tuple(sorted({*before.to_announce, *completed})),
            )
        )
        self._count(batch, files)

    def _write(self, position: StreamPosition) -> None:
        self._stored = write_json(self._destination, STREAM_POSITION, position.dumps(), self._stored)
        self.position = position

    def _count(self, batch: Batch, files: Sequence[BatchFile]) -> None:
        report = self.report
        report.gaps += batch.gaps
        if not files:
            return
        report.batches += 1
        report.records += sum(file.lines for file in files)
        report.unreadable += sum(file.lines for file in files if _is_unreadable(file))
        report.files += len(files)
        report.bytes += sum(file.size for file in files)
        for file in files:
            folder = file.path.partition("/")[0]
            report.files_by_folder[folder] += 1
            report.bytes_by_folder[folder] += file.size
        log.info(
            "Committed the batch %d: %s in %s, %s",
            self.position.batch - 1,
            counted(sum(file.lines for file in files), "record", "records"),
            counted(len(files), "file", "files"),
            size_text(sum(file.size for file in files)),
        )


def _is_unreadable(file: BatchFile) -> bool:
    parsed = parse_stream_path(file.path)
    return parsed is not None and parsed[0] is None


def _hour_of(file: BatchFile) -> ExportHour | None:
    parsed = parse_stream_path(file.path)
    return ExportHour(parsed[0] or EventType("datapoint"), parsed[1]) if parsed else None


def _contents(files: Iterable[BatchFile]) -> dict[str, str]:
    return {file.path: file.content_crc32c for file in files}


def _first_whole_hour(time: datetime) -> datetime:
    hour = hour_of(time)
    return hour if hour == time else hour + ONE_HOUR


def _later(one: datetime | None, other: datetime | None) -> datetime | None:
    times = [time for time in (one, other) if time is not None]
    return max(times, default=None)


def _gap_of(shard: str, start: datetime | None, end: datetime) -> Gap:
    return Gap(shard, start, max(start or end, end))


def _new_folder(scratch: Path, name: str) -> Path:
    folder = scratch / name
    make_private_folder(folder)
    return folder


def _loss(stream: str, destination: str, gaps: Sequence[Gap]) -> AylaStreamLossError:
    described = "; ".join([describe_gap(gap) for gap in gaps[:_SHOWN]])
    more = f"; and {len(gaps) - _SHOWN} more" if len(gaps) > _SHOWN else ""
    return AylaStreamLossError(
        f"{stream}: records expired before they were read: {described}{more}. All that was still there is in "
        f"{destination}, and later runs go on. Drain the stream more often, or let it keep records for longer. To "
        "acknowledge the loss, run the task once with accept_loss."
    )
