"""
Extracts all events of a device or a user, decoded: the right of access.

An hour's Parquet file says whether the hour has the subject, if a privacy policy keeps or hashes the columns that
identify it. If the policy treats any column, or the file is missing or older than the archive's files, the rows are
made again from the archive, on this machine's disk: a person has a right to all of it. Nothing in the archive changes.
"""

from __future__ import annotations

import contextlib
import logging
import tempfile
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any, BinaryIO

from ayla_provider.archive.destination import Destination, Listed, Stored
from ayla_provider.archive.erasures import Matcher
from ayla_provider.archive.local import FileDestination
from ayla_provider.archive.private import open_private
from ayla_provider.archive.records import Records, refuse_no_archive, refuse_no_typed_rows
from ayla_provider.archive.scratch import scratch_folder
from ayla_provider.domain.csv.columns import COLUMN_LAYOUTS, ColumnLayout
from ayla_provider.domain.erasure import ErasureKeys, ErasureRequest, Leftover
from ayla_provider.domain.hour import ExportHour
from ayla_provider.domain.manifest import Manifest
from ayla_provider.domain.paths import MANIFESTS, PARTS, QUARANTINE, parse_manifest_path
from ayla_provider.domain.privacy import PrivacyPolicy, Treatment
from ayla_provider.domain.tables import PROVENANCE, STREAM_TABLES, Column, ColumnType
from ayla_provider.domain.typed_manifest import TypedManifest, quarantine_path, same_files
from ayla_provider.errors import AylaConfigError, AylaDestinationError, AylaError
from ayla_provider.rows.duck import MEMORY, connect, literal, quoted
from ayla_provider.rows.parquet import duckdb_errors
from ayla_provider.rows.typed_archive import TypedArchive
from ayla_provider.rows.verify import read_receipt

log = logging.getLogger(__name__)

_TIMES = ("created_at", "event_time", "updated_at", "registered_at", "acked_at")
"""What events are ordered by: the first one that a table has."""

_OWN_TIMES = ("created_at", "event_time", "acked_at", "registered_at", "unregistered_at")
"""An event's own time: the first one that has a value."""


@dataclass(slots=True)
class Events:
    """The events of one type, as files on this disk that are read together."""

    event_type: str
    files: list[Path] = field(default_factory=list)
    rows: int = 0
    columns: dict[str, Column] = field(default_factory=dict)
    """What the tables say about their columns."""


@dataclass(frozen=True, slots=True)
class Line:
    """A line that couldn't be read, and that has an identifier of the subject in it."""

    hour: ExportHour
    number: int
    """In its file, from 1."""
    reason: str
    text: str


@dataclass(slots=True)
class Found:
    """What there is about a subject."""

    events: dict[str, Events] = field(default_factory=dict)
    lines: list[Line] = field(default_factory=list)
    hours_looked_at: int = 0
    hours_made_again: int = 0
    not_readable: list[ExportHour] = field(default_factory=list)
    """Hours of which neither the archive nor the typed rows can say whether they have the subject."""

    @property
    def rows(self) -> int:
        """All events."""
        return sum(each.rows for each in self.events.values())


class Access:
    """
    Looks for the events of a subject. Use it in a ``with`` statement: its files go at the end.

    :param archive: the vendor's bytes, with their manifests
    :param rows: where the typed rows are
    :param request: whose events, and of which time
    :param policy_key: the key of the privacy policy's hashes; empty if none is known
    :param layouts: those that files may have
    :param memory: what DuckDB may take, as it writes sizes
    :param erasure_keys: returns the keys of the erasure ledger. It is called only if an erasure touches an hour that is
        read from the archive: what was erased of others stays erased
    """

    def __init__(
        self,
        archive: Destination,
        rows: Destination,
        request: ErasureRequest,
        *,
        policy_key: str = "",
        layouts: Sequence[ColumnLayout] = COLUMN_LAYOUTS,
        memory: str = MEMORY,
        erasure_keys: Callable[[], ErasureKeys] | None = None,
    ) -> None:
        self._archive = archive
        self._rows = rows
        self._erasure_keys = erasure_keys
        self._request = request
        self._policy_key = policy_key
        self._layouts = layouts
        self._memory = memory
        self._matcher = Matcher.of_known((identifier, "") for identifier in request.identifiers.values())
        self._records = Records(archive)
        self._closing = contextlib.ExitStack()

    def __enter__(self) -> Access:
        """Make a folder for the files."""
        self.folder = self._closing.enter_context(scratch_folder())
        self._duck = connect(memory=self._memory, folder=self.folder)
        self._closing.callback(self._duck.close)
        return self

    def __exit__(self, *error: object) -> None:
        """Remove the files."""
        self._closing.close()

    def find(self) -> Found:
        """
        Return what there is about the subject.

        It takes one listing, and for each hour of the span up to four reads.

        :raises AylaConfigError: if the archive or the typed rows aren't where the URLs say
        :raises AylaError: if the archive or the typed rows can't be read
        """
        refuse_no_archive(self._archive)
        refuse_no_typed_rows(self._rows, self._archive.url)
        found = Found()
        for hour in sorted(set(self._hours())):
            found.hours_looked_at += 1
            self._look_into(hour, found)
            found.lines += self._lines_of(hour)
        return found

    def rows_of(self, events: Events) -> Iterator[dict[str, Any]]:
        """Yield the events of a type, in the order of their times: column to value, without columns without a value."""
        names = self.names(events)
        if not names:
            return
        order = [name for name in _TIMES if name in names] or names[:1]
        expressions = self._values(events)
        query = (
            f"select {', '.join(expressions[name] for name in names)} from {_relation(events.files)} "
            f"order by {', '.join(f'{quoted(name)} nulls last' for name in order)}"
        )
        with duckdb_errors(events.event_type):
            result = self._duck.execute(query)
            while fetched := result.fetchmany(1000):
                for values in fetched:
                    yield dict(zip(names, values, strict=True))

    def names(self, events: Events) -> list[str]:
        """
        Return the columns of the events of a type that have a value.

        Text as it is in the file is left out if there is a decoded one, which says the same. So is where a row comes
        from.
        """
        if not events.files:
            return []
        values = self._values(events)
        counts = ", ".join(f"count({value})" for value in values.values())
        with duckdb_errors(events.event_type):
            (filled,) = self._duck.execute(f"select {counts} from {_relation(events.files)}").fetchall()
        return [name for name, count in zip(values, filled, strict=True) if count]

    def _values(self, events: Events) -> dict[str, str]:
        """Return the columns of the events of a type, each with the SQL expression of its value."""
        with duckdb_errors(events.event_type):
            described = self._duck.execute(f"describe select * from {_relation(events.files)}").fetchall()
        found = [name for name, *_ in described]
        left_out = {column.name for column in PROVENANCE}
        values = {}
        for name in found:
            if name in left_out:
                continue
            if not name.endswith("_raw"):
                values[name] = quoted(name)
                continue
            # The text is given where nothing was decoded: a person has a right to it.
            decoded = [other for other in found if _is_decoded_of(name, other)]
            is_decoded = " or ".join(f"{quoted(other)} is not null" for other in decoded) or "false"
            values[name] = f"case when not ({is_decoded}) then nullif({quoted(name)}, '') end"
        return values

    def _hours(self) -> Iterator[ExportHour]:
        for listed in self._archive.tree(f"{MANIFESTS}/"):
            hour = parse_manifest_path(listed.stored.path)
            if hour and hour.start < self._request.until and not self._is_too_early(hour):
                yield hour

    def _is_too_early(self, hour: ExportHour) -> bool:
        return self._request.start is not None and hour.end <= self._request.start

    def _look_into(self, hour: ExportHour, found: Found) -> None:
        manifest, _ = self._records.read_manifest(hour)
        receipt = read_receipt(self._rows, hour)
        if manifest is None or not manifest.copied:
            return
        can_be_made = bool(manifest.present) and len(manifest.present) == len(manifest.copied)
        condition = self._condition(receipt) if receipt and self._is_current(receipt, manifest) else ""
        if receipt and condition:
            treated = any(treatment != Treatment.KEEP for treatment in receipt.privacy.values())
            left_out = "-new_" in receipt.version
            with self._typed(self._archive, self._rows).fetched(receipt) as parquet:
                if parquet is None or not self._has(hour, parquet, condition):
                    return
                if not ((treated or left_out) and can_be_made):
                    self._keep(hour, receipt, parquet, condition, found)
                    return
        if can_be_made:
            self._make_again(hour, found)
        else:
            found.not_readable.append(hour)

    def _is_current(self, receipt: TypedManifest, manifest: Manifest) -> bool:
        return not receipt.removed and (same_files(receipt.version, manifest) or not manifest.present)

    def _condition(self, receipt: TypedManifest, *, has_all: bool = False) -> str:
        """
        Return the condition of the subject's rows; empty if the columns of the receipt's rows can't tell.

        :param has_all: whether the rows have all columns that there are
        """
        names = {column.name for column in receipt.columns}
        try:
            policy = PrivacyPolicy(receipt.privacy, self._policy_key)
        except AylaError:
            # Something is hashed, and the key isn't known.
            policy = None
        of_table = STREAM_TABLES.get(receipt.hour.event_type)
        conditions = []
        for column, value in self._request.identifiers.items():
            if column not in names:
                if has_all or (of_table and column not in of_table.names):
                    # This event type doesn't have it at all.
                    continue
                return ""
            treatment = receipt.privacy.get(column) or receipt.privacy.get("*", Treatment.KEEP)
            if treatment == Treatment.KEEP:
                conditions.append(f"lower({quoted(column)}::varchar) = {literal(_spelled(column, value))}")
            elif policy is not None and policy.made(receipt.version):
                # A serial number is hashed as it is written.
                spellings = {value, _spelled(column, value), value.upper()}
                hashes = ", ".join(literal(policy.hashed(spelling)) for spelling in sorted(spellings))
                conditions.append(f"{quoted(column)} in ({hashes})")
            else:
                return ""
        return " or ".join(conditions) or "false"

    def _has(self, hour: ExportHour, parquet: Path, condition: str) -> bool:
        with duckdb_errors(str(hour)):
            query = f"select 1 from {_relation([parquet])} where {condition} limit 1"
            return self._duck.execute(query).fetchone() is not None

    def _keep(self, hour: ExportHour, made: TypedManifest, parquet: Path, condition: str, found: Found) -> None:
        path = self.folder / f"{hour.event_type}-{hour.start:%Y%m%dT%H}.parquet"
        with duckdb_errors(str(hour)):
            query = f"select * from {_relation([parquet])} where ({condition}){self._in_time(hour, made)}"
            self._duck.execute(f"copy ({query}) to {literal(str(path))} (format parquet)")
            ((rows,),) = self._duck.execute(f"select count(*) from {_relation([path])}").fetchall()
        if rows:
            events = found.events.setdefault(str(hour.event_type), Events(str(hour.event_type)))
            events.files.append(path)
            events.rows += int(rows)
            events.columns |= {column.name: column for column in made.columns}

    def _in_time(self, hour: ExportHour, made: TypedManifest) -> str:
        """
        Return the condition that an event's own time is in the span, in an hour that the span cuts.

        In other hours, an event belongs to its file's hour. One without a time isn't left out.
        """
        names = {column.name for column in made.columns if column.type is ColumnType.TIMESTAMP}
        times = [quoted(name) for name in _OWN_TIMES if name in names]
        start, until, condition = self._request.start, self._request.until, ""
        if times and start is not None and start > hour.start:
            condition += f" and coalesce({', '.join(times)}, {_moment(start)}) >= {_moment(start)}"
        if times and until < hour.end:
            condition += f" and coalesce({', '.join(times)}, {_moment(hour.start)}) < {_moment(until)}"
        return condition

    def _make_again(self, hour: ExportHour, found: Found) -> None:
        """Make an hour's rows on this disk, with all columns, and keep those of the subject."""
        found.hours_made_again += 1
        with tempfile.TemporaryDirectory(dir=self.folder) as folder:
            archive = _ReadOnly(self._archive, Path(folder) / "archive")
            rows = FileDestination(Path(folder) / "rows")
            typed = self._typed(archive, rows)
            try:
                made = typed.ensure(hour, {}).manifest
            except AylaConfigError:
                # Without the keys of the ledger, nobody can say what was erased.
                raise
            except AylaError as error:
                log.warning("%s can't be read: %s", hour, error)
                found.not_readable.append(hour)
                return
            with typed.fetched(made) as parquet:
                condition = self._condition(made, has_all=True)
                if parquet is not None and condition:
                    self._keep(hour, made, parquet, condition, found)

    def _typed(self, archive: Destination, rows: Destination) -> TypedArchive:
        return TypedArchive(
            archive,
            rows,
            layouts=self._layouts,
            memory=self._memory,
            max_malformed=1,
            erasure_keys=self._erasure_keys,
        )

    def _lines_of(self, hour: ExportHour) -> Iterator[Line]:
        """Yield the quarantined lines that have an identifier of the subject in them."""
        path = quarantine_path(hour)
        if path not in self._archive.folder(path.rpartition("/")[0]):
            return
        local = self.folder / "lines.parquet"
        with open_private(local, "wb") as file:
            for block in self._archive.blocks(path):
                file.write(block)
        found: list[Line] = []
        with duckdb_errors(str(hour)):
            lines = self._duck.execute(
                f"select line, reason, row_bytes from {_relation([local])} order by source_object, line"
            )
            while fetched := lines.fetchmany(1000):
                found += [
                    Line(hour, int(number), str(reason), bytes(row).decode("utf-8", "replace"))
                    for number, reason, row in fetched
                    # As an erasure does.
                    if self._matcher.found(row)
                ]
        local.unlink()
        yield from found


class _ReadOnly:
    """An archive whose quarantine and parts are in a folder on this disk, so that typing changes nothing in it."""

    takes_unknown = True

    def __init__(self, archive: Destination, folder: Path) -> None:
        self._archive = archive
        self._own = FileDestination(folder)
        self.url = archive.url

    def _of(self, path: str) -> Destination:
        return self._own if path.partition("/")[0] in (QUARANTINE, PARTS) else self._archive

    def folder(self, path: str) -> dict[str, Stored]:
        return self._of(path).folder(path)

    def folders(self, path: str) -> list[str]:
        return self._of(path).folders(path)

    def remove_leftovers(self, path: str) -> None:
        pass

    def tree(self, prefix: str) -> Iterator[Listed]:
        return self._of(prefix).tree(prefix)

    def crc32c(self, stored: Stored) -> str:
        return self._of(stored.path).crc32c(stored)

    def read(self, path: str) -> tuple[bytes, Stored] | None:
        return self._of(path).read(path)

    def find(self, path: str) -> Stored | None:
        return self._of(path).find(path)

    def blocks(self, path: str) -> Iterator[bytes]:
        return self._of(path).blocks(path)

    def read_range(self, stored: Stored, start: int, end: int) -> bytes:
        return self._of(stored.path).read_range(stored, start, end)

    def local(self, path: str) -> Path | None:
        return self._of(path).local(path)

    def has_earlier_version(self, path: str) -> bool | None:
        return False

    def write(
        self, path: str, stream: BinaryIO, *, size: int, crc32c: str | None, replaces: Stored | None, content_type: str
    ) -> Stored:
        if self._of(path) is self._archive:
            raise AylaDestinationError(f"{self.url}/{path} isn't written: the archive is only read here.")
        return self._own.write(path, stream, size=size, crc32c=crc32c, replaces=replaces, content_type=content_type)

    def remove(self, stored: Stored) -> None:
        if self._of(stored.path) is self._archive:
            raise AylaDestinationError(f"{self.url}/{stored.path} isn't removed: the archive is only read here.")
        self._own.remove(stored)

    def remove_for_good(self, stored: Stored) -> bool:
        self.remove(stored)
        return True

    def remove_earlier_versions(self, prefix: str) -> list[Leftover]:
        return []


def _is_decoded_of(raw: str, column: str) -> bool:
    """Return whether a column says the same as one of text as it is in the file."""
    return column.startswith("val_") if raw == "value_raw" else column == raw.removesuffix("_raw")


def _moment(time: datetime) -> str:
    return f"timestamptz {literal(time.isoformat())}"


def _relation(paths: Iterable[Path]) -> str:
    listed = ", ".join(literal(str(path)) for path in paths)
    return f"read_parquet([{listed}], union_by_name = true, hive_partitioning = false)"


def _spelled(column: str, value: str) -> str:
    """Return an identifier as it is compared: in lower case, and a UUID with hyphens."""
    lower = value.lower()
    if column == "user_uuid" and len(lower) == 32:
        return "-".join((lower[:8], lower[8:12], lower[12:16], lower[16:20], lower[20:]))
    return lower
