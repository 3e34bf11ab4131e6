"""An archive in an object store that fsspec reaches: ``s3://``, ``abfs://`` and others."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import BinaryIO

from ayla_provider.archive.destination import Listed, Stored, check_small, conflict, first_answer, kept
from ayla_provider.archive.stores import (
    PART,
    ChangedError,
    KeptError,
    ObjectStore,
    Upload,
    content_crc32c,
    version_of,
)
from ayla_provider.archive.url import DestinationUrl
from ayla_provider.domain.erasure import Leftover, merged
from ayla_provider.errors import AylaDestinationError, AylaError
from ayla_provider.transport.checksum import CHUNK, Crc32c
from ayla_provider.transport.redaction import from_outside


class ObjectStorageDestination:
    """A prefix in an object store."""

    takes_unknown = False

    def __init__(self, store: ObjectStore, url: DestinationUrl) -> None:
        self._store = store
        self._prefix = f"{url.path}/" if url.path else ""
        self.url = str(url)

    def folder(self, path: str) -> dict[str, Stored]:
        """See :class:`~ayla_provider.archive.destination.Destination`."""
        with translate_errors(f"{self.url}/{path}"):
            objects = self._store.folder(self._prefix + path)
        relative = [self._relative(stored) for stored in objects]
        return {stored.path: stored for stored in relative}

    def folders(self, path: str) -> list[str]:
        """See :class:`~ayla_provider.archive.destination.Destination`."""
        with translate_errors(f"{self.url}/{path}"):
            keys = self._store.folders((self._prefix + path).rstrip("/"))
        return sorted(key.removeprefix(self._prefix) for key in keys)

    def remove_leftovers(self, path: str) -> None:
        """See :class:`~ayla_provider.archive.destination.Destination`. Unfinished uploads have no name here."""

    def tree(self, prefix: str) -> Iterator[Listed]:
        """See :class:`~ayla_provider.archive.destination.Destination`."""
        with translate_errors(f"{self.url}/{prefix}"):
            for listed in self._store.tree(self._prefix + prefix):
                yield replace(listed, stored=self._relative(listed.stored))

    def crc32c(self, stored: Stored) -> str:
        """See :class:`~ayla_provider.archive.destination.Destination`."""
        with translate_errors(f"{self.url}/{stored.path}"):
            current = self._store.find(self._prefix + stored.path)
            if current is None or current.version != stored.version:
                raise ChangedError
            return current.crc32c or content_crc32c(self._store, current)

    def read(self, path: str) -> tuple[bytes, Stored] | None:
        """See :class:`~ayla_provider.archive.destination.Destination`."""
        with translate_errors(f"{self.url}/{path}"):
            stored = self._store.find(self._prefix + path)
            if stored is None:
                return None
            check_small(stored.size, f"{self.url}/{path}")
            content = b""
            if stored.size:  # A range of no bytes isn't a valid request.
                content = self._store.read(stored.path, 0, stored.size, stored.version)
            return content, self._relative(stored)

    def find(self, path: str) -> Stored | None:
        """See :class:`~ayla_provider.archive.destination.Destination`."""
        with translate_errors(f"{self.url}/{path}"):
            stored = self._store.find(self._prefix + path)
            return self._relative(stored) if stored else None

    def blocks(self, path: str) -> Iterator[bytes]:
        """See :class:`~ayla_provider.archive.destination.Destination`."""
        with translate_errors(f"{self.url}/{path}"):
            stored = self._store.find(self._prefix + path)
            if stored is None:
                raise AylaDestinationError(f"{self.url}/{path}: the object does not exist")
            for start in range(0, stored.size, PART):
                yield self._store.read(stored.path, start, min(start + PART, stored.size), stored.version)

    def read_range(self, stored: Stored, start: int, end: int) -> bytes:
        """See :class:`~ayla_provider.archive.destination.Destination`."""
        with translate_errors(f"{self.url}/{stored.path}"):
            return self._store.read(self._prefix + stored.path, start, end, stored.version)

    def local(self, path: str) -> Path | None:
        """See :class:`~ayla_provider.archive.destination.Destination`."""
        return None

    def has_earlier_version(self, path: str) -> bool | None:
        """See :class:`~ayla_provider.archive.destination.Destination`."""
        key = self._prefix + path
        return first_answer([lambda: self._store.has_earlier_version(key)])

    def remove(self, stored: Stored) -> None:
        """See :class:`~ayla_provider.archive.destination.Destination`."""
        with translate_errors(f"{self.url}/{stored.path}"):
            if self._is_there(stored):
                self._store.remove(self._prefix + stored.path, stored.version)

    def remove_for_good(self, stored: Stored) -> bool:
        """See :class:`~ayla_provider.archive.destination.Destination`."""
        with translate_errors(f"{self.url}/{stored.path}"):
            if not self._is_there(stored):
                # Removed by somebody else, who may have left a version.
                return False
            return self._store.remove_for_good(self._prefix + stored.path, stored.version)

    def remove_earlier_versions(self, prefix: str) -> list[Leftover]:
        """See :class:`~ayla_provider.archive.destination.Destination`."""
        with translate_errors(f"{self.url}/{prefix}"):
            kept = self._store.remove_earlier_versions(self._prefix + prefix)
            return merged(Leftover(self.url, each.reason, each.until) for each in kept)

    def _is_there(self, stored: Stored) -> bool:
        """
        Return whether an object is there.

        :raises ChangedError: if it is another version
        """
        current = self._store.find(self._prefix + stored.path)
        if current is not None and current.version != stored.version:
            raise ChangedError
        return current is not None

    def write(
        self, path: str, stream: BinaryIO, *, size: int, crc32c: str | None, replaces: Stored | None, content_type: str
    ) -> Stored:
        """See :class:`~ayla_provider.archive.destination.Destination`."""
        if crc32c is None:
            raise ValueError("the checksum must be known before the first byte")
        key = self._prefix + path
        seen = version_of(replaces)
        with translate_errors(f"{self.url}/{path}"):
            upload = self._store.upload(key, size, crc32c, content_type)
            try:
                self._send(stream, upload, size, crc32c)
                is_heeded = upload.is_heeded(seen)
                # Checked here although finish() states it: some stores that speak S3 ignore preconditions.
                if not is_heeded and version_of(self._store.find(key)) != seen:
                    raise ChangedError
                stored = upload.finish(seen)
            except BaseException:
                with contextlib.suppress(Exception):
                    upload.abort()
                raise
            if not is_heeded or not stored.crc32c:
                stored = self._found(stored)
            self._verify(stored, size, crc32c)
            return self._relative(stored)

    def _found(self, written: Stored) -> Stored:
        """Return what the store has now under the name of an object that was written."""
        found = self._store.find(written.path)
        if found is None or found.version != written.version:
            raise ChangedError
        return found

    def _relative(self, stored: Stored) -> Stored:
        # Without the checksum: a listing doesn't have it, and equal objects must compare as equal.
        return replace(stored, path=stored.path.removeprefix(self._prefix), crc32c=None)

    def _send(self, stream: BinaryIO, upload: Upload, size: int, crc32c: str) -> None:
        checksum = Crc32c()
        sent = 0
        for part in _parts(stream):
            checksum.update(part)
            sent += len(part)
            if sent > size:
                break
            upload.part(part)
            del part  # Frees its memory before the next part is read.
        if (sent, checksum.base64) != (size, crc32c):
            raise AylaDestinationError(
                f"{self.url}: got {sent} bytes with crc32c {checksum.base64} to write, expected {size} bytes with "
                f"crc32c {crc32c}; nothing was stored."
            )

    def _verify(self, stored: Stored, size: int, crc32c: str) -> None:
        if stored.crc32c:
            actual = stored.crc32c
        elif self._store.checked:
            actual = crc32c
        else:
            actual = content_crc32c(self._store, stored)
        if (stored.size, actual) == (size, crc32c):
            return
        outcome = "they are removed"
        try:
            self._store.remove(stored.path, stored.version)
        except ChangedError:
            raise
        except Exception as error:  # noqa: BLE001 - each store's client raises errors of its own
            outcome = f"they can't be removed ({from_outside(error)})"
        raise AylaDestinationError(
            f"{self.url}: the store holds {stored.size} bytes with crc32c {actual} under {stored.path!r}, but {size} "
            f"bytes with crc32c {crc32c} were sent; {outcome}. The task's next try sends them again."
        )


def _parts(stream: BinaryIO) -> Iterator[bytes]:
    """Yield a stream in parts of at least ``PART`` bytes, except for the last one."""
    blocks: list[bytes] = []
    length = 0
    while block := stream.read(CHUNK):
        blocks.append(block)
        length += len(block)
        if length >= PART:
            yield _joined(blocks)
            length = 0
    if blocks:
        yield _joined(blocks)


def _joined(blocks: list[bytes]) -> bytes:
    """Empty a list of blocks into one, so that the memory isn't taken twice while it is sent."""
    part = blocks[0] if len(blocks) == 1 else b"".join(blocks)
    blocks.clear()
    return part


@contextlib.contextmanager
def translate_errors(where: str) -> Iterator[None]:
    """Turn errors of a store's client into errors of this package that name an object."""
    try:
        yield
    except AylaError:
        raise
    except ChangedError:
        raise conflict(where) from None
    except KeptError as error:
        raise kept(where, from_outside(error)) from None
    except PermissionError as error:
        raise AylaDestinationError(
            f"{where}: the store refuses it ({from_outside(error)}). The connection's account needs to list, read, "
            "write and delete objects there."
        ) from None
    except FileNotFoundError as error:
        raise AylaDestinationError(f"{where}: there is no such bucket or container ({from_outside(error)})") from None
    except Exception as error:  # each store's client raises errors of its own
        raise AylaDestinationError(
            f"{where}: the store failed ({type(error).__name__}: {from_outside(error)})"
        ) from error
