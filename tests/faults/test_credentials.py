"""Where credentials go: to a server whose certificate is trusted, and to no other host."""

from __future__ import annotations

import io
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
import trustme
from google.cloud import storage
from google.oauth2.credentials import Credentials

from ayla_provider.archive.gcs import GcsDestination
from ayla_provider.errors import AylaDestinationError, AylaUnavailable
from ayla_provider.local_cloud import LocalCloud
from ayla_provider.source.gcs import GcsSource
from ayla_provider.transport.checksum import Crc32c
from ayla_provider.transport.http import HttpClient
from tests.source.test_sign_in import tls_of
from tests.support.web_server import Answering

MIB = 1024 * 1024


CREDENTIALS = Credentials(token="secret-token")


def customer_at(url: str) -> storage.Client:
    return storage.Client("-", credentials=CREDENTIALS, client_options={"api_endpoint": url})


def destination_at(client: storage.Client) -> GcsDestination:
    return GcsDestination(client, "a-bucket", credentials=CREDENTIALS)


def download(client: storage.Client, url: str) -> None:
    with closing(HttpClient(CREDENTIALS)) as http:
        http.request("GET", f"{url}/download/storage/v1/b/a-bucket/o/x?alt=media", timeout=(5, 5))


def list_source(client: storage.Client, url: str) -> None:
    GcsSource(CREDENTIALS, "a-bucket", endpoint=url).folders("x/", "a listing")


WAYS: dict[str, Callable[[storage.Client, str], Any]] = {
    "list of the source": list_source,
    "download": download,
    "small upload": lambda client, url: write(destination_at(client), b"x"),
    "large upload": lambda client, url: write(destination_at(client), b"x" * 5 * MIB),
    "list of the destination": lambda client, url: destination_at(client).folder("hour"),
}


@pytest.mark.parametrize("way", WAYS)
def test_no_byte_goes_to_a_server_whose_certificate_is_not_trusted(tmp_path: Path, way: str) -> None:
    with LocalCloud(tls=tls_of(trustme.CA(), tmp_path)) as untrusted, closing(customer_at(untrusted.url)) as client:
        with pytest.raises((AylaUnavailable, AylaDestinationError)) as refused:
            WAYS[way](client, untrusted.url)
        assert "CERTIFICATE_VERIFY_FAILED" in str(refused.value)
        assert "secret-token" not in str(refused.value)
        assert untrusted.requests == []


def write(destination: GcsDestination, content: bytes) -> None:
    destination.write(
        "a.csv",
        io.BytesIO(content),
        size=len(content),
        crc32c=Crc32c(content).base64,
        replaces=None,
        content_type="text/csv",
    )


@pytest.mark.parametrize("status", [200, 301, 302, 307, 308])
@pytest.mark.parametrize("size", [10, 5 * MIB])
def test_an_upload_that_is_sent_elsewhere_takes_neither_token_nor_content_there(
    answering: Callable[..., Answering], status: int, size: int
) -> None:
    other = answering(200)
    server = answering(status, {}, Location=f"{other.url}/session")
    with closing(customer_at(server.url)) as client, pytest.raises(AylaDestinationError):
        write(destination_at(client), b"x" * size)
    assert server.received
    assert other.received == []
