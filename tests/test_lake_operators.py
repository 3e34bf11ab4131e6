"""The operators of Iceberg and Delta: what holds for the operators of every warehouse holds for theirs."""

from __future__ import annotations

import hashlib
import hmac
import json
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from airflow.sdk.execution_time.context import OutletEventAccessors

from ayla_provider import operators
from ayla_provider.__main__ import main
from ayla_provider._airflow.compat import AirflowFailException
from ayla_provider.archive.local import FileDestination
from ayla_provider.domain.events import STREAM_EVENT_TYPES
from ayla_provider.domain.hour import ONE_HOUR, hour_of
from ayla_provider.domain.keys import key_id
from ayla_provider.links import AylaParquetLink, AylaQuarantineLink
from ayla_provider.local_cloud.fleet import Fleet
from tests.rows.test_stream_rows import DOCUMENTED, dumped
from tests.support.fleet import seed_with_all_event_types
from tests.support.stream_archive import archive_stream_hour
from tests.support.traces import contents, traces
from tests.test_reconcile_operator import TaskInstance
from tests.warehouse.archive import archive_fleet, archive_hour

HOUR = hour_of(datetime.now(UTC)) - timedelta(hours=30)
ONLINE = b"1a2b3c4d,LC-THERMO-2,LC000X000000001,Mon Feb 03 21:30:45 UTC 2020,,Online\r\n"
OFFLINE = ONLINE.replace(b"Online", b"Offline")
PASSWORD = "not-for-the-eyes-of-anybody"
DEVICE = {"oem_id": "1234abcd", "oem_model": "LC-THERMO-2", "dsn": "LC000X000000001"}


class Lake:
    """
    Tables of one format in a folder.

    :param name: the format, as the names of the operators have it
    :param arguments: those that name the tables
    :param read: returns the rows of a table, as the format's own library reads them
    :param append: adds rows that a table has to the table, as somebody else's program
    :param remove: removes all rows of a table, as somebody else's program
    """

    def __init__(
        self,
        name: str,
        folder: Path,
        arguments: dict[str, Any],
        read: Callable[[str], list[dict[str, Any]]],
        append: Callable[[str], None],
        remove: Callable[[str], None],
    ) -> None:
        self.name, self.folder, self.arguments = name, folder, arguments
        self.read, self.append, self.remove = read, append, remove

    def _run(self, operator: str, arguments: dict[str, Any]) -> Any:
        made = getattr(operators, operator.format(self.name))(
            **{"task_id": "task", "archive": f"file://{self.folder}/archive"} | self.arguments | arguments
        )
        ti = TaskInstance()
        return made, made.execute({"ti": ti, "outlet_events": OutletEventAccessors()}), ti.xcoms

    def plan(self, **arguments: Any) -> list[dict[str, str]]:
        items: list[dict[str, str]] = self._run("AylaExport{}PlanOperator", arguments)[1]
        return items

    def load(self, **arguments: Any) -> dict[str, Any]:
        result: dict[str, Any] = self._run("AylaExportTo{}Operator", arguments)[1]
        return result

    def loaded(self, **arguments: Any) -> Any:
        """Load, and return the operator."""
        return self._run("AylaExportTo{}Operator", arguments)[0]

    def verify(self, **arguments: Any) -> tuple[list[dict[str, Any]], dict[str, int]]:
        """Return what is to be loaded again, and how often each damage was found."""
        _, items, xcoms = self._run("AylaExport{}VerifyOperator", arguments)
        return items, xcoms["summary"]["damages"]

    def retain(self, **arguments: Any) -> dict[str, Any]:
        """Remove old hours, and return the counts."""
        (layer,) = self._run("AylaExport{}RetentionOperator", {"keep_for": timedelta(days=90)} | arguments)[1]
        return dict(layer)

    def traces(self, identifiers: dict[str, str]) -> set[str]:
        """Return which identifiers any byte of the tables has."""
        return {name for _, content in contents(self.folder / "lake") for name in traces(content, identifiers)}


def iceberg(folder: Path, monkeypatch: pytest.MonkeyPatch) -> Lake:
    pytest.importorskip("pyiceberg", reason="pip install 'airflow-provider-ayla[iceberg]'")
    from pyiceberg.catalog.sql import SqlCatalog

    properties = {"uri": f"sqlite:///{folder}/catalog.db", "warehouse": f"file://{folder}/lake"}
    connection = {
        "conn_type": "iceberg",
        "host": properties["uri"],
        "extra": {"type": "sql", "warehouse": properties["warehouse"], "s3.secret-access-key": PASSWORD},
    }
    monkeypatch.setenv("AIRFLOW_CONN_A_CATALOG", json.dumps(connection))

    def table(name: str) -> Any:
        return SqlCatalog("a_catalog", **properties).load_table(f"ayla.{name}")

    def read(name: str) -> list[dict[str, Any]]:
        rows: list[dict[str, Any]] = table(name).scan().to_arrow().to_pylist()
        return rows

    def append(name: str) -> None:
        table(name).append(table(name).scan().to_arrow())

    def remove(name: str) -> None:
        table(name).delete()

    arguments = {"iceberg_conn_id": "a_catalog", "namespace": "ayla"}
    return Lake("Iceberg", folder, arguments, read, append, remove)


def delta(folder: Path, monkeypatch: pytest.MonkeyPatch) -> Lake:
    deltalake = pytest.importorskip("deltalake", reason="pip install 'airflow-provider-ayla[delta]'")

    def table(name: str) -> Any:
        return deltalake.DeltaTable(f"{folder}/lake/{name}")

    def rows(name: str) -> Any:
        import pyarrow as pa

        return pa.table(deltalake.QueryBuilder().register("t", table(name)).execute("select * from t").read_all())

    def read(name: str) -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = rows(name).to_pylist()
        return found

    def append(name: str) -> None:
        deltalake.write_deltalake(table(name), rows(name), mode="append")

    def remove(name: str) -> None:
        table(name).delete()

    return Lake("Delta", folder, {"tables": f"file://{folder}/lake"}, read, append, remove)


@pytest.fixture(params=[iceberg, delta], ids=["Iceberg", "Delta"])
def lake(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, airflow_db: None) -> Lake:
    made: Lake = request.param(tmp_path, monkeypatch)
    return made


def one_hour(event_type: str = "connection", hour: datetime = HOUR) -> dict[str, str]:
    return {"event_type": event_type, "start": hour.isoformat(), "end": (hour + ONE_HOUR).isoformat()}


def test_tables_hold_what_the_plan_returns_and_agree_with_the_receipts(lake: Lake, tmp_path: Path) -> None:
    hours = [HOUR, HOUR + ONE_HOUR]
    fleet = Fleet(seed=seed_with_all_event_types(hours))
    for event_type in ("datapoint", "connection"):
        for hour in hours:
            archive_fleet(tmp_path / "archive", fleet, event_type, hour)
    items = lake.plan()
    assert len(items) == sum(bool(fleet.files(kind, hour)) for kind in ("datapoint", "connection") for hour in hours)
    for item in items:
        assert lake.load(**item)["unchanged"] == 0
    assert lake.plan() == []
    assert lake.load(**items[0])["unchanged"] == 1
    assert lake.verify() == ([], {})
    for event_type in ("datapoint", "connection"):
        rows = lake.read(f"ayla_{event_type}")
        for hour in hours:
            found = [row for row in rows if row["folder_hour"].astimezone(UTC) == hour]
            assert len(found) == fleet.answer(event_type, hour).distinct_rows


def test_a_verification_finds_rows_that_others_added_and_the_load_over_it_repairs_them(
    lake: Lake, tmp_path: Path
) -> None:
    archive_hour(tmp_path / "archive", "connection", [ONLINE + OFFLINE], HOUR)
    lake.load(**one_hour())
    lake.append("ayla_connection")
    assert len(lake.read("ayla_connection")) == 4
    (item,), damages = lake.verify()
    assert damages == {"more_rows": 1}
    lake.load(**item)
    assert sorted(row["status"] for row in lake.read("ayla_connection")) == ["Offline", "Online"]
    assert lake.verify() == ([], {})


def test_the_command_compares_a_lake_with_the_receipts(
    lake: Lake, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    archive_hour(tmp_path / "archive", "connection", [ONLINE], HOUR)
    lake.load(**one_hour())
    command = ["verify", "--destination", f"file://{tmp_path}/archive", "--until", (HOUR + ONE_HOUR).isoformat()]
    command += ["--warehouse", lake.name.lower(), *(f"{name}={value}" for name, value in lake.arguments.items())]
    assert main(command) == 0
    assert "The warehouse agrees with the receipts." in capsys.readouterr().out
    lake.append("ayla_connection")
    assert main(command) == 1
    assert "more_rows" in capsys.readouterr().out
    # Where there are no tables, nothing agrees.
    assert main([*command, "table_prefix=other_"]) == 2
    assert "has no table of loads" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("warehouse", "message"),
    [
        (["oracle"], "there is no kind of warehouse 'oracle'"),
        (["duckdb", "database=/a"], "give --duckdb for a DuckDB file"),
        (["iceberg"], "the warehouse iceberg: missing a required argument: 'namespace'"),
        (["delta", "tables"], "--warehouse delta has 'tables': expected NAME=VALUE"),
        (["delta", "tables=file:///a", "owner=x"], "got an unexpected keyword argument 'owner'"),
    ],
)
def test_the_command_says_how_a_warehouse_is_named(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], airflow_db: None, warehouse: list[str], message: str
) -> None:
    assert main(["verify", "--destination", f"file://{tmp_path}", "--warehouse", *warehouse]) == 2
    assert message in capsys.readouterr().err


def test_rows_that_somebody_removed_are_found_and_not_loaded_again(lake: Lake, tmp_path: Path) -> None:
    archive_hour(tmp_path / "archive", "connection", [ONLINE], HOUR)
    lake.load(**one_hour())
    lake.remove("ayla_connection")
    assert lake.verify() == ([], {"fewer_rows": 1})


def test_old_hours_go_by_a_rule_with_each_byte_and_nobody_misses_them(lake: Lake, tmp_path: Path) -> None:
    old, device = HOUR - timedelta(days=100), "LC000X000000009"
    for hour, dsn in ((old, device), (HOUR, DEVICE["dsn"])):
        archive_hour(tmp_path / "archive", "connection", [ONLINE.replace(b"LC000X000000001", dsn.encode())], hour)
        lake.load(**one_hour(hour=hour))
    assert lake.traces({"old": device, "new": DEVICE["dsn"]}) == {"old", "new"}

    before = sorted(path for path in tmp_path.rglob("*") if path.is_file())
    counted = lake.retain(count_only=True)
    assert (counted["hours"], counted["rows"], counted["remains"]) == (1, 1, "")
    assert sorted(path for path in tmp_path.rglob("*") if path.is_file()) == before

    assert lake.retain() == counted | {"before": lake.retain()["before"]}
    assert [row["dsn"] for row in lake.read("ayla_connection")] == [DEVICE["dsn"]]
    assert lake.traces({"old": device, "new": DEVICE["dsn"]}) == {"new"}
    assert lake.plan(since=(old - ONE_HOUR).isoformat()) == []
    assert lake.verify(lookback=None) == ([], {})
    assert lake.load(**one_hour(hour=old))["unchanged"] == 1
    (certificate,) = (tmp_path / "archive" / "_removals").glob("*.json")
    (layer,) = json.loads(certificate.read_text())["layers"]
    assert layer["hours_by_event_type"] == {"connection": 1}


def test_a_stream_is_planned_loaded_and_verified(lake: Lake, tmp_path: Path) -> None:
    for event_type, key, body, _ in DOCUMENTED:
        record = dumped({"metadata": DEVICE, key: body})
        archive_stream_hour(FileDestination(tmp_path / "archive"), event_type, [[record], [record]], HOUR)
    arguments = {"table_prefix": "ayla_stream_"}
    items = lake.plan(event_types=STREAM_EVENT_TYPES, **arguments)
    assert sorted(item["event_type"] for item in items) == sorted(STREAM_EVENT_TYPES)
    for item in items:
        result = lake.load(**arguments, **item)
        assert (result["lines"], result["rows"], result["duplicates"]) == (2, 1, 1)
    for event_type in STREAM_EVENT_TYPES:
        assert len(lake.read(f"ayla_stream_{event_type}")) == 1
    assert lake.plan(event_types=STREAM_EVENT_TYPES, **arguments) == []
    assert lake.verify(event_types=STREAM_EVENT_TYPES, **arguments) == ([], {})


def test_a_privacy_policy_reaches_the_tables_and_leaves_no_trace_of_what_it_hides(
    lake: Lake, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    key = "a key of more than sixteen characters"
    monkeypatch.setenv("AIRFLOW_CONN_AYLA_PRIVACY", json.dumps({"conn_type": "generic", "password": key}))
    archive_hour(tmp_path / "archive", "connection", [ONLINE], HOUR)
    lake.load(**one_hour(), privacy={"dsn": "hash", "user_uuid": "drop"}, privacy_conn_id="ayla_privacy")
    (row,) = lake.read("ayla_connection")
    hashed = hmac.new(key.encode(), b"LC000X000000001", hashlib.sha256).hexdigest()
    assert row["dsn"] == f"{key_id(key)}:{hashed}"
    assert "user_uuid" not in row
    files = [path for path in (tmp_path / "lake").rglob("*") if path.is_file()]
    assert files
    for path in files:
        content = path.read_bytes()
        assert b"LC000X000000001" not in content, path
        assert key.encode() not in content, path


def test_malformed_lines_stay_out_of_the_tables_and_too_many_change_nothing(lake: Lake, tmp_path: Path) -> None:
    archive_hour(tmp_path / "archive", "connection", [ONLINE + b"no,row\r\n"], HOUR)
    made = lake.loaded(**one_hour(), max_malformed=0.5)
    assert len(made.quarantine_paths) == 1
    assert [row["status"] for row in lake.read("ayla_connection")] == ["Online"]
    assert lake.verify() == ([], {})
    archive_hour(tmp_path / "archive", "connection", [OFFLINE + b"no,row\r\n"], HOUR, revision=2)
    with pytest.raises(AirflowFailException, match="AylaQuarantineError"):
        lake.load(**one_hour(), max_malformed=0)
    assert [row["status"] for row in lake.read("ayla_connection")] == ["Online"]


def test_what_a_load_says_of_itself_has_no_secret(
    lake: Lake, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    archive_hour(tmp_path / "archive", "connection", [ONLINE], HOUR)
    made = lake.loaded(**one_hour())
    names = [outlet.name for outlet in made.outlets]
    assert made.asset("connection", **lake.arguments).name in names
    assert PASSWORD not in "".join([*names, *capsys.readouterr()])
    assert {type(link) for link in made.operator_extra_links} >= {AylaParquetLink, AylaQuarantineLink}
