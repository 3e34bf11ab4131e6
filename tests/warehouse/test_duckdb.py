"""A DuckDB file as the warehouse: with every fault on the way, its tables are what the archive says."""

from __future__ import annotations

import resource
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from random import Random
from typing import Any

import duckdb
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ayla_provider.domain.hour import ONE_HOUR, ExportHour
from ayla_provider.domain.privacy import PrivacyPolicy
from ayla_provider.domain.tables import TABLES, Column, ColumnType
from ayla_provider.errors import AylaWarehouseError
from ayla_provider.warehouse.duckdb import DuckDBWarehouse
from harness import reference
from tests.rows.test_expressions import CONNECTION, datapoint
from tests.support.proofs import scale
from tests.warehouse.archive import HOUR, archive_hour
from tests.warehouse.loading import archive_of, everything, load, load_of
from tests.warehouse.made_loads import Row, made_load
from tests.warehouse.odd_files import OddFiles

NEXT = HOUR + ONE_HOUR


REGISTRATION = b"1a2b3c4d,m,d1,a0b1c2d3-1111-2222-3333-abcdef000001,true,Dsn,2026-11-01T07:00:00Z,"


def event(minute: int, status: str, dsn: str = "d1") -> bytes:
    return f"1a2b3c4d,m,{dsn},2026-11-01T07:{minute:02}:00Z,,{status}".encode()


def ask(path: Path, query: str) -> list[tuple[Any, ...]]:
    with duckdb.connect(str(path)) as duck:
        duck.execute("set TimeZone = 'UTC'")
        return duck.execute(query).fetchall()


@settings(max_examples=scale(4, 160), deadline=None)
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
        made = archive.ensure(ExportHour("connection", HOUR), {}).manifest
        (tmp_path / "broken").write_bytes(b"PAR1 no parquet")
        message = r"can't load connection 2026-11-01 07:00 UTC: \w+\. .*safe to try"
        with pytest.raises(AylaWarehouseError, match=message):
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


def test_an_hour_whose_long_values_do_not_fit_into_the_memory_says_so_and_loads_with_more(tmp_path: Path) -> None:
    random = Random(1)
    rows: list[Row] = [{"dsn": f"AC{number}", "metadata": random.randbytes(384 * 1024).hex()} for number in range(100)]
    long = made_load(tmp_path, "datapoint", HOUR, rows)
    with DuckDBWarehouse(tmp_path / "d", memory="64MB") as warehouse:
        warehouse.prepare(long.table)
        with pytest.raises(AylaWarehouseError, match=r"DuckDB needs more memory.*Raise the operator's memory"):
            warehouse.replace(long)
    with DuckDBWarehouse(tmp_path / "d") as warehouse:
        warehouse.replace(long)
    assert ask(tmp_path / "d", "select count(*), sum(length(metadata)) from ayla_datapoint") == [
        (100, 100 * 768 * 1024)
    ]


def test_the_error_of_a_second_process_says_what_to_do_about_the_lock(tmp_path: Path) -> None:
    with DuckDBWarehouse(tmp_path / "d"):
        program = (
            "import sys; from ayla_provider.warehouse.duckdb import DuckDBWarehouse\n"
            "try: DuckDBWarehouse(sys.argv[1]).__enter__()\n"
            "except Exception as error: print(type(error).__name__, error)"
        )
        output = subprocess.run(
            [sys.executable, "-c", program, str(tmp_path / "d")],
            capture_output=True,
            text=True,
            check=True,
            timeout=300,
        ).stdout
    assert output.startswith("AylaWarehouseError")
    assert "pool of one slot" in output


def test_a_new_column_is_added_and_one_of_another_type_is_refused(tmp_path: Path) -> None:
    table = TABLES["connection"]
    more = Column("rssi", ColumnType.INTEGER, "It's how strong.")
    with DuckDBWarehouse(tmp_path / "d") as warehouse:
        archive_hour(tmp_path / "archive", "connection", [event(1, "Online")])
        load(warehouse, archive_of(tmp_path), "connection", [HOUR])
        warehouse.prepare(table.with_columns((more,)))
        warehouse.prepare(table.with_columns((more,)))
        warehouse.prepare(table)
        message = r"column rssi of .*ayla_connection.* has the type BIGINT, .* VARCHAR"
        with pytest.raises(AylaWarehouseError, match=message):
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


@pytest.mark.parametrize(
    ("event_type", "row", "dropped", "views"),
    [
        # The whole row tells these apart, so nothing does after a column is gone.
        ("connection", event(1, "Online"), "dsn", set()),
        ("connection", event(1, "Online"), "user_uuid", {"online_sessions"}),
        ("connection", event(1, "Online"), "oem_model", set()),
        ("connection", event(1, "Online"), "ip", {"connection_unique", "online_sessions"}),
        ("connection", event(1, "Online"), "*", set()),
        ("registration", REGISTRATION, "oem_model", set()),
        ("registration", REGISTRATION, "user_uuid", set()),
        ("datapoint", datapoint(base_type="integer", value="1"), "oem_model", {"datapoint_unique", "latest_values"}),
        ("datapoint", datapoint(base_type="integer", value="1"), "*", {"datapoint_unique"}),
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


def test_hashed_devices_remain_distinct(tmp_path: Path) -> None:
    archive_hour(tmp_path / "archive", "connection", [event(1, "Online") + b"\n" + event(2, "Online", "d2")])
    policy = PrivacyPolicy({"dsn": "hash", "user_uuid": "hash"}, "a key of sixteen characters")
    with DuckDBWarehouse(tmp_path / "d") as warehouse:
        load(warehouse, archive_of(tmp_path, policy), "connection", [HOUR])
    assert ask(tmp_path / "d", "select count(distinct dsn), min(length(dsn)) from ayla_online_sessions") == [(2, 73)]


@pytest.mark.parametrize("size", [0, 1_000, 10_000])
def test_a_disk_that_is_full_when_the_file_is_created_leaves_none_that_cannot_be_opened(
    tmp_path: Path, size: int
) -> None:
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, limits[1]))
    try:
        with pytest.raises(AylaWarehouseError), DuckDBWarehouse(tmp_path / "a.duckdb"):
            pass
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert list(tmp_path.iterdir()) == []
    archive_hour(tmp_path / "archive", "connection", [event(1, "Online") + b"\n"])
    with DuckDBWarehouse(tmp_path / "a.duckdb") as warehouse:
        load(warehouse, archive_of(tmp_path), "connection", [HOUR])
    assert ask(tmp_path / "a.duckdb", "select count(*) from ayla_connection") == [(1,)]


def test_a_database_in_no_folder_yet_and_a_schema_in_another_case(tmp_path: Path) -> None:
    archive_hour(tmp_path / "archive", "connection", [CONNECTION])
    for schema in ("Main", "main", "MAIN"):
        with DuckDBWarehouse(tmp_path / "a" / "b" / "d", schema=schema) as warehouse:
            load(warehouse, archive_of(tmp_path), "connection", [HOUR])
    assert ask(tmp_path / "a" / "b" / "d", "select count(*) from ayla_connection") == [(1,)]
