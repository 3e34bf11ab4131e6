"""What a verification finds in the typed rows."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

from ayla_provider.archive.destination import Stored
from ayla_provider.archive.findings import Damage, Finding
from ayla_provider.archive.local import FileDestination
from ayla_provider.archive.verify import Scope
from ayla_provider.domain.events import EventType
from ayla_provider.domain.hour import ONE_HOUR, ExportHour
from ayla_provider.domain.typed_manifest import TypedManifest, parquet_path, typed_manifest_path
from ayla_provider.errors import AylaDestinationError
from ayla_provider.rows.typed_archive import TypedArchive
from ayla_provider.rows.verify import read_receipt, receipts, verify_rows
from ayla_provider.transport.checksum import Crc32c
from tests.rows.test_expressions import CONNECTION
from tests.warehouse.archive import HOUR, archive_hour

HOURS = [ExportHour(EventType("connection"), HOUR + number * ONE_HOUR) for number in range(6)]


def typed_rows(root: Path, count: int = len(HOURS)) -> Path:
    """Type the first hours, and return the folder of their rows."""
    for hour in HOURS[:count]:
        archive_hour(root / "archive", hour.event_type, [CONNECTION], hour.start)
    archive = TypedArchive(FileDestination(root / "archive"), FileDestination(root / "rows"))
    for hour in HOURS[:count]:
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


def test_each_finding_names_its_hour_and_says_what_is_wrong(tmp_path: Path) -> None:
    root = typed_rows(tmp_path)
    rows = FileDestination(root)
    missing, cut, flipped, broken, bare, _ = HOURS
    size, data = (root / parquet_path(cut)).stat().st_size, bytearray((root / parquet_path(flipped)).read_bytes())
    (root / parquet_path(missing)).unlink()
    (root / parquet_path(cut)).write_bytes(b"PAR1")
    was = Crc32c(bytes(data)).base64
    data[-10] ^= 1
    (root / parquet_path(flipped)).write_bytes(data)
    (root / typed_manifest_path(broken)).write_bytes(b"{")
    (root / typed_manifest_path(bare)).unlink()
    # Older than the others, and of no hour that is verified.
    before = parquet_path(ExportHour(EventType("connection"), HOUR - ONE_HOUR))
    for path in (before, "event_type=connection/notes.txt"):
        (root / path).parent.mkdir(parents=True, exist_ok=True)
        (root / path).write_bytes(b"PAR1")
    scope = Scope([EventType("connection")], HOURS[0].start, HOURS[-1].end)
    later = datetime.now(UTC) + timedelta(days=2)
    seen: list[TypedManifest] = []
    sizes: list[int] = []
    found = list(
        verify_rows(rows, scope, now=later, read_every=timedelta(days=1), on_read=sizes.append, on_receipt=seen.append)
    )
    told = [finding for finding in found if finding.hour == broken]
    assert [finding for finding in found if finding.hour != broken] == [
        Finding(Damage.ROWS_MISSING, missing, parquet_path(missing), "the rows aren't there"),
        Finding(Damage.ROWS_DAMAGED, cut, parquet_path(cut), f"the rows have 4 bytes, their receipt says {size}"),
        Finding(Damage.ORPHAN, bare, parquet_path(bare), "no receipt names these rows"),
        Finding(
            Damage.ROWS_DAMAGED,
            flipped,
            parquet_path(flipped),
            f"it has crc32c {Crc32c(bytes(data)).base64}, its receipt says {was}",
        ),
    ]
    ((damage, path, detail),) = [(finding.damage, finding.path, finding.detail) for finding in told]
    assert (damage, path) == (Damage.RECEIPT, typed_manifest_path(broken))
    assert f"{rows.url}/{path}" in detail
    assert seen == [read_receipt(rows, hour) for hour in (missing, cut, flipped, HOURS[-1])]
    assert sizes == [len(data), (root / parquet_path(HOURS[-1])).stat().st_size]

    listed = dict(receipts(rows, scope))
    assert list(listed) == [missing, cut, flipped, broken, HOURS[-1]]
    assert isinstance(listed.pop(broken), AylaDestinationError)
    assert list(listed.values()) == seen
    assert read_receipt(rows, bare) is None


def test_rows_that_are_removed_meanwhile_with_their_receipt_are_no_damage(tmp_path: Path) -> None:
    root = typed_rows(tmp_path)
    receipt = root / typed_manifest_path(HOURS[0])

    class Loading(FileDestination):
        """Somebody removes the rows of an hour, and its receipt, once it was read."""

        def read(self, path: str) -> tuple[bytes, Stored] | None:
            record = super().read(path)
            if path == typed_manifest_path(HOURS[0]):
                receipt.unlink(missing_ok=True)
            return record

    (root / parquet_path(HOURS[0])).unlink()
    scope = Scope([EventType("connection")], HOURS[0].start, HOURS[-1].end)
    later = datetime.now(UTC) + timedelta(days=2)
    assert list(verify_rows(Loading(root), scope, now=later)) == []


def test_rows_that_a_rule_removed_are_not_missing_and_those_that_it_left_are_no_orphans(tmp_path: Path) -> None:
    root = typed_rows(tmp_path, 2)
    rows = FileDestination(root)
    gone, left, *_ = HOURS
    for hour in (gone, left):
        receipt = read_receipt(rows, hour)
        assert receipt
        (root / typed_manifest_path(hour)).write_text(replace(receipt, removed=HOUR.isoformat()).dumps())
    (root / parquet_path(gone)).unlink()
    assert found(root) == []


def test_rows_whose_receipt_goes_while_they_are_read_are_no_damage(tmp_path: Path) -> None:
    root = typed_rows(tmp_path, 1)
    damaged = root / parquet_path(HOURS[0])
    facts, data = damaged.stat(), bytearray(damaged.read_bytes())
    data[-10] ^= 1
    damaged.write_bytes(data)
    os.utime(damaged, ns=(facts.st_atime_ns, facts.st_mtime_ns))

    class Removing(FileDestination):
        """Somebody removes the receipt when the rows are read."""

        def blocks(self, path: str) -> Iterator[bytes]:
            (root / typed_manifest_path(HOURS[0])).unlink(missing_ok=True)
            yield from super().blocks(path)

    scope = Scope([EventType("connection")], HOURS[0].start, HOURS[-1].end)
    later = datetime.now(UTC) + timedelta(days=2)
    assert list(verify_rows(Removing(root), scope, now=later, read_every=timedelta(days=1))) == []
