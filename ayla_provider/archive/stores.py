"""What every object store must be able to do for an archive."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

from ayla_provider.transport.checksum import CHUNK, Crc32c

PART = 8 * CHUNK
"""Bytes that are uploaded at a time; what is no longer than this goes in one piece."""


@dataclass(frozen=True, slots=True)
class Facts:
    size: int
    version: str
    crc32c: str | None = None


class Upload(Protocol):
    """An object in the making, of which nothing shows under its name before it is finished."""

    def part(self, data: bytes) -> None:
        """Add bytes."""

    def finish(self, seen: str | None) -> str:
        """
        Put it in place of the version that was seen there, and return its own version.

        :raises ChangedError: if the store found that something else stands there
        """

    def abort(self) -> None:
        """Throw it away."""


class Store(Protocol):
    """One kind of store: what each must be asked for in its own way."""

    checked: bool
    """Whether the store, or its upload here, has checked all content on the way, before it stands under its name."""

    def folder(self, key: str) -> dict[str, Facts]:
        """Return what stands directly in a folder, by name; '' is the root."""

    def find(self, key: str) -> Facts | None:
        """Return what is known of an object now."""

    def read(self, key: str, start: int, end: int, version: str) -> bytes:
        """Return a part of one version of an object."""

    def upload(self, key: str, size: int, crc32c: str, content_type: str) -> Upload:
        """Begin an object."""

    def remove(self, key: str, version: str) -> None:
        """
        Remove one version of an object.

        :raises ChangedError: if the store found that something else stands there
        """


class ChangedError(Exception):
    """Something else stands there than was seen."""


class KeptError(Exception):
    """The store keeps an object from being replaced or removed."""


def version_of(facts: Facts | None) -> str | None:
    """Return the version of what stands there, None if nothing does."""
    return facts.version if facts else None


def content_crc32c(store: Store, key: str, facts: Facts) -> str:
    """Return the checksum of what the store gives back."""
    checksum = Crc32c()
    for start in range(0, facts.size, PART):
        checksum.update(store.read(key, start, min(start + PART, facts.size), facts.version))
    return checksum.base64
