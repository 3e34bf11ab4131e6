"""An export with very many files, very wide lines, or times in the future: what a copy and a load make of it."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path

import pytest

from ayla_provider.archive.archive import Archive
from ayla_provider.archive.local import FileDestination
from ayla_provider.domain.arrival import HourState
from ayla_provider.domain.csv.columns import COLUMN_LAYOUTS
from ayla_provider.domain.csv.sample import LONGEST_ROW
from ayla_provider.domain.hour import ONE_HOUR
from ayla_provider.domain.manifest import Manifest
from ayla_provider.errors import AylaError, AylaNotSettledError
from ayla_provider.local_cloud import LocalCloud, listing
from ayla_provider.rows.intake import fetch_good_lines
from ayla_provider.rows.quarantine import Quarantine
from ayla_provider.source.export import Export
from ayla_provider.transport import cloud_storage
from tests.faults import hostile
from tests.support.client import NOW, RULE, at, hours_at, put

cloud, export = hostile.cloud, hostile.export


@pytest.fixture
def archive(tmp_path: Path) -> Archive:
    return Archive(FileDestination(tmp_path / "archive"))


def copied(archive: Archive, export: Export, hour: int) -> Manifest:
    archive.take_in(export, hours_at(hour), RULE, written_by={})
    manifest = archive.manifest(hours_at(hour)[0])
    assert manifest
    return manifest


def test_very_many_files_are_copied_with_few_requests(
    cloud: LocalCloud, export: Export, archive: Archive, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(listing, "MAX_RESULTS", 20)
    names = cloud.put_oddity("many", "Datapoint", at(2), 101)
    cloud.requests.clear()
    assert sorted(file.source for file in copied(archive, export, 2).files) == names
    assert len([request for request in cloud.requests if request.step == "list"]) <= 8
    monkeypatch.setattr(cloud_storage, "MOST_PAGES", 3)
    with pytest.raises(AylaError, match=r"datapoint 2024-05-09 02:00 UTC.*does not end after 3 pages"):
        export.list_files(hours_at(2))


@pytest.mark.parametrize("amount", [1000, LONGEST_ROW + 1])
def test_a_very_wide_line_is_copied_and_left_out_of_a_load(
    cloud: LocalCloud, export: Export, archive: Archive, tmp_path: Path, amount: int
) -> None:
    (hour,) = hours_at(3 if amount == 1000 else 4, event_type="connection")
    cloud.put_oddity("wide", "Connection", hour.start, amount)
    archive.take_in(export, [hour], RULE, written_by={})
    manifest = archive.manifest(hour)
    assert manifest
    assert [file.path.rpartition("-wide-")[2] for file in manifest.files] == ["columns.csv", "field.csv"]
    for number, file in enumerate(manifest.files):
        with Quarantine(tmp_path / f"quarantine-{number}") as quarantine:
            taken = fetch_good_lines(
                FileDestination(tmp_path / "archive"),
                file,
                tmp_path / f"{number}.csv",
                event_type="connection",
                layouts=COLUMN_LAYOUTS,
                quarantine=quarantine,
            )
        assert (taken.all_lines - taken.count, quarantine.total) == (1, 1)


def test_a_file_of_the_future_is_copied_and_its_hour_waited_for(
    cloud: LocalCloud, export: Export, archive: Archive
) -> None:
    created_ahead, folder_ahead = cloud.put_oddity("future", "Location", at(5), 48)
    put(cloud, 6, "f.csv", folder="Location")
    hours = hours_at(5, 6, event_type="location")
    assert [status.state for status in export.status(hours, RULE)] == [HourState.ARRIVING, HourState.LANDED]
    with pytest.raises(AylaNotSettledError, match=r"location 2024-05-09 05:00 UTC.*is so young"):
        archive.take_in(export, hours[:1], RULE, written_by={})
    assert archive.manifest(hours[0]) is None
    later = Export(export.source, export.root, now=lambda: NOW + timedelta(hours=48) + ONE_HOUR)
    (status,) = later.status(hours[:1], RULE)
    assert [file.name for file in status.files] == [created_ahead]
    assert status.state is HourState.LANDED
    assert folder_ahead not in [file.name for file in later.list_files(hours)]
