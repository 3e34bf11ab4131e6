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
"""Bytes. A larger file waits on disk, not in memory, until its checksum is known."""


@dataclass(frozen=True, slots=True)
class Copy:
    """The result of a copy."""

    stored: Stored
    crc32c: str
    """Base64, of the content."""
    lines: int | None
    """The number of lines; None if unknown."""


class Transfer:
    """
    Copies files from the vendor's credentials to the customer's. Thread-safe.

    :param stop: when it is set, copies in progress end with an error
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

    def copy(self, file: ExportFile, path: str, replaces: Stored | None, *, trusted: bool = True) -> Copy:
        """
        Copy a file completely or not at all. A copy that arrives corrupted is tried once more.

        :param path: relative to the destination
        :param replaces: the version that is there now, None if there is none
        :param trusted: whether the checksum that the destination states of that version proves it
        :raises AylaError: it names the file
        """
        try:
            return self._once(file, path, replaces, trusted)
        except CorruptedError as error:
            log.warning("%s Trying once more.", error)
            return self._once(file, path, replaces, trusted)

    def _once(self, file: ExportFile, path: str, replaces: Stored | None, trusted: bool) -> Copy:
        reader = ExportReader(self._source, file, self._stop, self._on_bytes)
        with contextlib.closing(reader), _with_checksum(reader, file) as (stream, crc32c):
            if file.crc32c is None and replaces and trusted and self.holds(replaces, file.size, crc32c):
                return Copy(replaces, crc32c, reader.lines)
            try:
                stored = self._destination.write(
                    path, stream, size=file.size, crc32c=crc32c, replaces=replaces, content_type="text/csv"
                )
            except AylaConflictError:
                # A write that succeeded, but whose answer got lost, also ends here: the client repeats it.
                existing = self._destination.folder(path.rpartition("/")[0]).get(path)
                if existing is None or not self.holds(existing, file.size, crc32c):
                    raise
                stored = existing
            return Copy(stored, crc32c, reader.lines)

    def holds(self, stored: Stored, size: int, crc32c: str) -> bool:
        """Whether a file in the destination has this content."""
        return stored.size == size and self._destination.crc32c(stored) == crc32c


@contextlib.contextmanager
def _with_checksum(reader: ExportReader, file: ExportFile) -> Iterator[tuple[BinaryIO, str]]:
    """
    Give a file's content and its checksum, which a destination needs before the first byte.

    If the listing doesn't state the checksum, the whole file is read first, and waits in memory or on disk.
    """
    if file.crc32c is not None:
        yield cast("BinaryIO", reader), file.crc32c
        return
    with tempfile.SpooledTemporaryFile(_IN_MEMORY) as spool:
        shutil.copyfileobj(cast("BinaryIO", reader), spool, CHUNK)
        spool.seek(0)
        yield cast("BinaryIO", spool), reader.crc32c
