from __future__ import annotations

import contextlib
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from random import Random
from typing import Any

import duckdb
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ayla_provider.archive.local import FileDestination
from ayla_provider.domain.csv import sample
from ayla_provider.domain.events import EVENT_TYPES
from ayla_provider.domain.hour import ExportHour
from ayla_provider.domain.manifest import Manifest
from ayla_provider.domain.typed_manifest import TypedManifest, quarantine_path
from ayla_provider.errors import AylaLayoutError, AylaWarehouseError
from ayla_provider.local_cloud.fleet import CYCLE, Fleet
from ayla_provider.rows import intake
from ayla_provider.rows.typed_archive import TypedArchive
from harness import reference
from tests.support.proofs import scale
from tests.warehouse.archive import HOUR, archive_fleet, archive_hour
from tests.warehouse.odd_files import OddFiles

HOURS = [HOUR + timedelta(hours=number) for number in range(CYCLE)]


def rows_of(path: Path) -> list[dict[str, Any]]:
    duck = duckdb.connect()
    duck.execute("set TimeZone = 'UTC'")
    found = duck.execute(f"select * from read_parquet('{path}')")
    names = [column[0] for column in found.description]
    return [dict(zip(names, row, strict=True)) for row in found.fetchall()]


def comparable(rows: list[dict[str, Any]], names: list[str]) -> list[tuple[Any, ...]]:
    return sorted((tuple(row.get(name) for name in names) for row in rows), key=repr)


@pytest.fixture
def typed(tmp_path: Path) -> TypedArchive:
    return TypedArchive(FileDestination(tmp_path / "archive"), FileDestination(tmp_path / "rows"))


@pytest.mark.parametrize("seed", [1, 2])
@pytest.mark.parametrize("event_type", EVENT_TYPES)
def test_every_hour_is_what_the_answer_key_and_the_reference_say(
    tmp_path: Path, typed: TypedArchive, event_type: str, seed: int
) -> None:
    fleet = Fleet(seed=seed)
    for hour in HOURS:
        manifest = archive_fleet(tmp_path / "archive", fleet, event_type, hour)
        made = typed.ensure(ExportHour(event_type, hour), {}).manifest
        answer = fleet.answer(event_type, hour)
        assert made.lines == sum(file.final.rows for file in answer.files)
        assert made.quarantined == sum(file.final.malformed_rows for file in answer.files)
        assert made.rows == answer.distinct_rows
        for file in made.files:
            assert file.lines == file.loaded + file.duplicates + file.quarantined
        if not manifest.files:
            assert made.path == ""
            continue
        compare(tmp_path, manifest, made, reference.read(event_type, files_of(tmp_path, manifest)))


@settings(max_examples=scale(15, 800), deadline=None)
@given(seed=st.integers(0, 2**32), first=st.sampled_from(sorted(reference.LAYOUTS)), count=st.integers(1, 3))
def test_odd_files_are_what_the_reference_says(
    tmp_path_factory: pytest.TempPathFactory, seed: int, first: str, count: int
) -> None:
    folder, random = tmp_path_factory.mktemp("odd"), Random(seed)
    event_type = reference.LAYOUTS[first].event_type
    same = [name for name, layout in reference.LAYOUTS.items() if layout.event_type == event_type]
    names = [first, *(random.choice(same) for _ in range(count - 1))]
    layouts = [replace(reference.LAYOUTS[name], header=random.random() < 0.3) for name in names]
    makers = {name: OddFiles(reference.LAYOUTS[name], seed) for name in same}
    files = []
    for name, layout in zip(names, layouts, strict=True):
        makers[name].layout = layout
        files.append(makers[name].file(random.randrange(12)))
    with pytest.MonkeyPatch.context() as patch:
        # A file has many blocks, and more than its head.
        patch.setattr(intake, "_STEP", random.choice([50, 1000, 10_000]))
        head = random.choice([4000, 256 * 1024])
        patch.setattr(intake, "HEAD", head)
        patch.setattr(sample, "HEAD", head)
        manifest = archive_hour(folder / "archive", event_type, files)
        archive = TypedArchive(FileDestination(folder / "archive"), FileDestination(folder / "rows"), max_malformed=1)
        made = archive.ensure(ExportHour(event_type, HOUR), {}).manifest
    # Where a header names the columns, their order makes no other layout.
    expected = [
        "registration-8" if layout.header and name == "registration-8-2020" else name
        for name, layout in zip(names, layouts, strict=True)
    ]
    assert [file.layout for file in made.files] == expected
    assert [file.header for file in made.files] == [layout.header for layout in layouts]
    compare(folder, manifest, made, reference.read(event_type, files_of(folder, manifest), layouts))


def files_of(folder: Path, manifest: Manifest) -> list[tuple[str, int, bytes]]:
    return [(one.source, one.generation, (folder / "archive" / one.path).read_bytes()) for one in manifest.files]


def compare(folder: Path, manifest: Manifest, made: TypedManifest, expected: reference.Expected) -> None:
    """Hold the rows, the balance of every file, and the quarantine against the reference."""
    hour = manifest.hour
    for file in made.files:
        assert (file.lines, file.loaded, file.duplicates, file.quarantined) == expected.balance(file.source)
    rows = rows_of(folder / "rows" / made.path)
    names = [column.name for column in made.columns]
    assert comparable(rows, names) == comparable([row | {"folder_hour": hour.start} for row in expected.rows], names)
    kept = folder / "archive" / quarantine_path(hour)
    assert kept.exists() == bool(expected.malformed)
    if not expected.malformed:
        return
    found = rows_of(kept)
    places = [(row["source_object"], row["line"], row["byte_offset"], row["row_bytes"]) for row in found]
    assert places == sorted(expected.malformed)
    contents = {source: data for source, _, data in files_of(folder, manifest)}
    for row in found:
        assert row["reason"]
        assert contents[row["source_object"]][row["byte_offset"] :].startswith(row["row_bytes"])


def test_long_values_end_a_row_group_early_so_that_it_fits_into_the_memory(tmp_path: Path, typed: TypedArchive) -> None:
    value = "YWJj" * 100_000
    row = "o,m,AC1,p,,string,{:08x}-b72a-11f0-8de9-0242ac120002,,{time},{time},,,,,,,,,,{},,output"
    data = "\n".join(row.format(number, value, time=HOUR.isoformat()) for number in range(120))
    archive_hour(tmp_path / "archive", "datapoint", [data.encode()])
    made = typed.ensure(ExportHour("datapoint", HOUR), {}).manifest
    duck = duckdb.connect()
    found = duck.execute(f"select row_group_bytes from parquet_metadata('{tmp_path / 'rows' / made.path}')").fetchall()
    assert made.rows == 120
    assert max(size for (size,) in found) < 48 * 1024 * 1024


def test_a_full_temporary_folder_is_named(tmp_path: Path, typed: TypedArchive, monkeypatch: pytest.MonkeyPatch) -> None:
    archive_hour(tmp_path / "archive", "connection", [b"1a2b3c4d,m,d1,2026-11-01T07:00:00Z,,Online"])
    hour = ExportHour("connection", HOUR)
    gone = str(tmp_path / "gone")
    monkeypatch.setattr("tempfile.tempdir", gone)
    with pytest.raises(AylaWarehouseError, match=f"temporary folder {gone} can't be used: No such file .* TMPDIR"):
        typed.ensure(hour, {})
    monkeypatch.undo()
    made = typed.ensure(hour, {}).manifest
    monkeypatch.setattr("tempfile.tempdir", gone)
    with pytest.raises(AylaWarehouseError, match=f"temporary folder {gone}"), typed.fetched(made):
        pass


REGISTRATION = "1a2b3c4d,m,d{:04},,{},Dsn,{}"
ON, OFF = "2026-11-01T07:00:00Z", "Sun Nov 01 06:00:00 UTC 2026"


def registrations(count: int, *rows: str) -> str:
    return "\n".join(REGISTRATION.format(number, *rows[number % len(rows)].split(" ")) for number in range(count))


@pytest.mark.parametrize(
    ("rows", "layout"),
    [
        pytest.param(["true {on},", "false ,{off}"], "registration-8", id="as in real files"),
        pytest.param(["true ,{on}", "false {off},"], "registration-8-2020", id="as documented in 2020"),
        pytest.param(["true {off},{on}", "false {on},{off}"], "registration-8-2020", id="with the date before"),
    ],
)
def test_the_dates_of_registrations_are_in_their_columns(
    tmp_path: Path, typed: TypedArchive, rows: list[str], layout: str
) -> None:
    data = registrations(8, *rows).replace("{on}", ON).replace("{off}", OFF)
    archive_hour(tmp_path / "archive", "registration", [data.encode()])
    made = typed.ensure(ExportHour("registration", HOUR), {}).manifest
    assert [file.layout for file in made.files] == [layout]
    for row in rows_of(tmp_path / "rows" / made.path):
        event, other = row["registered_at"], row["unregistered_at"]
        if not row["registered"]:
            event, other = other, event
        assert event
        assert other is None or other <= event


@pytest.mark.parametrize(("after", "is_loaded"), [(30, True), (60, False)])
def test_the_whole_file_decides_on_the_order_of_its_columns(
    tmp_path: Path, typed: TypedArchive, after: int, is_loaded: bool
) -> None:
    data = f"{registrations(400, f'true {ON},')}\n{registrations(after, f'true ,{ON}')}"
    archive_hour(tmp_path / "archive", "registration", [data.encode()])
    says = "registered contradicts the dates in 60 of 460 rows"
    with contextlib.nullcontext() if is_loaded else pytest.raises(AylaLayoutError, match=says):
        assert typed.ensure(ExportHour("registration", HOUR), {}).manifest.rows == 400 + after


@pytest.mark.parametrize(("more", "says"), [(65, "65 new columns"), (2000, "2,006 columns"), (64, "")])
def test_a_file_of_many_columns_is_refused(tmp_path: Path, typed: TypedArchive, more: int, says: str) -> None:
    row = b"1a2b3c4d,m,d1,2026-11-01T07:00:00Z,,Online" + b",x" * more
    archive_hour(tmp_path / "archive", "connection", [row])
    with pytest.raises(AylaLayoutError, match=says) if says else contextlib.nullcontext():
        assert typed.ensure(ExportHour("connection", HOUR), {}).manifest.rows == 1
