"""An hour's cost depends on its lines, little on the number of files, and not on how many lines are repeated."""

from __future__ import annotations

import base64
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from random import Random

import duckdb
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ayla_provider.archive.local import FileDestination
from ayla_provider.domain.hour import ExportHour
from ayla_provider.domain.typed_manifest import TypedManifest
from ayla_provider.rows import typed_archive
from ayla_provider.rows.typed_archive import TypedArchive
from harness import reference
from tests.rows.test_typed_archive import compare, files_of
from tests.warehouse.archive import HOUR, archive_hour
from tests.warehouse.odd_files import OddFiles

ROW = (
    "1a2b3c4d,LC-THERMO-2,LC000X{0:09},temperature,VGVtcA==,integer,{0:08x}-4697-11ea-8080-808080808080,,"
    "Wed Feb 05 12:08:26 UTC 2020,Wed Feb 05 12:08:26 UTC 2020,a0b1c2d3-1111-2222-3333-abcdef000001,false,,false,user,"
    "{0},,,,,e30=,output\n"
)


def rows(first: int, end: int) -> bytes:
    return "".join(map(ROW.format, range(first, end))).encode()


def typed(folder: Path, files: list[bytes], memory: str = "512MB") -> TypedManifest:
    return archive_of(folder, files, memory).ensure(ExportHour("datapoint", HOUR), {}).manifest


def archive_of(folder: Path, files: list[bytes], memory: str = "512MB") -> TypedArchive:
    archive_hour(folder / "archive", "datapoint", files)
    return TypedArchive(FileDestination(folder / "archive"), FileDestination(folder / "rows"), memory=memory)


@settings(max_examples=10, deadline=None)
@given(seed=st.integers(0, 2**32), event_type=st.sampled_from(["connection", "datapoint", "registration"]))
def test_many_odd_files_are_what_the_reference_says(
    tmp_path_factory: pytest.TempPathFactory, seed: int, event_type: str
) -> None:
    folder, random = tmp_path_factory.mktemp("odd"), Random(seed)
    makers = [OddFiles(layout, seed) for layout in reference.LAYOUTS.values() if layout.event_type == event_type]
    chosen = [random.choice(makers) for _ in range(random.randint(2, 5))]
    contents, made = [maker.file(random.randrange(12)) for maker in chosen], [maker.layout for maker in chosen]
    # Some of them arrive twice.
    twice = random.sample(range(len(made)), random.randint(0, len(made)))
    made += [made[at] for at in twice]
    contents += [contents[at] for at in twice]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(typed_archive, "_MOST_SCANS", 1)
        manifest = archive_hour(folder / "archive", event_type, contents)
        archive = TypedArchive(FileDestination(folder / "archive"), FileDestination(folder / "rows"), max_malformed=1)
        hour = archive.ensure(ExportHour(event_type, HOUR), {}).manifest
    compare(folder, manifest, hour, reference.read(event_type, files_of(folder, manifest), made))


def test_each_malformed_row_of_a_long_file_is_kept_with_its_place(tmp_path: Path) -> None:
    lines = rows(0, 100_000).splitlines(keepends=True)
    for number in range(0, len(lines), 20):
        lines[number] = lines[number].replace(b" UTC 2020", b" UTC 20x0", 1)
    hour = typed(tmp_path, [b"".join(lines)])
    assert (hour.rows, hour.quarantined) == (95_000, 5_000)
    path = tmp_path / "archive" / hour.quarantine
    with duckdb.connect() as connection:
        kept = connection.execute(f"select line, row_bytes from '{path}' order by line").fetchall()
    assert kept == [(number + 1, lines[number].rstrip()) for number in range(0, len(lines), 20)]


def test_a_file_costs_little_beside_its_lines(tmp_path: Path) -> None:
    # What is only done once in a process doesn't count.
    typed(tmp_path / "first", [rows(0, 10)])
    took = []
    for count in (1, 400):
        files = [rows(at * 20_000 // count, (at + 1) * 20_000 // count) for at in range(count)]
        archive = archive_of(tmp_path / str(count), files)
        before = time.process_time()
        hour = archive.ensure(ExportHour("datapoint", HOUR), {}).manifest
        took.append(time.process_time() - before)
        assert (hour.rows, hour.duplicates) == (20_000, 0)
    # About 4. A scan for each file took 70 ms, and to recognise its rows another 30: a factor of 200.
    assert took[1] < 20 * took[0], took


class Far(FileDestination):
    """An archive that isn't on this disk, and whose answers come when eight files wait for one."""

    def __init__(self, root: Path) -> None:
        super().__init__(root)
        self._waiting = threading.Barrier(8)

    def local(self, path: str) -> None:
        return None

    def blocks(self, path: str) -> Iterator[bytes]:
        self._waiting.wait(30)
        yield from super().blocks(path)


@pytest.mark.parametrize("count", [8, 24])
def test_files_that_are_far_away_are_read_at_once(tmp_path: Path, count: int) -> None:
    files = [rows(at * 10, at * 10 + 12) for at in range(count)]
    near = typed(tmp_path / "near", files)
    archive_hour(tmp_path / "far/archive", "datapoint", files)
    archive = TypedArchive(Far(tmp_path / "far/archive"), FileDestination(tmp_path / "far/rows"))
    far = archive.ensure(ExportHour("datapoint", HOUR), {}).manifest
    assert far.files == near.files
    assert (far.rows, far.duplicates) == (count * 10 + 2, (count - 1) * 2)


@pytest.mark.parametrize("share", [0.01, 0.4, 1])
@pytest.mark.parametrize("change", [b"", b"x"], ids=["alike", "of other values"])
def test_any_share_of_repeats_loads_with_little_memory(tmp_path: Path, share: float, change: bytes) -> None:
    lines, repeated = 30_000, round(30_000 * share)
    repeats = rows(0, repeated).replace(b"temperature", b"temperature" + change)
    hour = typed(tmp_path, [rows(0, lines) + repeats], memory="100MB")
    assert (hour.rows, hour.duplicates) == (lines, repeated)


def test_the_longest_values_take_more_time_and_not_more_memory(tmp_path: Path) -> None:
    random = Random(1)

    def row(number: int) -> str:
        # Base64 twice, so that the value is text, and can't be compressed well.
        value = base64.b64encode(base64.b64encode(random.randbytes(384 * 1024))).decode()
        return ROW.format(number).replace(",integer,", ",string,").replace(f"{number},,,,,e30", f",,,,{value},e30")

    hour = typed(tmp_path, ["".join(map(row, range(120))).encode()], memory="200MB")
    assert (hour.rows, hour.quarantined) == (120, 0)
