"""The statements that Snowflake gets, and the errors made of its refusals."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import pytest

from ayla_provider.domain.tables import TABLES
from ayla_provider.domain.work import Work
from ayla_provider.errors import AylaWarehouseError
from ayla_provider.warehouse.snowflake import SnowflakeWarehouse
from tests.doubles.snowflake_session import Session
from tests.warehouse.made_loads import HOUR, NOON, made_load

DATAPOINT = TABLES["datapoint"]

pytestmark = pytest.mark.filterwarnings("ignore:Arrow output on a DB-API result")


def warehouse(session: Session) -> SnowflakeWarehouse:
    return SnowflakeWarehouse(lambda: session, database=session.connection.database, schema="ayla")


def test_a_session_is_put_into_utc_and_into_the_schema(session: Session) -> None:
    database = session.connection.database
    with warehouse(session):
        pass
    assert [statement for statement, _ in session.statements] == [
        "alter session set timezone = 'UTC'",
        "alter session set timestamp_input_format = 'AUTO'",
        "alter session set lock_timeout = 900",
        f'use database "{database}"',
        'use schema "AYLA"',
    ]


def test_a_session_has_a_tag_of_the_task_and_of_each_load(session: Session, tmp_path: Path) -> None:
    target = warehouse(session)
    target.work_for(Work("it's", "load", "manual__1"))
    with target:
        target.prepare(DATAPOINT)
        for hour in (NOON, NOON + HOUR):
            target.replace(replace(made_load(tmp_path, "datapoint", hour, [{"dsn": "A"}]), oem_id="acme"))
    tags = [statement for statement, _ in session.statements if "query_tag" in statement]
    begin = 'alter session set query_tag = \'{"app": "ayla_provider", "dag": "it\'\'s", "task": "load", '
    assert tags == [
        begin + '"run": "manual__1"}\'',
        begin + '"run": "manual__1", "oem": "acme", "event_type": "datapoint"}\'',
    ]


def test_the_connection_says_where_without_database_and_schema(session: Session, tmp_path: Path) -> None:
    with SnowflakeWarehouse(lambda: session) as target:
        target.prepare(DATAPOINT)
        target.replace(made_load(tmp_path, "datapoint", NOON, [{"dsn": "A"}]))
        assert target.loaded("datapoint", NOON, NOON + HOUR) == {NOON: "v1"}
    assert not [statement for statement, _ in session.statements if statement.startswith("use ")]


def test_a_session_without_its_schema_is_reported_and_ended(session: Session) -> None:
    session.fails = "^use schema"
    with pytest.raises(AylaWarehouseError, match=r"can't connect: .*Cannot perform operation"), warehouse(session):
        pass
    assert session.closed


def test_tables_columns_and_views_have_comments(session: Session) -> None:
    with warehouse(session) as target:
        target.prepare(DATAPOINT)
    sent = " ".join(statement for statement, _ in session.statements)
    assert "\"FOLDER_HOUR\" TIMESTAMP_TZ(6) comment 'The hour of the export''s folder that brought the row" in sent
    assert f"comment = '{DATAPOINT.description}'" in sent
    assert "\"AYLA_LATEST_VALUES\" copy grants comment = 'The latest value of each property of each device.'" in sent


def test_the_file_goes_into_a_table_of_the_session_before_the_transaction(session: Session, tmp_path: Path) -> None:
    with warehouse(session) as target:
        target.prepare(DATAPOINT)
        session.statements.clear()
        one = made_load(tmp_path, "datapoint", NOON, [{"dsn": "A"}])
        target.replace(one)
    (staged,) = {
        word for statement, _ in session.statements for word in statement.split() if word.startswith("AYLA_STAGED_")
    }
    assert [statement.partition(" (")[0] for statement, _ in session.statements] == [
        f"create temporary table {staged}",
        f"put 'file://{one.parquet}' @%{staged} auto_compress = false source_compression = none overwrite = true",
        f"copy into {staged} from @%{staged} file_format =",
        "begin transaction",
        'update "AYLA_TURNS" set "TURNS" = "TURNS" + 1 where "EVENT_TYPE" = %(event_type)s',
        'delete from "AYLA_DATAPOINT" where "FOLDER_HOUR" = to_timestamp_tz(%(folder_hour)s)',
        'insert into "AYLA_DATAPOINT"',
        'delete from "AYLA_LOADS" where "EVENT_TYPE" = %(event_type)s '
        'and "FOLDER_HOUR" = to_timestamp_tz(%(folder_hour)s)',
        'insert into "AYLA_LOADS"',
        "commit",
        f"drop table if exists {staged}",
    ]
    (copy,) = [statement for statement, _ in session.statements if statement.startswith("copy into")]
    assert copy.endswith(
        "file_format = (type = parquet use_logical_type = true) "
        "match_by_column_name = case_insensitive on_error = abort_statement"
    )
    ((_, entry),) = [one for one in session.statements if one[0].startswith('insert into "AYLA_LOADS"')]
    assert entry == one.ledger_row() | {"folder_hour": NOON.isoformat(), "loaded_at": one.loaded_at.isoformat()}


def test_an_hour_without_rows_needs_no_file(session: Session, tmp_path: Path) -> None:
    with warehouse(session) as target:
        target.prepare(DATAPOINT)
        session.statements.clear()
        target.replace(made_load(tmp_path, "datapoint", NOON, []))
    assert [statement.split()[0] for statement, _ in session.statements] == [
        "begin",
        *["update", "delete", "delete", "insert"],
        "commit",
    ]


@pytest.mark.parametrize("step", ["^put", "^copy", "^update", "^delete", "^insert", "^commit"])
def test_a_refusal_at_any_step_is_reported_and_leaves_the_old_hour(session: Session, tmp_path: Path, step: str) -> None:
    with warehouse(session) as target:
        target.prepare(DATAPOINT)
        target.replace(made_load(tmp_path, "datapoint", NOON, [{"dsn": "old"}]))
        session.fails = step
        with pytest.raises(
            AylaWarehouseError, match=r"can't load datapoint 2026-11-01 12:00 UTC: .*Cannot perform operation"
        ):
            target.replace(made_load(tmp_path, "datapoint", NOON, [{"dsn": "new"}], version="v2"))
        session.fails = ""
        assert target.loaded("datapoint", NOON, NOON + HOUR) == {NOON: "v1"}
        # And the same session can go on.
        target.replace(made_load(tmp_path, "datapoint", NOON + HOUR, [{"dsn": "next"}]))
    rows = session.connection.cursor().execute("select dsn from ayla_datapoint order by dsn").fetchall()
    assert rows == [("next",), ("old",)]
    tables = session.connection.cursor().execute("show tables").fetchall()
    assert not [row for row in tables if "STAGED" in str(row)]


def test_a_refused_value_is_not_quoted(session: Session, tmp_path: Path) -> None:
    session.message, session.errno = "Numeric value 'AC000W0001' is not recognized", 100_038
    with warehouse(session) as target:
        target.prepare(DATAPOINT)
        session.fails = "^copy"
        with pytest.raises(AylaWarehouseError, match=r"a value was refused \(error 100038") as raised:
            target.replace(made_load(tmp_path, "datapoint", NOON, [{"dsn": "A"}]))
    assert "AC000W0001" not in str(raised.value)
    assert raised.value.__suppress_context__


def test_a_load_without_its_turn_is_refused(session: Session, tmp_path: Path) -> None:
    with warehouse(session) as target:
        target.prepare(DATAPOINT)
        session.connection.cursor().execute("delete from ayla_turns")
        with pytest.raises(AylaWarehouseError, match=r"the row of its event type in .* is gone"):
            target.replace(made_load(tmp_path, "datapoint", NOON, [{"dsn": "A"}]))
        assert target.loaded("datapoint", NOON, NOON + HOUR) == {}


def test_two_rows_of_an_event_type_do_no_harm(session: Session, tmp_path: Path) -> None:
    with warehouse(session) as target:
        target.prepare(DATAPOINT)
        session.connection.cursor().execute("insert into ayla_turns select 'datapoint', 0")
        target.prepare(DATAPOINT)
        target.replace(made_load(tmp_path, "datapoint", NOON, [{"dsn": "A"}]))
    rows = session.connection.cursor().execute("select turns from ayla_turns").fetchall()
    assert rows == [(1,), (1,)]


def test_hours_are_stated_in_utc(session: Session, tmp_path: Path) -> None:
    with warehouse(session) as target:
        target.prepare(DATAPOINT)
        target.replace(made_load(tmp_path, "datapoint", NOON, [{"dsn": "A"}]))
        (hour,) = target.loaded("datapoint", NOON, NOON + HOUR)
    assert hour == datetime(2026, 11, 1, 12, tzinfo=UTC)
    assert hour.tzinfo is UTC
