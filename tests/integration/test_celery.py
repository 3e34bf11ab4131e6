"""The deployment of docker-compose.yaml: CeleryExecutor on several machines. One of them loses its power."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime
from functools import cached_property
from pathlib import Path
from typing import Any

import pytest
import requests
from google.oauth2.service_account import Credentials

from ayla_provider.archive.gcs import GcsDestination
from ayla_provider.domain import manifest as manifests
from ayla_provider.domain.arrival import PATIENCE
from ayla_provider.domain.hour import ONE_HOUR, ExportHour, hour_of, hours_between
from ayla_provider.domain.paths import manifest_path
from ayla_provider.local_cloud import LocalCloud
from ayla_provider.local_cloud.cloud import VENDOR_BUCKET
from ayla_provider.local_cloud.fleet import CYCLE
from harness.check import compare
from harness.processes import exit_on_signals
from tests.integration.export_dag import soon
from tests.integration.machines import Machines
from tests.integration.test_airflow_faults import SOON
from tests.support import compose, postgres_server
from tests.support.tools import POSTGRESQL, REDIS

pytestmark = [pytest.mark.integration, pytest.mark.ci]

DAG = "ayla_export_to_bucket"
HOURS = 4
COPIED = ("datapoint", "connection", "location")
"""The event types that the DAG copies here."""
WORKERS = {"airflow-worker-1", "airflow-worker-2"}

# Waits that are refused, on both machines at once.
REFUSED = """
from datetime import timedelta
from airflow.sdk import DAG
from ayla_provider.sensors import AylaExportHourSensor

with DAG(dag_id="refused", schedule=None, default_args={"retries": 3, "retry_delay": timedelta(seconds=1)}):
    for number in range(8):
        AylaExportHourSensor(
            task_id=f"wait_{number}", ayla_conn_id="wrong", event_type="datapoint", start="HOUR", mode="reschedule"
        )
"""


@pytest.fixture
def database() -> Iterator[str]:
    POSTGRESQL.require()
    REDIS.require()
    with postgres_server.running() as folder:
        yield folder


class Scene:
    """Some hours of an export, the machines that bring them home, and the vendor's side of it."""

    def __init__(self, folder: Path, database: str) -> None:
        # It has two files of datapoints, and is among the hours even if another one begins before the first start.
        self.busy = hour_of(datetime.now(UTC)) - (HOURS - 1) * ONE_HOUR
        seed = -int(self.busy.timestamp() // 3600) % CYCLE
        dags = soon(folder / "dags", DAG, event_types=COPIED)
        (dags / "refused.py").write_text(REFUSED.replace("HOUR", self.busy.isoformat()))
        self.machines = Machines(
            folder / "machines",
            dags,
            database,
            environment={"AYLA_EXPORT_HOURS": str(HOURS)},
            extra={**SOON, "AIRFLOW__CELERY_BROKER_TRANSPORT_OPTIONS__VISIBILITY_TIMEOUT": "60"},
            instead={"--max-lag 2400": f"--max-lag 2400 --seed {seed}"},
        )

    @cached_property
    def hours(self) -> list[datetime]:
        """The hours from the first one that is wanted to the last one that is known to be empty or not."""
        start = (self.machines.folder / "volumes" / "shared" / "export_start").read_text()
        return hours_between(datetime.fromisoformat(start), hour_of(datetime.now(UTC) - PATIENCE))

    def ask(self, method: str, path: str, **body: Any) -> Any:
        """Ask the administration of the local cloud."""
        url = f"{self.machines.cloud_url}/_local/{path}"
        answer = requests.request(method, url, json=body or None, timeout=120)
        answer.raise_for_status()
        return answer.json()

    @property
    def connections(self) -> dict[str, Any]:
        """What the local cloud says of how it is reached."""
        text = (self.machines.folder / "volumes" / "shared" / "cloud.json").read_text()
        return dict(json.loads(text))

    def archive(self) -> GcsDestination:
        """Return the archive, as it is seen from here."""
        key = json.loads(self.connections["google_connection"]["extra"]["keyfile_dict"])
        scope = "https://www.googleapis.com/auth/devstorage.read_only"
        credentials = Credentials.from_service_account_info(key, scopes=[scope])
        credentials._is_regional_access_boundary_lookup_required = lambda: False  # that would ask Google
        return GcsDestination(
            self.machines.cloud_url, self.connections["customer_bucket"], "ayla", credentials=credentials
        )

    def finished(self) -> list[dict[str, Any]] | None:
        """Return the runs of the hours, once each has ended."""
        runs = [
            run
            for run in self.machines.dag_runs(DAG)
            if datetime.fromisoformat(run["data_interval_start"]) in self.hours
        ]
        return runs if sum(run["state"] in ("success", "failed") for run in runs) == len(self.hours) else None

    def tasks_of(self, worker: str) -> list[dict[str, Any]]:
        """Return the tasks of the export that run on a machine, as far as Airflow knows."""
        return [one for one in self.machines.task_instances(DAG, state=["running"]) if one["hostname"] == worker]


def refuse(scene: Scene) -> None:
    """Let many tasks of both machines try a wrong password: hardly any of them may ask."""
    about = scene.connections["ayla_connection"]
    extra = json.dumps(about["extra"])
    wrong = {**about, "connection_id": "wrong", "password": "wrong-password", "extra": extra}
    scene.machines.api("POST", "connections", json=wrong)
    scene.machines.wait_for_dag("refused")
    scene.machines.unpause("refused")
    scene.machines.trigger("refused")
    scene.machines.wait_for_runs("refused", state="failed", timeout=900)
    waits = scene.machines.task_instances("refused")
    assert {(one["state"], one["try_number"]) for one in waits} == {("failed", 1)}
    assert 1 <= scene.ask("GET", "stats")["refusals"] <= len(WORKERS)


def kill_a_worker_in_the_middle(scene: Scene, stored: str) -> list[dict[str, Any]]:
    """
    Kill the worker that has copied one of an hour's two files; return the tasks that it was at.

    :param stored: the folder of the hour in the archive
    """
    machines, archive = scene.machines, scene.archive()
    machines.wait_until("one file to exist", lambda: archive.folder(stored) or None, timeout=900)
    machines.wait_until("the other to hang", lambda: scene.ask("GET", "faults")[0]["fired"] or None, timeout=900)
    (copy,) = machines.task_instances(DAG, task_id="datapoint.copy", state=["running"])
    killed = str(copy["hostname"])
    machines.kill(killed)
    lost = scene.tasks_of(killed)
    scene.ask("DELETE", "faults")
    assert copy["id"] in {one["id"] for one in lost}
    assert len(archive.folder(stored)) == 1
    assert archive.read(manifest_path(ExportHour("datapoint", scene.busy))) is None
    return lost


def square(task: Mapping[str, Any]) -> tuple[str, datetime]:
    """Return which square of Airflow's grid a task is."""
    return task["task_id"], datetime.fromisoformat(task["logical_date"])


def archive_in(cloud: LocalCloud, hours: Sequence[datetime]) -> dict[str, bytes]:
    """Return what the customer's bucket contains of some hours, by path."""
    parts = [f"/date={hour:%Y-%m-%d}/hour={hour:%H}" for hour in hours]
    found = {name.removeprefix("ayla/"): cloud.customer.live(name) for name in cloud.customer.names}
    return {
        path: b"".join(one.content.chunks(0, one.content.size))
        for path, one in found.items()
        if one and any(part in path for part in parts)
    }


def downloads(asked: Sequence[dict[str, Any]]) -> Counter[str]:
    """Return how often each file of the export was downloaded."""
    done = [one["path"] for one in asked if one["step"] == "download" and one["status"] in (200, 206)]
    # The archive's own manifests are downloaded as well.
    return Counter(path.partition(f"/b/{VENDOR_BUCKET}/o/")[2] for path in done if f"/b/{VENDOR_BUCKET}/" in path)


def test_what_a_killed_worker_was_at_is_done_by_the_others_and_nothing_twice(tmp_path: Path, database: str) -> None:
    scene = Scene(tmp_path, database)
    with exit_on_signals(), scene.machines as machines:
        machines.up()
        key = {(one["event_type"], one["hour"]): one["files"] for one in scene.ask("GET", "answer-key")}
        first, second = (file["object_name"] for file in key["datapoint", scene.busy.isoformat()])
        scene.ask("POST", "options", one_session=True)
        scene.ask("POST", "faults", kind="slow", step="download", match=second, times=None, delay=3600)
        machines.wait_for_dag(DAG)
        machines.unpause(DAG)
        refuse(scene)
        folder = f"event_type=datapoint/date={scene.busy:%Y-%m-%d}/hour={scene.busy:%H}"
        lost = kill_a_worker_in_the_middle(scene, folder)
        killed = lost[0]["hostname"]
        machines.wait_until_healthy(machines.checked() - {killed})
        assert machines.unhealthy({killed}) == {killed}
        runs = machines.wait_until("the hours to land", scene.finished, timeout=900)
        assert {run["state"] for run in runs} == {"success"}
        tasks = machines.task_instances(DAG)
        asked = scene.ask("GET", "requests")

    assert {one["hostname"] for one in tasks} >= WORKERS
    squares = {square(one) for one in lost}
    again = [one for one in tasks if square(one) in squares and square(one)[1] in scene.hours]
    assert {one["hostname"] for one in again} == WORKERS - {killed}
    # Nothing is copied again that existed, or that the other worker was copying.
    times = downloads(asked)
    assert times[first] == times[second] == 1
    perhaps_twice = {
        file["object_name"]
        for (event_type, hour), files in key.items()
        for file in files
        if (f"{event_type}.copy", datetime.fromisoformat(hour)) in squares
    }
    assert {name for name, count in times.items() if count > 1} <= perhaps_twice
    with LocalCloud(data=machines.folder / "volumes" / "cloud") as cloud:
        archive = archive_in(cloud, scene.hours)
        assert compare(cloud, archive, scene.hours, COPIED) == []
        secrets = [*compose.SECRETS.values(), *cloud.secrets, "wrong-password"]
    committed = [manifests.loads(data, path) for path, data in archive.items() if path.startswith("_manifests/")]
    assert {one.revision for one in committed} == {1}
    logs = machines.logs()
    assert "Signed in at" in logs
    assert [secret for secret in secrets if secret in logs] == []
