"""What happens to Airflow itself: worker, triggerer and scheduler are killed, a task is cleared while it runs."""

from __future__ import annotations

import contextlib
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import psutil
import pytest

from ayla_provider.domain.arrival import PATIENCE
from ayla_provider.domain.events import EVENT_FOLDERS, EVENT_TYPES
from ayla_provider.domain.hour import ONE_HOUR, hour_of
from ayla_provider.local_cloud import LocalCloud
from ayla_provider.local_cloud.faults import Fault
from harness.check import differences
from harness.forked import ForkedStandalone

pytestmark = [pytest.mark.integration, pytest.mark.ci]

NEWEST = hour_of(datetime.now(UTC) - PATIENCE) - ONE_HOUR

# A DAG for each event type. Its retries follow at once.
DAG = """
from datetime import timedelta
from airflow.sdk import DAG
from ayla_provider.domain.events import EVENT_TYPES
from ayla_provider.operators import AylaExportToBucketOperator
from ayla_provider.sensors import AylaExportHourSensor

for event_type in EVENT_TYPES:
    default = {"retries": 4, "retry_delay": timedelta(seconds=1)}
    with DAG(dag_id=event_type, schedule=None, default_args=default):
        hour = {"event_type": event_type, "start": "HOUR"}
        wait = AylaExportHourSensor(task_id="wait", deferrable=True, poke_interval=1, **hour)
        copy = AylaExportToBucketOperator(task_id="copy", destination="{{ var.value.place }}", **hour)
        wait >> copy
"""

# Airflow finds out sooner that somebody is gone. With less time, the heartbeat must also be more frequent: scheduler
# and triggerer write down their last heartbeat but one. With the usual five seconds it is ten seconds old when the next
# one comes, and a scheduler that may be silent for eight seconds takes itself for dead and resets what it has queued.
SOON = {
    "AIRFLOW__SCHEDULER__SCHEDULER_HEARTBEAT_SEC": "1",
    "AIRFLOW__SCHEDULER__SCHEDULER_HEALTH_CHECK_THRESHOLD": "25",
    "AIRFLOW__SCHEDULER__ORPHANED_TASKS_CHECK_INTERVAL": "2",
    "AIRFLOW__SCHEDULER__TASK_INSTANCE_HEARTBEAT_TIMEOUT": "25",
    "AIRFLOW__SCHEDULER__TASK_INSTANCE_HEARTBEAT_TIMEOUT_DETECTION_INTERVAL": "2",
    "AIRFLOW__TRIGGERER__JOB_HEARTBEAT_SEC": "1",
    "AIRFLOW__TRIGGERER__TRIGGERER_HEALTH_CHECK_THRESHOLD": "20",
    "AIRFLOW__WORKERS__MIN_HEARTBEAT_INTERVAL": "1",
}


class Scene:
    """A running Airflow, an hour of an export, and a folder for it."""

    def __init__(self, cloud: LocalCloud, airflow: ForkedStandalone) -> None:
        self.cloud = cloud
        self.airflow = airflow

    def start(self, *event_types: str) -> None:
        for event_type in event_types:
            self.airflow.wait_for_dag(event_type)
            self.airflow.unpause(event_type)
            self.airflow.trigger(event_type)

    def hang(self, step: str, event_type: str) -> Fault:
        """Leave each request of a kind for one event type without an answer, until :meth:`wait_for`."""
        match = f"/{EVENT_FOLDERS[event_type]}/"
        return self.cloud.faults.add("slow", step=step, match=match, times=None, delay=3600)

    def wait_for(self, *hanging: Fault) -> None:
        """Wait until each of these faults has befallen a request, and let all other requests be answered."""
        self.airflow.wait_until(
            "all requests to hang",
            lambda: all(fault.fired for fault in hanging) or None,
            timeout=900,
            explain=lambda: "\n".join(
                f"{one['dag_id']}.{one['task_id']}, try {one['try_number']}: {one['state']}"
                for one in self.airflow.task_instances("~")
            ),
        )
        self.cloud.faults.clear()

    def tree_of(self, part: str) -> list[psutil.Process]:
        """Return the process of a part of Airflow, and all that it has started."""
        for pid in self.airflow.pids:
            with contextlib.suppress(psutil.Error):
                process = psutil.Process(pid)
                if process.cmdline()[-1:] == [part] or f"airflow {part}" in " ".join(process.cmdline())[:60]:
                    return [process, *process.children(recursive=True)]
        raise AssertionError(f"no {part} is running")

    def copying(self, event_type: str) -> list[psutil.Process]:
        """Return the process of a task, and the worker that has started it."""
        process = psutil.Process(self.task(event_type, "copy")["pid"])
        return [process, *process.parents()[:1]]

    def kill(self, processes: list[psutil.Process]) -> None:
        for process in processes:
            with contextlib.suppress(psutil.NoSuchProcess):
                process.kill()

    def start_again(self, part: str) -> None:
        """Start a part of Airflow, as its supervisor in production does when it has died."""
        self.airflow.spawn(part)

    def task(self, event_type: str, task: str) -> dict[str, Any]:
        (found,) = [one for one in self.airflow.task_instances(event_type) if one["task_id"] == task]
        return found

    def tries(self, event_type: str, task: str = "copy") -> int:
        return int(self.task(event_type, task)["try_number"])


def busy_hour(*event_types: str) -> datetime:
    """Return the newest hour in which each of some event types has a file with content: others aren't downloaded."""
    for hour in (NEWEST, NEWEST - ONE_HOUR):
        with LocalCloud(start=hour) as cloud:
            answers = [answer for answer in cloud.answer_key() if answer.hour == hour]
        filled = {answer.event_type for answer in answers if any(file.final.size for file in answer.files)}
        if filled >= set(event_types):
            return hour
    raise AssertionError("the local cloud has no such hour")


def test_an_hour_is_complete_after_kills_and_clears(tmp_path: Path) -> None:
    worker, cleared, scheduler, triggerer, calm = EVENT_TYPES
    hour = busy_hour(worker, cleared, scheduler)
    (tmp_path / "dags").mkdir()
    (tmp_path / "dags" / "hour.py").write_text(DAG.replace("HOUR", hour.isoformat()))
    bucket = tmp_path / "bucket"
    with LocalCloud(start=hour, max_lag=timedelta(minutes=40)) as cloud:
        airflow = ForkedStandalone(
            tmp_path / "airflow",
            tmp_path / "dags",
            connections={"ayla_default": cloud.ayla_connection()},
            environment={**SOON, "AIRFLOW_VAR_PLACE": f"file://{bucket}"},
        )
        scene = Scene(cloud, airflow)
        with airflow:
            hanging = [scene.hang("download", worker), scene.hang("download", cleared), scene.hang("list", triggerer)]
            scene.start(worker, cleared, triggerer, calm)
            scene.wait_for(*hanging)
            scene.kill(scene.copying(worker))
            (run,) = airflow.dag_runs(cleared)
            airflow.clear(cleared, run_id=run["dag_run_id"], task_ids=["copy"])
            scene.kill(scene.tree_of("triggerer"))
            scene.start_again("triggerer")

            copy = scene.hang("download", scheduler)
            scene.start(scheduler)
            for event_type in (worker, cleared, triggerer, calm):
                airflow.wait_for_runs(event_type, timeout=900)
            scene.wait_for(copy)
            scene.kill(scene.tree_of("scheduler"))
            scene.start_again("scheduler")
            airflow.wait_for_runs(scheduler, timeout=900)
            # What killed tasks had begun stays for a day, under names that no reader takes for a file.
            different = differences(cloud, bucket, [hour])
            assert [one for one in different if ".partial has no source" not in one] == []
            assert scene.tries(worker) > 1
            assert scene.tries(cleared) > 1
            assert scene.tries(triggerer, "wait") == 1, "a wait isn't lost with its triggerer"
            assert scene.tries(scheduler) > 1
            assert scene.tries(calm) == 1
            assert cloud.refusals == 0
            logs = "\n".join(path.read_text(errors="replace") for path in airflow.home.rglob("*.log"))
            assert [secret for secret in cloud.secrets if secret in logs] == []
