"""The customer's own archive: a Cloud Storage bucket or a folder on disk."""

from __future__ import annotations

import contextlib
import os
import re
import secrets
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, BinaryIO, Protocol
from urllib.parse import unquote, urlsplit

from google.api_core import exceptions as google_errors
from google.auth.exceptions import GoogleAuthError
from requests import RequestException

from ayla_provider.cloud.checksum import Crc32c
from ayla_provider.cloud.upload import GcsUploader
from ayla_provider.errors import PASSES, AylaConfigError, AylaConflictError, AylaDestinationError, AylaUnsafeNameError

if TYPE_CHECKING:
    from google.cloud import storage

CHUNK = 1024 * 1024
"""Bytes that are read at a time."""

_PARTIAL = re.compile(r"\.[0-9a-f]{16}\.partial")

_KEPT = re.compile(r"retention policy|object retention|hold is removed")
"""What Cloud Storage says of an object that it keeps. A hold has no reason of its own, but that of a missing right."""

_ABANDONED = 24 * 3600.0
"""Seconds after which a partial file is taken for that of a process that was killed."""


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


class FileDestination:
    """A folder on disk. It is locked while a name in it changes, for the processes of every machine that mounts it."""

    def __init__(self, root: str | Path) -> None:
        self.root = Path(root)
        self.url = f"file://{PurePosixPath(self.root)}"

    def folder(self, path: str) -> dict[str, Stored]:
        """See :class:`Destination`."""
        with _disk(self._place(path)):
            try:
                entries = list(os.scandir(self._place(path)))
            except (FileNotFoundError, NotADirectoryError):
                return {}
            self._remove_abandoned(entries)
            files = [entry for entry in entries if entry.is_file() and not _PARTIAL.fullmatch(entry.name)]
            return {(name := f"{path}/{entry.name}"): self._facts(name, entry.stat()) for entry in files}

    def crc32c(self, stored: Stored) -> str:
        """See :class:`Destination`."""
        checksum = Crc32c()
        with _disk(self._place(stored.path)), self._place(stored.path).open("rb") as file:
            while block := file.read(CHUNK):
                checksum.update(block)
        return checksum.base64

    def read(self, path: str) -> tuple[bytes, Stored] | None:
        """See :class:`Destination`."""
        with _disk(self._place(path)):
            try:
                with self._place(path).open("rb") as file:
                    return file.read(), self._facts(path, os.fstat(file.fileno()))
            except FileNotFoundError:
                return None

    def blocks(self, path: str) -> Iterator[bytes]:
        """See :class:`Destination`."""
        with _disk(self._place(path)), self._place(path).open("rb") as file:
            while block := file.read(CHUNK):
                yield block

    def local(self, path: str) -> Path | None:
        """See :class:`Destination`."""
        return self._place(path)

    def write(
        self, path: str, stream: BinaryIO, *, size: int, crc32c: str, replaces: Stored | None, content_type: str
    ) -> Stored:
        """See :class:`Destination`."""
        place = self._place(path)
        # A name that starts with a dot is none that a glob, Spark or DuckDB would read.
        partial = place.with_name(f".{secrets.token_hex(8)}.partial")
        checksum = Crc32c()
        with _disk(place):
            place.parent.mkdir(parents=True, exist_ok=True)
            try:
                with partial.open("xb") as file:
                    while block := stream.read(CHUNK):
                        checksum.update(block)
                        file.write(block)
                    file.flush()
                    os.fsync(file.fileno())
                    written = os.fstat(file.fileno())
                found = checksum.base64
                if written.st_size != size or found != crc32c:
                    raise AylaDestinationError(
                        f"{place}: {written.st_size} bytes with crc32c {found} were written, {size} with {crc32c} "
                        "should have been; they are removed. Is the disk sound?"
                    )
                with _folder_lock(place.parent):
                    standing = self._facts(path, place.stat()) if place.exists() else None
                    if standing != replaces:
                        raise _folded(place, path) or conflict(str(place))
                    partial.replace(place)
                    return self._facts(path, place.stat())
            finally:
                partial.unlink(missing_ok=True)

    @staticmethod
    def _remove_abandoned(entries: list[os.DirEntry[str]]) -> None:
        for entry in entries:
            if _PARTIAL.fullmatch(entry.name):
                with contextlib.suppress(FileNotFoundError):
                    if time.time() - entry.stat().st_mtime > _ABANDONED:
                        Path(entry.path).unlink()

    def _place(self, path: str) -> Path:
        return self.root / path

    def _facts(self, path: str, stat: os.stat_result) -> Stored:
        return Stored(path, stat.st_size, f"{stat.st_ino}-{stat.st_mtime_ns}", None)


class GcsDestination:
    """A prefix in a Cloud Storage bucket, with the customer's own credentials."""

    def __init__(self, client: storage.Client, bucket: str, prefix: str = "") -> None:
        self._bucket = client.bucket(bucket)
        self._client = client
        self._uploader = GcsUploader(client, bucket)
        self._prefix = f"{prefix}/" if prefix else ""
        self.url = f"gs://{bucket}/{prefix}".rstrip("/")

    def folder(self, path: str) -> dict[str, Stored]:
        """See :class:`Destination`."""
        prefix = f"{self._prefix}{path}/"
        with _bucket(f"{self.url}/{path}"):
            blobs = self._client.list_blobs(
                self._bucket,
                prefix=prefix,
                delimiter="/",
                fields="items(name,size,crc32c,generation),nextPageToken",
            )
            found = [self._facts(blob) for blob in blobs if not blob.name.endswith("/")]
        return {stored.path: stored for stored in found}

    def crc32c(self, stored: Stored) -> str:
        """See :class:`Destination`."""
        return stored.crc32c or ""

    def read(self, path: str) -> tuple[bytes, Stored] | None:
        """See :class:`Destination`."""
        blob = self._bucket.blob(self._prefix + path)
        with _bucket(f"{self.url}/{path}"):
            try:
                content = blob.download_as_bytes(checksum="crc32c")
            except google_errors.NotFound:
                return None
            # The facts come with the download, in its headers; not every emulator sends them.
            if blob.generation is None:
                blob.reload()
            return content, Stored(path, len(content), str(blob.generation), blob.crc32c)

    def blocks(self, path: str) -> Iterator[bytes]:
        """See :class:`Destination`."""
        # Read in pieces, each with the client's own retries; whoever reads compares the checksum of the whole.
        blob = self._bucket.blob(self._prefix + path)
        with _bucket(f"{self.url}/{path}"), blob.open("rb", chunk_size=8 * CHUNK, raw_download=True) as file:
            try:
                while block := file.read(CHUNK):
                    yield block
            except google_errors.NotFound:
                raise AylaDestinationError(f"{self.url}/{path}: there is no such object") from None

    def local(self, path: str) -> Path | None:
        """See :class:`Destination`."""
        return None

    def write(
        self, path: str, stream: BinaryIO, *, size: int, crc32c: str, replaces: Stored | None, content_type: str
    ) -> Stored:
        """See :class:`Destination`."""
        where = f"{self.url}/{path}"
        with _bucket(where):
            try:
                stored = self._uploader.upload(
                    self._prefix + path,
                    stream,
                    size=size,
                    crc32c=crc32c,
                    if_generation_match=int(replaces.version) if replaces else 0,
                    content_type=content_type,
                )
            except google_errors.PreconditionFailed as error:
                if any(one.get("reason") == "orgPolicyConstraintFailed" for one in error.errors):
                    raise AylaDestinationError(
                        f"{where}: a policy of your organization refuses it (412: {error.message}). Mend the bucket, "
                        "for example by a default key of Cloud KMS, and clear the task."
                    ) from None
                raise conflict(where) from None
        if (stored.crc32c, stored.size) != (crc32c, size):
            raise AylaDestinationError(
                f"{where}: the bucket answers that it holds {stored.size} bytes with crc32c {stored.crc32c}; {size} "
                f"bytes with {crc32c} were sent. Clear the task: the object is then replaced."
            )
        return Stored(path, stored.size, str(stored.generation), stored.crc32c)

    def _facts(self, blob: storage.Blob) -> Stored:
        return Stored(blob.name.removeprefix(self._prefix), blob.size, str(blob.generation), blob.crc32c)


def _folded(place: Path, path: str) -> AylaUnsafeNameError | None:
    """Return the error of a disk on which a name stands for another that differs in case; None if that isn't it."""
    name = PurePosixPath(path).name
    if not place.exists() or name in {one.name for one in place.parent.iterdir()}:
        return None
    return AylaUnsafeNameError(
        f"{place}: this disk takes {name!r} for another file of the folder, whose name differs in upper and lower case "
        "or in Unicode alone; that one is left as it stands. Take a destination that keeps them apart, or ask Ayla "
        "support to rename one of them."
    )


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


@contextlib.contextmanager
def _folder_lock(folder: Path) -> Iterator[None]:
    import fcntl

    handle = os.open(folder, os.O_RDONLY)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX)
        yield
    finally:
        os.close(handle)


@contextlib.contextmanager
def _disk(where: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise AylaDestinationError(
            f"{where}: {error.strerror or error}. Check that the folder exists, has room, and may be written by the "
            "user that Airflow runs tasks as."
        ) from error


@contextlib.contextmanager
def _bucket(where: str) -> Iterator[None]:
    try:
        yield
    except google_errors.Forbidden as error:
        if _KEPT.search(error.message):
            raise kept(where, f"403: {error.message}") from None
        raise AylaDestinationError(
            f"{where}: the bucket refuses it (403: {error.message}). The Google connection's account needs to list, "
            "read, create and replace objects there (the role Storage Object User has it all)."
        ) from None
    except google_errors.NotFound as error:
        raise AylaDestinationError(
            f"{where}: there is no such bucket, or an upload that was begun is gone (404: {error.message}). Check the "
            "bucket's name in the destination; an upload is begun anew by the task's next try."
        ) from None
    except (google_errors.GoogleAPIError, GoogleAuthError, RequestException, ValueError) as error:
        failed = f"{where}: Cloud Storage failed ({type(error).__name__}: {error}"[:600]
        raise AylaDestinationError(f"{failed}). {PASSES} If it stays, check the connection.") from None
