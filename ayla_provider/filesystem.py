"""
The export as a file system of fsspec, ``ayla://<connection>/<folder>/...``: read-only.

Airflow's ``ObjectStoragePath`` finds :func:`get_fs` here, and fsspec :class:`AylaFileSystem`.
"""

from __future__ import annotations

import errno
import os
import re
import shutil
import tempfile
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

from fsspec.core import has_magic
from fsspec.spec import AbstractBufferedFile, AbstractFileSystem
from fsspec.utils import glob_translate

from ayla_provider.errors import AylaConfigError, AylaTransferError, AylaUnavailable

if TYPE_CHECKING:
    from datetime import datetime

    from ayla_provider.source.bucket import SourceObject
    from ayla_provider.source.export import Export
    from ayla_provider.source.tree import ExportTree

__all__ = ["AylaFileSystem", "get_fs"]

schemes = ["ayla"]
"""The schemes of the URLs that Airflow opens with :func:`get_fs`."""

MOST_OBJECTS = 250_000
"""How many objects a listing of folders in folders returns. Each takes a kilobyte of memory."""


def get_fs(conn_id: str | None = None, storage_options: dict[str, Any] | None = None) -> AylaFileSystem:
    """
    Return the file system, for Airflow's ``ObjectStoragePath``.

    :param conn_id: of the only connection whose export it may read; None for those that the URLs name
    """
    return AylaFileSystem(conn_id=conn_id, **(storage_options or {}))


class AylaFileSystem(AbstractFileSystem):  # type: ignore[misc]
    """
    The exports of Airflow's connections to Ayla, read-only.

    A path begins with the id of a connection. The rest is the name of a folder or an object as Ayla has it, below the
    OEM's ID: ``ayla://ayla_default/Datapoint/2026-11-01 07:00:00/Datapoints.csv``.

    Nothing is cached but the export of a connection, with its token, which is renewed as needed. A file that is read
    from its first to its last byte is verified by its checksum. A file that Ayla replaces while it is read ends in an
    error.

    :param conn_id: of the only connection whose export it may read; None for those that the URLs name
    """

    protocol = "ayla"
    root_marker = ""
    # The connection is read again for each new file system.
    cachable = False

    def __init__(self, conn_id: str | None = None, **storage_options: Any) -> None:
        super().__init__(**storage_options)
        self.conn_id = conn_id
        self._exports: dict[str, Export] = {}
        self._exports_lock = threading.Lock()

    @classmethod
    def _strip_protocol(cls, path: Any) -> Any:
        """Return paths without their protocol. In Airflow 3.1, ObjectStoragePath writes ayla:///ayla_default/..."""
        if isinstance(path, list):
            return [cls._strip_protocol(each) for each in path]
        stripped: str = super()._strip_protocol(path)
        return stripped.lstrip("/")

    @property
    def fsid(self) -> str:
        """What tells this file system from others."""
        return f"ayla-{self.conn_id or ''}"

    def export(self, path: str) -> tuple[Export, str]:
        """
        Return the export of a path, and the rest of the path.

        :raises AylaConfigError: if the path names no connection, or another one than ``conn_id``, or if there is none
        """
        conn_id, _, rest = self._strip_protocol(path).partition("/")
        if not conn_id or has_magic(conn_id):
            raise AylaConfigError(f"{path!r} names no connection: write ayla://ayla_default/Datapoint/...")
        if self.conn_id not in (None, conn_id):
            raise AylaConfigError(
                f"ayla://{conn_id}/ names the connection {conn_id!r}, but conn_id is {self.conn_id!r}: give one of them"
            )
        with self._exports_lock:
            if conn_id not in self._exports:
                from ayla_provider._airflow.errors import undefined_connection
                from ayla_provider.hooks import AylaHook

                with undefined_connection():
                    self._exports[conn_id] = AylaHook(conn_id).export
            return self._exports[conn_id], rest

    def _tree(self, path: str) -> tuple[ExportTree, str, str]:
        """Return the tree of a path, the rest of the path, and what all paths of its connection begin with."""
        from ayla_provider.source.tree import ExportTree

        export, rest = self.export(path)
        conn_id, _, _ = self._strip_protocol(path).partition("/")
        return ExportTree(export), rest, f"{conn_id}/"

    def info(self, path: str, **kwargs: Any) -> dict[str, Any]:
        """
        Return what is known of a file or a folder.

        :returns: of a file ``name``, ``size``, ``type``, ``created``, ``mtime``, ``crc32c``, ``generation``, and
            ``etag``
        :raises FileNotFoundError: if there is none
        :raises AylaError: if the bucket can't be listed
        """
        path = self._strip_protocol(path)
        if not path:
            return _folder("")
        tree, rest, start = self._tree(path)
        if not rest:
            return _folder(path)
        # The first two levels are folders, in all exports that are known.
        if rest.count("/") < 2 and tree.is_folder(rest):
            return _folder(path)
        item = tree.find(rest)
        if item is not None:
            return _file(f"{start}{rest}", item)
        if rest.count("/") >= 2 and tree.is_folder(rest):
            return _folder(path)
        raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), f"ayla://{path}")

    def exists(self, path: str, **kwargs: Any) -> bool:
        """Return whether there is a file or a folder; an error isn't an answer."""
        try:
            self.info(path)
        except FileNotFoundError:
            return False
        return True

    def isfile(self, path: str) -> bool:
        """Return whether there is a file; an error isn't an answer."""
        try:
            return bool(self.info(path)["type"] == "file")
        except FileNotFoundError:
            return False

    def ls(self, path: str, detail: bool = True, **kwargs: Any) -> list[Any]:
        """
        Return what is directly in a folder, or the file.

        :raises FileNotFoundError: if there is neither
        :raises AylaError: if the bucket can't be listed
        """
        path = self._strip_protocol(path)
        tree, rest, start = self._tree(path)
        entries = [_entry(start, tree, entry) for entry in tree.entries(rest)]
        if not entries and rest:
            entries = [self.info(path)]
        entries.sort(key=_name)
        return entries if detail else [entry["name"] for entry in entries]

    def find(
        self,
        path: str,
        maxdepth: int | None = None,
        withdirs: bool = False,
        detail: bool = False,
        prefix: str = "",
        **kwargs: Any,
    ) -> Any:
        """
        Return all files below a folder: one listing.

        :param maxdepth: how many levels of folders
        :param withdirs: whether folders are included
        :param detail: return a dict of path to what is known of it
        :param prefix: how the paths below the folder begin
        :raises AylaUnavailable: if there are more than :data:`MOST_OBJECTS`
        :raises AylaError: if the bucket can't be listed
        """
        path = self._strip_protocol(path)
        tree, rest, start = self._tree(path)
        found: dict[str, dict[str, Any]] = {}
        if maxdepth == 1:
            entries = (_entry(start, tree, entry) for entry in tree.entries(rest, prefix))
            found = {entry["name"]: entry for entry in entries if withdirs or entry["type"] == "file"}
        else:
            for item in tree.below(rest, prefix):
                if len(found) >= MOST_OBJECTS:
                    raise AylaUnavailable(
                        f"ayla://{path} has more than {MOST_OBJECTS:,} objects. Name a smaller part, such as a day: "
                        f"ayla://{start}Datapoint/2026-11-01*/*"
                    )
                self._add(found, path, _file(f"{start}{tree.path(item)}", item), maxdepth, withdirs=withdirs)
        if found and withdirs and rest and not prefix:
            found[path] = _folder(path)
        if not found and not prefix and rest and self.isfile(path):
            found[path] = self.info(path)
        names = sorted(found)
        return {name: found[name] for name in names} if detail else names

    def _add(
        self, found: dict[str, dict[str, Any]], path: str, file: dict[str, Any], maxdepth: int | None, *, withdirs: bool
    ) -> None:
        """Add a file to what is found below a path, and the folders that it is in."""
        parts = file["name"].removeprefix(f"{path}/").split("/")
        if withdirs:
            for depth in range(1, len(parts)):
                if maxdepth is None or depth <= maxdepth:
                    folder = "/".join([path, *parts[:depth]])
                    found.setdefault(folder, _folder(folder))
        if maxdepth is None or len(parts) <= maxdepth:
            found[file["name"]] = file

    def glob(self, path: str, maxdepth: int | None = None, **kwargs: Any) -> Any:
        """
        Return the files and folders whose paths match a pattern.

        It lists what begins as the pattern does up to its first wildcard, such as a day of an event type for
        ``ayla://ayla_default/Datapoint/2026-11-01*/*.csv``. A wildcard in the event type is matched with the folders
        that exist.

        :raises AylaError: see :meth:`find`
        """
        detail = kwargs.pop("detail", False)
        folder_end = "/" if path.endswith("/") else ""
        pattern = self._strip_protocol(path)
        found: dict[str, dict[str, Any]] = {}
        for part in self._by_event_folder(pattern):
            literal = re.split(r"[*?\[]", part, maxsplit=1)[0]
            begin = literal.rpartition("/")[2] if has_magic(part) else ""
            found |= super().glob(f"{part}{folder_end}", maxdepth, detail=True, prefix=begin, **kwargs)
        names = sorted(found)
        return {name: found[name] for name in names} if detail else names

    def _by_event_folder(self, pattern: str) -> Iterator[str]:
        """Yield a pattern, or one for each event folder where a wildcard of the event folder isn't at the end."""
        conn_id, _, rest = pattern.partition("/")
        folder, slash, inner = rest.partition("/")
        if not slash or not has_magic(folder) or folder == "**":
            yield pattern
            return
        matches = re.compile(glob_translate(folder))
        for name in self.ls(conn_id, detail=False):
            own = name.partition("/")[2]
            if has_magic(own):
                # As a pattern, it would mean others.
                yield pattern
                return
            if matches.match(own):
                yield f"{name}/{inner}"

    def created(self, path: str) -> datetime:
        """Return when a file was created: aware, UTC."""
        created: datetime = self.info(path)["created"]
        return created

    modified = created

    def ukey(self, path: str) -> str:
        """Return what changes when a file is replaced."""
        info = self.info(path)
        return f"{info['generation']}-{info['crc32c'] or info['etag']}"

    def checksum(self, path: str) -> int:
        """Return a number that changes when a file is replaced."""
        return int(self.info(path)["generation"])

    def _open(self, path: str, mode: str = "rb", block_size: int | None = None, **kwargs: Any) -> ExportObjectFile:
        if mode != "rb":
            _refuse()
        return ExportObjectFile(self, path, mode, block_size or "default", **kwargs)

    def get_file(self, rpath: str, lpath: Any, callback: Any = None, **kwargs: Any) -> None:
        """Download a file, whole or not at all, and verify it. Only this user can read it: it is personal data."""
        if self.isdir(rpath):
            Path(lpath).mkdir(parents=True, exist_ok=True)
            return
        target = Path(lpath)
        target.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.NamedTemporaryFile(dir=target.parent, prefix=".", suffix=".partial", delete=False) as file:
            partial = Path(file.name)
            try:
                with self.open(rpath) as source:
                    shutil.copyfileobj(source, file, ExportObjectFile.DEFAULT_BLOCK_SIZE)
                file.flush()
                os.fsync(file.fileno())
                partial.replace(target)
            finally:
                partial.unlink(missing_ok=True)

    def _refused(self, *arguments: Any, **kwargs: Any) -> NoReturn:
        """Refuse to change the export."""
        _refuse()

    mkdir = makedirs = rmdir = rm = rm_file = _rm = cp_file = mv = touch = put_file = pipe_file = _refused


class ExportObjectFile(AbstractBufferedFile):  # type: ignore[misc]
    """
    A file of the export, in the version that it had when it was opened.

    Its checksum is compared when its last byte is read, if all bytes before were read in order.
    """

    _verified = 0
    """How many bytes the checksum covers."""

    def __init__(self, fs: AylaFileSystem, path: str, *arguments: Any, **kwargs: Any) -> None:
        from ayla_provider.source.bucket import SourceObject
        from ayla_provider.transport.checksum import Crc32c

        details = fs.info(path)
        if details["type"] != "file":
            raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), f"ayla://{path}")
        self._export, rest = fs.export(path)
        self._version = SourceObject(
            f"{self._export.root}{rest}",
            details["size"],
            details["crc32c"],
            details["generation"],
            details["created"],
            details["etag"],
        )
        self._checksum = Crc32c()
        super().__init__(fs, path, *arguments, size=details["size"], **kwargs)
        self.details = details

    def _fetch_range(self, start: int, end: int) -> bytes:
        from ayla_provider.source.reader import read_range

        data = read_range(self._export.source, self._version, f"ayla://{self.path}", start, min(end, self.size))
        if start <= self._verified < start + len(data):
            self._checksum.update(data[self._verified - start :])
            self._verified = start + len(data)
            self._compare()
        return data

    def _compare(self) -> None:
        expected = self._version.crc32c
        if self._verified == self.size and expected and self._checksum.base64 != expected:
            raise AylaTransferError(
                f"ayla://{self.path}: the downloaded bytes have crc32c {self._checksum.base64}, but the vendor's "
                f"bucket says {expected}. Read the file again. If this happens again, report it to Ayla support."
            )


def _entry(start: str, tree: ExportTree, entry: SourceObject | str) -> dict[str, Any]:
    """Return what fsspec wants to know of an entry of a folder."""
    if isinstance(entry, str):
        return _folder(f"{start}{entry}")
    return _file(f"{start}{tree.path(entry)}", entry)


def _folder(path: str) -> dict[str, Any]:
    return {"name": path, "size": 0, "type": "directory"}


def _file(path: str, item: SourceObject) -> dict[str, Any]:
    return {
        "name": path,
        "size": item.size,
        "type": "file",
        "created": item.created,
        "mtime": item.created.timestamp(),
        "crc32c": item.crc32c,
        "generation": item.generation,
        "etag": item.etag,
    }


def _name(entry: dict[str, Any]) -> str:
    return str(entry["name"])


def _refuse() -> NoReturn:
    raise OSError(errno.EROFS, "Ayla's export can only be read")
