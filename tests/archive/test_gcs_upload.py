"""Uploads to a bucket: with their metadata or streamed, continued where they were broken off."""

from __future__ import annotations

import io
import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread
from urllib.parse import parse_qs

import pytest
from google.api_core import exceptions as google_errors
from google.auth.credentials import AnonymousCredentials

from ayla_provider.archive.destination import Stored
from ayla_provider.archive.gcs import GcsDestination
from ayla_provider.archive.gcs_upload import AT_ONCE, GcsUploader
from ayla_provider.errors import AylaDestinationError
from ayla_provider.local_cloud import LocalCloud, SeededContent
from ayla_provider.transport.checksum import Crc32c
from ayla_provider.transport.http import HttpClient
from tests.support.client import bytes_of, customer_credentials, requests_of
from tests.support.web_server import Answering

KIB = 1024
QUARTER = 256 * KIB
LARGE = 16 * 1024 * KIB
NAME = "a/b c.csv"


def uploader_of(cloud: LocalCloud) -> GcsUploader:
    return GcsUploader(HttpClient(customer_credentials(cloud)), cloud.customer.name, cloud.url)


def upload(cloud: LocalCloud, content: bytes, generation: int = 0, *, late: bool = False) -> Stored:
    """Upload a content; ``late``: without a checksum, which then is that of what was read."""
    answer, checksum = uploader_of(cloud).upload(
        NAME,
        io.BytesIO(content),
        size=len(content),
        crc32c=None if late else Crc32c(content).base64,
        if_generation_match=generation,
        content_type="text/csv",
    )
    assert checksum == Crc32c(content).base64
    return answer


def stored(cloud: LocalCloud) -> bytes | None:
    found = cloud.customer.live(NAME)
    return None if found is None else bytes_of(found.content)


def sent(cloud: LocalCloud) -> list[tuple[str, int]]:
    """Return method and bytes of each upload request."""
    return [(request.method, request.received) for request in requests_of(cloud, "upload")]


@pytest.mark.parametrize("late", [False, True])
@pytest.mark.parametrize("size", [0, 1, AT_ONCE, AT_ONCE + 1, LARGE, LARGE + 1, 2 * LARGE + 12345])
def test_what_is_stored_is_what_was_sent(cloud: LocalCloud, size: int, late: bool) -> None:
    content = bytes_of(SeededContent(size, size))
    answer = upload(cloud, content, late=late)
    found = cloud.customer.live(NAME)
    assert found is not None
    assert stored(cloud) == content
    assert answer == Stored(found.name, size, str(found.generation), Crc32c(content).base64)
    assert len(sent(cloud)) == (1 if size <= AT_ONCE else 3 if late else 2)


@pytest.mark.parametrize("kept", [0, 1, QUARTER - 1, QUARTER, 5 * QUARTER + 7, LARGE - 1])
@pytest.mark.parametrize("breaks", [1, 2, 3])
@pytest.mark.parametrize("late", [False, True])
def test_a_broken_upload_is_continued_with_what_the_service_hasnt_kept(
    cloud: LocalCloud, kept: int, breaks: int, late: bool
) -> None:
    content = bytes_of(SeededContent("breaks", 3 * LARGE + 1))
    # Only requests that send bytes break, not those that ask what was kept.
    for _ in range(breaks):
        cloud.faults.add("cut_request", step="upload", method="PUT", match="upload_id", after_bytes=kept)
        cloud.faults.add("slow", step="upload", method="PUT", match="upload_id", delay=0.0)
    upload(cloud, content, late=late)
    assert stored(cloud) == content
    received = sum(size for method, size in sent(cloud) if method == "PUT")
    assert received <= len(content) + breaks * QUARTER, "what was kept isn't sent again"


@pytest.mark.parametrize("nth", [1, 2, 3])
def test_an_upload_whose_requests_break_one_after_the_other_is_continued(cloud: LocalCloud, nth: int) -> None:
    content = bytes_of(SeededContent("breaks", 3 * LARGE + 1))
    cloud.faults.add("cut_request", step="upload", method="PUT", times=nth, after_bytes=LARGE)
    upload(cloud, content)
    assert stored(cloud) == content


@dataclass
class Keeping:
    """A service that says after each request how much it has kept."""

    kept: list[int | None]
    """Bytes that each answer states; None for the object."""
    received: list[tuple[str, bytes]] = field(default_factory=list)
    """What each request states as its range, and its bytes."""


@contextmanager
def keeping(*kept: int | None) -> Iterator[tuple[Keeping, GcsUploader]]:
    state = Keeping(list(kept))

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            self.rfile.read(int(self.headers["Content-Length"]))
            host, port = self.server.server_address[:2]
            self._answer(200, b"{}", Location=f"http://{host!s}:{port}/session")

        def do_PUT(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            state.received.append((self.headers["Content-Range"], body))
            size = state.kept.pop(0)
            if size is None:
                facts = {"name": NAME, "size": "5000000", "crc32c": "x", "generation": "7"}
                self._answer(200, json.dumps(facts).encode())
            else:
                self._answer(308, b"", **({"Range": f"bytes=0-{size - 1}"} if size else {}))

        do_DELETE = do_PUT  # noqa: N815 - the library calls it

        def _answer(self, status: int, content: bytes, **headers: str) -> None:
            self.send_response(status)
            for name, value in headers.items():
                self.send_header(name, value)
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

        def log_message(self, *_: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True).start()
        try:
            http = HttpClient(AnonymousCredentials())
            yield state, GcsUploader(http, "bucket", f"http://127.0.0.1:{server.server_port}")
        finally:
            server.shutdown()


def upload_to(uploader: GcsUploader, content: bytes) -> Stored:
    stream, size = io.BytesIO(content), len(content)
    return uploader.upload(NAME, stream, size=size, crc32c="x", if_generation_match=0, content_type="text/csv")[0]


def test_a_service_that_keeps_only_a_part_gets_the_rest() -> None:
    content = bytes_of(SeededContent("part", 5_000_000))
    with keeping(QUARTER, 3_000_000, None) as (service, uploader):
        assert upload_to(uploader, content).version == "7"
    assert service.received == [
        ("bytes 0-4999999/5000000", content),
        (f"bytes {QUARTER}-4999999/5000000", content[QUARTER:]),
        ("bytes 3000000-4999999/5000000", content[3_000_000:]),
    ]


@pytest.mark.parametrize("then", [0, QUARTER - 1, 5_000_001])
def test_a_service_that_misses_what_it_had_kept_ends_the_upload(then: int) -> None:
    with keeping(QUARTER, then, 0) as (_, uploader), pytest.raises(ValueError, match="after it had kept 262144 bytes"):
        upload_to(uploader, bytes(5_000_000))


@pytest.mark.parametrize("kind", ["cut", "refused", 408, 429, 500, 503])
@pytest.mark.parametrize(("late", "request_number"), [(False, 1), (False, 2), (True, 1), (True, 2), (True, 3)])
def test_a_temporary_fault_of_any_request_is_retried(
    cloud: LocalCloud, kind: int | str, request_number: int, late: bool
) -> None:
    content = bytes_of(SeededContent("faults", 2 * LARGE + 1))
    cloud.faults.add(kind, step="upload", nth=request_number)
    upload(cloud, content, late=late)
    assert stored(cloud) == content


@pytest.mark.parametrize("kind", ["cut", "refused", 408, 429, 500, 503])
@pytest.mark.parametrize("request_number", [1, 2])
def test_a_temporary_fault_after_a_break_is_retried(cloud: LocalCloud, kind: int | str, request_number: int) -> None:
    content = bytes_of(SeededContent("faults", 2 * LARGE + 1))
    cloud.faults.add("cut_request", step="upload", method="PUT", after_bytes=LARGE)
    cloud.faults.add(kind, step="upload", method="PUT", nth=request_number)
    upload(cloud, content)
    assert stored(cloud) == content


def test_a_fault_that_stays_ends_it_and_leaves_nothing(cloud: LocalCloud) -> None:
    cloud.faults.add(503, step="upload", method="PUT", times=None)
    with pytest.raises(google_errors.GoogleAPIError):
        upload(cloud, bytes(2 * LARGE))
    assert stored(cloud) is None


@pytest.mark.parametrize("late", [False, True])
@pytest.mark.parametrize(("size", "request_number"), [(10, 1), (LARGE + 10, 2), (LARGE + 10, 3)])
def test_a_byte_that_is_corrupted_in_transit_is_refused_by_the_service(
    cloud: LocalCloud, size: int, request_number: int, late: bool
) -> None:
    if request_number == 3 and not late:
        pytest.skip("an upload whose checksum is known has two requests")
    cloud.faults.add("corrupt", step="upload", nth=request_number, after_bytes=0)
    with pytest.raises(google_errors.BadRequest):
        upload(cloud, bytes_of(SeededContent(1, size)), late=late)
    assert stored(cloud) is None


@pytest.mark.parametrize("late", [False, True])
@pytest.mark.parametrize("kept", [0, 1, 9])
def test_last_bytes_that_break_off_are_sent_again_with_the_checksum(cloud: LocalCloud, kept: int, late: bool) -> None:
    content = bytes_of(SeededContent("last", LARGE + 10))
    cloud.faults.add("cut_request", step="upload", method="PUT", nth=2 if late else 1, after_bytes=kept)
    upload(cloud, content, late=late)
    assert stored(cloud) == content


def test_what_a_service_stored_with_another_checksum_is_removed(answering: Callable[..., Answering]) -> None:
    server = answering(200, {"name": "a.csv", "size": "10", "crc32c": "AAAAAA==", "generation": "7"})
    destination = GcsDestination(server.url, "bucket", credentials=AnonymousCredentials())  # type: ignore[no-untyped-call]
    with pytest.raises(AylaDestinationError, match="It is removed"):
        destination.write("a.csv", io.BytesIO(bytes(10)), size=10, crc32c=None, replaces=None, content_type="text/csv")
    *_, (line, *_) = server.received
    assert line == "DELETE /storage/v1/b/bucket/o/a.csv?ifGenerationMatch=7"


@pytest.mark.parametrize("late", [False, True])
@pytest.mark.parametrize("size", [10, LARGE + 10])
def test_an_object_that_someone_else_stored_meanwhile_is_not_replaced(cloud: LocalCloud, size: int, late: bool) -> None:
    upload(cloud, b"theirs")
    with pytest.raises(google_errors.PreconditionFailed):
        upload(cloud, bytes(size), late=late)
    assert stored(cloud) == b"theirs"
    theirs = cloud.customer.live(NAME)
    assert theirs is not None
    upload(cloud, b"mine", generation=theirs.generation)
    assert stored(cloud) == b"mine"


def test_a_stream_that_is_too_short_stores_nothing(cloud: LocalCloud) -> None:
    for size in (20, 2 * LARGE):
        with pytest.raises(ValueError, match="ended after"):
            uploader_of(cloud).upload(
                NAME, io.BytesIO(b"short"), size=size, crc32c="AAAAAA==", if_generation_match=0, content_type="text/csv"
            )
    assert stored(cloud) is None


def test_an_upload_that_is_given_up_is_cancelled(cloud: LocalCloud) -> None:
    class Broken(io.BytesIO):
        def read(self, size: int | None = -1) -> bytes:
            if self.tell() >= LARGE:
                raise RuntimeError("the source is gone")
            return super().read(size)

    with pytest.raises(RuntimeError, match="the source is gone"):
        uploader_of(cloud).upload(
            NAME, Broken(bytes(2 * LARGE)), size=2 * LARGE, crc32c="x", if_generation_match=0, content_type="text/csv"
        )
    # The request that broke off can end after the one that cancels.
    assert [method for method, *_ in sent(cloud)].count("DELETE") == 1
    assert stored(cloud) is None


@pytest.mark.parametrize("size", [1, AT_ONCE + 1])
def test_an_upload_sets_nothing_that_a_bucket_has_a_default_for(answering: Callable[..., Answering], size: int) -> None:
    """Neither key nor storage class, nor an ACL, which a bucket with uniform access would refuse."""
    facts = {"name": NAME, "size": size, "crc32c": "", "generation": 1}
    bucket = answering(200, facts, Location="http://127.0.0.1:9/")
    uploader = GcsUploader(HttpClient(AnonymousCredentials()), "bucket", bucket.url)
    arguments = {"size": size, "crc32c": "AAAAAA==", "if_generation_match": 0, "content_type": "text/csv"}
    with suppress(ValueError):  # a large upload isn't continued at another host
        uploader.upload(NAME, io.BytesIO(bytes(size)), **arguments)
    ((line, _, body),) = bucket.received
    stated = json.loads(next(part for part in body.split(b"\r\n") if part.startswith(b"{")))
    assert stated == {"name": NAME, "crc32c": "AAAAAA==", "contentType": "text/csv"}
    assert set(parse_qs(line.partition("?")[2])) == {"uploadType", "ifGenerationMatch", "fields"}
