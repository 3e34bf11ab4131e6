"""What a verification by reading reads when, and what it finds."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tracemalloc
from collections import defaultdict
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime, timedelta
from itertools import count, pairwise
from pathlib import Path
from typing import Any

import pytest

from ayla_provider.archive.destination import Listed, Stored
from ayla_provider.archive.findings import Damage, Finding
from ayla_provider.archive.local import FileDestination
from ayla_provider.archive.reading import PositionFile, Reading
from ayla_provider.archive.verify import Scope, Verification
from ayla_provider.domain.events import EventType
from ayla_provider.domain.hour import ExportHour, hour_of
from ayla_provider.domain.paths import Layout, position_path
from ayla_provider.errors import AylaDestinationError
from ayla_provider.transport.checksum import Crc32c
from tests.support.archives import archive_hour, hours_back
from tests.support.proofs import scale

NOW = datetime.now(UTC)
LATER = NOW + timedelta(days=2)
"""A time at which what the tests write isn't young."""

DAY = timedelta(days=1)
DATAPOINT = EventType("datapoint")
HOURS = hours_back(NOW, 10)


class Counted(FileDestination):
    """Notes which files were read."""

    def __init__(self, root: Path) -> None:
        super().__init__(root)
        self.opened: list[str] = []

    def blocks(self, path: str) -> Iterator[bytes]:
        self.opened.append(path)
        yield from super().blocks(path)


class Imagined(FileDestination):
    """Reads files without bytes that aren't there."""

    def blocks(self, path: str) -> Iterator[bytes]:
        yield b""


def listed(path: str, size: int, *, offline: bool = False) -> Listed:
    return Listed(Stored(path, size, "1", None), NOW - DAY, offline)


def path_of(number: int) -> str:
    return f"event_type=datapoint/{number}.csv"


def hour_at(number: int) -> ExportHour:
    return ExportHour(DATAPOINT, datetime(2026, 1, 1, tzinfo=UTC) + number * timedelta(hours=1))


def read(
    destination: FileDestination, sizes: Sequence[int], *, now: datetime, every: timedelta, **more: Any
) -> list[int]:
    """Read what is due of files of these sizes, and return the numbers of those that were read."""
    data = {path_of(number): bytes([number % 251]) * size for number, size in enumerate(sizes)}
    done: list[int] = []

    class Numbered(FileDestination):
        def blocks(self, path: str) -> Iterator[bytes]:
            done.append(int(Path(path).stem))
            yield data[path]

    numbered = Numbered(destination.root)
    with Reading(numbered, every, now=now, expected=lambda hour, path: None, **more) as reading:
        for number, (path, content) in enumerate(data.items()):
            reading.add(hour_at(number), path, listed(path, len(content)), Crc32c(content).base64)
        assert list(reading.findings()) == []
    return sorted(done)


@pytest.mark.parametrize(("gap", "period"), [(DAY, 30 * DAY), (7 * DAY, 30 * DAY), (30 * DAY, 93 * DAY)])
def test_each_file_of_a_growing_archive_is_read_again_within_the_period(
    tmp_path: Path, gap: timedelta, period: timedelta
) -> None:
    sizes = [100 + number % 7 * 50 for number in range(100)]
    seen: dict[int, list[datetime]] = defaultdict(list)
    copied = dict.fromkeys(range(len(sizes)), NOW)
    now, most = NOW, 0
    for run in range(4 * (period // gap) + 1):
        now = NOW + run * gap + timedelta(seconds=run % 3)
        numbers = read(FileDestination(tmp_path), sizes, now=now, every=period)
        if run > period // gap:
            # Before, nobody knows how often verifications run.
            most = max(most, sum(sizes[number] for number in numbers))
        for number in numbers:
            seen[number].append(now)
        copied |= dict.fromkeys(range(len(sizes), len(sizes) + 3), now)
        sizes += [100, 300, 200]
    tolerance = timedelta(minutes=1)
    for number, at in copied.items():
        times = [at, *seen[number], now]
        assert max(after - before for before, after in pairwise(times)) <= period + tolerance
    # No run reads much more than its share, and what was added at the end since the last one.
    assert most <= 1.2 * sum(sizes) * gap / period + 600 + max(sizes)


def test_the_first_run_reads_a_day_s_share_and_one_after_the_whole_period_reads_all(tmp_path: Path) -> None:
    sizes = [10] * 100
    destination = FileDestination(tmp_path)
    assert read(destination, sizes, now=NOW, every=10 * DAY) == list(range(10))
    assert read(destination, sizes, now=NOW + timedelta(minutes=1), every=10 * DAY) == []
    assert read(destination, sizes, now=NOW + 11 * DAY, every=10 * DAY) == list(range(10, 100))
    assert read(destination, sizes, now=NOW + 22 * DAY, every=10 * DAY) == list(range(100))


def test_files_without_bytes_are_read_too(tmp_path: Path) -> None:
    assert read(FileDestination(tmp_path), [0, 0, 0], now=NOW, every=DAY) == [0, 1, 2]


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b'{"format": "ayla-verify-position/1"}', b"\xff", b"null"])
def test_a_position_that_can_not_be_understood_starts_again(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, content: bytes
) -> None:
    destination = FileDestination(tmp_path)
    read(destination, [10] * 10, now=NOW, every=10 * DAY)
    (tmp_path / position_path(DATAPOINT)).write_bytes(content)
    assert read(destination, [10] * 10, now=NOW + DAY, every=10 * DAY) == [0]
    assert "Reading starts again." in caplog.text
    assert PositionFile(destination, DATAPOINT).read().last_run == NOW + DAY


def archive(root: Path, **more: Any) -> Counted:
    destination = Counted(root)
    for hour in HOURS:
        archive_hour(destination, hour, [b"1,2,3\r\n", b"1,2\r\n"], **more)
    return destination


def verified(destination: FileDestination, *, now: datetime = LATER, every: timedelta = DAY) -> list[Finding]:
    scope = Scope(None, None, hour_of(NOW) - DAY)
    return list(Verification(destination, scope, now=now, read_every=every).findings())


def found(destination: FileDestination, **more: Any) -> list[tuple[Damage, str]]:
    return [(finding.damage, finding.path) for finding in verified(destination, **more)]


def flip(path: Path) -> None:
    """Change a bit as a disk does: without a trace in the file's facts."""
    facts = path.stat()
    with path.open("r+b") as file:
        first = file.read(1)
        file.seek(0)
        file.write(bytes([first[0] ^ 1]))
    os.utime(path, ns=(facts.st_atime_ns, facts.st_mtime_ns))


@pytest.mark.parametrize("layout", list(Layout))
def test_a_bit_that_flipped_on_the_disk_is_found_by_reading_alone(tmp_path: Path, layout: Layout) -> None:
    destination = archive(tmp_path, layout=layout)
    path = str(min(tmp_path.rglob("*1.csv")).relative_to(tmp_path))
    flip(tmp_path / path)
    scope = Scope(None, None, hour_of(NOW) - DAY)
    assert list(Verification(destination, scope, now=LATER).findings()) == []
    (finding,) = verified(destination)
    assert (finding.damage, finding.path) == (Damage.DAMAGED, path)
    assert finding.detail.startswith("it has crc32c ")
    # It is found by each run, whatever else is due, until it is right again.
    assert found(destination, now=LATER + timedelta(hours=1), every=90 * DAY) == [(Damage.DAMAGED, path)]
    flip(tmp_path / path)
    assert found(destination, now=LATER + timedelta(hours=2)) == []
    assert PositionFile(destination, DATAPOINT).read().again == ()


def test_the_position_is_no_orphan_and_stays_out_of_the_way(tmp_path: Path) -> None:
    destination = archive(tmp_path)
    assert verified(destination) == []
    assert len(destination.opened) == 2 * len(HOURS)
    assert (tmp_path / "_verify/event_type=datapoint.json").exists()
    assert verified(destination, now=LATER + 9 * DAY) == []
    assert [path.name for path in tmp_path.glob("event_type=*")] == ["event_type=datapoint"]


def test_a_file_that_was_written_again_with_the_same_bytes_is_read_too(tmp_path: Path) -> None:
    destination = archive(tmp_path)
    for path in list(tmp_path.rglob("*.csv"))[:3]:
        data = path.read_bytes()
        path.unlink()
        path.write_bytes(data)
    assert verified(destination) == []
    assert len(destination.opened) == 2 * len(HOURS)


def test_a_position_of_a_newer_format_is_reported_and_stays(tmp_path: Path) -> None:
    destination = archive(tmp_path)
    position = tmp_path / position_path(DATAPOINT)
    position.parent.mkdir()
    position.write_text('{"format": "ayla-verify-position/2"}')
    assert found(destination) == [(Damage.NEWER, position_path(DATAPOINT))]
    assert destination.opened == []
    assert json.loads(position.read_text()) == {"format": "ayla-verify-position/2"}


def test_what_is_in_an_archive_tier_is_not_read_and_not_lost(tmp_path: Path) -> None:
    destination = Counted(tmp_path)
    path = path_of(0)
    with Reading(destination, DAY, now=NOW, expected=lambda hour, path: None) as reading:
        reading.add(hour_at(0), path, listed(path, 5, offline=True), "AAAAAA==")
        (finding,) = reading.findings()
    assert (finding.damage, finding.path) == (Damage.OFFLINE, path)
    assert not finding.damage.is_loss
    assert destination.opened == []


def test_a_file_that_is_being_replaced_is_read_again_by_the_next_run(tmp_path: Path) -> None:
    destination = archive(tmp_path)
    path = sorted(tmp_path.rglob("*-0.csv"))[3]
    flip(path)
    path_in_archive = str(path.relative_to(tmp_path))
    assert found(destination, now=NOW) == []
    destination.opened.clear()
    assert found(destination, every=90 * DAY) == [(Damage.DAMAGED, path_in_archive)]
    assert destination.opened.count(path_in_archive) == 2


def test_a_file_that_the_disk_can_not_read_is_damaged(tmp_path: Path) -> None:
    class Broken(Counted):
        def blocks(self, path: str) -> Iterator[bytes]:
            yield from super().blocks(path)
            if path == bad:
                raise AylaDestinationError(f"{path}: Input/output error")

    archive(tmp_path)
    bad = str(sorted(tmp_path.rglob("*-0.csv"))[3].relative_to(tmp_path))
    (finding,) = verified(Broken(tmp_path))
    assert (finding.damage, finding.path) == (Damage.DAMAGED, bad)
    assert finding.detail.endswith("Input/output error")


def test_a_file_that_a_store_does_not_give_is_not_called_damaged(tmp_path: Path) -> None:
    class Refusing(Counted):
        def blocks(self, path: str) -> Iterator[bytes]:
            yield from super().blocks(path)
            if path == bad:
                raise AylaDestinationError(f"{path}: InvalidObjectState")

        def local(self, path: str) -> Path | None:
            return None

    archive(tmp_path)
    bad = str(sorted(tmp_path.rglob("*-0.csv"))[3].relative_to(tmp_path))
    destination = Refusing(tmp_path)
    assert found(destination) == [(Damage.OFFLINE, bad)]
    # Each run tries it again.
    assert found(destination, every=90 * DAY) == [(Damage.OFFLINE, bad)]


def test_a_run_that_finds_very_many_damaged_files_reads_no_others(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr("ayla_provider.archive.reading._MOST_AGAIN", 3)
    monkeypatch.setattr("ayla_provider.archive.reading._CHUNK", 2)
    destination = archive(tmp_path)
    for path in tmp_path.rglob("*.csv"):
        flip(path)
    assert len(found(destination)) == 4
    assert "more than 3 files are damaged" in caplog.text
    for path in tmp_path.rglob("*.csv"):
        flip(path)
    destination.opened.clear()
    assert found(destination, now=LATER + DAY) == []
    assert len(destination.opened) == 2 * len(HOURS)


KILLED = """
import os, signal, sys
from datetime import datetime, timedelta
from pathlib import Path
from ayla_provider.archive.local import FileDestination
from ayla_provider.archive import reading
from ayla_provider.archive.verify import Scope, Verification

reading.Reading.__init__.__kwdefaults__["save_every"] = 0
reading._CHUNK = 4
root, end, now, left = sys.argv[1], *map(datetime.fromisoformat, sys.argv[2:4]), int(sys.argv[4])

class Killing(FileDestination):
    def blocks(self, path):
        global left
        left -= 1
        if left < 0:
            os.kill(os.getpid(), signal.SIGKILL)
        os.write(1, path.encode() + b" ")
        yield from super().blocks(path)

scope = Scope(None, None, end)
for finding in Verification(Killing(root), scope, now=now, read_every=timedelta(days=1)).findings():
    pass
"""


def test_a_run_that_is_killed_loses_nothing_but_time(tmp_path: Path) -> None:
    destination = archive(tmp_path)
    flipped = sorted(tmp_path.rglob("*-0.csv"))[1]
    flip(flipped)
    arguments = [str(tmp_path), (hour_of(NOW) - DAY).isoformat(), LATER.isoformat(), "10"]
    killed = subprocess.run([sys.executable, "-c", KILLED, *arguments], capture_output=True, text=True, check=False)
    assert killed.returncode == -9, killed.stderr
    before = killed.stdout.split()
    # Its finding is lost with it; the next run finds it again.
    assert found(destination, now=LATER + timedelta(minutes=5)) == [
        (Damage.DAMAGED, str(flipped.relative_to(tmp_path)))
    ]
    files = {str(path.relative_to(tmp_path)) for path in tmp_path.rglob("*.csv")}
    assert {*before, *destination.opened} == files
    read_twice = set(before) & set(destination.opened)
    assert 0 < len(read_twice) <= 2 + 4 + 1
    assert PositionFile(destination, DATAPOINT).read().last is None


def test_of_two_runs_at_the_same_time_both_end_well(tmp_path: Path) -> None:
    archive(tmp_path)
    other, calls = Counted(tmp_path), count()

    class Slow(Counted):
        def blocks(self, path: str) -> Iterator[bytes]:
            if next(calls) == 0:
                assert verified(other) == []
            yield from super().blocks(path)

    assert verified(Slow(tmp_path)) == []
    assert PositionFile(other, DATAPOINT).read().last_run == LATER


@pytest.mark.ci
@pytest.mark.proof("1,000,000 files")
def test_reading_takes_no_memory(tmp_path: Path) -> None:
    destination = Imagined(tmp_path)
    files = scale(20_000, 1_000_000)
    sizes: list[int] = []
    reading = Reading(destination, DAY, now=NOW, expected=lambda hour, path: None, on_read=sizes.append)
    tracemalloc.start()
    with reading:
        for number in range(files):
            path = path_of(number)
            reading.add(hour_at(number // 100), path, listed(path, 0), "AAAAAA==")
        assert list(reading.findings()) == []
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert len(sizes) == files
    # The list of the test itself has 8 bytes for each.
    assert peak - 9 * files < 5 * 1024 * 1024
