"""The models over the local cloud's fleet, and over the examples of the page: what the oracle makes of the files."""

from __future__ import annotations

import base64
import random
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from ayla_provider.archive.local import FileDestination
from ayla_provider.domain.events import EVENT_TYPES
from ayla_provider.domain.hour import ONE_HOUR, ExportHour
from ayla_provider.domain.tables import TABLES, ColumnType
from ayla_provider.local_cloud.fleet import Fleet
from ayla_provider.rows.typed_archive import TypedArchive
from ayla_provider.warehouse.base import FoundHour
from ayla_provider.warehouse.duckdb import DuckDBWarehouse
from ayla_provider.warehouse.sql_warehouse import SqlWarehouse
from tests.support.fleet_oracle import KEYS, Oracle, differences, rows_of_export
from tests.test_fleet_docs import BLOCKS, Example
from tests.warehouse.archive import archive_fleet
from tests.warehouse.contract import Place, Row
from tests.warehouse.loading import load
from tests.warehouse.made_loads import made_load
from tests.warehouse.test_every_warehouse import InDuckDB, place

__all__ = ["place"]

NOW = datetime(2026, 11, 30, tzinfo=UTC)
START = datetime(2026, 5, 4, 14, tzinfo=UTC)
HOURS = [START + number * ONE_HOUR for number in range(14)]
LOST = {("connection", HOURS[4]), ("datapoint", HOURS[7]), ("datapoint_ack", HOURS[2])}
FLEET = Fleet(devices=8, rows=60)


def rows_of(place: Place, name: str) -> list[dict[str, Any]]:
    """The rows of a model, with all times in UTC."""
    return [
        {column: value.astimezone(UTC) if isinstance(value, datetime) else value for column, value in row.items()}
        for row in place.rows(name)
    ]


def differing(place: Place, oracle: Oracle) -> list[str]:
    return [line for name in KEYS for line in differences(name, rows_of(place, name), oracle.model(name))]


@pytest.mark.ci
@pytest.mark.parametrize("zone", ["UTC", "Asia/Kolkata"])
def test_the_models_of_a_fleet_are_what_plain_python_makes_of_its_files(
    place: Place, tmp_path: Path, zone: str
) -> None:
    warehouse = place.warehouse
    assert isinstance(warehouse, SqlWarehouse)
    typed = TypedArchive(FileDestination(tmp_path), FileDestination(tmp_path / "parquet"))
    keys = [(str(event_type), hour) for event_type in EVENT_TYPES for hour in HOURS]
    random.Random(1).shuffle(keys)
    warehouse.prepare_missing(TABLES.values())
    known: dict[str, list[datetime]] = {event_type: [] for event_type in TABLES}
    empty = []
    for number, (event_type, hour) in enumerate(keys):
        if (event_type, hour) in LOST:
            continue
        known[event_type].append(hour)
        if not archive_fleet(tmp_path, FLEET, event_type, hour).copied:
            empty.append(FoundHour(event_type, hour, "empty"))
            continue
        load(warehouse, typed, ExportHour(event_type, hour).event_type, [hour])
        if number % 20 == 0:
            warehouse.update_models(zone, f"run {number}", NOW)
    warehouse.record_hours(empty, NOW)
    warehouse.update_models(zone, "last", NOW)
    rows: Mapping[str, list[dict[str, str]]] = {
        event_type: rows_of_export(FLEET, event_type, hours) for event_type, hours in known.items()
    }
    oracle = Oracle(rows, known, zone)
    assert differing(place, oracle) == []
    assert {row["state_at_end"] for row in oracle.model("device_day")} >= {"unknown"}
    assert {row["outcome"] for row in oracle.model("command")} == {"acknowledged", "refused", "unanswered", "unknown"}


def typed_row(event_type: str, row: Mapping[str, str]) -> Row:
    """Return a row of a file as a typed one."""
    kinds = {column.name: column.type for column in TABLES[event_type].columns}
    made: dict[str, Any] = {}
    for name, text in row.items():
        if kinds[name] is ColumnType.TIMESTAMP:
            made[name] = datetime.fromisoformat(text)
        elif kinds[name] is ColumnType.INTEGER:
            made[name] = int(text)
        elif kinds[name] is ColumnType.BOOLEAN:
            made[name] = text == "true"
        elif name == "val_string":
            made[name] = base64.b64decode(text).decode()
        else:
            made[name] = text
    return made


@pytest.mark.parametrize("block", BLOCKS, ids=range(len(BLOCKS)))
def test_the_models_say_what_the_examples_of_the_page_say(tmp_path: Path, block: str) -> None:
    example = Example(block)
    with DuckDBWarehouse(tmp_path / "a.duckdb") as warehouse:
        warehouse.prepare_missing(TABLES.values())
        for event_type, rows in example.rows().items():
            by_hour: dict[datetime, list[Row]] = {}
            for row in rows:
                # A change of a datapoint comes in the hour of the change.
                column = "event_time" if event_type == "connection" else "updated_at"
                text = row.pop("folder_hour", None) or row.get(column)
                text = text or row.get("registered_at") or row["unregistered_at"]
                hour = datetime.fromisoformat(text).replace(minute=0, second=0)
                by_hour.setdefault(hour, []).append(typed_row(event_type, row))
            for hour, of_hour in by_hour.items():
                warehouse.replace(made_load(tmp_path, event_type, hour, of_hour))
            known = example.known()
            lost = [FoundHour(event_type, hour, "missing") for hour in by_hour if hour not in known]
            empty = [FoundHour(event_type, hour, "empty") for hour in known if hour not in by_hour]
            warehouse.record_hours([*lost, *empty], NOW)
        warehouse.update_models("UTC", "run", NOW)
        assert differing(InDuckDB(tmp_path / "a.duckdb", warehouse), example.oracle()) == []
