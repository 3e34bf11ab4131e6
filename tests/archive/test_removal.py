"""Old hours are removed from an archive for good, and nobody reports or restores them."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from ayla_provider.archive.archive import Archive
from ayla_provider.archive.compare import reconcile
from ayla_provider.archive.destination import Stored
from ayla_provider.archive.local import FileDestination
from ayla_provider.archive.records import Records
from ayla_provider.archive.removal import remove_copies, remove_quarantine
from ayla_provider.archive.stream_hours import StreamHours
from ayla_provider.archive.verify import Scope, Verification
from ayla_provider.domain.events import EventType
from ayla_provider.domain.hold import hold
from ayla_provider.domain.hour import ExportHour
from ayla_provider.domain.paths import Layout, manifest_path, stream_path
from ayla_provider.domain.removal import Rule
from ayla_provider.domain.stream import BatchFile
from ayla_provider.errors import AylaConfigError, AylaDestinationError
from ayla_provider.local_cloud import LocalCloud
from ayla_provider.source.export import Export
from ayla_provider.transport.checksum import Crc32c
from tests.support.archives import archive_hour, store
from tests.support.client import NOW, RULE, at, put, take_in
from tests.support.places import Place, file_place

DAY = timedelta(days=1)
LATER = NOW + 100 * DAY
"""When the rules are applied: the hours of 2024-05-09 are 100 days old by then."""
BY = {"run_id": "removal"}


def rule(keep_for: timedelta = 90 * DAY, now: datetime = LATER, **more: Any) -> Rule:
    return Rule("archive", keep_for, now, **more)


def state(place: Place) -> dict[str, Any]:
    """Return what an archive has, without when and by whom a manifest was written, and the versions of copies."""
    found: dict[str, Any] = {}
    for path, data in place.everything().items():
        found[path] = data
        if path.startswith("_manifests/"):
            document = json.loads(data)
            for name in ("written_at", "written_by"):
                del document[name]
            for file in document["files"]:
                del file["version"]
            found[path] = document
    return found


def copies(place: Place) -> list[str]:
    return sorted(path for path in place.everything() if not path.startswith("_"))


def verify(place: Place, now: datetime, end: datetime) -> tuple[list[str], int]:
    verification = Verification(place.destination, Scope(None, None, end), now=now)
    found = [str(finding) for finding in verification.findings()]
    return found, verification.counts.removed


def test_removed_hours_are_not_reported_compared_or_copied_again(
    cloud: LocalCloud, export: Export, place: Place
) -> None:
    archive = Archive(place.destination)
    for hour in (2, 3, 9):
        put(cloud, hour, "a.csv")
        put(cloud, hour, "b.csv")
    take_in(archive, export, *range(10))
    before = {hour: Records(place.destination).read_manifest(ExportHour("datapoint", at(hour)))[0] for hour in (2, 3)}
    removed = remove_copies(place.destination, rule(now=at(3) + 90 * DAY), BY)
    assert (removed.hours, removed.objects, removed.by_event_type) == (1, 2, {"datapoint": 1})
    assert [path for path in copies(place) if "hour=02" in path] == []
    assert len([path for path in copies(place) if "hour=03" in path]) == 2
    manifest, _ = Records(place.destination).read_manifest(ExportHour("datapoint", at(2)))
    assert manifest is not None
    assert before[2] is not None
    assert (len(manifest.removed), manifest.present, manifest.revision) == (2, (), before[2].revision)
    # The vendor adds and replaces files of the hour.
    put(cloud, 2, "c.csv")
    cloud.put_object("Datapoint", "2024-05-09 02:00:00", "a.csv", b"other", at(6, 40))
    assert verify(place, NOW + DAY, at(10)) == ([], 2)
    assert reconcile(export, Records(place.destination), ["datapoint"], at(0), at(10), RULE).gaps == []
    everything = state(place)
    report = take_in(archive, export, 2)
    assert (report.copied_files, dict(report.hours)) == (0, {"removed": 1})
    assert state(place) == everything


class Interrupted(Exception):
    """Stands for the end of a process."""


class Mortal(FileDestination):
    """A folder that ends its process after some changes."""

    def __init__(self, root: Path, changes: int) -> None:
        super().__init__(root)
        self.left = changes

    def _change(self) -> None:
        if not self.left:
            raise Interrupted
        self.left -= 1

    def write(self, *arguments: Any, **more: Any) -> Stored:
        self._change()
        return super().write(*arguments, **more)

    def remove(self, stored: Stored) -> None:
        self._change()
        super().remove(stored)


def made_archive(root: Path, layout: Layout = Layout.PARTITIONED) -> Place:
    place = file_place(root)
    for number in range(3):
        archive_hour(place.destination, ExportHour("datapoint", at(number)), [b"a\n", b"b\n"], layout=layout)
    archive_hour(place.destination, ExportHour("connection", at(1)), [b"c\n"], layout=layout)
    archive_hour(place.destination, ExportHour("connection", at(2)), [], layout=layout)
    archive_hour(place.destination, ExportHour("datapoint", LATER.replace(minute=0, second=0) - 3 * DAY), [b"d\n"])
    return place


@pytest.mark.parametrize("layout", Layout)
def test_a_removal_that_is_killed_anywhere_and_tried_again_ends_in_the_same_state(
    tmp_path: Path, layout: Layout
) -> None:
    whole = made_archive(tmp_path / "whole", layout)
    remove_copies(whole.destination, rule(), BY)
    expected = state(whole)
    assert len([path for path in expected if not path.startswith("_")]) == 1
    ends = 0
    for changes in range(100):
        place = made_archive(tmp_path / str(changes), layout)
        try:
            remove_copies(Mortal(tmp_path / str(changes), changes), rule(), BY)
        except Interrupted:
            ends += 1
            # In between, no verification misses a file, and no copy would be made again.
            assert verify(place, NOW + DAY, at(2))[0] == []
            remove_copies(place.destination, rule(), BY)
        else:
            break
        assert state(place) == expected
    # Four hours have a manifest to change, and seven copies.
    assert ends == 4 + 7


def test_counting_changes_nothing_and_says_what_would_be_removed(tmp_path: Path) -> None:
    place = made_archive(tmp_path)
    before = place.everything()
    counted = remove_copies(place.destination, rule(), BY, dry_run=True)
    assert place.everything() == before
    done = remove_copies(place.destination, rule(), BY)
    assert counted.document() == done.document()
    assert (done.hours, done.objects, done.bytes) == (4, 7, 14)
    assert (done.oldest, done.newest) == (at(0), at(2))
    again = remove_copies(place.destination, rule(), BY)
    assert (again.hours, again.objects) == (0, 0)


def test_a_legal_hold_keeps_its_hours_and_the_counts_name_it(tmp_path: Path) -> None:
    place = made_archive(tmp_path)
    before = copies(place)
    held = hold("case-1", placed_at=NOW, start=at(1), end=at(2), event_types=[EventType("datapoint")])
    removed = remove_copies(place.destination, rule(holds=(held,)), BY)
    left = [path for path in before if "datapoint" in path and "hour=01" in path]
    assert [path for path in copies(place) if "2024-05-09" in path] == left
    assert removed.held == {"case-1": 1}
    # Released, the hold keeps nothing.
    assert remove_copies(place.destination, rule(), BY).objects == 2


def test_a_hold_on_a_subject_keeps_all_hours_of_its_range(tmp_path: Path) -> None:
    place = made_archive(tmp_path)
    held = hold("case-1", placed_at=NOW, start=at(2), subject={"dsn": ["LC000X000000001"]}, key="k" * 32)
    assert remove_copies(place.destination, rule(holds=(held,)), BY).held == {"case-1": 1}


def test_only_the_named_event_types_are_removed(tmp_path: Path) -> None:
    place = made_archive(tmp_path)
    removed = remove_copies(place.destination, rule(event_types=(EventType("connection"),)), BY)
    assert removed.by_event_type == {"connection": 1}


def test_quarantined_lines_and_parts_of_old_hours_go(tmp_path: Path) -> None:
    place = made_archive(tmp_path)
    old, new = "date=2024-05-09/hour=01", f"date={LATER:%Y-%m-%d}/hour=01"
    for day in (old, new):
        place.spoil(f"_quarantine/event_type=datapoint/{day}.parquet", b"line")
        place.spoil(f"_parts/event_type=datapoint/{day}/abc.quarantine.parquet", b"line")
    removed = remove_quarantine(place.destination, rule())
    assert (removed.hours, removed.objects) == (1, 2)
    left = [path for path in place.everything() if path.startswith(("_quarantine", "_parts"))]
    assert len(left) == 2
    assert all(new in path for path in left)


def test_a_manifest_that_cannot_be_read_stops_the_removal_before_its_hour_is_touched(tmp_path: Path) -> None:
    place = made_archive(tmp_path)
    place.spoil(manifest_path(ExportHour("datapoint", at(1))), b"{")
    with pytest.raises(AylaDestinationError, match="not a valid manifest"):
        remove_copies(place.destination, rule(), BY)
    assert len([path for path in copies(place) if "datapoint" in path and "hour=01" in path]) == 2


@pytest.mark.parametrize("wrong", [timedelta(hours=47), timedelta(0), -DAY, 90, None])
def test_a_time_that_is_too_short_is_refused(wrong: Any) -> None:
    with pytest.raises(AylaConfigError, match="2 days or more"):
        Rule("archive", wrong, LATER)


def test_the_rule_counts_from_the_start_of_an_hour() -> None:
    made = Rule("archive", 2 * DAY, datetime(2026, 11, 20, 7, 59, tzinfo=UTC))
    hours = [datetime(2026, 11, 18, hour, tzinfo=UTC) for hour in (6, 7)]
    assert [made.is_over(ExportHour("datapoint", hour)) for hour in hours] == [True, False]


def test_counts_hold_no_name_of_an_object(tmp_path: Path) -> None:
    place = made_archive(tmp_path)
    text = json.dumps(remove_copies(place.destination, rule(), BY).document())
    assert not any(path.rpartition("/")[2] in text for path in place.everything() if path.endswith(".csv"))


def test_a_stream_keeps_its_manifests_and_a_late_record_is_added_beside_what_was_removed(tmp_path: Path) -> None:
    place, hour = file_place(tmp_path), ExportHour("datapoint", at(2))
    hours = StreamHours(place.destination, "kinesis://stream", NOW, BY)

    def add(batch: int) -> None:
        path = stream_path(EventType("datapoint"), at(2), batch)
        store(place.destination, path, b"gzip")
        hours.add([BatchFile(path, 4, Crc32c(b"gzip").base64, "", 1)], NOW, lambda _: True)

    add(1)
    store(place.destination, stream_path(None, at(2), 1), b"unreadable")
    removed = remove_copies(place.destination, rule(), BY)
    assert (removed.hours, removed.objects) == (2, 2)
    assert [path for path in copies(place) if path.startswith("event_type=")] == []
    assert not any(path.startswith("_unreadable") for path in place.everything())
    add(2)
    manifest, _ = Records(place.destination).read_manifest(hour)
    assert manifest is not None
    assert (len(manifest.removed), len(manifest.present), manifest.is_stream) == (1, 1, True)
    # The late record is as old as the others.
    assert remove_copies(place.destination, rule(), BY).objects == 1
