"""What a run learns of a destination by days is what it would learn hour by hour."""

from __future__ import annotations

import io
import tempfile
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ayla_provider.archive.archive import Archive
from ayla_provider.archive.destination import Destination, Listed, Stored
from ayla_provider.archive.listed_days import ListedDays
from ayla_provider.archive.local import FileDestination
from ayla_provider.domain.events import EventType
from ayla_provider.domain.hour import ONE_HOUR, ExportHour, hours_of
from ayla_provider.domain.paths import manifest_path
from ayla_provider.errors import AylaDestinationError
from ayla_provider.local_cloud import LocalCloud
from ayla_provider.transport.checksum import Crc32c
from tests.support.client import NOW, RULE, export_of, provider_of, settings_of

DATAPOINT = EventType("datapoint")
# The end of one day, and the start of the next.
START = datetime(2024, 5, 7, 20, tzinfo=UTC)
HOURS = hours_of(DATAPOINT, START, START + 12 * ONE_HOUR)


def put(destination: Destination, path: str) -> None:
    destination.write(
        path, io.BytesIO(b"x"), size=1, crc32c=Crc32c(b"x").base64, replaces=None, content_type="text/csv"
    )


@given(
    copies=st.dictionaries(st.sampled_from(HOURS), st.sets(st.sampled_from("ab"), min_size=1)),
    manifests=st.sets(st.sampled_from(HOURS)),
    asked=st.integers(1, len(HOURS)),
)
def test_days_show_what_each_hour_shows(
    copies: dict[ExportHour, set[str]], manifests: set[ExportHour], asked: int
) -> None:
    with tempfile.TemporaryDirectory() as folder, ThreadPoolExecutor(2) as pool:
        destination = FileDestination(Path(folder))
        for hour, names in copies.items():
            for name in names:
                put(destination, f"{hour.partition}/{name}.csv")
        for hour in manifests:
            put(destination, manifest_path(hour))
        listed = ListedDays(destination, HOURS[:asked], pool)
        for hour in HOURS:
            assert listed.folder(hour.partition) == destination.folder(hour.partition)
            if hour in manifests:
                assert listed.may_have(manifest_path(hour))
        # Otherwise, nothing would be known of any manifest.
        if asked == len(HOURS):
            assert [hour for hour in HOURS if listed.may_have(manifest_path(hour))] == sorted(
                manifests, key=lambda hour: hour.start
            )
        paths = [f"{hour.partition}/a.csv" for hour in HOURS]
        there = {path for hour, names in copies.items() for path in (f"{hour.partition}/{name}.csv" for name in names)}
        assert set(listed.stored_at(paths)) == there


class _Unlistable(FileDestination):
    """A destination in which a date can't be listed as a whole."""

    def tree(self, prefix: str) -> Iterator[Listed]:
        raise AylaDestinationError("denied")

    def folder(self, path: str) -> dict[str, Stored]:
        if path.startswith("_manifests/"):
            raise AylaDestinationError("denied")
        return super().folder(path)


def test_a_day_that_cant_be_listed_is_asked_hour_by_hour(tmp_path: Path) -> None:
    destination = _Unlistable(tmp_path)
    put(destination, f"{HOURS[0].partition}/a.csv")
    with ThreadPoolExecutor(2) as pool:
        listed = ListedDays(destination, HOURS, pool)
    assert set(listed.folder(HOURS[0].partition)) == {f"{HOURS[0].partition}/a.csv"}
    assert all(listed.may_have(manifest_path(hour)) for hour in HOURS)


@pytest.fixture
def cloud() -> Iterator[LocalCloud]:
    with LocalCloud(now=NOW) as cloud:
        for hour in HOURS:
            name = f"{hour.start:%Y-%m-%d %H:%M:%S}"
            cloud.put_object("Datapoint", name, "a.csv", b"a,b\r\n1,2\r\n", hour.end + ONE_HOUR / 2)
        yield cloud


def test_a_run_of_many_hours_ends_as_runs_of_each_hour(cloud: LocalCloud, tmp_path: Path) -> None:
    export = export_of(cloud, provider_of(settings_of(cloud)))
    together, apart = FileDestination(tmp_path / "together"), FileDestination(tmp_path / "apart")
    report = Archive(together).take_in(export, HOURS, RULE, written_by={})
    for hour in HOURS:
        Archive(apart).take_in(export, [hour], RULE, written_by={})
    assert [manifest.hour for manifest in report.manifests] == HOURS
    assert (report.manifests_written, report.files) == (12, 12)
    names = [{listed.stored.path for listed in destination.tree("")} for destination in (together, apart)]
    assert names[0] == names[1]
    for hour in HOURS:
        ours, theirs = (Archive(destination).manifest(hour) for destination in (together, apart))
        assert ours
        assert theirs
        assert [(file.path, file.size, file.crc32c) for file in ours.files] == [
            (file.path, file.size, file.crc32c) for file in theirs.files
        ]
    again = Archive(together).take_in(export, HOURS, RULE, written_by={})
    assert (again.manifests_written, again.copied_files, again.files) == (0, 0, 12)
