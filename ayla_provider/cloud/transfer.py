"""One file from the vendor's bucket to the destination: streamed, resumed, verified."""

from __future__ import annotations

import contextlib
import hashlib
import logging
import random
import shutil
import tempfile
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import BinaryIO, cast

from ayla_provider.cloud.checksum import Crc32c, Lines
from ayla_provider.cloud.destination import CHUNK, Destination, Stored
from ayla_provider.cloud.source import Download, PassingError, Source, describe_file
from ayla_provider.cloud.storage import ExportStore
from ayla_provider.domain.layout import ExportFile
from ayla_provider.errors import PASSES, AylaConflictError, AylaTransferError, AylaUnavailable

log = logging.getLogger(__name__)

_TRIES_WITHOUT_PROGRESS = 6

_BACKOFF = 0.5
"""Seconds from which the waits between them double."""


_IN_MEMORY = 16 * 1024 * 1024
"""Bytes up to which a file waits in memory for its checksum to be known, and not on disk."""


class CorruptedError(AylaTransferError):
    """What arrived isn't what the listing states."""


class ExportReader:
    """
    A stream over one generation of one object, which continues where it was broken off.

    It keeps a running checksum over all that it hands out, across interruptions, and raises before the last byte
    if the whole isn't what the listing states: whoever reads it can't complete a wrong copy. (google-cloud-storage's
    own check covers whole downloads alone, not resumed ones.)

    :param stop: when set, the next read raises
    :param on_bytes: called with the number of bytes of each block
    """

    def __init__(
        self,
        source: Source,
        file: ExportFile,
        stop: threading.Event,
        on_bytes: Callable[[int], None] = lambda size: None,
    ) -> None:
        self._source = source
        self._file = file
        self._stop = stop
        self._on_bytes = on_bytes
        self._download: Download | None = None
        self._offset = 0
        self._checksum = Crc32c()
        # Where listings state no CRC32C there may be an MD5.
        self._md5 = None if file.crc32c else hashlib.md5(usedforsecurity=False)
        self._stated_md5: str | None = None
        self._lines = Lines()

    def tell(self) -> int:
        """Return how many bytes were handed out."""
        return self._offset

    @property
    def lines(self) -> int | None:
        """How many lines the whole has; None before all of it was handed out."""
        return self._lines.count if self._offset == self._file.size else None

    def read(self, size: int = -1) -> bytes:
        """
        Return up to ``size`` bytes, fewer only at the end.

        :raises AylaTransferError: if the object vanished, changed, or isn't what the listing states
        :raises AylaUnavailable: if it can't be continued
        """
        left = self._file.size - self._offset
        wanted = left if size < 0 else min(size, left)
        blocks = []
        while wanted:
            block = self._block(min(wanted, CHUNK))
            self._checksum.update(block)
            if self._md5:
                self._md5.update(block)
            self._lines.update(block)
            self._offset += len(block)
            self._on_bytes(len(block))
            wanted -= len(block)
            blocks.append(block)
        if self._offset == self._file.size:
            self.close()
            self._verify()
        return blocks[0] if len(blocks) == 1 else b"".join(blocks)

    def close(self) -> None:
        """Free the connection."""
        if self._download is not None:
            self._download.close()
            self._download = None

    @property
    def crc32c(self) -> str:
        """The base64 CRC32C of what was handed out."""
        return self._checksum.base64

    def _verify(self) -> None:
        name, found, stated = "crc32c", self.crc32c, self._file.crc32c
        if self._md5 and self._stated_md5:
            name, found, stated = "MD5", self._md5.hexdigest(), self._stated_md5
        if stated and found != stated:
            raise CorruptedError(
                f"{describe_file(self._file)}: the bytes that arrived have {name} {found}, the vendor's bucket states "
                f"{stated}; nothing was stored. If it happens again, report it to Ayla support."
            )

    def _block(self, size: int) -> bytes:
        problem = ""
        for attempt in range(_TRIES_WITHOUT_PROGRESS):
            if self._stop.is_set():
                raise AylaTransferError(
                    f"{describe_file(self._file)}: stopped at byte {self._offset}, since the task was ended; nothing "
                    "of it was stored. The next try does what is left; clear the task if it has none."
                )
            if attempt:
                delay = min(_BACKOFF * 2**attempt, 20.0) * random.uniform(0.5, 1.0)  # noqa: S311 - spreads, protects nothing
                log.info("%s: %s at byte %d, continuing in %.1f s", self._file.name, problem, self._offset, delay)
                self._stop.wait(delay)
            try:
                if self._download is None:
                    self._download = self._source.open(self._file, self._offset)
                    self._stated_md5 = self._download.md5
                if block := self._download.read(size):
                    return block
                problem = "the answer ended early"
            except PassingError as passing:
                problem = str(passing)
            self.close()
        raise AylaUnavailable(
            f"{describe_file(self._file)}: the download stopped at byte {self._offset} of {self._file.size} and can't "
            f"be continued ({problem}, {_TRIES_WITHOUT_PROGRESS} tries). This usually passes: the task's retries will "
            "try again."
        )


def first_bytes(source: Source, file: ExportFile, size: int) -> bytes:
    """
    Return the first bytes of a file, unchecked.

    :raises AylaError: if they can't be read
    """
    size = min(size, file.size)
    data = b""
    try:
        with contextlib.closing(source.open(file, 0, size)) as download:
            while len(data) < size and (block := download.read(size - len(data))):
                data += block
    except PassingError as error:
        raise AylaUnavailable(f"{describe_file(file)}: its first bytes can't be read ({error}). {PASSES}") from None
    return data


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
        store: ExportStore,
        destination: Destination,
        stop: threading.Event,
        on_bytes: Callable[[int], None] = lambda size: None,
    ) -> None:
        self._source = store.source
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
