"""Object stores: fsspec's memory, an S3 server, and Azure's emulator."""

from __future__ import annotations

import io
import json
import socket
import sys
import time
from collections.abc import Callable
from typing import Any

import pytest
from fsspec.implementations.memory import MemoryFileSystem

from ayla_provider.archive.destination import Destination, Stored
from ayla_provider.destinations import open_destination
from ayla_provider.errors import AylaTransferError
from ayla_provider.transport.checksum import Crc32c
from tests.support.places import Place

PATH = "event_type=datapoint/date=2024-05-09/hour=02/20240509T020000Z-Datapoints.csv"

ACCOUNT = "devstoreaccount1"

KEY = "Eby8vdM02xNOcqFlqUwJPLlmEtlCDXJ1OUzFT50uSRZ6IFsuFq2UVErCz4I6tq/K1SZFPTOtr/KBHBeksoGMGw=="
"""Of the emulator, the same everywhere."""

SEAWEEDFS = pytest.param("seaweedfs", marks=pytest.mark.ci)
"""For tests that also run on a store that isn't made for tests."""

quiet = pytest.mark.filterwarnings(
    # Of the stores' clients, about themselves.
    "ignore::DeprecationWarning",
    "ignore::ResourceWarning",
    "ignore::airflow.exceptions.AirflowProviderDeprecationWarning",
)


def answers(port: int) -> bool:
    with socket.socket() as attempt:
        return attempt.connect_ex(("127.0.0.1", port)) == 0


def memory_place(monkeypatch: pytest.MonkeyPatch) -> Place:
    from airflow.sdk.io import attach

    fs = MemoryFileSystem(global_store=False, skip_instance_cache=True)
    attach("memory", fs=fs)
    destination = open_destination("memory://bucket/ayla/archive/", None)
    root = "/bucket/ayla/archive/"

    def everything() -> dict[str, bytes]:
        return {name.removeprefix(root): file.getvalue() for name, file in list(fs.store.items())}

    def spoil(path: str, data: bytes) -> None:
        fs.pipe_file(root + path, data)

    return Place(destination, "memory", everything, spoil, lambda path: fs.rm_file(root + path))


def connect_aws(monkeypatch: pytest.MonkeyPatch, url: str, **extra: Any) -> None:
    connection = {"conn_type": "aws", "login": "AKIAEXAMPLE", "password": "example"}
    connection["extra"] = {"endpoint_url": url, "region_name": "us-east-1"} | extra
    monkeypatch.setenv("AIRFLOW_CONN_AWS_TEST", json.dumps(connection))


def aws_client(url: str, service: str = "s3") -> Any:
    import boto3

    credentials = {"aws_access_key_id": "AKIAEXAMPLE", "aws_secret_access_key": "example"}
    return boto3.client(service, endpoint_url=url, region_name="us-east-1", **credentials)


def s3_place(monkeypatch: pytest.MonkeyPatch, url: str, *, locks: bool = False, is_moto: bool = True) -> Place:
    """Return a new bucket of a server that speaks S3."""
    connect_aws(monkeypatch, url)
    client = aws_client(url)
    bucket = f"bucket-{time.monotonic_ns()}"
    client.create_bucket(Bucket=bucket, ObjectLockEnabledForBucket=locks)
    root = "ayla/archive/"

    def everything() -> dict[str, bytes]:
        names = [one["Key"] for one in client.list_objects_v2(Bucket=bucket).get("Contents", [])]
        return {name.removeprefix(root): client.get_object(Bucket=bucket, Key=name)["Body"].read() for name in names}

    return Place(
        open_destination(f"s3://{bucket}/ayla/archive", "aws_test"),
        "s3",
        everything,
        lambda path, data: client.put_object(Bucket=bucket, Key=root + path, Body=data) and None,
        lambda path: client.delete_object(Bucket=bucket, Key=root + path) and None,
        lambda: len(client.list_multipart_uploads(Bucket=bucket).get("Uploads", [])),
        server=url,
        is_moto=is_moto,
    )


def connect_azure(monkeypatch: pytest.MonkeyPatch, url: str) -> None:
    text = f"DefaultEndpointsProtocol=http;AccountName={ACCOUNT};AccountKey={KEY};BlobEndpoint={url};"
    connection = {"conn_type": "wasb", "extra": {"connection_string": text}}
    monkeypatch.setenv("AIRFLOW_CONN_AZURE_TEST", json.dumps(connection))


def azure_place(monkeypatch: pytest.MonkeyPatch, url: str) -> Place:
    from azure.storage.blob import BlobServiceClient

    connect_azure(monkeypatch, url)
    name = f"container-{time.monotonic_ns()}"
    container = BlobServiceClient(url, credential=KEY).create_container(name)
    root = "ayla/archive/"

    def everything() -> dict[str, bytes]:
        names = [str(one.name) for one in container.list_blobs()]
        return {one.removeprefix(root): container.download_blob(one).readall() for one in names}

    return Place(
        open_destination(f"abfs://{name}/ayla/archive", "azure_test"),
        "abfs",
        everything,
        lambda path, data: container.upload_blob(root + path, data, overwrite=True) and None,
        lambda path: container.delete_blob(root + path),
    )


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


def corrupt_in_moto(monkeypatch: pytest.MonkeyPatch) -> None:
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
