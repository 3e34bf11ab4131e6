"""The receipt of an hour's typed rows, and the errors if it, or the rows, have changed."""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ayla_provider.archive.local import FileDestination
from ayla_provider.domain import typed_manifest as typed
from ayla_provider.domain.csv.recognition import NAME_PATTERN
from ayla_provider.domain.hour import ExportHour
from ayla_provider.domain.paths import manifest_path
from ayla_provider.domain.tables import Column, ColumnType
from ayla_provider.domain.typed_manifest import RowsFile, TypedFile, TypedManifest
from ayla_provider.errors import AylaDestinationError, AylaNewerFormatError
from ayla_provider.rows.typed_archive import TypedArchive
from tests.rows.test_expressions import CONNECTION
from tests.warehouse.archive import HOUR, archive_hour

# A record has no control characters.
TEXT = st.text(st.characters(exclude_categories=["Cc", "Cs", "Zl", "Zp"]), max_size=20)
COUNTS = st.integers(0, 2**53)
FILES = st.builds(TypedFile, TEXT, COUNTS, TEXT, st.tuples(TEXT, TEXT), st.booleans(), *[COUNTS] * 4)
COLUMNS = st.builds(Column, st.from_regex(NAME_PATTERN, fullmatch=True), st.sampled_from(ColumnType), TEXT)
RECEIPTS = st.builds(
    TypedManifest,
    hour=st.builds(ExportHour, TEXT, st.datetimes(timezones=st.just(UTC))),
    version=TEXT,
    path=st.just(""),
    size=COUNTS,
    crc32c=TEXT,
    columns=st.lists(COLUMNS, max_size=3).map(tuple),
    identity=st.none() | TEXT,
    files=st.lists(FILES, max_size=3).map(tuple),
    quarantine=st.just(""),
    privacy=st.dictionaries(TEXT, TEXT, max_size=2),
    written_at=TEXT,
    written_by=st.dictionaries(TEXT, TEXT, max_size=2),
)


@st.composite
def receipts_of_sets(draw: st.DrawFn) -> TypedManifest:
    receipt = draw(RECEIPTS)
    parts = [
        RowsFile(typed.parquet_path(receipt.hour, number), draw(COUNTS), draw(TEXT), rows=0)
        for number in range(draw(st.integers(2, 4)))
    ]
    parts[-1] = replace(parts[-1], rows=receipt.rows)
    return replace(receipt, path=parts[0].path, size=parts[0].size, crc32c=parts[0].crc32c, parts=tuple(parts))


@given(RECEIPTS | receipts_of_sets())
def test_a_receipt_is_read_as_it_was_written(receipt: TypedManifest) -> None:
    assert typed.parse_typed_manifest(receipt.dumps(), "x", receipt.hour) == receipt
    assert typed.parse_typed_manifest(receipt.dumps().encode(), "x", receipt.hour) == receipt
    document = json.loads(receipt.dumps())
    assert (document["lines"], document["rows"]) == (receipt.lines, receipt.rows)


def ready(folder: Path) -> tuple[TypedArchive, TypedManifest, Path, Path]:
    """Return the typed rows of an hour, and the paths of receipt and rows."""
    archive_hour(folder / "archive", "connection", [CONNECTION])
    archive = TypedArchive(FileDestination(folder / "archive"), FileDestination(folder / "rows"))
    made = archive.ensure(ExportHour("connection", HOUR), {"dag_id": "d"}).manifest
    return (
        archive,
        made,
        folder / "rows" / typed.typed_manifest_path(ExportHour("connection", HOUR)),
        folder / "rows" / made.path,
    )


def test_a_receipt_of_a_newer_format_is_valid_and_stays(tmp_path: Path) -> None:
    archive, _, receipt, _ = ready(tmp_path)
    receipt.write_bytes(b'{"format": "ayla-export-typed/99"}')
    with pytest.raises(AylaNewerFormatError, match=r"hour=07\.json has the format .*/99.* Don't move"):
        archive.ensure(ExportHour("connection", HOUR), {})
    assert receipt.read_bytes() == b'{"format": "ayla-export-typed/99"}'


@pytest.mark.parametrize(
    "broken",
    [b"", b"{", b"[]", b"null", b"\xff", b'{"format": "another/2"}', b'{"format": "ayla-export-typed/1"}'],
)
def test_a_broken_receipt_is_reported_with_its_place(tmp_path: Path, broken: bytes) -> None:
    archive, _, receipt, _ = ready(tmp_path)
    receipt.write_bytes(broken)
    with pytest.raises(AylaDestinationError, match=r"hour=07\.json isn't a valid receipt .* Move it away") as raised:
        archive.ensure(ExportHour("connection", HOUR), {})
    assert f"file://{receipt}" in str(raised.value)
    receipt.unlink()
    assert archive.ensure(ExportHour("connection", HOUR), {}).made


@pytest.mark.parametrize("field", ["hour", "columns", "files", "version", "identity"])
def test_an_incomplete_receipt_is_reported(tmp_path: Path, field: str) -> None:
    _, made, _, _ = ready(tmp_path)
    document = json.loads(made.dumps())
    for broken in ({k: v for k, v in document.items() if k != field}, document | {field: 5}):
        if field in ("version", "identity") and field in broken:
            continue
        with pytest.raises(AylaDestinationError, match="isn't a valid receipt"):
            typed.parse_typed_manifest(json.dumps(broken), "x", made.hour)


COLUMN = {"name": "dsn", "type": "text", "description": ""}


@pytest.mark.parametrize(
    "change",
    [
        {"event_type": "loads"},
        {"event_type": "a\u202eb"},
        {"event_type": "a\x1b[2J\nb"},
        {"crc32c": "\x1b[2J"},
        {"hour": "2026-11-01T08:00:00+00:00"},
        {"path": "../../etc/passwd"},
        {"path": "event_type=datapoint/date=2026-11-01/hour=07/rows.parquet"},
        {"quarantine": "../x"},
        {"columns": [COLUMN | {"name": "a\\"}]},
        {"columns": [COLUMN | {"name": " STRING; drop table x; --"}]},
        {"columns": [COLUMN | {"name": "dsn\n"}]},
    ],
)
def test_a_receipt_says_nothing_that_this_hour_cannot_have(tmp_path: Path, change: dict[str, Any]) -> None:
    archive, made, receipt, _ = ready(tmp_path)
    receipt.write_text(json.dumps(json.loads(made.dumps()) | change))
    with pytest.raises(AylaDestinationError, match="isn't a valid receipt") as refused:
        archive.ensure(made.hour, {})
    assert str(refused.value).isprintable()


@pytest.mark.parametrize(
    "change",
    [
        {"parts": []},
        {"parts": [{"path": "event_type=connection/date=2026-11-01/hour=07/rows.parquet"}]},
        {"parts": ["../../etc/passwd", "rows.parquet"]},
        {"format": "ayla-export-typed/1"},
    ],
)
def test_a_receipt_of_several_files_says_nothing_that_this_hour_cannot_have(
    tmp_path: Path, change: dict[str, Any]
) -> None:
    archive, made, receipt, _ = ready(tmp_path)
    parts = [RowsFile(typed.parquet_path(made.hour, number), 1, "", rows) for number, rows in enumerate([made.rows, 0])]
    valid = replace(made, parts=tuple(parts))
    assert typed.parse_typed_manifest(valid.dumps(), "x", made.hour).rows_files == tuple(parts)
    swapped = {"parts": list(reversed(json.loads(valid.dumps())["parts"]))}
    more = {"parts": [part | {"rows": 7} for part in json.loads(valid.dumps())["parts"]]}
    for each in (change, swapped, more):
        receipt.write_text(json.dumps(json.loads(valid.dumps()) | each))
        with pytest.raises(AylaDestinationError, match="isn't a valid receipt"):
            archive.ensure(made.hour, {})


def test_a_manifest_of_another_hour_is_not_taken_for_this_one(tmp_path: Path) -> None:
    archive, made, _, _ = ready(tmp_path)
    next_hour = ExportHour(made.hour.event_type, made.hour.end)
    copied = tmp_path / "archive" / manifest_path(next_hour)
    copied.parent.mkdir(parents=True, exist_ok=True)
    copied.write_bytes((tmp_path / "archive" / manifest_path(made.hour)).read_bytes())
    with pytest.raises(AylaDestinationError, match="is the manifest of another hour"):
        archive.ensure(next_hour, {})


def test_what_was_made_is_left_as_it_is(tmp_path: Path) -> None:
    archive, made, receipt, rows = ready(tmp_path)
    before = {path: (path.read_bytes(), path.stat()) for path in (tmp_path / "rows").rglob("*") if path.is_file()}
    again = archive.ensure(ExportHour("connection", HOUR), {"dag_id": "another"})
    assert (again.made, again.news) == (False, ())
    assert again.manifest.written_by == {"dag_id": "d"}
    assert replace(made, columns=()) == replace(again.manifest, columns=())
    after = {path: (path.read_bytes(), path.stat()) for path in (tmp_path / "rows").rglob("*") if path.is_file()}
    assert {path: (data, one.st_mtime_ns) for path, (data, one) in before.items()} == {
        path: (data, one.st_mtime_ns) for path, (data, one) in after.items()
    }
    assert {receipt, rows} <= set(after)


def test_rows_that_are_gone_or_of_another_size_are_made_again(tmp_path: Path) -> None:
    archive, _, _, rows = ready(tmp_path)
    rows.unlink()
    assert archive.ensure(ExportHour("connection", HOUR), {}).made
    rows.write_bytes(rows.read_bytes() + b"x")
    assert archive.ensure(ExportHour("connection", HOUR), {}).made
    assert not archive.ensure(ExportHour("connection", HOUR), {}).made


def test_rows_that_were_changed_are_never_loaded(tmp_path: Path) -> None:
    archive, made, _, rows = ready(tmp_path)
    data = rows.read_bytes()
    rows.write_bytes(data[:-10] + bytes(10))
    with pytest.raises(AylaDestinationError, match="its receipt says"), archive.fetched(made):
        pass
    rows.write_bytes(data)
    with archive.fetched(made) as local:
        assert local is not None
        assert local.read_bytes() == data
    assert not local.exists()


def test_an_hour_without_files_has_a_receipt_and_no_rows(tmp_path: Path) -> None:
    archive_hour(tmp_path / "archive", "connection", [])
    archive = TypedArchive(FileDestination(tmp_path / "archive"), FileDestination(tmp_path / "rows"))
    made = archive.ensure(ExportHour("connection", HOUR), {})
    assert (made.made, made.manifest.path, made.manifest.version, made.manifest.rows) == (True, "", "empty", 0)
    with archive.fetched(made.manifest) as local:
        assert local is None
    assert not archive.ensure(ExportHour("connection", HOUR), {}).made
    hours = [ExportHour("connection", HOUR), ExportHour("connection", datetime(2026, 11, 1, 8, tzinfo=UTC))]
    assert archive.loaded(hours) == {hours[0]: "empty"}
