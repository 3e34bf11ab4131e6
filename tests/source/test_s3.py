"""An export in Amazon S3, before it moved to Cloud Storage: the same hours, through the same classes."""

from __future__ import annotations

import contextlib
import copy
import io
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Event, Thread
from typing import Any

import boto3
import pytest
import requests
from botocore.config import Config

from ayla_provider.archive.archive import Archive, ArchiveReport
from ayla_provider.archive.destination import Destination
from ayla_provider.archive.gcs import GcsDestination
from ayla_provider.archive.local import FileDestination
from ayla_provider.archive.transfer import Transfer
from ayla_provider.domain.arrival import HourState
from ayla_provider.domain.hour import ONE_HOUR, ExportHour, hour_of, hours_of
from ayla_provider.errors import AylaAccessDenied, AylaConfigError, AylaTransferError
from ayla_provider.local_cloud import LocalCloud
from ayla_provider.source.export import Export
from ayla_provider.source.s3 import S3Source
from ayla_provider.transport.checksum import Crc32c
from tests.support.client import RULE, bytes_of, customer_credentials
from tests.support.web_server import Answering

HOUR = hour_of(datetime.now(UTC)) - timedelta(days=2)
KEYS = {"aws_access_key_id": "AKIAEXAMPLE", "aws_secret_access_key": "example"}
QUICK = Config(retries={"mode": "standard", "max_attempts": 2}, connect_timeout=5, read_timeout=5)


def client_at(url: str, **keys: str) -> Any:
    return boto3.client("s3", endpoint_url=url, region_name="us-east-1", config=QUICK, **{**KEYS, **keys})


class Passing:
    """A way to the server on which an answer to a download may be spoiled."""

    def __init__(self, url: str) -> None:
        self.spoiled: list[str] = []
        """How the next answers are spoiled, the last one first."""
        self.ranges: list[str | None] = []
        """What each download asked for."""
        way = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                answer = requests.get(url + self.path, headers=dict(self.headers), timeout=10)
                how = ""
                if "list-type" not in self.path:
                    way.ranges.append(self.headers.get("Range"))
                    how = way.spoiled.pop() if way.spoiled else ""
                body = answer.content
                if how == "refused":
                    answer.status_code, body = 503, b"<Error><Code>SlowDown</Code><Message>slow down</Message></Error>"
                self.send_response(answer.status_code)
                for name, value in answer.headers.items():
                    if name.lower() not in ("content-length", "connection", "server", "date"):
                        self.send_header(name, value)
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                if how == "corrupted":
                    body = b"X" + body[1:]
                self.wfile.write(body[: len(body) // 3] if how == "broken off" else body)
                self.close_connection = True

            def log_message(self, *_: object) -> None:
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_address[1]}"


@pytest.fixture
def passing(s3_url: str) -> Iterator[Passing]:
    way = Passing(s3_url)
    thread = Thread(target=way.server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
    thread.start()
    yield way
    way.server.shutdown()
    thread.join()
    way.server.server_close()


@pytest.fixture
def source(s3_url: str) -> S3Source:
    made = S3Source(client_at(s3_url), f"us-dev-data-export-{time.monotonic_ns()}")
    made.client.create_bucket(Bucket=made.bucket)
    return made


@pytest.fixture
def export(source: S3Source) -> Export:
    return Export(source, "")


def put(source: S3Source, content: bytes, *, folder: str = "Datapoint", hour: datetime = HOUR, minute: int = 0) -> str:
    key = f"{folder}/{hour + timedelta(minutes=minute):%Y-%m-%d %H:%M:%S}/Datapoints.csv"
    source.client.put_object(Bucket=source.bucket, Key=key, Body=content)
    return key


def take_in(export: Export, root: Path | Destination, *hours: datetime) -> ArchiveReport:
    # What is put now counts as arriving for a quarter of an hour.
    later = export.now() + ONE_HOUR
    there = Export(export.source, "", now=lambda: later)
    destination = FileDestination(root) if isinstance(root, Path) else root
    return Archive(destination).take_in(
        there, [ExportHour("datapoint", hour) for hour in hours or [HOUR]], RULE, written_by={}
    )


@pytest.mark.parametrize("size", [0, 1, 100_000, 20_000_000])
def test_a_copy_equals_its_source_and_is_not_made_again(
    source: S3Source, export: Export, tmp_path: Path, size: int
) -> None:
    content = (b"0123456789abcde\n" * (size // 16 + 1))[:size]
    key = put(source, content)
    report = take_in(export, tmp_path)
    (entry,) = report.manifests[0].files
    assert (tmp_path / entry.path).read_bytes() == content
    assert (entry.source, entry.size, entry.crc32c) == (key, size, Crc32c(content).base64)
    assert entry.lines == content.count(b"\n") + (not content.endswith(b"\n") and size > 0)
    again = take_in(export, tmp_path)
    assert (again.copied_files, again.manifests_written) == (0, 0)


def test_a_replaced_object_is_copied_again_also_within_a_second(
    source: S3Source, export: Export, tmp_path: Path
) -> None:
    put(source, b"old\n")
    take_in(export, tmp_path)
    put(source, b"new\n")
    report = take_in(export, tmp_path)
    assert report.copied_files == 1
    assert report.manifests[0].revision == 2
    assert (tmp_path / report.manifests[0].files[0].path).read_bytes() == b"new\n"


def test_hours_are_distinguished_as_in_cloud_storage(source: S3Source, export: Export) -> None:
    put(source, b"a\n", minute=24)
    put(source, b"b\n")
    put(source, b"c\n", hour=HOUR + 2 * ONE_HOUR)
    put(source, b"d\n", folder="Datapoint Ack", hour=HOUR + ONE_HOUR)
    assert export.event_folders() == {"datapoint": "Datapoint", "datapoint_ack": "Datapoint Ack"}
    later = Export(export.source, "", now=lambda: datetime.now(UTC) + ONE_HOUR)
    found = later.status(hours_of("datapoint", HOUR, HOUR + 3 * ONE_HOUR), RULE)
    assert [one.state for one in found] == [HourState.LANDED, HourState.EMPTY, HourState.LANDED]
    assert [len(one.files) for one in found] == [2, 0, 1]
    source.client.close()  # as the triggerer does between two looks
    assert later.status([ExportHour("datapoint", HOUR)], RULE)[0].state is HourState.LANDED


def test_an_hour_among_ten_thousand_objects_takes_one_request(s3_url: str, source: S3Source, export: Export) -> None:
    from moto.core import DEFAULT_ACCOUNT_ID
    from moto.s3.models import s3_backends

    bucket = s3_backends[DEFAULT_ACCOUNT_ID]["aws"].buckets[source.bucket]
    key = put(source, b"x\n")
    (one,) = bucket.keys.getlist(key)
    for number in range(10_000):
        hour = HOUR - timedelta(hours=number // 20)
        many = copy.copy(one)
        many.name = f"Datapoint/{hour:%Y-%m-%d %H}:{number % 20:02}:30/Datapoints.csv"
        bucket.keys[many.name] = many
    export.event_folders()
    before = source.requests
    assert len(export.list_files(hours_of("datapoint", HOUR - 100 * ONE_HOUR, HOUR - 99 * ONE_HOUR))) == 20
    assert source.requests - before == 1
    assert len(export.list_files(hours_of("datapoint", HOUR - 200 * ONE_HOUR, HOUR))) == 4000
    assert source.requests - before == 1 + 5


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ({"aws_access_key_id": "AKIAUNKNOWN"}, "rejects the keys (403 InvalidAccessKeyId)"),
        ({"aws_secret_access_key": "wrong"}, "rejects the keys (403 SignatureDoesNotMatch)"),
    ],
)
def test_wrong_keys_are_reported_with_where_to_find_the_right_ones(
    s3_url: str, source: S3Source, wrong: dict[str, str], said: str
) -> None:
    iam = boto3.client("iam", endpoint_url=s3_url, region_name="us-east-1", **KEYS)
    name = f"oem-{time.monotonic_ns()}"
    iam.create_user(UserName=name)
    made = iam.create_access_key(UserName=name)["AccessKey"]
    keys = {"aws_access_key_id": made["AccessKeyId"], "aws_secret_access_key": made["SecretAccessKey"]} | wrong
    requests.post(f"{s3_url}/moto-api/reset-auth", data="0", timeout=10)
    try:
        with pytest.raises(AylaAccessDenied) as refused:
            Export(S3Source(client_at(s3_url, **keys), source.bucket), "").event_folders()
    finally:
        requests.post(f"{s3_url}/moto-api/reset-auth", data="10000000", timeout=10)
    assert said in str(refused.value)
    assert "OEM Profile, Data Export" in str(refused.value)
    assert keys["aws_secret_access_key"] not in str(refused.value)


@pytest.mark.parametrize(
    ("status", "code", "headers"),
    [
        (301, "PermanentRedirect", {"x-amz-bucket-region": "eu-west-1"}),
        (400, "AuthorizationHeaderMalformed", {"x-amz-bucket-region": "eu-west-1"}),
    ],
)
def test_a_wrong_region_is_reported_with_the_right_one(
    answering: Callable[..., Answering], status: int, code: str, headers: dict[str, str]
) -> None:
    body = f"<?xml version='1.0'?><Error><Code>{code}</Code><Message>elsewhere</Message></Error>"
    server = answering(status, body, **headers)
    with pytest.raises(AylaConfigError, match=r"the bucket is in eu-west-1\. Set region_name"):
        Export(S3Source(client_at(server.url), "a-bucket"), "").event_folders()


CONTENT = b"0123456789abcde\n" * 200_000
LARGE = CONTENT * 2
"""More than goes to Cloud Storage with its metadata."""


def test_a_download_that_breaks_off_goes_on_where_it_was(source: S3Source, passing: Passing, tmp_path: Path) -> None:
    put(source, CONTENT)
    passing.spoiled = ["refused", "refused", "broken off", "broken off"]
    report = take_in(Export(S3Source(client_at(passing.url), source.bucket), ""), tmp_path)
    (entry,) = report.manifests[0].files
    assert (tmp_path / entry.path).read_bytes() == CONTENT
    first, *others = passing.ranges
    assert first is None
    assert 0 < int(str(others[0]).removeprefix("bytes=").removesuffix("-")) < len(CONTENT)


def test_what_arrives_corrupted_is_fetched_again_and_never_stored(
    source: S3Source, passing: Passing, tmp_path: Path
) -> None:
    put(source, CONTENT)
    there = Export(S3Source(client_at(passing.url), source.bucket), "")
    passing.spoiled = ["corrupted"] * 2
    with pytest.raises(AylaTransferError, match=r"Datapoints\.csv.*have MD5 .*but the vendor's bucket says"):
        take_in(there, tmp_path)
    assert not list(tmp_path.rglob("*.csv"))
    passing.spoiled = ["corrupted"]
    (entry,) = take_in(there, tmp_path).manifests[0].files
    assert (tmp_path / entry.path).read_bytes() == CONTENT


@pytest.mark.parametrize("spoiled", [[], ["broken off"], ["corrupted"], ["corrupted", "corrupted"]])
@pytest.mark.parametrize("heeds", [True, False], ids=["heeds MD5s", "ignores MD5s"])
def test_what_arrives_corrupted_is_never_kept_in_cloud_storage(
    source: S3Source, passing: Passing, monkeypatch: pytest.MonkeyPatch, spoiled: list[str], *, heeds: bool
) -> None:
    put(source, LARGE)
    if not heeds:
        monkeypatch.setattr("ayla_provider.local_cloud.uploads._verify", lambda hashes, sink: None)
    passing.spoiled = spoiled.copy()
    there = Export(S3Source(client_at(passing.url), source.bucket), "")
    with LocalCloud() as cloud:
        destination = GcsDestination(cloud.url, cloud.customer.name, "ayla", credentials=customer_credentials(cloud))
        with contextlib.closing(destination):
            if len(spoiled) == 2:
                with pytest.raises(AylaTransferError, match=r"Datapoints\.csv.*have MD5 .* but the vendor's bucket"):
                    take_in(there, destination)
            else:
                (entry,) = take_in(there, destination).manifests[0].files
                assert entry.crc32c == Crc32c(LARGE).base64
        kept = {
            name: bytes_of(cloud.customer.live(name).content) for name in cloud.customer.names if name.endswith(".csv")
        }
    assert list(kept.values()) == ([] if len(spoiled) == 2 else [LARGE])
    assert not passing.spoiled


def test_a_file_is_copied_to_a_service_that_states_no_md5(source: S3Source, monkeypatch: pytest.MonkeyPatch) -> None:
    put(source, LARGE)
    from ayla_provider.archive import gcs_upload

    monkeypatch.setattr(gcs_upload, "_FIELDS", "name,size,crc32c,generation")
    with LocalCloud() as cloud:
        destination = GcsDestination(cloud.url, cloud.customer.name, "ayla", credentials=customer_credentials(cloud))
        with contextlib.closing(destination):
            (entry,) = take_in(Export(source, ""), destination).manifests[0].files
        assert bytes_of(cloud.customer.live(f"ayla/{entry.path}").content) == LARGE


@pytest.mark.parametrize("size", [100_000, len(LARGE)])
def test_what_is_there_already_is_not_proven_by_what_arrives_corrupted(
    source: S3Source, passing: Passing, size: int
) -> None:
    put(source, LARGE[:size])
    there = Export(S3Source(client_at(passing.url), source.bucket), "")
    (file,) = there.list_files(hours_of("datapoint", HOUR, HOUR + ONE_HOUR))
    with LocalCloud() as cloud:
        cloud.customer.put("a.csv", b"X" + LARGE[1:size])
        destination = GcsDestination(cloud.url, cloud.customer.name, credentials=customer_credentials(cloud))
        passing.spoiled = ["corrupted"] * 4
        with contextlib.closing(destination), pytest.raises(AylaTransferError, match="have MD5"):
            Transfer(there, destination, Event()).copy(file, "a.csv", None)


@pytest.mark.parametrize("spoiled", [[], ["refused"], ["broken off"], ["corrupted"]])
def test_objects_after_the_first_are_read_without_boto(
    source: S3Source, passing: Passing, tmp_path: Path, spoiled: list[str]
) -> None:
    contents = {
        f"Datapoint/{HOUR:%Y-%m-%d %H:%M:%S}/{name}.csv": name.encode() * 50_000 for name in ("a b", "é+%", "c")
    }
    for key, content in contents.items():
        source.client.put_object(Bucket=source.bucket, Key=key, Body=content)
    there = S3Source(client_at(passing.url), source.bucket)
    files = list(Export(there, "").list_files(hours_of("datapoint", HOUR, HOUR + ONE_HOUR)))
    there.open(files[0], files[0].description, 0).close()
    through_boto: list[str] = []
    there.client.meta.events.register("before-send.s3.GetObject", lambda request, **_: through_boto.append(request.url))
    passing.spoiled = spoiled.copy()
    entries = take_in(Export(there, ""), tmp_path).manifests[0].files
    assert {entry.source: (tmp_path / entry.path).read_bytes() for entry in entries} == contents
    assert not passing.spoiled
    # Boto tries again what was refused. A download that broke off goes on through it.
    assert len(through_boto) == (spoiled in (["refused"], ["broken off"]))


def test_an_object_that_is_replaced_while_it_is_read_is_not_mixed(
    source: S3Source, passing: Passing, tmp_path: Path
) -> None:
    put(source, CONTENT)
    there = S3Source(client_at(passing.url), source.bucket)
    (file,) = Export(there, "").list_files(hours_of("datapoint", HOUR, HOUR + ONE_HOUR))
    # After the first object, a whole one is read without boto.
    there.open(file, file.description, 0).close()
    put(source, CONTENT[::-1])
    for offset in (100, 0):
        with pytest.raises(AylaTransferError, match="vanished or was replaced after it was listed"):
            there.open(file, file.description, offset)


@pytest.mark.parametrize("how", ["in parts", "with a key of KMS"])
def test_an_etag_that_is_not_an_md5_is_not_used_as_one(
    source: S3Source, export: Export, tmp_path: Path, how: str
) -> None:
    key = f"Datapoint/{HOUR:%Y-%m-%d %H:%M:%S}/Datapoints.csv"
    if how == "in parts":
        source.client.upload_fileobj(io.BytesIO(CONTENT * 3), source.bucket, key)
    else:
        source.client.put_object(Bucket=source.bucket, Key=key, Body=CONTENT * 3, ServerSideEncryption="aws:kms")
    (file,) = export.list_files(hours_of("datapoint", HOUR, HOUR + ONE_HOUR))
    assert ("-" in file.etag) == (how == "in parts")
    for _ in range(2):
        with contextlib.closing(source.open(file, file.description, 0)) as download:
            assert download.md5 is None
    (entry,) = take_in(export, tmp_path).manifests[0].files
    assert (tmp_path / entry.path).read_bytes() == CONTENT * 3


def test_an_attempt_after_a_lost_manifest_keeps_the_copies(source: S3Source, export: Export, tmp_path: Path) -> None:
    """S3 states no CRC32C, so that it is read again; what is the same isn't written again."""
    put(source, CONTENT)
    (entry,) = take_in(export, tmp_path).manifests[0].files
    before = (tmp_path / entry.path).stat()
    (manifest,) = (tmp_path / "_manifests").rglob("*.json")
    manifest.unlink()
    (again,) = take_in(export, tmp_path).manifests[0].files
    assert again == entry
    assert (tmp_path / entry.path).stat().st_ino == before.st_ino
    assert (tmp_path / entry.path).stat().st_mtime_ns == before.st_mtime_ns


def test_a_missing_bucket_is_reported(s3_url: str) -> None:
    with pytest.raises(AylaAccessDenied, match=r"does not exist.*Compare bucket_name"):
        Export(S3Source(client_at(s3_url), "none-of-that-name"), "").event_folders()
