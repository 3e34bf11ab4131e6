from __future__ import annotations

import contextlib
import gzip
import os
import shutil
import threading
from collections import Counter
from collections.abc import Iterator
from contextlib import closing
from datetime import timedelta
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import duckdb
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from ayla_provider.domain.completeness import Completeness
from ayla_provider.domain.events import EVENT_TYPES
from ayla_provider.domain.hour import ONE_HOUR
from ayla_provider.domain.manifest import loads
from ayla_provider.domain.paths import MANIFESTS
from ayla_provider.local_cloud.stream import FleetStream
from simulation.__main__ import main, report
from simulation.drains import AT_DRAINS
from simulation.erasures import AT_ERASURES
from simulation.faults import DESCRIPTIONS, plan
from simulation.memory import Sample, grown, sample, table
from simulation.run import START, Simulation
from simulation.soak import Soak
from simulation.stream import StreamParameters, arrivals_of, fleet_of, shards_of
from simulation.worker import Kind, Place, Result, Task
from simulation.workers import WorkerPool
from tests.support.proofs import scale


@pytest.fixture(scope="module")
def simulation(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Simulation]:
    """Two days, with an archive on disk."""
    with closing(Simulation(days=2, seed=2, home=tmp_path_factory.mktemp("simulation"))) as simulation:
        simulation.run()
        yield simulation


@pytest.mark.proof("2 days of every fault, on disk", alone=True)
def test_two_days_of_every_fault_end_with_the_answer_key_on_disk(
    simulation: Simulation, capsys: pytest.CaptureFixture[str]
) -> None:
    assert report(simulation) == 0
    output = capsys.readouterr().out
    assert "\nOK: archive, manifests, and tables equal the answer key" in output
    assert all(simulation.faults.happened[kind] for kind in DESCRIPTIONS), output
    assert simulation.customer.repaired
    assert simulation.customer.counts["given up"]
    assert simulation.customer.counts["copies failed"]
    assert simulation.customer.counts["copies killed"]
    assert simulation.customer.counts["repaired losses"]
    assert simulation.customer.counts["marked as lost"] >= len(simulation.faults.lost) > 0
    assert simulation.customer.counts["loads killed"]
    assert simulation.customer.counts["loads failed"]
    assert simulation.tables.kept, "an hour that was loaded before it lost a file"
    assert simulation.drains
    assert all(simulation.drains.happened[kind] for kind in AT_DRAINS if kind != "two drains"), output
    assert simulation.drains.counts["losses"] == 1
    for state in (Completeness.COMPLETE, Completeness.GAP, Completeness.BEFORE_STREAM):
        assert simulation.stream_key.states[state]
    assert simulation.stream_key.found["only_export"]
    assert simulation.stream_key.found["only_stream"]
    assert simulation.erasures
    assert simulation.erasures.counts["done"] == 2 * simulation.erasures.counts["requests"] > 0
    assert simulation.erasures.counts["erased"]
    assert simulation.erasures.happened["erasure held"]


@pytest.mark.ci
@pytest.mark.proof("3 days of every fault, with 2 seeds")
@pytest.mark.parametrize("seed", scale([1], [1, 3]))
def test_days_of_every_fault_end_with_the_answer_key_in_a_bucket(capsys: pytest.CaptureFixture[str], seed: int) -> None:
    days = scale(1, 3)
    assert main(["--days", str(days), "--seed", str(seed)]) == 0
    lines = capsys.readouterr().out.splitlines()
    hours = days * 24 * len(EVENT_TYPES)
    of_faults = len(DESCRIPTIONS) + len(AT_DRAINS) + len(AT_ERASURES)
    assert f"an archive in a bucket: {hours:,} hours" in lines[-of_faults - 11]
    assert lines[-1].startswith("OK: ")


@pytest.mark.proof("2 days of every fault, on disk", alone=True)
def test_the_simulation_notices_what_is_lost_changed_or_too_much(
    simulation: Simulation, capsys: pytest.CaptureFixture[str]
) -> None:
    archive, aside = simulation.setup.archive(), simulation.home / "aside"
    of_files = sorted(path for path in archive if path.startswith("event_type=datapoint/"))
    file, other, manifest = of_files[0], of_files[1], f"{MANIFESTS}/event_type=datapoint/date=2026-11-02/hour=03.json"
    of_other_hour = archive[f"{MANIFESTS}/event_type=connection/date=2026-11-02/hour=03.json"]
    generation = str(loads(archive[manifest], manifest).files[0].generation).encode()
    damages: list[tuple[str, bytes | None, str]] = [
        (file, None, "datapoint 2026-11-01 00:00"),
        (file, archive[file][:-1] + b"!", "datapoint 2026-11-01 00:00"),
        (file, archive[other], "datapoint 2026-11-01 00:00"),
        (f"{file}.1", archive[file], f"{file}.1 has no source"),
        (f"{MANIFESTS}/event_type=datapoint/date=2026-11-09/hour=03.json", archive[manifest], "has no source"),
        (manifest, of_other_hour, "datapoint 2026-11-02 03:00"),
        (manifest, archive[manifest].replace(generation, b"1"), "datapoint 2026-11-02 03:00"),
        (manifest, None, "datapoint 2026-11-02 03:00"),
    ]
    for path, data, named in damages:
        place = simulation.setup.folder / path
        place.parent.mkdir(parents=True, exist_ok=True)
        # The file itself comes back, because a copy that was written again is another version.
        if path in archive:
            place.rename(aside)
        if data is not None:
            place.write_bytes(data)
        assert report(simulation) == 1
        output = capsys.readouterr().out
        assert named in output, (path, output)
        assert "\nFAILED: seed 2, " in output
        simulation.customer.copies.clear()  # the repair that the reconcile asked for
        place.unlink(missing_ok=True)
        if path in archive:
            aside.rename(place)
    assert report(simulation) == 0


@pytest.mark.proof("2 days of every fault, on disk", alone=True)
def test_the_simulation_notices_rows_that_are_missing_changed_or_too_many(
    simulation: Simulation,
) -> None:
    (event_type,) = simulation.tables.event_types
    table, database = f"ayla_{event_type}", simulation.setup.database
    (hour,) = ask(database, f"select min(folder_hour) from {table}")[0]
    named = f"{event_type} {hour:%Y-%m-%d %H:%M}: "
    row = f"(select min(rowid) from {table} where folder_hour = '{hour}')"
    of_hour = f"event_type = '{event_type}' and folder_hour = '{hour}'"
    damages = [
        (f"delete from {table} where rowid = {row}", f"{named}{table} lacks 1 of"),
        (f"insert into {table} from {table} where rowid = {row}", "and has 1 that it shouldn't have"),
        (f"update {table} set dsn = 'other' where rowid = {row}", f"{named}{table} lacks 1 of"),
        (
            f"update {table} set folder_hour = '2026-10-01' where rowid = {row}",
            f"10-01 00:00: {table} lacks 0 of 0",
        ),
        (f"update ayla_loads set lines = lines + 1 where {of_hour}", "but the ledger has"),
        (f"delete from ayla_loads where {of_hour}", "the ledger has None"),
        (f"update ayla_loads set version = 'other' where {of_hour}", "the ledger has the version other"),
    ]
    aside = simulation.home / "tables aside"
    shutil.copy(database, aside)
    for statement, problem in damages:
        ask(database, statement)
        differences = "\n".join(simulation.tables.differences(simulation.hours))
        assert problem in differences, (statement, differences)
        shutil.copy(aside, database)
    assert simulation.tables.differences(simulation.hours) == []
    lake = simulation.setup.place.lake_folder
    lake.rename(aside_lake := simulation.home / "lake aside")
    differences = "\n".join(simulation.tables.differences(simulation.hours))
    assert f"{named}{table} in {simulation.setup.lake} lacks " in differences
    shutil.rmtree(lake)
    aside_lake.rename(lake)
    assert simulation.tables.differences(simulation.hours) == []


@pytest.mark.proof("2 days of every fault, on disk", alone=True)
def test_the_simulation_notices_who_is_back_after_an_erasure(
    simulation: Simulation, capsys: pytest.CaptureFixture[str]
) -> None:
    assert simulation.erasures
    archive, vendor = simulation.setup.archive(), simulation.setup.cloud.vendor
    paths = sorted(path for path in archive if path.startswith(f"{MANIFESTS}/"))
    entries = [entry for path in paths for entry in loads(archive[path], path).files if entry.erased]
    (entry, *_) = [entry for entry in entries if vendor.live(entry.source)]
    source = vendor.live(entry.source)
    assert source
    place = simulation.setup.folder / entry.path
    place.rename(aside := simulation.home / "aside")
    place.write_bytes(b"".join(source.content.chunks(0, source.content.size)))
    assert report(simulation) == 1
    assert f"{entry.path} differs from what an erasure leaves" in capsys.readouterr().out
    simulation.customer.copies.clear()  # the repair that the verification asked for
    aside.rename(place)
    identifier = next(iter(simulation.subjects.all[0].identifiers.values()))
    line = pa.table({"line": [b"another line", f"1,{identifier},2".encode()]})
    pq.write_table(line, path := simulation.home / "malformed.parquet")
    of_hour = "_quarantine/event_type=datapoint/date=2026-11-01/hour=00.parquet"
    named = [*simulation.erasures.traces({of_hour: path.read_bytes()})]
    assert named == [f"{of_hour} names somebody who is erased"]


@pytest.mark.proof("2 days of every fault, on disk", alone=True)
def test_the_simulation_notices_what_of_the_stream_is_lost_changed_or_too_much(
    simulation: Simulation, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert simulation.drains
    (event_type,) = simulation.tables.event_types
    table, database = f"ayla_stream_{event_type}", simulation.setup.database
    lines = sorted(simulation.setup.stream_folder.glob("event_type=*/*/*/*.jsonl.gz"))
    position = simulation.setup.stream_folder / "_stream" / "position.json"
    one, other = lines[0].read_bytes(), lines[1].read_bytes()
    damages = [
        (lines[0], other, "the stream's archive lacks "),
        (lines[0], one + other, "is there twice"),
        (lines[0], gzip.compress(gzip.decompress(one).replace(b'"event":{', b'"event":{ ')), "with other bytes"),
        (position, position.read_bytes().replace(b'"gaps": [', b'"gaps": [], "_": ['), "expired, and no gap says so"),
    ]
    for place, data, problem in damages:
        before = place.read_bytes()
        place.write_bytes(data)
        assert problem in "\n".join(differences_of_stream(simulation))
        place.write_bytes(before)
    aside = simulation.home / "tables aside"
    shutil.copy(database, aside)
    ask(database, f"delete from {table} where rowid = (select min(rowid) from {table})")
    assert "and the stream had" in "\n".join(differences_of_stream(simulation))
    shutil.copy(aside, database)
    assert differences_of_stream(simulation) == []
    # A key that doesn't know of the losses.
    monkeypatch.setattr(simulation.stream_key, "_fleet", FleetStream(simulation.stream_key._fleet.fleet))
    assert "and should be complete" in "\n".join(differences_of_stream(simulation))


def differences_of_stream(simulation: Simulation) -> list[str]:
    assert simulation.drains
    key, lost = simulation.stream_key, simulation.faults.lost
    return key.differences(simulation.now, simulation.hours, simulation.drains.drained_at, lost)


def ask(database: Path, statement: str) -> list[tuple[Any, ...]]:
    with duckdb.connect(str(database)) as connection:
        connection.execute("set TimeZone = 'UTC'")
        return connection.execute(statement).fetchall()


def test_a_seed_draws_the_same_faults_again_and_another_seed_others() -> None:
    def drawn(seed: int) -> list[object]:
        return [*plan(seed, START, START + timedelta(days=2))]

    assert drawn(5) == drawn(5) != drawn(6)


def test_the_simulated_stream_has_each_record_of_the_fleet_once_in_the_shards_of_its_time() -> None:
    parameters = StreamParameters(3, "1a2b3c4d", 12, START, START + timedelta(days=2))
    shards = {shard.id: shard for shard in shards_of(parameters)}
    arrivals = {shard: arrivals_of(parameters, shard) for shard in shards}
    fleet = fleet_of(parameters)
    expected = Counter(record for number in range(48) for record in fleet.records(START + number * ONE_HOUR))
    assert Counter(arrival.event for found in arrivals.values() for arrival in found) == expected
    assert len([shard for shard in shards.values() if len(shard.parents) == 2]) > 2
    for name, shard in shards.items():
        numbers = [arrival.record.number for arrival in arrivals[name]]
        assert numbers == sorted(set(numbers))
        assert all(shard.opened <= arrival.record.arrived_at < shard.last for arrival in arrivals[name])
        assert all(shards[parent].closed_at == shard.opened for parent in shard.parents)


@pytest.mark.proof("half a day, again and again", alone=True)
def test_a_time_in_processes_that_go_on_leaves_nothing_and_holds_no_file_for_each_wait(tmp_path: Path) -> None:
    soak = Soak(tmp_path, days=0.5)
    soak.run(0, at_least=1)
    assert soak.end() == []
    assert soak.files > 20
    assert soak.faults
    assert soak.deployment.peaks.keys() == {"worker 1", "worker 2", "triggerer", "local cloud (a double)"}
    # The exporter stalls for so long that most of the hours are waited for at once.
    assert soak.deployment.peaks["triggerer"].files < 30


def test_the_soak_notices_a_process_that_holds_more_and_more() -> None:
    workers = WorkerPool(lambda: Place(Path(), {}, "", {}), keep, size=1)
    task = Task(Kind.COPY, "", "", START, START, START)
    samples = []
    for _ in range(8):
        workers.run([task])
        samples += [sample(pid) for pid in workers.pids]
    output = "\n".join(grown("the worker", samples))
    for number in ("memory", "open files", "threads"):
        assert f"{number} grew from" in output
    assert workers.end() == []


def keep(pipe: Connection, place: Place) -> None:
    """Be a worker that keeps what it copies, its file and its thread."""
    kept: list[object] = []
    with contextlib.suppress(EOFError):
        while pipe.recv():
            kept += [os.urandom(10_000_000), os.fdopen(os.open(os.devnull, os.O_RDONLY))]
            threading.Thread(target=threading.Event().wait, daemon=True).start()
            pipe.send(Result())


def test_what_comes_and_goes_is_no_growth() -> None:
    waves = [Sample(memory=70_000_000 + 2_000_000 * (n % 3), files=10 + n % 3, threads=1 + n % 2) for n in range(24)]
    warming = [Sample(memory=40_000_000, files=3, threads=1)] * 6
    assert grown("it", warming + waves[:18]) == []
    assert grown("it", waves) == []
    assert "72.0" in "\n".join(table({"it": waves}, {"it": waves[0]}))
    assert grown("it", [*waves[:-6], *(Sample(80_000_000, 10, 1) for _ in range(6))]) == [
        "it: memory grew from 72.0 MB to 80.0 MB"
    ]
