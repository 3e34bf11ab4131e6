from __future__ import annotations

import hashlib
import io
import json
import logging
import threading
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from google.cloud import storage

from ayla_provider.archive import archive as archives
from ayla_provider.archive.archive import Archive
from ayla_provider.archive.local import FileDestination
from ayla_provider.domain.events import EVENT_TYPES
from ayla_provider.domain.hour import ExportHour, hours_between, hours_of
from ayla_provider.domain.paths import Layout, failure_path, manifest_path
from ayla_provider.errors import (
    AylaConflictError,
    AylaDestinationError,
    AylaError,
    AylaNotSettledError,
    AylaSignInRefused,
    AylaTransferError,
    AylaUnsafeNameError,
)
from ayla_provider.local_cloud import LocalCloud
from ayla_provider.source.export import Export
from tests.support.client import (
    RULE,
    at,
    bytes_of,
    client_of,
    export_of,
    hours_at,
    provider_of,
    put,
    requests_of,
    settings_of,
    take_in,
)
from tests.support.places import Place, file_place, gcs_place

FLEET: dict[str, Any] = {"start": at(0), "end": at(10), "max_lag": timedelta(minutes=50), "rows": 40}
FLEET_HOURS = hours_between(at(0), at(8))  # of the others come the signs of life


@pytest.fixture
def archive(place: Place) -> Archive:
    return Archive(place.destination)


def path_of(hour: int, file: str = "a.csv", time: str = "0000") -> str:
    return f"event_type=datapoint/date=2024-05-09/hour={hour:02}/20240509T{hour:02}{time}Z-{file}"


def manifest_of(hour: int, event_type: str = "datapoint") -> str:
    return manifest_path(ExportHour(event_type, at(hour)))


def manifest(place: Place, hour: int) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(place.everything()[manifest_of(hour)])
    return found


def entries(place: Place, hour: int) -> dict[str, str]:
    """Return the paths of the files that a manifest states, by source, each checked against the archive."""
    everything = place.everything()
    files = manifest(place, hour)["files"]
    for file in files:
        assert len(everything[file["path"]]) == file["size"]
    return {file["source"].rpartition("/")[2]: file["path"] for file in files}


def moves(cloud: LocalCloud) -> Counter[str]:
    """Count the requests that move bytes of the export."""
    vendor = f"/b/{cloud.vendor.name}/"
    return Counter(
        one.step for one in requests_of(cloud, "download", "upload") if one.step == "upload" or vendor in one.path
    )


@pytest.mark.parametrize("cloud", [FLEET], indirect=True)
@pytest.mark.parametrize("event_type", EVENT_TYPES)
def test_a_fleets_hours_arrive_byte_for_byte_as_the_answer_key_says(
    cloud: LocalCloud, export: Export, place: Place, archive: Archive, event_type: str
) -> None:
    report = archive.take_in(export, hours_of(event_type, at(0), at(8)), RULE, written_by={"run_id": "first"})
    answers = {one.hour: one for one in cloud.answer_key() if one.event_type == event_type and one.hour < at(8)}
    assert list(answers) == FLEET_HOURS
    expected_paths = set()
    everything = place.everything()
    for hour, answer in answers.items():
        document = json.loads(everything[manifest_path(ExportHour(event_type, hour))])
        expected_paths.add(manifest_path(ExportHour(event_type, hour)))
        stated = {(file["source"], file["generation"], file["size"], file["crc32c"]) for file in document["files"]}
        assert stated == {
            (file.object_name, file.final.generation, file.final.size, file.final.crc32c) for file in answer.files
        }
        assert [datetime.fromisoformat(file["created"]) for file in document["files"]] == [
            file.final.visible_at.replace(microsecond=file.final.visible_at.microsecond // 1000 * 1000)
            for file in sorted(answer.files, key=lambda file: file.object_name)
        ]
        assert (document["revision"], document["written_by"]) == (1, {"run_id": "first"})
        assert document["state"] == ("landed" if answer.files else "empty")
        for file in document["files"]:
            source = cloud.vendor.live(file["source"])
            assert source
            assert everything[file["path"]] == bytes_of(source.content)
            expected_paths.add(file["path"])
        assert document["total_files"] == len(answer.files)
        assert document["total_bytes"] == sum(file.final.size for file in answer.files)
        counted = [(file["lines"], len(list(io.BytesIO(everything[file["path"]])))) for file in document["files"]]
        assert all(lines == expected for lines, expected in counted)
        assert document["total_lines"] == sum(lines for lines, _ in counted)
    assert set(everything) == expected_paths
    files = [file for answer in answers.values() for file in answer.files]
    assert (report.files, report.copied_files, report.manifests_written) == (len(files), len(files), len(answers))
    assert report.bytes == report.copied_bytes == sum(file.final.size for file in files)
    assert sum(report.hours.values()) == len(answers)


@pytest.mark.parametrize("cloud", [FLEET], indirect=True)
def test_a_second_run_moves_no_bytes_and_rewrites_no_manifest(
    cloud: LocalCloud, export: Export, place: Place, archive: Archive
) -> None:
    first = archive.take_in(export, hours_of("datapoint", at(0), at(8)), RULE, written_by={"run_id": "first"})
    before, moved = place.everything(), moves(cloud)
    second = archive.take_in(export, hours_of("datapoint", at(0), at(8)), RULE, written_by={"run_id": "second"})
    assert moves(cloud) == moved
    assert place.everything() == before
    assert (second.copied_files, second.copied_bytes, second.manifests_written) == (0, 0, 0)
    assert (second.files, second.bytes, second.hours) == (first.files, first.bytes, first.hours)


def test_a_long_copy_says_how_far_it_is(
    cloud: LocalCloud,
    export: Export,
    place: Place,
    archive: Archive,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    monkeypatch.setattr(archives, "_PROGRESS_EVERY", 0.0)
    caplog.set_level("INFO")
    put(cloud, 2, "a.csv", b"x" * 3_000_000)
    take_in(archive, export, 2)
    progress = [message for message in caplog.messages if " done, " in message]
    assert progress[-1].startswith("datapoint 2024-05-09 02:00 UTC: 0 of 1 file done, 3.0 MB copied of 3.0 MB, ")
    assert len(progress) > 1


def test_files_that_stand_there_without_a_manifest_are_verified_and_not_moved(
    cloud: LocalCloud, export: Export, place: Place, archive: Archive
) -> None:
    put(cloud, 2, "a.csv", b"right")
    put(cloud, 2, "b.csv", b"right")
    place.spoil(path_of(2, "a.csv"), b"right")
    place.spoil(path_of(2, "b.csv"), b"wrong")
    report = take_in(archive, export, 2)
    assert (report.files, report.copied_files) == (2, 1)
    assert place.everything()[path_of(2, "b.csv")] == b"right"
    # Whose bytes didn't stream by, its lines weren't counted.
    assert [file["lines"] for file in manifest(place, 2)["files"]] == [None, 1]
    assert manifest(place, 2)["total_lines"] is None


def test_a_copy_that_was_removed_or_cut_by_hand_is_made_again(
    cloud: LocalCloud, export: Export, place: Place, archive: Archive
) -> None:
    put(cloud, 2, "a.csv", b"right")
    take_in(archive, export, 2)
    before = place.everything()
    place.spoil(path_of(2), b"cut")
    assert take_in(archive, export, 2).copied_files == 1
    assert without_versions(place.everything()) == without_versions(before)


def without_versions(everything: dict[str, bytes]) -> dict[str, Any]:
    """Return all objects, and the manifest without the versions of the copies."""
    document = json.loads(everything[manifest_of(2)])
    for file in document["files"]:
        assert file.pop("version")
    return everything | {manifest_of(2): document}


def test_a_new_generation_replaces_its_object_and_raises_the_revision(
    cloud: LocalCloud, export: Export, place: Place, archive: Archive
) -> None:
    put(cloud, 2, "a.csv", b"old")
    put(cloud, 2, "b.csv", b"same")
    take_in(archive, export, 2)
    new = cloud.put_object("Datapoint", "2024-05-09 02:00:00", "a.csv", b"newer", at(10))
    report = take_in(archive, export, 2)
    assert (report.copied_files, report.copied_bytes, report.manifests_written) == (1, 5, 1)
    assert place.everything()[path_of(2)] == b"newer"
    document = manifest(place, 2)
    assert (document["revision"], document["total_bytes"]) == (2, 9)
    assert [file["lines"] for file in document["files"]] == [1, 1], "of the one that wasn't moved, as it was known"
    hashes = [hashlib.sha256(data).hexdigest() for data in (b"newer", b"same")]
    assert [file["sha256"] for file in document["files"]] == hashes
    assert document["files"][0]["generation"] == new.generation


def test_a_new_generation_of_the_same_bytes_moves_none_and_is_in_the_manifest(
    cloud: LocalCloud, export: Export, place: Place, archive: Archive
) -> None:
    put(cloud, 2, "a.csv", b"same")
    take_in(archive, export, 2)
    new = cloud.put_object("Datapoint", "2024-05-09 02:00:00", "a.csv", b"same", at(10))
    assert take_in(archive, export, 2).copied_files == 0
    document = manifest(place, 2)
    assert (document["revision"], document["files"][0]["generation"]) == (2, new.generation)
    assert document["total_lines"] == 1


def test_a_file_that_came_later_is_added(cloud: LocalCloud, export: Export, place: Place, archive: Archive) -> None:
    put(cloud, 2, "a.csv")
    take_in(archive, export, 2)
    put(cloud, 2, "a.csv", b"another folder", minute=30)
    assert take_in(archive, export, 2).copied_files == 1
    assert place.everything()[path_of(2, time="3000")] == b"another folder"
    assert (manifest(place, 2)["revision"], manifest(place, 2)["total_files"]) == (2, 2)


def test_a_file_that_expired_at_the_source_stays(
    cloud: LocalCloud, export: Export, place: Place, archive: Archive
) -> None:
    for file in ("a.csv", "b.csv"):
        put(cloud, 2, file)
    put(cloud, 9, "later.csv")
    take_in(archive, export, 2)
    before = place.everything()
    for file in ("a.csv", "b.csv"):
        cloud.delete_object("Datapoint", "2024-05-09 02:00:00", file)
        report = take_in(archive, export, 2)
        assert place.everything() == before
        assert (report.files, report.hours) == (2, {"landed": 1})


def test_an_empty_hour_gets_a_manifest_without_files(
    cloud: LocalCloud, export: Export, place: Place, archive: Archive
) -> None:
    put(cloud, 9, "later.csv", folder="Location")
    report = take_in(archive, export, 2)
    assert (report.hours, report.files, report.manifests_written) == ({"empty": 1}, 0, 1)
    document = manifest(place, 2)
    assert (document["state"], document["files"], document["total_files"]) == ("empty", [], 0)


def test_an_empty_hour_whose_file_comes_after_all_is_landed(
    cloud: LocalCloud, export: Export, place: Place, archive: Archive
) -> None:
    put(cloud, 9, "later.csv")
    take_in(archive, export, 2)
    put(cloud, 2, "a.csv")
    take_in(archive, export, 2)
    assert (manifest(place, 2)["state"], manifest(place, 2)["revision"]) == ("landed", 2)


@pytest.mark.parametrize(("hour", "state"), [(12, "open"), (11, "pending"), (5, "overdue")])
def test_an_hour_that_is_not_settled_gets_no_manifest_while_the_others_arrive(
    cloud: LocalCloud, export: Export, place: Place, archive: Archive, hour: int, state: str
) -> None:
    for before in range(hour - 2, hour):
        put(cloud, before, "a.csv")
    cloud.clock.set(at(12))
    for before in range(hour - 2, hour):
        name = f"2024-05-09 {before:02}:00:00"
        cloud.delete_object("Datapoint", name, "a.csv")
        cloud.put_object("Datapoint", name, "a.csv", b"x", at(6) if hour == 5 else at(11, 30))
    with pytest.raises(AylaNotSettledError, match=f"{hour:02}:00 UTC is {state}") as failed:
        take_in(archive, export, hour - 2, hour - 1, hour)
    assert failed.value.retryable
    assert set(place.everything()) == {make(one) for one in (hour - 2, hour - 1) for make in (path_of, manifest_of)}


def test_an_hour_that_is_not_over_gets_no_manifest_though_files_are_there(
    cloud: LocalCloud, export: Export, place: Place, archive: Archive
) -> None:
    cloud.put_object("Datapoint", "2024-05-09 12:00:00", "a.csv", b"x", at(12))
    with pytest.raises(AylaNotSettledError, match="12:00 UTC is open"):
        take_in(archive, export, 12)


def test_a_failed_file_costs_its_hour_the_manifest_and_nothing_else(
    cloud: LocalCloud, export: Export, place: Place, archive: Archive
) -> None:
    for hour in (2, 3, 4):
        for file in ("a.csv", "b.csv", "c.csv"):
            put(cloud, hour, file, f"{hour}{file}".encode())
    cloud.faults.add("corrupt", step="download", match="03:00:00/b.csv", times=2)
    with pytest.raises(AylaTransferError, match=r"03:00:00/b\.csv"):
        take_in(archive, export, 2, 3, 4)
    paths = {path_of(hour, file) for hour in (2, 3, 4) for file in ("a.csv", "b.csv", "c.csv")}
    arrived = paths - {path_of(3, "b.csv")} | {manifest_of(2), manifest_of(4)}
    assert set(place.everything()) == arrived
    before = moves(cloud)["download"]
    report = take_in(archive, export, 2, 3, 4)
    assert (report.copied_files, report.manifests_written) == (1, 1)
    assert moves(cloud)["download"] == before + 1
    assert set(place.everything()) == paths | {manifest_of(hour) for hour in (2, 3, 4)}
    assert set(entries(place, 3)) == {"a.csv", "b.csv", "c.csv"}


@pytest.mark.parametrize("how", ["vanished", "replaced"])
def test_a_file_that_changes_in_flight_is_named_after_the_rest_of_the_hour_arrived(
    cloud: LocalCloud, export: Export, place: Place, archive: Archive, how: str
) -> None:
    for number in range(4):
        put(cloud, 2, f"{number}.csv", b"data")
    slow = cloud.faults.add("slow", step="download", match="/0.csv", delay=0.4)
    with ThreadPoolExecutor(1) as pool:
        run = pool.submit(take_in, archive, export, 2)
        while not slow.fired and not run.done():
            threading.Event().wait(0.01)
        if how == "vanished":
            cloud.delete_object("Datapoint", "2024-05-09 02:00:00", "0.csv")
        else:
            put(cloud, 2, "0.csv", b"other data")
        with pytest.raises(AylaTransferError, match=r"02:00:00/0\.csv.*vanished or was replaced"):
            run.result()
    assert set(place.everything()) == {path_of(2, f"{number}.csv") for number in (1, 2, 3)}
    take_in(archive, export, 2)
    assert len(entries(place, 2)) == (3 if how == "vanished" else 4)


def test_many_failures_are_counted_and_the_first_named(
    cloud: LocalCloud, export: Export, place: Place, archive: Archive
) -> None:
    for number in range(8):
        put(cloud, 2, f"{number}.csv", b"data")
    cloud.faults.add(404, step="download", match=cloud.vendor.name, times=None)
    with pytest.raises(AylaTransferError, match="8 failures") as failed:
        take_in(archive, export, 2)
    assert str(failed.value).count(".csv") == 5
    assert "3 more" in str(failed.value)
    assert place.everything() == {}


def test_a_refused_sign_in_is_reported_as_such(
    cloud: LocalCloud, place: Place, archive: Archive, monkeypatch: pytest.MonkeyPatch
) -> None:
    put(cloud, 2, "a.csv")
    export = export_of(cloud, provider_of(settings_of(cloud, password="wrong")))
    with closing(client_of(export)):
        for _ in range(3):
            with pytest.raises(AylaSignInRefused):
                take_in(archive, export, 2)
    assert cloud.refusals == 1
    assert place.everything() == {}


def test_two_runs_of_one_hour_at_the_same_time_leave_a_whole_one(
    cloud: LocalCloud, export: Export, place: Place
) -> None:
    data = {f"{number}.csv": f"data of {number}".encode() * 1000 for number in range(12)}
    for file, content in data.items():
        put(cloud, 2, file, content)
    together = threading.Barrier(2)

    def run(_: int) -> AylaError | None:
        together.wait()
        try:
            take_in(Archive(place.destination), export, 2)
        except AylaError as error:
            return error
        return None

    for _ in range(3):
        with ThreadPoolExecutor(2) as pool:
            errors = [error for error in pool.map(run, range(2)) if error]
        assert len(errors) <= 1
        assert all(isinstance(error, AylaConflictError) and error.retryable for error in errors)
        everything = place.everything()
        assert set(everything) == {path_of(2, file) for file in data} | {manifest_of(2)}
        assert {file: everything[path] for file, path in entries(place, 2).items()} == data
        assert manifest(place, 2)["revision"] == 1


def test_a_manifest_that_another_run_committed_meanwhile_is_not_overwritten(
    cloud: LocalCloud, export: Export, place: Place, archive: Archive
) -> None:
    put(cloud, 2, "a.csv")
    slow = cloud.faults.add("slow", step="download", match="/a.csv", delay=0.4)
    with ThreadPoolExecutor(1) as pool:
        run = pool.submit(take_in, archive, export, 2)
        while not slow.fired and not run.done():
            threading.Event().wait(0.01)
        # The clock of the tests is fixed, so the manifests differ only in the name of the run.
        other = Archive(place.destination)
        other.take_in(export, hours_at(2), RULE, written_by={"run_id": "another"})
        committed = place.everything()[manifest_of(2)]
        with pytest.raises(AylaConflictError, match=r"hour=02\.json"):
            run.result()
    assert place.everything() == {path_of(2): b"row\r\n", manifest_of(2): committed}


UNSAFE = ["../x.csv", "a/../../../x.csv", "./x.csv", "a//x.csv", "tab\tx.csv", "line\nx.csv", "back\\slash.csv", ".."]


@pytest.mark.parametrize("layout", Layout)
@pytest.mark.parametrize("unsafe", UNSAFE)
def test_an_unsafe_name_is_refused_and_named_while_the_rest_arrives(
    cloud: LocalCloud, export: Export, tmp_path: Path, unsafe: str, layout: Layout
) -> None:
    put(cloud, 2, unsafe, b"evil")
    put(cloud, 2, "good.csv", b"good")
    put(cloud, 3, "good.csv", b"good")
    root = tmp_path / "deep" / "down" / "archive"
    place = file_place(root)
    with pytest.raises(AylaUnsafeNameError) as refused:
        take_in(Archive(place.destination, layout=layout), export, 2, 3)
    assert repr(unsafe)[1:-1] in str(refused.value)
    standing = [one for one in tmp_path.rglob("*") if one.is_file()]
    assert sorted(one.read_bytes() for one in standing if one.suffix == ".csv") == [b"good", b"good"]
    records = {
        str(one.relative_to(tmp_path / "deep" / "down" / "archive")) for one in standing if one.suffix == ".json"
    }
    assert records == {manifest_of(3), failure_path(ExportHour("datapoint", at(2)))}


def test_a_mirror_keeps_the_sources_names(cloud: LocalCloud, export: Export, place: Place) -> None:
    names = [put(cloud, 2, "a.csv"), put(cloud, 2, "a.csv", minute=30), put(cloud, 2, "part/b.csv")]
    archive = Archive(place.destination, layout=Layout.MIRROR)
    for copied in (3, 0):
        assert take_in(archive, export, 2).copied_files == copied
        assert set(place.everything()) == {*names, manifest_of(2)}
    assert {file["path"] for file in manifest(place, 2)["files"]} == set(names)


def test_a_mirror_on_disk_knows_a_file_again_whose_name_begins_with_a_dot(
    cloud: LocalCloud, export: Export, tmp_path: Path
) -> None:
    put(cloud, 2, ".hidden.csv")
    archive = Archive(file_place(tmp_path).destination, layout=Layout.MIRROR)
    for copied in (1, 0):
        assert take_in(archive, export, 2).copied_files == copied


@pytest.mark.parametrize("damage", [b"", b"{", b"[]", b"{}", b'{"format": "another/1"}', b"\xff\xfe", b"null"])
def test_a_damaged_manifest_is_reported_with_its_address_and_left_alone(
    cloud: LocalCloud, export: Export, place: Place, archive: Archive, damage: bytes
) -> None:
    put(cloud, 2, "a.csv")
    take_in(archive, export, 2)
    place.spoil(manifest_of(2), damage)
    with pytest.raises(AylaDestinationError, match=r"hour=02\.json.*Move it away"):
        take_in(archive, export, 2)
    assert place.everything()[manifest_of(2)] == damage


def test_a_damaged_manifest_does_not_keep_other_hours_from_arriving(
    cloud: LocalCloud, export: Export, place: Place, archive: Archive
) -> None:
    put(cloud, 2, "a.csv")
    put(cloud, 3, "a.csv")
    place.spoil(manifest_of(2), b"{")
    with pytest.raises(AylaDestinationError):
        take_in(archive, export, 2, 3)
    assert path_of(3) in place.everything()


def test_a_manifest_can_be_asked_for(cloud: LocalCloud, export: Export, place: Place, archive: Archive) -> None:
    name = put(cloud, 2, "a.csv", b"data")
    assert archive.manifest(ExportHour("datapoint", at(2))) is None
    take_in(archive, export, 2)
    found = archive.manifest(ExportHour("datapoint", at(2)))
    assert found
    assert [(file.source, file.size, file.path) for file in found.files] == [(name, 4, path_of(2))]


def test_a_stopped_archive_leaves_no_manifest_and_nothing_half(
    cloud: LocalCloud, export: Export, place: Place, archive: Archive
) -> None:
    put(cloud, 2, "a.csv", b"data")
    archive.stop()
    with pytest.raises(AylaTransferError, match="stopped"):
        take_in(archive, export, 2)
    assert place.everything() == {}


def failures(place: Place) -> dict[str, Any]:
    notes = {path: json.loads(data) for path, data in place.everything().items() if path.startswith("_failures/")}
    return {path.rpartition("=")[2]: note for path, note in notes.items()}


def test_the_last_try_of_a_copy_leaves_a_note_that_says_why_and_counts(
    cloud: LocalCloud, export: Export, place: Place, archive: Archive
) -> None:
    for hour in (2, 3):
        put(cloud, hour, "a.csv")
    cloud.faults.add("corrupt", step="download", match="02:00:00/a.csv", times=None)
    for last_try, tasks in ((False, None), (True, 1), (False, 1), (True, 2)):
        with pytest.raises(AylaTransferError):
            archive.take_in(export, hours_at(2, 3), RULE, written_by={"run_id": "r"}, last_try=last_try)
        notes = failures(place)
        assert set(notes) == ({"02.json"} if tasks else set())
        if tasks:
            assert notes["02.json"]["tasks"] == tasks
    note = notes["02.json"]
    assert (note["event_type"], note["hour"], note["passing"]) == ("datapoint", at(2).isoformat(), True)
    assert (note["error"], note["written_by"]) == ("CorruptedError", {"run_id": "r"})
    assert "02:00:00/a.csv" in note["message"]


def test_no_note_is_left_where_an_hour_only_has_to_be_waited_for(
    cloud: LocalCloud, export: Export, place: Place, archive: Archive
) -> None:
    with pytest.raises(AylaNotSettledError):
        archive.take_in(export, hours_at(11), RULE, written_by={}, last_try=True)
    assert place.everything() == {}


def test_an_hour_older_than_all_that_the_source_keeps_is_expired_and_not_empty(
    cloud: LocalCloud, export: Export, place: Place, archive: Archive
) -> None:
    put(cloud, 2, "a.csv")
    cloud.clock.set(at(12) + timedelta(days=40))
    put(cloud, 9, "later.csv", folder="Location")
    before = at(2) - timedelta(days=1)
    report = archive.take_in(
        export, [ExportHour("datapoint", before), ExportHour("datapoint", at(2))], RULE, written_by={}
    )
    assert (report.hours, report.files) == ({"expired": 1, "landed": 1}, 1)
    # What was known before it expired stays known.
    cloud.delete_object("Datapoint", "2024-05-09 02:00:00", "a.csv")
    report = archive.take_in(
        export, [ExportHour("datapoint", before), ExportHour("datapoint", at(2))], RULE, written_by={}
    )
    assert (report.hours, report.files, report.manifests_written) == ({"expired": 1, "landed": 1}, 1, 0)


class Meeting(FileDestination):
    """A folder in which the files of an event type are written when all of some number of writers have come."""

    def __init__(self, root: Path, writers: int) -> None:
        super().__init__(root)
        self._all_there = threading.Barrier(writers)

    def write(self, path: str, *arguments: Any, **options: Any) -> Any:
        if path.startswith("event_type="):
            # One that waits for the others in vain fails.
            self._all_there.wait(timeout=60)
        return super().write(path, *arguments, **options)


def test_many_files_are_copied_at_once(
    cloud: LocalCloud, export: Export, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, logger="ayla_provider")
    for number in range(8):
        put(cloud, 2, f"{number}.csv")
    take_in(Archive(Meeting(tmp_path, writers=8), max_workers=8), export, 2)
    assert len(list(tmp_path.glob("event_type=datapoint/**/*.csv"))) == 8
    assert "datapoint 2024-05-09 02:00 UTC: landed, 8 files" in caplog.text


def test_the_folder_of_a_new_hour_is_listed_once(cloud: LocalCloud, export: Export, customer: storage.Client) -> None:
    put(cloud, 2, "a.csv")
    put(cloud, 5, "later.csv")
    take_in(Archive(gcs_place(cloud, customer).destination), export, 2)
    listed = [one.query for one in requests_of(cloud, "list") if "/date=2024-05-09/hour=02/" in one.query]
    assert len(listed) == 1
