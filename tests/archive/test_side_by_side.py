"""What waits for a bucket doesn't keep other requests waiting: they are under way at the same time."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO

import pytest

from ayla_provider.archive.archive import Archive
from ayla_provider.archive.destination import Stored
from ayla_provider.archive.local import FileDestination
from ayla_provider.archive.transfer import READ_AHEAD
from ayla_provider.domain.paths import STREAM_POSITION, manifest_path
from ayla_provider.errors import AylaAccessDenied, AylaConfigError, AylaUnavailable
from ayla_provider.local_cloud import LocalCloud
from ayla_provider.local_cloud.contents import SeededContent
from ayla_provider.source import reader
from ayla_provider.source.export import Export
from tests.support.client import RULE, hours_at, put

LONGEST = 20
"""Seconds until a request that waits for another one gives up."""


def wait(event: threading.Event) -> None:
    assert event.wait(LONGEST), "nothing else is under way"


class Counted:
    """How many are in a block at once, and were at most."""

    def __init__(self) -> None:
        self.most = self._now = 0
        self._lock = threading.Lock()

    @contextmanager
    def one(self) -> Iterator[None]:
        with self._lock:
            self._now += 1
            self.most = max(self.most, self._now)
        try:
            yield
        finally:
            with self._lock:
                self._now -= 1


class Held(FileDestination):
    """A destination whose requests can wait for something else."""

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        self.asked: dict[str, threading.Event] = {}
        self.before_write = threading.Event()
        self.before_write.set()
        self.writes = Counted()

    def event(self, path: str) -> threading.Event:
        return self.asked.setdefault(path, threading.Event())

    def folder(self, path: str) -> dict[str, Stored]:
        self.event(path).set()
        return super().folder(path)

    def read(self, path: str) -> tuple[bytes, Stored] | None:
        self.event(path).set()
        return super().read(path)

    def write(self, path: str, stream: BinaryIO, **arguments: Any) -> Stored:
        with self.writes.one():
            if path.endswith(".csv"):
                wait(self.before_write)
            return super().write(path, stream, **arguments)


@pytest.fixture
def destination(tmp_path: Path) -> Held:
    return Held(tmp_path)


@pytest.mark.parametrize("workers", [1, 8])
@pytest.mark.parametrize("hours", [1, 2, 5])
def test_the_destination_is_asked_while_the_source_is_listed(
    cloud: LocalCloud, export: Export, destination: Held, monkeypatch: pytest.MonkeyPatch, hours: int, workers: int
) -> None:
    asked = hours_at(*range(1, 1 + hours))
    for number in range(hours):
        put(cloud, 1 + number, "a.csv", b"a,b\r\n1,2\r\n")
    manifest = manifest_path(asked[0])
    begun = destination.event(manifest if hours < 3 else manifest.rpartition("/")[0])
    objects = export.source.objects

    def held(*arguments: Any, **named: Any) -> Any:
        wait(begun)
        return objects(*arguments, **named)

    monkeypatch.setattr(export.source, "objects", held)
    report = Archive(destination, max_workers=workers).take_in(export, asked, RULE, written_by={})
    assert (report.copied_files, report.manifests_written) == (hours, hours)


def test_an_export_that_cant_be_listed_ends_the_run_but_not_the_archive(
    cloud: LocalCloud, export: Export, destination: Held
) -> None:
    put(cloud, 1, "a.csv", b"a,b\r\n1,2\r\n")
    archive = Archive(destination)
    cloud.faults.add(404, step="list")
    with pytest.raises(AylaAccessDenied, match="404"):
        archive.take_in(export, hours_at(1), RULE, written_by={})
    report = archive.take_in(export, hours_at(1), RULE, written_by={})
    assert (report.copied_files, report.manifests_written) == (1, 1)


@pytest.mark.parametrize("hours", [1, 5])
def test_an_archive_of_a_stream_is_refused_before_anything_is_copied(
    cloud: LocalCloud, export: Export, destination: Held, tmp_path: Path, hours: int
) -> None:
    put(cloud, 1, "a.csv", b"a,b\r\n1,2\r\n")
    position = tmp_path / STREAM_POSITION
    position.parent.mkdir(parents=True)
    position.write_text("{}")
    with pytest.raises(AylaConfigError, match="is the archive of a stream"):
        Archive(destination).take_in(export, hours_at(*range(1, 1 + hours)), RULE, written_by={})
    assert [path for path in tmp_path.rglob("*") if path.is_file()] == [position]


def test_the_next_small_file_is_read_while_one_is_written(
    cloud: LocalCloud, export: Export, destination: Held, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in "abc":
        put(cloud, 1, f"{name}.csv", b"a,b\r\n1,2\r\n")
    destination.before_write.clear()
    opened, open_file = [], export.source.open

    def noted(*arguments: Any, **named: Any) -> Any:
        opened.append(arguments)
        if len(opened) == 2:
            destination.before_write.set()
        return open_file(*arguments, **named)

    monkeypatch.setattr(export.source, "open", noted)
    report = Archive(destination, max_workers=1).take_in(export, hours_at(1), RULE, written_by={})
    assert report.copied_files == 3


@pytest.mark.parametrize("size", [100, READ_AHEAD + 1])
def test_no_more_files_than_allowed_are_read_and_written_at_once(
    cloud: LocalCloud, export: Export, destination: Held, monkeypatch: pytest.MonkeyPatch, size: int
) -> None:
    for number in range(12):
        put(cloud, 1, f"{number}.csv", SeededContent(number, size))
    reads, open_file = Counted(), export.source.open

    def counted(*arguments: Any, **named: Any) -> Any:
        download = open_file(*arguments, **named)
        counter = reads.one()
        counter.__enter__()
        close = download.close

        def closed() -> None:
            close()
            counter.__exit__(None, None, None)

        monkeypatch.setattr(download, "close", closed)
        return download

    monkeypatch.setattr(export.source, "open", counted)
    report = Archive(destination, max_workers=2).take_in(export, hours_at(1), RULE, written_by={})
    assert report.copied_files == 12
    assert reads.most <= 2
    # The manifest is written by another thread.
    assert destination.writes.most <= 2


def test_a_small_file_that_breaks_keeps_nobody_waiting(
    cloud: LocalCloud, export: Export, destination: Held, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(reader, "_BACKOFF", 0.001)
    for name in "abcd":
        put(cloud, 1, f"{name}.csv", b"a,b\r\n1,2\r\n")
    cloud.faults.add(503, step="download", times=None)
    with pytest.raises(AylaUnavailable):
        Archive(destination, max_workers=1).take_in(export, hours_at(1), RULE, written_by={})
    cloud.faults.clear()
    report = Archive(destination, max_workers=1).take_in(export, hours_at(1), RULE, written_by={})
    assert report.copied_files == 4
