"""The quarantine at a shell: what lies in it, and another try."""

from __future__ import annotations

import json
from datetime import timedelta
from pathlib import Path
from typing import Any

import duckdb
import pytest

from ayla_provider.__main__ import main
from ayla_provider.archive.local import FileDestination
from ayla_provider.archive.verify import Scope
from ayla_provider.domain.csv.columns import COLUMN_LAYOUTS
from ayla_provider.domain.csv.declaration import declared
from ayla_provider.domain.events import EventType
from ayla_provider.domain.hour import ONE_HOUR, ExportHour
from ayla_provider.domain.privacy import PrivacyPolicy
from ayla_provider.domain.units import counted
from ayla_provider.rows.quarantined import quarantined_hours, reasons_of, replay
from ayla_provider.rows.typed_archive import TypedArchive
from ayla_provider.warehouse.duckdb import DuckDBWarehouse
from ayla_provider.warehouse.verify import verify_ledger
from tests.rows.test_expressions import CONNECTION
from tests.warehouse.archive import HOUR, archive_hour
from tests.warehouse.loading import load

LATER = HOUR + timedelta(days=40)
LINE = b"dsn-1,12"
BAD = b"dsn-2,loud"
KEY = "a key of sixteen characters"
TEXT = {"event_type": "noise", "name": "noise-text", "columns": ["dsn:text", "level:text"]}
NUMBER = {"event_type": "noise", "name": "noise-number", "columns": ["dsn:text", "level:integer"]}


class Setup:
    """Two hours with lines that one layout can't read, and another one can."""

    def __init__(self, folder: Path, policy: PrivacyPolicy | None = None) -> None:
        self.folder = folder
        self.archive = FileDestination(folder / "archive")
        self.rows = FileDestination(folder / "archive" / "parquet")
        self.layouts = (*declared([NUMBER]), *COLUMN_LAYOUTS)
        self.policy = policy
        for hour in (HOUR, LATER):
            archive_hour(folder / "archive", "noise", [b"\n".join([LINE] * 3 + [BAD])], hour)
            self.typed().ensure(ExportHour("noise", hour), {})
        archive_hour(folder / "archive", "connection", [CONNECTION + b"\none,two"], HOUR)
        self.typed().ensure(ExportHour("connection", HOUR), {})

    def typed(self) -> TypedArchive:
        return TypedArchive(self.archive, self.rows, layouts=self.layouts, max_malformed=1, policy=self.policy)

    def rows_of(self, hour: Any) -> list[tuple[Any, ...]]:
        path = self.rows.root / ExportHour("noise", hour).partition / "rows.parquet"
        query = "select dsn, level::varchar from read_parquet(?, hive_partitioning = false) order by all"
        return duckdb.execute(query, [str(path)]).fetchall()


@pytest.fixture
def made(tmp_path: Path) -> Setup:
    return Setup(tmp_path)


def test_reasons_are_counted_by_event_type_and_month(made: Setup) -> None:
    hours = quarantined_hours(made.archive, None, HOUR, LATER + ONE_HOUR)
    assert hours == [ExportHour("connection", HOUR), ExportHour("noise", HOUR), ExportHour("noise", LATER)]
    found = [(each.event_type, each.month, each.reason, each.lines) for each in reasons_of(made.archive, hours)]
    assert found == [
        ("connection", "2026-11", "2 columns instead of 6", 1),
        ("noise", "2026-11", "level is no integer", 1),
        ("noise", "2026-12", "level is no integer", 1),
    ]
    assert quarantined_hours(made.archive, ["noise"], HOUR + ONE_HOUR, LATER) == []


def test_a_declared_layout_brings_lines_back_and_the_warehouse_gets_them(made: Setup) -> None:
    assert made.rows_of(HOUR) == [("dsn-1", "12")]
    with DuckDBWarehouse(made.folder / "d") as warehouse:
        load(warehouse, made.typed(), "noise", [HOUR])
    layouts = (*declared([TEXT]), *COLUMN_LAYOUTS)
    result = replay(made.archive, made.rows, ExportHour("noise", HOUR), {}, layouts=layouts)
    assert (result.before, result.after, result.problem) == (1, 0, "")
    assert made.rows_of(HOUR) == [("dsn-1", "12"), ("dsn-2", "loud")]
    assert made.rows_of(LATER) == [("dsn-1", "12")]
    # A verification of the warehouse finds the hour, as soon as no load can be at work.
    scope = Scope(["noise"], None, LATER)
    with DuckDBWarehouse(made.folder / "d") as warehouse:
        later = verify_ledger(warehouse, made.rows, "noise", scope, now=LATER + timedelta(days=3650))
        assert [finding.hour for finding in later] == [ExportHour("noise", HOUR)]


def test_an_hour_is_made_again_under_its_own_policy_or_not_at_all(tmp_path: Path) -> None:
    policy = PrivacyPolicy({"*": "hash", "level": "keep"}, KEY)
    made = Setup(tmp_path, policy)
    layouts = (*declared([TEXT]), *COLUMN_LAYOUTS)
    hour = ExportHour("noise", HOUR)
    before = made.rows_of(HOUR)
    for key, problem in (("", "the key is needed"), (KEY.upper(), "another key")):
        assert problem in replay(made.archive, made.rows, hour, {}, layouts=layouts, policy_key=key).problem
    assert made.rows_of(HOUR) == before
    assert replay(made.archive, made.rows, hour, {}, layouts=layouts, policy_key=KEY).after == 0
    assert [str(dsn).partition(":")[0] for dsn, _ in made.rows_of(HOUR)] == [policy.key_id] * 2


def test_an_hour_that_was_never_typed_is_left_to_its_load(made: Setup) -> None:
    for path in (made.rows.root / "_typed").rglob("*.json"):
        path.unlink()
    assert "never typed" in replay(made.archive, made.rows, ExportHour("noise", HOUR), {}).problem


def test_the_commands_show_and_try_again(made: Setup, capsys: pytest.CaptureFixture[str], airflow_db: None) -> None:
    place = ["--destination", f"file://{made.folder}/archive", "--since", "2026-10-01", "--until", "2027-01-01"]
    assert main(["quarantine", "list", *place]) == 0
    shown = capsys.readouterr().out
    assert "level is no integer" in shown
    assert "loud" not in shown
    assert main(["quarantine", "list", "--json", *place]) == 0
    assert len(json.loads(capsys.readouterr().out)) == 3
    layouts = made.folder / "layouts.json"
    layouts.write_text(json.dumps([TEXT]))
    replaying = ["quarantine", "replay", "--layouts", str(layouts), "--reason", "level is", *place]
    assert main(replaying) == 0
    shown = capsys.readouterr().out
    assert "noise 2026-11-01 07:00 UTC: 1 quarantined lines before, 0 now" in shown
    assert "2 hours have fewer quarantined lines." in shown
    assert "connection" not in shown


def test_rows_whose_new_column_was_declared_leave_the_quarantine_and_the_command_says_so(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], airflow_db: None
) -> None:
    line = b"1a2b3c4d,LC-THERMO-2,LC000X000000001,Mon Feb 03 21:30:45 UTC 2020,,Online,7\r\n"
    archive_hour(tmp_path / "archive", "connection", [line], HOUR)
    archive = FileDestination(tmp_path / "archive")
    rows = FileDestination(tmp_path / "archive" / "parquet")
    hour = ExportHour(EventType("connection"), HOUR)
    made = TypedArchive(archive, rows, on_new_column={"connection": "quarantine"}).ensure(hour, {}).manifest
    assert (made.rows, made.quarantined) == (1, 0)
    layout = ["oem_id", "oem_model", "dsn", "event_time", "user_uuid", "status", "signal:integer"]
    layouts = tmp_path / "layouts.json"
    layouts.write_text(json.dumps([{"event_type": "connection", "name": "connection-7", "columns": layout}]))
    place = ["--destination", f"file://{tmp_path}/archive", "--since", "2026-10-01", "--until", "2027-01-01"]
    for before in (1, 0):
        assert main(["quarantine", "replay", "--layouts", str(layouts), *place]) == 0
        shown = capsys.readouterr().out
        assert ("1 quarantined lines before, 0 now" in shown) == bool(before)
        assert f"{counted(before, 'hour has', 'hours have')} fewer quarantined lines." in shown
