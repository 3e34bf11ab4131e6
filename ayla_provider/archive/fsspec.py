"""Any other store that fsspec reaches."""

from __future__ import annotations

import contextlib
import secrets
from dataclasses import replace
from typing import Any

from ayla_provider.archive.destination import Stored
from ayla_provider.archive.stores import ChangedError, Upload, content_crc32c, version_of
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
        self.fs.invalidate_cache()
        try:
            entries = self.fs.ls(self.name(key).rstrip("/"), detail=True)
        except (FileNotFoundError, NotADirectoryError):
            return []
        listed = []
        for entry in entries:
            name = str(entry["name"]).rpartition("/")[2]
            if entry["type"] == "file" and not name.endswith(".partial"):
                path = f"{key}/{name}" if key else name
                listed.append(Stored(path, int(entry["size"]), _version(entry), None))
        return listed

    def find(self, key: str) -> Stored | None:
        # Only listings are used, because fsspec's other calls can spell the same version differently.
        folder, _, _ = key.rpartition("/")
        listed = {stored.path: stored for stored in self.folder(folder)}
        return listed.get(key)

    def read(self, key: str, start: int, end: int, version: str) -> bytes:
        data: bytes = self.fs.cat_file(self.name(key), start=start, end=end)
        return data

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

    def finish(self, seen: str | None) -> str:
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
        return version_of(self._store.find(key)) or ""

    def abort(self) -> None:
        with contextlib.suppress(Exception):
            self._file.close()
        self._store.remove(self._draft.path, "")


def _version(entry: dict[str, Any]) -> str:
    known = [str(entry[name]) for name in _MODIFIED if name in entry]
    return "-".join([str(entry["size"]), *known])
