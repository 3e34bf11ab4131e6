"""A load's asset starts the documented DAG, Cosmos runs dbt, and dbt's models are the operator's."""

from __future__ import annotations

import re
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import duckdb

from ayla_provider.domain.events import EVENT_TYPES
from ayla_provider.domain.hour import ONE_HOUR, hour_of
from ayla_provider.domain.tables import TABLES
from ayla_provider.local_cloud.fleet import Fleet
from ayla_provider.models import tables
from ayla_provider.warehouse.duckdb import DuckDBWarehouse
from harness.forked import ForkedStandalone
from tests.warehouse.archive import archive_fleet

ROOT = Path(__file__).parents[2]
DBT = ROOT / ".venv-dbt" / "bin" / "dbt"
HOUR = hour_of(datetime.now(UTC)) - 48 * ONE_HOUR

LOADS = """
from airflow.sdk import DAG

from ayla_provider.operators import AylaExportDuckDBPlanOperator, AylaExportToDuckDBOperator

ARGUMENTS = {{"archive": "file://{archive}", "database": "{database}", "pool": "ayla_duckdb"}}

with DAG(dag_id="loads", schedule=None, max_active_tasks=1):
    plan = AylaExportDuckDBPlanOperator(task_id="plan", empty_hours=True, **ARGUMENTS)
    AylaExportToDuckDBOperator.partial(task_id="load", **ARGUMENTS).expand_kwargs(plan.output)
"""


def documented(folder: Path, database: Path) -> str:
    """Return the DAG of the page, with its profile beside it and the places of this test."""
    page = (ROOT / "docs" / "fleet-models.md").read_text(encoding="utf-8")
    (code,) = [block for block in re.findall(r"```python\n(.*?)```", page, re.DOTALL) if "cosmos" in block]
    (profile,) = re.findall(r"```yaml\n(ayla:.*?)```", page, re.DOTALL)
    profiles = folder / "profiles.yml"
    profiles.write_text(profile.replace("/data/ayla.duckdb", str(database)))
    places = {
        "/data/ayla.duckdb": database,
        "/opt/airflow/dbt/profiles.yml": profiles,
        "/opt/airflow/dbt-venv/bin/dbt": DBT,
        "/opt/airflow/dbt": ROOT / "dbt",
    }
    for old, new in places.items():
        assert old in code
        code = code.replace(f'"{old}"', f'"{new}"')
    return code


def rounded(rows: list[tuple[Any, ...]]) -> list[str]:
    """Return rows for a comparison: floating numbers differ in their last digits."""
    return sorted(repr([round(value, 9) if isinstance(value, float) else value for value in row]) for row in rows)


def test_a_load_starts_dbt_whose_models_are_the_operators(tmp_path: Path) -> None:
    archive, database, dags = tmp_path / "archive", tmp_path / "ayla.duckdb", tmp_path / "dags"
    dags.mkdir()
    fleet = Fleet(seed=5, devices=6)
    for event_type in EVENT_TYPES:
        archive_fleet(archive, fleet, event_type, HOUR)
    with DuckDBWarehouse(database) as warehouse:
        # dbt needs all tables, also those of event types that no file brings.
        warehouse.prepare_missing(TABLES.values())
        warehouse.record_hours([], datetime.now(UTC))
    (dags / "loads.py").write_text(LOADS.format(archive=archive, database=database))
    (dags / "ayla_dbt.py").write_text(documented(tmp_path, database))
    with ForkedStandalone(tmp_path / "airflow", dags) as airflow:
        airflow.api("POST", "pools", json={"name": "ayla_duckdb", "slots": 1})
        for dag in ("loads", "ayla_dbt"):
            airflow.wait_for_dag(dag)
            airflow.unpause(dag)
        loads = airflow.trigger("loads")["dag_run_id"]
        (loaded,) = airflow.wait_for_runs("loads", run_ids=[loads], state=None, timeout=900)
        assert loaded["state"] == "success"
        ends = [task["end_date"] for task in airflow.task_instances("loads", loads)]

        def ended() -> list[Any] | None:
            """Return the runs of dbt, as soon as one has ended that was queued after the last load."""
            found = airflow.dag_runs("ayla_dbt", state=["success", "failed"])
            return found if any(run["queued_at"] >= max(ends) for run in found) else None

        runs = airflow.wait_until("dbt", ended, timeout=900, interval=1)
        assert {run["run_type"] for run in runs} == {"asset_triggered"}
        assert {run["state"] for run in runs} == {"success"}
    with DuckDBWarehouse(database) as warehouse:
        warehouse.update_models("UTC", "run", datetime.now(UTC))
    with duckdb.connect(str(database)) as session:
        filled = set()
        for model in tables.MODELS:
            columns = ", ".join(model.names)
            of_operator = session.execute(f"select {columns} from main.ayla_{model.name}").fetchall()
            of_dbt = session.execute(f"select {columns} from models.ayla_{model.name}").fetchall()
            assert rounded(of_dbt) == rounded(of_operator), model.name
            if of_dbt:
                filled.add(model.name)
    assert filled >= {"device", "device_day", "property_value", "property_hour", "model_day"}
