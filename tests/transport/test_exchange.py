"""What is read of an answer: its head and its content, however it is delimited; http.client is the oracle."""

from __future__ import annotations

import contextlib
import http.client
import io
import socket
import threading
from collections.abc import Iterator
from contextlib import closing
from typing import Any

import pytest
from google.auth.credentials import AnonymousCredentials
from hypothesis import given, settings
from hypothesis import strategies as st
from urllib3.exceptions import HTTPError

from ayla_provider.transport import http as transport
from ayla_provider.transport.exchange import _answer
from ayla_provider.transport.http import HttpClient, Response

OK = b"HTTP/1.1 200 OK\r\n"


def chunked(parts: list[bytes], extension: bytes = b"", trailer: bytes = b"") -> bytes:
    chunks = [b"%x%s\r\n%s\r\n" % (len(part), extension, part) for part in parts if part]
    return b"Transfer-Encoding: chunked\r\n\r\n" + b"".join(chunks) + b"0\r\n" + trailer + b"\r\n"


def read(response: Response, size: int) -> bytes:
    content = b""
    while block := response.read(size):
        content += block
    return content


class _Fake:
    """What http.client takes for a connection."""

    def __init__(self, data: bytes) -> None:
        self._data = data

    def makefile(self, *_: object) -> io.BytesIO:
        return io.BytesIO(self._data)


def oracle(data: bytes) -> tuple[int, str, dict[str, str], bytes]:
    response = http.client.HTTPResponse(_Fake(data), method="GET")  # type: ignore[arg-type]
    response.begin()
    headers = {name.lower(): value for name, value in response.getheaders()}
    return response.status, response.reason, headers, response.read()


NAMES = st.sampled_from(["X-Goog-Hash", "content-type", "Range", "Server"])
VALUES = st.text(st.characters(min_codepoint=33, max_codepoint=126), max_size=30)


@settings(max_examples=200, deadline=None)
@given(
    status=st.sampled_from([200, 206, 308, 404, 503]),
    headers=st.dictionaries(NAMES, VALUES, max_size=4),
    parts=st.lists(st.binary(max_size=50), max_size=6),
    framing=st.sampled_from(["length", "chunked", "close"]),
    continues=st.integers(0, 2),
    size=st.integers(1, 100),
)
def test_an_answer_is_read_as_http_client_reads_it(
    status: int, headers: dict[str, str], parts: list[bytes], framing: str, continues: int, size: int
) -> None:
    content = b"".join(parts)
    head = b"HTTP/1.1 100 Continue\r\n\r\n" * continues + b"HTTP/1.1 %d Some words\r\n" % status
    for name, value in headers.items():
        head += f"{name}: {value}\r\n".encode()
    framed = {
        "length": b"Content-Length: %d\r\n\r\n%s" % (len(content), content),
        "chunked": chunked(parts, b";a=b", b"X-After: 1\r\n"),
        "close": b"\r\n" + content,
    }
    data = head + framed[framing]
    response = _answer(io.BytesIO(data), "GET")
    wanted_status, reason, wanted_headers, wanted = oracle(data)
    assert (response.status, response.reason) == (wanted_status, reason)
    assert {name.lower(): value for name, value in response.headers.items()} == wanted_headers
    assert read(response, size) == wanted == content


@contextlib.contextmanager
def serving(*answers: bytes) -> Iterator[tuple[str, list[int]]]:
    """Give each request the next answer, and note on which connection it came; the last answer closes."""
    listener = socket.create_server(("127.0.0.1", 0))
    waiting, connections = list(answers), list[int]()

    def serve() -> None:
        number = 0
        while waiting:
            # It ends when the listener is closed.
            with contextlib.suppress(OSError), listener.accept()[0] as connection:
                number += 1
                while waiting and b"\r\n\r\n" in connection.recv(65536):
                    connections.append(number)
                    connection.sendall(waiting.pop(0))

    thread = threading.Thread(target=serve, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{listener.getsockname()[1]}/x", connections
    finally:
        waiting.clear()
        listener.close()


def ask(client: HttpClient, url: str, **options: Any) -> Response:
    return client.request("GET", url, timeout=(5, 5), **options)


@pytest.mark.parametrize(
    "answer",
    [
        b"",
        b"HTTP/1.1 200 OK",
        b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n",
        b"HTTP/2 200 OK\r\n\r\n",
        b"HTTP/1.1 2x0 OK\r\n\r\n",
        b"SSH-2.0-OpenSSH_9.2\r\n",
        OK + b"Content-Length: -1\r\n\r\n",
        OK + b"Content-Length: 4\r\nContent-Length: 5\r\n\r\nabcde",
        OK + b"Content-Length: 10\r\n\r\nabc",
        OK + b"Transfer-Encoding: gzip\r\n\r\nabc",
        OK + b"Transfer-Encoding: chunked\r\n\r\nxyz\r\n",
        OK + b"Transfer-Encoding: chunked\r\n\r\n-5\r\nabcde\r\n0\r\n\r\n",
        OK + b"Transfer-Encoding: chunked\r\n\r\n3\r\nabcdef\r\n0\r\n\r\n",
        OK + b"Transfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n",
        OK + b"Transfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n",
        OK + b"no colon\r\n\r\n",
        OK + b"X: 1\r\n folded\r\n\r\n",
        OK + b"X: 1\r\n" * 101 + b"\r\n",
        OK + b"X: " + b"a" * 70_000 + b"\r\n\r\n",
        OK + b"X: " + b"a" * 70_000,
    ],
)
def test_a_malformed_answer_is_an_error_of_the_connection(answer: bytes) -> None:
    with serving(answer) as (url, _), closing(HttpClient(AnonymousCredentials())) as client, pytest.raises(HTTPError):
        ask(client, url)


@pytest.mark.parametrize("framed", [b"Content-Length: 3\r\n\r\nabc", chunked([b"a", b"bc"])])
def test_a_connection_is_used_again_after_the_whole_answer(framed: bytes) -> None:
    with serving(OK + framed, OK + framed) as (url, connections), closing(HttpClient(AnonymousCredentials())) as client:
        assert ask(client, url).data == b"abc"
        response = ask(client, url, stream=True)
        assert read(response, 2) == b"abc"
        assert connections == [1, 1]


@pytest.mark.parametrize("way", ["unread", "HTTP/1.0", "close"])
def test_a_connection_that_can_have_more_bytes_is_not_used_again(way: str) -> None:
    framed = b"Content-Length: 3\r\n\r\nabc"
    first = {"unread": OK, "HTTP/1.0": b"HTTP/1.0 200 OK\r\n", "close": OK + b"Connection: close\r\n"}[way] + framed
    with serving(first, OK + framed) as (url, connections), closing(HttpClient(AnonymousCredentials())) as client:
        response = ask(client, url, stream=True)
        if way != "unread":
            assert read(response, 2) == b"abc"
        response.close()
        assert ask(client, url).data == b"abc"
        assert connections == [1, 2]


@pytest.mark.parametrize("value", ["a\r\nX-Other: b", "a\nX-Other: b", "a\rb"])
def test_a_header_adds_no_other_header(value: str) -> None:
    with serving(OK + b"Content-Length: 0\r\n\r\n") as (url, connections):
        with closing(HttpClient(AnonymousCredentials())) as client, pytest.raises(ValueError, match="line break"):
            ask(client, url, headers={"X-One": value})
        assert connections == []


def test_an_address_adds_no_other_word() -> None:
    with serving(OK + b"Content-Length: 0\r\n\r\n") as (url, connections):
        with closing(HttpClient(AnonymousCredentials())) as client, pytest.raises(ValueError, match="space"):
            ask(client, f"{url} HTTP/1.0")
        assert connections == []


def test_a_server_that_says_nothing_is_given_up() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener, closing(HttpClient(AnonymousCredentials())) as client:
        url = f"http://127.0.0.1:{listener.getsockname()[1]}/x"
        with pytest.raises(HTTPError, match="timed out"):
            client.request("GET", url, timeout=(5, 0.3))


@pytest.mark.parametrize("rest", [b"", b"a" * 100])
def test_a_large_answer_whose_rest_does_not_come_is_given_up(rest: bytes) -> None:
    some, stop = b"b" * (300 * 1024) + rest, threading.Event()
    with socket.create_server(("127.0.0.1", 0)) as listener, closing(HttpClient(AnonymousCredentials())) as client:

        def serve() -> None:
            with listener.accept()[0] as connection:
                connection.recv(65536)
                connection.sendall(OK + b"Content-Length: 1000000\r\n\r\n" + some)
                stop.wait(20)

        thread = threading.Thread(target=serve)
        thread.start()
        url = f"http://127.0.0.1:{listener.getsockname()[1]}/x"
        response = client.request("GET", url, timeout=(5, 0.3), stream=True)
        with pytest.raises(HTTPError, match="timed out"):
            read(response, 2**20)
        stop.set()
        thread.join()


def test_a_body_that_nobody_takes_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(transport, "DEADLINE", 0.3)
    monkeypatch.setattr(transport, "SLOWEST", 2**60)
    with socket.create_server(("127.0.0.1", 0)) as listener, closing(HttpClient(AnonymousCredentials())) as client:
        url = f"http://127.0.0.1:{listener.getsockname()[1]}/x"
        # More than the buffers of both ends hold.
        with pytest.raises(HTTPError, match=r"timed out|didn't finish"):
            client.request("POST", url, body=bytes(64 * 2**20), timeout=(5, 5))
