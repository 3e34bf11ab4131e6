"""What a bucket of the vendor must be able to do, in any cloud."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Protocol

from ayla_provider.errors import TEMPORARY, AylaUnavailable
from ayla_provider.transport.redaction import from_outside

MOST_FOLDERS = 10_000
"""Folders of a listing: more than there are event types."""


@dataclass(frozen=True, slots=True)
class SourceObject:
    """An object as a listing describes it."""

    name: str
    size: int
    """Bytes."""
    crc32c: str | None
    """Base64 of the big-endian CRC32C; None where listings don't have it."""
    generation: int
    """Grows when the object is replaced."""
    created: datetime
    """When this generation was created: aware, UTC."""
    etag: str = ""
    """Identifies the content in a download request; empty where the generation does."""

    @property
    def description(self) -> str:
        """The object, for messages."""
        return f"object {self.name!r}"


class ObjectVersion(Protocol):
    """One version of an object, as a download request names it. A listed object is one, and a file of the export."""

    @property
    def name(self) -> str:
        """The whole name."""

    @property
    def generation(self) -> int:
        """See :attr:`SourceObject.generation`."""

    @property
    def etag(self) -> str:
        """See :attr:`SourceObject.etag`."""


class ReadableObject(ObjectVersion, Protocol):
    """A version of an object with what a reader needs to know of its content."""

    @property
    def size(self) -> int:
        """Bytes."""

    @property
    def crc32c(self) -> str | None:
        """See :attr:`SourceObject.crc32c`."""

    @property
    def description(self) -> str:
        """The object, for messages."""


class PassingError(Exception):
    """A failure that another attempt may not have."""


@contextlib.contextmanager
def translate_connection_errors(*kinds: type[Exception]) -> Iterator[None]:
    """
    Turn the errors that a store's library raises for a broken connection into one.

    :raises PassingError: for any of these kinds
    """
    try:
        yield
    except kinds as error:
        raise PassingError(f"{type(error).__name__}: {from_outside(error)}") from error


class Download(Protocol):
    """The bytes of an object, from an offset on."""

    md5: str | None
    """MD5 of the whole object, in hexadecimal; None where the store doesn't guarantee it."""

    def read(self, size: int) -> bytes:
        """
        Return up to ``size`` bytes; empty at the end of the answer.

        :raises PassingError: if the connection breaks
        """

    def close(self) -> None:
        """Free the connection."""


class Source(Protocol):
    """A bucket of the vendor, which is only read."""

    url: str
    """Such as ``gs://bucket``."""

    @property
    def client(self) -> Any:
        """The client of the store's own library."""

    @property
    def requests(self) -> int:
        """How many pages of listings were received."""

    def objects(
        self, prefix: str, what: str, *, start_offset: str = "", end_offset: str = "", max_results: int | None = None
    ) -> Iterator[SourceObject]:
        """
        Yield the objects below a prefix, ordered by the bytes of their names.

        :param what: describes the listing in errors
        :param start_offset: only names from this one on
        :param end_offset: only names before this one; empty for no limit
        :raises AylaError: if the bucket can't be listed
        """

    def folders(self, prefix: str, what: str) -> list[str]:
        """
        Return the names of the folders directly below a prefix.

        :raises AylaError: if the bucket can't be listed
        """

    def children(self, prefix: str, what: str) -> Iterator[SourceObject | str]:
        """
        Yield what is directly below a prefix: the objects, and the names of the folders, as they come.

        An object is directly below it if its name has no slash after the prefix. A folder's name is what all names in
        it begin with, up to the slash.

        :param what: describes the listing in errors
        :raises AylaError: if the bucket can't be listed
        """

    def open(self, version: ObjectVersion, what: str, offset: int, end: int | None = None) -> Download:
        """
        Start a download of the version that was listed.

        :param what: describes the object in errors
        :param offset: the first byte
        :param end: the byte after the last one; None for all
        :raises PassingError: for a failure that another attempt may not have
        :raises AylaError: for any other failure
        """

    def close(self) -> None:
        """Close all connections; the next request opens new ones."""


def check_folders(count: int, what: str) -> None:
    """
    Make sure that a list of folders has an end.

    :raises AylaUnavailable: if it has more than :data:`MOST_FOLDERS`
    """
    if count > MOST_FOLDERS:
        raise AylaUnavailable(f"{what} has more than {MOST_FOLDERS:,} folders. {TEMPORARY}")


def byte_range(offset: int, end: int | None) -> str:
    """Return the value of the header ``Range``; empty for the whole object."""
    if end is not None:
        return f"bytes={offset}-{end - 1}"
    return f"bytes={offset}-" if offset else ""
