"""The lines of a batch on their way from a stream's shards to files by hour: on disk, with bounded memory."""

from __future__ import annotations

import contextlib
import tempfile
import zlib
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import NamedTuple

from ayla_provider.archive.erasures import LineFilter, Matcher
from ayla_provider.archive.gunzip import GZIP, NotGzipError, unpacked
from ayla_provider.archive.local import translate_errors
from ayla_provider.archive.private import open_private
from ayla_provider.archive.scratch import scratch_folder
from ayla_provider.domain.events import EventType
from ayla_provider.domain.hour import hour_of
from ayla_provider.domain.paths import stream_path
from ayla_provider.domain.stream import BatchFile, StreamRecord
from ayla_provider.domain.stream_event import line_of, recognise, unreadable_line_of
from ayla_provider.transport.checksum import CHUNK, Crc32c

_IN_MEMORY = 2 * 1024 * 1024
"""Bytes of lines that a shard keeps in memory."""

_LEVEL = 1
"""Of gzip: its files have 1.3 times the bytes of the usual level, in a third of the time."""


@contextlib.contextmanager
def batch_folder() -> Iterator[Path]:
    """
    Make a folder for a batch, and remove it after a ``with`` statement. Remove those that killed processes have left.

    :raises AylaDestinationError: if the temporary folder can't be used
    """
    with contextlib.ExitStack() as stack:
        with translate_errors(Path(tempfile.gettempdir())):
            folder = stack.enter_context(scratch_folder())
        yield folder


class FileKey(NamedTuple):
    """What decides into which file of a batch a line goes."""

    event_type: EventType | None
    """None for a record that isn't an event of a known type."""
    hour: datetime


@dataclass(slots=True)
class _Segments:
    """Where the lines of a file are in a shard's spool."""

    lines: int = 0
    places: list[tuple[int, int]] = field(default_factory=list)
    """The offset and the length of each part, in order."""


class ShardSpool:
    """
    The lines of one shard, in one temporary file. Use it in one thread.

    :param path: of the temporary file
    :param shard: the shard's id
    :param matcher_of: returns what finds the lines of an hour that are left out, because they are erased; None if
        nothing is left out of the hour
    """

    def __init__(
        self, path: Path, shard: str, matcher_of: Callable[[FileKey], Matcher | None] = lambda key: None
    ) -> None:
        self.shard = shard
        self.erased = 0
        """How many lines were left out."""
        self._matcher_of = matcher_of
        self.oem_ids: dict[str, int] = {}
        """The OEM that a record states to the number of the first one that does."""
        self.records = self.bytes = self.unreadable = 0
        self.first_arrival: datetime | None = None
        """When the first record arrived."""
        self._path = path
        self._size = self._waiting_bytes = 0
        self._waiting: dict[FileKey, list[bytes]] = {}
        self._segments: dict[FileKey, _Segments] = {}

    @property
    def keys(self) -> Iterable[FileKey]:
        """The files that get lines of this shard."""
        return self._segments.keys()

    def add(self, records: Sequence[StreamRecord]) -> None:
        """
        Add records, after those that it already has.

        :raises AylaDestinationError: if the disk of this machine is full
        """
        if records and self.first_arrival is None:
            self.first_arrival = records[0].arrived_at
        for record in records:
            event = recognise(record)
            if isinstance(event, str):
                self.unreadable += 1
                self._add_line(FileKey(None, hour_of(record.arrived_at)), unreadable_line_of(self.shard, record, event))
                continue
            self.oem_ids.setdefault(event.oem_id, record.number)
            self._add_line(FileKey(event.event_type, event.hour), line_of(self.shard, record))
        self.records += len(records)
        self.bytes += sum(len(record.data) for record in records)

    def _add_line(self, key: FileKey, line: bytes) -> None:
        self._waiting.setdefault(key, []).append(line)
        self._waiting_bytes += len(line)
        if self._waiting_bytes >= _IN_MEMORY:
            self.flush()

    def flush(self) -> None:
        """Write what waits in memory."""
        if not self._waiting:
            return
        with translate_errors(self._path), open_private(self._path, "ab") as file:
            for key, lines in self._waiting.items():
                content, count = self._left(key, lines)
                if not count:
                    continue
                size = file.write(content)
                segments = self._segments.setdefault(key, _Segments())
                segments.lines += count
                segments.places.append((self._size, size))
                self._size += size
        self._waiting.clear()
        self._waiting_bytes = 0

    def _left(self, key: FileKey, lines: Sequence[bytes]) -> tuple[bytes, int]:
        """Return what is left of lines without those that are erased, and how many lines that is."""
        content, matcher = b"".join(lines), self._matcher_of(key)
        if matcher is None:
            return content, len(lines)
        left = LineFilter(matcher)
        content = b"".join(left.blocks([content]))
        self.erased += left.lines
        return content, len(lines) - left.lines

    def lines(self, key: FileKey) -> int:
        """Return the number of lines that a file gets of this shard."""
        return self._segments[key].lines if key in self._segments else 0

    def blocks(self, key: FileKey) -> Iterator[bytes]:
        """Yield the lines that a file gets of this shard, in blocks."""
        if key not in self._segments:
            return
        with translate_errors(self._path), self._path.open("rb") as file:
            for offset, size in self._segments[key].places:
                file.seek(offset)
                while size:
                    block = file.read(min(size, CHUNK))
                    size -= len(block)
                    yield block


@dataclass(frozen=True, slots=True)
class LocalFile:
    """A file of a batch that is ready on this machine."""

    file: BatchFile
    place: Path


def write_files(spools: Sequence[ShardSpool], batch: int, folder: Path) -> list[LocalFile]:
    """
    Make the files of a batch, in the order of their paths.

    :param spools: in the order of their shards; all are flushed
    :param batch: the number of the batch
    :param folder: an empty one
    :raises AylaDestinationError: if the disk of this machine is full
    """
    paths = {stream_path(key.event_type, key.hour, batch): key for spool in spools for key in spool.keys}
    return [
        _write_file(spools, paths[path], path, folder / f"{index}.jsonl.gz") for index, path in enumerate(sorted(paths))
    ]


def _write_file(spools: Sequence[ShardSpool], key: FileKey, path: str, place: Path) -> LocalFile:
    content, gzipped, size = Crc32c(), Crc32c(), 0
    compressor = zlib.compressobj(_LEVEL, zlib.DEFLATED, GZIP)
    with translate_errors(place), open_private(place, "wb") as file:
        for spool in spools:
            for block in spool.blocks(key):
                content.update(block)
                part = compressor.compress(block)
                gzipped.update(part)
                size += file.write(part)
        part = compressor.flush()
        gzipped.update(part)
        size += file.write(part)
    lines = sum(spool.lines(key) for spool in spools)
    return LocalFile(BatchFile(path, size, gzipped.base64, content.base64, lines), place)


def content_crc32c(blocks: Iterable[bytes]) -> str | None:
    """
    Return the checksum of the content of a gzipped file, base64.

    :param blocks: the gzipped bytes
    :returns: None if they aren't whole gzipped files
    """
    checksum = Crc32c()
    try:
        for block in unpacked(blocks):
            checksum.update(block)
    except NotGzipError:
        return None
    return checksum.base64
