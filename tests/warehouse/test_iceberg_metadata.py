"""Loads keep the metadata of an Iceberg table small, if no upkeep does."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from ayla_provider.domain.tables import TABLES
from ayla_provider.warehouse import iceberg_metadata
from ayla_provider.warehouse.base import HeldHour
from ayla_provider.warehouse.iceberg import IcebergWarehouse
from ayla_provider.warehouse.iceberg_upkeep import Upkeep
from tests.warehouse.iceberg_place import dsns, existing, files, iceberg, reached
from tests.warehouse.made_loads import HOUR, NOON, made_load

DATAPOINT = TABLES["datapoint"]
MIDNIGHT = NOON.replace(hour=0)


@pytest.fixture(autouse=True)
def _few(monkeypatch: pytest.MonkeyPatch) -> None:
    limits = {"KEEP_SNAPSHOTS": 5, "SPARE_SNAPSHOTS": 3, "KEEP_HOURS": 4, "SPARE_HOURS": 3, "MERGE_AT_LEAST": 6}
    for name, value in limits.items():
        monkeypatch.setattr(iceberg_metadata, name, value)
    monkeypatch.setattr(iceberg_metadata, "_LOOK_EVERY", 1)


@pytest.fixture
def warehouse(tmp_path: Path) -> Iterator[IcebergWarehouse]:
    with iceberg(tmp_path) as opened:
        opened.prepare(DATAPOINT)
        with existing(opened).transaction() as transaction:
            transaction.set_properties({"commit.manifest.min-count-to-merge": "6"})
        yield opened


def put(warehouse: IcebergWarehouse, folder: Path, number: int, version: str = "v1") -> None:
    hour = MIDNIGHT + number * HOUR
    warehouse.replace(made_load(folder, "datapoint", hour, [{"dsn": f"{number:03}-{version}"}], version=version))


def sizes(warehouse: IcebergWarehouse) -> tuple[int, int, int]:
    """How many snapshots, hours in properties, and manifests a table has."""
    table = existing(warehouse)
    snapshot = table.current_snapshot()
    assert snapshot
    hours = [name for name in table.properties if name.startswith("ayla.load.")]
    return len(table.metadata.snapshots), len(hours), len(snapshot.manifests(table.io))


@pytest.mark.ci
def test_without_upkeep_the_metadata_stays_small_and_forgets_nothing(
    warehouse: IcebergWarehouse, tmp_path: Path
) -> None:
    versions = {}
    for number in range(40):
        # Every fourth load is of an hour that was loaded before.
        at = number // 2 if number % 4 == 3 else number
        put(warehouse, tmp_path, at, versions.setdefault(at, "v1") if number == at else "v2")
        versions[at] = "v1" if number == at else "v2"
        snapshots, hours, manifests = sizes(warehouse)
        assert (snapshots <= 9, hours <= 7, manifests <= 7) == (True, True, True), (snapshots, hours, manifests)
    assert dsns(warehouse) == sorted(f"{at:03}-{version}" for at, version in versions.items())
    held = warehouse.held("datapoint", MIDNIGHT, MIDNIGHT + 40 * HOUR)
    assert held == {MIDNIGHT + at * HOUR: HeldHour(version, 1, 1, 1) for at, version in versions.items()}
    # What loads left is swept.
    Upkeep(warehouse, now=NOON + timedelta(days=4000)).run("datapoint")
    assert {str(path) for path in files(warehouse)} == reached(existing(warehouse))
    assert warehouse.held("datapoint", MIDNIGHT, MIDNIGHT + 40 * HOUR) == held


def test_a_load_leaves_as_many_snapshots_as_upkeep_wants(warehouse: IcebergWarehouse, tmp_path: Path) -> None:
    put(warehouse, tmp_path, 0)
    Upkeep(warehouse, keep_snapshots=12, now=NOON).run("datapoint")
    most = 0
    for number in range(30):
        put(warehouse, tmp_path, 0, f"v{number}")
        most = max(most, sizes(warehouse)[0])
        assert sizes(warehouse)[0] >= min(12, number)
    assert most <= 16


def test_a_load_leaves_what_a_branch_or_a_tag_needs(warehouse: IcebergWarehouse, tmp_path: Path) -> None:
    for number in range(2):
        put(warehouse, tmp_path, 0, f"v{number}")
    first, second = existing(warehouse).metadata.snapshots
    existing(warehouse).manage_snapshots().create_tag(first.snapshot_id, "audit").commit()
    for number in range(2, 30):
        put(warehouse, tmp_path, 0, f"v{number}")
    table = existing(warehouse)
    assert table.scan(snapshot_id=first.snapshot_id).to_arrow().column("dsn").to_pylist() == ["000-v0"]
    assert table.metadata.snapshot_by_id(second.snapshot_id) is None


@pytest.mark.parametrize("step", ["fold", "change", "rewrite_manifests"])
def test_a_load_is_done_even_if_the_metadata_cannot_be_made_smaller(
    warehouse: IcebergWarehouse,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    step: str,
) -> None:
    def fail(*_: Any) -> bool:
        raise OSError("the catalog is away")

    monkeypatch.setattr(iceberg_metadata, step, fail)
    with caplog.at_level(logging.WARNING):
        for number in range(10):
            put(warehouse, tmp_path, number)
    assert "can't be made smaller: OSError: the catalog is away. The next load tries again." in caplog.text
    monkeypatch.undo()
    assert dsns(warehouse) == [f"{number:03}-v1" for number in range(10)]
    assert len(warehouse.loaded("datapoint", MIDNIGHT, MIDNIGHT + 10 * HOUR)) == 10


def test_a_load_of_another_task_meanwhile_is_not_forgotten(
    warehouse: IcebergWarehouse, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for number in range(6):
        put(warehouse, tmp_path, number)
    catalog = existing(warehouse).catalog
    commit_table = type(catalog).commit_table
    waiting = ["v2"]

    def commit_later(self: Any, table: Any, requirements: Any, updates: Any) -> Any:
        if waiting and any(update.action == "remove-properties" for update in updates):
            with iceberg(tmp_path) as task:
                put(task, tmp_path, 0, waiting.pop())
        return commit_table(self, table, requirements, updates)

    monkeypatch.setattr(type(catalog), "commit_table", commit_later)
    for number in range(6, 12):
        put(warehouse, tmp_path, number)
    assert not waiting
    versions = warehouse.loaded("datapoint", MIDNIGHT, MIDNIGHT + 12 * HOUR)
    assert versions == {MIDNIGHT + number * HOUR: "v1" if number else "v2" for number in range(12)}
    assert dsns(warehouse) == ["000-v2", *(f"{number:03}-v1" for number in range(1, 12))]
