"""Writes the files of a batch into the destination, each once."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

from ayla_provider.archive.destination import Destination, Stored, stored_at, url_of
from ayla_provider.archive.stream_spool import LocalFile, content_crc32c
from ayla_provider.domain.stream import BatchFile
from ayla_provider.errors import AylaConflictError, AylaDestinationError

_AT_ONCE = 8
"""How many files are written at once."""


class StreamUpload:
    """The files of batches in a destination. Thread-safe."""

    def __init__(self, destination: Destination) -> None:
        self._destination = destination

    def present(self, files: Sequence[BatchFile]) -> dict[str, BatchFile]:
        """
        Return which files the destination has, by path: with the size and the checksum that they have there.

        :raises AylaDestinationError: if the destination has something else in the place of one
        """
        found: dict[str, BatchFile] = {}
        existing = stored_at(self._destination, [file.path for file in files])
        for file in files:
            stored = existing.get(file.path)
            if stored is None:
                continue
            there = self._as_stored(file, stored)
            if there is None:
                raise AylaDestinationError(
                    f"{url_of(self._destination, file.path)} has other lines than the batch that it is of. Find out "
                    "what wrote it, and move it away. Then clear the task: it writes the file again, if the stream "
                    "still has the records."
                )
            found[file.path] = there
        return found

    def all(self, files: Iterable[LocalFile]) -> list[BatchFile]:
        """
        Write files, and return them with the size and the checksum that they have in the destination.

        :raises AylaConflictError: if the destination has something else in the place of one
        :raises AylaDestinationError: if the destination refuses one
        """
        with ThreadPoolExecutor(_AT_ONCE, thread_name_prefix="ayla-upload") as pool:
            return list(pool.map(self._write, files))

    def _write(self, local: LocalFile) -> BatchFile:
        file = local.file
        try:
            with local.place.open("rb") as content:
                self._destination.write(
                    file.path,
                    content,
                    size=file.size,
                    crc32c=file.crc32c,
                    replaces=None,
                    content_type="application/gzip",
                )
        except AylaConflictError:
            # Another run wrote the same file, or a write succeeded whose answer got lost.
            stored = stored_at(self._destination, [file.path]).get(file.path)
            there = self._as_stored(file, stored) if stored else None
            if there is None:
                raise
            return there
        return file

    def _as_stored(self, file: BatchFile, stored: Stored) -> BatchFile | None:
        """Return a file as it is in the destination; None if its lines there are others."""
        crc32c = self._destination.crc32c(stored)
        if (stored.size, crc32c) == (file.size, file.crc32c):
            return file
        if content_crc32c(self._destination.blocks(file.path)) != file.content_crc32c:
            return None
        return replace(file, size=stored.size, crc32c=crc32c)
