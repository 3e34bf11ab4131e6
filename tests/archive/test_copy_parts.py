"""The files of an hour that several tasks copy, and the commit after them."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from ayla_provider.archive.archive import Archive, ArchiveReport
from ayla_provider.archive.local import FileDestination
from ayla_provider.domain.arrival import ArrivalRule
from ayla_provider.domain.events import EventType
from ayla_provider.domain.hour import ExportHour
from ayla_provider.domain.manifest import Manifest
from ayla_provider.errors import AylaError, AylaNotSettledError
from ayla_provider.hooks import AylaHook
from ayla_provider.local_cloud import LocalCloud
from tests.support.fleet import HOUR, connect, put_hour

TARGET = ExportHour(EventType("datapoint"), HOUR)
NAMES = ["a.csv", "b.csv", "c.csv", "d.csv"]


@pytest.fixture
def cloud(monkeypatch: pytest.MonkeyPatch, airflow_db: None) -> Iterator[LocalCloud]:
    """An export of one hour with four files of ten bytes."""
    with LocalCloud() as cloud:
        connect(monkeypatch, cloud)
        for name in NAMES:
            put_hour(cloud, "Datapoint", data=name.encode() * 2, file=name)
        yield cloud


def archive_of(folder: Path) -> Archive:
    return Archive(FileDestination(folder))


def commit(archive: Archive, rule: ArrivalRule | None = None) -> ArchiveReport:
    return archive.take_in(AylaHook().export, [TARGET], rule or ArrivalRule(), written_by={"run_id": "test"})


def part(archive: Archive, number: int, most: int = 20) -> tuple[int, int]:
    """Return how many files a part copied, and how many it has."""
    report, files = archive.copy_part(AylaHook().export, TARGET, ArrivalRule(), number, most)
    return report.copied_files, files


def content(manifest: Manifest | None) -> object:
    """Return a manifest without what a copy knows and a listing doesn't."""
    assert manifest
    files = [replace(file, lines=None, version="") for file in manifest.files]
    return (manifest.state, manifest.revision, files)


def test_parts_copy_their_files_and_the_commit_writes_the_same_manifest(cloud: LocalCloud, tmp_path: Path) -> None:
    archive, whole = archive_of(tmp_path / "parts"), archive_of(tmp_path / "whole")
    assert [part(archive, number) for number in (2, 1, 3)] == [(2, 2), (2, 2), (0, 0)]
    assert archive.manifest(TARGET) is None
    assert part(archive, 1) == (0, 2)
    report = commit(archive)
    assert (report.copied_files, report.manifests_written, report.files) == (0, 1, 4)
    commit(whole)
    assert content(archive.manifest(TARGET)) == content(whole.manifest(TARGET))
    assert part(archive, 1) == (0, 2)


def test_what_changes_between_parts_and_commit_is_copied_by_the_commit(cloud: LocalCloud, tmp_path: Path) -> None:
    archive = archive_of(tmp_path)
    part(archive, 1)
    part(archive, 2)
    put_hour(cloud, "Datapoint", data=b"another", file="b.csv")
    put_hour(cloud, "Datapoint", data=b"later", file="e.csv")
    assert commit(archive).copied_files == 2
    copies = {path.name.rpartition("-")[2]: path.read_bytes() for path in tmp_path.glob("event_type=*/*/*/*.csv")}
    assert copies == {name: name.encode() * 2 for name in NAMES} | {"b.csv": b"another", "e.csv": b"later"}


def test_a_part_that_fails_leaves_the_rest_of_it_and_nothing_is_decided(cloud: LocalCloud, tmp_path: Path) -> None:
    archive = archive_of(tmp_path)
    cloud.faults.add(403, step="download", match="c.csv", times=None)
    with pytest.raises(AylaError, match=r"c\.csv"):
        part(archive, 2)
    assert [path.name.rpartition("-")[2] for path in tmp_path.glob("event_type=*/*/*/*.csv")] == ["d.csv"]
    assert not list(tmp_path.glob("_failures/**/*.json"))
    cloud.faults.clear()
    assert part(archive, 2) == (1, 2)
    with pytest.raises(AylaNotSettledError):
        commit(archive, ArrivalRule().override(AylaHook().export.now() - HOUR, None))
    assert archive.manifest(TARGET) is None
    assert commit(archive).manifests_written == 1


def test_a_part_counts_what_it_copied(cloud: LocalCloud, tmp_path: Path) -> None:
    archive = archive_of(tmp_path)
    put_hour(cloud, "Datapoint", data=b"longer than the others", file="b.csv")
    for number, (files, copied, size) in {1: (1, 1, 10), 2: (1, 1, 22), 3: (2, 2, 20), 4: (0, 0, 0)}.items():
        report, of_part = archive.copy_part(AylaHook().export, TARGET, ArrivalRule(), number, 20)
        assert (of_part, report.copied_files, report.copied_bytes) == (files, copied, size)
        assert (report.files, report.bytes, report.manifests, report.manifests_written) == (0, 0, [], 0)
        assert 0 < report.seconds < 100
    (lost,) = tmp_path.glob("event_type=*/*/*/*-d.csv")
    lost.unlink()
    report, of_part = archive.copy_part(AylaHook().export, TARGET, ArrivalRule(), 3, 20)
    assert (of_part, report.copied_files, report.copied_bytes) == (2, 1, 10)
