"""The models of a fleet: whatever order hours come in, they are what plain Python makes of the rows."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator, Mapping
from contextlib import nullcontext
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from random import Random
from typing import Any

import pytest
from hypothesis import Phase, given, settings
from hypothesis import strategies as st

from ayla_provider.domain.events import EventType
from ayla_provider.domain.removal import Rule
from ayla_provider.domain.tables import TABLES
from ayla_provider.models import tables
from ayla_provider.warehouse.base import FoundHour, HourLeft, RowErasure, Warehouse
from ayla_provider.warehouse.duckdb import DuckDBWarehouse
from ayla_provider.warehouse.fleet import Engine
from ayla_provider.warehouse.removal import remove_hours
from ayla_provider.warehouse.sql_warehouse import SqlWarehouse
from tests.support.fleet_oracle import KEYS, Oracle, differences
from tests.support.fleet_rows import HOUR, SECOND, OddFleet, Row, as_texts, time_uuid
from tests.support.proofs import scale
from tests.warehouse.contract import MINUTE, Place
from tests.warehouse.erasure_contract import SALT, erasure
from tests.warehouse.made_loads import NOON, made_load
from tests.warehouse.test_every_warehouse import InDuckDB, place

__all__ = ["place"]

NOW = datetime(2026, 11, 30, tzinfo=UTC)
# A night in which clocks go back, and one in which they go forward. In the Azores, midnight comes twice.
STARTS = {"UTC": datetime(2026, 10, 24, 20, tzinfo=UTC), "Europe/Berlin": datetime(2026, 10, 24, 20, tzinfo=UTC)}
STARTS |= {
    "Asia/Kolkata": datetime(2026, 10, 24, 16, tzinfo=UTC),
    "America/New_York": datetime(2026, 3, 8, 3, tzinfo=UTC),
}
STARTS["Atlantic/Azores"] = STARTS["UTC"]
ZONES = sorted(STARTS)

Hours = Mapping[tuple[str, datetime], list[Row]]


def put(warehouse: Warehouse, folder: Path, key: tuple[str, datetime], rows: list[Row], version: str) -> None:
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
    random, fleet = Random(seed), OddFleet(seed)
    warehouse: Any = place.warehouse
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


@settings(max_examples=scale(1, 60, ci=3), deadline=None, phases=[Phase.explicit, Phase.reuse, Phase.generate])
@given(seed=st.integers(0, 2**32), zone=st.sampled_from(ZONES))
def test_any_order_of_hours_gives_what_plain_python_makes_of_the_rows(
    tmp_path_factory: pytest.TempPathFactory, seed: int, zone: str
) -> None:
    folder = tmp_path_factory.mktemp("fleet")
    with DuckDBWarehouse(folder / "a.duckdb") as warehouse:
        check_any_order(InDuckDB(folder / "a.duckdb", warehouse), folder, seed, zone)


@pytest.mark.proof("20 seeds in DuckDB and PostgreSQL: hours in any order, some of them again")
@pytest.mark.parametrize(
    ("zone", "seed"),
    scale(
        [pytest.param("UTC", 1, marks=pytest.mark.ci), ("Europe/Berlin", 1)],
        [(ZONES[seed % len(ZONES)], seed) for seed in range(20)],
    ),
)
def test_each_warehouse_gives_what_plain_python_makes_of_the_rows(
    place: Place, tmp_path: Path, zone: str, seed: int
) -> None:
    check_any_order(place, tmp_path, seed, zone)


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
        # The hour had no rows before. So no other device can have had any in it.
        assert report.recomputed == 2
        compare(found, oracle_of({("connection", hour): of_hour for hour, of_hour in rows.items()}, set(), "UTC"))


DAY = timedelta(days=1)


class LongHistory:
    """Ten days of three devices that have a state and a value each day, in which hours come late."""

    def __init__(self, folder: Path, warehouse: DuckDBWarehouse) -> None:
        self.folder, self.warehouse = folder, warehouse
        self.found = InDuckDB(folder / "a.duckdb", warehouse)
        self.rows: dict[tuple[str, datetime], list[Row]] = {}
        kinds = ("connection", "datapoint")
        self.empty = {(event_type, NOON + number * HOUR) for event_type in kinds for number in range(240)}
        warehouse.prepare_missing(TABLES.values())

    def add(self, event_type: str, *rows: Row) -> None:
        """Put rows into the hours of their times, beside those that are there."""
        for row in rows:
            time = row["created_at" if event_type == "datapoint" else "event_time"]
            key = (event_type, time.replace(minute=0, second=0, microsecond=0))
            self.rows.setdefault(key, []).append(row)
            self.empty.discard(key)
            version = f"v{len(self.rows[key])}"
            self.warehouse.replace(made_load(self.folder, event_type, key[1], self.rows[key], version=version))

    def update(self, run_id: str) -> tuple[int, list[tuple[str, int]]]:
        """Return how many days of devices were made again, and the device and day of each that changed."""
        hours = [FoundHour(*key, "empty") for key in sorted(self.empty)]
        self.warehouse.record_hours(hours + [FoundHour(*key, "landed") for key in self.rows], NOW)
        report = self.warehouse.update_models("UTC", run_id, NOW)
        changed = [row for row in self.found.rows("fleet_changes") if row["run_id"] == run_id]
        assert report.device_days == len(changed)
        compare(self.found, oracle_of(self.rows, self.empty, "UTC"))
        return report.recomputed, sorted((row["dsn"], (row["day"] - NOON.date()).days) for row in changed)


def value(dsn: str, time: datetime, number: int) -> Row:
    return {
        "dsn": dsn,
        "oem_model": "M",
        "property_name": "mode",
        "base_type": "integer",
        "time_uuid": time_uuid(time, 0),
        "created_at": time,
        "val_int": number,
    }


def message(dsn: str, time: datetime, status: str) -> Row:
    return {"dsn": dsn, "oem_model": "M", "event_time": time, "status": status}


@pytest.fixture
def history(tmp_path: Path) -> Iterator[LongHistory]:
    with DuckDBWarehouse(tmp_path / "a.duckdb") as warehouse:
        made = LongHistory(tmp_path, warehouse)
        for number, dsn in enumerate("ABC"):
            made.add("connection", message(dsn, NOON + number * MINUTE, "Online"))
            made.add("datapoint", value(dsn, NOON + number * MINUTE, 1))
        made.add("connection", message("A", NOON + 6 * DAY, "Online"))
        made.add("datapoint", value("A", NOON + 4 * DAY, 2), value("A", NOON + 7 * DAY, 1))
        made.update("first")
        yield made


def test_a_late_state_is_carried_on_until_the_next_one_and_no_further(history: LongHistory) -> None:
    # It comes in an hour that was empty before: no other device can have had rows there.
    history.add("connection", message("A", NOON + 2 * DAY + HOUR, "Offline"))
    # From the sixth day on it is online, as before, but since another moment. The last day's end isn't known.
    assert history.update("late") == (9, [("A", day) for day in range(2, 10)])
    history.add("connection", message("A", NOON + 3 * DAY + HOUR, "Online"), message("A", NOON + 5 * DAY, "Offline"))
    # The sixth day takes over another state, and ends as before.
    assert history.update("later") == (4, [("A", day) for day in (3, 4, 5)])


def test_a_late_value_is_carried_on_until_the_next_one_and_no_further(history: LongHistory) -> None:
    history.add("datapoint", value("A", NOON + 2 * DAY + HOUR, 5))
    # The value of the first day ends there, and the one of the fourth day changes another one.
    assert history.update("late") == (3, [("A", day) for day in (0, 2, 3, 4)])


def test_a_late_value_that_changes_nothing_afterwards_is_not_carried_on(history: LongHistory) -> None:
    history.add("datapoint", value("A", NOON + 2 * DAY + HOUR, 1))
    recomputed, changed = history.update("late")
    assert recomputed == 1
    assert changed == [("A", 0), ("A", 2)]


def test_a_replaced_hour_makes_its_own_days_and_what_follows_from_them(history: LongHistory) -> None:
    # Another row in an hour that is loaded: every device can have had rows there.
    history.add("datapoint", value("B", NOON + 30 * MINUTE, 1))
    recomputed, changed = history.update("replaced")
    assert recomputed == 3
    assert changed == [("B", 0)]


def test_an_hour_that_is_missing_makes_the_days_of_all_devices_again_as_long_as_they_are_unknown(
    history: LongHistory,
) -> None:
    key = ("connection", NOON + 5 * DAY + 10 * HOUR)
    history.empty.discard(key)
    history.warehouse.record_hours([FoundHour(*key, "missing")], NOW)
    # One device comes online again on the sixth day, so that its last day, whose end isn't known, stays as it is.
    changed = [(dsn, day) for dsn in "ABC" for day in range(5, 11) if (dsn, day) != ("A", 10)]
    assert history.update("missing") == (18, changed)
    history.empty.add(key)
    assert history.update("found") == (18, changed)


def strays(at: datetime) -> Hours:
    """Rows of each event type with times that are far from their folder hour."""
    device = {"dsn": "A", "oem_model": "M"}
    far = [datetime(1971, 3, 1, tzinfo=UTC), at - 366 * DAY - SECOND, at + HOUR + DAY, datetime(2099, 3, 1, tzinfo=UTC)]
    rows: dict[tuple[str, datetime], list[Row]] = {(event_type, at): [] for event_type in TABLES}
    for time in far:
        rows["datapoint", at].append({**value("A", time, 7), "direction": "output", "updated_at": at})
        for sent, acked in ((time, time), (time, at), (at, time), (time, None)):
            identity = time_uuid(sent, 20 + len(rows["datapoint_ack", at]))
            answered = {**value("A", sent, 7), "property_name": "answered", "time_uuid": identity}
            answer = {"acked_at": acked, "ack_id": time_uuid(acked or at, 1), "ack_status": 200, "updated_at": at}
            rows["datapoint_ack", at].append({**answered, **answer})
        rows["connection", at].append(message("A", time, "Offline"))
        rows["location", at].append({**device, "created_at": time, "lat": 1.0, "long": 2.0})
        rows["registration", at].append({**device, "registered": True, "registered_at": time})
        rows["registration", at].append({**device, "registered": False, "unregistered_at": time})
    return rows


def near_rows(at: datetime) -> Hours:
    """Rows of two days, with a registration that is given up after years."""
    given_up = {"registered": False, "registered_at": at - 3000 * DAY, "unregistered_at": at + HOUR}
    return {
        ("connection", at): [message("A", at, "Online")],
        ("datapoint", at): [{**value("A", at, 1), "direction": "input"}],
        ("datapoint", at + 14 * HOUR): [value("A", at + 14 * HOUR, 2)],
        ("registration", at): [{"dsn": "A", "oem_model": "M", "registered": True, "registered_at": at}],
        ("registration", at + HOUR): [{"dsn": "A", "oem_model": "M", **given_up}],
    }


def test_rows_with_times_far_from_their_hour_change_nothing_and_make_no_days(place: Place, tmp_path: Path) -> None:
    warehouse: Any = place.warehouse
    check_strays(place, lambda hours, version: [put(warehouse, tmp_path, *item, version) for item in hours.items()])


def check_strays(place: Place, load: Callable[[Hours, str], object]) -> None:
    """Make models of rows, and load strays: into an hour of their own, and beside other rows."""
    warehouse: Any = place.warehouse
    warehouse.prepare_missing(TABLES.values())
    near, late = near_rows(NOON), NOON + 2 * HOUR
    load(near, "v1")
    found = [FoundHour(event_type, NOON + number * HOUR, "empty") for event_type in TABLES for number in range(24)]
    # The hours are known before and after.
    warehouse.record_hours([hour for hour in found if (hour.event_type, hour.hour) not in near], NOW)
    assert 0 < warehouse.update_models("UTC", "first", NOW).recomputed < 5
    before = contents(place)
    load(strays(late), "v1")
    report = warehouse.update_models("UTC", "strays", NOW)
    assert (report.hours, report.recomputed, report.device_days) == (len(TABLES), 0, 0)
    assert contents(place) == before
    beside = {key: [*near.get(key, []), *rows] for key, rows in strays(NOON).items()}
    load(beside, "v2")
    report = warehouse.update_models("UTC", "beside", NOW)
    assert (report.hours, report.device_days) == (len(TABLES), 0)
    assert 0 < report.recomputed < 5
    assert contents(place) == before
    rows = {**near, **strays(late), **beside}
    compare(place, oracle_of(rows, {(hour.event_type, hour.hour) for hour in found} - rows.keys(), "UTC"))


@pytest.mark.parametrize(
    ("after", "counts"),
    [(-366 * DAY, True), (-366 * DAY - SECOND, False), (DAY + HOUR - SECOND, True), (DAY + HOUR, False)],
)
def test_a_time_counts_from_366_days_before_the_hour_until_a_day_after_it(
    tmp_path: Path, after: timedelta, counts: bool
) -> None:
    rows = {("location", NOON): [{"dsn": "A", "created_at": NOON + after, "lat": 1.0, "long": 2.0}]}
    with DuckDBWarehouse(tmp_path / "a.duckdb") as warehouse:
        warehouse.prepare_missing(TABLES.values())
        put(warehouse, tmp_path, *next(iter(rows.items())), "v")
        assert warehouse.update_models("UTC", "run", NOW).recomputed == counts
        found = InDuckDB(tmp_path / "a.duckdb", warehouse)
        assert [row["first_seen"] for row in rows_of(found, "device")] == [NOON + after] * counts
        compare(found, oracle_of(rows, set(), "UTC"))


def test_a_day_with_two_midnights_begins_with_the_first_one(place: Place, tmp_path: Path) -> None:
    warehouse: Any = place.warehouse
    warehouse.prepare_missing(TABLES.values())
    # Clocks go back from 1:00 to 0:00, at 1:00 UTC.
    first = datetime(2026, 10, 25, tzinfo=UTC)
    rows = {
        ("connection", first): [message("A", first + 30 * MINUTE, "Online")],
        ("connection", first + 2 * HOUR): [message("A", first + 2 * HOUR, "Offline")],
    }
    for key, of_hour in rows.items():
        put(warehouse, tmp_path, key, of_hour, "v")
    empty = {("connection", first + number * HOUR) for number in range(-2, 26)} - rows.keys()
    warehouse.record_hours([FoundHour(*key, "empty") for key in sorted(empty)], NOW)
    warehouse.update_models("Atlantic/Azores", "run", NOW)
    days = {row["day"]: row["day_seconds"] for row in place.rows("device_day")}
    assert days == {first.date(): 25 * 3600, first.date() + DAY: 24 * 3600}
    compare(place, oracle_of(rows, empty, "Atlantic/Azores"))


def kill_at(warehouse: DuckDBWarehouse, number: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Let a statement of a run fail, as if the process were killed then."""
    run, count = warehouse._run, itertools.count()

    def counted(*arguments: Any) -> Any:
        if next(count) >= number:
            raise KeyboardInterrupt
        return run(*arguments)

    monkeypatch.setattr(warehouse, "_run", counted)


class InPieces(DuckDBWarehouse):
    """A warehouse as BigQuery and Snowflake: only what changes one table is a transaction."""

    def _engine(self) -> Engine:
        return replace(super()._engine(), transaction=nullcontext, writing=self._transaction)


@pytest.mark.parametrize(
    ("kind", "number"),
    [
        *((DuckDBWarehouse, number) for number in (30, 90, 170, 260, 330)),
        *((InPieces, number) for number in (40, 50, 60, 70, 80, 100, 120, 130, 140, 150, 160, 170, 180, 250, 330)),
    ],
)
def test_a_run_that_is_killed_anywhere_is_finished_by_the_next_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: type[DuckDBWarehouse], number: int
) -> None:
    fleet, final = OddFleet(7), {}
    with kind(tmp_path / "a.duckdb") as warehouse:
        warehouse.prepare_missing(TABLES.values())
        for event_type in TABLES:
            for hours in (0, 30):
                key = (event_type, NOON + hours * HOUR)
                final[key] = fleet.rows(*key, 12)
                put(warehouse, tmp_path, key, final[key], "v")
        with monkeypatch.context() as patch:
            kill_at(warehouse, number, patch)
            with pytest.raises(KeyboardInterrupt):
                warehouse.update_models("UTC", "run", NOW)
    with kind(tmp_path / "a.duckdb") as warehouse:
        found = InDuckDB(tmp_path / "a.duckdb", warehouse)
        report = warehouse.update_models("UTC", "run", NOW)
        compare(found, oracle_of(final, set(), "UTC"))
        changes = {(row["dsn"], row["day"]) for row in found.rows("fleet_changes")}
        # The second try announces also what the first one changed.
        assert report.device_days == len(changes) > 0
        assert changes >= {(row["dsn"], row["day"]) for row in found.rows("device_day")}


def test_hours_that_a_rule_removes_leave_the_models_with_the_next_run(place: Place, tmp_path: Path) -> None:
    fleet, warehouse, final = OddFleet(11), place.warehouse, {}
    assert isinstance(warehouse, SqlWarehouse)
    warehouse.prepare_missing(TABLES.values())
    for event_type in TABLES:
        for number in range(4):
            key = (event_type, NOON + 12 * number * HOUR)
            final[key] = fleet.rows(*key, 10)
            put(warehouse, tmp_path, key, final[key], "v")
    warehouse.update_models("UTC", "run", NOW)
    first_kept = NOON + 18 * HOUR
    rule = Rule("tables", 2 * DAY, first_kept + 2 * DAY, ())
    assert remove_hours(warehouse, [EventType(name) for name in TABLES], rule).hours == 2 * len(TABLES)
    warehouse.update_models("UTC", "next", NOW)
    kept = {key: rows for key, rows in final.items() if key[1] >= first_kept}
    compare(place, oracle_of(kept, set(), "UTC"))


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


def test_the_owner_and_the_model_at_a_time_are_asked_as_the_page_says(tmp_path: Path) -> None:
    page = (Path(__file__).parents[2] / "docs" / "fleet-models.md").read_text(encoding="utf-8")
    _, _, section = page.partition("### An owner and a model at a time")
    query, _, _ = section.partition("```sql")[2].partition("```")
    users = [f"3fa85f64-5717-4562-b3fc-2c963f66afa{number}" for number in range(2)]
    registrations = [
        {"dsn": "A", "oem_model": model, "user_uuid": user, "registered": True, "registered_at": NOON + number * HOUR}
        # The page asks for noon.
        for number, (model, user) in enumerate(zip(("m", "n"), users, strict=True))
    ]
    with DuckDBWarehouse(tmp_path / "a.duckdb") as warehouse:
        warehouse.prepare_missing(TABLES.values())
        warehouse.replace(made_load(tmp_path, "registration", NOON, registrations))
        warehouse.record_hours([FoundHour("connection", NOON + number * HOUR, "empty", 1) for number in range(12)], NOW)
        warehouse.update_models("UTC", "run", NOW)
        ((dsn, user, model),) = warehouse._fetch(query)
    assert (dsn, str(user), model) == ("A", users[0], "n")
