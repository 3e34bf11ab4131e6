"""What version 0.1 wrote is read, reported on, repaired and loaded by this version: see tests/fixtures/version_0_1."""

from __future__ import annotations

import json
import tarfile
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import duckdb
import psycopg
import pytest
from airflow.sdk.execution_time.context import OutletEventAccessors

from ayla_provider import EVENT_TYPES
from ayla_provider.__main__ import main
from ayla_provider.archive.erasure_requests import waiting_requests
from ayla_provider.archive.findings import Damage
from ayla_provider.archive.local import FileDestination
from ayla_provider.archive.records import Records
from ayla_provider.archive.verify import Scope, Verification
from ayla_provider.destinations import read_manifest
from ayla_provider.domain import typed_manifest
from ayla_provider.domain.arrival import HourState
from ayla_provider.domain.erasure import ErasureKeys
from ayla_provider.domain.events import parse_event_type
from ayla_provider.domain.hour import ONE_HOUR, ExportHour, hours_of
from ayla_provider.domain.manifest import Manifest
from ayla_provider.local_cloud import LocalCloud
from ayla_provider.operators import (
    AylaExportDuckDBPlanOperator,
    AylaExportToBucketOperator,
    AylaExportToDuckDBOperator,
)
from ayla_provider.rows.typed_archive import TypedArchive
from ayla_provider.warehouse.base import Load
from ayla_provider.warehouse.duckdb import DuckDBWarehouse
from ayla_provider.warehouse.erase import ErasureRun
from ayla_provider.warehouse.plan import to_load as to_load_of
from ayla_provider.warehouse.postgres import PostgresWarehouse
from ayla_provider.warehouse.verify import verify_ledger
from tests.support import postgres_server
from tests.support.fleet import connect
from tests.support.tools import POSTGRESQL
from tests.support.traces import layers_with, traces
from tests.test_reconcile_operator import TaskInstance

HOUR = datetime(2026, 11, 1, 7, tzinfo=UTC)
EMPTY_HOUR = HOUR + ONE_HOUR
NEW_HOUR = HOUR + 2 * ONE_HOUR
END = HOUR + 3 * ONE_HOUR
LOCATION = parse_event_type("location")


@pytest.fixture
def written(tmp_path: Path) -> Path:
    """A folder with the archive and the DuckDB file."""
    with tarfile.open(Path(__file__).parent / "fixtures/version_0_1/archive.tar.gz") as tar:
        tar.extractall(tmp_path, filter="data")
    return tmp_path


def manifest_of(written: Path, event_type: str, hour: datetime) -> Manifest | None:
    return read_manifest(f"file://{written}/archive", event_type, hour)


@pytest.fixture
def cloud(written: Path, monkeypatch: pytest.MonkeyPatch, airflow_db: None) -> Iterator[LocalCloud]:
    """A local cloud that serves what the archive was copied from, at the time of the copy."""
    with LocalCloud(now=HOUR + timedelta(hours=5)) as cloud:
        for event_type in EVENT_TYPES:
            for hour in (HOUR, NEW_HOUR):
                manifest = manifest_of(written, event_type, hour)
                for file in manifest.files if manifest else ():
                    _, folder, time, name = file.source.split("/")
                    data = (written / "archive" / file.path).read_bytes()
                    stored = cloud.put_object(folder, time, name, data, datetime.fromisoformat(file.created))
                    assert stored.generation == file.generation
        connect(monkeypatch, cloud)
        yield cloud


def execute(operator: Any) -> Any:
    return operator.execute({"ti": TaskInstance(), "outlet_events": OutletEventAccessors()})


def copy(written: Path, event_type: str, hour: datetime) -> dict[str, Any]:
    operator = AylaExportToBucketOperator(
        task_id="copy",
        event_type=event_type,
        destination=f"file://{written}/archive",
        start=hour.isoformat(),
        end=(hour + ONE_HOUR).isoformat(),
    )
    result: dict[str, Any] = execute(operator)
    return result


def to_load(written: Path) -> list[dict[str, str]]:
    operator = AylaExportDuckDBPlanOperator(
        task_id="plan",
        archive=f"file://{written}/archive",
        database=str(written / "ayla.duckdb"),
        since=HOUR.isoformat(),
    )
    items: list[dict[str, str]] = execute(operator)
    return items


def load(written: Path, event_type: str, hour: datetime, end: datetime) -> dict[str, Any]:
    operator = AylaExportToDuckDBOperator(
        task_id="load",
        archive=f"file://{written}/archive",
        database=str(written / "ayla.duckdb"),
        event_type=event_type,
        start=hour.isoformat(),
        end=end.isoformat(),
        max_malformed=1,
    )
    result: dict[str, Any] = execute(operator)
    return result


def rows_by_hour(written: Path, event_type: str) -> dict[datetime, int]:
    with duckdb.connect(str(written / "ayla.duckdb"), read_only=True) as database:
        database.execute("set TimeZone = 'UTC'")
        query = f"select folder_hour, count(*) from ayla_{event_type} group by all"
        return {hour.astimezone(UTC): count for hour, count in database.execute(query).fetchall()}


@pytest.mark.parametrize("event_type", EVENT_TYPES)
def test_manifests_are_read(written: Path, event_type: str) -> None:
    landed = manifest_of(written, event_type, HOUR)
    assert landed
    assert landed.state is HourState.LANDED
    assert landed.revision == (2 if event_type in ("connection", "datapoint") else 1)
    assert [file.lines for file in landed.files] == ([3, 4] if event_type == "connection" else [3])
    assert landed.written_by["dag_id"] == "ayla_export_to_bucket"
    empty = manifest_of(written, event_type, EMPTY_HOUR)
    assert empty
    assert (empty.state, empty.files) == (HourState.EMPTY, ())
    assert (manifest_of(written, event_type, NEW_HOUR) is None) == (event_type == "location")


@pytest.mark.parametrize("event_type", EVENT_TYPES)
def test_a_manifest_is_written_as_it_was(written: Path, event_type: str) -> None:
    (path,) = (written / f"archive/_manifests/event_type={event_type}").rglob("hour=07.json")
    manifest = manifest_of(written, event_type, HOUR)
    assert manifest
    assert manifest.dumps() == path.read_text(encoding="utf-8")


@pytest.mark.parametrize("event_type", EVENT_TYPES)
def test_receipts_of_typed_rows_are_read(written: Path, event_type: str) -> None:
    hour = ExportHour(parse_event_type(event_type), HOUR)
    path = typed_manifest.typed_manifest_path(hour)
    text = (written / "archive" / path).read_bytes()
    receipt = typed_manifest.parse_typed_manifest(text, path, hour)
    quarantined = 1 if event_type == "connection" else 0
    assert (receipt.hour, receipt.quarantined) == (hour, quarantined)
    assert receipt.lines == receipt.rows + receipt.duplicates + receipt.quarantined
    assert receipt.dumps() == text.decode()


def test_a_note_on_a_failure_is_read(written: Path) -> None:
    records = Records(FileDestination(written / "archive"))
    with ThreadPoolExecutor(1) as pool:
        failures = records.read_failures(hours_of(LOCATION, HOUR, END), pool)
    ((hour, failure),) = failures.items()
    assert (hour.event_type, hour.start) == (LOCATION, NEW_HOUR)
    assert "could lead out of the destination" in failure.message


def test_the_archive_is_reported_on(written: Path, cloud: LocalCloud, capsys: pytest.CaptureFixture[str]) -> None:
    cloud.put_object("Location", f"{NEW_HOUR:%Y-%m-%d %H:%M:%S}", "f.csv", b"row\r\n", NEW_HOUR + ONE_HOUR)
    since, until = HOUR.isoformat(), END.isoformat()
    status = main(
        ["report", "--json", "--destination", f"file://{written}/archive", "--since", since, "--until", until]
    )
    document = json.loads(capsys.readouterr().out)
    states = {(row["event_type"], datetime.fromisoformat(row["hour"])): row["state"] for row in document["hours"]}
    expected = {}
    for event_type in EVENT_TYPES:
        expected |= {(event_type, HOUR): "landed", (event_type, EMPTY_HOUR): "empty", (event_type, NEW_HOUR): "landed"}
    expected["location", NEW_HOUR] = "missing"
    assert (states, status) == (expected, 1)


def test_a_second_copy_moves_nothing(written: Path, cloud: LocalCloud) -> None:
    for event_type in EVENT_TYPES:
        result = copy(written, event_type, HOUR)
        assert (result["copied_files"], result["files"]) == (0, 2 if event_type == "connection" else 1)


@pytest.mark.parametrize("manifest_too", [False, True])
def test_what_was_removed_or_replaced_is_copied_again(written: Path, cloud: LocalCloud, manifest_too: bool) -> None:
    """A copy that was removed together with its manifest, and a file that Ayla replaced."""
    manifest = manifest_of(written, "registration", HOUR)
    assert manifest
    copied = written / "archive" / manifest.files[0].path
    data = copied.read_bytes()
    copied.unlink()
    if manifest_too:
        (path,) = (written / "archive/_manifests/event_type=registration").rglob("hour=07.json")
        path.unlink()
    result = copy(written, "registration", HOUR)
    assert (result["copied_files"], copied.read_bytes()) == (1, data)

    cloud.put_object("Datapoint", f"{HOUR:%Y-%m-%d %H:%M:%S}", "f.csv", b"newer\r\n", HOUR + timedelta(hours=3))
    result = copy(written, "datapoint", HOUR)
    assert result["copied_files"] == 1
    newer = manifest_of(written, "datapoint", HOUR)
    assert newer
    assert newer.revision == 3
    assert (written / "archive" / newer.files[0].path).read_bytes() == b"newer\r\n"


def test_an_hour_that_failed_is_copied_once_it_can_be(written: Path, cloud: LocalCloud) -> None:
    cloud.put_object("Location", f"{NEW_HOUR:%Y-%m-%d %H:%M:%S}", "f.csv", b"row\r\n", NEW_HOUR + ONE_HOUR)
    assert copy(written, "location", NEW_HOUR)["files"] == 1
    manifest = manifest_of(written, "location", NEW_HOUR)
    assert manifest
    assert [file.size for file in manifest.files] == [5]


def test_hours_that_are_loaded_are_left_and_new_ones_are_added(written: Path, airflow_db: None) -> None:
    before = {event_type: rows_by_hour(written, event_type) for event_type in EVENT_TYPES}
    assert before == {event_type: {HOUR: 6 if event_type == "connection" else 3} for event_type in EVENT_TYPES}
    lacking = {(item["event_type"], item["start"]) for item in to_load(written)}
    new = {(event_type, NEW_HOUR.isoformat()) for event_type in EVENT_TYPES if event_type != "location"}
    # Version 0.1 could take one date of a registration for the other.
    assert lacking == new | {("registration", HOUR.isoformat())}
    receipts = sorted((written / "archive/_typed").rglob("hour=07.json"))
    receipts = [path for path in receipts if "registration" not in str(path)]
    assert len(receipts) == len(EVENT_TYPES) - 1
    as_they_were = [path.read_bytes() for path in receipts]
    for event_type in EVENT_TYPES:
        end = EMPTY_HOUR if event_type == "location" else END
        load(written, event_type, HOUR, end)
    assert [path.read_bytes() for path in receipts] == as_they_were
    for event_type in EVENT_TYPES:
        added = {} if event_type == "location" else {NEW_HOUR: 3}
        assert rows_by_hour(written, event_type) == before[event_type] | added
    assert to_load(written) == []


def test_the_ledger_and_the_rows_show_old_and_new_hours(written: Path, airflow_db: None) -> None:
    load(written, "connection", HOUR, END)
    with duckdb.connect(str(written / "ayla.duckdb"), read_only=True) as database:
        database.execute("set TimeZone = 'UTC'")
        query = "select folder_hour, rows, quarantined, loaded_by from ayla_loads where event_type = 'connection'"
        ledger = {row[0].astimezone(UTC): row[1:] for row in database.execute(query).fetchall()}
        files = database.execute("select distinct source_object from ayla_connection order by 1").fetchall()
    assert ledger[HOUR] == (6, 1, "ayla_export_to_duckdb scheduled")
    assert ledger[NEW_HOUR][:2] == (3, 0)
    names = ["2026-11-01 07:00:00/f.csv", "2026-11-01 07:00:00/late.csv", "2026-11-01 09:00:00/f.csv"]
    assert files == [(f"1a2b3c4d/Connection/{name}",) for name in names]


# PostgreSQL, and erasure.

SUBJECT = {"dsn": "LC000X458886974", "user_uuid": "af19922a-d9b8-4714-a61a-441c12e0c8b2"}
"""A device in the datapoints, and another device's user in the connections."""

BOTH = {"dsn", "user_uuid"}


@pytest.fixture
def postgres() -> Iterator[PostgresWarehouse]:
    """The schema that version 0.1 wrote."""
    POSTGRESQL.require()
    with postgres_server.running() as home:

        def connect() -> Any:
            return psycopg.connect(host=home, user=postgres_server.USER, dbname="postgres")

        with closing(connect()) as session:
            session.execute((Path(__file__).parent / "fixtures/version_0_1/postgres.sql").read_text())
            session.commit()
        yield PostgresWarehouse(connect, schema="version_0_1")


def everything_in(warehouse: PostgresWarehouse | DuckDBWarehouse) -> dict[str, list[tuple[Any, ...]]]:
    """All rows of the tables, in an order of their own."""
    with warehouse:
        found = {}
        for event_type in EVENT_TYPES:
            rows = warehouse._fetch(f"select * from {warehouse._relation(event_type)}")
            found[event_type] = sorted((tuple(map(str, row)) for row in rows), key=repr)
        return found


def lacking(written: Path, warehouse: PostgresWarehouse | DuckDBWarehouse) -> set[tuple[str, datetime]]:
    records = Records(FileDestination(written / "archive"))
    with warehouse:
        types = [parse_event_type(event_type) for event_type in EVENT_TYPES]
        return {(one.event_type, one.start) for one in to_load_of(records, warehouse.loaded, types, HOUR, END)}


def found_by_verify(
    written: Path, warehouses: Sequence[PostgresWarehouse | DuckDBWarehouse]
) -> set[tuple[str, Damage]]:
    """What verifications of the archive and of tables report: the hour, and what is wrong with it."""
    archive, now = FileDestination(written / "archive"), datetime.now(UTC)
    findings = [*Verification(archive, Scope(None, None, END), now=now, read_every=timedelta(seconds=1)).findings()]
    for warehouse in warehouses:
        with warehouse:
            for event_type in map(parse_event_type, EVENT_TYPES):
                findings += verify_ledger(warehouse, archive, event_type, Scope([event_type], None, END), now=now)
    return {(str(finding.hour), finding.damage) for finding in findings}


def test_tables_in_postgresql_are_left_and_new_hours_are_added(written: Path, postgres: PostgresWarehouse) -> None:
    new = {(event_type, NEW_HOUR) for event_type in EVENT_TYPES if event_type != "location"}
    # Version 0.1 could take one date of a registration for the other.
    assert lacking(written, postgres) == new | {("registration", HOUR)}
    before = everything_in(postgres)
    assert {event_type: len(rows) for event_type, rows in before.items()} == {
        event_type: 6 if event_type == "connection" else 3 for event_type in EVENT_TYPES
    }
    archive = FileDestination(written / "archive")
    typed = TypedArchive(archive, archive, max_malformed=1)
    with postgres:
        for event_type, hour in sorted(new):
            made = typed.ensure(ExportHour(parse_event_type(event_type), hour), {}).manifest
            with closing(typed.files(made)) as files:
                postgres.prepare(made.table)
                postgres.replace(Load.of(made, files, "this version"))
    after = everything_in(postgres)
    for event_type, rows in before.items():
        assert set(rows) <= set(after[event_type])
    assert lacking(written, postgres) == {("registration", HOUR)}


def test_a_person_is_erased_from_all_of_it_without_a_full_load(written: Path, postgres: PostgresWarehouse) -> None:
    database = DuckDBWarehouse(written / "ayla.duckdb")
    before = {warehouse.name: everything_in(warehouse) for warehouse in (postgres, database)}
    lacked = {warehouse.name: lacking(written, warehouse) for warehouse in (postgres, database)}
    layers = layers_with(written / "archive", SUBJECT)
    assert {name for name, found in layers.items() if found == BOTH} == {"event_type"}
    assert traces((written / "ayla.duckdb").read_bytes(), SUBJECT) == BOTH
    for rows in before.values():
        assert traces(repr(rows).encode(), SUBJECT) == BOTH

    verified = found_by_verify(written, [postgres, database])
    # The hour that couldn't be copied; and no manifest names the typed rows that are beside the copies here.
    assert {hour for hour, _ in verified} == {"location 2026-11-01 09:00 UTC", "None"}

    keys = ErasureKeys.parse("a-key-of-sixteen-characters", "x")
    (written / "requests").mkdir()
    (written / "requests" / "ticket.json").write_text(json.dumps(SUBJECT))
    waiting = waiting_requests(FileDestination(written / "requests"), keys)
    archive = FileDestination(written / "archive")
    now = datetime.now(UTC)
    run = ErasureRun(archive, archive, waiting, keys, warehouses=[postgres, database], now=now, written_by={})
    report = run.erase()
    assert report.counts["csv_lines"] == report.counts["parquet_rows"] == 2
    assert report.to_load == 0

    assert layers_with(written / "archive", SUBJECT) == {}
    assert traces((written / "ayla.duckdb").read_bytes(), SUBJECT) == set()
    for warehouse in (postgres, database):
        after = everything_in(warehouse)
        for event_type, rows in before[warehouse.name].items():
            assert after[event_type] == [row for row in rows if not traces(repr(row).encode(), SUBJECT)]
        # Nothing has to be loaded that didn't have to be before.
        assert lacking(written, warehouse) == lacked[warehouse.name]
    assert found_by_verify(written, [postgres, database]) == verified
