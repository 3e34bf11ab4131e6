"""The data that survives a restart: objects, contents, and the parameters of the made-up export."""

from __future__ import annotations

import json
import sqlite3
import threading
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ayla_provider.local_cloud.contents import BytesContent, Content, FileContent, SeededContent
from ayla_provider.local_cloud.objects import StoredObject

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

_TABLES = """
create table if not exists parameters (name text primary key, value text not null);
create table if not exists objects (
    bucket text, name text, generation integer, metageneration integer, created text, updated text,
    attributes text, kind text, about text, data blob,
    primary key (bucket, name, generation)
);
create table if not exists deleted (bucket text, name text, primary key (bucket, name));
"""


class Data:
    """
    A folder with everything that people and programs put into the buckets.

    It saves every change immediately, so that nothing is lost if the process is killed. Only one local cloud at a time
    can use it.

    It doesn't contain objects of the made-up export. The parameters create them again, byte for byte.

    :param folder: created if it doesn't exist
    """

    def __init__(self, folder: Path) -> None:
        self.contents = folder / "contents"
        self.contents.mkdir(parents=True, exist_ok=True)
        self.key = folder / "customer-key.pem"
        self._lock = threading.Lock()
        self._database = sqlite3.connect(folder / "objects.sqlite3", check_same_thread=False)
        # The data survives a kill of the process. Only a crash of the machine could lose some.
        self._database.execute("pragma synchronous = off")
        self._database.execute("pragma journal_mode = wal")
        self._database.execute("pragma locking_mode = exclusive")
        with self._database:
            self._database.executescript(_TABLES)

    def close(self) -> None:
        """Close the database in the folder."""
        with self._lock:
            self._database.close()

    def parameters(self, given: Mapping[str, Any]) -> dict[str, Any]:
        """Return the parameters of the first start. If this is the first start, keep the given ones."""
        with self._lock, self._database:
            rows = [(name, json.dumps(value)) for name, value in given.items()]
            self._database.executemany("insert or ignore into parameters values (?, ?)", rows)
            found = self._database.execute("select name, value from parameters")
            return {name: json.loads(value) for name, value in found}

    def objects(self) -> Iterator[StoredObject]:
        """Yield all objects, and remove the contents of unfinished uploads."""
        with self._lock:
            rows = self._database.execute(
                "select bucket, name, generation, metageneration, created, updated, attributes, kind, about, data "
                "from objects"
            ).fetchall()
        known = set()
        for bucket, name, generation, metageneration, created, updated, attributes, kind, about, data in rows:
            times = (datetime.fromisoformat(created), datetime.fromisoformat(updated))
            content = self._content(kind, json.loads(about), data)
            if kind == "file":
                known.add(json.loads(about)["file"])
            yield StoredObject(bucket, name, generation, content, *times, metageneration, json.loads(attributes))
        for path in self.contents.iterdir():
            if path.name not in known:
                path.unlink()

    def deleted(self, bucket: str) -> set[str]:
        """Return the names of deleted objects of the made-up export."""
        with self._lock:
            return {name for (name,) in self._database.execute("select name from deleted where bucket = ?", [bucket])}

    def save(self, stored: StoredObject, instead_of: Sequence[StoredObject] = ()) -> None:
        """Save a new or changed generation of an object, and remove others."""
        kind, about, data = _described(stored.content)
        times = (stored.created.isoformat(), stored.updated.isoformat())
        attributes = json.dumps(dict(stored.attributes))
        key = (stored.bucket, stored.name, stored.generation)
        row = (*key, stored.metageneration, *times, attributes, kind, json.dumps(about), data)
        with self._lock, self._database:
            self._remove(instead_of)
            self._database.execute("insert or replace into objects values (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)", row)
        _keep([stored], True)

    def delete(self, generations: Sequence[StoredObject]) -> None:
        """Remove all generations of an object. If it belongs to the made-up export, save its name."""
        with self._lock, self._database:
            if self._remove(generations) < len(generations):
                key = (generations[0].bucket, generations[0].name)
                self._database.execute("insert or ignore into deleted values (?, ?)", key)

    def _remove(self, generations: Sequence[StoredObject]) -> int:
        """Remove generations, and return how many of them were saved."""
        rows = [(stored.bucket, stored.name, stored.generation) for stored in generations]
        statement = "delete from objects where bucket = ? and name = ? and generation = ?"
        removed = self._database.executemany(statement, rows).rowcount if rows else 0
        _keep(generations, False)
        return removed

    def _content(self, kind: str, about: dict[str, Any], data: bytes) -> Content:
        if kind == "seeded":
            return SeededContent(about["seed"], about["size"])
        if kind == "file":
            content = FileContent(self.contents / about["file"], about["size"], about["crc32c"], about["md5"])
            content.keep = True
            return content
        return BytesContent(data)


def _described(content: Content) -> tuple[str, dict[str, Any], bytes | None]:
    if isinstance(content, SeededContent):
        return "seeded", {"seed": content.seed, "size": content.size}, None
    if isinstance(content, FileContent):
        about = {"file": content.path.name, "size": content.size, "crc32c": content.crc32c, "md5": content.md5}
        return "file", about, None
    return "bytes", {}, b"".join(content.chunks(0, content.size))


def _keep(generations: Sequence[StoredObject], keep: bool) -> None:
    for stored in generations:
        if isinstance(stored.content, FileContent):
            stored.content.keep = keep
