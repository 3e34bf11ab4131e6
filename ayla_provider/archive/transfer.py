"""One file from the vendor's bucket to the destination: streamed, resumed, verified."""

from __future__ import annotations

import contextlib
import io
import logging
import shutil
import tempfile
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import BinaryIO, cast

from ayla_provider.archive.destination import Destination, Stored
from ayla_provider.archive.erasures import LineFilter, Matcher, filtered_copy
from ayla_provider.domain.manifest import Erased
from ayla_provider.domain.paths import ExportFile
from ayla_provider.errors import AylaConflictError
from ayla_provider.source.export import Export
from ayla_provider.source.reader import CorruptedError, ExportReader
from ayla_provider.transport.checksum import CHUNK

log = logging.getLogger(__name__)

_IN_MEMORY = 16 * 1024 * 1024
"""Bytes. A larger file waits on disk, not in memory, until its checksum is known."""

READ_AHEAD = 1024 * 1024
"""Bytes. A file that isn't larger is read, and waits in memory, while others are written."""


@dataclass(frozen=True, slots=True)
class Copy:
    """The result of a copy."""

    stored: Stored
    crc32c: str
    """Base64, of the vendor's file."""
    lines: int | None
    """The number of lines of the vendor's file; None if unknown."""
    erased: Erased | None = None
    """What an erasure left of the copy."""
    sha256: str = ""
    """Of the vendor's file, in hexadecimal; empty if unknown."""


class Transfer:
    """
    Copies files from the vendor's credentials to the customer's. Thread-safe.

    Where the latency of the buckets rules, a small file that is written waits for an answer as long as one that is
    read. So each kind has a limit of its own. A large file counts as both, because it is written while it is read.

    :param stop: when it is set, copies in progress end with an error
    :param on_bytes: called with the number of bytes of each block, from many threads
    :param at_once: how many files are read at once, and how many are written. Twice as many threads keep both busy
    """

    def __init__(
        self,
        export: Export,
        destination: Destination,
        stop: threading.Event,
        on_bytes: Callable[[int], None] = lambda size: None,
        at_once: int = 8,
    ) -> None:
        self._source = export.source
        self._destination = destination
        self._stop = stop
        self._on_bytes = on_bytes
        self._reading = threading.Semaphore(at_once)
        self._writing = threading.Semaphore(at_once)

    def copy(
        self,
        file: ExportFile,
        path: str,
        replaces: Stored | None,
        *,
        trusted: bool = True,
        matcher: Matcher | None = None,
    ) -> Copy:
        """
        Copy a file completely or not at all. A copy that arrives corrupted is tried once more.

        :param path: relative to the destination
        :param replaces: the version that is there now, None if there is none
        :param trusted: whether the checksum that the destination states of that version proves it
        :param matcher: finds the lines to leave out; None to leave out none
        :raises AylaError: it names the file
        """
        try:
            return self._once(file, path, replaces, trusted, matcher)
        except CorruptedError as error:
            log.warning("%s Trying once more.", error)
            return self._once(file, path, replaces, trusted, matcher, compares_md5=True)

    def _once(
        self,
        file: ExportFile,
        path: str,
        replaces: Stored | None,
        trusted: bool,
        matcher: Matcher | None,
        *,
        compares_md5: bool = False,
    ) -> Copy:
        reader = self._reader(file)
        if compares_md5:
            # The destination may not be able to: not each service states the MD5 of what it stored.
            reader.keep_md5()
        # What is there can be the same content, which isn't written again.
        may_be_late = file.crc32c is None and replaces is None and matcher is None
        late = may_be_late and self._destination.takes_unknown
        with contextlib.closing(reader), contextlib.ExitStack() as turn:
            turn.enter_context(self._reading)
            if file.size <= READ_AHEAD and matcher is None:
                data = reader.read()
                content = _Content(io.BytesIO(data), file.size, reader.crc32c)
                # Another file can be read while this one is written.
                turn.close()
            else:
                content = turn.enter_context(_content(reader, file, matcher, late=late))
            turn.enter_context(self._writing)
            is_spooled = file.crc32c is None or matcher is not None
            if is_spooled and replaces and trusted and self.holds(replaces, content.size, content.crc32c or ""):
                return Copy(replaces, file.crc32c or reader.crc32c, reader.lines, content.erased, reader.sha256)
            try:
                stored = self._destination.write(
                    path,
                    content.stream,
                    size=content.size,
                    crc32c=content.crc32c,
                    replaces=replaces,
                    content_type="text/csv",
                )
            except AylaConflictError:
                # A write that succeeded, but whose answer got lost, also ends here: the client repeats it.
                existing = self._destination.folder(path.rpartition("/")[0]).get(path)
                crc32c = content.crc32c
                if crc32c is None:
                    # The destination may have had a part in the check of what was read so far.
                    reader = turn.enter_context(contextlib.closing(self._reader(file)))
                    crc32c = _read_to_end(reader)
                if existing is None or not self.holds(existing, content.size, crc32c):
                    raise
                stored = existing
            return Copy(stored, file.crc32c or reader.crc32c, reader.lines, content.erased, reader.sha256)

    def _reader(self, file: ExportFile) -> ExportReader:
        return ExportReader(self._source, file, self._stop, self._on_bytes)

    def holds(self, stored: Stored, size: int, crc32c: str) -> bool:
        """Whether a file in the destination has this content."""
        return stored.size == size and self._destination.crc32c(stored) == crc32c


def _read_to_end(reader: ExportReader) -> str:
    """Read a file, and return its checksum."""
    while reader.read(CHUNK):
        pass
    return reader.crc32c


@dataclass(frozen=True, slots=True)
class _Content:
    """What a destination gets."""

    stream: BinaryIO
    size: int
    crc32c: str | None
    """None if it is known only once the stream was read."""
    erased: Erased | None = None


@contextlib.contextmanager
def _content(reader: ExportReader, file: ExportFile, matcher: Matcher | None, *, late: bool) -> Iterator[_Content]:
    """
    Give a file's content and its checksum.

    If the listing doesn't state the checksum, or lines are left out, the whole file is read first, and waits in memory
    or on disk.

    :param late: give the content without a checksum instead, which is known once it was read
    """
    if matcher is None and (file.crc32c is not None or late):
        yield _Content(cast("BinaryIO", reader), file.size, file.crc32c)
        return
    with tempfile.SpooledTemporaryFile(_IN_MEMORY) as spool:
        if matcher is None:
            shutil.copyfileobj(cast("BinaryIO", reader), spool, CHUNK)
            spool.seek(0)
            yield _Content(cast("BinaryIO", spool), file.size, reader.crc32c)
            return
        # What arrives is verified with its last byte, before anything is left out of the copy.
        lines = LineFilter(matcher)
        content = filtered_copy(iter(lambda: reader.read(CHUNK), b""), lines, spool)
        erased = Erased(lines.lines, content.size, content.crc32c, tuple(sorted(lines.by))) if lines.lines else None
        spool.seek(0)
        yield _Content(cast("BinaryIO", spool), content.size, content.crc32c, erased)
