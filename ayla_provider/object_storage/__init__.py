"""The customer's archive in whatever Airflow's ObjectStoragePath reaches: ``s3://``, ``abfs://`` and others."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any, BinaryIO
from urllib.parse import urlsplit

from airflow.sdk import ObjectStoragePath
from airflow.sdk.io import get_fs, has_fs

from ayla_provider.cloud.checksum import Crc32c
from ayla_provider.cloud.destination import CHUNK, Destination, Stored, conflict, kept
from ayla_provider.errors import AylaConfigError, AylaDestinationError, AylaError
from ayla_provider.object_storage.azure import AzureStore, account_of
from ayla_provider.object_storage.fsspec import AnyStore
from ayla_provider.object_storage.s3 import S3Store, extra_args_of
from ayla_provider.object_storage.stores import (
    PART,
    ChangedError,
    Facts,
    KeptError,
    Store,
    Upload,
    content_crc32c,
    version_of,
)

_PROVIDERS = {
    "s3": "apache-airflow-providers-amazon[s3fs]",
    "s3a": "apache-airflow-providers-amazon[s3fs]",
    "abfs": "apache-airflow-providers-microsoft-azure",
    "abfss": "apache-airflow-providers-microsoft-azure",
}


def object_storage_destination(url: str, conn_id: str | None) -> Destination:
    """
    Return the destination that a URL names, with the credentials of an Airflow connection.

    :param url: ``s3://bucket/prefix``, ``abfs://container/prefix``, or of another scheme that a provider knows
    :param conn_id: of the kind that the scheme's provider has (AWS, Azure); None for what the machine itself may do
    :raises AylaConfigError: if the URL is malformed, or what it needs isn't installed
    :raises AylaDestinationError: if the connection has no usable credentials
    """
    scheme, bucket, prefix = _split(url)
    root = f"{scheme}://{bucket}"
    install = f"pip install '{_PROVIDERS[scheme]}'" if scheme in _PROVIDERS else "install the one that does"
    try:
        account = account_of(conn_id) if scheme in ("abfs", "abfss") else {}
        # ObjectStoragePath takes options, and doesn't hand them on.
        fs = get_fs(scheme, conn_id, account) if account else ObjectStoragePath(root, conn_id=conn_id).fs
    except ImportError as error:
        raise AylaConfigError(f"destination {url!r} needs what isn't installed ({error}): {install}") from None
    except ValueError as error:
        if has_fs(scheme):
            raise AylaConfigError(f"destination {url!r}, connection {conn_id!r}: {error}") from None
        raise AylaConfigError(
            f"destination {url!r}: no installed Airflow provider knows {scheme}://; {install}"
        ) from None
    except Exception as error:
        # AWS's roles are taken on already here, and botocore needn't be installed.
        if not type(error).__module__.startswith("botocore"):
            raise
        raise AylaDestinationError(f"connection {conn_id!r} has no usable credentials for {url!r}: {error}") from None
    return ObjectStorageDestination(_store_of(fs, bucket, conn_id), root, prefix)


def _split(url: str) -> tuple[str, str, str]:
    parts = urlsplit(url, allow_fragments=False)
    if "@" in parts.netloc:
        raise AylaConfigError(
            # Not shown: what stands before it may be a password.
            f"destination {parts.scheme}://...: '@' has no place in it. Account and credentials belong in an Airflow "
            "connection; the URL is scheme://bucket-or-container/prefix"
        )
    relative = any(part in (".", "..") for part in parts.path.split("/"))
    if not parts.scheme or not parts.netloc or parts.query or relative:
        raise AylaConfigError(f"destination {url!r}: expected scheme://bucket/prefix, without a query, '.' or '..'")
    return parts.scheme, parts.netloc, parts.path.strip("/")


class ObjectStorageDestination:
    """A prefix in an object store, reached through Airflow's ObjectStoragePath."""

    def __init__(self, store: Store, root: str, prefix: str = "") -> None:
        self._store = store
        self._prefix = f"{prefix}/" if prefix else ""
        self.url = f"{root}/{prefix}".rstrip("/")

    def folder(self, path: str) -> dict[str, Stored]:
        """See :class:`~ayla_provider.cloud.destination.Destination`."""
        with _errors(f"{self.url}/{path}"):
            found = self._store.folder(self._prefix + path)
        return {(full := f"{path}/{name}"): _stored(full, facts) for name, facts in found.items()}

    def crc32c(self, stored: Stored) -> str:
        """See :class:`~ayla_provider.cloud.destination.Destination`."""
        key = self._prefix + stored.path
        with _errors(f"{self.url}/{stored.path}"):
            facts = self._store.find(key)
            if facts is None or facts.version != stored.version:
                raise ChangedError
            return facts.crc32c or content_crc32c(self._store, key, facts)

    def read(self, path: str) -> tuple[bytes, Stored] | None:
        """See :class:`~ayla_provider.cloud.destination.Destination`."""
        key = self._prefix + path
        with _errors(f"{self.url}/{path}"):
            facts = self._store.find(key)
            if facts is None:
                return None
            content = self._store.read(key, 0, facts.size, facts.version) if facts.size else b""
            return content, _stored(path, facts)

    def blocks(self, path: str) -> Iterator[bytes]:
        """See :class:`~ayla_provider.cloud.destination.Destination`."""
        key = self._prefix + path
        with _errors(f"{self.url}/{path}"):
            facts = self._store.find(key)
            if facts is None:
                raise AylaDestinationError(f"{self.url}/{path}: there is no such object")
            for start in range(0, facts.size, PART):
                yield self._store.read(key, start, min(start + PART, facts.size), facts.version)

    def local(self, path: str) -> Path | None:
        """See :class:`~ayla_provider.cloud.destination.Destination`."""
        return None

    def write(
        self, path: str, stream: BinaryIO, *, size: int, crc32c: str, replaces: Stored | None, content_type: str
    ) -> Stored:
        """See :class:`~ayla_provider.cloud.destination.Destination`."""
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


def _store_of(fs: Any, bucket: str, conn_id: str | None) -> Store:
    protocols = (fs.protocol,) if isinstance(fs.protocol, str) else fs.protocol
    if "s3" in protocols:
        return S3Store(fs, bucket, extra_args_of(conn_id))
    if "abfs" in protocols:
        return AzureStore(fs, bucket)
    return AnyStore(fs, bucket)
