"""A further run over an hour of many files takes time in proportion to the files."""

from __future__ import annotations

import time
from datetime import UTC, datetime

from ayla_provider.archive.archive import Archive, _HourJob
from ayla_provider.archive.destination import Stored
from ayla_provider.archive.local import FileDestination
from ayla_provider.domain import manifest as manifests
from ayla_provider.domain.arrival import HourState, HourStatus
from ayla_provider.domain.hour import ExportHour, FolderStyle
from ayla_provider.domain.manifest import ManifestFile
from ayla_provider.domain.paths import ExportFile, Layout, destination_path
from tests.support.client import NOW, hours_at

FILES = 5000


def export_file(hour: ExportHour, number: int) -> ExportFile:
    return ExportFile(
        event_type=hour.event_type,
        folder_time=hour.start,
        style=FolderStyle.SPACE,
        file=f"{number}.csv",
        name=f"oem/Datapoint/{number}.csv",
        size=1,
        crc32c="AAAAAA==",
        generation=1,
        created=datetime(2024, 5, 9, 4, tzinfo=UTC),
    )


def test_an_hour_of_many_files_is_compared_in_one_pass(tmp_path: object) -> None:
    (hour,) = hours_at(2)
    files = [export_file(hour, number) for number in range(FILES)]
    paths = [destination_path(file, Layout.PARTITIONED) for file in files]
    entries = [ManifestFile.of(file, path, "AAAAAA==") for file, path in zip(files, paths, strict=True)]
    manifest = manifests.revise(
        None, hour, HourState.LANDED, entries, written_at=NOW, written_by={}, export="gs://bucket/oem/"
    )
    existing = {path: Stored(path, 1, "1", None) for path in paths}
    job = _HourJob(HourStatus(hour, HourState.LANDED, tuple(files)), manifest, None, existing, Layout.PARTITIONED)
    archive = Archive(FileDestination(str(tmp_path)))
    begun = time.process_time()
    assert all(archive._existing_entry(job, file) for file in files)
    assert time.process_time() - begun < 3, "comparing each file with each entry takes ten times as long"
