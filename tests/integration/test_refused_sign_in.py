"""The sample DAG under a real Airflow with a wrong password: it doesn't lock the account."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import pytest

from tests.integration.export_dag import DAG, Scene, soon

pytestmark = [pytest.mark.integration, pytest.mark.ci]

HOURS = 2
WAITED_FOR = ("datapoint", "connection", "location")
"""The event types that the DAGs wait for here."""


def test_a_wrong_password_is_tried_once_or_twice_by_all_tasks_together_and_never_again(tmp_path: Path) -> None:
    # Beside the sample, whose waits share the triggerer, one in which each wait is a process of its own.
    folder = soon(tmp_path / "dags", DAG, event_types=WAITED_FOR)
    sample = (folder / f"{DAG}.py").read_text()
    processes = sample.replace("deferrable=True", 'mode="reschedule"').replace(f'"{DAG}"', '"processes"')
    assert processes.count("reschedule") == processes.count('"processes"') == 1
    (folder / "processes.py").write_text(processes)
    scene = Scene(tmp_path, dags=folder, hours=HOURS)
    with scene.running(DAG, "processes", password="wrong-password") as running:
        for dag in (DAG, "processes"):
            runs = running.airflow.wait_until("the runs to fail", lambda dag=dag: running.finished(dag), timeout=900)
            assert {run["state"] for run in runs} == {"failed"}
            ids = {run["dag_run_id"] for run in runs}
            tasks = [task for task in running.airflow.task_instances(dag) if task["dag_run_id"] in ids]
            waits = [task for task in tasks if task["task_id"].endswith(".wait")]
            assert len(waits) == HOURS * len(WAITED_FOR)
            assert {task["state"] for task in waits} == {"failed"}
            # Where a trigger fires before the scheduler has seen the deferral, some Airflows take the task for killed,
            # note so, and try it again (apache/airflow#66374); by us what was refused is never tried again.
            mistaken = Counter(
                (entry["run_id"], entry["task_id"])
                for entry in running.airflow.pages("eventLogs", "event_logs", dag_id=dag, event="state mismatch")
            )
            for task in waits:
                logs = running.airflow.home / "logs" / f"dag_id={dag}" / f"run_id={task['dag_run_id']}"
                tries = (logs / f"task_id={task['task_id']}").glob("attempt=[0-9].log")
                refused = sum("refused the sign-in" in one.read_text() for one in tries)
                again = refused - 1 - mistaken[task["dag_run_id"], task["task_id"]]
                assert refused, f"{task['task_id']} didn't say why it failed"
                assert again <= 0, "a refusal isn't retried"
            log_text = running.airflow.task_log(dag, runs[0]["dag_run_id"], "datapoint.wait")
            assert "refused the sign-in" in log_text
            assert "wrong-password" not in log_text
        # The "Test" button of the UI, pressed again and again, knows of it too.
        for _ in range(3):
            body = {"connection_id": "ayla_default", "conn_type": "ayla"}
            assert running.airflow.api("POST", "connections/test", json=body)["status"] is False
        assert 1 <= running.cloud.refusals <= 2
