"""What befalls Airflow itself: worker, triggerer and scheduler are killed, a task is cleared while it runs."""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import psutil
import pytest

from ayla_provider.domain.events import EVENT_FOLDERS, EVENT_TYPES
from ayla_provider.domain.hours import ONE_HOUR, hour_of
from ayla_provider.domain.status import PATIENCE
from ayla_provider.local_cloud import LocalCloud
from demo.check import differences
from demo.standalone import Standalone

pytestmark = [
    pytest.mark.integration,
    # Once, beside other tests on two cores, Airflow took longer than the test waits.
    pytest.mark.skipif(
        "AYLA_KILL_AIRFLOW" not in os.environ, reason="wants the machine for itself: AYLA_KILL_AIRFLOW=1 runs it"
    ),
]

HOUR = hour_of(datetime.now(UTC) - PATIENCE) - ONE_HOUR
HANGS = 40.0
"""Seconds for which an answer hangs; what waits for it is killed meanwhile."""

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

# Airflow finds out sooner that somebody is gone.
SOON = {
    "AIRFLOW__SCHEDULER__TASK_INSTANCE_HEARTBEAT_TIMEOUT": "12",
    "AIRFLOW__SCHEDULER__TASK_INSTANCE_HEARTBEAT_TIMEOUT_DETECTION_INTERVAL": "2",
    "AIRFLOW__SCHEDULER__ORPHANED_TASKS_CHECK_INTERVAL": "5",
    "AIRFLOW__SCHEDULER__SCHEDULER_HEALTH_CHECK_THRESHOLD": "8",
    "AIRFLOW__TRIGGERER__TRIGGERER_HEALTH_CHECK_THRESHOLD": "8",
}


class Scene:
    """A running Airflow, an hour of an export, and a folder for it."""

    def __init__(self, cloud: LocalCloud, airflow: Standalone) -> None:
        self.cloud = cloud
        self.airflow = airflow
        self._started: list[subprocess.Popen[bytes]] = []

    def wait_for_the_end(self) -> None:
        """Collect the processes that were started here, once Airflow is stopped."""
        for process in self._started:
            process.wait(10)

    def start(self, event_type: str) -> None:
        self.airflow.wait_for_dag(event_type)
        self.airflow.unpause(event_type)
        self.airflow.trigger(event_type)

    @contextlib.contextmanager
    def in_the_middle_of_a_copy(self, event_type: str) -> Iterator[None]:
        """Start a DAG, and go on when its copy waits for the content of a file."""
        match = f"/{EVENT_FOLDERS[event_type]}/"
        hangs = self.cloud.faults.add("slow", step="download", match=match, delay=HANGS)
        self.start(event_type)
        self.airflow.wait_until("the copy to hang", lambda: hangs.fired or None, timeout=90)
        yield

    def tree_of(self, part: str) -> list[psutil.Process]:
        """Return the process of a part of Airflow, and all that it has started."""
        for pid in self.airflow.pids:
            with contextlib.suppress(psutil.Error):
                process = psutil.Process(pid)
                if process.cmdline()[-1:] == [part] or f"airflow {part}" in " ".join(process.cmdline())[:60]:
                    return [process, *process.children(recursive=True)]
        raise AssertionError(f"no {part} is running")

    def copying(self) -> list[psutil.Process]:
        """Return the process that waits for the cloud in the name of a task, and the worker that has started it."""
        port = int(self.cloud.url.rpartition(":")[2])
        triggerer = {process.pid for process in self.tree_of("triggerer")}
        for pid in self.airflow.pids:
            with contextlib.suppress(psutil.Error):
                process = psutil.Process(pid)
                there = [one for one in process.net_connections("tcp") if one.raddr and one.raddr.port == port]
                parent = process.parent()
                if there and parent and pid not in triggerer:
                    return [process, parent]
        raise AssertionError("no task is connected to the cloud")

    def kill(self, processes: list[psutil.Process]) -> None:
        for process in processes:
            with contextlib.suppress(psutil.NoSuchProcess):
                process.kill()
        psutil.wait_procs(processes, timeout=10)

    def start_again(self, part: str) -> None:
        """Start a part of Airflow, as whatever runs it in production does when it has died."""
        with (self.airflow.home / f"{part}.log").open("wb") as log:
            process = subprocess.Popen(
                [sys.executable, "-m", "airflow", part],
                cwd=self.airflow.home,
                env={**self.airflow._child_environment(), "AIRFLOW__CORE__EXECUTOR": "LocalExecutor"},
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        self._started.append(process)

    def tries(self, event_type: str, task: str = "copy") -> int:
        (found,) = [one for one in self.airflow.task_instances(event_type) if one["task_id"] == task]
        return int(found["try_number"])


def test_an_hour_is_complete_whatever_is_killed_or_cleared_meanwhile(tmp_path: Path) -> None:
    (tmp_path / "dags").mkdir()
    (tmp_path / "dags" / "hour.py").write_text(DAG.replace("HOUR", HOUR.isoformat()))
    bucket = tmp_path / "bucket"
    with LocalCloud(start=HOUR, max_lag=timedelta(minutes=40)) as cloud:
        airflow = Standalone(
            tmp_path / "airflow",
            tmp_path / "dags",
            connections={"ayla_default": cloud.ayla_connection()},
            environment={**SOON, "AIRFLOW_VAR_PLACE": f"file://{bucket}"},
        )
        scene = Scene(cloud, airflow)
        with contextlib.ExitStack() as stack:
            stack.callback(scene.wait_for_the_end)
            stack.enter_context(airflow)
            # The first three have files in every hour.
            worker, cleared, scheduler, triggerer, calm = EVENT_TYPES

            # A wait that can't be over, since its listing fails.
            listing = f"prefix={cloud.oem_id}/{EVENT_FOLDERS[triggerer]}/"
            fails = cloud.faults.add(503, step="list", match=listing, times=None)
            scene.start(calm)
            airflow.wait_for_runs(calm, timeout=120)

            with scene.in_the_middle_of_a_copy(worker):
                scene.kill(scene.copying())
            with scene.in_the_middle_of_a_copy(cleared):
                (run,) = airflow.dag_runs(cleared)
                airflow.clear(cleared, run_id=run["dag_run_id"], task_ids=["copy"])

            scene.start(triggerer)
            airflow.wait_until("the wait to be in the triggerer", lambda: fails.fired or None, timeout=90)
            scene.kill(scene.tree_of("triggerer"))
            scene.start_again("triggerer")

            with scene.in_the_middle_of_a_copy(scheduler):
                scene.kill(scene.tree_of("scheduler"))
            scene.start_again("scheduler")
            cloud.faults.clear()

            for event_type in EVENT_TYPES:
                airflow.wait_for_runs(event_type, timeout=150)
            # What killed tasks had begun stays for a day, under names that no reader takes for a file.
            different = differences(cloud, bucket, [HOUR])
            assert [one for one in different if ".partial has no source" not in one] == []
            assert scene.tries(worker) > 1
            assert scene.tries(cleared) > 1
            assert scene.tries(triggerer, "wait") == 1, "a wait isn't lost with its triggerer"
            assert scene.tries(scheduler) > 1
            assert scene.tries(calm) == 1
            assert cloud.refusals == 0
            logs = "\n".join(path.read_text(errors="replace") for path in airflow.home.rglob("*.log"))
            assert [secret for secret in cloud.secrets if secret in logs] == []
