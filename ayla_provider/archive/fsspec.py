"""Any other store that fsspec reaches."""

from __future__ import annotations

import contextlib
import secrets
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

from ayla_provider.archive.destination import NOT_ASKED, Listed, Stored
from ayla_provider.archive.stores import ChangedError, Kept, Upload, content_crc32c, version_of
from ayla_provider.errors import AylaDestinationError

_MODIFIED = ("ETag", "etag", "mtime", "LastModified", "last_modified", "modified", "updated", "created")
"""The names under which file systems say which version of a file they list."""


class FsspecStore:
    """
    One of fsspec's file systems, through the calls that all of them have.

    An object is written under another name, read back, and moved. The check whether someone else wrote the object
    comes right before the move. A write between the two is lost, because these calls take no precondition.
    """

    checked = True

    def __init__(self, fs: Any, bucket: str) -> None:
        self.fs = fs
        self._bucket = bucket

    def name(self, key: str) -> str:
        return f"{self._bucket}/{key}"

    def folder(self, key: str) -> list[Stored]:
        files = [(path, entry) for path, entry in self._entries(key) if entry["type"] == "file"]
        return [_stored(path, entry) for path, entry in files if not path.endswith(".partial")]

    def folders(self, key: str) -> list[str]:
        return [path for path, entry in self._entries(key) if entry["type"] == "directory"]

    def tree(self, prefix: str) -> Iterator[Listed]:
        folders = [prefix.rpartition("/")[0]]
        while folders:
            for path, entry in self._entries(folders.pop()):
                if not path.startswith(prefix):
                    continue
                if entry["type"] == "directory":
                    folders.append(path)
                else:
                    yield Listed(_stored(path, entry), _modified(entry), unfinished=path.endswith(".partial"))

    def _entries(self, key: str) -> list[tuple[str, dict[str, Any]]]:
        """Return what is in a folder, with its keys."""
        self.fs.invalidate_cache()
        try:
            entries = self.fs.ls(self.name(key).rstrip("/"), detail=True)
        except (FileNotFoundError, NotADirectoryError):
            return []
        names = [str(entry["name"]).rstrip("/").rpartition("/")[2] for entry in entries]
        paths = [f"{key}/{name}" if key else name for name in names]
        return list(zip(paths, entries, strict=True))

    def find(self, key: str) -> Stored | None:
        # Only listings are used, because fsspec's other calls can spell the same version differently.
        folder, _, _ = key.rpartition("/")
        listed = {stored.path: stored for stored in self.folder(folder)}
        return listed.get(key)

    def read(self, key: str, start: int, end: int, version: str) -> bytes:
        data: bytes = self.fs.cat_file(self.name(key), start=start, end=end)
        return data

    def has_earlier_version(self, key: str) -> bool | None:
        return None

    def remove_for_good(self, key: str, version: str) -> bool:
        self.remove(key, version)
        return True

    def remove_earlier_versions(self, prefix: str) -> Iterator[Kept]:
        yield Kept(NOT_ASKED, None)

    def upload(self, key: str, size: int, crc32c: str, content_type: str) -> Upload:
        return FsspecUpload(self, Stored(key, size, "", crc32c))

    def remove(self, key: str, version: str) -> None:
        self.fs.rm_file(self.name(key))


class FsspecUpload:
    def __init__(self, store: FsspecStore, expected: Stored) -> None:
        self._store = store
        self._expected = expected
        folder, _, _ = expected.path.rpartition("/")
        # Globs, Spark and DuckDB skip a name that starts with a dot.
        draft = f"{folder}/.{secrets.token_hex(8)}.partial".lstrip("/")
        self._draft = replace(expected, path=draft)
        store.fs.makedirs(store.name(folder).rstrip("/"), exist_ok=True)
        self._file = store.fs.open(store.name(draft), "wb")

    def part(self, data: bytes) -> None:
        self._file.write(data)

    def is_heeded(self, seen: str | None) -> bool:
        return False

    def finish(self, seen: str | None) -> Stored:
        self._file.close()
        key = self._expected.path
        actual = content_crc32c(self._store, self._draft)
        if actual != self._expected.crc32c:
            raise AylaDestinationError(
                f"{self._store.name(key)}: the store returns content with crc32c {actual}, but "
                f"{self._expected.crc32c} was sent, so it is removed. The task's next try sends it again."
            )
        if version_of(self._store.find(key)) != seen:
            raise ChangedError
        self._store.fs.mv(self._store.name(self._draft.path), self._store.name(key))
        return replace(self._expected, version=version_of(self._store.find(key)) or "", crc32c=None)

    def abort(self) -> None:
        with contextlib.suppress(Exception):
            self._file.close()
        self._store.remove(self._draft.path, "")


def _stored(path: str, entry: dict[str, Any]) -> Stored:
    return Stored(path, int(entry["size"]), _version(entry), None)


def _modified(entry: dict[str, Any]) -> datetime:
    """Return when a file was written; long ago, if the file system doesn't say it."""
    for name in _MODIFIED:
        value = entry.get(name)
        if isinstance(value, datetime):
            return value if value.tzinfo else value.replace(tzinfo=UTC)
        if isinstance(value, int | float):
            return datetime.fromtimestamp(value, UTC)
    return datetime.min.replace(tzinfo=UTC)


def _version(entry: dict[str, Any]) -> str:
    known = [str(entry[name]) for name in _MODIFIED if name in entry]
    return "-".join([str(entry["size"]), *known])
