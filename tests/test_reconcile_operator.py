from __future__ import annotations

import json
import random
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from airflow.sdk.execution_time.context import OutletEventAccessors

from ayla_provider._airflow.compat import AirflowFailException
from ayla_provider.domain.events import EVENT_FOLDERS, EVENT_TYPES
from ayla_provider.domain.hour import ONE_HOUR
from ayla_provider.errors import AylaConfigError
from ayla_provider.local_cloud import LocalCloud
from ayla_provider.operators import AylaExportReconcileOperator, AylaExportToBucketOperator
from tests.support.fleet import HOUR, connect, put_hour


class TaskInstance:
    """What the operators use of Airflow's."""

    dag_id, run_id, task_id, try_number, max_tries = "a_dag", "a_run", "a_task", 1, 0

    def __init__(self) -> None:
        self.xcoms: dict[str, Any] = {}

    def xcom_push(self, key: str, value: Any) -> None:
        self.xcoms[key] = value


def reconcile(destination: Path, **changes: Any) -> tuple[list[dict[str, str]], dict[str, Any]]:
    """Return the list and the summary."""
    arguments: dict[str, Any] = {
        "task_id": "reconcile",
        "destination": f"file://{destination}",
        "not_before": HOUR.isoformat(),
        "lookback": timedelta(days=3),
    }
    ti = TaskInstance()
    repairs = AylaExportReconcileOperator(**(arguments | changes)).execute({"ti": ti})  # type: ignore[typeddict-item]
    return repairs, ti.xcoms["summary"]


def copy(destination: Path, repair: dict[str, str]) -> None:
    made = AylaExportToBucketOperator(task_id="repair", destination=f"file://{destination}", **repair)
    made.execute({"ti": TaskInstance(), "outlet_events": OutletEventAccessors()})  # type: ignore[typeddict-item]


def test_a_copy_is_expanded_over_its_list_and_the_copies_repair_all(export: LocalCloud, tmp_path: Path) -> None:
    repairs, summary = reconcile(tmp_path, event_types=["Datapoint", "connection"])
    assert {
        "event_type": "datapoint",
        "start": HOUR.isoformat(),
        "end": (HOUR + ONE_HOUR).isoformat(),
        "reason": f"datapoint {HOUR:%Y-%m-%d %H:%M} UTC: never copied, 1 file",
    } in repairs
    hours = [repair["start"] for repair in repairs]
    assert hours == sorted(hours, reverse=True)
    assert summary["repairs"] == summary["hours"]["missing"] == len(repairs)
    assert (summary["postponed"], summary["left_alone"], summary["start"]) == (0, 0, HOUR.isoformat())
    for repair in repairs:
        copy(tmp_path, repair)
    put_hour(export, "Datapoint", file="late.csv")
    (repair,), summary = reconcile(tmp_path, event_types=["datapoint", "connection"])
    assert repair["reason"] == f"datapoint {HOUR:%Y-%m-%d %H:%M} UTC: 1 new file"
    assert (summary["repairs"], summary["hours"]["changed"]) == (1, 1)
    copy(tmp_path, repair)
    assert reconcile(tmp_path, event_types=["datapoint", "connection"])[0] == []


def test_the_newest_hours_come_first_and_the_rest_is_counted_and_taken_up_next(
    export: LocalCloud, tmp_path: Path
) -> None:
    everything, _ = reconcile(tmp_path)
    first, summary = reconcile(tmp_path, max_repairs=3)
    assert first == everything[:3]
    assert (summary["repairs"], summary["postponed"]) == (3, len(everything) - 3)
    for repair in first:
        copy(tmp_path, repair)
    assert reconcile(tmp_path, max_repairs=3)[0] == everything[3:6]


def test_hours_before_the_first_one_wanted_are_not_missed(export: LocalCloud, tmp_path: Path) -> None:
    put_hour(export, "Datapoint", HOUR - 5 * ONE_HOUR)
    repairs, _ = reconcile(tmp_path, event_types=["datapoint"])
    assert min(repair["start"] for repair in repairs) == HOUR.isoformat()
    repairs, _ = reconcile(tmp_path, event_types=["datapoint"], not_before="")
    assert (HOUR - 5 * ONE_HOUR).isoformat() in {repair["start"] for repair in repairs}
    tomorrow = HOUR + timedelta(days=3)
    assert reconcile(tmp_path, not_before=tomorrow)[0] == []


def test_the_newest_files_are_left_to_the_export_dag(export: LocalCloud, tmp_path: Path) -> None:
    repairs, _ = reconcile(tmp_path, quiet_period=timedelta(days=30), patience=timedelta(days=30))
    assert repairs == []


def test_a_year_of_missing_hours_stays_below_what_an_xcom_holds(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, airflow_db: None
) -> None:
    with LocalCloud() as cloud:
        connect(monkeypatch, cloud)
        chosen = random.Random(4).sample(range(24 * 180), 100)
        for hours_ago in (24 * 180, *chosen, 0):
            put_hour(cloud, "Datapoint Ack", HOUR - hours_ago * ONE_HOUR)
        # A file a day proves that Ayla still keeps the other hours: they are empty, not expired.
        for event_folder in EVENT_FOLDERS.values():
            for days_ago in range(192):
                put_hour(cloud, event_folder, HOUR - timedelta(days=days_ago))
        arguments = {"not_before": "", "lookback": timedelta(days=178), "max_repairs": 1024}
        repairs, summary = reconcile(tmp_path, event_types=EVENT_TYPES, **arguments)
    assert summary["hours"]["missing"] > 20_000
    assert summary["repairs"] + summary["postponed"] == summary["hours"]["missing"]
    assert len(repairs) == summary["repairs"] > 200
    assert len(json.dumps(repairs)) < 64_000
    assert len(json.dumps(summary)) < 1_000


@pytest.mark.parametrize(
    "wrong", [{"max_repairs": 0}, {"max_repairs": 1025}, {"lookback": timedelta(minutes=59)}, {"lookback": timedelta()}]
)
def test_an_invalid_limit_is_reported_when_the_dag_is_read(wrong: dict[str, Any]) -> None:
    with pytest.raises(AylaConfigError, match=next(iter(wrong))):
        AylaExportReconcileOperator(task_id="reconcile", destination="file:///a", **wrong)


def test_a_refused_sign_in_fails_for_good(export: LocalCloud, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    connect(monkeypatch, export, password="wrong")
    with pytest.raises(AirflowFailException, match="refused the sign-in"):
        reconcile(tmp_path)
