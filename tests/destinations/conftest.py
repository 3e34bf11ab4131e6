"""Destinations on disk, in Cloud Storage, in fsspec's memory, in two S3 servers, and in Azure's emulator."""

from __future__ import annotations

import socket
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from harness.seaweedfs import seaweedfs
from tests.support.fixtures import cloud, customer, stopping  # noqa: F401 - fixtures, found by their names
from tests.support.object_stores import ACCOUNT, SEAWEEDFS, answers, aws_client, azure_place, memory_place, s3_place
from tests.support.places import Place, file_place, gcs_place
from tests.support.tools import AZURITE, NPM
from tests.support.versions import Versions


@pytest.fixture(scope="session")
def azure_url() -> Iterator[str]:
    pytest.importorskip("adlfs", reason="pip install apache-airflow-providers-microsoft-azure")
    NPM.require()
    process = None
    while process is None:
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            port = free.getsockname()[1]
        process = _azurite(port)
    with process:
        yield f"http://127.0.0.1:{port}/{ACCOUNT}"
        process.terminate()


def _azurite(port: int) -> subprocess.Popen[bytes] | None:
    """Start Azurite; None if it ended, because another program has taken the port since it was free."""
    command = [str(AZURITE), "--blobHost", "127.0.0.1", "--blobPort", str(port), "--silent", "--skipApiVersionCheck"]
    process = subprocess.Popen([*command, "--inMemoryPersistence"], stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
    answered = False
    while process.poll() is None:
        # Once more after the first answer, which may be that of the other program.
        if answered:
            return process
        answered = answers(port)
        time.sleep(0.3)
    assert process.stderr
    with process.stderr as errors:
        output = errors.read().decode(errors="replace")
    assert "EADDRINUSE" in output, output
    return None


@pytest.fixture(autouse=True)
def _no_kept_stores(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("airflow.sdk.io.store._STORE_CACHE", {})
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")


@pytest.fixture(scope="session")
def seaweedfs_url() -> Iterator[str]:
    """SeaweedFS, a store that somebody else wrote, and not only for tests."""
    with seaweedfs() as server:
        # It answers before it can store anything.
        server.make_bucket("first")
        yield server.url


@pytest.fixture(params=["file", "gs", "memory", "s3", "abfs", SEAWEEDFS])
def place(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Place:
    if request.param == "file":
        return file_place(tmp_path / "archive")
    if request.param == "gs":
        return gcs_place(request.getfixturevalue("cloud"), request.getfixturevalue("customer"))
    if request.param == "s3":
        return s3_place(monkeypatch, request.getfixturevalue("s3_url"))
    if request.param == "seaweedfs":
        return s3_place(monkeypatch, request.getfixturevalue("seaweedfs_url"), is_moto=False)
    if request.param == "abfs":
        return azure_place(monkeypatch, request.getfixturevalue("azure_url"))
    return memory_place(monkeypatch)


@pytest.fixture
def s3(monkeypatch: pytest.MonkeyPatch, s3_url: str) -> Place:
    return s3_place(monkeypatch, s3_url)


@pytest.fixture
def abfs(monkeypatch: pytest.MonkeyPatch, azure_url: str) -> Place:
    return azure_place(monkeypatch, azure_url)


@pytest.fixture
def versions(request: pytest.FixtureRequest, place: Place) -> Versions:
    """The versions of a bucket that keeps all of them from now on."""
    if place.kind == "s3":
        bucket = place.destination.url.split("/")[2]
        aws_client(place.server).put_bucket_versioning(Bucket=bucket, VersioningConfiguration={"Status": "Enabled"})
        return Versions(place, place.server, None)
    request.getfixturevalue("cloud").customer.keeps = "versions"
    return Versions(place, "", request.getfixturevalue("customer"))
