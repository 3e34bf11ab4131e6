"""What a destination in an object store promises: against fsspec's memory, an S3 server, and Azure's emulator."""

from __future__ import annotations

import gc
import io
import json
import os
import shutil
import socket
import subprocess
import sys
import time
import tracemalloc
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import timedelta
from threading import Event
from typing import Any

import pytest
from fsspec.implementations.memory import MemoryFileSystem

from ayla_provider.cloud.archive import Archive
from ayla_provider.cloud.checksum import Crc32c
from ayla_provider.cloud.destination import CHUNK, Destination, Stored
from ayla_provider.cloud.transfer import Transfer
from ayla_provider.domain.hours import ONE_HOUR
from ayla_provider.errors import AylaConfigError, AylaConflictError, AylaDestinationError, AylaTransferError
from ayla_provider.hooks import AylaHook
from ayla_provider.local_cloud import LocalCloud
from ayla_provider.object_storage import fsspec as any_store
from ayla_provider.object_storage import object_storage_destination
from ayla_provider.object_storage import s3 as s3_store
from tests.fleet import HOUR, put_hour

PATH = "event_type=datapoint/date=2024-05-09/hour=02/20240509T020000Z-Datapoints.csv"
AZURITE = os.environ.get("AZURITE") or shutil.which("azurite-blob")
"""Microsoft's emulator: npm install azurite, then AZURITE=.../node_modules/.bin/azurite-blob."""
ACCOUNT = "devstoreaccount1"
KEY = "Eby8vdM02xNOcqFlqUwJPLlmEtlCDXJ1OUzFT50uSRZ6IFsuFq2UVErCz4I6tq/K1SZFPTOtr/KBHBeksoGMGw=="
"""Of the emulator, the same everywhere."""

pytestmark = pytest.mark.filterwarnings(
    # Of the stores' clients, about themselves.
    "ignore::DeprecationWarning",
    "ignore::ResourceWarning",
    "ignore::airflow.exceptions.AirflowProviderDeprecationWarning",
)


@dataclass
class Place:
    """A destination, and a look at it that doesn't go through it."""

    destination: Destination
    everything: Callable[[], dict[str, bytes]]
    spoil: Callable[[str, bytes], None]
    remove: Callable[[str], None]
    unfinished: Callable[[], int]
    """How many uploads are neither complete nor thrown away."""
    kind: str


@pytest.fixture(scope="session")
def s3_url() -> Iterator[str]:
    moto = pytest.importorskip("moto.server", reason="pip install 'moto[server,s3crc32c]'")
    pytest.importorskip("s3fs")
    server = moto.ThreadedMotoServer("127.0.0.1", 0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    yield f"http://{host}:{port}"
    server.stop()


@pytest.fixture(scope="session")
def azure_url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    pytest.importorskip("adlfs", reason="pip install apache-airflow-providers-microsoft-azure")
    if not AZURITE:
        pytest.skip("no azurite: npm install azurite, and set AZURITE to its azurite-blob")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = [AZURITE, "--blobHost", "127.0.0.1", "--blobPort", str(port), "--silent", "--skipApiVersionCheck"]
    command += ["--disableTelemetry", "--location", str(tmp_path_factory.mktemp("azurite"))]
    with subprocess.Popen(command, stdout=subprocess.DEVNULL) as process:
        for _ in range(200):
            with socket.socket() as attempt:
                if attempt.connect_ex(("127.0.0.1", port)) == 0:
                    break
            time.sleep(0.1)
        yield f"http://127.0.0.1:{port}/{ACCOUNT}"
        process.terminate()


@pytest.fixture(autouse=True)
def _no_kept_stores(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("airflow.sdk.io.store._STORE_CACHE", {})
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")


def memory_place(monkeypatch: pytest.MonkeyPatch) -> Place:
    from airflow.sdk.io import attach

    fs = MemoryFileSystem(global_store=False, skip_instance_cache=True)
    attach("memory", fs=fs)
    destination = object_storage_destination("memory://bucket/ayla/archive/", None)
    root = "/bucket/ayla/archive/"

    def everything() -> dict[str, bytes]:
        return {name.removeprefix(root): file.getvalue() for name, file in list(fs.store.items())}

    def spoil(path: str, data: bytes) -> None:
        fs.pipe_file(root + path, data)

    return Place(destination, everything, spoil, lambda path: fs.rm_file(root + path), lambda: 0, "memory")


def s3_place(monkeypatch: pytest.MonkeyPatch, url: str) -> Place:
    import boto3

    connection = {"conn_type": "aws", "login": "AKIAEXAMPLE", "password": "example"}
    connection["extra"] = {"endpoint_url": url, "region_name": "us-east-1"}
    monkeypatch.setenv("AIRFLOW_CONN_AWS_TEST", json.dumps(connection))
    credentials = {"aws_access_key_id": "AKIAEXAMPLE", "aws_secret_access_key": "example"}
    client = boto3.client("s3", endpoint_url=url, region_name="us-east-1", **credentials)
    bucket = f"bucket-{time.monotonic_ns()}"
    client.create_bucket(Bucket=bucket)
    root = "ayla/archive/"

    def everything() -> dict[str, bytes]:
        names = [one["Key"] for one in client.list_objects_v2(Bucket=bucket).get("Contents", [])]
        return {name.removeprefix(root): client.get_object(Bucket=bucket, Key=name)["Body"].read() for name in names}

    return Place(
        object_storage_destination(f"s3://{bucket}/ayla/archive", "aws_test"),
        everything,
        lambda path, data: client.put_object(Bucket=bucket, Key=root + path, Body=data) and None,
        lambda path: client.delete_object(Bucket=bucket, Key=root + path) and None,
        lambda: len(client.list_multipart_uploads(Bucket=bucket).get("Uploads", [])),
        "s3",
    )


def azure_place(monkeypatch: pytest.MonkeyPatch, url: str) -> Place:
    from azure.storage.blob import BlobServiceClient

    text = f"DefaultEndpointsProtocol=http;AccountName={ACCOUNT};AccountKey={KEY};BlobEndpoint={url};"
    connection = {"conn_type": "wasb", "extra": {"connection_string": text}}
    monkeypatch.setenv("AIRFLOW_CONN_AZURE_TEST", json.dumps(connection))
    name = f"container-{time.monotonic_ns()}"
    container = BlobServiceClient.from_connection_string(text).create_container(name)
    root = "ayla/archive/"

    def everything() -> dict[str, bytes]:
        names = [str(one.name) for one in container.list_blobs()]
        return {one.removeprefix(root): container.download_blob(one).readall() for one in names}

    return Place(
        object_storage_destination(f"abfs://{name}/ayla/archive", "azure_test"),
        everything,
        lambda path, data: container.upload_blob(root + path, data, overwrite=True) and None,
        lambda path: container.delete_blob(root + path),
        lambda: 0,
        "abfs",
    )


@pytest.fixture(params=["memory", "s3", "abfs"])
def place(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Place:
    if request.param == "s3":
        return s3_place(monkeypatch, request.getfixturevalue("s3_url"))
    if request.param == "abfs":
        return azure_place(monkeypatch, request.getfixturevalue("azure_url"))
    return memory_place(monkeypatch)


@pytest.fixture
def s3(monkeypatch: pytest.MonkeyPatch, s3_url: str) -> Place:
    return s3_place(monkeypatch, s3_url)


def write(
    destination: Destination, data: bytes, *, path: str = PATH, stream: io.BytesIO | None = None, **facts: Any
) -> Stored:
    given = {"size": len(data), "crc32c": Crc32c(data).base64, "replaces": None} | facts
    return destination.write(path, stream or io.BytesIO(data), **given, content_type="text/csv")


class Breaking(io.BytesIO):
    """A stream that breaks at some byte, as the download does when what arrives is wrong."""

    def __init__(self, data: bytes, breaks_at: int, then: Callable[[], None] | None = None) -> None:
        super().__init__(data)
        self._breaks_at = breaks_at
        self._then = then

    def read(self, size: int | None = -1, /) -> bytes:
        wanted = size if size is not None and size >= 0 else len(self.getvalue())
        if self.tell() + wanted > self._breaks_at:
            if not self._then:
                raise AylaTransferError("the download broke")
            self._then()
            self._breaks_at = sys.maxsize
        return super().read(size)


@pytest.mark.parametrize("size", [0, 1, CHUNK, 8 * CHUNK, 8 * CHUNK + 1, 17 * CHUNK])
def test_what_is_written_stands_there_with_its_facts(place: Place, size: int) -> None:
    data = os.urandom(CHUNK) * (size // CHUNK) + b"x" * (size % CHUNK)
    stored = write(place.destination, data)
    assert place.everything() == {PATH: data}
    assert (stored.path, stored.size, place.destination.crc32c(stored)) == (PATH, size, Crc32c(data).base64)
    assert place.destination.read(PATH) == (data, stored)
    assert place.destination.folder(PATH.rpartition("/")[0]) == {PATH: stored}
    assert place.unfinished() == 0


def test_what_is_not_there_is_no_error(place: Place) -> None:
    assert place.destination.read(PATH) is None
    assert place.destination.folder("event_type=datapoint") == {}


def test_a_folder_is_what_stands_directly_in_it(place: Place) -> None:
    for path in ("a/one.csv", "a/two.csv", "a/deeper/three.csv", "ab/four.csv", "five.csv"):
        write(place.destination, path.encode(), path=path)
    assert set(place.destination.folder("a")) == {"a/one.csv", "a/two.csv"}


@pytest.mark.parametrize("name", ["with space.csv", "100%25.csv", "ünïcode-日.csv", "q?a=b#c&d.csv", "a+b.csv"])
def test_names_are_taken_literally(place: Place, name: str) -> None:
    path = f"folder of 2024-05-09 02:00:00/{name}"
    stored = write(place.destination, b"data", path=path)
    assert place.everything() == {path: b"data"}
    assert place.destination.folder("folder of 2024-05-09 02:00:00") == {path: stored}
    assert place.destination.read(path) == (b"data", stored)


@pytest.mark.parametrize("size", [10, 9 * CHUNK])
def test_an_object_is_replaced_by_who_has_seen_it_alone(place: Place, size: int) -> None:
    first = write(place.destination, b"old" * size)
    second = write(place.destination, b"newer" * size, replaces=first)
    assert second != first
    for seen in (None, first):
        with pytest.raises(AylaConflictError, match=r"Datapoints\.csv"):
            write(place.destination, b"ours!" * size, replaces=seen)
    assert place.everything() == {PATH: b"newer" * size}
    place.remove(PATH)
    with pytest.raises(AylaConflictError):
        write(place.destination, b"ours" * size, replaces=second)
    assert (place.everything(), place.unfinished()) == ({}, 0)


@pytest.mark.parametrize("size", [10, 12 * CHUNK])
@pytest.mark.parametrize("standing", [b"", b"old"])
def test_what_others_write_during_an_upload_is_not_replaced(place: Place, size: int, standing: bytes) -> None:
    seen = write(place.destination, standing) if standing else None
    stream = Breaking(bytes(size), size // 2, lambda: place.spoil(PATH, b"theirs"))
    with pytest.raises(AylaConflictError):
        write(place.destination, bytes(size), stream=stream, replaces=seen)
    assert (place.everything(), place.unfinished()) == ({PATH: b"theirs"}, 0)


@pytest.mark.parametrize("size", [10, 9 * CHUNK])
@pytest.mark.parametrize("standing", [b"", b"old"])
def test_a_store_with_preconditions_refuses_what_was_written_at_the_last_moment(
    place: Place, monkeypatch: pytest.MonkeyPatch, standing: bytes, size: int
) -> None:
    if place.kind == "memory":
        pytest.skip("it has none: the gap is named in the docs")
    if place.kind == "s3" and size > 8 * CHUNK and standing:
        pytest.skip("moto heeds no If-Match when a multipart upload is completed: that it is sent has its own test")
    seen = write(place.destination, standing) if standing else None
    store = place.destination._store  # type: ignore[attr-defined]
    find, looked = store.find, []

    def find_then_spoil(key: str) -> Any:
        found = find(key)
        if not looked:
            looked.append(key)
            place.spoil(PATH, b"theirs")
        return found

    monkeypatch.setattr(store, "find", find_then_spoil)
    with pytest.raises(AylaConflictError):
        write(place.destination, bytes(size), replaces=seen)
    assert looked
    assert place.everything() == {PATH: b"theirs"}


@pytest.mark.parametrize("size", [10, 3 * CHUNK, 12 * CHUNK, 20 * CHUNK])
@pytest.mark.parametrize("share", [0.0, 0.5, 0.99])
def test_a_stream_that_breaks_leaves_nothing(place: Place, size: int, share: float) -> None:
    with pytest.raises(AylaTransferError, match="the download broke"):
        write(place.destination, bytes(size), stream=Breaking(bytes(size), int(size * share)))
    gc.collect()  # what is half written may be completed by the end of its file object
    assert (place.everything(), place.unfinished()) == ({}, 0)


@pytest.mark.parametrize("size", [100, 12 * CHUNK])
def test_a_stream_that_breaks_leaves_what_stood_there(place: Place, size: int) -> None:
    first = write(place.destination, b"old")
    with pytest.raises(AylaTransferError):
        write(place.destination, bytes(size), stream=Breaking(bytes(size), size - 1), replaces=first)
    assert place.everything() == {PATH: b"old"}
    assert place.destination.read(PATH) == (b"old", first)


@pytest.mark.parametrize("size", [10, 8 * CHUNK - 3, 9 * CHUNK])
@pytest.mark.parametrize("wrong", [{"crc32c": Crc32c(b"something else").base64}, {"more": 5}, {"more": -5}])
def test_content_that_is_not_what_was_stated_is_refused(place: Place, size: int, wrong: dict[str, Any]) -> None:
    facts = {"size": size + wrong["more"]} if "more" in wrong else wrong
    with pytest.raises(AylaDestinationError, match="nothing was stored"):
        write(place.destination, bytes(size), **facts)
    assert (place.everything(), place.unfinished()) == ({}, 0)


@pytest.mark.parametrize("size", [10, 9 * CHUNK])
def test_content_that_changes_on_its_way_into_the_store_is_not_kept(
    place: Place, size: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Past the running checksum, in the backend's own client or on the wire."""
    changed = bytearray(size)
    changed[3] = 7
    if place.kind == "abfs":
        from azure.core.pipeline.transport import AioHttpTransport

        send = AioHttpTransport.send

        async def sent(self: Any, request: Any, **more: Any) -> Any:
            if "comp=block&" in request.url:
                request.data = bytes(changed[: len(request.data)])
            return await send(self, request, **more)

        monkeypatch.setattr(AioHttpTransport, "send", sent)
    elif place.kind == "s3":
        _corrupt_in_moto(monkeypatch)
    else:
        write_ = any_store.AnyUpload.part
        monkeypatch.setattr(any_store.AnyUpload, "part", lambda self, data: write_(self, bytes(changed[: len(data)])))
    told = {"abfs": "MD5 doesn't match", "s3": "they are removed", "memory": "it is removed"}[place.kind]
    with pytest.raises(AylaDestinationError, match=told):
        write(place.destination, bytes(size))
    assert place.everything() == {}


def _corrupt_in_moto(monkeypatch: pytest.MonkeyPatch) -> None:
    """Moto keeps what a client states and compares nothing, so that what is looked at here is what we do then."""
    from moto.s3.models import FakeKey, FakeMultipart

    set_part, made = FakeMultipart.set_part, FakeKey.__init__
    monkeypatch.setattr(
        FakeMultipart, "set_part", lambda self, number, value: set_part(self, number, b"\7" + bytes(value[1:]))
    )

    def make(self: Any, name: Any, value: bytes, **more: Any) -> None:
        more.pop("checksum_value", None)
        made(self, name, b"\7" + bytes(value[1:]) if isinstance(name, str) else value, **more)

    monkeypatch.setattr(FakeKey, "__init__", make)


@pytest.mark.parametrize("size", [10, 17 * CHUNK])
def test_s3_is_told_the_checksum_and_the_precondition_ahead(
    s3: Place, monkeypatch: pytest.MonkeyPatch, size: int
) -> None:
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
    assert [one.get("IfMatch") for name, one in calls if name == method] == [None, f'"{stored.version}"']


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


def test_an_object_that_was_replaced_has_no_checksum_under_its_old_version(place: Place) -> None:
    stored = write(place.destination, b"old")
    place.spoil(PATH, b"new")
    with pytest.raises(AylaConflictError):
        place.destination.crc32c(stored)


def test_a_bucket_that_is_not_there_is_told(place: Place) -> None:
    if place.kind == "memory":
        pytest.skip("every folder is there")
    scheme, conn_id = place.kind, {"s3": "aws_test", "abfs": "azure_test"}[place.kind]
    destination = object_storage_destination(f"{scheme}://nobodys-bucket/a", conn_id)
    with pytest.raises(AylaDestinationError, match="no such bucket"):
        write(destination, b"data")
    with pytest.raises(AylaDestinationError, match="no such bucket"):
        destination.folder("a")


def test_a_refusal_is_told(s3: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    from botocore.exceptions import ClientError

    def refused(*_: Any, **__: Any) -> None:
        cause = ClientError({"Error": {"Code": "AccessDenied", "Message": "Access Denied"}}, "PutObject")
        raise PermissionError("Access Denied") from cause

    monkeypatch.setattr(s3.destination._store._fs, "call_s3", refused)  # type: ignore[attr-defined]
    with pytest.raises(AylaDestinationError, match=r"Access Denied.*list, read, write and delete"):
        write(s3.destination, b"data")


def test_a_store_that_does_not_answer_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("s3fs")
    extra = {"endpoint_url": "http://127.0.0.1:9", "region_name": "us-east-1"}
    connection = {"conn_type": "aws", "login": "AKIAEXAMPLE", "password": "example", "extra": extra}
    monkeypatch.setenv("AIRFLOW_CONN_AWS_TEST", json.dumps(connection))
    destination = object_storage_destination("s3://bucket", "aws_test")
    monkeypatch.setattr(destination._store._fs, "retries", 1)  # type: ignore[attr-defined]
    with pytest.raises(AylaDestinationError, match="the store failed"):
        destination.folder("a")


@pytest.mark.parametrize("scheme", ["s3", "abfs", "nobodys"])
def test_a_scheme_that_nothing_installed_knows_is_told_with_what_to_install(
    scheme: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("airflow.sdk.io.fs._register_filesystems", dict)
    what = {"s3": r"amazon\[s3fs\]", "abfs": "microsoft-azure", "nobodys": "install the one"}[scheme]
    with pytest.raises(AylaConfigError, match=what):
        object_storage_destination(f"{scheme}://bucket/a", None)


def test_s3_without_s3fs_is_told_with_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("airflow.providers.amazon")
    monkeypatch.setitem(sys.modules, "s3fs", None)
    with pytest.raises(AylaConfigError, match=r"pip install 'apache-airflow-providers-amazon\[s3fs\]'"):
        object_storage_destination("s3://bucket/a", None)


@pytest.mark.parametrize(
    "url",
    ["", "s3://", "s3:///a", "bucket/a", "s3://bucket/../other", "s3://bucket/a?b=c"],
)
def test_a_url_of_no_destination_is_refused_by_name(url: str) -> None:
    with pytest.raises(AylaConfigError) as refused:
        object_storage_destination(url, None)
    assert repr(url) in str(refused.value)


def test_credentials_in_a_url_are_refused_and_not_shown() -> None:
    with pytest.raises(AylaConfigError, match="belong in an Airflow connection") as refused:
        object_storage_destination("s3://key:hidden@bucket/a", None)
    assert "hidden" not in str(refused.value)


def test_a_draft_is_no_object(monkeypatch: pytest.MonkeyPatch) -> None:
    place = memory_place(monkeypatch)
    place.spoil("a/.0123456789abcdef.partial", b"da")
    assert place.destination.folder("a") == {}


def test_hours_arrive_byte_for_byte_and_a_second_run_moves_nothing(place: Place, export: LocalCloud) -> None:
    big = os.urandom(20 * CHUNK + 7)
    put_hour(export, "Datapoint", data=big, file="big.csv")
    put_hour(export, "Datapoint", data=b"", file="none.csv")
    archive = Archive(place.destination)

    def run() -> Any:
        return archive.take_in(
            AylaHook().store,
            "datapoint",
            [HOUR, HOUR + ONE_HOUR],
            quiet_period=timedelta(minutes=15),
            patience=timedelta(minutes=90),
            written_by={"run_id": "test"},
        )

    first, second = run(), run()
    assert (first.copied_files, first.manifests_written) == (3, 2)
    assert (second.copied_files, second.manifests_written) == (0, 0)
    everything = place.everything()
    copies = {name.rpartition("-")[2]: data for name, data in everything.items() if name.endswith(".csv")}
    assert copies == {"f.csv": b"datapoints of an hour\r\n", "big.csv": big, "none.csv": b""}
    manifest = archive.manifest("datapoint", HOUR)
    assert manifest
    assert {entry.path: entry.crc32c for entry in manifest.files} == {
        name: Crc32c(data).base64 for name, data in everything.items() if name.endswith(".csv")
    }
    assert len(everything) == 5


def test_without_a_manifest_what_stands_is_compared_by_its_content(place: Place, export: LocalCloud) -> None:
    (file,) = AylaHook().store.list_files("datapoint", HOUR, HOUR + ONE_HOUR)
    transfer = Transfer(AylaHook().store, place.destination, Event())
    stored = transfer.copy(file, PATH, None).stored
    assert transfer.holds(stored, file.size, str(file.crc32c))
    place.spoil(PATH, b"X" * file.size)
    (spoiled,) = place.destination.folder(PATH.rpartition("/")[0]).values()
    assert not transfer.holds(spoiled, file.size, str(file.crc32c))


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
