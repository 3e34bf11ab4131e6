"""The bytes of an object: in memory, in a file, or generated from a seed."""

from __future__ import annotations

import base64
import hashlib
import random
import tempfile
from functools import cached_property
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any, Protocol

import google_crc32c

if TYPE_CHECKING:
    from collections.abc import Iterator

CHUNK = 1 << 20
"""The largest number of bytes in one piece."""

# The library has no type hints.
_Checksum: Any = google_crc32c.Checksum

SPOOL_ABOVE = 8 << 20
"""Uploads with more bytes than this are kept in a file."""


class Content(Protocol):
    """The bytes of an object. They never change."""

    @property
    def size(self) -> int:
        """The number of bytes."""

    @property
    def crc32c(self) -> str:
        """The CRC32C, big-endian, in base64, in the format of Cloud Storage."""

    @property
    def md5(self) -> str | None:
        """The MD5 in base64; None if it isn't known, as for Google's composite objects."""

    def chunks(self, start: int, stop: int) -> Iterator[bytes]:
        """Yield the bytes from ``start`` up to ``stop``, in pieces of at most :data:`CHUNK`."""


def to_base64(digest: bytes) -> str:
    """Return a digest in the format of Cloud Storage."""
    return base64.b64encode(digest).decode("ascii")


def crc32c_of(data: bytes) -> str:
    """Return the CRC32C of bytes, in the format of Cloud Storage."""
    return to_base64(_Checksum(data).digest())


class BytesContent:
    """Content in memory."""

    def __init__(self, data: bytes) -> None:
        self.data = data
        self.size = len(data)

    @cached_property
    def crc32c(self) -> str:
        """See :class:`Content`."""
        return crc32c_of(self.data)

    @cached_property
    def md5(self) -> str | None:
        """See :class:`Content`."""
        return to_base64(hashlib.md5(self.data, usedforsecurity=False).digest())

    def chunks(self, start: int, stop: int) -> Iterator[bytes]:
        """See :class:`Content`."""
        for at in range(start, stop, CHUNK):
            yield self.data[at : min(at + CHUNK, stop)]


class SeededContent:
    """
    Content of any size that is generated while it is read and never in memory as a whole.

    :param seed: the same seed always creates the same bytes
    :param size: in bytes
    """

    def __init__(self, seed: int | str, size: int) -> None:
        self.seed = seed
        self.size = size
        self._block = random.Random(f"content/{seed}").randbytes(CHUNK)  # noqa: S311 (made-up data)

    def _piece(self, number: int) -> bytes:
        # Each block starts with its number, so that a checksum detects swapped or repeated blocks.
        return number.to_bytes(8, "big") + self._block[8:]

    @cached_property
    def crc32c(self) -> str:
        """See :class:`Content`."""
        checksum = _Checksum()
        for chunk in self.chunks(0, self.size):
            checksum.update(chunk)
        return to_base64(checksum.digest())

    @property
    def md5(self) -> str | None:
        """None: many of Google's large objects have no MD5 either."""
        return None

    def chunks(self, start: int, stop: int) -> Iterator[bytes]:
        """See :class:`Content`."""
        while start < stop:
            number, skip = divmod(start, CHUNK)
            piece = self._piece(number)[skip : skip + stop - start]
            yield piece
            start += len(piece)


class FileContent:
    """Content in a file. The file is deleted with this object, unless ``keep`` is set."""

    md5: str | None

    def __init__(self, path: Path, size: int, crc32c: str, md5: str) -> None:
        self.keep = False
        self.path = path
        self.size = size
        self.crc32c = crc32c
        self.md5 = md5

    def chunks(self, start: int, stop: int) -> Iterator[bytes]:
        """See :class:`Content`."""
        with self.path.open("rb") as file:
            file.seek(start)
            while start < stop:
                piece = file.read(min(CHUNK, stop - start))
                yield piece
                start += len(piece)

    def __del__(self) -> None:
        if not self.keep:
            self.path.unlink(missing_ok=True)


class Sink:
    """
    Receives the bytes of an upload, computes their checksums, and becomes a :class:`Content`.

    :param folder: where to keep uploads that are too large for memory
    """

    def __init__(self, folder: Path) -> None:
        self.size = 0
        self._folder = folder
        self._memory = bytearray()
        self._file: IO[bytes] | None = None
        self._path = Path()
        self._crc32c = _Checksum()
        self._md5 = hashlib.md5(usedforsecurity=False)

    def write(self, data: bytes) -> None:
        """Append bytes."""
        self.size += len(data)
        self._crc32c.update(data)
        self._md5.update(data)
        if self._file is None and self.size > SPOOL_ABOVE:
            self._spool()
        if self._file is None:
            self._memory += data
        else:
            self._file.write(data)

    def _spool(self) -> None:
        file = tempfile.NamedTemporaryFile(dir=self._folder, delete=False)  # noqa: SIM115 (outlives this function)
        self._path = Path(file.name)
        file.write(self._memory)
        self._memory = bytearray()
        self._file = file

    @property
    def crc32c(self) -> str:
        """The CRC32C so far, in base64."""
        return to_base64(self._crc32c.digest())

    @property
    def md5(self) -> str:
        """The MD5 so far, in base64."""
        return to_base64(self._md5.digest())

    def finish(self) -> Content:
        """Return what was written."""
        if self._file is None:
            data, self._memory = bytes(self._memory), bytearray()
            return BytesContent(data)
        self._file.close()
        return FileContent(self._path, self.size, self.crc32c, self.md5)

    def discard(self) -> None:
        """Delete what was written."""
        if self._file is not None:
            self._file.close()
            self._path.unlink(missing_ok=True)
