"""
What every warehouse must do when people ask to be erased: the contract, for a fixture ``place``.

DuckDB and PostgreSQL run it in test_erasures.py, the doubles of BigQuery and Snowflake in tests/doubles.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from ayla_provider.domain.tables import TABLES, Column, ColumnType
from ayla_provider.errors import AylaConfigError
from ayla_provider.warehouse.base import HeldHour, HourLeft, RowErasure, RowSubject, salted
from tests.warehouse.contract import Place, dsns, put
from tests.warehouse.made_loads import HOUR, NOON, identity

DATAPOINT = TABLES["datapoint"]
A, B, C = (f"LC000X00000000{number}" for number in (1, 2, 3))
USER, OTHER = "3fa85f64-5717-4562-b3fc-2c963f66afa6", "3fa85f64-5717-4562-b3fc-2c963f66afa7"
SALT = "salt"
NOW = datetime(2026, 11, 30, tzinfo=UTC)


def erasure(start: datetime | None = None, end: datetime = NOON + 9 * HOUR, **identifiers: str) -> RowErasure:
    """The erasure of a device, a user, or both."""
    hashes = {column: (salted(SALT, value),) for column, value in identifiers.items()}
    return RowErasure("datapoint", SALT, (RowSubject(hashes, start, end),))


def lowered(hours: Mapping[datetime, tuple[str, int]]) -> list[HourLeft]:
    """Hours that have fewer rows, by their version and the rows that are left."""
    return [HourLeft(at, version, version, rows) for at, (version, rows) in hours.items()]


def fill(place: Place, folder: Path) -> None:
    """Load three hours of three devices, of which A has another user in the last one."""
    place.warehouse.prepare(DATAPOINT)
    place.warehouse.prepare(TABLES["connection"])
    for number in range(3):
        rows = [
            {"dsn": A, "user_uuid": USER if number < 2 else OTHER, "time_uuid": identity(f"a{number}")},
            {"dsn": B, "user_uuid": USER, "time_uuid": identity(f"b{number}")},
            {"dsn": C, "user_uuid": OTHER, "time_uuid": identity(f"c{number}"), "val_string": "grün"},
            {"dsn": None, "user_uuid": None, "time_uuid": identity(f"d{number}")},
        ]
        put(place, folder, "datapoint", NOON + number * HOUR, rows, version=f"v{number}")
    put(place, folder, "connection", NOON, [{"dsn": A, "user_uuid": USER}], version="c")


class ErasureContract:
    """The tests."""

    def test_rows_are_counted_by_hour_and_nothing_changes(self, place: Place, tmp_path: Path) -> None:
        assert place.warehouse.erasable(erasure(dsn=A)) == {}
        fill(place, tmp_path)
        before = place.rows("datapoint")
        of_device = place.warehouse.erasable(erasure(dsn=A.lower()))
        assert of_device == dict.fromkeys((NOON, NOON + HOUR, NOON + 2 * HOUR), 1)
        assert [at.utcoffset() for at in of_device] == [UTC.utcoffset(None)] * 3
        of_both = place.warehouse.erasable(erasure(dsn=A, user_uuid=USER.upper().replace("-", "")))
        assert of_both == {NOON: 2, NOON + HOUR: 2, NOON + 2 * HOUR: 2}
        assert place.warehouse.erasable(erasure(NOON + HOUR, NOON + 2 * HOUR, dsn=A)) == {NOON + HOUR: 1}
        assert place.warehouse.erasable(erasure(dsn="LC000X000000009")) == {}
        assert place.rows("datapoint") == before

    def test_rows_and_ledger_change_together_and_nobody_elses(self, place: Place, tmp_path: Path) -> None:
        fill(place, tmp_path)
        others = [row for row in place.rows("datapoint") if row["dsn"] != A or row["folder_hour"] == NOON + 2 * HOUR]
        left = [
            HourLeft(NOON, "v0", "w0", 3, 7, 3, 1),
            HourLeft(NOON + HOUR, "v1", "v1", 3),
        ]
        place.warehouse.erase(erasure(dsn=A), left)
        assert sorted(place.rows("datapoint"), key=repr) == sorted(others, key=repr)
        held = place.warehouse.held("datapoint", NOON, NOON + 3 * HOUR)
        assert held == {
            NOON: HeldHour("w0", 3, 3, 3),
            NOON + HOUR: HeldHour("v1", 4, 3, 3),
            NOON + 2 * HOUR: HeldHour("v2", 4, 4, 4),
        }
        ledger = {row["folder_hour"]: row for row in place.rows("loads") if row["event_type"] == "datapoint"}
        assert [ledger[NOON][name] for name in ("lines", "duplicates", "quarantined")] == [7, 3, 1]
        assert place.warehouse.erasable(erasure(NOON, NOON + 2 * HOUR, dsn=A)) == {}
        assert len(place.rows("connection")) == 1
        assert place.warehouse.loaded("connection", NOON, NOON + HOUR) == {NOON: "c"}

    def test_an_hour_that_somebody_loaded_in_the_meantime_keeps_its_entry(self, place: Place, tmp_path: Path) -> None:
        fill(place, tmp_path)
        put(place, tmp_path, "datapoint", NOON, [{"dsn": A}, {"dsn": B}], version="new")
        place.warehouse.erase(erasure(dsn=A), [HourLeft(NOON, "v0", "w0", 3, 3, 0, 0)])
        assert place.warehouse.loaded("datapoint", NOON, NOON + HOUR) == {NOON: "new"}
        # What is to be erased goes all the same.
        assert place.warehouse.erasable(erasure(NOON, NOON + HOUR, dsn=A)) == {}

    def test_an_erasure_that_is_repeated_changes_nothing_more(self, place: Place, tmp_path: Path) -> None:
        fill(place, tmp_path)
        left = lowered({NOON + number * HOUR: (f"v{number}", 3) for number in range(3)})
        for _ in range(2):
            place.warehouse.erase(erasure(dsn=A), left)
            assert sorted(filter(None, (row["dsn"] for row in place.rows("datapoint")))) == [B, B, B, C, C, C]
        assert {entry.rows for entry in place.warehouse.held("datapoint", NOON, NOON + 3 * HOUR).values()} == {3}

    def test_hashes_of_a_privacy_policy_count_as_the_identifiers(self, place: Place, tmp_path: Path) -> None:
        hashed = "0" * 60 + "abcd"
        text = tuple(
            dataclasses.replace(column, type=ColumnType.TEXT) if column.name == "user_uuid" else column
            for column in DATAPOINT.columns
        )
        table = dataclasses.replace(DATAPOINT, columns=text)
        place.warehouse.prepare(table)
        put(place, tmp_path, "datapoint", NOON, [{"dsn": A, "user_uuid": hashed}, {"dsn": B}], table=table)
        assert place.warehouse.erasable(erasure(user_uuid=hashed)) == {NOON: 1}

    def test_a_column_that_the_table_lacks_matches_nothing(self, place: Place, tmp_path: Path) -> None:
        columns = tuple(column for column in DATAPOINT.columns if column.name != "dsn")
        table = dataclasses.replace(DATAPOINT, columns=(*columns, Column("firmware", ColumnType.TEXT, "")))
        place.warehouse.prepare(table)
        put(place, tmp_path, "datapoint", NOON, [{"user_uuid": USER}, {"user_uuid": OTHER}], table=table)
        assert place.warehouse.erasable(erasure(dsn=A)) == {}
        assert place.warehouse.erasable(erasure(dsn=A, user_uuid=USER)) == {NOON: 1}
        # Two requests, each of another identifier.
        of_device, of_user = erasure(NOON, dsn=A), erasure(NOON, user_uuid=USER)
        both = dataclasses.replace(of_device, subjects=(*of_device.subjects, *of_user.subjects))
        assert place.warehouse.erasable(both) == {NOON: 1}
        place.warehouse.erase(both, lowered({NOON: ("v1", 1)}))
        assert [row["user_uuid"] for row in place.rows("datapoint")] == [OTHER]

    def test_many_hours_and_subjects_fit_into_one_call(self, place: Place, tmp_path: Path) -> None:
        place.warehouse.prepare(DATAPOINT)
        for number in range(3):
            put(place, tmp_path, "datapoint", NOON + number * HOUR, [{"dsn": A}, {"dsn": B}], version="v")
        subjects = tuple(
            RowSubject({"dsn": (salted(SALT, f"LC000X{number:09}"),)}, None, NOON + 9 * HOUR)
            for number in (1, *range(100, 150))
        )
        many = RowErasure("datapoint", SALT, subjects)
        hours = {NOON + number * HOUR: ("v", 1) for number in range(60)}
        place.warehouse.erase(many, lowered(hours))
        assert dsns(place) == [B, B, B]

    def test_an_event_type_with_the_name_of_another_table_is_refused(self, place: Place) -> None:
        with pytest.raises(AylaConfigError, match="event type 'loads' can't be loaded"):
            place.warehouse.erasable(dataclasses.replace(erasure(dsn=A), event_type="loads"))

    def test_after_it_forgot_everything_else_is_as_before(self, place: Place, tmp_path: Path) -> None:
        fill(place, tmp_path)
        place.warehouse.erase(erasure(dsn=A), lowered({NOON + number * HOUR: (f"v{number}", 3) for number in range(3)}))
        names = ("datapoint", "connection", "loads", "datapoint_unique", "latest_values", "online_sessions")
        before: dict[str, Any] = {name: sorted(place.rows(name), key=repr) for name in names}
        leftovers = place.warehouse.forget(["connection", "datapoint", "location"], NOW)
        assert all(leftover.gone_by is None or leftover.gone_by > NOW for leftover in leftovers)
        assert {name: sorted(place.rows(name), key=repr) for name in names} == before
        place.warehouse.prepare(DATAPOINT)
        put(place, tmp_path, "datapoint", NOON + 5 * HOUR, [{"dsn": B}])
        assert len(place.rows("datapoint")) == 10
