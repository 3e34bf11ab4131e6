"""The answer key of the typed tables: the rows that they must have at the end, from the reference implementation."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from uuid import UUID

import duckdb

from ayla_provider.archive.verify import Scope
from ayla_provider.domain.events import parse_event_type
from ayla_provider.domain.hour import ONE_HOUR, ExportHour
from ayla_provider.domain.manifest import Manifest, ManifestFile
from ayla_provider.domain.paths import TYPED_ROWS
from ayla_provider.domain.typed_manifest import parquet_path, typed_manifest_path, version_of
from ayla_provider.local_cloud.answers import HourAnswer
from ayla_provider.rows.verify import verify_rows
from ayla_provider.warehouse.verify import verify_ledger
from harness import reference
from simulation.lake import rows_of_lake, warehouse_of
from simulation.setup import Setup
from simulation.subjects import Subjects
from simulation.weeks import Window
from simulation.worker import destination_of

Row = frozenset[tuple[str, Any]]
"""A row: each column that isn't null, and its value."""

_NO_COLUMNS = {"val_string_raw"}
"""What the reference has beyond the columns of a table: ``value_raw`` has the same."""


File = tuple[str, int, bytes]
"""Name, generation, and bytes of a file of the vendor."""


class TableKey:
    """
    The rows that the tables must have at the end, and the comparison with them.

    :param event_types: those that are loaded
    :param windows: the times whose hours are loaded
    :param erased: who is erased
    """

    def __init__(
        self, setup: Setup, event_types: Collection[str], windows: Sequence[Window], erased: Subjects | None = None
    ) -> None:
        self.event_types = event_types
        self._setup = setup
        self._windows = windows
        self._erased = erased or Subjects()
        self._lost: dict[ExportHour, list[File]] = {}
        """The files of the hours with lost files whose rows must be there."""
        self.kept = 0
        """The number of hours that were loaded before they lost a file."""
        self.fixed: set[str] = set()
        """
        The other files of hours that weren't loaded before the loss. They must not change: it isn't certain whether
        they are loaded before or after a change.
        """

    def is_loaded(self, hour: ExportHour) -> bool:
        """Return whether an hour is one of those that are loaded."""
        return hour.event_type in self.event_types and any(start <= hour.start < end for start, end in self._windows)

    def losable(self, manifests: Sequence[Manifest], archive: Mapping[str, bytes]) -> list[Manifest]:
        """
        Return the hours whose rows are certain if the hour loses a file now.

        They are if all of its files have come, and are either loaded everywhere or not typed at all.

        :param archive: all objects of the archive of these hours, by path
        """
        found = [manifest for manifest in manifests if not self.is_loaded(manifest.hour)]
        loaded = [manifest for manifest in manifests if self.is_loaded(manifest.hour)]
        wanted = {manifest.hour.start for manifest in loaded}
        answers = {_hour_of(answer): answer for answer in self._setup.cloud.answer_key() if answer.hour in wanted}
        for event_type in {manifest.hour.event_type for manifest in loaded}:
            of_type = [manifest for manifest in loaded if manifest.hour.event_type == event_type]
            versions = self._versions(event_type, [manifest.hour.start for manifest in of_type])
            found += [
                manifest
                for manifest in of_type
                if self._has_come(manifest, answers[manifest.hour])
                and self._is_everywhere_or_nowhere(manifest, versions[manifest.hour.start], archive)
            ]
        return sorted(found, key=lambda manifest: manifest.hour)

    def _has_come(self, manifest: Manifest, answer: HourAnswer) -> bool:
        """Return whether an hour has all of its files, in their last generations."""
        if {file.object_name for file in answer.files} != {entry.source for entry in manifest.files}:
            return False
        now = self._setup.cloud.vendor.now()
        return all(file.final.visible_at <= now for file in answer.files)

    @staticmethod
    def _is_everywhere_or_nowhere(
        manifest: Manifest, versions: Sequence[str | None], archive: Mapping[str, bytes]
    ) -> bool:
        if any(versions):
            return all(version == version_of(manifest) for version in versions)
        typed = {f"{TYPED_ROWS}/{path(manifest.hour)}" for path in (typed_manifest_path, parquet_path)}
        return not typed & archive.keys()

    def lose(self, manifest: Manifest, lost: ManifestFile) -> None:
        """Save the files of an hour that loses a file. Call it while the vendor still has the file."""
        hour = manifest.hour
        if not self.is_loaded(hour):
            return
        is_loaded = self._versions(hour.event_type, [hour.start])[hour.start][0] is not None
        sources = [entry.source for entry in manifest.files if is_loaded or entry is not lost]
        self._lost[hour] = self._files(sources)
        if is_loaded:
            self.kept += 1
        else:
            self.fixed.update(sources)

    def differences(self, hours: Sequence[datetime]) -> list[str]:
        """
        Return how rows and ledger differ from the answer key, and the ledger from the receipts.

        :param hours: those that must be there, and no others
        """
        problems: list[str] = []
        wanted = set(hours)
        for event_type in self.event_types:
            expected = {
                answer.hour: self._expected(answer)
                for answer in self._setup.cloud.answer_key()
                if answer.event_type == event_type and answer.hour in wanted and self.is_loaded(_hour_of(answer))
            }
            name = f"ayla_{event_type}"
            problems += _different_rows(event_type, name, expected, rows_of(self._setup.database, event_type))
            duplicates = {
                hour.start: _counts(reference.read(event_type, files))[2]
                for hour, files in self._lost.items()
                if hour.event_type == event_type
            }
            problems += _different_ledger(event_type, expected, self._ledger(event_type), duplicates)
            problems += self._different_receipts(event_type)
            if self._setup.lake:
                rows = by_hour(rows_of_lake(self._setup.place, event_type))
                problems += _different_rows(event_type, f"{name} in {self._setup.lake}", expected, rows)
        return problems

    def _expected(self, answer: HourAnswer) -> reference.Expected:
        hour = _hour_of(answer)
        files = self._lost.get(hour)
        if files is None:
            files = self._files([file.object_name for file in answer.files])
        left = [(name, generation, self._erased.left(hour.start, content)) for name, generation, content in files]
        return reference.read(hour.event_type, left)

    def _files(self, sources: Sequence[str]) -> list[File]:
        files = []
        for source in sources:
            stored = self._setup.cloud.vendor.live(source)
            if stored:
                content = b"".join(stored.content.chunks(0, stored.content.size))
                files.append((source, stored.generation, content))
        return files

    def _versions(self, event_type: str, hours: Collection[datetime]) -> dict[datetime, list[str | None]]:
        """Return the versions of hours in the ledgers, first that of the DuckDB file."""
        if not self._setup.database.exists():
            return {hour: [None] for hour in hours}
        ledgers = []
        for lake in ("", self._setup.lake) if self._setup.lake else ("",):
            with warehouse_of(self._setup.place, lake) as warehouse:
                ledgers.append(warehouse.loaded(parse_event_type(event_type), min(hours), max(hours) + ONE_HOUR))
        return {hour: [ledger.get(hour) for ledger in ledgers] for hour in hours}

    def _ledger(self, event_type: str) -> dict[datetime, tuple[int, ...]]:
        found = _ask(self._setup.database, "select * from ayla_loads where event_type = ?", [event_type])
        numbers = ("lines", "rows", "duplicates", "quarantined")
        return {row["folder_hour"].astimezone(UTC): tuple(row[name] for name in numbers) for row in found}

    def _different_receipts(self, event_type: str) -> Iterator[str]:
        place = self._setup.place
        rows = destination_of(replace(place, url=f"{place.url}/{TYPED_ROWS}"))
        name = parse_event_type(event_type)
        # Receipts have the real time. Two days later, none of them is young.
        now = datetime.now(UTC) + timedelta(days=2)
        for start, end in self._windows:
            scope = Scope([name], start, end)
            for finding in verify_rows(rows, scope, now=now):
                yield str(finding)
            for lake in ("", self._setup.lake) if self._setup.lake else ("",):
                with warehouse_of(place, lake) as warehouse:
                    for finding in verify_ledger(warehouse, rows, name, scope, now=now):
                        yield str(finding)


def rows_of(database: Path, event_type: str) -> dict[datetime, Counter[Row]]:
    """Return the rows of a table, by hour, and how often each is there."""
    return by_hour(_ask(database, f"select * from ayla_{event_type}"))  # noqa: S608 - a constant


def by_hour(rows: Iterable[Mapping[str, Any]]) -> dict[datetime, Counter[Row]]:
    """Return rows, by hour, and how often each is there."""
    found: dict[datetime, Counter[Row]] = {}
    for row in rows:
        found.setdefault(row["folder_hour"].astimezone(UTC), Counter())[_comparable(row)] += 1
    return found


def _different_rows(
    event_type: str, table: str, expected: Mapping[datetime, reference.Expected], found: Mapping[datetime, Counter[Row]]
) -> Iterator[str]:
    for hour in sorted(expected.keys() | found.keys()):
        wanted: Counter[Row] = Counter()
        if hour in expected:
            wanted.update(_comparable(row | {"folder_hour": hour}) for row in expected[hour].rows)
        held = found.get(hour, Counter())
        missing, extra = wanted - held, held - wanted
        if missing or extra:
            yield (
                f"{event_type} {hour:%Y-%m-%d %H:%M}: {table} lacks {missing.total()} of {wanted.total()} rows, and "
                f"has {extra.total()} that it shouldn't have"
            )


def _different_ledger(
    event_type: str,
    expected: Mapping[datetime, reference.Expected],
    found: Mapping[datetime, tuple[int, ...]],
    duplicates: Mapping[datetime, int],
) -> Iterator[str]:
    """
    Yield how the ledger differs.

    :param duplicates: of hours with lost files: the duplicates before any erasure. Nobody knows whose they were
    """
    # An hour without files isn't loaded.
    wanted = {hour: _counts(key) for hour, key in expected.items() if key.lines}
    for hour in sorted(wanted.keys() | found.keys()):
        if wanted.get(hour) != found.get(hour) and not _is_possible(
            found.get(hour), wanted.get(hour), duplicates.get(hour, 0)
        ):
            yield (
                f"{event_type} {hour:%Y-%m-%d %H:%M}: expected {wanted.get(hour)} lines, rows, duplicates, and "
                f"malformed lines, but the ledger has {found.get(hour)}"
            )


def _is_possible(found: tuple[int, ...] | None, wanted: tuple[int, ...] | None, most: int) -> bool:
    """Return whether the counts of an hour differ only in duplicates that can be those of somebody erased."""
    if found is None or wanted is None:
        return False
    lines, rows, duplicates, malformed = found
    is_sum = lines == rows + duplicates + malformed
    return is_sum and (rows, malformed) == (wanted[1], wanted[3]) and wanted[2] <= duplicates <= most


def _counts(expected: reference.Expected) -> tuple[int, ...]:
    lines, rows, malformed = sum(expected.lines.values()), len(expected.rows), len(expected.malformed)
    return lines, rows, lines - rows - malformed, malformed


def _comparable(row: Mapping[str, Any]) -> Row:
    values = {name: str(value) if isinstance(value, UUID) else value for name, value in row.items()}
    return frozenset((name, value) for name, value in values.items() if value is not None and name not in _NO_COLUMNS)


def _ask(database: Path, query: str, values: Sequence[Any] = ()) -> list[dict[str, Any]]:
    """Return the rows of a query; none if nothing has been loaded. No other process may have the file open."""
    if not database.exists():
        return []
    with duckdb.connect(str(database)) as connection:
        connection.execute("set TimeZone = 'UTC'")
        try:
            cursor = connection.execute(query, values)
        except duckdb.CatalogException:
            return []
        names = [column[0] for column in cursor.description or ()]
        return [dict(zip(names, row, strict=True)) for row in cursor.fetchall()]


def _hour_of(answer: HourAnswer) -> ExportHour:
    return ExportHour(parse_event_type(answer.event_type), answer.hour)
