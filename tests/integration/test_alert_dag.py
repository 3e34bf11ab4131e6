"""The alert DAG under a real Airflow: one alert for a stall, however long it lasts, and the next one for the next."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from ayla_provider.domain.hour import ONE_HOUR, hour_of
from ayla_provider.local_cloud import LocalCloud
from harness.forked import ForkedStandalone
from tests.support.fleet import put_hour

pytestmark = [pytest.mark.integration, pytest.mark.ci]

DAG = "ayla_export_alert"
REMINDING = "reminding"
"""The same, but it gives up waiting after seconds instead of a day."""
SAMPLE = Path(__file__).parents[2] / "dags" / f"{DAG}.py"
TICK = timedelta(seconds=5)
LAST = hour_of(datetime.now(UTC)) - 6 * ONE_HOUR
"""The last hour that the stalled exporter has written."""


WAITING = ("scheduled", "queued", "running", "up_for_reschedule", "up_for_retry")


class Scene:
    """The sample DAG, but with seconds instead of minutes, and an exporter that can be stopped."""

    def __init__(self, folder: Path) -> None:
        code = SAMPLE.read_text()
        quicker = {
            "timedelta(minutes=15)": f"timedelta(seconds={TICK.seconds})",
            # Not quicker than the scheduler sees that a look has ended: else it takes the next one for a task that was
            # killed, and tries again.
            "timedelta(minutes=5)": "timedelta(seconds=8)",
            '"retries": 3': '"retries": 50',
        }
        reminding = {f'"{DAG}"': f'"{REMINDING}"', "timedelta(days=1)": "timedelta(seconds=12)"}
        (folder / "dags").mkdir()
        (folder / "dags" / "sample.py").write_text(replaced(code, quicker))
        (folder / "dags" / "reminding.py").write_text(replaced(code, quicker | reminding))
        self.cloud = LocalCloud()
        self.airflow = ForkedStandalone(folder / "airflow", folder / "dags")

    def write(self) -> None:
        """Let the exporter write a file of its last hour but one, now."""
        self.cloud.put_object("Datapoint", self._folder, "f.csv", b"a\r\n", datetime.now(UTC))

    def stall(self) -> None:
        """Take back what it has written."""
        self.cloud.delete_object("Datapoint", self._folder, "f.csv")

    @property
    def _folder(self) -> str:
        return f"{LAST + 4 * ONE_HOUR:%Y-%m-%d %H:%M:%S}"

    def states(self, dag: str = DAG) -> list[tuple[str, str | None, str | None]]:
        """Return of each run, the oldest first, its state and those of alive and alive_again."""
        tasks = {(task["dag_run_id"], task["task_id"]): task["state"] for task in self.airflow.task_instances(dag)}
        return [
            (run["state"], *(tasks.get((run["dag_run_id"], name)) for name in ("alive", "alive_again")))
            for run in self.airflow.dag_runs(dag)
        ]

    def alerts(self, dag: str = DAG) -> list[str]:
        """Return what the callback has written, in all logs of all tasks."""
        logs = (self.airflow.home / "logs" / f"dag_id={dag}").rglob("*.log")
        return [line for log in logs for line in log.read_text().splitlines() if "ALERT: " in line]

    def wait_for_ticks(self, ticks: int) -> None:
        until = datetime.now(UTC) + ticks * TICK
        self.airflow.wait_until("some ticks", lambda: datetime.now(UTC) > until or None, timeout=900)

    def wait_for_end(self, runs: int) -> list[tuple[str, str | None, str | None]]:
        """Wait until so many runs are over."""

        def over() -> list[Any] | None:
            found = self.states()
            return found if sum(state in ("success", "failed") for state, *_ in found) >= runs else None

        return self.airflow.wait_until(f"{runs} runs to be over", over, timeout=900)

    def wait_for_alert(self, number: int) -> None:
        """Wait until a run has alerted, as so many have, and waits for the exporter to be back."""

        def alerted() -> bool | None:
            return (bool(self.states()) and waits(self.states()[-1]) and len(self.alerts()) >= number) or None

        self.airflow.wait_until(f"alert {number}", alerted, timeout=900)
        assert len(self.alerts()) == number


def replaced(code: str, changes: dict[str, str]) -> str:
    for old, new in changes.items():
        assert code.count(old) == 1
        code = code.replace(old, new)
    return code


def waits(run: tuple[str, str | None, str | None]) -> bool:
    """Whether a run has failed in alive and is active in alive_again."""
    return run[:2] == ("running", "failed") and run[2] in WAITING


@pytest.fixture(scope="module")
def scene(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Scene]:
    made = Scene(tmp_path_factory.mktemp("alert"))
    with made.cloud:
        put_hour(made.cloud, "Connection", LAST)
        made.airflow.connections = {"ayla_default": made.cloud.ayla_connection()}
        with made.airflow:
            made.airflow.wait_for_dag(DAG)
            yield made


def test_a_stall_is_one_alert_and_one_red_square_until_the_exporter_is_back(scene: Scene) -> None:
    airflow = scene.airflow
    airflow.unpause(DAG)
    scene.wait_for_alert(1)
    # Further ticks, and somebody who starts a run by hand, change nothing.
    by_hand = airflow.trigger(DAG)["dag_run_id"]
    scene.wait_for_ticks(8)
    first, second = scene.states()
    assert waits(first)
    assert second[0] == "queued"
    (alert,) = scene.alerts()
    for said in ("AylaStalledError: Ayla's exporter seems to be stalled", f"connection, {LAST:%Y-%m-%d %H:%M} UTC"):
        assert said in alert

    # It is back: the run ends, that by hand and the next by schedule are green, and none has piled up behind it.
    scene.write()
    ended, *others = scene.wait_for_end(4)
    assert ended == ("success", "failed", "success")
    assert {run for run in others if run[0] == "success"} == {("success", "success", "skipped")}
    assert len(scene.alerts()) == 1
    stalled, *following = [run for run in airflow.dag_runs(DAG) if run["dag_run_id"] != by_hand]
    assert sum(run["run_after"] < stalled["end_date"] for run in following) <= 1


def test_the_next_stall_is_the_next_alert_and_ending_its_run_by_hand_gives_another(scene: Scene) -> None:
    airflow = scene.airflow
    scene.stall()
    scene.wait_for_alert(2)
    run = airflow.dag_runs(DAG)[-1]["dag_run_id"]
    airflow.api("PATCH", f"dags/{DAG}/dagRuns/{run}", json={"state": "failed"})
    scene.wait_for_alert(3)
    assert all(state == "success" for state, *_ in scene.states()[:-2])
    scene.write()


def test_after_its_timeout_the_wait_fails_with_our_message_and_the_next_run_reminds(scene: Scene) -> None:
    airflow = scene.airflow
    airflow.pause(DAG)
    scene.stall()
    airflow.unpause(REMINDING)
    airflow.wait_until("a reminder", lambda: len(scene.alerts(REMINDING)) > 1 or None, timeout=900)
    assert scene.states(REMINDING)[0] == ("failed", "failed", "failed")
    log_text = airflow.task_log(REMINDING, airflow.dag_runs(REMINDING)[0]["dag_run_id"], "alive_again")
    assert "AylaStalledError: Ayla's exporter seems to be stalled" in log_text
    assert "timed out" not in log_text
