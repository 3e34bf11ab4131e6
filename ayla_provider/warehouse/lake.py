"""
What the table formats Iceberg and Delta share: their Parquet files, on this disk and in the bucket.

A table format holds an hour in Parquet files of its own, because the typed rows of the archive are rewritten when
their hour changes. Nobody writes such a file twice: its name has the version of the hour, and a part of chance.
"""

from __future__ import annotations

import logging
import re
import secrets
from collections.abc import Callable, Container, Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from ayla_provider.archive.destination import Destination, Listed, url_of
from ayla_provider.domain.csv.recognition import MOST_COLUMNS
from ayla_provider.domain.tables import Column, ColumnType
from ayla_provider.errors import AylaConflictError, AylaTableError, AylaWarehouseError
from ayla_provider.rows.duck import literal, quoted
from ayla_provider.rows.hour_parts import content_of, write_parquet
from ayla_provider.transport.spans import Noted, span
from ayla_provider.warehouse.base import SAFE_TO_RETRY, HourLeft, Load, NamedTable, RowErasure

if TYPE_CHECKING:
    import duckdb

log = logging.getLogger(__name__)

FILE_SIZE = 256 * 1024 * 1024
"""Bytes of the largest file that compaction writes."""

UNREFERENCED_FOR = timedelta(days=1)
"""A younger file can belong to a commit that isn't finished."""

LAKE_TYPES = {
    ColumnType.TEXT: "VARCHAR",
    ColumnType.INTEGER: "BIGINT",
    ColumnType.NUMBER: "DOUBLE",
    ColumnType.BOOLEAN: "BOOLEAN",
    # Delta has no UUID. Iceberg's isn't read by all engines.
    ColumnType.UUID: "VARCHAR",
    ColumnType.TIMESTAMP: "TIMESTAMP WITH TIME ZONE",
    ColumnType.DATE: "DATE",
}
"""DuckDB's type for each of ours, in the files of a table format."""

# The first version of the format, because the vectorized reader of Iceberg in Spark can't read the encodings of the
# second one. By default a row group ends after a number of rows, and so many long values don't fit into the memory.
_PARQUET = (
    "format parquet, compression zstd, compression_level 1, parquet_version v1, dictionary_size_limit 4096, "
    "row_group_size_bytes '32MB'"
)

_NOT_IN_NAMES = re.compile(r"[^A-Za-z0-9.-]")


def file_name(hour: datetime, version: str) -> str:
    """
    Return a new name for a file with rows of an hour.

    :param version: the hour's content
    """
    readable = _NOT_IN_NAMES.sub("_", version)[:60]
    return f"{hour:%Y%m%d%H}-{readable}-{secrets.token_hex(8)}.parquet"


def day_file_name(day: datetime) -> str:
    """Return a new name for a file with rows of several hours of a day, sorted by device."""
    return f"day-{day:%Y%m%d}-{secrets.token_hex(8)}.parquet"


def is_day_file(path: str) -> bool:
    """Return whether a file is one that compaction wrote, by its path or URL."""
    return path.rpartition("/")[2].startswith("day-")


def table_in_bucket(url: str, columns: Mapping[str, str]) -> NamedTable:
    """
    Return the table in a folder.

    :param url: the folder's
    """
    scheme, is_url, place = url.rstrip("/").partition("://")
    if not is_url or scheme == "file":
        path = place if is_url else url
        return NamedTable("file", path, columns)
    bucket, _, path = place.partition("/")
    return NamedTable(f"{scheme}://{bucket}", path, columns)


def commit_traced(loads: Sequence[Load]) -> AbstractContextManager[Noted]:
    """Return the context in which the commit of some loads of one event type is traced. Each load has its own."""
    hours = [load.hour for load in loads]
    return span(
        "commit",
        event_type=loads[0].table.event_type,
        hour=min(hours).isoformat(),
        hours=len(hours),
        rows=sum(load.rows for load in loads),
    )


def copy_rows(
    connection: duckdb.DuckDBPyConnection,
    sources: Sequence[Path],
    target: Path,
    columns: Iterable[Column],
    *,
    field_ids: Mapping[str, int] | None = None,
    where: str = "",
    sorted_by_device: bool = False,
) -> int:
    """
    Copy the rows of Parquet files into one file for a table format.

    The memory is what the connection may take: beyond it, DuckDB works on disk.

    :param columns: those that the new file has. One that no source has is empty
    :param field_ids: Iceberg's identifier of each column
    :param where: an SQL condition; only the rows that fulfil it are copied
    :param sorted_by_device: so that queries for a device read a part of the file alone
    :returns: how many rows were copied
    :raises duckdb.Error: if a file can't be read or written
    """
    paths = ", ".join(literal(str(path)) for path in sources)
    # Without the last argument, the names of folders such as hour=12 become columns.
    scan = f"read_parquet([{paths}], union_by_name = true, hive_partitioning = false)"
    existing = [name for name, *_ in connection.execute(f"describe select * from {scan}").fetchall()]
    wanted = list(columns)
    selected = ", ".join(_selected(column, column.name in existing) for column in wanted)
    query = f"select {selected} from {scan}"
    if where:
        query += f" where {where}"
    if sorted_by_device and "dsn" in existing:
        query += " order by dsn, folder_hour"
    ids = {column.name: field_ids[column.name] for column in wanted} if field_ids is not None else None
    return copy_query(connection, query, target, ids)


def copy_query(
    connection: duckdb.DuckDBPyConnection,
    query: str,
    target: Path,
    field_ids: Mapping[str, int] | None = None,
    *,
    file_size: int = 0,
) -> int:
    """
    Write the rows of a query into a Parquet file for a table format, or into several.

    :param target: the file; with ``file_size``, the folder of the files
    :param field_ids: Iceberg's identifier of each column of the query
    :param file_size: bytes from which on another file begins; 0 for one file
    :returns: how many rows were written
    """
    options = _PARQUET
    if field_ids is not None:
        ids = ", ".join(f"{quoted(name)}: {number}" for name, number in field_ids.items())
        options += f", field_ids {{{ids}}}"
    if file_size:
        options += f", file_size_bytes {file_size}"
    ((rows,),) = connection.execute(f"copy ({query}) to {literal(str(target))} ({options})").fetchall()
    return int(rows)


def _selected(column: Column, exists: bool) -> str:
    value = quoted(column.name) if exists else "null"
    return f"cast({value} as {LAKE_TYPES[column.type]}) as {quoted(column.name)}"


def condition_of_hours(hours: Iterable[datetime]) -> str:
    """Return the SQL condition, for :func:`copy_rows`, that a row is of none of some hours."""
    times = ", ".join(f"timestamptz '{hour:%Y-%m-%d %H:%M:%S}+00'" for hour in sorted(hours))
    return f"folder_hour not in ({times})" if times else ""


def condition_of_erasure(erasure: RowErasure, columns: Container[str]) -> str:
    """
    Return the SQL condition of the rows that are to be erased; empty if there can't be any. It names nobody.

    :param columns: those of the table
    """
    conditions: list[str] = []
    for subject in erasure.subjects:
        span = [f"folder_hour < timestamptz {literal(subject.end.isoformat())}"]
        if subject.start is not None:
            span.append(f"folder_hour >= timestamptz {literal(subject.start.isoformat())}")
        for column, hashes in subject.hashes.items():
            if column not in columns:
                continue
            spelled = f"replace(lower(cast({quoted(column)} as varchar)), '-', '')"
            named = ", ".join(map(literal, hashes))
            of_subject = f"sha256({literal(erasure.salt)} || {spelled}) in ({named})"
            conditions.append(f"({' and '.join([*span, of_subject])})")
    return " or ".join(conditions)


def erased_columns(erasure: RowErasure, columns: Container[str]) -> list[str]:
    """Return the columns that say whether a row is to be erased, of those that a table has."""
    wanted = {column for subject in erasure.subjects for column in subject.hashes}
    return sorted(column for column in wanted if column in columns)


@dataclass(frozen=True, slots=True)
class LedgerEntry:
    """
    What was loaded of an hour, as a table's own ledger states it.

    The fields are those of :data:`~ayla_provider.warehouse.base.LEDGER`.
    """

    version: str
    rows: int
    lines: int
    duplicates: int
    quarantined: int
    loaded_at: str
    """ISO 8601, UTC."""
    loaded_by: str

    @property
    def loaded(self) -> int:
        """Rows that were loaded, as lines, duplicates, and malformed lines say."""
        return self.lines - self.duplicates - self.quarantined


Entry = TypeVar("Entry", bound=LedgerEntry)


def entry_after(entry: Entry, left: HourLeft) -> Entry:
    """
    Return an hour's entry after an erasure. An hour that somebody loaded in the meantime stays as it is.

    :param left: what the erasure leaves of the hour
    """
    if entry.version != left.known:
        return entry
    now = replace(entry, rows=left.rows)
    if left.lines is None or left.duplicates is None or left.quarantined is None:
        return now
    return replace(
        now, version=left.version, lines=left.lines, duplicates=left.duplicates, quarantined=left.quarantined
    )


@dataclass(frozen=True, slots=True)
class ColumnStatistics:
    """What a column of a Parquet file holds. The smallest and the largest value are None if it has no value."""

    nulls: int
    smallest: Any
    largest: Any


def statistics(
    connection: duckdb.DuckDBPyConnection, parquet: Path, columns: Sequence[str]
) -> dict[str, ColumnStatistics]:
    """
    Return what some columns of a Parquet file on this disk hold, by name.

    DuckDB takes it from the file's footer where that says it, so that it takes no time.
    """
    parts = [f"count(*) - count({quoted(name)}), min({quoted(name)}), max({quoted(name)})" for name in columns]
    scan = f"read_parquet({literal(str(parquet))}, hive_partitioning = false)"
    row = connection.execute(f"select {', '.join(parts)} from {scan}").fetchone() or ()
    return {name: ColumnStatistics(*row[3 * at : 3 * at + 3]) for at, name in enumerate(columns)}


def check_arrived(name: str, load: Load, rows: int) -> None:
    """
    Make sure that all rows of a load were copied.

    :param name: the warehouse, for people
    :raises AylaWarehouseError: if not
    """
    if rows != load.rows:
        raise AylaWarehouseError(f"{name}: can't load {load}: {rows:,} of {load.rows:,} rows arrived. {SAFE_TO_RETRY}")


def check_columns(
    name: str, relation: str, columns: Iterable[Column], existing: Mapping[str, str], types: Mapping[ColumnType, str]
) -> list[Column]:
    """
    Return the columns that a table lacks.

    :param name: the warehouse, for people
    :param relation: the table, for people
    :param existing: the columns that the table has: name to type
    :param types: the table format's type for each of ours
    :raises AylaTableError: if a column exists with another type, or the table would get too many columns
    """
    missing: list[Column] = []
    for column in columns:
        found, wanted = existing.get(column.name), types[column.type]
        if found is None:
            missing.append(column)
        elif found != wanted:
            raise AylaTableError(
                f"{name}: column {column.name} of {relation} has the type {found}, but the rows need {wanted}. A "
                "privacy policy or a declared layout may have changed. Load into tables with another table_prefix, or "
                "drop the table and load its hours again."
            )
    total = len(existing) + len(missing)
    if missing and total > MOST_COLUMNS:
        raise AylaTableError(
            f"{name}: {relation} would get {total} columns, more than {MOST_COLUMNS}. Do the files have new columns "
            "again and again? Declare their layout, and load into tables with another table_prefix."
        )
    return missing


def conflict(name: str, doing: str) -> AylaConflictError:
    """
    Return the error of a commit that another one made impossible.

    :param name: the warehouse, for people
    :param doing: what the commit does, such as "load datapoint 2026-11-01 12:00 UTC"
    """
    return AylaConflictError(
        f"{name}: can't {doing}: another task changed the same hours at the same time. Nothing was changed. "
        f"{SAFE_TO_RETRY}"
    )


def put_file(destination: Destination, path: str, local: Path) -> None:
    """
    Write a new Parquet file of this disk into a destination.

    :raises AylaError: if it can't be written, or something is there already
    """
    write_parquet(destination, path, local, content_of(local), None)


def get_file(destination: Destination, path: str, local: Path) -> Path:
    """
    Return a file on this disk with an object's content: the object itself if it is on the disk, otherwise a copy.

    :param local: where the copy goes
    :raises AylaDestinationError: if it can't be read
    """
    on_disk = destination.local(path)
    if on_disk is not None:
        return on_disk
    with local.open("wb") as file:
        for block in destination.blocks(path):
            file.write(block)
    return local


def remove_file(destination: Destination, path: str) -> bool:
    """
    Remove an object, whatever its version.

    :returns: False if there is none
    :raises AylaDestinationError: if it can't be removed
    """
    stored = destination.find(path)
    if stored is None:
        return False
    destination.remove(stored)
    return True


def remove_quietly(destination: Destination, paths: Iterable[str]) -> None:
    """Remove files that no commit names. What remains does no harm: it is swept a day later."""
    for path in paths:
        try:
            remove_file(destination, path)
        except Exception as error:  # noqa: BLE001 - the error that led here counts
            log.info("%s can't be removed: %s. It is swept later.", url_of(destination, path), type(error).__name__)


@dataclass(frozen=True, slots=True)
class TableUpkeep:
    """What the upkeep of every table format did to a table, or would do."""

    days_compacted: int = 0
    files_compacted: int = 0
    """Files of these days before."""
    files_removed: int = 0
    bytes_removed: int = 0


@dataclass(frozen=True, slots=True)
class Swept:
    """What was removed, or would be."""

    files: int
    size: int
    """In bytes."""


def sweep(
    destination: Destination,
    folders: Iterable[str],
    is_own: Callable[[str], bool],
    referenced: Container[str],
    now: datetime,
    *,
    dry_run: bool = False,
) -> Swept:
    """
    Remove the files that no commit names and that are older than a day.

    Tasks may load at the same time: a file that a commit names in the meantime is younger than a day.

    :param folders: where to look, relative to the destination
    :param is_own: whether a file is one that the table format writes, by its path; all others stay
    :param referenced: the paths that commits name
    :param now: aware
    :raises AylaDestinationError: if a folder can't be listed, or a file can't be removed
    """
    count = size = 0
    for listed in unreferenced(destination, folders, is_own, referenced):
        if not _is_left(listed, now):
            continue
        if not dry_run:
            destination.remove(listed.stored)
        count += 1
        size += listed.stored.size
    return Swept(count, size)


def unreferenced(
    destination: Destination, folders: Iterable[str], is_own: Callable[[str], bool], referenced: Container[str]
) -> Iterator[Listed]:
    """Yield the files that no commit names, see :func:`sweep`."""
    for folder in folders:
        for listed in destination.tree(f"{folder}/"):
            path = listed.stored.path
            if is_own(path) and path not in referenced:
                yield listed


def _is_left(listed: Listed, now: datetime) -> bool:
    return not listed.unfinished and now - listed.modified > UNREFERENCED_FOR
