"""A bucket's objects, sorted by name, and the time from which each generation exists."""

from __future__ import annotations

import base64
import threading
from bisect import bisect_left, insort
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any, Protocol
from urllib.parse import quote

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from ayla_provider.local_cloud.contents import Content


def microseconds(time: datetime) -> int:
    """Return the microseconds from the epoch to an aware time. Google's generations are such numbers."""
    delta = time - datetime(1970, 1, 1, tzinfo=UTC)
    return (delta.days * 86400 + delta.seconds) * 1_000_000 + delta.microseconds


def _varint(number: int) -> bytes:
    out = bytearray()
    while number > 127:
        out.append(number & 127 | 128)
        number >>= 7
    return bytes([*out, number])


def _stamp(time: datetime) -> str:
    return time.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


@dataclass(frozen=True)
class StoredObject:
    """
    One generation of an object.

    :param attributes: the fields that the writer chooses, such as ``contentType`` and ``metadata``, by the API's names
    """

    bucket: str
    name: str
    generation: int
    content: Content
    created: datetime
    updated: datetime
    metageneration: int = 1
    attributes: Mapping[str, Any] = field(default_factory=dict)

    @property
    def etag(self) -> str:
        """The entity tag. It changes with the generation and the metageneration."""
        return base64.b64encode(b"\x08" + _varint(self.generation) + b"\x10" + _varint(self.metageneration)).decode()

    @property
    def content_type(self) -> str:
        """The media type that the writer set."""
        return str(self.attributes.get("contentType", "application/octet-stream"))

    def resource(self, base_url: str) -> dict[str, Any]:
        """Return the object's resource of the JSON API, with links that start with ``base_url``."""
        path = f"storage/v1/b/{self.bucket}/o/{quote(self.name, safe='')}"
        resource: dict[str, Any] = {
            "kind": "storage#object",
            "id": f"{self.bucket}/{self.name}/{self.generation}",
            "selfLink": f"{base_url}/{path}",
            "mediaLink": f"{base_url}/download/{path}?generation={self.generation}&alt=media",
            "name": self.name,
            "bucket": self.bucket,
            "generation": str(self.generation),
            "metageneration": str(self.metageneration),
            "contentType": self.content_type,
            "storageClass": "STANDARD",
            "size": str(self.content.size),
            "crc32c": self.content.crc32c,
            "etag": self.etag,
            "timeCreated": _stamp(self.created),
            "updated": _stamp(self.updated),
            "timeStorageClassUpdated": _stamp(self.created),
        }
        if self.content.md5 is not None:
            resource["md5Hash"] = self.content.md5
        return resource | dict(self.attributes)


SOFT_DELETE = timedelta(days=7)
"""How long soft delete keeps an object: Google's default."""


class Keeper(Protocol):
    """Saves every change, so that it survives a restart: see :class:`ayla_provider.local_cloud.data.Data`."""

    def save(self, stored: StoredObject, instead_of: Sequence[StoredObject] = ()) -> None:
        """Save a generation, and remove others."""

    def delete(self, generations: Sequence[StoredObject]) -> None:
        """Remove an object, given all its generations."""


class Bucket:
    """
    The objects of one bucket.

    Every generation has a time from which it exists. The live generation is the newest one whose time has come. So a
    clock that a test sets back shows the bucket as it was at that time.

    :param now: returns the current time of the bucket
    :param keeper: saves the objects; None means that they are lost on a restart
    """

    def __init__(self, name: str, now: Callable[[], datetime], keeper: Keeper | None = None) -> None:
        self.name = name
        self.lock = threading.RLock()
        self.names: list[str] = []
        """
        All names, sorted, including objects whose time hasn't come. Python compares strings by code point. That is the
        order of their UTF-8 bytes and so Google's order. Hold :attr:`lock` while you read it.
        """
        self.now = now
        self._keeper = keeper
        self._generations: dict[str, list[StoredObject]] = {}
        self.keeps = ""
        """
        What the bucket keeps of objects that are replaced or deleted from now on: ``versions``, or ``softDeleted``, as
        the parameters of a listing are called. Empty for nothing. It isn't saved.
        """
        self._former: list[StoredObject] = []
        self._last_generation = 0

    def live(self, name: str, at: datetime | None = None) -> StoredObject | None:
        """Return the generation of an object that exists at a time (default: now); None if there is none."""
        at = at or self.now()
        generations = self._generations.get(name, ())
        return next((stored for stored in reversed(generations) if stored.created <= at), None)

    def put(
        self,
        name: str,
        content: Content,
        created: datetime | None = None,
        attributes: Mapping[str, Any] | None = None,
        *,
        keep: bool = True,
    ) -> StoredObject:
        """
        Add a generation that exists from ``created`` on (default: now). Earlier and later generations stay.

        The generation's number is its time in microseconds.

        :param keep: whether to save it; False for objects that are created again after a restart
        """
        created = created or self.now()
        with self.lock:
            others = self._generations.get(name, [])
            number = microseconds(created)
            while any(stored.generation == number for stored in others):
                number += 1
            made = self._store(name, [*others, self._new(name, number, content, created, attributes)], number)
            if keep and self._keeper:
                self._keeper.save(made)
            return made

    def restore(self, stored: StoredObject) -> None:
        """Restore a saved generation."""
        with self.lock:
            self._store(stored.name, [*self._generations.get(stored.name, []), stored], stored.generation)

    def replace(self, name: str, content: Content, attributes: Mapping[str, Any] | None = None) -> StoredObject:
        """Store an object now, and remove its older generations, as an upload does."""
        created = self.now()
        with self.lock:
            number = max(microseconds(created), self._last_generation + 1)
            older = self._generations.get(name, [])
            made = self._store(name, [self._new(name, number, content, created, attributes)], number)
            self._retire(older)
            if self._keeper:
                self._keeper.save(made, older)
            return made

    def update(self, stored: StoredObject, attributes: Mapping[str, Any]) -> StoredObject:
        """Change the attributes of a generation, and increase its metageneration by one."""
        changed = replace(stored, attributes=attributes, metageneration=stored.metageneration + 1, updated=self.now())
        with self.lock:
            generations = self._generations[stored.name]
            generations[generations.index(stored)] = changed
            if self._keeper:
                self._keeper.save(changed)
        return changed

    def delete(self, name: str) -> None:
        """Remove an object with all its generations, if it exists."""
        with self.lock:
            generations = self._generations.pop(name, None)
            if not generations:
                return
            del self.names[bisect_left(self.names, name)]
            self._retire(generations)
            if self._keeper:
                self._keeper.delete(generations)

    def remove_generation(self, name: str, generation: int) -> bool:
        """
        Remove one generation, and return whether it was there. A bucket with versions then has nothing of it.

        Soft delete keeps a live object all the same. What it keeps can't be removed.
        """
        with self.lock:
            live = self.live(name)
            if live and live.generation == generation:
                former = list(self._former)
                self.delete(name)
                if self.keeps == "versions":
                    self._former = former
                return True
            found = [each for each in self._former if (each.name, each.generation) == (name, generation)]
            if not found or self.keeps != "versions":
                return False
            if any(each.attributes.get("temporaryHold") for each in found):
                raise PermissionError
            self._former = [each for each in self._former if each not in found]
            return True

    def former(self, prefix: str) -> list[StoredObject]:
        """Return the replaced and deleted generations that the bucket keeps, of names with a prefix."""
        with self.lock:
            return [stored for stored in self._former if stored.name.startswith(prefix)]

    def _retire(self, generations: Sequence[StoredObject]) -> None:
        field = {"versions": "timeDeleted", "softDeleted": "softDeleteTime"}.get(self.keeps)
        if field:
            gone = {field: _stamp(self.now())}
            if field == "softDeleteTime":
                gone["hardDeleteTime"] = _stamp(self.now() + SOFT_DELETE)
            self._former += [replace(stored, attributes={**stored.attributes, **gone}) for stored in generations]

    def _new(
        self, name: str, number: int, content: Content, created: datetime, attributes: Mapping[str, Any] | None
    ) -> StoredObject:
        return StoredObject(self.name, name, number, content, created, created, attributes=attributes or {})

    def _store(self, name: str, generations: list[StoredObject], number: int) -> StoredObject:
        if name not in self._generations:
            insort(self.names, name)
        self._generations[name] = sorted(generations, key=lambda stored: (stored.created, stored.generation))
        self._last_generation = max(self._last_generation, number)
        return next(stored for stored in generations if stored.generation == number)
