"""The sample DAG under a real Airflow: that it lands, that it leaks nothing, and that it doesn't lock the account."""

from __future__ import annotations

import contextlib
import json
import socket
import sqlite3
import threading
from collections import Counter
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from cryptography.fernet import Fernet

from ayla_provider._airflow.sign_in_variable import SIGN_IN_VARIABLE
from ayla_provider.domain.arrival import PATIENCE
from ayla_provider.domain.events import EVENT_TYPES
from ayla_provider.domain.hour import ONE_HOUR, hour_of, hours_between
from ayla_provider.local_cloud import LocalCloud
from harness.check import differences
from harness.standalone import Standalone
from tests.support.fleet import seed_with_all_event_types

pytestmark = pytest.mark.integration

DAGS = Path(__file__).parents[2] / "dags"
DAG = "ayla_export_to_bucket"
HOURS = 6


def soon(folder: Path, *dags: str) -> Path:
    """Put sample DAGs into a folder, as they are but for their retries, which follow at once."""
    folder.mkdir(exist_ok=True)
    for dag in dags:
        code = (DAGS / f"{dag}.py").read_text()
        assert code.count("timedelta(minutes=2)") == 1
        (folder / f"{dag}.py").write_text(code.replace("timedelta(minutes=2)", "timedelta(seconds=2)"))
    return folder


class Scene:
    """Sample DAGs over some past hours, against a local cloud."""

    def __init__(self, folder: Path, dags: Path | None = None, **cloud: object) -> None:
        end = hour_of(datetime.now(UTC) - PATIENCE)
        self.hours = hours_between(end - HOURS * ONE_HOUR, end)
        seed = seed_with_all_event_types(self.hours)
        self.cloud = LocalCloud(
            start=self.hours[0],
            max_lag=timedelta(minutes=40),
            seed=seed,
            **cloud,  # type: ignore[arg-type]
        )
        self.bucket = folder / "bucket"
        self.environment: dict[str, str] = {}
        self.airflow = Standalone(folder / "airflow", dags or soon(folder / "dags", DAG), parallelism=16)

    @contextlib.contextmanager
    def running(self, *dags: str, **wrong: str) -> Iterator[Scene]:
        with self.cloud:
            self.airflow.connections = {
                "ayla_default": self.cloud.ayla_connection() | wrong,
                "google_cloud_default": self.cloud.google_connection(),
            }
            self.airflow.environment = {
                **self.environment,
                "AIRFLOW_VAR_AYLA_EXPORT_DESTINATION": f"file://{self.bucket}",
                "AYLA_EXPORT_START": self.hours[0].isoformat(),
            }
            with self.airflow:
                self.airflow.api("POST", "pools", json={"name": "ayla_export", "slots": 16})
                for dag in dags:
                    self.airflow.wait_for_dag(dag)
                    self.airflow.unpause(dag)
                yield self

    def finished(self, dag: str = DAG) -> list[dict[str, Any]] | None:
        """Return the runs of the hours, once each has ended."""
        runs = [
            run
            for run in self.airflow.dag_runs(dag)
            if datetime.fromisoformat(run["data_interval_start"]) in self.hours
        ]
        return runs if sum(run["state"] in ("success", "failed") for run in runs) == HOURS else None


class Watcher:
    """Reads Airflow's database over and over, all of it, decrypted: rows of triggers live for seconds only."""

    def __init__(self, home: Path) -> None:
        self._home = home
        self._stop = threading.Event()
        self.seen = ""
        self.triggers = 0
        self._thread = threading.Thread(target=self._run, daemon=True)

    def __enter__(self) -> Watcher:
        self._thread.start()
        return self

    def __exit__(self, *error: object) -> None:
        self._stop.set()
        self._thread.join()
        with contextlib.suppress(sqlite3.OperationalError):
            self.seen += self._everything()

    def _run(self) -> None:
        while not self._stop.wait(0.3):
            with contextlib.suppress(sqlite3.OperationalError):
                rows = self._rows("SELECT classpath, kwargs FROM trigger WHERE classpath LIKE 'ayla%'")
                self.triggers += len(rows)
                self.seen += "\n".join(f"{classpath} {self._plain(kwargs)}" for classpath, kwargs in rows)

    def _everything(self) -> str:
        tables = [name for (name,) in self._rows("SELECT name FROM sqlite_master WHERE type = 'table'")]
        rows = [row for table in tables for row in self._rows(f'SELECT * FROM "{table}"')]
        return "\n".join(self._plain(value) for row in rows for value in row)

    def _rows(self, query: str) -> list[tuple[object, ...]]:
        with contextlib.closing(sqlite3.connect(f"file:{self._home}/airflow.db?mode=ro", uri=True)) as database:
            return database.execute(query).fetchall()

    def _plain(self, value: object) -> str:
        text = value.decode(errors="replace") if isinstance(value, bytes) else str(value)
        if not text.startswith("gAAAA"):
            return text
        settings = (self._home / "airflow.cfg").read_text()
        key = next(line.split("=", 1)[1].strip() for line in settings.splitlines() if line.startswith("fernet_key"))
        return Fernet(key).decrypt(text.encode()).decode()


class StatsD:
    """Receives what Airflow measures."""

    def __init__(self) -> None:
        self._socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self._socket.bind(("127.0.0.1", 0))
        self._socket.setblocking(False)
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._stop = threading.Event()
        self.lines: list[str] = []
        self.environment = {
            "AIRFLOW__METRICS__STATSD_ON": "True",
            "AIRFLOW__METRICS__STATSD_HOST": "127.0.0.1",
            "AIRFLOW__METRICS__STATSD_PORT": str(self._socket.getsockname()[1]),
        }

    def __enter__(self) -> StatsD:
        self._thread.start()
        return self

    def __exit__(self, *error: object) -> None:
        self._stop.set()
        self._thread.join()
        self._socket.close()

    def _run(self) -> None:
        while not self._stop.wait(0.02):
            with contextlib.suppress(BlockingIOError):
                while True:
                    self.lines += self._socket.recv(65536).decode().splitlines()

    def total(self, name: str) -> float:
        values = [line.split(":")[1].split("|")[0] for line in self.lines if line.startswith(f"airflow.{name}:")]
        return sum(map(float, values))


def lineage_of(file: Path) -> list[dict[str, Any]]:
    """Return the outputs of the copies that OpenLineage was told of."""
    events = [json.loads(line) for line in file.read_text().splitlines()]
    completed = [
        event for event in events if event["eventType"] == "COMPLETE" and event["job"]["name"].endswith(".copy")
    ]
    return [output for event in completed for output in event["outputs"]]


def test_all_hours_land_although_each_sign_in_ends_the_others_and_no_secret_shows(tmp_path: Path) -> None:
    scene = Scene(tmp_path, one_session=True)
    lineage = tmp_path / "lineage.json"
    with StatsD() as measured:
        scene.environment = measured.environment | {
            "AIRFLOW__OPENLINEAGE__TRANSPORT": json.dumps(
                {"type": "file", "log_file_path": str(lineage), "append": True}
            )
        }
        with scene.running(DAG) as running, Watcher(running.airflow.home) as watcher:
            runs = running.airflow.wait_until("the hours to land", running.finished, timeout=600)
            assert {run["state"] for run in runs} == {"success"}
            assert differences(running.cloud, running.bucket, running.hours) == []
            (record,) = running.airflow.pages("variables", "variables")
            assert record["key"].startswith(SIGN_IN_VARIABLE.partition("{")[0])
            assert json.loads(record["value"])["outcome"] == "accepted"
            events = running.airflow.pages("assets/events", "asset_events")
    assert running.cloud.refusals == 0
    answers = [answer for answer in running.cloud.answer_key() if answer.hour in running.hours]

    assert watcher.triggers, "no row of a trigger was seen"
    found = {path: path.read_text(errors="replace") for path in (tmp_path / "airflow").rglob("*.log")}
    logs = "\n".join([*found.values(), lineage.read_text()])
    assert "Signed in at" in logs
    # A task of an hour that landed meanwhile may have been ended with Airflow.
    ids = {f"run_id={run['dag_run_id']}" for run in runs}
    of_runs = [text for path, text in found.items() if ids & set(path.parts)]
    assert len(of_runs) >= 2 * HOURS * len(EVENT_TYPES)
    assert [text for text in of_runs if "Task failed with exception" in text] == [], "nothing of ours had to be retried"
    assert len(running.cloud.secrets) > 60
    for secret in running.cloud.secrets:
        assert secret not in logs
        assert secret not in watcher.seen

    # An asset event per event type and hour; hours after those in question may have landed meanwhile.
    told = {(event["extra"]["event_type"], event["extra"]["hour"]): event["extra"] for event in events}
    assert len(events) == len(told) >= len(answers)
    for answer in answers:
        extra = told[answer.event_type, answer.hour.isoformat()]
        assert extra["files"] == len(answer.files)
        assert extra["bytes"] == sum(file.final.size for file in answer.files)
        assert extra["state"] == ("landed" if answer.files else "empty")

    # What was measured, and the lineage.
    for event_type in EVENT_TYPES:
        files = sum(len(answer.files) for answer in answers if answer.event_type == event_type)
        assert measured.total(f"ayla_export.{event_type}.files") >= files > 0
        assert measured.total(f"ayla_export.{event_type}.freshness_lag") > 0
    outputs = lineage_of(lineage)
    assert {output["name"] for output in outputs} == {f"{scene.bucket}/event_type={each}" for each in EVENT_TYPES}
    counted = sum(output["outputFacets"]["outputStatistics"]["fileCount"] for output in outputs)
    assert counted >= sum(len(answer.files) for answer in answers)


def test_a_wrong_password_is_tried_once_or_twice_by_all_tasks_together_and_never_again(tmp_path: Path) -> None:
    # Beside the sample, whose waits share the triggerer, one in which each wait is a process of its own.
    folder = soon(tmp_path / "dags", DAG)
    sample = (folder / f"{DAG}.py").read_text()
    processes = sample.replace("deferrable=True", 'mode="reschedule"').replace(f'"{DAG}"', '"processes"')
    assert processes.count("reschedule") == processes.count('"processes"') == 1
    (folder / "processes.py").write_text(processes)
    scene = Scene(tmp_path, dags=folder)
    with scene.running(DAG, "processes", password="wrong-password") as running:
        for dag in (DAG, "processes"):
            runs = running.airflow.wait_until("the runs to fail", lambda dag=dag: running.finished(dag), timeout=480)
            assert {run["state"] for run in runs} == {"failed"}
            ids = {run["dag_run_id"] for run in runs}
            tasks = [task for task in running.airflow.task_instances(dag) if task["dag_run_id"] in ids]
            waits = [task for task in tasks if task["task_id"].endswith(".wait")]
            assert len(waits) == HOURS * len(EVENT_TYPES)
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
            told = running.airflow.task_log(dag, runs[0]["dag_run_id"], "datapoint.wait")
            assert "refused the sign-in" in told
            assert "wrong-password" not in told
        # The "Test" button of the UI, pressed again and again, knows of it too.
        for _ in range(3):
            body = {"connection_id": "ayla_default", "conn_type": "ayla"}
            assert running.airflow.api("POST", "connections/test", json=body)["status"] is False
        assert 1 <= running.cloud.refusals <= 2
