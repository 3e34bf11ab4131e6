"""Iceberg tables and real processes: two that load at the same time, one that is killed, and upkeep beside loads."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from ayla_provider.warehouse.base import HeldHour
from ayla_provider.warehouse.iceberg_upkeep import Upkeep
from tests.support.proofs import scale
from tests.warehouse import forking
from tests.warehouse.forking import Answer, Worker
from tests.warehouse.iceberg_place import dsns, existing, files, iceberg, in_sqlite, reached

MIDNIGHT = datetime(2026, 11, 1, tzinfo=UTC)
HOUR = timedelta(hours=1)


@pytest.fixture(scope="module")
def workers() -> Iterator[tuple[Worker, Worker]]:
    module = "tests.warehouse.iceberg_process"
    with forking.worker(module) as first, forking.worker(module) as second:
        yield first, second


def held(folder: Path, hours: int = 48) -> dict[int, HeldHour]:
    with iceberg(folder) as warehouse:
        found = warehouse.held("datapoint", MIDNIGHT, MIDNIGHT + hours * HOUR)
        return {(at - MIDNIGHT) // HOUR: entry for at, entry in found.items()}


def rows(folder: Path) -> list[str]:
    with iceberg(folder) as warehouse:
        return dsns(warehouse) if warehouse.table("datapoint") else []


def race(workers: tuple[Worker, Worker], folder: Path, jobs: list[list[Any]], *, looks: bool) -> list[Answer]:
    """Let two processes look, and then load at the same time."""
    first = [["look"]] if looks else []
    for number, (worker, job) in enumerate(zip(workers, jobs, strict=True)):
        worker.begin(folder, *first, ["say", f"ready-{number}"], ["wait", f"ready-{1 - number}"], job)
    return [worker.end() for worker in workers]


@pytest.mark.proof("two processes load the same hour at the same time, 20 times")
@pytest.mark.parametrize("is_new", [True, False])
def test_two_processes_load_the_same_hour(workers: tuple[Worker, Worker], tmp_path: Path, is_new: bool) -> None:
    assert workers[0].run(tmp_path, ["load", [1], "v1", 2])[0] == 0
    for number in range(scale(2, 20)):
        (folder := tmp_path / f"{number}").mkdir()
        hour = 3 if is_new else 1
        code, said = workers[0].run(folder, ["load", [1], "v1", 2])
        assert code == 0, said
        jobs = [["load", [hour], version, 3] for version in ("a", "b")]
        answers = race(workers, folder, jobs, looks=True)
        assert sorted(code for code, _ in answers) == [0, 1], answers
        (refused,) = [said for code, said in answers if code]
        assert refused.startswith("AylaConflictError")
        winner = "ab"[[code for code, _ in answers].index(0)]
        assert held(folder)[hour] == HeldHour(winner, 3, 3, 3)
        assert [dsn for dsn in rows(folder) if dsn.startswith(f"{winner}-{hour}-")] == [
            f"{winner}-{hour}-{row}" for row in range(3)
        ]


@pytest.mark.proof("two processes load other hours at the same time, 20 times")
def test_two_processes_load_other_hours(workers: tuple[Worker, Worker], tmp_path: Path) -> None:
    code, said = workers[0].run(tmp_path, ["look"])
    assert code == 0, said
    for number in range(scale(2, 20)):
        jobs = [["load", [2 * number + at], "v1", 3] for at in (0, 1)]
        answers = race(workers, tmp_path, jobs, looks=True)
        assert [code for code, _ in answers] == [0, 0], answers
        for name in ("ready-0", "ready-1"):
            (tmp_path / name).unlink()
        expected = {at: HeldHour("v1", 3, 3, 3) for at in range(2 * number + 2)}
        assert held(tmp_path) == expected


def test_two_processes_make_the_first_load_of_all(workers: tuple[Worker, Worker], tmp_path: Path) -> None:
    """Both create the namespace and the table."""
    in_sqlite(tmp_path).close()
    answers = race(workers, tmp_path, [["load", [at], "v1", 1] for at in (0, 1)], looks=False)
    assert [code for code, _ in answers] == [0, 0], answers
    assert rows(tmp_path) == ["v1-0-0", "v1-1-0"]


OLD = [["load", [0, 1, 2], "v1", 2], ["load", [30], "v1", 2]]
LOADED_TWICE = [*OLD, ["load", [1], "v2", 3], ["load", [0], "v3", 1]]

KILLED: dict[str, tuple[list[list[Any]], list[list[Any]]]] = {
    "the first load": ([], [["look"], ["load", [0], "v1", 2]]),
    "a load of several hours": (OLD, [["look"], ["load", [0, 1, 3], "v2", 3]]),
    "an hour of a compacted day": ([*OLD, ["tend", 50]], [["look"], ["load", [1], "v2", 3]]),
    "a load that makes the metadata smaller": (LOADED_TWICE, [["keep_small"], ["look"], ["load", [2], "v2", 3]]),
    "upkeep": (LOADED_TWICE, [["tend", 1]]),
}


MOST_MOMENTS = 80
KILLS = scale(2, MOST_MOMENTS, ci=4)


@pytest.mark.proof("SIGKILL of Iceberg loads and upkeep, at every moment: before and after each write and commit")
@pytest.mark.parametrize("number", range(KILLS))
@pytest.mark.parametrize("what", KILLED)
def test_a_process_that_is_killed_leaves_a_table_that_the_next_try_completes(
    workers: tuple[Worker, Worker], tmp_path: Path, what: str, number: int
) -> None:
    before, job = KILLED[what]
    worker, wanted, disturbed = workers[0], tmp_path / "wanted", tmp_path / "disturbed"
    for folder in (wanted, disturbed):
        folder.mkdir()
        for step in before:
            assert worker.run(folder, step)[0] == 0
    old = (rows(disturbed), held(disturbed))
    code, moments = worker.run(wanted, *job)
    assert code == 0, moments
    new = (rows(wanted), held(wanted))
    last = int(moments)
    assert last <= MOST_MOMENTS
    # A proof kills at each moment; a test at some of them, from the first to the last.
    dies_at = scale(1 + round(number / (KILLS - 1) * (last - 1)), 1 + number)
    if dies_at > last:
        return
    assert worker.run(disturbed, *job, dies_at=dies_at) == (-9, "")
    assert (rows(disturbed), held(disturbed)) in (old, new)
    code, said = worker.run(disturbed, *job)
    assert code == 0, said
    assert (rows(disturbed), held(disturbed)) == new
    # What the killed process left is swept later.
    with iceberg(disturbed) as warehouse:
        Upkeep(warehouse, now=datetime.now(UTC) + timedelta(days=400)).run("datapoint")
        left = {str(path) for path in files(warehouse) if not path.name.startswith(".")}
        assert left == reached(existing(warehouse))
    assert (rows(disturbed), held(disturbed)) == new


@pytest.mark.ci
@pytest.mark.proof("300 Iceberg loads with upkeep beside them")
def test_loads_with_upkeep_beside_them(workers: tuple[Worker, Worker], tmp_path: Path) -> None:
    loads = scale(30, 300)
    assert workers[0].run(tmp_path, ["look"])[0] == 0
    workers[1].begin(tmp_path, ["tend_beside", 5, "loaded"])
    # Every third load is of an hour that was loaded before, and that may be compacted by then.
    hours = [number * 2 // 3 if number % 3 == 2 else number for number in range(loads)]
    for number, hour in enumerate(hours):
        code, said = workers[0].run(tmp_path, ["look"], ["load", [hour], f"v{number}", 2])
        assert code == 0, said
    (tmp_path / "loaded").touch()
    code, said = workers[1].end()
    assert code == 0, said
    last = {hour: f"v{number}" for number, hour in enumerate(hours)}
    assert held(tmp_path, loads) == {hour: HeldHour(version, 2, 2, 2) for hour, version in last.items()}
    assert rows(tmp_path) == sorted(f"{version}-{hour}-{row}" for hour, version in last.items() for row in range(2))
    with iceberg(tmp_path) as warehouse:
        assert any(
            task.file.file_path.rpartition("/")[2].startswith("day-")
            for task in existing(warehouse).scan().plan_files()
        )
        folded = warehouse.ledger(existing(warehouse)).folded
        assert folded
        # Whatever the snapshots that are left name can be read.
        table = existing(warehouse)
        for snapshot in table.metadata.snapshots:
            table.scan(snapshot_id=snapshot.snapshot_id).to_arrow()
