from __future__ import annotations

import hashlib
import hmac
import json
import shlex
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import duckdb
import pytest
from airflow.sdk.execution_time.context import OutletEventAccessors

from ayla_provider._airflow.compat import AirflowFailException
from ayla_provider.assets import layout_alias
from ayla_provider.domain.events import EVENT_TYPES
from ayla_provider.domain.hour import ONE_HOUR, hour_of
from ayla_provider.domain.keys import key_id
from ayla_provider.errors import AylaConfigError, AylaNotSettledError
from ayla_provider.local_cloud.fleet import Fleet
from ayla_provider.operators import (
    AylaExportDuckDBPlanOperator,
    AylaExportToDuckDBOperator,
    AylaExportToParquetOperator,
)
from tests.support.fleet import seed_with_all_event_types
from tests.test_reconcile_operator import TaskInstance
from tests.warehouse.archive import archive_fleet, archive_hour

HOUR = hour_of(datetime.now(UTC)) - timedelta(hours=30)
CONNECTION = b"1a2b3c4d,LC-THERMO-2,LC000X000000001,Mon Feb 03 21:30:45 UTC 2020,,Online\r\n"


def run(made: Any) -> Any:
    ti, events = TaskInstance(), OutletEventAccessors()
    result = made.execute({"ti": ti, "outlet_events": events})
    return result, ti.xcoms, events


def load(folder: Path, item: dict[str, str], **changes: Any) -> dict[str, Any]:
    arguments = {
        "task_id": "load",
        "archive": f"file://{folder}/archive",
        "database": str(folder / "ayla.duckdb"),
    }
    result: dict[str, Any] = run(AylaExportToDuckDBOperator(**(arguments | item | changes)))[0]
    return result


def plan(folder: Path, **changes: Any) -> tuple[list[dict[str, str]], dict[str, Any]]:
    arguments: dict[str, Any] = {
        "task_id": "plan",
        "archive": f"file://{folder}/archive",
        "database": str(folder / "ayla.duckdb"),
    }
    items, xcoms, _ = run(AylaExportDuckDBPlanOperator(**(arguments | changes)))
    return items, xcoms["summary"]


def one_hour(event_type: str = "connection", hour: datetime = HOUR) -> dict[str, str]:
    return {"event_type": event_type, "start": hour.isoformat(), "end": (hour + ONE_HOUR).isoformat()}


def ask(folder: Path, query: str) -> list[tuple[Any, ...]]:
    with duckdb.connect(str(folder / "ayla.duckdb"), read_only=True) as duck:
        return duck.execute(query).fetchall()


def test_the_logs_say_which_hour_became_how_many_rows(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    archive_hour(tmp_path / "archive", "connection", [CONNECTION * 2 + b"no,row\r\n"], HOUR)
    (item,), _ = plan(tmp_path)
    assert "Hours to load: 1." in capsys.readouterr().out
    load(tmp_path, item, max_malformed=0.5)
    log = capsys.readouterr().out
    what = f"connection {HOUR:%Y-%m-%d %H:%M} UTC"
    assert f"{what}: 3 lines = 1 loaded + 1 duplicate + 1 quarantined; " in log
    assert f"into DuckDB file {tmp_path}/ayla.duckdb, in " in log
    assert f"1 lines couldn't be read. They are kept in file://{tmp_path}/archive/_quarantine/" in log
    plan(tmp_path)
    assert "Nothing to load." in capsys.readouterr().out


def test_the_plan_is_what_a_load_is_expanded_over_and_the_loads_leave_nothing_to_do(tmp_path: Path) -> None:
    hours = [HOUR + number * ONE_HOUR for number in range(6)]
    fleet = Fleet(seed=seed_with_all_event_types(hours))
    rows = {}
    for event_type in EVENT_TYPES:
        for hour in hours:
            archive_fleet(tmp_path / "archive", fleet, event_type, hour)
            rows[event_type] = rows.get(event_type, 0) + fleet.answer(event_type, hour).distinct_rows
    items, summary = plan(tmp_path)
    wanted = {
        (event_type, hour.isoformat()) for event_type in EVENT_TYPES for hour in hours if fleet.files(event_type, hour)
    }
    assert {(item["event_type"], item["start"]) for item in items} == wanted
    assert [item["start"] for item in items] == sorted((item["start"] for item in items), reverse=True)
    assert (summary["hours"], summary["loads"], summary["postponed"]) == (len(wanted), len(wanted), 0)
    for item in items:
        assert load(tmp_path, item)["unchanged"] == 0
    for event_type in EVENT_TYPES:
        assert ask(tmp_path, f"select count(*) from ayla_{event_type}") == [(rows[event_type],)]
    assert plan(tmp_path)[0] == []


def test_an_hour_that_is_loaded_is_left_as_it_is_and_the_log_says_so(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    archive_hour(tmp_path / "archive", "connection", [CONNECTION], HOUR)
    first = load(tmp_path, one_hour())
    assert (first["rows"], first["unchanged"]) == (1, 0)
    before = ask(tmp_path, "select * from ayla_loads")
    again = load(tmp_path, one_hour())
    assert (again["rows"], again["unchanged"]) == (0, 1)
    assert "nothing to do" in capsys.readouterr().out
    assert ask(tmp_path, "select * from ayla_loads") == before


def test_an_hour_whose_files_changed_is_planned_and_replaced_as_a_whole(tmp_path: Path) -> None:
    archive_hour(tmp_path / "archive", "connection", [CONNECTION, CONNECTION.replace(b"Online", b"Offline")], HOUR)
    load(tmp_path, one_hour())
    archive_hour(tmp_path / "archive", "connection", [CONNECTION], HOUR, generation=2, revision=2)
    (item,), _ = plan(tmp_path)
    assert item["reason"] == f"connection {HOUR:%Y-%m-%d %H:%M} UTC: its files changed"
    load(tmp_path, item)
    assert ask(tmp_path, "select status, source_generation from ayla_connection") == [("Online", 2)]
    assert ask(tmp_path, "select rows, lines from ayla_loads") == [(1, 1)]


def test_more_hours_than_may_be_mapped_are_joined_by_day_and_the_rest_waits(tmp_path: Path) -> None:
    day = HOUR.replace(hour=0) - timedelta(days=2)
    for number in range(48):
        archive_hour(tmp_path / "archive", "connection", [CONNECTION], day + number * ONE_HOUR)
    items, summary = plan(tmp_path, max_loads=5)
    assert [item["reason"].partition(", ")[2] for item in items] == ["24 hours: not loaded"] * 2
    assert (summary["hours"], summary["loads"], summary["postponed"]) == (48, 2, 0)
    items, summary = plan(tmp_path, max_loads=1)
    assert (summary["hours"], summary["loads"], summary["postponed"]) == (48, 1, 24)
    assert load(tmp_path, items[0])["hours"] == 24
    assert ask(tmp_path, "select count(*), count(distinct folder_hour) from ayla_connection") == [(24, 24)]


def test_the_lookback_ends_and_since_goes_further_back(tmp_path: Path) -> None:
    old = HOUR - timedelta(days=30)
    archive_hour(tmp_path / "archive", "connection", [CONNECTION], old)
    assert plan(tmp_path)[0] == []
    assert [item["start"] for item in plan(tmp_path, since=old.isoformat())[0]] == [old.isoformat()]


def test_an_hour_that_is_not_in_the_archive_yet_can_be_tried_again(tmp_path: Path) -> None:
    with pytest.raises(AylaNotSettledError, match="has no manifest"):
        load(tmp_path, one_hour())


def test_a_file_of_no_known_layout_fails_for_good_and_stays_in_the_archive(tmp_path: Path) -> None:
    manifest = archive_hour(tmp_path / "archive", "connection", [b"a,b,c\r\nd,e,f\r\n"], HOUR)
    with pytest.raises(AirflowFailException, match=r"AylaLayoutError.*connection-6"):
        load(tmp_path, one_hour())
    assert (tmp_path / "archive" / manifest.files[0].path).read_bytes() == b"a,b,c\r\nd,e,f\r\n"


def test_a_new_column_is_loaded_with_a_warning_and_an_asset_event(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    archive_hour(tmp_path / "archive", "connection", [CONNECTION], HOUR)
    archive_hour(tmp_path / "archive", "connection", [CONNECTION[:-2] + b",wifi\r\n"], HOUR + ONE_HOUR)
    load(tmp_path, one_hour())
    item = one_hour(hour=HOUR + ONE_HOUR)
    made = AylaExportToDuckDBOperator(
        task_id="load", archive=f"file://{tmp_path}/archive", database=str(tmp_path / "ayla.duckdb"), **item
    )
    _, _, events = run(made)
    (event,) = events[layout_alias()].asset_alias_events
    assert event.extra["layouts"] == ["connection-6 with new columns column_7"]
    assert "has files with a new layout" in capsys.readouterr().out
    assert ask(tmp_path, "select column_7 from ayla_connection order by folder_hour") == [(None,), ("wifi",)]


def test_a_privacy_policy_reaches_tables_and_leaves_no_trace_of_what_it_hides(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    key = "a key of more than sixteen characters"
    monkeypatch.setenv("AIRFLOW_CONN_AYLA_PRIVACY", json.dumps({"conn_type": "generic", "password": key}))
    archive_hour(tmp_path / "archive", "connection", [CONNECTION], HOUR)
    load(tmp_path, one_hour(), privacy={"dsn": "hash", "user_uuid": "drop"}, privacy_conn_id="ayla_privacy")
    ((dsn,),) = ask(tmp_path, "select dsn from ayla_connection")
    assert dsn == f"{key_id(key)}:{hmac.new(key.encode(), b'LC000X000000001', hashlib.sha256).hexdigest()}"
    columns = [name for (name,) in ask(tmp_path, "select column_name from duckdb_columns()")]
    assert "user_uuid" not in columns
    output = "".join(capsys.readouterr())
    assert "LC000X000000001" not in output
    assert key not in output
    for file in [*(tmp_path / "archive" / "parquet").rglob("*"), tmp_path / "ayla.duckdb"]:
        if file.is_file():
            assert b"LC000X000000001" not in file.read_bytes(), file
            assert key.encode() not in file.read_bytes(), file


def use_key(monkeypatch: pytest.MonkeyPatch, key: str) -> None:
    monkeypatch.setenv("AIRFLOW_CONN_AYLA_PRIVACY", json.dumps({"conn_type": "generic", "password": key}))


def conf_of(error: pytest.ExceptionInfo[BaseException]) -> dict[str, str]:
    """Return the conf of the command that an error's message has."""
    command = str(error.value).partition("airflow dags trigger ")[2].partition(". Or load")[0]
    return dict(json.loads(shlex.split(command)[2]))


def test_a_rotated_key_is_seen_and_the_command_of_the_error_loads_all_hours_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    policy: dict[str, Any] = {"privacy": {"dsn": "hash"}, "privacy_conn_id": "ayla_privacy"}
    hours = [HOUR - 200 * ONE_HOUR, HOUR, HOUR + ONE_HOUR]
    old, new = "the old key, with some characters", "the new key, with some characters"
    for hour in hours:
        archive_hour(tmp_path / "archive", "connection", [CONNECTION], hour)
    use_key(monkeypatch, old)
    for hour in hours[:2]:
        load(tmp_path, one_hour(hour=hour), **policy)
    before = ask(tmp_path, "select * from ayla_connection order by folder_hour")
    use_key(monkeypatch, new)
    with pytest.raises(AirflowFailException, match=r"AylaPolicyError.*2 hours") as error:
        plan(tmp_path, **policy)
    with pytest.raises(AirflowFailException, match=r"AylaPolicyError.*2 hours"):
        load(tmp_path, one_hour(hour=hours[2]), **policy)
    assert ask(tmp_path, "select * from ayla_connection order by folder_hour") == before
    conf = conf_of(error)
    assert conf["since"] == hours[0].isoformat()
    items, _ = plan(tmp_path, **conf, **policy)
    reasons = {item["start"]: item["reason"].partition(": ")[2] for item in items}
    changed = "its privacy policy or key changed"
    assert reasons == dict(zip([hour.isoformat() for hour in hours], [changed, changed, "not loaded"], strict=True))
    for item in items:
        load(tmp_path, item, earlier_policies=conf["earlier_policies"], **policy)
    ((hashed, count),) = ask(tmp_path, "select dsn, count(*) from ayla_connection group by all")
    assert (hashed.partition(":")[0], count) == (key_id(new), 3)
    # Nothing of the old key is left, so that nobody needs its id any more.
    assert plan(tmp_path, **policy)[0] == []
    assert not any(key in text for key in (old, new) for text in capsys.readouterr())


def test_another_policy_of_one_task_fails_and_changes_nothing(tmp_path: Path) -> None:
    for hour in (HOUR, HOUR + ONE_HOUR):
        archive_hour(tmp_path / "archive", "connection", [CONNECTION], hour)
    load(tmp_path, one_hour())
    policy = {"privacy": {"*": "drop", "status": "keep"}}
    with pytest.raises(AirflowFailException, match=r"AylaPolicyError.*1 hour .*: none\. This task's is p[0-9a-f]{8}"):
        load(tmp_path, one_hour(hour=HOUR + ONE_HOUR), **policy)
    assert ask(tmp_path, "select count(*) from ayla_connection") == [(1,)]
    # A task that replaces all hours of the table mixes nothing.
    assert load(tmp_path, one_hour(), **policy)["rows"] == 1
    with pytest.raises(AirflowFailException, match=r"AylaPolicyError.*: p[0-9a-f]{8}\. This task's is none"):
        load(tmp_path, one_hour(hour=HOUR + ONE_HOUR))
    assert load(tmp_path, one_hour(hour=HOUR + ONE_HOUR), **policy)["rows"] == 1


def test_a_plan_that_does_not_know_the_policy_says_if_a_table_has_two(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for hour in (HOUR, HOUR + ONE_HOUR):
        archive_hour(tmp_path / "archive", "connection", [CONNECTION], hour)
    load(tmp_path, one_hour())
    load(tmp_path, one_hour(hour=HOUR + ONE_HOUR), privacy={"dsn": "drop"}, earlier_policies=["none"])
    assert plan(tmp_path)[0] == []
    assert "The table of connection has hours of several privacy policies: none, p" in capsys.readouterr().out
    (item,), _ = plan(tmp_path, earlier_policies="none")
    assert item["start"] == HOUR.isoformat()


def test_a_hash_without_a_key_is_refused_before_anything_is_read(tmp_path: Path) -> None:
    archive_hour(tmp_path / "archive", "connection", [CONNECTION], HOUR)
    with pytest.raises(AirflowFailException, match="privacy_conn_id"):
        load(tmp_path, one_hour(), privacy={"dsn": "hash"})


@pytest.mark.parametrize("name", ["user_uid", "DSN", "value"])
def test_a_misspelt_column_of_a_policy_is_refused_rather_than_kept(tmp_path: Path, name: str) -> None:
    archive_hour(tmp_path / "archive", "connection", [CONNECTION], HOUR)
    with pytest.raises(AirflowFailException, match=f"no table has a column '{name}'"):
        load(tmp_path, one_hour(), privacy={name: "drop"})


def test_a_layout_declared_later_makes_the_rows_again_when_the_load_is_cleared(tmp_path: Path) -> None:
    archive_hour(tmp_path / "archive", "connection", [CONNECTION[:-2] + b",wifi\r\n"], HOUR)
    load(tmp_path, one_hour())
    columns = ["oem_id", "oem_model", "dsn", "event_time", "user_uuid", "status", "network"]
    layout = {"event_type": "connection", "name": "connection-7", "columns": columns}
    assert load(tmp_path, one_hour(), layouts=[layout])["unchanged"] == 0
    assert ask(tmp_path, "select network, column_7 from ayla_connection") == [("wifi", None)]
    assert load(tmp_path, one_hour(), layouts=[layout])["unchanged"] == 1
    # Nobody declared anything for another event type.
    assert plan(tmp_path)[0] == []


def test_parquet_alone_needs_no_warehouse(tmp_path: Path) -> None:
    archive_hour(tmp_path / "archive", "connection", [CONNECTION], HOUR)
    arguments = {"task_id": "type", "archive": f"file://{tmp_path}/archive", "parquet": f"file://{tmp_path}/rows"}
    result, _, _ = run(AylaExportToParquetOperator(**arguments, **one_hour()))
    assert (result["rows"], result["lines"], result["unchanged"]) == (1, 1, 0)
    found = duckdb.sql(f"select dsn, status from read_parquet('{tmp_path}/rows/event_type=*/*/*/*.parquet')")
    assert found.fetchall() == [("LC000X000000001", "Online")]
    again, _, _ = run(AylaExportToParquetOperator(**arguments, **one_hour()))
    assert again["unchanged"] == 1


@pytest.mark.parametrize(("argument", "value"), [("max_loads", 0), ("max_loads", 2000), ("lookback", timedelta(0))])
def test_arguments_that_cannot_be_are_refused_when_the_dag_is_read(argument: str, value: Any) -> None:
    with pytest.raises(AylaConfigError, match=argument):
        AylaExportDuckDBPlanOperator(task_id="plan", archive="file:///a", database="d", **{argument: value})


@pytest.mark.parametrize(
    "database",
    [
        *(":memory:", "ayla.duckdb", "~/ayla.duckdb", "", " ", "file:///data/a.duckdb", "s3://b/a.duckdb", "md:ayla"),
        *(None, 5),
    ],
)
def test_a_database_that_is_no_file_of_the_worker_fails_for_good(tmp_path: Path, database: Any) -> None:
    with pytest.raises(AirflowFailException, match=r"AylaConfigError: database is .*absolute path"):
        plan(tmp_path, database=database)


def test_a_database_that_is_a_folder_fails_for_good(tmp_path: Path) -> None:
    with pytest.raises(AirflowFailException, match=r"AylaConfigError: database is the folder .*: name a file in it"):
        plan(tmp_path, database=str(tmp_path))


@pytest.mark.parametrize("blanks", ["{}\n", " {}", "\t{} "])
def test_blanks_around_the_path_of_a_database_do_not_count(tmp_path: Path, blanks: str) -> None:
    plan(tmp_path, database=blanks.format(tmp_path / "ayla.duckdb"))
    assert [path.name for path in tmp_path.iterdir()] == ["ayla.duckdb"]
