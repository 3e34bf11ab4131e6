"""Google's own client for Cloud Storage, for listings and for people; files go through :mod:`.http`."""

from __future__ import annotations

import os
import re
from typing import TYPE_CHECKING

import requests
from google.api_core.exceptions import RetryError
from google.auth.transport.requests import AuthorizedSession, Request
from google.cloud import storage

from ayla_provider.transport.http import CONNECTIONS
from ayla_provider.transport.network import Network, configure
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
    token_request = Request(token_session)  # type: ignore[no-untyped-call]
    session = AuthorizedSession(credentials, auth_request=token_request)  # type: ignore[no-untyped-call]
    session.max_redirects = 0
    configure(session, network, pool_maxsize=CONNECTIONS)
    return storage.Client(
        project="-",
        credentials=credentials,
        client_options={"api_endpoint": endpoint},
        _http=session,
    )


def explanation(error: BaseException) -> str:
    """Return what Cloud Storage says in an error, without the address of the request, for a message."""
    text = str(getattr(error, "message", None) or error)
    text = re.sub(r"^[A-Z]+ https?://\S+: ", "", text)
    # What requests reports of a connection: only the reason in the brackets helps.
    text = re.sub(r"^HTTPS?ConnectionPool\(.*?\): Max retries exceeded with url: \S+ \(Caused by (.*)\)$", r"\1", text)
    if isinstance(error, RetryError) and error.cause is not None:
        # After the last try: what that try met says more than that the time is over.
        code = getattr(error.cause, "code", None)
        text += f", last: {f'{int(code)} ' if code else ''}{explanation(error.cause)}"
    return from_outside(text)
