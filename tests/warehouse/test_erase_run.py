"""A run of erasures: everything of a subject goes, nothing else does, and nothing comes back."""

from __future__ import annotations

import json
import shutil
import signal
import tarfile
from collections.abc import Callable
from contextlib import closing
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import duckdb
import psycopg
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from ayla_provider.archive.holds import place_hold, release_hold
from ayla_provider.archive.local import FileDestination
from ayla_provider.archive.volumes import VolumeLooks, read_book
from ayla_provider.cli.verify import VerifyReport
from ayla_provider.domain.completeness import record_path
from ayla_provider.domain.erasure import parse_entry
from ayla_provider.domain.events import EventType
from ayla_provider.domain.hold import hold
from ayla_provider.domain.manifest import loads
from ayla_provider.domain.paths import manifest_path
from ayla_provider.domain.privacy import PrivacyPolicy
from ayla_provider.domain.tables import TABLES
from ayla_provider.domain.typed_manifest import parse_typed_manifest, typed_manifest_path
from ayla_provider.domain.volume import index_of
from ayla_provider.errors import AylaHeldError, AylaUnavailable
from ayla_provider.rows.typed_archive import TypedArchive
from ayla_provider.warehouse.duckdb import DuckDBWarehouse
from ayla_provider.warehouse.erase import ErasureRun
from ayla_provider.warehouse.postgres import PostgresWarehouse
from tests.support import postgres_server
from tests.support.erasing import (
    EVENT_TYPES,
    KEYS,
    SUBJECT,
    content_of,
    duckdb_of,
    erase,
    erase_and_die,
    erasure_run,
    hours,
    load,
    make_archive,
    request,
    typed_of,
)
from tests.support.lake_killing import warehouse_of
from tests.support.mortal import run_process
from tests.support.proofs import scale
from tests.support.traces import layers_with, traces
from tests.warehouse.archive import HOUR, archive_hour
from tests.warehouse.made_loads import made_load

FOREVER = 100_000


@pytest.fixture(scope="module")
def filled(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An archive with typed rows and a DuckDB file, before anything is erased."""
    root = tmp_path_factory.mktemp("filled")
    make_archive(root)
    load(root, duckdb_of(root))
    request(root)
    return root


@pytest.fixture
def root(filled: Path, tmp_path: Path) -> Path:
    """A copy of it."""
    shutil.copytree(filled, tmp_path / "root")
    return tmp_path / "root"


def layers(root: Path, subject: dict[str, str] = SUBJECT) -> dict[str, set[str]]:
    """Which layers have the subject, apart from the request."""
    found = layers_with(root / "archive", subject)
    parquet = layers_with(root / "archive" / "parquet", subject)
    found.pop("parquet", None)
    if parquet:
        found["parquet"] = set().union(*parquet.values())
    for path in root.glob("*.duckdb*"):
        names = traces(path.read_bytes(), subject)
        if names:
            found["duckdb"] = names
    return found


def rows_of(root: Path) -> list[str]:
    """All typed rows, by an independent reader, without what loads add."""
    found = []
    for path in sorted((root / "archive" / "parquet").glob("event_type=*/*/*/*.parquet")):
        table = pq.ParquetFile(path).read()
        found += [repr(sorted((name, str(value)) for name, value in row.items())) for row in table.to_pylist()]
    return sorted(found)


def rows_in_duckdb(root: Path) -> list[str]:
    found = []
    with duckdb.connect(str(root / "a.duckdb"), read_only=True) as session:
        session.execute("set TimeZone = 'UTC'")
        for event_type in EVENT_TYPES:
            rows = session.execute(f"select * from ayla_{event_type}")
            names = [column[0] for column in rows.description or ()]
            found += [
                repr(sorted((name, str(value)) for name, value in zip(names, row, strict=True)))
                for row in rows.fetchall()
            ]
    return sorted(found)


def others(rows: list[str], subject: dict[str, str] = SUBJECT) -> list[str]:
    """The rows in which the subject isn't."""
    return [row for row in rows if not traces(row.encode(), subject)]


def assert_whole(root: Path) -> None:
    """Assert that verify has nothing to report."""
    rows = FileDestination(root / "archive" / "parquet")
    report = VerifyReport(
        FileDestination(root / "archive"),
        rows,
        event_types=EVENT_TYPES,
        since=None,
        until=HOUR + timedelta(hours=9),
        expected_retention=None,
        read_every=timedelta(days=1),
        warehouse=duckdb_of(root),
    )
    damages = [str(finding) for finding in report.findings() if "no manifest" not in str(finding)]
    assert damages == []


def test_the_search_finds_the_subject_in_each_layer_before(filled: Path) -> None:
    both = {"dsn", "user_uuid"}
    assert layers(filled) == {"event_type": both, "_quarantine": both, "parquet": both, "duckdb": both}


def test_nothing_of_a_subject_is_left_and_all_other_rows_are_as_they_were(root: Path) -> None:
    before, in_duckdb = rows_of(root), rows_in_duckdb(root)
    comparison = root / "archive" / record_path(hours()[0])
    comparison.parent.mkdir(parents=True)
    comparison.touch()
    expected = erasure_run(root, [duckdb_of(root)]).count()
    assert layers(root)
    report = erase(root, [duckdb_of(root)])
    assert not comparison.exists()
    # Receipts and comparisons count, too.
    assert (expected.objects, expected.cost["writes"]) == (report.objects, report.objects)
    assert layers(root) == {}
    assert rows_of(root) == others(before)
    assert rows_in_duckdb(root) == others(in_duckdb)
    assert len(before) > len(others(before)) > 0
    for layer in ("csv_lines", "quarantined_lines", "parquet_rows"):
        assert report.counts[layer] == expected.counts[layer] > 0
    assert report.counts["parquet_rows"] == report.counts["warehouse_rows"] == len(before) - len(others(before))
    assert_whole(root)
    # A load has nothing to do.
    assert load(root, duckdb_of(root)) == 0


def test_an_erased_file_is_the_file_that_a_copy_would_write(root: Path) -> None:
    erase(root)
    for hour in hours():
        manifest = loads((root / "archive" / manifest_path(hour)).read_bytes(), "here")
        contents = {content for _, content in content_of(hour)}
        for file in manifest.present:
            assert file.size in {len(content) for content in contents}
            assert (root / "archive" / file.path).stat().st_size == file.held_size


def test_the_certificate_says_what_was_done_and_names_nobody(root: Path) -> None:
    (waiting,) = request(root)
    report = erase(root, [duckdb_of(root)])
    (path,) = (root / "archive" / "_erasures").iterdir()
    assert path.name == f"{waiting.id}.json"
    document = json.loads(path.read_bytes())
    assert not traces(path.read_bytes(), SUBJECT)
    assert (document["state"], document["written_by"]) == ("done", {"run_id": "erase"})
    assert document["erased"]["csv_lines"] == report.counts["csv_lines"]
    assert document["erased"]["warehouse_rows"] == report.counts["warehouse_rows"]
    assert parse_entry(path.read_bytes(), "here").done_at
    assert not traces(json.dumps(report.document()).encode(), SUBJECT)


def test_a_dry_run_changes_nothing(root: Path) -> None:
    before = {path: path.read_bytes() for path in root.rglob("*") if path.is_file()}
    report = erasure_run(root, [duckdb_of(root)]).count()
    assert report.counts["warehouse_rows"] > 0
    assert {path: path.read_bytes() for path in root.rglob("*") if path.is_file()} == before


def test_only_the_hours_of_the_span_are_touched(root: Path) -> None:
    span = {"from": HOUR.isoformat(), "until": (HOUR + timedelta(hours=1)).isoformat()}
    request(root, **SUBJECT, **span)

    def later_files() -> list[bytes]:
        folders = [root / "archive" / hour.partition for hour in hours() if hour.start > HOUR]
        return [path.read_bytes() for folder in folders for path in sorted(folder.glob("*"))]

    before = later_files()
    report = erase(root, [duckdb_of(root)])
    assert report.counts["csv_lines"] > 0
    assert later_files() == before
    with duckdb.connect(str(root / "a.duckdb"), read_only=True) as session:
        ((first, later),) = session.execute(
            "select count(*) filter (folder_hour = $hour), count(*) filter (folder_hour > $hour) from ayla_datapoint "
            "where dsn = $dsn",
            {"hour": HOUR, "dsn": SUBJECT["dsn"]},
        ).fetchall()
    assert first == 0 < later
    assert_whole(root)


@pytest.mark.parametrize(
    "spoil",
    [
        lambda root: shutil.rmtree(root / "archive" / "parquet"),
        lambda root: [path.unlink() for path in (root / "archive" / "parquet").glob("event_type=*/*/*/*.parquet")],
        lambda root: shutil.rmtree(root / "archive" / "parquet" / "_typed"),
        lambda root: [
            path.write_text(path.read_text().replace('"version": "', '"version": "0'))
            for path in (root / "archive" / "parquet" / "_typed").rglob("*.json")
        ],
    ],
    ids=["nothing typed", "rows missing", "receipts missing", "rows stale"],
)
def test_rows_that_are_missing_or_stale_hide_nothing(root: Path, spoil: Callable[[Path], Any]) -> None:
    before = rows_in_duckdb(root)
    spoil(root)
    try:
        erase(root, [duckdb_of(root)])
    except AylaUnavailable:
        # A row of another device has a text that names the subject, and nothing but the files shows it.
        load(root, duckdb_of(root))
        erase(root, [duckdb_of(root)])
    assert layers(root) == {}
    # The next load brings everything into line.
    load(root, duckdb_of(root))
    assert layers(root) == {}
    assert others(rows_in_duckdb(root)) == rows_in_duckdb(root) == others(before)
    assert_whole(root)


@pytest.mark.parametrize(
    "policy",
    [{"dsn": "hash", "user_uuid": "hash"}, {"dsn": "drop", "user_uuid": "drop"}, {"dsn": "hash", "val_string": "drop"}],
)
def test_hashed_and_dropped_columns_hide_nothing(tmp_path: Path, policy: dict[str, str]) -> None:
    make_archive(tmp_path)
    archive, rows = FileDestination(tmp_path / "archive"), FileDestination(tmp_path / "archive" / "parquet")
    treated = PrivacyPolicy(policy, "the-key-of-the-policy")
    typed = TypedArchive(archive, rows, policy=treated, erasure_keys=lambda: KEYS, max_malformed=1)
    made = {hour: typed.ensure(hour, {}).manifest for hour in hours()}
    waiting = request(tmp_path)
    run = ErasureRun(
        archive, rows, waiting, KEYS, policy_key=treated.key, now=datetime.now(UTC), written_by={"run_id": "r"}
    )
    report = run.erase()
    assert report.counts["csv_lines"] > 0
    assert layers(tmp_path) == {}
    again = {hour: typed.ensure(hour, {}).manifest for hour in hours()}
    # What a filtered archive gives from the start.
    fresh = TypedArchive(
        archive, FileDestination(tmp_path / "fresh"), policy=treated, erasure_keys=lambda: KEYS, max_malformed=1
    )
    for hour in hours():
        expected = fresh.ensure(hour, {}).manifest
        assert (again[hour].rows, again[hour].lines) == (expected.rows, expected.lines)
        assert again[hour].version == expected.version
    assert sum(receipt.rows for receipt in again.values()) < sum(receipt.rows for receipt in made.values())


@pytest.mark.parametrize("is_old", [False, True])
def test_rows_of_a_warehouse_whose_policy_hashes_go_too(tmp_path: Path, is_old: bool) -> None:
    make_archive(tmp_path)
    policy = PrivacyPolicy({"dsn": "hash"}, "the-key-of-the-policy")
    # Version 0.1 wrote hashes without the short id of their key.
    hashed = policy.hashed(SUBJECT["dsn"]).partition(":")[2] if is_old else policy.hashed(SUBJECT["dsn"])
    with DuckDBWarehouse(tmp_path / "b.duckdb") as warehouse:
        warehouse.prepare(TABLES["datapoint"])
        rows = [{"dsn": hashed, "user_uuid": None}, {"dsn": "another", "user_uuid": None}]
        warehouse.replace(made_load(tmp_path, "datapoint", HOUR, rows))
    archive, typed = FileDestination(tmp_path / "archive"), FileDestination(tmp_path / "archive" / "parquet")
    run = ErasureRun(
        archive,
        typed,
        request(tmp_path),
        KEYS,
        warehouses=[DuckDBWarehouse(tmp_path / "b.duckdb")],
        policy_key=policy.key,
        now=datetime.now(UTC),
        written_by={},
    )
    assert run.count().counts["warehouse_rows"] == 1


def test_what_a_legal_hold_is_on_stays(root: Path) -> None:
    archive = FileDestination(root / "archive")
    held = hold("case", placed_at=HOUR, start=HOUR, subject={"dsn": [SUBJECT["dsn"]]}, key=KEYS.newest)
    place_hold(archive, held)
    before = rows_of(root)
    for run in (erase, lambda path: erasure_run(path, []).count()):
        with pytest.raises(AylaHeldError, match="the legal hold 'case'"):
            run(root)
    assert rows_of(root) == before
    assert not (root / "archive" / "_erasures").exists()
    release_hold(archive, "case")
    erase(root, [duckdb_of(root)])
    assert layers(root) == {}


def test_a_pending_batch_of_a_stream_is_waited_for(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    class Position:
        pending = object()

    monkeypatch.setattr("ayla_provider.warehouse.erase.read_position", lambda archive: (Position(), None))
    with pytest.raises(AylaUnavailable, match="Run the drain"):
        erase(root)
    assert not (root / "archive" / "_erasures").exists()


# Each of these is a process that ends at another step.
LIVES = scale([3, 41, 104], list(range(0, 240, 2)), ci=[3, 12, 19, 27, 41, 55, 73, 88, 104])


@pytest.mark.proof("SIGKILL at 120 steps")
@pytest.mark.parametrize("lives", LIVES)
def test_a_killed_erasure_is_finished_by_the_next_one(root: Path, lives: int) -> None:
    before, in_duckdb = rows_of(root), rows_in_duckdb(root)
    status = run_process(erase_and_die, root, lives)
    assert status in (0, -signal.SIGKILL)
    # What reads the archive in the meantime finds no subject that comes back: it types with the ledger.
    erase(root, [duckdb_of(root)])
    assert layers(root) == {}
    assert rows_of(root) == others(before)
    assert rows_in_duckdb(root) == others(in_duckdb)
    assert_whole(root)
    assert load(root, duckdb_of(root)) == 0


def test_every_step_of_the_killed_erasures_was_reached(root: Path) -> None:
    assert run_process(erase_and_die, root, max(LIVES)) == -signal.SIGKILL or len(LIVES) > 20
    assert run_process(erase_and_die, root, FOREVER) == 0


def copy_again(root: Path) -> None:
    """Replace the vendor's files, as a copy with another generation does: through the same filter."""
    import io

    from ayla_provider.archive.erasures import Erasures, LineFilter, filtered_copy

    archive = FileDestination(root / "archive")
    for hour in hours():
        matcher = Erasures(archive, lambda: KEYS).matcher(hour)
        contents = []
        for time, content in content_of(hour):
            spool = io.BytesIO()
            if matcher:
                filtered_copy([content], LineFilter(matcher), spool)
            contents.append((time, spool.getvalue() if matcher else content))
        archive_hour(root / "archive", hour.event_type, contents, hour.start, generation=2, revision=2)


def forget_receipts(root: Path) -> None:
    shutil.rmtree(root / "archive" / "parquet" / "_typed", ignore_errors=True)


STEPS: dict[str, Callable[[Path], Any]] = {
    "load": lambda root: load(root, duckdb_of(root)),
    "load again": lambda root: load(root, duckdb_of(root), again=True),
    "type again": forget_receipts,
    "copy again": copy_again,
    "erase": lambda root: erase(root, [duckdb_of(root)]),
}


@pytest.mark.proof("50 examples")
@settings(max_examples=scale(1, 50, ci=3), deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(steps=st.lists(st.sampled_from(sorted(STEPS)), min_size=3, max_size=7))
def test_nobody_comes_back_whatever_runs_again(
    filled: Path, tmp_path_factory: pytest.TempPathFactory, steps: list[str]
) -> None:
    root = tmp_path_factory.mktemp("sequence") / "root"
    shutil.copytree(filled, root)
    before = rows_in_duckdb(root)
    erase(root, [duckdb_of(root)])
    for step in steps:
        STEPS[step](root)
        assert layers(root) == {}, step
    load(root, duckdb_of(root))
    assert layers(root) == {}
    names = [row.replace("'source_generation', '2'", "'source_generation', '1'") for row in rows_in_duckdb(root)]
    assert sorted(names) == others(before)
    shutil.rmtree(root)


@pytest.mark.ci
@pytest.mark.proof("10 examples, each with DuckDB, PostgreSQL, Iceberg, and Delta")
@settings(max_examples=scale(1, 10), deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(steps=st.permutations(["load again", "type again", "copy again", "erase"]), schema=st.uuids())
def test_nobody_comes_back_to_any_of_four_warehouses(
    filled: Path, tmp_path_factory: pytest.TempPathFactory, server: str, steps: list[str], schema: Any
) -> None:
    pytest.importorskip("pyiceberg")
    pytest.importorskip("deltalake")
    root = tmp_path_factory.mktemp("four") / "root"
    shutil.copytree(filled, root)
    arguments = {"host": server, "user": postgres_server.USER, "dbname": "postgres", "autocommit": True}

    def warehouses() -> list[Any]:
        postgres = PostgresWarehouse(lambda: psycopg.connect(**arguments), schema=f"four_{schema.hex}")
        return [duckdb_of(root), postgres, warehouse_of(root, "iceberg"), warehouse_of(root, "delta")]

    def load_all(*, again: bool = False) -> None:
        for warehouse in warehouses():
            load(root, warehouse, again=again)

    def counts() -> set[tuple[int, ...]]:
        """How many rows each warehouse has of each hour; one element if all have the same."""
        found = set()
        for warehouse in warehouses():
            with warehouse:
                held = [warehouse.held(hour.event_type, hour.start, hour.end) for hour in hours()]
            found.add(tuple(entry.counted for each in held for entry in each.values()))
        return found

    def left() -> dict[str, set[str]]:
        in_tables = layers_with(root / "tables", SUBJECT)
        with closing(psycopg.connect(**arguments)) as session:
            for event_type in EVENT_TYPES:
                rows = session.execute(f"select t::text from four_{schema.hex}.ayla_{event_type} as t").fetchall()
                if names := traces(repr(rows).encode(), SUBJECT):
                    in_tables["postgresql"] = names
        return layers(root) | in_tables

    load_all()
    assert left().keys() >= {"postgresql", "ayla", "ayla_datapoint", "duckdb"}
    erase(root, warehouses())
    assert left() == {}
    (expected,) = counts()
    for step in steps:
        match step:
            case "load again":
                load_all(again=True)
            case "erase":
                erase(root, warehouses())
            case _:
                STEPS[step](root)
                load_all()
        assert left() == {}, step
        assert counts() == {expected}, step


def test_postgresql_is_erased_with_the_archive(root: Path, server: str) -> None:
    arguments = {"host": server, "user": postgres_server.USER, "dbname": "postgres", "autocommit": True}

    def warehouse() -> PostgresWarehouse:
        return PostgresWarehouse(lambda: psycopg.connect(**arguments), schema="of_run")

    def found() -> list[tuple[Any, ...]]:
        with closing(psycopg.connect(**arguments)) as session:
            return session.execute("select dsn, user_uuid::text, val_string from of_run.ayla_datapoint").fetchall()

    load(root, warehouse())
    before = found()
    report = erase(root, [warehouse(), duckdb_of(root)])
    assert sorted(found(), key=repr) == sorted(
        (row for row in before if not traces(repr(row).encode(), SUBJECT)), key=repr
    )
    assert any("write-ahead log" in leftover.reason for leftover in report.leftovers)
    assert load(root, warehouse()) == 0
    assert layers(root) == {}


def test_typed_rows_never_have_what_is_erased_even_before_the_archive_is(root: Path) -> None:
    """An archive that was restored from a backup, or an erasure that has only begun."""
    forget_receipts(root)
    shutil.rmtree(root / "archive" / "parquet")
    (waiting,) = request(root)
    entry = waiting.request.entry(KEYS, datetime.now(UTC), {})
    folder = root / "archive" / "_erasures"
    folder.mkdir()
    (folder / f"{entry.id}.json").write_text(entry.dumps())
    typed = typed_of(root)
    for hour in hours():
        made = typed.ensure(hour, {}).manifest
        assert made.lines == made.rows + made.duplicates + made.quarantined
    assert "parquet" not in layers(root)
    assert "_quarantine" not in layers(root)


def test_what_an_earlier_release_wrote_is_erased_without_a_full_load(tmp_path: Path) -> None:
    """Archive, Parquet files, and DuckDB file of a version before there were erasures."""
    with tarfile.open(Path(__file__).parents[1] / "fixtures" / "before_erasures.tar.xz") as packed:
        packed.extractall(tmp_path, filter="data")
    subject = {"dsn": "LC000X000000005", "user_uuid": "f6e0e67e-f230-4a33-b02c-4b5f772fd608"}
    request(tmp_path, **subject)
    before, in_duckdb = rows_of(tmp_path), rows_in_duckdb(tmp_path)
    both = {"dsn", "user_uuid"}
    assert layers(tmp_path, subject) == {"event_type": both, "_quarantine": both, "parquet": both, "duckdb": both}
    erase(tmp_path, [duckdb_of(tmp_path)])
    assert layers(tmp_path, subject) == {}
    assert rows_of(tmp_path) == others(before, subject)
    assert rows_in_duckdb(tmp_path) == others(in_duckdb, subject)
    # Since then, another revision types registrations, whether anything was erased or not.
    assert load(tmp_path, duckdb_of(tmp_path), hours(("datapoint", "connection"))) == 0
    assert_whole(tmp_path)


def certificate(root: Path) -> dict[str, Any]:
    (path,) = (root / "archive" / "_erasures").glob("2*.json")
    document: dict[str, Any] = json.loads(path.read_bytes())
    return document


def test_a_request_that_is_there_again_is_looked_at_in_a_warehouse_that_was_left_out(root: Path) -> None:
    """Its span has a fixed end, so that the entry is the same."""
    span = {"until": (HOUR + timedelta(hours=9)).isoformat()}
    request(root, **SUBJECT, **span)
    in_duckdb = rows_in_duckdb(root)
    erase(root)
    first = certificate(root)
    assert first["state"] == "done"
    expected = erasure_run(root, [duckdb_of(root)]).count()
    report = erase(root, [duckdb_of(root)])
    assert layers(root) == {}
    assert rows_in_duckdb(root) == others(in_duckdb)
    assert report.counts == expected.counts
    assert report.counts["warehouse_rows"] == len(in_duckdb) - len(others(in_duckdb)) > 0
    # The counts of both runs.
    again = certificate(root)
    assert (again["state"], again["erased_is"]) == ("done", "exact")
    assert again["erased"] == first["erased"] | {"warehouse_rows": report.counts["warehouse_rows"]}
    archive = FileDestination(root / "archive").url
    places = [{"kind": "archive", "name": archive}, {"kind": "parquet", "name": f"{archive}/parquet"}]
    assert first["looked_at"] == places
    assert again["looked_at"] == [*places, {"kind": "warehouse", "name": f"DuckDB file {root / 'a.duckdb'}"}]
    # As after a crash between the certificate and the removal of the request.
    erase(root, [duckdb_of(root)])
    last = certificate(root)
    assert last | {"done_at": ""} == again | {"done_at": ""}


def test_a_second_run_that_is_killed_makes_the_counts_the_least(root: Path) -> None:
    erase(root)
    assert certificate(root)["erased_is"] == "exact"
    # It ends soon after the ledger has the entry again.
    assert run_process(erase_and_die, root, 25) == -signal.SIGKILL
    assert certificate(root)["state"] == "begun"
    erase(root, [duckdb_of(root)])
    assert layers(root) == {}
    assert (certificate(root)["state"], certificate(root)["erased_is"]) == ("done", "at_least")


def test_what_an_earlier_run_left_stays_in_the_certificate(root: Path) -> None:
    erase(root)
    (path,) = (root / "archive" / "_erasures").glob("2*.json")
    document = certificate(root)
    gone = {"store": "BigQuery a.b", "reason": "time travel", "gone_by": "2026-11-02T00:00:00+00:00"}
    kept = gone | {"gone_by": "2999-11-02T00:00:00+00:00"}
    here = kept | {"store": FileDestination(root / "archive").url}
    for left, expected in ((kept, [kept]), (gone, []), (here, [])):
        path.write_text(json.dumps(document | {"left": [left]}))
        erase(root)
        assert certificate(root)["left"] == expected


def test_how_many_rows_a_model_had_in_an_old_hour_goes_even_if_the_first_try_ends_before(
    root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    archive, rows = FileDestination(root / "archive"), FileDestination(root / "archive" / "parquet")
    # Hours that are older than two days, so that no evaluation reads them again.
    later = HOUR + timedelta(days=9)

    def known() -> dict[str, set[int]]:
        """Event type to the hours of which the rows of models are known."""
        found = {}
        for event_type in EVENT_TYPES:
            models = read_book(archive, EventType(event_type))[0].volumes.models
            found[event_type] = {index for series in models.values() for index in series}
        return found

    for event_type in EVENT_TYPES:
        VolumeLooks(archive, rows).evaluate(EventType(event_type), later)
    before = known()

    def dies(*_: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr("ayla_provider.warehouse.erase.forget_models", dies)
        with pytest.raises(KeyboardInterrupt):
            erase(root)
    assert known() == before
    erase(root)
    left = known()
    for event_type in EVENT_TYPES:
        untouched = set()
        for hour in hours((event_type,)):
            path = typed_manifest_path(hour)
            receipt = parse_typed_manifest((root / "archive" / "parquet" / path).read_bytes(), path, hour)
            untouched |= set() if receipt.models is None else {index_of(hour.start)}
        assert left[event_type] == untouched & before[event_type]
    assert left != before
    # Nor do they come back.
    for event_type in EVENT_TYPES:
        VolumeLooks(archive, rows).evaluate(EventType(event_type), later)
    assert known() == left
