"""One file from the vendor's bucket to the destination: streamed, resumed, verified."""

from __future__ import annotations

import contextlib
import logging
import shutil
import tempfile
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import BinaryIO, cast

from ayla_provider.archive.destination import Destination, Stored
from ayla_provider.domain.paths import ExportFile
from ayla_provider.errors import AylaConflictError
from ayla_provider.source.export import Export
from ayla_provider.source.reader import CorruptedError, ExportReader
from ayla_provider.transport.checksum import CHUNK

log = logging.getLogger(__name__)

_IN_MEMORY = 16 * 1024 * 1024
"""Bytes up to which a file waits in memory for its checksum to be known, and not on disk."""


@dataclass(frozen=True, slots=True)
class Copy:
    """What stands in the destination after a copy."""

    stored: Stored
    crc32c: str
    """Base64, of its content."""
    lines: int | None
    """How many lines it has; None if somebody else put it there meanwhile."""


class Transfer:
    """
    Copies files between two credentials. Thread-safe.

    :param stop: when set, copies in progress end with an error
    :param on_bytes: called with the number of bytes of each block, from many threads
    """

    def __init__(
        self,
        export: Export,
        destination: Destination,
        stop: threading.Event,
        on_bytes: Callable[[int], None] = lambda size: None,
    ) -> None:
        self._source = export.source
        self._destination = destination
        self._stop = stop
        self._on_bytes = on_bytes

    def copy(self, file: ExportFile, path: str, replaces: Stored | None) -> Copy:
        """
        Copy a file as a whole or not at all; a copy that arrives corrupted is tried once more.

        :param path: relative to the destination
        :param replaces: what stands there, None if nothing
        :raises AylaError: naming the file
        """
        try:
            return self._once(file, path, replaces)
        except CorruptedError as error:
            log.warning("%s Trying once more.", error)
            return self._once(file, path, replaces)

    def _once(self, file: ExportFile, path: str, replaces: Stored | None) -> Copy:
        reader = ExportReader(self._source, file, self._stop, self._on_bytes)
        with contextlib.closing(reader), _with_checksum(reader, file) as (stream, crc32c):
            if file.crc32c is None and replaces and self.holds(replaces, file.size, crc32c):
                return Copy(replaces, crc32c, reader.lines)
            try:
                stored = self._destination.write(
                    path, stream, size=file.size, crc32c=crc32c, replaces=replaces, content_type="text/csv"
                )
            except AylaConflictError:
                # Also the answer to a write that went through, but whose answer got lost and which was then repeated.
                standing = self._destination.folder(path.rpartition("/")[0]).get(path)
                if standing is None or not self.holds(standing, file.size, crc32c):
                    raise
                stored = standing
            return Copy(stored, crc32c, reader.lines)

    def holds(self, standing: Stored, size: int, crc32c: str) -> bool:
        """Whether what stands in the destination is some content."""
        return standing.size == size and self._destination.crc32c(standing) == crc32c


@contextlib.contextmanager
def _with_checksum(reader: ExportReader, file: ExportFile) -> Iterator[tuple[BinaryIO, str]]:
    """
    Give a file's content and its checksum, which a destination wants to know before the first byte.

    Where the listing doesn't state it, the file is read first, and waits in memory or on disk.
    """
    if file.crc32c is not None:
        yield cast("BinaryIO", reader), file.crc32c
        return
    with tempfile.SpooledTemporaryFile(_IN_MEMORY) as spool:
        shutil.copyfileobj(cast("BinaryIO", reader), spool, CHUNK)
        spool.seek(0)
        yield cast("BinaryIO", spool), reader.crc32c
