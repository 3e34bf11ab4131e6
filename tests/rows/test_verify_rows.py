"""What a verification finds in the typed rows."""

from __future__ import annotations

import os
from datetime import UTC, datetime, timedelta
from pathlib import Path

from ayla_provider.archive.findings import Damage
from ayla_provider.archive.local import FileDestination
from ayla_provider.archive.verify import Scope
from ayla_provider.domain.events import EventType
from ayla_provider.domain.hour import ONE_HOUR, ExportHour
from ayla_provider.domain.typed_manifest import parquet_path, typed_manifest_path
from ayla_provider.rows.typed_archive import TypedArchive
from ayla_provider.rows.verify import verify_rows
from tests.rows.test_expressions import CONNECTION
from tests.warehouse.archive import HOUR, archive_hour

HOURS = [ExportHour(EventType("connection"), HOUR + number * ONE_HOUR) for number in range(6)]


def typed_rows(root: Path) -> Path:
    """Type some hours, and return the folder of their rows."""
    for hour in HOURS:
        archive_hour(root / "archive", hour.event_type, [CONNECTION], hour.start)
    archive = TypedArchive(FileDestination(root / "archive"), FileDestination(root / "rows"))
    for hour in HOURS:
        archive.ensure(hour, {})
    return root / "rows"


def found(rows: Path, read_every: timedelta | None = None) -> list[tuple[Damage, str]]:
    scope = Scope([EventType("connection")], HOURS[0].start, HOURS[-1].end)
    now = datetime.now(UTC) + timedelta(days=2)
    findings = verify_rows(FileDestination(rows), scope, now=now, read_every=read_every)
    return sorted((finding.damage, finding.path) for finding in findings)


def test_rows_that_equal_their_receipts_are_not_reported(tmp_path: Path) -> None:
    assert found(typed_rows(tmp_path)) == []


def test_each_damage_of_rows_is_found_and_nothing_else(tmp_path: Path) -> None:
    rows = typed_rows(tmp_path)
    missing, cut, broken, newer, bare, _ = HOURS
    (rows / parquet_path(missing)).unlink()
    (rows / parquet_path(cut)).write_bytes(b"PAR1")
    (rows / typed_manifest_path(broken)).write_bytes(b"{")
    (rows / typed_manifest_path(newer)).write_bytes(b'{"format": "ayla-export-typed/99"}')
    (rows / typed_manifest_path(bare)).unlink()
    assert found(rows) == sorted(
        [
            (Damage.ROWS_MISSING, parquet_path(missing)),
            (Damage.ROWS_DAMAGED, parquet_path(cut)),
            (Damage.RECEIPT, typed_manifest_path(broken)),
            (Damage.NEWER, typed_manifest_path(newer)),
            (Damage.ORPHAN, parquet_path(bare)),
        ]
    )


def test_each_file_of_an_hour_that_has_several_is_compared_with_its_receipt(tmp_path: Path) -> None:
    rows = typed_rows(tmp_path)
    hour = HOURS[0]
    files = [CONNECTION.replace(b":45", b":%d" % minute) for minute in (10, 20, 30, 40)]
    archive_hour(tmp_path / "archive", hour.event_type, files, hour.start, revision=2)
    TypedArchive(FileDestination(tmp_path / "archive"), FileDestination(rows), max_bytes_per_task=1).ensure(hour, {})
    assert found(rows) == []
    paths = [parquet_path(hour, number) for number in range(4)]
    (rows / paths[1]).unlink()
    (rows / paths[2]).write_bytes(b"PAR1")
    (rows / parquet_path(hour, 4)).write_bytes(b"PAR1")
    assert found(rows) == sorted(
        [
            (Damage.ROWS_MISSING, paths[1]),
            (Damage.ROWS_DAMAGED, paths[2]),
            (Damage.ORPHAN, parquet_path(hour, 4)),
        ]
    )


def test_reading_finds_rows_whose_bytes_changed_without_a_trace(tmp_path: Path) -> None:
    rows = typed_rows(tmp_path)
    path = rows / parquet_path(HOURS[2])
    facts = path.stat()
    data = bytearray(path.read_bytes())
    data[-10] ^= 1
    path.write_bytes(data)
    os.utime(path, ns=(facts.st_atime_ns, facts.st_mtime_ns))
    assert found(rows) == []
    for _ in range(2):
        assert found(rows, timedelta(days=1)) == [(Damage.ROWS_DAMAGED, parquet_path(HOURS[2]))]
    assert (rows / "_verify/event_type=connection.json").exists()
