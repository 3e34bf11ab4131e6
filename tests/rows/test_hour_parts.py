"""An hour that is typed in parts is the same as one that is typed by one task."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator, Sequence
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from random import Random
from typing import Any

import duckdb
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ayla_provider.archive.local import FileDestination
from ayla_provider.domain.csv.columns import ColumnLayout
from ayla_provider.domain.hour import ExportHour
from ayla_provider.domain.parts import divide
from ayla_provider.domain.privacy import PrivacyPolicy
from ayla_provider.domain.tables import Column, ColumnType
from ayla_provider.domain.typed_manifest import TypedManifest, quarantine_path, typed_manifest_path
from ayla_provider.errors import AylaError, AylaQuarantineError
from ayla_provider.rows.typed_archive import TypedArchive
from harness import reference
from tests.rows.test_expressions import CONNECTION
from tests.rows.test_typed_archive import rows_of
from tests.support.proofs import scale, spread
from tests.warehouse.archive import HOUR, archive_hour
from tests.warehouse.loading import everything, load_of
from tests.warehouse.odd_files import OddFiles

POLICIES = [
    PrivacyPolicy(),
    PrivacyPolicy({"dsn": "hash", "user_uuid": "hash"}, "0123456789abcdef"),
    PrivacyPolicy({"dsn": "drop"}),
]

DATAPOINT = (
    "1a2b3c4d,LC-THERMO-2,{dsn},temperature,VGVtcA==,integer,{id},,{at},{at},a0b1c2d3-1111-2222-3333-abcdef000001,"
    "false,,false,user,{value},,,,,e30=,output"
)
WHOLE_HOUR = 10**12


def typed(folder: Path, most: int, policy: PrivacyPolicy | None = None, **more: Any) -> TypedArchive:
    archive, rows = FileDestination(folder / "archive"), FileDestination(folder / "rows")
    more = {"max_malformed": 1} | more
    return TypedArchive(archive, rows, policy=policy, max_bytes_per_task=most, **more)


def hour_of(event_type: str) -> ExportHour:
    return ExportHour(event_type, HOUR)


def facts(folder: Path, made: TypedManifest) -> dict[str, Any]:
    """Return what an hour is, however it is divided."""
    read = [rows_of(folder / "rows" / file.path) for file in made.rows_files]
    assert [len(rows) for rows in read] == [file.rows for file in made.rows_files]
    names = [column.name for column in made.columns]
    for rows in read:
        # DuckDB adds the columns of the path.
        assert all(list(row)[: len(names)] == names for row in rows)
    kept = folder / "archive" / quarantine_path(made.hour)
    return {
        "receipt": replace(made, path="", size=0, crc32c="", parts=(), written_at=""),
        "rows": sorted(repr(row) for rows in read for row in rows),
        "quarantine": rows_of(kept) if kept.exists() else None,
    }


def files_below(folder: Path) -> list[str]:
    return sorted(
        str(path.relative_to(folder))
        for path in folder.rglob("*")
        if path.is_file() and not path.name.startswith(".") and "_layouts" not in path.parts
    )


def same_as_one_task(
    folder: Path, event_type: str, contents: Sequence[bytes], most: int, policy: PrivacyPolicy, **more: Any
) -> TypedManifest:
    for name in ("one", "parts"):
        archive_hour(folder / name / "archive", event_type, contents)
    hour = hour_of(event_type)
    one = typed(folder / "one", WHOLE_HOUR, policy, **more).ensure(hour, {}).manifest
    parts = typed(folder / "parts", most, policy, **more)
    # Some parts are made by tasks of their own, in any order. The commit makes the others.
    numbers = list(range(1, len(contents) + 1))
    Random(len(contents) + most).shuffle(numbers)
    for number in numbers[::2]:
        parts.ensure_part(hour, number)
    made = parts.ensure(hour, {}).manifest
    assert facts(folder / "parts", made) == facts(folder / "one", one)
    files = [entry for entry in files_below(folder / "parts") if "/rows-" not in entry]
    assert files == files_below(folder / "one")
    return made


@settings(max_examples=scale(3, 500, ci=8), deadline=None)
@given(seed=st.integers(0, 2**32), first=st.sampled_from(sorted(reference.LAYOUTS)), count=st.integers(2, 6))
def test_odd_files_in_parts_are_the_same_as_in_one_task(
    tmp_path_factory: pytest.TempPathFactory, seed: int, first: str, count: int
) -> None:
    folder, random = tmp_path_factory.mktemp("odd"), Random(seed)
    event_type = reference.LAYOUTS[first].event_type
    same = [name for name, layout in reference.LAYOUTS.items() if layout.event_type == event_type]
    makers = {name: OddFiles(reference.LAYOUTS[name], seed) for name in same}
    contents = []
    for name in [first, *(random.choice(same) for _ in range(count - 1))]:
        makers[name].layout = replace(reference.LAYOUTS[name], header=random.random() < 0.3)
        contents.append(makers[name].file(random.randrange(12)))
    # Some of them arrive twice, and some are empty.
    contents += random.choices(contents, k=random.randint(0, 2))
    contents += [b""] * random.randint(0, 1)
    random.shuffle(contents)
    same_as_one_task(folder, event_type, contents, random.choice([1, 500, 2000]), random.choice(POLICIES))


TIMES = [f"Wed Feb 05 12:08:0{second} UTC 2020" for second in range(3)]
ROWS = st.fixed_dictionaries(
    {
        "id": st.sampled_from(["", "null", *(f"{number:08x}-4697-11ea-8080-808080808080" for number in range(4))])
        | st.just("0000000A-4697-11EA-8080-808080808080")
        | st.just("0000000a-4697-11ea-8080-808080808080"),
        "at": st.sampled_from(["", *TIMES]),
        "dsn": st.sampled_from(["AC1", "AC2"]),
        "value": st.sampled_from(["1", "2", "x"]),
    }
)


@settings(max_examples=scale(4, 1000, ci=12), deadline=None)
@given(
    files=st.lists(st.lists(ROWS, max_size=5), min_size=2, max_size=5),
    more=st.sets(st.integers(0, 4)),
    most=st.sampled_from([1, 5000, 9000]),
    policy=st.sampled_from(POLICIES),
)
def test_rows_that_repeat_across_parts_are_chosen_as_in_one_task(
    tmp_path_factory: pytest.TempPathFactory,
    files: list[list[dict[str, str]]],
    more: set[int],
    most: int,
    policy: PrivacyPolicy,
) -> None:
    contents = []
    for number, rows in enumerate(files):
        # A new column in some files only. Each file has rows by which its layout is recognised.
        new = ",new" if number in more else ""
        usual = [
            {"id": f"{number:04x}{line:04x}-0000-11ea-8080-808080808080", "at": TIMES[0], "dsn": "AC1", "value": "1"}
            for line in range(12)
        ]
        contents.append("\n".join(DATAPOINT.format(**row) + new for row in [*usual, *rows]).encode())
    same_as_one_task(tmp_path_factory.mktemp("repeats"), "datapoint", contents, most, policy)


def test_a_column_that_has_another_type_in_another_part_is_typed_as_in_one_task(tmp_path: Path) -> None:
    text, number = (Column("level", kind, "") for kind in (ColumnType.TEXT, ColumnType.INTEGER))
    at = Column("at", ColumnType.TIMESTAMP, "")
    layouts = (
        ColumnLayout("noise", "noise-2", ("dsn", "level"), own=(text,)),
        ColumnLayout("noise", "noise-3", ("dsn", "level", "at"), own=(number, at)),
    )
    contents = [b"AC1,12\nAC2,loud\nAC3,13", b"AC1,12,2026-11-01T07:00:00Z\nAC4,14,2026-11-01T07:00:00Z"]
    made = same_as_one_task(tmp_path, "noise", contents, 1, PrivacyPolicy(), layouts=layouts)
    assert (made.rows, made.quarantined) == (4, 1)


def connections(*minutes: int) -> bytes:
    return b"\n".join(CONNECTION.replace(b":45", b":%02d" % minute) for minute in minutes)


def test_only_the_parts_are_rewritten_that_hold_a_row_that_is_left_out(tmp_path: Path) -> None:
    archive_hour(tmp_path / "archive", "connection", [connections(1, 2), connections(3), connections(2, 4)])
    hour, archive = hour_of("connection"), typed(tmp_path, 1)
    for number in (1, 2, 3):
        report = archive.ensure_part(hour, number)
        assert report
        assert report.made
    before = {path.name: path.read_bytes() for path in (tmp_path / "rows/_parts").rglob("*.rows.parquet")}
    made = archive.ensure(hour, {}).manifest
    after = [(tmp_path / "rows" / file.path).read_bytes() for file in made.parts]
    assert [file.rows for file in made.parts] == [1, 1, 2]
    assert [content in before.values() for content in after] == [False, True, True]


def test_no_reader_of_all_files_ever_sees_a_row_twice(tmp_path: Path) -> None:
    """Whatever the division before and after is, and wherever the commit is."""
    seen: list[list[str]] = []

    class Watched(FileDestination):
        def write(self, path: str, *arguments: Any, **more: Any) -> Any:
            stored = super().write(path, *arguments, **more)
            look()
            return stored

        def remove(self, stored: Any) -> None:
            super().remove(stored)
            look()

    def look() -> None:
        found = sorted((tmp_path / "rows" / hour_of("connection").partition).glob("*.parquet"))
        seen.append([repr(row) for path in found for row in rows_of(path)])

    files = [connections(1, 2), connections(3), connections(2, 4), connections(5)]
    policies = [PrivacyPolicy(), PrivacyPolicy({"user_uuid": "drop"})]
    archive_hour(tmp_path / "archive", "connection", files)
    sizes = [1, 2 * len(files[0]) + 1, WHOLE_HOUR, 1]
    for number, most in enumerate(sizes):
        archive, rows = FileDestination(tmp_path / "archive"), Watched(tmp_path / "rows")
        TypedArchive(archive, rows, policy=policies[number % 2], max_bytes_per_task=most).ensure(
            hour_of("connection"), {}
        )
        assert len(seen[-1]) == 5
    assert all(len(rows) == len(set(rows)) for rows in seen)
    assert len({len(rows) for rows in seen}) > 2


def test_an_hour_whose_files_fit_one_task_again_has_one_file_and_the_older_format(tmp_path: Path) -> None:
    archive_hour(tmp_path / "archive", "connection", [connections(1), connections(2), connections(3)])
    made = typed(tmp_path, 1).ensure(hour_of("connection"), {}).manifest
    assert len(made.parts) == 3
    assert json.loads((tmp_path / "rows" / typed_manifest_path(made.hour)).read_text())["format"].endswith("/2")
    (tmp_path / "rows" / typed_manifest_path(made.hour)).unlink()
    again = typed(tmp_path, WHOLE_HOUR).ensure(hour_of("connection"), {}).manifest
    assert (again.parts, again.rows) == ((), 3)
    assert [path.name for path in (tmp_path / "rows" / made.hour.partition).iterdir()] == ["rows.parquet"]
    assert json.loads((tmp_path / "rows" / typed_manifest_path(made.hour)).read_text())["format"].endswith("/1")


def test_too_many_malformed_lines_are_judged_over_the_hour_and_nothing_becomes_visible(tmp_path: Path) -> None:
    wrong = b"\n".join([b"wrong,line"] * 6)
    good = connections(*range(10, 30))
    archive_hour(tmp_path / "archive", "connection", [good, connections(*range(40, 48)) + b"\n" + wrong])
    # The second part alone has too many.
    assert typed(tmp_path, 1, max_malformed=0.3).ensure(hour_of("connection"), {}).manifest.quarantined == 6
    (tmp_path / "rows" / typed_manifest_path(hour_of("connection"))).unlink()
    before = files_below(tmp_path / "rows")
    with pytest.raises(AylaQuarantineError, match="6 of 34 lines are malformed"):
        typed(tmp_path, 1, max_malformed=0.1).ensure(hour_of("connection"), {})
    assert [name for name in files_below(tmp_path / "rows") if not name.startswith("_parts")] == before


def test_lines_that_are_malformed_no_longer_leave_the_quarantine(tmp_path: Path) -> None:
    for revision, last in enumerate([b"\nwrong,line", b""], 1):
        files = [connections(1), connections(2, 3) + last]
        archive_hour(tmp_path / "archive", "connection", files, generation=revision, revision=revision)
        made = typed(tmp_path, 1).ensure(hour_of("connection"), {}).manifest
        kept = rows_of(tmp_path / "archive" / quarantine_path(made.hour))
        assert (made.rows, made.quarantined, len(kept), bool(made.quarantine)) == (
            3,
            2 - revision,
            2 - revision,
            revision == 1,
        )


class Killed(BaseException):
    """The worker ends, without a chance to tidy up."""


class Mortal(FileDestination):
    """A destination that dies before its n-th change."""

    left = 0

    def _change(self) -> None:
        Mortal.left -= 1
        if Mortal.left == 0:
            raise Killed

    def write(self, path: str, *arguments: Any, **more: Any) -> Any:
        self._change()
        return super().write(path, *arguments, **more)

    def remove(self, stored: Any) -> None:
        self._change()
        super().remove(stored)


def steps(folder: Path, most: int) -> Iterator[Any]:
    """Yield the tasks of an hour: each part, then the commit, then the load."""
    archive = TypedArchive(
        Mortal(folder / "archive"), Mortal(folder / "rows"), max_malformed=1, max_bytes_per_task=most
    )
    hour = hour_of("connection")
    for number in (1, 2, 3):
        yield lambda number=number: archive.ensure_part(hour, number)
    yield lambda: archive.ensure(hour, {})


def run(folder: Path, most: int, dies_at: int = 0) -> bool:
    """Run the tasks, each again if it is killed; return whether one was."""
    Mortal.left = dies_at
    killed = False
    for step in steps(folder, most):
        try:
            step()
        except Killed:
            killed = True
            step()
    return killed


@pytest.mark.ci
def test_a_crash_before_any_write_of_a_part_or_of_the_commit_ends_in_the_same_state(tmp_path: Path) -> None:
    first = [connections(1, 2) + b"\nwrong", connections(3, 1), connections(2, 4)]
    second = [connections(1, 2) + b"\nwrong", connections(3, 1), connections(2, 4) + b"\nwrong", connections(9)]
    archive_hour(tmp_path / "start/archive", "connection", first)
    run(tmp_path / "start", 1)
    archive_hour(tmp_path / "start/archive", "connection", second, generation=2, revision=2)

    def state(folder: Path) -> Any:
        made = typed(folder, 1).ensure(hour_of("connection"), {})
        assert not made.made
        return facts(folder, made.manifest), files_below(folder)

    shutil.copytree(tmp_path / "start", tmp_path / "expected")
    assert not run(tmp_path / "expected", 1)
    changes = -Mortal.left
    # Each part has a record and up to three files. The commit has four files, lines, a receipt, and 15 removals.
    assert changes >= 30
    expected = state(tmp_path / "expected")
    assert not [name for name in expected[1] if "_parts" in name]
    for dies_at in spread(changes, scale(8, 1000, ci=1000)):
        folder = tmp_path / f"killed-{dies_at}"
        shutil.copytree(tmp_path / "start", folder)
        assert run(folder, 1, dies_at)
        assert state(folder) == expected, dies_at
        shutil.rmtree(folder)


def test_a_load_takes_the_files_one_after_the_other(tmp_path: Path) -> None:
    from ayla_provider.warehouse.duckdb import DuckDBWarehouse

    archive_hour(tmp_path / "archive", "connection", [connections(1, 2), connections(2), connections(2, 4)])
    tables = []
    for name, most in (("one", WHOLE_HOUR), ("parts", 1)):
        archive = typed(tmp_path, most)
        (tmp_path / "rows" / typed_manifest_path(hour_of("connection"))).unlink(missing_ok=True)
        made = archive.ensure(hour_of("connection"), {}).manifest
        with DuckDBWarehouse(tmp_path / f"{name}.duckdb") as warehouse:
            warehouse.prepare(made.table)
            files = archive.files(made)
            warehouse.replace(replace(load_of(made, next(files)), further=files))
        tables.append(everything(tmp_path / f"{name}.duckdb"))
    assert tables[0] == tables[1]
    # The second file has no row that counts, so it isn't fetched.
    assert [file.rows for file in made.parts] == [1, 0, 2]
    with archive.fetched(made) as pattern:
        assert pattern
        ((count,),) = duckdb.connect().execute(f"select count(*) from read_parquet('{pattern}')").fetchall()
    assert count == 3


def test_an_unknown_record_of_a_part_is_made_again(tmp_path: Path) -> None:
    archive_hour(tmp_path / "archive", "connection", [connections(1), connections(2)])
    hour, archive = hour_of("connection"), typed(tmp_path, 1)
    archive.ensure_part(hour, 1)
    (record,) = (tmp_path / "rows/_parts").rglob("*.json")
    text = record.read_text()
    for broken in (
        text.replace("ayla-export-part/1", "ayla-export-part/9"),
        text.replace("connection-6", "other"),
        "{",
    ):
        record.write_text(broken)
        report = archive.ensure_part(hour, 1)
        assert report
        assert report.made
    with pytest.raises(AylaError, match="has no manifest"):
        archive.ensure_part(ExportHour("location", HOUR), 1)


@given(st.lists(st.integers(0, 100), max_size=30), st.integers(1, 200))
def test_parts_hold_all_files_in_order_and_no_more_bytes_than_allowed(sizes: list[int], most: int) -> None:
    class File:
        def __init__(self, size: int) -> None:
            self.size = size

    files = [File(size) for size in sizes]
    parts = divide(files, most)
    assert [file for part in parts for file in part] == files
    assert all(len(part) == 1 or sum(file.size for file in part) <= most for part in parts)
    # No two neighbours fit into one part.
    assert all(sum(file.size for file in [*one, next_one[0]]) > most for one, next_one in pairwise(parts))
