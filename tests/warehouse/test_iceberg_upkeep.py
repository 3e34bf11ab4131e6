"""The upkeep of Iceberg tables: it removes what nobody needs, and nothing else."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pyarrow.parquet
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pyiceberg.table import Table

from ayla_provider.domain.tables import TABLES
from ayla_provider.errors import AylaWarehouseError
from ayla_provider.warehouse import iceberg_upkeep
from ayla_provider.warehouse.base import HeldHour, Recipe
from ayla_provider.warehouse.iceberg import IcebergWarehouse
from ayla_provider.warehouse.iceberg_metadata import to_expire
from ayla_provider.warehouse.iceberg_upkeep import Done, Upkeep
from ayla_provider.warehouse.lake import remove_file
from tests.warehouse.iceberg_place import dsns, existing, files, iceberg, reached
from tests.warehouse.made_loads import HOUR, NOON, made_load

DATAPOINT = TABLES["datapoint"]
MIDNIGHT = NOON.replace(hour=0)
DAY = timedelta(days=1)

# The files of a test are new. For upkeep they are old, if it runs some days later than now.
LATER = datetime.now(UTC) + 400 * DAY

Tend = Callable[..., Done]


@pytest.fixture
def warehouse(tmp_path: Path) -> Iterator[IcebergWarehouse]:
    with iceberg(tmp_path) as opened:
        opened.prepare(DATAPOINT)
        yield opened


@pytest.fixture
def tend(warehouse: IcebergWarehouse, monkeypatch: pytest.MonkeyPatch) -> Tend:
    """Look after the table, at a time at which all files are old, and fold the hours of a day already."""
    monkeypatch.setattr(iceberg_upkeep, "_FOLD_AT_LEAST", 24)

    def run(**more: Any) -> Done:
        return Upkeep(warehouse, **{"now": LATER, "keep_snapshots": 2, **more}).run("datapoint")

    return run


def put(warehouse: IcebergWarehouse, folder: Path, number: int, *devices: str, version: str = "v1") -> None:
    hour = MIDNIGHT + number * HOUR
    warehouse.replace(made_load(folder, "datapoint", hour, [{"dsn": dsn} for dsn in devices], version=version))


def put_several(warehouse: IcebergWarehouse, folder: Path, numbers: Iterable[int]) -> None:
    """Load hours of one row in one commit. A commit takes most of the time."""
    hours = ((number, MIDNIGHT + number * HOUR) for number in numbers)
    loads = (made_load(folder, "datapoint", hour, [{"dsn": "A"}], version=f"v{number}") for number, hour in hours)
    assert list(warehouse.replace_several(loads))


def everything(warehouse: IcebergWarehouse) -> list[tuple[datetime, str]]:
    found = existing(warehouse).scan().to_arrow().select(["folder_hour", "dsn"]).to_pylist()
    return sorted((row["folder_hour"].astimezone(UTC), row["dsn"]) for row in found)


def live(warehouse: IcebergWarehouse) -> list[str]:
    """The names of the current data files."""
    return sorted(task.file.file_path.rpartition("/")[2] for task in existing(warehouse).scan().plan_files())


def test_a_settled_day_becomes_one_file_sorted_by_device(
    warehouse: IcebergWarehouse, tend: Tend, tmp_path: Path
) -> None:
    for number in range(24):
        put(warehouse, tmp_path, number, f"D{number % 5}", f"C{number % 3}")
    put(warehouse, tmp_path, 24, "next")
    before = everything(warehouse)
    done = tend(now=MIDNIGHT + 8 * DAY, lookback=7 * DAY, keep_snapshots=50)
    assert (done.days_compacted, done.files_compacted) == (1, 24)
    assert everything(warehouse) == before
    day, hour = sorted(live(warehouse), reverse=True)
    assert day.startswith("day-20261101-")
    assert hour.startswith("2026110200-")
    (path,) = [path for path in files(warehouse) if path.name == day]
    devices = pyarrow.parquet.read_table(path).column("dsn").to_pylist()
    assert devices == sorted(devices)
    held = warehouse.held("datapoint", MIDNIGHT, MIDNIGHT + 25 * HOUR)
    assert held == {MIDNIGHT + n * HOUR: HeldHour("v1", *[2 if n < 24 else 1] * 3) for n in range(25)}
    # There is nothing left to do.
    assert tend(now=MIDNIGHT + 8 * DAY, lookback=7 * DAY, keep_snapshots=50).days_compacted == 0


@pytest.mark.parametrize("rows", [0, 1, 3])
def test_an_hour_of_a_compacted_day_can_be_loaded_anew(
    warehouse: IcebergWarehouse, tend: Tend, tmp_path: Path, rows: int
) -> None:
    for number in (1, 2, 3):
        put(warehouse, tmp_path, number, f"A{number}", f"B{number}")
    tend()
    put(warehouse, tmp_path, 2, *["new"] * rows, version="v2")
    expected = [(MIDNIGHT + HOUR, "A1"), (MIDNIGHT + HOUR, "B1"), (MIDNIGHT + 3 * HOUR, "A3")]
    expected += [(MIDNIGHT + 3 * HOUR, "B3"), *[(MIDNIGHT + 2 * HOUR, "new")] * rows]
    assert everything(warehouse) == sorted(expected)
    assert warehouse.held("datapoint", MIDNIGHT + 2 * HOUR, MIDNIGHT + 3 * HOUR) == {
        MIDNIGHT + 2 * HOUR: HeldHour("v2", rows, rows, rows)
    }
    # An hour that the day lacked needs no new file for the others.
    before = live(warehouse)
    put(warehouse, tmp_path, 5, "late")
    assert set(before) < set(live(warehouse))
    tend()
    assert (MIDNIGHT + 5 * HOUR, "late") in everything(warehouse)
    assert len(live(warehouse)) == 1


def test_compaction_between_a_tasks_look_and_its_commit_is_no_conflict(
    warehouse: IcebergWarehouse, tend: Tend, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for number in (1, 2, 3):
        put(warehouse, tmp_path, number, f"A{number}")
    with iceberg(tmp_path) as task:
        task.loaded("datapoint", MIDNIGHT, MIDNIGHT + DAY)
        commit, waiting = task.commit, [tend]
        # The task's new files are young.
        now = datetime.now(UTC)

        def commit_later(*arguments: Any, **more: Any) -> None:
            if waiting:
                done = waiting.pop()(now=now, lookback=now - MIDNIGHT - 2 * DAY)
                assert done.days_compacted == 1
            commit(*arguments, **more)

        monkeypatch.setattr(task, "commit", commit_later)
        put(task, tmp_path, 2, "new", version="v2")
    assert dsns(warehouse) == ["A1", "A3", "new"]
    assert warehouse.loaded("datapoint", MIDNIGHT, MIDNIGHT + 24 * HOUR)[MIDNIGHT + 2 * HOUR] == "v2"


def test_a_load_between_the_look_of_compaction_and_its_commit_stays(
    warehouse: IcebergWarehouse, tend: Tend, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for number in (1, 2, 3):
        put(warehouse, tmp_path, number, f"A{number}")
    commit = warehouse.commit

    def commit_later(*arguments: Any, **more: Any) -> None:
        monkeypatch.undo()
        with iceberg(tmp_path) as task:
            put(task, tmp_path, 2, "new", version="v2")
        commit(*arguments, **more)

    monkeypatch.setattr(warehouse, "commit", commit_later)
    assert tend().days_compacted == 0
    assert dsns(warehouse) == ["A1", "A3", "new"]
    assert tend().days_compacted == 1
    assert dsns(warehouse) == ["A1", "A3", "new"]


def test_a_column_that_another_program_added_or_renamed_survives_compaction(
    warehouse: IcebergWarehouse, tend: Tend, tmp_path: Path
) -> None:
    from pyiceberg.types import IntegerType

    for number in (1, 2):
        put(warehouse, tmp_path, number, f"A{number}")
    with existing(warehouse).update_schema() as update:
        update.add_column("site", IntegerType())
        update.rename_column("source_object", "file")
    tend()
    found = existing(warehouse).scan().to_arrow()
    assert found.column("file").to_pylist() == ["a.csv"] * 2
    assert found.column("site").to_pylist() == [None] * 2


def test_old_snapshots_and_what_they_alone_need_are_removed(
    warehouse: IcebergWarehouse, tend: Tend, tmp_path: Path
) -> None:
    for number in range(10):
        put(warehouse, tmp_path, 0, f"{number}", version=f"v{number}")
    done = tend(keep_snapshots=3)
    table = existing(warehouse)
    assert len(table.metadata.snapshots) == 3
    assert done.snapshots_expired == 7
    assert len(table.metadata.metadata_log) <= 10
    assert {str(path) for path in files(warehouse)} == reached(table)
    found = [table.scan(snapshot_id=one.snapshot_id).to_arrow() for one in table.metadata.snapshots]
    assert [rows.column("dsn").to_pylist() for rows in found] == [["7"], ["8"], ["9"]]


def test_upkeep_says_what_it_would_do_and_then_does_that(
    warehouse: IcebergWarehouse, tend: Tend, tmp_path: Path
) -> None:
    put_several(warehouse, tmp_path, range(30))
    (left := files(warehouse)[0].with_name("left.parquet")).write_bytes(b"12345")
    before = files(warehouse)
    said = tend(dry_run=True, keep_snapshots=50)
    assert files(warehouse) == before
    assert said == tend(keep_snapshots=50)
    assert (said.days_compacted, said.hours_folded, said.files_removed, said.bytes_removed) == (2, 30, 1, 5)
    assert not left.exists()


def test_what_a_branch_or_a_tag_needs_stays(warehouse: IcebergWarehouse, tend: Tend, tmp_path: Path) -> None:
    for number in range(4):
        put(warehouse, tmp_path, 0, f"{number}", version=f"v{number}")
    table = existing(warehouse)
    tagged, branched = (table.metadata.snapshots[at].snapshot_id for at in (0, 1))
    table.manage_snapshots().create_tag(tagged, "audit").create_branch(branched, "work").commit()
    table = existing(warehouse)
    table.append(table.scan().to_arrow(), branch="work")
    for number in range(4, 8):
        put(warehouse, tmp_path, 0, f"{number}", version=f"v{number}")
    tend(keep_snapshots=1)
    table = existing(warehouse)
    assert table.scan(snapshot_id=tagged).to_arrow().column("dsn").to_pylist() == ["0"]
    assert sorted(table.scan().use_ref("work").to_arrow().column("dsn").to_pylist()) == ["1", "3"]
    assert dsns(warehouse) == ["7"]
    assert {str(path) for path in files(warehouse)} == reached(table)


def test_a_branch_that_moves_meanwhile_keeps_its_snapshot(
    warehouse: IcebergWarehouse, tend: Tend, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for number in range(5):
        put(warehouse, tmp_path, 0, f"{number}", version=f"v{number}")
    first, _, last = (existing(warehouse).metadata.snapshots[at].snapshot_id for at in (0, 1, 4))
    existing(warehouse).manage_snapshots().create_branch(last, "work").commit()
    catalog = existing(warehouse).catalog
    commit_table = type(catalog).commit_table

    def commit_later(self: Any, table: Table, requirements: Any, updates: Any) -> Any:
        if any(update.action == "remove-snapshots" for update in updates):
            monkeypatch.undo()
            existing(warehouse).manage_snapshots().remove_branch("work").commit()
            existing(warehouse).manage_snapshots().create_branch(first, "work").commit()
        return commit_table(self, table, requirements, updates)

    monkeypatch.setattr(type(catalog), "commit_table", commit_later)
    assert tend(keep_snapshots=1).snapshots_expired == 3
    assert existing(warehouse).scan().use_ref("work").to_arrow().column("dsn").to_pylist() == ["0"]
    assert dsns(warehouse) == ["4"]


def test_files_that_nothing_names_are_removed_after_a_day(
    warehouse: IcebergWarehouse, tend: Tend, tmp_path: Path
) -> None:
    put(warehouse, tmp_path, 0, "A")
    location = Path(existing(warehouse).location().removeprefix("file://"))
    old, young, foreign = (location / "data" / name for name in ("old.parquet", "young.parquet", "notes.txt"))
    manifest, metadata = location / "metadata" / "x-m0.avro", location / "metadata" / "00009-x.metadata.json"
    now = datetime.now(UTC)
    for path in (old, young, foreign, manifest, metadata):
        path.write_bytes(b"x")
        age = timedelta(hours=23 if path is young else 25)
        os.utime(path, ((now - age).timestamp(),) * 2)
    done = tend(now=now)
    assert [path.exists() for path in (old, young, foreign, manifest, metadata)] == [False, True, True, False, False]
    assert (done.files_removed, done.bytes_removed) == (3, 3)
    assert dsns(warehouse) == ["A"]


def test_the_ledger_is_folded_and_stays_the_same(warehouse: IcebergWarehouse, tend: Tend, tmp_path: Path) -> None:
    put_several(warehouse, tmp_path, range(60))
    versions = dict(warehouse.loaded("datapoint", MIDNIGHT, MIDNIGHT + 60 * HOUR))
    held = dict(warehouse.held("datapoint", MIDNIGHT, MIDNIGHT + 60 * HOUR))
    assert tend(now=MIDNIGHT + 8 * DAY).hours_folded == 24
    assert tend(now=MIDNIGHT + 9 * DAY).hours_folded == 24
    names = [name for name in existing(warehouse).properties if name.startswith("ayla.load.")]
    assert len(names) == 12
    assert warehouse.loaded("datapoint", MIDNIGHT, MIDNIGHT + 60 * HOUR) == versions
    assert warehouse.held("datapoint", MIDNIGHT, MIDNIGHT + 60 * HOUR) == held
    part = warehouse.loaded("datapoint", MIDNIGHT + 5 * HOUR, MIDNIGHT + 7 * HOUR)
    assert part == {MIDNIGHT + 5 * HOUR: "v5", MIDNIGHT + 6 * HOUR: "v6"}
    # A folded hour that is loaded again counts as it is now, also after it is folded again.
    put(warehouse, tmp_path, 5, "B", version="new")
    expected = versions | {MIDNIGHT + 5 * HOUR: "new"}
    assert warehouse.loaded("datapoint", MIDNIGHT, MIDNIGHT + 60 * HOUR) == expected
    put_several(warehouse, tmp_path, range(60, 90))
    tend()
    assert [name for name in existing(warehouse).properties if name.startswith("ayla.load.")] == []
    expected |= {MIDNIGHT + number * HOUR: f"v{number}" for number in range(60, 90)}
    assert warehouse.loaded("datapoint", MIDNIGHT, MIDNIGHT + 99 * HOUR) == expected


def test_a_property_of_no_hour_is_named(warehouse: IcebergWarehouse, tend: Tend, tmp_path: Path) -> None:
    put_several(warehouse, tmp_path, range(60))
    with existing(warehouse).transaction() as transaction:
        transaction.set_properties({"ayla.load.2026023012": "[]"})
    with pytest.raises(AylaWarehouseError, match=r"the property ayla\.load\.2026023012 isn't an hour\. Remove it"):
        tend()


def test_how_folded_hours_were_made_is_known_without_their_file(
    warehouse: IcebergWarehouse, tend: Tend, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for number in range(30):
        put(warehouse, tmp_path, number, "A", version=f"v{number}-{'old' if number < 10 else 'new'}")
    assert tend(now=MIDNIGHT + 9 * DAY).hours_folded == 30
    # A folded hour that is loaded again counts as it is now.
    put(warehouse, tmp_path, 3, "B", version="w-new")

    def made(*span: int) -> list[Recipe]:
        start, end = (MIDNIGHT + number * HOUR for number in span)
        return list(warehouse.recipes("datapoint", start, end))

    def recipe(text: str, hours: int, first: int, last: int) -> Recipe:
        return Recipe(text, hours, MIDNIGHT + first * HOUR, MIDNIGHT + last * HOUR)

    expected = {
        (99, 99): [recipe("new", 21, 3, 29), recipe("old", 9, 0, 9)],
        (0, 10): [recipe("new", 20, 10, 29)],
        (2, 30): [recipe("old", 2, 0, 1)],
    }
    reads = []
    with monkeypatch.context() as watched:
        watched.setattr(warehouse, "_read", reads.append)
        assert {span: made(*span) for span in expected} == expected
    assert reads == []
    # Without the property, or if it is of another file, the file says it.
    for text in (None, "AAAAAA== {}", f"{warehouse.ledger(existing(warehouse)).folded} x"):
        with existing(warehouse).transaction() as transaction:
            if text is None:
                transaction.remove_properties("ayla.made")
            else:
                transaction.set_properties({"ayla.made": text})
        assert {span: made(*span) for span in expected} == expected


def test_files_of_the_ledger_do_not_pile_up(warehouse: IcebergWarehouse, tmp_path: Path) -> None:
    seen = set[Path]()
    for day in range(10):
        now = MIDNIGHT + (day + 1) * DAY
        hours = [MIDNIGHT + day * DAY + number * HOUR for number in range(24)]
        # Hours without rows, because they take less time.
        list(warehouse.replace_several(made_load(tmp_path, "datapoint", hour, []) for hour in hours))
        Upkeep(warehouse, now=now, lookback=DAY).run("datapoint")
        ledger = {path for path in files(warehouse) if path.parent.name.endswith("-ledger")}
        for path in ledger - seen:
            # As old as the table's time says.
            os.utime(path, (now.timestamp(), now.timestamp()))
        seen |= ledger
        assert len(ledger) <= 2
    assert len(seen) > 2
    assert len(warehouse.loaded("datapoint", MIDNIGHT, now)) == 10 * 24


def test_a_load_while_the_ledger_is_folded_is_not_forgotten(
    warehouse: IcebergWarehouse, tend: Tend, tmp_path: Path
) -> None:
    put_several(warehouse, tmp_path, range(24))
    catalog = existing(warehouse).catalog
    # The fixture's own changes stay.
    changes = pytest.MonkeyPatch()
    commit_table = type(catalog).commit_table

    def commit_later(self: Any, table: Table, requirements: Any, updates: Any) -> Any:
        if any(update.action == "remove-properties" for update in updates):
            changes.undo()
            put(warehouse, tmp_path, 3, "new", version="v2")
        return commit_table(self, table, requirements, updates)

    changes.setattr(type(catalog), "commit_table", commit_later)
    assert tend(keep_snapshots=50).hours_folded == 24
    for _ in range(2):
        versions = warehouse.loaded("datapoint", MIDNIGHT, MIDNIGHT + DAY)
        assert versions[MIDNIGHT + 3 * HOUR] == "v2"
        assert len(versions) == 24
        tend(keep_snapshots=50)


def test_another_program_expires_snapshots(warehouse: IcebergWarehouse, tend: Tend, tmp_path: Path) -> None:
    for number in range(4):
        put(warehouse, tmp_path, number, f"{number}")
    with iceberg(tmp_path) as task:
        before = task.loaded("datapoint", MIDNIGHT, MIDNIGHT + DAY)
        table = existing(warehouse)
        old = [snapshot.snapshot_id for snapshot in table.metadata.snapshots[:-1]]
        table.maintenance.expire_snapshots().by_ids(old).commit()
        assert task.loaded("datapoint", MIDNIGHT, MIDNIGHT + DAY) == before
        put(task, tmp_path, 1, "new", version="v2")
    tend(keep_snapshots=1)
    assert dsns(warehouse) == ["0", "2", "3", "new"]
    assert {str(path) for path in files(warehouse)} == reached(existing(warehouse))


def test_what_was_removed_once_is_not_removed_again(
    warehouse: IcebergWarehouse, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for number in range(4):
        put(warehouse, tmp_path, number, f"{number}")
    asked: list[str] = []

    def remove(*arguments: Any) -> bool:
        asked.append(str(arguments[-1]))
        return remove_file(*arguments)

    monkeypatch.setattr(iceberg_upkeep, "remove_file", remove)
    warehouse.forget(["datapoint"], LATER)
    first = {path for path in asked if "/snap-" in path}
    assert first
    asked.clear()
    # The metadata files of former commits still name the expired snapshots.
    warehouse.forget(["datapoint"], LATER)
    assert first.isdisjoint(asked)


def test_many_manifests_become_few(
    warehouse: IcebergWarehouse, tend: Tend, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("ayla_provider.warehouse.iceberg_metadata.MERGE_AT_LEAST", 5)
    with existing(warehouse).transaction() as transaction:
        transaction.set_properties({"commit.manifest.min-count-to-merge": "5"})
    for number in range(7):
        put(warehouse, tmp_path, 24 * number, f"{number}")
    table = existing(warehouse)
    assert len(table.current_snapshot().manifests(table.io)) == 7  # type: ignore[union-attr]
    tend(keep_snapshots=1)
    table = existing(warehouse)
    assert len(table.current_snapshot().manifests(table.io)) == 1  # type: ignore[union-attr]
    assert dsns(warehouse) == [f"{number}" for number in range(7)]
    assert {str(path) for path in files(warehouse)} == reached(table)
    put(warehouse, tmp_path, 24, "new", version="v2")
    assert dsns(warehouse) == ["0", "2", "3", "4", "5", "6", "new"]


def test_a_table_that_does_not_exist_is_an_error(warehouse: IcebergWarehouse) -> None:
    with pytest.raises(AylaWarehouseError, match=r"the table ayla\.ayla_location doesn't exist"):
        Upkeep(warehouse, now=LATER).run("location")


# Which snapshots are needed, as a rule.

_NOW = datetime(2026, 11, 1, tzinfo=UTC)


@st.composite
def histories(draw: st.DrawFn) -> SimpleNamespace:
    """The snapshots of a table, each with a parent or none, and its branches and tags."""
    count = draw(st.integers(1, 12))
    parents = [draw(st.one_of(st.none(), st.integers(0, at - 1))) if at else None for at in range(count)]
    ages = [draw(st.integers(0, 10)) for _ in range(count)]
    snapshots = [
        SimpleNamespace(
            snapshot_id=at,
            parent_snapshot_id=parents[at],
            timestamp_ms=int((_NOW - timedelta(days=ages[at])).timestamp() * 1000),
        )
        for at in range(count)
    ]
    names = draw(st.dictionaries(st.sampled_from(["a", "b"]), st.integers(0, count - 1)))
    main = draw(st.integers(0, count - 1))
    refs = {name: SimpleNamespace(snapshot_id=at) for name, at in {"main": main, **names}.items()}
    by_id = {snapshot.snapshot_id: snapshot for snapshot in snapshots}
    return SimpleNamespace(
        snapshots=snapshots,
        refs=refs,
        current_snapshot=lambda: by_id[main],
        snapshot_by_id=by_id.get,
    )


def lineage(history: SimpleNamespace, at: int | None) -> list[int]:
    found: list[int] = []
    while at is not None:
        found.append(at)
        at = history.snapshot_by_id(at).parent_snapshot_id
    return found


@given(history=histories(), keep=st.integers(1, 6))
def test_expiry_keeps_what_is_needed_and_no_more_of_main_than_stated(history: SimpleNamespace, keep: int) -> None:
    expired = to_expire(history, keep, _NOW)  # type: ignore[arg-type]
    main = lineage(history, history.refs["main"].snapshot_id)
    heads = {ref.snapshot_id for ref in history.refs.values()}
    assert not expired & heads
    assert not expired & set(main[:keep])
    # Of the main branch, only what a branch or a tag names stays longer.
    assert set(main[keep:]) - heads <= expired
    for snapshot in history.snapshots:
        at = snapshot.snapshot_id
        on_branch = any(at in lineage(history, head) for head in heads)
        is_old = _NOW.timestamp() - snapshot.timestamp_ms / 1000 >= 5 * 86400
        if at not in main:
            assert (at in expired) == (is_old and not on_branch)
