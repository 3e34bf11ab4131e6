"""Processes that load Delta tables at the same time, or are killed while they do."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from ayla_provider.archive.local import FileDestination
from ayla_provider.warehouse.delta import DeltaWarehouse
from ayla_provider.warehouse.delta_upkeep import upkeep
from tests.support.proofs import scale
from tests.warehouse.contract import DATAPOINT
from tests.warehouse.delta_place import InDelta, counts, dsns
from tests.warehouse.made_loads import HOUR, NOON, Row, parquet
from tests.warehouse.test_delta import compact

DAY = timedelta(days=1)
LATER = NOON + 30 * DAY

CHILD = """
import json, os, signal, sys, tempfile, traceback
from datetime import UTC, datetime, timedelta
from pathlib import Path

moments = dies_at = 0

def moment():
    global moments
    moments += 1
    if moments == dies_at:
        os.kill(os.getpid(), signal.SIGKILL)

WATCHED = {"os.rename", "os.remove", "os.link", "os.mkdir", "os.rmdir", "shutil.rmtree", "tempfile.mkdtemp"}

def watch(event, arguments):
    if event in WATCHED or (event == "open" and isinstance(arguments[1], str) and set(arguments[1]) & set("wxa")):
        moment()

# Only imported: deltalake's threads don't survive a fork.
import deltalake
from ayla_provider.archive.local import FileDestination
from ayla_provider.domain.tables import TABLES, Column, ColumnType
from ayla_provider.warehouse import delta, delta_tables, delta_upkeep
from ayla_provider.warehouse.base import Load

def watched(function):
    def run(*arguments, **more):
        moment()
        found = function(*arguments, **more)
        moment()
        return found
    return run

for owner, name in ((deltalake.DeltaTable, "create_write_transaction"), (deltalake.DeltaTable, "create"),
                    (deltalake.DeltaTable, "create_checkpoint"), (deltalake.DeltaTable, "cleanup_metadata"),
                    (deltalake.table.TableAlterer, "add_columns")):
    setattr(owner, name, watched(getattr(owner, name)))
sys.addaudithook(watch)

def loads(order):
    for hour, file, rows, version in order["hours"]:
        table = TABLES["datapoint"]
        if order.get("column"):
            table = table.with_columns((Column(order["column"], ColumnType.TEXT, ""),))
        yield Load(table=table, hour=datetime.fromisoformat(hour), version=version, rows=rows, lines=rows, duplicates=0,
                   quarantined=0, parquet=Path(file) if file else None, loaded_at=datetime.fromisoformat(hour))

def work(order, ready, go):
    tempfile.tempdir = order["tmp"]
    with delta.DeltaWarehouse(FileDestination(order["folder"])) as warehouse:
        if "upkeep" in order:
            now = datetime.now(UTC)
            lookback = now - datetime.fromisoformat(order["upkeep"])
            os.write(ready, b".")
            os.read(go, 1)
            delta_upkeep.upkeep(warehouse, "datapoint", now, lookback=lookback, log_entries=100)
            return
        made = list(loads(order))
        if order["looks"]:
            warehouse.loaded("datapoint", made[0].hour, made[-1].hour + timedelta(hours=1))
        os.write(ready, b".")
        os.read(go, 1)
        warehouse.prepare(made[0].table)
        list(warehouse.replace_several(made))

# A line is a list of orders, each for a process of its own. They begin together.
for line in sys.stdin:
    children = []
    ready, is_ready = os.pipe()
    go, goes = os.pipe()
    orders = json.loads(line)
    for order in orders:
        said, says = os.pipe()
        pid = os.fork()
        if not pid:
            os.close(goes)
            moments, dies_at = 0, order.get("dies", 0)
            try:
                work(order, is_ready, go)
                os.write(says, f"moments {moments}".encode())
            except BaseException as error:
                dies_at = 0
                os.write(is_ready, b".")
                os.write(says, f"{type(error).__name__} {error} {traceback.format_exc()[-1500:]}".encode())
                os._exit(1)
            os._exit(0)
        os.close(says)
        children.append((pid, said))
    os.close(is_ready)
    waited = 0
    while waited < len(orders) and os.read(ready, 1):
        waited += 1
    os.close(goes)
    answers = []
    for pid, said in children:
        status = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
        answers.append([status, os.read(said, 4000).decode()])
        os.close(said)
    os.close(ready)
    os.close(go)
    print(json.dumps(answers), flush=True)
"""

Order = dict[str, Any]
Run = Callable[..., list[tuple[int, str]]]


@pytest.fixture(scope="module")
def run() -> Iterator[Run]:
    """Run orders, each in a process of its own, and return their exit codes and what they said."""
    root = Path(__file__).parents[2]
    with subprocess.Popen(
        [sys.executable, "-c", CHILD], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, cwd=root
    ) as process:
        assert process.stdin
        assert process.stdout
        stdin, stdout = process.stdin, process.stdout

        def run(*orders: Order) -> list[tuple[int, str]]:
            print(json.dumps(orders), file=stdin, flush=True)
            return [(code, said) for code, said in json.loads(stdout.readline())]

        yield run
        stdin.close()


def order(folder: Path, hours: dict[datetime, list[str]], version: str, **more: Any) -> Order:
    """An order to load hours of devices."""
    (folder / "tmp").mkdir(parents=True, exist_ok=True)
    entries = []
    for hour, devices in hours.items():
        rows: list[Row] = [{"dsn": dsn, "folder_hour": hour, "source_object": "a.csv"} for dsn in devices]
        file = str(parquet(folder / "tmp", DATAPOINT, rows)) if rows else None
        entries.append([hour.isoformat(), file, len(rows), version])
    return {"folder": f"{folder}/tables", "tmp": f"{folder}/tmp", "hours": entries, "looks": True} | more


def made(codes: list[tuple[int, str]]) -> list[str]:
    """How the processes ended: the class of the error, or "" for none."""
    return sorted("" if code == 0 else said.partition(" ")[0] for code, said in codes)


def devices(name: str, count: int = 40) -> list[str]:
    return [f"{name}-{number:03}" for number in range(count)]


@pytest.mark.proof("two processes load 50 times, in each of the ways")
@pytest.mark.parametrize("looks", [True, False])
@pytest.mark.parametrize("before", ["no table", "other hours", "the same hours", "a compacted day"])
def test_two_processes_at_once(tmp_path: Path, run: Run, before: str, looks: bool) -> None:
    for number in scale(range(1), range(50)):
        folder = tmp_path / str(number)
        place = InDelta(folder / "tables")
        (folder / "tables").mkdir(parents=True)
        at = {"same": NOON, "A": NOON + HOUR, "B": NOON + 2 * HOUR}
        if before != "no table":
            first = at.values() if before != "other hours" else [NOON - HOUR]
            assert made(run(order(folder, {hour: devices("old") for hour in first}, "v1"))) == [""]
        if before == "a compacted day":
            compact(place)
        # Each has an hour of its own in a first round.
        own = [order(folder, {at[name]: devices(name)}, "v2", looks=looks) for name in ("A", "B")]
        assert made(run(*own)) == ["", ""]
        # Then both have the same.
        same = [order(folder, {at["same"]: devices(name)}, "v2", looks=looks) for name in ("C", "D")]
        ended = run(*same)
        held = place.warehouse.held("datapoint", NOON, NOON + DAY)
        found = {hour: (one.version, one.rows, one.counted) for hour, one in held.items()}
        assert found == dict.fromkeys(at.values(), ("v2", 40, 40))
        winners = {dsn[0] for dsn in dsns(place)} - {"A", "B", "o"}
        assert len(winners) == 1
        if looks:
            assert made(ended) == ["", "AylaConflictError"]
        else:
            # Without a look before, the second one may have begun when the first one was done.
            assert made(ended) in ([""] * 2, ["", "AylaConflictError"])
        if looks and before != "a compacted day":
            # What was refused left nothing.
            assert len(place.files()) == len(at) + {"no table": 0, "other hours": 1, "the same hours": 3}[before]


@pytest.mark.proof("sixteen processes load hours of one day 20 times")
def test_many_processes_load_hours_of_one_day(tmp_path: Path, run: Run) -> None:
    for number in scale(range(1), range(20)):
        folder = tmp_path / str(number)
        (folder / "tables").mkdir(parents=True)
        place = InDelta(folder / "tables")
        hours = [NOON - timedelta(hours=12 - hour) for hour in scale(range(5), range(16))]
        ended = run(*(order(folder, {hour: devices(f"{hour:%H}")}, "v1") for hour in hours))
        assert made(ended) == [""] * len(hours), ended
        assert counts(place, "datapoint", NOON - DAY, LATER) == [40] * len(hours)
        assert place.files() == place.named()


# Killed.


def state(place: InDelta) -> dict[str, Any]:
    """What a reader sees, without what differs between runs."""
    if "datapoint" not in place.tables():
        return {}
    entries = {hour: entry.version for week in place.ledger() for hour, entry in week.hours.items()}
    return {"rows": sorted((row["dsn"], row["folder_hour"]) for row in place.rows("datapoint")), "ledger": entries}


def steps(folder: Path) -> dict[str, Order]:
    """What the processes do that are killed."""
    hours = {NOON: devices("new", 3), NOON + HOUR: devices("next", 2), NOON + 2 * HOUR: []}
    return {
        "a load": order(folder, hours, "v2"),
        "a load with a new column": order(folder, hours, "v2", column="firmware"),
        "upkeep": order(folder, {}, "") | {"upkeep": LATER.isoformat()},
    }


def begin(folder: Path, run: Run, base: str) -> InDelta:
    place = InDelta(folder / "tables")
    (folder / "tables").mkdir(parents=True)
    if base != "nothing":
        old = {NOON + hour * HOUR: devices(f"old{hour}", 4) for hour in range(-1, 3)}
        for hour, names in old.items():
            assert made(run(order(folder, {hour: names}, "v1"))) == [""]
    if base == "a compacted day":
        compact(place)
    return place


@pytest.mark.proof("SIGKILL at every moment of loads and of upkeep")
@pytest.mark.parametrize(
    ("base", "step"),
    [
        ("nothing", "a load"),
        ("old hours", "a load"),
        ("old hours", "a load with a new column"),
        ("a compacted day", "a load"),
        ("old hours", "upkeep"),
    ],
)
def test_a_crash_at_any_moment_and_a_retry_leave_what_there_would_be_without_it(
    tmp_path: Path, run: Run, base: str, step: str
) -> None:
    begin(tmp_path / "base", run, base)

    def copied(name: str) -> tuple[InDelta, Order]:
        folder = tmp_path / name
        shutil.copytree(tmp_path / "base" / "tables", folder / "tables")
        return InDelta(folder / "tables"), steps(folder)[step]

    place, task = copied("undisturbed")
    before = state(place)
    ((code, said),) = run(task)
    assert code == 0, said
    moments, after = int(said.split()[1]), state(place)
    assert moments > 10
    for dies_at in scale(range(1, moments + 1, 1 + moments // 4), range(1, moments + 1)):
        place, task = copied(f"killed-{dies_at}")
        ((code, said),) = run(task | {"dies": dies_at})
        assert (code, said) == (-9, "")
        # A table may be made, without rows.
        assert state(place) in [before, after, {"rows": [], "ledger": {}}][: 2 if before else 3]
        ((code, said),) = run(task)
        assert code == 0, said
        assert state(place) == after
        # What is left is swept.
        with DeltaWarehouse(FileDestination(place.folder)) as warehouse:
            upkeep(warehouse, "datapoint", datetime.now(UTC) + 3 * DAY, lookback=3650 * DAY)
        left = place.files() - place.named()
        assert state(place) == after
        # What was replaced is looked back to for a week. The log says what that is.
        replaced = place.table().vacuum(retention_hours=0, enforce_retention_duration=False, dry_run=True)
        assert left <= set(replaced)


@pytest.mark.proof("300 loads with upkeep beside them")
def test_loads_with_upkeep_beside_them(tmp_path: Path, run: Run) -> None:
    place = InDelta(tmp_path / "tables")
    (tmp_path / "tables").mkdir()
    expected: dict[datetime, list[str]] = {}
    for number in scale(range(6), range(150)):
        # Two loads of different hours of old days, some of them loaded before, and upkeep, all at once.
        hours = [NOON - 5 * DAY + (number * 7 % 50) * HOUR, NOON + (number * 3 % 40) * HOUR]
        loads = [{hour: devices(f"{number}-{hour:%d%H}", 3)} for hour in hours]
        kept = order(tmp_path, {}, "") | {"upkeep": LATER.isoformat()}
        ended = run(*(order(tmp_path, load, f"v{number}") for load in loads), kept)
        assert made(ended) == ["", "", ""], ended
        for load in loads:
            expected.update(load)
    found: dict[datetime, list[str]] = {}
    for row in place.rows("datapoint"):
        found.setdefault(row["folder_hour"], []).append(row["dsn"])
    assert {hour: sorted(names) for hour, names in found.items()} == expected
    counts(place, "datapoint", NOON - 9 * DAY, LATER)
    assert set(place.warehouse.loaded("datapoint", NOON - 9 * DAY, LATER)) == set(expected)
    log = place.path("datapoint") / "_delta_log"
    assert len(list(log.glob("*.json"))) <= 200
