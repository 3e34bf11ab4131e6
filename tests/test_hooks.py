from __future__ import annotations

import json
import logging
import os
import re
from datetime import timedelta

import pytest

from ayla_provider._airflow.sign_in_variable import VariableMemory
from ayla_provider.destinations import open_destination
from ayla_provider.errors import AylaConfigError, AylaDestinationError
from ayla_provider.hooks import AylaHook
from ayla_provider.local_cloud import LocalCloud
from ayla_provider.provider_info import CONNECTION_FIELDS, get_provider_info
from ayla_provider.source.guard import SignInGuard
from ayla_provider.source.settings import REQUIRED_FIELDS
from tests.support.fleet import HOUR, connect, put_hour


def test_the_client_lists_and_downloads_in_a_users_own_code(export: LocalCloud) -> None:
    client = AylaHook().get_conn()
    bucket = client.bucket(export.vendor.name)
    (blob,) = client.list_blobs(bucket, prefix=f"{export.oem_id}/Datapoint/")
    assert blob.download_as_bytes() == b"datapoints of an hour\r\n"
    assert export.sign_ins == 1


def test_nothing_is_requested_before_something_is_asked_for(export: LocalCloud) -> None:
    hook = AylaHook()
    hook.get_conn()
    hook.get_credentials()
    assert export.requests == []


def test_a_process_signs_in_once_for_all_its_hooks(export: LocalCloud) -> None:
    for _ in range(5):
        assert AylaHook().list_files("datapoint", HOUR)
    assert export.sign_ins == 1


def test_files_of_an_hour_are_found_by_any_spelling_and_by_text(export: LocalCloud) -> None:
    put_hour(export, "Datapoint Ack")
    for spelling in ("datapoint_ack", "Datapoint Ack", "DATAPOINT-ACK"):
        (file,) = AylaHook().list_files(spelling, HOUR.isoformat())
        assert file.name == f"{export.oem_id}/Datapoint Ack/{HOUR:%Y-%m-%d %H:%M:%S}/f.csv"
    assert AylaHook().list_files("datapoint", HOUR - timedelta(hours=1)) == []


def test_an_unknown_event_type_is_listed_with_a_warning_and_found_by_its_spelling(
    export: LocalCloud, caplog: pytest.LogCaptureFixture
) -> None:
    put_hour(export, "Activation")
    with caplog.at_level(logging.WARNING):
        assert AylaHook().list_event_types()["activation"] == "Activation"
    assert "Activation" in caplog.text
    assert len(AylaHook().list_files("Activation", HOUR)) == 1


@pytest.mark.parametrize("hour", [HOUR + timedelta(minutes=1), HOUR.replace(tzinfo=None), "yesterday", ""])
def test_a_malformed_hour_is_refused_before_any_request(export: LocalCloud, hour: object) -> None:
    with pytest.raises(AylaConfigError, match=r"hour|start"):
        AylaHook().list_files("datapoint", hour)  # type: ignore[arg-type]
    assert export.requests == []


def test_the_test_button_says_what_it_found(export: LocalCloud) -> None:
    worked, said = AylaHook().test_connection()
    assert worked
    assert f"gs://{export.vendor.name}/{export.oem_id}/: found 'Connection', 'Datapoint'" in said
    assert "missing: Datapoint Ack, Location, Registration" in said


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        (
            {"password": "wrong-password"},
            "User service.*password of export@example.com is wrong.*lock the account",
        ),
        ({"app_secret": "wrong"}, "User service.*app_id or app_secret"),
        ({"bucket": "another-bucket"}, "Bucket.*gs://another-bucket/.*Compare bucket, oem_id, and prefix"),
        ({"oem_id": "another"}, "Bucket.*/another/.*Compare bucket, oem_id, and prefix"),
        ({"acs_url": "http://127.0.0.1:1/x"}, r"Credentials service.*no answer from http://127.0.0.1:1/x.*\(acs_url\)"),
        ({"oem_id": ""}, r"^Connection: OEM ID \(oem_id\) is missing"),
        (
            {"password": None, "app_id": None},
            r"^Connection: Password, App ID \(app_id\) are missing.*Correct the connection\.$",
        ),
        ({"region": "mars", "host": None}, "^Connection: region is 'mars'"),
        ({"acs_url": "http://acs.example.com/"}, "^Connection: acs_url uses plain http"),
    ],
)
def test_the_test_button_says_which_step_failed_and_what_to_do(
    export: LocalCloud, monkeypatch: pytest.MonkeyPatch, changes: dict[str, object], said: str
) -> None:
    monkeypatch.setattr("urllib3.util.retry.Retry.DEFAULT_BACKOFF_MAX", 0.01)
    connect(monkeypatch, export, **changes)
    worked, message = AylaHook().test_connection()
    assert not worked
    assert re.search(said, message), message
    assert "ayla_default" not in message, "Airflow tests a connection under a temporary id"


def test_a_second_press_names_the_lockout_once(export: LocalCloud, monkeypatch: pytest.MonkeyPatch) -> None:
    connect(monkeypatch, export, password="wrong-password")
    for _ in range(2):
        _, message = AylaHook().test_connection()
        assert message.count("five refusals in a row lock the account for everyone") == 1
        assert "clearing" not in message
    assert "Nothing signs in again before" in message


def test_missing_fields_have_the_names_of_the_form() -> None:
    (connection_type,) = get_provider_info()["connection-types"]
    extra = {name: field["label"] for name, field in CONNECTION_FIELDS.items()}
    names = {**connection_type["ui-field-behaviour"]["relabeling"], **extra}
    assert {name: names[name] for name in REQUIRED_FIELDS} == REQUIRED_FIELDS


def test_the_test_button_asks_ayla_each_time(export: LocalCloud, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("urllib3.util.retry.Retry.DEFAULT_BACKOFF_MAX", 0.01)
    assert AylaHook().test_connection()[0]
    assert AylaHook().list_files("datapoint", HOUR), "this process has a token"
    export.faults.add("refused", step="acs", times=None)
    worked, said = AylaHook().test_connection()
    assert not worked
    assert said.startswith("Credentials service: ")


def test_the_test_button_tries_again_after_a_fix_at_ayla_once_the_variable_is_deleted(export: LocalCloud) -> None:
    from airflow.models.variable import Variable

    export.account.mfa = True
    _, said = AylaHook().test_connection()
    assert "second factor (MFA)" in said
    export.account.mfa = False
    worked, again = AylaHook().test_connection()
    assert not worked
    assert "Nothing signs in again before" in again
    (name,) = re.findall(r"Variable (\w+)", again)
    Variable.delete(name)
    assert AylaHook().test_connection()[0]


def test_an_empty_export_isnt_mistaken_for_a_good_connection(monkeypatch: pytest.MonkeyPatch, airflow_db: None) -> None:
    with LocalCloud() as cloud:
        connect(monkeypatch, cloud)
        worked, said = AylaHook().test_connection()
    assert not worked
    assert said.startswith("OEM prefix: nothing exists below gs://")
    assert "data export is switched on" in said


def test_a_refusal_is_remembered_in_an_airflow_variable_without_a_secret(
    export: LocalCloud, monkeypatch: pytest.MonkeyPatch
) -> None:
    connect(monkeypatch, export, password="wrong-password")
    for _ in range(6):
        worked, said = AylaHook().test_connection()
        assert not worked
        assert "refused the sign-in" in said
        # As if each were a process of its own.
        monkeypatch.setattr("ayla_provider.source.auth._PROVIDERS", {})
    assert export.refusals == 1
    text = VariableMemory(AylaHook().settings.fingerprint).read()
    assert text is not None
    record = json.loads(text)
    assert (record["connection"], record["outcome"]) == ("ayla_default", "refused")
    assert "wrong-password" not in text
    assert export.account.app_secret not in text
    # Airflow tests a connection under a temporary id.
    monkeypatch.setenv("AIRFLOW_CONN_ANOTHER_ID", os.environ["AIRFLOW_CONN_AYLA_DEFAULT"])
    assert not AylaHook("another_id").test_connection()[0]
    assert export.refusals == 1
    connect(monkeypatch, export)
    assert AylaHook().test_connection()[0], "a changed connection is tried at once"


@pytest.mark.parametrize("extra", ["text", ["a"], 1])
def test_an_extra_that_is_not_an_object_is_named(
    export: LocalCloud, monkeypatch: pytest.MonkeyPatch, extra: object
) -> None:
    monkeypatch.setenv("AIRFLOW_CONN_AYLA_DEFAULT", json.dumps(export.ayla_connection() | {"extra": json.dumps(extra)}))
    worked, said = AylaHook().test_connection()
    assert not worked
    # Airflow 3.1 doesn't hand out such a connection at all.
    assert "the extra must be a JSON object" in said or "The conn_id `ayla_default` isn't defined" in said


def test_without_a_store_for_the_record_a_sign_in_still_works(
    export: LocalCloud, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("airflow.models.variable.Variable.get", _broken)
    monkeypatch.setattr("airflow.models.variable.Variable.set", _broken)
    fingerprint = AylaHook().settings.fingerprint
    guard = SignInGuard("ayla_default", fingerprint, VariableMemory(fingerprint))
    assert guard.sign_in(lambda: "in") == "in"


def _broken(*args: object, **kwargs: object) -> None:
    raise RuntimeError("no database")


@pytest.mark.parametrize(
    "url", ["nosuch://bucket/x", "gs:///x", "bucket/x", "file://host/x", "file:x", "gs://b/../c", "gs://b/x?y=1", ""]
)
def test_a_malformed_destination_is_named(url: str) -> None:
    with pytest.raises(AylaConfigError, match="destination"):
        open_destination(url, None)


def test_a_declared_folder_that_isnt_there_doesnt_count_as_found(
    monkeypatch: pytest.MonkeyPatch, airflow_db: None
) -> None:
    with LocalCloud() as cloud:
        connect(monkeypatch, cloud, event_folders={"datapoint": "Datapiont"})
        assert AylaHook().list_event_types() == {}
        assert not AylaHook().test_connection()[0]
        put_hour(cloud, "Datapiont")
        assert AylaHook().list_event_types() == {"datapoint": "Datapiont"}
        assert len(AylaHook().list_files("datapoint", HOUR)) == 1


def test_a_google_connection_without_credentials_is_named(monkeypatch: pytest.MonkeyPatch, airflow_db: None) -> None:
    for name in ("GOOGLE_APPLICATION_CREDENTIALS", "GOOGLE_CLOUD_PROJECT"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("NO_GCE_CHECK", "true")
    monkeypatch.setenv("CLOUDSDK_CONFIG", "/nowhere")
    monkeypatch.setenv("AIRFLOW_CONN_MY_GOOGLE", json.dumps({"conn_type": "google_cloud_platform"}))
    with pytest.raises(AylaDestinationError, match=r"connection 'my_google' has no usable credentials for 'gs://b/a'"):
        open_destination("gs://b/a", "my_google")
