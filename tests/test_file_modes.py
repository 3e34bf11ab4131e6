"""Files with personal data are readable for the task's user alone, whatever the umask is."""

from __future__ import annotations

import io
import os
import stat
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import pytest

from ayla_provider.archive.local import FileDestination
from ayla_provider.archive.private import make_private_folder, open_private, private_umask
from ayla_provider.archive.scratch import scratch_folder
from ayla_provider.domain.hour import ExportHour
from ayla_provider.rows.typed_archive import TypedArchive
from ayla_provider.transport.checksum import Crc32c
from ayla_provider.warehouse.base import Load
from ayla_provider.warehouse.duckdb import DuckDBWarehouse
from tests.rows.test_expressions import CONNECTION
from tests.warehouse.archive import HOUR, archive_hour

NOW = datetime(2026, 11, 20, tzinfo=UTC)


@pytest.fixture(params=[0o000, 0o022, 0o027, 0o077], ids=oct)
def umask(request: pytest.FixtureRequest) -> Iterator[int]:
    before = os.umask(request.param)
    yield request.param
    os.umask(before)


def modes_below(folder: Path) -> dict[str, int]:
    """Return the mode of the folder and of everything in it, by name."""
    found = {str(path.relative_to(folder)): path for path in folder.rglob("*")} | {".": folder}
    return {name: stat.S_IMODE(path.lstat().st_mode) for name, path in found.items()}


def put(destination: FileDestination, path: str, data: bytes = b"x") -> None:
    checksum = Crc32c(data).base64
    destination.write(path, io.BytesIO(data), size=len(data), crc32c=checksum, replaces=None, content_type="text/csv")


def test_a_quarantine_is_private_and_the_copies_beside_it_follow_the_umask(tmp_path: Path, umask: int) -> None:
    root = tmp_path / "archive"
    archive_hour(root, "connection", [CONNECTION + b"\none,two\n"])
    rows = FileDestination(tmp_path / "rows")
    made = TypedArchive(FileDestination(root), rows, max_malformed=1).ensure(ExportHour("connection", HOUR), {})
    assert made.manifest.quarantined == 1
    modes = modes_below(root / "_quarantine")
    files = {name: mode for name, mode in modes.items() if name.endswith(".parquet")}
    assert set(files.values()) == {0o600}
    assert {mode for name, mode in modes.items() if name not in files} == {0o700}
    assert stat.S_IMODE((tmp_path / "rows" / made.manifest.path).stat().st_mode) == 0o666 & ~umask


@pytest.mark.parametrize("folder", ["_quarantine", "_parts", "_unreadable", "_erasures"])
def test_what_no_analyst_needs_is_private_from_its_top_folder_on(tmp_path: Path, umask: int, folder: str) -> None:
    put(FileDestination(tmp_path / "new" / "archive"), f"{folder}/a=1/b=2/lines.bin")
    assert modes_below(tmp_path / "new" / "archive" / folder) == {
        ".": 0o700,
        "a=1": 0o700,
        "a=1/b=2": 0o700,
        "a=1/b=2/lines.bin": 0o600,
    }


def test_a_folder_that_exists_keeps_its_mode(tmp_path: Path, umask: int) -> None:
    (tmp_path / "_quarantine").mkdir()
    (tmp_path / "_quarantine").chmod(0o750)
    put(FileDestination(tmp_path), "_quarantine/lines.bin")
    assert modes_below(tmp_path / "_quarantine") == {".": 0o750, "lines.bin": 0o600}


def test_scratch_folders_are_private(tmp_path: Path, umask: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    with scratch_folder() as folder, open_private(folder / "spool", "ab") as file:
        file.write(b"x")
        assert stat.S_IMODE(folder.stat().st_mode) == 0o700
        assert stat.S_IMODE((folder / "spool").stat().st_mode) == 0o600


def test_a_duckdb_file_and_all_that_duckdb_puts_beside_it_are_private(tmp_path: Path, umask: int) -> None:
    archive_hour(tmp_path / "archive", "connection", [CONNECTION])
    typed = TypedArchive(FileDestination(tmp_path / "archive"), FileDestination(tmp_path / "rows"))
    made = typed.ensure(ExportHour("connection", HOUR), {}).manifest
    place = tmp_path / "new" / "data"
    seen: dict[str, int] = {}
    with DuckDBWarehouse(place / "w.duckdb", memory="60MB") as warehouse:
        warehouse.prepare(made.table)
        with typed.fetched(made) as parquet:
            warehouse.replace(Load(made.table, HOUR, made.version, made.rows, made.lines, 0, 0, parquet, NOW))
        # More than the memory holds goes into files beside the database.
        warehouse._run("create table large as select md5(range::varchar) as a from range(1500000) order by a")
        seen |= modes_below(place)
    seen |= modes_below(place)
    folders = {".", "w.duckdb.tmp"}
    assert {"w.duckdb", "w.duckdb.wal"} <= seen.keys()
    assert {mode for name, mode in seen.items() if name not in folders} == {0o600}
    assert {mode for name, mode in seen.items() if name in folders} == {0o700}
    assert os.umask(umask) == umask


def test_a_umask_that_takes_rights_from_the_owner_does_not_stop_the_task(tmp_path: Path) -> None:
    before = os.umask(0o377)
    try:
        make_private_folder(tmp_path / "folder")
        with open_private(tmp_path / "folder" / "file", "xb") as file:
            file.write(b"x")
    finally:
        os.umask(before)
    assert modes_below(tmp_path / "folder") == {".": 0o700, "file": 0o600}


def test_the_umask_is_as_before_after_an_error(umask: int) -> None:
    with pytest.raises(ValueError, match="no"), private_umask():
        raise ValueError("no")
    assert os.umask(umask) == umask
