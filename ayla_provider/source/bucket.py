"""What a vendor's bucket must be able to do, whoever's cloud it stands in."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Protocol

from ayla_provider.domain.hour import format_folder
from ayla_provider.domain.paths import ExportFile

MOST_PAGES = 10_000
"""Of a thousand objects each: more than any interval has."""


@dataclass(frozen=True, slots=True)
class SourceObject:
    """An object as a listing states it."""

    name: str
    size: int
    """Bytes."""
    crc32c: str | None
    """Base64 of the big-endian CRC32C; None where listings don't state it."""
    generation: int
    """Becomes another one, and larger, when the object is replaced."""
    created: datetime
    """Of this generation: aware, UTC."""
    etag: str = ""
    """What a request for this content, and no other, names; empty where the generation does."""


class PassingError(Exception):
    """An answer that may be better next time."""


@contextlib.contextmanager
def broken_off(*kinds: type[Exception]) -> Iterator[None]:
    """
    Turn the errors by which a store's library tells of a broken connection into one.

    :raises PassingError: for any of these kinds
    """
    try:
        yield
    except kinds as error:
        raise PassingError(f"{type(error).__name__}: {error}"[:200]) from error


class Download(Protocol):
    """The bytes of an object from some offset on."""

    md5: str | None
    """Of the whole object, in hexadecimal, where the store states it for certain."""

    def read(self, size: int) -> bytes:
        """
        Return up to ``size`` bytes; none if the answer is over.

        :raises PassingError: if it was broken off
        """

    def close(self) -> None:
        """Free the connection."""


class Source(Protocol):
    """A bucket of the vendor's, read alone."""

    url: str
    """Such as ``gs://bucket``."""
    client: Any
    """Of the store's own library."""
    requests: int
    """How many answers to listings there were."""

    def objects(
        self, prefix: str, what: str, *, start_offset: str = "", end_offset: str = "", max_results: int | None = None
    ) -> Iterator[SourceObject]:
        """
        Yield the objects below a prefix, in the order of their names' bytes.

        :param what: what is listed, for errors
        :param start_offset: the first name that may be listed
        :param end_offset: the first name that may not, if it isn't empty
        :raises AylaError: if it can't be listed
        """

    def folders(self, prefix: str, what: str) -> list[str]:
        """
        Return the names of the folders directly below a prefix.

        :raises AylaError: if they can't be listed
        """

    def open(self, file: ExportFile, offset: int, end: int | None = None) -> Download:
        """
        Open an object for reading, in the very generation that was listed.

        :param end: up to which byte, exclusive; None for all
        :raises PassingError: if it may be possible next time
        :raises AylaError: if it isn't
        """


def describe_file(file: ExportFile) -> str:
    """Return event type, folder and object of a file, for messages."""
    return f"{file.event_type}, folder {format_folder(file.folder_time, file.style)}, object {file.name!r}"


def byte_range(offset: int, end: int | None) -> str:
    """Return what a request's header says of the bytes that are wanted; nothing if all are."""
    if end is not None:
        return f"bytes={offset}-{end - 1}"
    return f"bytes={offset}-" if offset else ""
