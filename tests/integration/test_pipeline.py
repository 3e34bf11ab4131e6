"""The sample DAG under a real Airflow: all hours land, and no secret shows."""

from __future__ import annotations

import contextlib
import json
import socket
import threading
from pathlib import Path
from typing import Any

import pytest

from ayla_provider._airflow.sign_in_variable import SIGN_IN_VARIABLE
from ayla_provider.domain.events import EVENT_TYPES
from harness.check import differences
from tests.integration.export_dag import DAG, Scene, Watcher

pytestmark = pytest.mark.integration

HOURS = 2


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
    """Return the outputs of the copies that OpenLineage got."""
    events = [json.loads(line) for line in file.read_text().splitlines()]
    completed = [
        event for event in events if event["eventType"] == "COMPLETE" and event["job"]["name"].endswith(".copy")
    ]
    return [output for event in completed for output in event["outputs"]]


@pytest.mark.ci
def test_all_hours_land_although_each_sign_in_ends_the_others_and_no_secret_shows(tmp_path: Path) -> None:
    scene = Scene(tmp_path, hours=HOURS, one_session=True)
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
    assert len(running.cloud.secrets) > 30
    for secret in running.cloud.secrets:
        assert secret not in logs
        assert secret not in watcher.seen

    # An asset event per event type and hour; hours after those in question may have landed meanwhile.
    extras = {(event["extra"]["event_type"], event["extra"]["hour"]): event["extra"] for event in events}
    assert len(events) == len(extras) >= len(answers)
    for answer in answers:
        extra = extras[answer.event_type, answer.hour.isoformat()]
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
