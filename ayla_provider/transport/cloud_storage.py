"""Google's own client for Cloud Storage, and listings of many pages; files go through :mod:`.http`."""

from __future__ import annotations

import contextlib
import json
import os
import re
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any
from urllib.parse import quote, urlencode, urlsplit

import requests
from google.api_core import exceptions as google_errors
from google.auth.transport.requests import AuthorizedSession, Request
from google.cloud import storage
from google.cloud.storage.retry import DEFAULT_RETRY
from urllib3.exceptions import HTTPError

from ayla_provider.errors import TEMPORARY, AylaUnavailable
from ayla_provider.transport import network as limits
from ayla_provider.transport.deadline import Deadline, SlowAnswerError
from ayla_provider.transport.http import CONNECTIONS, HttpClient, Response
from ayla_provider.transport.network import MOST_PAGES, PAGE_BYTES, Network, configure
from ayla_provider.transport.redaction import from_outside

if TYPE_CHECKING:
    from google.auth.credentials import Credentials


_PIECE = 64 * 1024


def storage_client(credentials: Credentials, endpoint: str, network: Network | None = None) -> storage.Client:
    """
    Return a google-cloud-storage client that follows no redirect and serves many threads.

    :param endpoint: Cloud Storage's URL
    :param network: proxy and CAs; the environment decides what it doesn't set
    """
    # The library asks for each bucket's metadata in the background, which Ayla's downscoped token may not.
    os.environ.setdefault("DISABLE_GCS_PYTHON_CLIENT_OTEL_BUCKET_METADATA", "true")
    network = network or Network()
    # For new tokens, where the credentials don't bring their own way to get them.
    token_session = requests.Session()
    configure(token_session, network, max_retries=3)
    token_request = Request(token_session)
    session = AuthorizedSession(credentials, auth_request=token_request)  # type: ignore[no-untyped-call]
    session.max_redirects = 0
    configure(session, network, pool_maxsize=CONNECTIONS)
    return storage.Client(
        project="-",
        credentials=credentials,
        client_options={"api_endpoint": endpoint},
        _http=session,
    )


def pages_of(listing: Any, what: str) -> Iterator[Any]:
    """
    Yield the pages of a listing, and stop one that never ends.

    :param listing: the library's iterator
    :param what: its name, for the error
    :raises AylaUnavailable: if it has more than :data:`~ayla_provider.transport.network.MOST_PAGES` pages
    """
    for number, page in enumerate(listing.pages):
        if number >= MOST_PAGES:
            raise AylaUnavailable(f"{what} does not end after {MOST_PAGES} pages. {TEMPORARY}")
        yield page


def listed(
    http: HttpClient, bucket_url: str, what: str, timeout: tuple[float, float], *, most: int | None, **query: str
) -> Iterator[dict[str, Any]]:
    """
    Yield the pages of a listing, as the JSON API has them, with the retries of Google's client.

    The client itself spends most of a page's time on what is around the request.

    :param bucket_url: the bucket in the JSON API
    :param what: the listing's name, for the error
    :param timeout: seconds to connect, and to wait for an answer or for its next bytes
    :param most: how many objects are needed; None for all
    :param query: of the request; empty values are left out
    :raises AylaUnavailable: if the listing has too many pages, or if a page takes too long or is too large
    :raises google.api_core.exceptions.GoogleAPIError: if Cloud Storage refuses, or fails, also after retries
    :raises requests.RequestException: if there is no usable answer
    :raises ValueError: if an answer is no JSON object
    """
    given = {name: value for name, value in query.items() if value}
    left = most
    for _ in range(MOST_PAGES):
        if left is not None:
            given["maxResults"] = str(left)
        url = f"{bucket_url}/o?{urlencode(given, quote_via=quote)}"
        page: dict[str, Any] = DEFAULT_RETRY(partial(_page, http, url, timeout))()
        yield page
        if left is not None:
            left -= len(page.get("items", ()))
        token = page.get("nextPageToken")
        if not token or left == 0:
            return
        given["pageToken"] = str(token)
    raise AylaUnavailable(f"{what} does not end after {MOST_PAGES} pages. {TEMPORARY}")


def _page(http: HttpClient, url: str, timeout: tuple[float, float]) -> dict[str, Any]:
    """Return one page of a listing."""
    host = urlsplit(url).netloc
    failure: Exception
    # The request itself makes the deadline that of this thread, and ends that.
    with contextlib.closing(Deadline(limits.DEADLINE)) as deadline:
        try:
            response = http.request(
                "GET", url, headers={"Accept-Encoding": "gzip"}, timeout=timeout, stream=True, deadline=deadline
            )
            content = _unpacked(response, host)
            deadline.check()
        except (HTTPError, SlowAnswerError) as error:
            failure = requests.ConnectionError(str(error))
            if deadline.expired:
                failure = AylaUnavailable(
                    f"{host} didn't finish its answer within {deadline.seconds:.0f} s. {TEMPORARY}"
                )
        else:
            return _json_object(response.status, content, url)
    raise failure  # outside of "except": the original error could show a proxy's password


def _unpacked(response: Response, host: str) -> bytes:
    """Return the content of an answer, and stop one that doesn't end."""
    unpack = zlib.decompressobj(wbits=31) if response.headers.get("Content-Encoding") == "gzip" else None
    content = bytearray()
    try:
        while piece := response.read(_PIECE):
            content += unpack.decompress(piece, PAGE_BYTES + 1 - len(content)) if unpack else piece
            if len(content) > PAGE_BYTES:
                raise AylaUnavailable(
                    f"{host} answered with more than {PAGE_BYTES} bytes, which no valid answer has. {TEMPORARY}"
                )
        if unpack and not unpack.eof:
            raise requests.ConnectionError(f"{host} ended its answer early")
    except zlib.error as error:
        response.close()
        raise requests.ConnectionError(f"{host} didn't answer in gzip ({error})") from None
    except BaseException:
        response.close()
        raise
    return bytes(content)


@dataclass(frozen=True, slots=True)
class _Answer:
    """What errors need of an answer."""

    status: int
    content: bytes

    def json(self) -> Any:
        return json.loads(self.content)


def _json_object(status: int, content: bytes, url: str) -> dict[str, Any]:
    """
    Return the JSON object of an answer.

    :raises google.api_core.exceptions.GoogleAPICallError: for a status that isn't a success
    :raises ValueError: if the answer is something else
    """
    if not 200 <= status < 300:
        raise api_error(status, content, f"GET {url}")
    page = json.loads(content)
    if not isinstance(page, dict):
        raise ValueError("the answer is no JSON object")
    return page


def api_error(status: int, content: bytes, request: str) -> google_errors.GoogleAPICallError:
    """
    Return the error that Google's client raises for an answer that isn't a success.

    :param request: its method and URL
    """
    answer = _Answer(status, content)
    try:
        problem = answer.json()["error"]
        message, errors = str(problem["message"]), problem.get("errors", ())
    except (ValueError, LookupError, TypeError, AttributeError, RecursionError):
        message, errors = from_outside(content.decode(errors="replace")) or "unknown error", ()
    return google_errors.from_http_status(  # type: ignore[no-any-return,no-untyped-call]
        status, f"{request}: {message}", errors=errors, response=answer
    )


def last_error(error: BaseException) -> BaseException:
    """Return what the last try met, if an error only says that the library's retries are over."""
    cause = getattr(error, "cause", None)
    return cause if isinstance(cause, BaseException) else error


def reason(error: BaseException) -> str:
    """Return the kind and the explanation of an error, for a message."""
    error = last_error(error)
    return f"{type(error).__name__}: {explanation(error)}"


def explanation(error: BaseException) -> str:
    """
    Return what Cloud Storage says in an error, without the address of the request, for a message.

    If something else answered than Cloud Storage, its words aren't quoted: the address may be one that only this
    machine reaches.
    """
    response = getattr(error, "response", None)
    if response is not None and not _is_of_cloud_storage(response):
        return f"{int(getattr(error, 'code', None) or 0)}, and not in the form of Cloud Storage's errors"
    text = str(getattr(error, "message", None) or error)
    text = re.sub(r"^[A-Z]+ https?://\S+: ", "", text)
    # What requests reports of a connection: only the reason in the brackets helps.
    text = re.sub(r"^HTTPS?ConnectionPool\(.*?\): Max retries exceeded with url: \S+ \(Caused by (.*)\)$", r"\1", text)
    return from_outside(text)


def _is_of_cloud_storage(response: requests.Response | _Answer) -> bool:
    try:
        return isinstance(response.json()["error"]["message"], str)
    except (ValueError, LookupError, TypeError, RecursionError):
        return False
