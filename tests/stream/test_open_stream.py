"""From a URL and an Airflow connection to a stream that can be read."""

from __future__ import annotations

import json
import logging
import sys
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from ayla_provider._airflow.streams import open_stream
from ayla_provider.domain.stream import ShardPosition
from ayla_provider.errors import AylaAccessDenied, AylaConfigError
from ayla_provider.stream.base import Stream
from ayla_provider.stream.url import StreamUrl
from harness.kinesis_double import REGION, KinesisDouble
from tests.support.kinesis import Made
from tests.support.object_stores import aws_client, quiet

pytestmark = [
    quiet,
    pytest.mark.filterwarnings("ignore:Exception ignored in. <socket:pytest.PytestUnraisableExceptionWarning"),
]

KEY = "c2VjcmV0LWtleS1vZi10aGUtaHVi"


def connection(monkeypatch: pytest.MonkeyPatch, **fields: Any) -> str:
    monkeypatch.setenv("AIRFLOW_CONN_STREAM", json.dumps(fields))
    return "stream"


def contents(stream: Stream) -> list[bytes]:
    state = stream.state()
    until = datetime.now(UTC) + timedelta(hours=1)
    pages = [page for shard in state.shards for page in stream.read(shard, ShardPosition(), until, state)]
    stream.close()
    return [record.data for page in pages for record in page.records]


@pytest.mark.parametrize("where", ["endpoint_url", "service_config", "environment"])
def test_kinesis_is_read_with_an_aws_connection(
    where: str, kinesalite: KinesisDouble, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = Made(kinesalite)
    made.put([b"one", b"two"])
    conn_id: str | None = None
    if where == "environment":
        environment = {"AWS_ENDPOINT_URL": kinesalite.url, "AWS_DEFAULT_REGION": REGION}
        environment |= {"AWS_ACCESS_KEY_ID": "AKIAEXAMPLE", "AWS_SECRET_ACCESS_KEY": "example"}
        for name, value in environment.items():
            monkeypatch.setenv(name, value)
    else:
        endpoint: dict[str, Any] = {"endpoint_url": kinesalite.url}
        extra = {"service_config": {"kinesis": endpoint}} if where == "service_config" else endpoint
        extra |= {"region_name": REGION}
        conn_id = connection(monkeypatch, conn_type="aws", login="AKIAEXAMPLE", password="example", extra=extra)
    stream = open_stream(f"kinesis://{made.name}", conn_id)
    assert stream.url == f"kinesis://{REGION}/{made.name}"
    assert contents(stream) == [b"one", b"two"]


def test_kinesis_is_read_with_a_role(kinesalite: KinesisDouble, s3_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    made = Made(kinesalite)
    made.put([b"one"])
    trust = {"Version": "2012-10-17", "Statement": [{"Effect": "Allow", "Action": "sts:AssumeRole", "Principal": "*"}]}
    aws_client(s3_url, "iam").create_role(RoleName="stream", AssumeRolePolicyDocument=json.dumps(trust))
    services = {"kinesis": {"endpoint_url": kinesalite.url}, "sts": {"endpoint_url": s3_url}}
    extra = {"role_arn": "arn:aws:iam::123456789012:role/stream", "region_name": REGION, "service_config": services}
    conn_id = connection(monkeypatch, conn_type="aws", login="AKIAEXAMPLE", password="example", extra=extra)
    assert contents(open_stream(f"kinesis://{made.name}", conn_id)) == [b"one"]


def test_what_the_connection_sets_takes_precedence(monkeypatch: pytest.MonkeyPatch) -> None:
    own = {"read_timeout": 7, "retries": {"mode": "legacy", "total_max_attempts": 2}}
    extra = {"region_name": REGION, "config_kwargs": own}
    conn_id = connection(monkeypatch, conn_type="aws", login="AKIAEXAMPLE", password="example", extra=extra)
    stream: Any = open_stream("kinesis://events", conn_id)
    config = stream.client.meta.config
    assert (config.read_timeout, config.connect_timeout) == (7, 10)
    assert (config.retries["mode"], config.retries["total_max_attempts"]) == ("legacy", 2)


def test_a_connection_without_a_region_is_reported(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("AWS_DEFAULT_REGION", "AWS_REGION"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("AWS_CONFIG_FILE", "/nowhere")
    conn_id = connection(monkeypatch, conn_type="aws", login="AKIAEXAMPLE", password="example")
    with pytest.raises(AylaConfigError, match="set region_name in its extra"):
        open_stream("kinesis://events", conn_id)


@pytest.mark.parametrize("url", ["kinesis://events", "eventhubs://events"])
def test_a_connection_that_is_not_defined_is_reported(url: str) -> None:
    with pytest.raises(AylaConfigError, match="isn't defined"):
        open_stream(url, "no_such_connection")


def service_bus(monkeypatch: pytest.MonkeyPatch, host: str, more: str = "", name: str = "reader") -> str:
    text = f"Endpoint=sb://{host}/;SharedAccessKeyName={name};SharedAccessKey={KEY}{more}"
    return connection(monkeypatch, conn_type="azure_service_bus", schema=text)


EMULATOR = ";UseDevelopmentEmulator=true"


def test_event_hubs_are_read_with_a_connection_string(monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("azure.eventhub", reason="pip install azure-eventhub")
    from harness.event_hub import EventHub

    hub = EventHub(partitions=1, name="events")
    hub.groups.add("ayla")
    hub.put(0, b"one", b"two")
    conn_id = service_bus(monkeypatch, hub.host, EMULATOR)
    for url in ("eventhubs://events", "eventhubs://events/ayla", "eventhubs://events/$Default?retention_hours=48"):
        stream = open_stream(url, conn_id)
        assert stream.url == f"eventhubs://{hub.host}/events"
        assert stream.state().retention == timedelta(days=2 if "48" in url else 1)
        assert contents(stream) == [b"one", b"two"]
    hub.close()


def test_no_secret_is_shown(monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> None:
    pytest.importorskip("azure.eventhub", reason="pip install azure-eventhub")
    from harness.event_hub import EventHub

    monkeypatch.setattr("ayla_provider.stream.eventhubs.WAITS", ())
    hub = EventHub(name="events")
    stream = open_stream("eventhubs://events", service_bus(monkeypatch, hub.host, EMULATOR, name="other"))
    with caplog.at_level(logging.DEBUG), pytest.raises(AylaAccessDenied) as raised:
        stream.state()
    hub.close()
    shown = [str(raised.value), repr(raised.value), repr(stream), str(vars(stream)), caplog.text]
    assert not [text for text in shown if KEY in text]


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"conn_type": "azure_service_bus", "schema": f"SharedAccessKey={KEY}"}, "expected a connection string"),
        ({"conn_type": "azure_service_bus", "schema": f"Endpoint=sb://a.b/;SharedAccessKey={KEY}"}, "Endpoint=sb://N"),
        ({"conn_type": "azure_service_bus", "schema": KEY}, "expected a connection string"),
        ({"conn_type": "azure_service_bus"}, "fully_qualified_namespace"),
        ({"conn_type": "azure", "login": "id", "password": KEY}, "fully_qualified_namespace"),
        (
            {"conn_type": "azure", "host": "a.example.com", "extra": {"cloud_environment": "Moon"}},
            "cloud_environment must be one of",
        ),
    ],
)
def test_a_connection_that_does_not_fit_is_reported(
    fields: dict[str, Any], message: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("azure.eventhub", reason="pip install azure-eventhub")
    conn_id = connection(monkeypatch, **fields)
    with pytest.raises(AylaConfigError, match=message) as raised:
        open_stream("eventhubs://events", conn_id)
    assert KEY not in str(raised.value)


def test_a_connection_string_of_another_hub_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("azure.eventhub", reason="pip install azure-eventhub")
    conn_id = service_bus(monkeypatch, "acme.servicebus.windows.net", ";EntityPath=other")
    with pytest.raises(AylaConfigError, match="is for the event hub 'other'"):
        open_stream("eventhubs://events", conn_id)
    assert open_stream("eventhubs://other", conn_id).url == "eventhubs://acme.servicebus.windows.net/other"


def test_event_hubs_need_a_connection() -> None:
    pytest.importorskip("azure.eventhub", reason="pip install azure-eventhub")
    with pytest.raises(AylaConfigError, match="azure or azure_service_bus"):
        open_stream("eventhubs://events")


@pytest.mark.parametrize(
    ("fields", "credential"),
    [
        ({"login": "client", "password": "secret", "extra": {"tenantId": "tenant"}}, "ClientSecretCredential"),
        ({"extra": {"managed_identity_client_id": "identity"}}, "DefaultAzureCredential"),
        ({"extra": {"workload_identity_tenant_id": "tenant"}}, "DefaultAzureCredential"),
        ({"conn_type": "azure_service_bus"}, "DefaultAzureCredential"),
    ],
)
def test_entra_identities_are_taken_from_the_connection(
    fields: dict[str, Any], credential: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nobody here issues tokens of Entra, so that this ends before the first request."""
    pytest.importorskip("azure.eventhub", reason="pip install azure-eventhub")
    extra = {"fully_qualified_namespace": "acme.servicebus.windows.net"} | fields.get("extra", {})
    conn_id = connection(monkeypatch, **({"conn_type": "azure"} | fields | {"extra": extra}))
    stream: Any = open_stream("eventhubs://events/ayla", conn_id)
    assert stream.url == "eventhubs://acme.servicebus.windows.net/events"
    client = stream._connect()
    assert (client._consumer_group, client.eventhub_name) == ("ayla", "events")
    assert type(client._credential).__name__ == credential
    client.close()


@pytest.mark.parametrize(
    ("url", "module", "extra"),
    [
        ("kinesis://events", "airflow.providers.amazon.aws.hooks.base_aws", "kinesis"),
        ("eventhubs://events", "azure.eventhub", "eventhubs"),
        ("eventhubs://events", "azure.identity", "eventhubs"),
    ],
)
def test_a_missing_package_is_named(url: str, module: str, extra: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, module, None)
    with pytest.raises(AylaConfigError, match=rf"pip install 'airflow-provider-ayla\[{extra}\]'"):
        open_stream(url)


@pytest.mark.parametrize(
    ("url", "parsed"),
    [
        ("kinesis://Events_1.a-b", StreamUrl("kinesis", "Events_1.a-b")),
        (" kinesis://events/ ", StreamUrl("kinesis", "events")),
        ("eventhubs://hub", StreamUrl("eventhubs", "hub", "$Default")),
        ("eventhubs://hub/%24Default", StreamUrl("eventhubs", "hub", "$Default")),
        ("eventhubs://hub/ayla?retention_hours=168", StreamUrl("eventhubs", "hub", "ayla", timedelta(days=7))),
    ],
)
def test_a_url_is_taken_apart(url: str, parsed: StreamUrl) -> None:
    assert StreamUrl.parse(url) == parsed


@pytest.mark.parametrize(
    "url",
    [
        None,
        "",
        "events",
        "kinesis://",
        "kinesis://a/b",
        "kinesis://events?retention_hours=2",
        "kinesis://a b",
        "s3://bucket",
        "eventhubs://hub/a/b",
        "eventhubs://hub?retention_hours=0",
        "eventhubs://hub?retention_hours=9999",
        "eventhubs://hub?other=1",
        "eventhubs://[",
        "kinesis://" + "a" * 300,
    ],
)
def test_another_url_is_refused(url: Any) -> None:
    with pytest.raises(AylaConfigError, match="expected kinesis://stream"):
        open_stream(url)


@pytest.mark.parametrize(
    "url", [f"kinesis://key:{KEY}@events", f"eventhubs://hub?SharedAccessKey={KEY}", f"Endpoint=sb://hub/;x={KEY}"]
)
def test_credentials_in_a_url_are_not_repeated(url: str) -> None:
    with pytest.raises(AylaConfigError, match="belong in an Airflow connection") as raised:
        open_stream(url)
    assert KEY not in str(raised.value)
