"""What a verification finds in a warehouse."""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import duckdb
import pytest

from ayla_provider.archive.findings import Damage
from ayla_provider.archive.local import FileDestination
from ayla_provider.archive.verify import Scope
from ayla_provider.domain.events import EventType
from ayla_provider.domain.hour import ONE_HOUR, ExportHour
from ayla_provider.domain.typed_manifest import typed_manifest_path
from ayla_provider.warehouse.duckdb import DuckDBWarehouse
from ayla_provider.warehouse.verify import verify_ledger
from tests.rows.test_expressions import CONNECTION
from tests.warehouse.archive import HOUR, archive_hour
from tests.warehouse.loading import archive_of, load

TYPE = EventType("connection")
HOURS = [HOUR + number * ONE_HOUR for number in range(8)]
LATER = datetime.now(UTC) + timedelta(days=2)
"""A time at which each load is over."""


class Loaded:
    """A DuckDB file that holds the typed rows of some hours, and one hour without files that was never loaded."""

    def __init__(self, root: Path) -> None:
        self._root = root
        self._archive = archive_of(root)
        for hour in HOURS[:-1]:
            archive_hour(root / "archive", TYPE, [CONNECTION], hour)
        archive_hour(root / "archive", TYPE, [], HOURS[-1])
        self._archive.ensure(ExportHour(TYPE, HOURS[-1]), {})
        with DuckDBWarehouse(root / "d") as warehouse:
            load(warehouse, self._archive, TYPE, HOURS[:-1])

    def run(self, statement: str, *values: Any) -> None:
        with duckdb.connect(str(self._root / "d")) as duck:
            duck.execute(statement, values)

    def receipt(self, hour: datetime) -> Path:
        return self._root / "rows" / typed_manifest_path(ExportHour(TYPE, hour))

    def found(
        self, scope: Scope | None = None, now: datetime = LATER, between: Callable[[], None] = lambda: None
    ) -> list[tuple[Damage, datetime, str]]:
        """
        Verify.

        :param between: runs between the first and the second look
        """
        scope = scope or Scope([TYPE], None, HOURS[-1] + ONE_HOUR)

        class Watched(DuckDBWarehouse):
            looks = 0

            def held(self, event_type: str, start: datetime, end: datetime) -> Any:
                if self.looks:
                    between()
                self.looks += 1
                return super().held(event_type, start, end)

        with Watched(self._root / "d") as warehouse:
            findings = list(verify_ledger(warehouse, FileDestination(self._root / "rows"), TYPE, scope, now=now))
            assert warehouse.looks <= 2
        found = []
        for finding in findings:
            assert finding.hour
            assert finding.damage.is_loss
            assert not finding.damage.can_be_repaired
            found.append((finding.damage, finding.hour.start, finding.detail.partition(": ")[2]))
        return found


@pytest.fixture
def loaded(tmp_path: Path) -> Loaded:
    return Loaded(tmp_path)


def test_a_warehouse_that_agrees_has_no_findings(loaded: Loaded) -> None:
    assert loaded.found() == []


def test_each_difference_is_found_and_nothing_else(loaded: Loaded) -> None:
    fewer, more, unknown, version, rows, missing, bare, _ = HOURS
    loaded.run("delete from ayla_connection where folder_hour = ?", fewer)
    loaded.run("insert into ayla_connection select * from ayla_connection where folder_hour = ?", more)
    loaded.run("delete from ayla_loads where folder_hour = ?", unknown)
    loaded.run("update ayla_loads set version = 'other' where folder_hour = ?", version)
    loaded.run("update ayla_loads set rows = 2, lines = 2 where folder_hour = ?", rows)
    loaded.run("insert into ayla_connection select * from ayla_connection where folder_hour = ?", rows)
    for table in ("ayla_connection", "ayla_loads"):
        loaded.run(f"delete from {table} where folder_hour = ?", missing)
    loaded.receipt(bare).unlink()
    expected = json.loads(loaded.receipt(version).read_bytes())["version"]
    assert loaded.found() == [
        (Damage.FEWER_ROWS, fewer, "the table has 0 rows, the ledger says 1"),
        (Damage.MORE_ROWS, more, "the table has 2 rows, the ledger says 1"),
        (Damage.MORE_ROWS, unknown, "the table has 1 row of an hour that isn't in the ledger"),
        (Damage.LEDGER, version, f"the ledger has the version other, the receipt says {expected}"),
        (Damage.LEDGER, rows, "the ledger says 2 rows, the receipt says 1"),
        (Damage.LEDGER, missing, "the ledger doesn't have the hour"),
        (Damage.LEDGER, bare, "the ledger has the hour, and there is no receipt"),
    ]
    scope = Scope([TYPE], more, unknown)
    assert [hour for _, hour, _ in loaded.found(scope)] == [more]


def test_what_was_typed_within_a_day_needs_no_load_yet(loaded: Loaded) -> None:
    loaded.run("update ayla_loads set version = 'other' where folder_hour = ?", HOURS[0])
    for table in ("ayla_connection", "ayla_loads"):
        loaded.run(f"delete from {table} where folder_hour = ?", HOURS[1])
    assert loaded.found(now=datetime.now(UTC)) == []


def test_a_load_that_runs_at_the_same_time_is_no_difference(loaded: Loaded) -> None:
    loaded.run("update ayla_loads set version = 'other' where folder_hour = ?", HOURS[0])
    document = json.loads(loaded.receipt(HOURS[0]).read_bytes())

    def end_of_load() -> None:
        loaded.receipt(HOURS[0]).write_text(json.dumps(document | {"version": "other"}))

    assert loaded.found(between=end_of_load) == []


def test_what_a_lifecycle_rule_removed_is_no_difference(loaded: Loaded) -> None:
    for hour in HOURS[:3]:
        loaded.receipt(hour).unlink()
    retention = LATER - HOURS[2]
    assert [hour for _, hour, _ in loaded.found(Scope([TYPE], None, HOURS[-1] + ONE_HOUR, retention))] == [HOURS[2]]


def test_rows_that_were_erased_as_documented_are_no_difference(loaded: Loaded) -> None:
    for hour in HOURS[:2]:
        loaded.run("delete from ayla_connection where folder_hour = ?", hour)
        loaded.run("update ayla_loads set rows = 0 where folder_hour = ?", hour)
    loaded.receipt(HOURS[0]).unlink()
    assert loaded.found() == []


def test_an_empty_warehouse_lacks_each_hour_with_files(loaded: Loaded, tmp_path: Path) -> None:
    (tmp_path / "d").unlink()
    assert [hour for _, hour, _ in loaded.found()] == HOURS[:-1]


def test_rows_that_were_loaded_before_files_were_lost_do_not_differ(loaded: Loaded) -> None:
    path = loaded.receipt(HOURS[2])
    document = json.loads(path.read_bytes())
    path.write_text(json.dumps(document | {"version": "0123456789abcdef.1.lost"}))
    assert [damage for damage, *_ in loaded.found()] == [Damage.LEDGER]
    path.write_text(json.dumps(document | {"version": "0123456789abcdef.1.lost", "lost": ["oem/Connection/a.csv"]}))
    assert loaded.found() == []
