"""What a copy plans, counts, and says when it can't go on: in full."""

from __future__ import annotations

import json
from typing import Any

import pytest

from ayla_provider.archive.archive import Archive
from ayla_provider.domain.arrival import HourState
from ayla_provider.domain.paths import failure_path, manifest_path
from ayla_provider.errors import (
    AylaConfigError,
    AylaDestinationError,
    AylaLostError,
    AylaNotSettledError,
    AylaTransferError,
)
from ayla_provider.local_cloud import LocalCloud
from ayla_provider.source.export import Export
from tests.support.client import RULE, at, hours_at, put, take_in
from tests.support.places import Place

FOLDER = "event_type=datapoint/date=2024-05-09/hour=02"
SOURCE_FOLDER = "2024-05-09 02:00:00"
EARLIER = "no earlier version"


@pytest.fixture
def archive(place: Place) -> Archive:
    return Archive(place.destination)


pytestmark = pytest.mark.parametrize("place", ["file"], indirect=True)


def path_of(name: str) -> str:
    return f"{FOLDER}/20240509T020000Z-{name}.csv"


def document(place: Place, path: str) -> Any:
    return json.loads(place.everything()[path])


def test_a_plan_says_what_a_copy_would_do_and_does_nothing(
    cloud: LocalCloud, export: Export, place: Place, archive: Archive
) -> None:
    for name in ("a.csv", "b.csv"):
        put(cloud, 2, name, name.encode())
    put(cloud, 3, "c.csv")
    put(cloud, 6, "later.csv")
    take_in(archive, export, 2)
    put(cloud, 2, "b.csv", b"another b")
    before = place.everything()
    second, third, fourth = archive.plan(export, hours_at(2, 3, 4), RULE)
    assert place.everything() == before
    assert [file.name.rpartition("/")[2] for file in second.to_copy] == ["b.csv"]
    assert [file.name.rpartition("/")[2] for file in third.to_copy] == ["c.csv"]
    assert fourth.to_copy == ()
    assert [plan.status.hour for plan in (second, third, fourth)] == hours_at(2, 3, 4)
    assert [plan.status.state for plan in (second, third, fourth)] == [
        HourState.LANDED,
        HourState.LANDED,
        HourState.EMPTY,
    ]
    assert (second.manifest, third.manifest, fourth.manifest) == (archive.manifest(hours_at(2)[0]), None, None)
    report = take_in(archive, export, 2, 3, 4)
    assert report.copied_files == len(second.to_copy) + len(third.to_copy)


def test_a_plan_of_what_is_no_archive_of_this_export_fails_as_the_copy_does(
    cloud: LocalCloud, export: Export, place: Place, archive: Archive
) -> None:
    put(cloud, 2, "a.csv")
    put(cloud, 5, "later.csv")
    take_in(archive, export, 2)
    path = manifest_path(hours_at(2)[0])
    whole = place.everything()[path]
    place.spoil(path, b"{")
    with pytest.raises(AylaDestinationError, match=path):
        archive.plan(export, hours_at(2), RULE)
    other = json.loads(whole) | {"export": "gs://another-bucket/another"}
    place.spoil(path, json.dumps(other).encode())
    with pytest.raises(AylaConfigError) as of_plan:
        archive.plan(export, hours_at(2), RULE)
    with pytest.raises(AylaConfigError) as of_copy:
        take_in(archive, export, 2)
    with pytest.raises(AylaConfigError) as of_part:
        archive.copy_part(export, hours_at(2)[0], RULE, 1, 1000)
    assert str(of_plan.value) == str(of_copy.value) == str(of_part.value)


def test_a_report_counts_what_the_hours_have_and_what_was_copied(
    cloud: LocalCloud, export: Export, place: Place, archive: Archive
) -> None:
    put(cloud, 3, "c.csv", b"12345")
    put(cloud, 5, "later.csv")
    take_in(archive, export, 3)
    put(cloud, 2, "a.csv", b"1")
    put(cloud, 2, "b.csv", b"22")
    report = take_in(archive, export, 2, 3, 4)
    assert (report.files, report.bytes) == (3, 8)
    assert (report.copied_files, report.copied_bytes, report.manifests_written) == (2, 3, 2)
    assert report.hours == {"landed": 2, "empty": 1}
    assert [manifest.hour for manifest in report.manifests] == hours_at(2, 3, 4)
    assert 0 < report.seconds < 100
    written = document(place, manifest_path(hours_at(2)[0]))
    assert (written["written_by"], written["export"]) == ({"run_id": "test"}, export.url)
    assert written["written_at"] == export.now().isoformat()


def test_an_hour_that_is_not_settled_says_what_to_do(cloud: LocalCloud, export: Export, archive: Archive) -> None:
    cloud.put_object("Datapoint", "2024-05-09 12:00:00", "a.csv", b"x", at(12))
    with pytest.raises(AylaNotSettledError) as raised:
        take_in(archive, export, 12)
    assert str(raised.value) == (
        f"datapoint 2024-05-09 12:00 UTC is open: {HourState.OPEN.unsettled_because}. It gets no manifest. Put an "
        "AylaExportHourSensor before this task, or clear it later."
    )


def test_an_archive_of_a_stream_says_what_to_do(cloud: LocalCloud, export: Export, place: Place) -> None:
    archive = Archive(place.destination)
    put(cloud, 2, "a.csv")
    put(cloud, 5, "later.csv")
    place.spoil("_stream/position.json", b"{}")
    expected = (
        f"the destination {place.destination.url} is the archive of a stream: it has _stream/position.json. Give the "
        "export a destination, or a prefix, of its own."
    )
    with pytest.raises(AylaConfigError) as raised:
        take_in(archive, export, 2)
    assert str(raised.value) == expected
    with pytest.raises(AylaConfigError) as raised:
        archive.copy_part(export, hours_at(2)[0], RULE, 1, 1000)
    assert str(raised.value) == expected
    assert set(place.everything()) == {"_stream/position.json"}


def test_lost_files_are_named_up_to_five_and_the_others_counted(
    cloud: LocalCloud, export: Export, place: Place, archive: Archive
) -> None:
    for name in "abcdefg":
        put(cloud, 2, f"{name}.csv", name.encode())
    put(cloud, 5, "later.csv")
    take_in(archive, export, 2)
    for name in "abcdefg":
        cloud.delete_object("Datapoint", SOURCE_FOLDER, f"{name}.csv")
        place.remove(path_of(name))
    with pytest.raises(AylaLostError) as raised:
        archive.take_in(export, hours_at(2), RULE, written_by={}, untrusted=["*"])
    named = ", ".join(f"{path_of(name)} ({EARLIER})" for name in "abcde")
    assert str(raised.value) == (
        f"datapoint 2024-05-09 02:00 UTC: 7 lost files. The archive's copy is missing or damaged, and Ayla no longer "
        f"shows the file: {named}, and 2 more. The manifest marks it as lost. Rows that were typed or loaded from it "
        "stay. If the bucket has an earlier version, restore the copy from there, and clear this task."
    )


@pytest.mark.parametrize("is_unreadable", [True, False])
@pytest.mark.parametrize("shows_one", [True, False])
def test_an_hour_that_would_be_forgotten_says_what_it_has_and_what_to_do(
    cloud: LocalCloud, export: Export, place: Place, archive: Archive, is_unreadable: bool, shows_one: bool
) -> None:
    for name in "abc":
        put(cloud, 2, f"{name}.csv", name.encode())
    put(cloud, 5, "later.csv")
    take_in(archive, export, 2)
    path = manifest_path(hours_at(2)[0])
    place.spoil(path, b"{") if is_unreadable else place.remove(path)
    for name in "ab" if shows_one else "abc":
        cloud.delete_object("Datapoint", SOURCE_FOLDER, f"{name}.csv")
    with pytest.raises(AylaLostError) as raised:
        archive.take_in(export, hours_at(2), RULE, written_by={"run_id": "test"}, untrusted=[path])
    problem = "can't be read" if is_unreadable else "is missing"
    which = "all of its files" if shows_one else "its files"
    message = (
        f"datapoint 2024-05-09 02:00 UTC: its manifest {problem}, and Ayla no longer shows {which}. The archive still "
        f"has {2 if shows_one else 3} files of it, for example {path_of('a')}. They stay, and the hour gets no "
        f"manifest. If the bucket has an earlier version, restore {path} ({EARLIER}). To record the hour without these "
        "files, move them out of the archive, and clear this task."
    )
    assert str(raised.value) == message
    note = document(place, failure_path(hours_at(2)[0]))
    assert (note["error"], note["message"], note["written_by"]) == ("AylaLostError", message, {"run_id": "test"})


def test_failures_of_one_kind_keep_it_and_others_become_one(
    cloud: LocalCloud, export: Export, place: Place, archive: Archive
) -> None:
    put(cloud, 2, "a.csv")
    put(cloud, 3, "a.csv")
    put(cloud, 5, "later.csv")
    take_in(archive, export, 2, 3)
    for hour in hours_at(2, 3):
        place.spoil(manifest_path(hour), b"{")
    with pytest.raises(AylaDestinationError) as raised:
        take_in(archive, export, 2, 3)
    begin, first, second = str(raised.value).split("\n")
    assert begin == "2 failures; everything else was copied, and isn't copied again:"
    for line, one in ((first, 2), (second, 3)):
        assert line.startswith("- ")
        assert manifest_path(hours_at(one)[0]) in line
    cloud.put_object("Datapoint", "2024-05-09 04:00:00", "a.csv", b"x", at(6))
    cloud.faults.add(404, step="download", match="04:00:00/a.csv", times=None)
    with pytest.raises(AylaTransferError, match="3 failures; everything else") as mixed:
        take_in(archive, export, 2, 3, 4)
    assert type(mixed.value) is AylaTransferError
    assert str(mixed.value).count("\n- ") == 3


def test_five_failures_are_shown_and_the_others_counted(
    cloud: LocalCloud, export: Export, place: Place, archive: Archive
) -> None:
    for number in range(6):
        put(cloud, 2, f"{number}.csv", b"data")
    put(cloud, 5, "later.csv")
    cloud.faults.add(404, step="download", match=SOURCE_FOLDER[11:], times=None)
    with pytest.raises(AylaTransferError) as raised:
        take_in(archive, export, 2)
    lines = str(raised.value).split("\n")
    assert lines[0] == "6 failures; everything else was copied, and isn't copied again:"
    assert (len(lines), lines[-1]) == (7, "- and 1 more")
    assert len(set(lines[1:6])) == 5
