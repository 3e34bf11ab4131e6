"""Fixtures of a local Ayla cloud, its client, and destinations. A ``conftest.py`` imports those that it needs."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path
from types import SimpleNamespace

import pytest
from google.cloud import storage
from google.cloud.storage.retry import DEFAULT_RETRY

from ayla_provider.local_cloud import LocalCloud
from ayla_provider.source import auth, guard, reader
from ayla_provider.source.auth import TokenProvider
from ayla_provider.source.export import Export
from tests.support.client import NOW, client_of, customer_credentials, export_of, provider_of, settings_of
from tests.support.places import Place, file_place, gcs_place
from tests.support.web_server import Answering, web_servers

__all__ = [
    "_no_waiting",
    "answering",
    "cloud",
    "customer",
    "export",
    "place",
    "provider",
    "stopping",
]
"""What ``import *`` gives to a ``conftest.py``: all fixtures, and nothing else."""


@pytest.fixture(autouse=True)
def _no_waiting(monkeypatch: pytest.MonkeyPatch, tmp_path_factory: pytest.TempPathFactory) -> None:
    """Make every wait of the client short, and put its lock files aside."""
    no_jitter = SimpleNamespace(uniform=lambda low, high: 0.0)
    monkeypatch.setattr(auth, "random", no_jitter)
    monkeypatch.setattr(reader, "random", no_jitter)
    monkeypatch.setattr(guard, "_SETTLE", 0.01)
    monkeypatch.setattr(auth._PatientRetry, "get_backoff_time", lambda self: 0.0)
    for part, seconds in {"_initial": 0.01, "_maximum": 0.05, "_timeout": 2.0, "_deadline": 2.0}.items():
        monkeypatch.setattr(DEFAULT_RETRY, part, seconds)
    # The customer's client is made by no code of ours.
    monkeypatch.setenv("DISABLE_GCS_PYTHON_CLIENT_OTEL_BUCKET_METADATA", "true")
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path_factory.mktemp("locks")))


@pytest.fixture(scope="session")
def stopping() -> Iterator[ThreadPoolExecutor]:
    """Threads in which servers are stopped, since most of that is waiting."""
    with ThreadPoolExecutor(4) as pool:
        yield pool


@pytest.fixture
def cloud(request: pytest.FixtureRequest, stopping: ThreadPoolExecutor) -> Iterator[LocalCloud]:
    """A local cloud at noon, without any export unless the test's parameter says otherwise."""
    cloud = LocalCloud(**{"now": NOW} | getattr(request, "param", {}))
    cloud.start()
    yield cloud
    stopping.submit(cloud.stop)


@pytest.fixture
def provider(cloud: LocalCloud) -> TokenProvider:
    return provider_of(settings_of(cloud))


@pytest.fixture
def export(cloud: LocalCloud, provider: TokenProvider) -> Iterator[Export]:
    made = export_of(cloud, provider)
    with closing(client_of(made)):
        yield made


@pytest.fixture
def customer(cloud: LocalCloud) -> Iterator[storage.Client]:
    """The customer's own client."""
    with closing(
        storage.Client("-", credentials=customer_credentials(cloud), client_options={"api_endpoint": cloud.url})
    ) as client:
        yield client


@pytest.fixture(params=["file", "gcs"])
def place(request: pytest.FixtureRequest, cloud: LocalCloud, tmp_path: Path) -> Place:
    """A destination of each kind."""
    if request.param == "file":
        return file_place(tmp_path)
    return gcs_place(cloud, request.getfixturevalue("customer"))


@pytest.fixture
def answering() -> Iterator[Callable[..., Answering]]:
    """Start web servers, each with an answer of its own."""
    with web_servers() as start:
        yield start
