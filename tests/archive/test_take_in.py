"""What a copy plans, counts, and says when it can't go on: in full."""

from __future__ import annotations

import json
import os
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path
from types import SimpleNamespace
from typing import Any, BinaryIO

import pytest

from ayla_provider.archive import archive as archives
from ayla_provider.archive.archive import Archive
from ayla_provider.archive.destination import Listed, Stored
from ayla_provider.archive.local import FileDestination
from ayla_provider.archive.records import write_json
from ayla_provider.archive.removal import remove_copies
from ayla_provider.archive.transfer import Copy, Transfer
from ayla_provider.domain.arrival import HourState
from ayla_provider.domain.erasure import ErasureKeys, ErasureRequest
from ayla_provider.domain.hour_pattern import HourPattern
from ayla_provider.domain.paths import ExportFile, Layout, failure_path, manifest_path
from ayla_provider.domain.removal import Rule
from ayla_provider.errors import (
    AylaConfigError,
    AylaConflictError,
    AylaDestinationError,
    AylaLostError,
    AylaNotSettledError,
    AylaSignInRefused,
    AylaTransferError,
    AylaUnavailable,
    AylaUnprovenError,
    AylaUnsafeNameError,
)
from ayla_provider.local_cloud import LocalCloud
from ayla_provider.source.export import Export
from tests.support.client import RULE, at, hours_at, put, take_in
from tests.support.places import Place, file_place

FOLDER = "event_type=datapoint/date=2024-05-09/hour=02"
SOURCE_FOLDER = "2024-05-09 02:00:00"
EARLIER = "no earlier version"


@pytest.fixture
def place(tmp_path: Path) -> Place:
    """A folder on disk alone: what is said is the same of each destination."""
    return file_place(tmp_path)


@pytest.fixture
def archive(place: Place) -> Archive:
    return Archive(place.destination)


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


def notes(place: Place) -> set[str]:
    """Return the paths of the notes about hours that can't be copied."""
    return {path for path in place.everything() if path.startswith("_failures/")}


def test_a_step_is_traced_with_the_counts_of_the_report(
    cloud: LocalCloud, export: Export, archive: Archive, monkeypatch: pytest.MonkeyPatch
) -> None:
    spans: list[dict[str, object]] = []

    @contextmanager
    def recorded(name: str, **facts: object) -> Iterator[Any]:
        spans.append({"name": name, **facts})
        yield spans[-1].update

    monkeypatch.setattr(archives, "span", recorded)
    put(cloud, 2, "a.csv", b"1")
    put(cloud, 2, "b.csv", b"22")
    put(cloud, 3, "c.csv", b"333")
    put(cloud, 5, "later.csv")
    _, files = archive.copy_part(export, hours_at(2)[0], RULE, 2, 1)
    assert files == 1
    take_in(archive, export, 2, 3)
    begin = {"name": "copy", "event_type": "datapoint", "hour": at(2).isoformat()}
    assert spans == [
        {**begin, "hours": 1, "part": 2, "files": 1, "copied_files": 1, "copied_bytes": 2},
        {**begin, "hours": 2, "files": 3, "bytes": 6, "copied_files": 2, "copied_bytes": 4, "manifests_written": 2},
    ]


def job_of(*sizes: int) -> Any:
    """Return what the progress of a copy knows of an hour whose files have these sizes."""
    return SimpleNamespace(status=SimpleNamespace(files=list(sizes), size=sum(sizes)))


def test_a_line_of_progress_says_all_and_comes_every_ten_seconds(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO")
    clock = [1000.0]
    monkeypatch.setattr(archives, "time", SimpleNamespace(monotonic=lambda: clock[0]))
    progress = archives._Progress("an hour")
    progress.expect([job_of(100, 200), job_of(500)])
    progress.expect([job_of(7000)])
    expected: list[str] = []
    for now, size, done, line in (
        (1009.9, 10, 0, ""),
        (1010.0, 20, 0, "0 of 4 files done, 30 B copied of 7.8 kB, 3 B/s"),
        (1019.9, 30, 1, ""),
        (1020.0, 40, 1, "2 of 4 files done, 100 B copied of 7.8 kB, 5 B/s"),
        (1100.0, 900, 2, "4 of 4 files done, 1.0 kB copied of 7.8 kB, 10 B/s"),
    ):
        clock[0] = now
        for _ in range(done):
            progress.file_done()
        progress.bytes_moved(size)
        expected += [f"an hour: {line}"] if line else []
        assert caplog.messages == expected


def test_the_lines_of_progress_name_the_hours_or_the_part(
    cloud: LocalCloud,
    export: Export,
    archive: Archive,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level("INFO")
    monkeypatch.setattr(archives, "_PROGRESS_EVERY", 0.0)
    put(cloud, 2, "a.csv", b"12")
    put(cloud, 3, "b.csv", b"345")
    put(cloud, 5, "later.csv")
    archive.copy_part(export, hours_at(2)[0], RULE, 1, 1)
    take_in(archive, export, 2, 3)
    of_part, of_run = [message.rpartition(", ")[0] for message in caplog.messages if " done, " in message]
    assert of_part == "datapoint 2024-05-09 02:00 UTC, part 1: 0 of 1 file done, 2 B copied of 2 B"
    what = "datapoint 2024-05-09 02:00 UTC to 2024-05-09 04:00 UTC (2 hours)"
    # The part is there already, and counts as done once its hour's turn comes.
    assert of_run in {f"{what}: {done} of 2 files done, 3 B copied of 5 B" for done in (0, 1)}


def test_a_mirror_whose_folders_have_a_style_of_their_own_is_not_forgotten(
    cloud: LocalCloud, export: Export, place: Place
) -> None:
    reading = Export(export.source, export.root, hour_pattern=HourPattern("%d-%m-%Y %Hh"), now=export.now)
    for hour in (2, 3):
        cloud.put_object("Datapoint", f"09-05-2024 {hour:02}h", "a.csv", b"x", at(hour + 1, 30))
    put(cloud, 2, "b.csv")
    put(cloud, 6, "later.csv")
    archive = Archive(place.destination, layout=Layout.MIRROR)
    assert take_in(archive, reading, 2, 3).copied_files == 3
    for hour in (2, 3):
        cloud.delete_object("Datapoint", f"09-05-2024 {hour:02}h", "a.csv")
        place.remove(manifest_path(hours_at(hour)[0]))
    cloud.delete_object("Datapoint", SOURCE_FOLDER, "b.csv")
    folder = f"{export.root}Datapoint"
    for one, of_first, count in (
        (2, f"{folder}/09-05-2024 02h/a.csv", "2 files"),
        (3, f"{folder}/09-05-2024 03h/a.csv", "1 file"),
    ):
        for layout in Layout:
            (plan,) = Archive(place.destination, layout=layout).plan(reading, hours_at(one), RULE)
            assert (plan.manifest, plan.to_copy) == (None, ())
            with pytest.raises(AylaLostError) as raised:
                take_in(Archive(place.destination, layout=layout), reading, one)
            assert f"The archive still has {count} of it, for example {of_first}." in str(raised.value)


def test_an_archive_with_all_manifests_is_not_searched_for_mirrored_copies(
    cloud: LocalCloud, export: Export, tmp_path: Path
) -> None:
    searched: list[str] = []

    class Watched(FileDestination):
        def tree(self, prefix: str) -> Iterator[Listed]:
            searched.append(prefix)
            return super().tree(prefix)

    put(cloud, 2, "a.csv")
    put(cloud, 5, "later.csv")
    folder = f"{export.root}Datapoint/"
    for layout, of_first_run in ((Layout.PARTITIONED, folder), (Layout.MIRROR, f"{folder}2024-05-09")):
        destination = Watched(tmp_path / layout.value)
        for _ in range(2):
            take_in(Archive(destination, layout=layout), export, 2)
            assert searched == [of_first_run]
        searched.clear()


def test_an_hour_that_failed_and_would_be_forgotten_says_first_what_failed(
    cloud: LocalCloud, export: Export, place: Place, archive: Archive
) -> None:
    for name in "ab":
        put(cloud, 2, f"{name}.csv", name.encode())
    put(cloud, 5, "later.csv")
    take_in(archive, export, 2)
    place.remove(manifest_path(hours_at(2)[0]))
    place.remove(path_of("a"))
    cloud.delete_object("Datapoint", SOURCE_FOLDER, "b.csv")
    cloud.faults.add("corrupt", step="download", match="02:00:00/a.csv", times=2)
    with pytest.raises(AylaTransferError, match=r"^datapoint.*02:00:00/a\.csv") as raised:
        take_in(archive, export, 2)
    assert "manifest" not in str(raised.value)
    with pytest.raises(AylaLostError, match="its manifest is missing"):
        take_in(archive, export, 2)
    assert place.everything()[path_of("a")] == b"a"


def test_a_lost_file_is_marked_only_once_the_rest_of_its_hour_is_there(
    cloud: LocalCloud, export: Export, place: Place, archive: Archive
) -> None:
    for name in "ab":
        put(cloud, 2, f"{name}.csv", name.encode())
    put(cloud, 5, "later.csv")
    take_in(archive, export, 2)
    before = place.everything()[manifest_path(hours_at(2)[0])]
    for name in "ab":
        place.remove(path_of(name))
    cloud.delete_object("Datapoint", SOURCE_FOLDER, "b.csv")
    cloud.faults.add("corrupt", step="download", match="02:00:00/a.csv", times=2)
    with pytest.raises(AylaTransferError, match=r"^datapoint.*02:00:00/a\.csv"):
        archive.take_in(export, hours_at(2), RULE, written_by={}, untrusted=["*"])
    assert place.everything()[manifest_path(hours_at(2)[0])] == before


def test_an_hour_whose_object_can_not_be_placed_says_what_was_copied(
    cloud: LocalCloud, export: Export, place: Place, archive: Archive
) -> None:
    unplaced = "2024-05-09T02"
    cloud.put_object("Datapoint", unplaced, "a.csv", b"x", at(3, 30))
    put(cloud, 5, "later.csv")
    for files in (0, 1):
        (status,) = export.status(hours_at(2), RULE)
        assert (status.state, len(status.files)) == (HourState.UNPROVEN, files)
        with pytest.raises(AylaUnprovenError) as raised:
            take_in(archive, export, 2)
        copied = " Its other files were copied." if files else ""
        assert str(raised.value) == f"{status.problem} The hour gets no manifest until then.{copied}"
        put(cloud, 2, "b.csv", b"b")
    assert place.everything()[path_of("b")] == b"b"
    assert manifest_path(hours_at(2)[0]) not in place.everything()


def test_an_object_that_can_not_be_placed_does_not_concern_an_hour_that_expired(
    cloud: LocalCloud, export: Export, place: Place, archive: Archive
) -> None:
    put(cloud, 2, "a.csv")
    put(cloud, 5, "later.csv")
    take_in(archive, export, 2)
    before = place.everything()
    cloud.delete_object("Datapoint", SOURCE_FOLDER, "a.csv")
    cloud.put_object("Datapoint", "2024-05-09T02", "a.csv", b"x", at(3, 30))
    (status,) = export.status(hours_at(2), RULE)
    assert (status.state, status.files) == (HourState.UNPROVEN, ())
    report = take_in(archive, export, 2)
    assert (report.hours, report.files, report.manifests_written) == ({"landed": 1}, 1, 0)
    assert place.everything() == before


def test_each_hour_that_needs_a_person_gets_a_note_and_no_other_does(
    cloud: LocalCloud, export: Export, place: Place
) -> None:
    archive = Archive(place.destination, max_workers=1)
    # This one fails first, and its failure may pass.
    place.spoil(manifest_path(hours_at(1)[0]), b"{")
    put(cloud, 2, "tab\tname.csv")
    put(cloud, 2, "another\tname.csv")
    put(cloud, 3, "tab\tname.csv")
    put(cloud, 5, "later.csv")
    with pytest.raises(AylaTransferError, match=r"^4 failures"):
        take_in(archive, export, 1, 2, 3)
    assert notes(place) == {failure_path(hour) for hour in hours_at(2, 3)}
    for hour in hours_at(2, 3):
        note = document(place, failure_path(hour))
        assert (note["error"], note["tasks"], note["passing"]) == ("AylaUnsafeNameError", 1, False)
        assert (note["failed_at"], note["written_by"]) == (export.now().isoformat(), {"run_id": "test"})
        assert f"{hour.start:%H:%M:%S}" in note["message"]


def test_a_note_that_can_not_be_written_hides_no_failure(
    cloud: LocalCloud,
    export: Export,
    place: Place,
    archive: Archive,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    put(cloud, 2, "tab\tname.csv")
    put(cloud, 5, "later.csv")
    write = place.destination.write

    def refuse_notes(path: str, *arguments: Any, **more: Any) -> Stored:
        if path.startswith("_failures/"):
            raise AylaDestinationError("no room for a note")
        return write(path, *arguments, **more)

    monkeypatch.setattr(place.destination, "write", refuse_notes)
    with pytest.raises(AylaUnsafeNameError):
        take_in(archive, export, 2)
    assert "The note about the failure can't be written: no room for a note" in caplog.text
    assert place.everything() == {}


def test_a_refused_sign_in_is_what_a_run_fails_with_whatever_else_failed(
    cloud: LocalCloud, export: Export, place: Place, archive: Archive, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in "abc":
        put(cloud, 2, f"{name}.csv")
    put(cloud, 5, "later.csv")
    refused = AylaSignInRefused("the password is wrong")

    def copy(transfer: Transfer, file: ExportFile, *arguments: Any, **more: Any) -> Copy:
        raise refused if file.file == "b.csv" else AylaUnavailable(file.file)

    monkeypatch.setattr(Transfer, "copy", copy)
    with pytest.raises(AylaSignInRefused) as raised:
        take_in(archive, export, 2)
    assert raised.value is refused
    # It says nothing of the hour.
    assert place.everything() == {}


def test_an_hour_that_a_rule_removed_is_planned_and_copied_by_nobody(
    cloud: LocalCloud, export: Export, place: Place, archive: Archive
) -> None:
    put(cloud, 2, "a.csv")
    put(cloud, 3, "b.csv")
    put(cloud, 5, "later.csv")
    take_in(archive, export, 2, 3)
    remove_copies(place.destination, Rule("archive", timedelta(days=90), at(3) + timedelta(days=90)), {})
    put(cloud, 2, "c.csv")
    (hour,) = hours_at(2)
    manifest = archive.manifest(hour)
    assert manifest is not None
    (plan,) = archive.plan(export, [hour], RULE)
    assert (plan.manifest, plan.to_copy) == (manifest, ())
    before = place.everything()
    report = take_in(archive, export, 2, 3)
    assert (report.hours, report.files, report.copied_files) == ({"removed": 1, "landed": 1}, 1, 0)
    assert report.manifests[0] == manifest
    report, files = archive.copy_part(export, hour, RULE, 1, 1000)
    assert (report.hours, report.copied_files, files) == ({"removed": 1}, 0, 0)
    assert place.everything() == before


@pytest.mark.parametrize("error", [KeyboardInterrupt, AylaUnavailable])
def test_a_task_that_is_ended_stops_its_copies_and_a_run_that_fails_does_not(
    cloud: LocalCloud, export: Export, archive: Archive, monkeypatch: pytest.MonkeyPatch, error: type[BaseException]
) -> None:
    put(cloud, 2, "a.csv")
    put(cloud, 5, "later.csv")

    def fail(*_: object) -> None:
        raise error

    with monkeypatch.context() as patch:
        patch.setattr(export, "status", fail)
        with pytest.raises(error):
            take_in(archive, export, 2)
    if error is AylaUnavailable:
        assert take_in(archive, export, 2).copied_files == 1
    else:
        with pytest.raises(AylaTransferError, match="stopped"):
            take_in(archive, export, 2)


def test_what_killed_copies_left_in_the_folder_goes(
    cloud: LocalCloud, export: Export, place: Place, archive: Archive, tmp_path: Path
) -> None:
    put(cloud, 2, "a.csv")
    put(cloud, 5, "later.csv")
    left = f"{FOLDER}/.0123456789abcdef.partial"
    place.spoil(left, b"half of")
    long_ago = time.time() - 48 * 3600
    os.utime(tmp_path / left, (long_ago, long_ago))
    take_in(archive, export, 2)
    assert set(place.everything()) == {path_of("a"), manifest_path(hours_at(2)[0])}


@pytest.mark.parametrize("size", [10, 3_000_000])
def test_no_more_files_are_written_at_once_than_is_said(
    cloud: LocalCloud, export: Export, tmp_path: Path, size: int
) -> None:
    lock = threading.Lock()
    writing = 0
    most = 0
    threads: set[str] = set()

    class Watched(FileDestination):
        def write(self, path: str, stream: BinaryIO, **more: Any) -> Stored:
            nonlocal writing, most
            threads.add(threading.current_thread().name.rpartition("_")[0])
            with lock:
                writing += 1
                most = max(most, writing)
            time.sleep(0.02)
            try:
                return super().write(path, stream, **more)
            finally:
                with lock:
                    writing -= 1

    for number in range(6):
        put(cloud, 2, f"{number}.csv", b"x" * size)
    put(cloud, 5, "later.csv")
    assert take_in(Archive(Watched(tmp_path), max_workers=1), export, 2).copied_files == 6
    assert most == 1
    assert threads == {"ayla-copy"}


def test_a_commit_that_fails_leaves_the_other_hours(
    cloud: LocalCloud, export: Export, place: Place, archive: Archive, monkeypatch: pytest.MonkeyPatch
) -> None:
    for hour in (2, 3):
        put(cloud, hour, "a.csv")
    put(cloud, 5, "later.csv")
    conflicting, other = (manifest_path(hour) for hour in hours_at(2, 3))
    write = place.destination.write

    def refuse_one(path: str, *arguments: Any, **more: Any) -> Stored:
        if path == conflicting:
            raise AylaConflictError("another run wrote it")
        return write(path, *arguments, **more)

    monkeypatch.setattr(place.destination, "write", refuse_one)
    with pytest.raises(AylaConflictError, match=r"^another run wrote it$"):
        archive.take_in(export, hours_at(2, 3), RULE, written_by={}, last_try=True)
    assert conflicting not in place.everything()
    assert other in place.everything()
    assert notes(place) == set()


def test_a_part_without_what_is_erased_is_read_and_not_written_again(
    cloud: LocalCloud, export: Export, place: Place
) -> None:
    dsn, keys = "LC000X000000007", ErasureKeys.parse("a-key-of-sixteen-characters", "x")
    entry = ErasureRequest({"dsn": dsn}, None, at(12), at(12)).entry(keys, at(12), {})
    write_json(place.destination, entry.path, entry.dumps(), None)
    put(cloud, 2, "a.csv", f"of {dsn}\nof another\n".encode())
    put(cloud, 5, "later.csv")
    archive = Archive(place.destination, erasure_keys=lambda: keys)
    archive.copy_part(export, hours_at(2)[0], RULE, 1, 1000)
    before = place.destination.find(path_of("a"))
    assert take_in(archive, export, 2).copied_files == 1
    assert place.destination.find(path_of("a")) == before
    assert place.everything()[path_of("a")] == b"of another\n"
    manifest = archive.manifest(hours_at(2)[0])
    assert manifest is not None
    assert manifest.erased_lines == 1
    # With the manifest, there is nothing to plan.
    (plan,) = archive.plan(export, hours_at(2), RULE)
    assert plan.to_copy == ()


def test_copies_without_a_manifest_are_taken_only_if_they_are_the_files(
    cloud: LocalCloud, export: Export, place: Place, archive: Archive
) -> None:
    for name in "abc":
        put(cloud, 2, f"{name}.csv", b"right")
    put(cloud, 5, "later.csv")
    for name, data in (("a", b"right"), ("b", b"wrong"), ("c", b"long and wrong")):
        place.spoil(path_of(name), data)
    before = place.destination.find(path_of("a"))
    (plan,) = archive.plan(export, hours_at(2), RULE)
    assert [file.file for file in plan.to_copy] == ["b.csv", "c.csv"]
    assert take_in(archive, export, 2).copied_files == 2
    assert place.destination.find(path_of("a")) == before
    assert {place.everything()[path_of(name)] for name in "abc"} == {b"right"}
    manifest = archive.manifest(hours_at(2)[0])
    assert manifest is not None
    for file in manifest.files:
        assert place.destination.folder(FOLDER)[file.path].version == file.version


def test_a_doubtful_copy_that_ayla_no_longer_shows_is_kept_if_it_is_whole(
    cloud: LocalCloud, export: Export, place: Place, archive: Archive
) -> None:
    for name in "ab":
        put(cloud, 2, f"{name}.csv", name.encode())
    put(cloud, 5, "later.csv")
    take_in(archive, export, 2)
    whole = archive.manifest(hours_at(2)[0])
    assert whole is not None
    cloud.delete_object("Datapoint", SOURCE_FOLDER, "b.csv")
    place.remove(path_of("b"))
    place.spoil(path_of("b"), b"b")
    report = archive.take_in(export, hours_at(2), RULE, written_by={}, untrusted=["*"])
    assert (report.hours, report.files) == ({"landed": 1}, 2)
    manifest = archive.manifest(hours_at(2)[0])
    assert manifest is not None
    assert (manifest.files, manifest.lost) == (whole.files, ())
    for file in manifest.files:
        assert place.destination.folder(FOLDER)[file.path].version == file.version
