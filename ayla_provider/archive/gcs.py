"""An archive in a Cloud Storage bucket."""

from __future__ import annotations

import contextlib
import io
import re
from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace
from functools import partial
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO

from google.api_core import exceptions as google_errors
from google.auth.exceptions import GoogleAuthError
from google.resumable_media import DataCorruption
from requests import RequestException

from ayla_provider.archive.destination import Listed, Stored, check_small, conflict, first_answer, kept
from ayla_provider.archive.gcs_upload import GcsUploader
from ayla_provider.errors import TEMPORARY, AylaDestinationError, AylaUnavailable
from ayla_provider.transport.checksum import CHUNK
from ayla_provider.transport.cloud_storage import explanation, pages_of, reason
from ayla_provider.transport.deadline import SLOWEST, Deadline, SlowAnswerError
from ayla_provider.transport.network import DEADLINE

if TYPE_CHECKING:
    from google.auth.credentials import Credentials
    from google.cloud import storage

_FAILURES = (
    google_errors.GoogleAPIError,
    GoogleAuthError,
    RequestException,
    SlowAnswerError,
    # What the library raises for a malformed answer.
    *(ValueError, TypeError, KeyError, AttributeError, OverflowError, RecursionError),
)

_PIECE = 8 * CHUNK
"""Bytes that one request reads of a large object."""

_VERSIONS = 100
"""How many versions of an object are listed at most."""

_KEPT = re.compile(r"retention policy|object retention|hold is removed")
"""Cloud Storage's messages for an object that can't be replaced. For a hold, its reason is the same as for a missing
right."""

_CHECKSUM = re.compile(r"crc32c|md5|checksum|hash", re.IGNORECASE)
"""Names that are in a service's message if the content of an upload was corrupted on its way."""


class GcsDestination:
    """
    A prefix in a Cloud Storage bucket, with the customer's own credentials.

    :param client: lists and reads
    :param credentials: the client's; uploads, which don't use the client, need them too
    """

    def __init__(self, client: storage.Client, bucket: str, prefix: str = "", *, credentials: Credentials) -> None:
        self._bucket = client.bucket(bucket)
        self._client = client
        self._uploader = GcsUploader(credentials, bucket, client.api_endpoint)
        self._prefix = f"{prefix}/" if prefix else ""
        self.url = f"gs://{bucket}/{prefix}".rstrip("/")

    def folder(self, path: str) -> dict[str, Stored]:
        """See :class:`Destination`."""
        prefix = f"{self._prefix}{path}/"
        with _reading(f"{self.url}/{path}"):
            blobs = self._client.list_blobs(
                self._bucket,
                prefix=prefix,
                delimiter="/",
                fields="items(name,size,crc32c,generation),nextPageToken",
            )
            found = chain.from_iterable(pages_of(blobs, "the listing"))
            objects = [self._facts(blob) for blob in found if not blob.name.endswith("/")]
        return {stored.path: stored for stored in objects}

    def remove_leftovers(self, path: str) -> None:
        """See :class:`Destination`. Unfinished uploads have no name here."""

    def tree(self, prefix: str) -> Iterator[Listed]:
        """See :class:`Destination`."""
        with _reading(f"{self.url}/{prefix}"):
            blobs = self._client.list_blobs(
                self._bucket,
                prefix=self._prefix + prefix,
                fields="items(name,size,crc32c,generation,timeCreated),nextPageToken",
            )
            for blob in chain.from_iterable(pages_of(blobs, "the listing")):
                if not blob.name.endswith("/"):
                    yield Listed(self._facts(blob), blob.time_created)

    def crc32c(self, stored: Stored) -> str:
        """See :class:`Destination`."""
        return stored.crc32c or ""

    def read(self, path: str) -> tuple[bytes, Stored] | None:
        """See :class:`Destination`."""
        blob = self._bucket.blob(self._prefix + path)
        with _reading(f"{self.url}/{path}"):
            try:
                buffer = _downloaded(blob, f"{self.url}/{path}")
            except google_errors.NotFound:
                return None
            # The download's headers hold generation and checksum; not every emulator sends them.
            if blob.generation is None:
                blob.reload()
            content = buffer.getvalue()
            return content, Stored(path, len(content), str(blob.generation), blob.crc32c)

    def find(self, path: str) -> Stored | None:
        """See :class:`Destination`."""
        with _reading(f"{self.url}/{path}"):
            blob = self._bucket.get_blob(self._prefix + path)
            return self._facts(blob) if blob else None

    def blocks(self, path: str) -> Iterator[bytes]:
        """See :class:`Destination`."""
        # Read in pieces, each with the client's own retries; the caller compares the checksum of the whole.
        start, piece = 0, b""
        while not start or len(piece) == _PIECE:
            with _reading(f"{self.url}/{path}"):
                piece = self._piece(path, start)
            start += len(piece)
            for at in range(0, len(piece), CHUNK):
                yield piece[at : at + CHUNK]
            if not piece:
                return

    def _piece(self, path: str, start: int) -> bytes:
        """Return the next bytes of an object, fewer than a piece at its end."""
        blob = self._bucket.blob(self._prefix + path)
        buffer = _BoundedBuffer(_check_piece)
        try:
            with Deadline(_PIECE / SLOWEST) as deadline:
                blob.download_to_file(buffer, start=start, end=start + _PIECE - 1, raw_download=True, checksum=None)
                deadline.check()
        except google_errors.RequestRangeNotSatisfiable:
            return b""
        except google_errors.NotFound:
            raise AylaDestinationError(f"{self.url}/{path} does not exist") from None
        return buffer.getvalue()

    def local(self, path: str) -> Path | None:
        """See :class:`Destination`."""
        return None

    def has_earlier_version(self, path: str) -> bool | None:
        """See :class:`Destination`."""
        return first_answer(
            [
                lambda: self._lists(path, "timeDeleted", versions=True),
                lambda: self._lists(path, "softDeleteTime", soft_deleted=True),
            ]
        )

    def _lists(self, path: str, field: str, **which: bool) -> bool:
        """Return whether a listing has an object of this name with a field that a live object doesn't have."""
        name = self._prefix + path
        # The first page is enough: names are sorted, and this one is the first that has the prefix.
        blobs = self._client.list_blobs(
            self._bucket, prefix=name, fields=f"items(name,generation,{field})", max_results=_VERSIONS, **which
        )
        page: Iterable[storage.Blob] = next(iter(pages_of(blobs, "the listing")), [])
        return any(blob.name == name and blob._properties.get(field) for blob in page)

    def write(
        self, path: str, stream: BinaryIO, *, size: int, crc32c: str, replaces: Stored | None, content_type: str
    ) -> Stored:
        """See :class:`Destination`."""
        where = f"{self.url}/{path}"
        with _translate_errors(where):
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
                if any(detail.get("reason") == "orgPolicyConstraintFailed" for detail in error.errors):
                    raise AylaDestinationError(
                        f"{where}: a policy of your organization refuses the object (412: "
                        f"{explanation(error)}). Change the bucket, for example give it a default key of Cloud KMS, "
                        "and clear the task."
                    ) from None
                if _CHECKSUM.search(explanation(error)):
                    raise AylaDestinationError(
                        f"{where}: the bucket refuses the object, because its bytes don't have the stated checksum "
                        f"(412: {explanation(error)}). Nothing was stored. The task's next try sends it again."
                    ) from None
                raise conflict(where) from None
        if (stored.crc32c, stored.size) != (crc32c, size):
            raise AylaDestinationError(
                f"{where}: the bucket says that it holds {stored.size} bytes with crc32c {stored.crc32c}, but {size} "
                f"bytes with {crc32c} were sent. Clear the task to replace the object."
            )
        return replace(stored, path=path)

    def remove(self, stored: Stored) -> None:
        """See :class:`Destination`."""
        where = f"{self.url}/{stored.path}"
        blob = self._bucket.blob(self._prefix + stored.path)
        with _reading(where):
            try:
                # With a generation, a repeated request removes nothing else.
                blob.delete(if_generation_match=int(stored.version))
            except google_errors.NotFound:
                return
            except google_errors.PreconditionFailed:
                raise conflict(where) from None

    def _facts(self, blob: storage.Blob) -> Stored:
        return Stored(blob.name.removeprefix(self._prefix), blob.size, str(blob.generation), blob.crc32c)


class _BoundedBuffer(io.BytesIO):
    """
    Takes what a download brings.

    :param check: gets the number of bytes before they are taken, and ends a download that brings too many
    """

    def __init__(self, check: Callable[[int], None]) -> None:
        super().__init__()
        self._check = check

    def write(self, data: Any, /) -> int:
        self._check(self.tell() + len(data))
        return super().write(data)


def _check_piece(size: int) -> None:
    if size > _PIECE:
        raise ValueError(f"the answer has more than the {_PIECE} bytes that were requested")


def _downloaded(blob: storage.Blob, where: str) -> io.BytesIO:
    """
    Return the content of a small object. If it arrives corrupted, it is read once more.

    :raises DataCorruption: if it arrives corrupted again
    """
    tries = 2
    while True:
        buffer = _BoundedBuffer(partial(check_small, where=where))
        try:
            with Deadline(DEADLINE) as deadline:
                blob.download_to_file(buffer, checksum="crc32c")
                deadline.check()
        except DataCorruption:
            tries -= 1
            if not tries:
                raise
        else:
            return buffer


@contextlib.contextmanager
def _reading(where: str) -> Iterator[None]:
    with _translate_errors(where):
        try:
            yield
        except AylaUnavailable as error:
            raise AylaDestinationError(f"{where}: {error}") from None


@contextlib.contextmanager
def _translate_errors(where: str) -> Iterator[None]:
    try:
        yield
    except google_errors.Forbidden as error:
        if _KEPT.search(error.message):
            raise kept(where, f"403: {explanation(error)}") from None
        raise AylaDestinationError(
            f"{where}: the bucket denies access (403: {explanation(error)}). Allow the Google connection's "
            "account to list, read, create and replace objects there (the role Storage Object User includes all of it)."
        ) from None
    except google_errors.NotFound as error:
        raise AylaDestinationError(
            f"{where}: the bucket does not exist, or the upload has expired (404: {explanation(error)}). "
            "Check the name of the bucket in the destination. The task's next attempt starts a new upload."
        ) from None
    except DataCorruption:
        raise AylaDestinationError(
            f"{where}: Cloud Storage failed (what arrived had a wrong checksum, twice). {TEMPORARY}"
        ) from None
    except _FAILURES as error:
        raise AylaDestinationError(
            f"{where}: Cloud Storage failed ({reason(error)}). {TEMPORARY} If it persists, check the connection."
        ) from None
