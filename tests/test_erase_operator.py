"""The operator that erases, its command, and its sample DAG."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from airflow.sdk.execution_time.context import OutletEventAccessors

from ayla_provider.__main__ import main
from ayla_provider._airflow.compat import AirflowFailException
from ayla_provider.operators import AylaExportEraseOperator, AylaExportToDuckDBOperator, AylaExportToParquetOperator
from tests.support.erasing import KEYS, SUBJECT, duckdb_of, hours, load, make_archive, request
from tests.support.traces import layers_with, traces
from tests.test_reconcile_operator import TaskInstance


@pytest.fixture
def root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, airflow_db: None) -> Path:
    make_archive(tmp_path)
    load(tmp_path, duckdb_of(tmp_path))
    request(tmp_path)
    password = json.dumps({"conn_type": "generic", "password": KEYS.newest})
    monkeypatch.setenv("AIRFLOW_CONN_AYLA_ERASURE", password)
    return tmp_path


def erase(root: Path, **changes: Any) -> dict[str, Any]:
    arguments: dict[str, Any] = {
        "requests": f"file://{root / 'requests'}",
        "archive": f"file://{root / 'archive'}",
        "warehouses": [{"kind": "duckdb", "database": str(root / "a.duckdb")}],
    }
    made = AylaExportEraseOperator(task_id="erase", **(arguments | changes))
    return made.execute({"ti": TaskInstance(), "outlet_events": OutletEventAccessors()})  # type: ignore[typeddict-item]


def test_a_dry_run_lists_the_open_requests_and_the_erasure_removes_what_was_approved(
    root: Path, caplog: pytest.LogCaptureFixture
) -> None:
    found = erase(root, dry_run=True)
    assert (found["requests"], len(found["open"])) == (1, 1)
    assert found["open"][0]["deadline"] > datetime.now(UTC).date().isoformat()
    assert found["erased"]["warehouse_rows"] > 0
    assert layers_with(root / "archive", SUBJECT)
    # A request that came after the approval waits for the next one.
    request(root, "ticket-2.json", dsn="LC000X000000001")
    done = erase(root, only=found["ids"])
    assert done["erased"]["csv_lines"] == found["erased"]["csv_lines"]
    assert layers_with(root / "archive", SUBJECT) == {}
    assert [path.name for path in (root / "requests").iterdir()] == ["ticket-2.json"]
    for text in (json.dumps(found), json.dumps(done), caplog.text):
        assert not traces(text.encode(), SUBJECT)
        assert KEYS.newest not in text


def test_a_load_after_the_erasure_has_nothing_to_do_and_needs_the_key(
    root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    erase(root)
    hour = hours()[0]
    arguments = {
        "event_type": hour.event_type,
        "archive": f"file://{root / 'archive'}",
        "start": hour.start,
        "end": hour.end,
        "max_malformed": 1,
    }
    context: Any = {"ti": TaskInstance(), "outlet_events": OutletEventAccessors()}
    made = AylaExportToDuckDBOperator(task_id="load", database=str(root / "a.duckdb"), **arguments)
    assert made.execute(context)["unchanged"] == 1
    # Typed again, it is the same.
    rows = AylaExportToParquetOperator(task_id="rows", parquet=f"file://{root / 'fresh'}", **arguments)
    assert rows.execute(context)["unchanged"] == 0
    assert layers_with(root / "fresh", SUBJECT) == {}
    monkeypatch.setenv("AIRFLOW_CONN_AYLA_ERASURE", json.dumps({"conn_type": "generic", "password": "x" * 20}))
    without = AylaExportToParquetOperator(task_id="rows", parquet=f"file://{root / 'other'}", **arguments)
    with pytest.raises(AirflowFailException, match="which the connection doesn't have"):
        without.execute(context)
    assert not (root / "other").exists()


@pytest.mark.parametrize("warehouses", ["duckdb", [{"kind": "oracle"}], [{}], 7])
def test_a_warehouse_of_another_kind_is_refused(root: Path, warehouses: Any) -> None:
    with pytest.raises(
        AirflowFailException, match="the kinds are bigquery, delta, duckdb, iceberg, postgres, snowflake"
    ):
        erase(root, warehouses=warehouses)
    assert layers_with(root / "archive", SUBJECT)


def test_a_request_that_is_not_valid_stops_everything_before_it_begins(root: Path) -> None:
    (root / "requests" / "ticket-3.json").write_text(json.dumps({"dsn": SUBJECT["dsn"], "reason": "x"}))
    with pytest.raises(
        AirflowFailException, match=r"ticket-3\.json isn't a valid request: it has other fields"
    ) as caught:
        erase(root)
    assert not traces(str(caught.value).encode(), SUBJECT)
    assert not (root / "archive" / "_erasures").exists()


@pytest.mark.parametrize("place", ["archive", "requests"])
def test_a_mistyped_place_is_an_error_and_the_request_stays(root: Path, place: str) -> None:
    with pytest.raises(AirflowFailException, match=r"Nothing was done\. Correct"):
        erase(root, **{place: f"file://{root / 'mistyped'}"})
    assert [path.name for path in (root / "requests").iterdir()] == ["ticket-1.json"]
    assert not (root / "mistyped").exists()
    assert layers_with(root / "archive", SUBJECT)


def test_the_log_counts_in_words(root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    erase(root, dry_run=True)
    # Outside of a task, Airflow's log is the output.
    log = capsys.readouterr().out
    assert "Would erase of 1 request: " in log
    assert " CSV lines, " in log


def test_the_command_counts_first_and_erases_with_apply(root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    arguments = [
        "erase",
        "--requests",
        f"file://{root / 'requests'}",
        "--destination",
        f"file://{root / 'archive'}",
        "--duckdb",
        str(root / "a.duckdb"),
    ]
    assert main(arguments) == 0
    shown = capsys.readouterr().out
    assert "would erase:" in shown
    assert "nothing was changed; --apply erases" in shown
    assert layers_with(root / "archive", SUBJECT)
    assert main([*arguments, "--apply", "--json"]) == 0
    document = json.loads(capsys.readouterr().out)
    assert document["erased"]["warehouse_rows"] > 0
    assert layers_with(root / "archive", SUBJECT) == {}
    assert list((root / "requests").iterdir()) == []
    assert main(arguments) == 0
    assert capsys.readouterr().out == "there is no request\n"
    assert not traces((shown + json.dumps(document)).encode(), SUBJECT)


@pytest.mark.parametrize("place", ["--destination", "--requests"])
def test_the_command_refuses_a_mistyped_place_and_says_what_to_do_at_a_shell(
    root: Path, capsys: pytest.CaptureFixture[str], place: str
) -> None:
    places = {"--requests": f"file://{root / 'requests'}", "--destination": f"file://{root / 'archive'}"}
    mistyped = places | {place: f"file://{root / 'mistyped'}"}
    assert main(["erase", *(text for pair in mistyped.items() for text in pair), "--apply"]) == 2
    assert "Nothing was done. Correct" in capsys.readouterr().err
    assert [path.name for path in (root / "requests").iterdir()] == ["ticket-1.json"]
    (root / "requests" / "ticket-1.json").write_text("{")
    assert main(["erase", *(text for pair in places.items() for text in pair), "--apply"]) == 2
    shown = capsys.readouterr().err
    assert "Nothing was erased, because of 1 request." in shown
    assert "Correct or remove it, and run this command again." in shown
    assert "task" not in shown
