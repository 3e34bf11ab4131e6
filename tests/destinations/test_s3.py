"""What is S3's own: checksums, keys of KMS, storage classes, locks."""

from __future__ import annotations

import hashlib
import io
import os
import tracemalloc
from types import SimpleNamespace
from typing import Any
from urllib.parse import urlsplit

import pytest

from ayla_provider.archive import s3 as s3_store
from ayla_provider.destinations import open_destination
from ayla_provider.errors import AylaConfigError, AylaConflictError, AylaDestinationError
from ayla_provider.transport.checksum import CHUNK, Crc32c
from ayla_provider.transport.s3_requests import S3Requests
from tests.support.object_stores import PATH, aws_client, connect_aws, corrupt_in_moto, quiet, s3_place, write
from tests.support.places import Place

pytestmark = quiet


@pytest.mark.parametrize("size", [10, 17 * CHUNK])
def test_requests_to_s3_state_checksum_and_precondition(s3: Place, monkeypatch: pytest.MonkeyPatch, size: int) -> None:
    calls = []
    call = s3_store.S3Store.call

    def noted(self: Any, method: str, **arguments: Any) -> dict[str, Any]:
        calls.append((method, arguments))
        return call(self, method, **arguments)

    monkeypatch.setattr(s3_store.S3Store, "call", noted)
    data = os.urandom(size)
    stored = write(s3.destination, data)
    method, arguments = next(one for one in calls if one[0] in ("put_object", "complete_multipart_upload"))
    assert arguments["ChecksumCRC32C"] == Crc32c(data).base64
    assert arguments["IfNoneMatch"] == "*"
    assert method == ("put_object" if size <= 8 * CHUNK else "complete_multipart_upload")
    assert not [one for one in calls if one[0] == "get_object"]  # the store states the checksum of the whole
    write(s3.destination, data, replaces=stored)
    *creations, replacement = [one for name, one in calls if name == method]
    assert {one.get("IfNoneMatch") for one in creations} == {"*"}
    assert replacement["IfMatch"] == f'"{stored.version}"'


def test_of_a_store_that_heeds_preconditions_a_creation_takes_one_request(
    s3: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    write(s3.destination, b"first")
    call, calls = s3_store.S3Store.call, []

    def noted(self: Any, method: str, **arguments: Any) -> dict[str, Any]:
        calls.append(method)
        return call(self, method, **arguments)

    monkeypatch.setattr(s3_store.S3Store, "call", noted)
    stored = write(s3.destination, b"second", path="a/second.csv")
    assert calls == ["put_object"]
    assert s3.destination.folder("a") == {"a/second.csv": stored}
    with pytest.raises(AylaConflictError):
        write(s3.destination, b"third", path="a/second.csv")
    assert s3.everything() == {PATH: b"first", "a/second.csv": b"second"}


def test_a_store_that_ignores_preconditions_is_looked_at_before_and_after_each_write(
    s3: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    call = s3_store.S3Store.call

    def careless(self: Any, method: str, **arguments: Any) -> dict[str, Any]:
        arguments.pop("IfNoneMatch", None)
        answer = call(self, method, **arguments)
        if method == "put_object" and arguments["Body"] == b"raced":
            s3.spoil(PATH, b"theirs")
        return answer

    monkeypatch.setattr(s3_store.S3Store, "call", careless)
    for number in range(3):
        write(s3.destination, b"ours", path=f"a/{number}.csv")
    s3.spoil("a/3.csv", b"theirs")
    with pytest.raises(AylaConflictError):
        write(s3.destination, b"ours", path="a/3.csv")
    with pytest.raises(AylaConflictError):
        write(s3.destination, b"raced")
    ours = {f"a/{number}.csv": b"ours" for number in range(3)}
    assert s3.everything() == ours | {"a/3.csv": b"theirs", PATH: b"theirs"}


@pytest.mark.parametrize("parts", [1, 3])
@pytest.mark.parametrize("fault", ["no answer", "another status"])
def test_what_does_not_arrive_without_boto_is_sent_by_boto(
    s3: Place, monkeypatch: pytest.MonkeyPatch, fault: str, parts: int
) -> None:
    data = os.urandom(10 if parts == 1 else 17 * CHUNK)
    write(s3.destination, data)
    faults = []

    def failing(*_: Any, **__: Any) -> Any:
        faults.append(fault)
        if fault == "no answer":
            raise OSError("the connection broke")
        return SimpleNamespace(status=503, headers={})

    monkeypatch.setattr(S3Requests, "send", failing)
    write(s3.destination, data[::-1], path="a/second.csv")
    assert faults == [fault] * parts
    assert s3.everything() == {PATH: data, "a/second.csv": data[::-1]}


def test_parts_after_the_first_go_to_the_store_without_boto(s3: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    send, sent = S3Requests.send, []

    def noted(*arguments: Any, **named: Any) -> Any:
        sent.append(named["query"].get("partNumber"))
        return send(*arguments, **named)

    monkeypatch.setattr(S3Requests, "send", noted)
    data = os.urandom(17 * CHUNK)
    write(s3.destination, data)
    assert sent == ["2", "3"]
    assert s3.everything() == {PATH: data}


def test_an_answer_that_got_lost_is_not_a_second_object(s3: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    write(s3.destination, b"first")
    send = S3Requests.send

    def lost(*arguments: Any, **named: Any) -> Any:
        send(*arguments, **named)
        raise OSError("the connection broke")

    monkeypatch.setattr(S3Requests, "send", lost)
    # As with boto's own retries: the copy then compares what is there.
    with pytest.raises(AylaConflictError):
        write(s3.destination, b"second", path="a/second.csv")
    assert s3.everything() == {PATH: b"first", "a/second.csv": b"second"}


@pytest.mark.parametrize("key", ["a b/é+%20~.csv", "event_type=datapoint/date=2024-05-09/x(1)'!*.csv"])
def test_a_name_is_the_same_with_and_without_boto(s3: Place, key: str) -> None:
    write(s3.destination, b"first")
    write(s3.destination, b"second", path=key)
    assert s3.everything() == {PATH: b"first", key: b"second"}


@pytest.mark.parametrize("size", [10, 17 * CHUNK])
def test_an_s3_that_knows_no_checksums_is_read_back(s3: Place, monkeypatch: pytest.MonkeyPatch, size: int) -> None:
    call, read = s3_store.S3Store.call, []

    def older(self: Any, method: str, **arguments: Any) -> dict[str, Any]:
        read.append(method == "get_object")
        answer = call(self, method, **{k: v for k, v in arguments.items() if not k.startswith("Checksum")})
        return {k: v for k, v in answer.items() if not k.startswith("Checksum")}

    monkeypatch.setattr(s3_store.S3Store, "call", older)
    data = os.urandom(size)
    write(s3.destination, data)
    assert s3.everything() == {PATH: data}
    assert sum(read) == -(-size // (8 * CHUNK))


def test_a_folder_of_many_objects_is_listed_page_by_page(s3: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    for number in range(7):
        s3.spoil(f"a/{number}.csv", b"data")
    call, pages = s3_store.S3Store.call, []

    def short(self: Any, method: str, **arguments: Any) -> dict[str, Any]:
        pages.append(method)
        return call(self, method, **arguments, MaxKeys=3)

    monkeypatch.setattr(s3_store.S3Store, "call", short)
    assert set(s3.destination.folder("a")) == {f"a/{number}.csv" for number in range(7)}
    assert pages == ["list_objects_v2"] * 3


def test_a_refusal_is_reported(s3: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    from botocore.exceptions import ClientError

    async def refused(*_: Any, **__: Any) -> None:
        cause = ClientError({"Error": {"Code": "AccessDenied", "Message": "Access Denied"}}, "PutObject")
        raise PermissionError("Access Denied") from cause

    monkeypatch.setattr(s3.destination._store._fs, "_call_s3", refused)  # type: ignore[attr-defined]
    with pytest.raises(AylaDestinationError, match=r"Access Denied.*list, read, write and delete"):
        write(s3.destination, b"data")


def test_a_store_that_does_not_answer_is_reported(monkeypatch: pytest.MonkeyPatch) -> None:
    connect_aws(monkeypatch, "http://127.0.0.1:9", config_kwargs={"retries": {"max_attempts": 0}})
    destination = open_destination("s3://bucket", "aws_test")
    monkeypatch.setattr(destination._store._fs, "retries", 1)  # type: ignore[attr-defined]
    with pytest.raises(AylaDestinationError, match="the store failed"):
        destination.folder("a")


def test_memory_does_not_grow_with_the_object(s3: Place) -> None:
    """The stream is read as the parts go out: never more than a part and what makes it up."""

    class Zeros(io.RawIOBase):
        left = 64 * CHUNK

        def read(self, size: int = -1, /) -> bytes:
            size = min(size, self.left)
            self.left -= size
            return bytes(size)

    class Sink:
        def part(self, data: bytes) -> None:
            assert len(data) <= 8 * CHUNK

    checksum = Crc32c()
    for _ in range(64):
        checksum.update(bytes(CHUNK))
    tracemalloc.start()
    s3.destination._send(Zeros(), Sink(), 64 * CHUNK, checksum.base64)  # type: ignore[attr-defined]
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 18 * CHUNK


KEY = "arn:aws:kms:us-east-1:123456789012:key/00000000-0000-0000-0000-000000000000"


def head(s3: Place, url: str, path: str = PATH) -> dict[str, Any]:
    """What S3 says of an object."""
    facts: dict[str, Any] = aws_client(url).head_object(Bucket=bucket_of(s3), Key=f"ayla/archive/{path}")
    return facts


def bucket_of(s3: Place) -> str:
    return urlsplit(s3.destination.url).netloc


@pytest.mark.parametrize("size", [10, 9 * CHUNK])
def test_a_bucket_with_a_key_of_kms_is_left_to_use_it_and_no_etag_is_taken_for_an_md5(
    s3: Place, s3_url: str, monkeypatch: pytest.MonkeyPatch, size: int
) -> None:
    from moto.s3.models import FakeKey

    plain = FakeKey.etag.fget
    # Moto states an MD5 all the same; S3 something else, another one at each writing.
    etag = property(lambda self: f'"{hashlib.md5(f"{id(self)}{plain(self)}".encode()).hexdigest()}"')
    monkeypatch.setattr(FakeKey, "etag", etag)
    default = {"ApplyServerSideEncryptionByDefault": {"SSEAlgorithm": "aws:kms", "KMSMasterKeyID": KEY}}
    rules = {"Rules": [default | {"BucketKeyEnabled": True}]}
    aws_client(s3_url).put_bucket_encryption(Bucket=bucket_of(s3), ServerSideEncryptionConfiguration=rules)
    data = os.urandom(size)
    stored = write(s3.destination, data)
    assert s3.destination.folder(PATH.rpartition("/")[0]) == {PATH: stored}
    assert s3.destination.crc32c(stored) == Crc32c(data).base64
    again = write(s3.destination, data, replaces=stored)
    assert again.version != stored.version
    with pytest.raises(AylaConflictError):
        s3.destination.crc32c(stored)
    assert s3.destination.read(PATH) == (data, again)
    facts = head(s3, s3_url)
    if size < CHUNK:  # moto gives the bucket's default to what comes in one piece alone
        assert (facts["ServerSideEncryption"], facts["SSEKMSKeyId"]) == ("aws:kms", KEY)
    assert "StorageClass" not in facts


@pytest.mark.parametrize("size", [10, 9 * CHUNK])
def test_what_the_connection_wants_said_of_objects_is_said_of_each(
    s3: Place, s3_url: str, monkeypatch: pytest.MonkeyPatch, size: int
) -> None:
    said = {"ServerSideEncryption": "aws:kms", "SSEKMSKeyId": KEY, "StorageClass": "INTELLIGENT_TIERING"}
    said |= {"Metadata": {"team": "devices"}, "Tagging": "source=ayla", "ACL": "bucket-owner-full-control"}
    connect_aws(monkeypatch, s3_url, service_config={"s3": {"extra_args": said}})
    destination = open_destination(s3.destination.url, "aws_test")
    # The first small object goes through boto, the next ones don't.
    paths = [PATH, "a/second.csv", "a/third.csv"]
    for path in paths:
        write(destination, bytes(size), path=path)
    for path in paths:
        facts = head(s3, s3_url, path)
        assert {name: facts[name] for name in said if name in facts} == {
            name: value for name, value in said.items() if name not in ("Tagging", "ACL")
        }
        assert facts["ContentType"] == "text/csv"
        tags = aws_client(s3_url).get_object_tagging(Bucket=bucket_of(s3), Key=f"ayla/archive/{path}")["TagSet"]
        assert tags == [{"Key": "source", "Value": "ayla"}]


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"ServerSideEncrypton": "aws:kms"}, "found ['ServerSideEncrypton']"),
        ({"ContentType": "text/plain"}, "found ['ContentType']"),
        ("aws:kms", "found 'aws:kms'"),
        ({"StorageClass": "DEEP_ARCHIVE"}, "can't be read at once"),
    ],
)
def test_extra_args_that_s3_ignores_or_an_archive_can_not_use_are_refused(
    monkeypatch: pytest.MonkeyPatch, given: Any, message: str
) -> None:
    connect_aws(monkeypatch, "http://127.0.0.1:9", service_config={"s3": {"extra_args": given}})
    with pytest.raises(AylaConfigError) as refused:
        open_destination("s3://bucket/a", "aws_test")
    assert message in str(refused.value)


def test_metadata_and_tags_of_an_object_go_with_it_when_it_is_replaced(s3: Place, s3_url: str) -> None:
    s3.spoil(PATH, b"old")
    where = {"Bucket": bucket_of(s3), "Key": f"ayla/archive/{PATH}"}
    aws_client(s3_url).put_object_tagging(**where, Tagging={"TagSet": [{"Key": "checked", "Value": "yes"}]})
    (current,) = s3.destination.folder(PATH.rpartition("/")[0]).values()
    write(s3.destination, b"new", replaces=current)
    assert aws_client(s3_url).get_object_tagging(**where)["TagSet"] == []


@pytest.mark.parametrize("size", [10, 9 * CHUNK])
def test_a_lock_on_objects_keeps_each_version_and_lets_new_ones_be_written(
    monkeypatch: pytest.MonkeyPatch, s3_url: str, size: int
) -> None:
    s3 = s3_place(monkeypatch, s3_url, locks=True)
    client, bucket = aws_client(s3_url), bucket_of(s3)
    kept = {"ObjectLockEnabled": "Enabled", "Rule": {"DefaultRetention": {"Mode": "COMPLIANCE", "Days": 1}}}
    client.put_object_lock_configuration(Bucket=bucket, ObjectLockConfiguration=kept)
    first = write(s3.destination, b"o" * size)
    write(s3.destination, b"n" * size, replaces=first)
    assert s3.everything() == {PATH: b"n" * size}
    versions = client.list_object_versions(Bucket=bucket)["Versions"]
    assert [
        client.get_object(Bucket=bucket, Key=one["Key"], VersionId=one["VersionId"])["Body"].read()[:1]
        for one in versions
    ] == [b"n", b"o"]


def test_wrong_content_that_may_not_be_removed_is_reported_and_replaced_by_the_next_try(
    s3: Place, s3_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as changed:
        corrupt_in_moto(changed)
        changed.setattr("moto.s3.models.S3Backend.delete_object", denied)
        with pytest.raises(AylaDestinationError, match=r"10 bytes with crc32c .* they can't be removed"):
            write(s3.destination, bytes(10))
    (current,) = s3.destination.folder(PATH.rpartition("/")[0]).values()
    write(s3.destination, bytes(10), replaces=current)
    assert s3.everything() == {PATH: bytes(10)}


def denied(*_: Any, **__: Any) -> None:
    from moto.s3.exceptions import AccessDeniedByLock

    raise AccessDeniedByLock


def test_what_others_wrote_after_a_wrong_arrival_is_not_removed(s3: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    call = s3_store.S3Store.call

    def late(self: Any, method: str, **arguments: Any) -> dict[str, Any]:
        if method == "delete_object":
            changed.undo()
            s3.spoil(PATH, b"theirs")
        return call(self, method, **arguments)

    monkeypatch.setattr(s3_store.S3Store, "call", late)
    with monkeypatch.context() as changed:
        corrupt_in_moto(changed)
        with pytest.raises(AylaConflictError):
            write(s3.destination, bytes(10))
    assert s3.everything() == {PATH: b"theirs"}
