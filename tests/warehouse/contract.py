"""
What every warehouse must do, whichever it is: the contract, for a fixture ``place``.

DuckDB and PostgreSQL run it in test_every_warehouse.py, Iceberg in test_iceberg_contract.py, the doubles of
BigQuery and Snowflake in tests/doubles.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from datetime import date, datetime, timedelta
from itertools import permutations
from pathlib import Path
from typing import Any, Protocol
from uuid import UUID

import pytest

from ayla_provider.domain.events import EventType
from ayla_provider.domain.hold import hold
from ayla_provider.domain.removal import Rule
from ayla_provider.domain.tables import PROVENANCE, TABLES, Column, ColumnType, table_like
from ayla_provider.errors import AylaConfigError, AylaTableError, AylaWarehouseError
from ayla_provider.warehouse.base import REMOVED, ComparedHour, FoundHour, HeldHour, Recipe, Warehouse
from ayla_provider.warehouse.removal import remove_hours
from ayla_provider.warehouse.sql_warehouse import SqlWarehouse
from tests.warehouse.made_loads import HOUR, NOON, Row, identity, made_load

DATAPOINT = TABLES["datapoint"]
MINUTE = timedelta(minutes=1)


class Place(Protocol):
    """A warehouse of a test's own, and a way to look into it."""

    shows_added_columns: bool
    """Whether ``select *`` shows columns that were added; bqemulator doesn't."""

    @property
    def warehouse(self) -> Warehouse: ...

    def rows(self, name: str) -> list[dict[str, Any]]:
        """All rows of a table or view, by its name without prefix; the names of the columns in lower case."""

    def run(self, statement: str) -> None:
        """Run a statement in which ``{name}`` is a table."""


class Named(dict[str, str]):
    """For ``str.format_map``: turns the name of a table into its full name."""

    def __init__(self, pattern: str) -> None:
        self._pattern = pattern

    def __missing__(self, name: str) -> str:
        return self._pattern % name


def as_dicts(titles: Sequence[str], rows: Sequence[Sequence[Any]]) -> list[dict[str, Any]]:
    """Rows by column, and each UUID as its text, which is what some warehouses have."""
    plain = [[str(value) if isinstance(value, UUID) else value for value in row] for row in rows]
    return [dict(zip(titles, row, strict=True)) for row in plain]


def put(place: Place, folder: Path, event_type: str, hour: datetime, rows: Sequence[Row], **more: Any) -> None:
    """Load an hour of rows."""
    place.warehouse.replace(made_load(folder, event_type, hour, rows, **more))


def dsns(place: Place, name: str = "datapoint") -> list[str]:
    return sorted(row["dsn"] for row in place.rows(name))


class WarehouseContract:
    """The tests."""

    def test_nothing_is_loaded_where_there_is_nothing(self, place: Place) -> None:
        assert place.warehouse.loaded("datapoint", NOON, NOON + HOUR) == {}
        place.warehouse.prepare(DATAPOINT)
        assert place.warehouse.loaded("datapoint", NOON, NOON + HOUR) == {}

    def test_all_tables_and_views_exist_from_the_first_load_on(self, place: Place) -> None:
        for _ in range(2):
            place.warehouse.prepare_missing(TABLES.values())
        views = ("latest_values", "online_sessions", "registrations_by_day")
        names = {*TABLES, *(f"{event_type}_unique" for event_type in TABLES), *views}
        assert {name: place.rows(name) for name in names} == {name: [] for name in names}

    def test_what_was_loaded_into_a_table_that_is_gone_is_not_loaded(self, place: Place, tmp_path: Path) -> None:
        for event_type in ("connection", "datapoint"):
            place.warehouse.prepare(TABLES[event_type])
            put(place, tmp_path, event_type, NOON, [{"dsn": "A"}])
            put(place, tmp_path, event_type, NOON + HOUR, [{"dsn": "B"}])
        for relation in ("view {latest_values}", "view {datapoint_unique}", "table {datapoint}"):
            place.run(f"drop {relation}")
        assert place.warehouse.loaded("datapoint", NOON, NOON + 2 * HOUR) == {}
        place.warehouse.prepare(DATAPOINT)
        put(place, tmp_path, "datapoint", NOON, [{"dsn": "A"}])
        assert place.warehouse.loaded("datapoint", NOON, NOON + 2 * HOUR) == {NOON: "v1"}
        assert place.warehouse.loaded("connection", NOON, NOON + 2 * HOUR) == {NOON: "v1", NOON + HOUR: "v1"}

    def test_how_hours_were_made_is_told_in_few_words_without_those_of_a_range(
        self, place: Place, tmp_path: Path
    ) -> None:
        assert place.warehouse.recipes("datapoint", NOON, NOON) == []
        place.warehouse.prepare(DATAPOINT)
        place.warehouse.prepare(TABLES["connection"])
        assert place.warehouse.recipes("datapoint", NOON, NOON) == []
        versions = [
            "0a.1-p12345678",
            "0b.1-p12345678",
            "0c.2.lost",
            "empty-layout-p12345678",
            REMOVED,
            "0d.1-p1234abcd",
        ]
        hours = [NOON + number * HOUR for number in range(len(versions))]
        for hour, version in zip(hours, versions, strict=True):
            put(place, tmp_path, "datapoint", hour, [{"dsn": "A"}], version=version)
        put(place, tmp_path, "connection", NOON, [{"dsn": "A"}], version="0e.1-p99999999")
        everything = [
            Recipe("", 1, hours[2], hours[2]),
            Recipe("layout-p12345678", 1, hours[3], hours[3]),
            Recipe("p12345678", 2, hours[0], hours[1]),
            Recipe("p1234abcd", 1, hours[5], hours[5]),
        ]
        assert list(place.warehouse.recipes("datapoint", NOON, NOON)) == everything
        assert list(place.warehouse.recipes("datapoint", hours[1], hours[3])) == [
            everything[1],
            Recipe("p12345678", 1, hours[0], hours[0]),
            everything[3],
        ]

    @pytest.mark.parametrize("event_type", ["loads", "turns", "latest_values", "datapoint_unique", "a_unique"])
    def test_an_event_type_with_the_name_of_another_table_is_refused(self, place: Place, event_type: str) -> None:
        with pytest.raises(AylaConfigError, match="the name of a table or view that this provider makes"):
            place.warehouse.prepare(table_like(event_type, PROVENANCE, None))
        with pytest.raises(AylaConfigError, match=f"event type '{event_type}' can't be loaded"):
            place.warehouse.loaded(event_type, NOON, NOON + HOUR)

    def test_old_hours_are_removed_and_the_ledger_says_so(self, place: Place, tmp_path: Path) -> None:
        for event_type in ("datapoint", "connection"):
            place.warehouse.prepare(TABLES[event_type])
            for number in range(3):
                put(place, tmp_path, event_type, NOON + number * HOUR, [{"dsn": f"A{number}"}])
        now = NOON + timedelta(days=90, hours=2)
        held = hold("case-1", placed_at=now, start=NOON, end=NOON + HOUR, event_types=[EventType("connection")])
        rule = Rule("tables", timedelta(days=90), now, (held,))
        types = [EventType("datapoint"), EventType("connection")]
        counted = remove_hours(place.warehouse, types, rule, dry_run=True)
        assert dsns(place) == ["A0", "A1", "A2"]
        removed = remove_hours(place.warehouse, types, rule)
        assert counted.document() | {"remains": removed.remains} == removed.document()
        assert (removed.hours, removed.rows, removed.held) == (3, 3, {"case-1": 1})
        assert dsns(place) == ["A2"]
        assert dsns(place, "connection") == ["A0", "A2"]
        versions = place.warehouse.loaded("datapoint", NOON, NOON + 3 * HOUR)
        assert versions == {NOON: REMOVED, NOON + HOUR: REMOVED, NOON + 2 * HOUR: "v1"}
        assert place.warehouse.held("datapoint", NOON, NOON + HOUR) == {NOON: HeldHour(REMOVED)}
        assert remove_hours(place.warehouse, types, rule).hours == 0

    def test_what_the_archive_has_of_each_hour_is_there_and_only_changes_are_written(
        self, place: Place, tmp_path: Path
    ) -> None:
        warehouse = place.warehouse
        if not isinstance(warehouse, SqlWarehouse):
            pytest.skip("test_fleet_models_of_lakes.py has the table of hours of table formats.")
        hours = [FoundHour("datapoint", NOON + number * HOUR, "landed", 1, 2, 0, 12) for number in range(2)]
        hours += [FoundHour("connection", NOON, "empty", 1), FoundHour("connection", NOON + HOUR, "missing", None)]
        assert warehouse.record_hours(hours, NOON) == 4
        assert warehouse.record_hours(hours, NOON + HOUR) == 0
        hours[1] = dataclasses.replace(hours[1], state="lost", revision=2, lost_files=1, lines=None)
        assert warehouse.record_hours(hours, NOON + 2 * HOUR) == 1
        assert warehouse.record_hours([], NOON) == 0
        found = {(row["event_type"], row["folder_hour"]): row for row in place.rows("hours")}
        assert found == {
            (hour.event_type, hour.hour): {
                "event_type": hour.event_type,
                "folder_hour": hour.hour,
                "state": hour.state,
                "revision": hour.revision,
                "files": hour.files,
                "lost_files": hour.lost_files,
                "lines": hour.lines,
                "changed_at": NOON + 2 * HOUR if hour is hours[1] else NOON,
            }
            for hour in hours
        }
        warehouse.prepare_missing(TABLES.values())
        put(place, tmp_path, "datapoint", NOON, [{"dsn": "A"}])
        complete = {(row["event_type"], row["folder_hour"]): row["is_complete"] for row in place.rows("completeness")}
        assert complete == {
            ("datapoint", NOON): 1,
            ("datapoint", NOON + HOUR): 0,
            ("connection", NOON): 1,
            ("connection", NOON + HOUR): 0,
        }

    def test_what_a_stream_had_of_each_hour_is_shown_with_its_completeness(self, place: Place) -> None:
        warehouse = place.warehouse
        if not isinstance(warehouse, SqlWarehouse):
            pytest.skip("Table formats have no view of completeness.")
        warehouse.record_hours([FoundHour("datapoint", NOON + number * HOUR, "landed", 1) for number in range(3)], NOON)
        compared = [
            ComparedHour("datapoint", NOON, "complete", 12, 0, 0),
            ComparedHour("datapoint", NOON + HOUR, "missing_in_export", 10, 2, 0),
        ]
        assert warehouse.record_comparisons(compared, NOON) == 2
        assert warehouse.record_comparisons(compared, NOON + HOUR) == 0
        compared[1] = ComparedHour("datapoint", NOON + HOUR, "complete", 12, 0, 0)
        assert warehouse.record_comparisons(compared, NOON + HOUR) == 1
        columns = ("compared", "only_stream", "only_export")
        found = {row["folder_hour"]: tuple(row[name] for name in columns) for row in place.rows("completeness")}
        assert found == {
            NOON: ("complete", 0, 0),
            NOON + HOUR: ("complete", 0, 0),
            NOON + 2 * HOUR: (None, None, None),
        }

    def test_every_type_arrives_as_it_was(self, place: Place, tmp_path: Path) -> None:
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
        put(place, tmp_path, "datapoint", NOON, [row])
        (loaded_row,) = place.rows("datapoint")
        provenance = {"folder_hour": NOON, "source_object": "a.csv", "source_generation": 1}
        assert loaded_row == dict.fromkeys(DATAPOINT.names) | provenance | row

    def test_the_ledger_says_what_was_loaded(self, place: Place, tmp_path: Path) -> None:
        place.warehouse.prepare(DATAPOINT)
        one = made_load(tmp_path, "datapoint", NOON, [{"dsn": "A"}, {"dsn": "B"}])
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

    def test_what_is_loaded_is_returned_by_hour_and_event_type(self, place: Place, tmp_path: Path) -> None:
        for event_type in ("datapoint", "connection"):
            place.warehouse.prepare(TABLES[event_type])
        for number in range(3):
            put(place, tmp_path, "datapoint", NOON + number * HOUR, [{"dsn": "A"}], version=f"{number}")
        put(place, tmp_path, "connection", NOON, [{"dsn": "A"}], version="c")
        loaded = place.warehouse.loaded("datapoint", NOON + HOUR, NOON + 2 * HOUR)
        assert loaded == {NOON + HOUR: "1"}
        assert [hour.utcoffset() for hour in loaded] == [timedelta(0)]
        assert place.warehouse.loaded("connection", NOON, NOON + 9 * HOUR) == {NOON: "c"}

    def test_what_ledger_and_table_hold_is_counted_by_hour(self, place: Place, tmp_path: Path) -> None:
        at = [NOON + number * HOUR for number in range(5)]
        assert place.warehouse.held("datapoint", NOON, at[4]) == {}
        for event_type in ("datapoint", "connection"):
            place.warehouse.prepare(TABLES[event_type])
        for number in range(5):
            rows = [{"dsn": f"{number}-{row}"} for row in range(number)]
            put(place, tmp_path, "datapoint", at[number], rows, version=f"v{number}")
        put(place, tmp_path, "connection", NOON, [{"dsn": "A"}], version="c")
        place.run("delete from {datapoint} where dsn = '2-0'")
        place.run("delete from {loads} where version = 'v3'")
        held = place.warehouse.held("datapoint", NOON, at[4])
        expected = [HeldHour("v0"), HeldHour("v1", 1, 1, 1), HeldHour("v2", 2, 2, 1), HeldHour(None, 0, 0, 3)]
        assert held == dict(zip(at, expected, strict=False))
        assert [hour.utcoffset() for hour in held] == [timedelta(0)] * 4
        assert place.warehouse.held("connection", NOON, at[4]) == {NOON: HeldHour("c", 1, 1, 1)}
        assert place.warehouse.held("datapoint", at[4], at[4] + HOUR) == {at[4]: HeldHour("v4", 4, 4, 4)}

    def test_the_hours_of_a_table_that_is_gone_have_no_rows(self, place: Place, tmp_path: Path) -> None:
        place.warehouse.prepare(DATAPOINT)
        put(place, tmp_path, "datapoint", NOON, [{"dsn": "A"}])
        for relation in ("view {latest_values}", "view {datapoint_unique}", "table {datapoint}"):
            place.run(f"drop {relation}")
        assert place.warehouse.held("datapoint", NOON, NOON + HOUR) == {NOON: HeldHour("v1", 1, 1, 0)}

    def test_an_hour_that_is_loaded_again_takes_the_place_of_the_old_one(self, place: Place, tmp_path: Path) -> None:
        place.warehouse.prepare(DATAPOINT)
        put(place, tmp_path, "datapoint", NOON + HOUR, [{"dsn": "Z"}])
        put(place, tmp_path, "datapoint", NOON, [{"dsn": "A"}, {"dsn": "B"}])
        for _ in range(2):
            put(place, tmp_path, "datapoint", NOON, [{"dsn": "B"}, {"dsn": "C"}], version="v2")
        assert dsns(place) == ["B", "C", "Z"]
        assert place.warehouse.loaded("datapoint", NOON, NOON + 2 * HOUR) == {NOON: "v2", NOON + HOUR: "v1"}
        assert len(place.rows("loads")) == 2

    def test_an_hour_of_several_files_is_loaded_as_a_whole(self, place: Place, tmp_path: Path) -> None:
        place.warehouse.prepare(DATAPOINT)
        put(place, tmp_path, "datapoint", NOON, [{"dsn": "OLD", "time_uuid": identity("old")}])
        loads = [
            made_load(tmp_path, "datapoint", NOON, [{"dsn": f"AC{number}", "time_uuid": identity(str(number))}])
            for number in range(3)
        ]
        further = iter([load.parquet for load in loads[1:] if load.parquet])
        place.warehouse.replace(dataclasses.replace(loads[0], rows=3, lines=3, version="v2", further=further))
        assert dsns(place) == ["AC0", "AC1", "AC2"]
        (ledger,) = place.rows("loads")
        assert (ledger["rows"], ledger["version"]) == (3, "v2")

    def test_an_hour_that_became_empty_is_empty(self, place: Place, tmp_path: Path) -> None:
        place.warehouse.prepare(DATAPOINT)
        put(place, tmp_path, "datapoint", NOON, [{"dsn": "A"}])
        put(place, tmp_path, "datapoint", NOON, [], version="none")
        assert place.rows("datapoint") == []
        assert place.warehouse.loaded("datapoint", NOON, NOON + HOUR) == {NOON: "none"}

    @pytest.mark.parametrize("order", [*permutations(range(3))])
    def test_the_order_of_the_hours_makes_no_difference(
        self, place: Place, tmp_path: Path, order: tuple[int, ...]
    ) -> None:
        place.warehouse.prepare(DATAPOINT)
        for number in order:
            # The same datapoint is in two of the hours, changed in between.
            rows = [
                {
                    "dsn": "A",
                    "time_uuid": identity("x" if number else "y"),
                    "val_int": number,
                    "updated_at": NOON + number * MINUTE,
                }
            ]
            put(place, tmp_path, "datapoint", NOON + number * HOUR, rows)
        assert sorted(row["val_int"] for row in place.rows("datapoint")) == [0, 1, 2]
        assert sorted(row["val_int"] for row in place.rows("datapoint_unique")) == [0, 2]

    def test_a_load_that_breaks_off_leaves_the_old_hour(self, place: Place, tmp_path: Path) -> None:
        place.warehouse.prepare(DATAPOINT)
        put(place, tmp_path, "datapoint", NOON, [{"dsn": "old"}])
        # By then, the old rows are deleted and the new ones there.
        place.run("drop table {loads}")
        with pytest.raises(AylaWarehouseError, match="can't load datapoint 2026-11-01 12:00 UTC"):
            put(place, tmp_path, "datapoint", NOON, [{"dsn": "new"}])
        assert dsns(place) == ["old"]
        place.warehouse.prepare(DATAPOINT)
        put(place, tmp_path, "datapoint", NOON, [{"dsn": "new"}])
        assert dsns(place) == ["new"]

    def test_a_file_with_fewer_rows_than_it_should_have_is_refused(self, place: Place, tmp_path: Path) -> None:
        place.warehouse.prepare(DATAPOINT)
        put(place, tmp_path, "datapoint", NOON, [{"dsn": "old"}])
        short = dataclasses.replace(made_load(tmp_path, "datapoint", NOON, [{"dsn": "new"}]), rows=2)
        with pytest.raises(AylaWarehouseError, match=r"can't load datapoint 2026-11-01 12:00 UTC: 1 of 2 rows arrived"):
            place.warehouse.replace(short)
        assert dsns(place) == ["old"]

    def test_columns_are_added_and_never_dropped(self, place: Place, tmp_path: Path) -> None:
        narrow = dataclasses.replace(DATAPOINT, columns=tuple(one for one in DATAPOINT.columns if one.name != "scope"))
        place.warehouse.prepare(narrow)
        put(place, tmp_path, "datapoint", NOON, [{"dsn": "A"}], table=narrow)
        wide = DATAPOINT.with_columns((Column("firmware", ColumnType.TEXT, "What the device's maker calls it."),))
        place.warehouse.prepare(wide)
        put(place, tmp_path, "datapoint", NOON + HOUR, [{"dsn": "B", "firmware": "1.2", "scope": "oem"}], table=wide)
        # And a table that lacks them again, as by another task of an older release.
        place.warehouse.prepare(narrow)
        put(place, tmp_path, "datapoint", NOON + 2 * HOUR, [{"dsn": "C"}], table=narrow)
        loaded_rows = sorted((row["dsn"], row["scope"], row["firmware"]) for row in place.rows("datapoint"))
        assert loaded_rows == [("A", None, None), ("B", "oem", "1.2"), ("C", None, None)]

    def test_a_table_does_not_grow_without_end(self, place: Place) -> None:
        place.warehouse.prepare(DATAPOINT)
        more = tuple(Column(f"column_{number}", ColumnType.TEXT, "") for number in range(300))
        with pytest.raises(AylaTableError, match="columns, more than 256"):
            place.warehouse.prepare(DATAPOINT.with_columns(more))

    def test_a_view_follows_the_columns_of_its_table(self, place: Place, tmp_path: Path) -> None:
        place.warehouse.prepare(DATAPOINT)
        wide = DATAPOINT.with_columns((Column("firmware", ColumnType.TEXT, "What the device's maker calls it."),))
        place.warehouse.prepare(wide)
        put(place, tmp_path, "datapoint", NOON, [{"time_uuid": identity("x"), "firmware": "1.2"}], table=wide)
        if not place.shows_added_columns:
            # See test_bigquery_requests.py for this.
            return
        # Also when an hour follows whose files lack it.
        place.warehouse.prepare(DATAPOINT)
        assert [row["firmware"] for row in place.rows("datapoint_unique")] == ["1.2"]

    def test_a_column_of_another_type_is_refused(self, place: Place) -> None:
        place.warehouse.prepare(TABLES["location"])
        place.run("create table {datapoint} (dsn numeric(10, 2))")
        text = r"(?i)column dsn of .*datapoint.* has the type (num|dec)\S.*, but the rows need \w.*table_prefix"
        with pytest.raises(AylaTableError, match=text):
            place.warehouse.prepare(DATAPOINT)

    @pytest.mark.parametrize("event_type", TABLES)
    def test_every_event_type_has_its_table_and_views(self, place: Place, tmp_path: Path, event_type: str) -> None:
        for _ in range(2):
            place.warehouse.prepare(TABLES[event_type])
        put(place, tmp_path, event_type, NOON, [{"dsn": "A", "oem_id": "o"}])
        assert dsns(place, event_type) == ["A"]
        assert [(row["dsn"], row["oem_id"]) for row in place.rows(f"{event_type}_unique")] == [("A", "o")]

    def test_a_row_that_two_hours_hold_is_once_in_the_unique_view_and_the_newest_counts(
        self, place: Place, tmp_path: Path
    ) -> None:
        def value(name: str, number: int, minutes: int) -> Row:
            updated_at = NOON + minutes * MINUTE
            return {"time_uuid": identity(name) if name else None, "val_int": number, "updated_at": updated_at}

        event = {"dsn": "A", "event_time": NOON, "status": "Online"}
        for event_type in ("datapoint", "connection"):
            place.warehouse.prepare(TABLES[event_type])
        put(place, tmp_path, "datapoint", NOON, [value("a", 2, 5), value("b", 1, 0), value("", 7, 0)])
        put(place, tmp_path, "datapoint", NOON + HOUR, [value("a", 1, 0), value("b", 2, 0), value("", 7, 0)])
        put(place, tmp_path, "connection", NOON, [event])
        put(place, tmp_path, "connection", NOON + HOUR, [event, event | {"dsn": "B"}])
        values = [(row["val_int"], row["folder_hour"]) for row in place.rows("datapoint_unique")]
        # Without an identity, each row counts.
        assert sorted(values) == [(2, NOON), (2, NOON + HOUR), (7, NOON), (7, NOON + HOUR)]
        events = [(row["dsn"], row["folder_hour"]) for row in place.rows("connection_unique")]
        assert sorted(events) == [("A", NOON), ("B", NOON + HOUR)]

    def test_the_latest_values_are_those_that_were_made_last(self, place: Place, tmp_path: Path) -> None:
        def value(number: int, minutes: int, updated: int | None = None, **more: object) -> Row:
            return {
                "dsn": "A",
                "property_name": "temperature",
                "val_int": number,
                "created_at": NOON + minutes * MINUTE,
                "updated_at": None if updated is None else NOON + updated * MINUTE,
            } | more

        place.warehouse.prepare(DATAPOINT)
        later = [value(1, 10, 10), value(2, 10, 11), value(3, 5, 20), value(8, 1, property_name="humidity")]
        put(place, tmp_path, "datapoint", NOON + HOUR, later)
        earlier = [value(4, 10), value(5, 9, 30), value(6, 0, 0, dsn="B"), value(7, 0, dsn="C", created_at=None)]
        put(place, tmp_path, "datapoint", NOON, earlier)
        latest = [(row["dsn"], row["property_name"], row["val_int"]) for row in place.rows("latest_values")]
        assert sorted(latest) == [("A", "humidity", 8), ("A", "temperature", 2), ("B", "temperature", 6)]

    def test_of_a_second_the_value_whose_id_is_the_latest_counts(self, place: Place, tmp_path: Path) -> None:
        def value(number: int, ticks: int, **more: object) -> Row:
            # The low bits of the time come first in an id, and the variant is no one's.
            stamp = 0x1E8BFE400000000 + ticks
            low, middle, high = stamp & 0xFFFFFFFF, stamp >> 32 & 0xFFFF, stamp >> 48 | 0x1000
            return {
                "dsn": "A",
                "property_name": "temperature",
                "val_int": number,
                "created_at": NOON,
                "updated_at": NOON,
                "time_uuid": f"{low:08x}-{middle:04x}-{high:04x}-1261-67d251d3ec96",
                "discarded": False,
                "closed": False,
                "base_type": "integer",
            } | more

        place.warehouse.prepare(DATAPOINT)
        message = {"property_name": "log", "base_type": "message"}
        first = [
            value(1, 0xF0000000),
            value(2, 0x100000000),
            value(3, 0x110000000, discarded=True),
            # It was discarded later; that is in the next hour.
            value(4, 0x120000000),
            value(5, 10, **message, closed=True),
            value(6, 20, **message),
        ]
        put(place, tmp_path, "datapoint", NOON, first)
        later = value(4, 0x120000000, discarded=True, updated_at=NOON + HOUR)
        put(place, tmp_path, "datapoint", NOON + HOUR, [later, value(9, 0, property_name="x", discarded=True)])
        latest = [(row["property_name"], row["val_int"]) for row in place.rows("latest_values")]
        assert sorted(latest) == [("log", 5), ("temperature", 2)]

    def test_a_second_with_both_states_changes_nothing(self, place: Place, tmp_path: Path) -> None:
        def event(minutes: int | None, status: str, dsn: str = "A") -> Row:
            time = None if minutes is None else NOON + minutes * MINUTE
            return {"dsn": dsn, "oem_model": "m", "event_time": time, "status": status}

        place.warehouse.prepare(TABLES["connection"])
        flaps = [event(0, "Offline"), event(60, "Online"), event(60, "Offline"), event(1140, "Online")]
        stays = [event(0, "Online", "B"), event(5, "Offline", "B"), event(5, "Online", "B"), event(9, "Offline", "B")]
        others = [event(1200, "Offline"), event(None, "Online"), event(1300, "Elsewhere"), event(None, "Offline", "C")]
        put(place, tmp_path, "connection", NOON, [*flaps, *stays, *others])
        sessions = [(row["dsn"], row["online_at"], row["offline_at"]) for row in place.rows("online_sessions")]
        assert sorted(sessions) == [
            ("A", NOON + 1140 * MINUTE, NOON + 1200 * MINUTE),
            ("B", NOON, NOON + 9 * MINUTE),
        ]

    def test_sessions_begin_and_end_where_the_status_changes(self, place: Place, tmp_path: Path) -> None:
        def event(minutes: int, status: str, dsn: str = "A") -> Row:
            return {"dsn": dsn, "oem_model": "m", "event_time": NOON + minutes * MINUTE, "status": status}

        place.warehouse.prepare(TABLES["connection"])
        events = [event(0, "Offline"), event(5, "Online"), event(7, "online"), event(15, "Offline")]
        put(place, tmp_path, "connection", NOON, [*events, event(4, "Online", "B"), event(2, "Offline", "B")])
        # Two hours of the export hold the same event.
        again = [event(15, "Offline"), event(30, "Online"), event(9, "Offline", "B"), event(16, "Offline")]
        put(place, tmp_path, "connection", NOON + HOUR, again)
        titles = ("dsn", "oem_model", "online_at", "offline_at", "seconds")
        sessions = [tuple(row[title] for title in titles) for row in place.rows("online_sessions")]
        assert sorted(sessions) == [
            ("A", "m", NOON + 5 * MINUTE, NOON + 15 * MINUTE, 600),
            ("A", "m", NOON + 30 * MINUTE, None, None),
            ("B", "m", NOON + 4 * MINUTE, NOON + 9 * MINUTE, 300),
        ]

    def test_registrations_are_counted_by_the_day_in_utc(self, place: Place, tmp_path: Path) -> None:
        midnight = NOON + 12 * HOUR
        rows = [
            {"dsn": "A", "oem_model": "m", "registered": True, "registered_at": midnight - MINUTE},
            {"dsn": "B", "oem_model": "m", "registered": True, "registered_at": midnight - 2 * MINUTE},
            {"dsn": "A", "oem_model": "m", "registered": False, "unregistered_at": midnight},
            {"dsn": "B", "registered": False, "registered_at": midnight - HOUR, "unregistered_at": midnight + HOUR},
            {"dsn": "C", "oem_model": "m", "registered": False, "registered_at": midnight - MINUTE},
            # What nobody knows isn't counted.
            {"dsn": "D", "oem_model": "m", "registered": None, "registered_at": midnight - MINUTE},
            {"dsn": "E", "oem_model": "m", "registered": True},
        ]
        place.warehouse.prepare(TABLES["registration"])
        put(place, tmp_path, "registration", NOON, rows)
        # The same event again.
        put(place, tmp_path, "registration", NOON + HOUR, rows[:1])
        titles = ("registration_day", "oem_model", "registered", "unregistered")
        days = [tuple(row[title] for title in titles) for row in place.rows("registrations_by_day")]
        assert sorted(days, key=str) == [
            (date(2026, 11, 1), "m", 2, 1),
            (date(2026, 11, 2), "m", 0, 1),
            (date(2026, 11, 2), None, 0, 1),
        ]
