"""An archive in a folder on disk."""

from __future__ import annotations

import contextlib
import os
import re
import secrets
import time
from collections.abc import Iterator
from pathlib import Path, PurePosixPath
from typing import BinaryIO

from ayla_provider.archive.destination import Stored, conflict
from ayla_provider.errors import AylaDestinationError, AylaUnsafeNameError
from ayla_provider.transport.checksum import CHUNK, Crc32c

_PARTIAL = re.compile(r"\.[0-9a-f]{16}\.partial")

_ABANDONED = 24 * 3600.0
"""Seconds after which a partial file is taken for that of a process that was killed."""


class FileDestination:
    """A folder on disk. It is locked while a name in it changes, for the processes of every machine that mounts it."""

    def __init__(self, root: str | Path) -> None:
        self.root = Path(root)
        self.url = f"file://{PurePosixPath(self.root)}"

    def folder(self, path: str) -> dict[str, Stored]:
        """See :class:`Destination`."""
        with _disk(self._place(path)):
            try:
                entries = list(os.scandir(self._place(path)))
            except (FileNotFoundError, NotADirectoryError):
                return {}
            self._remove_abandoned(entries)
            files = [entry for entry in entries if entry.is_file() and not _PARTIAL.fullmatch(entry.name)]
            return {(name := f"{path}/{entry.name}"): self._facts(name, entry.stat()) for entry in files}

    def crc32c(self, stored: Stored) -> str:
        """See :class:`Destination`."""
        checksum = Crc32c()
        with _disk(self._place(stored.path)), self._place(stored.path).open("rb") as file:
            while block := file.read(CHUNK):
                checksum.update(block)
        return checksum.base64

    def read(self, path: str) -> tuple[bytes, Stored] | None:
        """See :class:`Destination`."""
        with _disk(self._place(path)):
            try:
                with self._place(path).open("rb") as file:
                    return file.read(), self._facts(path, os.fstat(file.fileno()))
            except FileNotFoundError:
                return None

    def blocks(self, path: str) -> Iterator[bytes]:
        """See :class:`Destination`."""
        with _disk(self._place(path)), self._place(path).open("rb") as file:
            while block := file.read(CHUNK):
                yield block

    def local(self, path: str) -> Path | None:
        """See :class:`Destination`."""
        return self._place(path)

    def write(
        self, path: str, stream: BinaryIO, *, size: int, crc32c: str, replaces: Stored | None, content_type: str
    ) -> Stored:
        """See :class:`Destination`."""
        place = self._place(path)
        # A name that starts with a dot is none that a glob, Spark or DuckDB would read.
        partial = place.with_name(f".{secrets.token_hex(8)}.partial")
        checksum = Crc32c()
        with _disk(place):
            place.parent.mkdir(parents=True, exist_ok=True)
            try:
                with partial.open("xb") as file:
                    while block := stream.read(CHUNK):
                        checksum.update(block)
                        file.write(block)
                    file.flush()
                    os.fsync(file.fileno())
                    written = os.fstat(file.fileno())
                found = checksum.base64
                if written.st_size != size or found != crc32c:
                    raise AylaDestinationError(
                        f"{place}: {written.st_size} bytes with crc32c {found} were written, {size} with {crc32c} "
                        "should have been; they are removed. Is the disk sound?"
                    )
                with _folder_lock(place.parent):
                    standing = self._facts(path, place.stat()) if place.exists() else None
                    if standing != replaces:
                        raise _folded(place, path) or conflict(str(place))
                    partial.replace(place)
                    return self._facts(path, place.stat())
            finally:
                partial.unlink(missing_ok=True)

    @staticmethod
    def _remove_abandoned(entries: list[os.DirEntry[str]]) -> None:
        for entry in entries:
            if _PARTIAL.fullmatch(entry.name):
                with contextlib.suppress(FileNotFoundError):
                    if time.time() - entry.stat().st_mtime > _ABANDONED:
                        Path(entry.path).unlink()

    def _place(self, path: str) -> Path:
        return self.root / path

    def _facts(self, path: str, stat: os.stat_result) -> Stored:
        return Stored(path, stat.st_size, f"{stat.st_ino}-{stat.st_mtime_ns}", None)


def _folded(place: Path, path: str) -> AylaUnsafeNameError | None:
    """Return the error of a disk on which a name stands for another that differs in case; None if that isn't it."""
    name = PurePosixPath(path).name
    if not place.exists() or name in {one.name for one in place.parent.iterdir()}:
        return None
    return AylaUnsafeNameError(
        f"{place}: this disk takes {name!r} for another file of the folder, whose name differs in upper and lower case "
        "or in Unicode alone; that one is left as it stands. Take a destination that keeps them apart, or ask Ayla "
        "support to rename one of them."
    )


@contextlib.contextmanager
def _folder_lock(folder: Path) -> Iterator[None]:
    import fcntl

    handle = os.open(folder, os.O_RDONLY)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX)
        yield
    finally:
        os.close(handle)


@contextlib.contextmanager
def _disk(where: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise AylaDestinationError(
            f"{where}: {error.strerror or error}. Check that the folder exists, has room, and may be written by the "
            "user that Airflow runs tasks as."
        ) from error
