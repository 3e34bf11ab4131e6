"""All events of a subject are found, whatever the typed rows have of them, and no spreadsheet or browser runs them."""

from __future__ import annotations

import csv
import json
import os
import stat
from base64 import b64encode
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest

from ayla_provider.archive.erasure_requests import waiting_requests
from ayla_provider.archive.local import FileDestination
from ayla_provider.archive.records import write_json
from ayla_provider.domain.erasure import ErasureKeys, ErasureRequest, parse_request
from ayla_provider.domain.hour import ONE_HOUR, ExportHour
from ayla_provider.domain.privacy import PrivacyPolicy
from ayla_provider.errors import AylaConfigError
from ayla_provider.rows.access import Access, Found
from ayla_provider.rows.extract import cell, write_extract
from ayla_provider.rows.typed_archive import TypedArchive
from ayla_provider.warehouse.erase import ErasureRun
from tests.warehouse.archive import HOUR, archive_hour

KEY = "a key of sixteen characters or more"
DSN, OTHER = "LC000X000000001", "LC000X000000002"
USER, OTHER_USER = "11111111-2222-3333-4444-555555555555", "99999999-2222-3333-4444-555555555555"
NOW = HOUR + timedelta(days=30)


def event(dsn: str, user: str, minute: int, status: str = "Online") -> bytes:
    return f"1a2b3c4d,LC-THERMO-2,{dsn},Mon Feb 03 21:{minute:02}:45 UTC 2020,{user},{status}\n".encode()


CONTENT = b"".join(
    [
        event(DSN, USER, 1),
        event(DSN, OTHER_USER, 2, "Offline"),
        event(OTHER, USER, 3),
        event(OTHER, OTHER_USER, 4),
        *(event(OTHER, OTHER_USER, minute) for minute in range(10, 30)),
        f"broken,{DSN.lower()}\n".encode(),
        b"broken,nobody\n",
    ]
)


def request(start: datetime | None = None, until: datetime = NOW, **identifiers: str) -> ErasureRequest:
    return ErasureRequest(identifiers or {"dsn": DSN}, start, until, NOW)


class Setup:
    def __init__(self, folder: Path) -> None:
        self.archive = FileDestination(folder / "archive")
        self.rows = FileDestination(folder / "archive" / "parquet")
        self.out = folder / "out"

    def type(self, hour: datetime = HOUR, **more: Any) -> None:
        typed = TypedArchive(self.archive, self.rows, max_malformed=1, **more)
        typed.ensure(ExportHour("connection", hour), {})

    def extract(self, wanted: ErasureRequest, **more: Any) -> tuple[Found, dict[str, list[dict[str, Any]]]]:
        """Return what was found, and the rows of each event type in the JSON file."""
        with Access(self.archive, self.rows, wanted, **more) as access:
            found = access.find()
            write_extract(access, found, self.out, made_at=NOW)
        events = json.loads((self.out / "events.json").read_text())["events"]
        return found, {name: each["rows"] for name, each in events.items()}

    def state(self) -> dict[str, bytes]:
        places = [path for root in (self.archive.root, self.rows.root) for path in root.rglob("*") if path.is_file()]
        return {str(path): path.read_bytes() for path in places}


@pytest.fixture
def made(tmp_path: Path) -> Setup:
    archive_hour(tmp_path / "archive", "connection", [CONTENT])
    return Setup(tmp_path)


def times(rows: Mapping[str, list[dict[str, Any]]]) -> list[int]:
    return [datetime.fromisoformat(row["event_time"]).minute for row in rows.get("connection", [])]


POLICIES = [
    None,
    PrivacyPolicy({"dsn": "hash", "user_uuid": "hash"}, KEY),
    PrivacyPolicy({"user_uuid": "drop"}),
    PrivacyPolicy({"*": "drop"}),
]


@pytest.mark.parametrize("key", [KEY, ""], ids=["key", "no key"])
@pytest.mark.parametrize("policy", POLICIES, ids=["all", "hashed", "one dropped", "all dropped"])
@pytest.mark.parametrize(
    ("wanted", "minutes"),
    [
        ({"dsn": DSN}, [1, 2]),
        ({"dsn": DSN.lower()}, [1, 2]),
        ({"user_uuid": USER.upper()}, [1, 3]),
        ({"user_uuid": USER.replace("-", "")}, [1, 3]),
        ({"dsn": DSN, "user_uuid": USER}, [1, 2, 3]),
        ({"dsn": "LC000X000000009"}, []),
    ],
    ids=["device", "device in lower case", "user", "user without hyphens", "both", "unknown"],
)
def test_all_events_are_found_under_any_policy_with_all_that_the_archive_has(
    made: Setup, policy: PrivacyPolicy | None, wanted: dict[str, str], minutes: list[int], key: str
) -> None:
    made.type(policy=policy)
    before = made.state()
    found, rows = made.extract(request(**wanted), policy_key=key)
    assert times(rows) == minutes
    assert found.not_readable == []
    assert all(
        row["dsn"] in (DSN, OTHER) and row["user_uuid"] in (USER, OTHER_USER) for row in rows.get("connection", [])
    )
    assert made.state() == before, "the archive and the typed rows stay as they are"


def test_hours_without_or_with_old_parquet_files_are_read_from_the_archive(made: Setup, tmp_path: Path) -> None:
    assert times(made.extract(request())[1]) == [1, 2]
    made.type()
    archive_hour(tmp_path / "archive", "connection", [CONTENT, event(DSN, USER, 5)], generation=2, revision=2)
    made.out = tmp_path / "again"
    assert times(made.extract(request())[1]) == [1, 2, 5]


def test_only_hours_of_the_span_are_looked_at(made: Setup, tmp_path: Path) -> None:
    later = HOUR + 3 * ONE_HOUR
    archive_hour(tmp_path / "archive", "connection", [event(DSN, USER, 40) + event(OTHER, OTHER_USER, 41)], later)
    made.type()
    made.type(later)
    spans = {
        (None, later): [1, 2],
        (HOUR + ONE_HOUR, NOW): [40],
        (None, NOW): [1, 2, 40],
    }
    for number, ((start, until), minutes) in enumerate(spans.items()):
        made.out = tmp_path / f"out-{number}"
        assert times(made.extract(request(start, until))[1]) == minutes


def test_an_hour_that_nobody_can_read_any_more_is_named(made: Setup) -> None:
    made.type(policy=PrivacyPolicy({"dsn": "drop"}))
    for path in (made.archive.root / "event_type=connection").rglob("*.csv"):
        path.unlink()
    found, rows = made.extract(request())
    assert (found.not_readable, rows) == ([ExportHour("connection", HOUR)], {})
    assert "connection 2026-11-01 07:00 UTC" in (made.out / "index.html").read_text()


def test_unreadable_lines_with_the_identifier_are_there_and_no_others(made: Setup) -> None:
    made.type()
    found, _ = made.extract(request())
    assert [line.text for line in found.lines] == [f"broken,{DSN.lower()}"]
    with (made.out / "unreadable_lines.csv").open(newline="") as file:
        assert [row["text"] for row in csv.DictReader(file)] == [f"broken,{DSN.lower()}"]


def test_raw_columns_and_the_places_of_rows_are_left_out(made: Setup) -> None:
    made.type()
    _, rows = made.extract(request())
    assert not any(name.endswith("_raw") or name.startswith("source_") for row in rows["connection"] for name in row)


class Tags(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.tags: set[str] = set()
        self.text = ""

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.add(tag)

    def handle_data(self, data: str) -> None:
        self.text += data


EVIL = ["=1+1", "+cmd|' /C calc'!A0", "-2+3", "@SUM(A1)", "<script>alert(1)</script>", "\"><img src=x onerror='a'>"]


def test_no_spreadsheet_runs_a_cell_and_no_browser_runs_the_page(made: Setup, tmp_path: Path) -> None:
    evil = [text.replace(",", ";") for text in EVIL]
    content = b"".join(
        event(DSN, USER, minute).replace(b"LC-THERMO-2", text.encode()) for minute, text in enumerate(evil)
    )
    usual = b"".join(event(OTHER, OTHER_USER, minute) for minute in range(20, 50))
    archive_hour(tmp_path / "archive", "connection", [usual + content], generation=2, revision=2)
    found, rows = made.extract(request())
    assert found.rows == len(evil)
    assert [row["oem_model"] for row in rows["connection"]] == evil, "JSON has the values as they are"
    with (made.out / "connection.csv").open(newline="") as file:
        cells = [row["oem_model"] for row in csv.DictReader(file)]
    assert [text.removeprefix("'") for text in cells] == evil
    assert not any(text.startswith(("=", "+", "-", "@")) for text in cells)
    parsed = Tags()
    page = (made.out / "index.html").read_text()
    parsed.feed(page)
    assert parsed.tags <= {"html", "head", "meta", "title", "style", "body", "h1", "h2", "p", "table", "tr", "th", "td"}
    assert all(text in parsed.text for text in evil)
    assert "default-src 'none'" in page


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (-1.5, "-1.5"),
        (3, "3"),
        ("-1.5", "'-1.5"),
        ("\tx", "'\tx"),
        ("\rx", "'\rx"),
        ("x=1", "x=1"),
        ("\uff1d1+1", "'\uff1d1+1"),
        ("\uff0b1", "'\uff0b1"),
        ("\uff0d1", "'\uff0d1"),
        ("\uff20sum", "'\uff20sum"),
        (None, ""),
        (True, "true"),
        (datetime(2026, 11, 1, tzinfo=UTC), "2026-11-01T00:00:00+00:00"),
    ],
)
def test_a_number_stays_one_and_text_like_a_formula_does_not(value: Any, expected: str) -> None:
    assert cell(value) == expected


def test_a_value_that_nobody_can_decode_is_given_as_it_is_in_the_file(tmp_path: Path) -> None:
    def datapoint(number: int, value: str, metadata: str = "") -> bytes:
        return (
            f"1a2b3c4d,LC-THERMO-2,{DSN},note,{b64encode(b'Note').decode()},string,11111111-2222-11ee-8de9-{number:012},,"
            f"2026-11-01T07:59:00Z,2026-11-01T07:59:0{number}Z,{USER},false,false,false,,,,,,{value},{metadata},output\n"
        ).encode()

    unreadable = b64encode(b"\xff\xfeErika\x00x").decode()
    content = datapoint(1, unreadable) + datapoint(2, b64encode(b"Erika").decode(), unreadable)
    archive_hour(tmp_path / "archive", "datapoint", [content])
    made = Setup(tmp_path)
    _, rows = made.extract(request())
    names = ("val_string", "value_raw", "display_name_raw", "metadata_raw")
    found = [{name: row[name] for name in names if name in row} for row in rows["datapoint"]]
    assert found == [{"value_raw": unreadable}, {"val_string": "Erika", "metadata_raw": unreadable}]
    with (made.out / "datapoint.csv").open(newline="") as file:
        assert [row["value_raw"] for row in csv.DictReader(file)] == [unreadable, ""]
    assert unreadable in (made.out / "index.html").read_text()


def test_nobody_else_can_read_the_files(made: Setup) -> None:
    before = os.umask(0)
    try:
        made.extract(request())
    finally:
        os.umask(before)
    assert stat.S_IMODE(made.out.stat().st_mode) == 0o700
    assert {stat.S_IMODE(path.stat().st_mode) for path in made.out.iterdir()} == {0o600}


def test_a_request_for_nothing_says_so(made: Setup) -> None:
    found, rows = made.extract(parse_request(b'{"dsn": "LC000X000000009"}', "here", NOW))
    assert (found.rows, rows) == (0, {})
    assert "There is nothing in 1 hour." in (made.out / "index.html").read_text()


def at(minute: int, dsn: str = DSN) -> bytes:
    """An event of the hour, with its own time."""
    time = HOUR + timedelta(minutes=minute)
    return f"1a2b3c4d,LC-THERMO-2,{dsn},{time:%a %b %d %H:%M:%S UTC %Y},{USER},Online\n".encode()


@pytest.mark.parametrize("policy", [None, PrivacyPolicy({"event_time": "drop"})], ids=["all", "times dropped"])
@pytest.mark.parametrize(
    ("start", "until", "minutes"),
    [
        (None, HOUR + timedelta(minutes=20), [0, 10, 19]),
        (HOUR + timedelta(minutes=10), NOW, [10, 19, 20, 40]),
        (HOUR + timedelta(minutes=10), HOUR + timedelta(minutes=20), [10, 19]),
        (HOUR, HOUR + ONE_HOUR, [0, 10, 19, 20, 40]),
        (HOUR + timedelta(minutes=41), HOUR + timedelta(minutes=59), []),
    ],
)
def test_in_an_hour_that_the_span_cuts_an_event_counts_by_its_own_time(
    tmp_path: Path, start: datetime | None, until: datetime, minutes: list[int], policy: PrivacyPolicy | None
) -> None:
    content = b"".join([*(at(minute) for minute in (0, 10, 19, 20, 40)), *(at(minute, OTHER) for minute in range(30))])
    archive_hour(tmp_path / "archive", "connection", [content])
    made = Setup(tmp_path)
    made.type(policy=policy)
    assert times(made.extract(request(start, until))[1]) == minutes


KEYS = ErasureKeys.parse("a-key-of-the-erasure-ledger", "here")


def begin_erasure(archive: FileDestination, **identifiers: str) -> None:
    """Put an entry into the ledger, as an erasure does first."""
    wanted = ErasureRequest(identifiers, None, NOW, NOW)
    write_json(archive, wanted.entry(KEYS, NOW, {}).path, wanted.entry(KEYS, NOW, {}).dumps(), None)


@pytest.mark.parametrize("is_typed", [False, True])
def test_an_hour_that_an_erasure_touched_is_read_without_what_is_erased(made: Setup, is_typed: bool) -> None:
    if is_typed:
        made.type(policy=PrivacyPolicy({"user_uuid": "drop"}))
    begin_erasure(made.archive, user_uuid=OTHER_USER)
    before = made.state()
    found, rows = made.extract(request(), erasure_keys=lambda: KEYS)
    # The event of the second minute has the other user.
    assert (times(rows), found.not_readable) == ([1], [])
    assert OTHER_USER not in (made.out / "events.json").read_text()
    assert made.state() == before


def test_without_the_keys_of_the_ledger_an_extract_fails_and_says_so(made: Setup) -> None:
    begin_erasure(made.archive, user_uuid=OTHER_USER)
    with pytest.raises(AylaConfigError, match="Set its erasure_conn_id"):
        made.extract(request())
    assert not made.out.exists()


@pytest.mark.parametrize("gone", [{"user_uuid": OTHER_USER}, {"dsn": DSN}, {"dsn": OTHER}])
def test_an_extract_after_an_erasure_has_what_is_left(made: Setup, tmp_path: Path, gone: dict[str, str]) -> None:
    made.type(policy=PrivacyPolicy({"user_uuid": "drop"}))
    (tmp_path / "requests").mkdir()
    (tmp_path / "requests" / "one.json").write_text(json.dumps(gone | {"until": NOW.isoformat()}))
    waiting = waiting_requests(FileDestination(tmp_path / "requests"), KEYS)
    ErasureRun(made.archive, made.rows, waiting, KEYS, now=NOW, written_by={}).erase()
    found, rows = made.extract(request(dsn=DSN, user_uuid=USER), erasure_keys=lambda: KEYS)
    minutes = {1, 2, 3}
    if gone.get("dsn") == DSN:
        minutes -= {1, 2}
    if gone.get("user_uuid") == OTHER_USER:
        minutes -= {2}
    if gone.get("dsn") == OTHER:
        minutes -= {3}
    assert (set(times(rows)), found.not_readable) == (minutes, [])
