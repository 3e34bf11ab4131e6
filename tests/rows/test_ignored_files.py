"""Files in an hour's folder that the user says aren't export data: the archive keeps them, and loads pass over them."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from ayla_provider.archive.local import FileDestination
from ayla_provider.domain.csv.foreign import is_ignored
from ayla_provider.domain.hour import ExportHour
from ayla_provider.errors import AylaConfigError, AylaLayoutError
from ayla_provider.operators import AylaExportToParquetOperator
from ayla_provider.rows.typed_archive import TypedArchive, TypedHourReport
from tests.rows.test_expressions import CONNECTION
from tests.warehouse.archive import HOUR, archive_hour

NOTE = b"Ask Jo before you touch these files, please.\n"


def ensure(folder: Path, ignored: Sequence[str] = ()) -> TypedHourReport:
    archive, rows = FileDestination(folder / "archive"), FileDestination(folder / "rows")
    return TypedArchive(archive, rows, ignored_files=ignored).ensure(ExportHour("connection", HOUR), {})


@pytest.mark.parametrize("name", ["README.txt", "README", "notes.md", "Anmerkung ä.txt", "export.log", "a[1].txt"])
@pytest.mark.parametrize("note", [NOTE, b"PK\x03\x04" + bytes(90)], ids=["text", "ZIP"])
def test_a_note_stops_the_load_of_its_hour_until_it_is_ignored(tmp_path: Path, name: str, note: bytes) -> None:
    archive_hour(tmp_path / "archive", "connection", [CONNECTION + b"\n", note], names={1: name})
    with pytest.raises(AylaLayoutError) as error:
        ensure(tmp_path)
    assert name in str(error.value)
    assert "ignored_files" in str(error.value)
    made = ensure(tmp_path, [name]).manifest
    assert [(file.layout, file.lines, file.loaded) for file in made.files] == [("connection-6", 1, 1), ("", 0, 0)]
    assert made.files[1].source.endswith(f"/{name}")


def test_the_log_names_what_is_passed_over(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    archive_hour(tmp_path / "archive", "connection", [CONNECTION + b"\n", NOTE], names={1: "README.txt"})
    with caplog.at_level(logging.INFO, logger="ayla_provider"):
        ensure(tmp_path, ["README*"])
    assert "connection 2026-11-01 07:00 UTC: passed over 1 file that ignored_files matches: 'README.txt'" in caplog.text


def test_what_is_ignored_later_or_no_longer_changes_the_rows_of_its_hour_alone(tmp_path: Path) -> None:
    archive_hour(tmp_path / "archive", "connection", [CONNECTION + b"\n", CONNECTION + b"\n"], names={1: "more.txt"})
    both = ensure(tmp_path)
    assert both.manifest.files[1].lines == 1
    assert not ensure(tmp_path, ["README*"]).made
    one = ensure(tmp_path, ["more*"])
    assert (one.made, one.manifest.lines) == (True, 1)
    assert not ensure(tmp_path, ["README*", "*.txt"]).made
    assert ensure(tmp_path).manifest.version == both.manifest.version


@pytest.mark.parametrize(
    ("name", "pattern", "ignored"),
    [
        ("README.txt", "README.txt", True),
        ("README.txt", "readme*", False),
        ("a/b/README.txt", "README*", True),
        ("README/data", "README*", False),
        ("a[1].txt", "a[1].txt", True),
        ("a1.txt", "a[1].txt", True),
        ("notes.txt", "README*", False),
        ("f.csv", "*", False),
        ("F.CSV", "*", False),
        ("f", "*", True),
    ],
)
def test_a_pattern_is_of_the_name_in_the_folder_and_never_of_a_csv_file(name: str, pattern: str, ignored: bool) -> None:
    assert is_ignored(name, [pattern]) is ignored


@pytest.mark.parametrize("value", ["README*", ["f.csv"], ["*.CSV"], ["Connection/README*"], [""], [7], 7])
def test_other_patterns_are_refused_when_airflow_reads_the_dag(value: Any) -> None:
    with pytest.raises(AylaConfigError, match="ignored_files"):
        AylaExportToParquetOperator(task_id="t", event_type="connection", archive="gs://b/a", ignored_files=value)
