"""
The DAG that erases, under a real Airflow, with an archive in a bucket: nothing happens before a person approves it.

Nothing that Airflow keeps has an identifier of the person who is erased: no table of its database, and no log.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from ayla_provider.domain.erasure import State, parse_entry
from ayla_provider.local_cloud import LocalCloud
from ayla_provider.local_cloud.contents import BytesContent
from harness.forked import ForkedStandalone
from tests.support.client import bytes_of
from tests.support.erasing import SUBJECT, hours, make_archive, typed_of
from tests.support.traces import contents, layers_with, traces

pytestmark = [pytest.mark.integration, pytest.mark.ci]

DAG = "ayla_erase"
SAMPLE = Path(__file__).parents[2] / "dags" / f"{DAG}.py"
BOTH = {"dsn", "user_uuid"}
WAITING = ("awaiting_input", "deferred")
"""The state of a task that waits for a person, in Airflow 3.3 and before."""


class Scene:
    """A bucket with an archive and a request, and an Airflow with the sample DAG."""

    def __init__(self, cloud: LocalCloud, airflow: ForkedStandalone, folder: Path) -> None:
        self.cloud, self.airflow, self._folder = cloud, airflow, folder

    def objects(self) -> dict[str, bytes]:
        """All objects of the bucket."""
        found = {name: self.cloud.customer.live(name) for name in list(self.cloud.customer.names)}
        return {name: bytes_of(one.content) for name, one in found.items() if one}

    def layers(self) -> dict[str, set[str]]:
        """Which layers of the archive have the person."""
        folder = self._folder / f"look-{len(list(self._folder.glob('look-*')))}"
        for name, content in self.objects().items():
            if name.startswith("ayla/"):
                path = folder / name
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_bytes(content)
        return layers_with(folder / "ayla", SUBJECT)

    def until_it_waits(self) -> tuple[str, dict[str, Any]]:
        """Start a run, and return its id and what a person sees once it waits for an answer."""
        run = self.airflow.trigger(DAG)["dag_run_id"]
        return run, self.airflow.wait_until("the run to wait for a person", lambda: self._asked(run), timeout=900)

    def answer(self, run: str, option: str) -> dict[str, str]:
        """
        Answer as a person does, and return the states of the tasks once the run is over.

        Airflow fails a try that is answered before its executor has reported the pause (apache/airflow#72716). The next
        try asks again.
        """

        def over() -> bool | None:
            if self._asked(run):
                self.airflow.api("PATCH", f"{self._task(run)}/-1/hitlDetails", json={"chosen_options": [option]})
            state = self.airflow.api("GET", f"dags/{DAG}/dagRuns/{run}")["state"]
            return state in ("success", "failed") or None

        self.airflow.wait_until("the run to end", over, timeout=900)
        self.airflow.wait_for_runs(DAG, run_ids=[run])
        return {task["task_id"]: task["state"] for task in self.airflow.task_instances(DAG, run)}

    def _asked(self, run: str) -> dict[str, Any] | None:
        """What a person sees, if the run waits for an answer. The text is there before the task waits."""
        if self.airflow.api("GET", self._task(run))["state"] not in WAITING:
            return None
        details = self.airflow.pages(f"dags/{DAG}/dagRuns/{run}/hitlDetails", "hitl_details")
        unanswered = [one for one in details if not one["response_received"]]
        return unanswered[0] if unanswered else None

    def _task(self, run: str) -> str:
        return f"dags/{DAG}/dagRuns/{run}/taskInstances/approve"

    def kept_by_airflow(self, identifiers: dict[str, str]) -> set[str]:
        """Which identifiers any file of Airflow has: its database with its journal, and the logs of tasks and parts."""
        kept: set[str] = set()
        for _, content in contents(self.airflow.home):
            kept |= traces(content, identifiers)
        return kept


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Scene]:
    folder = tmp_path_factory.mktemp("erase")
    make_archive(folder)
    for hour in hours():
        typed_of(folder).ensure(hour, {"run_id": "load"})
    sample = SAMPLE.read_text()
    assert sample.count('schedule="0 6 5 * *",') == 1
    (folder / "dags").mkdir()
    # Otherwise to unpause it can start a run.
    (folder / "dags" / SAMPLE.name).write_text(sample.replace('schedule="0 6 5 * *",', "schedule=None,"))
    with LocalCloud() as cloud:
        bucket = cloud.customer.name
        for path in (folder / "archive").rglob("*"):
            if path.is_file():
                put(cloud, f"ayla/{path.relative_to(folder / 'archive')}", path.read_bytes())
        put(cloud, "requests/ticket-4711.json", json.dumps(SUBJECT).encode())
        airflow = ForkedStandalone(folder / "airflow", folder / "dags")
        airflow.connections = {
            "google_cloud_default": cloud.google_connection(),
            "ayla_erasure": {"conn_type": "generic", "password": "a-key-of-sixteen-characters"},
        }
        airflow.environment = {
            "STORAGE_EMULATOR_HOST": cloud.url,
            "AIRFLOW_VAR_AYLA_EXPORT_DESTINATION": f"gs://{bucket}/ayla",
            "AIRFLOW_VAR_AYLA_ERASURE_REQUESTS": f"gs://{bucket}/requests",
        }
        with airflow:
            airflow.wait_for_dag(DAG)
            airflow.unpause(DAG)
            yield Scene(cloud, airflow, folder)


def put(cloud: LocalCloud, name: str, content: bytes) -> None:
    cloud.customer.replace(name, BytesContent(content))


def test_retries_follow_at_once_in_the_airflow_of_tests(running: Scene) -> None:
    assert "timedelta(minutes=10)" in SAMPLE.read_text()
    delay = running.airflow.api("GET", f"dags/{DAG}/tasks/approve")["retry_delay"]
    assert (delay["days"], delay["seconds"]) == (0, 1)


def test_nothing_is_erased_before_a_person_approves_and_airflow_never_learns_of_whom(running: Scene) -> None:
    before = running.objects()
    assert {name for name, found in running.layers().items() if found == BOTH} == {
        "_quarantine",
        "event_type",
        "parquet",
    }

    rejected, asked = running.until_it_waits()
    assert running.objects() == before, "a run that counts writes nothing"
    counted = running.airflow.xcoms(DAG, rejected, "count")["return_value"]
    (number,) = counted["ids"]
    assert counted["erased"]["csv_lines"] > 0
    assert asked["subject"] == "Erase what is asked for? Requests: 1"
    assert number in asked["body"]
    assert running.answer(rejected, "Reject") == {"count": "success", "approve": "success", "erase": "skipped"}
    assert running.objects() == before

    approved, asked = running.until_it_waits()
    assert number in asked["body"]
    assert running.objects() == before
    assert set(running.answer(approved, "Approve").values()) == {"success"}
    assert running.layers() == {}
    after = running.objects()
    assert not [name for name in after if name.startswith("requests/")]
    certificate = parse_entry(after[f"ayla/_erasures/{number}.json"], "")
    assert certificate.state is State.DONE
    assert certificate.counts["csv_lines"] == counted["erased"]["csv_lines"]
    assert certificate.written_by["run_id"] == approved
    erased = running.airflow.xcoms(DAG, approved, "erase")["return_value"]
    assert erased["ids"] == [number]

    # The search finds what Airflow does have: the request's id.
    assert running.kept_by_airflow({"id": number}) == {"id"}
    assert running.kept_by_airflow(SUBJECT) == set()
    for task in ("count", "erase"):
        assert traces(running.airflow.task_log(DAG, approved, task).encode(), SUBJECT) == set()
