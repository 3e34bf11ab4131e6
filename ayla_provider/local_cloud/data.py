"""What survives a restart: objects, contents, and what the made-up export was made from."""

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
    A folder that holds what people and programs put into the buckets.

    Every change is in it at once, so that nothing is lost when the process is killed. One local cloud at a time may
    use it.

    Objects of the made-up export aren't in it: they are made again from its parameters, the same to the byte.

    :param folder: is made if it isn't there
    """

    def __init__(self, folder: Path) -> None:
        self.contents = folder / "contents"
        self.contents.mkdir(parents=True, exist_ok=True)
        self.key = folder / "customer-key.pem"
        self._lock = threading.Lock()
        self._database = sqlite3.connect(folder / "objects.sqlite3", check_same_thread=False)
        # A process that is killed loses nothing this way; only a machine that is could.
        self._database.execute("pragma synchronous = off")
        self._database.execute("pragma journal_mode = wal")
        self._database.execute("pragma locking_mode = exclusive")
        with self._database:
            self._database.executescript(_TABLES)

    def close(self) -> None:
        """End the use of the folder."""
        with self._lock:
            self._database.close()

    def parameters(self, given: Mapping[str, Any]) -> dict[str, Any]:
        """Return the parameters that were given at the first start, which are these ones if this is it."""
        with self._lock, self._database:
            rows = [(name, json.dumps(value)) for name, value in given.items()]
            self._database.executemany("insert or ignore into parameters values (?, ?)", rows)
            found = self._database.execute("select name, value from parameters")
            return {name: json.loads(value) for name, value in found}

    def objects(self) -> Iterator[StoredObject]:
        """Yield all objects, and remove the contents that belong to none: of uploads that were never finished."""
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
        """Return the names of objects of the made-up export that were deleted."""
        with self._lock:
            return {name for (name,) in self._database.execute("select name from deleted where bucket = ?", [bucket])}

    def save(self, stored: StoredObject, instead_of: Sequence[StoredObject] = ()) -> None:
        """Keep a generation of an object, or what was changed of it, and forget others."""
        kind, about, data = _described(stored.content)
        times = (stored.created.isoformat(), stored.updated.isoformat())
        attributes = json.dumps(dict(stored.attributes))
        key = (stored.bucket, stored.name, stored.generation)
        row = (*key, stored.metageneration, *times, attributes, kind, json.dumps(about), data)
        with self._lock, self._database:
            self._forget(instead_of)
            self._database.execute("insert or replace into objects values (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)", row)
        _keep([stored], True)

    def delete(self, generations: Sequence[StoredObject]) -> None:
        """Forget an object, given all its generations; remember its name if it is of the made-up export."""
        with self._lock, self._database:
            if self._forget(generations) < len(generations):
                one = generations[0]
                self._database.execute("insert or ignore into deleted values (?, ?)", (one.bucket, one.name))

    def _forget(self, generations: Sequence[StoredObject]) -> int:
        """Return how many of them were kept here."""
        rows = [(one.bucket, one.name, one.generation) for one in generations]
        forget = "delete from objects where bucket = ? and name = ? and generation = ?"
        forgotten = self._database.executemany(forget, rows).rowcount if rows else 0
        _keep(generations, False)
        return forgotten

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
    for one in generations:
        if isinstance(one.content, FileContent):
            one.content.keep = keep
