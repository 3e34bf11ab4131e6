from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from ayla_provider import __version__
from ayla_provider.__main__ import main
from ayla_provider.domain.csv.columns import COLUMN_LAYOUTS
from ayla_provider.domain.events import EVENT_FOLDERS, EVENT_TYPES
from ayla_provider.domain.hour import ONE_HOUR, hour_of
from ayla_provider.local_cloud import LocalCloud
from ayla_provider.local_cloud.traffic import RequestRecord
from tests.support.fleet import HOUR, connect, put_hour
from tests.support.made_rows import Rows, csv

CHAIN = ["connection", "user service", "role", "credentials service", "bucket", "OEM prefix", "event folders"]
NEWEST = [f"newest {event_type}" for event_type in EVENT_TYPES]
FILES = [f"file {event_type}" for event_type in EVENT_TYPES]
STEPS = [*CHAIN, "objects", *NEWEST, *FILES]

CONNECTION_ROW = "1a2b3c4d,LC-THERMO-2,LC000X000000001,Wed Feb 05 12:08:26 UTC 2020,,Online"


@pytest.fixture(autouse=True)
def _no_waiting(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("urllib3.util.retry.Retry.DEFAULT_BACKOFF_MAX", 0.01)


@pytest.fixture
def fleet(monkeypatch: pytest.MonkeyPatch, airflow_db: None) -> Iterator[LocalCloud]:
    """An export with all event types, two days long."""
    with LocalCloud(hours=48, max_lag=timedelta(minutes=30), now=datetime.now(UTC)) as cloud:
        connect(monkeypatch, cloud)
        yield cloud


@pytest.fixture
def bare(monkeypatch: pytest.MonkeyPatch, airflow_db: None) -> Iterator[LocalCloud]:
    """A local cloud without any object."""
    with LocalCloud() as cloud:
        connect(monkeypatch, cloud)
        yield cloud


class Run:
    """One run with --json, in this process."""

    def __init__(self, capsys: pytest.CaptureFixture[str], *arguments: str) -> None:
        capsys.readouterr()
        self.status = main(["check", "--json", *arguments])
        self.out, self.err = capsys.readouterr()
        self.list: list[dict[str, Any]] = json.loads(self.out)
        self.steps = {step["name"]: step for step in self.list}

    def named(self, ok: bool | None) -> list[str]:
        return [step["name"] for step in self.list if step["ok"] is ok]

    def detail(self, name: str) -> str:
        return str(self.steps[name]["detail"])

    def advice(self, name: str) -> str:
        return str(self.steps[name]["advice"])


def is_quiet(run: Run, cloud: LocalCloud, *secrets: str) -> bool:
    """Return whether the output contains no secret."""
    return not any(secret in run.out + run.err for secret in [*cloud.secrets, *secrets])


def put_connections(cloud: LocalCloud, data: bytes, folder: str = "Connection") -> None:
    put_hour(cloud, folder, data=data)


def requests_of(cloud: LocalCloud) -> list[RequestRecord]:
    """All requests, also the last, which is on record a moment after its answer has arrived."""
    known = -1
    while known < len(cloud.requests):
        known = len(cloud.requests)
        time.sleep(0.05)
    return cloud.requests


def rows_of(row: str, end: str = "\r\n", count: int = 5) -> bytes:
    return (row + end).encode() * count


def test_a_healthy_export_is_ok_in_every_step(fleet: LocalCloud, capsys: pytest.CaptureFixture[str]) -> None:
    run = Run(capsys)
    assert [step["name"] for step in run.list] == STEPS
    assert run.named(False) == []
    assert run.status == 0
    assert run.steps["role"]["detail"].endswith("OEM::Admin")
    assert fleet.url in run.detail("user service")
    assert "60 minutes" in run.detail("credentials service")
    for folder in EVENT_FOLDERS.values():
        assert repr(folder) in run.detail("event folders")
    for name in ("file connection", "file datapoint", "file datapoint_ack"):
        assert run.steps[name]["ok"] is True
    assert "fits datapoint-22" in run.detail("file datapoint")
    assert "fits datapoint_ack-24" in run.detail("file datapoint_ack")
    assert all(set(step) == {"name", "ok", "detail", "advice", "seconds"} for step in run.list)
    assert fleet.sign_ins == 1
    assert is_quiet(run, fleet)


def test_the_newest_hour_and_its_age_are_those_of_the_export(
    fleet: LocalCloud, capsys: pytest.CaptureFixture[str]
) -> None:
    run = Run(capsys)
    now = fleet.clock.now()
    for event_type in EVENT_TYPES:
        newest = max(
            answer.hour
            for answer in fleet.answer_key()
            if answer.event_type == event_type and any(file.generations[0].visible_at <= now for file in answer.files)
        )
        assert f"{newest:%Y-%m-%d %H:%M} UTC" in run.detail(f"newest {event_type}")
        assert "ended " in run.detail(f"newest {event_type}")


def test_people_read_a_line_for_each_step_and_what_to_do_below_it(
    fleet: LocalCloud, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["check"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line[8:32].strip() for line in lines if not line.startswith(" ")] == STEPS
    assert lines[0].startswith("ok      connection              ayla_default")

    connect(monkeypatch, fleet, bucket="another-bucket")
    assert main(["check"]) == 1
    lines = capsys.readouterr().out.splitlines()
    (at,) = [at for at, line in enumerate(lines) if line.startswith("FAILED  bucket ")]
    assert lines[at + 1].startswith("          what to do: Compare bucket, oem_id, and prefix")
    assert lines[at + 2 :] == [f"-       {name}" for name in STEPS[STEPS.index("OEM prefix") :]]


def test_a_connection_of_another_type_is_noted(
    fleet: LocalCloud, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    connect(monkeypatch, fleet, conn_type="http")
    run = Run(capsys)
    assert run.status == 0
    assert run.advice("connection").startswith("The connection's type is 'http'. With the type 'ayla', ")


def test_sizes_are_as_in_the_report(bare: LocalCloud, capsys: pytest.CaptureFixture[str]) -> None:
    put_connections(bare, rows_of(CONNECTION_ROW, count=30))
    assert ": 1 file, 2.3 kB (" in Run(capsys).detail("newest connection")


def test_lines_wrap_at_the_width_of_a_terminal(
    fleet: LocalCloud, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    connect(monkeypatch, fleet, bucket="another-bucket")
    monkeypatch.setenv("COLUMNS", "80")
    main(["check"])
    whole = capsys.readouterr().out
    monkeypatch.setattr("sys.stdout.isatty", lambda: True)
    main(["check"])
    wrapped = capsys.readouterr().out
    assert max(map(len, whole.splitlines())) > 80 >= max(map(len, wrapped.splitlines()))
    assert re.sub(r"\d+", "0", wrapped).split() == re.sub(r"\d+", "0", whole).split()


def test_the_version_is_shown(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit, match="0"):
        main(["--version"])
    assert capsys.readouterr().out == f"airflow-provider-ayla {__version__}\n"


@pytest.mark.parametrize(
    ("changes", "step", "detail", "advice"),
    [
        (
            {"password": None, "app_id": None},
            "connection",
            r"Password, App ID \(app_id\) are missing",
            "Correct the connection",
        ),
        ({"acs_url": "http://acs.example.com/"}, "connection", "plain http", "Correct the connection"),
        (
            {"password": "wrong-password"},
            "user service",
            "password of .* is wrong",
            "lock the account for.*Variable ayla_sign_in_",
        ),
        ({"app_id": "wrong-app"}, "user service", "404.*app_id or app_secret are unknown", "Correct the connection"),
        ({"app_secret": "wrong-secret"}, "user service", "app_id or app_secret are unknown", "Correct the connection"),
        ({"host": "http://127.0.0.1:1"}, "user service", "no answer from http://127.0.0.1:1", "host or region"),
        ({"acs_url": "http://127.0.0.1:1/x"}, "credentials service", "no answer from http://127.0.0.1:1/x", "acs_url"),
        ({"bucket": "another-bucket"}, "bucket", "gs://another-bucket/", "bucket, oem_id, and prefix"),
        ({"oem_id": "another"}, "bucket", "403", "bucket, oem_id, and prefix"),
        ({"storage_endpoint": "http://127.0.0.1:1"}, "bucket", "no answer|answered", "reaches Cloud Storage"),
    ],
)
def test_a_wrong_connection_fails_at_its_step_and_nothing_later_is_reached(
    fleet: LocalCloud,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    changes: dict[str, object],
    step: str,
    detail: str,
    advice: str,
) -> None:
    for part in ("_timeout", "_deadline"):
        monkeypatch.setattr(f"google.cloud.storage.retry.DEFAULT_RETRY.{part}", 0.2)
    connect(monkeypatch, fleet, **changes)
    run = Run(capsys)
    assert run.named(False) == [step]
    assert run.named(True) == STEPS[: STEPS.index(step)]
    assert run.named(None) == STEPS[STEPS.index(step) + 1 :]
    assert re.search(detail, run.detail(step)), run.detail(step)
    assert re.search(advice, run.advice(step)), run.advice(step)
    assert run.status == 1
    assert is_quiet(run, fleet, "wrong-password", "wrong-secret")


def test_mfa_fails_at_the_user_service(fleet: LocalCloud, capsys: pytest.CaptureFixture[str]) -> None:
    fleet.account.mfa = True
    run = Run(capsys)
    assert run.named(False) == ["user service"]
    assert "an app_id without MFA" in run.detail("user service")
    assert run.status == 1


@pytest.mark.parametrize("role", ["OEM::Staff", ""])
def test_another_role_fails_at_the_role(fleet: LocalCloud, capsys: pytest.CaptureFixture[str], role: str) -> None:
    fleet.account.role = role
    run = Run(capsys)
    assert run.named(False) == ["role"]
    assert run.named(True) == ["connection", "user service"]
    assert role in run.detail("role")
    assert "OEM::Admin" in run.advice("role")


def test_a_credentials_service_that_refuses_an_admin_isnt_taken_for_a_wrong_role(
    fleet: LocalCloud, capsys: pytest.CaptureFixture[str]
) -> None:
    fleet.faults.add(403, step="acs")
    run = Run(capsys)
    assert run.named(False) == ["credentials service"]
    assert "acs_url" in run.advice("credentials service")


def test_a_refused_sign_in_is_reported_again_but_not_tried_again(
    fleet: LocalCloud, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    connect(monkeypatch, fleet, password="wrong-password")
    for _ in range(6):
        assert Run(capsys).named(False) == ["user service"]
        monkeypatch.setattr("ayla_provider.source.auth._PROVIDERS", {})
    assert fleet.refusals == 1


def test_a_connection_that_isnt_defined_is_named(airflow_db: None, capsys: pytest.CaptureFixture[str]) -> None:
    run = Run(capsys, "--conn", "nowhere")
    assert run.named(False) == ["connection"]
    assert "nowhere" in run.detail("connection")
    assert "AIRFLOW_CONN_NOWHERE" in run.advice("connection")
    assert run.status == 1


def test_a_connection_of_the_metadata_database_is_found(fleet: LocalCloud, capsys: pytest.CaptureFixture[str]) -> None:
    from airflow.models import Connection
    from airflow.utils.session import create_session

    made = fleet.ayla_connection()
    with create_session() as session:
        session.add(Connection(conn_id="stored", **made | {"extra": json.dumps(made["extra"])}))
    try:
        run = Run(capsys, "--conn", "stored")
    finally:
        with create_session() as session:
            session.query(Connection).filter(Connection.conn_id == "stored").delete()
    assert run.status == 0, run.out
    assert "_AIRFLOW_PROCESS_CONTEXT" not in os.environ


def test_an_empty_export_fails_at_the_prefix(bare: LocalCloud, capsys: pytest.CaptureFixture[str]) -> None:
    run = Run(capsys)
    assert run.named(False) == ["OEM prefix"]
    assert run.named(True) == CHAIN[: CHAIN.index("OEM prefix")]
    assert "oem_id, bucket, and prefix" in run.advice("OEM prefix")
    assert run.status == 1


def test_an_export_below_another_folder_is_found_with_the_prefix(
    bare: LocalCloud, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    from ayla_provider.local_cloud.contents import BytesContent

    name = f"{bare.oem_id}/export/Connection/{HOUR:%Y-%m-%d %H:%M:%S}/f.csv"
    bare.vendor.put(name, BytesContent(rows_of(CONNECTION_ROW)), None)
    connect(monkeypatch, bare, prefix=f"{bare.oem_id}/export")
    run = Run(capsys)
    assert "'Connection'" in run.detail("event folders")
    assert run.steps["file connection"]["ok"] is True


def test_objects_without_a_folder_fail_at_the_folders(bare: LocalCloud, capsys: pytest.CaptureFixture[str]) -> None:
    from ayla_provider.local_cloud.contents import BytesContent

    bare.vendor.put(f"{bare.oem_id}/readme.txt", BytesContent(b"hello"), None)
    run = Run(capsys)
    assert run.named(False) == ["event folders"]
    assert run.named(None) == ["objects", *NEWEST, *FILES]


def test_missing_folders_are_named_and_no_failure(bare: LocalCloud, capsys: pytest.CaptureFixture[str]) -> None:
    put_connections(bare, rows_of(CONNECTION_ROW))
    run = Run(capsys)
    assert run.status == 0
    assert "missing: Datapoint, Datapoint Ack, Location, Registration" in run.detail("event folders")
    assert run.named(True) == [*CHAIN, "objects", "newest connection", "file connection"]


@pytest.mark.parametrize("name", [f"{HOUR:%Y-%m-%dT%H:%M:%SZ}", f"{HOUR:%Y/%m/%d/%H}", "README"])
def test_an_object_that_cant_be_placed_is_named_with_both_ways_out(
    bare: LocalCloud, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], name: str
) -> None:
    put_connections(bare, rows_of(CONNECTION_ROW))
    bare.put_object("Connection", name, "f.csv", b"x\r\n", HOUR + 3 * ONE_HOUR)
    run = Run(capsys)
    assert (run.named(False), run.status) == (["objects"], 1)
    assert run.detail("objects").startswith("an object below 'Connection' can't be placed in time, created")
    for wanted in (f"'{bare.oem_id}/Connection/{name}/f.csv'", "hour_pattern", "ignored_objects"):
        assert wanted in run.advice("objects")
    connect(monkeypatch, bare, ignored_objects=json.dumps([f"Connection/{name}*"]))
    assert Run(capsys).status == 0


def test_an_old_object_that_cant_be_placed_is_a_note(bare: LocalCloud, capsys: pytest.CaptureFixture[str]) -> None:
    put_connections(bare, rows_of(CONNECTION_ROW))
    bare.put_object("Connection", "tmp", "f.csv", b"x\r\n", HOUR - timedelta(days=90))
    run = Run(capsys)
    assert (run.named(False), run.status) == ([], 0)
    assert "it leaves only older hours in doubt" in run.detail("objects")
    assert "ignored_objects" in run.advice("objects")


def test_an_unknown_folder_fails_until_it_is_declared_and_hinders_nothing(
    bare: LocalCloud, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    put_connections(bare, rows_of(CONNECTION_ROW))
    put_hour(bare, "Activation")
    run = Run(capsys)
    assert run.named(False) == ["event folders"]
    assert "unknown: 'Activation'" in run.detail("event folders")
    assert '{"activation": "Activation"}' in run.advice("event folders")
    assert {"file connection", "newest activation"} <= set(run.named(True))
    assert run.steps["file activation"]["ok"] is None
    assert "2 columns" in run.detail("file activation")
    assert run.status == 1

    connect(monkeypatch, bare, event_folders={"activation": "Activation"})
    run = Run(capsys)
    assert run.status == 0
    assert "newest activation" in run.named(True)


def test_a_declared_folder_that_isnt_there_fails_at_the_event_folders(
    bare: LocalCloud, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    put_connections(bare, rows_of(CONNECTION_ROW))
    connect(monkeypatch, bare, event_folders={"location": "Locatoin"})
    run = Run(capsys)
    assert run.named(False) == ["event folders"]
    assert "event_folders" in run.advice("event folders")


def test_folders_that_name_no_time_fail_at_the_newest_hour(
    bare: LocalCloud, capsys: pytest.CaptureFixture[str]
) -> None:
    bare.put_object("Connection", "20240509T02", "f.csv", b"a\r\n")
    run = Run(capsys)
    assert run.named(False) == ["objects", "newest connection"]
    assert "2024-05-09 02:00:00" in run.advice("newest connection")


@pytest.mark.parametrize(
    ("hours", "ok", "words"),
    [
        (-5.5, False, "a file was created 5.5 hours before the end of its folder's hour"),
        (-0.1, False, "Folder names are read as UTC"),
        (1.5, True, ""),
        (5.5, True, "came 5.5 hours or more after the hour of its folder"),
    ],
)
def test_folders_that_seem_to_be_named_by_local_time_are_reported(
    bare: LocalCloud, capsys: pytest.CaptureFixture[str], hours: float, ok: bool, words: str
) -> None:
    created = HOUR + ONE_HOUR + timedelta(hours=hours)
    bare.put_object("Connection", f"{HOUR:%Y-%m-%d %H:%M:%S}", "f.csv", rows_of(CONNECTION_ROW), created)
    run = Run(capsys)
    step = run.steps["newest connection"]
    assert step["ok"] is ok
    assert words in f"{step['detail']}. {step['advice']}"
    assert ("UTC. If yours are in local time" in step["advice"]) is bool(words)
    assert run.steps["file connection"]["ok"] is True


def test_what_tools_put_beside_a_file_isnt_taken_for_one(bare: LocalCloud, capsys: pytest.CaptureFixture[str]) -> None:
    put_connections(bare, rows_of(CONNECTION_ROW))
    put_hour(bare, "Connection", data=b"d41d8cd98f00b204e9800998ecf8427e", file="f.csv.md5")
    assert Run(capsys).steps["file connection"]["ok"] is True


def test_a_note_is_named_with_both_ways_out_until_it_is_ignored(
    bare: LocalCloud, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    put_connections(bare, rows_of(CONNECTION_ROW))
    put_hour(bare, "Connection", data=b"Ask Jo first.\n", file="notes.txt")
    run = Run(capsys)
    assert run.named(False) == ["file connection"]
    assert "notes.txt" in run.detail("file connection")
    for way in ("argument layouts", "argument ignored_files"):
        assert way in run.advice("file connection")
    connect(monkeypatch, bare, ignored_objects='["Connection/*notes.txt"]')
    assert Run(capsys).steps["file connection"]["ok"] is True


@pytest.mark.parametrize(
    ("data", "detail", "advice"),
    [
        (rows_of("a,b,c"), "connection-6: has 6 columns", "declare its layout"),
        (rows_of("a,b,c"), "3 columns", "declare its layout"),
        (rows_of("a,b,c,d,e,f"), "connection-6: column 4 (event_time) isn't a date", "declare its layout"),
        (rows_of(CONNECTION_ROW.replace("LC000X000000001", "")), "column 3 (dsn) is empty", "declare its layout"),
        (rows_of(CONNECTION_ROW.replace("Online", '"Online"')), "cells in quotes", "declare its layout"),
        (b"\x1f\x8b" + b"\x00" * 20, "gzip", "Copies aren't affected"),
        (b"PAR1\x15\x04\x15" + b"\n" * 20, "a Parquet file, but plain CSV", "Copies aren't affected"),
    ],
)
def test_a_file_that_a_load_refuses_fails_with_the_reason_and_the_advice_of_the_load(
    bare: LocalCloud, capsys: pytest.CaptureFixture[str], data: bytes, detail: str, advice: str
) -> None:
    put_connections(bare, data)
    run = Run(capsys)
    assert run.named(False) == ["file connection"]
    assert detail in run.detail("file connection")
    assert advice in run.advice("file connection")
    assert "maintainers" not in run.advice("file connection")
    assert run.status == 1


HEADER = b"oem_id,oem_model,dsn,event_time,user_uuid,status\n"


@pytest.mark.parametrize(
    ("data", "detail", "note"),
    [
        (HEADER + rows_of(CONNECTION_ROW, "\n"), "5 rows of 6 columns, a header row, LF line ends", ""),
        (rows_of(CONNECTION_ROW, "\n"), "5 rows of 6 columns, no header row, LF line ends", ""),
        (rows_of(f"{CONNECTION_ROW},-67"), "5 rows of 7 columns", "loaded as text: column_7"),
        (rows_of(CONNECTION_ROW.replace("LC-", '"LC-')), "cells in quotes", "part of the value"),
        (rows_of(CONNECTION_ROW) + b"\xff\r\n", "not all of it UTF-8", "leaves out the lines that aren't UTF-8"),
    ],
)
def test_a_file_that_a_load_takes_is_ok_with_a_note_on_what_is_unusual(
    bare: LocalCloud, capsys: pytest.CaptureFixture[str], data: bytes, detail: str, note: str
) -> None:
    put_connections(bare, data)
    run = Run(capsys)
    assert run.status == 0, run.out
    assert run.steps["file connection"]["ok"] is True
    assert run.detail("file connection").startswith("fits connection-6: ")
    assert detail in run.detail("file connection")
    assert note in run.advice("file connection")
    assert bool(note) is bool(run.advice("file connection"))


@pytest.mark.parametrize("layout", COLUMN_LAYOUTS, ids=lambda layout: layout.name)
def test_each_known_layout_is_recognised_also_with_iso_dates_nulls_and_a_malformed_row(
    bare: LocalCloud, capsys: pytest.CaptureFixture[str], layout: Any
) -> None:
    data = csv(Rows(layout, 1, iso=True, null="null").rows(5)) + b"cut,off\r\n"
    put_hour(bare, EVENT_FOLDERS[layout.event_type], data=data)
    run = Run(capsys)
    assert run.status == 0, run.out
    assert f"fits {layout.name}: 5 rows" in run.detail(f"file {layout.event_type}")
    assert "dates as ISO 8601" in run.detail(f"file {layout.event_type}")
    assert "1 row of another length" in run.detail(f"file {layout.event_type}")


def test_the_content_of_a_file_is_never_printed(bare: LocalCloud, capsys: pytest.CaptureFixture[str]) -> None:
    put_connections(bare, rows_of("secretcell,0,0,0"))
    put_hour(bare, "Location", data=b'secretcell\r\n\xff\xfe,"secretcell')
    run = Run(capsys)
    assert {"file connection", "file location"} <= set(run.named(False))
    assert is_quiet(run, bare, "secretcell")


def test_of_a_large_file_only_the_first_bytes_are_read(bare: LocalCloud, capsys: pytest.CaptureFixture[str]) -> None:
    put_connections(bare, rows_of(CONNECTION_ROW, count=20_000))
    run = Run(capsys)
    assert run.status == 0, run.out
    assert "fits connection-6: 300 rows" in run.detail("file connection")
    (download,) = [request for request in requests_of(bare) if request.step == "download"]
    assert download.sent <= 256 * 1024


def test_an_empty_newest_file_is_passed_over(bare: LocalCloud, capsys: pytest.CaptureFixture[str]) -> None:
    put_hour(bare, "Connection", HOUR - 24 * ONE_HOUR, rows_of(CONNECTION_ROW))
    put_connections(bare, b"")
    run = Run(capsys)
    assert f"{HOUR:%Y-%m-%d %H:%M} UTC" in run.detail("newest connection")
    assert "1 file, 0 B" in run.detail("newest connection")
    assert "fits connection-6" in run.detail("file connection")


def test_an_export_of_empty_files_alone_is_no_failure(bare: LocalCloud, capsys: pytest.CaptureFixture[str]) -> None:
    put_connections(bare, b"")
    run = Run(capsys)
    assert run.status == 0
    assert run.steps["file connection"]["ok"] is None


@pytest.mark.parametrize("style", ["%Y-%m-%d %H:%M:%S", "%Y-%m-%d-%H:%M:%S"])
@pytest.mark.parametrize("days", [0, 3, 100, 700])
def test_the_newest_of_3000_hours_is_found_with_few_requests(
    bare: LocalCloud, capsys: pytest.CaptureFixture[str], days: int, style: str
) -> None:
    newest = hour_of(datetime.now(UTC)) - timedelta(days=days, hours=1)
    for back in range(3000):
        hour = newest - back * ONE_HOUR
        bare.put_object("Datapoint", f"{hour:{style}}", "f.csv", b"", hour + ONE_HOUR)
    bare.put_object("Datapoint", "notes", "f.csv", b"")
    run = Run(capsys)
    assert f"{newest:%Y-%m-%d %H:%M} UTC" in run.detail("newest datapoint")
    assert ("hyphen" in run.detail("newest datapoint")) is ("-%H" in style)
    every = [request for request in requests_of(bare) if "/Datapoint/" in request.query]
    effort = int(run.detail("newest datapoint").rpartition("(")[2].split()[0])
    # The look for objects that can't be placed comes first.
    listings = every[-effort:]
    assert len(every) - effort <= 10
    assert len(listings) == effort <= 18
    assert bool(run.advice("newest datapoint")) is (days > 1), "an old newest hour is worth a note"
    assert sum(request.sent for request in listings) < 60_000


def test_a_faulty_listing_fails_at_its_step_and_the_others_go_on(
    fleet: LocalCloud, capsys: pytest.CaptureFixture[str]
) -> None:
    fleet.faults.add(403, step="list", match="/Location/", times=None)
    run = Run(capsys)
    assert run.named(False) == ["newest location"]
    assert run.advice("newest location") == "", "the message says it"
    assert run.steps["file location"]["ok"] is None
    assert "file registration" in run.named(True)


def test_a_token_for_single_event_folders_is_told_from_a_wrong_oem_id(
    fleet: LocalCloud, capsys: pytest.CaptureFixture[str]
) -> None:
    allowed = "Datapoint|Connection"
    fleet.faults.add(403, step="list", match=rf"prefix={fleet.oem_id}/(?!({allowed})/)", times=None)
    run = Run(capsys)
    assert run.named(False) == ["bucket"]
    assert run.detail("bucket") == (
        "'Connection', 'Datapoint' may be listed, but not the folder that contains them, "
        f"gs://{fleet.vendor.name}/{fleet.oem_id}/"
    )
    assert "Ask Ayla support for access to all of this folder" in run.advice("bucket")
    assert "oem_id" not in run.advice("bucket")


def test_a_vendor_that_repeats_a_secret_doesnt_get_it_printed(
    fleet: LocalCloud, capsys: pytest.CaptureFixture[str]
) -> None:
    body = json.dumps({"error": {"code": 403, "message": f"no, {fleet.account.password}"}})
    fleet.faults.add(403, step="list", times=None, body=body, content_type="application/json")
    run = Run(capsys)
    assert run.named(False) == ["bucket"]
    assert "no, ***" in run.detail("bucket")
    assert is_quiet(run, fleet)


def shell(*arguments: str, **env: str) -> subprocess.CompletedProcess[str]:
    """Run the command line in a process of its own."""
    return subprocess.run(
        [sys.executable, "-m", "ayla_provider", *arguments],
        env=os.environ | env,
        cwd=Path(__file__).parents[2],
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.mark.ci
def test_in_a_shell_stdout_is_json_alone_even_if_airflow_logs(fleet: LocalCloud, tmp_path: Path) -> None:
    # A home without a database, so Airflow logs long complaints.
    run = shell("check", "--json", AIRFLOW_HOME=str(tmp_path), AIRFLOW__LOGGING__LOGGING_LEVEL="DEBUG")
    assert run.returncode == 0, run.stdout
    assert [step["name"] for step in json.loads(run.stdout)] == STEPS
    assert not any(secret in run.stdout + run.stderr for secret in fleet.secrets)


@pytest.mark.ci
def test_a_refusal_in_a_shell_shows_no_secret(fleet: LocalCloud, monkeypatch: pytest.MonkeyPatch) -> None:
    connect(monkeypatch, fleet, password="wrong-password")
    run = shell("check")
    assert run.returncode == 1
    assert "\nFAILED  user service " in run.stdout
    assert not any(secret in run.stdout + run.stderr for secret in [*fleet.secrets, "wrong-password"])
    # Airflow takes each value of extra for a secret, and warns if it is as short as a region's name.
    assert len(fleet.ayla_connection()["extra"]["region"]) < 5
    assert "masking" not in run.stderr


def test_help_names_the_commands_and_loads_no_airflow() -> None:
    code = (
        "import runpy, sys\nsys.argv = ['x', '--help']\ntry: runpy.run_module('ayla_provider', run_name='__main__')\n"
    )
    code += "except SystemExit as end: print('LOADED', end.code, 'airflow' in sys.modules, 'requests' in sys.modules)"
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert "check" in run.stdout
    assert "LOADED 0 False False" in run.stdout


@pytest.mark.parametrize("arguments", [[], ["chekc"], ["check", "--jsn"], ["check", "extra"]])
def test_wrong_usage_ends_with_2(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as end:
        main(arguments)
    assert end.value.code == 2
    assert "usage" in capsys.readouterr().err
