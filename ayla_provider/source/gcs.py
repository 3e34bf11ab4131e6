"""The vendor's bucket in Cloud Storage, within what a downscoped token may do."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any, cast
from urllib.parse import quote

import requests
from google.api_core import exceptions as google_errors
from google.auth.exceptions import GoogleAuthError
from google.cloud import storage
from requests import RequestException
from urllib3.exceptions import HTTPError

from ayla_provider.errors import TEMPORARY, AylaAccessDenied, AylaTransferError, AylaUnavailable
from ayla_provider.source.bucket import MOST_PAGES, PassingError, SourceObject, broken_off, byte_range, describe_file
from ayla_provider.source.settings import STORAGE_ENDPOINT, Network
from ayla_provider.transport.session import authorized_session

if TYPE_CHECKING:
    from google.auth.credentials import Credentials

    from ayla_provider.domain.paths import ExportFile

TIMEOUT = (10, 60)
"""Seconds to connect, and to wait for an answer or for the next bytes."""

_FIELDS = "items(name,size,crc32c,generation,timeCreated),nextPageToken"
_PASSING = (401, 408, 429, 500, 502, 503, 504)
_BROKEN = (RequestException, HTTPError, OSError, GoogleAuthError)
_BLOCK = 1024 * 1024


def storage_client(credentials: Credentials, endpoint: str, network: Network | None = None) -> storage.Client:
    """
    Return a google-cloud-storage client with these credentials.

    :param endpoint: Cloud Storage's URL; stated always, so that ``STORAGE_EMULATOR_HOST``, which may be meant for
        another bucket, doesn't catch the vendor's
    :param network: see :func:`~ayla_provider.transport.session.authorized_session`
    """
    # The library asks for each bucket's metadata in the background, which a downscoped token is refused.
    os.environ.setdefault("DISABLE_GCS_PYTHON_CLIENT_OTEL_BUCKET_METADATA", "true")
    return storage.Client(
        project="-",
        credentials=credentials,
        client_options={"api_endpoint": endpoint},
        _http=authorized_session(credentials, network),
    )


class GcsSource:
    """
    A bucket in Cloud Storage.

    :param credentials: the vendor's, such as :meth:`ayla_provider.source.auth.TokenProvider.credentials`
    :param endpoint: Cloud Storage's URL
    :param network: proxy and CAs, where they aren't as the environment says
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
        self.client = storage_client(credentials, endpoint, network)
        self.bucket = bucket
        self.url = f"gs://{bucket}"
        self.requests = 0
        self._base = f"{endpoint}/download/storage/v1/b/{quote(bucket, safe='')}/o/"

    def objects(
        self, prefix: str, what: str, *, start_offset: str = "", end_offset: str = "", max_results: int | None = None
    ) -> Iterator[SourceObject]:
        """See :class:`~ayla_provider.source.bucket.Source`."""
        with translated(what):
            listed = self.client.list_blobs(
                self.bucket,
                prefix=prefix,
                start_offset=start_offset or None,
                end_offset=end_offset or None,
                fields=_FIELDS,
                max_results=max_results,
                timeout=TIMEOUT,
            )
            for page in self._pages(listed, what):
                for blob in page:
                    yield _object(blob, what)

    def folders(self, prefix: str, what: str) -> list[str]:
        """See :class:`~ayla_provider.source.bucket.Source`."""
        with translated(what):
            listed = self.client.list_blobs(
                self.bucket,
                prefix=prefix,
                delimiter="/",
                fields="prefixes,nextPageToken",
                page_size=1000,
                timeout=TIMEOUT,
            )
            names = sorted({name for page in self._pages(listed, what) for name in page.prefixes})
            return [name[len(prefix) : -1] for name in names]

    def _pages(self, listing: Any, what: str) -> Iterator[Any]:
        """Yield the pages of a listing; one that has no end is none."""
        for number, page in enumerate(listing.pages):
            self.requests += 1
            if number >= MOST_PAGES:
                raise AylaUnavailable(f"{what}: there is no end to it after {MOST_PAGES} pages. {TEMPORARY}")
            yield page

    def open(self, file: ExportFile, offset: int, end: int | None = None) -> _GcsDownload:
        """See :class:`~ayla_provider.source.bucket.Source`."""
        # Accept-Encoding: gzip keeps Cloud Storage from unpacking what is stored packed: the checksum is of that.
        headers = {"Accept-Encoding": "gzip"}
        if asked := byte_range(offset, end):
            headers["Range"] = asked
        with broken_off(*_BROKEN):
            # The client's own session, so that to close the client closes all.
            response = self.client._http.get(
                self._base + quote(file.name, safe=""),
                params={"alt": "media", "generation": str(file.generation)},
                headers=headers,
                stream=True,
                timeout=TIMEOUT,
            )
            try:
                _check(response, file, offset)
            except BaseException:
                response.close()
                raise
        return _GcsDownload(response)


class _GcsDownload:
    md5: str | None = None

    def __init__(self, response: requests.Response) -> None:
        self._response = response

    def read(self, size: int) -> bytes:
        with broken_off(*_BROKEN):
            return cast("bytes", self._response.raw.read(size, decode_content=False))

    def close(self) -> None:
        self._response.close()


def _check(response: requests.Response, file: ExportFile, offset: int) -> None:
    status = response.status_code
    if status == 206:
        if not response.headers.get("Content-Range", "").startswith(f"bytes {offset}-"):
            raise PassingError("the answer starts at another byte than asked for")
        return
    if status == 200:
        # The whole object again, from a server without ranges: pass over what is known.
        known = offset
        while known:
            passed = response.raw.read(min(_BLOCK, known), decode_content=False)
            if not passed:
                raise PassingError("the answer ended early")
            known -= len(passed)
        return
    if status in _PASSING:
        raise PassingError(f"Cloud Storage answered {status} {response.reason}")
    what = describe_file(file)
    if status == 404:
        raise AylaTransferError(
            f"{what}: generation {file.generation} vanished or was replaced after it was listed. The task's "
            "next try lists the hour again and takes what stands there then."
        )
    if status == 403:
        raise AylaAccessDenied(
            f"{what}: Cloud Storage refuses the download (403). Ayla's token reads below <oem_id>/ alone: check "
            "oem_id and bucket in the connection."
        )
    raise AylaUnavailable(f"{what}: Cloud Storage answered {status} {response.reason} to the download. {TEMPORARY}")


def _object(blob: storage.Blob, what: str) -> SourceObject:
    facts = (blob.size, blob.crc32c, blob.generation, blob.time_created)
    if any(fact is None for fact in facts) or blob.size < 0 or blob.generation < 0 or not isinstance(blob.crc32c, str):
        raise AylaUnavailable(
            f"{what}: the entry of {blob.name!r} lacks size, crc32c, generation or timeCreated, or has an impossible "
            f"one. {TEMPORARY}"
        )
    return SourceObject(blob.name, *facts)


@contextlib.contextmanager
def translated(what: str) -> Iterator[None]:
    """
    Turn the errors of google-cloud-storage into errors that say what to do.

    :param what: what was tried, for the message
    :raises AylaAccessDenied: for 403 and a bucket that isn't there
    :raises AylaUnavailable: for everything else
    """
    try:
        yield
    except google_errors.Forbidden as error:
        raise AylaAccessDenied(
            f"{what}: Cloud Storage refuses it (403: {_reason(error)}). Ayla's token reads below <oem_id>/ in Ayla's "
            "bucket alone: check oem_id and bucket in the connection against the dashboard (OEM Profile, Data Export)."
        ) from None
    except google_errors.NotFound as error:
        raise AylaAccessDenied(
            f"{what}: there is no such bucket or object (404: {_reason(error)}). Check bucket in the connection."
        ) from None
    except (google_errors.GoogleAPIError, GoogleAuthError, RequestException) as error:
        # Where it was asked again until the time was over, the error of that holds the last one.
        code = getattr(getattr(error, "cause", None) or error, "code", None)
        told = f"Cloud Storage answered {int(code)}" if code else "no answer from Cloud Storage"
        raise AylaUnavailable(f"{what}: {told} ({_reason(error)}), also when asked again. {TEMPORARY}") from None
    # What the library makes of a malformed answer.
    except (ValueError, TypeError, KeyError, AttributeError, OverflowError, RecursionError) as error:
        raise AylaUnavailable(f"{what}: no usable answer from Cloud Storage ({_reason(error)}). {TEMPORARY}") from None


def _reason(error: BaseException) -> str:
    cause = getattr(error, "cause", None) or error
    text = getattr(cause, "message", None) or str(cause)
    return f"{type(cause).__name__}: {text}"[:300]
