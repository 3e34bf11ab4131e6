"""The vendor's bucket in Cloud Storage, within what a downscoped token may do."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterator
from datetime import UTC, datetime
from functools import cached_property
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

from google.auth.exceptions import GoogleAuthError
from urllib3.exceptions import HTTPError

from ayla_provider.errors import TEMPORARY, AylaAccessDenied, AylaError, AylaTransferError, AylaUnavailable
from ayla_provider.source.bucket import (
    ObjectVersion,
    PassingError,
    SourceObject,
    byte_range,
    check_folders,
    translate_connection_errors,
)
from ayla_provider.source.settings import STORAGE_ENDPOINT
from ayla_provider.transport.cloud_storage import is_failure, is_malformed, last_error, listed, reason, storage_client
from ayla_provider.transport.deadline import SLOWEST, Deadline, SlowAnswerError
from ayla_provider.transport.http import HttpClient, Response
from ayla_provider.transport.network import Network
from ayla_provider.transport.redaction import from_outside

if TYPE_CHECKING:
    from google.auth.credentials import Credentials
    from google.cloud import storage

TIMEOUT = (10, 60)
"""Seconds to connect, and to wait for an answer or for its next bytes."""

_ITEMS = "items(name,size,crc32c,generation,timeCreated)"
_FIELDS = f"{_ITEMS},nextPageToken"
_TEMPORARY_STATUSES = (401, 408, 429, 500, 502, 503, 504)
_CONNECTION_ERRORS = (HTTPError, OSError, GoogleAuthError)
_BLOCK = 1024 * 1024


class GcsSource:
    """
    A bucket in Cloud Storage, listed and downloaded from with :class:`HttpClient`.

    :param credentials: the vendor's, such as :meth:`ayla_provider.source.auth.TokenProvider.credentials`
    :param endpoint: Cloud Storage's URL. It is always set, because ``STORAGE_EMULATOR_HOST`` may be meant for the
        customer's bucket.
    :param network: proxy and CAs; the environment decides what it doesn't set
    """

    def __init__(
        self,
        credentials: Credentials,
        bucket: str,
        *,
        endpoint: str = STORAGE_ENDPOINT,
        network: Network | None = None,
    ) -> None:
        self.credentials = credentials
        self.bucket = bucket
        self.url = f"gs://{bucket}"
        self.requests = 0
        self._endpoint = endpoint
        self._network = network
        self._http = HttpClient(credentials, network)
        self._bucket_url = f"{endpoint}/storage/v1/b/{quote(bucket, safe='')}"
        self._downloads = f"{endpoint}/download/storage/v1/b/{quote(bucket, safe='')}/o/"

    @cached_property
    def client(self) -> storage.Client:
        """Google's own client, for people: see :meth:`ayla_provider.hooks.AylaHook.get_conn`."""
        return storage_client(self.credentials, self._endpoint, self._network)

    def objects(
        self, prefix: str, what: str, *, start_offset: str = "", end_offset: str = "", max_results: int | None = None
    ) -> Iterator[SourceObject]:
        """See :class:`~ayla_provider.source.bucket.Source`."""
        query = {"prefix": prefix, "startOffset": start_offset, "endOffset": end_offset, "fields": _FIELDS}
        with translate_errors(what):
            for page in self._pages(what, max_results, **query):
                for item in page.get("items", ()):
                    yield _object(item, what)

    def folders(self, prefix: str, what: str) -> list[str]:
        """See :class:`~ayla_provider.source.bucket.Source`."""
        query = {"prefix": prefix, "delimiter": "/", "fields": "prefixes,nextPageToken", "maxResults": "1000"}
        with translate_errors(what):
            names: set[str] = set()
            for page in self._pages(what, None, **query):
                names.update(page.get("prefixes", ()))
                check_folders(len(names), what)
            return sorted(name[len(prefix) : -1] for name in names)

    def children(self, prefix: str, what: str) -> Iterator[SourceObject | str]:
        """See :class:`~ayla_provider.source.bucket.Source`."""
        query = {"prefix": prefix, "delimiter": "/", "fields": f"{_ITEMS},prefixes,nextPageToken"}
        with translate_errors(what):
            for page in self._pages(what, None, **query):
                for item in page.get("items", ()):
                    yield _object(item, what)
                for folder in page.get("prefixes", ()):
                    yield str(folder)[:-1]

    def _pages(self, what: str, most: int | None, **query: str) -> Iterator[dict[str, Any]]:
        for page in listed(self._http, self._bucket_url, what, TIMEOUT, most=most, **query):
            self.requests += 1
            yield page

    def open(self, version: ObjectVersion, what: str, offset: int, end: int | None = None) -> _GcsDownload:
        """See :class:`~ayla_provider.source.bucket.Source`."""
        # With "gzip", Cloud Storage sends packed objects as they are; the checksum in the listing is of those bytes.
        headers = {"Accept-Encoding": "gzip"}
        if wanted := byte_range(offset, end):
            headers["Range"] = wanted
        url = f"{self._downloads}{quote(version.name, safe='')}?alt=media&generation={version.generation}"
        with translate_connection_errors(*_CONNECTION_ERRORS):
            deadline = Deadline(_BLOCK / SLOWEST)
            try:
                response = self._http.request(
                    "GET", url, headers=headers, timeout=TIMEOUT, stream=True, deadline=deadline
                )
            except BaseException:
                deadline.close()
                raise
            download = _GcsDownload(response, deadline)
            try:
                _check(download, f"{what}, generation {version.generation}", offset)
            except BaseException:
                download.close()
                raise
        return download

    def close(self) -> None:
        """Close all connections; the next request opens new ones."""
        if "client" in vars(self):
            self.client.close()
        self._http.close()


class _GcsDownload:
    md5: str | None = None

    def __init__(self, response: Response, deadline: Deadline) -> None:
        self.response = response
        self._deadline = deadline
        deadline.pause()

    def read(self, size: int) -> bytes:
        with translate_connection_errors(*_CONNECTION_ERRORS, SlowAnswerError), self._deadline.step():
            return self.response.read(min(size, _BLOCK))

    def close(self) -> None:
        self._deadline.close()
        self.response.close()


def _check(download: _GcsDownload, what: str, offset: int) -> None:
    """Make sure that the content of an answer begins at an offset."""
    response = download.response
    status = response.status
    if status == 206:
        if not response.headers.get("Content-Range", "").startswith(f"bytes {offset}-"):
            raise PassingError("the answer starts at a different byte than requested")
        return
    if status == 200:
        _skip(download, offset)
        return
    if status in _TEMPORARY_STATUSES:
        raise PassingError(f"Cloud Storage answered {status} {from_outside(response.reason)}")
    if status == 404:
        raise AylaTransferError(
            f"{what} vanished or was replaced after it was listed. The task's next attempt lists the hour again and "
            "copies what exists then."
        )
    if status == 403:
        raise AylaAccessDenied(
            f"{what}: Cloud Storage refuses the download (403){_words(response)}. The bucket could be listed, so "
            "oem_id and bucket in the connection are most likely right: ask Ayla support about this object."
        )
    raise AylaUnavailable(
        f"{what}: Cloud Storage answered {status} {from_outside(response.reason)} to the download. {TEMPORARY}"
    )


def _words(response: Response) -> str:
    """Return what a refusal says, for a message; empty if it says nothing."""
    with contextlib.suppress(HTTPError, ValueError, KeyError, TypeError):
        message = json.loads(response.read(_BLOCK))["error"]["message"]
        return f', "{from_outside(message)}"'
    return ""


def _skip(download: _GcsDownload, size: int) -> None:
    """Read past the bytes that a server without ranges sends again."""
    while size:
        skipped = download.read(min(_BLOCK, size))
        if not skipped:
            raise PassingError("the answer ended early")
        size -= len(skipped)


def _object(item: dict[str, Any], what: str) -> SourceObject:
    size, generation = _number(item.get("size")), _number(item.get("generation"))
    crc32c, created = item.get("crc32c"), item.get("timeCreated")
    valid = {
        "size": size >= 0,
        "crc32c": isinstance(crc32c, str),
        "generation": generation >= 0,
        "timeCreated": created is not None,
    }
    problems = [name for name, is_valid in valid.items() if not is_valid]
    if problems:
        which = f"{', '.join(problems)} of {from_outside(repr(item.get('name')))}"
        raise AylaUnavailable(
            f"{what}: {which} {'are' if problems[1:] else 'is'} missing or not valid. {TEMPORARY} If it persists, ask "
            "Ayla support about this object."
        )
    return SourceObject(_text(item["name"]), size, _text(crc32c), generation, _time(created))


def _number(value: Any) -> int:
    """Return a number, which Cloud Storage writes as text; -1 if there is none."""
    return -1 if value is None else int(value)


def _text(value: object) -> str:
    if not isinstance(value, str):
        raise TypeError(f"{value!r} is no text")
    return value


def _time(value: object) -> datetime:
    time = datetime.fromisoformat(_text(value))
    if time.tzinfo is None:
        raise ValueError(f"{value!r} has no offset")
    return time.astimezone(UTC)


@contextlib.contextmanager
def translate_errors(what: str) -> Iterator[None]:
    """
    Turn the errors of google-cloud-storage into errors that say what to do.

    :param what: what was attempted, for the message
    :raises AylaAccessDenied: for 403, and for a bucket that doesn't exist
    :raises AylaUnavailable: for everything else
    """
    try:
        yield
    except AylaUnavailable as error:
        # What the connection itself raises, for an answer that is too long or too late, doesn't know the purpose.
        if str(error).startswith(what):
            raise
        raise AylaUnavailable(f"{what}: {error}") from None
    except Exception as error:
        if not is_failure(error):
            raise
        raise _translated(error, what) from None


def _translated(error: Exception, what: str) -> AylaError:
    """Return the error that says what to do."""
    # Google's errors take long to import, so that this waits for the first one.
    from google.api_core.exceptions import Forbidden, GoogleAPIError, NotFound
    from requests import RequestException

    if isinstance(error, Forbidden):
        return AylaAccessDenied(
            f"{what}: Cloud Storage denies access (403: {reason(error)}). Ayla's token can only read below <oem_id>/ "
            "in Ayla's bucket. Check oem_id, bucket, and prefix in the connection against the dashboard (OEM Profile, "
            "Data Export). If they are right, ask Ayla support whether the token may list all of this folder: a token "
            "for one event folder isn't enough."
        )
    if isinstance(error, NotFound):
        return AylaAccessDenied(
            f"{what}: the bucket or object does not exist (404: {reason(error)}). Check bucket in the connection."
        )
    known = isinstance(error, GoogleAPIError | GoogleAuthError | RequestException)
    if is_malformed(error) and not known:
        return AylaUnavailable(f"{what}: no usable answer from Cloud Storage ({reason(error)}). {TEMPORARY}")
    if "requester pays" in str(error):
        return AylaAccessDenied(
            f"{what}: who reads this bucket must pay for it ({reason(error)}), and Ayla's token names nobody to "
            "pay. Check bucket in the connection. If it is right, ask Ayla support to change this setting."
        )
    code = getattr(last_error(error), "code", None)
    problem = f"Cloud Storage answered {int(code)}" if code else "no answer from Cloud Storage"
    return AylaUnavailable(f"{what}: {problem} ({reason(error)}), also after retries. {TEMPORARY}")
