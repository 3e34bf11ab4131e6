"""What stands in the tables of BigQuery and Snowflake, as far as their doubles can tell."""

from __future__ import annotations

import dataclasses
from datetime import date, timedelta
from itertools import permutations
from pathlib import Path

import pytest

from ayla_provider.domain.tables import TABLES, Column, ColumnType
from ayla_provider.errors import AylaWarehouseError
from tests.doubles.hours import HOUR, NOON, load
from tests.doubles.places import InBigQuery, Place

DATAPOINT = TABLES["datapoint"]
MINUTE = timedelta(minutes=1)

# fakesnow's own dealings with DuckDB.
pytestmark = pytest.mark.filterwarnings("ignore:Arrow output on a DB-API result")


def dsns(place: Place, name: str = "datapoint") -> list[str]:
    return sorted(row["dsn"] for row in place.rows(name))


def test_nothing_is_loaded_where_there_is_nothing(place: Place) -> None:
    assert place.warehouse.loaded("datapoint", NOON, NOON + HOUR) == {}
    place.warehouse.prepare(DATAPOINT)
    assert place.warehouse.loaded("datapoint", NOON, NOON + HOUR) == {}


def test_every_type_arrives_as_it_was(place: Place, tmp_path: Path) -> None:
    row = {
        "dsn": "AC000W1",
        "property_name": 'it\'s a \\ "name" %s',
        "time_uuid": "c3ae3bd0-b72a-11f0-8de9-0242ac120002",
        "created_at": NOON + timedelta(seconds=1, microseconds=234567),
        "echo": True,
        "discarded": False,
        "val_int": -(2**63),
        "val_decimal": 0.1,
        "val_string": "grün\n",
        "metadata": "",
    }
    place.warehouse.prepare(DATAPOINT)
    place.warehouse.replace(load(tmp_path, "datapoint", NOON, [row]))
    (stands,) = place.rows("datapoint")
    provenance = {"folder_hour": NOON, "source_object": "a.csv", "source_generation": 1}
    assert stands == dict.fromkeys(DATAPOINT.names) | provenance | row


def test_the_ledger_says_what_was_loaded(place: Place, tmp_path: Path) -> None:
    place.warehouse.prepare(DATAPOINT)
    one = load(tmp_path, "datapoint", NOON, [{"dsn": "A"}, {"dsn": "B"}])
    one = dataclasses.replace(one, lines=5, duplicates=2, quarantined=1)
    place.warehouse.replace(one)
    (entry,) = place.rows("loads")
    assert entry == {
        "event_type": "datapoint",
        "folder_hour": NOON,
        "version": "v1",
        "rows": 2,
        "lines": 5,
        "duplicates": 2,
        "quarantined": 1,
        "loaded_at": one.loaded_at,
        "loaded_by": one.loaded_by,
    }


def test_what_is_loaded_is_told_by_hour_and_event_type(place: Place, tmp_path: Path) -> None:
    for event_type in ("datapoint", "connection"):
        place.warehouse.prepare(TABLES[event_type])
    for number in range(3):
        place.warehouse.replace(load(tmp_path, "datapoint", NOON + number * HOUR, [{"dsn": "A"}], version=f"{number}"))
    place.warehouse.replace(load(tmp_path, "connection", NOON, [{"dsn": "A"}], version="c"))
    assert place.warehouse.loaded("datapoint", NOON + HOUR, NOON + 2 * HOUR) == {NOON + HOUR: "1"}
    assert place.warehouse.loaded("connection", NOON, NOON + 9 * HOUR) == {NOON: "c"}


def test_an_hour_that_is_loaded_again_takes_the_place_of_the_old_one(place: Place, tmp_path: Path) -> None:
    place.warehouse.prepare(DATAPOINT)
    place.warehouse.replace(load(tmp_path, "datapoint", NOON + HOUR, [{"dsn": "Z"}]))
    place.warehouse.replace(load(tmp_path, "datapoint", NOON, [{"dsn": "A"}, {"dsn": "B"}]))
    for _ in range(2):
        place.warehouse.replace(load(tmp_path, "datapoint", NOON, [{"dsn": "B"}, {"dsn": "C"}], version="v2"))
    assert dsns(place) == ["B", "C", "Z"]
    assert place.warehouse.loaded("datapoint", NOON, NOON + 2 * HOUR) == {NOON: "v2", NOON + HOUR: "v1"}
    assert len(place.rows("loads")) == 2


def test_an_hour_that_became_empty_is_empty(place: Place, tmp_path: Path) -> None:
    place.warehouse.prepare(DATAPOINT)
    place.warehouse.replace(load(tmp_path, "datapoint", NOON, [{"dsn": "A"}]))
    place.warehouse.replace(load(tmp_path, "datapoint", NOON, [], version="none"))
    assert place.rows("datapoint") == []
    assert place.warehouse.loaded("datapoint", NOON, NOON + HOUR) == {NOON: "none"}


@pytest.mark.parametrize("order", [*permutations(range(3))])
def test_the_order_of_the_hours_makes_no_difference(place: Place, tmp_path: Path, order: tuple[int, ...]) -> None:
    place.warehouse.prepare(DATAPOINT)
    for number in order:
        # The same datapoint stands in two of the hours, changed in between.
        rows = [{"dsn": f"{number}", "time_uuid": "x" if number else "y", "updated_at": NOON + number * MINUTE}]
        place.warehouse.replace(load(tmp_path, "datapoint", NOON + number * HOUR, rows))
    assert dsns(place) == ["0", "1", "2"]
    assert dsns(place, "datapoint_unique") == ["0", "2"]


def test_a_load_that_breaks_off_leaves_the_old_hour(place: Place, tmp_path: Path) -> None:
    place.warehouse.prepare(DATAPOINT)
    place.warehouse.replace(load(tmp_path, "datapoint", NOON, [{"dsn": "old"}]))
    # By then, the old rows are deleted and the new ones there.
    place.run("drop table {loads}")
    with pytest.raises(AylaWarehouseError, match="can't load datapoint 2026-11-01T12Z"):
        place.warehouse.replace(load(tmp_path, "datapoint", NOON, [{"dsn": "new"}]))
    assert dsns(place) == ["old"]
    place.warehouse.prepare(DATAPOINT)
    place.warehouse.replace(load(tmp_path, "datapoint", NOON, [{"dsn": "new"}]))
    assert dsns(place) == ["new"]


def test_a_file_with_fewer_rows_than_it_should_have_is_refused(place: Place, tmp_path: Path) -> None:
    place.warehouse.prepare(DATAPOINT)
    place.warehouse.replace(load(tmp_path, "datapoint", NOON, [{"dsn": "old"}]))
    short = dataclasses.replace(load(tmp_path, "datapoint", NOON, [{"dsn": "new"}]), rows=2)
    with pytest.raises(AylaWarehouseError, match=r"datapoint 2026-11-01T12Z .*the hour there is as it was"):
        place.warehouse.replace(short)
    assert dsns(place) == ["old"]


def test_columns_are_added_and_never_dropped(place: Place, tmp_path: Path) -> None:
    narrow = dataclasses.replace(DATAPOINT, columns=tuple(one for one in DATAPOINT.columns if one.name != "scope"))
    place.warehouse.prepare(narrow)
    place.warehouse.replace(load(tmp_path, "datapoint", NOON, [{"dsn": "A"}], table=narrow))
    wide = DATAPOINT.with_columns((Column("firmware", ColumnType.TEXT, "What the device's maker calls it."),))
    place.warehouse.prepare(wide)
    place.warehouse.replace(
        load(tmp_path, "datapoint", NOON + HOUR, [{"dsn": "B", "firmware": "1.2", "scope": "oem"}], table=wide)
    )
    # And a table that lacks them again, as by another task of an older release.
    place.warehouse.prepare(narrow)
    place.warehouse.replace(load(tmp_path, "datapoint", NOON + 2 * HOUR, [{"dsn": "C"}], table=narrow))
    stands = sorted((row["dsn"], row["scope"], row["firmware"]) for row in place.rows("datapoint"))
    assert stands == [("A", None, None), ("B", "oem", "1.2"), ("C", None, None)]


def test_a_view_follows_the_columns_of_its_table(place: Place, tmp_path: Path) -> None:
    place.warehouse.prepare(DATAPOINT)
    wide = DATAPOINT.with_columns((Column("firmware", ColumnType.TEXT, "What the device's maker calls it."),))
    place.warehouse.prepare(wide)
    place.warehouse.replace(load(tmp_path, "datapoint", NOON, [{"time_uuid": "x", "firmware": "1.2"}], table=wide))
    if isinstance(place, InBigQuery):
        # Its double goes on showing the schema that a table was made with: see test_bigquery_requests.py.
        return
    # Also when an hour follows whose files lack it.
    place.warehouse.prepare(DATAPOINT)
    assert [row["firmware"] for row in place.rows("datapoint_unique")] == ["1.2"]


def test_a_column_of_another_type_is_told(place: Place) -> None:
    place.warehouse.prepare(TABLES["location"])
    place.run("create table {datapoint} (dsn numeric(10, 2))")
    with pytest.raises(AylaWarehouseError, match=r"(?i)column dsn of .*datapoint.* is NUM.* is needed for datapoint"):
        place.warehouse.prepare(DATAPOINT)


@pytest.mark.parametrize("event_type", TABLES)
def test_every_event_type_has_its_table_and_views(place: Place, tmp_path: Path, event_type: str) -> None:
    for _ in range(2):
        place.warehouse.prepare(TABLES[event_type])
    place.warehouse.replace(load(tmp_path, event_type, NOON, [{"dsn": "A", "oem_id": "o"}]))
    assert dsns(place, event_type) == ["A"]
    assert [(row["dsn"], row["oem_id"]) for row in place.rows(f"{event_type}_unique")] == [("A", "o")]


def test_the_latest_values_are_those_that_were_made_last(place: Place, tmp_path: Path) -> None:
    def value(number: int, minutes: int, updated: int | None = None, device: str = "A") -> dict[str, object]:
        return {
            "dsn": device,
            "property_name": "temperature",
            "val_int": number,
            "created_at": NOON + minutes * MINUTE,
            "updated_at": None if updated is None else NOON + updated * MINUTE,
        }

    place.warehouse.prepare(DATAPOINT)
    place.warehouse.replace(
        load(tmp_path, "datapoint", NOON + HOUR, [value(1, 10, 10), value(2, 10, 11), value(3, 5, 20)])
    )
    place.warehouse.replace(load(tmp_path, "datapoint", NOON, [value(4, 10), value(5, 9, 30), value(6, 0, 0, "B")]))
    assert sorted((row["dsn"], row["val_int"]) for row in place.rows("latest_values")) == [("A", 2), ("B", 6)]


def test_sessions_begin_and_end_where_the_status_changes(place: Place, tmp_path: Path) -> None:
    def event(minutes: int, status: str) -> dict[str, object]:
        return {"dsn": "A", "oem_model": "m", "event_time": NOON + minutes * MINUTE, "status": status}

    place.warehouse.prepare(TABLES["connection"])
    place.warehouse.replace(
        load(
            tmp_path,
            "connection",
            NOON,
            [event(0, "Offline"), event(5, "Online"), event(7, "Online"), event(15, "Offline")],
        )
    )
    # Two hours of the export hold the same event.
    place.warehouse.replace(load(tmp_path, "connection", NOON + HOUR, [event(15, "Offline"), event(30, "Online")]))
    sessions = [(row["online_at"], row["offline_at"], row["seconds"]) for row in place.rows("online_sessions")]
    assert sorted(sessions) == [
        (NOON + 5 * MINUTE, NOON + 15 * MINUTE, 600),
        (NOON + 30 * MINUTE, None, None),
    ]


def test_registrations_are_counted_by_the_day_in_utc(place: Place, tmp_path: Path) -> None:
    midnight = NOON + 12 * HOUR
    rows = [
        {"dsn": "A", "oem_model": "m", "registered": True, "registered_at": midnight - MINUTE},
        {"dsn": "B", "oem_model": "m", "registered": True, "registered_at": midnight - 2 * MINUTE},
        {"dsn": "A", "oem_model": "m", "registered": False, "unregistered_at": midnight},
    ]
    place.warehouse.prepare(TABLES["registration"])
    place.warehouse.replace(load(tmp_path, "registration", NOON, rows))
    days = place.rows("registrations_by_day")
    assert sorted((row["registration_day"], row["registered"], row["unregistered"]) for row in days) == [
        (date(2026, 11, 1), 2, 0),
        (date(2026, 11, 2), 0, 1),
    ]
