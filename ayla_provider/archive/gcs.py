"""An archive in a Cloud Storage bucket."""

from __future__ import annotations

import contextlib
import re
from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO
from urllib.parse import quote, urlencode

from ayla_provider.archive.destination import (
    LOCKED,
    NOT_ALLOWED,
    NOT_ASKED,
    SOFT_DELETED,
    LeavesMd5,
    Listed,
    Stored,
    check_small,
    conflict,
    first_answer,
    kept,
)
from ayla_provider.archive.gcs_upload import AT_ONCE, GcsUploader, WrongMd5Error
from ayla_provider.domain.erasure import Leftover, merged
from ayla_provider.errors import TEMPORARY, AylaDestinationError, AylaError, AylaUnavailable
from ayla_provider.source.reader import CorruptedError
from ayla_provider.transport.checksum import CHUNK, Crc32c
from ayla_provider.transport.cloud_storage import (
    Answer,
    api_error,
    explanation,
    fetched,
    is_failure,
    json_object,
    listed,
    reason,
    retried,
)
from ayla_provider.transport.deadline import SLOWEST
from ayla_provider.transport.http import HttpClient
from ayla_provider.transport.network import DEADLINE

if TYPE_CHECKING:
    from google.auth.credentials import Credentials

_TIMEOUT = (10, 60)
"""Seconds to connect, and to wait for an answer or for its next bytes."""

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
    A prefix in a Cloud Storage bucket.

    :param endpoint: Cloud Storage's URL
    :param credentials: the customer's own, with a scope that allows to write
    """

    takes_unknown = True

    def __init__(self, endpoint: str, bucket: str, prefix: str = "", *, credentials: Credentials) -> None:
        self._http = HttpClient(credentials)
        self._uploader = GcsUploader(self._http, bucket, endpoint)
        self._bucket_url = f"{endpoint}/storage/v1/b/{quote(bucket, safe='')}"
        self._downloads = f"{endpoint}/download/storage/v1/b/{quote(bucket, safe='')}/o"
        self._prefix = f"{prefix}/" if prefix else ""
        self.url = f"gs://{bucket}/{prefix}".rstrip("/")

    def close(self) -> None:
        """Close all connections; the next request opens new ones."""
        self._http.close()

    def folder(self, path: str) -> dict[str, Stored]:
        """See :class:`Destination`."""
        prefix = f"{self._prefix}{path}/"
        fields = "items(name,size,crc32c,generation),nextPageToken"
        with _reading(f"{self.url}/{path}"):
            objects = [self._facts(item) for item in self._items(prefix, fields, delimiter="/")]
        return {stored.path: stored for stored in objects}

    def folders(self, path: str) -> list[str]:
        """See :class:`Destination`."""
        prefix = f"{self._prefix}{path}/" if path else self._prefix
        with _reading(f"{self.url}/{path}"):
            pages = self._pages(prefix, "prefixes,nextPageToken", None, delimiter="/")
            names = {str(folder) for page in pages for folder in page.get("prefixes", ())}
        return sorted(name.removeprefix(self._prefix)[:-1] for name in names)

    def remove_leftovers(self, path: str) -> None:
        """See :class:`Destination`. Unfinished uploads have no name here."""

    def tree(self, prefix: str) -> Iterator[Listed]:
        """See :class:`Destination`."""
        fields = "items(name,size,crc32c,generation,timeCreated),nextPageToken"
        with _reading(f"{self.url}/{prefix}"):
            for item in self._items(self._prefix + prefix, fields):
                created = datetime.fromisoformat(item["timeCreated"])
                yield Listed(self._facts(item), created.astimezone(UTC))

    def _items(self, prefix: str, fields: str, **query: str) -> Iterator[dict[str, Any]]:
        """Yield what a listing has, without the marks of folders."""
        for page in self._pages(prefix, fields, None, **query):
            for item in page.get("items", ()):
                if not item["name"].endswith("/"):
                    yield item

    def _pages(self, prefix: str, fields: str, most: int | None, **query: str) -> Iterator[dict[str, Any]]:
        query = {"prefix": prefix, "fields": fields, **query}
        return listed(self._http, self._bucket_url, "the listing", _TIMEOUT, most=most, **query)

    def crc32c(self, stored: Stored) -> str:
        """See :class:`Destination`."""
        return stored.crc32c or ""

    def read(self, path: str) -> tuple[bytes, Stored] | None:
        """See :class:`Destination`."""
        where = f"{self.url}/{path}"
        url = f"{self._downloads}/{self._quoted(path)}?alt=media"
        with _reading(where):
            answer = retried(partial(self._whole, url, where))
            if answer is None:
                return None
            generation = answer.headers.get("X-Goog-Generation")
            stored: Stored | None
            if generation is None:
                # Not every emulator says which version it sends.
                stored = self.find(path)
            else:
                size = len(answer.content)
                stored = Stored(path, size, str(int(generation)), _stated_crc32c(answer))
        return (answer.content, stored) if stored else None

    def find(self, path: str) -> Stored | None:
        """See :class:`Destination`."""
        url = f"{self._bucket_url}/o/{self._quoted(path)}?fields=name,size,crc32c,generation"
        with _reading(f"{self.url}/{path}"):
            item = retried(partial(json_object, self._http, url, _TIMEOUT, may_be_missing=True))
            return self._facts(item) if item else None

    def _whole(self, url: str, where: str) -> Answer | None:
        """
        Return a small object, None if there is none. If it arrives corrupted, it is read once more.

        :raises _CorruptedError: if it arrives corrupted again
        """
        for _ in range(2):
            checksum = Crc32c()
            answer = fetched(
                self._http,
                url,
                _TIMEOUT,
                seconds=DEADLINE,
                check=partial(check_small, where=where),
                on_bytes=checksum.update,
            )
            if answer.status == 404:
                return None
            if answer.status != 200:
                raise api_error("GET", url, answer)
            if _stated_crc32c(answer) in (None, checksum.base64):
                return answer
        raise _CorruptedError

    def _quoted(self, path: str) -> str:
        return quote(self._prefix + path, safe="")

    def blocks(self, path: str) -> Iterator[bytes]:
        """See :class:`Destination`."""
        # Read in pieces, each with the client's own retries; the caller compares the checksum of the whole.
        start, piece = 0, b""
        url = f"{self._downloads}/{self._quoted(path)}?alt=media"
        while not start or len(piece) == _PIECE:
            with _reading(f"{self.url}/{path}"):
                found = self._piece(url, start, start + _PIECE)
            if found is None:
                raise AylaDestinationError(f"{self.url}/{path} does not exist")
            piece = found
            start += len(piece)
            for at in range(0, len(piece), CHUNK):
                yield piece[at : at + CHUNK]
            if not piece:
                return

    def read_range(self, stored: Stored, start: int, end: int) -> bytes:
        """See :class:`Destination`."""
        where = f"{self.url}/{stored.path}"
        url = f"{self._downloads}/{self._quoted(stored.path)}?alt=media&generation={stored.version}"
        with _reading(where):
            content = self._piece(url, start, end)
            if content is None:
                raise conflict(where)
            if len(content) != end - start:
                raise ValueError("the answer has fewer bytes than requested")
        return content

    def _piece(self, url: str, start: int, end: int) -> bytes | None:
        """Return bytes of an object, fewer than wanted at its end; None if there is no object."""
        wanted = {"Range": f"bytes={start}-{end - 1}"}

        def fetch() -> Answer:
            answer = fetched(
                self._http, url, _TIMEOUT, seconds=_PIECE / SLOWEST, check=_check_piece, headers=wanted, unpack=False
            )
            if answer.status not in (200, 206, 404, 416):
                raise api_error("GET", url, answer)
            return answer

        answer = retried(fetch)
        if answer.status == 416:
            return b""
        if answer.status == 404:
            return None
        if answer.status == 200 and start:
            raise ValueError("the answer starts at a different byte than requested")
        return answer.content

    def local(self, path: str) -> Path | None:
        """See :class:`Destination`."""
        return None

    def has_earlier_version(self, path: str) -> bool | None:
        """See :class:`Destination`."""
        return first_answer(
            [
                lambda: self._lists(path, "timeDeleted", versions="true"),
                lambda: self._lists(path, "softDeleteTime", softDeleted="true"),
            ]
        )

    def _lists(self, path: str, field: str, **which: str) -> bool:
        """Return whether a listing has an object of this name with a field that a live object doesn't have."""
        name = self._prefix + path
        # The first page is enough: names are sorted, and this one is the first that has the prefix.
        page = next(self._pages(name, f"items(name,generation,{field})", _VERSIONS, **which))
        return any(item["name"] == name and item.get(field) for item in page.get("items", ()))

    def write(
        self, path: str, stream: BinaryIO, *, size: int, crc32c: str | None, replaces: Stored | None, content_type: str
    ) -> Stored:
        """See :class:`Destination`."""
        where = f"{self.url}/{path}"
        md5: Callable[[], str | None] = _no_md5
        if crc32c is None and size > AT_ONCE and isinstance(stream, LeavesMd5):
            # Cloud Storage computes it of each object anyway.
            md5 = stream.leave_md5()
        with _translate_errors(where):
            try:
                stored, crc32c_sent = self._uploader.upload(
                    self._prefix + path,
                    stream,
                    size=size,
                    crc32c=crc32c,
                    if_generation_match=int(replaces.version) if replaces else 0,
                    content_type=content_type,
                    md5=md5,
                )
            except WrongMd5Error as error:
                self.remove(replace(error.stored, path=path))
                raise _corrupted(where, "the object is removed") from None
            except Exception as error:
                if getattr(error, "code", None) == 400 and md5() and _CHECKSUM.search(explanation(error)):
                    raise _corrupted(where, explanation(error)) from None
                if getattr(error, "code", None) != 412:
                    raise
                raise _refused(error, where) from None
        stored = replace(stored, path=path)
        if (stored.crc32c, stored.size) != (crc32c_sent, size):
            outcome = "Clear the task to replace the object."
            if crc32c is None:
                self.remove(stored)
                outcome = "It is removed. The task's next try sends it again."
            raise AylaDestinationError(
                f"{where}: the bucket says that it holds {stored.size} bytes with crc32c {stored.crc32c}, but {size} "
                f"bytes with {crc32c_sent} were sent. {outcome}"
            )
        return stored

    def remove(self, stored: Stored) -> None:
        """See :class:`Destination`."""
        where = f"{self.url}/{stored.path}"
        with _reading(where):
            # With a generation, a repeated request removes nothing else.
            if self._delete(self._prefix + stored.path, ifGenerationMatch=stored.version) == 412:
                raise conflict(where)

    def remove_for_good(self, stored: Stored) -> bool:
        """See :class:`Destination`."""
        with _reading(f"{self.url}/{stored.path}"):
            # A bucket with versions keeps none of a generation that is named.
            self._delete(self._prefix + stored.path, generation=stored.version)
        return True

    def _delete(self, name: str, **which: str) -> int:
        """Remove an object, and return the status of the answer: also one that says that it isn't there."""
        url = f"{self._bucket_url}/o/{quote(name, safe='')}?{urlencode(which)}"

        def send() -> int:
            response = self._http.request("DELETE", url, timeout=_TIMEOUT)
            if response.status not in (200, 204, 404, 412):
                raise api_error("DELETE", url, Answer(response.status, response.headers, response.data))
            return response.status

        return retried(send)

    def remove_earlier_versions(self, prefix: str) -> list[Leftover]:
        """See :class:`Destination`."""
        with _reading(f"{self.url}/{prefix}"):
            kept = [*self._remove_replaced(self._prefix + prefix), *self._soft_deleted(self._prefix + prefix)]
        return merged(kept)

    def _remove_replaced(self, prefix: str) -> Iterator[Leftover]:
        """Remove the generations of a bucket with versions, and yield what keeps others."""
        fields = "items(name,generation,timeDeleted,retentionExpirationTime,temporaryHold,eventBasedHold),nextPageToken"
        for item in self._asked(prefix, fields, versions="true"):
            if item is None:
                yield Leftover(self.url, NOT_ASKED, None)
            elif item.get("timeDeleted"):
                try:
                    self._delete(item["name"], generation=str(int(item["generation"])))
                except Exception as error:
                    if getattr(error, "code", None) != 403:
                        raise
                    is_locked = _KEPT.search(getattr(error, "message", "")) is not None
                    is_held = item.get("temporaryHold") or item.get("eventBasedHold")
                    # Nobody knows when a hold ends.
                    until = _until(item, "retentionExpirationTime") if is_locked and not is_held else None
                    yield Leftover(self.url, LOCKED if is_locked else NOT_ALLOWED, until)

    def _soft_deleted(self, prefix: str) -> Iterator[Leftover]:
        """Yield what soft delete keeps. Nobody can remove it earlier."""
        fields = "items(name,generation,softDeleteTime,hardDeleteTime),nextPageToken"
        for item in self._asked(prefix, fields, softDeleted="true"):
            if item is None:
                yield Leftover(self.url, NOT_ASKED, None)
            elif item.get("softDeleteTime"):
                yield Leftover(self.url, SOFT_DELETED, _until(item, "hardDeleteTime"))

    def _asked(self, prefix: str, fields: str, **which: str) -> Iterator[dict[str, Any] | None]:
        """Yield what a listing has; None if the bucket refuses it."""
        try:
            yield from self._items(prefix, fields, **which)
        except Exception as error:
            # A bucket without soft delete may refuse to be asked for it, and what only speaks the same language, too.
            if getattr(error, "code", None) not in (400, 403, 412, 501):
                raise
            yield None

    def _facts(self, item: dict[str, Any]) -> Stored:
        path = item["name"].removeprefix(self._prefix)
        return Stored(path, int(item["size"]), str(int(item["generation"])), item.get("crc32c"))


def _until(item: dict[str, Any], field: str) -> datetime | None:
    """Return a time of an object; None if it isn't stated."""
    return datetime.fromisoformat(item[field]).astimezone(UTC) if item.get(field) else None


class _CorruptedError(Exception):
    """What arrived doesn't have the checksum that Cloud Storage states."""


def _stated_crc32c(answer: Answer) -> str | None:
    match = re.search(r"crc32c=([A-Za-z0-9+/=]+)", answer.headers.get("X-Goog-Hash", ""))
    return match[1] if match else None


def _check_piece(size: int) -> None:
    if size > _PIECE:
        raise ValueError(f"the answer has more than the {_PIECE} bytes that were requested")


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
    except _CorruptedError:
        raise AylaDestinationError(
            f"{where}: Cloud Storage failed (what arrived had a wrong checksum, twice). {TEMPORARY}"
        ) from None
    except Exception as error:
        if not is_failure(error):
            raise
        raise _translated(error, where) from None


def _translated(error: Exception, where: str) -> AylaDestinationError:
    """Return the error that says what to do."""
    # Google's errors take long to import, so that this waits for the first one.
    from google.api_core.exceptions import Forbidden, NotFound

    if isinstance(error, Forbidden):
        if _KEPT.search(error.message):
            return kept(where, f"403: {explanation(error)}")
        return AylaDestinationError(
            f"{where}: the bucket denies access (403: {explanation(error)}). Allow the Google connection's "
            "account to list, read, create and replace objects there (the role Storage Object User includes all of it)."
        )
    if isinstance(error, NotFound):
        return AylaDestinationError(
            f"{where}: the bucket does not exist, or the upload has expired (404: {explanation(error)}). "
            "Check the name of the bucket in the destination. The task's next attempt starts a new upload."
        )
    return AylaDestinationError(
        f"{where}: Cloud Storage failed ({reason(error)}). {TEMPORARY} If it persists, check the connection."
    )


def _no_md5() -> None:
    """Return the MD5 of content whose source states none."""


def _corrupted(where: str, outcome: str) -> CorruptedError:
    return CorruptedError(
        f"{where}: what Cloud Storage got doesn't have the MD5 that the vendor's bucket says ({outcome}). Nothing was "
        "stored. If this happens again, report it to Ayla support."
    )


def _refused(error: Any, where: str) -> AylaError:
    """Return the error for an object that Cloud Storage refuses with 412."""
    if any(detail.get("reason") == "orgPolicyConstraintFailed" for detail in error.errors):
        return AylaDestinationError(
            f"{where}: a policy of your organization refuses the object (412: "
            f"{explanation(error)}). Change the bucket, for example give it a default key of Cloud KMS, "
            "and clear the task."
        )
    if _CHECKSUM.search(explanation(error)):
        return AylaDestinationError(
            f"{where}: the bucket refuses the object, because its bytes don't have the stated checksum "
            f"(412: {explanation(error)}). Nothing was stored. The task's next try sends it again."
        )
    return conflict(where)
