"""The history of one device at a shell: each of its events once, in their order, and what is unknown."""

from __future__ import annotations

import base64
import csv
import io
import json
import shutil
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from ayla_provider.__main__ import main
from ayla_provider.archive.local import FileDestination
from ayla_provider.domain.erasure import ErasureRequest
from ayla_provider.domain.events import EVENT_TYPES
from ayla_provider.domain.hour import ONE_HOUR, ExportHour
from ayla_provider.domain.privacy import PrivacyPolicy
from ayla_provider.domain.typed_manifest import typed_manifest_path
from ayla_provider.local_cloud.fleet import Fleet
from ayla_provider.local_cloud.lives import ticks_of
from ayla_provider.rows.history import DeviceHistory
from ayla_provider.rows.typed_archive import TypedArchive
from tests.support.erasing import KEYS
from tests.support.fleet_oracle import event_time, rows_of_export
from tests.warehouse.archive import archive_fleet, archive_hour

START = datetime(2026, 11, 1, 18, tzinfo=UTC)
HOURS = [START + number * ONE_HOUR for number in range(3)]
UNTIL = HOURS[-1] + ONE_HOUR
FLEET = Fleet(devices=6, rows=60)
DSN = FLEET.events.lives[0].term(ticks_of(START)).dsn
KEY = "a key of sixteen characters"


def typed_of(root: Path, policy: PrivacyPolicy | None = None) -> TypedArchive:
    archive = FileDestination(root)
    rows = FileDestination(root / "parquet")
    return TypedArchive(archive, rows, erasure_keys=lambda: KEYS, max_malformed=1, policy=policy)


def make(root: Path, policy: PrivacyPolicy | None = None) -> None:
    typed = typed_of(root, policy)
    for event_type in EVENT_TYPES:
        for hour in HOURS:
            archive_fleet(root, FLEET, event_type, hour)
            typed.ensure(ExportHour(event_type, hour), {})


@pytest.fixture(scope="module")
def filled(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("filled")
    make(root)
    return root


@pytest.fixture
def root(filled: Path, tmp_path: Path) -> Path:
    shutil.copytree(filled, tmp_path / "root")
    return tmp_path / "root"


def run(root: Path, *more: str, dsn: str = DSN, hours: Sequence[datetime] = HOURS) -> int:
    until = hours[-1] + ONE_HOUR
    span = ["--since", hours[0].isoformat()[:16], "--until", until.isoformat()[:16]]
    return main(["device", dsn, "--destination", f"file://{root}", *span, *more])


def history(root: Path, **more: Any) -> tuple[list[Any], list[str]]:
    with DeviceHistory(FileDestination(root), FileDestination(root / "parquet"), DSN, **more) as found:
        found.read(None, START, UNTIL)
        return list(found.events()), [f"{one.hour}: {one.reason}" for one in found.unknown]


def expected() -> list[tuple[datetime, str]]:
    """Time and type of each event of the device, from the files alone."""
    found = []
    for event_type in EVENT_TYPES:
        for row in rows_of_export(FLEET, event_type, HOURS):
            if row["dsn"] == DSN:
                time = event_time(event_type, row)
                assert time is not None
                found.append((time, event_type))
    return sorted(found)


def test_each_event_is_listed_once_by_its_time_and_decoded(
    filled: Path, capsys: pytest.CaptureFixture[str], airflow_db: None
) -> None:
    assert run(filled, "--json") == 0
    document = json.loads(capsys.readouterr().out)
    events = document["events"]
    assert document["unknown_hours"] == []
    times = [datetime.fromisoformat(event["time"]) for event in events]
    assert times == sorted(times)
    assert sorted(zip(times, (event["event_type"] for event in events), strict=True)) == expected()
    assert {event["event_type"] for event in events} >= {"datapoint", "datapoint_ack", "connection"}
    texts = {event["row"]["val_string"] for event in events if event["row"].get("property_name") == "mode"}
    assert texts <= {"heat", "cool", "auto", "away", "Öko"}
    assert texts
    assert {event["row"]["dsn"] for event in events} == {DSN}


def test_a_table_and_csv_have_the_same_events(
    filled: Path, capsys: pytest.CaptureFixture[str], airflow_db: None
) -> None:
    assert run(filled, "--csv") == 0
    captured = capsys.readouterr()
    rows = list(csv.DictReader(io.StringIO(captured.out)))
    assert len(rows) == len(expected())
    assert "couldn't be read" in captured.err or captured.err == ""
    assert run(filled) == 0
    lines = capsys.readouterr().out.splitlines()
    table = lines[: lines.index("")]
    assert [line[:26].strip() for line in table] == [row["time"] for row in rows]
    connection = next(line for line in table if " connection " in line)
    assert connection.rstrip().endswith(("Online", "Offline"))
    assert lines[len(table) + 1] == f"{len(rows)} events of {DSN}."


def test_a_serial_number_is_found_in_any_case_and_one_without_events_has_none(
    filled: Path, capsys: pytest.CaptureFixture[str], airflow_db: None
) -> None:
    assert run(filled, "--json", dsn=DSN.lower()) == 0
    assert len(json.loads(capsys.readouterr().out)["events"]) == len(expected())
    assert run(filled, dsn="LC000X999999999") == 0
    assert "0 events of LC000X999999999." in capsys.readouterr().out


def test_hours_that_cannot_be_shown_are_named(root: Path, capsys: pytest.CaptureFixture[str], airflow_db: None) -> None:
    first, second, third = (ExportHour("datapoint", hour) for hour in HOURS)
    (root / "parquet" / typed_manifest_path(first)).unlink()
    for path in (root / "parquet" / second.partition).glob("*.parquet"):
        path.unlink()
    archive_hour(root, "datapoint", [b"other,files"], third.start, generation=7)
    events, unknown = history(root)
    assert [reason.partition(":")[0] for reason in unknown] == [str(first)[:-7], str(second)[:-7], str(third)[:-7]]
    assert "aren't typed" in unknown[0]
    assert "can't be read" in unknown[1]
    assert "changed since" in unknown[2]
    # What there is of an hour is shown.
    assert {event.hour for event in events if event.event_type == "datapoint"} == {third.start}
    later = [HOURS[0], UNTIL]
    assert run(root, hours=later) == 1
    shown = capsys.readouterr().out
    assert f"unknown: location, {UNTIL:%Y-%m-%d %H:%M}" in shown
    assert "1 hour: it isn't copied" in shown


def test_what_the_erasure_ledger_names_is_left_out_before_it_is_erased(root: Path) -> None:
    before, _ = history(root)
    request = ErasureRequest({"dsn": DSN}, None, START + ONE_HOUR, UNTIL)
    entry = request.entry(KEYS, datetime.now(UTC), {})
    (root / "_erasures").mkdir()
    (root / entry.path).write_text(entry.dumps())
    left, _ = history(root, erasure_keys=lambda: KEYS)
    assert left == [event for event in before if event.hour > START]
    assert 0 < len(left) < len(before)


def test_hashed_serial_numbers_need_the_key(tmp_path: Path) -> None:
    make(tmp_path, PrivacyPolicy({"dsn": "hash", "user_uuid": "drop"}, KEY))
    events, unknown = history(tmp_path)
    assert events == []
    assert unknown
    assert all("privacy policy" in reason for reason in unknown)
    events, unknown = history(tmp_path, policy_key=KEY)
    assert unknown == []
    assert len(events) == len(expected())


def test_a_row_of_two_hours_is_listed_once_in_its_newest_state(tmp_path: Path) -> None:
    line = (
        "1a2b3c4d,LC-THERMO-2,LC000X000000001,note,Tm90ZQ==,string,56e10000-b554-11f1-8de9-0242ac120002,,{updated},"
        "2026-11-01T18:00:00Z,,false,false,{discarded},,,,,,aGk=,,output"
    )
    for number, (updated, discarded) in enumerate(
        [("2026-11-01T19:00:00Z", "true"), ("2026-11-01T18:00:00Z", "false")]
    ):
        content = line.format(updated=updated, discarded=discarded).encode()
        archive_hour(tmp_path, "datapoint", [content], HOURS[number])
        typed_of(tmp_path).ensure(ExportHour("datapoint", HOURS[number]), {})
    archive_hour(tmp_path, "datapoint", [], HOURS[2])
    ((event,), unknown) = history(tmp_path)
    assert (event.row["discarded"], event.row["val_string"]) == (True, "hi")
    assert unknown == []


def test_texts_can_neither_run_in_a_spreadsheet_nor_change_a_terminal(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], airflow_db: None
) -> None:
    text = base64.b64encode(b"=cmd()\x1b[31m\nnext").decode()
    line = (
        f"1a2b3c4d,LC-THERMO-2,{DSN},note,Tm90ZQ==,string,56e10000-b554-11f1-8de9-0242ac120002,,2026-11-01T18:00:00Z,"
        f"2026-11-01T18:00:00Z,,false,false,false,,,,,,{text},,output"
    )
    archive_hour(tmp_path, "datapoint", [line.encode()], START)
    typed_of(tmp_path).ensure(ExportHour("datapoint", START), {})
    assert run(tmp_path, "--csv", hours=HOURS[:1]) == 0
    (row,) = csv.DictReader(io.StringIO(capsys.readouterr().out))
    assert row["value"].startswith("'=cmd()")
    assert run(tmp_path, hours=HOURS[:1]) == 0
    shown = capsys.readouterr().out
    assert "\x1b" not in shown
    assert len([each for each in shown.splitlines() if "note" in each]) == 1


def test_wrong_hours_are_refused(filled: Path, airflow_db: None) -> None:
    with pytest.raises(SystemExit) as refused:
        main(["device", DSN, "--destination", f"file://{filled}", "--since", "soon"])
    assert refused.value.code == 2


def test_an_empty_serial_number_is_refused(filled: Path, airflow_db: None, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["device", "", "--destination", f"file://{filled}"]) == 2
    assert "DSN is empty: give the device's serial number" in capsys.readouterr().err
