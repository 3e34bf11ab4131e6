"""Types a polluted file as a load does, and compares each line with its right outcome."""

from __future__ import annotations

import re
import shutil
from collections import Counter
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import duckdb

from ayla_provider.archive.local import FileDestination
from ayla_provider.archive.records import Records
from ayla_provider.domain.arrival import HourState
from ayla_provider.domain.events import EventType
from ayla_provider.domain.hour import ExportHour
from ayla_provider.domain.manifest import Manifest, ManifestFile
from ayla_provider.domain.typed_manifest import TypedManifest, quarantine_path
from ayla_provider.errors import AylaError
from ayla_provider.rows.typed_archive import TypedArchive
from ayla_provider.transport.checksum import Crc32c
from harness import reference
from robustness.pollution import Line, Polluted

HOUR = datetime(2026, 11, 1, 7, tzinfo=UTC)
MADE = ("folder_hour", "source_object", "source_generation")


@dataclass(frozen=True)
class Verdict:
    """What became of a file."""

    file: Polluted
    problem: str
    """What is wrong; empty if each line has its right outcome."""
    wrong_values: int
    """How many rows were loaded that no line means."""


def judge(file: Polluted, folder: Path) -> Verdict:
    """Return what becomes of a file."""
    hour = ExportHour(EventType(file.layout.event_type), HOUR)
    path = f"{hour.partition}/20261101T070000Z-polluted.csv"
    shutil.rmtree(folder, ignore_errors=True)
    archive, rows = FileDestination(folder / "archive"), FileDestination(folder / "rows")
    (folder / "archive" / path).parent.mkdir(parents=True)
    (folder / "archive" / path).write_bytes(file.content)
    crc32c = Crc32c(file.content).base64
    entry = ManifestFile("a/polluted.csv", 1, len(file.content), crc32c, HOUR.isoformat(), path)
    manifest = Manifest(hour, HourState.LANDED, 1, (entry,), HOUR.isoformat())
    Records(archive).write_manifest(manifest, None)
    try:
        receipt = TypedArchive(archive, rows, max_malformed=1).ensure(hour, {}).manifest
    except AylaError as error:
        right = bool(file.refused) and re.search(file.refused, str(error)) is not None
        return Verdict(file, "" if right else f"refused: {error!s:.300}", 0)
    return _compared(file, receipt, folder, hour)


def _compared(file: Polluted, receipt: TypedManifest, folder: Path, hour: ExportHour) -> Verdict:
    lines = [(number, line) for number, line in enumerate(file.lines, start=1) if line.counts]
    loaded = Counter(map(_key, _rows(folder / "rows", receipt)))
    columns = {column.name for column in receipt.columns}
    meant = [reference.typed(file.layout, line.cells or line.text) for line in _to_load(lines)]
    # The raw text of a value is in one column, also where the reference has several.
    expected = Counter(_key({name: row[name] for name in row.keys() & columns}) for row in meant)
    if any(line.cells for _, line in lines):
        # Only the known columns are compared.
        loaded = Counter(_without_new(row) for row in loaded.elements())
    wrong = sum((loaded - expected).values())
    if file.refused and not file.or_lines:
        return Verdict(file, "read, and not refused", wrong)
    if wrong:
        row = sorted(next(iter(loaded - expected)) - next(iter(expected - loaded), frozenset()))
        return Verdict(file, f"{wrong} rows have a value that no line has: {row!r:.300}", wrong)
    if loaded != expected:
        return Verdict(file, f"{sum((expected - loaded).values())} lines are not loaded", 0)
    quarantined = _quarantined(folder / "archive" / quarantine_path(hour))
    right = {number: line.reason for number, line in lines if line.reason}
    if quarantined.keys() != right.keys():
        return Verdict(file, f"malformed are lines {sorted(quarantined)}, not {sorted(right)}: {quarantined}", 0)
    for number, reason in right.items():
        if not re.search(reason, quarantined[number]):
            return Verdict(file, f"line {number} is malformed because of {quarantined[number]!r}, not {reason!r}", 0)
    duplicates = sum(line.duplicate for _, line in lines)
    if receipt.duplicates != duplicates or receipt.lines != len(lines):
        return Verdict(file, f"{receipt.lines} lines and {receipt.duplicates} duplicates are counted", 0)
    return Verdict(file, "", 0)


def _to_load(lines: list[tuple[int, Line]]) -> list[Line]:
    return [line for _, line in lines if not line.reason and not line.duplicate]


def _rows(folder: Path, receipt: TypedManifest) -> list[dict[str, Any]]:
    found = []
    for file in receipt.rows_files:
        with duckdb.connect() as duck:
            duck.execute("set timezone = 'UTC'")
            path = str(folder / file.path)
            duck.execute("select * from read_parquet($path, hive_partitioning = false)", {"path": path})
            names = [column[0] for column in duck.description or ()]
            found += [dict(zip(names, row, strict=True)) for row in duck.fetchall()]
    return found


def _quarantined(path: Path) -> dict[int, str]:
    """Return line to reason."""
    if not path.exists():
        return {}
    with duckdb.connect() as duck:
        duck.execute("select line, reason from read_parquet($path, hive_partitioning = false)", {"path": str(path)})
        return dict(duck.fetchall())


def _key(row: dict[str, Any]) -> frozenset[tuple[str, Any]]:
    # A column that the layout doesn't have is empty.
    filled = {name: value for name, value in row.items() if value is not None and name not in MADE}
    return frozenset((name, _plain(value)) for name, value in filled.items())


def _plain(value: Any) -> Any:
    return value.astimezone(UTC) if isinstance(value, datetime) else str(value)


def _without_new(row: frozenset[tuple[str, Any]]) -> frozenset[tuple[str, Any]]:
    return frozenset((name, value) for name, value in row if not name.startswith("column_"))
