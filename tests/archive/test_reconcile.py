from __future__ import annotations

import json
import logging
from collections.abc import Callable
from datetime import datetime, timedelta
from typing import Any

import pytest

from ayla_provider.archive.archive import Archive
from ayla_provider.archive.compare import Findings, Gap, reconcile
from ayla_provider.archive.records import Records
from ayla_provider.domain.events import EVENT_TYPES
from ayla_provider.domain.hour import ExportHour, hours_between
from ayla_provider.domain.paths import failure_path, manifest_path
from ayla_provider.errors import AylaError, AylaTransferError, AylaUnsafeNameError
from ayla_provider.local_cloud import LocalCloud
from ayla_provider.source.export import Export
from tests.support.client import RULE, at, hours_at, put, requests_of, take_in
from tests.support.places import Place

Find = Callable[..., Findings]


@pytest.fixture
def archive(place: Place) -> Archive:
    return Archive(place.destination)


@pytest.fixture
def find(export: Export, place: Place) -> Find:
    def find(start: datetime, end: datetime, *event_types: str) -> Findings:
        return reconcile(export, Records(place.destination), event_types or ["datapoint"], start, end, RULE)

    return find


def described(findings: Findings) -> dict[int, str]:
    return {gap.hour.start.hour: gap.reason for gap in findings.gaps}


def test_each_way_to_lack_something_is_found_with_its_reason_newest_first(
    cloud: LocalCloud, export: Export, archive: Archive, find: Find
) -> None:
    for hour in range(1, 8):
        put(cloud, hour, "a.csv")
        put(cloud, hour, "b.csv")
    put(cloud, 9, "sign of life.csv")
    take_in(archive, export, *range(1, 7), 8)
    put(cloud, 2, "c.csv", minute=30)
    late = at(3) + timedelta(hours=1, minutes=174)
    cloud.put_object("Datapoint", "2024-05-09 03:00:00", "late.csv", b"x", late)
    cloud.put_object("Datapoint", "2024-05-09 04:00:00", "a.csv", b"other", at(5, 40))
    cloud.put_object("Datapoint", "2024-05-09 05:00:00", "a.csv", b"other", at(6, 40))
    cloud.put_object("Datapoint", "2024-05-09 05:00:00", "b.csv", b"other", at(6, 40))
    cloud.put_object("Datapoint", "2024-05-09 05:00:00", "c.csv", b"new", at(6, 40))
    findings = find(at(0), at(10))
    assert described(findings) == {
        9: "never copied, 1 file",
        7: "never copied, 2 files",
        5: "1 new file and 2 replaced files",
        4: "1 replaced file",
        3: "1 new file, 2.9 h late",
        2: "1 new file",
        0: "never copied, no events",
    }
    assert list(described(findings)) == sorted(described(findings), reverse=True)
    assert findings.hours == {"missing": 3, "changed": 4, "landed": 2, "empty": 1}
    # A copy of each repairs everything, and nothing else is found.
    for gap in findings.gaps:
        take_in(archive, export, gap.hour.start.hour)
    after = find(at(0), at(10))
    assert after.gaps == []
    assert after.hours == {"landed": 7, "late": 1, "empty": 2}


@pytest.mark.parametrize("place", ["gcs"], indirect=True)
@pytest.mark.parametrize("record", ["event_type=datapoint.*hour=02", "_failures.*hour=03"])
def test_a_record_that_cant_be_read_stops_no_other_hour(
    cloud: LocalCloud, export: Export, place: Place, archive: Archive, find: Find, record: str
) -> None:
    for hour in (2, 3, 4, 9):
        put(cloud, hour, "a.csv")
    take_in(archive, export, 2)
    put(cloud, 3, "..\\b.csv")
    with pytest.raises(AylaError):
        take_in(archive, export, 3)
    cloud.faults.add("corrupt", step="download", match=record, after_bytes=5, times=None)
    assert described(find(at(2), at(5)))[4] == "never copied, 1 file"


def test_what_expired_at_the_source_or_was_removed_from_the_archive_is_no_change(
    cloud: LocalCloud, export: Export, place: Place, archive: Archive, find: Find
) -> None:
    for hour in (2, 3, 9):
        put(cloud, hour, "a.csv")
        put(cloud, hour, "b.csv")
    take_in(archive, export, *range(10))
    cloud.delete_object("Datapoint", "2024-05-09 02:00:00", "a.csv")
    for file in ("a.csv", "b.csv"):
        cloud.delete_object("Datapoint", "2024-05-09 03:00:00", file)
    place.spoil("event_type=datapoint/date=2024-05-09/hour=09/20240509T090000Z-a.csv", b"")
    assert find(at(0), at(10)).gaps == []


@pytest.mark.parametrize(
    ("now", "found"),
    [
        ((4, 39), {}),  # the file is there since 4:30, and others may follow
        ((4, 46), {3: "never copied, 1 file"}),
        ((5, 29), {3: "never copied, 1 file"}),  # of the hour after it nothing is known yet
    ],
)
def test_hours_that_are_not_settled_are_left_to_their_own_dag(
    cloud: LocalCloud, find: Find, now: tuple[int, int], found: dict[int, str]
) -> None:
    put(cloud, 3, "a.csv")
    cloud.clock.set(at(*now))
    assert described(find(at(3), at(5))) == found


def test_a_stalled_vendors_hours_are_not_repaired(cloud: LocalCloud, find: Find) -> None:
    put(cloud, 3, "a.csv")
    findings = find(at(3), at(7))
    assert described(findings) == {3: "never copied, 1 file"}
    assert findings.hours == {"missing": 1, "overdue": 3}


def test_an_hour_that_can_not_be_copied_is_left_alone_until_the_source_shows_something_new(
    cloud: LocalCloud, export: Export, archive: Archive, find: Find, caplog: pytest.LogCaptureFixture
) -> None:
    put(cloud, 3, "tab\tname.csv")
    assert described(find(at(3), at(4))) == {3: "never copied, 1 file"}
    with pytest.raises(AylaUnsafeNameError):
        take_in(archive, export, 3)
    for _ in range(2):
        with caplog.at_level(logging.WARNING):
            findings = find(at(3), at(4))
        assert (findings.gaps, findings.left_alone) == ([], 1)
        assert "contains a control character" in caplog.text
    put(cloud, 3, "another.csv")
    assert described(find(at(3), at(4))) == {3: "never copied, 2 files"}


def test_an_hour_whose_copy_failed_for_a_passing_reason_is_tried_again_later(
    cloud: LocalCloud, export: Export, archive: Archive, find: Find
) -> None:
    put(cloud, 3, "a.csv")
    cloud.faults.add("corrupt", step="download", match="a.csv", times=2)
    with pytest.raises(AylaTransferError):
        archive.take_in(export, hours_at(3), RULE, written_by={}, last_try=True)
    cloud.clock.set(at(13, 59))
    assert (find(at(3), at(4)).gaps, find(at(3), at(4)).left_alone) == ([], 1)
    cloud.clock.set(at(14))
    assert described(find(at(3), at(4))) == {3: "never copied, 1 file"}
    take_in(archive, export, 3)
    assert (find(at(3), at(4)).gaps, find(at(3), at(4)).left_alone) == ([], 0)


def test_a_manifest_that_can_not_be_read_is_found_and_hides_nothing(
    cloud: LocalCloud, export: Export, place: Place, archive: Archive, find: Find
) -> None:
    for hour in (3, 4):
        put(cloud, hour, "a.csv")
    take_in(archive, export, 3)
    place.spoil(manifest_path(ExportHour("datapoint", at(3))), b"{")
    assert described(find(at(3), at(5))) == {3: "its manifest can't be read", 4: "never copied, 1 file"}


@pytest.mark.parametrize("damage", [{"created": "x"}, {"created": "2024-05-09T04:00:00"}, {"path": "a\0b"}])
def test_a_manifest_with_an_odd_entry_is_found_and_hides_nothing(
    cloud: LocalCloud, export: Export, place: Place, archive: Archive, find: Find, damage: dict[str, str]
) -> None:
    for hour in (3, 4):
        put(cloud, hour, "a.csv")
    take_in(archive, export, 3)
    path = manifest_path(ExportHour("datapoint", at(3)))
    content, _ = place.destination.read(path) or (b"", None)
    document = json.loads(content)
    document["files"][0] |= damage
    place.spoil(path, json.dumps(document).encode())
    assert described(find(at(3), at(5))) == {3: "its manifest can't be read", 4: "never copied, 1 file"}


def test_a_note_writes_no_line_of_the_log(
    cloud: LocalCloud, export: Export, place: Place, archive: Archive, find: Find, caplog: pytest.LogCaptureFixture
) -> None:
    put(cloud, 3, "tab\tname.csv")
    with pytest.raises(AylaUnsafeNameError):
        take_in(archive, export, 3)
    path = failure_path(ExportHour("datapoint", at(3)))
    content, _ = place.destination.read(path) or (b"", None)
    forged = json.loads(content) | {"message": "\x1b[2J\nERROR forged"}
    place.spoil(path, json.dumps(forged).encode())
    with caplog.at_level(logging.WARNING):
        assert find(at(3), at(4)).left_alone == 1
    (line,) = [record.getMessage() for record in caplog.records if "is left alone" in record.getMessage()]
    assert line.isprintable()
    assert line.endswith("ERROR forged")


def test_event_types_are_found_each_with_its_own_hours(cloud: LocalCloud, find: Find) -> None:
    put(cloud, 3, "a.csv", folder="Datapoint Ack")
    put(cloud, 4, "a.csv", folder="Location")
    findings = find(at(3), at(5), "datapoint_ack", "location")
    assert findings.gaps == [
        Gap(ExportHour("location", at(4)), "never copied, 1 file"),
        Gap(ExportHour("location", at(3)), "never copied, no events"),
        Gap(ExportHour("datapoint_ack", at(3)), "never copied, 1 file"),
    ]


FLEET: dict[str, Any] = {"start": at(0) - timedelta(days=70), "end": at(0), "rows": 1, "seed": 3}


@pytest.mark.parametrize("cloud", [FLEET], indirect=True)
def test_the_cost_grows_with_the_lookback_and_not_with_the_history(
    cloud: LocalCloud, export: Export, find: Find
) -> None:
    def listings(days: int) -> list[str]:
        before = len(requests_of(cloud, "list"))
        findings = find(at(0) - timedelta(days=days), at(0), *EVENT_TYPES)
        assert sum(findings.hours.values()) == days * 24 * len(EVENT_TYPES)
        vendor = [one for one in requests_of(cloud, "list")[before:] if f"/b/{cloud.vendor.name}/" in one.path]
        return [one.query for one in vendor]

    listings(1)  # learns the event folders
    files = {days: _files(cloud, days) for days in (2, 65)}
    # One bounded listing of as few pages as its results fill. Beside it, looks of one page each for what hours without
    # files depend on: a fixed number for each event type and window.
    assert len([query for query in listings(2) if "maxResults=" not in query]) == len(EVENT_TYPES)
    queries = listings(65)
    pages = [query for query in queries if "maxResults=" not in query]
    windows = 3
    assert len(pages) <= windows * len(EVENT_TYPES) + files[65] // 1000
    assert len(queries) - len(pages) <= windows * len(EVENT_TYPES) * 16
    assert all("startOffset=" in query and "endOffset=" in query for query in pages)


def _files(cloud: LocalCloud, days: int) -> int:
    start = at(0) - timedelta(days=days)
    hours = set(hours_between(start, at(0)))
    return sum(len(answer.files) for answer in cloud.answer_key() if answer.hour in hours)
