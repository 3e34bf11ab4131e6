"""The typed rows in the customer's bucket: Parquet files for each event type and hour, made from the archive."""

from __future__ import annotations

import contextlib
import json
import logging
import tempfile
from collections import Counter
from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any

from ayla_provider.archive.ahead import read_ahead
from ayla_provider.archive.destination import Destination, Stored, url_of
from ayla_provider.archive.erasures import Erasures
from ayla_provider.archive.records import Records, write_json
from ayla_provider.archive.scratch import scratch_folder
from ayla_provider.domain import typed_manifest as typed
from ayla_provider.domain.csv.columns import COLUMN_LAYOUTS, ColumnLayout
from ayla_provider.domain.csv.fit import is_declared
from ayla_provider.domain.csv.foreign import is_ignored
from ayla_provider.domain.csv.recognition import KnownColumns, Recognised
from ayla_provider.domain.erasure import ErasureKeys
from ayla_provider.domain.hour import ExportHour
from ayla_provider.domain.json_fields import UNREADABLE
from ayla_provider.domain.manifest import Manifest, ManifestFile
from ayla_provider.domain.new_columns import OnNewColumn, new_columns_of, on_new_column
from ayla_provider.domain.parts import MAX_BYTES_PER_TASK, divide
from ayla_provider.domain.privacy import PrivacyPolicy
from ayla_provider.domain.tables import Table
from ayla_provider.domain.typed_manifest import RowsFile, TypedFile, TypedManifest
from ayla_provider.domain.units import files_text, first_few
from ayla_provider.errors import (
    AylaConflictError,
    AylaNotSettledError,
    AylaQuarantineError,
    AylaRemovedError,
    AylaWarehouseError,
)
from ayla_provider.rows.duck import MEMORY, connect
from ayla_provider.rows.hour_parts import HourParts, content_of, fetch, typed_file, write_parquet
from ayla_provider.rows.intake import EMPTY_LINE, GoodLines, fetch_good_lines
from ayla_provider.rows.parquet import HourBalance, keeps_models, type_hour
from ayla_provider.rows.quarantine import FEW_MALFORMED, MAX_MALFORMED, Quarantine
from ayla_provider.rows.stream_intake import LinesRefusedError, fetch_stream_lines
from ayla_provider.transport.spans import facts_of, span

log = logging.getLogger(__name__)

_MOST_SCANS = 8
"""Of an hour with more files, those with the same columns are joined, because each file that is scanned costs time."""


_WRITERS = 4
"""How many Parquet files a commit moves at once. Each takes disk space for a while."""

_NAMES_SHOWN = 3
"""How many files without rows the log names."""


@dataclass(frozen=True, slots=True)
class TypedHourReport:
    """What became of an hour."""

    manifest: TypedManifest
    made: bool
    """Whether the rows were made now; otherwise they existed already."""
    news: tuple[str, ...] = ()
    """Layouts that no file of the event type had before, in words."""
    lost: int = 0
    """How many files of the hour are lost."""
    outdated: bool = False
    """Whether the rows were made in another way than is wanted now, and can't be made again, because files are lost."""
    is_stream: bool = False
    """Whether it is an hour of a stream."""
    export: str = ""
    """The URL of the export or the stream, see :attr:`~ayla_provider.domain.manifest.Manifest.export`."""


@dataclass(frozen=True, slots=True)
class TypedPartReport:
    """What became of a part of an hour."""

    lines: int
    rows: int
    """Before they are compared with those of the other parts."""
    made: bool
    """Whether they were made now; otherwise they existed already."""


class TypedArchive:
    """
    The typed rows of an archive.

    :param archive: the vendor's bytes, with their manifests
    :param rows: where the typed rows go
    :param layouts: those that files may have
    :param memory: what DuckDB may take, as it writes sizes
    :param max_malformed: the share of an hour's lines, 0 to 1, above which the hour isn't typed; unless it is 0, a few
        lines are always tolerated
    :param ignored_files: patterns of names that aren't export data, see
        :func:`~ayla_provider.domain.csv.foreign.is_ignored`
    :param max_bytes_per_task: an hour with more bytes of files is typed in parts; the hours of a stream never are
    :param on_new_column: what becomes of columns that nobody knows, see
        :func:`~ayla_provider.domain.new_columns.on_new_column`
    :param erasure_keys: returns the keys of the erasure ledger. It is called only if an erasure touches an hour
    """

    def __init__(
        self,
        archive: Destination,
        rows: Destination,
        *,
        layouts: Sequence[ColumnLayout] = COLUMN_LAYOUTS,
        policy: PrivacyPolicy | None = None,
        memory: str = MEMORY,
        max_malformed: float = MAX_MALFORMED,
        ignored_files: Sequence[str] = (),
        max_bytes_per_task: int = MAX_BYTES_PER_TASK,
        on_new_column: str | Mapping[str, str] = OnNewColumn.EVOLVE,
        erasure_keys: Callable[[], ErasureKeys] | None = None,
    ) -> None:
        self._new_columns = on_new_column
        self._archive = archive
        self._erasure_keys = erasure_keys
        self._erasures = Erasures(archive, erasure_keys)
        self._records = Records(archive)
        self._rows = rows
        self._layouts = layouts
        self._policy = policy or PrivacyPolicy()
        self._memory = memory
        self._max_malformed = max_malformed
        self._ignored_files = ignored_files
        self._max_bytes_per_task = max_bytes_per_task

    def ensure(self, hour: ExportHour, written_by: Mapping[str, str], *, again: bool = False) -> TypedHourReport:
        """
        Make an hour's typed rows, unless they exist already. Of a large hour, take the parts that exist.

        If files of the hour are lost, rows that exist stay, and rows that don't are made of what is left.

        :param written_by: for the receipt
        :param again: whether to make rows that exist again
        :raises AylaNotSettledError: if the archive doesn't hold the hour yet
        :raises AylaLayoutError: if a file fits no layout, or several
        :raises AylaQuarantineError: if too many lines are malformed
        :raises AylaError: if archive or rows can't be read or written
        """
        with span("type", **facts_of([hour])) as note:
            report = self._ensure(hour, written_by, again=again)
            made = report.manifest
            note(
                made=report.made,
                files=len(made.files),
                lines=made.lines,
                rows=made.rows,
                duplicates=made.duplicates,
                quarantined=made.quarantined,
                bytes=made.bytes,
            )
        return report

    def _ensure(self, hour: ExportHour, written_by: Mapping[str, str], *, again: bool) -> TypedHourReport:
        self._erasures = Erasures(self._archive, self._erasure_keys)
        manifest, ignored, recipe = self._to_type(hour)
        version = typed.version_of(manifest, recipe)
        existing = self._existing(hour)
        # Read before anything is made. If another task writes rows in the meantime, it wins, and this one fails.
        rows = self._rows.folder(hour.partition)
        lost = len(manifest.lost)
        is_partial = bool(lost or manifest.removed)
        is_current = existing is not None and existing.version == version and not again
        if existing and (is_partial or is_current) and self._has_rows(existing, rows):
            outdated = existing.version.partition("-")[2] != recipe
            if existing.parts:
                self._parts_of(hour).remove()
            return TypedHourReport(
                existing,
                made=False,
                lost=lost,
                outdated=outdated,
                is_stream=manifest.is_stream,
                export=manifest.export,
            )
        if manifest.removed:
            raise AylaRemovedError(
                f"{hour}: a rule removed {files_text(len(manifest.removed))} of it from the archive on "
                f"{manifest.removed[0].removed[:10]}, and {self._rows.url} doesn't have its rows. They can't be made "
                "again."
            )
        if ignored:
            log.info(
                "%s: passed over %s that ignored_files matches: %s.",
                hour,
                files_text(len(ignored)),
                first_few([repr(name.rpartition("/")[2]) for name in ignored], _NAMES_SHOWN),
            )
        parts = self._divided(manifest, recipe)
        with _disk_errors(), scratch_folder() as folder:
            if len(parts) > 1:
                return self._join(manifest, version, parts, folder, written_by, rows)
            return self._make(manifest, version, folder, written_by, rows)

    def ensure_part(self, hour: ExportHour, number: int) -> TypedPartReport | None:
        """
        Make a part of an hour's typed rows, unless it exists already. No reader of the rows sees it.

        :param number: the part's, from 1
        :returns: None if there is nothing to do: the hour's rows exist, or it has no such part, or only one
        :raises AylaError: as :meth:`ensure` does
        """
        with span("type", **facts_of([hour]), part=number) as note:
            report = self._ensure_part(hour, number)
            if report:
                note(made=report.made, lines=report.lines, rows=report.rows)
        return report

    def _ensure_part(self, hour: ExportHour, number: int) -> TypedPartReport | None:
        self._erasures = Erasures(self._archive, self._erasure_keys)
        manifest, _, recipe = self._to_type(hour)
        parts = self._divided(manifest, recipe)
        if len(parts) < 2 or number > len(parts):
            return None
        existing = self._existing(hour)
        is_current = existing and existing.version == typed.version_of(manifest, recipe)
        if existing and is_current and self._has_rows(existing, self._rows.folder(hour.partition)):
            return None
        with _disk_errors():
            part, made = self._parts_of(hour).ensure(*parts[number - 1])
        return TypedPartReport(sum(file.typed.lines for file in part.files), part.count, made)

    def _to_type(self, hour: ExportHour) -> tuple[Manifest, list[str], str]:
        """Return an hour's manifest, the names of its files without rows, and how its files are treated."""
        manifest, _ = self._records.read_manifest(hour)
        if manifest is None:
            raise AylaNotSettledError(
                f"{hour} has no manifest in {self._archive.url}: it isn't copied "
                "yet, or not completely. Run its copy first. A plan operator returns only hours that are copied."
            )
        ignored = [file.source for file in manifest.present if self._is_ignored(manifest, file)]
        recipe = typed.recipe_of(hour.event_type, self._policy, self._layouts, ignored, self._on_new_column(hour))
        return manifest, ignored, recipe

    def _on_new_column(self, hour: ExportHour) -> OnNewColumn:
        return on_new_column(self._new_columns, hour.event_type)

    def _left_out(self, hour: ExportHour, recognised: Sequence[Recognised]) -> tuple[str, ...]:
        """Return the new columns of an hour's files that its rows don't have."""
        if self._on_new_column(hour) in (OnNewColumn.DROP, OnNewColumn.QUARANTINE):
            return new_columns_of(hour.event_type, recognised)
        return ()

    def _divided(self, manifest: Manifest, recipe: str) -> list[tuple[Manifest, str]]:
        """Return the parts of an hour: the manifest with the files of each alone, and its name."""
        if manifest.is_stream:
            return []
        parts = [replace(manifest, files=tuple(part)) for part in divide(manifest.present, self._max_bytes_per_task)]
        return [(part, typed.version_of(part, recipe)) for part in parts]

    def _parts_of(self, hour: ExportHour) -> HourParts:
        return HourParts(
            self._archive,
            self._rows,
            hour,
            layouts=self._layouts,
            memory=self._memory,
            type_files=self._type_files,
        )

    def _is_ignored(self, manifest: Manifest, file: ManifestFile) -> bool:
        """Return whether a file has no rows. Each file of a stream has some, because this package wrote it."""
        return not manifest.is_stream and is_ignored(file.source, self._ignored_files)

    def loaded(self, hours: Sequence[ExportHour]) -> dict[ExportHour, str]:
        """
        Return the version of each hour whose rows exist.

        :raises AylaDestinationError: if a receipt can't be read
        """
        with ThreadPoolExecutor(8) as pool:
            manifests = zip(hours, pool.map(self._existing, hours), strict=True)
            return {hour: manifest.version for hour, manifest in manifests if manifest}

    def files(self, manifest: TypedManifest) -> Generator[Path, None, None]:
        """
        Yield an hour's Parquet files that have rows, each on this disk until the next one is asked for.

        :raises AylaDestinationError: if a file can't be read, or differs from its receipt
        """
        for file in manifest.rows_files:
            if file.rows:
                with self._on_disk(manifest, [file]) as folder:
                    yield folder / "rows-0.parquet"

    @contextlib.contextmanager
    def fetched(self, manifest: TypedManifest) -> Iterator[Path | None]:
        """
        Bring all of an hour's rows to this disk, for the time of a ``with`` statement.

        It gives what DuckDB's ``read_parquet`` takes: the path of the Parquet file, or a pattern of several; None if
        there are no rows.

        :raises AylaDestinationError: if a file can't be read, or differs from its receipt
        """
        files = [file for file in manifest.rows_files if file.rows]
        if not files:
            yield None
            return
        with self._on_disk(manifest, files) as folder:
            yield folder / ("rows-*.parquet" if len(files) > 1 else "rows-0.parquet")

    @contextlib.contextmanager
    def _on_disk(self, manifest: TypedManifest, files: Sequence[RowsFile]) -> Iterator[Path]:
        with contextlib.ExitStack() as stack:
            with _disk_errors():
                folder = stack.enter_context(scratch_folder())
                for number, file in enumerate(files):
                    fetch(
                        self._rows,
                        file.path,
                        file.crc32c,
                        folder / f"rows-{number}.parquet",
                        "If the message comes again, remove the receipt "
                        f"{typed.typed_manifest_path(manifest.hour)} and clear the task.",
                    )
            yield folder

    def _existing(self, hour: ExportHour) -> TypedManifest | None:
        path = typed.typed_manifest_path(hour)
        found = self._rows.read(path)
        return typed.parse_typed_manifest(found[0], url_of(self._rows, path), hour) if found else None

    def _has_rows(self, manifest: TypedManifest, stored: Mapping[str, Stored]) -> bool:
        """
        Return whether the rows are there that a receipt names.

        :param stored: what the hour's folder has
        """
        # Two tasks at once can leave the rows of one and the receipt of the other: the same rows in other bytes.
        for file in manifest.rows_files:
            rows = stored.get(file.path)
            if rows is None or rows.size != file.size or self._rows.crc32c(rows) != file.crc32c:
                return False
        return True

    def _make(
        self,
        archived: Manifest,
        version: str,
        folder: Path,
        written_by: Mapping[str, str],
        stored: Mapping[str, Stored],
    ) -> TypedHourReport:
        hour = archived.hour
        parquet = folder / "rows.parquet"
        with contextlib.closing(connect(memory=self._memory, folder=folder)) as connection:
            try:
                files, balance, quarantine, kept = self._type(archived, connection, folder, parquet)
            except LinesRefusedError:
                log.info("%s: DuckDB refuses a line. Each line is looked at.", hour)
                files, balance, quarantine, kept = self._type_slowly(archived, connection, folder, parquet)
        blank_ends = sum(file.ends_blank for file in files)
        lines = sum(file.all_lines for file in files)
        self._refuse_too_many(archived, lines, blank_ends, quarantine.reasons, kept)
        rows_files: list[RowsFile] = []
        if archived.present:
            self._remove_further(hour, stored)
            rows_files.append(self._put_rows(hour, 0, parquet, balance.rows, stored))
        manifest = self._commit(
            archived,
            version,
            balance.table,
            rows_files,
            [typed_file(file, balance) for file in files],
            kept,
            written_by,
            balance.models,
        )
        news = self._news(hour, [file.recognised for file in files if file.recognised])
        return TypedHourReport(
            manifest,
            made=True,
            news=news,
            lost=len(archived.lost),
            is_stream=archived.is_stream,
            export=archived.export,
        )

    def _join(
        self,
        archived: Manifest,
        version: str,
        divided: Sequence[tuple[Manifest, str]],
        folder: Path,
        written_by: Mapping[str, str],
        stored: Mapping[str, Stored],
    ) -> TypedHourReport:
        """Make an hour's rows of its parts."""
        hour = archived.hour
        parts = self._parts_of(hour)
        joined = parts.join(divided)
        left_out = self._left_out(hour, joined.recognised)
        table = self._policy.leaving_out(left_out).table(joined.table)
        lines = sum(file.typed.lines for part in joined.parts for file in part.files)
        kept = self._keep_quarantine(
            hour,
            joined.has_quarantine,
            lambda local: parts.write_quarantine(joined, local, folder),
            folder / "quarantine.parquet",
        )
        self._refuse_too_many(archived, lines, joined.blank_ends, joined.reasons, kept)
        with parts.settle(joined, folder) as settled:
            # A reader of all files of the folder must never see a row twice. So the files that would stay beside the
            # first new one are removed first.
            self._remove_further(hour, stored)

            def write(number: int) -> RowsFile:
                local = folder / f"part-{number}.parquet"
                rows = settled.write(number, table, local)
                written = self._put_rows(hour, number, local, rows, stored)
                local.unlink()
                return written

            # The first file alone: if another task commits the hour at the same time, one of them fails here.
            rows_files = [write(0)]
            with ThreadPoolExecutor(_WRITERS, "ayla-commit") as pool:
                rows_files += pool.map(write, range(1, len(joined.parts)))
            files = settled.files()
            models = settled.models if keeps_models(self._policy, joined.table) else None
        manifest = self._commit(archived, version, table, rows_files, files, kept, written_by, models)
        news = self._news(hour, joined.recognised)
        parts.remove()
        return TypedHourReport(manifest, made=True, news=news, lost=len(archived.lost), export=archived.export)

    def _remove_further(self, hour: ExportHour, stored: Mapping[str, Stored]) -> None:
        """Remove the Parquet files of an hour after the first one."""
        for path in typed.further_parquet(hour, stored):
            self._rows.remove(stored[path])

    def _put_rows(
        self, hour: ExportHour, number: int, local: Path, rows: int, stored: Mapping[str, Stored]
    ) -> RowsFile:
        path, content = typed.parquet_path(hour, number), content_of(local)
        # The further files are removed by now.
        write_parquet(self._rows, path, local, content, None if number else stored.get(path))
        return RowsFile(path, content.size, content.crc32c, rows)

    def _commit(
        self,
        archived: Manifest,
        version: str,
        table: Table,
        rows_files: Sequence[RowsFile],
        files: Sequence[TypedFile],
        kept: str,
        written_by: Mapping[str, str],
        models: Mapping[str, int] | None,
    ) -> TypedManifest:
        """
        Write the receipt.

        :param models: each model to its rows; None if they weren't counted
        """
        self._erasures.refuse_change([archived.hour])
        first = rows_files[0] if rows_files else RowsFile("", 0, "", 0)
        manifest = TypedManifest(
            hour=archived.hour,
            version=version,
            path=first.path,
            size=first.size,
            crc32c=first.crc32c,
            columns=table.columns,
            identity=table.identity,
            files=tuple(files),
            quarantine=kept,
            privacy=dict(self._policy.treatments),
            written_at=datetime.now(UTC).isoformat(),
            written_by=written_by,
            lost=tuple(file.source for file in archived.lost),
            parts=tuple(rows_files) if len(rows_files) > 1 else (),
            models=None if models is None else typed.largest_models(models),
        )
        self._put_text(typed.typed_manifest_path(archived.hour), manifest.dumps())
        return manifest

    def _type(
        self, archived: Manifest, connection: Any, folder: Path, parquet: Path, *, slowly: bool = False
    ) -> tuple[list[GoodLines], HourBalance, Quarantine, str]:
        """
        Write the Parquet file and the malformed lines.

        :param slowly: whether to look at each line of a stream, because DuckDB refuses one
        :raises LinesRefusedError: if DuckDB refuses a line of a stream
        """
        hour = archived.hour
        with tempfile.TemporaryDirectory(dir=folder) as inner, Quarantine(Path(inner) / "quarantine") as quarantine:
            files, balance = self._type_files(archived, connection, Path(inner), parquet, quarantine, slowly=slowly)
            kept = self._keep_quarantine(
                hour,
                bool(quarantine.kept),
                lambda local: quarantine.write_parquet(connection, local),
                Path(inner) / "quarantine.parquet",
            )
        return files, balance, quarantine, kept

    def _type_files(
        self,
        archived: Manifest,
        connection: Any,
        folder: Path,
        parquet: Path,
        quarantine: Quarantine,
        *,
        slowly: bool = False,
        of_hour: Sequence[Recognised] = (),
        marked: bool = False,
    ) -> tuple[list[GoodLines], HourBalance]:
        """See :meth:`_type`, and :func:`~ayla_provider.rows.parquet.type_hour`."""
        files = self._fetch(archived, folder, quarantine, slowly=slowly)
        balance = type_hour(
            connection,
            archived.hour,
            files,
            parquet,
            quarantine=quarantine,
            policy=self._policy,
            declared=[layout for layout in self._layouts if is_declared(layout)],
            of_hour=of_hour,
            marked=marked,
            on_new_column=self._on_new_column(archived.hour),
        )
        return files, balance

    def _type_slowly(
        self, archived: Manifest, connection: Any, folder: Path, parquet: Path
    ) -> tuple[list[GoodLines], HourBalance, Quarantine, str]:
        try:
            return self._type(archived, connection, folder, parquet, slowly=True)
        except LinesRefusedError:
            raise AylaWarehouseError(
                f"{archived.hour}: DuckDB refuses lines that Python reads. Nothing was loaded. This is a bug in this "
                "provider; please report it with the version of DuckDB."
            ) from None

    def _fetch(self, archived: Manifest, folder: Path, quarantine: Quarantine, *, slowly: bool) -> list[GoodLines]:
        """Bring the lines of an hour's files to this machine's disk."""
        joined = len(archived.present) > _MOST_SCANS
        matcher = self._erasures.matcher(archived.hour)
        # On a disk there is nothing to wait for.
        far = {file.path for file in archived.present if self._archive.local(file.path) is None}
        readers = [partial(self._archive.blocks, file.path) for file in archived.present if file.path in far]
        files: list[GoodLines] = []
        with read_ahead(readers) as contents:
            for number, file in enumerate(archived.present):
                blocks = next(contents) if file.path in far else None
                if archived.is_stream:
                    lines: GoodLines = fetch_stream_lines(
                        self._archive,
                        file,
                        folder / ("joined" if joined else f"{number}.jsonl"),
                        event_type=archived.hour.event_type,
                        quarantine=quarantine,
                        number=number,
                        joined=joined,
                        slowly=slowly,
                        blocks=blocks,
                        matcher=matcher,
                    )
                else:
                    lines = fetch_good_lines(
                        self._archive,
                        file,
                        folder / ("joined" if joined else f"{number}.csv"),
                        event_type=archived.hour.event_type,
                        layouts=self._layouts,
                        quarantine=quarantine,
                        number=number,
                        joined=joined,
                        ignored_files=self._ignored_files,
                        blocks=blocks,
                        matcher=matcher,
                        known=partial(self._known_columns, archived.hour),
                    )
                files.append(lines)
        return files

    def _keep_quarantine(self, hour: ExportHour, any_kept: bool, write: Callable[[Path], None], local: Path) -> str:
        """
        Write the quarantined lines into the archive, and return their path; empty if there are none.

        :param any_kept: whether there are any
        :param write: writes them as a Parquet file
        """
        path = typed.quarantine_path(hour)
        if not any_kept and _stored(self._archive, path) is None:
            return ""
        write(local)
        write_parquet(self._archive, path, local, content_of(local), _stored(self._archive, path))
        return path if any_kept else ""

    def _refuse_too_many(
        self, archived: Manifest, all_lines: int, blank_ends: int, all_reasons: Mapping[str, int], kept: str
    ) -> None:
        """
        Refuse an hour of which too many lines are malformed.

        Lines that an erasure took away count as before it. Otherwise an hour could be refused because of the erasure.

        :param all_lines: of the copies
        :param blank_ends: how many files end with an empty line, which says nothing about them
        :param all_reasons: why lines are malformed, and how many
        :param kept: the path of the malformed lines
        """
        erased = sum(file.erased.lines for file in archived.present if file.erased)
        lines = all_lines + erased - blank_ends
        malformed = sum(all_reasons.values()) - blank_ends
        # In a short hour, a single line is a large share.
        few = min(FEW_MALFORMED, lines // 2) if self._max_malformed else 0
        if malformed <= max(few, self._max_malformed * lines):
            return
        counted = Counter(all_reasons) - Counter({EMPTY_LINE: blank_ends})
        reasons = "; ".join(f"{reason} ({count:,})" for reason, count in counted.most_common(5))
        raise AylaQuarantineError(
            f"{archived.hour}: {malformed:,} of {lines:,} lines are malformed, more "
            f"than the {self._max_malformed:.1%} of max_malformed: {reasons}. They are kept in "
            f"{url_of(self._archive, kept)}, and the hour isn't loaded. Look at them. Then declare the files' "
            "layout, or raise max_malformed."
        )

    def _known_columns(self, hour: ExportHour) -> list[KnownColumns]:
        """Return what the columns of an event type's files have been, the latest last."""
        content, _ = self._rows.read(typed.layouts_path(hour.event_type)) or (b"{}", None)
        layouts = {layout.name: layout for layout in self._layouts}
        known = []
        try:
            for text, _ in sorted(dict(json.loads(content)).items(), key=lambda each: str(each[1])):
                name, columns = _of_description(text)
                if name in layouts:
                    known.append(KnownColumns(layouts[name], columns))
        except UNREADABLE:
            return []
        return known

    def _news(self, hour: ExportHour, recognised: Sequence[Recognised]) -> tuple[str, ...]:
        """Return which layouts are new, and remember them."""
        path = typed.layouts_path(hour.event_type)
        content, stored = self._rows.read(path) or (b"{}", None)
        try:
            known: dict[str, str] = dict(json.loads(content))
        except UNREADABLE:
            known = {}
        now = {_described(each): each for each in recognised}
        unknown = sorted(now.keys() - known.keys())
        if not unknown:
            return ()
        document = json.dumps(known | dict.fromkeys(unknown, hour.start.isoformat()), indent=1) + "\n"
        try:
            write_json(self._rows, path, document, stored)
        except AylaConflictError:
            log.info("%s was written by another task in the meantime. The next hour checks again.", path)
        # In a new archive, a layout that is known from real files isn't news.
        return tuple(text for text in unknown if known or now[text].new_columns or not now[text].layout.confirmed)

    def _put_text(self, path: str, text: str) -> None:
        found = self._rows.read(path)
        write_json(self._rows, path, text, found[1] if found else None)


@contextlib.contextmanager
def _disk_errors() -> Iterator[None]:
    """Say which folder the disk's error is about."""
    try:
        yield
    except OSError as error:
        raise AylaWarehouseError(
            f"the temporary folder {tempfile.gettempdir()} can't be used: {error.strerror or error}. Free space there, "
            "or set TMPDIR to a folder with more. Then clear the task."
        ) from error


def _stored(destination: Destination, path: str) -> Stored | None:
    return destination.folder(path.rpartition("/")[0]).get(path)


_HEADER, _NEW_COLUMNS = " with a header", " with new columns "


def _described(recognised: Recognised) -> str:
    text = recognised.layout.name
    if recognised.header:
        text += _HEADER
    if recognised.new_columns:
        text += f"{_NEW_COLUMNS}{', '.join(recognised.new_columns)}"
    return text


def _of_description(text: str) -> tuple[str, tuple[str, ...]]:
    """Return the name of the layout and the new columns that :func:`_described` wrote."""
    form, _, columns = text.partition(_NEW_COLUMNS)
    return form.removesuffix(_HEADER), tuple(columns.split(", ")) if columns else ()
