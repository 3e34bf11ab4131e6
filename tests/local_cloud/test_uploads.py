from __future__ import annotations

import json
import socket
from typing import TYPE_CHECKING, Any

import pytest
import requests
from google.api_core import exceptions

from ayla_provider.local_cloud.contents import crc32c_of
from tests.local_cloud.clients import object_url, upload_url

if TYPE_CHECKING:
    from google.cloud import storage

    from ayla_provider.local_cloud import LocalCloud

KIB_256 = 256 * 1024
NAME = "event_type=datapoint/hour=02/ü b.csv"
DATA = bytes(range(256)) * 4000
WRONG = crc32c_of(b"something else")


def multipart(
    cloud: LocalCloud, customer: requests.Session, metadata: dict[str, Any], data: bytes
) -> requests.Response:
    body = b'--sep\r\nContent-Type: application/json; charset="utf-8"\r\n\r\n' + json.dumps(metadata).encode()
    body += b"\r\n--sep\r\nContent-Type: text/csv\r\n\r\n" + data + b"\r\n--sep--"
    headers = {"Content-Type": 'multipart/related; boundary="sep"'}
    return customer.post(upload_url(cloud, "multipart"), data=body, headers=headers)


def start(cloud: LocalCloud, customer: requests.Session, **query: Any) -> str:
    answer = customer.post(upload_url(cloud, "resumable"), json={"name": NAME}, params=query)
    assert answer.status_code == 200
    return answer.headers["Location"]


def put(url: str, data: bytes, content_range: str, **headers: str) -> requests.Response:
    return requests.put(url, data=data, headers={"Content-Range": content_range, **headers}, timeout=60)


def stored(cloud: LocalCloud) -> bytes | None:
    found = cloud.customer.live(NAME)
    return b"".join(found.content.chunks(0, found.content.size)) if found else None


def test_a_simple_upload(cloud: LocalCloud, customer: requests.Session) -> None:
    headers = {"Content-Type": "text/csv"}
    answer = customer.post(upload_url(cloud, "media"), params={"name": NAME}, data=DATA, headers=headers)
    assert answer.json()["crc32c"] == crc32c_of(DATA)
    assert answer.json()["contentType"] == "text/csv"
    assert stored(cloud) == DATA


def test_a_multipart_upload_keeps_its_metadata(cloud: LocalCloud, customer: requests.Session) -> None:
    data = b"\r\n--se\r\n\r\n" + DATA
    answer = multipart(cloud, customer, {"name": NAME, "metadata": {"run": "1"}, "crc32c": crc32c_of(data)}, data)
    assert answer.json()["metadata"] == {"run": "1"}
    assert answer.json()["contentType"] == "text/csv"
    assert stored(cloud) == data


@pytest.mark.parametrize("hashes", [{"crc32c": WRONG}, {"md5Hash": WRONG}])
def test_a_wrong_checksum_is_refused(cloud: LocalCloud, customer: requests.Session, hashes: dict[str, str]) -> None:
    assert multipart(cloud, customer, {"name": NAME, **hashes}, DATA).status_code == 400
    assert stored(cloud) is None
    url = start(cloud, customer)
    last = f"bytes 0-{len(DATA) - 1}/{len(DATA)}"
    assert put(url, DATA, last, **{"X-Goog-Hash": f"crc32c={WRONG}"}).status_code == 400
    assert stored(cloud) is None


@pytest.mark.parametrize("name", ["", ".", "..", "a\nb", "x" * 1025])
def test_a_name_that_google_would_not_have_is_refused(cloud: LocalCloud, customer: requests.Session, name: str) -> None:
    assert multipart(cloud, customer, {"name": name}, DATA).status_code == 400


@pytest.mark.parametrize("body", [b"", b"--sep\r\n\r\n{}\r\n--sep--", b"--sep\r\n\r\nno\r\n--sep\r\n\r\n\r\n--sep--"])
def test_a_malformed_multipart_body_is_refused(cloud: LocalCloud, customer: requests.Session, body: bytes) -> None:
    headers = {"Content-Type": "multipart/related; boundary=sep"}
    assert customer.post(upload_url(cloud, "multipart"), data=body, headers=headers).status_code == 400


def test_a_resumable_upload_in_pieces(cloud: LocalCloud, customer: requests.Session) -> None:
    url = start(cloud, customer)
    total = len(DATA)
    status = put(url, b"", f"bytes */{total}")
    assert (status.status_code, "Range" in status.headers) == (308, False)
    piece = put(url, DATA[:KIB_256], f"bytes 0-{KIB_256 - 1}/{total}")
    assert (piece.status_code, piece.headers["Range"]) == (308, f"bytes=0-{KIB_256 - 1}")
    assert put(url, b"", f"bytes */{total}").headers["Range"] == f"bytes=0-{KIB_256 - 1}"
    assert stored(cloud) is None
    last = put(url, DATA[KIB_256:], f"bytes {KIB_256}-{total - 1}/{total}")
    assert (last.status_code, last.json()["size"]) == (200, str(total))
    assert stored(cloud) == DATA
    assert put(url, b"", f"bytes */{total}").json()["generation"] == last.json()["generation"]


def test_the_length_may_be_unknown_until_the_end(cloud: LocalCloud, customer: requests.Session) -> None:
    url = start(cloud, customer)
    assert put(url, DATA[:KIB_256], f"bytes 0-{KIB_256 - 1}/*").status_code == 308
    assert put(url, b"", "bytes */*").headers["Range"] == f"bytes=0-{KIB_256 - 1}"
    assert put(url, b"", f"bytes */{KIB_256}").status_code == 200
    assert stored(cloud) == DATA[:KIB_256]


def test_one_request_without_a_range_brings_it_all(cloud: LocalCloud, customer: requests.Session) -> None:
    assert requests.put(start(cloud, customer), data=iter([DATA[:1000], DATA[1000:]]), timeout=60).status_code == 200
    assert stored(cloud) == DATA


def test_an_empty_resumable_upload(cloud: LocalCloud, customer: requests.Session) -> None:
    assert put(start(cloud, customer), b"", "bytes */0").status_code == 200
    assert stored(cloud) == b""


def test_only_whole_multiples_of_256_kib_are_kept_before_the_end(cloud: LocalCloud, customer: requests.Session) -> None:
    url = start(cloud, customer)
    total = len(DATA)
    assert put(url, DATA[:1000], f"bytes 0-999/{total}").status_code == 400
    kept = put(url, DATA[: KIB_256 + 1000], f"bytes 0-{KIB_256 + 999}/{total}")
    assert (kept.status_code, kept.headers["Range"]) == (308, f"bytes=0-{KIB_256 - 1}")
    assert put(url, DATA[KIB_256 + 1000 :], f"bytes {KIB_256 + 1000}-{total - 1}/{total}").status_code == 400
    assert put(url, DATA[1000:], f"bytes 1000-{total - 1}/{total}").status_code == 200
    assert stored(cloud) == DATA


@pytest.mark.parametrize("header", ["bytes 5-1/10", "bytes 0-10/10", "0-10/20", "bytes a-b/c"])
def test_a_malformed_range_is_refused(cloud: LocalCloud, customer: requests.Session, header: str) -> None:
    assert put(start(cloud, customer), b"x" * 10, header).status_code == 400


def test_a_piece_must_have_the_length_that_it_announces(cloud: LocalCloud, customer: requests.Session) -> None:
    assert put(start(cloud, customer), b"x" * 5, "bytes 0-9/10").status_code == 400
    assert stored(cloud) is None


def test_what_came_before_the_connection_broke_is_kept(cloud: LocalCloud, customer: requests.Session) -> None:
    url = start(cloud, customer)
    _, _, address, path = url.split("/", 3)
    host, port = address.split(":")
    head = f"PUT /{path} HTTP/1.1\r\nHost: {address}\r\nContent-Range: bytes 0-{len(DATA) - 1}/{len(DATA)}\r\n"
    with socket.create_connection((host, int(port))) as connection:
        connection.sendall(f"{head}Content-Length: {len(DATA)}\r\n\r\n".encode() + DATA[: 3 * KIB_256 + 5])
    while put(url, b"", f"bytes */{len(DATA)}").headers.get("Range") != f"bytes=0-{3 * KIB_256 - 1}":
        pass
    rest = f"bytes {3 * KIB_256}-{len(DATA) - 1}/{len(DATA)}"
    assert put(url, DATA[3 * KIB_256 :], rest).status_code == 200
    assert stored(cloud) == DATA


def test_the_length_that_was_announced_at_first_is_binding(cloud: LocalCloud, customer: requests.Session) -> None:
    headers = {"X-Upload-Content-Length": "10"}
    url = customer.post(upload_url(cloud, "resumable"), json={"name": NAME}, headers=headers).headers["Location"]
    assert put(url, b"x" * 5, "bytes 0-4/5").status_code == 400
    assert requests.put(url, data=b"x" * 5, timeout=60).status_code == 400
    assert stored(cloud) is None


def test_a_session_can_be_cancelled(cloud: LocalCloud, customer: requests.Session) -> None:
    url = start(cloud, customer)
    assert requests.delete(url, timeout=60).status_code == 499
    assert put(url, b"x", "bytes 0-0/1").status_code == 410
    assert put(url + "x", b"x", "bytes 0-0/1").status_code == 404


def test_writing_and_deleting_under_conditions(cloud: LocalCloud, customer_client: storage.Client) -> None:
    blob = customer_client.bucket(cloud.customer.name).blob(NAME)
    blob.upload_from_string(b"one", if_generation_match=0)
    first = blob.generation
    with pytest.raises(exceptions.PreconditionFailed):
        blob.upload_from_string(b"two", if_generation_match=0)
    blob.upload_from_string(b"two", if_generation_match=first)
    assert blob.generation > first
    with pytest.raises(exceptions.PreconditionFailed):
        blob.delete(if_generation_match=first)
    blob.delete(if_generation_match=blob.generation)
    with pytest.raises(exceptions.NotFound):
        blob.delete()
    assert not blob.exists()


def test_of_two_sessions_for_a_new_object_one_loses(cloud: LocalCloud, customer: requests.Session) -> None:
    first, second = (start(cloud, customer, ifGenerationMatch=0) for _ in range(2))
    assert put(first, b"1", "bytes 0-0/1").status_code == 200
    assert put(second, b"2", "bytes 0-0/1").status_code == 412
    assert stored(cloud) == b"1"
    answer = customer.post(upload_url(cloud, "resumable"), json={"name": NAME}, params={"ifGenerationMatch": 0})
    assert answer.status_code == 412


@pytest.mark.parametrize("size", [0, 10, 9_000_001, 20_000_000])
def test_the_google_client_writes_and_reads_back(cloud: LocalCloud, customer_client: storage.Client, size: int) -> None:
    blob = customer_client.bucket(cloud.customer.name).blob(NAME)
    data = (DATA * 20)[:size]
    blob.upload_from_string(data, content_type="text/csv", checksum="crc32c")
    assert (blob.size, blob.crc32c) == (size, crc32c_of(data))
    assert blob.download_as_bytes() == data
    assert [one.name for one in customer_client.list_blobs(cloud.customer.name)] == [NAME]


def test_the_google_client_streams_without_knowing_the_length(
    cloud: LocalCloud, customer_client: storage.Client
) -> None:
    blob = customer_client.bucket(cloud.customer.name).blob(NAME)
    with blob.open("wb", chunk_size=KIB_256) as file:
        for at in range(0, len(DATA), 100_000):
            file.write(DATA[at : at + 100_000])
    assert stored(cloud) == DATA


def test_metadata_can_be_patched(cloud: LocalCloud, customer_client: storage.Client) -> None:
    blob = customer_client.bucket(cloud.customer.name).blob(NAME)
    blob.metadata = {"a": "1", "b": "2"}
    blob.upload_from_string(b"x")
    blob.metadata = {"a": None, "c": "3"}
    blob.patch()
    blob.reload()
    assert blob.metadata == {"b": "2", "c": "3"}
    assert blob.metageneration == 2


def test_partial_answers_to_uploads(cloud: LocalCloud, customer: requests.Session) -> None:
    answer = customer.post(upload_url(cloud, "media"), params={"name": NAME, "fields": "crc32c,size"}, data=b"x")
    assert answer.json() == {"crc32c": crc32c_of(b"x"), "size": "1"}


def test_a_session_is_its_own_proof_but_a_bad_token_is_refused(cloud: LocalCloud, customer: requests.Session) -> None:
    url = start(cloud, customer)
    assert put(url, b"x", "bytes 0-0/1", Authorization="Bearer bad").status_code == 401
    assert put(url, b"x", "bytes 0-0/1").status_code == 200


def test_what_the_local_cloud_does_not_do_is_said(cloud: LocalCloud, customer: requests.Session) -> None:
    url = object_url(cloud, cloud.customer.name, "a")
    assert customer.post(f"{url}/rewriteTo/b/other/o/b").status_code == 501
    assert customer.put(url, json={}).status_code == 501
