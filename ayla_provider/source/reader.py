"""Reads one generation of one object of the export as a stream, resumes it after interruptions, and verifies it."""

from __future__ import annotations

import contextlib
import hashlib
import logging
import random
import threading
import time
from collections.abc import Callable

from ayla_provider.domain.paths import ExportFile
from ayla_provider.errors import TEMPORARY, AylaTransferError, AylaUnavailable
from ayla_provider.source.bucket import Download, ObjectVersion, PassingError, ReadableObject, Source
from ayla_provider.transport.checksum import CHUNK, Crc32c, Lines

log = logging.getLogger(__name__)

_TRIES_WITHOUT_PROGRESS = 6

_BACKOFF = 0.5
"""Seconds; the waits between tries double from here."""


class CorruptedError(AylaTransferError):
    """The bytes that arrived don't have the checksum in the listing."""


class ExportReader:
    """
    A stream over one generation of one object. After an interruption it continues with the next byte.

    A running checksum covers all bytes that were read, across interruptions. If it differs from the listing's, reading
    the last byte raises, so nobody can complete a wrong copy. (google-cloud-storage checks whole downloads, but not
    resumed ones.)

    :param stop: when set, the next read raises
    :param on_bytes: called with the number of bytes of each block
    """

    def __init__(
        self,
        source: Source,
        file: ReadableObject,
        stop: threading.Event,
        on_bytes: Callable[[int], None] = lambda size: None,
    ) -> None:
        self._source = source
        self._file = file
        self._stop = stop
        self._on_bytes = on_bytes
        self._download: Download | None = None
        self._offset = 0
        self._known = 0
        """How many bytes the checksum covers."""
        self._checksum = Crc32c()
        # Where listings have no CRC32C, the download may have an MD5.
        self._md5 = None if file.crc32c else hashlib.md5(usedforsecurity=False)
        self._expected_md5: str | None = None
        self._keeps_md5 = False
        self._lines = Lines()
        self._sha256 = hashlib.sha256()

    def leave_md5(self) -> Callable[[], str | None]:
        """See :class:`~ayla_provider.archive.destination.LeavesMd5`: it takes more CPU than all else of a file."""
        if self._known:
            raise ValueError("some bytes were read already")
        if self._keeps_md5:
            return lambda: None
        self._md5 = None
        return lambda: self._expected_md5

    def keep_md5(self) -> None:
        """Compare the MD5 here, and leave it to no one. Call it before the first byte is read."""
        self._keeps_md5 = True

    def tell(self) -> int:
        """Return the number of the next byte."""
        return self._offset

    @property
    def lines(self) -> int | None:
        """How many lines the object has; None before it was read to its end."""
        return self._lines.count if self._known == self._file.size else None

    @property
    def sha256(self) -> str:
        """The object's SHA-256 in hexadecimal; empty before it was read to its end."""
        return self._sha256.hexdigest() if self._known == self._file.size else ""

    def seek(self, offset: int) -> int:
        """Continue at a byte that was read before, or that is the next one."""
        if not 0 <= offset <= self._known:
            raise ValueError(f"byte {offset} was not read yet")
        if offset != self._offset:
            self.close()
            self._offset = offset
        return offset

    def read(self, size: int = -1) -> bytes:
        """
        Return up to ``size`` bytes, fewer only at the end.

        :raises AylaTransferError: if the object vanished, changed, or doesn't have the checksum in the listing
        :raises AylaUnavailable: if it can't be continued
        """
        left = self._file.size - self._offset
        wanted = left if size < 0 else min(size, left)
        blocks = []
        while wanted:
            block = self._block(min(wanted, CHUNK))
            self._take(block[max(0, self._known - self._offset) :])
            self._offset += len(block)
            wanted -= len(block)
            blocks.append(block)
        if self._offset == self._file.size:
            self.close()
            self._verify()
        return blocks[0] if len(blocks) == 1 else b"".join(blocks)

    def _take(self, data: bytes) -> None:
        """Add bytes that were not read before to what is computed of all."""
        self._known += len(data)
        self._checksum.update(data)
        if self._md5:
            self._md5.update(data)
        self._lines.update(data)
        self._sha256.update(data)
        if data:
            self._on_bytes(len(data))

    def close(self) -> None:
        """Free the connection."""
        if self._download is not None:
            self._download.close()
            self._download = None

    @property
    def crc32c(self) -> str:
        """The base64 CRC32C of what was read."""
        return self._checksum.base64

    def _verify(self) -> None:
        kind, actual, expected = "crc32c", self.crc32c, self._file.crc32c
        if self._md5 and self._expected_md5:
            kind, actual, expected = "MD5", self._md5.hexdigest(), self._expected_md5
        if expected and actual != expected:
            raise CorruptedError(
                f"{self._file.description}: the downloaded bytes have {kind} {actual}, but the vendor's bucket "
                f"says {expected}. Nothing was stored. If this happens again, report it to Ayla support."
            )

    def _block(self, size: int) -> bytes:
        problem = ""
        for attempt in range(_TRIES_WITHOUT_PROGRESS):
            if self._stop.is_set():
                raise AylaTransferError(
                    f"{self._file.description}: stopped at byte {self._offset} because the task was ended. "
                    "Nothing was stored. The next attempt copies the rest; clear the task if no retries are left."
                )
            if attempt:
                delay = _delay(attempt)
                log.info(
                    "%s: %s at byte %d, continuing in %.1f s", self._file.description, problem, self._offset, delay
                )
                self._stop.wait(delay)
            try:
                if self._download is None:
                    self._download = self._source.open(self._file, self._file.description, self._offset)
                    self._expected_md5 = self._download.md5
                if block := self._download.read(size):
                    return block
                problem = "the answer ended early"
            except PassingError as error:
                problem = str(error)
            self.close()
        raise AylaUnavailable(
            f"{self._file.description}: the download stopped at byte {self._offset} of {self._file.size} and can't "
            f"be continued ({problem}, {_TRIES_WITHOUT_PROGRESS} tries). {TEMPORARY}"
        )


def _delay(attempt: int) -> float:
    """Return the seconds to wait before another attempt."""
    longest: float = min(_BACKOFF * 2**attempt, 20.0)
    return longest * random.uniform(0.5, 1.0)  # noqa: S311 - spreads, protects nothing


def read_range(source: Source, version: ObjectVersion, what: str, start: int, end: int) -> bytes:
    """
    Return some bytes of one version of an object, unchecked. After an interruption it continues with the next byte.

    :param what: describes the object in errors
    :param start: of the first byte, from 0
    :param end: the one after the last byte, at most the object's size
    :raises AylaTransferError: if the object vanished or changed
    :raises AylaUnavailable: if it can't be continued
    """
    blocks: list[bytes] = []
    position = start
    attempt = 0
    while position < end:
        problem = "the answer ended early"
        before = position
        try:
            with contextlib.closing(source.open(version, what, position, end)) as download:
                while position < end and (block := download.read(min(end - position, CHUNK))):
                    blocks.append(block)
                    position += len(block)
        except PassingError as error:
            problem = str(error)
        if position == end:
            break
        attempt = 0 if position > before else attempt + 1
        if attempt == _TRIES_WITHOUT_PROGRESS:
            raise AylaUnavailable(
                f"{what}: the download stopped at byte {position} and can't be continued ({problem}, "
                f"{_TRIES_WITHOUT_PROGRESS} tries). {TEMPORARY}"
            )
        time.sleep(_delay(attempt))
    return b"".join(blocks)


def first_bytes(source: Source, file: ExportFile, size: int) -> bytes:
    """
    Return the first bytes of a file, unchecked.

    :raises AylaError: if they can't be read
    """
    size = min(size, file.size)
    data = b""
    try:
        with contextlib.closing(source.open(file, file.description, 0, size)) as download:
            while len(data) < size and (block := download.read(size - len(data))):
                data += block
    except PassingError as error:
        raise AylaUnavailable(f"{file.description}: its first bytes can't be read ({error}). {TEMPORARY}") from None
    return data
