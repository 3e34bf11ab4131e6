"""Failed hours done again by UI, CLI and API, and past ones by a backfill: the commands of docs/repair.md, for real."""

from __future__ import annotations

import contextlib
import json
import re
import shlex
from collections.abc import Collection, Iterator, Sequence
from datetime import UTC, datetime, timedelta
from importlib.metadata import version
from pathlib import Path
from typing import Any

import pytest

from ayla_provider.domain.arrival import PATIENCE
from ayla_provider.domain.hour import ONE_HOUR, hour_of, hours_between
from ayla_provider.local_cloud import LocalCloud
from ayla_provider.local_cloud.fleet import TWO_FOLDERS
from harness.browser import browser, click, open_clear_dialog, sign_in_by_cookie
from harness.check import differences
from harness.client import AirflowError
from harness.forked import ForkedStandalone
from harness.standalone import Standalone
from tests.integration.sample import DAG, put_failing_soon
from tests.support.tools import CHROMIUM

pytestmark = [pytest.mark.integration, pytest.mark.ci]

ROOT = Path(__file__).parents[2]
END = hour_of(datetime.now(UTC) - PATIENCE)
HOURS = hours_between(END - 7 * ONE_HOUR, END)
PAST, BY_UI, BY_CLI, BY_API, BETWEEN = HOURS[:2], HOURS[2], HOURS[3], HOURS[4], HOURS[5:]
"""Two hours ahead of the DAG's start, for the backfill, and those that are done again in one way each."""
FAILING = HOURS[1:]
COPY = "datapoint.copy"
COPIED = ("datapoint", "connection")
"""What the DAG copies here: each further event type would take many tasks, and show nothing new."""
ALL_TASKS = {f"{event_type}.{task}" for event_type in COPIED for task in ("wait", "copy")}


def from_page(fragment: str, *hours: datetime) -> str:
    """Return the block of commands of the page that holds a text, with other hours in place of its own."""
    blocks = re.findall(r"```bash\n(.*?)```", (ROOT / "docs" / "repair.md").read_text(), re.DOTALL)
    (block,) = [one for one in blocks if fragment in one]
    others = iter(hours)
    return re.sub(r"\d{4}(-\d\d){2}T\d\d:00:00\+00:00", lambda time: next(others).isoformat(), block)


class Repair:
    """The sample DAG after a time in which one of two files of datapoints of each failing hour couldn't be copied."""

    def __init__(self, cloud: LocalCloud, airflow: Standalone, bucket: Path) -> None:
        self.cloud = cloud
        self.airflow = airflow
        self.bucket = bucket
        answers = {each.hour: each for each in cloud.answer_key() if each.event_type == "datapoint"}
        self.missing = {hour: answers[hour].files[-1].object_name for hour in FAILING}

    def command(self, command: str, *more: str) -> str:
        """Run a command of the page, again if Airflow could not take it just then."""

        def run() -> str | None:
            try:
                return self.airflow.command(*shlex.split(command.replace("\\\n", ""))[1:], *more)
            except AirflowError as error:
                # What SQLite says to a backfill when somebody else writes (apache/airflow#66726), and what a backfill
                # meets while the one before it isn't counted as over.
                if "database is locked" in str(error) or "Another backfill is running" in str(error):
                    return None
                raise

        return self.airflow.wait_until(command, run, timeout=900)

    def request(self, command: str) -> Any:
        """Send what the last ``curl`` of commands of the page sends."""
        path, rest = command.rpartition("$AIRFLOW/api/v2/")[2].split('"', 1)
        body = re.search(r"-d '(.*)'", rest, re.DOTALL)
        return self.airflow.api("POST" if body else "GET", path, json=json.loads(body[1]) if body else None)

    def run_id(self, hour: datetime) -> str:
        runs = {run["data_interval_start"]: run["dag_run_id"] for run in self.airflow.dag_runs(DAG)}
        return {datetime.fromisoformat(start): run_id for start, run_id in runs.items()}[hour]

    def states(self, hours: Sequence[datetime]) -> list[str]:
        """Wait until the runs of hours are over, and return how they ended."""

        def ended() -> list[str] | None:
            runs = self.airflow.dag_runs(DAG, state=["success", "failed"])
            states = {datetime.fromisoformat(run["data_interval_start"]): run["state"] for run in runs}
            return [states[hour] for hour in hours] if states.keys() >= set(hours) else None

        return self.airflow.wait_until(f"{len(hours)} hours to be over", ended, timeout=900)

    def tries(self, hour: datetime) -> dict[str, int]:
        tasks = self.airflow.task_instances(DAG, self.run_id(hour))
        return {task["task_id"]: task["try_number"] for task in tasks}

    def downloads(self) -> list[str]:
        """Return the files of HOURS that were downloaded, each as often as it was."""
        files = [file.object_name for each in self.cloud.answer_key() if each.hour in HOURS for file in each.files]
        paths = [request.path for request in self.cloud.requests if request.step == "download"]
        return [file for path in paths for file in files if path.endswith(f"/{file}")]

    def differences(self, hours: Sequence[datetime]) -> list[str]:
        """Return how the archive differs from the export in what the DAG copies."""
        return differences(self.cloud, self.bucket, hours, COPIED)

    @contextlib.contextmanager
    def done_again(self, *hours: datetime, tasks: Collection[str] = (COPY,)) -> Iterator[None]:
        """Check that failed hours are whole after this, by these tasks alone, which moved only what was missing."""
        assert set(self.states(hours)) == {"failed"}
        assert self.differences(hours) != []
        tries, downloaded = {hour: self.tries(hour) for hour in hours}, len(self.downloads())
        yield
        assert set(self.states(hours)) == {"success"}
        assert self.differences(hours) == []
        assert sorted(self.downloads()[downloaded:]) == [self.missing[hour] for hour in hours]
        for hour in hours:
            assert {task for task, number in self.tries(hour).items() if number > tries[hour][task]} == set(tasks)


@pytest.fixture(scope="module")
def repair(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Repair]:
    folder = tmp_path_factory.mktemp("repair")
    put_failing_soon(folder / "dags", COPIED)
    cloud = LocalCloud(start=HOURS[0], max_lag=timedelta(minutes=40))
    cloud.fleet.place = lambda hour: TWO_FOLDERS  # type: ignore[method-assign]  # two files of datapoints in each hour
    with cloud:
        airflow = ForkedStandalone(
            folder / "airflow",
            folder / "dags",
            connections={"ayla_default": cloud.ayla_connection()},
            environment={
                "AIRFLOW_VAR_AYLA_EXPORT_DESTINATION": f"file://{folder}/bucket",
                "AYLA_EXPORT_START": BY_UI.isoformat(),
            },
            parallelism=8,
        )
        scene = Repair(cloud, airflow, folder / "bucket")
        for file in scene.missing.values():
            cloud.faults.add("corrupt", step="download", match=file, times=None)
        with airflow:
            airflow.api("POST", "pools", json={"name": "ayla_export", "slots": 8})
            airflow.wait_for_dag(DAG)
            # Nothing else writes yet.
            scene.command(from_page("backfill create --dag-id ayla_export_to_bucket --max-active-runs 16 \\", *PAST))
            airflow.unpause(DAG)
            scene.states(HOURS)
            cloud.faults.clear()
            yield scene


def test_failed_hours_are_found(repair: Repair) -> None:
    whole, *failed = map(repair.run_id, HOURS)
    printed = re.findall(r"\w+__[\d:T+-]+", repair.command(from_page("dags list-runs")))
    assert set(failed) <= set(printed)
    assert whole not in printed
    found = repair.request(from_page("taskInstances?state=failed"))["task_instances"]
    assert {task["dag_run_id"]: task["task_id"] for task in found}.items() >= dict.fromkeys(failed, COPY).items()
    assert whole not in {task["dag_run_id"] for task in found}


def test_a_backfill_brings_past_hours_home_and_does_again_those_alone_that_failed(repair: Repair) -> None:
    whole, failed = PAST
    assert repair.states(PAST) == ["success", "failed"]
    assert repair.differences([whole]) == []
    tries = repair.tries(whole)

    again = from_page("--reprocess-behavior failed", *PAST)
    planned = repair.command(again, "--dry-run").partition("to be attempted")[2]
    assert f"{failed:%Y-%m-%d %H}:00" in planned
    if not version("apache-airflow").startswith("3.1."):  # it shows all hours, also those that it leaves alone
        assert f"{whole:%Y-%m-%d %H}:00" not in planned
    with repair.done_again(failed, tasks=ALL_TASKS):
        repair.command(again)
    assert repair.tries(whole) == tries


def test_a_failed_task_is_done_again_by_the_api(repair: Repair) -> None:
    command = from_page('"dag_run_id"', BY_API)
    run_id = re.search(r"scheduled__[^\"]+", command)
    with repair.done_again(BY_API):
        repair.request(command.replace(run_id[0], repair.run_id(BY_API)))


def test_all_that_failed_between_two_hours_is_done_again_by_the_api(repair: Repair) -> None:
    with repair.done_again(*BETWEEN):
        cleared = repair.request(from_page('"start_date"', BETWEEN[0], BETWEEN[-1]))
        assert [task["task_id"] for task in cleared["task_instances"]] == [COPY] * len(BETWEEN)


def test_what_failed_in_an_hour_is_done_again_by_the_cli(repair: Repair) -> None:
    with repair.done_again(BY_CLI):
        repair.command(from_page("tasks clear", BY_CLI, BY_CLI))


@CHROMIUM.needed()
def test_a_failed_task_is_done_again_by_the_ui(repair: Repair) -> None:
    run_id = repair.run_id(BY_UI)
    with repair.done_again(BY_UI), browser() as driver:
        sign_in_by_cookie(driver, repair.airflow)
        open_clear_dialog(driver, repair.airflow, DAG, run_id, COPY)
        click(driver, "[role=dialog] button", "Confirm")
        repair.airflow.wait_until(
            "the click to arrive",
            lambda: repair.airflow.api("GET", f"dags/{DAG}/dagRuns/{run_id}")["state"] != "failed" or None,
            timeout=600,
        )
