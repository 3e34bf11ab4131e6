"""Reads a batch from the shards of a stream, several at once: parents to their end before their children."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Collection, Mapping, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path

from ayla_provider.archive.erasures import Matcher
from ayla_provider.archive.stream_spool import FileKey, ShardSpool
from ayla_provider.domain.stream import (
    Batch,
    Gap,
    Page,
    Shard,
    ShardPosition,
    ShardRange,
    StreamRecord,
    StreamState,
)
from ayla_provider.domain.units import counted, size_text
from ayla_provider.errors import TEMPORARY, AylaStreamResetError, AylaUnavailable
from ayla_provider.stream.base import Stream

log = logging.getLogger(__name__)

_AT_ONCE = 8
"""How many shards are read at once."""

_MOST_IDLE_PAGES = 500
"""After so many pages that bring nothing new, a shard counts as broken. Empty pages are normal if time goes on."""

_PROGRESS_EVERY = 10.0
"""Seconds between two lines of progress."""

_BEGINNING = datetime.min.replace(tzinfo=UTC)


@dataclass(slots=True)
class ReadBatch:
    """What was read from some shards."""

    ranges: dict[str, ShardRange] = field(default_factory=dict)
    spools: dict[str, ShardSpool] = field(default_factory=dict)
    gaps: list[Gap] = field(default_factory=list)
    ended: set[str] = field(default_factory=set)
    """The shards that were read to their end, or to the end of what is to be read."""

    @property
    def sorted_spools(self) -> list[ShardSpool]:
        """The spools in the order of their shards."""
        return [self.spools[shard] for shard in sorted(self.spools)]

    @property
    def records(self) -> int:
        """How many records were read."""
        return sum(spool.records for spool in self.spools.values())

    @property
    def bytes(self) -> int:
        """How many bytes the records have."""
        return sum(spool.bytes for spool in self.spools.values())

    @property
    def erased(self) -> int:
        """How many lines were left out, because they are erased."""
        return sum(spool.erased for spool in self.spools.values())

    @property
    def unreadable(self) -> int:
        """How many records aren't events of a known type."""
        return sum(spool.unreadable for spool in self.spools.values())

    def oem_ids(self) -> dict[str, tuple[str, int]]:
        """Return the OEMs that records state, each with the shard and the number of a record that does."""
        found: dict[str, tuple[str, int]] = {}
        for spool in self.sorted_spools:
            for oem_id, number in spool.oem_ids.items():
                if oem_id:
                    found.setdefault(oem_id, (spool.shard, number))
        return found


def has_unread_parents(shard: Shard, state: StreamState, positions: Mapping[str, ShardPosition]) -> bool:
    """Return whether a shard continues one that still has records, and wasn't read to its end."""
    known = {other.id for other in state.shards}
    return any(parent in known and not _position(positions, parent).closed for parent in shard.parents)


def begin_of(shard: Shard, positions: Mapping[str, ShardPosition]) -> ShardPosition:
    """Return where to read a shard on: a new one from the time up to which its parents were read."""
    if shard.id in positions:
        return positions[shard.id]
    read_to = [positions[parent].read_to for parent in shard.parents if parent in positions]
    return ShardPosition(read_to=min(filter(None, read_to), default=None))


def _position(positions: Mapping[str, ShardPosition], shard: str) -> ShardPosition:
    return positions.get(shard, ShardPosition())


class BatchReader:
    """
    Reads batches of a stream.

    :param until: what arrived at this time or later isn't read
    :param accept_loss: whether a shard is read from its oldest record if the position is ahead of it
    :param stop: when it is set, reading ends with an error
    :param matcher_of: see :class:`~ayla_provider.archive.stream_spool.ShardSpool`
    """

    def __init__(
        self,
        stream: Stream,
        until: datetime,
        *,
        accept_loss: bool = False,
        stop: threading.Event | None = None,
        matcher_of: Callable[[FileKey], Matcher | None] = lambda key: None,
    ) -> None:
        self._matcher_of = matcher_of
        self._stream = stream
        self._until = until
        self._accept_loss = accept_loss
        self._stop = stop or threading.Event()
        self._halted = threading.Event()
        """Whether a shard failed, so that the others need not go on."""
        self.progress = _Progress(stream.url)

    def read(
        self,
        state: StreamState,
        positions: Mapping[str, ShardPosition],
        ended: Collection[str],
        folder: Path,
        *,
        max_records: int,
        max_bytes: int,
    ) -> ReadBatch:
        """
        Read on from some positions, until all is read or the batch is full.

        :param ended: the shards that were read to their end by an earlier batch
        :param folder: an empty one, for the spools
        :param max_records: the batch ends with the page that exceeds it
        :param max_bytes: the batch ends with the page that exceeds it
        :raises AylaError: if a shard can't be read
        """
        limit = _Limit(max_records, max_bytes)
        batch, positions = ReadBatch(), dict(positions)
        waiting = [
            shard for shard in state.shards if shard.id not in ended and not _position(positions, shard.id).closed
        ]
        # No shard is left behind because others fill each batch.
        waiting.sort(key=lambda shard: _position(positions, shard.id).read_to or _BEGINNING)

        def take_ready() -> list[Shard]:
            """Return the shards that can be read now. Their parents may have been read to the end meanwhile."""
            ready = [shard for shard in waiting if not has_unread_parents(shard, state, positions)]
            waiting[:] = [shard for shard in waiting if shard not in ready]
            return ready

        def read(shard: Shard) -> _ShardReading:
            return self._read_shard(shard, begin_of(shard, positions), state, folder, limit)

        def done(reading: _ShardReading) -> list[Shard]:
            reading.add_to(batch)
            positions[reading.shard.id] = reading.range.position
            return take_ready()

        self._run(take_ready(), read, done)
        return batch

    def read_again(
        self, state: StreamState, positions: Mapping[str, ShardPosition], pending: Batch, folder: Path
    ) -> ReadBatch:
        """
        Read exactly the records of a batch again, as far as they still exist.

        :param positions: where the batch begins
        :param folder: an empty one, for the spools
        :raises AylaError: if a shard can't be read
        """
        batch = ReadBatch()
        shards = {shard.id: shard for shard in state.shards}
        to_read = {shard: part for shard, part in pending.ranges.items() if part.to is not None}

        def read(shard: Shard) -> _ShardReading:
            part = to_read[shard.id]
            begin = ShardPosition(part.after, begin_of(shard, positions).read_to)
            return self._read_shard(shard, begin, state, folder, _Limit(), part.to, max(self._until, pending.until))

        def done(reading: _ShardReading) -> list[Shard]:
            reading.add_to(batch)
            return []

        self._run([shards[shard] for shard in sorted(to_read.keys() & shards.keys())], read, done)
        return batch

    def _run(
        self,
        first: Sequence[Shard],
        read: Callable[[Shard], _ShardReading],
        done: Callable[[_ShardReading], Sequence[Shard]],
    ) -> None:
        """Read shards, and those that can be read after each of them."""
        pool = ThreadPoolExecutor(_AT_ONCE, thread_name_prefix="ayla-stream")
        try:
            futures: set[Future[_ShardReading]] = {pool.submit(read, shard) for shard in first}
            while futures:
                finished, futures = wait(futures, return_when=FIRST_COMPLETED)
                for future in finished:
                    futures |= {pool.submit(read, shard) for shard in done(future.result())}
        except BaseException:
            # No thread may go on in the background.
            self._halted.set()
            raise
        finally:
            pool.shutdown(wait=True, cancel_futures=True)

    def _read_shard(
        self,
        shard: Shard,
        position: ShardPosition,
        state: StreamState,
        folder: Path,
        limit: _Limit,
        to: int | None = None,
        until: datetime | None = None,
    ) -> _ShardReading:
        spool = ShardSpool(folder / f"{state.shards.index(shard)}.jsonl", shard.id, self._matcher_of)
        reading = _ShardReading(shard, position, spool, limit)
        if limit.reached:
            return reading
        try:
            self._read_pages(reading, position, state, until or self._until, to)
        except AylaStreamResetError as error:
            if not self._accept_loss or to is not None or spool.records:
                raise
            log.warning("%s The shard is read from its oldest record, because the loss is accepted.", error)
            begin = ShardPosition()
            reading = _ShardReading(shard, begin, spool, limit)
            reading.gaps.append(Gap(shard.id, position.read_to, self._until))
            self._read_pages(reading, begin, state, self._until, to)
        spool.flush()
        return reading

    def _read_pages(
        self,
        reading: _ShardReading,
        position: ShardPosition,
        state: StreamState,
        until: datetime,
        to: int | None,
    ) -> None:
        for page in self._stream.read(reading.shard, position, until, state):
            if self._stop.is_set() or self._halted.is_set():
                raise AylaUnavailable(
                    f"{self._stream.url}, shard {reading.shard.id}: reading stopped, because the task was ended or "
                    f"another shard failed. {TEMPORARY}"
                )
            reading.take(page, to)
            self.progress.pages_read(len(page.records), sum(len(record.data) for record in page.records))
            if reading.ended or (to is None and reading.limit.reached):
                return
        reading.ended = True


class _Limit:
    """How much a batch has at most. Thread-safe."""

    def __init__(self, max_records: int | None = None, max_bytes: int | None = None) -> None:
        self._max_records, self._max_bytes = max_records, max_bytes
        self._records = self._bytes = 0
        self._lock = threading.Lock()

    def count(self, records: Sequence[StreamRecord]) -> None:
        size = sum(len(record.data) for record in records)
        with self._lock:
            self._records += len(records)
            self._bytes += size

    @property
    def reached(self) -> bool:
        too_many = self._max_records is not None and self._records >= self._max_records
        return too_many or (self._max_bytes is not None and self._bytes >= self._max_bytes)


class _ShardReading:
    """What was read of one shard so far."""

    def __init__(self, shard: Shard, position: ShardPosition, spool: ShardSpool, limit: _Limit) -> None:
        self.shard, self.spool, self.limit = shard, spool, limit
        self.ended = False
        self.gaps: list[Gap] = []
        self._begin = position
        self._last = (-1 if position.after is None else position.after, _NO_PLACE)
        self._to: int | None = None
        self._read_to = position.read_to
        self._closed = False
        self._idle_pages = 0

    @property
    def range(self) -> ShardRange:
        return ShardRange(self._begin.after, self._to, self._read_to, self._closed, self.spool.records)

    def add_to(self, batch: ReadBatch) -> None:
        batch.ranges[self.shard.id] = self.range
        batch.spools[self.shard.id] = self.spool
        batch.gaps += self.gaps
        if self.ended:
            batch.ended.add(self.shard.id)

    def take(self, page: Page, to: int | None) -> None:
        """
        Take over a page.

        :param to: the number of the last record that is wanted; None if all are
        """
        records = page.records
        if to is not None and records and records[-1].number > to:
            records = [record for record in records if record.number <= to]
        self._check_progress(records, page.read_to)
        self.spool.add(records)
        self.limit.count(records)
        if page.gap:
            self.gaps.append(page.gap)
        if self._read_to is None or page.read_to > self._read_to:
            self._read_to = page.read_to
        if records:
            self._to = records[-1].number
        elif page.after is not None and to is None:
            # All up to this number has expired.
            self._to = page.after
        self._closed = page.closed
        self.ended = page.at_end or (to is not None and bool(page.records) and page.records[-1].number >= to)

    def _check_progress(self, records: Sequence[StreamRecord], read_to: datetime) -> None:
        for record in records:
            place = (record.number, record.place)
            if place <= self._last:
                raise AylaUnavailable(
                    f"shard {self.shard.id}: the stream repeats the record {record.number} after the record "
                    f"{self._last[0]}. {TEMPORARY}"
                )
            self._last = place
        is_new = bool(records) or self._read_to is None or read_to > self._read_to
        self._idle_pages = 0 if is_new else self._idle_pages + 1
        if self._idle_pages > _MOST_IDLE_PAGES:
            raise AylaUnavailable(
                f"shard {self.shard.id}: {_MOST_IDLE_PAGES} answers in a row had no records, and the time up to which "
                f"all is read stays at {read_to.isoformat()}. {TEMPORARY}"
            )


_NO_PLACE = 2**63
"""Greater than the place of any record, so that no record with the number of a position counts as new."""


class _Progress:
    """Reports in the log how far a drain is. Thread-safe."""

    def __init__(self, stream: str) -> None:
        self._stream = stream
        self._records = self._bytes = 0
        self._started = self._last_line = time.monotonic()
        self._lock = threading.Lock()

    def pages_read(self, records: int, size: int) -> None:
        with self._lock:
            self._records += records
            self._bytes += size
            now = time.monotonic()
            if now - self._last_line < _PROGRESS_EVERY:
                return
            self._last_line = now
        log.info(
            "%s: %s read, %s, %.0f records/s",
            self._stream,
            counted(self._records, "record", "records"),
            size_text(self._bytes),
            self._records / (now - self._started),
        )
