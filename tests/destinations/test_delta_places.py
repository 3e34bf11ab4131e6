"""Delta tables in S3 and Azure, over the connections that users have; and connections that deltalake can't use."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa

from ayla_provider._airflow.delta import log_options
from ayla_provider.errors import AylaConfigError, AylaConflictError, AylaWarehouseError
from ayla_provider.local_cloud import LocalCloud
from ayla_provider.operators import AylaExportDeltaPlanOperator, AylaExportToDeltaOperator
from ayla_provider.warehouse.delta import DeltaWarehouse
from ayla_provider.warehouse.delta_upkeep import upkeep
from tests.support.azure_lists import listing_from_a_name
from tests.support.gcs_xml import xml_api
from tests.support.object_stores import KEY, azure_place, connect_aws, quiet
from tests.support.places import Place, file_place, gcs_destination
from tests.support.web_server import web_servers
from tests.warehouse.contract import DATAPOINT
from tests.warehouse.made_loads import HOUR, NOON, made_load
from tests.warehouse.test_delta import DAY, LATER

AZURE = "AIRFLOW_CONN_AZURE_TEST"
CONNECTIONS = {"s3": "aws_test", "abfs": "azure_test", "file": None}

pytestmark = quiet


def warehouse_of(place: Place) -> DeltaWarehouse:
    """The warehouse of an operator, beside the objects of the place."""
    conn_id = CONNECTIONS[place.kind]
    made = AylaExportToDeltaOperator(
        task_id="load",
        event_type="datapoint",
        archive="file:///a",
        tables=f"{place.destination.url}/tables",
        tables_conn_id=conn_id,
    )
    return made.warehouse()


def put(warehouse: DeltaWarehouse, folder: Path, hour: int, rows: int, version: str = "v1") -> None:
    made = [{"dsn": f"{version}-{number}"} for number in range(rows)]
    warehouse.replace(made_load(folder, "datapoint", NOON + hour * HOUR, made, version=version))


@pytest.fixture(params=["s3", "abfs", "file"])
def store(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Place]:
    if request.param == "file":
        yield file_place(tmp_path / "archive")
    elif request.param == "abfs":
        with listing_from_a_name(request.getfixturevalue("azure_url")) as url:
            yield azure_place(monkeypatch, url)
    else:
        yield request.getfixturevalue("s3")


def test_hours_come_change_and_are_kept_up_in_every_store(store: Place, tmp_path: Path) -> None:
    with warehouse_of(store) as warehouse, warehouse_of(store) as rival:
        assert warehouse.loaded("datapoint", NOON, LATER) == {}
        assert not warehouse.has_ledger()
        warehouse.prepare(DATAPOINT)
        for hour in range(3):
            put(warehouse, tmp_path, hour, 2)
        warehouse.loaded("datapoint", NOON, LATER)
        put(rival, tmp_path, 0, 3, "v2")
        with pytest.raises(AylaConflictError):
            put(warehouse, tmp_path, 0, 4, "v3")
        put(warehouse, tmp_path, 1, 5, "v3")
        now = datetime.now(UTC)
        done = upkeep(warehouse, "datapoint", now, lookback=now - LATER)
        assert done
        assert (done.files_compacted, done.files_written) == (3, 1)
        put(warehouse, tmp_path, 2, 1, "v4")
        held = rival.held("datapoint", NOON, LATER)
        assert [(hour.version, hour.rows, hour.counted) for hour in held.values()] == [
            ("v2", 3, 3),
            ("v3", 5, 5),
            ("v4", 1, 1),
        ]
        assert warehouse.has_ledger()
        done = upkeep(warehouse, "datapoint", now + 2 * DAY, lookback=365 * DAY)
        assert done
        # Of each load before, a week and an index of the ledger; the rows' files are still looked back to.
        assert done.files_removed == 10
        assert rival.loaded("datapoint", NOON, LATER) == {NOON: "v2", NOON + HOUR: "v3", NOON + 2 * HOUR: "v4"}


def test_a_commit_is_a_conditional_write_without_a_table_of_locks(
    s3: Place, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    options = log_options("s3://bucket", "aws_test")()
    assert options["aws_conditional_put"] == "etag"
    assert not [name for name in options if "lock" in name or "unsafe" in name]


# Credentials.


def test_a_key_with_a_session_token_reaches_the_log(monkeypatch: pytest.MonkeyPatch) -> None:
    connect_aws(monkeypatch, "http://127.0.0.1:9", aws_session_token="a-token")
    monkeypatch.setenv("AWS_SESSION_TOKEN", "the machine's")
    options = log_options("s3://bucket/tables", "aws_test")()
    assert options | {"aws_access_key_id": "AKIAEXAMPLE", "aws_session_token": "a-token"} == options
    assert options | {"aws_endpoint_url": "http://127.0.0.1:9", "aws_allow_http": "true"} == options


def test_the_token_of_the_machine_is_not_used_with_the_key_of_a_connection(monkeypatch: pytest.MonkeyPatch) -> None:
    connect_aws(monkeypatch, "http://127.0.0.1:9")
    monkeypatch.setenv("AWS_SESSION_TOKEN", "the machine's")
    with pytest.raises(AylaConfigError, match="AWS_SESSION_TOKEN is set, and deltalake would use it"):
        log_options("s3://bucket/tables", "aws_test")()


def test_the_log_is_encrypted_as_the_connection_says(monkeypatch: pytest.MonkeyPatch) -> None:
    encrypted = {"ServerSideEncryption": "aws:kms", "SSEKMSKeyId": "key-1", "BucketKeyEnabled": True}
    connect_aws(monkeypatch, "http://127.0.0.1:9", service_config={"s3": {"extra_args": encrypted}})
    options = log_options("s3://bucket/tables", "aws_test")()
    assert options | {"aws_server_side_encryption": "aws:kms", "aws_sse_kms_key_id": "key-1"} == options


def azure(monkeypatch: pytest.MonkeyPatch, **fields: Any) -> None:
    monkeypatch.setenv(AZURE, json.dumps({"conn_type": "wasb"} | fields))


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        ({"login": "acme", "password": KEY}, {"azure_storage_account_key": KEY}),
        ({"login": "acme", "extra": {"sas_token": "?sv=1&sig=a%3D"}}, {"azure_storage_sas_token": "sv=1&sig=a%3D"}),
        (
            {"extra": {"connection_string": f"AccountName=acme;AccountKey={KEY};EndpointSuffix=core.windows.net"}},
            {"azure_storage_account_key": KEY},
        ),
    ],
)
def test_a_key_and_a_sas_token_reach_the_log_in_azure(
    monkeypatch: pytest.MonkeyPatch, fields: dict[str, Any], expected: dict[str, str]
) -> None:
    pytest.importorskip("adlfs")
    azure(monkeypatch, **fields)
    options = log_options("abfs://container/tables", "azure_test")()
    secrets = {name: value for name, value in options.items() if re.search("key|sas|token|secret", name)}
    assert options["azure_storage_account_name"] == "acme"
    assert secrets == expected


def test_a_token_reaches_the_log_in_azure(monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("adlfs")
    from azure.core.credentials import AccessToken
    from azure.identity import ClientSecretCredential

    monkeypatch.setattr(ClientSecretCredential, "get_token", lambda *_, **__: AccessToken("a-token", 9999999999))
    azure(monkeypatch, login="client", password="secret", extra={"tenant_id": "tenant", "account_name": "acme"})
    options = log_options("abfss://container/tables", "azure_test")()
    assert options | {"azure_storage_token": "a-token", "azure_storage_account_name": "acme"} == options
    assert "secret" not in options.values()


def test_the_key_of_the_machine_is_not_used_with_the_sas_token_of_a_connection(monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("adlfs")
    azure(monkeypatch, login="acme", extra={"sas_token": "sv=1&sig=a"})
    monkeypatch.setenv("AZURE_STORAGE_ACCESS_KEY", KEY)
    with pytest.raises(AylaConfigError, match="AZURE_STORAGE_ACCESS_KEY is set"):
        log_options("abfs://container/tables", "azure_test")()


@pytest.fixture(scope="module")
def key() -> dict[str, str]:
    with LocalCloud() as cloud:
        return cloud.service_account_key()


def google(monkeypatch: pytest.MonkeyPatch, **extra: Any) -> Callable[[], dict[str, str]]:
    connection = {"conn_type": "google_cloud_platform", "extra": extra}
    monkeypatch.setenv("AIRFLOW_CONN_GOOGLE_CLOUD_DEFAULT", json.dumps(connection))
    return log_options("gs://bucket/tables", None)


def test_a_google_key_or_the_machine_signs_in(monkeypatch: pytest.MonkeyPatch, key: dict[str, str]) -> None:
    for given in (key, json.dumps(key), key | {"private_key": key["private_key"].replace("\n", "\\n")}):
        options = google(monkeypatch, keyfile_dict=given, project="p", num_retries=5)()
        assert json.loads(options["google_service_account_key"]) == key
    assert google(monkeypatch, key_path="/etc/key.json")() == {"google_service_account": "/etc/key.json"}
    assert google(monkeypatch, project="p")() == {}


@pytest.mark.parametrize(
    "extra",
    [
        {"impersonation_chain": "other@x.example"},
        {"key_secret_name": "secret"},
        {"credential_config_file": "/etc/config.json"},
        {"is_anonymous": True},
        {"scope": "https://www.googleapis.com/auth/a"},
        {"extra__google_cloud_platform__key_path": "/etc/key.json"},
        {"key_path": "/etc/key.p12"},
        {"key_path": "/etc/key.json", "keyfile_dict": "{}"},
        {"keyfile_dict": "{}"},
        {"keyfile_dict": '{"private_key": 1}'},
    ],
    ids=str,
)
def test_any_other_google_connection_is_refused_before_anything_is_written(
    monkeypatch: pytest.MonkeyPatch, extra: dict[str, Any]
) -> None:
    with pytest.raises(AylaConfigError, match="connection 'google_cloud_default'"):
        google(monkeypatch, **extra)


@pytest.mark.ci
def test_tables_in_google_cloud_storage_are_loaded_kept_up_and_refuse_a_second_load(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    with LocalCloud() as cloud, xml_api(cloud) as key:
        options = google(monkeypatch, keyfile_dict=key)
        destination = gcs_destination(cloud, cloud.customer.name, "tables")

        def connected() -> DeltaWarehouse:
            # The API of the test has no TLS.
            return DeltaWarehouse(destination, lambda: {**options(), "allow_http": "true"})

        with connected() as warehouse, connected() as rival:
            warehouse.prepare(DATAPOINT)
            for hour in range(3):
                put(warehouse, tmp_path, hour, 2)
            warehouse.loaded("datapoint", NOON, LATER)
            put(rival, tmp_path, 0, 3, "v2")
            with pytest.raises(AylaConflictError):
                put(warehouse, tmp_path, 0, 4, "v3")
            # Beyond a checkpoint.
            for number in range(20):
                put(rival, tmp_path, 1, 1, f"v{number}")
            now = datetime.now(UTC)
            done = upkeep(warehouse, "datapoint", now, lookback=now - LATER)
            assert done
            assert (done.files_compacted, done.files_written) == (3, 1)
            held = rival.held("datapoint", NOON, LATER)
            assert [(hour.version, hour.rows, hour.counted) for hour in held.values()] == [
                ("v2", 3, 3),
                ("v19", 1, 1),
                ("v1", 2, 2),
            ]
        names = [name for name in cloud.customer.names if "_delta_log/" in name]
        assert any(name.endswith(".checkpoint.parquet") for name in names)


def test_another_key_does_not_reach_a_log_in_google_cloud_storage(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    other = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    form, encryption = serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    pem = other.private_bytes(serialization.Encoding.PEM, form, encryption).decode()
    with LocalCloud() as cloud, xml_api(cloud) as key:
        options = google(monkeypatch, keyfile_dict=key | {"private_key": pem})
        destination = gcs_destination(cloud, cloud.customer.name, "tables")
        with (
            DeltaWarehouse(destination, lambda: {**options(), "allow_http": "true"}) as warehouse,
            pytest.raises(AylaWarehouseError, match="can't prepare the table of datapoint") as caught,
        ):
            warehouse.prepare(DATAPOINT)
        assert "PRIVATE KEY" not in str(caught.value)
        assert cloud.customer.names == []


def test_deltalake_still_takes_no_token_for_google(monkeypatch: pytest.MonkeyPatch) -> None:
    # When this fails, connections that give a token can be let in.
    from deltalake import DeltaTable

    monkeypatch.setenv("GOOGLE_SERVICE_ACCOUNT", "/nowhere/machine.json")
    with pytest.raises(OSError, match=r"/nowhere/machine\.json"):
        DeltaTable("gs://bucket/table", storage_options={"google_bearer_token": "token", "bearer_token": "token"})


@pytest.mark.parametrize("url", ["memory://bucket/tables", "https://host/tables"])
def test_another_place_is_refused(url: str) -> None:
    with pytest.raises(AylaConfigError, match="Delta tables can't be in"):
        log_options(url, None)


# What an error says.


def test_an_error_of_the_store_names_what_failed_and_no_secret(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    with web_servers() as start:
        quoted = "<Error><Code>AccessDenied</Code><Message>example-secret isn't allowed</Message></Error>"
        server = start(403, quoted)
        connect_aws(monkeypatch, server.url, aws_session_token="a-secret-token")
        monkeypatch.setenv(
            "AIRFLOW_CONN_AWS_TEST", os.environ["AIRFLOW_CONN_AWS_TEST"].replace('"example"', '"example-secret"')
        )
        made = AylaExportDeltaPlanOperator(
            task_id="plan", archive="file:///a", tables="s3://bucket/tables", tables_conn_id="aws_test"
        )
        with (
            made.warehouse() as warehouse,
            pytest.raises(
                AylaWarehouseError, match=r"can't read which hours of datapoint are loaded: Kernel"
            ) as caught,
        ):
            warehouse.loaded("datapoint", NOON, LATER)
    assert "Delta tables in s3://bucket/tables" in str(caught.value)
    said = f"{caught.value}{caught.value.__cause__}{caplog.text}"
    assert [secret for secret in ("example-secret", "a-secret-token", "\\x1b", "\x1b") if secret in said] == []
    assert server.received[0][1]["x-amz-security-token"] == "a-secret-token"
