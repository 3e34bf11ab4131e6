"""An erasure after rules removed copies and malformed lines: nobody else's rows go, and nothing has to be loaded."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import duckdb
import pytest

from ayla_provider.archive.local import FileDestination
from ayla_provider.archive.removal import remove_copies, remove_quarantine
from ayla_provider.domain.removal import Rule
from ayla_provider.domain.typed_manifest import parse_typed_manifest, typed_manifest_path
from ayla_provider.rows.removal import remove_rows
from tests.support.erasing import (
    EVENT_TYPES,
    OTHER_TERM,
    SUBJECT,
    duckdb_of,
    erase,
    erasure_run,
    hours,
    load,
    make_archive,
    request,
)
from tests.support.retaining import KEEP_FOR, LATER
from tests.warehouse.archive import HOUR
from tests.warehouse.test_erase_run import layers, others, rows_in_duckdb, rows_of

HOURS = hours()


@pytest.fixture(scope="module")
def filled(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An archive of two hours with all layers, and a DuckDB file."""
    root = tmp_path_factory.mktemp("filled")
    make_archive(root)
    load(root, duckdb_of(root))
    return root


@pytest.fixture(params=["malformed lines", "malformed lines and copies"])
def root(request: pytest.FixtureRequest, filled: Path, tmp_path: Path) -> Path:
    """The same, after rules removed something of the first hour."""
    shutil.copytree(filled, tmp_path / "root")
    archive = FileDestination(tmp_path / "root" / "archive")
    rule = Rule("rule", KEEP_FOR, LATER)
    assert remove_quarantine(archive, rule).hours == 2
    if "copies" in request.param:
        assert remove_copies(archive, rule, {}).hours == 2
    return tmp_path / "root"


def receipts(root: Path) -> dict[str, str]:
    """The receipts of all hours, without when they were written."""
    found = {}
    for hour in HOURS:
        path = typed_manifest_path(hour)
        content = (root / "archive" / "parquet" / path).read_bytes()
        receipt = parse_typed_manifest(content, path, hour)
        assert receipt.lines == receipt.rows + receipt.duplicates + receipt.quarantined
        found[path] = receipt.version
    return found


def test_nobody_elses_rows_go_and_nothing_has_to_be_loaded(root: Path) -> None:
    before, in_duckdb = rows_of(root), rows_in_duckdb(root)
    assert len(others(before)) < len(before)
    request(root)
    report = erase(root, [duckdb_of(root)])
    assert report.to_load == 0
    assert layers(root) == {}
    assert rows_of(root) == others(before)
    assert rows_in_duckdb(root) == others(in_duckdb)
    assert len(receipts(root)) == len(HOURS)
    assert load(root, duckdb_of(root)) == 0
    # The next erasure finds nothing to do.
    rows = rows_of(root)
    request(root, "ticket-2.json", **SUBJECT, until="2026-11-20T00:00:00+00:00")
    assert erase(root, [duckdb_of(root)]).objects == 0
    assert rows_of(root) == rows


def test_texts_of_tables_that_nobody_can_compare_are_left(filled: Path, tmp_path: Path) -> None:
    shutil.copytree(filled, tmp_path / "root")
    root = tmp_path / "root"
    archive, rows = FileDestination(root / "archive"), FileDestination(root / "archive" / "parquet")
    rule = Rule("rule", KEEP_FOR, LATER)
    request(root, **SUBJECT, until="2026-11-20T00:00:00+00:00")
    remove_rows(rows, rule, {})
    remove_quarantine(archive, rule)
    # The copies can still say whom the rows name.
    assert erasure_run(root, [duckdb_of(root)]).count().leftovers == []
    remove_copies(archive, rule, {})
    expected = erasure_run(root, [duckdb_of(root)]).count().leftovers
    for _ in range(2):
        erase(root, [duckdb_of(root)])
        assert others(rows_in_duckdb(root)) != rows_in_duckdb(root)
        (entry,) = (root / "archive" / "_erasures").glob("2*.json")
        (left,) = json.loads(entry.read_bytes())["left"]
        assert (left["store"], left["gone_by"]) == (duckdb_of(root).name, None)
        assert "a text in them can still name the person" in left["reason"]
        assert [each.document() for each in expected] == [left]
    # The rows are loaded in another way, or removed as well.
    with duckdb.connect(str(root / "a.duckdb")) as session:
        for event_type in EVENT_TYPES:
            session.execute(f"delete from ayla_{event_type} where folder_hour = $hour", {"hour": HOUR})
    erase(root, [duckdb_of(root)])
    assert json.loads(entry.read_bytes())["left"] == []


def test_an_erasure_of_somebody_who_is_not_there_changes_nothing(root: Path) -> None:
    def files() -> dict[str, bytes]:
        folder = root / "archive"
        return {
            str(path.relative_to(folder)): path.read_bytes()
            for path in folder.rglob("*")
            if path.is_file() and "_erasures" not in path.parts
        }

    before = files()
    nobody = OTHER_TERM.dsn[:-3] + "zzz"
    request(root, dsn=nobody)
    assert erase(root, [duckdb_of(root)]).objects == 0
    assert files() == before
