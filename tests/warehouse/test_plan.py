"""Which hours a warehouse lacks."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime, timedelta
from pathlib import Path

from hypothesis import given
from hypothesis import strategies as st

from ayla_provider.archive.local import FileDestination
from ayla_provider.archive.records import Records
from ayla_provider.domain.arrival import HourState
from ayla_provider.domain.hour import ONE_HOUR, ExportHour
from ayla_provider.domain.paths import manifest_path
from ayla_provider.domain.privacy import PrivacyPolicy
from ayla_provider.warehouse.duckdb import DuckDBWarehouse
from ayla_provider.warehouse.plan import ToLoad, compare, joined, to_load
from tests.rows.test_expressions import CONNECTION
from tests.warehouse.archive import HOUR, archive_hour
from tests.warehouse.loading import archive_of, load

LOADS = st.lists(
    st.tuples(st.sampled_from(["a", "b"]), st.integers(0, 60), st.sampled_from(["not loaded", "its files changed"])),
    unique_by=lambda one: one[:2],
)


def hours(loads: list[ToLoad]) -> set[tuple[str, datetime, str]]:
    return {
        (one.event_type, one.start + number * ONE_HOUR, one.reason)
        for one in loads
        for number in range((one.end - one.start) // ONE_HOUR)
    }


@given(LOADS)
def test_joined_loads_are_the_same_hours_day_by_day_and_as_few_as_can_be(given: list[tuple[str, int, str]]) -> None:
    loads = [ToLoad(kind, at, at + ONE_HOUR, why) for kind, number, why in given for at in [HOUR + number * ONE_HOUR]]
    few = joined(loads)
    assert hours(few) == hours(loads)
    assert sum((one.end - one.start) // ONE_HOUR for one in few) == len(loads)
    assert [one.start for one in few] == sorted((one.start for one in few), reverse=True)
    ends = {(one.event_type, one.end, one.reason) for one in few}
    for one in few:
        assert one.start.date() == (one.end - ONE_HOUR).date()
        assert one.start.hour == 0 or (one.event_type, one.start, one.reason) not in ends


def test_a_plan_has_what_differs_and_nothing_else(tmp_path: Path) -> None:
    at = [HOUR + number * ONE_HOUR for number in range(8)]
    for hour in at[:5]:
        archive_hour(tmp_path / "archive", "connection", [CONNECTION], hour)
    archive_hour(tmp_path / "archive", "connection", [], at[5])
    archive_hour(tmp_path / "archive", "connection", [CONNECTION], at[6])
    archive, records = archive_of(tmp_path), Records(FileDestination(tmp_path / "archive"))
    with DuckDBWarehouse(tmp_path / "d") as warehouse:
        load(warehouse, archive, "connection", [at[0], at[1], at[2], at[6]])
        # Treated otherwise: the same files all the same.
        load(warehouse, archive_of(tmp_path, PrivacyPolicy({"user_uuid": "drop"})), "connection", [at[3]])
        archive_hour(tmp_path / "archive", "connection", [CONNECTION, CONNECTION], at[1], revision=2)
        archive_hour(tmp_path / "archive", "connection", [CONNECTION], at[2], generation=2, revision=2)
        archive_hour(tmp_path / "archive", "connection", [], at[6], revision=2)
        found = to_load(records, warehouse.loaded, ["connection", "location"], HOUR, at[7] + ONE_HOUR)
        assert [(one.start, one.reason) for one in found] == [
            (at[6], "its files changed"),
            (at[4], "not loaded"),
            (at[2], "its files changed"),
            (at[1], "its files changed"),
        ]
        load(warehouse, archive, "connection", [one.start for one in found])
        assert to_load(records, warehouse.loaded, ["connection"], HOUR, at[7] + ONE_HOUR) == []
        assert to_load(records, warehouse.loaded, ["connection"], HOUR, HOUR) == []


def test_a_plan_of_months_has_every_hour_once(tmp_path: Path) -> None:
    at = [HOUR + timedelta(hours=hours) for hours in (0, 719, 720, 721, 1439, 1440, 2000)]
    for hour in at:
        archive_hour(tmp_path / "archive", "connection", [CONNECTION], hour)
    records = Records(FileDestination(tmp_path / "archive"))
    found = to_load(records, lambda *_: {}, ["connection"], HOUR, at[-1] + ONE_HOUR)
    assert [one.start for one in found] == at[::-1]
    assert [one.start for one in to_load(records, lambda *_: {}, ["connection"], at[1], at[-1])] == at[-2:0:-1]


def test_a_manifest_that_cannot_be_read_is_passed_over(tmp_path: Path) -> None:
    for number in range(3):
        archive_hour(tmp_path / "archive", "connection", [CONNECTION], HOUR + number * ONE_HOUR)
    (tmp_path / "archive" / manifest_path(ExportHour("connection", HOUR + ONE_HOUR))).write_text("{")
    records = Records(FileDestination(tmp_path / "archive"))
    found = to_load(records, lambda *_: {}, ["connection"], HOUR, HOUR + timedelta(days=1))
    assert [one.start for one in found] == [HOUR + 2 * ONE_HOUR, HOUR]


def test_a_day_is_complete_when_all_its_hours_are_loaded_or_without_events(tmp_path: Path) -> None:
    day = HOUR.replace(hour=0)
    end = day + timedelta(days=2)
    hours = [day + number * ONE_HOUR for number in range(48)]
    quiet, late = hours[5], hours[20]
    for hour in hours:
        archive_hour(tmp_path / "archive", "connection", [] if hour == quiet else [CONNECTION], hour)
        if hour != late:
            archive_hour(tmp_path / "archive", "location", [], hour)
    archive, records = archive_of(tmp_path), Records(FileDestination(tmp_path / "archive"))
    types = ["connection", "location"]
    with DuckDBWarehouse(tmp_path / "d") as warehouse:
        load(warehouse, archive, "connection", [hour for hour in hours if hour not in (quiet, hours[23])])
        second = (day + timedelta(days=1)).date()
        assert compare(records, warehouse.loaded, types, day, end).complete_days == [second]
        # A part of a day isn't a day.
        assert compare(records, warehouse.loaded, types, day, end - ONE_HOUR).complete_days == []
        load(warehouse, archive, "connection", [hours[23]])
        assert compare(records, warehouse.loaded, types, day, end).complete_days == [second]
        archive_hour(tmp_path / "archive", "location", [], late)
        assert compare(records, warehouse.loaded, types, day, end).complete_days == [day.date(), second]
        archive_hour(tmp_path / "archive", "connection", [CONNECTION, CONNECTION], hours[30], revision=2)
        assert compare(records, warehouse.loaded, types, day, end).complete_days == [day.date()]


def test_hours_without_events_are_returned_once_on_demand(tmp_path: Path) -> None:
    archive_hour(tmp_path / "archive", "connection", [], HOUR)
    archive_hour(tmp_path / "archive", "connection", [CONNECTION], HOUR + ONE_HOUR)
    archive, records = archive_of(tmp_path), Records(FileDestination(tmp_path / "archive"))
    end = HOUR + 3 * ONE_HOUR
    with DuckDBWarehouse(tmp_path / "d") as warehouse:
        found = compare(records, warehouse.loaded, ["connection"], HOUR, end, empty_hours=True).to_load
        assert [(one.start, one.reason) for one in found] == [
            (HOUR + ONE_HOUR, "not loaded"),
            (HOUR, "not loaded"),
        ]
        load(warehouse, archive, "connection", [one.start for one in found])
        assert compare(records, warehouse.loaded, ["connection"], HOUR, end, empty_hours=True).to_load == []
        archive_hour(tmp_path / "archive", "connection", [CONNECTION], HOUR, revision=2)
        found = compare(records, warehouse.loaded, ["connection"], HOUR, end, empty_hours=True).to_load
        assert [(one.start, one.reason) for one in found] == [(HOUR, "its files changed")]


def test_an_hour_that_may_still_get_files_keeps_its_day_incomplete(tmp_path: Path) -> None:
    day = HOUR.replace(hour=0)
    for number in range(24):
        manifest = archive_hour(tmp_path / "archive", "connection", [CONNECTION], day + number * ONE_HOUR)
    archive, records = archive_of(tmp_path), Records(FileDestination(tmp_path / "archive"))
    _, stored = records.read_manifest(manifest.hour)
    records.write_manifest(replace(manifest, state=HourState.OPEN, revision=2), stored)
    with DuckDBWarehouse(tmp_path / "d") as warehouse:
        load(warehouse, archive, "connection", [day + number * ONE_HOUR for number in range(24)])
        found = compare(records, warehouse.loaded, ["connection"], day, day + timedelta(days=1))
        assert (found.to_load, found.complete_days) == ([], [])


def test_a_plan_says_what_the_archive_has_of_each_hour(tmp_path: Path) -> None:
    at = [HOUR + number * ONE_HOUR for number in range(6)]
    archive_hour(tmp_path / "archive", "connection", [CONNECTION, CONNECTION], at[0])
    archive_hour(tmp_path / "archive", "connection", [], at[1])
    archive_hour(tmp_path / "archive", "connection", [CONNECTION], at[2])
    (tmp_path / "archive" / manifest_path(ExportHour("connection", at[3]))).write_text("{")
    records = Records(FileDestination(tmp_path / "archive"))
    lost = records.read_manifest(ExportHour("connection", at[2]))[0]
    assert lost is not None
    files = tuple(replace(file, lost="2026-11-28T00:00:00+00:00") for file in lost.files)
    (tmp_path / "archive" / manifest_path(lost.hour)).write_text(replace(lost, files=files).dumps())
    now = at[4] + timedelta(hours=28)
    found = compare(records, lambda *_: {}, ["connection"], HOUR, at[5] + ONE_HOUR, now=now).hours
    stated = sorted((hour.hour, hour.state, hour.files, hour.lost_files) for hour in found)
    assert stated == [
        (at[0], "landed", 2, 0),
        (at[1], "empty", 0, 0),
        (at[2], "lost", 1, 1),
        (at[3], "unreadable", 0, 0),
        (at[4], "missing", 0, 0),
        (at[5], "waiting", 0, 0),
    ]
