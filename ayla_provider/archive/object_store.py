"""An archive in an object store that fsspec reaches: ``s3://``, ``abfs://`` and others."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

from ayla_provider.archive.destination import Stored, conflict, kept
from ayla_provider.archive.stores import (
    PART,
    ChangedError,
    Facts,
    KeptError,
    Store,
    Upload,
    content_crc32c,
    version_of,
)
from ayla_provider.errors import AylaDestinationError, AylaError
from ayla_provider.transport.checksum import CHUNK, Crc32c


class ObjectStorageDestination:
    """A prefix in an object store, reached through Airflow's ObjectStoragePath."""

    def __init__(self, store: Store, root: str, prefix: str = "") -> None:
        self._store = store
        self._prefix = f"{prefix}/" if prefix else ""
        self.url = f"{root}/{prefix}".rstrip("/")

    def folder(self, path: str) -> dict[str, Stored]:
        """See :class:`~ayla_provider.archive.destination.Destination`."""
        with _errors(f"{self.url}/{path}"):
            found = self._store.folder(self._prefix + path)
        return {(full := f"{path}/{name}"): _stored(full, facts) for name, facts in found.items()}

    def crc32c(self, stored: Stored) -> str:
        """See :class:`~ayla_provider.archive.destination.Destination`."""
        key = self._prefix + stored.path
        with _errors(f"{self.url}/{stored.path}"):
            facts = self._store.find(key)
            if facts is None or facts.version != stored.version:
                raise ChangedError
            return facts.crc32c or content_crc32c(self._store, key, facts)

    def read(self, path: str) -> tuple[bytes, Stored] | None:
        """See :class:`~ayla_provider.archive.destination.Destination`."""
        key = self._prefix + path
        with _errors(f"{self.url}/{path}"):
            facts = self._store.find(key)
            if facts is None:
                return None
            content = self._store.read(key, 0, facts.size, facts.version) if facts.size else b""
            return content, _stored(path, facts)

    def blocks(self, path: str) -> Iterator[bytes]:
        """See :class:`~ayla_provider.archive.destination.Destination`."""
        key = self._prefix + path
        with _errors(f"{self.url}/{path}"):
            facts = self._store.find(key)
            if facts is None:
                raise AylaDestinationError(f"{self.url}/{path}: there is no such object")
            for start in range(0, facts.size, PART):
                yield self._store.read(key, start, min(start + PART, facts.size), facts.version)

    def local(self, path: str) -> Path | None:
        """See :class:`~ayla_provider.archive.destination.Destination`."""
        return None

    def write(
        self, path: str, stream: BinaryIO, *, size: int, crc32c: str, replaces: Stored | None, content_type: str
    ) -> Stored:
        """See :class:`~ayla_provider.archive.destination.Destination`."""
        key, seen = self._prefix + path, replaces.version if replaces else None
        with _errors(f"{self.url}/{path}"):
            upload = self._store.upload(key, size, crc32c, content_type)
            try:
                self._send(stream, upload, size, crc32c)
                # Also where the store takes a precondition: not every store that speaks S3 heeds it.
                if version_of(self._store.find(key)) != seen:
                    raise ChangedError
                version = upload.finish(seen)
            except BaseException:
                with contextlib.suppress(Exception):
                    upload.abort()
                raise
            facts = self._store.find(key)
            if facts is None or facts.version != version:
                raise ChangedError
            self._verify(key, facts, size, crc32c)
            return _stored(path, facts)

    def _send(self, stream: BinaryIO, upload: Upload, size: int, crc32c: str) -> None:
        checksum, sent = Crc32c(), 0
        for part in _parts(stream):
            checksum.update(part)
            sent += len(part)
            if sent > size:
                break
            upload.part(part)
            del part  # ahead of the next one
        if (sent, checksum.base64) != (size, crc32c):
            raise AylaDestinationError(
                f"{self.url}: {sent} bytes with crc32c {checksum.base64} were to be written, {size} with {crc32c} "
                "should have been; nothing was stored."
            )

    def _verify(self, key: str, facts: Facts, size: int, crc32c: str) -> None:
        found = facts.crc32c or (crc32c if self._store.checked else content_crc32c(self._store, key, facts))
        if (facts.size, found) == (size, crc32c):
            return
        became = "they are removed"
        try:
            self._store.remove(key, facts.version)
        except ChangedError:
            raise
        except Exception as error:  # noqa: BLE001 - each store's client raises errors of its own
            became = f"they can't be removed ({error})"
        raise AylaDestinationError(
            f"{self.url}: the store holds {facts.size} bytes with crc32c {found} of {key!r}, {size} bytes with "
            f"{crc32c} were sent; {became}. The task's next try sends them again."
        )


def _stored(path: str, facts: Facts) -> Stored:
    # The checksum stays out: a listing doesn't show it, and what is equal must compare equal.
    return Stored(path, facts.size, facts.version, None)


def _parts(stream: BinaryIO) -> Iterator[bytes]:
    blocks, held = [], 0
    while block := stream.read(CHUNK):
        blocks.append(block)
        held += len(block)
        if held >= PART:
            yield b"".join(blocks)
            blocks, held = [], 0
    if blocks:
        yield b"".join(blocks)


@contextlib.contextmanager
def _errors(where: str) -> Iterator[None]:
    try:
        yield
    except AylaError:
        raise
    except ChangedError:
        raise conflict(where) from None
    except KeptError as error:
        raise kept(where, error) from None
    except PermissionError as error:
        raise AylaDestinationError(
            f"{where}: the store refuses it ({error}). The connection's account needs to list, read, write and delete "
            "objects there."
        ) from None
    except FileNotFoundError as error:
        raise AylaDestinationError(f"{where}: there is no such bucket or container ({error})") from None
    except Exception as error:  # each store's client raises errors of its own
        raise AylaDestinationError(f"{where}: the store failed ({type(error).__name__}: {error})"[:600]) from error
