"""Requests to Cloud Storage with the retries and the errors of Google's own client, and that client itself."""

from __future__ import annotations

import contextlib
import json
import os
import re
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any, TypeVar
from urllib.parse import quote, urlencode, urlsplit

from urllib3.exceptions import HTTPError, ProtocolError

from ayla_provider.errors import TEMPORARY, AylaError, AylaUnavailable
from ayla_provider.transport import network as limits
from ayla_provider.transport.deadline import Deadline, SlowAnswerError
from ayla_provider.transport.http import CONNECTIONS, HttpClient, content_of
from ayla_provider.transport.network import MOST_PAGES, PAGE_BYTES, Network
from ayla_provider.transport.redaction import from_outside

if TYPE_CHECKING:
    from google.api_core.exceptions import GoogleAPICallError
    from google.auth.credentials import Credentials
    from google.cloud import storage

# Google's client, with what it imports, takes a task longer than its copy. So it is imported where something fails, and
# for people who ask for it.

_T = TypeVar("_T")

_MALFORMED = (ValueError, TypeError, KeyError, AttributeError, OverflowError, RecursionError)
"""What a malformed answer leads to."""


def storage_client(credentials: Credentials, endpoint: str, network: Network | None = None) -> storage.Client:
    """
    Return a google-cloud-storage client that follows no redirect and serves many threads.

    :param endpoint: Cloud Storage's URL
    :param network: proxy and CAs; the environment decides what it doesn't set
    """
    import requests
    from google.auth.transport.requests import AuthorizedSession, Request
    from google.cloud import storage

    from ayla_provider.transport.requests_session import configure

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


@dataclass(frozen=True, slots=True)
class Answer:
    """An answer as a whole."""

    status: int
    headers: Mapping[str, str]
    content: bytes

    def json(self) -> Any:
        """
        Return the content, read as JSON.

        :raises ValueError: if it isn't JSON
        """
        return json.loads(self.content)


def retried(call: Callable[[], _T]) -> _T:
    """
    Call a function, and call it again after a failure that may pass. The rule is that of Google's client.

    :raises google.api_core.exceptions.RetryError: if the rule's time is over; ``cause`` is the last failure
    :raises Exception: what the function raises
    """
    started = time.monotonic()
    try:
        return call()
    except Exception as error:  # noqa: BLE001 - the rule knows which may pass
        failures = [error]
    from google.cloud.storage.retry import DEFAULT_RETRY

    def call_again() -> _T:
        # The rule hears of the first failure as if it had called the function itself.
        if failures:
            raise failures.pop()
        return call()

    left = max(0.0, DEFAULT_RETRY.timeout - (time.monotonic() - started))
    result: _T = DEFAULT_RETRY.with_timeout(left)(call_again)()
    return result


def may_pass(error: Exception) -> bool:
    """Return whether a failure is one that :func:`retried` calls a function again for."""
    from google.cloud.storage.retry import DEFAULT_RETRY

    return bool(DEFAULT_RETRY._predicate(error))


def fetched(
    http: HttpClient,
    url: str,
    timeout: tuple[float, float],
    *,
    seconds: float,
    check: Callable[[int], None],
    headers: Mapping[str, str] | None = None,
    on_bytes: Callable[[bytes], object] = len,
    unpack: bool = True,
) -> Answer:
    """
    Return the answer to one request, with any status.

    :param timeout: seconds to connect, and to wait for an answer or for its next bytes
    :param seconds: for the request as a whole
    :param check: gets the number of bytes before they are taken, and raises if the answer may not have so many
    :param on_bytes: gets the content as it was sent
    :param unpack: unpack content in gzip
    :raises AylaUnavailable: if the answer takes too long
    :raises urllib3.exceptions.HTTPError: if there is no usable answer
    """
    failure: Exception
    # The request itself makes the deadline that of this thread, and ends that.
    with contextlib.closing(Deadline(seconds)) as deadline:
        try:
            sent = {"Accept-Encoding": "gzip", **(headers or {})}
            response = http.request("GET", url, headers=sent, timeout=timeout, stream=True, deadline=deadline)
            content = content_of(response, check, on_bytes, unpack=unpack)
            deadline.check()
        except (HTTPError, SlowAnswerError) as error:
            failure = ProtocolError(str(error))
            if deadline.expired:
                host = urlsplit(url).netloc
                failure = AylaUnavailable(f"{host} didn't finish its answer within {seconds:.0f} s. {TEMPORARY}")
        else:
            return Answer(response.status, response.headers, content)
    raise failure  # outside of "except": the original error could show a proxy's password


def listed(
    http: HttpClient, bucket_url: str, what: str, timeout: tuple[float, float], *, most: int | None, **query: str
) -> Iterator[dict[str, Any]]:
    """
    Yield the pages of a listing, as the JSON API has them, with the retries of Google's client.

    :param bucket_url: the bucket in the JSON API
    :param what: the listing's name, for the error
    :param timeout: seconds to connect, and to wait for an answer or for its next bytes
    :param most: how many objects are needed; None for all
    :param query: of the request; empty values are left out
    :raises AylaUnavailable: if the listing has too many pages, or if a page takes too long or is too large
    :raises google.api_core.exceptions.GoogleAPIError: if Cloud Storage refuses, or fails, also after retries
    :raises urllib3.exceptions.HTTPError: if there is no usable answer
    :raises ValueError: if an answer is no JSON object
    """
    given = {name: value for name, value in query.items() if value}
    left = most
    for _ in range(MOST_PAGES):
        if left is not None:
            given["maxResults"] = str(left)
        url = f"{bucket_url}/o?{urlencode(given, quote_via=quote)}"
        page = retried(partial(json_object, http, url, timeout))
        yield page
        if left is not None:
            left -= len(page.get("items", ()))
        token = page.get("nextPageToken")
        if not token or left == 0:
            return
        given["pageToken"] = str(token)
    raise AylaUnavailable(f"{what} does not end after {MOST_PAGES} pages. {TEMPORARY}")


def json_object(
    http: HttpClient, url: str, timeout: tuple[float, float], *, may_be_missing: bool = False
) -> dict[str, Any]:
    """
    Return the JSON object that is at a URL.

    :param may_be_missing: return an empty one if nothing is there
    :raises google.api_core.exceptions.GoogleAPICallError: for a status that isn't a success
    :raises ValueError: if the answer is something else
    """

    def check(size: int) -> None:
        if size > PAGE_BYTES:
            raise AylaUnavailable(
                f"{urlsplit(url).netloc} answered with more than {PAGE_BYTES} bytes, which no valid answer has. "
                f"{TEMPORARY}"
            )

    answer = fetched(http, url, timeout, seconds=limits.DEADLINE, check=check)
    if answer.status == 404 and may_be_missing:
        return {}
    if not 200 <= answer.status < 300:
        raise api_error("GET", url, answer)
    page = answer.json()
    if not isinstance(page, dict):
        raise ValueError("the answer is no JSON object")
    return page


def api_error(method: str, url: str, answer: Answer) -> GoogleAPICallError:
    """Return the error that Google's client raises for an answer."""
    from google.api_core.exceptions import from_http_status

    try:
        problem = answer.json()["error"]
        message, errors = str(problem["message"]), problem.get("errors", ())
    except (ValueError, LookupError, TypeError, AttributeError, RecursionError):
        message, errors = from_outside(answer.content.decode(errors="replace")) or "unknown error", ()
    error: GoogleAPICallError = from_http_status(  # type: ignore[no-untyped-call]
        answer.status, f"{method} {url}: {message}", errors=errors, response=answer
    )
    return error


def is_failure(error: Exception) -> bool:
    """Return whether an error is what a request to Cloud Storage, or a malformed answer to it, can raise."""
    if isinstance(error, AylaError):
        return False
    if isinstance(error, (HTTPError, SlowAnswerError, *_MALFORMED)):
        return True
    from google.api_core.exceptions import GoogleAPIError
    from google.auth.exceptions import GoogleAuthError
    from requests import RequestException

    return isinstance(error, GoogleAPIError | GoogleAuthError | RequestException)


def is_malformed(error: Exception) -> bool:
    """Return whether an error is what a malformed answer leads to."""
    return isinstance(error, _MALFORMED)


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


def _is_of_cloud_storage(response: Any) -> bool:
    try:
        return isinstance(response.json()["error"]["message"], str)
    except (ValueError, LookupError, TypeError, RecursionError):
        return False
