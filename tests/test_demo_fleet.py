"""What the demo says of the fleet models."""

from __future__ import annotations

from pathlib import Path

from ayla_provider.domain.tables import TABLES
from ayla_provider.models import tables
from ayla_provider.warehouse.duckdb import DuckDBWarehouse
from demo.fleet import FIGURES, figures
from tests.support.fleet_rows import HOUR, OddFleet
from tests.warehouse.made_loads import NOON, made_load


def make(path: Path, hours: int) -> None:
    fleet = OddFleet(3)
    with DuckDBWarehouse(path) as warehouse:
        warehouse.prepare_missing(TABLES.values())
        for event_type in TABLES:
            for number in range(hours):
                hour = NOON + number * HOUR
                warehouse.replace(made_load(path.parent, event_type, hour, fleet.rows(event_type, hour, 20)))
        warehouse.update_models("UTC", "run", NOON)


def test_there_is_a_figure_of_each_model(tmp_path: Path) -> None:
    make(tmp_path / "a.duckdb", 3)
    lines = figures(tmp_path / "a.duckdb").splitlines()[1:]
    assert len(lines) == len(FIGURES) == 8
    assert set(FIGURES) == {model.name for model in tables.MODELS} - {
        "device_activity",
        "command_sent",
        "acked_property",
    }
    assert not [line for line in lines if "nothing" in line or "None" in line]
    assert lines[0] == "  ayla_device          3 devices, of which 1 have an owner"


def test_models_without_rows_have_none(tmp_path: Path) -> None:
    make(tmp_path / "a.duckdb", 0)
    lines = figures(tmp_path / "a.duckdb").splitlines()[1:]
    assert lines[0] == "  ayla_device          0 devices, of which 0 have an owner"
    assert lines[2] == "  ayla_device_day      nothing in these hours"
