"""Typed rows and loads of hours whose files are lost: nothing is replaced by what is left."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import duckdb
import pytest

from ayla_provider.archive.local import FileDestination
from ayla_provider.archive.records import Records
from ayla_provider.domain.hour import ExportHour
from ayla_provider.domain.manifest import Manifest
from ayla_provider.domain.typed_manifest import same_files, typed_manifest_path, version_of
from tests.test_load_operators import HOUR, ask, load, one_hour, plan
from tests.warehouse.archive import archive_hour

CONNECTION = b"1a2b3c4d,LC-THERMO-2,LC000X00000000%d,Mon Feb 03 21:30:45 UTC 2020,,Online\r\n"
FILES = [CONNECTION % 1, CONNECTION % 2]
DSNS = "select dsn from ayla_connection order by dsn"
BOTH = [("LC000X000000001",), ("LC000X000000002",)]


@pytest.fixture
def archived(tmp_path: Path) -> Manifest:
    return archive_hour(tmp_path / "archive", "connection", FILES, HOUR)


def write(root: Path, manifest: Manifest) -> None:
    records = Records(FileDestination(root / "archive"))
    records.write_manifest(manifest, records.read_manifest(manifest.hour)[1])


def lose(root: Path, manifest: Manifest, *numbers: int) -> Manifest:
    """Remove copies, and mark them as lost."""
    files = list(manifest.files)
    for number in numbers:
        (root / "archive" / files[number].path).unlink()
        files[number] = replace(files[number], lost="2026-11-28T01:00:00+00:00")
    marked = replace(manifest, files=tuple(files))
    write(root, marked)
    return marked


def receipt(root: Path) -> dict[str, Any]:
    path = root / "archive/parquet" / typed_manifest_path(ExportHour("connection", HOUR))
    document: dict[str, Any] = json.loads(path.read_bytes())
    return document


def test_rows_that_were_loaded_before_stay(
    tmp_path: Path, archived: Manifest, capsys: pytest.CaptureFixture[str]
) -> None:
    load(tmp_path, one_hour())
    before = receipt(tmp_path)
    lose(tmp_path, archived, 1)
    items, summary = plan(tmp_path)
    assert (items, summary["hours"], summary["lost"]) == ([], 0, 1)
    assert "Hours that stay as they are, because files of them are lost: 1." in capsys.readouterr().out
    result = load(tmp_path, one_hour())
    assert (result["unchanged"], result["lost"]) == (1, 1)
    assert "has 1 lost file. Its rows were made before, and stay." in capsys.readouterr().out
    assert ask(tmp_path, DSNS) == BOTH
    assert receipt(tmp_path) == before
    assert "lost" not in before


def test_rows_that_were_typed_and_never_loaded_are_loaded_as_they_are(tmp_path: Path, archived: Manifest) -> None:
    load(tmp_path, one_hour())
    (tmp_path / "ayla.duckdb").unlink()
    lose(tmp_path, archived, 0, 1)
    load(tmp_path, one_hour())
    assert ask(tmp_path, DSNS) == BOTH


def test_rows_that_were_loaded_stay_also_if_the_typed_ones_are_gone(tmp_path: Path, archived: Manifest) -> None:
    load(tmp_path, one_hour())
    lose(tmp_path, archived, 1)
    result = load(tmp_path, one_hour(), parquet=f"file://{tmp_path}/elsewhere")
    assert (result["unchanged"], result["lost"], result["rows"]) == (1, 1, 0)
    assert ask(tmp_path, DSNS) == BOTH


def test_an_hour_that_was_never_loaded_is_loaded_from_what_is_left_and_again_when_the_file_is_back(
    tmp_path: Path, archived: Manifest
) -> None:
    lose(tmp_path, archived, 1)
    (item,), summary = plan(tmp_path)
    assert (item["reason"], summary["lost"]) == (f"connection {HOUR:%Y-%m-%d %H:%M} UTC: not loaded, 1 lost file", 0)
    result = load(tmp_path, item)
    assert (result["rows"], result["lost"]) == (1, 1)
    assert receipt(tmp_path)["lost"] == [archived.files[1].source]
    ((version,),) = ask(tmp_path, "select version from ayla_loads")
    assert ".lost" in version
    assert ask(tmp_path, DSNS) == BOTH[:1]
    assert plan(tmp_path)[0] == []
    assert load(tmp_path, item)["unchanged"] == 1

    (tmp_path / "archive" / archived.files[1].path).write_bytes(FILES[1])
    write(tmp_path, archived)
    (item,), summary = plan(tmp_path)
    assert item["reason"].endswith("its files changed")
    load(tmp_path, item)
    assert ask(tmp_path, DSNS) == BOTH
    assert "lost" not in receipt(tmp_path)


def test_an_hour_of_which_nothing_is_left_is_not_planned(tmp_path: Path, archived: Manifest) -> None:
    lose(tmp_path, archived, 0, 1)
    assert plan(tmp_path)[0] == []


def test_rows_of_another_policy_are_not_loaded(tmp_path: Path, archived: Manifest) -> None:
    load(tmp_path, one_hour())
    lose(tmp_path, archived, 1)
    # Another warehouse must not get the column, and the rows can't be made again without it.
    result = load(tmp_path, one_hour(), privacy={"dsn": "drop"}, database=str(tmp_path / "other.duckdb"))
    assert (result["unchanged"], result["lost"], result["rows"]) == (1, 1, 0)
    with duckdb.connect(str(tmp_path / "other.duckdb")) as other:
        assert other.execute("show tables").fetchall() == []


def test_a_version_states_that_files_are_lost(tmp_path: Path, archived: Manifest) -> None:
    left = lose(tmp_path, archived, 1)
    nothing = lose(tmp_path, left, 0)
    one_file = replace(archived, files=archived.files[:1])
    assert version_of(left) == f"{version_of(one_file)}.lost"
    assert version_of(nothing) == "empty.lost"
    assert same_files(f"{version_of(left)}-abc", left)
    assert not same_files(version_of(archived), left)
