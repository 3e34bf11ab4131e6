"""An archive in a folder on disk."""

from __future__ import annotations

import contextlib
import errno
import logging
import os
import re
import secrets
import stat
import time
from collections.abc import Callable, Iterable, Iterator
from datetime import UTC, datetime
from pathlib import Path, PurePosixPath
from typing import BinaryIO

from ayla_provider.archive.destination import Listed, Stored, check_small, conflict
from ayla_provider.archive.private import make_private_folder, open_private
from ayla_provider.domain.erasure import Leftover
from ayla_provider.domain.paths import is_private
from ayla_provider.errors import AylaDestinationError, AylaUnsafeNameError
from ayla_provider.transport.checksum import CHUNK, Crc32c

log = logging.getLogger(__name__)

_PARTIAL = re.compile(r"\.[0-9a-f]{16}\.partial")

_NOWHERE = (errno.ENOENT, errno.ELOOP)
"""Errors of a link that leads nowhere or to itself."""

_ABANDONED = 24 * 3600.0
"""Seconds after which a partial file must be one that a killed process left."""


class FileDestination:
    """
    A folder on disk.

    Quarantined lines and other objects with personal data that no analyst needs are readable for the user of the task
    alone. What others may do with copies, rows, and manifests follows from the umask.

    Each folder is locked while a name in it changes, for the processes of all machines that mount it.
    """

    takes_unknown = True

    def __init__(self, root: str | Path) -> None:
        self.root = Path(root)
        self.url = f"file://{PurePosixPath(self.root)}"

    def folder(self, path: str) -> dict[str, Stored]:
        """See :class:`~ayla_provider.archive.destination.Destination`."""
        with translate_errors(self._place(path)):
            try:
                entries = _with_text_names(os.scandir(self._place(path)))
            except (FileNotFoundError, NotADirectoryError):
                return {}
            names = [entry for entry in entries if not _PARTIAL.fullmatch(entry.name)]
            files = [entry for entry in names if _is(entry.is_file)]
            listed = [self._stored(f"{path}/{entry.name}", entry.stat()) for entry in files]
            return {stored.path: stored for stored in listed}

    def folders(self, path: str) -> list[str]:
        """See :class:`~ayla_provider.archive.destination.Destination`."""
        with translate_errors(self._place(path)):
            try:
                entries = _with_text_names(os.scandir(self._place(path)))
            except (FileNotFoundError, NotADirectoryError):
                return []
            names = sorted(entry.name for entry in entries if _is(entry.is_dir))
        return [f"{path}/{name}" if path else name for name in names]

    def remove_leftovers(self, path: str) -> None:
        """See :class:`~ayla_provider.archive.destination.Destination`."""
        with contextlib.suppress(OSError):
            for entry in list(os.scandir(self._place(path))):
                if _PARTIAL.fullmatch(entry.name) and time.time() - entry.stat().st_mtime > _ABANDONED:
                    Path(entry.path).unlink()

    def tree(self, prefix: str) -> Iterator[Listed]:
        """See :class:`~ayla_provider.archive.destination.Destination`."""
        folders = [prefix.rpartition("/")[0]]
        links: set[Path] = set()
        while folders:
            folder = folders.pop()
            with translate_errors(self._place(folder)):
                try:
                    entries = _with_text_names(os.scandir(self._place(folder)))
                except (FileNotFoundError, NotADirectoryError):
                    continue
                for entry in entries:
                    path = f"{folder}/{entry.name}" if folder else entry.name
                    if not path.startswith(prefix):
                        continue
                    if _is(entry.is_dir):
                        if not entry.is_symlink() or self._is_new_link(entry, links):
                            folders.append(path)
                    else:
                        yield from self._listed(path, entry)

    def _listed(self, path: str, entry: os.DirEntry[str]) -> Iterator[Listed]:
        try:
            stat = entry.stat()
        except OSError as error:
            # A file that was removed since the listing, or a link that leads nowhere or to itself.
            if error.errno not in _NOWHERE:
                raise
        else:
            modified = datetime.fromtimestamp(stat.st_mtime, UTC)
            yield Listed(self._stored(path, stat), modified, unfinished=bool(_PARTIAL.fullmatch(entry.name)))

    @staticmethod
    def _is_new_link(entry: os.DirEntry[str], links: set[Path]) -> bool:
        """Whether a link leads to a folder that isn't around it, and to which no other link led."""
        target = Path(entry.path).resolve()
        if target in links or Path(entry.path).parent.resolve().is_relative_to(target):
            return False
        links.add(target)
        return True

    def find(self, path: str) -> Stored | None:
        """See :class:`~ayla_provider.archive.destination.Destination`."""
        place = self._place(path)
        with translate_errors(place):
            try:
                found = place.stat()
            except (FileNotFoundError, NotADirectoryError):
                return None
        # A folder is no object.
        return self._stored(path, found) if stat.S_ISREG(found.st_mode) else None

    def crc32c(self, stored: Stored) -> str:
        """See :class:`~ayla_provider.archive.destination.Destination`."""
        checksum = Crc32c()
        with translate_errors(self._place(stored.path)), self._place(stored.path).open("rb") as file:
            while block := file.read(CHUNK):
                checksum.update(block)
        return checksum.base64

    def read(self, path: str) -> tuple[bytes, Stored] | None:
        """See :class:`~ayla_provider.archive.destination.Destination`."""
        with translate_errors(self._place(path)):
            try:
                with self._place(path).open("rb") as file:
                    stored = self._stored(path, os.fstat(file.fileno()))
                    check_small(stored.size, str(self._place(path)))
                    return file.read(stored.size), stored
            except FileNotFoundError:
                return None

    def blocks(self, path: str) -> Iterator[bytes]:
        """See :class:`~ayla_provider.archive.destination.Destination`."""
        with translate_errors(self._place(path)), self._place(path).open("rb") as file:
            while block := file.read(CHUNK):
                yield block

    def read_range(self, stored: Stored, start: int, end: int) -> bytes:
        """See :class:`~ayla_provider.archive.destination.Destination`."""
        place = self._place(stored.path)
        with translate_errors(place):
            try:
                with place.open("rb") as file:
                    if self._stored(stored.path, os.fstat(file.fileno())).version != stored.version:
                        raise conflict(str(place))
                    file.seek(start)
                    return file.read(end - start)
            except FileNotFoundError:
                raise conflict(str(place)) from None

    def local(self, path: str) -> Path | None:
        """See :class:`~ayla_provider.archive.destination.Destination`."""
        return self._place(path)

    def has_earlier_version(self, path: str) -> bool | None:
        """See :class:`~ayla_provider.archive.destination.Destination`. A disk keeps no versions."""
        return False

    def remove_for_good(self, stored: Stored) -> bool:
        """See :class:`~ayla_provider.archive.destination.Destination`."""
        self.remove(stored)
        return True

    def remove_earlier_versions(self, prefix: str) -> list[Leftover]:
        """See :class:`~ayla_provider.archive.destination.Destination`. A disk keeps no versions."""
        return []

    def write(
        self, path: str, stream: BinaryIO, *, size: int, crc32c: str | None, replaces: Stored | None, content_type: str
    ) -> Stored:
        """See :class:`~ayla_provider.archive.destination.Destination`."""
        place = self._place(path)
        # Globs, Spark and DuckDB skip a name that starts with a dot.
        partial = place.with_name(f".{secrets.token_hex(8)}.partial")
        checksum = Crc32c()
        with translate_errors(place):
            self._make_folder_of(path)
            try:
                with open_private(partial, "xb") if is_private(path) else partial.open("xb") as file:
                    while block := stream.read(CHUNK):
                        checksum.update(block)
                        file.write(block)
                    file.flush()
                    os.fsync(file.fileno())
                    written = os.fstat(file.fileno())
                actual = checksum.base64
                if written.st_size != size or actual != (crc32c or actual):
                    raise AylaDestinationError(
                        f"{place}: wrote {written.st_size} bytes with crc32c {actual}, expected {size} bytes with "
                        f"crc32c {crc32c}; they are removed. Check whether the disk works."
                    )
                with _folder_lock(place.parent):
                    current = self._stored(path, place.stat()) if place.exists() else None
                    if current != replaces:
                        raise _name_clash(place, path) or conflict(str(place))
                    partial.replace(place)
                    return self._stored(path, place.stat())
            finally:
                partial.unlink(missing_ok=True)

    def _make_folder_of(self, path: str) -> None:
        if not is_private(path):
            self._place(path).parent.mkdir(parents=True, exist_ok=True)
            return
        folder = self.root
        folder.mkdir(parents=True, exist_ok=True)
        for name in PurePosixPath(path).parent.parts:
            folder /= name
            make_private_folder(folder)

    def remove(self, stored: Stored) -> None:
        """See :class:`~ayla_provider.archive.destination.Destination`."""
        place = self._place(stored.path)
        with translate_errors(place):
            if not place.parent.is_dir():
                return
            with _folder_lock(place.parent):
                if not place.exists():
                    return
                if self._stored(stored.path, place.stat()) != stored:
                    raise conflict(str(place))
                place.unlink()

    def _place(self, path: str) -> Path:
        return self.root / path

    def _stored(self, path: str, stat: os.stat_result) -> Stored:
        return Stored(path, stat.st_size, f"{stat.st_ino}-{stat.st_mtime_ns}", None)


def _with_text_names(entries: Iterable[os.DirEntry[str]]) -> list[os.DirEntry[str]]:
    """Return the entries whose names are UTF-8. No path of an object has another one."""
    kept = []
    for entry in entries:
        try:
            entry.name.encode()
        except UnicodeEncodeError:
            log.warning("%s is passed over, because its name isn't UTF-8.", ascii(entry.path))
        else:
            kept.append(entry)
    return kept


def _is(kind: Callable[[], bool]) -> bool:
    """Whether a directory entry is of a kind. A link that leads nowhere or to itself is of none."""
    try:
        return kind()
    except OSError as error:
        if error.errno not in _NOWHERE:
            raise
        return False


def _name_clash(place: Path, path: str) -> AylaUnsafeNameError | None:
    """Return the error of a disk that takes two names for one, because of case or Unicode; None if it doesn't."""
    name = PurePosixPath(path).name
    if not place.exists() or name in {entry.name for entry in place.parent.iterdir()}:
        return None
    return AylaUnsafeNameError(
        f"{place}: this disk takes {name!r} for another file of the folder, whose name differs only in upper and lower "
        "case or in Unicode. That file isn't changed. Choose a destination that distinguishes such names, or ask Ayla "
        "support to rename one of the files."
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
def translate_errors(where: Path) -> Iterator[None]:
    """Turn errors of the file system into errors of this package that name a path."""
    try:
        yield
    except OSError as error:
        raise AylaDestinationError(
            f"{where}: {error.strerror or error}. Check that the folder exists, that its disk has room, and that the "
            "user who runs Airflow's tasks may write to it."
        ) from error
