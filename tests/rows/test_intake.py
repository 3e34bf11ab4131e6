"""Lines that aren't rows: where each was, what becomes of the hour, and that only the quarantine shows them."""

from __future__ import annotations

import contextlib
import json
import logging
import tracemalloc
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ayla_provider.archive.local import FileDestination
from ayla_provider.archive.records import Records
from ayla_provider.domain.csv import sample
from ayla_provider.domain.csv.columns import COLUMN_LAYOUTS
from ayla_provider.domain.csv.sample import LONGEST_ROW
from ayla_provider.domain.hour import ExportHour
from ayla_provider.domain.manifest import Erased, ManifestFile
from ayla_provider.domain.privacy import PrivacyPolicy
from ayla_provider.domain.typed_manifest import parquet_path, quarantine_path, typed_manifest_path
from ayla_provider.errors import (
    AylaDestinationError,
    AylaError,
    AylaLayoutError,
    AylaNotSettledError,
    AylaQuarantineError,
    AylaWarehouseError,
)
from ayla_provider.rows import intake
from ayla_provider.rows.duck import connect
from ayla_provider.rows.intake import GoodLines, fetch_good_lines
from ayla_provider.rows.parquet import type_hour
from ayla_provider.rows.quarantine import Quarantine
from ayla_provider.rows.typed_archive import TypedArchive
from ayla_provider.transport.checksum import Crc32c
from harness import reference
from tests.rows.test_expressions import CONNECTION, typed
from tests.rows.test_typed_archive import rows_of
from tests.support.proofs import scale
from tests.warehouse.archive import HOUR, archive_hour
from tests.warehouse.odd_files import OddFiles


@pytest.mark.parametrize(
    "name",
    [
        "_SUCCESS",
        "_committed_17",
        ".f.csv.crc",
        "f.csv.crc",
        "f.csv.MD5",
        "f.sha256",
        "_metadata/_SUCCESS",
        "manifest.json",
    ],
)
def test_what_tools_put_beside_a_file_has_no_lines(tmp_path: Path, name: str) -> None:
    good, _ = fetch(tmp_path, name, b"d41d8cd98f00b204e9800998ecf8427e")
    assert (good.recognised, good.all_lines, good.count) == (None, 0, 0)
    assert not good.path.exists()


@pytest.mark.parametrize("name", ["_f.csv", "f.csv", "f", "f.json", "crc", "_x.CSV"])
def test_any_other_file_is_read(tmp_path: Path, name: str) -> None:
    good, _ = fetch(tmp_path, name, (CONNECTION + b"\n") * 3)
    assert good.count == 3
    with pytest.raises(AylaLayoutError):
        fetch(tmp_path / "other", name, b"d41d8cd98f00b204e9800998ecf8427e")


@pytest.mark.parametrize("rest", [b"", b"\n" * 9, b"a,b\n" * 100_000])
@pytest.mark.parametrize(
    ("first", "name"), [(b"PAR1\x15", "Parquet"), (b"\x1f\x8b", "gzip"), (b"PK\x03\x04", "ZIP"), (b"Obj\x01", "Avro")]
)
def test_a_file_of_another_format_is_named(tmp_path: Path, first: bytes, name: str, rest: bytes) -> None:
    with pytest.raises(AylaLayoutError, match=f"f.csv: a {name} file, but plain CSV was expected"):
        fetch(tmp_path, "f.csv", first + rest)


@pytest.mark.parametrize("data", [b"PAR1\x15", b"a,b,c\n" * 9, b"x" * (LONGEST_ROW + 1)])
def test_only_bytes_with_the_right_checksum_show_what_a_file_is(tmp_path: Path, data: bytes) -> None:
    with pytest.raises(AylaDestinationError, match="Was it changed there"):
        fetch(tmp_path, "f.csv", data, (CONNECTION + b"\n") * 3)


def fetch(folder: Path, name: str, data: bytes, copied: bytes | None = None) -> tuple[GoodLines, Quarantine]:
    """
    Bring a file of an archive on this disk to a load.

    :param copied: what the file was, if it has changed since
    """
    copied = data if copied is None else copied
    (folder / "archive").mkdir(parents=True)
    (folder / "archive" / "f").write_bytes(data)
    source = f"1a2b/Connection/2024-05-09 02:00:00/{name}"
    file = ManifestFile(source, 0, len(copied), Crc32c(copied).base64, "", "f")
    with Quarantine(folder / "quarantine") as quarantine:
        good = fetch_good_lines(
            FileDestination(folder / "archive"),
            file,
            folder / "good.csv",
            event_type="connection",
            layouts=COLUMN_LAYOUTS,
            quarantine=quarantine,
        )
    return good, quarantine


BAD = CONNECTION.replace(b"2020", b"20x0")


def quarantined(folder: Path) -> list[tuple[int, int, bytes]]:
    found = rows_of(folder / "archive" / quarantine_path(ExportHour("connection", HOUR)))
    return [(row["line"], row["byte_offset"], row["row_bytes"]) for row in found]


@pytest.mark.parametrize(
    "data",
    [
        pytest.param((CONNECTION + b"\n") * 9 + BAD + b"\n" + BAD, id="no last line end"),
        pytest.param(b"\xef\xbb\xbf" + (CONNECTION + b"\n") * 9 + BAD, id="a byte order mark"),
        pytest.param(((CONNECTION + b"\n") * 3 + CONNECTION + b"\r\n") * 3 + BAD + b"\n", id="mostly LF"),
        pytest.param(((CONNECTION + b"\r\n") * 3 + CONNECTION + b"\n") * 3 + BAD + b"\r\n", id="mostly CRLF"),
        pytest.param((CONNECTION + b"\n\n") * 9 + BAD + b"\n", id="empty lines"),
        pytest.param((CONNECTION + b"\r\n") * 9 + CONNECTION[:-3] + b"\rx\n" + BAD + b"\r\n", id="a CR in a CRLF file"),
        pytest.param((CONNECTION + b"\r\n") * 9 + BAD + b"\r\r\n" + BAD + b"\r\n", id="a CR ahead of CRLF"),
        pytest.param(b"\xef\xbb\xbf" * 2 + BAD + b"\n" + (CONNECTION + b"\n") * 9 + BAD, id="two marks"),
        pytest.param(
            CONNECTION.replace(b"LC-", b"x" * 300_000) + b"\n" + (CONNECTION + b"\n") * 9 + BAD, id="a long first row"
        ),
        pytest.param((CONNECTION + b"\n") * 9 + b"\x01," + BAD[9:], id="a control character"),
    ],
)
def test_a_line_that_is_left_out_is_found_again_by_its_place(tmp_path: Path, data: bytes) -> None:
    made = typed(tmp_path, "connection", data)
    found = quarantined(tmp_path)
    assert made.quarantined == len(found)
    lines = data.removeprefix(b"\xef\xbb\xbf").split(b"\n")
    for line, offset, row in found:
        assert data[offset : offset + len(row)] == row
        assert lines[line - 1].removesuffix(b"\r") == row
    assert made.lines == made.rows + made.duplicates + made.quarantined == len(lines) - (not lines[-1])


def test_a_file_of_nothing_but_empty_lines_has_no_rows(tmp_path: Path) -> None:
    made = typed(tmp_path, "connection", b"\n\r\n", CONNECTION)
    assert [(file.layout, file.lines, file.quarantined) for file in made.files] == [("", 2, 2), ("connection-6", 1, 0)]
    assert quarantined(tmp_path) == [(1, 0, b""), (2, 1, b"")]


@pytest.mark.parametrize("data", [b"", b"oem_id,oem_model,dsn,event_time,user_uuid,status", b"\xef\xbb\xbf"])
def test_a_file_without_lines_is_loaded_as_that(tmp_path: Path, data: bytes) -> None:
    made = typed(tmp_path, "connection", data)
    assert (made.lines, made.rows, made.quarantine) == (0, 0, "")
    assert rows_of(tmp_path / "rows" / made.path) == []


def connection(size: int) -> bytes:
    """Return a row of so many bytes."""
    return CONNECTION.replace(b"LC-", b"x" * (size - len(CONNECTION) + 3), 1)


LONG = 2000
"""The longest row in the next tests."""


@pytest.fixture
def short_rows(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in {"LONGEST_ROW": LONG, "_STEP": 500, "_KEPT": 100, "HEAD": 600}.items():
        monkeypatch.setattr(intake, name, value)
    for name, value in {"LONGEST_ROW": LONG, "LONGEST_HEAD": 2 * LONG, "HEAD": 600}.items():
        monkeypatch.setattr(sample, name, value)


@pytest.mark.usefixtures("short_rows")
@pytest.mark.parametrize("more", [-500, 0, 1, 2, 499, 500, 501, 10_000])
@pytest.mark.parametrize("end", [b"\n", b"\r\n"])
@pytest.mark.parametrize("before", [0, 1, 7, 40])
@pytest.mark.parametrize("start", [b"", b"\xef\xbb\xbf", CONNECTION + b"\nx\n"])
def test_one_limit_decides_wherever_a_long_line_is(
    tmp_path: Path, before: int, end: bytes, more: int, start: bytes
) -> None:
    long = connection(LONG + more)
    data = start + (CONNECTION + end) * before + long + end + (CONNECTION + end) * 30
    archive = FileDestination(tmp_path / "archive")
    (file,) = archive_hour(archive.root, "connection", [data]).files
    with Quarantine(tmp_path / "quarantine") as quarantine:
        good = intake.fetch_good_lines(
            archive,
            file,
            tmp_path / "good",
            event_type="connection",
            layouts=COLUMN_LAYOUTS,
            quarantine=quarantine,
        )
    lines = data.removeprefix(b"\xef\xbb\xbf").splitlines()
    assert good.all_lines == len(lines)
    assert (long in (tmp_path / "good").read_bytes().splitlines()) is (more <= 0)
    assert [(number, text) for number, _, text in good.places()] == [
        (number, line) for number, line in enumerate(lines, 1) if line == CONNECTION or (line == long and more <= 0)
    ]
    assert all(data[offset:].startswith(text) for _, offset, text in good.places())
    assert quarantine.total == (more > 0) + start.count(b"\nx\n")


@pytest.mark.usefixtures("short_rows")
@pytest.mark.parametrize("ends", [True, False])
def test_a_line_that_is_too_long_is_kept_with_its_place_and_its_length(tmp_path: Path, ends: bool) -> None:
    long = connection(9000)
    data = (CONNECTION + b"\n") * 30 + long + b"\n" * ends
    made = typed(tmp_path, "connection", data)
    (row,) = rows_of(tmp_path / "archive" / quarantine_path(ExportHour("connection", HOUR)))
    assert (row["line"], row["byte_offset"], row["row_bytes"]) == (31, len(data) - len(long) - ends, long[:100])
    assert row["reason"] == f"{9000 + ends:,} bytes, more than a row has; the first 100 are kept"
    assert (made.lines, made.rows, made.quarantined) == (31, 1, 1)


@pytest.mark.usefixtures("short_rows")
def test_a_file_of_one_endless_line_has_no_rows(tmp_path: Path) -> None:
    made = typed(tmp_path, "connection", b"x" * 50_000)
    assert [(file.layout, file.lines, file.quarantined) for file in made.files] == [("", 1, 1)]


def test_a_line_of_any_length_takes_no_more_memory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(intake, "LONGEST_ROW", 100_000)
    good = intake.GoodLines("f", 1, tmp_path / "good")
    with Quarantine(tmp_path / "quarantine") as quarantine, good.path.open("wb") as output:
        reader = intake._Reader(good, "connection", COLUMN_LAYOUTS, quarantine, output)
        tracemalloc.start()
        for _ in range(300):
            reader.feed(b'",' * 50_000)
        reader.finish()
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
    assert (good.all_lines, quarantine.total) == (1, 1)
    assert peak < 2_000_000


@pytest.mark.parametrize("more", [0, 1])
@pytest.mark.parametrize("last", [b"", BAD], ids=["good lines only", "a bad line"])
def test_no_engine_has_another_limit(tmp_path: Path, more: int, last: bytes) -> None:
    data = (CONNECTION + b"\r\n") * 9 + connection(LONGEST_ROW + more) + b"\r\n" + last
    made = typed(tmp_path, "connection", data)
    assert (made.rows, made.quarantined) == (2 - more, more + bool(last))


@pytest.mark.parametrize(
    ("data", "max_malformed", "is_loaded"),
    [
        pytest.param(CONNECTION + b"\n" + BAD, 0.1, True, id="one of two"),
        pytest.param(b"\n\n", 0.1, False, id="the only one"),
        pytest.param((CONNECTION + b"\n") * 5 + (BAD + b"\n") * 3, 0.1, True, id="three of eight"),
        pytest.param((CONNECTION + b"\n") * 8 + (BAD + b"\n") * 4, 0.1, False, id="four of twelve"),
        pytest.param((CONNECTION + b"\n") * 2 + b"x\ny,\nz,,\n", 0.1, False, id="three of five"),
        pytest.param((CONNECTION + b"\n") * 99 + BAD, 0, False, id="none is allowed"),
        pytest.param(CONNECTION + b"\r\n\r\n", 0, True, id="a blank last line"),
        pytest.param(CONNECTION + b"\n\n\n", 0, False, id="a blank line ahead of the last one"),
        pytest.param(b"\n" + CONNECTION, 0, False, id="a blank first line"),
        pytest.param(b"\r\n", 0, True, id="nothing but a line end"),
    ],
)
def test_a_few_lines_may_be_malformed(tmp_path: Path, data: bytes, max_malformed: float, is_loaded: bool) -> None:
    archive, rows = FileDestination(tmp_path / "archive"), FileDestination(tmp_path / "rows")
    archive_hour(archive.root, "connection", [data])
    bucket = TypedArchive(archive, rows, max_malformed=max_malformed)
    with contextlib.nullcontext() if is_loaded else pytest.raises(AylaQuarantineError):
        made = bucket.ensure(ExportHour("connection", HOUR), {}).manifest
        assert made.quarantined == data.count(BAD) + data.endswith((b"\r\n\r\n", b"\n\n")) + (data == b"\r\n")


def test_above_the_threshold_the_lines_are_kept_and_the_hour_is_not_loaded(tmp_path: Path) -> None:
    archive, rows = FileDestination(tmp_path / "archive"), FileDestination(tmp_path / "rows")
    archive_hour(archive.root, "connection", [b"\n".join([CONNECTION] * 16 + [BAD, b"x"] * 2)])
    with pytest.raises(AylaQuarantineError) as raised:
        TypedArchive(archive, rows, max_malformed=0.1999).ensure(ExportHour("connection", HOUR), {})
    for words in ("connection", "2026-11-01 07:00", "4 of 20 lines", "event_time is no timestamp (2)", "max_malformed"):
        assert words in str(raised.value)
    assert quarantine_path(ExportHour("connection", HOUR)) in str(raised.value)
    assert [row for _, _, row in quarantined(tmp_path)] == [BAD, b"x"] * 2
    assert not (tmp_path / "rows").exists()
    made = TypedArchive(archive, rows, max_malformed=0.2).ensure(ExportHour("connection", HOUR), {})
    assert (made.made, made.manifest.rows, made.manifest.quarantined) == (True, 1, 4)


def test_lines_that_an_erasure_took_away_count_as_before(tmp_path: Path) -> None:
    archive, rows = FileDestination(tmp_path / "archive"), FileDestination(tmp_path / "rows")
    hour, data = ExportHour("connection", HOUR), b"\n".join([CONNECTION] * 4 + [BAD] * 4)
    manifest = archive_hour(archive.root, "connection", [data])
    with pytest.raises(AylaQuarantineError, match=r"4 of 8 lines"):
        TypedArchive(archive, rows, max_malformed=0.1).ensure(hour, {})
    (file,) = manifest.files
    left = Erased(32, file.size, file.crc32c, ("0" * 32,))
    before = replace(file, size=10 * file.size, crc32c=Crc32c(b"before").base64, erased=left)
    records = Records(archive)
    records.write_manifest(replace(manifest, revision=2, files=(before,)), records.read_manifest(hour)[1])
    made = TypedArchive(archive, rows, max_malformed=0.1).ensure(hour, {}).manifest
    assert (made.rows, made.quarantined) == (1, 4)


def test_the_reasons_are_of_the_lines_that_count(tmp_path: Path) -> None:
    archive, rows = FileDestination(tmp_path / "archive"), FileDestination(tmp_path / "rows")
    archive_hour(archive.root, "connection", [CONNECTION + b"\n\n\n\n"])
    with pytest.raises(AylaQuarantineError, match=r"2 of 3 lines are malformed, .*: an empty line \(2\)"):
        TypedArchive(archive, rows).ensure(ExportHour("connection", HOUR), {})


def test_an_hour_that_is_sound_by_now_leaves_no_line_in_the_quarantine(tmp_path: Path) -> None:
    typed(tmp_path, "connection", CONNECTION + b"\n" + BAD)
    assert quarantined(tmp_path)
    archive_hour(tmp_path / "archive", "connection", [CONNECTION], generation=2, revision=2)
    archive, rows = FileDestination(tmp_path / "archive"), FileDestination(tmp_path / "rows")
    made = TypedArchive(archive, rows).ensure(ExportHour("connection", HOUR), {}).manifest
    assert (made.quarantined, made.quarantine) == (0, "")
    assert quarantined(tmp_path) == []


@pytest.mark.parametrize("change", [b"%s\n", b"\xef\xbb\xbf%s"])
def test_a_file_that_was_changed_under_its_manifest_is_reported(tmp_path: Path, change: bytes) -> None:
    manifest = archive_hour(tmp_path / "archive", "connection", [CONNECTION + b"\n"])
    path = tmp_path / "archive" / manifest.files[0].path
    path.write_bytes(change % path.read_bytes())
    archive, rows = FileDestination(tmp_path / "archive"), FileDestination(tmp_path / "rows")
    with pytest.raises(AylaDestinationError, match=r"f0\.csv in the archive has .* its manifest says"):
        TypedArchive(archive, rows).ensure(ExportHour("connection", HOUR), {})
    assert not (tmp_path / "rows").exists()
    path.unlink()
    with pytest.raises(AylaDestinationError, match=r"f0\.csv"):
        TypedArchive(archive, rows).ensure(ExportHour("connection", HOUR), {})


def test_an_hour_that_is_not_copied_is_not_settled(tmp_path: Path) -> None:
    archive, rows = FileDestination(tmp_path / "archive"), FileDestination(tmp_path / "rows")
    with pytest.raises(AylaNotSettledError, match="connection 2026-11-01 07:00 UTC has no manifest"):
        TypedArchive(archive, rows).ensure(ExportHour("connection", HOUR), {})


def test_the_archives_files_are_as_they_were(tmp_path: Path) -> None:
    data = [CONNECTION + b"\n" + BAD, b"\xef\xbb\xbf" + CONNECTION + b"\r\n"]
    manifest = archive_hour(tmp_path / "archive", "connection", data)
    typed(tmp_path, "connection", *data)
    for file, content in zip(manifest.files, data, strict=True):
        path = tmp_path / "archive" / file.path
        assert path.read_bytes() == content
        assert path.stat().st_nlink == 1


MARK = "Zq7mark"


def without_models(receipt: Path) -> str:
    """Return the text of a document of the archive without the models, which receipts name on purpose."""
    document = json.loads(receipt.read_text())
    document.pop("models", None)
    return json.dumps(document)


@settings(max_examples=scale(15, 300), deadline=None)
@given(
    seed=st.integers(0, 2**32), name=st.sampled_from(sorted(reference.LAYOUTS)), share=st.sampled_from([0.1, 0.9, 1.0])
)
def test_no_message_and_no_log_quotes_a_cell(
    tmp_path_factory: pytest.TempPathFactory, seed: int, name: str, share: float
) -> None:
    folder, random, layout = tmp_path_factory.mktemp("marks"), Random(seed), reference.LAYOUTS[name]
    maker, records = OddFiles(layout, seed), []
    handler = logging.Handler()
    handler.emit = records.append  # type: ignore[method-assign]
    logging.getLogger().addHandler(handler)
    lines = [
        b",".join(cell + MARK.encode() if random.random() < share else cell for cell in line.split(b","))
        for line in maker.lines(5)
    ]
    try:
        typed(folder, layout.event_type, b"\n".join(lines))
        output = ""
    except AylaError as error:
        output = f"{error} {error.__cause__}"
    finally:
        logging.getLogger().removeHandler(handler)
    output += " ".join(record.getMessage() for record in records)
    output += "".join(without_models(path) for path in folder.rglob("*.json"))
    assert MARK not in output
    assert not list((folder / "rows").rglob(".*.partial"))


def test_what_duckdb_says_of_a_line_is_not_passed_on(tmp_path: Path) -> None:
    manifest = archive_hour(tmp_path / "archive", "connection", [b"\xef\xbb\xbf" + CONNECTION + b"\n"])
    with Quarantine(tmp_path / "quarantine") as quarantine, closing(connect(folder=tmp_path)) as connection:
        taken = intake.fetch_good_lines(
            FileDestination(tmp_path / "archive"),
            manifest.files[0],
            tmp_path / "good",
            event_type="connection",
            layouts=COLUMN_LAYOUTS,
            quarantine=quarantine,
        )
        # As no file that was taken in can be: DuckDB's own words quote such a line.
        taken.path.write_bytes(CONNECTION + b"\n" + MARK.encode() + b"\n")
        with pytest.raises(AylaWarehouseError, match="connection 2026-11-01 07:00 UTC: DuckDB failed") as raised:
            type_hour(
                connection,
                ExportHour("connection", HOUR),
                [taken],
                tmp_path / "rows",
                quarantine=quarantine,
                policy=PrivacyPolicy(),
            )
    assert MARK not in f"{raised.value} {raised.value.__cause__}"
    assert raised.value.__suppress_context__


def test_the_paths_of_an_hour(tmp_path: Path) -> None:
    typed(tmp_path, "connection", CONNECTION + b"\n" + BAD)
    assert (tmp_path / "archive" / quarantine_path(ExportHour("connection", HOUR))).is_file()
    assert (tmp_path / "rows" / parquet_path(ExportHour("connection", HOUR))).is_file()
    assert (tmp_path / "rows" / typed_manifest_path(ExportHour("connection", HOUR))).is_file()
