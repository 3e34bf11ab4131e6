"""Where the customer's archive lives: what every destination must do, and its URL."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, Protocol
from urllib.parse import unquote, urlsplit

from ayla_provider.errors import AylaConfigError, AylaConflictError, AylaDestinationError


@dataclass(frozen=True, slots=True)
class Stored:
    """An object that stands in the destination."""

    path: str
    """Relative to the destination."""
    size: int
    version: str
    """Changes whenever the object does: a generation, or what a file system has instead."""
    crc32c: str | None
    """Base64; None where the store doesn't know it and it must be computed."""


class Destination(Protocol):
    """
    Where copies go. Paths are relative, with ``/``.

    Every write is conditional: it takes place only if what stands there is what the writer saw. What isn't complete
    and verified never stands under its name.
    """

    url: str

    def folder(self, path: str) -> dict[str, Stored]:
        """Return the objects directly in a folder, by path."""

    def crc32c(self, stored: Stored) -> str:
        """Return the base64 CRC32C of an object's content."""

    def read(self, path: str) -> tuple[bytes, Stored] | None:
        """Return a small object's content and facts, None if there is none."""

    def blocks(self, path: str) -> Iterator[bytes]:
        """
        Yield an object's content in blocks of some mebibytes, for one that may be large.

        :raises AylaDestinationError: if there is none, or it can't be read to its end
        """

    def local(self, path: str) -> Path | None:
        """Return where an object stands on this machine's disk, None if it doesn't. It may be read, not changed."""

    def write(
        self, path: str, stream: BinaryIO, *, size: int, crc32c: str, replaces: Stored | None, content_type: str
    ) -> Stored:
        """
        Write an object as a whole or not at all.

        :param stream: read up to ``size``; it raises before its last byte if the content isn't what it should be
        :param crc32c: what the stored content must have
        :param replaces: what the writer saw there, None if nothing
        :raises AylaConflictError: if something else stands there by now
        :raises AylaDestinationError: if the store refuses or breaks off
        """


def url_of(destination: Destination, path: str) -> str:
    """Return the URL of an object in a destination."""
    return f"{destination.url.rstrip('/')}/{path}"


def split_url(url: str) -> tuple[str, str, str]:
    """
    Return scheme, bucket and path of a destination's URL.

    :raises AylaConfigError: if it isn't ``gs://bucket/prefix`` or ``file:///folder``
    """
    parts = urlsplit(url, allow_fragments=False)
    path = unquote(parts.path) if parts.scheme == "file" else parts.path
    if parts.query or any(part in (".", "..") for part in path.split("/")):
        raise AylaConfigError(f"destination {url!r}: a query, '.' or '..' has no place in it")
    if parts.scheme == "gs" and parts.netloc:
        return "gs", parts.netloc, path.strip("/")
    if parts.scheme == "file" and parts.netloc in ("", "localhost") and path.startswith("/"):
        return "file", "", path
    raise AylaConfigError(f"destination {url!r}: expected gs://bucket/prefix, s3://bucket/prefix or file:///folder")


def conflict(where: str) -> AylaConflictError:
    """Return the error of a write that found something else there."""
    return AylaConflictError(
        f"{where} was written by someone else in the meantime, most likely by another run of the same hour; it is left "
        "as it stands. The task's next try compares it with the source again."
    )


def kept(where: str, told: object) -> AylaDestinationError:
    """Return the error of a store that keeps what stands there from being replaced."""
    return AylaDestinationError(
        f"{where} may not be replaced ({told}); it is left as it stands, and the hour isn't complete. Manifests, and "
        "copies of what Ayla replaced, must be replaceable: let the bucket keep versions, in place of a retention "
        "policy, a hold or a lease, then clear the task."
    )
