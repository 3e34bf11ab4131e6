"""A local cloud, the client's parts signed in to it, and destinations of both kinds."""

from __future__ import annotations

import dataclasses
import json
import tempfile
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from types import SimpleNamespace
from typing import Any

import pytest
from google.cloud import storage
from google.cloud.storage.retry import DEFAULT_RETRY
from google.oauth2 import service_account

from ayla_provider.archive.archive import Archive, ArchiveReport
from ayla_provider.archive.destination import Destination
from ayla_provider.archive.gcs import GcsDestination
from ayla_provider.archive.local import FileDestination
from ayla_provider.domain.arrival import ArrivalRule
from ayla_provider.domain.events import EventType
from ayla_provider.domain.hour import ExportHour
from ayla_provider.local_cloud import LocalCloud
from ayla_provider.source import auth, guard, reader
from ayla_provider.source.auth import TokenProvider
from ayla_provider.source.export import Export
from ayla_provider.source.gcs import GcsSource
from ayla_provider.source.guard import SignInGuard
from ayla_provider.source.settings import AylaSettings

NOW = datetime(2024, 5, 9, 12, tzinfo=UTC)
"""The time of the export."""

RULE = ArrivalRule(timedelta(minutes=15), timedelta(minutes=90))

PREFIX = "ayla/archive"
"""Where the archive stands in the customer's bucket."""


def at(hour: int, minute: int = 0) -> datetime:
    """Return a time of the day of the export."""
    return NOW.replace(hour=hour, minute=minute)


@pytest.fixture(autouse=True)
def _no_waiting(monkeypatch: pytest.MonkeyPatch, tmp_path_factory: pytest.TempPathFactory) -> None:
    """Make every wait of the client short, and put its lock files aside."""
    no_jitter = SimpleNamespace(uniform=lambda low, high: 0.0)
    monkeypatch.setattr(auth, "random", no_jitter)
    monkeypatch.setattr(reader, "random", no_jitter)
    monkeypatch.setattr(guard, "_SETTLE", 0.01)
    monkeypatch.setattr(auth._PatientRetry, "get_backoff_time", lambda self: 0.0)
    for part, seconds in {"_initial": 0.01, "_maximum": 0.05, "_timeout": 0.5, "_deadline": 0.5}.items():
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


def connection_of(cloud: LocalCloud, *, password: str | None = None, host: str | None = None, **extra: str) -> Any:
    made = cloud.ayla_connection()
    return {
        "conn_id": "ayla_test",
        "login": made["login"],
        "password": password or made["password"],
        "host": host or made["host"],
        "port": None,
        "extra": made["extra"] | extra,
    }


def settings_of(cloud: LocalCloud, **changes: Any) -> AylaSettings:
    return AylaSettings.from_fields(**connection_of(cloud, **changes))


def provider_of(
    settings: AylaSettings, memory: guard.Memory | None = None, on_secret: Callable[[str], None] = lambda secret: None
) -> TokenProvider:
    return TokenProvider(settings, SignInGuard("ayla_test", settings.fingerprint, memory), on_secret)


@pytest.fixture
def provider(cloud: LocalCloud) -> TokenProvider:
    return provider_of(settings_of(cloud))


@pytest.fixture
def export(cloud: LocalCloud, provider: TokenProvider) -> Iterator[Export]:
    made = export_of(cloud, provider)
    with closing(client_of(made)):
        yield made


def export_of(cloud: LocalCloud, provider: TokenProvider, **arguments: Any) -> Export:
    of_source = {"bucket": cloud.vendor.name, "endpoint": cloud.url}
    of_source |= {name: arguments.pop(name) for name in ("bucket", "endpoint", "network") if name in arguments}
    source = GcsSource(provider.credentials(), **of_source)
    root = f"{arguments.pop('oem_id', cloud.oem_id)}/"
    return Export(source, root, **{"now": cloud.clock.now} | arguments)


def client_of(export: Export) -> storage.Client:
    """Return the google-cloud-storage client of an export's source."""
    assert isinstance(export.source, GcsSource)
    return export.source.client


def age(provider: TokenProvider) -> None:
    """Make a provider's token one that was fetched a minute ago."""
    assert provider._token
    provider._token = dataclasses.replace(provider._token, fetched=provider._token.fetched - 60)


def requests_of(cloud: LocalCloud, *steps: str) -> list[Any]:
    """Return the requests for some purposes, once the last one is in the cloud's log."""
    time.sleep(0.05)
    return [one for one in list(cloud.requests) if one.step in steps]


def put(
    cloud: LocalCloud, hour: int, file: str, data: Any = b"row\r\n", *, folder: str = "Datapoint", minute: int = 0
) -> str:
    """Put an object of the day into Ayla's bucket, there half an hour after its hour, and return its name."""
    name = f"{at(hour):%Y-%m-%d} {hour:02}:{minute:02}:00"
    return cloud.put_object(folder, name, file, data, at(hour) + timedelta(minutes=90)).name


def bytes_of(content: Any) -> bytes:
    return b"".join(content.chunks(0, content.size))


def customer_credentials(cloud: LocalCloud) -> service_account.Credentials:
    scope = "https://www.googleapis.com/auth/devstorage.read_write"
    made = service_account.Credentials.from_service_account_info(cloud.service_account_key(), scopes=[scope])
    # google-auth would ask Google, in the background, for the regions that this account is allowed in.
    made._is_regional_access_boundary_lookup_required = lambda: False
    return made


@pytest.fixture
def customer(cloud: LocalCloud) -> Iterator[storage.Client]:
    """The customer's own client."""
    with closing(
        storage.Client("-", credentials=customer_credentials(cloud), client_options={"api_endpoint": cloud.url})
    ) as client:
        yield client


@dataclasses.dataclass
class Place:
    """A destination, and a look at it that doesn't go through it."""

    destination: Destination
    everything: Callable[[], dict[str, bytes]]
    """What stands there by path, partial files included."""
    spoil: Callable[[str, bytes], None]
    """Replaces an object by hand."""


def file_place(root: Path) -> Place:
    def everything() -> dict[str, bytes]:
        return {str(one.relative_to(root)): one.read_bytes() for one in root.rglob("*") if one.is_file()}

    def spoil(path: str, data: bytes) -> None:
        (root / path).parent.mkdir(parents=True, exist_ok=True)
        (root / path).write_bytes(data)

    return Place(FileDestination(root), everything, spoil)


def gcs_destination(cloud: LocalCloud, client: storage.Client, bucket: str, prefix: str = "") -> GcsDestination:
    return GcsDestination(client, bucket, prefix, credentials=customer_credentials(cloud))


def gcs_place(cloud: LocalCloud, client: storage.Client, prefix: str = PREFIX) -> Place:
    def everything() -> dict[str, bytes]:
        found = {name: cloud.customer.live(name) for name in list(cloud.customer.names)}
        return {name.removeprefix(f"{prefix}/"): bytes_of(one.content) for name, one in found.items() if one}

    def spoil(path: str, data: bytes) -> None:
        client.bucket(cloud.customer.name).blob(f"{prefix}/{path}").upload_from_string(data)

    return Place(gcs_destination(cloud, client, cloud.customer.name, prefix), everything, spoil)


@pytest.fixture(params=["file", "gcs"])
def place(request: pytest.FixtureRequest, cloud: LocalCloud, tmp_path: Path) -> Place:
    """A destination of each kind."""
    if request.param == "file":
        return file_place(tmp_path)
    return gcs_place(cloud, request.getfixturevalue("customer"))


def hours_at(*hours: int, event_type: str = "datapoint") -> list[ExportHour]:
    """Return these hours of the day of :func:`at`."""
    return [ExportHour(EventType(event_type), at(hour)) for hour in hours]


def take_in(archive: Archive, export: Export, *hours: int, event_type: str = "datapoint") -> ArchiveReport:
    """Copy some hours of the day."""
    return archive.take_in(export, hours_at(*hours, event_type=event_type), RULE, written_by={"run_id": "test"})


@dataclasses.dataclass
class Answering:
    """A web server that gives every request the same answer."""

    url: str
    received: list[tuple[str, dict[str, str], bytes]]
    """Method and path, headers, and body of each request."""


@pytest.fixture
def answering() -> Iterator[Callable[..., Answering]]:
    """Start web servers, each with an answer of its own; a status of 0 ends the connection instead."""
    servers = []

    def start(status: int, body: Any = None, **headers: str) -> Answering:
        received: list[tuple[str, dict[str, str], bytes]] = []

        class Handler(BaseHTTPRequestHandler):
            def _answer(self) -> None:
                asked = self.rfile.read(int(self.headers.get("Content-Length") or 0))
                received.append((f"{self.command} {self.path}", dict(self.headers), asked))
                self.close_connection = not status
                if not status:
                    return
                data = body.encode() if isinstance(body, str) else json.dumps(body or {}).encode()
                self.send_response(status)
                for name, value in headers.items():
                    self.send_header(name.replace("_", "-"), value.replace("PATH", self.path))
                self.send_header("Content-Length", str(len(data)))
                self.end_headers()
                self.wfile.write(data)

            do_GET = do_POST = do_PUT = _answer  # noqa: N815 - names that the library calls

            def log_message(self, *_: object) -> None:
                pass

        server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        thread = Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
        thread.start()
        servers.append((server, thread))
        return Answering(f"http://127.0.0.1:{server.server_address[1]}", received)

    yield start
    for server, thread in servers:
        server.shutdown()
        thread.join()
        server.server_close()
