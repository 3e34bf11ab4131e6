"""Whatever else fsspec reaches."""

from __future__ import annotations

import contextlib
import secrets
from typing import Any

from ayla_provider.archive.stores import ChangedError, Facts, Upload, content_crc32c, version_of
from ayla_provider.errors import AylaDestinationError


class AnyStore:
    """
    A file system of fsspec's of which nothing more is known.

    An object is written under another name, read back, and moved; whether somebody else wrote it is looked at right
    before that, which leaves a gap.
    """

    checked = True

    def __init__(self, fs: Any, bucket: str) -> None:
        self.fs = fs
        self._bucket = bucket

    def name(self, key: str) -> str:
        return f"{self._bucket}/{key}"

    def folder(self, key: str) -> dict[str, Facts]:
        self.fs.invalidate_cache()
        try:
            entries = self.fs.ls(self.name(key).rstrip("/"), detail=True)
        except (FileNotFoundError, NotADirectoryError):
            return {}
        files = {str(one["name"]).rpartition("/")[2]: one for one in entries if one["type"] == "file"}
        return {name: self._facts(one) for name, one in files.items() if not name.endswith(".partial")}

    def find(self, key: str) -> Facts | None:
        # From the listing, since what other calls tell of an object may be spelled otherwise.
        folder, _, name = key.rpartition("/")
        return self.folder(folder).get(name)

    def read(self, key: str, start: int, end: int, version: str) -> bytes:
        data: bytes = self.fs.cat_file(self.name(key), start=start, end=end)
        return data

    def upload(self, key: str, size: int, crc32c: str, content_type: str) -> Upload:
        return AnyUpload(self, key, size, crc32c)

    def remove(self, key: str, version: str) -> None:
        self.fs.rm_file(self.name(key))

    @staticmethod
    def _facts(entry: dict[str, Any]) -> Facts:
        known = ("ETag", "etag", "mtime", "LastModified", "last_modified", "modified", "updated", "created")
        return Facts(int(entry["size"]), "-".join([str(entry["size"]), *(str(entry[k]) for k in known if k in entry)]))


class AnyUpload:
    def __init__(self, store: AnyStore, key: str, size: int, crc32c: str) -> None:
        self._store = store
        self._key = key
        self._facts = Facts(size, "", crc32c)
        folder, _, _ = key.rpartition("/")
        # A name that starts with a dot is none that a glob, Spark or DuckDB would read.
        self._draft = f"{folder}/.{secrets.token_hex(8)}.partial".lstrip("/")
        store.fs.makedirs(store.name(folder).rstrip("/"), exist_ok=True)
        self._file = store.fs.open(store.name(self._draft), "wb")

    def part(self, data: bytes) -> None:
        self._file.write(data)

    def finish(self, seen: str | None) -> str:
        self._file.close()
        found = content_crc32c(self._store, self._draft, self._facts)
        if found != self._facts.crc32c:
            raise AylaDestinationError(
                f"{self._store.name(self._key)}: what the store gives back has crc32c {found}, "
                f"{self._facts.crc32c} was sent; it is removed. The task's next try sends it again."
            )
        if version_of(self._store.find(self._key)) != seen:
            raise ChangedError
        self._store.fs.mv(self._store.name(self._draft), self._store.name(self._key))
        return version_of(self._store.find(self._key)) or ""

    def abort(self) -> None:
        with contextlib.suppress(Exception):
            self._file.close()
        self._store.remove(self._draft, "")
