"""The operator of the fleet models: what it makes, announces, and refuses."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import duckdb
import pytest
from airflow.sdk.execution_time.context import OutletEventAccessors

from ayla_provider._airflow.compat import AirflowFailException
from ayla_provider.domain.tables import TABLES
from ayla_provider.operators import AylaFleetModelsOperator
from ayla_provider.warehouse.duckdb import DuckDBWarehouse
from tests.warehouse.made_loads import HOUR, NOON, made_load


class TaskInstance:
    """What the operator asks of it."""

    dag_id, task_id, try_number, map_index = "models", "models", 1, -1
    run_id = "run"


def run(operator: AylaFleetModelsOperator, run_id: str = "run") -> tuple[dict[str, Any], dict[str, Any]]:
    """Run it. Return its XCom, and the extra of each asset that it announces."""
    events, instance = OutletEventAccessors(), TaskInstance()
    instance.run_id = run_id
    result = operator.execute({"ti": instance, "outlet_events": events})  # type: ignore[typeddict-item]
    return result, {asset.name: events[asset].extra for asset in operator.outlets}


def test_it_makes_what_changed_and_announces_it(tmp_path: Path) -> None:
    path = tmp_path / "a.duckdb"
    of_kind = {"kind": "duckdb", "database": str(path)}
    rows = [{"dsn": "A", "oem_model": "M", "event_time": NOON, "status": "Online"}]
    with DuckDBWarehouse(path) as warehouse:
        warehouse.prepare_missing(TABLES.values())
        warehouse.replace(made_load(tmp_path, "connection", NOON, rows))
    name = AylaFleetModelsOperator.asset(of_kind).name
    assert name.startswith("ayla_models/duckdb/")
    operator = AylaFleetModelsOperator(
        task_id="models", warehouse=of_kind, outlets=[AylaFleetModelsOperator.asset(of_kind)]
    )
    days = {"devices": 1, "device_days": 1, "first_day": "2026-11-01", "last_day": "2026-11-01"}
    counts = {"hours": 1, "recomputed": 1, **days}
    assert run(operator) == (counts, {name: {"run_id": "models run", **counts}})
    # Cleared, it announces what this run changed once more. The next run has changed nothing.
    again = {"hours": 0, "recomputed": 0, **days}
    assert run(operator) == (again, {name: {"run_id": "models run", **again}})
    nothing = {"hours": 0, "recomputed": 0, "devices": 0, "device_days": 0, "first_day": None, "last_day": None}
    assert run(operator, run_id="next") == (nothing, {})
    with duckdb.connect(str(path)) as session:
        found = session.execute("select online_seconds, unknown_seconds from ayla_device_day").fetchall()
        assert found == [(3600, 23 * 3600)]
        assert session.execute("select run_id, dsn from ayla_fleet_changes").fetchall() == [("models run", "A")]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"warehouse": {"kind": "excel"}}, "the kinds are bigquery, delta, duckdb, iceberg, postgres, snowflake"),
        ({"warehouse": "duckdb"}, "expected a mapping such as"),
        ({"day_timezone": "Mars/Olympus"}, "expected a time zone such as UTC"),
        ({"day_timezone": "UTC' or 1=1"}, "expected a time zone such as UTC"),
    ],
)
def test_what_it_cannot_do_is_refused(tmp_path: Path, arguments: dict[str, Any], message: str) -> None:
    path = tmp_path / "a.duckdb"
    with DuckDBWarehouse(path) as warehouse:
        warehouse.prepare_missing(TABLES.values())
        warehouse.replace(made_load(tmp_path, "connection", NOON + HOUR, []))
    given = {"task_id": "models", "warehouse": {"kind": "duckdb", "database": str(path)}, **arguments}
    with pytest.raises(AirflowFailException, match=message):
        run(AylaFleetModelsOperator(**given))


def test_without_tables_it_says_what_to_do(tmp_path: Path) -> None:
    warehouse = {"kind": "duckdb", "database": str(tmp_path / "a.duckdb")}
    with pytest.raises(AirflowFailException, match="Load an hour first"):
        run(AylaFleetModelsOperator(task_id="models", warehouse=warehouse))
