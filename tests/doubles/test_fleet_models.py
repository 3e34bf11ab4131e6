"""BigQuery and Snowflake keep the fleet models right, as far as their doubles can show it."""

from __future__ import annotations

import itertools
from collections.abc import Mapping
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from ayla_provider.domain.tables import TABLES
from ayla_provider.warehouse.base import FoundHour
from tests.support.fleet_oracle import KEYS, Oracle, differences
from tests.support.fleet_rows import HOUR, OddFleet, Row, as_texts
from tests.warehouse.made_loads import NOON, made_load

# From fakesnow's own use of DuckDB.
pytestmark = pytest.mark.filterwarnings("ignore:Arrow output on a DB-API result")

NOW = datetime(2026, 11, 30, tzinfo=UTC)
Hours = Mapping[tuple[str, datetime], list[Row]]


def as_found(value: Any) -> Any:
    """Return a value as the oracle has it."""
    return value.astimezone(UTC) if isinstance(value, datetime) else value


def compare(place: Any, hours: Hours, zone: str) -> None:
    """Compare the models with plain Python."""
    rows: dict[str, list[dict[str, str]]] = {event_type: [] for event_type in TABLES}
    known: dict[str, set[datetime]] = {event_type: set() for event_type in TABLES}
    for (event_type, hour), of_hour in hours.items():
        provenance = {"folder_hour": hour.isoformat(), "source_object": "a.csv"}
        rows[event_type] += [as_texts(row) | provenance for row in of_hour]
        known[event_type].add(hour)
    oracle = Oracle(rows, known, zone)
    for name in KEYS:
        found = [{column: as_found(value) for column, value in row.items()} for row in place.rows(name)]
        assert differences(name, found, oracle.model(name)) == []


def load(place: Any, folder: Path, hours: Hours, version: str = "v1") -> None:
    for (event_type, hour), rows in hours.items():
        place.warehouse.replace(made_load(folder, event_type, hour, rows, version=version))


# A day there begins at 18:30.
@pytest.mark.parametrize("zone", ["Asia/Kolkata"])
def test_late_and_replaced_hours_give_what_plain_python_makes_of_the_rows(
    place: Any, tmp_path: Path, zone: str
) -> None:
    fleet, warehouse = OddFleet(23), place.warehouse
    warehouse.prepare_missing(TABLES.values())
    hours = {
        (event_type, NOON + number * HOUR): fleet.rows(event_type, NOON + number * HOUR, 8)
        for event_type in TABLES
        for number in (0, 6, 14)
    }
    late = {key: rows for key, rows in hours.items() if key[1] == NOON + 6 * HOUR}
    load(place, tmp_path, {key: rows for key, rows in hours.items() if key not in late})
    warehouse.update_models(zone, "first", NOW)
    # A late hour, and one that is loaded again with other rows.
    load(place, tmp_path, late)
    again = {(event_type, NOON): fleet.rows(event_type, NOON, 8) for event_type in TABLES}
    load(place, tmp_path, again, "v2")
    warehouse.record_hours([FoundHour("connection", NOON + 2 * HOUR, "empty", 1)], NOW)
    report = warehouse.update_models(zone, "second", NOW)
    compare(place, hours | again | {("connection", NOON + 2 * HOUR): []}, zone)
    changes = {(row["dsn"], row["day"]) for row in place.rows("fleet_changes") if row["run_id"] == "second"}
    assert report.device_days == len(changes) > 0
    assert warehouse.update_models(zone, "third", NOW).recomputed == 0


# tests/warehouse/test_fleet_models.py kills runs in more places.
@pytest.mark.parametrize("number", [75, 110])
def test_a_run_that_is_killed_anywhere_is_finished_by_the_next_one(
    place: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    fleet, warehouse = OddFleet(7), place.warehouse
    warehouse.prepare_missing(TABLES.values())
    hours = {
        (event_type, NOON + at * HOUR): fleet.rows(event_type, NOON + at * HOUR, 8)
        for event_type in TABLES
        for at in (0, 14)
    }
    load(place, tmp_path, hours)
    with monkeypatch.context() as patch:
        run, count = warehouse._run, itertools.count()

        def killed(*arguments: Any) -> Any:
            if next(count) >= number:
                raise KeyboardInterrupt
            return run(*arguments)

        patch.setattr(warehouse, "_run", killed)
        with pytest.raises(KeyboardInterrupt):
            warehouse.update_models("UTC", "run", NOW)
    # The session would end with the process.
    with suppress(Exception):
        place.run("rollback")
    report = warehouse.update_models("UTC", "run", NOW)
    compare(place, hours, "UTC")
    changes = {(row["dsn"], row["day"]) for row in place.rows("fleet_changes")}
    # The second try announces also what the first one changed.
    assert report.device_days == len(changes) > 0
    assert changes >= {(row["dsn"], row["day"]) for row in place.rows("device_day")}
