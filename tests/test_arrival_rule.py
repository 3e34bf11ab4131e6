"""The arrival rule is a setting of the connection: a wait and a copy of one connection can't disagree."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from airflow.sdk.execution_time.context import OutletEventAccessors

from ayla_provider.__main__ import main
from ayla_provider.domain.hour import ONE_HOUR
from ayla_provider.errors import AylaNotSettledError
from ayla_provider.hooks import AylaHook
from ayla_provider.local_cloud import LocalCloud
from ayla_provider.operators import AylaExportReconcileOperator, AylaExportToBucketOperator
from ayla_provider.sensors import AylaExportHourSensor
from tests.support.fleet import HOUR, connect, put_hour

EMPTY_HOUR = HOUR + ONE_HOUR
MINUTES_OF_A_WEEK = 7 * 24 * 60
DEFAULTS = {"quiet_period": timedelta(minutes=15), "patience": timedelta(minutes=90)}


@pytest.fixture
def cloud(monkeypatch: pytest.MonkeyPatch, airflow_db: None) -> Any:
    """An export with a file in HOUR and in the hour after the next, whose connection waits for a week."""
    with LocalCloud() as cloud:
        put_hour(cloud, "Datapoint")
        put_hour(cloud, "Datapoint", HOUR + 2 * ONE_HOUR)
        connect(monkeypatch, cloud, quiet_period=str(MINUTES_OF_A_WEEK), patience=MINUTES_OF_A_WEEK)
        yield cloud


@pytest.fixture
def context() -> Any:
    ti = SimpleNamespace(
        dag_id="a_dag",
        run_id="a_run",
        task_id="a_task",
        try_number=1,
        max_tries=4,
        start_date=datetime.now(UTC),
        xcom_push=lambda key, value: None,
    )
    return {"ti": ti, "outlet_events": OutletEventAccessors()}


def arguments(hour: datetime) -> dict[str, Any]:
    return {"event_type": "datapoint", "start": hour.isoformat(), "end": (hour + ONE_HOUR).isoformat()}


@pytest.mark.parametrize("hour", [HOUR, EMPTY_HOUR])
@pytest.mark.parametrize(("override", "settled"), [({}, False), (DEFAULTS, True)])
def test_a_wait_and_a_copy_use_the_connection_unless_an_argument_overrides_it(
    cloud: LocalCloud, context: Any, tmp_path: Path, hour: datetime, override: dict[str, Any], settled: bool
) -> None:
    wait = AylaExportHourSensor(task_id="wait", **arguments(hour), **override)
    assert wait.poke(context).is_done is settled
    copy = AylaExportToBucketOperator(task_id="copy", destination=f"file://{tmp_path}", **arguments(hour), **override)
    if settled:
        assert copy.execute(context)["hours"] in ({"landed": 1}, {"empty": 1})
    else:
        with pytest.raises(AylaNotSettledError, match="is arriving" if hour == HOUR else "is pending"):
            copy.execute(context)


@pytest.mark.parametrize(("override", "missing"), [({}, 0), (DEFAULTS, 3)])
def test_a_reconcile_uses_the_connection_unless_an_argument_overrides_it(
    cloud: LocalCloud, context: Any, tmp_path: Path, override: dict[str, Any], missing: int
) -> None:
    reconcile = AylaExportReconcileOperator(
        task_id="reconcile",
        destination=f"file://{tmp_path}",
        event_types=["datapoint"],
        lookback=timedelta(hours=60),
        not_before=HOUR.isoformat(),
        **override,
    )
    last = (HOUR + 2 * ONE_HOUR).isoformat()
    assert len([repair for repair in reconcile.execute(context) if repair["start"] <= last]) == missing


def test_a_report_heeds_the_connection(
    cloud: LocalCloud, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def states() -> list[str]:
        capsys.readouterr()
        until = (HOUR + 2 * ONE_HOUR).isoformat()
        options = ["--event-type", "datapoint", "--since", HOUR.isoformat(), "--until", until]
        main(["report", "--json", "--destination", f"file://{tmp_path}", *options])
        return [row["state"] for row in json.loads(capsys.readouterr().out)["hours"]]

    assert states() == ["waiting", "waiting"]
    connect(monkeypatch, cloud)
    assert states() == ["missing", "missing"]


@pytest.mark.parametrize(("patience", "state"), [(60, "late"), (120, "landed")])
def test_a_file_is_late_by_the_patience_of_the_connection(
    cloud: LocalCloud,
    context: Any,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    patience: int,
    state: str,
) -> None:
    cloud.put_object("Datapoint", f"{HOUR:%Y-%m-%d %H:%M:%S}", "late.csv", b"a\r\n", HOUR + 2.5 * ONE_HOUR)
    connect(monkeypatch, cloud, patience=patience)
    copy = AylaExportToBucketOperator(task_id="copy", destination=f"file://{tmp_path}", **arguments(HOUR))
    copy.execute(context)
    capsys.readouterr()
    options = ["--event-type", "datapoint", "--since", HOUR.isoformat(), "--until", EMPTY_HOUR.isoformat()]
    main(["report", "--json", "--destination", f"file://{tmp_path}", *options])
    assert [row["state"] for row in json.loads(capsys.readouterr().out)["hours"]] == [state]


def test_a_connection_to_s3_has_the_rule_in_its_extra(monkeypatch: pytest.MonkeyPatch, airflow_db: None) -> None:
    extra = {
        "region_name": "us-east-1",
        "service_config": {"s3": {"bucket_name": "a-bucket"}},
        "quiet_period": 20,
        "patience": "180",
    }
    connection = {"conn_type": "aws", "login": "key", "password": "secret", "extra": extra}
    monkeypatch.setenv("AIRFLOW_CONN_AYLA_S3", json.dumps(connection))
    rule = AylaHook("ayla_s3").export.rule
    assert (rule.quiet_period, rule.patience) == (timedelta(minutes=20), timedelta(minutes=180))
