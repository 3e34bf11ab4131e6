"""The operators that type, plan, load and verify, with a stream's archive in place of an export's."""

from __future__ import annotations

import re
from contextlib import closing
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import duckdb
import psycopg2
import pytest
from airflow.sdk.execution_time.context import OutletEventAccessors

from ayla_provider.archive.local import FileDestination
from ayla_provider.domain.events import STREAM_EVENT_TYPES
from ayla_provider.domain.hour import ONE_HOUR, hour_of
from ayla_provider.domain.tables import STREAM_TABLES, TABLES
from ayla_provider.operators import (
    AylaExportDuckDBPlanOperator,
    AylaExportDuckDBVerifyOperator,
    AylaExportPostgresPlanOperator,
    AylaExportToDuckDBOperator,
    AylaExportToParquetOperator,
    AylaExportToPostgresOperator,
)
from tests.rows.test_stream_rows import DOCUMENTED, dumped
from tests.support import postgres_server
from tests.support.stream_archive import archive_stream_hour
from tests.support.tools import POSTGRESQL
from tests.test_reconcile_operator import TaskInstance
from tests.warehouse.archive import archive_hour

HOUR = hour_of(datetime.now(UTC)) - timedelta(hours=30)
DEVICE = {"oem_id": "1234abcd", "oem_model": "LC-THERMO-2", "dsn": "LC000X000000001"}
EXPORTED = b"1234abcd,LC-THERMO-2,LC000X000000001,Mon Feb 03 21:30:45 UTC 2020,,Online\r\n"
PREFIX = {"table_prefix": "ayla_stream_"}


def run(made: Any) -> tuple[Any, dict[str, Any]]:
    ti = TaskInstance()
    return made.execute({"ti": ti, "outlet_events": OutletEventAccessors()}), ti.xcoms


def one_hour(event_type: str = "connection", hour: datetime = HOUR) -> dict[str, str]:
    return {"event_type": event_type, "start": hour.isoformat(), "end": (hour + ONE_HOUR).isoformat()}


def connection(status: str) -> bytes:
    return dumped({"metadata": DEVICE, "connection": {"event_time": "2020-02-03T21:30:45Z", "status": status}})


def archive_all(folder: Path) -> None:
    """Write an open hour of each event type, with one record that is there twice."""
    for event_type, key, body, _ in DOCUMENTED:
        record = dumped({"metadata": DEVICE, key: body})
        archive_stream_hour(FileDestination(folder / "stream"), event_type, [[record], [record]], HOUR)


def duck(folder: Path) -> dict[str, Any]:
    return {"archive": f"file://{folder}/stream", "database": str(folder / "ayla.duckdb"), **PREFIX}


def tables(folder: Path) -> set[str]:
    with duckdb.connect(str(folder / "ayla.duckdb")) as database:
        return {name for (name,) in database.execute("select table_name from duckdb_tables()").fetchall()}


def test_open_hours_of_all_event_types_are_planned_and_loaded(tmp_path: Path, airflow_db: None) -> None:
    archive_all(tmp_path)
    arguments = duck(tmp_path)
    items, _ = run(AylaExportDuckDBPlanOperator(task_id="plan", event_types=STREAM_EVENT_TYPES, **arguments))
    assert sorted(item["event_type"] for item in items) == sorted(STREAM_EVENT_TYPES)
    for item in items:
        result, _ = run(AylaExportToDuckDBOperator(task_id="load", **arguments, **item))
        assert (result["lines"], result["rows"], result["duplicates"]) == (2, 1, 1)
    assert tables(tmp_path) == {f"ayla_stream_{name}" for name in ("hours", "loads", "comparisons", *STREAM_TABLES)}
    assert run(AylaExportDuckDBPlanOperator(task_id="plan", event_types=STREAM_EVENT_TYPES, **arguments))[0] == []
    with duckdb.connect(str(tmp_path / "ayla.duckdb")) as database:
        for name in ("activation_unique", "latest_values", "online_sessions", "registrations_by_day"):
            assert len(database.execute(f"select * from ayla_stream_{name}").fetchall()) == 1
    found, _ = run(AylaExportDuckDBVerifyOperator(task_id="verify", event_types=STREAM_EVENT_TYPES, **arguments))
    assert found == []


def test_an_hour_is_loaded_again_when_a_batch_came(tmp_path: Path, airflow_db: None) -> None:
    arguments, archive = duck(tmp_path), FileDestination(tmp_path / "stream")
    for batches in ([[connection("Online")]], [[connection("Online")], [connection("Offline")]]):
        archive_stream_hour(archive, "connection", batches, HOUR)
        (item,), _ = run(AylaExportDuckDBPlanOperator(task_id="plan", **arguments))
        result, _ = run(AylaExportToDuckDBOperator(task_id="load", **arguments, **item))
        assert result["rows"] == len(batches)
    with duckdb.connect(str(tmp_path / "ayla.duckdb")) as database:
        assert len(database.execute("select * from ayla_stream_connection").fetchall()) == 2


def test_a_load_of_an_export_makes_no_table_of_activations(tmp_path: Path, airflow_db: None) -> None:
    archive_hour(tmp_path / "archive", "connection", [EXPORTED], HOUR)
    arguments = {"archive": f"file://{tmp_path}/archive", "database": str(tmp_path / "ayla.duckdb")}
    run(AylaExportToDuckDBOperator(task_id="load", **one_hour(), **arguments))
    assert tables(tmp_path) == {f"ayla_{name}" for name in ("loads", *TABLES)}


def test_parquet_has_a_policy_for_columns_that_only_streams_have(tmp_path: Path, airflow_db: None) -> None:
    archive_all(tmp_path)
    operator = AylaExportToParquetOperator(
        task_id="parquet",
        archive=f"file://{tmp_path}/stream",
        privacy={"dsn": "drop", "device_type": "drop"},
        **one_hour("activation"),
    )
    assert run(operator)[0]["rows"] == 1
    (path,) = (tmp_path / "stream/parquet").rglob("rows.parquet")
    columns = duckdb.sql(f"describe select * from read_parquet('{path}', hive_partitioning = false)").fetchall()
    assert {"dsn", "device_type"} & {name for name, *_ in columns} == set()
    assert {"status", "activation_id"} <= {name for name, *_ in columns}


def view_of_the_docs() -> str:
    """The view of the page, of another event type: with its name and its columns."""
    page = (Path(__file__).parent.parent / "docs/stream.md").read_text(encoding="utf-8")
    (statement,) = re.findall(r"```sql\n(create or replace view .*?;)\n```", page, re.DOTALL)
    return re.sub(r"dsn, property_name, .*", "status", str(statement)).replace("datapoint", "connection")


def archive_both(folder: Path) -> None:
    """Write three hours of a stream, of which the export has the second one."""
    archive = FileDestination(folder / "stream")
    for number in range(3):
        archive_stream_hour(archive, "connection", [[connection(f"S{number}")]], HOUR + number * ONE_HOUR)
    archive_hour(folder / "archive", "connection", [EXPORTED], HOUR + ONE_HOUR)


def test_a_view_takes_each_hour_from_one_side_in_duckdb(tmp_path: Path, airflow_db: None) -> None:
    archive_both(tmp_path)
    hours = {"event_type": "connection", "start": HOUR.isoformat(), "end": (HOUR + 3 * ONE_HOUR).isoformat()}
    run(AylaExportToDuckDBOperator(task_id="load", **duck(tmp_path), **hours))
    exported = {"archive": f"file://{tmp_path}/archive", "database": str(tmp_path / "ayla.duckdb")}
    run(AylaExportToDuckDBOperator(task_id="load", **exported, **one_hour(hour=HOUR + ONE_HOUR)))
    with duckdb.connect(str(tmp_path / "ayla.duckdb")) as database:
        database.execute(view_of_the_docs())
        rows = database.execute("select status from ayla_freshest_connection order by folder_hour").fetchall()
    assert rows == [("S0",), ("Online",), ("S2",)]


def test_postgres_is_loaded_and_has_the_view(tmp_path: Path, airflow_db: None, monkeypatch: pytest.MonkeyPatch) -> None:
    POSTGRESQL.require()
    archive_all(tmp_path)
    archive_both(tmp_path)
    hours = {"event_type": "connection", "start": HOUR.isoformat(), "end": (HOUR + 3 * ONE_HOUR).isoformat()}
    with postgres_server.running() as home:
        login = {"host": home, "user": postgres_server.USER, "dbname": "postgres"}
        monkeypatch.setenv("AIRFLOW_CONN_A_SERVER", f"postgres://{postgres_server.USER}@/postgres?host={home}")
        to_stream = {"archive": f"file://{tmp_path}/stream", "postgres_conn_id": "a_server", "schema": "iot", **PREFIX}
        plan = AylaExportPostgresPlanOperator(task_id="plan", event_types=STREAM_EVENT_TYPES, **to_stream)
        for item in run(plan)[0]:
            run(AylaExportToPostgresOperator(task_id="load", **to_stream, **item))
        to_export = {"archive": f"file://{tmp_path}/archive", "postgres_conn_id": "a_server", "schema": "iot"}
        run(AylaExportToPostgresOperator(task_id="load", **to_export, **one_hour(hour=HOUR + ONE_HOUR)))
        assert run(AylaExportToPostgresOperator(task_id="load", **to_stream, **hours))[0]["unchanged"] == 3
        with closing(psycopg2.connect(**login)) as database:
            cursor = database.cursor()
            cursor.execute("set search_path = iot")
            for event_type in STREAM_TABLES:
                cursor.execute(f"select count(*) from ayla_stream_{event_type}")
                assert cursor.fetchone() == (3 if event_type == "connection" else 1,)
            cursor.execute(view_of_the_docs())
            cursor.execute("select status from ayla_freshest_connection order by folder_hour")
            assert cursor.fetchall() == [("S0",), ("Online",), ("S2",)]
