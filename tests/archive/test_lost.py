"""Files that neither the archive nor the source has any more."""

from __future__ import annotations

import json
import logging
import signal
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from ayla_provider.archive.archive import Archive, ArchiveReport
from ayla_provider.archive.compare import reconcile
from ayla_provider.archive.destination import Destination
from ayla_provider.domain.arrival import HourState
from ayla_provider.domain.events import EventType
from ayla_provider.domain.failure import loads as note_of
from ayla_provider.domain.manifest import Manifest, loads
from ayla_provider.domain.paths import Layout, failure_path, manifest_path
from ayla_provider.errors import AylaLostError, AylaUnprovenError
from ayla_provider.local_cloud import LocalCloud
from ayla_provider.source.export import Export
from tests.support.client import RULE, at, connection_of, hours_at, put, take_in
from tests.support.mortal import LOST, repair, run_process
from tests.support.places import Place, file_place

(HOUR,) = hours_at(2)
MANIFEST = manifest_path(HOUR)
FOLDER = "event_type=datapoint/date=2024-05-09/hour=02"
A, B, C = (f"{FOLDER}/20240509T020000Z-{name}.csv" for name in "abc")
SOURCE_FOLDER = "2024-05-09 02:00:00"


@pytest.fixture
def archive(place: Place) -> Archive:
    return Archive(place.destination)


@pytest.fixture
def whole(cloud: LocalCloud, export: Export, place: Place, archive: Archive) -> bytes:
    """An archive with three files of an hour; and its manifest."""
    for name in "abc":
        put(cloud, 2, f"{name}.csv", f"of {name}\r\n".encode())
    put(cloud, 5, "later.csv")
    take_in(archive, export, 2)
    return place.everything()[MANIFEST]


def lose(cloud: LocalCloud, place: Place, *names: str) -> None:
    """Remove files at the source, and their copies."""
    for name in names:
        cloud.delete_object("Datapoint", SOURCE_FOLDER, f"{name}.csv")
        place.remove(f"{FOLDER}/20240509T020000Z-{name}.csv")


def repaired(archive: Archive, export: Export, *untrusted: str) -> ArchiveReport:
    return archive.take_in(export, [HOUR], RULE, written_by={"run_id": "repair"}, untrusted=untrusted)


def manifest_in(place: Place) -> Manifest:
    return loads(place.everything()[MANIFEST], "there")


def test_a_repair_copies_what_it_can_marks_the_rest_and_fails(
    cloud: LocalCloud, export: Export, place: Place, archive: Archive, whole: bytes
) -> None:
    lose(cloud, place, "c")
    place.spoil(B, b"damaged")
    before = loads(whole, "there")
    with pytest.raises(AylaLostError, match=rf"datapoint 2024-05-09 02:00 UTC: 1 lost file\..*{C} \(") as raised:
        repaired(archive, export, B, C)
    assert not raised.value.retryable
    assert B not in str(raised.value)
    assert place.everything()[B] == b"of b\r\n"
    after = manifest_in(place)
    assert [bool(file.lost) for file in after.files] == [False, False, True]
    assert after.files == before.files, "the entry stays"
    assert (after.revision, after.state) == (before.revision, before.state), "nobody reads the hour again"
    assert [file.path for file in after.present] == [A, B]
    document = json.loads(place.everything()[MANIFEST])
    assert (document["format"], document["lost_files"]) == ("ayla-export-manifest/2", 1)
    assert ["lost" in file for file in document["files"]] == [False, False, True]


def test_a_retry_and_a_clear_end_in_the_same_state(
    cloud: LocalCloud, export: Export, place: Place, archive: Archive, whole: bytes
) -> None:
    lose(cloud, place, "c")
    messages = []
    states = []
    for _ in range(3):
        with pytest.raises(AylaLostError) as raised:
            repaired(archive, export, C)
        messages.append(str(raised.value))
        states.append(place.everything()[MANIFEST])
        cloud.clock.set(cloud.clock.now() + timedelta(hours=1))
    assert len(set(messages)) == len(set(states)) == 1


def test_a_copy_of_a_lost_hour_succeeds_and_says_so(
    cloud: LocalCloud, export: Export, place: Place, archive: Archive, whole: bytes, caplog: pytest.LogCaptureFixture
) -> None:
    lose(cloud, place, "a", "b", "c")
    with pytest.raises(AylaLostError, match="3 lost files"):
        repaired(archive, export, "*")
    marked = place.everything()[MANIFEST]
    caplog.set_level(logging.WARNING)
    report = take_in(archive, export, 2)
    assert (report.hours, report.manifests_written, report.copied_files) == ({"lost": 1}, 0, 0)
    assert "3 of 3 files are lost, found on 2024-05-09" in caplog.text
    assert place.everything()[MANIFEST] == marked


def test_a_copy_that_was_restored_takes_the_mark_away(
    cloud: LocalCloud, export: Export, place: Place, archive: Archive, whole: bytes
) -> None:
    lose(cloud, place, "b", "c")
    with pytest.raises(AylaLostError, match="2 lost files"):
        repaired(archive, export, B, C)
    place.spoil(B, b"of b\r\n")
    place.spoil(C, b"OF C\r\n")
    take_in(archive, export, 2)
    assert [bool(file.lost) for file in manifest_in(place).files] == [False, False, True], "other bytes aren't it"
    place.spoil(C, b"of c\r\n")
    assert take_in(archive, export, 2).hours == {"landed": 1}
    assert json.loads(place.everything()[MANIFEST])["format"] == "ayla-export-manifest/1"
    assert manifest_in(place).files == loads(whole, "there").files
    assert manifest_in(place).revision == 1
    for file in manifest_in(place).files:
        assert file.version == place.destination.folder(FOLDER)[file.path].version
    assert take_in(archive, export, 2).manifests_written == 0


def test_a_file_that_ayla_shows_again_is_copied_and_takes_the_mark_away(
    cloud: LocalCloud, export: Export, place: Place, archive: Archive, whole: bytes
) -> None:
    name = f"{SOURCE_FOLDER}/c.csv"
    stored = cloud.vendor.live(f"{cloud.oem_id}/Datapoint/{name}")
    assert stored
    lose(cloud, place, "c")
    with pytest.raises(AylaLostError):
        repaired(archive, export, C)
    cloud.vendor.put(stored.name, stored.content, stored.created)
    (gap,) = reconcile(export, archive.records, [HOUR.event_type], at(2), at(3), RULE).gaps
    assert gap.hour == HOUR
    report = take_in(archive, export, 2)
    assert (report.hours, report.copied_files) == ({"landed": 1}, 1)
    assert json.loads(place.everything()[MANIFEST])["format"] == "ayla-export-manifest/1"
    assert place.everything()[C] == b"of c\r\n"


def test_reconcile_counts_a_lost_hour_apart_and_leaves_it(
    cloud: LocalCloud, export: Export, place: Place, archive: Archive, whole: bytes
) -> None:
    lose(cloud, place, "c")
    with pytest.raises(AylaLostError):
        repaired(archive, export, C)
    findings = reconcile(export, archive.records, [HOUR.event_type], at(2), at(3), RULE)
    assert (findings.hours, findings.gaps, findings.left_alone) == ({"lost": 1}, [], 0)


def test_a_damaged_copy_that_ayla_no_longer_has_stays_and_is_marked(
    cloud: LocalCloud, export: Export, place: Place, archive: Archive, whole: bytes
) -> None:
    cloud.delete_object("Datapoint", SOURCE_FOLDER, "c.csv")
    place.spoil(C, b"of c")
    with pytest.raises(AylaLostError, match=C):
        repaired(archive, export, C)
    assert place.everything()[C] == b"of c"
    assert [file.path for file in manifest_in(place).lost] == [C]


def test_what_was_not_looked_at_is_not_marked(
    cloud: LocalCloud, export: Export, place: Place, archive: Archive, whole: bytes
) -> None:
    lose(cloud, place, "b", "c")
    assert take_in(archive, export, 2).manifests_written == 0
    with pytest.raises(AylaLostError):
        repaired(archive, export, B)
    assert [file.path for file in manifest_in(place).lost] == [B]


def test_an_object_that_can_be_the_lost_file_is_asked_about_first(
    cloud: LocalCloud, export: Export, place: Place, archive: Archive, whole: bytes
) -> None:
    lose(cloud, place, "a", "b", "c")
    cloud.put_object("Datapoint", "2024-05-09T02", "a.csv", b"of a\r\n", at(3, 30))
    with pytest.raises(AylaUnprovenError, match="2024-05-09T02"):
        repaired(archive, export, "*")
    assert place.everything()[MANIFEST] == whole


class Versioned:
    """A destination whose store answers questions for earlier versions."""

    def __init__(self, destination: Destination, answer: bool | None) -> None:
        self._destination = destination
        self._answer = answer

    def has_earlier_version(self, path: str) -> bool | None:
        return self._answer

    def __getattr__(self, name: str) -> Any:
        return getattr(self._destination, name)


@pytest.mark.parametrize("place", ["file"], indirect=True)
@pytest.mark.parametrize(
    ("answer", "text"),
    [
        (True, "the bucket still has an earlier version"),
        (False, "no earlier version"),
        (None, "the store can't be asked for an earlier version"),
    ],
)
def test_the_error_says_whether_the_bucket_has_an_earlier_version(
    cloud: LocalCloud, export: Export, place: Place, whole: bytes, answer: bool | None, text: str
) -> None:
    lose(cloud, place, "c")
    archive = Archive(Versioned(place.destination, answer))
    with pytest.raises(AylaLostError) as raised:
        repaired(archive, export, C)
    assert f"{C} ({text})." in str(raised.value)
    note = note_of(place.everything()[failure_path(HOUR)])
    assert note
    assert (note.error, note.passing) == ("AylaLostError", False)


@pytest.mark.parametrize("place", ["file"], indirect=True)
def test_killed_between_any_two_steps_a_repair_ends_in_the_same_state(
    cloud: LocalCloud, export: Export, place: Place, whole: bytes, tmp_path_factory: pytest.TempPathFactory
) -> None:
    cloud.delete_object("Datapoint", SOURCE_FOLDER, "c.csv")
    home = tmp_path_factory.mktemp("locks")
    connection = connection_of(cloud)

    def run(root: Path, lives: int) -> int | None:
        return run_process(repair, root, home, connection, HOUR, (B, C), lives)

    def damaged(number: int) -> Place:
        copy = file_place(tmp_path_factory.mktemp(f"archive-{number}"))
        for path, data in place.everything().items():
            copy.spoil(path, data)
        copy.spoil(B, b"damaged")
        copy.remove(C)
        return copy

    def state(of: Place) -> dict[str, Any]:
        """Return everything, without what differs by its nature: partial files, versions, and how many tries failed."""
        found: dict[str, Any] = {path: data for path, data in of.everything().items() if not path.endswith(".partial")}
        found[MANIFEST] = (loads(found[MANIFEST], "there"), [file["lost"] for file in lost_in(found[MANIFEST])])
        note = note_of(found.pop(failure_path(HOUR)))
        assert note
        return found | {"note": (note.error, note.message, note.facts)}

    def lost_in(manifest: bytes) -> list[dict[str, Any]]:
        return [file for file in json.loads(manifest)["files"] if "lost" in file]

    whole_run = damaged(0)
    assert run(whole_run.destination.root, 1000) == LOST  # type: ignore[attr-defined]
    expected = state(whole_run)
    lives = 0
    while True:
        here = damaged(lives + 1)
        root = here.destination.root  # type: ignore[attr-defined]
        ended = run(root, lives)
        if ended == -signal.SIGKILL:
            assert run(root, 1000) == LOST
        assert state(here) == expected, lives
        if ended == LOST:
            break
        lives += 1
    assert lives > 8


@pytest.mark.parametrize("layout", list(Layout))
@pytest.mark.parametrize("of_repair", list(Layout))
@pytest.mark.parametrize("left", [None, b"{"])
def test_an_hour_whose_manifest_is_lost_is_not_called_empty(
    cloud: LocalCloud, export: Export, place: Place, layout: Layout, of_repair: Layout, left: bytes | None
) -> None:
    archive = Archive(place.destination, layout=layout)
    put(cloud, 2, "a.csv")
    put(cloud, 5, "later.csv")
    take_in(archive, export, 2, 3)
    cloud.delete_object("Datapoint", SOURCE_FOLDER, "a.csv")
    for hour in hours_at(2, 3):
        place.remove(manifest_path(hour))
        if left:
            place.spoil(manifest_path(hour), left)
    before = place.everything()
    archive = Archive(place.destination, layout=of_repair)
    with pytest.raises(AylaLostError, match=r"its manifest .*Ayla no longer.* 1 file of it, for example .*a\.csv"):
        repaired(archive, export, MANIFEST)
    assert {path: data for path, data in place.everything().items() if not path.startswith("_failures")} == before
    # An hour of which there are no copies had no events.
    (empty,) = hours_at(3)
    archive.take_in(export, [empty], RULE, written_by={}, untrusted=[manifest_path(empty)])
    manifest = archive.manifest(empty)
    assert manifest
    assert (manifest.state, manifest.files) == (HourState.EMPTY, ())


@pytest.mark.parametrize("layout", list(Layout))
@pytest.mark.parametrize("of_repair", list(Layout))
@pytest.mark.parametrize("has_manifest", [True, False])
def test_an_hour_keeps_its_layout(
    cloud: LocalCloud, export: Export, place: Place, layout: Layout, of_repair: Layout, has_manifest: bool
) -> None:
    for name in "abc":
        put(cloud, 2, f"{name}.csv", f"of {name}\r\n".encode())
    put(cloud, 5, "later.csv")
    take_in(Archive(place.destination, layout=layout), export, 2)
    copies = {path: data for path, data in place.everything().items() if path.endswith(".csv")}
    assert len(copies) == 3
    missing, damaged, _ = sorted(copies)
    place.remove(missing)
    place.spoil(damaged, b"")
    if not has_manifest:
        place.remove(MANIFEST)
    repaired(Archive(place.destination, layout=of_repair), export, missing, damaged, MANIFEST)
    assert {path: data for path, data in place.everything().items() if path.endswith(".csv")} == copies
    assert {file.path for file in manifest_in(place).files} == copies.keys()


def refused(archive: Archive, export: Export, place: Place, named: str) -> None:
    """Copy the hour as any task does, and make sure that this is refused and that everything stays."""
    before = place.everything()
    with pytest.raises(AylaLostError, match=rf"its manifest is missing, and Ayla no longer shows .*{named}") as raised:
        take_in(archive, export, 2)
    assert MANIFEST in str(raised.value)
    assert "move them out of the archive" in str(raised.value)
    assert {path: data for path, data in place.everything().items() if not path.startswith("_failures")} == before


@pytest.mark.parametrize("layout", list(Layout))
@pytest.mark.parametrize("later", ["later.csv", None])
def test_no_copy_forgets_an_hour_whose_manifest_is_gone(
    cloud: LocalCloud, export: Export, place: Place, layout: Layout, later: str | None
) -> None:
    archive = Archive(place.destination, layout=layout)
    put(cloud, 2, "a.csv")
    if later:
        put(cloud, 5, later)
    take_in(archive, export, 2)
    cloud.delete_object("Datapoint", SOURCE_FOLDER, "a.csv")
    place.remove(MANIFEST)
    if later is None:
        # Nothing proves any more that Ayla keeps files of this time.
        cloud.clock.set(cloud.clock.now() + timedelta(days=200))
        cloud.put_object("Datapoint", "2024-11-24 02:00:00", "now.csv", b"row\r\n", at(4) + timedelta(days=199))
    refused(archive, export, place, r"its files.* 1 file of it, for example .*a\.csv")


@pytest.mark.parametrize("layout", list(Layout))
def test_no_copy_forgets_one_of_two_files_when_the_manifest_is_gone(
    cloud: LocalCloud, export: Export, place: Place, layout: Layout
) -> None:
    archive = Archive(place.destination, layout=layout)
    for name in "ab":
        put(cloud, 2, f"{name}.csv")
    take_in(archive, export, 2)
    cloud.delete_object("Datapoint", SOURCE_FOLDER, "b.csv")
    place.remove(MANIFEST)
    if place.kind == "file":
        (path,) = (path for path in place.everything() if path.endswith("a.csv"))
        place.spoil(f"{path.rpartition('/')[0]}/.0123456789abcdef.partial", b"of a")
    refused(archive, export, place, r"all of its files.* 1 file of it, for example .*b\.csv")
    (path,) = (path for path in place.everything() if path.endswith("b.csv"))
    place.remove(path)
    assert take_in(archive, export, 2).hours == {"landed": 1}


def test_what_is_no_copy_does_not_keep_an_hour_from_being_recorded(
    cloud: LocalCloud, export: Export, place: Place, archive: Archive
) -> None:
    put(cloud, 2, "a.csv")
    put(cloud, 5, "later.csv")
    place.spoil(f"{FOLDER}/_SUCCESS", b"")
    place.spoil(FOLDER.replace("02", "03") + "/_SUCCESS", b"")
    assert take_in(archive, export, 2, 3).hours == {"landed": 1, "empty": 1}


def test_a_file_in_the_folder_of_before_is_not_lost(
    cloud: LocalCloud, export: Export, place: Place, archive: Archive, whole: bytes
) -> None:
    put(cloud, 6, "later.csv", folder="Datapoints v2")
    place.remove(B)

    def reading(*folders: str) -> Export:
        return Export(export.source, export.root, event_folders={EventType("datapoint"): folders}, now=export.now)

    with pytest.raises(AylaUnprovenError, match=r'\{"datapoint": \["Datapoints v2", "Datapoint"\]\}'):
        repaired(archive, reading("Datapoints v2"), B)
    assert place.everything()[MANIFEST] == whole
    repaired(archive, reading("Datapoints v2", "Datapoint"), B)
    assert place.everything()[B] == b"of b\r\n"
