"""The load DAGs under a real Airflow: a DuckDB file and a PostgreSQL server beside the export DAG that wakes them."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from contextlib import closing
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path
from typing import Any

import duckdb
import psycopg2
import pytest

from ayla_provider.domain.arrival import PATIENCE
from ayla_provider.domain.events import EVENT_FOLDERS
from ayla_provider.domain.hour import ONE_HOUR, hour_of, hours_between
from ayla_provider.local_cloud import LocalCloud
from ayla_provider.local_cloud.fleet import MALFORMED, TWO_FOLDERS, Fleet
from harness.check import not_loaded
from harness.client import Json
from harness.forked import ForkedStandalone
from tests.integration.export_dag import DAG, Watcher, soon
from tests.support import postgres_server
from tests.support.tools import POSTGRESQL

pytestmark = [pytest.mark.integration, pytest.mark.ci]

DUCKDB, POSTGRES = LOADS = ("ayla_export_to_duckdb", "ayla_export_to_postgres")
COPIED = ("datapoint", "datapoint_ack", "connection")
"""The event types that are copied and loaded here."""
PASSWORD = "not-for-the-eyes-of-anybody"
NEWS = "connection-6 with new columns column_7"
LINES = "select lines from {{schema}}.ayla_loads where event_type = '{event_type}' and folder_hour = '{hour}'"


class Scene:
    """Three past hours, in which are two folders, malformed lines and hours without files, and two warehouses."""

    def __init__(self, folder: Path, server: str) -> None:
        end = hour_of(datetime.now(UTC) - PATIENCE)
        self.hours = hours_between(end - 3 * ONE_HOUR, end)
        seed = next(seed for seed in itertools.count() if self._suits(Fleet(seed=seed)))
        self.cloud = LocalCloud(start=self.hours[0], max_lag=timedelta(minutes=40), seed=seed)
        self.file = folder / "ayla.duckdb"
        self.server = {"host": server, "user": postgres_server.USER, "dbname": "postgres"}
        postgres = {"conn_type": "postgres", "host": server, "login": postgres_server.USER, "schema": "postgres"}
        self.airflow = ForkedStandalone(
            folder / "airflow",
            soon(folder / "dags", DAG, *LOADS, event_types=COPIED),
            connections={
                "ayla_default": self.cloud.ayla_connection(),
                "postgres_default": postgres | {"password": PASSWORD},
            },
            environment={
                "AIRFLOW_VAR_AYLA_EXPORT_DESTINATION": f"file://{folder}/bucket",
                "AIRFLOW_VAR_AYLA_DUCKDB": str(self.file),
                "AYLA_EXPORT_START": self.hours[0].isoformat(),
            },
            parallelism=8,
        )

    def _suits(self, fleet: Fleet) -> bool:
        """Return whether a fleet has two folders, then malformed lines, and what the test replaces."""
        first, second, _ = self.hours
        if (fleet.place(first), fleet.place(second)) != (TWO_FOLDERS, MALFORMED):
            return False
        connections = fleet.files("connection", first)
        return bool(connections) and connections[0].answer.final.rows > 2 and bool(fleet.files("datapoint_ack", second))

    def start(self) -> None:
        for name, slots in (("ayla_export", 8), ("ayla_duckdb", 1), ("ayla_postgres", 4)):
            self.airflow.api("POST", "pools", json={"name": name, "slots": slots})
        for dag in (*LOADS, DAG):
            self.airflow.wait_for_dag(dag)
            self.airflow.unpause(dag)

    def copied(self) -> bool | None:
        runs = [run for run in self.airflow.dag_runs(DAG) if _hour(run) in self.hours]
        assert "failed" not in {run["state"] for run in runs}
        return sum(run["state"] == "success" for run in runs) == len(self.hours) or None

    def load(self, dag: str, **conf: str) -> Json:
        """Run a load DAG by hand, and return its run."""
        run = self.airflow.trigger(dag, conf=conf)["dag_run_id"]
        runs = self.airflow.wait_for_runs(dag, run_ids=[run], state=None, timeout=900)
        return next(one for one in runs if one["dag_run_id"] == run)

    def loads(self, dag: str, run: str = "~") -> dict[str, Json]:
        """Return the mapped loads of our hours, of a run or of all, by name; a further hour may land meanwhile."""
        ours = tuple(f"{hour:%Y-%m-%d %H:%M}" for hour in self.hours)
        tasks = [task for task in self.airflow.task_instances(dag, run) if task["map_index"] >= 0]
        named = [(task["rendered_map_index"] or "", task) for task in tasks]
        found = [(name, task) for name, task in named if any(hour in name for hour in ours)]
        assert len(found) == len(dict(found)), "an hour is loaded once"
        return dict(found)

    def woken(self, dag: str) -> bool | None:
        """Return whether an asset event has started a run, None if not yet."""
        return "asset_triggered" in {run["run_type"] for run in self.airflow.dag_runs(dag)} or None

    def idle(self) -> None:
        """Wait until no load runs, so that the file can be opened."""

        def nothing() -> bool | None:
            return not any(self.airflow.dag_runs(dag, state=["queued", "running"]) for dag in LOADS) or None

        self.airflow.wait_until("the loads to end", nothing, timeout=900)

    def ask(self, query: str) -> list[list[tuple[Any, ...]]]:
        """Return the answers of both warehouses."""
        with duckdb.connect(str(self.file), read_only=True) as duck:
            answers = [duck.execute(query.format(schema="main")).fetchall()]
        with closing(psycopg2.connect(**self.server)) as connection, connection.cursor() as cursor:
            cursor.execute(query.format(schema="ayla"))
            return [*answers, cursor.fetchall()]

    def replace(self, event_type: str, hour: datetime, lines: int, more: bytes = b"") -> int:
        """
        Replace an hour's first file by its first lines, and copy it. Return how many lines the hour then has.

        :param more: what each line gets
        """
        file, *others = self.cloud.fleet.files(event_type, hour)
        content = b"".join(line + more + b"\r\n" for line in file.contents[-1].splitlines()[:lines])
        self.put(event_type, file.answer.folder_time, file.answer.file_name, content, timedelta(seconds=lines))
        return lines + sum(other.answer.final.rows for other in others)

    def put(self, event_type: str, folder: datetime, file: str, content: bytes, after: timedelta) -> None:
        """Put a file into the source, and let it be copied by clearing its hour, as somebody does in the grid."""
        first = self.cloud.fleet.files(event_type, folder)[0].answer.final.visible_at
        self.cloud.put_object(EVENT_FOLDERS[event_type], f"{folder:%Y-%m-%d %H:%M:%S}", file, content, first + after)
        (run,) = [run["dag_run_id"] for run in self.airflow.dag_runs(DAG) if _hour(run) == hour_of(folder)]
        copy = f"dags/{DAG}/dagRuns/{run}/taskInstances/{event_type}.copy"
        tries = self.airflow.api("GET", copy)["try_number"]
        self.airflow.clear(DAG, run_id=run, task_ids=[f"{event_type}.copy"])

        def again() -> bool | None:
            task = self.airflow.api("GET", copy)
            return (task["state"], task["try_number"]) == ("success", tries + 1) or None

        self.airflow.wait_until(f"{event_type} to be copied again", again, timeout=900)


def _hour(run: Json) -> datetime:
    return datetime.fromisoformat(run["data_interval_start"])


def _states(loads: dict[str, Json]) -> dict[str, str]:
    return {name: task["state"] for name, task in loads.items()}


@pytest.fixture
def scene(tmp_path: Path) -> Iterator[Scene]:
    POSTGRESQL.require()
    with postgres_server.running() as server:
        made = Scene(tmp_path, server)
        with made.cloud, made.airflow:
            made.start()
            yield made


def test_what_is_copied_is_loaded_what_is_replaced_is_loaded_again_and_what_cannot_be_is_red(scene: Scene) -> None:
    with Watcher(scene.airflow.home) as watcher:
        _all_that_is_copied_is_loaded(scene)
        _a_replaced_file_is_loaded_again(scene)
        _a_file_of_no_known_layout_is_a_red_task_of_its_hour(scene)
    logs = "\n".join(path.read_text(errors="replace") for path in scene.airflow.home.rglob("*.log"))
    assert "loaded +" in logs
    for secret in (*scene.cloud.secrets, PASSWORD, "LC000X"):
        assert secret not in logs
        assert secret not in watcher.seen


def _all_that_is_copied_is_loaded(scene: Scene) -> None:
    scene.airflow.wait_until("the hours to land", scene.copied, timeout=600)
    key = [answer for answer in scene.cloud.answer_key() if answer.event_type in COPIED]
    answers = [answer for answer in key if answer.hour in scene.hours]
    wanted = {f"{answer.event_type} {answer.hour:%Y-%m-%d %H:%M} UTC: not loaded" for answer in answers if answer.files}
    for dag in LOADS:
        scene.airflow.wait_until(f"an asset event to start {dag}", partial(scene.woken, dag), timeout=600)
        # An event can be lost between two runs: the next run finds what is left.
        scene.load(dag)
        assert _states(scene.loads(dag)) == dict.fromkeys(wanted, "success")
        run = scene.load(dag, since=(datetime.now(UTC) + ONE_HOUR).isoformat())
        tasks = scene.airflow.task_instances(dag, run["dag_run_id"])
        assert {task["task_id"]: task["state"] for task in tasks} == {"plan": "success", "load": "skipped"}
        assert run["state"] == "success"
    scene.idle()
    assert not_loaded(scene.cloud, scene.file, scene.hours, COPIED) == []
    for event_type in {one.event_type for one in answers if one.files}:
        rows = {one.hour: one.distinct_rows for one in answers if one.event_type == event_type and one.distinct_rows}
        for counts in scene.ask(f"select folder_hour, count(*) from {{schema}}.ayla_{event_type} group by folder_hour"):
            found = {hour.astimezone(UTC): count for hour, count in counts}
            assert {hour: count for hour, count in found.items() if hour in scene.hours} == rows


def _a_replaced_file_is_loaded_again(scene: Scene) -> None:
    hour = scene.hours[0]
    before = {dag: set(scene.loads(dag)) for dag in LOADS}
    lines = scene.replace("connection", hour, 1, b",one more column")
    for dag in LOADS:
        scene.airflow.wait_until(
            f"{dag} to be woken", lambda dag=dag: scene.loads(dag).keys() - before[dag] or None, timeout=900
        )
    scene.idle()
    for dag in LOADS:
        loads = scene.loads(dag)
        (changed,) = loads.keys() - before[dag]
        assert changed == f"connection {hour:%Y-%m-%d %H:%M} UTC: its files changed"
        assert loads[changed]["state"] == "success"
        (run,) = [run for run in scene.airflow.dag_runs(dag) if run["dag_run_id"] == loads[changed]["dag_run_id"]]
        assert run["run_type"] == "asset_triggered"
    events = [one for one in scene.airflow.pages("assets/events", "asset_events") if "_layouts" in one["name"]]
    assert {layout for event in events for layout in event["extra"]["layouts"]} == {NEWS}
    assert (
        scene.ask("select distinct column_7 from {schema}.ayla_connection where column_7 is not null")
        == [[("one more column",)]] * 2
    )
    assert scene.ask(LINES.format(event_type="connection", hour=hour)) == [[(lines,)]] * 2


def _a_file_of_no_known_layout_is_a_red_task_of_its_hour(scene: Scene) -> None:
    first, second, _ = scene.hours
    for dag in LOADS:
        scene.airflow.pause(dag)
    lines = scene.replace("connection", first, 2)
    scene.put("datapoint_ack", second, "odd.csv", b"LC000X000000001,odd,file\r\n", timedelta(seconds=1))
    for dag in LOADS:
        scene.airflow.unpause(dag)
    red = f"datapoint_ack {second:%Y-%m-%d %H:%M} UTC: its files changed"
    changed = f"connection {first:%Y-%m-%d %H:%M} UTC: its files changed"

    run = scene.load(DUCKDB, since=second.isoformat())["dag_run_id"]
    assert scene.airflow.xcoms(DUCKDB, run, "plan")["summary"]["start"] == second.isoformat()
    assert _states(scene.loads(DUCKDB, run)) == {red: "failed"}
    for dag in LOADS:
        run = scene.load(dag)["dag_run_id"]
        loads = scene.loads(dag, run)
        states = _states(loads)
        # A run that an event of the pause has started may have loaded it before. Its rows are checked below.
        assert states.pop(changed, "success") == "success"
        assert states == {red: "failed"}
        failed = loads[red]
        assert failed["try_number"] == 1, "what no retry can fix isn't tried again"
        log_text = scene.airflow.task_log(dag, run, "load", map_index=failed["map_index"])
        assert "AylaLayoutError" in log_text
        assert f"datapoint_ack {second:%Y-%m-%d %H:%M}" in log_text
    scene.idle()
    assert scene.ask(LINES.format(event_type="connection", hour=first)) == [[(lines,)]] * 2
