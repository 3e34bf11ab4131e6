"""The operators of Delta Lake, from an archive to the tables and their upkeep."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from ayla_provider._airflow.compat import AirflowFailException
from ayla_provider.domain.hour import ONE_HOUR, hour_of
from ayla_provider.errors import AylaTableError
from ayla_provider.operators import (
    AylaExportDeltaPlanOperator,
    AylaExportDeltaUpkeepOperator,
    AylaExportDeltaVerifyOperator,
    AylaExportToDeltaOperator,
)
from tests.test_warehouse_operators import CONNECTION, run
from tests.warehouse.archive import archive_hour
from tests.warehouse.delta_place import InDelta

DAYS = 3
FIRST = hour_of(datetime.now(UTC)).replace(hour=4) - timedelta(days=DAYS)


@pytest.fixture
def arguments(tmp_path: Path) -> dict[str, str]:
    return {"archive": f"file://{tmp_path}/archive", "tables": f"file://{tmp_path}/tables"}


def plan(arguments: dict[str, str], **more: Any) -> list[dict[str, str]]:
    items: list[dict[str, str]] = run(AylaExportDeltaPlanOperator(task_id="plan", **arguments, **more))[0]
    return items


def test_hours_are_planned_loaded_verified_and_kept_up(arguments: dict[str, str], tmp_path: Path) -> None:
    hours = [FIRST + number * ONE_HOUR for number in range(3)]
    for number, hour in enumerate(hours):
        archive_hour(tmp_path / "archive", "connection", [CONNECTION.replace(b":45", b":%02d" % number)], hour)
    items = plan(arguments, max_loads=1)
    assert [(item["start"], item["end"]) for item in items] == [
        (hours[0].isoformat(), (hours[-1] + ONE_HOUR).isoformat())
    ]
    result, _ = run(AylaExportToDeltaOperator(task_id="load", **arguments, **items[0]))
    assert (result["hours"], result["rows"], result["unchanged"]) == (3, 3, 0)
    place = InDelta(tmp_path / "tables")
    # One commit for all hours, after the one that made the table.
    assert place.table("connection").version() == 1
    assert place.tables() == ["connection", "datapoint", "datapoint_ack", "location", "registration"]
    assert plan(arguments) == []
    result, _ = run(AylaExportToDeltaOperator(task_id="load", **arguments, **items[0]))
    assert (result["unchanged"], place.table("connection").version()) == (3, 1)
    verify = AylaExportDeltaVerifyOperator(task_id="verify", **arguments)
    assert run(verify)[0] == []

    upkeep: dict[str, Any] = {"tables": arguments["tables"], "lookback": timedelta(days=1)}
    planned, _ = run(AylaExportDeltaUpkeepOperator(task_id="upkeep", dry_run=True, **upkeep))
    assert planned["tables"] == 6
    assert (planned["days_compacted"], planned["files_compacted"], planned["files_written"]) == (1, 3, 1)
    assert place.table("connection").version() == 1
    assert run(AylaExportDeltaUpkeepOperator(task_id="upkeep", **upkeep))[0]["days_compacted"] == 1
    assert len(place.named("connection")) == 1
    assert len(place.rows("connection")) == 3
    assert run(verify)[0] == []

    # What another tool removes is found, and loaded again if there is more than there should be.
    place.table("connection").delete(f"cast(folder_hour as string) like '{hours[1]:%Y-%m-%dT%H}%'")
    items, xcoms = run(verify)
    assert items == []
    assert xcoms["summary"]["damages"] == {"fewer_rows": 1}


def test_upkeep_of_no_table_says_so(arguments: dict[str, str]) -> None:
    made = AylaExportDeltaUpkeepOperator(task_id="upkeep", tables=arguments["tables"])
    assert run(made)[0] == {"tables": 0}


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"log_entries": 99}, "at least 100 must stay"),
        ({"tables": "https://host/tables"}, "Delta tables can't be in"),
        ({"tables": ""}, "expected a URL"),
    ],
)
def test_what_upkeep_cannot_do_fails_for_good(arguments: dict[str, str], wrong: dict[str, Any], message: str) -> None:
    made = AylaExportDeltaUpkeepOperator(task_id="upkeep", **{"tables": arguments["tables"]} | wrong)
    with pytest.raises(AirflowFailException, match=f"AylaConfigError: .*{message}"):
        run(made)


def test_upkeep_takes_a_template_for_the_place(tmp_path: Path) -> None:
    fields = ("tables", "tables_conn_id", "table_prefix")
    made = AylaExportDeltaUpkeepOperator(task_id="task", **{name: f"{{{{ params.{name} }}}}" for name in fields})
    made.render_template_fields({"params": {name: f"a {name}" for name in fields}})
    assert {name: getattr(made, name) for name in fields} == {name: f"a {name}" for name in fields}


def test_a_google_connection_that_deltalake_cannot_use_is_refused_before_anything_is_written(
    arguments: dict[str, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    connection = {"conn_type": "google_cloud_platform", "extra": {"impersonation_chain": "other@x.example"}}
    monkeypatch.setenv("AIRFLOW_CONN_IMPERSONATING", json.dumps(connection))
    archive_hour(tmp_path / "archive", "connection", [CONNECTION], FIRST)
    arguments = arguments | {"tables": "gs://bucket/tables", "tables_conn_id": "impersonating"}
    hour = {"event_type": "connection", "start": FIRST.isoformat(), "end": ""}
    with pytest.raises(AirflowFailException, match="impersonation_chain, which deltalake can't use"):
        run(AylaExportToDeltaOperator(task_id="load", **arguments, **hour))
    assert not (tmp_path / "archive" / "_typed").exists()
    assert list((tmp_path / "archive").rglob("*.parquet")) == []


def test_a_table_that_another_tool_made_unsafe_fails_with_what_to_do(arguments: dict[str, str], tmp_path: Path) -> None:
    archive_hour(tmp_path / "archive", "connection", [CONNECTION], FIRST)
    hour = {"event_type": "connection", "start": FIRST.isoformat(), "end": ""}
    run(AylaExportToDeltaOperator(task_id="load", **arguments, **hour))
    table = InDelta(tmp_path / "tables").table("connection")
    table.alter.set_table_properties(
        {"delta.setTransactionRetentionDuration": "interval 30 days"}, raise_if_not_exists=False
    )
    with pytest.raises((AylaTableError, AirflowFailException), match="Unset it: ALTER TABLE"):
        run(AylaExportDeltaPlanOperator(task_id="plan", **arguments))
