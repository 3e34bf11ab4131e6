"""An export in Amazon S3 by an Airflow connection of type aws: the same hook, operator, sensor, check and report."""

from __future__ import annotations

import json
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import boto3
import duckdb
import pytest
from airflow.sdk.execution_time.context import OutletEventAccessors

from ayla_provider.__main__ import airflow_connections
from ayla_provider._airflow.compat import AirflowFailException
from ayla_provider.cli.report import open_report
from ayla_provider.domain.events import EVENT_FOLDERS
from ayla_provider.domain.hour import ONE_HOUR, hour_of
from ayla_provider.hooks import AylaHook
from ayla_provider.local_cloud import LocalCloud
from ayla_provider.operators import (
    AylaExportReconcileOperator,
    AylaExportToBucketOperator,
    AylaExportToDuckDBOperator,
)
from ayla_provider.sensors import AylaExportHourSensor
from ayla_provider.source.check import check
from ayla_provider.transport.http import CONNECTIONS
from tests.support.fleet import connect as connect_to_cloud
from tests.support.fleet import put_hour

HOUR = hour_of(datetime.now(UTC)) - timedelta(days=2)
KEYS = {"aws_access_key_id": "AKIAEXAMPLE", "aws_secret_access_key": "secret-of-the-oem"}
ROW = b"1a2b3c4d,model,LC000X000000001,2026-11-01T07:00:00Z,00000000-0000-0000-0000-000000000000,Online\r\n"


TI = SimpleNamespace(
    dag_id="a_dag",
    run_id="a_run",
    task_id="copy",
    try_number=1,
    max_tries=4,
    start_date=datetime.now(UTC),
    xcom_push=lambda key, value: None,
)
CONTEXT: Any = {"ti": TI, "outlet_events": OutletEventAccessors()}


@pytest.fixture
def bucket(s3_url: str, monkeypatch: pytest.MonkeyPatch, airflow_db: None) -> str:
    name = f"us-dev-data-export-{time.monotonic_ns()}"
    client = boto3.client("s3", endpoint_url=s3_url, region_name="us-east-1", **KEYS)
    client.create_bucket(Bucket=name)
    for folder in EVENT_FOLDERS.values():
        client.put_object(Bucket=name, Key=f"{folder}/{HOUR:%Y-%m-%d %H:%M:%S}/Events.csv", Body=ROW)
        client.put_object(Bucket=name, Key=f"{folder}/{HOUR + ONE_HOUR:%Y-%m-%d %H:%M:%S}/Events.csv", Body=ROW)
    connect(monkeypatch, s3_url, name)
    return name


def connect(monkeypatch: pytest.MonkeyPatch, s3_url: str, bucket: str | None, **more: Any) -> None:
    extra: dict[str, Any] = {"region_name": "us-east-1", "endpoint_url": s3_url} | more
    if bucket:
        extra["service_config"] = {"s3": {"bucket_name": bucket}}
    login, password = KEYS.values()
    connection = {"conn_type": "aws", "login": login, "password": password, "extra": extra}
    monkeypatch.setenv("AIRFLOW_CONN_AYLA_S3", json.dumps(connection))


def operator(destination: Path, **changes: Any) -> AylaExportToBucketOperator:
    arguments = {"event_type": "connection", "start": HOUR.isoformat(), "end": (HOUR + ONE_HOUR).isoformat()}
    # What is put now counts as arriving for a quarter of an hour.
    arguments |= {"quiet_period": timedelta(0), "ayla_conn_id": "ayla_s3", "destination": f"file://{destination}"}
    return AylaExportToBucketOperator(task_id="copy", **(arguments | changes))


def test_a_client_has_timeouts_and_those_of_the_connection_take_precedence(
    bucket: str, s3_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = AylaHook("ayla_s3").export.source.client.meta.config
    assert (config.connect_timeout, config.read_timeout) == (10, 60)
    connect(monkeypatch, s3_url, bucket, config_kwargs={"read_timeout": 5})
    config = AylaHook("ayla_s3").export.source.client.meta.config
    assert (config.connect_timeout, config.read_timeout, config.max_pool_connections) == (10, 5, CONNECTIONS)


def test_hook_sensor_operator_and_reconcile_take_a_connection_to_s3_as_one_to_ayla(bucket: str, tmp_path: Path) -> None:
    hook = AylaHook("ayla_s3")
    assert hook.list_event_types() == EVENT_FOLDERS
    (file,) = hook.list_files("connection", HOUR)
    assert file.name == f"Connection/{HOUR:%Y-%m-%d %H:%M:%S}/Events.csv"

    wait = AylaExportHourSensor(
        task_id="wait",
        event_type="connection",
        start=HOUR.isoformat(),
        end=(HOUR + ONE_HOUR).isoformat(),
        ayla_conn_id="ayla_s3",
        quiet_period=timedelta(0),
    )
    assert wait.poke(CONTEXT).is_done

    assert operator(tmp_path).execute(CONTEXT)["hours"] == {"landed": 1}
    (copy,) = tmp_path.rglob("*.csv")
    assert copy.read_bytes() == ROW
    assert operator(tmp_path).execute(CONTEXT)["copied_files"] == 0

    reconcile = AylaExportReconcileOperator(
        task_id="reconcile",
        event_types=["connection"],
        destination=f"file://{tmp_path}",
        lookback=timedelta(hours=60),
        not_before=HOUR.isoformat(),
        ayla_conn_id="ayla_s3",
        quiet_period=timedelta(0),
    )
    gaps = {gap["start"]: gap["reason"] for gap in reconcile.execute(CONTEXT)}
    assert HOUR.isoformat() not in gaps
    assert (HOUR + ONE_HOUR).isoformat() in gaps


def test_an_export_in_a_folder_of_a_bucket_in_s3_is_found_with_the_prefix(
    bucket: str, s3_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    client = boto3.client("s3", endpoint_url=s3_url, region_name="us-east-1", **KEYS)
    name = f"an/export/Connection/{HOUR:%Y-%m-%d %H:%M:%S}/Other.csv"
    client.put_object(Bucket=bucket, Key=name, Body=ROW)
    connect(monkeypatch, s3_url, bucket, prefix="an/export")
    assert [file.name for file in AylaHook("ayla_s3").list_files("connection", HOUR)] == [name]


def test_the_connections_own_settings_hold_and_there_is_a_connection_for_each_thread(
    monkeypatch: pytest.MonkeyPatch, s3_url: str, airflow_db: None
) -> None:
    connect(monkeypatch, s3_url, "a-bucket", config_kwargs={"connect_timeout": 7, "proxies": {"https": "http://p:1"}})
    config = AylaHook("ayla_s3").get_conn().meta.config
    assert (config.connect_timeout, config.proxies) == (7, {"https": "http://p:1"})
    assert config.max_pool_connections >= 32


def test_check_goes_from_the_connection_to_a_file(bucket: str) -> None:
    with airflow_connections() as connections:
        steps = check(connections.check("ayla_s3"))
    assert [step.name for step in steps[:3]] == ["connection", "bucket", "event folders"]
    assert all(step.ok for step in steps if step.name in ("connection", "bucket", "event folders", "file connection"))
    assert len([step for step in steps if step.name.startswith("newest") and step.ok]) == len(EVENT_FOLDERS)
    assert "secret-of-the-oem" not in str(steps)


@pytest.mark.parametrize(
    ("name", "said"), [(None, "bucket_name is missing"), ("none-of-that-name", "the bucket does not exist")]
)
def test_a_wrong_bucket_fails_permanently_and_is_reported(
    s3_url: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, airflow_db: None, name: str | None, said: str
) -> None:
    connect(monkeypatch, s3_url, name)
    with pytest.raises(AirflowFailException, match=said):
        operator(tmp_path).execute(CONTEXT)
    with airflow_connections() as connections:
        failed = [step for step in check(connections.check("ayla_s3")) if step.ok is False]
    assert said in failed[0].detail
    assert "OEM Profile, Data Export" in failed[0].detail + failed[0].advice
    assert ("bucket_name and prefix" in failed[0].advice) is (failed[0].name == "bucket")


def test_an_export_that_moved_to_cloud_storage_is_one_series_of_hours(
    bucket: str, s3_url: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    hours = [HOUR + number * ONE_HOUR for number in range(4)]
    moved, new = ROW.replace(b"000000001", b"000000002"), ROW.replace(b"000000001", b"000000003")
    s3 = boto3.client("s3", endpoint_url=s3_url, region_name="us-east-1", **KEYS)
    key = f"Connection/{hours[1]:%Y-%m-%d %H:%M:%S}/Events.csv"
    s3.put_object(Bucket=bucket, Key=key, Body=moved)

    def copy(start: datetime, end: datetime, conn_id: str) -> dict[str, Any]:
        times = {"start": start.isoformat(), "end": end.isoformat()}
        done: dict[str, Any] = operator(tmp_path / "archive", **times, ayla_conn_id=conn_id).execute(CONTEXT)
        return done

    with LocalCloud() as cloud:
        connect_to_cloud(monkeypatch, cloud)
        # The second hour is in both buckets, as if it had been moved along.
        put_hour(cloud, "Connection", hours[1], moved, "Events.csv")
        put_hour(cloud, "Connection", hours[2], new, "Events.csv")
        put_hour(cloud, "Connection", hours[3], new.replace(b"Online", b"Offline"), "Events.csv")
        copy(hours[1], hours[3] + ONE_HOUR, "ayla_default")
        copy(hours[0], hours[1] + ONE_HOUR, "ayla_s3")
        again = copy(hours[1], hours[3] + ONE_HOUR, "ayla_default")
        # Nor does a look at hours that only the other bucket has take anything away.
        before = copy(hours[0], hours[0] + ONE_HOUR, "ayla_default")
        assert (again["copied_files"], before["copied_files"], before["files"]) == (0, 0, 1)

        copies = {path.name: path.read_bytes() for path in (tmp_path / "archive").rglob("*.csv")}
        assert list(copies.values()).count(moved) == 1
        assert len(copies) == 4
        # Of the first hour, which Cloud Storage hasn't, the manifest tells.
        assert states("ayla_default", tmp_path / "archive", hours) == ["late", "landed", "landed", "landed"]

    loads: Any = {"archive": f"file://{tmp_path}/archive", "database": str(tmp_path / "ayla.duckdb")}
    AylaExportToDuckDBOperator(
        task_id="load",
        event_type="connection",
        start=hours[0].isoformat(),
        end=(hours[3] + ONE_HOUR).isoformat(),
        **loads,
    ).execute(CONTEXT)
    with duckdb.connect(str(tmp_path / "ayla.duckdb")) as database:
        found = database.sql("select dsn[-1:], count(*) from ayla_connection group by 1 order by 1").fetchall()
    assert found == [("1", 1), ("2", 1), ("3", 2)]


def states(conn_id: str, archive: Path, hours: list[datetime]) -> list[str]:
    with airflow_connections() as connections:
        report = open_report(
            connections,
            conn_id=conn_id,
            destination=f"file://{archive}",
            destination_conn_id=None,
            event_types=["connection"],
            since=hours[0],
            until=hours[-1] + ONE_HOUR,
        )
        return [str(row.document()["state"]) for row in report.rows()]


def test_the_report_accounts_for_its_hours(bucket: str, tmp_path: Path) -> None:
    operator(tmp_path).execute(CONTEXT)
    assert states("ayla_s3", tmp_path, [HOUR]) == ["late"]
