"""Google's own client for Cloud Storage, for listings and for people; files go through :mod:`.http`."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import requests
from google.auth.transport.requests import AuthorizedSession, Request
from google.cloud import storage

from ayla_provider.errors import TEMPORARY, AylaUnavailable
from ayla_provider.transport.http import CONNECTIONS
from ayla_provider.transport.network import MOST_PAGES, Network, configure
from ayla_provider.transport.redaction import from_outside

if TYPE_CHECKING:
    from google.auth.credentials import Credentials


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


def _is_of_cloud_storage(response: requests.Response) -> bool:
    try:
        return isinstance(response.json()["error"]["message"], str)
    except (ValueError, LookupError, TypeError, RecursionError):
        return False
