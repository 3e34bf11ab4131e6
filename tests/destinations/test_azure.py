"""What is Azure's own: leases, policies, tiers, hierarchical accounts, and each kind of connection."""

from __future__ import annotations

import contextlib
import json
import logging
import os
from base64 import b64encode
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread
from typing import Any
from urllib.parse import urlsplit

import pytest

from ayla_provider.archive import azure
from ayla_provider.archive.destination import Destination
from ayla_provider.destinations import open_destination
from ayla_provider.errors import AylaConflictError, AylaDestinationError
from ayla_provider.transport.checksum import CHUNK
from tests.support.object_stores import ACCOUNT, KEY, PATH, connect_azure, quiet, write
from tests.support.places import Place

pytestmark = quiet


def blob(abfs: Place, url: str, path: str = PATH) -> Any:
    from azure.storage.blob import BlobServiceClient

    container = urlsplit(abfs.destination.url).netloc
    return BlobServiceClient(url, credential=KEY).get_blob_client(container, f"ayla/archive/{path}")


@pytest.mark.parametrize("size", [10, 9 * CHUNK])
def test_nothing_is_said_that_an_account_has_a_default_for(abfs: Place, azure_url: str, size: int) -> None:
    write(abfs.destination, bytes(size))
    facts = blob(abfs, azure_url).get_blob_properties()
    assert (facts.blob_tier, facts.blob_tier_inferred, facts.encryption_scope) == ("Hot", True, None)
    assert facts.content_settings.content_type == "text/csv"


def test_metadata_of_a_blob_goes_with_it_when_it_is_replaced(abfs: Place, azure_url: str) -> None:
    write(abfs.destination, b"old")
    blob(abfs, azure_url).set_blob_metadata({"checked": "yes"})
    (current,) = abfs.destination.folder(PATH.rpartition("/")[0]).values()
    write(abfs.destination, b"new", replaces=current)
    assert blob(abfs, azure_url).get_blob_properties().metadata == {}


def test_a_blob_with_a_lease_is_kept_and_reported(abfs: Place, azure_url: str) -> None:
    current = write(abfs.destination, b"old")
    blob(abfs, azure_url).acquire_lease()
    with pytest.raises(AylaDestinationError, match=r"may not be replaced \(LeaseIdMissing.*keep versions"):
        write(abfs.destination, b"new", replaces=current)
    assert abfs.everything() == {PATH: b"old"}


def test_folders_of_a_hierarchical_account_are_not_objects(abfs: Place, azure_url: str) -> None:
    """Such an account lists each folder twice: as a prefix, and as a blob that says so in its metadata."""
    stored = write(abfs.destination, b"data", path="a/one.csv")
    write(abfs.destination, b"data", path="a/deeper/two.csv")
    for folder in ("a", "a/deeper"):
        blob(abfs, azure_url, folder).upload_blob(b"", metadata={"hdi_isfolder": "true"})
    assert abfs.destination.folder("a") == {"a/one.csv": stored}


def test_requests_are_not_logged(abfs: Place, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO):
        write(abfs.destination, b"data")
    assert not [one for one in caplog.records if one.name.startswith("azure")]


def test_a_token_for_the_container_alone_suffices(abfs: Place, azure_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    from azure.storage.blob import ContainerSasPermissions, generate_container_sas

    rights = ContainerSasPermissions(read=True, write=True, delete=True, list=True)
    container, until = urlsplit(abfs.destination.url).netloc, datetime.now(UTC) + timedelta(hours=1)
    token = generate_container_sas(ACCOUNT, container, account_key=KEY, permission=rights, expiry=until)
    text = f"BlobEndpoint={azure_url};SharedAccessSignature={token}"
    connection = {"conn_type": "wasb", "extra": {"connection_string": text}}
    monkeypatch.setenv("AIRFLOW_CONN_AZURE_TOKEN", json.dumps(connection))
    destination = open_destination(abfs.destination.url, "azure_token")
    first = write(destination, b"first")
    data = os.urandom(9 * CHUNK)
    second = write(destination, data, replaces=first)
    assert destination.folder(PATH.rpartition("/")[0]) == {PATH: second}
    assert destination.read(PATH) == (data, second)


@pytest.mark.parametrize(
    ("connection", "account"),
    [
        ({"login": "acme", "password": KEY}, "acme.blob.core.windows.net"),
        ({"host": "acme.blob.core.windows.net", "login": "acme", "password": KEY}, "acme.blob.core.windows.net"),
        ({"host": "https://acme.blob.core.usgovcloudapi.net/", "password": KEY}, "acme.blob.core.usgovcloudapi.net"),
        ({"login": "acme", "extra": {"sas_token": "sv=2024-11-04&sig=x"}}, "acme.blob.core.windows.net"),
        ({"login": "acme"}, "acme.blob.core.windows.net"),
        ({"login": "other", "password": KEY, "extra": {"account_name": "acme"}}, "acme.blob.core.windows.net"),
        (
            {"login": "acme", "extra": {"sas_token": "sig=x", "account_host": "acme.storage.example.com"}},
            "acme.storage.example.com",
        ),
        (
            {"host": "https://acme.blob.core.windows.net", "login": "id", "password": "x", "extra": {"tenant_id": "t"}},
            "acme.blob.core.windows.net",
        ),
        (
            {"conn_type": "adls", "host": "acme", "login": "id", "password": "x", "extra": {"tenant_id": "t"}},
            "acme.blob.core.windows.net",
        ),
    ],
)
def test_the_account_is_found_where_airflows_hooks_find_it(
    connection: dict[str, Any], account: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("adlfs", reason="pip install apache-airflow-providers-microsoft-azure")
    monkeypatch.setenv("AIRFLOW_CONN_AZURE_ACCOUNT", json.dumps({"conn_type": "wasb"} | connection))
    destination: Any = open_destination("abfs://container/a", "azure_account")
    assert urlsplit(destination._store._fs.service_client.url).netloc == account


@contextlib.contextmanager
def answering(
    monkeypatch: pytest.MonkeyPatch, put: Callable[[str], tuple[int, dict[str, str]]], head: list[dict[str, str]]
) -> Iterator[Destination]:
    """
    Give a destination at a server that answers what the emulator never does.

    :param put: the answer to a path
    :param head: the answers to looks, the last one first; nothing is there if it is empty
    """

    class Handler(BaseHTTPRequestHandler):
        def do_HEAD(self) -> None:
            if head:
                self.answer(200, head.pop())
            else:
                self.answer(404, {"x-ms-error-code": "BlobNotFound"})

        def do_PUT(self) -> None:
            self.rfile.read(int(self.headers["Content-Length"]))
            self.answer(*put(self.path))

        def answer(self, status: int, headers: dict[str, str]) -> None:
            self.send_response(status)
            for name, value in {"Content-Length": "0", **headers}.items():
                self.send_header(name, value)
            self.end_headers()

        def log_message(self, *_: object) -> None:
            pass

    pytest.importorskip("adlfs", reason="pip install apache-airflow-providers-microsoft-azure")
    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True).start()
        connect_azure(monkeypatch, f"http://127.0.0.1:{server.server_address[1]}/{ACCOUNT}")
        yield open_destination("abfs://container/ayla", "azure_test")
        server.shutdown()


@pytest.mark.parametrize("size", [10, 9 * CHUNK])
@pytest.mark.parametrize("code", ["BlobImmutableDueToPolicy", "BlobImmutableDueToLegalHold"])
def test_a_blob_that_a_policy_keeps_is_reported(code: str, size: int, monkeypatch: pytest.MonkeyPatch) -> None:
    def put(path: str) -> tuple[int, dict[str, str]]:
        return (201, {}) if "comp=block&" in path else (409, {"x-ms-error-code": code})

    with (
        answering(monkeypatch, put, []) as destination,
        pytest.raises(AylaDestinationError, match=rf"may not be replaced \({code}"),
    ):
        write(destination, bytes(size))


@pytest.mark.parametrize("through", ["our connection", "the client's"])
@pytest.mark.parametrize("lost", [False, True])
@pytest.mark.parametrize("size", [10, 9 * CHUNK])
def test_a_blob_without_a_clear_answer_is_sent_again_by_azures_client(
    abfs: Place, monkeypatch: pytest.MonkeyPatch, lost: bool, through: str, size: int
) -> None:
    data = os.urandom(size)
    put, sent = azure._put, azure.AzureStore._sent

    async def failing_put(*arguments: Any) -> None:
        if lost:
            await put(*arguments)
        raise OSError("the connection broke")

    def failing(*arguments: Any) -> None:
        if lost:
            sent(*arguments)
        raise OSError("the connection broke")

    if through == "our connection":
        monkeypatch.setattr(azure.AzureStore, "_sent", failing)
    else:
        monkeypatch.setattr(azure, "_signed", lambda *_: None)
        monkeypatch.setattr(azure, "_put", failing_put)
    if lost and size == 10:
        # As with the retries of Azure's client: the copy then compares what is there.
        with pytest.raises(AylaConflictError):
            write(abfs.destination, data)
    else:
        # A block that is sent twice is one block.
        write(abfs.destination, data)
    assert abfs.everything() == {PATH: data}


def test_a_blob_that_the_client_must_send_is_stored_as_well(abfs: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    """As with a proxy of the client's own, or where it signs with a token."""
    monkeypatch.setattr(azure, "_signed", lambda *_: None)
    large = os.urandom(9 * CHUNK)
    first = write(abfs.destination, b"first")
    write(abfs.destination, large, replaces=first)
    with pytest.raises(AylaConflictError):
        write(abfs.destination, b"third", replaces=first)
    assert abfs.everything() == {PATH: large}


@pytest.mark.parametrize(
    ("settings", "is_ours"),
    [
        ({}, True),
        ({"connection_verify": False}, False),
        ({"connection_verify": "/etc/ca.pem"}, False),
        ({"connection_cert": "/etc/client.pem"}, False),
        ({"proxies": {"https": "http://proxy:3128"}}, False),
        ({"credential": None}, True),
        ({"credential": "a token"}, False),
    ],
)
def test_a_request_of_ours_has_the_clients_settings_or_is_not_made(settings: dict[str, Any], is_ours: bool) -> None:
    blobs = pytest.importorskip("azure.storage.blob.aio", reason="pip install apache-airflow-providers-microsoft-azure")
    if settings.get("credential"):
        settings = {"credential": Token()}
    client = blobs.BlobServiceClient("https://acme.blob.core.windows.net", **({"credential": KEY} | settings))
    headers, url = azure._request(client, "container/a.csv", "", {}, b"data")
    assert (azure._signed(client, url, headers) is not None) == is_ours


class Token:
    """What the client takes for a credential that gets tokens."""

    async def get_token(self, *_: str, **__: Any) -> None:
        raise NotImplementedError


@pytest.mark.parametrize("key", ["a b/é+%20~.csv", "event_type=datapoint/date=2024-05-09/x(1)'!*.csv"])
def test_a_name_is_the_same_with_and_without_azures_client(abfs: Place, key: str) -> None:
    small = write(abfs.destination, b"data", path=key)
    write(abfs.destination, bytes(9 * CHUNK), path=key, replaces=small)
    assert abfs.everything() == {key: bytes(9 * CHUNK)}


@pytest.mark.ci
def test_an_answer_that_states_another_md5_is_not_believed(monkeypatch: pytest.MonkeyPatch) -> None:
    def put(path: str) -> tuple[int, dict[str, str]]:
        return 201, {"ETag": '"0x1"', "Content-MD5": b64encode(bytes(16)).decode()}

    with (
        answering(monkeypatch, put, []) as destination,
        pytest.raises(AylaDestinationError, match="MD5 mismatch"),
    ):
        write(destination, b"data")


@pytest.mark.parametrize("size", [4, 9 * CHUNK])
@pytest.mark.parametrize(("off", "etag"), [(0, "0x1"), (1, "0x1"), (0, "0x2")])
def test_where_no_md5_is_stated_size_and_version_are_looked_up(
    monkeypatch: pytest.MonkeyPatch, size: int, off: int, etag: str
) -> None:
    modified = "Mon, 30 Nov 2026 00:00:00 GMT"
    looks: list[dict[str, str]] = []

    def put(path: str) -> tuple[int, dict[str, str]]:
        # Nothing is there until the blob is complete.
        if "comp=block&" not in path:
            looks.append({"Content-Length": str(size + off), "ETag": f'"{etag}"', "Last-Modified": modified})
        return 201, {"ETag": '"0x1"'}

    with answering(monkeypatch, put, looks) as destination:
        if (off, etag) == (0, "0x1"):
            assert write(destination, bytes(size)).size == size
        else:
            wrong = AylaDestinationError if off else AylaConflictError
            with pytest.raises(wrong):
                write(destination, bytes(size))
