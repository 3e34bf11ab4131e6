"""The models of a fleet: whatever order hours come in, they are what plain Python makes of the rows."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from random import Random
from typing import Any

import pytest
from hypothesis import Phase, given, settings
from hypothesis import strategies as st

from ayla_provider.domain.tables import TABLES
from ayla_provider.models import tables
from ayla_provider.warehouse.base import FoundHour
from ayla_provider.warehouse.duckdb import DuckDBWarehouse
from ayla_provider.warehouse.sql_warehouse import SqlWarehouse
from tests.support.fleet_oracle import KEYS, Oracle, differences
from tests.support.fleet_rows import HOUR, OddFleet, Row, as_texts
from tests.support.proofs import scale
from tests.warehouse.contract import Place
from tests.warehouse.made_loads import made_load
from tests.warehouse.test_every_warehouse import InDuckDB, place

__all__ = ["place"]

NOW = datetime(2026, 11, 30, tzinfo=UTC)
# A night in which clocks go back, and one in which they go forward.
STARTS = {"UTC": datetime(2026, 10, 24, 20, tzinfo=UTC), "Europe/Berlin": datetime(2026, 10, 24, 20, tzinfo=UTC)}
STARTS |= {
    "Asia/Kolkata": datetime(2026, 10, 24, 16, tzinfo=UTC),
    "America/New_York": datetime(2026, 3, 8, 3, tzinfo=UTC),
}

Hours = Mapping[tuple[str, datetime], list[Row]]


def put(warehouse: SqlWarehouse, folder: Path, key: tuple[str, datetime], rows: list[Row], version: str) -> None:
    event_type, hour = key
    warehouse.replace(made_load(folder, event_type, hour, rows, version=version))


def oracle_of(hours: Hours, empty: set[tuple[str, datetime]], zone: str) -> Oracle:
    rows: dict[str, list[dict[str, str]]] = {event_type: [] for event_type in TABLES}
    known: dict[str, set[datetime]] = {event_type: set() for event_type in TABLES}
    for (event_type, hour), of_hour in hours.items():
        provenance = {"folder_hour": hour.isoformat(), "source_object": "a.csv"}
        rows[event_type] += [as_texts(row) | provenance for row in of_hour]
        known[event_type].add(hour)
    for event_type, hour in empty:
        known[event_type].add(hour)
    return Oracle(rows, known, zone)


def rows_of(place: Place, name: str) -> list[dict[str, Any]]:
    """The rows of a model, with all times in UTC."""
    return [
        {column: value.astimezone(UTC) if isinstance(value, datetime) else value for column, value in row.items()}
        for row in place.rows(name)
    ]


def compare(place: Place, oracle: Oracle) -> None:
    for name in KEYS:
        # A name that SQL has for something else.
        expected = [{"observations" if c == "values" else c: v for c, v in row.items()} for row in oracle.model(name)]
        assert differences(name, rows_of(place, name), expected) == []


def contents(place: Place) -> dict[str, list[Any]]:
    """Everything that the models have."""
    return {model.name: sorted(map(repr, place.rows(model.name))) for model in tables.MODELS}


def check_any_order(place: Place, folder: Path, seed: int, zone: str) -> None:
    """Load hours in any order, some of them again, and compare the models with plain Python."""
    random, fleet, warehouse = Random(seed), OddFleet(seed), place.warehouse
    assert isinstance(warehouse, SqlWarehouse)
    at = [STARTS[zone] + number * HOUR for number in sorted(random.sample(range(60), 5))]
    at += [at[0] + HOUR, at[-1] + HOUR]
    keys = sorted({(event_type, hour) for event_type in TABLES for hour in at})
    final: dict[tuple[str, datetime], list[Row]] = {}
    warehouse.prepare_missing(TABLES.values())
    for number, key in enumerate(random.choices(keys, k=len(keys))):
        # The same hour again, with other rows, or without any.
        final[key] = fleet.rows(*key, random.choice([0, 3, 10]))
        put(warehouse, folder, key, final[key], f"v{number}")
        if random.random() < 0.1:
            warehouse.update_models(zone, f"run {number}", NOW)
    empty = {key for key in random.choices(keys, k=5) if key not in final}
    warehouse.record_hours([FoundHour(*key, "empty") for key in sorted(empty)], NOW)
    warehouse.update_models(zone, "last", NOW)
    assert warehouse.update_models(zone, "again", NOW).device_days == 0
    compare(place, oracle_of(final, empty, zone))


@settings(max_examples=scale(3, 400), deadline=None, phases=[Phase.explicit, Phase.reuse, Phase.generate])
@given(seed=st.integers(0, 2**32), zone=st.sampled_from(sorted(STARTS)))
def test_any_order_of_hours_gives_what_plain_python_makes_of_the_rows(
    tmp_path_factory: pytest.TempPathFactory, seed: int, zone: str
) -> None:
    folder = tmp_path_factory.mktemp("fleet")
    with DuckDBWarehouse(folder / "a.duckdb") as warehouse:
        check_any_order(InDuckDB(folder / "a.duckdb", warehouse), folder, seed, zone)


@pytest.mark.parametrize("zone", ["UTC", "Europe/Berlin"])
def test_each_warehouse_gives_what_plain_python_makes_of_the_rows(place: Place, tmp_path: Path, zone: str) -> None:
    check_any_order(place, tmp_path, 1, zone)
