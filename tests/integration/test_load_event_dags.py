"""What loads announce, in a real Airflow: DAGs behind a table, behind its hours, and behind whole days."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import airflow.sdk
import pytest

from ayla_provider.domain.hour import ONE_HOUR, hour_of
from harness.client import Json
from harness.forked import ForkedStandalone
from tests.integration.export_dag import DAGS
from tests.warehouse.archive import archive_hour

pytestmark = [pytest.mark.integration, pytest.mark.ci]

DAY = (hour_of(datetime.now(UTC)) - timedelta(days=3)).replace(hour=0)
HOURS = [DAY + number * ONE_HOUR for number in range(24)]
LAST = HOURS[20]
"""The hour that comes at last."""
CONNECTION = b"1a2b3c4d,LC-THERMO-2,LC000X000000001,Mon Feb 03 21:30:45 UTC 2020,,Online\r\n"
COPIED = ("connection", "location")
"""The event types of the archive. The second one has no events."""
WITH_KEYS = hasattr(airflow.sdk, "RollupMapper")
SAMPLE = "ayla_export_whole_day"

LOADS = """
import os
import signal
from datetime import timedelta

from airflow.providers.standard.operators.empty import EmptyOperator
from airflow.sdk import DAG

from ayla_provider.operators import AylaExportDuckDBPlanOperator, AylaExportToDuckDBOperator

ARGUMENTS = {{"archive": "{archive}", "database": "{database}", "pool": "ayla_duckdb"}}
ASSET = {{"event_type": "connection", "database": "{database}"}}

with DAG(dag_id="loads", schedule=None):
    plan = AylaExportDuckDBPlanOperator(
        task_id="plan", event_types={copied}, max_loads=10, empty_hours=True, **ARGUMENTS
    )
    AylaExportToDuckDBOperator.partial(task_id="load", **ARGUMENTS).expand_kwargs(plan.output)


class Dies(AylaExportToDuckDBOperator):
    # Its first try ends between the commit and the events.
    def execute(self, context):
        result = super().execute(context)
        if context["ti"].try_number == 1:
            os.kill(os.getpid(), signal.SIGKILL)
        return result


OTHER = {{**ASSET, "table_prefix": "other_"}}
with DAG(dag_id="dies", schedule=None):
    Dies(
        task_id="load", start="{first}", end="", retries=1, retry_delay=timedelta(seconds=1), **ARGUMENTS | OTHER
    )
with DAG(dag_id="behind_other", schedule=[AylaExportToDuckDBOperator.asset(**OTHER)]):
    EmptyOperator(task_id="follow")
with DAG(dag_id="behind_table", schedule=[AylaExportToDuckDBOperator.asset(**ASSET)]):
    EmptyOperator(task_id="follow")
try:
    from airflow.sdk import PartitionedAssetTimetable
except ImportError:  # Airflow 3.1
    pass
else:
    hours = AylaExportToDuckDBOperator.hours_asset(**ASSET)
    with DAG(dag_id="behind_hours", schedule=PartitionedAssetTimetable(assets=hours)):
        EmptyOperator(task_id="follow")
"""


def sample(database: Path, *, by_ledger: bool) -> str:
    """The sample DAGs of whole days for a DuckDB file, under other names if they use the ledger."""
    code = (DAGS / f"{SAMPLE}.py").read_text().replace("Postgres", "DuckDB").replace("ayla_postgres", "ayla_duckdb")
    changes = {
        "from ayla_provider import EVENT_TYPES\n": f"EVENT_TYPES = {COPIED}\n",
        'WAREHOUSE = {"schema": "ayla"}': f'WAREHOUSE = {{"database": "{database}"}}',
        "            archive=ARCHIVE,\n": "            archive=ARCHIVE,\n            event_types=EVENT_TYPES,\n",
    }
    if by_ledger:
        changes["BY_LEDGER = RollupMapper is None"] = "BY_LEDGER = True"
    for old, new in changes.items():
        assert code.count(old) == 1
        code = code.replace(old, new)
    return code.replace('"ayla_export_whole_day', '"ledger_whole_day') if by_ledger else code


class Scene:
    """An archive of a day, and DAGs that load it and follow the loads."""

    def __init__(self, folder: Path) -> None:
        self.archive = folder / "archive"
        for hour in HOURS:
            if hour != LAST:
                archive_hour(self.archive, "connection", [CONNECTION] if hour != HOURS[3] else [], hour)
            archive_hour(self.archive, "location", [], hour)
        database = folder / "ayla.duckdb"
        dags = folder / "dags"
        dags.mkdir()
        (dags / "loads.py").write_text(
            LOADS.format(archive=f"file://{self.archive}", database=database, copied=COPIED, first=HOURS[0].isoformat())
        )
        (dags / "by_ledger.py").write_text(sample(database, by_ledger=True))
        self.dags = ["loads", "behind_table", "dies", "behind_other", "ledger_whole_day", "ledger_whole_days"]
        if WITH_KEYS:
            (dags / "by_hours.py").write_text(sample(database, by_ledger=False))
            self.dags += ["behind_hours", SAMPLE]
        self.airflow = ForkedStandalone(
            folder / "airflow",
            dags,
            environment={"AIRFLOW_VAR_AYLA_EXPORT_DESTINATION": f"file://{self.archive}"},
            parallelism=6,
        )

    def start(self) -> None:
        self.airflow.api("POST", "pools", json={"name": "ayla_duckdb", "slots": 1})
        for dag in self.dags:
            self.airflow.wait_for_dag(dag)
            self.airflow.unpause(dag)

    def load(self) -> list[str]:
        """Run the loads once, and return the states of the mapped loads."""
        run = self.airflow.trigger("loads")["dag_run_id"]
        (ended,) = self.airflow.wait_for_runs("loads", run_ids=[run], state=None, timeout=600)
        assert ended["state"] == "success"
        tasks = self.airflow.task_instances("loads", run)
        return [task["state"] for task in tasks if task["task_id"] == "load"]

    def rows(self, query: str) -> list[tuple[Any, ...]]:
        """
        Ask Airflow's database.

        Its API can't show the events of an asset while a run that they started waits (Airflow 3.3.2).
        """
        with closing(sqlite3.connect(f"file:{self.airflow.home}/airflow.db?mode=ro", uri=True)) as database:
            return database.execute(query).fetchall()

    def events(self) -> list[str]:
        """When each event of a load was recorded."""
        of_loads = "select timestamp from asset_event join asset on asset.id = asset_id where name like 'ayla_load%'"
        return [timestamp for (timestamp,) in self.rows(of_loads)]

    def runs(self, dag: str, count: int) -> list[Json]:
        """Wait until a DAG has so many runs that ended well, and return all of its runs."""

        def ended() -> list[Json] | None:
            runs = self.airflow.dag_runs(dag)
            return runs if sum(run["state"] == "success" for run in runs) >= count else None

        return self.airflow.wait_until(f"{count} runs of {dag}", ended, timeout=600)

    def woken(self, hours: int, rows: int) -> None:
        """Wait until the DAG behind the table has run because of loads of so many hours, with so many rows."""

        query = (
            "select extra from asset_event join dagrun_asset_event on event_id = asset_event.id "
            "join dag_run on dag_run.id = dag_run_id where dag_run.dag_id = 'behind_table' and state = 'success'"
        )

        def found() -> bool | None:
            extras = [json.loads(extra) for (extra,) in self.rows(query)]
            assert {extra["event_type"] for extra in extras} <= {"connection"}
            return (hours, rows) in {(extra["changed"], extra["rows"]) for extra in extras} or None

        self.airflow.wait_until("the DAG behind the table to run", found, timeout=600)

    def compared(self) -> None:
        """Wait until the DAG that looks at the ledger has run after the newest load."""
        since = datetime.fromisoformat(max(self.events())).replace(tzinfo=UTC)

        def ended() -> bool | None:
            runs = [run for run in self.airflow.dag_runs("ledger_whole_days") if run["state"] == "success"]
            return any(datetime.fromisoformat(run["start_date"]) > since for run in runs) or None

        self.airflow.wait_until("the ledger to be looked at", ended, timeout=600)


@pytest.fixture
def scene(tmp_path: Path) -> Iterator[Scene]:
    made = Scene(tmp_path)
    with made.airflow:
        made.start()
        yield made


def key(hour: datetime) -> str:
    return f"{hour:%Y-%m-%dT%H:%M:%S}"


def test_dags_run_behind_a_table_its_hours_and_its_whole_days(scene: Scene) -> None:
    day = f"{DAY:%Y-%m-%d}"
    # A day without one hour.
    assert set(scene.load()) == {"success"}
    # The hours up to the one that is missing, one of them without events.
    scene.woken(20, 19)
    scene.compared()
    assert scene.airflow.dag_runs("ledger_whole_day") == []
    if WITH_KEYS:
        found = scene.runs("behind_hours", 23)
        assert sorted(run["partition_key"] for run in found) == [key(hour) for hour in HOURS if hour != LAST]
        assert scene.airflow.dag_runs(SAMPLE) == []

    # A try that was killed between the commit and the event. The next one finds everything loaded, and announces it.
    run = scene.airflow.trigger("dies")["dag_run_id"]
    scene.airflow.wait_for_runs("dies", run_ids=[run], timeout=600)
    (task,) = scene.airflow.task_instances("dies", run)
    assert task["try_number"] == 2
    result = scene.airflow.xcoms("dies", run, "load")["return_value"]
    assert (result["unchanged"], result["rows"]) == (1, 0)
    scene.runs("behind_other", 1)

    # A load that finds everything loaded says nothing.
    before = len(scene.events())
    assert scene.load() == ["skipped"]
    assert len(scene.events()) == before

    # The last hour.
    archive_hour(scene.archive, "connection", [CONNECTION], LAST)
    assert scene.load() == ["success"]
    scene.woken(1, 1)
    (run,) = scene.runs("ledger_whole_day", 1)
    assert scene.airflow.xcoms("ledger_whole_day", run["dag_run_id"], "work")["return_value"] == day
    if WITH_KEYS:
        scene.runs("behind_hours", 24)
        (run,) = scene.runs(SAMPLE, 1)
        assert run["partition_key"] == day
        assert scene.airflow.xcoms(SAMPLE, run["dag_run_id"], "work")["return_value"] == day

    # A file that comes later: its hour again, the day not again.
    archive_hour(scene.archive, "connection", [CONNECTION, CONNECTION.replace(b"On", b"Off")], LAST, revision=2)
    assert scene.load() == ["success"]
    scene.woken(1, 2)
    scene.compared()
    if WITH_KEYS:
        found = scene.runs("behind_hours", 25)
        assert [run["partition_key"] for run in found].count(key(LAST)) == 2
        assert len(scene.airflow.dag_runs(SAMPLE)) == 1
    assert len(scene.airflow.dag_runs("ledger_whole_day")) == 1
