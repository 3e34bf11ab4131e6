"""The customer's side of a copy: what every destination must do."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Executor
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import BinaryIO, Protocol, runtime_checkable

from ayla_provider.domain.erasure import Leftover
from ayla_provider.errors import AylaConflictError, AylaDestinationError
from ayla_provider.transport.redaction import from_outside

log = logging.getLogger(__name__)

MOST_BYTES = 128 * 1024 * 1024
"""Bytes of a small object: of a manifest, a receipt, or a note. The manifest of 100,000 files has some 40 MB."""

LONGEST_RANGE = 8 * 1024 * 1024
"""Bytes of a range of an object that is read with one request."""


@dataclass(frozen=True, slots=True)
class Stored:
    """An object that exists in a destination or in a store."""

    path: str
    """Relative to the destination. In a store: the whole key."""
    size: int
    """In bytes."""
    version: str
    """Changes whenever the object does: a generation, an ETag, or what a file system has instead."""
    crc32c: str | None
    """Base64. None if the store doesn't report it, so that it must be computed."""


@dataclass(frozen=True, slots=True)
class Listed:
    """An object, or the rest of an upload, that a recursive listing shows."""

    stored: Stored
    modified: datetime
    """When the object was written, or when the upload began: aware."""
    offline: bool = False
    """Whether the object is in an archive tier, so that it can't be read now."""
    unfinished: bool = False
    """Whether it is the rest of an upload. No reader sees it."""


@runtime_checkable
class LeavesMd5(Protocol):
    """A stream that compares its content with the MD5 that its source states, unless the destination does that."""

    def leave_md5(self) -> Callable[[], str | None]:
        """
        Leave the comparison to the caller. Call it before the first byte is read.

        :returns: gives the MD5 in hexadecimal once some bytes were read; None if the source doesn't state it
        """


class Destination(Protocol):
    """
    Where copies go. All paths are relative to the destination, with ``/``.

    Every write is conditional: it succeeds only if the destination still holds what the writer saw. An object that is
    incomplete or not verified never gets its name.

    To add a place that fsspec reaches, implement :class:`~ayla_provider.archive.stores.ObjectStore` instead: it is
    smaller, and :class:`~ayla_provider.archive.object_store.ObjectStorageDestination` makes a destination of it.
    Implement this protocol only for a place with a way of its own to write an object conditionally. Either way, the
    scheme then gets one row in ``SCHEMES`` in ``ayla_provider/destinations.py``.
    """

    url: str

    takes_unknown: bool
    """Whether :meth:`write` takes content whose checksum is unknown before its last byte was read."""

    def folder(self, path: str) -> dict[str, Stored]:
        """Return the objects directly in a folder, by path."""

    def folders(self, path: str) -> list[str]:
        """
        Return the paths of the folders directly in a folder, in order. It takes a request for each 1,000 names or so.

        :param path: empty for the destination itself
        """

    def remove_leftovers(self, path: str) -> None:
        """
        Remove what killed writers left unfinished in a folder more than a day ago, if it is visible there.

        It raises no error: what remains does no harm.
        """

    def tree(self, prefix: str) -> Iterator[Listed]:
        """
        Yield all objects whose path begins with a prefix, in any order.

        Where unfinished uploads can be listed, it yields them, too. It takes one request per page of at least 1,000
        objects, and holds one page in memory.

        :param prefix: text, not necessarily a folder; empty for everything
        """

    def find(self, path: str) -> Stored | None:
        """
        Return an object as it is now, without its content; None if it doesn't exist.

        :raises AylaDestinationError: if the store can't be asked
        """

    def crc32c(self, stored: Stored) -> str:
        """Return the base64 CRC32C of an object's content."""

    def read(self, path: str) -> tuple[bytes, Stored] | None:
        """
        Return a small object with its content, None if it doesn't exist.

        :raises AylaDestinationError: if it has more than :data:`MOST_BYTES`, or can't be read
        """

    def blocks(self, path: str) -> Iterator[bytes]:
        """
        Yield the content of an object of any size, in blocks of a few mebibytes.

        :raises AylaDestinationError: if the object doesn't exist, or can't be read to its end
        """

    def read_range(self, stored: Stored, start: int, end: int) -> bytes:
        """
        Return some bytes of one version of an object, with one request. A store without versions is taken at its word.

        :param start: of the first byte, from 0
        :param end: the one after the last byte, at most the object's size, and at most :data:`LONGEST_RANGE` after
            ``start``
        :raises AylaError: if the destination holds another version by now, or the bytes can't be read
        """

    def local(self, path: str) -> Path | None:
        """Return the object's path on this machine's disk, None if it isn't on the disk. Read it; don't change it."""

    def has_earlier_version(self, path: str) -> bool | None:
        """
        Return whether the store still has an earlier version of an object, or the object that was deleted.

        It takes two requests at most, and raises no error.

        :returns: None if the store can't be asked: it has no such call, or the account may not use it
        """

    def write(
        self, path: str, stream: BinaryIO, *, size: int, crc32c: str | None, replaces: Stored | None, content_type: str
    ) -> Stored:
        """
        Write an object as a whole or not at all.

        :param stream: read up to ``size`` bytes; it raises before its last byte if the content is wrong. If it is
            :class:`LeavesMd5`, the destination may do a part of that instead
        :param crc32c: base64, of the content to store. None, with :attr:`takes_unknown`, to compute it of what the
            stream has, and to prove the object by it
        :param replaces: the object that the writer saw there, None if there was none
        :raises AylaConflictError: if the destination holds something else by now
        :raises AylaDestinationError: if the store refuses the object or the connection breaks
        """

    def remove(self, stored: Stored) -> None:
        """
        Remove an object. One that is gone already is no error.

        :raises AylaConflictError: if the destination holds another version by now
        :raises AylaDestinationError: if the store refuses it or the connection breaks
        """

    def remove_for_good(self, stored: Stored) -> bool:
        """
        Remove an object as :meth:`remove` does, and leave no version of it where the store can do that in one step.

        :returns: whether it could. If not, :meth:`remove_earlier_versions` removes the version, or says what keeps it
        """

    def remove_earlier_versions(self, prefix: str) -> list[Leftover]:
        """
        Remove what the store keeps of objects that were replaced or removed. The objects that are there stay.

        It takes one or two listings, and a request for each version.

        :param prefix: of their paths; text, not necessarily a folder
        :returns: what can't be removed: under a lock, in soft delete, or because the account may not
        :raises AylaDestinationError: if the connection breaks. The next try does the rest
        """


NOT_ASKED = "the store can't be asked for earlier versions of its objects, or the account may not do that"
"""Why nobody knows whether a store keeps earlier versions."""

NOT_ALLOWED = "the store keeps earlier versions of objects, and the account may not remove them"

LOCKED = "a lock, a hold, or a retention policy of the store keeps earlier versions of objects"

SOFT_DELETED = "the store's soft delete keeps objects that were replaced or removed"


def url_of(destination: Destination, path: str) -> str:
    """Return the URL of an object in a destination."""
    return f"{destination.url.rstrip('/')}/{path}"


def stored_at(destination: Destination, paths: Iterable[str], pool: Executor | None = None) -> dict[str, Stored]:
    """
    Return the objects in the folders of some paths, by path: one listing for each folder.

    :param pool: lists several folders at once; None to list one after the other
    :raises AylaDestinationError: if a folder can't be listed
    """
    existing: dict[str, Stored] = {}
    folders = folders_of(paths)
    for listing in pool.map(destination.folder, folders) if pool else map(destination.folder, folders):
        existing.update(listing)
    return existing


def folders_of(paths: Iterable[str]) -> list[str]:
    """Return the folders of some paths, each once, in order."""
    return sorted({path.rpartition("/")[0] for path in paths})


def first_answer(questions: Iterable[Callable[[], bool | None]]) -> bool | None:
    """
    Return whether any of several questions to a store is answered with yes.

    :returns: None if none is, and at least one can't be answered
    """
    answers: list[bool | None] = []
    for question in questions:
        try:
            answer = question()
        except Exception as error:  # noqa: BLE001 - each store's client raises errors of its own
            log.info("The store can't be asked for earlier versions: %s", from_outside(error))
            answer = None
        if answer:
            return True
        answers.append(answer)
    return None if None in answers else False


def check_small(size: int, where: str) -> None:
    """
    Make sure that an object may be read as a whole.

    :param size: in bytes, as the store states it or as far as it has arrived
    :raises AylaDestinationError: if it has more than :data:`MOST_BYTES`
    """
    if size > MOST_BYTES:
        raise AylaDestinationError(
            f"{where} has more than {MOST_BYTES} bytes, which no manifest, receipt, or note of this package has. Find "
            "out what wrote it, and move it away. Then clear the task."
        )


def conflict(where: str) -> AylaConflictError:
    """Return the error of a write that found something else in its place."""
    return AylaConflictError(
        f"{where} was written by someone else in the meantime, most likely by another run of the same hour. It isn't "
        "changed. The task's next try compares it with the source again."
    )


def kept(where: str, reason: object) -> AylaDestinationError:
    """Return the error of a store that doesn't let an object be replaced."""
    return AylaDestinationError(
        f"{where} may not be replaced ({reason}). It isn't changed, and the hour isn't complete. Manifests, and copies "
        "of files that Ayla replaced, must be replaceable: let the bucket keep versions instead of a retention policy, "
        "a hold or a lease. Then clear the task."
    )
