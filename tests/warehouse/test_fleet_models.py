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
from ayla_provider.warehouse.base import FoundHour, HourLeft, RowErasure
from ayla_provider.warehouse.duckdb import DuckDBWarehouse
from ayla_provider.warehouse.fleet import FleetRun
from ayla_provider.warehouse.sql_warehouse import SqlWarehouse
from tests.support.fleet_oracle import KEYS, Oracle, differences
from tests.support.fleet_rows import HOUR, OddFleet, Row, as_texts, time_uuid
from tests.support.proofs import scale
from tests.warehouse.contract import MINUTE, Place
from tests.warehouse.erasure_contract import SALT, erasure
from tests.warehouse.made_loads import NOON, made_load
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


@settings(max_examples=scale(1, 400, ci=3), deadline=None, phases=[Phase.explicit, Phase.reuse, Phase.generate])
@given(seed=st.integers(0, 2**32), zone=st.sampled_from(sorted(STARTS)))
def test_any_order_of_hours_gives_what_plain_python_makes_of_the_rows(
    tmp_path_factory: pytest.TempPathFactory, seed: int, zone: str
) -> None:
    folder = tmp_path_factory.mktemp("fleet")
    with DuckDBWarehouse(folder / "a.duckdb") as warehouse:
        check_any_order(InDuckDB(folder / "a.duckdb", warehouse), folder, seed, zone)


@pytest.mark.parametrize("zone", [pytest.param("UTC", marks=pytest.mark.ci), "Europe/Berlin"])
def test_each_warehouse_gives_what_plain_python_makes_of_the_rows(place: Place, tmp_path: Path, zone: str) -> None:
    check_any_order(place, tmp_path, 1, zone)


@pytest.mark.parametrize(
    "subject",
    [{"dsn": "LC000X000000001"}, {"user_uuid": "3fa85f64-5717-4562-b3fc-2c963f66afa6"}],
    ids=["device", "user"],
)
def test_what_is_erased_vanishes_from_the_models(place: Place, tmp_path: Path, subject: dict[str, str]) -> None:
    fleet, warehouse, final = OddFleet(5), place.warehouse, {}
    assert isinstance(warehouse, SqlWarehouse)
    warehouse.prepare_missing(TABLES.values())
    for event_type in TABLES:
        for number in range(3):
            key = (event_type, NOON + number * HOUR)
            final[key] = fleet.rows(*key, 12)
            put(warehouse, tmp_path, key, final[key], "v")
    warehouse.update_models("UTC", "run", NOW)
    ((column, value),) = subject.items()
    assert any(value in repr(rows_of(place, model.name)) for model in tables.MODELS)

    (of_subject,) = erasure(**subject).subjects
    for event_type in TABLES:
        of_type = RowErasure(event_type, SALT, (of_subject,))
        hits = warehouse.erasable(of_type)
        left = [HourLeft(at, "v", "v", len(final[event_type, at]) - count) for at, count in hits.items()]
        warehouse.erase(of_type, left)
    warehouse.forget(list(TABLES), NOW)
    kept = {key: [row for row in rows if row.get(column) != value] for key, rows in final.items()}
    compare(place, oracle_of(kept, set(), "UTC"))
    for model in (*tables.MODELS, *tables.INTERNAL):
        assert value not in repr(place.rows(model.name)), model.name
    assert warehouse.update_models("UTC", "after", NOW).device_days == 0


def test_a_late_hour_changes_the_days_that_it_touches_and_no_other(tmp_path: Path) -> None:
    device = {"oem_model": "M", "dsn": "A"}
    other = {"oem_model": "M", "dsn": "B"}
    hours = [NOON + number * HOUR for number in range(72)]
    with DuckDBWarehouse(tmp_path / "a.duckdb") as warehouse:
        found = InDuckDB(tmp_path / "a.duckdb", warehouse)
        warehouse.prepare_missing(TABLES.values())
        rows: dict[datetime, list[Row]] = {hour: [] for hour in hours}
        rows[hours[0]] = [
            {**device, "event_time": hours[0], "status": "Online"},
            {**other, "event_time": hours[0], "status": "Online"},
        ]
        # On the second day it comes online once more, and goes offline.
        rows[hours[26]] = [{**device, "event_time": hours[26], "status": "Online"}]
        rows[hours[30]] = [{**device, "event_time": hours[30], "status": "Offline"}]
        for hour in hours:
            warehouse.replace(made_load(tmp_path, "connection", hour, rows[hour], version="v1"))
        warehouse.update_models("UTC", "first", NOW)
        late = hours[2]
        rows[late] = [{**device, "event_time": late, "status": "Offline"}]
        warehouse.replace(made_load(tmp_path, "connection", late, rows[late], version="v2"))
        report = warehouse.update_models("UTC", "late", NOW)
        changed = sorted((row["dsn"], row["day"]) for row in found.rows("fleet_changes") if row["run_id"] == "late")
        # The third day begins as before.
        assert changed == [("A", hours[0].date()), ("A", hours[24].date())]
        assert (report.devices, report.device_days) == (1, 2)
        compare(found, oracle_of({("connection", hour): of_hour for hour, of_hour in rows.items()}, set(), "UTC"))


def test_a_run_that_was_killed_is_finished_by_the_next_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fleet, final = OddFleet(7), {}
    with DuckDBWarehouse(tmp_path / "a.duckdb") as warehouse:
        warehouse.prepare_missing(TABLES.values())
        for event_type in TABLES:
            key = (event_type, NOON)
            final[key] = fleet.rows(*key, 12)
            put(warehouse, tmp_path, key, final[key], "v")

        def killed(*_: Any) -> None:
            raise KeyboardInterrupt

        with monkeypatch.context() as patch:
            patch.setattr(FleetRun, "_note_changes", killed)
            with pytest.raises(KeyboardInterrupt):
                warehouse.update_models("UTC", "killed", NOW)
        found = InDuckDB(tmp_path / "a.duckdb", warehouse)
        assert found.rows("device_day") == []
        assert warehouse.update_models("UTC", "next", NOW).devices > 0
        compare(found, oracle_of(final, set(), "UTC"))


def test_another_time_zone_makes_everything_again(tmp_path: Path) -> None:
    fleet, final = OddFleet(9), {}
    with DuckDBWarehouse(tmp_path / "a.duckdb") as warehouse:
        warehouse.prepare_missing(TABLES.values())
        for event_type in TABLES:
            for number in range(3):
                key = (event_type, NOON + 9 * number * HOUR)
                final[key] = fleet.rows(*key, 12)
                put(warehouse, tmp_path, key, final[key], "v")
        found = InDuckDB(tmp_path / "a.duckdb", warehouse)
        for zone in ("UTC", "Asia/Kolkata", "America/New_York"):
            warehouse.update_models(zone, zone, NOW)
            compare(found, oracle_of(final, set(), zone))


def test_the_value_at_a_time_is_asked_with_a_function(place: Place, tmp_path: Path) -> None:
    warehouse = place.warehouse
    assert isinstance(warehouse, SqlWarehouse)
    warehouse.prepare_missing(TABLES.values())
    rows = [
        {
            "dsn": "A",
            "property_name": "mode",
            "base_type": "integer",
            "time_uuid": time_uuid(NOON + minute * MINUTE, 0),
            "created_at": NOON + minute * MINUTE,
            "val_int": minute,
        }
        for minute in (10, 20)
    ]
    warehouse.replace(made_load(tmp_path, "datapoint", NOON, rows))
    warehouse.update_models("UTC", "run", NOW)
    for minute, expected in ((5, []), (10, [10.0]), (19, [10.0]), (20, [20.0]), (500, [20.0])):
        moment = f"cast('{NOON + minute * MINUTE}' as timestamp with time zone)"
        assert [row["value"] for row in place.rows(f"property_as_of({moment})")] == expected
