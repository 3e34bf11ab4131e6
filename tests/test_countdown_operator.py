"""The alert before hours expire, and the DAGs that learn and count."""

from __future__ import annotations

import json
import runpy
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from ayla_provider.__main__ import main
from ayla_provider._airflow.compat import AirflowFailException
from ayla_provider.domain.hour import ONE_HOUR, hour_of
from ayla_provider.errors import AylaConfigError
from ayla_provider.local_cloud import LocalCloud
from ayla_provider.operators import AylaExportCountdownOperator
from tests.support.fleet import connect, put_hour
from tests.test_reconcile_operator import copy, reconcile

ROOT = Path(__file__).parents[1]
NOW = hour_of(datetime.now(UTC))
EXPIRING = NOW - timedelta(days=90) + timedelta(days=3)
"""An hour that a retention of 90 days removes in three days."""


@pytest.fixture
def cloud(monkeypatch: pytest.MonkeyPatch, airflow_db: None) -> Iterator[LocalCloud]:
    with LocalCloud() as cloud:
        connect(monkeypatch, cloud, retention=90)
        put_hour(cloud, "Datapoint", EXPIRING)
        put_hour(cloud, "Datapoint", EXPIRING + 10 * ONE_HOUR)
        put_hour(cloud, "Datapoint", NOW - 10 * ONE_HOUR)
        yield cloud


def count(destination: Path, **changes: Any) -> Any:
    arguments: dict[str, Any] = {"task_id": "countdown", "destination": f"file://{destination}"}
    return AylaExportCountdownOperator(**(arguments | changes)).execute({})


def copy_hour(destination: Path, hour: datetime) -> None:
    copy(destination, {"event_type": "datapoint", "start": hour.isoformat(), "end": (hour + ONE_HOUR).isoformat()})


def test_the_alert_fails_while_hours_that_expire_soon_are_not_safe(cloud: LocalCloud, tmp_path: Path) -> None:
    copy_hour(tmp_path, EXPIRING)
    with pytest.raises(
        AirflowFailException, match="AylaExpiringError: 1 hour expires at Ayla within 14 days"
    ) as failure:
        count(tmp_path)
    assert f"{EXPIRING + 10 * ONE_HOUR:%Y-%m-%d %H:%M}" in str(failure.value)
    assert count(tmp_path, within=timedelta(days=2))["hours"] == 0
    assert count(tmp_path, not_before=EXPIRING + 11 * ONE_HOUR)["hours"] == 0
    copy_hour(tmp_path, EXPIRING + 10 * ONE_HOUR)
    assert count(tmp_path, event_types=["Datapoint"]) == {
        "within_days": 14,
        "retention_days": {"datapoint": 90},
        "hours": 0,
        "first": None,
    }


def test_without_a_retention_the_alert_says_that_nobody_knows(
    cloud: LocalCloud, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    connect(monkeypatch, cloud)
    assert count(tmp_path, event_types=["datapoint"]) is None
    assert "Nobody knows how long Ayla keeps files of datapoint" in capsys.readouterr().out


def test_the_report_counts_down(
    cloud: LocalCloud, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def report(*arguments: str) -> tuple[int, dict[str, Any]]:
        capsys.readouterr()
        since = (NOW - 10 * ONE_HOUR).isoformat()
        until = (NOW - 9 * ONE_HOUR).isoformat()
        span = ["--event-type", "datapoint", "--since", since, "--until", until, *arguments]
        status = main(["report", "--json", "--destination", f"file://{tmp_path}", *span])
        return status, json.loads(capsys.readouterr().out)["summary"]

    copy_hour(tmp_path, NOW - 10 * ONE_HOUR)
    status, summary = report()
    expiring = {"within_days": 14, "retention_days": {"datapoint": 90}, "hours": 2}
    assert summary["expiring"] == expiring | {"first": (EXPIRING + timedelta(days=90)).isoformat()}
    assert (status, summary["complete"]) == (1, False)
    assert summary["verdict"].startswith("2 hours expire at Ayla within 14 days")
    assert "Nothing is missing" not in summary["verdict"]
    assert report("--expiring", "2")[1]["expiring"]["hours"] == 0
    # Hours that nobody asked for don't count.
    monkeypatch.setenv("AYLA_EXPORT_START", (EXPIRING + ONE_HOUR).isoformat())
    assert report()[1]["expiring"]["hours"] == 1
    copy_hour(tmp_path, EXPIRING + 10 * ONE_HOUR)
    status, summary = report()
    assert (status, summary["expiring"]["hours"], summary["expiring"]["first"]) == (0, 0, None)
    assert summary["verdict"].startswith("Nothing is missing.")
    connect(monkeypatch, cloud)
    assert report()[1]["expiring"] is None


def test_the_weekly_sweep_alone_keeps_a_record_of_the_oldest_hours(
    cloud: LocalCloud, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    connect(monkeypatch, cloud)
    old = NOW - timedelta(days=100)
    put_hour(cloud, "Datapoint", old)
    arguments: dict[str, Any] = {"event_types": ["datapoint"], "not_before": "", "lookback": timedelta(days=7)}
    repairs, summary = reconcile(tmp_path, **arguments)
    assert summary["older"] == 0
    assert not (tmp_path / "_oldest").exists()
    repairs, summary = reconcile(tmp_path, **arguments, older_hours=True)
    assert summary["older"] == 3
    assert {old.isoformat(), EXPIRING.isoformat()} <= {repair["start"] for repair in repairs}
    record = json.loads((tmp_path / "_oldest" / "event_type=datapoint.json").read_text())
    assert record["hours"][0] == old.isoformat()
    bounded = reconcile(tmp_path, **(arguments | {"not_before": EXPIRING}), older_hours=True)[1]
    assert bounded["older"] == 2


@pytest.mark.parametrize("within", [timedelta(hours=23), timedelta(0)])
def test_less_than_a_day_is_refused_when_the_dag_is_read(within: timedelta) -> None:
    with pytest.raises(AylaConfigError, match="within is"):
        AylaExportCountdownOperator(task_id="countdown", destination="file:///a", within=within)


def test_the_weekly_sample_dag_alone_looks_at_older_hours() -> None:
    weekly = runpy.run_path(str(ROOT / "dags" / "ayla_export_reconcile.py"))["reconcile"]
    assert (weekly.dag_id, weekly.older_hours) == ("ayla_export_reconcile_weekly", True)


def test_the_sample_dag_of_the_countdown_can_be_read() -> None:
    runpy.run_path(str(ROOT / "dags" / "ayla_export_countdown.py"))
