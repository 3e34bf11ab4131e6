"""
The DAGs that repair, under a real Airflow: beside the export DAG, after late files, with an hour that stays broken.

They are reconcile, its weekly sweep, verify, and the countdown.
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from ayla_provider.domain.hour import ONE_HOUR
from harness.check import differences
from tests.integration.export_dag import DAG, Scene, soon

pytestmark = [pytest.mark.integration, pytest.mark.ci]

RECONCILE = "ayla_export_reconcile"
VERIFY = "ayla_export_verify"
COUNTDOWN = "ayla_export_countdown"
COPIED = ("datapoint", "connection", "location")
"""The event types that the DAGs copy here."""


def reconcile(scene: Scene) -> tuple[str, dict[str, str], dict[str, Any]]:
    """Run it, and return how it ended, its repairs by name with their states, and its summary."""
    run = scene.airflow.trigger(RECONCILE)["dag_run_id"]
    (over,) = [
        one
        for one in scene.airflow.wait_for_runs(RECONCILE, run_ids=[run], state=None, timeout=600)
        if one["dag_run_id"] == run
    ]
    tasks = [task for task in scene.airflow.task_instances(RECONCILE, run) if task["map_index"] >= 0]
    summary = scene.airflow.xcoms(RECONCILE, run, "reconcile")["summary"]
    return over["state"], {task["rendered_map_index"]: task["state"] for task in tasks}, summary


def run_alone(scene: Scene, dag: str) -> tuple[str, str]:
    """Unpause a DAG, run it, and return the id and the state of the run."""
    scene.airflow.unpause(dag)
    run = scene.airflow.trigger(dag)["dag_run_id"]
    runs = scene.airflow.wait_for_runs(dag, run_ids=[run], state=None, timeout=600)
    return run, next(over["state"] for over in runs if over["dag_run_id"] == run)


def repaired_by(scene: Scene, dag: str) -> dict[str, str]:
    """Run a DAG, and return its repairs. To unpause it can start a run that is the first to find what is wrong."""
    assert run_alone(scene, dag)[1] == "success"
    tasks = [task for task in scene.airflow.task_instances(dag) if task["map_index"] >= 0]
    return {task["rendered_map_index"]: task["state"] for task in tasks}


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Scene]:
    """Hours of which the first can be repaired, and one event type of the second can't be copied."""
    folder = tmp_path_factory.mktemp("reconcile")
    scene = Scene(folder, dags=soon(folder / "dags", DAG, RECONCILE, VERIFY, COUNTDOWN, event_types=COPIED))
    extra = scene.cloud.ayla_connection()["extra"] | {"retention": 10}
    long_ago = datetime.now(UTC) - timedelta(hours=3)
    with scene.running(extra=extra):
        scene.cloud.put_object("Location", f"{scene.hours[1]:%Y-%m-%d %H:%M:%S}", "tab\tname.csv", b"x", long_ago)
        for dag in (DAG, RECONCILE):
            scene.airflow.wait_for_dag(dag)
        yield scene


def test_it_repairs_exactly_what_the_archive_lacks_also_while_the_export_dag_copies(running: Scene) -> None:
    repaired, broken, *_ = running.hours
    # All hours are missing, and both DAGs set to work on them.
    running.airflow.unpause(RECONCILE)
    running.airflow.unpause(DAG)
    state, repairs, summary = reconcile(running)
    running.airflow.wait_until("the export DAG", running.finished, timeout=600)
    assert summary["repairs"] == len(repairs)
    gap, *copied = differences(running.cloud, running.bucket, running.hours, COPIED)
    assert gap == f"location {broken:%Y-%m-%d %H:%M}: no manifest"
    of_that_hour = f"event_type=location/date={broken:%Y-%m-%d}/hour={broken:%H}/"
    assert [one for one in copied if not one.startswith(of_that_hour)] == []

    # Now nothing but the hour that can't be copied lacks anything: it failed, and isn't tried again.
    state, repairs, summary = reconcile(running)
    assert (state, repairs, summary["left_alone"]) == ("success", {}, 1)

    # A file that came late, and one that was replaced.
    files = [answer for answer in running.cloud.answer_key() if answer.hour == repaired and answer.files]
    replaced = next(answer for answer in files if answer.event_type == "connection").files[0]
    put = running.cloud.put_object
    put("Datapoint", f"{repaired:%Y-%m-%d %H:%M:%S}", "late.csv", b"late\r\n", repaired + 3 * ONE_HOUR)
    created = replaced.final.visible_at + timedelta(minutes=1)
    put("Connection", f"{replaced.folder_time:%Y-%m-%d %H:%M:%S}", replaced.file_name, b"replaced\r\n", created)
    state, repairs, summary = reconcile(running)
    hour = f"{repaired:%Y-%m-%d %H:%M}"
    assert (state, repairs) == (
        "success",
        {
            f"datapoint {hour} UTC: 1 new file, 2.0 h late": "success",
            f"connection {hour} UTC: 1 replaced file": "success",
        },
    )
    assert summary["left_alone"] == 1
    # The answer key doesn't know of the late file, which is there and in the manifest.
    (late,) = differences(running.cloud, running.bucket, [repaired], COPIED)
    assert late.endswith("late.csv' is in the manifest, but not in the source")

    # The same asset events as the export DAG's.
    all_events = running.airflow.pages("assets/events", "asset_events", order_by="timestamp")
    # Reconcile also tells the page what it found.
    events = [event for event in all_events if "/_digests/" not in event["name"]]
    assert len(events) < len(all_events)
    ours = [event["extra"] for event in events if event["source_dag_id"] == RECONCILE][-2:]
    assert {(extra["event_type"], extra["hour"], extra["revision"]) for extra in ours} == {
        ("datapoint", repaired.isoformat(), 2),
        ("connection", repaired.isoformat(), 2),
    }
    assert {event["name"].rpartition("=")[2] for event in events} == set(COPIED)


def test_verify_and_the_weekly_sweep_repair_and_the_countdown_alerts(running: Scene) -> None:
    repaired, broken, *_ = running.hours
    running.airflow.unpause(DAG)
    running.airflow.wait_until("the export DAG", running.finished, timeout=600)
    hour = f"{repaired:%Y-%m-%d %H:%M}"
    before = differences(running.cloud, running.bucket, [repaired], COPIED)

    # A copy that disappeared, and another late file: verify finds the one, and the weekly sweep the other.
    copies = running.bucket.glob(f"event_type=datapoint/date={repaired:%Y-%m-%d}/hour={repaired:%H}/**/*.csv")
    min(copies).unlink()
    missing = {f"datapoint {hour} UTC: 1 file missing in the archive": "success"}
    assert repaired_by(running, VERIFY) == missing
    put = running.cloud.put_object
    put("Datapoint", f"{repaired:%Y-%m-%d %H:%M:%S}", "later.csv", b"later\r\n", repaired + 3 * ONE_HOUR)
    late_again = {f"datapoint {hour} UTC: 1 new file, 2.0 h late": "success"}
    assert repaired_by(running, f"{RECONCILE}_weekly") == late_again
    (later,) = set(differences(running.cloud, running.bucket, [repaired], COPIED)) - set(before)
    assert later.endswith("later.csv' is in the manifest, but not in the source")

    # The hour that can't be copied expires within two weeks. The alert says so, once.
    run, state = run_alone(running, COUNTDOWN)
    assert state == "failed"
    (task,) = running.airflow.task_instances(COUNTDOWN, run)
    assert task["try_number"] == 1
    log = running.airflow.task_log(COUNTDOWN, run, "countdown")
    assert "ALERT: " in log
    assert f"location {broken:%Y-%m-%d %H:%M} UTC" in log
