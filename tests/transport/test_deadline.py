"""Answers that drip or don't end: each request ends in time and with bounded memory."""

from __future__ import annotations

import gzip
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import closing

import pytest
import requests
from google.auth.credentials import AnonymousCredentials
from urllib3.exceptions import ProtocolError

from ayla_provider.errors import AylaUnavailable
from ayla_provider.source import gcs
from ayla_provider.source.bucket import PassingError, SourceObject
from ayla_provider.source.gcs import GcsSource
from ayla_provider.transport import deadline, http, network
from ayla_provider.transport.http import HttpClient
from ayla_provider.transport.network import Network, configure
from tests.support.client import NOW

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
    monkeypatch.setattr(network, "DEADLINE", 0.5)
    monkeypatch.setattr(http, "DEADLINE", 0.5)
    monkeypatch.setattr(gcs, "_BLOCK", 1000)
    monkeypatch.setattr(gcs, "SLOWEST", 2000.0)


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


def test_a_download_needs_a_minimum_rate(streams: StartStream) -> None:
    source = GcsSource(AnonymousCredentials(), "bucket", endpoint=streams(HEAD + LENGTH, b" ", 0.02))
    download = source.open(SourceObject("a.csv", 1_000_000, "AAAAAA==", 1, NOW), "a.csv", 0)
    with pytest.raises(PassingError, match="didn't finish"):
        download.read(1_000_000)
    download.close()
    source.close()
    assert not deadline._running
