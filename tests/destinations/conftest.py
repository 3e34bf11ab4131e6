"""Destinations on disk, in Cloud Storage, in fsspec's memory, in an S3 server, and in Azure's emulator."""

from __future__ import annotations

import socket
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.fixtures import cloud, customer, stopping  # noqa: F401 - fixtures, found by their names
from tests.support.object_stores import ACCOUNT, answers, azure_place, memory_place, s3_place
from tests.support.places import Place, file_place, gcs_place
from tests.support.tools import AZURITE, NPM


@pytest.fixture(scope="session")
def azure_url() -> Iterator[str]:
    pytest.importorskip("adlfs", reason="pip install apache-airflow-providers-microsoft-azure")
    NPM.require()
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = [str(AZURITE), "--blobHost", "127.0.0.1", "--blobPort", str(port), "--silent", "--skipApiVersionCheck"]
    with subprocess.Popen([*command, "--inMemoryPersistence"], stdout=subprocess.DEVNULL) as process:
        while not answers(port):
            assert process.poll() is None, "Azurite ended"
            time.sleep(0.1)
        yield f"http://127.0.0.1:{port}/{ACCOUNT}"
        process.terminate()


@pytest.fixture(autouse=True)
def _no_kept_stores(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("airflow.sdk.io.store._STORE_CACHE", {})
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")


@pytest.fixture(params=["file", "gs", "memory", "s3", "abfs"])
def place(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Place:
    if request.param == "file":
        return file_place(tmp_path / "archive")
    if request.param == "gs":
        return gcs_place(request.getfixturevalue("cloud"), request.getfixturevalue("customer"))
    if request.param == "s3":
        return s3_place(monkeypatch, request.getfixturevalue("s3_url"))
    if request.param == "abfs":
        return azure_place(monkeypatch, request.getfixturevalue("azure_url"))
    return memory_place(monkeypatch)


@pytest.fixture
def s3(monkeypatch: pytest.MonkeyPatch, s3_url: str) -> Place:
    return s3_place(monkeypatch, s3_url)


@pytest.fixture
def abfs(monkeypatch: pytest.MonkeyPatch, azure_url: str) -> Place:
    return azure_place(monkeypatch, azure_url)
