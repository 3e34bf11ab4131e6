"""Where credentials go: to a server whose certificate is trusted, and to no other host."""

from __future__ import annotations

import io
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
import trustme
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


def destination_at(url: str) -> GcsDestination:
    return GcsDestination(url, "a-bucket", credentials=CREDENTIALS)


def download(url: str) -> None:
    with closing(HttpClient(CREDENTIALS)) as http:
        http.request("GET", f"{url}/download/storage/v1/b/a-bucket/o/x?alt=media", timeout=(5, 5))


WAYS: dict[str, Callable[[str], Any]] = {
    "list of the source": lambda url: GcsSource(CREDENTIALS, "a-bucket", endpoint=url).folders("x/", "a listing"),
    "download": download,
    "small upload": lambda url: write(destination_at(url), b"x"),
    "large upload": lambda url: write(destination_at(url), b"x" * 5 * MIB),
    "list of the destination": lambda url: destination_at(url).folder("hour"),
    "read of the destination": lambda url: destination_at(url).read("hour.json"),
}


@pytest.mark.parametrize("way", WAYS)
def test_no_byte_goes_to_a_server_whose_certificate_is_not_trusted(tmp_path: Path, way: str) -> None:
    with LocalCloud(tls=tls_of(trustme.CA(), tmp_path)) as untrusted:
        with pytest.raises((AylaUnavailable, AylaDestinationError)) as refused:
            WAYS[way](untrusted.url)
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
    with closing(destination_at(server.url)) as destination, pytest.raises(AylaDestinationError):
        write(destination, b"x" * size)
    assert server.received
    assert other.received == []
