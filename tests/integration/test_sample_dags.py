"""Every DAG in dags/, and the one in the README, run for real by ``dag.test()``."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import airflow
import duckdb
import pytest

from ayla_provider.domain.arrival import PATIENCE
from ayla_provider.domain.completeness import record_path
from ayla_provider.domain.events import EVENT_TYPES, EventType
from ayla_provider.domain.hour import ONE_HOUR, ExportHour, hour_of
from ayla_provider.domain.tables import TABLES
from ayla_provider.domain.typed_manifest import typed_manifest_path
from ayla_provider.local_cloud import LocalCloud
from harness.check import differences
from tests.rows.test_memory import ROW
from tests.support.dag_bag import dags_of
from tests.support.fleet import HOUR as TWO_DAYS_AGO
from tests.support.fleet import connect, put_hour
from tests.support.typed_sides import MadeSide

ROOT = Path(__file__).parents[2]
HOUR = hour_of(datetime.now(UTC) - PATIENCE) - ONE_HOUR


@pytest.fixture
def fleet(monkeypatch: pytest.MonkeyPatch, airflow_db: None, tmp_path: Path) -> Iterator[LocalCloud]:
    """A fleet's export from two hours before HOUR until now."""
    with LocalCloud(start=HOUR - 2 * ONE_HOUR, max_lag=timedelta(minutes=40)) as cloud:
        connect(monkeypatch, cloud)
        monkeypatch.setenv("AIRFLOW_VAR_AYLA_EXPORT_DESTINATION", f"file://{tmp_path}/archive")
        monkeypatch.setenv("AYLA_EXPORT_START", (HOUR - 2 * ONE_HOUR).isoformat())
        yield cloud


def run(dag: Any, hour: datetime = HOUR) -> Any:
    # A run's logical date is the end of the interval that it is about, for dag.test() alone.
    finished = dag.test(logical_date=hour + ONE_HOUR)
    assert {ti.state for ti in finished.get_task_instances()} == {"success"}
    return finished


def test_each_task_of_a_sample_dag_has_a_limit_of_time(airflow_db: None) -> None:
    tasks = [task for dag in dags_of(ROOT / "dags").values() for task in dag.tasks]
    assert len(tasks) > 40
    # Airflow doesn't run an EmptyOperator. A deferred sensor runs for seconds, and has a timeout.
    runs_long = [task for task in tasks if task.task_type != "EmptyOperator" and not getattr(task, "deferrable", False)]
    assert [f"{task.dag_id}.{task.task_id}" for task in runs_long if not task.execution_timeout] == []


def test_every_sample_dag_is_read_without_errors_and_has_its_edges(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("AYLA_EXPORT_START", raising=False)
    dags = dags_of(ROOT / "dags")
    stems = tuple(path.stem for path in (ROOT / "dags").glob("*.py"))
    assert [dag_id for dag_id in dags if not dag_id.startswith(stems)] == []
    export = dags["ayla_export_to_bucket"]
    edges = {(task.task_id, *sorted(task.downstream_task_ids)) for task in export.tasks}
    expected = {(f"{event_type}.wait", f"{event_type}.copy") for event_type in EVENT_TYPES}
    assert edges == expected | {(f"{event_type}.copy",) for event_type in EVENT_TYPES}
    assert export.max_active_runs >= 24 + 2, "a day of waiting runs must not keep new hours from starting"
    assert {task.pool for task in export.tasks} == {"ayla_export"}
    assert all(task.deferrable for task in export.tasks if task.task_id.endswith(".wait"))


def test_the_sample_dag_brings_an_hour_to_a_folder(fleet: LocalCloud, tmp_path: Path) -> None:
    run(dags_of(ROOT / "dags")["ayla_export_to_bucket"])
    assert differences(fleet, tmp_path / "archive", [HOUR]) == []


def test_the_sample_dag_brings_an_hour_to_a_bucket(fleet: LocalCloud, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AIRFLOW_VAR_AYLA_EXPORT_DESTINATION", f"gs://{fleet.customer.name}/ayla")
    run(dags_of(ROOT / "dags")["ayla_export_to_bucket"])
    stored = {name for name in fleet.customer.names if "/_manifests/" not in f"/{name}"}
    expected = sum(len(answer.files) for answer in fleet.answer_key() if answer.hour == HOUR)
    assert len(stored) == expected > 0
    assert len(fleet.customer.names) == expected + len(EVENT_TYPES)


def test_the_verify_dag_copies_again_what_was_removed(fleet: LocalCloud, tmp_path: Path) -> None:
    dags = dags_of(ROOT / "dags")
    run(dags["ayla_export_to_bucket"])
    copies = sorted((tmp_path / "archive").glob("event_type=*/*/*/*.csv"))
    copies[0].unlink()
    finished = run(dags["ayla_export_verify_monthly"])
    repairs = [ti for ti in finished.get_task_instances() if ti.task_id == "repair"]
    assert [ti.rendered_map_index.partition(": ")[2] for ti in repairs] == ["1 file missing in the archive"]
    assert differences(fleet, tmp_path / "archive", [HOUR]) == []
    assert list((tmp_path / "archive").glob("_verify/event_type=*.json"))


@pytest.mark.ci
@pytest.mark.skipif(
    airflow.__version__.startswith("3.1."),
    reason="dag.test() of Airflow 3.1 fails to start the second of two first tasks",
)
def test_the_verify_dag_repairs_the_archive_and_a_duckdb_file(
    fleet: LocalCloud, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, scratch_dags: Path
) -> None:
    database = tmp_path / "ayla.duckdb"
    monkeypatch.setenv("AIRFLOW_VAR_AYLA_DUCKDB", str(database))
    code = (ROOT / "dags/ayla_export_verify.py").read_text()
    assert code.count("WITH_DUCKDB = False") == 1
    (scratch_dags / "verify.py").write_text(code.replace("WITH_DUCKDB = False", "WITH_DUCKDB = True"))
    samples = dags_of(ROOT / "dags")
    assert samples["ayla_export_verify"].task_ids == ["verify", "repair"]
    for dag_id in ("ayla_export_to_bucket", "ayla_export_to_duckdb"):
        run(samples[dag_id])
    copies = sorted((tmp_path / "archive").glob("event_type=*/*/*/*.csv"))
    copies[0].unlink()
    with duckdb.connect(database) as duck:
        ((rows,),) = duck.execute("select count(*) from ayla_connection").fetchall()
        duck.execute("insert into ayla_connection select * from ayla_connection")
    finished = run(dags_of(scratch_dags)["ayla_export_verify_monthly"])
    reasons = {ti.task_id: ti.rendered_map_index for ti in finished.get_task_instances() if ti.map_index >= 0}
    assert {task_id: reason.rpartition(": ")[2] for task_id, reason in reasons.items()} == {
        "repair": "1 file missing in the archive",
        "load": f"the table has {2 * rows:,} rows, the ledger says {rows:,}",
    }
    assert differences(fleet, tmp_path / "archive", [HOUR]) == []
    assert list((tmp_path / "archive").glob("_verify/event_type=*.json"))
    with duckdb.connect(database) as duck:
        assert duck.execute("select count(*) from ayla_connection").fetchall() == [(rows,)]


@pytest.mark.ci
def test_the_dag_of_large_hours_divides_an_hour_and_brings_all_of_it(
    airflow_db: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, scratch_dags: Path
) -> None:
    code = (ROOT / "dags/ayla_export_large_hours.py").read_text()
    assert code.count("10 * 1000**3") == 1
    (scratch_dags / "large_hours.py").write_text(code.replace("10 * 1000**3", "1"))
    archive = tmp_path / "archive"
    monkeypatch.setenv("AIRFLOW_VAR_AYLA_EXPORT_DESTINATION", f"file://{archive}")
    hour, files = TWO_DAYS_AGO, 3
    with LocalCloud() as cloud:
        connect(monkeypatch, cloud)
        for number in range(files):
            # Each file repeats the last row of the file before.
            lines = [ROW.format(n, n, n) for n in range(10 * number, 10 * number + 11)]
            put_hour(cloud, "Datapoint", hour, "".join(lines).encode(), f"f{number}.csv")
        (dag,) = dags_of(scratch_dags).values()
        finished = run(dag, hour)
    found = [(ti.task_id, ti.map_index) for ti in finished.get_task_instances() if ti.map_index >= 0]
    tasks = ("datapoint.copy_parts", "datapoint.type_parts")
    assert sorted(found) == [(task, number) for task in tasks for number in range(files)]
    assert len(list(archive.glob("event_type=datapoint/*/*/*.csv"))) == files
    rows = archive / "parquet"
    receipt = json.loads((rows / typed_manifest_path(ExportHour(EventType("datapoint"), hour))).read_bytes())
    assert [receipt[name] for name in ("lines", "rows", "duplicates", "quarantined")] == [33, 31, 2, 0]
    paths = [str(rows / part["path"]) for part in receipt["parts"]]
    query = "select count(*), count(distinct time_uuid) from read_parquet($paths)"
    assert duckdb.execute(query, {"paths": paths}).fetchall() == [(31, 31)]
    assert len(paths) == files
    assert not [path for path in archive.rglob("_parts/**/*") if path.is_file()]


def published_by(task_id: str) -> str:
    """Return what the asset events of a task say, all of them."""
    from airflow.models.asset import AssetEvent
    from airflow.utils.session import create_session
    from sqlalchemy import select

    with create_session() as session:
        extras = session.scalars(select(AssetEvent.extra).where(AssetEvent.source_task_id == task_id))
        return " ".join(map(str, extras))


def test_the_completeness_dag_keeps_its_results_with_the_stream(
    airflow_db: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    settled = hour_of(datetime.now(UTC)) - timedelta(days=3)
    export, stream = (MadeSide(tmp_path / name, is_stream=name == "stream") for name in ("export", "stream"))
    stream.put_position()
    hour = ExportHour(EventType("connection"), settled)
    for side in (export, stream):
        side.put(hour, TABLES["connection"].data, [{"dsn": "AC000001", "event_time": settled, "status": "Online"}])
        monkeypatch.setenv(f"AIRFLOW_VAR_AYLA_{side.root.name.upper()}_DESTINATION", side.archive.url)
    run(dags_of(ROOT / "dags")["ayla_export_completeness"])
    record = json.loads((tmp_path / "stream" / record_path(hour)).read_bytes())
    assert (record["state"], record["both"]) == ("complete", 1)
    # The export lacks an event, also in the hours around it. The comparison succeeds, so that its events stay.
    for side in (export, stream):
        for number in (-1, 1):
            near = ExportHour(EventType("connection"), settled + number * ONE_HOUR)
            row = {"dsn": "AC000001", "event_time": near.start, "status": "Online"}
            side.put(near, TABLES["connection"].data, [row])
    rows = [{"dsn": f"AC00000{number}", "event_time": settled, "status": "Online"} for number in (1, 2)]
    stream.put(hour, TABLES["connection"].data, rows)
    finished = dags_of(ROOT / "dags")["ayla_export_completeness"].test(logical_date=HOUR + 2 * ONE_HOUR)
    states = {ti.task_id: ti.state for ti in finished.get_task_instances()}
    assert states == {"compare": "success", "complete": "failed"}
    assert "missing_in_export" in published_by("compare")


def test_the_dag_in_the_readme_runs(fleet: LocalCloud, tmp_path: Path, scratch_dags: Path) -> None:
    (code,) = re.findall(r"```python\n(.*?)```", (ROOT / "README.md").read_text(), re.DOTALL)
    destination = tmp_path / "of-the-readme"
    assert code.count("gs://your-bucket/ayla") == 1
    (scratch_dags / "minimal.py").write_text(code.replace("gs://your-bucket/ayla", f"file://{destination}"))
    (dag,) = dags_of(scratch_dags).values()
    run(dag)
    assert list(destination.glob("event_type=datapoint/*/*/*.csv"))
    assert list(destination.glob("_manifests/event_type=datapoint/*/*.json"))
