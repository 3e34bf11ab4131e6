from __future__ import annotations

import time
from typing import TYPE_CHECKING

import pytest
import requests

from ayla_provider.local_cloud import Fault
from ayla_provider.local_cloud.contents import CHUNK, crc32c_of
from ayla_provider.local_cloud.uploads import QUANTUM
from tests.local_cloud.clients import acs, customer_token, list_url, object_url, sign_in, upload_url

if TYPE_CHECKING:
    from ayla_provider.local_cloud import LocalCloud
    from ayla_provider.local_cloud.traffic import RequestRecord

NAME = "1a2b3c4d/Datapoint/2024-05-09 02:00:00/a.csv"
DATA = bytes(range(256)) * (3 * CHUNK // 256)


@pytest.fixture
def content(cloud: LocalCloud) -> str:
    cloud.put_object("Datapoint", "2024-05-09 02:00:00", "a.csv", DATA)
    return object_url(cloud, cloud.vendor.name, NAME) + "?alt=media"


def test_the_nth_request_fails_and_as_many_after_it(cloud: LocalCloud, vendor: requests.Session, content: str) -> None:
    fault = cloud.faults.add(Fault(503, step="download", nth=2, times=2))
    assert [vendor.get(content).status_code for _ in range(4)] == [200, 503, 503, 200]
    assert (fault.seen, fault.fired) == (4, 2)
    assert [one.fault for one in cloud.requests if one.step == "download"] == [None, "503", "503", None]


def test_a_fault_can_last(cloud: LocalCloud, vendor: requests.Session, content: str) -> None:
    cloud.faults.add(500, step="download", times=None)
    assert {vendor.get(content).status_code for _ in range(5)} == {500}
    cloud.faults.clear()
    assert vendor.get(content).status_code == 200


def test_only_what_matches_fails(cloud: LocalCloud, vendor: requests.Session, content: str) -> None:
    cloud.faults.add(503, step="list", match="prefix=1a2b3c4d/Datapoint Ack/", times=None)
    cloud.faults.add(404, match=r"\d\d:00:00/a\.csv\?alt", method="GET", times=None)
    url = list_url(cloud, cloud.vendor.name)
    assert vendor.get(url, params={"prefix": "1a2b3c4d/Datapoint/"}).status_code == 200
    assert vendor.get(url, params={"prefix": "1a2b3c4d/Datapoint Ack/"}).status_code == 503
    assert vendor.get(content).status_code == 404


def test_each_step_can_fail(cloud: LocalCloud, vendor: requests.Session, customer: requests.Session) -> None:
    cloud.put_object("Datapoint", "2024-05-09 02:00:00", "a.csv", DATA)
    url = object_url(cloud, cloud.vendor.name, NAME)
    calls = {
        "sign_in": lambda: sign_in(cloud),
        "refresh": lambda: requests.post(f"{cloud.url}/users/refresh_token.json", json={}, timeout=60),
        "sign_out": lambda: requests.post(f"{cloud.url}/users/sign_out.json", json={}, timeout=60),
        "acs": lambda: acs(cloud, "any"),
        "token": lambda: requests.post(f"{cloud.url}/oauth2/token", timeout=60),
        "list": lambda: vendor.get(list_url(cloud, cloud.vendor.name), params={"prefix": "1a2b3c4d/"}),
        "metadata": lambda: vendor.get(url),
        "download": lambda: vendor.get(url, params={"alt": "media"}),
        "upload": lambda: customer.post(upload_url(cloud, "media"), params={"name": "x"}, data=DATA),
        "delete": lambda: customer.delete(object_url(cloud, cloud.customer.name, "x")),
        "bucket": lambda: customer.get(f"{cloud.url}/storage/v1/b/{cloud.customer.name}"),
    }
    for step, call in calls.items():
        cloud.faults.add(418, step=step)
        assert call().status_code == 418, step
        assert call().status_code != 418, step
    assert cloud.customer.names == []


def test_too_many_requests_come_with_retry_after(cloud: LocalCloud) -> None:
    cloud.faults.add(429, step="sign_in")
    assert sign_in(cloud).headers["Retry-After"] == "1"
    cloud.faults.add(503, step="sign_in", retry_after=7, body="<html>busy</html>", content_type="text/html")
    answer = sign_in(cloud)
    assert (answer.headers["Retry-After"], answer.text) == ("7", "<html>busy</html>")
    assert answer.headers["Content-Type"].startswith("text/html")
    assert cloud.refusals == 0


def test_errors_have_the_form_of_the_service(cloud: LocalCloud, vendor: requests.Session) -> None:
    cloud.faults.add(503, step="list")
    assert vendor.get(list_url(cloud, cloud.vendor.name)).json()["error"]["code"] == 503
    cloud.faults.add(401, step="acs")
    assert isinstance(acs(cloud, "any").json()["error"], str)


@pytest.mark.parametrize("after", [0, 1000, CHUNK, 2 * CHUNK + 7])
def test_a_connection_is_cut_in_the_middle(
    cloud: LocalCloud, vendor: requests.Session, content: str, after: int
) -> None:
    cloud.faults.add("cut", step="download", after_bytes=after)
    got: list[bytes] = []
    with vendor.get(content, stream=True) as answer:
        assert answer.headers["Content-Length"] == str(len(DATA))
        with pytest.raises(requests.exceptions.ChunkedEncodingError):
            got.extend(answer.iter_content(1000))
    assert DATA.startswith(b"".join(got))
    assert len(b"".join(got)) <= after
    assert vendor.get(content).content == DATA
    assert [one.sent for one in cloud.requests if one.fault == "cut"] == [after]


@pytest.mark.parametrize("at", [0, CHUNK + 3, len(DATA) - 1])
def test_a_byte_is_flipped_under_the_same_checksum(
    cloud: LocalCloud, vendor: requests.Session, content: str, at: int
) -> None:
    cloud.faults.add("corrupt", step="download", after_bytes=at)
    answer = vendor.get(content)
    assert [place for place, (one, two) in enumerate(zip(answer.content, DATA, strict=True)) if one != two] == [at]
    assert crc32c_of(DATA) in answer.headers["X-Goog-Hash"]
    assert vendor.get(content).content == DATA


def test_a_body_ends_early_and_its_length_agrees(cloud: LocalCloud, vendor: requests.Session, content: str) -> None:
    cloud.faults.add("truncate", step="download", after_bytes=10)
    assert vendor.get(content).content == DATA[:10]


def test_an_upload_is_corrupted_on_its_way(cloud: LocalCloud, customer: requests.Session) -> None:
    upload = {"params": {"name": "x"}, "headers": {"X-Goog-Hash": f"crc32c={crc32c_of(DATA)}"}}
    cloud.faults.add("corrupt", step="upload", after_bytes=5)
    assert customer.post(upload_url(cloud, "media"), data=DATA, **upload).status_code == 400
    assert customer.post(upload_url(cloud, "media"), data=DATA, **upload).status_code == 200


def test_an_upload_whose_answer_is_lost_is_stored(cloud: LocalCloud, customer: requests.Session) -> None:
    cloud.faults.add("cut", step="upload")
    with pytest.raises(requests.exceptions.ChunkedEncodingError):
        customer.post(upload_url(cloud, "media"), params={"name": "x"}, data=b"x")
    assert cloud.customer.names == ["x"]


def test_a_slow_answer_is_an_answer(cloud: LocalCloud) -> None:
    cloud.faults.add("slow", step="token", delay=0.01)
    assert customer_token(cloud)


def test_bytes_drip_until_the_client_has_enough(cloud: LocalCloud, vendor: requests.Session, content: str) -> None:
    cloud.faults.add("drip", step="sign_in", delay=0.0)
    assert sign_in(cloud).json()["access_token"]
    cloud.faults.add("drip", step="download", delay=0.01)
    with vendor.get(content, stream=True) as answer:
        assert answer.headers["Content-Length"] == str(len(DATA))
        assert [next(answer.iter_content(1)) for _ in range(5)] == [
            DATA[:1],
            *(DATA[at : at + 1] for at in range(1, 5)),
        ]
    ended = wait_for_record(cloud, "drip", "download")
    assert 5 <= ended.sent < 1000, "nothing is sent to a client that is gone"


@pytest.mark.parametrize("step", ["sign_in", "download"])
def test_an_answer_never_ends(cloud: LocalCloud, vendor: requests.Session, content: str, step: str) -> None:
    cloud.faults.add("endless", step=step)
    url = f"{cloud.url}/users/sign_in.json" if step == "sign_in" else content
    with vendor.request("POST" if step == "sign_in" else "GET", url, stream=True) as answer:
        assert "Content-Length" not in answer.headers
        received = 0
        for piece in answer.iter_content(CHUNK):
            received += len(piece)
            if received > 2 * len(DATA):
                break
    assert wait_for_record(cloud, "endless", step).sent >= received


def test_a_listing_never_ends_or_continues_after_an_empty_page(cloud: LocalCloud, vendor: requests.Session) -> None:
    cloud.put_object("Datapoint", "2024-05-09 02:00:00", "a.csv", DATA)
    cloud.faults.add("endless", step="list", times=3)
    token, pages = "", []
    while token is not None:
        page = vendor.get(list_url(cloud, cloud.vendor.name), params={"prefix": "1a2b3c4d/", "pageToken": token}).json()
        pages.append([item["name"] for item in page.get("items", ())])
        token = page.get("nextPageToken")
    assert pages == [[], [], [], [NAME]]


def test_a_small_answer_unpacks_to_a_large_and_deep_one(cloud: LocalCloud) -> None:
    cloud.faults.add("bomb", step="sign_in", size=1_000_000)
    answer = sign_in(cloud)
    assert answer.content == b"[" * 1_000_000
    assert cloud.requests[-1].sent < 5000
    with pytest.raises((RecursionError, requests.JSONDecodeError)):
        answer.json()
    assert cloud.sign_ins == 0


def wait_for_record(cloud: LocalCloud, kind: str, step: str) -> RequestRecord:
    """Return the record of a request with a fault; it is there once the server has noticed that the client is gone."""
    for _ in range(500):
        for record in list(cloud.requests):
            if (record.fault, record.step) == (kind, step):
                return record
        time.sleep(0.01)
    raise AssertionError(f"the cloud still sends: {kind} at {step}")


@pytest.mark.parametrize("details", [{"kind": "explode"}, {"kind": 500, "step": "lunch"}])
def test_a_fault_that_cannot_be_is_refused(details: dict[str, str]) -> None:
    with pytest.raises(ValueError, match="expected"):
        Fault(**details)  # type: ignore[arg-type]


def test_a_request_can_find_nobody_at_one_step(cloud: LocalCloud, vendor: requests.Session, content: str) -> None:
    cloud.faults.add("refused", step="sign_in")
    with pytest.raises(requests.ConnectionError):
        sign_in(cloud)
    assert cloud.sign_ins == 1, "the session's own"
    assert vendor.get(content).status_code == 200
    assert sign_in(cloud).status_code == 200
    tried = [(one.status, one.fault) for one in cloud.requests if one.step == "sign_in"]
    assert tried == [(200, None), (0, "refused"), (200, None)]


def test_nobody_listens_for_a_while(cloud: LocalCloud) -> None:
    url = cloud.url
    with cloud.not_listening(), pytest.raises(requests.ConnectionError, match="refused"):
        sign_in(cloud)
    assert sign_in(cloud).status_code == 200
    assert cloud.url == url


@pytest.mark.parametrize("after", [0, 1, QUANTUM - 1, QUANTUM, 2 * QUANTUM + 5, len(DATA) - 1])
def test_of_an_upload_that_breaks_off_whole_quanta_are_kept(
    cloud: LocalCloud, customer: requests.Session, after: int
) -> None:
    started = customer.post(upload_url(cloud, "resumable"), json={"name": "x"})
    url, total = started.headers["Location"], len(DATA)
    cloud.faults.add("cut_request", step="upload", method="PUT", after_bytes=after)
    with pytest.raises(requests.ConnectionError):
        customer.put(url, data=DATA, headers={"Content-Range": f"bytes 0-{total - 1}/{total}"})
    assert cloud.customer.names == []
    asked = customer.put(url, headers={"Content-Range": f"bytes */{total}"})
    kept = after // QUANTUM * QUANTUM
    assert (asked.status_code, asked.headers.get("Range")) == (308, f"bytes=0-{kept - 1}" if kept else None)
    rest = customer.put(url, data=DATA[kept:], headers={"Content-Range": f"bytes {kept}-{total - 1}/{total}"})
    assert rest.json()["crc32c"] == crc32c_of(DATA)
    broken = next(one for one in cloud.requests if one.fault == "cut_request")
    assert (broken.received, broken.status) == (after, 0)


def test_a_request_that_is_shorter_than_its_cut_is_reset_at_its_end(
    cloud: LocalCloud, customer: requests.Session
) -> None:
    cloud.faults.add("cut_request", step="upload", after_bytes=1000, times=None)
    for data in (b"", b"short"):
        with pytest.raises(requests.ConnectionError):
            customer.post(upload_url(cloud, "media"), params={"name": "x"}, data=data, timeout=5)
    assert cloud.customer.names == []


@pytest.mark.parametrize("kind", ["media", "multipart"])
def test_of_an_upload_in_one_request_that_breaks_off_nothing_is_kept(
    cloud: LocalCloud, customer: requests.Session, kind: str
) -> None:
    cloud.faults.add("cut_request", step="upload", after_bytes=len(DATA) // 2)
    headers = {"Content-Type": "multipart/related; boundary=sep"}
    with pytest.raises(requests.ConnectionError):
        customer.post(upload_url(cloud, kind), params={"name": "x"}, data=DATA, headers=headers)
    assert cloud.customer.names == []
