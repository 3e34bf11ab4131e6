"""An archive in a Cloud Storage bucket."""

from __future__ import annotations

import contextlib
import re
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO

from google.api_core import exceptions as google_errors
from google.auth.exceptions import GoogleAuthError
from requests import RequestException

from ayla_provider.archive.destination import Stored, conflict, kept
from ayla_provider.archive.gcs_upload import GcsUploader
from ayla_provider.errors import TEMPORARY, AylaDestinationError
from ayla_provider.transport.checksum import CHUNK

if TYPE_CHECKING:
    from google.cloud import storage

_KEPT = re.compile(r"retention policy|object retention|hold is removed")
"""What Cloud Storage says of an object that it keeps. A hold has no reason of its own, but that of a missing right."""


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
        raise AylaDestinationError(f"{failed}). {TEMPORARY} If it stays, check the connection.") from None
