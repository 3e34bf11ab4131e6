"""Answers that drip or don't end: each request ends in time and with bounded memory."""

from __future__ import annotations

import gzip
import socket
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing

import boto3
import pytest
import requests
import s3fs
from botocore.config import Config
from google.auth.credentials import AnonymousCredentials
from urllib3.exceptions import ProtocolError

from ayla_provider.archive import async_client
from ayla_provider.archive import gcs as gcs_archive
from ayla_provider.archive.gcs import GcsDestination
from ayla_provider.archive.object_store import ObjectStorageDestination
from ayla_provider.archive.s3 import S3Store
from ayla_provider.archive.url import DestinationUrl
from ayla_provider.errors import AylaDestinationError, AylaUnavailable
from ayla_provider.local_cloud import LocalCloud
from ayla_provider.source import auth, gcs, s3
from ayla_provider.source.bucket import PassingError, Source, SourceObject
from ayla_provider.source.gcs import GcsSource
from ayla_provider.source.s3 import S3Source
from ayla_provider.transport import deadline, http, network
from ayla_provider.transport.http import HttpClient
from ayla_provider.transport.network import Network
from ayla_provider.transport.requests_session import configure
from tests.support.client import NOW, provider_of, settings_of

HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n"
LENGTH = b"Content-Length: 1000000\r\n\r\n"
CHUNKED = b"Transfer-Encoding: chunked\r\n\r\n"
DRIPS = {
    "headers": (b"HTTP/1.1 200 OK\r\nX: ", b"a"),
    "body": (HEAD + LENGTH, b" "),
    "chunks": (HEAD + CHUNKED, b"1\r\n \r\n"),
    "continue": (b"", b"HTTP/1.1 100 Continue\r\n\r\n"),
}
StartStream = Callable[[bytes, bytes, float], str]


@pytest.fixture(autouse=True)
def _short(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(deadline, "_TICK", 0.05)
    for module in (network, http, s3, gcs_archive, async_client):
        monkeypatch.setattr(module, "DEADLINE", 0.5)
    for module in (gcs, s3, gcs_archive, async_client):
        monkeypatch.setattr(module, "SLOWEST", 2000.0)
    monkeypatch.setattr(gcs, "_BLOCK", 1000)
    monkeypatch.setattr(s3, "_BLOCK", 1000)
    monkeypatch.setattr(gcs_archive, "_PIECE", 1000)


@pytest.fixture
def streams() -> Iterator[StartStream]:
    """Start servers that send a beginning, then the same bytes again and again."""
    stop = threading.Event()
    listeners = []

    def serve(listener: socket.socket, head: bytes, again: bytes, pause: float) -> None:
        while not stop.is_set():
            try:
                connection, _ = listener.accept()
            except OSError:
                return
            threading.Thread(target=send, args=(connection, head, again, pause), daemon=True).start()

    def send(connection: socket.socket, head: bytes, again: bytes, pause: float) -> None:
        with connection:
            try:
                connection.recv(65536)
                connection.sendall(head)
                while not stop.is_set():
                    connection.sendall(again)
                    time.sleep(pause)
            except OSError:
                pass

    def start(head: bytes, again: bytes, pause: float) -> str:
        listener = socket.create_server(("127.0.0.1", 0))
        listeners.append(listener)
        threading.Thread(target=serve, args=(listener, head, again, pause), daemon=True).start()
        return f"http://127.0.0.1:{listener.getsockname()[1]}"

    yield start
    stop.set()
    for listener in listeners:
        listener.close()


def get(url: str, most_bytes: int = 1000) -> None:
    with requests.Session() as session:
        configure(session, Network(), most_bytes=most_bytes)
        session.get(url, timeout=(5, 5))


@pytest.mark.parametrize("drip", DRIPS)
def test_a_request_whose_answer_drips_ends_in_time(streams: StartStream, drip: str) -> None:
    url = streams(*DRIPS[drip], 0.02)
    begun = time.monotonic()
    with pytest.raises(AylaUnavailable, match="didn't finish its answer within"):
        get(url, 10**9)
    with closing(HttpClient(AnonymousCredentials())) as client, pytest.raises(ProtocolError):
        client.request("GET", url, timeout=(5, 5))
    assert time.monotonic() - begun < 15


def test_an_answer_without_an_end_is_refused(streams: StartStream) -> None:
    url = streams(HEAD + CHUNKED, b"1000\r\n" + b" " * 4096 + b"\r\n", 0.0)
    with pytest.raises(AylaUnavailable, match="more than 1000 bytes"):
        get(url)


def test_a_packed_answer_is_measured_unpacked(streams: StartStream) -> None:
    packed = gzip.compress(b" " * 1_000_000)
    head = HEAD + b"Content-Encoding: gzip\r\nContent-Length: %d\r\n\r\n" % len(packed)
    with pytest.raises(AylaUnavailable, match="more than 1000 bytes"):
        get(streams(head + packed, b"", 1.0))


def cloud_storage(url: str) -> Source:
    return GcsSource(AnonymousCredentials(), "bucket", endpoint=url)


def amazon(url: str) -> Source:
    keys = {"aws_access_key_id": "a", "aws_secret_access_key": "b", "region_name": "us-east-1"}
    return S3Source(boto3.client("s3", endpoint_url=url, config=Config(retries={"max_attempts": 0}), **keys), "bucket")


@pytest.mark.parametrize("source_at", [cloud_storage, amazon])
def test_a_download_needs_a_minimum_rate(streams: StartStream, source_at: Callable[[str], Source]) -> None:
    source = source_at(streams(HEAD + LENGTH, b" ", 0.02))
    download = source.open(SourceObject("a.csv", 1_000_000, "AAAAAA==", 1, NOW), "a.csv", 0)
    with pytest.raises(PassingError, match="didn't finish"):
        download.read(1_000_000)
    download.close()
    source.close()
    assert not deadline._running


@pytest.mark.parametrize("source_at", [cloud_storage, amazon])
@pytest.mark.parametrize("drip", DRIPS)
def test_a_listing_that_drips_ends_in_time(streams: StartStream, source_at: Callable[[str], Source], drip: str) -> None:
    source = source_at(streams(*DRIPS[drip], 0.02))
    begun = time.monotonic()
    with closing(source), pytest.raises(AylaUnavailable):
        list(source.objects("a/", "the list"))
    assert time.monotonic() - begun < 15


def google(url: str) -> GcsDestination:
    credentials = AnonymousCredentials()
    return GcsDestination(url, "bucket", credentials=credentials)


def s3_archive(url: str) -> ObjectStorageDestination:
    fs = s3fs.S3FileSystem(key="a", secret="b", endpoint_url=url, skip_instance_cache=True)
    fs.retries = 1
    return ObjectStorageDestination(S3Store(fs, "bucket", {}), DestinationUrl.parse("s3://bucket"))


@pytest.mark.parametrize("destination_at", [google, s3_archive])
@pytest.mark.parametrize("drip", ["headers", "body"])
def test_reads_of_the_archive_end_in_time(
    streams: StartStream, destination_at: Callable[[str], GcsDestination], drip: str
) -> None:
    destination = destination_at(streams(*DRIPS[drip], 0.02))
    begun = time.monotonic()
    reads: dict[str, Callable[[], object]] = {
        "folder": lambda: destination.folder("a"),
        "read": lambda: destination.read("a/b.json"),
        "blocks": lambda: list(destination.blocks("a/b.csv")),
    }
    for read in reads.values():
        with pytest.raises(AylaDestinationError):
            read()
    assert time.monotonic() - begun < 30


def test_threads_that_wait_for_a_token_that_drips_end_in_time(streams: StartStream, cloud: LocalCloud) -> None:
    host = streams(*DRIPS["body"], 0.02)
    provider = provider_of(settings_of(cloud, host=host))
    begun = time.monotonic()
    with ThreadPoolExecutor(4) as pool:
        errors = [look.exception() for look in [pool.submit(provider, None, None) for _ in range(4)]]
    assert [type(error) for error in errors] == [AylaUnavailable] * 4
    assert time.monotonic() - begun < 15


def test_a_thread_waits_for_another_ones_token_for_a_limited_time(
    cloud: LocalCloud, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(auth, "_LOCK_WAIT", 0.05)
    provider = provider_of(settings_of(cloud))
    with provider._lock, pytest.raises(AylaUnavailable, match="another thread has been waiting for a token"):
        provider(None, None)
    assert provider(None, None)[0], "the lock is free again"
