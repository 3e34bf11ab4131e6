"""A DuckDB file as the warehouse: whatever happens on the way, its tables are what the archive says."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from random import Random
from typing import Any

import duckdb
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ayla_provider.domain.hour import ONE_HOUR
from ayla_provider.domain.privacy import PrivacyPolicy
from ayla_provider.domain.tables import TABLES, Column, ColumnType
from ayla_provider.errors import AylaWarehouseError
from ayla_provider.warehouse.duckdb import DuckDBWarehouse
from tests.rows.test_expressions import CONNECTION, datapoint
from tests.warehouse import reference
from tests.warehouse.archive import HOUR, archive_hour
from tests.warehouse.loading import LOADED_AT, archive_of, everything, load, load_of
from tests.warehouse.odd_files import OddFiles

NEXT = HOUR + ONE_HOUR


def event(minute: int, status: str, dsn: str = "d1") -> bytes:
    return f"1a2b3c4d,m,{dsn},2026-11-01T07:{minute:02}:00Z,,{status}".encode()


def ask(path: Path, query: str) -> list[tuple[Any, ...]]:
    with duckdb.connect(str(path)) as duck:
        duck.execute("set TimeZone = 'UTC'")
        return duck.execute(query).fetchall()


@settings(max_examples=8, deadline=None)
@given(seed=st.integers(0, 2**32), name=st.sampled_from(["datapoint-22", "datapoint_ack-24", "connection-6"]))
def test_any_order_and_any_number_of_loads_leave_the_same_tables(
    tmp_path_factory: pytest.TempPathFactory, seed: int, name: str
) -> None:
    folder, random, layout = tmp_path_factory.mktemp("order"), Random(seed), reference.LAYOUTS[name]
    maker, hours = OddFiles(layout, seed), [HOUR, NEXT, NEXT + ONE_HOUR]
    for hour in hours:
        # An hour's rows come again in the next one, as the maker remembers them.
        archive_hour(folder / "archive", layout.event_type, [maker.file(8), maker.file(3)], hour)
    with DuckDBWarehouse(folder / "once") as warehouse:
        load(warehouse, archive_of(folder), layout.event_type, hours)
    often = [*hours, *random.choices(hours, k=3)]
    random.shuffle(often)
    for number, part in enumerate((often[:2], often[2:])):
        with DuckDBWarehouse(folder / "often", memory=f"{256 << number}MB") as warehouse:
            load(warehouse, archive_of(folder), layout.event_type, part)
    assert everything(folder / "often") == everything(folder / "once")


def test_an_hour_is_replaced_as_a_whole_and_no_other(tmp_path: Path) -> None:
    archive_hour(tmp_path / "archive", "connection", [event(1, "Online") + b"\n" + event(2, "Offline")])
    archive_hour(tmp_path / "archive", "connection", [event(1, "Online")], NEXT)
    with DuckDBWarehouse(tmp_path / "d") as warehouse:
        load(warehouse, archive_of(tmp_path), "connection", [HOUR, NEXT])
        archive_hour(tmp_path / "archive", "connection", [event(3, "Online")], generation=2, revision=2)
        load(warehouse, archive_of(tmp_path), "connection", [HOUR])
        versions = warehouse.loaded("connection", HOUR, NEXT + ONE_HOUR)
        assert warehouse.loaded("connection", HOUR, NEXT) == {HOUR: versions[HOUR]}
        assert warehouse.loaded("location", HOUR, NEXT) == {}
    assert ask(tmp_path / "d", "select event_time, source_generation from ayla_connection order by folder_hour") == [
        (datetime(2026, 11, 1, 7, 3, tzinfo=UTC), 2),
        (datetime(2026, 11, 1, 7, 1, tzinfo=UTC), 1),
    ]
    ledger = "select event_type, folder_hour, version, rows, lines, duplicates, quarantined, loaded_at, loaded_by"
    assert ask(tmp_path / "d", f"{ledger} from ayla_loads order by folder_hour") == [
        ("connection", hour, versions[hour], 1, 1, 0, 0, LOADED_AT, "test") for hour in (HOUR, NEXT)
    ]


def test_an_hour_that_lost_its_files_is_emptied(tmp_path: Path) -> None:
    archive_hour(tmp_path / "archive", "connection", [event(1, "Online")])
    with DuckDBWarehouse(tmp_path / "d") as warehouse:
        load(warehouse, archive_of(tmp_path), "connection", [HOUR])
        archive_hour(tmp_path / "archive", "connection", [], revision=2)
        load(warehouse, archive_of(tmp_path), "connection", [HOUR])
        assert warehouse.loaded("connection", HOUR, NEXT) == {HOUR: "empty"}
    assert ask(tmp_path / "d", "select count(*) from ayla_connection") == [(0,)]


def test_a_load_that_fails_half_way_changes_nothing_and_a_reader_sees_the_old_rows(tmp_path: Path) -> None:
    archive = archive_of(tmp_path)
    archive_hour(tmp_path / "archive", "connection", [event(1, "Online")])
    with DuckDBWarehouse(tmp_path / "d") as warehouse:
        load(warehouse, archive, "connection", [HOUR])
        reader = warehouse._duck.cursor()
        seen = reader.execute("select * from ayla_connection").fetchall()
        made = archive.ensure("connection", HOUR, {}).manifest
        (tmp_path / "broken").write_bytes(b"PAR1 no parquet")
        with pytest.raises(AylaWarehouseError, match=r"loading connection 2026-11-01 07:00 UTC: .*Nothing was changed"):
            warehouse.replace(replace(load_of(made, tmp_path / "broken"), version="new"))
        assert reader.execute("select * from ayla_connection").fetchall() == seen
        assert warehouse.loaded("connection", HOUR, NEXT) == {HOUR: made.version}

        archive_hour(tmp_path / "archive", "connection", [event(2, "Offline")], generation=2, revision=2)
        reader.execute("begin transaction")
        assert reader.execute("select * from ayla_connection").fetchall() == seen
        load(warehouse, archive, "connection", [HOUR])
        assert reader.execute("select * from ayla_connection").fetchall() == seen, "its own moment"
        reader.execute("commit")
        assert reader.execute("select status from ayla_connection").fetchall() == [("Offline",)]


def test_a_second_process_is_told_what_to_do_about_the_lock(tmp_path: Path) -> None:
    with DuckDBWarehouse(tmp_path / "d"):
        program = (
            "import sys; from ayla_provider.warehouse.duckdb import DuckDBWarehouse\n"
            "try: DuckDBWarehouse(sys.argv[1]).__enter__()\n"
            "except Exception as error: print(type(error).__name__, error)"
        )
        told = subprocess.run(
            [sys.executable, "-c", program, str(tmp_path / "d")], capture_output=True, text=True, check=True, timeout=60
        ).stdout
    assert told.startswith("AylaWarehouseError")
    assert "pool of one slot" in told


def test_a_new_column_is_added_and_one_of_another_type_is_refused(tmp_path: Path) -> None:
    table = TABLES["connection"]
    more = Column("rssi", ColumnType.INTEGER, "It's how strong.")
    with DuckDBWarehouse(tmp_path / "d") as warehouse:
        archive_hour(tmp_path / "archive", "connection", [event(1, "Online")])
        load(warehouse, archive_of(tmp_path), "connection", [HOUR])
        warehouse.prepare(table.with_columns((more,)))
        warehouse.prepare(table.with_columns((more,)))
        warehouse.prepare(table)
        with pytest.raises(AylaWarehouseError, match=r"column rssi of .*ayla_connection.* is BIGINT, .* VARCHAR"):
            warehouse.prepare(table.with_columns((replace(more, type=ColumnType.TEXT), Column("new", more.type, ""))))
        load(warehouse, archive_of(tmp_path), "connection", [HOUR])
    assert ask(tmp_path / "d", "select status, rssi from ayla_connection_unique") == [("Online", None)]
    columns = [name for (name,) in ask(tmp_path / "d", "select column_name from duckdb_columns()")]
    assert "new" not in columns


def test_tables_columns_and_views_say_what_they_are(tmp_path: Path) -> None:
    with DuckDBWarehouse(tmp_path / "d", schema="the house", table_prefix="it's \"_") as warehouse:
        for table in TABLES.values():
            warehouse.prepare(table)
    tables = ask(tmp_path / "d", "select table_name, comment, schema_name from duckdb_tables()")
    assert {schema for _, _, schema in tables} == {"the house"}
    assert {name: comment for name, comment, _ in tables if "loads" not in name} == {
        f"it's \"_{table.event_type}": table.description for table in TABLES.values()
    }
    comments = dict(
        ask(
            tmp_path / "d",
            "select column_name, comment from duckdb_columns() where table_name ~ 'tion$' and schema_name ~ 'house'",
        )
    )
    assert comments["lat"] == "Latitude, degrees."
    assert all(comments.values())
    views = dict(ask(tmp_path / "d", "select view_name, comment from duckdb_views() where not internal"))
    assert {name.partition("_")[2] for name in views} == {
        *(f"{event_type}_unique" for event_type in TABLES),
        *("latest_values", "online_sessions", "registrations_by_day"),
    }
    assert all(views.values())


def test_a_row_that_two_hours_hold_counts_once(tmp_path: Path) -> None:
    first, second = (f"a0b1c2d3-1111-2222-3333-{number:012}" for number in (1, 2))
    old = datapoint(id=first, base_type="integer", value="1")
    newer = datapoint(id=first, base_type="integer", value="2", updated_at="2020-02-05T12:08:27Z")
    without = datapoint(id="", base_type="integer", value="3")
    other = datapoint(id=second, base_type="integer", value="4")
    archive_hour(tmp_path / "archive", "datapoint", [b"\n".join([newer, without, other])])
    archive_hour(tmp_path / "archive", "datapoint", [b"\n".join([old, without, other])], NEXT)
    archive_hour(tmp_path / "archive", "connection", [b"\n".join([event(1, "Online"), event(2, "Offline")])])
    archive_hour(tmp_path / "archive", "connection", [event(1, "Online")], NEXT)
    with DuckDBWarehouse(tmp_path / "d") as warehouse:
        for event_type in ("datapoint", "connection"):
            load(warehouse, archive_of(tmp_path), event_type, [NEXT, HOUR])
    assert ask(tmp_path / "d", "select val_int, folder_hour from ayla_datapoint_unique order by all") == [
        (2, HOUR),
        (3, HOUR),
        (3, NEXT),
        (4, NEXT),
    ]
    assert ask(tmp_path / "d", "select status, folder_hour from ayla_connection_unique order by all") == [
        ("Offline", HOUR),
        ("Online", HOUR),
    ]


def test_latest_values_are_those_that_were_made_last(tmp_path: Path) -> None:
    def value(minute: int, number: int, **cells: str) -> bytes:
        ids = {"id": f"a0b1c2d3-1111-2222-3333-{number:012}", "created_at": f"2020-02-05T12:{minute:02}:00Z"}
        return datapoint(**({"base_type": "integer", "value": str(number)} | ids | cells))

    rows = [value(1, 1), value(3, 3), value(2, 2), value(1, 4, property_name="q"), value(9, 5, dsn="e")]
    archive_hour(tmp_path / "archive", "datapoint", [b"\n".join([*rows, value(0, 6, created_at="", dsn="f")])])
    archive_hour(tmp_path / "archive", "datapoint", [value(2, 7)], NEXT)
    with DuckDBWarehouse(tmp_path / "d") as warehouse:
        load(warehouse, archive_of(tmp_path), "datapoint", [HOUR, NEXT])
    found = ask(tmp_path / "d", "select dsn, property_name, val_int from ayla_latest_values order by all")
    assert found == [("d", "p", 3), ("d", "q", 4), ("e", "p", 5)]


def test_online_sessions_go_from_one_change_to_the_next(tmp_path: Path) -> None:
    rows = [(1, "Online"), (3, "online"), (5, "Offline"), (6, "Offline"), (10, "Online")]
    lines = [event(minute, status) for minute, status in rows] + [event(2, "Offline", "d2"), event(4, "Online", "d2")]
    archive_hour(tmp_path / "archive", "connection", [b"\n".join(lines)])
    archive_hour(tmp_path / "archive", "connection", [event(1, "Online") + b"\n" + event(9, "Offline", "d2")], NEXT)
    with DuckDBWarehouse(tmp_path / "d") as warehouse:
        load(warehouse, archive_of(tmp_path), "connection", [HOUR, NEXT])
    query = "select dsn, minute(online_at), minute(offline_at), seconds from ayla_online_sessions order by all"
    assert ask(tmp_path / "d", query) == [("d1", 1, 5, 240), ("d1", 10, None, None), ("d2", 4, 9, 300)]


def test_registrations_are_counted_by_the_day_of_utc(tmp_path: Path) -> None:
    def row(registered: str, on: str, off: str, dsn: str = "d") -> bytes:
        return f"1a2b3c4d,m,{dsn},,{registered},Same-LAN,{on},{off}".encode()

    late = "Wed Feb 05 23:59:59 UTC 2020"
    lines = [row("true", late, ""), row("true", late, "", "e"), row("true", "Thu Feb 06 00:00:00 UTC 2020", "")]
    lines += [row("false", late, "Thu Feb 06 10:00:00 UTC 2020"), row("false", late, "", "f")]
    archive_hour(tmp_path / "archive", "registration", [b"\n".join(lines)])
    archive_hour(tmp_path / "archive", "registration", [lines[0]], NEXT)
    with DuckDBWarehouse(tmp_path / "d") as warehouse:
        load(warehouse, archive_of(tmp_path), "registration", [HOUR, NEXT])
    query = (
        "select day(registration_day), oem_model, registered, unregistered from ayla_registrations_by_day order by all"
    )
    with duckdb.connect(str(tmp_path / "d")) as duck:
        for zone in ("UTC", "Pacific/Auckland", "America/Los_Angeles"):
            duck.execute(f"set TimeZone = '{zone}'")
            assert duck.execute(query).fetchall() == [(5, "m", 2, 1), (6, "m", 1, 1)]


@pytest.mark.parametrize(
    ("event_type", "row", "dropped", "views"),
    [
        ("connection", event(1, "Online"), "dsn", {"connection_unique"}),
        ("connection", event(1, "Online"), "user_uuid", {"connection_unique", "online_sessions"}),
        ("datapoint", datapoint(base_type="integer", value="1"), "property_name", {"datapoint_unique"}),
        ("datapoint", datapoint(base_type="integer", value="1"), "val_string", {"datapoint_unique", "latest_values"}),
    ],
)
def test_views_that_need_what_a_policy_drops_are_left_out(
    tmp_path: Path, event_type: str, row: bytes, dropped: str, views: set[str]
) -> None:
    archive_hour(tmp_path / "archive", event_type, [row])
    with DuckDBWarehouse(tmp_path / "d") as warehouse:
        load(warehouse, archive_of(tmp_path, PrivacyPolicy({dropped: "drop"})), event_type, [HOUR])
    found = everything(tmp_path / "d")
    assert set(found) == {f"ayla_{name}" for name in (event_type, "loads", *views)}
    assert all(len(rows) == 1 for rows in found.values())


def test_hashed_devices_are_still_told_apart(tmp_path: Path) -> None:
    archive_hour(tmp_path / "archive", "connection", [event(1, "Online") + b"\n" + event(2, "Online", "d2")])
    policy = PrivacyPolicy({"dsn": "hash", "user_uuid": "hash"}, "a key of sixteen characters")
    with DuckDBWarehouse(tmp_path / "d") as warehouse:
        load(warehouse, archive_of(tmp_path, policy), "connection", [HOUR])
    assert ask(tmp_path / "d", "select count(distinct dsn), min(length(dsn)) from ayla_online_sessions") == [(2, 64)]


def test_a_database_in_no_folder_yet_and_a_schema_in_another_case(tmp_path: Path) -> None:
    archive_hour(tmp_path / "archive", "connection", [CONNECTION])
    for schema in ("Main", "main", "MAIN"):
        with DuckDBWarehouse(tmp_path / "a" / "b" / "d", schema=schema) as warehouse:
            load(warehouse, archive_of(tmp_path), "connection", [HOUR])
    assert ask(tmp_path / "a" / "b" / "d", "select count(*) from ayla_connection") == [(1,)]
