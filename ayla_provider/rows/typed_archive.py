"""The typed rows in the customer's bucket: one Parquet file for each event type and hour, made from the archive."""

from __future__ import annotations

import contextlib
import json
import logging
import tempfile
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any

from ayla_provider.archive.ahead import read_ahead
from ayla_provider.archive.destination import Destination, Stored, url_of
from ayla_provider.archive.records import Records, write_json
from ayla_provider.archive.scratch import scratch_folder
from ayla_provider.domain import typed_manifest as typed
from ayla_provider.domain.csv.columns import COLUMN_LAYOUTS, ColumnLayout
from ayla_provider.domain.csv.fit import is_declared
from ayla_provider.domain.csv.foreign import is_ignored
from ayla_provider.domain.csv.recognition import Recognised
from ayla_provider.domain.hour import ExportHour
from ayla_provider.domain.json_fields import UNREADABLE
from ayla_provider.domain.manifest import Manifest, ManifestFile
from ayla_provider.domain.privacy import PrivacyPolicy
from ayla_provider.domain.typed_manifest import TypedFile, TypedManifest
from ayla_provider.domain.units import files_text, first_few
from ayla_provider.errors import (
    AylaConflictError,
    AylaDestinationError,
    AylaNotSettledError,
    AylaQuarantineError,
    AylaWarehouseError,
)
from ayla_provider.rows.duck import MEMORY, connect
from ayla_provider.rows.intake import EMPTY_LINE, GoodLines, fetch_good_lines
from ayla_provider.rows.parquet import FileBalance, HourBalance, type_hour
from ayla_provider.rows.quarantine import FEW_MALFORMED, MAX_MALFORMED, Quarantine
from ayla_provider.rows.stream_intake import LinesRefusedError, fetch_stream_lines
from ayla_provider.transport.checksum import CHUNK, Crc32c

log = logging.getLogger(__name__)

_MOST_SCANS = 8
"""Of an hour with more files, those with the same columns are joined, because each file that is scanned costs time."""


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
    ) -> None:
        self._archive = archive
        self._records = Records(archive)
        self._rows = rows
        self._layouts = layouts
        self._policy = policy or PrivacyPolicy()
        self._memory = memory
        self._max_malformed = max_malformed
        self._ignored_files = ignored_files

    def ensure(self, hour: ExportHour, written_by: Mapping[str, str]) -> TypedHourReport:
        """
        Make an hour's typed rows, unless they exist already.

        If files of the hour are lost, rows that exist stay, and rows that don't are made of what is left.

        :param written_by: for the receipt
        :raises AylaNotSettledError: if the archive doesn't hold the hour yet
        :raises AylaLayoutError: if a file fits no layout, or several
        :raises AylaQuarantineError: if too many lines are malformed
        :raises AylaError: if archive or rows can't be read or written
        """
        manifest, _ = self._records.read_manifest(hour)
        if manifest is None:
            raise AylaNotSettledError(
                f"{hour} has no manifest in {self._archive.url}: it isn't copied "
                "yet, or not completely. Run its copy first. A plan operator returns only hours that are copied."
            )
        ignored = [file.source for file in manifest.present if self._is_ignored(manifest, file)]
        recipe = typed.recipe_of(hour.event_type, self._policy, self._layouts, ignored)
        version = typed.version_of(manifest, recipe)
        existing = self._existing(hour)
        # Read before anything is made. If another task writes rows in the meantime, it wins, and this one fails.
        rows = _stored(self._rows, typed.parquet_path(hour))
        lost = len(manifest.lost)
        if existing and (lost or existing.version == version) and self._has_rows(existing, rows):
            outdated = existing.version.partition("-")[2] != recipe
            return TypedHourReport(existing, made=False, lost=lost, outdated=outdated, is_stream=manifest.is_stream)
        if ignored:
            log.info(
                "%s: passed over %s that ignored_files matches: %s.",
                hour,
                files_text(len(ignored)),
                first_few([repr(name.rpartition("/")[2]) for name in ignored], _NAMES_SHOWN),
            )
        with _disk_errors(), scratch_folder() as folder:
            return self._make(manifest, version, folder, written_by, rows)

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

    @contextlib.contextmanager
    def fetched(self, manifest: TypedManifest) -> Iterator[Path | None]:
        """
        Bring an hour's Parquet file to this disk, for the time of a ``with`` statement; None if there is none.

        :raises AylaDestinationError: if the file can't be read, or differs from its receipt
        """
        if not manifest.path or not manifest.rows:
            yield None
            return
        with contextlib.ExitStack() as stack:
            checksum = Crc32c()
            with _disk_errors():
                path = stack.enter_context(scratch_folder()) / "rows.parquet"
                with path.open("wb") as file:
                    for block in self._rows.blocks(manifest.path):
                        checksum.update(block)
                        file.write(block)
            if checksum.base64 != manifest.crc32c:
                raise AylaDestinationError(
                    f"{url_of(self._rows, manifest.path)} has crc32c {checksum.base64}, its receipt says "
                    f"{manifest.crc32c}: another run may be writing it now. If the message comes again, remove the "
                    f"receipt {typed.typed_manifest_path(manifest.hour)} and clear the task."
                )
            yield path

    def _existing(self, hour: ExportHour) -> TypedManifest | None:
        path = typed.typed_manifest_path(hour)
        found = self._rows.read(path)
        return typed.parse_typed_manifest(found[0], url_of(self._rows, path), hour) if found else None

    def _has_rows(self, manifest: TypedManifest, rows: Stored | None) -> bool:
        if not manifest.path:
            return True
        # Two tasks at once can leave the rows of one and the receipt of the other: the same rows in other bytes.
        return rows is not None and rows.size == manifest.size and self._rows.crc32c(rows) == manifest.crc32c

    def _make(
        self, archived: Manifest, version: str, folder: Path, written_by: Mapping[str, str], rows: Stored | None
    ) -> TypedHourReport:
        hour = archived.hour
        parquet = folder / "rows.parquet"
        with contextlib.closing(connect(memory=self._memory, folder=folder)) as connection:
            try:
                files, balance, quarantine, kept = self._type(archived, connection, folder, parquet)
            except LinesRefusedError:
                log.info("%s: DuckDB refuses a line. Each line is looked at.", hour)
                files, balance, quarantine, kept = self._type_slowly(archived, connection, folder, parquet)
        self._refuse_too_many(hour, files, quarantine, kept)
        path = typed.parquet_path(hour) if archived.present else ""
        stored_size, crc32c = _facts(parquet)
        manifest = TypedManifest(
            hour=hour,
            version=version,
            path=path,
            size=stored_size if path else 0,
            crc32c=crc32c if path else "",
            columns=balance.table.columns,
            identity=balance.table.identity,
            files=tuple(_typed_file(file, balance.files[file.source]) for file in files),
            quarantine=kept,
            privacy=dict(self._policy.treatments),
            written_at=datetime.now(UTC).isoformat(),
            written_by=written_by,
            lost=tuple(file.source for file in archived.lost),
        )
        if path:
            self._put(self._rows, path, parquet, rows)
        self._put_text(typed.typed_manifest_path(hour), manifest.dumps())
        news = self._news(hour, [file.recognised for file in files if file.recognised])
        return TypedHourReport(manifest, made=True, news=news, lost=len(archived.lost), is_stream=archived.is_stream)

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
            files = self._fetch(archived, Path(inner), quarantine, slowly=slowly)
            balance = type_hour(
                connection,
                hour,
                files,
                parquet,
                quarantine=quarantine,
                policy=self._policy,
                declared=[layout for layout in self._layouts if is_declared(layout)],
            )
            kept = self._keep_quarantine(hour, quarantine, connection, Path(inner) / "quarantine.parquet")
        return files, balance, quarantine, kept

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
                    )
                files.append(lines)
        return files

    def _keep_quarantine(self, hour: ExportHour, quarantine: Quarantine, connection: Any, local: Path) -> str:
        """Write the malformed lines into the archive, and return their path; empty if there are none."""
        path = typed.quarantine_path(hour)
        if not quarantine.total and _stored(self._archive, path) is None:
            return ""
        quarantine.write_parquet(connection, local)
        self._put(self._archive, path, local, _stored(self._archive, path))
        return path if quarantine.total else ""

    def _refuse_too_many(self, hour: ExportHour, files: Sequence[GoodLines], quarantine: Quarantine, kept: str) -> None:
        blank_ends = sum(file.ends_blank for file in files)
        lines = sum(file.all_lines for file in files) - blank_ends
        malformed = quarantine.total - blank_ends
        # In a short hour, a single line is a large share.
        few = min(FEW_MALFORMED, lines // 2) if self._max_malformed else 0
        if malformed <= max(few, self._max_malformed * lines):
            return
        counted = quarantine.reasons - Counter({EMPTY_LINE: blank_ends})
        reasons = "; ".join(f"{reason} ({count:,})" for reason, count in counted.most_common(5))
        raise AylaQuarantineError(
            f"{hour}: {malformed:,} of {lines:,} lines are malformed, more "
            f"than the {self._max_malformed:.1%} of max_malformed: {reasons}. They are kept in "
            f"{url_of(self._archive, kept)}, and the hour isn't loaded. Look at them. Then declare the files' "
            "layout, or raise max_malformed."
        )

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

    def _put(self, destination: Destination, path: str, local: Path, replaces: Stored | None) -> None:
        size, crc32c = _facts(local)
        with local.open("rb") as file:
            destination.write(
                path,
                file,
                size=size,
                crc32c=crc32c,
                replaces=replaces,
                content_type="application/vnd.apache.parquet",
            )

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


def _facts(local: Path) -> tuple[int, str]:
    checksum = Crc32c()
    with local.open("rb") as file:
        while block := file.read(CHUNK):
            checksum.update(block)
    return local.stat().st_size, checksum.base64


def _typed_file(file: GoodLines, balance: FileBalance) -> TypedFile:
    recognised = file.recognised
    return TypedFile(
        source=file.source,
        generation=file.generation,
        layout=recognised.layout.name if recognised else "",
        columns=recognised.columns if recognised else (),
        header=recognised.header if recognised else False,
        lines=file.all_lines,
        loaded=balance.loaded,
        duplicates=balance.duplicates,
        quarantined=balance.quarantined,
    )


def _described(recognised: Recognised) -> str:
    text = recognised.layout.name
    if recognised.header:
        text += " with a header"
    if recognised.new_columns:
        text += f" with new columns {', '.join(recognised.new_columns)}"
    return text
