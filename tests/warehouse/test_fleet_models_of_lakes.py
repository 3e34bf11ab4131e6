"""The models of a fleet in Iceberg and Delta: the same tables as elsewhere, whatever happens to a run."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path
from random import Random
from typing import Any

import pytest

from ayla_provider.domain.events import EventType
from ayla_provider.domain.removal import Rule
from ayla_provider.domain.tables import TABLES
from ayla_provider.errors import AylaConflictError
from ayla_provider.models import tables
from ayla_provider.warehouse import lake_models
from ayla_provider.warehouse.base import FoundHour, HourLeft, RowErasure
from ayla_provider.warehouse.delta_models import TableAt as DeltaTableAt
from ayla_provider.warehouse.delta_upkeep import upkeep
from ayla_provider.warehouse.iceberg import IcebergWarehouse
from ayla_provider.warehouse.iceberg_models import TableAt as IcebergTableAt
from ayla_provider.warehouse.iceberg_upkeep import Upkeep
from ayla_provider.warehouse.removal import remove_hours
from tests.support.fleet_rows import HOUR, OddFleet, Row
from tests.support.proofs import PROVING, scale
from tests.warehouse.erasure_contract import SALT, erasure
from tests.warehouse.fleet_lakes import KINDS, InLake, LakeWarehouse, lake
from tests.warehouse.made_loads import NOON, made_load
from tests.warehouse.test_fleet_models import NOW, STARTS, ZONES, check_strays, compare, oracle_of

Hours = dict[tuple[str, datetime], list[Row]]

DAY = timedelta(days=1)
USER = "3fa85f64-5717-4562-b3fc-2c963f66afa6"


@pytest.fixture(params=KINDS)
def kind(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def place(kind: str, tmp_path: Path) -> Iterator[InLake]:
    """A lake of the test's own."""
    with lake(kind, tmp_path) as warehouse:
        yield InLake(warehouse)


def put(warehouse: LakeWarehouse, folder: Path, hours: Mapping[tuple[str, datetime], list[Row]], version: str) -> None:
    """Load hours: those of an event type in one commit."""
    for event_type in TABLES:
        loads = [
            made_load(folder, event_type, hour, rows, version=version)
            for (of_type, hour), rows in hours.items()
            if of_type == event_type
        ]
        list(warehouse.replace_several(loads))


def made(fleet: OddFleet, hours: list[datetime], count: int = 10) -> Hours:
    return {(event_type, hour): fleet.rows(event_type, hour, count) for event_type in TABLES for hour in hours}


def is_up_to_date(place: InLake, zone: str = "UTC") -> bool:
    report = place.warehouse.update_models(zone, "again", NOW)
    return (report.hours, report.recomputed, report.device_days) == (0, 0, 0)


@pytest.mark.ci
def test_late_and_replaced_hours_give_what_plain_python_makes_of_the_rows(
    place: InLake, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fleet, warehouse = OddFleet(3), place.warehouse
    warehouse.prepare_missing(TABLES.values())
    final = made(fleet, [NOON, NOON + HOUR])
    put(warehouse, tmp_path, final, "v1")
    warehouse.update_models("UTC", "first", NOW)
    # An hour before them, and one of them again, with other rows.
    late = made(fleet, [NOON - HOUR, NOON], 6)
    put(warehouse, tmp_path, late, "v2")
    final |= late
    empty = {("connection", NOON + 2 * HOUR)}
    found = [FoundHour(*key, "empty") for key in empty] + [FoundHour(*key, "landed", lines=9) for key in final]
    assert warehouse.record_hours(found, NOW) == len(found)
    assert warehouse.record_hours(found, NOW) == 0
    report = warehouse.update_models("UTC", "late", NOW)
    compare(place, oracle_of(final, empty, "UTC"))
    changed = {(row["dsn"], row["day"]) for row in place.rows("fleet_changes") if row["run_id"] == "late"}
    assert report.device_days == len(changed) > 0
    complete = {(row["event_type"], row["folder_hour"]): row for row in place.rows("completeness")}
    assert {key: row["is_complete"] for key, row in complete.items()} == dict.fromkeys({*final, *empty}, 1)
    assert complete["datapoint", NOON]["rows"] == len(final["datapoint", NOON])
    # A run that has nothing to do makes no commit.
    commits: list[int] = []
    at_each_commit(monkeypatch, commits.append)
    assert is_up_to_date(place)
    assert commits == []


def check_any_order(place: InLake, folder: Path, seed: int, zone: str) -> None:
    """Load hours in any order, some of them again, write at any time, and compare with plain Python."""
    random, fleet, warehouse = Random(seed), OddFleet(seed), place.warehouse
    at = [STARTS[zone] + number * HOUR for number in sorted(random.sample(range(60), 4))]
    at += [at[0] + HOUR, at[-1] + HOUR]
    keys = sorted({(event_type, hour) for event_type in TABLES for hour in at})
    final: Hours = {}
    warehouse.prepare_missing(TABLES.values())
    for number in range(4):
        # The same hour again, with other rows, or without any.
        loaded = {key: fleet.rows(*key, random.choice([0, 3, 10])) for key in random.sample(keys, len(keys) // 2)}
        put(warehouse, folder, loaded, f"v{number}")
        final |= loaded
        if random.random() < 0.7:
            warehouse.update_models(zone, f"run {number}", NOW)
    empty = {key for key in random.choices(keys, k=5) if key not in final}
    warehouse.record_hours([FoundHour(*key, "empty") for key in sorted(empty)], NOW)
    warehouse.update_models(zone, "last", NOW)
    assert is_up_to_date(place, zone)
    compare(place, oracle_of(final, empty, zone))


@pytest.mark.ci
@pytest.mark.proof("15 seeds in Iceberg and Delta: hours in any order, some of them again")
@pytest.mark.parametrize("seed", range(scale(1, 15, ci=2)))
def test_any_order_of_hours_gives_what_plain_python_makes_of_the_rows(
    place: InLake, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, seed: int
) -> None:
    if seed % 2:
        # Each day is written before the next one is made.
        monkeypatch.setattr(lake_models, "WRITE_AFTER", 0.0)
    check_any_order(place, tmp_path, seed, ZONES[seed // 2 % len(ZONES)])


@pytest.mark.ci
def test_rows_with_times_far_from_their_hour_change_nothing_and_make_no_days(place: InLake, tmp_path: Path) -> None:
    check_strays(place, lambda hours, version: put(place.warehouse, tmp_path, hours, version))
    assert is_up_to_date(place)


class Killed(BaseException):
    """What ends a run at once."""


def at_each_commit(monkeypatch: pytest.MonkeyPatch, do: Callable[[int], None]) -> None:
    """Do something before and after each commit of a run. It gets the number of the moment."""
    numbers = itertools.count(1)
    for each in (IcebergTableAt, DeltaTableAt):

        def watched(self: Any, *arguments: Any, replace: Any = each.replace) -> None:
            do(next(numbers))
            replace(self, *arguments)
            do(next(numbers))

        monkeypatch.setattr(each, "replace", watched)


def kill_at(monkeypatch: pytest.MonkeyPatch, moment: int) -> None:
    def die(number: int) -> None:
        if number == moment:
            raise Killed

    at_each_commit(monkeypatch, die)


@pytest.mark.ci
@pytest.mark.proof("a run of the models in Iceberg and Delta that is killed before or after any commit")
@pytest.mark.parametrize("moment", range(1, 70) if PROVING else (2, 9, 16, 27))
def test_a_run_that_is_killed_anywhere_is_finished_by_the_next_one(
    place: InLake, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, moment: int
) -> None:
    monkeypatch.setattr(lake_models, "WRITE_AFTER", 0.0)
    fleet, warehouse = OddFleet(7), place.warehouse
    warehouse.prepare_missing(TABLES.values())
    final = made(fleet, [NOON], 6)
    put(warehouse, tmp_path, final, "v1")
    warehouse.update_models("UTC", "first", NOW)
    more = made(fleet, [NOON, NOON + 30 * HOUR], 6)
    put(warehouse, tmp_path, more, "v2")
    with monkeypatch.context() as patch:
        kill_at(patch, moment)
        with suppress(Killed):
            warehouse.update_models("UTC", "run", NOW)
    report = warehouse.update_models("UTC", "run", NOW)
    compare(place, oracle_of(final | more, set(), "UTC"))
    changes = {(row["dsn"], row["day"]) for row in place.rows("fleet_changes") if row["run_id"] == "run"}
    assert report.device_days == len(changes) > 0
    assert is_up_to_date(place)


@pytest.mark.ci
def test_what_follows_from_a_day_is_made_also_if_the_run_is_killed_after_it_wrote_the_day(
    place: InLake, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lake_models, "WRITE_AFTER", 0.0)
    warehouse = place.warehouse
    warehouse.prepare_missing(TABLES.values())

    def message(hour: datetime, status: str) -> list[Row]:
        return [{"dsn": "A", "oem_model": "M", "event_time": hour, "status": status}]

    final: Hours = {("connection", NOON): message(NOON, "Online")}
    put(warehouse, tmp_path, final, "v1")
    late = ("connection", NOON + HOUR)
    empty = {("connection", NOON + number * HOUR) for number in range(1, 72)} - {late}
    warehouse.record_hours([FoundHour(*key, "empty") for key in sorted(empty)], NOW)
    warehouse.update_models("UTC", "first", NOW)
    # No other day has rows: the later ones follow from the first one alone.
    final[late] = message(late[1], "Offline")
    put(warehouse, tmp_path, {late: final[late]}, "v1")

    with monkeypatch.context() as patch:
        for each in (IcebergTableAt, DeltaTableAt):

            def watched(self: Any, *arguments: Any, replace: Any = each.replace) -> None:
                replace(self, *arguments)
                if self._name == "device_day":
                    raise Killed

            patch.setattr(each, "replace", watched)
        with pytest.raises(Killed):
            warehouse.update_models("UTC", "run", NOW)
    warehouse.update_models("UTC", "run", NOW)
    compare(place, oracle_of(final, empty, "UTC"))
    assert is_up_to_date(place)


@pytest.mark.ci
@pytest.mark.parametrize("moment", range(2, 60, 2) if PROVING else (4, 12))
def test_a_run_that_others_overtake_changes_nothing_any_more(
    place: InLake, kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, moment: int
) -> None:
    fleet, warehouse = OddFleet(8), place.warehouse
    warehouse.prepare_missing(TABLES.values())
    final = made(fleet, [NOON, NOON + 30 * HOUR], 6)
    put(warehouse, tmp_path, final, "v1")

    def overtake(number: int) -> None:
        if number == moment:
            with lake(kind, tmp_path) as other:
                # What it had read is gone.
                less = made(fleet, [NOON], 3)
                put(other, tmp_path, less, "v2")
                final.update(less)
                other.update_models("UTC", "other", NOW)

    with monkeypatch.context() as patch:
        at_each_commit(patch, overtake)
        with pytest.raises(AylaConflictError, match="another task changed"):
            warehouse.update_models("UTC", "run", NOW)
    compare(place, oracle_of(final, set(), "UTC"))
    assert is_up_to_date(place)


def look_after(warehouse: LakeWarehouse, now: datetime) -> None:
    for table in (*lake_models.OWN_TABLES, *TABLES.values()):
        if isinstance(warehouse, IcebergWarehouse):
            Upkeep(warehouse, keep_snapshots=1, now=now, lookback=HOUR).run(table.event_type)
        else:
            upkeep(warehouse, table.event_type, now, lookback=HOUR, log_entries=100)


@pytest.mark.ci
def test_upkeep_beside_a_run_is_in_nobodys_way(
    place: InLake, kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fleet, warehouse = OddFleet(9), place.warehouse
    warehouse.prepare_missing(TABLES.values())
    final = made(fleet, [NOON, NOON + HOUR], 6)
    put(warehouse, tmp_path, final, "v1")
    warehouse.update_models("UTC", "first", NOW)
    more = made(fleet, [NOON + HOUR, NOON + 20 * HOUR], 6)
    put(warehouse, tmp_path, more, "v2")

    def tend(number: int) -> None:
        if number == 8:
            with lake(kind, tmp_path) as other:
                look_after(other, datetime.now(UTC))

    with monkeypatch.context() as patch:
        at_each_commit(patch, tend)
        warehouse.update_models("UTC", "run", NOW)
    compare(place, oracle_of(final | more, set(), "UTC"))
    # A year later nothing but the newest version is left, and it is whole.
    look_after(warehouse, datetime.now(UTC) + 400 * DAY)
    compare(place, oracle_of(final | more, set(), "UTC"))
    assert is_up_to_date(place)


@pytest.mark.ci
@pytest.mark.parametrize("subject", [{"dsn": "LC000X000000001"}, {"user_uuid": USER}], ids=["device", "user"])
def test_what_is_erased_vanishes_from_the_models_and_their_files(
    place: InLake, tmp_path: Path, subject: dict[str, str]
) -> None:
    fleet, warehouse = OddFleet(5), place.warehouse
    warehouse.prepare_missing(TABLES.values())
    final = made(fleet, [NOON, NOON + HOUR], 12)
    put(warehouse, tmp_path, final, "v")
    warehouse.update_models("UTC", "run", NOW)
    ((column, value),) = subject.items()
    assert any(value in repr(place.rows(model.name)) for model in tables.MODELS)

    (of_subject,) = erasure(**subject).subjects
    for event_type in TABLES:
        of_type = RowErasure(event_type, SALT, (of_subject,))
        hits = warehouse.erasable(of_type)
        left = [HourLeft(at, "v", "v", len(final[event_type, at]) - count) for at, count in hits.items()]
        warehouse.erase(of_type, left)
    warehouse.forget(list(TABLES), datetime.now(UTC))
    kept = {key: [row for row in rows if row.get(column) != value] for key, rows in final.items()}
    compare(place, oracle_of(kept, set(), "UTC"))
    for table in lake_models.OWN_TABLES:
        assert value not in repr(place.rows(table.event_type)), table.event_type
    assert is_up_to_date(place)
    # Values are encoded in data files, but metadata and logs quote the smallest and the largest.
    for path in (tmp_path / "tables").rglob("*"):
        if path.is_file():
            assert value.encode() not in path.read_bytes(), path


@pytest.mark.ci
def test_hours_that_a_rule_removes_leave_the_models_with_the_next_run(place: InLake, tmp_path: Path) -> None:
    fleet, warehouse = OddFleet(11), place.warehouse
    warehouse.prepare_missing(TABLES.values())
    final = made(fleet, [NOON + 12 * number * HOUR for number in range(4)])
    put(warehouse, tmp_path, final, "v")
    warehouse.update_models("UTC", "run", NOW)
    first_kept = NOON + 18 * HOUR
    rule = Rule("tables", 2 * DAY, first_kept + 2 * DAY, ())
    assert remove_hours(warehouse, [EventType(name) for name in TABLES], rule).hours == 2 * len(TABLES)
    warehouse.update_models("UTC", "next", NOW)
    kept = {key: rows for key, rows in final.items() if key[1] >= first_kept}
    compare(place, oracle_of(kept, set(), "UTC"))


@pytest.mark.ci
def test_another_time_zone_makes_everything_again(place: InLake, tmp_path: Path) -> None:
    fleet, warehouse = OddFleet(9), place.warehouse
    warehouse.prepare_missing(TABLES.values())
    final = made(fleet, [NOON, NOON + 9 * HOUR])
    put(warehouse, tmp_path, final, "v")
    for zone in ("UTC", "Asia/Kolkata"):
        warehouse.update_models(zone, zone, NOW)
        compare(place, oracle_of(final, set(), zone))
