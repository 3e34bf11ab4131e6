from __future__ import annotations

import hashlib
from datetime import timedelta
from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ayla_provider.local_cloud import SeededContent
from ayla_provider.local_cloud.contents import CHUNK, BytesContent, Sink, crc32c_of, to_base64
from tests.local_cloud.clients import object_url

if TYPE_CHECKING:
    from pathlib import Path

    import requests
    from google.cloud import storage

    from ayla_provider.local_cloud import LocalCloud

FOLDER = ("Datapoint Ack", "2024-05-09 02:00:00")
NAME = "1a2b3c4d/Datapoint Ack/2024-05-09 02:00:00/a.csv"
DATA = bytes(range(256)) * 4


def content_url(cloud: LocalCloud) -> str:
    return object_url(cloud, cloud.vendor.name, NAME) + "?alt=media"


def test_an_object_has_the_fields_of_the_api(cloud: LocalCloud, vendor: requests.Session) -> None:
    cloud.put_object(*FOLDER, "a.csv", DATA)
    resource = vendor.get(object_url(cloud, cloud.vendor.name, NAME)).json()
    generation = resource["generation"]
    assert generation == "1715256000000000"
    assert resource == {
        "kind": "storage#object",
        "id": f"{cloud.vendor.name}/{NAME}/{generation}",
        "selfLink": object_url(cloud, cloud.vendor.name, NAME),
        "mediaLink": object_url(cloud, cloud.vendor.name, NAME).replace("/storage/", "/download/storage/")
        + f"?generation={generation}&alt=media",
        "name": NAME,
        "bucket": cloud.vendor.name,
        "generation": generation,
        "metageneration": "1",
        "contentType": "application/octet-stream",
        "storageClass": "STANDARD",
        "size": "1024",
        "md5Hash": to_base64(hashlib.md5(DATA).digest()),
        "crc32c": crc32c_of(DATA),
        "etag": resource["etag"],
        "timeCreated": "2024-05-09T12:00:00.000Z",
        "updated": "2024-05-09T12:00:00.000Z",
        "timeStorageClassUpdated": "2024-05-09T12:00:00.000Z",
    }
    assert vendor.get(resource["mediaLink"]).content == DATA


def test_content_comes_with_its_checksums(cloud: LocalCloud, vendor: requests.Session) -> None:
    stored = cloud.put_object(*FOLDER, "a.csv", DATA)
    for url in (content_url(cloud), content_url(cloud).replace("/storage/", "/download/storage/")):
        answer = vendor.get(url)
        assert answer.content == DATA
        assert answer.headers["Content-Length"] == "1024"
        assert answer.headers["X-Goog-Hash"] == f"crc32c={crc32c_of(DATA)},md5={stored.content.md5}"
        assert answer.headers["X-Goog-Generation"] == str(stored.generation)
        assert answer.headers["ETag"] == stored.etag


@pytest.mark.parametrize(
    ("header", "expected"),
    [
        ("bytes=0-0", DATA[:1]),
        ("bytes=10-19", DATA[10:20]),
        ("bytes=1000-", DATA[1000:]),
        ("bytes=1000-5000", DATA[1000:]),
        ("bytes=-10", DATA[-10:]),
        ("bytes=-5000", DATA),
    ],
)
def test_a_range_is_a_slice(cloud: LocalCloud, vendor: requests.Session, header: str, expected: bytes) -> None:
    cloud.put_object(*FOLDER, "a.csv", DATA)
    answer = vendor.get(content_url(cloud), headers={"Range": header})
    start = DATA.index(expected) if len(expected) > 1 else 0
    start = 1024 - len(expected) if header.startswith("bytes=-") or "1000" in header else start
    assert (answer.status_code, answer.content) == (206, expected)
    assert answer.headers["Content-Range"] == f"bytes {start}-{start + len(expected) - 1}/1024"


@pytest.mark.parametrize("header", ["bytes=1024-", "bytes=5000-6000", "bytes=-0"])
def test_a_range_beyond_the_end_cannot_be_satisfied(cloud: LocalCloud, vendor: requests.Session, header: str) -> None:
    cloud.put_object(*FOLDER, "a.csv", DATA)
    answer = vendor.get(content_url(cloud), headers={"Range": header})
    assert (answer.status_code, answer.headers["Content-Range"]) == (416, "bytes */1024")


@pytest.mark.parametrize("header", ["bytes=20-10", "bytes=0-1,5-6", "lines=1-2", "bytes=-"])
def test_a_range_that_means_nothing_is_ignored(cloud: LocalCloud, vendor: requests.Session, header: str) -> None:
    cloud.put_object(*FOLDER, "a.csv", DATA)
    answer = vendor.get(content_url(cloud), headers={"Range": header})
    assert (answer.status_code, answer.content) == (200, DATA)


def test_an_old_generation_is_gone(cloud: LocalCloud, vendor: requests.Session) -> None:
    old = cloud.put_object(*FOLDER, "a.csv", b"old", created=cloud.clock.now() - timedelta(hours=1))
    new = cloud.put_object(*FOLDER, "a.csv", b"new")
    assert vendor.get(content_url(cloud), params={"generation": new.generation}).content == b"new"
    gone = vendor.get(content_url(cloud), params={"generation": old.generation})
    assert (gone.status_code, gone.json()["error"]["errors"][0]["reason"]) == (404, "notFound")


def test_reading_under_conditions(cloud: LocalCloud, vendor: requests.Session) -> None:
    generation = cloud.put_object(*FOLDER, "a.csv", DATA).generation
    for condition, status in [
        ({"ifGenerationMatch": generation}, 200),
        ({"ifGenerationMatch": 1}, 412),
        ({"ifGenerationNotMatch": generation}, 304),
        ({"ifMetagenerationMatch": 1}, 200),
        ({"ifMetagenerationMatch": 2}, 412),
        ({"ifMetagenerationNotMatch": 1}, 304),
        ({"ifGenerationMatch": "x"}, 400),
    ]:
        assert vendor.get(content_url(cloud), params=condition).status_code == status, condition


@pytest.mark.parametrize("name", ["a b:c.csv", "a/b//c", "50%", "%2F", "ü\U0001f600", "a?b#c&d=e+f", ";,@!'()*"])
def test_any_name_is_found_by_the_google_client(cloud: LocalCloud, vendor_client: storage.Client, name: str) -> None:
    cloud.put_object(*FOLDER, name, DATA)
    (blob,) = vendor_client.list_blobs(cloud.vendor.name, prefix=f"1a2b3c4d/{FOLDER[0]}/")
    assert blob.name.endswith(f"/{name}")
    assert blob.download_as_bytes(start=10, end=19) == DATA[10:20]
    blob.reload()
    assert blob.size == 1024


def test_a_slash_that_is_not_encoded_divides_the_path(cloud: LocalCloud, vendor: requests.Session) -> None:
    cloud.put_object(*FOLDER, "a.csv", DATA)
    assert vendor.get(object_url(cloud, cloud.vendor.name, NAME).replace("%2F", "/")).status_code == 404


def test_a_large_object_is_made_while_it_is_read(cloud: LocalCloud, vendor_client: storage.Client) -> None:
    stored = cloud.put_object(*FOLDER, "large.csv", SeededContent(7, 20 * CHUNK + 5))
    blob = vendor_client.bucket(cloud.vendor.name).blob(stored.name)
    data = blob.download_as_bytes(checksum="crc32c")
    assert len(data) == 20 * CHUNK + 5
    assert crc32c_of(data) == stored.content.crc32c
    assert len({data[at : at + CHUNK] for at in range(0, len(data), CHUNK)}) == 21


@given(st.integers(0, 3 * CHUNK), st.integers(0, 3 * CHUNK))
def test_all_contents_agree_on_any_slice(tmp_path_factory: pytest.TempPathFactory, start: int, stop: int) -> None:
    seeded = SeededContent("x", 3 * CHUNK)
    whole = b"".join(seeded.chunks(0, seeded.size))
    sink = Sink(tmp_path_factory.getbasetemp())
    for _ in range(3):
        sink.write(whole)
    for content in (seeded, BytesContent(whole), sink.finish()):
        assert b"".join(content.chunks(start, stop)) == whole[start:stop]


def test_what_is_spooled_goes_with_its_content(tmp_path: Path) -> None:
    sink = Sink(tmp_path)
    sink.write(bytes(9 * CHUNK))
    content = sink.finish()
    assert len(list(tmp_path.iterdir())) == 1
    assert (content.size, content.crc32c) == (9 * CHUNK, crc32c_of(bytes(9 * CHUNK)))
    del content
    assert list(tmp_path.iterdir()) == []
