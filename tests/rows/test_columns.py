"""Some columns of a Parquet file are read by range, and are those that the file has."""

from __future__ import annotations

import random
from itertools import pairwise
from pathlib import Path

import duckdb
import pytest

from ayla_provider.archive.destination import Stored
from ayla_provider.archive.local import FileDestination
from ayla_provider.errors import AylaError
from ayla_provider.rows import columns
from ayla_provider.rows.columns import fetch_columns
from ayla_provider.rows.duck import connect
from ayla_provider.rows.parquet import PARQUET

WANTED = ("dsn", "note")


class Counting(FileDestination):
    """A folder that is taken for a bucket, and says what was read of it."""

    def __init__(self, root: Path) -> None:
        super().__init__(root)
        self.ranges: list[tuple[int, int]] = []

    def local(self, path: str) -> Path | None:
        return None

    def read_range(self, stored: Stored, start: int, end: int) -> bytes:
        self.ranges.append((start, end))
        return super().read_range(stored, start, end)


def made(folder: Path, rows: int = 20_000, groups: int = 5_000) -> Counting:
    """A file with two columns that are wanted, at its begin and its end, and one between that is most of it."""
    seeded = random.Random(7)
    with connect() as duck:
        duck.execute("create table made (dsn varchar, id varchar, number bigint, note varchar)")
        content = [
            (f"LC{number % 90:08}", f"{seeded.getrandbits(128):032x}", number, f"a note {number // 9}")
            for number in range(rows)
        ]
        duck.execute(
            "insert into made select unnest($a), unnest($b), unnest($c), unnest($d)",
            dict(zip("abcd", map(list, zip(*content, strict=True)), strict=True)),
        )
        options = PARQUET.partition(", row_group_size_bytes")[0]
        duck.execute(f"copy made to '{folder}/rows.parquet' ({options}, row_group_size {groups})")
    return Counting(folder)


def read(path: Path) -> list[tuple[object, ...]]:
    with duckdb.connect() as duck:
        return duck.execute(f"select {', '.join(WANTED)} from read_parquet('{path}')").fetchall()


def of(destination: Counting) -> Stored:
    stored = destination.find("rows.parquet")
    assert stored
    return stored


def fetch(destination: Counting, local: Path) -> bool:
    with connect() as duck:
        return fetch_columns(destination, of(destination), local, duck, WANTED.__contains__)


@pytest.fixture
def out(tmp_path: Path) -> Path:
    (tmp_path / "out").mkdir()
    return tmp_path / "out" / "local.parquet"


@pytest.mark.parametrize("tail", [8, 100, 64 * 1024])
@pytest.mark.parametrize("gap", [0, 1000, 10_000_000])
def test_the_wanted_columns_are_there_and_little_else_is_read(
    tmp_path: Path, out: Path, tail: int, gap: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(columns, "_SMALL", 1000)
    monkeypatch.setattr(columns, "_TAIL", tail)
    monkeypatch.setattr(columns, "_GAP", gap)
    (tmp_path / "in").mkdir()
    destination = made(tmp_path / "in")
    whole = (tmp_path / "in" / "rows.parquet").stat().st_size
    assert fetch(destination, out) is False
    assert read(out) == read(tmp_path / "in" / "rows.parquet")
    assert len(read(out)) == 20_000
    assert out.stat().st_size == whole
    nothing_twice = sorted(destination.ranges)
    assert all(end <= start for (_, end), (start, _) in pairwise(nothing_twice))
    taken = sum(end - start for start, end in destination.ranges)
    if gap <= 1000:
        assert taken < whole / 3 + tail
    else:
        # Two requests for all that isn't the footer are enough.
        assert len(destination.ranges) <= 3


def test_a_small_file_comes_with_one_request(tmp_path: Path, out: Path) -> None:
    (tmp_path / "in").mkdir()
    destination = made(tmp_path / "in", rows=100)
    assert fetch(destination, out) is True
    assert out.read_bytes() == (tmp_path / "in" / "rows.parquet").read_bytes()
    assert len(destination.ranges) == 1


def test_a_long_column_comes_in_pieces(tmp_path: Path, out: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(columns, "_SMALL", 1000)
    monkeypatch.setattr(columns, "LONGEST_RANGE", 5_000)
    (tmp_path / "in").mkdir()
    destination = made(tmp_path / "in")
    fetch(destination, out)
    assert read(out) == read(tmp_path / "in" / "rows.parquet")
    assert max(end - start for start, end in destination.ranges) <= 5_000


def test_a_file_that_was_replaced_or_is_none_of_parquet_is_an_error(
    tmp_path: Path, out: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(columns, "_SMALL", 10)
    (tmp_path / "in").mkdir()
    destination = made(tmp_path / "in", rows=100)
    stored = of(destination)
    (tmp_path / "in" / "rows.parquet").write_bytes(b"x" * stored.size)
    with connect() as duck:
        with pytest.raises(AylaError):
            fetch_columns(destination, stored, out, duck, WANTED.__contains__)
        replaced = of(destination)
        with pytest.raises((AylaError, duckdb.Error)):
            fetch_columns(destination, replaced, out, duck, WANTED.__contains__)
