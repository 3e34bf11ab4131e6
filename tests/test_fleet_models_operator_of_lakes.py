"""The operator of the fleet models, for Iceberg and Delta."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from ayla_provider._airflow.compat import AirflowFailException
from ayla_provider.domain.tables import TABLES
from ayla_provider.operators import AylaFleetModelsOperator
from ayla_provider.operators.warehouses import open_warehouse
from tests.test_fleet_models_operator import run
from tests.warehouse.fleet_lakes import InLake
from tests.warehouse.made_loads import NOON, made_load


@pytest.fixture(params=["delta", "iceberg"])
def arguments(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> dict[str, Any]:
    """The arguments that name a lake."""
    if request.param == "delta":
        return {"kind": "delta", "tables": f"file://{tmp_path}/tables"}
    catalog = {"type": "sql", "uri": f"sqlite:///{tmp_path}/catalog.db", "warehouse": f"file://{tmp_path}/tables"}
    monkeypatch.setenv("AIRFLOW_CONN_A_CATALOG", json.dumps({"conn_type": "iceberg", "extra": catalog}))
    return {"kind": "iceberg", "namespace": "ayla", "iceberg_conn_id": "a_catalog"}


def opened(arguments: dict[str, Any]) -> Any:
    return open_warehouse(arguments["kind"], {name: value for name, value in arguments.items() if name != "kind"})


def test_it_makes_what_changed_and_announces_it(arguments: dict[str, Any], tmp_path: Path) -> None:
    rows = [{"dsn": "A", "oem_model": "M", "event_time": NOON, "status": "Online"}]
    with opened(arguments) as warehouse:
        warehouse.prepare_missing(TABLES.values())
        warehouse.replace(made_load(tmp_path, "connection", NOON, rows))
    name = AylaFleetModelsOperator.asset(arguments).name
    assert name.startswith(f"ayla_models/{arguments['kind']}/")
    operator = AylaFleetModelsOperator(task_id="models", warehouse=arguments)
    days = {"devices": 1, "device_days": 1, "first_day": "2026-11-01", "last_day": "2026-11-01"}
    counts = {"hours": 1, "recomputed": 1, **days}
    assert run(operator) == (counts, {name: {"run_id": "models run", **counts}})
    # Cleared, it announces what this run changed once more.
    again = {"hours": 0, "recomputed": 0, **days}
    assert run(operator) == (again, {name: {"run_id": "models run", **again}})
    with opened(arguments) as warehouse:
        place = InLake(warehouse)
        found = [(row["online_seconds"], row["unknown_seconds"]) for row in place.rows("device_day")]
        assert found == [(3600, 23 * 3600)]
        assert [(row["run_id"], row["dsn"]) for row in place.rows("fleet_changes")] == [("models run", "A")]


def test_without_tables_it_says_what_to_do_and_makes_none(arguments: dict[str, Any], tmp_path: Path) -> None:
    with pytest.raises(AirflowFailException, match="Load an hour first"):
        run(AylaFleetModelsOperator(task_id="models", warehouse=arguments))
    assert not list(tmp_path.glob("tables/**/*.*"))
