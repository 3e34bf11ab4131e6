"""How pyiceberg reads and writes: through this package's destinations, and so with the same connections as a copy."""

from __future__ import annotations

import contextlib
import io
import secrets
from collections.abc import Callable, Iterator
from pathlib import Path
from threading import Lock
from types import TracebackType
from typing import Any
from urllib.parse import urlsplit

from pyiceberg.io import FileIO, InputFile, InputStream, OutputFile, OutputStream
from pyiceberg.typedef import EMPTY_DICT, Properties

from ayla_provider.archive.destination import LONGEST_RANGE, Destination, Stored
from ayla_provider.errors import AylaConfigError
from ayla_provider.transport.checksum import Crc32c
from ayla_provider.warehouse.lake import remove_file

IMPLEMENTATION = "ayla_provider.warehouse.iceberg_io.DestinationFileIO"
"""The value of the catalog's property ``py-io-impl``."""

STORAGE = "ayla.storage"
"""The catalog's property that names the storage in this process."""

_DATA_FILES = (".parquet", ".orc")
"""How the names of files end that can be large, and of which some columns are read."""

_BUFFER = 64 * 1024
"""Bytes that are read of a large file at least. The end of a Parquet file, which says where columns are, is as long."""

_AZURE = ("abfs", "abfss")


class Storage:
    """
    Finds the destination of each URL that a catalog or a table names.

    :param open_destination: returns the destination of a bucket's URL
    """

    def __init__(self, open_destination: Callable[[str], Destination]) -> None:
        self.token = secrets.token_hex(8)
        self._open = open_destination
        self._destinations: dict[str, Destination] = {}
        self._lock = Lock()
        self._postponed: list[str] | None = None

    def place(self, url: str) -> tuple[Destination, str]:
        """
        Return where a URL leads: the destination of its bucket, or of the whole disk, and the path there.

        :raises AylaError: if the bucket can't be opened
        """
        root, path = split(url)
        # pyiceberg reads and writes in several threads.
        with self._lock:
            if root not in self._destinations:
                self._destinations[root] = self._open(root)
            return self._destinations[root], path

    def remove(self, url: str) -> None:
        """
        Remove a file.

        :raises FileNotFoundError: if there is none
        :raises AylaError: if it can't be removed
        """
        if self._postponed is not None:
            self._postponed.append(url)
            return
        if not remove_file(*self.place(url)):
            raise FileNotFoundError(url)

    @contextlib.contextmanager
    def postponed(self) -> Iterator[list[str]]:
        """
        Remove nothing for the time of a ``with`` statement.

        pyiceberg removes the files of a commit that was refused. But a catalog or a proxy can refuse a commit that it
        made. So nobody removes them before it is certain that the table doesn't have the commit.

        It gives the list of the URLs to remove.
        """
        postponed: list[str] = []
        self._postponed = postponed
        try:
            yield postponed
        finally:
            self._postponed = None


_storages: dict[str, Storage] = {}


@contextlib.contextmanager
def known(storage: Storage) -> Iterator[dict[str, str]]:
    """
    Let pyiceberg find a storage by a name, for the time of a ``with`` statement.

    It gives the properties for the catalog. They are text, and so they can't have the storage itself.
    """
    _storages[storage.token] = storage
    try:
        yield {"py-io-impl": IMPLEMENTATION, STORAGE: storage.token}
    finally:
        del _storages[storage.token]


def split(url: str) -> tuple[str, str]:
    """
    Return the URL of the bucket, and the path in it.

    :param url: such as ``s3://bucket/path``, ``file:///path``, ``/path``, or Azure's ``abfss://container@account/path``
    """
    if url.startswith("/"):
        return "file:///", url.lstrip("/")
    parts = urlsplit(url, allow_fragments=False)
    scheme, bucket = parts.scheme, parts.netloc
    if scheme == "file":
        return "file:///", parts.path.lstrip("/")
    if scheme in _AZURE:
        # The account is in the connection.
        bucket = bucket.partition("@")[0]
    # Not parts.path: a name can have a question mark.
    return f"{scheme}://{bucket}", url.partition("://")[2].partition("/")[2]


class DestinationFileIO(FileIO):
    """pyiceberg's files, in this package's destinations."""

    def __init__(self, properties: Properties = EMPTY_DICT) -> None:
        super().__init__(properties)
        storage = _storages.get(properties.get(STORAGE, ""))
        if storage is None:
            raise AylaConfigError(
                f"{IMPLEMENTATION} works only for this provider's own tasks. Remove it from py-io-impl."
            )
        self.storage = storage

    def new_input(self, location: str) -> InputFile:
        """Return a file to read."""
        return _File(self.storage, location)

    def new_output(self, location: str) -> OutputFile:
        """Return a file to write."""
        return _File(self.storage, location)

    def delete(self, location: str | InputFile | OutputFile) -> None:
        """Remove a file."""
        self.storage.remove(location if isinstance(location, str) else location.location)


class _File(InputFile, OutputFile):
    """A file that may exist."""

    def __init__(self, storage: Storage, location: str) -> None:
        super().__init__(location)
        self._destination, self._path = storage.place(location)

    def __len__(self) -> int:
        stored = self._stored()
        if stored is None:
            raise FileNotFoundError(self.location)
        return stored.size

    def exists(self) -> bool:
        return self._stored() is not None

    def _stored(self) -> Stored | None:
        return self._destination.find(self._path)

    def open(self, seekable: bool = True) -> InputStream:
        on_disk = self._destination.local(self._path)
        if on_disk is not None:
            return on_disk.open("rb")
        if self._path.endswith(_DATA_FILES):
            stored = self._stored()
            if stored is None:
                raise FileNotFoundError(self.location)
            return io.BufferedReader(_Parts(self._destination, stored), _BUFFER)
        found = self._destination.read(self._path)
        if found is None:
            raise FileNotFoundError(self.location)
        return io.BytesIO(found[0])

    def to_input_file(self) -> InputFile:
        return self

    def create(self, overwrite: bool = False) -> OutputStream:
        # All names have a part of chance. What exists is never written again.
        return _Output(self._destination, self._path)


class _Parts(io.RawIOBase):
    """A large file in a store. Only what is asked for is read."""

    def __init__(self, destination: Destination, stored: Stored) -> None:
        super().__init__()
        self._destination = destination
        self._file = stored
        self._at = 0

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        begin = {io.SEEK_SET: 0, io.SEEK_CUR: self._at, io.SEEK_END: self._file.size}[whence]
        self._at = begin + offset
        return self._at

    def tell(self) -> int:
        return self._at

    def readinto(self, buffer: Any) -> int:
        end = min(self._at + min(len(buffer), LONGEST_RANGE), self._file.size)
        content = self._destination.read_range(self._file, self._at, end) if self._at < end else b""
        buffer[: len(content)] = content
        self._at += len(content)
        return len(content)


class _Output(io.BytesIO):
    """What a small file gets. It is written when it is closed: as a whole, or not at all."""

    def __init__(self, destination: Destination, path: str) -> None:
        super().__init__()
        self._destination = destination
        self._path = path

    def close(self) -> None:
        if self.closed:
            return
        content = self.getvalue()
        super().close()
        self._destination.write(
            self._path,
            io.BytesIO(content),
            size=len(content),
            crc32c=Crc32c(content).base64,
            replaces=None,
            content_type="application/octet-stream",
        )

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if kind is not None:
            super().close()
        self.close()


class LocalFileIO(FileIO):
    """
    A Parquet file that is still on this disk, under the URL that it will have.

    :param local: its path
    """

    def __init__(self, local: Path) -> None:
        super().__init__()
        self._local = local

    def new_input(self, location: str) -> InputFile:
        """Return the file, whatever its URL."""
        return _LocalFile(self._local, location)

    def new_output(self, location: str) -> OutputFile:
        """Nothing is written."""
        raise NotImplementedError

    def delete(self, location: Any) -> None:
        """Nothing is removed."""
        raise NotImplementedError


class _LocalFile(InputFile):
    def __init__(self, local: Path, location: str) -> None:
        super().__init__(location)
        self._local = local

    def __len__(self) -> int:
        return self._local.stat().st_size

    def exists(self) -> bool:
        return self._local.exists()

    def open(self, seekable: bool = True) -> InputStream:
        return self._local.open("rb")
