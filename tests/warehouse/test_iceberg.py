"""What Iceberg tables promise beyond the contract of warehouses: commits of several tasks, and lost answers."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
from pyiceberg.catalog import Catalog
from pyiceberg.catalog.rest import RestCatalog as Client
from pyiceberg.exceptions import CommitFailedException

from ayla_provider.domain.tables import TABLES, Column, ColumnType
from ayla_provider.errors import AylaConfigError, AylaConflictError, AylaWarehouseError
from ayla_provider.warehouse.base import HeldHour, Load
from ayla_provider.warehouse.iceberg import IcebergWarehouse
from ayla_provider.warehouse.iceberg_ledger import key_of
from tests.support.rest_catalog import CUT, REPEATED, rest_catalog
from tests.warehouse.iceberg_place import dsns, existing, files, iceberg, in_sqlite, reached, the_disk
from tests.warehouse.made_loads import HOUR, NOON, made_load

DATAPOINT = TABLES["datapoint"]

Open = Callable[[], IcebergWarehouse]


@pytest.fixture
def open_another(tmp_path: Path) -> Iterator[Open]:
    """Connects to the test's namespace, as another task does."""
    with ExitStack() as stack:
        yield lambda: stack.enter_context(iceberg(tmp_path))


@pytest.fixture
def warehouse(open_another: Open) -> IcebergWarehouse:
    opened = open_another()
    opened.prepare(DATAPOINT)
    return opened


def a_load(tmp_path: Path, dsn: str, number: int = 0, rows: int = 1, **more: Any) -> Load:
    """An hour with some rows of one device."""
    return made_load(tmp_path, "datapoint", NOON + number * HOUR, [{"dsn": dsn}] * rows, **more)


def look(warehouse: IcebergWarehouse) -> None:
    """Do what a task does before it makes rows."""
    warehouse.loaded("datapoint", NOON, NOON + 24 * HOUR)
    warehouse.prepare(DATAPOINT)


def unreferenced(warehouse: IcebergWarehouse) -> list[str]:
    """The data files that no commit names."""
    named = reached(existing(warehouse))
    return [path.name for path in files(warehouse) if path.suffix == ".parquet" and str(path) not in named]


def test_hours_of_a_task_are_one_commit(warehouse: IcebergWarehouse, tmp_path: Path) -> None:
    loads = (a_load(tmp_path, f"{number}", number) for number in range(24))
    hours = [load.hour for load in warehouse.replace_several(loads)]
    assert hours == [NOON + number * HOUR for number in range(24)]
    assert len(existing(warehouse).metadata.snapshots) == 1
    assert dsns(warehouse) == sorted(map(str, range(24)))
    assert len(warehouse.loaded("datapoint", NOON, NOON + 24 * HOUR)) == 24


@pytest.mark.parametrize("number", [0, 3])
def test_an_error_in_the_middle_leaves_all_hours_as_they_were(
    warehouse: IcebergWarehouse, tmp_path: Path, number: int
) -> None:
    warehouse.replace(a_load(tmp_path, "old"))

    def loads() -> Iterator[Load]:
        for at in range(number):
            yield a_load(tmp_path, "new", at)
        raise OSError("the disk is full")

    with pytest.raises(OSError, match="the disk is full"):
        list(warehouse.replace_several(loads()))
    assert dsns(warehouse) == ["old"]
    assert list(warehouse.loaded("datapoint", NOON, NOON + 24 * HOUR)) == [NOON]
    assert unreferenced(warehouse) == []


def test_an_hour_without_rows_is_in_the_ledger(warehouse: IcebergWarehouse, tmp_path: Path) -> None:
    warehouse.replace(a_load(tmp_path, "", rows=0, version="empty"))
    assert warehouse.held("datapoint", NOON, NOON + HOUR) == {NOON: HeldHour("empty")}
    warehouse.replace(a_load(tmp_path, "A", version="v2"))
    assert warehouse.held("datapoint", NOON, NOON + HOUR) == {NOON: HeldHour("v2", 1, 1, 1)}
    warehouse.replace(a_load(tmp_path, "", rows=0, version="empty"))
    assert warehouse.held("datapoint", NOON, NOON + HOUR) == {NOON: HeldHour("empty")}


@pytest.mark.parametrize("is_new", [True, False])
@pytest.mark.parametrize("rows", [0, 1])
def test_of_two_loads_of_an_hour_the_second_is_refused(
    warehouse: IcebergWarehouse, open_another: Open, tmp_path: Path, is_new: bool, rows: int
) -> None:
    if not is_new:
        warehouse.replace(a_load(tmp_path, "old"))
    tasks = [open_another() for _ in range(2)]
    for task in tasks:
        look(task)
    tasks[0].replace(a_load(tmp_path, "first", version="v2", rows=rows))
    with pytest.raises(AylaConflictError, match="can't load datapoint 2026-11-01 12:00 UTC: another task"):
        tasks[1].replace(a_load(tmp_path, "second", version="v3"))
    assert dsns(warehouse) == ["first"] * rows
    assert warehouse.loaded("datapoint", NOON, NOON + HOUR) == {NOON: "v2"}
    assert unreferenced(warehouse) == []


def test_loads_of_different_hours_both_succeed(warehouse: IcebergWarehouse, open_another: Open, tmp_path: Path) -> None:
    tasks = [open_another() for _ in range(3)]
    for task in tasks:
        look(task)
    for number, task in enumerate(tasks):
        task.replace(a_load(tmp_path, f"{number}", number))
    assert dsns(warehouse) == ["0", "1", "2"]
    assert len(warehouse.loaded("datapoint", NOON, NOON + 24 * HOUR)) == 3


def between(monkeypatch: pytest.MonkeyPatch, warehouse: IcebergWarehouse, happens: Callable[[], None]) -> None:
    """Let something happen once between a task's last look at a table and its commit."""
    commit = warehouse.commit
    waiting = [happens]

    def commit_later(*arguments: Any, **more: Any) -> None:
        if waiting:
            waiting.pop()()
        commit(*arguments, **more)

    monkeypatch.setattr(warehouse, "commit", commit_later)


@pytest.mark.parametrize("is_new", [True, False])
def test_a_load_that_another_one_of_the_hour_overtakes_at_the_last_moment_is_refused(
    warehouse: IcebergWarehouse, open_another: Open, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, is_new: bool
) -> None:
    if not is_new:
        warehouse.replace(a_load(tmp_path, "old"))
    task, other = open_another(), open_another()
    look(task)
    between(monkeypatch, task, lambda: other.replace(a_load(tmp_path, "first", version="v2")))
    with pytest.raises(AylaConflictError):
        task.replace(a_load(tmp_path, "second", version="v3"))
    assert dsns(warehouse) == ["first"]
    assert unreferenced(warehouse) == []


def test_a_load_that_another_hour_overtakes_at_the_last_moment_succeeds(
    warehouse: IcebergWarehouse, open_another: Open, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    task, other = open_another(), open_another()
    look(task)
    between(monkeypatch, task, lambda: other.replace(a_load(tmp_path, "other", 1)))
    task.replace(a_load(tmp_path, "this"))
    assert dsns(warehouse) == ["other", "this"]
    assert warehouse.loaded("datapoint", NOON, NOON + 2 * HOUR) == {NOON: "v1", NOON + HOUR: "v1"}


def test_two_tasks_add_the_same_column(warehouse: IcebergWarehouse, open_another: Open, tmp_path: Path) -> None:
    wide = DATAPOINT.with_columns((Column("firmware", ColumnType.TEXT, "The maker's name of it."),))
    tasks = [open_another() for _ in range(2)]
    for task in tasks:
        look(task)
    for number, task in enumerate(tasks):
        task.prepare(wide)
        row = {"dsn": "A", "firmware": f"1.{number}"}
        task.replace(made_load(tmp_path, "datapoint", NOON + number * HOUR, [row], table=wide))
    found = existing(warehouse).scan().to_arrow().column("firmware").to_pylist()
    assert sorted(found) == ["1.0", "1.1"]


def test_an_earlier_revision_of_an_hour_can_be_read(warehouse: IcebergWarehouse, tmp_path: Path) -> None:
    for number in range(3):
        warehouse.replace(a_load(tmp_path, f"{number}", version=f"v{number}"))
    table = existing(warehouse)
    revisions = {
        snapshot.summary["ayla.hour.2026-11-01T12"]: table.scan(snapshot_id=snapshot.snapshot_id)
        .to_arrow()
        .column("dsn")
        .to_pylist()
        for snapshot in table.metadata.snapshots
        if snapshot.summary
    }
    assert revisions == {"v0": ["0"], "v1": ["1"], "v2": ["2"]}


def test_a_parquet_file_with_rows_of_another_hour_is_refused(warehouse: IcebergWarehouse, tmp_path: Path) -> None:
    rows = [{"dsn": "A"}, {"dsn": "B", "folder_hour": NOON + HOUR}]
    with pytest.raises(AylaWarehouseError, match="has rows of another hour"):
        warehouse.replace(made_load(tmp_path, "datapoint", NOON, rows))
    assert dsns(warehouse) == []


def test_a_namespace_without_a_name_is_refused(tmp_path: Path) -> None:
    with pytest.raises(AylaConfigError, match=r"namespace is 'a\.\.b'"):
        IcebergWarehouse(lambda: in_sqlite(tmp_path), the_disk, namespace="a..b")


def test_a_missing_file_of_folded_hours_is_an_error(warehouse: IcebergWarehouse, tmp_path: Path) -> None:
    warehouse.replace(a_load(tmp_path, "A"))
    table = existing(warehouse)
    with table.transaction() as transaction:
        transaction.set_properties({"ayla.loads": f"2026110100 2026110123 AAAAAA== {table.location()}-ledger/x.json"})
    with pytest.raises(AylaWarehouseError, match=r"x\.json is missing.*Restore it.*are loaded again"):
        warehouse.loaded("datapoint", NOON, NOON + HOUR)
    # Other hours don't need it.
    assert warehouse.loaded("datapoint", NOON + 24 * HOUR, NOON + 25 * HOUR) == {}


# A REST catalog whose answers get lost.


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Any]:
    with rest_catalog(f"file://{tmp_path / 'tables'}") as served:
        yield served


@pytest.fixture
def remote(server: Any, tmp_path: Path) -> Iterator[IcebergWarehouse]:
    def catalog(_: Path) -> Catalog:
        return Client("test", uri=server.url)

    with iceberg(tmp_path, catalog) as opened:
        opened.prepare(DATAPOINT)
        opened.replace(a_load(tmp_path, "old"))
        yield opened


@pytest.mark.parametrize("status", [REPEATED, 500, 502, 503, CUT])
def test_a_commit_whose_answer_is_lost_is_neither_doubled_nor_destroyed(
    remote: IcebergWarehouse, server: Any, tmp_path: Path, status: int
) -> None:
    look(remote)
    server.lose(status)
    remote.replace(a_load(tmp_path, "new", version="v2", rows=2))
    assert dsns(remote) == ["new", "new"]
    assert remote.held("datapoint", NOON, NOON + HOUR) == {NOON: HeldHour("v2", 2, 2, 2)}
    assert unreferenced(remote) == []
    # The next hour finds all metadata.
    remote.replace(a_load(tmp_path, "next", 1))
    assert dsns(remote) == ["new", "new", "next"]


def test_a_commit_that_was_made_and_refused_in_its_last_try_is_not_destroyed(
    remote: IcebergWarehouse, server: Any, tmp_path: Path
) -> None:
    with existing(remote).transaction() as transaction:
        transaction.set_properties({"commit.retry.num-retries": "0"})
    server.lose(REPEATED)
    remote.replace(a_load(tmp_path, "new", version="v2"))
    assert dsns(remote) == ["new"]


@pytest.mark.parametrize("status", [500, 503])
def test_a_commit_that_was_not_made_fails_and_the_next_try_makes_it(
    remote: IcebergWarehouse, server: Any, tmp_path: Path, status: int
) -> None:
    server.refuse(status)
    with pytest.raises(AylaWarehouseError, match="can't load datapoint 2026-11-01 12:00 UTC: the catalog"):
        remote.replace(a_load(tmp_path, "new", version="v2"))
    assert dsns(remote) == ["old"]
    remote.replace(a_load(tmp_path, "new", version="v2"))
    assert dsns(remote) == ["new"]


def test_a_commit_that_lands_after_its_task_gave_up_is_whole(
    remote: IcebergWarehouse, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A gateway answers 504, and the catalog goes on."""
    late: list[Callable[[], None]] = []
    catalog = existing(remote).catalog
    commit_table = type(catalog).commit_table

    def gives_up(self: Any, *arguments: Any) -> None:
        late.append(lambda: commit_table(self, *arguments))
        raise ConnectionError("504")

    monkeypatch.setattr(type(catalog), "commit_table", gives_up)
    with pytest.raises(AylaWarehouseError, match="can have been made all the same"):
        remote.replace(a_load(tmp_path, "new", version="v2"))
    monkeypatch.undo()
    late.pop()()
    assert dsns(remote) == ["new"]
    assert remote.held("datapoint", NOON, NOON + HOUR) == {NOON: HeldHour("v2", 1, 1, 1)}


@pytest.mark.parametrize("is_made", [True, False])
def test_a_task_that_is_ended_during_its_commit_removes_no_file_that_the_commit_names(
    warehouse: IcebergWarehouse, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, is_made: bool
) -> None:
    warehouse.replace(a_load(tmp_path, "old"))
    catalog = existing(warehouse).catalog
    commit_table = type(catalog).commit_table

    def ends(self: Any, *arguments: Any) -> None:
        if is_made:
            commit_table(self, *arguments)
        # As Airflow ends a task: by a signal that becomes an exception anywhere.
        raise KeyboardInterrupt

    monkeypatch.setattr(type(catalog), "commit_table", ends)
    with pytest.raises(KeyboardInterrupt):
        warehouse.replace(a_load(tmp_path, "new", version="v2"))
    monkeypatch.undo()
    assert dsns(warehouse) == ["new" if is_made else "old"]
    assert len(unreferenced(warehouse)) == (not is_made)


def test_a_catalog_that_refuses_for_ever_leaves_nothing(
    warehouse: IcebergWarehouse, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with existing(warehouse).transaction() as transaction:
        transaction.set_properties({"commit.retry.num-retries": "2", "commit.retry.min-wait-ms": "1"})
    warehouse.replace(a_load(tmp_path, "old"))
    before = files(warehouse)

    def refuses(*_: object) -> None:
        raise CommitFailedException("somebody else was faster")

    monkeypatch.setattr(existing(warehouse).catalog, "commit_table", refuses)
    with pytest.raises(AylaConflictError, match="again and again"):
        warehouse.replace(a_load(tmp_path, "new", version="v2"))
    assert files(warehouse) == before


def test_the_property_of_an_hour_says_what_the_documents_say(warehouse: IcebergWarehouse, tmp_path: Path) -> None:
    load = dataclasses.replace(a_load(tmp_path, "A", rows=2), lines=5, duplicates=2, quarantined=1)
    warehouse.replace(load)
    stated = '["v1", 2, 5, 2, 1, "2026-11-02T03:04:05.678000+00:00", "dag\'s run"]'
    assert existing(warehouse).properties[key_of(NOON)] == stated
