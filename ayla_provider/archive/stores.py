"""What every object store that fsspec reaches must do for an archive."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime
from typing import NamedTuple, Protocol

from ayla_provider.archive.destination import Listed, Stored
from ayla_provider.transport.checksum import CHUNK, Crc32c

PART = 8 * CHUNK
"""Bytes that are uploaded at a time. A shorter object is uploaded in one piece."""


class Upload(Protocol):
    """An object that is being written. Nothing exists under its name before :meth:`finish`."""

    def part(self, data: bytes) -> None:
        """Add bytes."""

    def is_heeded(self, seen: str | None) -> bool:
        """
        Return whether the store is known to heed the precondition that :meth:`finish` states.

        If not, the writer looks itself, before and after.

        :param seen: see :meth:`finish`
        """

    def finish(self, seen: str | None) -> Stored:
        """
        Put the object in place of the version that the writer saw, and return what the store answers.

        The size is the one that was sent. The checksum is None if the answer doesn't prove it: the writer then looks.

        :param seen: the version that the writer saw, None if it saw no object
        :raises ChangedError: if the store finds another version there
        """

    def abort(self) -> None:
        """Discard what was uploaded."""


class ObjectStore(Protocol):
    """
    One kind of store, with the calls that differ from store to store.

    Its :class:`~ayla_provider.archive.destination.Stored` objects have whole keys as paths. What is common to all
    stores is in :class:`~ayla_provider.archive.object_store.ObjectStorageDestination`.
    """

    checked: bool
    """Whether the content has been checked, by the store or by the upload, when the object gets its name."""

    def folder(self, key: str) -> list[Stored]:
        """Return the objects directly in a folder; '' is the root."""

    def folders(self, key: str) -> list[str]:
        """Return the keys of the folders directly in a folder, without slashes at the end; '' is the root."""

    def tree(self, prefix: str) -> Iterator[Listed]:
        """Yield all objects whose key begins with a prefix, and unfinished uploads where they can be listed."""

    def find(self, key: str) -> Stored | None:
        """Return an object as it is now, None if it doesn't exist."""

    def read(self, key: str, start: int, end: int, version: str) -> bytes:
        """Return the bytes from ``start`` up to ``end`` of one version of an object."""

    def has_earlier_version(self, key: str) -> bool | None:
        """
        Return whether the store still has an earlier version of an object, or the object that was deleted.

        Any error counts as None: the store can't be asked.
        """

    def upload(self, key: str, size: int, crc32c: str, content_type: str) -> Upload:
        """Begin an upload."""

    def remove(self, key: str, version: str) -> None:
        """
        Remove one version of an object.

        :raises ChangedError: if the store finds another version there
        """

    def remove_for_good(self, key: str, version: str) -> bool:
        """
        Remove one version of an object, and leave nothing of it where the store can do that in one step.

        :returns: whether it could
        :raises ChangedError: if the store finds another version there
        """

    def remove_earlier_versions(self, prefix: str) -> Iterator[Kept]:
        """Remove earlier versions of the objects whose key begins with a prefix, and yield why others are kept."""


class ChangedError(Exception):
    """The store holds another version than the writer saw."""


class KeptError(Exception):
    """The store doesn't let an object be replaced or removed."""


class Kept(NamedTuple):
    """Why a store keeps an earlier version."""

    reason: str
    """For people."""
    until: datetime | None
    """Aware; None if nobody knows."""


def version_of(stored: Stored | None) -> str | None:
    """Return an object's version, None if there is no object."""
    return stored.version if stored else None


def content_crc32c(store: ObjectStore, stored: Stored) -> str:
    """Read an object back, and return its base64 CRC32C."""
    checksum = Crc32c()
    for start in range(0, stored.size, PART):
        end = min(start + PART, stored.size)
        checksum.update(store.read(stored.path, start, end, stored.version))
    return checksum.base64
