"""Delta tables keep the contract of warehouses, and what else is true of them alone."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import duckdb
import pytest
from deltalake import DeltaTable, QueryBuilder
from deltalake.exceptions import CommitFailedError, DeltaError

from ayla_provider.archive.local import FileDestination
from ayla_provider.domain.tables import TABLES, Column, ColumnType
from ayla_provider.errors import AylaConflictError, AylaTableError, AylaWarehouseError
from ayla_provider.warehouse import delta as delta_module
from ayla_provider.warehouse.base import HeldHour, Load
from ayla_provider.warehouse.delta import DeltaWarehouse
from ayla_provider.warehouse.delta_ledger import TRANSACTION
from ayla_provider.warehouse.delta_upkeep import Done, upkeep
from tests.warehouse.contract import DATAPOINT, Place, WarehouseContract, put
from tests.warehouse.delta_place import InDelta, counts, dsns
from tests.warehouse.made_loads import HOUR, NOON, made_load

DAY = timedelta(days=1)
MIDNIGHT = NOON.replace(hour=0)
LATER = NOON + 30 * DAY


@pytest.fixture
def place(tmp_path: Path) -> Iterator[InDelta]:
    with DeltaWarehouse(FileDestination(tmp_path / "tables")) as warehouse:
        yield InDelta(tmp_path / "tables", warehouse)


class TestDelta(WarehouseContract):
    """Without what the protocol lets a table format give up."""

    def test_a_load_that_breaks_off_leaves_the_old_hour(self, place: Place, tmp_path: Path) -> None:
        place.warehouse.prepare(DATAPOINT)
        put(place, tmp_path, "datapoint", NOON, [{"dsn": "old"}])
        with pytest.raises(AylaWarehouseError, match="can't load datapoint 2026-11-01 12:00 UTC"):
            put(place, tmp_path, "datapoint", NOON, [{"dsn": "new", "folder_hour": NOON + HOUR}])
        assert [row["dsn"] for row in place.rows("datapoint")] == ["old"]
        put(place, tmp_path, "datapoint", NOON, [{"dsn": "new"}])
        assert [row["dsn"] for row in place.rows("datapoint")] == ["new"]

    def test_the_hours_of_a_table_that_is_gone_have_no_rows(self, place: Place, tmp_path: Path) -> None:
        # The ledger is a part of the table, and gone with it.
        place.warehouse.prepare(DATAPOINT)
        put(place, tmp_path, "datapoint", NOON, [{"dsn": "A"}])
        place.run("drop table {datapoint}")
        assert place.warehouse.held("datapoint", NOON, NOON + HOUR) == {}


def compact(place: InDelta) -> Done:
    """Compact all days, while all files are new."""
    now = datetime.now(UTC)
    done = upkeep(place.warehouse, "datapoint", now, lookback=now - LATER)
    assert done
    return done


def load_day(place: InDelta, folder: Path, hours: Sequence[int] = range(24), start: datetime = MIDNIGHT) -> None:
    place.warehouse.prepare(DATAPOINT)
    for hour in hours:
        put(place, folder, "datapoint", start + hour * HOUR, [{"dsn": f"{number}-{hour}"} for number in range(3)])


def log_entries(place: InDelta) -> list[int]:
    return sorted(int(path.stem) for path in (place.path("datapoint") / "_delta_log").glob("*[0-9].json"))


def test_deltalakes_own_reader_sees_the_same_rows(place: InDelta, tmp_path: Path) -> None:
    load_day(place, tmp_path, range(3))
    query = "select dsn, folder_hour, \"date\" from t where folder_hour = timestamp '2026-11-01T01:00:00Z' order by 1"
    found = QueryBuilder().register("t", place.table()).execute(query).read_all()
    assert list(found["dsn"].to_pylist()) == ["0-1", "1-1", "2-1"]
    assert {str(day) for day in found["date"].to_pylist()} == {"2026-11-01"}
    assert {moment.astimezone(UTC) for moment in found["folder_hour"].to_pylist()} == {MIDNIGHT + HOUR}


def test_a_table_can_be_read_by_every_engine(place: InDelta, tmp_path: Path) -> None:
    load_day(place, tmp_path, range(2))
    protocol = place.table().protocol()
    assert (protocol.min_reader_version, protocol.min_writer_version) == (1, 2)
    assert {str(field.type) for field in place.table().schema().fields} == {
        f'PrimitiveType("{kind}")' for kind in ("string", "long", "double", "boolean", "timestamp", "date")
    }
    assert {field.name: field.metadata["comment"] for field in place.table().schema().fields}["dsn"].startswith("The")


def test_the_log_has_statistics_of_device_and_times(place: InDelta, tmp_path: Path) -> None:
    place.warehouse.prepare(DATAPOINT)
    late = NOON + timedelta(seconds=7, microseconds=234567)
    put(place, tmp_path, "datapoint", NOON, [{"dsn": "A", "created_at": NOON}, {"dsn": "Z", "created_at": late}, {}])
    (entry,) = (
        json.loads(line)["add"]
        for line in (place.path("datapoint") / "_delta_log" / f"{1:020}.json").read_text().splitlines()
        if '"add"' in line
    )
    statistics = json.loads(entry["stats"])
    assert statistics["numRecords"] == 3
    assert statistics["minValues"] | {"dsn": "A", "created_at": "2026-11-01T12:00:00.000Z"} == statistics["minValues"]
    assert statistics["maxValues"] | {"dsn": "Z", "created_at": "2026-11-01T12:00:07.234Z"} == statistics["maxValues"]
    assert statistics["nullCount"] == statistics["nullCount"] | {"dsn": 1, "created_at": 1, "updated_at": 3}


def test_hours_of_several_days_are_one_commit(place: InDelta, tmp_path: Path) -> None:
    load_day(place, tmp_path, [5])
    before = place.table().version()
    loads = [made_load(tmp_path, "datapoint", MIDNIGHT + hour * HOUR, [{"dsn": f"{hour}"}]) for hour in range(30)]
    arrived = list(place.warehouse.replace_several(iter(loads)))
    assert [load.hour for load in arrived] == [load.hour for load in loads]
    assert place.table().version() == before + 1
    assert dsns(place) == sorted(map(str, range(30)))
    assert counts(place, "datapoint", MIDNIGHT, MIDNIGHT + 2 * DAY) == [1] * 30


def test_if_a_later_hour_cannot_be_made_no_hour_is_loaded_and_nothing_is_left(place: InDelta, tmp_path: Path) -> None:
    place.warehouse.prepare(DATAPOINT)

    def loads() -> Iterator[Load]:
        yield made_load(tmp_path, "datapoint", NOON, [{"dsn": "A"}])
        raise AylaWarehouseError("the next hour is broken")

    with pytest.raises(AylaWarehouseError, match="the next hour is broken"):
        list(place.warehouse.replace_several(loads()))
    assert place.rows("datapoint") == []
    assert place.files() == set()


def test_a_load_that_takes_long_commits_in_between(
    place: InDelta, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    place.warehouse.prepare(DATAPOINT)
    monkeypatch.setattr(delta_module, "_COMMIT_AFTER", 0.0)
    loads = [made_load(tmp_path, "datapoint", NOON + hour * HOUR, [{"dsn": f"{hour}"}]) for hour in range(3)]
    before = place.table().version()
    assert len(list(place.warehouse.replace_several(loads))) == 3
    assert place.table().version() == before + 3
    assert dsns(place) == ["0", "1", "2"]


def test_the_ledger_of_several_weeks_outlives_checkpoints_and_the_cleanup_of_the_log(
    place: InDelta, tmp_path: Path
) -> None:
    for week in range(3):
        load_day(place, tmp_path, [week], MIDNIGHT + 7 * week * DAY)
    upkeep(place.warehouse, "datapoint", datetime.now(UTC), lookback=-365 * DAY, log_entries=1)
    loaded = place.warehouse.loaded("datapoint", MIDNIGHT - 20000 * DAY, LATER)
    assert loaded == {MIDNIGHT + 7 * week * DAY + week * HOUR: "v1" for week in range(3)}
    second = MIDNIGHT + 7 * DAY
    assert place.warehouse.loaded("datapoint", second, second + DAY) == {second + HOUR: "v1"}
    assert place.warehouse.loaded("datapoint", second + 2 * HOUR, second + 3 * HOUR) == {}


@pytest.mark.parametrize("content", [None, b"{}", b'{"format": "ayla-delta-ledger/1"}'])
@pytest.mark.parametrize("which", ["index", "week"])
def test_a_ledgers_file_that_is_gone_or_changed_is_not_taken_for_an_empty_one(
    place: InDelta, tmp_path: Path, which: str, content: bytes | None
) -> None:
    load_day(place, tmp_path, [12])
    load_day(place, tmp_path, [12], MIDNIGHT + 7 * DAY)
    ordered = sorted(place.warehouse.tables.ledger_files(place.table(), "datapoint"))
    assert len(ordered) == 3
    # Both weeks, then the index.
    file = place.path("datapoint") / ordered[{"week": 1, "index": 2}[which]]
    if content is None:
        file.unlink()
    else:
        file.write_bytes(content)
    second = MIDNIGHT + 7 * DAY
    with pytest.raises(AylaWarehouseError, match=r"of the ledger is (damaged|missing). Restore it"):
        place.warehouse.loaded("datapoint", second, second + DAY)
    # What the message says helps.
    file.write_bytes(b"")
    assert place.warehouse.loaded("datapoint", second, second + DAY) == {}
    left = {} if which == "index" else {NOON: "v1"}
    assert place.warehouse.loaded("datapoint", MIDNIGHT, second) == left
    put(place, tmp_path, "datapoint", NOON + 7 * DAY, [{"dsn": "again"}])
    assert [dsn for dsn in dsns(place) if dsn == "again"] == ["again"]
    assert place.warehouse.loaded("datapoint", MIDNIGHT, second + DAY) == left | {NOON + 7 * DAY: "v1"}


# Two at once.


def other(place: InDelta) -> InDelta:
    return InDelta(place.folder)


@pytest.mark.parametrize("loaded_before", [False, True])
def test_of_two_loads_of_an_hour_since_they_looked_one_is_refused_and_leaves_nothing(
    place: InDelta, tmp_path: Path, loaded_before: bool
) -> None:
    load_day(place, tmp_path, [12] if loaded_before else [11])
    rival = other(place)
    for one in (place, rival):
        one.warehouse.loaded("datapoint", NOON, NOON + HOUR)
    put(rival, tmp_path, "datapoint", NOON, [{"dsn": "rival"}], version="v2")
    files = place.files()
    with pytest.raises(AylaConflictError, match="can't load datapoint 2026-11-01 12:00 UTC: another task changed"):
        put(place, tmp_path, "datapoint", NOON, [{"dsn": "loser"}], version="v2")
    assert place.files() == files
    assert "loser" not in dsns(place)
    # The task's next try.
    put(place, tmp_path, "datapoint", NOON, [{"dsn": "winner"}], version="v3")
    assert [row["dsn"] for row in place.rows("datapoint") if row["folder_hour"] == NOON] == ["winner"]


def test_loads_of_different_hours_of_a_day_both_succeed(place: InDelta, tmp_path: Path) -> None:
    load_day(place, tmp_path, [12, 13])
    rival = other(place)
    for one in (place, rival):
        one.warehouse.loaded("datapoint", NOON, NOON + DAY)
    put(rival, tmp_path, "datapoint", NOON, [{"dsn": "B"}], version="v2")
    put(place, tmp_path, "datapoint", NOON + HOUR, [{"dsn": "C"}], version="v2")
    assert dsns(place) == ["B", "C"]
    assert place.warehouse.loaded("datapoint", NOON, NOON + DAY) == {NOON: "v2", NOON + HOUR: "v2"}


class Between:
    """Does something just before deltalake commits, or changes what it answers."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self._commit = delta_module.commit
        self.before: list[Any] = []
        self.answers: list[Exception] = []
        self.tries = 0
        monkeypatch.setattr(delta_module, "commit", self)

    def __call__(self, *arguments: Any, **more: Any) -> None:
        self.tries += 1
        if self.before:
            self.before.pop(0)()
        self._commit(*arguments, **more)
        if self.answers:
            raise self.answers.pop(0)


@pytest.mark.parametrize(
    "by_whom", [compact, lambda place: place.table().optimize.compact()], ids=["upkeep", "another tool"]
)
def test_what_is_committed_between_look_and_commit_is_taken_into_account(
    place: InDelta, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, by_whom: Any
) -> None:
    load_day(place, tmp_path, [11, 12])
    rival = other(place)
    between = Between(monkeypatch)
    between.before = [
        lambda: put(rival, tmp_path, "datapoint", NOON + HOUR, [{"dsn": "another hour"}]),
        # For the commit of the load above.
        lambda: None,
        lambda: rival.warehouse.prepare(DATAPOINT.with_columns((Column("new", ColumnType.TEXT, ""),))),
        lambda: by_whom(rival),
    ]
    put(place, tmp_path, "datapoint", NOON, [{"dsn": "B"}], version="v2")
    # Four of this load, and one of the rival's.
    assert between.tries == 5
    assert dsns(place) == ["0-11", "1-11", "2-11", "B", "another hour"]
    assert counts(place, "datapoint", MIDNIGHT, LATER) == [3, 1, 1]


def test_of_two_first_loads_of_an_hour_at_once_one_is_refused(
    place: InDelta, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    place.warehouse.prepare(DATAPOINT)
    rival = other(place)
    between = Between(monkeypatch)
    between.before = [lambda: put(rival, tmp_path, "datapoint", NOON, [{"dsn": "rival"}])]
    with pytest.raises(AylaConflictError):
        put(place, tmp_path, "datapoint", NOON, [{"dsn": "loser"}])
    assert dsns(place) == ["rival"]
    assert place.files() == place.named()


@pytest.mark.parametrize("answer", [CommitFailedError("409"), DeltaError("503 Slow Down"), OSError("reset")])
@pytest.mark.parametrize("compacted", [False, True])
def test_an_answer_that_gets_lost_neither_doubles_nor_destroys(
    place: InDelta, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, answer: Exception, compacted: bool
) -> None:
    load_day(place, tmp_path, [11, 12])
    if compacted:
        compact(place)
    between = Between(monkeypatch)
    between.answers = [answer]
    put(place, tmp_path, "datapoint", NOON, [{"dsn": "B"}], version="v2")
    assert between.tries == 1
    assert dsns(place) == ["0-11", "1-11", "2-11", "B"]
    assert place.named() <= place.files()
    assert counts(place, "datapoint", MIDNIGHT, LATER) == [3, 1]


def test_a_commit_that_may_still_arrive_keeps_its_files(
    place: InDelta, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    load_day(place, tmp_path, [11, 12])
    compact(place)
    arrives: list[Any] = []
    real = delta_module.commit

    def gets_stuck(*arguments: Any, **more: Any) -> None:
        arrives.append((arguments, more))
        raise DeltaError("operation timed out; signature=secret")

    monkeypatch.setattr(delta_module, "commit", gets_stuck)
    with pytest.raises(AylaWarehouseError, match=r"can't load datapoint .*: operation timed out.*safe to try again"):
        put(place, tmp_path, "datapoint", NOON, [{"dsn": "B"}], version="v2")
    assert len(dsns(place)) == 6
    ((arguments, more),) = arrives
    real(*arguments, **more)
    assert dsns(place) == ["0-11", "1-11", "2-11", "B"]
    assert counts(place, "datapoint", MIDNIGHT, LATER) == [3, 1]


def test_a_table_that_two_tasks_create_or_widen_at_once_is_complete(
    place: InDelta, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    rival = other(place)
    wide = DATAPOINT.with_columns((Column("firmware", ColumnType.TEXT, ""),))
    opened = place.warehouse.tables.open
    racing = [lambda: rival.warehouse.prepare(DATAPOINT), lambda: rival.warehouse.prepare(wide)]

    def open_and_lose(event_type: str) -> DeltaTable | None:
        found = opened(event_type)
        if racing:
            racing.pop(0)()
        return found

    monkeypatch.setattr(place.warehouse.tables, "open", open_and_lose)
    place.warehouse.prepare(wide)
    assert not racing
    assert [field.name for field in place.table().schema().fields].count("firmware") == 1
    put(place, tmp_path, "datapoint", NOON, [{"dsn": "A", "firmware": "1"}], table=wide)
    assert [(row["dsn"], row["firmware"]) for row in place.rows("datapoint")] == [("A", "1")]


# Days that were compacted.


def test_an_hour_of_a_compacted_day_is_replaced_alone(place: InDelta, tmp_path: Path) -> None:
    load_day(place, tmp_path)
    compact(place)
    assert len(place.named()) == 1
    put(place, tmp_path, "datapoint", NOON, [{"dsn": "new"}], version="v2")
    kept = sorted(f"{number}-{hour}" for number in range(3) for hour in range(24) if hour != 12)
    assert dsns(place) == sorted([*kept, "new"])
    put(place, tmp_path, "datapoint", NOON, [], version="v3")
    assert dsns(place) == kept
    assert counts(place, "datapoint", MIDNIGHT, LATER) == [3] * 12 + [0] + [3] * 11


def test_a_new_hour_of_a_compacted_day_leaves_the_days_file(place: InDelta, tmp_path: Path) -> None:
    load_day(place, tmp_path, [0, 1, 20, 21])
    compact(place)
    (compacted,) = place.named()
    put(place, tmp_path, "datapoint", NOON, [{"dsn": "new"}])
    assert compacted in place.named()
    assert len(place.named()) == 2
    assert counts(place, "datapoint", MIDNIGHT, LATER) == [3, 3, 1, 3, 3]


def test_a_file_without_statistics_of_another_tool_is_looked_into(place: InDelta, tmp_path: Path) -> None:
    load_day(place, tmp_path, [11, 12])
    # It has statistics of no column, and all hours of its day.
    place.table().alter.set_table_properties({"delta.dataSkippingNumIndexedCols": "0"})
    place.table().optimize.compact()
    assert "min.folder_hour" not in place.table().get_add_actions(flatten=True).column_names
    assert counts(place, "datapoint", MIDNIGHT, LATER) == [3, 3]
    put(place, tmp_path, "datapoint", NOON, [{"dsn": "B"}], version="v2")
    assert dsns(place) == ["0-11", "1-11", "2-11", "B"]


# Properties and features of other tools.


def test_a_table_that_forgets_its_ledger_is_refused(place: InDelta, tmp_path: Path) -> None:
    load_day(place, tmp_path, [12])
    properties = {"delta.setTransactionRetentionDuration": "interval 1 days"}
    place.table().alter.set_table_properties(properties, raise_if_not_exists=False)
    for ask in (
        lambda: place.warehouse.loaded("datapoint", NOON, NOON + HOUR),
        lambda: put(place, tmp_path, "datapoint", NOON, [{"dsn": "B"}]),
        lambda: compact(place),
    ):
        with pytest.raises(AylaTableError, match=r"forgets which hours are loaded. Unset it"):
            ask()


def test_a_table_with_deletion_vectors_is_refused(place: InDelta, tmp_path: Path) -> None:
    from deltalake import TableFeatures

    load_day(place, tmp_path, [12])
    place.table().alter.add_feature(TableFeatures.DeletionVectors, allow_protocol_versions_increase=True)
    with pytest.raises(AylaTableError, match="has the feature deletionVectors"):
        put(place, tmp_path, "datapoint", NOON, [{"dsn": "B"}])


def test_a_column_with_the_name_of_the_partition_is_refused(place: InDelta) -> None:
    with pytest.raises(AylaTableError, match="a column date, which is the name of the table's partition"):
        place.warehouse.prepare(DATAPOINT.with_columns((Column("date", ColumnType.TEXT, ""),)))


def test_a_naive_time_is_written_as_one_of_utc(place: InDelta, tmp_path: Path) -> None:
    place.warehouse.prepare(DATAPOINT)
    load = made_load(tmp_path, "datapoint", NOON, [{"dsn": "A", "created_at": NOON}])
    naive = tmp_path / "naive.parquet"
    with duckdb.connect() as session:
        columns = "* replace (created_at::timestamp as created_at)"
        session.execute(f"set TimeZone = 'UTC'; copy (select {columns} from '{load.parquet}') to '{naive}'")
    place.warehouse.replace(dataclasses.replace(load, parquet=naive))
    assert place.table().protocol().reader_features is None
    assert [row["created_at"] for row in place.rows("datapoint")] == [NOON]


# Upkeep.


def age(place: InDelta, days: float) -> None:
    """Make all files look older."""
    import os

    for path in place.folder.rglob("*"):
        if path.is_file():
            past = path.stat().st_mtime - days * 86400
            os.utime(path, (past, past))


def test_upkeep_compacts_old_days_sorted_by_device_and_only_once(place: InDelta, tmp_path: Path) -> None:
    load_day(place, tmp_path)
    load_day(place, tmp_path, [3, 4], MIDNIGHT + DAY)
    rows = sorted(map(repr, place.rows("datapoint")))
    # The second day isn't old enough.
    now = MIDNIGHT + 3 * DAY - HOUR
    planned = upkeep(place.warehouse, "datapoint", now, lookback=DAY, dry_run=True)
    assert planned
    assert (planned.days_compacted, planned.files_compacted, planned.files_written) == (1, 24, 1)
    assert len(place.named()) == 26
    done = upkeep(place.warehouse, "datapoint", now, lookback=DAY)
    assert done
    assert (done.days_compacted, done.files_compacted, done.files_written) == (1, 24, 1)
    assert sorted(map(repr, place.rows("datapoint"))) == rows
    (compacted,) = [path for path in place.named() if "day-" in path]
    with duckdb.connect() as session:
        order = session.execute(f"select dsn from '{place.path('datapoint') / compacted}'").fetchall()
    assert order == sorted(order)
    version = place.table().version()
    again = upkeep(place.warehouse, "datapoint", now, lookback=DAY)
    assert again
    assert again.days_compacted == 0
    assert place.table().version() == version


def test_files_that_are_too_large_together_stay_apart(
    place: InDelta, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from ayla_provider.warehouse import delta_upkeep

    load_day(place, tmp_path, range(5))
    size = max(path.stat().st_size for path in place.folder.rglob("date=*/*.parquet"))
    monkeypatch.setattr(delta_upkeep, "FILE_SIZE", 2 * size)
    done = compact(place)
    assert (done.files_compacted, done.files_written) == (4, 2)
    assert len(place.named()) == 3
    assert counts(place, "datapoint", MIDNIGHT, LATER) == [3] * 5


def test_a_load_wins_over_a_compaction(place: InDelta, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from ayla_provider.warehouse import delta_upkeep

    load_day(place, tmp_path, [11, 12])
    rival, real = other(place), delta_upkeep.commit

    def commit(*arguments: Any, **more: Any) -> None:
        put(rival, tmp_path, "datapoint", NOON, [{"dsn": "B"}], version="v2")
        real(*arguments, **more)

    monkeypatch.setattr(delta_upkeep, "commit", commit)
    done = compact(place)
    assert (done.days_compacted, done.days_in_use) == (0, 1)
    assert dsns(place) == ["0-11", "1-11", "2-11", "B"]


def test_what_no_commit_names_is_removed_after_a_day_and_what_was_replaced_after_a_week(
    place: InDelta, tmp_path: Path
) -> None:
    load_day(place, tmp_path, [11, 12])
    earlier = place.table().version()
    put(place, tmp_path, "datapoint", NOON, [{"dsn": "B"}], version="v2")
    orphan = place.path("datapoint") / "date=2026-11-01" / "2026110112-v9-0123456789abcdef.parquet"
    orphan.write_bytes(b"x")
    names = (
        "_other/a.parquet",
        "note.txt",
        "date=2026-11-01/part-0.parquet",
        "a/2026110112-v9-0123456789abcdef.parquet",
    )
    foreign = [place.path("datapoint") / name for name in names]
    for path in foreign:
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(b"x")
    everything = place.files()
    now = datetime.now(UTC)
    upkeep(place.warehouse, "datapoint", now + 23 * HOUR, lookback=365 * DAY)
    assert place.files() == everything
    planned = upkeep(place.warehouse, "datapoint", now + 2 * DAY, lookback=365 * DAY, dry_run=True)
    assert planned
    # The orphan, and of each load before a week and an index of the ledger.
    assert planned.files_removed == 5
    assert place.files() == everything
    done = upkeep(place.warehouse, "datapoint", now + 2 * DAY, lookback=365 * DAY)
    assert done
    assert done.files_removed == 5
    assert place.files() == everything - {str(orphan.relative_to(place.path("datapoint")))}
    assert all(path.exists() for path in foreign)
    # An earlier version can still be read, and it is what it was.
    before = DeltaTable(str(place.path("datapoint")), version=earlier)
    found = QueryBuilder().register("t", before).execute("select dsn from t").read_all()
    assert len(found["dsn"].to_pylist()) == 6
    assert counts(place, "datapoint", MIDNIGHT, LATER) == [3, 1]


def test_replaced_files_are_removed_once_no_reader_may_look_back_to_them(place: InDelta, tmp_path: Path) -> None:
    load_day(place, tmp_path, [12])
    place.table().alter.set_table_properties({"delta.deletedFileRetentionDuration": "interval 0 days"})
    put(place, tmp_path, "datapoint", NOON, [{"dsn": "B"}], version="v2")
    upkeep(place.warehouse, "datapoint", datetime.now(UTC) + 2 * DAY, lookback=365 * DAY)
    assert place.files() == place.named()
    assert dsns(place) == ["B"]


@pytest.mark.parametrize("most", [100, 110])
def test_the_log_has_no_more_entries_than_wanted_and_not_much_fewer(
    place: InDelta, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, most: int
) -> None:
    from ayla_provider.warehouse import delta_upkeep

    monkeypatch.setattr(delta_upkeep, "FEWEST_LOG_ENTRIES", 20)
    most -= 60
    place.warehouse.prepare(DATAPOINT)
    for _ in range(75):
        delta_module.commit(place.table(), [], [])
    put(place, tmp_path, "datapoint", NOON, [{"dsn": "A"}])
    now = datetime.now(UTC)
    planned = upkeep(place.warehouse, "datapoint", now, lookback=DAY, log_entries=most, dry_run=True)
    assert planned
    assert len(log_entries(place)) == 77
    done = upkeep(place.warehouse, "datapoint", now, lookback=DAY, log_entries=most)
    assert done
    left = log_entries(place)
    assert most - 20 < len(left) <= most
    assert (done.log_entries, done.log_entries_removed) == (len(left), 77 - len(left))
    # Each version that is left can be read.
    for version in (left[0], left[-1]):
        DeltaTable(str(place.path("datapoint")), version=version)
    assert dsns(place) == ["A"]
    assert place.warehouse.loaded("datapoint", NOON, NOON + HOUR) == {NOON: "v1"}


def test_upkeep_of_a_table_that_does_not_exist_does_nothing(place: InDelta) -> None:
    assert upkeep(place.warehouse, "datapoint", LATER, lookback=DAY) is None


def test_a_foreign_vacuum_leaves_rows_and_ledger(place: InDelta, tmp_path: Path) -> None:
    load_day(place, tmp_path, [11, 12])
    put(place, tmp_path, "datapoint", NOON, [{"dsn": "B"}], version="v2")
    place.table().optimize.compact()
    place.table().vacuum(retention_hours=0, dry_run=False, enforce_retention_duration=False, full=True)
    place.table().create_checkpoint()
    place.table().cleanup_metadata()
    assert dsns(place) == ["0-11", "1-11", "2-11", "B"]
    assert place.warehouse.loaded("datapoint", MIDNIGHT, LATER) == {NOON - HOUR: "v1", NOON: "v2"}
    put(place, tmp_path, "datapoint", NOON, [{"dsn": "C"}], version="v3")
    assert counts(place, "datapoint", MIDNIGHT, LATER) == [3, 1]


def test_rows_that_another_tool_deleted_are_missed(place: InDelta, tmp_path: Path) -> None:
    load_day(place, tmp_path, [11, 12])
    compact(place)
    place.table().delete("dsn = '0-12'")
    assert place.warehouse.held("datapoint", MIDNIGHT, LATER) == {
        NOON - HOUR: HeldHour("v1", 3, 3, 3),
        NOON: HeldHour("v1", 3, 3, 2),
    }


def test_the_number_of_the_index_is_that_of_its_file_and_positive(place: InDelta, tmp_path: Path) -> None:
    load_day(place, tmp_path, [12])
    number = place.table().transaction_version(TRANSACTION)
    week, index = sorted((place.path("datapoint") / "_ayla").iterdir())
    assert number
    assert 0 < number < 2**62
    assert index.name == f"index-{number:016x}.json"
    (of_week,) = json.loads(index.read_text())["weeks"].values()
    # The first of November is a Sunday.
    assert week.name == f"2026-10-26-{of_week:016x}.json"


def test_a_load_reads_as_much_of_the_ledger_in_an_old_table_as_in_a_young_one(
    place: InDelta, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from ayla_provider.archive.local import FileDestination as Disk

    read, paths = Disk.read, list[str]()

    def counted(self: FileDestination, path: str) -> Any:
        paths.append(path)
        return read(self, path)

    monkeypatch.setattr(Disk, "read", counted)
    numbers = []
    for week in range(6):
        hour = NOON + 7 * week * DAY
        paths.clear()
        with DeltaWarehouse(FileDestination(place.folder)) as warehouse:
            place.warehouse.prepare(DATAPOINT)
            assert [recipe.hours for recipe in warehouse.recipes("datapoint", hour, hour + HOUR)] == [week] * bool(week)
            warehouse.loaded("datapoint", hour, hour + HOUR)
            warehouse.replace(made_load(tmp_path, "datapoint", hour, [{"dsn": "A"}]))
        numbers.append(len(paths))
    assert numbers[1:] == [numbers[1]] * 5


def test_every_table_has_a_log_of_its_own(place: InDelta, tmp_path: Path) -> None:
    place.warehouse.prepare_missing(TABLES.values())
    assert place.tables() == sorted(TABLES)
    assert place.warehouse.has_ledger()
