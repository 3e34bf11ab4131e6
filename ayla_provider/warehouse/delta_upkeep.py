"""
Upkeep of a Delta table: few files, a short log, and nothing that no commit names.

It runs beside loads and readers. A load that replaces an hour of a day while the day is compacted wins: the compaction
is refused, and the next run makes up for it.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from datetime import date, datetime, timedelta
from typing import TYPE_CHECKING

from ayla_provider.archive.destination import Stored
from ayla_provider.errors import AylaWarehouseError
from ayla_provider.warehouse.base import is_own_name
from ayla_provider.warehouse.delta import DeltaWarehouse, again
from ayla_provider.warehouse.delta_ledger import FOLDER
from ayla_provider.warehouse.delta_tables import (
    PARTITION,
    WHOLE,
    DataFile,
    DeltaTables,
    NewFile,
    columns_of,
    commit,
    describe,
    files_of,
)
from ayla_provider.warehouse.lake import (
    FILE_SIZE,
    UNREFERENCED_FOR,
    TableUpkeep,
    copy_rows,
    day_file_name,
    get_file,
    put_file,
    remove_quietly,
)

if TYPE_CHECKING:
    from deltalake import DeltaTable

log = logging.getLogger(__name__)

LOG_ENTRIES = 1000
"""How many entries of a table's log stay, by default."""

FEWEST_LOG_ENTRIES = 100
"""A reader or a load that began some commits ago must still find their entries."""

_LOG_FILE = re.compile(r"(\d{20})\.(json|checkpoint\.parquet)")

_REMOVERS = 8
"""How many files are removed at once."""

OWN_NAME = re.compile(r"(\d{10}-[A-Za-z0-9._-]+|day-\d{8}|all)-[0-9a-f]{16}\.parquet")
"""The name of a file that this package writes."""


@dataclass(frozen=True, slots=True)
class Done(TableUpkeep):
    """
    What upkeep did to a table, or would do.

    Its removed files are those that no commit names, and those that were replaced longer ago than readers may look
    back.
    """

    files_written: int = 0
    """Files of the compacted days after."""
    days_in_use: int = 0
    """Days that were loaded in the meantime, and so stay as they are."""
    log_entries: int = 0
    """Entries that the log has now."""
    log_entries_removed: int = 0


def upkeep(
    warehouse: DeltaWarehouse,
    event_type: str,
    now: datetime,
    *,
    lookback: timedelta,
    log_entries: int = LOG_ENTRIES,
    dry_run: bool = False,
) -> Done | None:
    """
    Compact a table's old days, shorten its log, and remove the files that nobody needs any more.

    A file stays as long as a version of the table needs it that readers may look back to: for the time that the table's
    property ``delta.deletedFileRetentionDuration`` says, by default 7 days after the file was replaced. A file that no
    commit names stays for a day, because it can belong to a commit that isn't finished.

    :param now: aware
    :param lookback: only days that ended longer ago are compacted; loads rarely change them
    :param log_entries: how many entries of the log stay at most
    :param dry_run: whether only to find out what there is to do
    :returns: None if there is no such table
    :raises AylaError: if the table can't be read or changed
    """
    tables = warehouse.tables
    with tables.errors(f"keep up the table of {event_type}"):
        table = tables.open(event_type)
        if table is None:
            return None
        done = _compact_days(warehouse, event_type, table, now - lookback, dry_run=dry_run)
        done = _shorten_log(warehouse, event_type, done, log_entries, dry_run=dry_run)
        return _sweep(warehouse, event_type, done, now, dry_run=dry_run)


# Days.


def _compact_days(
    warehouse: DeltaWarehouse, event_type: str, table: DeltaTable, before: datetime, *, dry_run: bool
) -> Done:
    done = Done()
    if is_own_name(event_type):
        # Nobody else may commit to a model while it is made. Each of its days is a file.
        return done
    days: dict[date, list[DataFile]] = {}
    for file in files_of(table):
        # The whole day is over by then.
        if file.day and file.day < before.date():
            days.setdefault(file.day, []).append(file)
    for day in sorted(days):
        bins = list(_bins(days[day]))
        if not bins:
            continue
        before_count = sum(map(len, bins))
        try:
            if not dry_run:
                _compact(warehouse, event_type, day, bins)
        except _LoadedMeanwhileError:
            done = replace(done, days_in_use=done.days_in_use + 1)
            continue
        done = replace(
            done,
            days_compacted=done.days_compacted + 1,
            files_compacted=done.files_compacted + before_count,
            files_written=done.files_written + len(bins),
        )
    return done


def _bins(files: Iterable[DataFile]) -> Iterator[list[DataFile]]:
    """
    Yield files that become one file: the next ones of a day, as many as are not too large together.

    A file alone is left as it is. So a day that was compacted has nothing to compact.
    """
    ordered = sorted(files, key=lambda file: (str(file.first), file.path))
    current: list[DataFile] = []
    for file in ordered:
        if current and sum(each.size for each in current) + file.size > FILE_SIZE:
            if len(current) > 1:
                yield current
            current = []
        current.append(file)
    if len(current) > 1:
        yield current


class _LoadedMeanwhileError(Exception):
    """A file of the day isn't a part of the table any more."""


def _compact(warehouse: DeltaWarehouse, event_type: str, day: date, bins: Sequence[Sequence[DataFile]]) -> None:
    """Write the files of each bin as one file, sorted by device, and commit all of them."""
    tables = warehouse.tables
    old = [file for files in bins for file in files]
    # Days before this one took their time.
    table = _with_files(tables, event_type, old)
    new = [_merged(warehouse, event_type, table, day, files) for files in bins]
    try:
        again(lambda last: _commit_once(tables, event_type, old, new, last=last), tables.name, f"compact {day}")
    except _LoadedMeanwhileError:
        # Another commit took the place in the log that this one would have had, so it can't arrive any more.
        remove_quietly(tables.destination, [f"{tables.folder(event_type)}/{file.path}" for file in new])
        log.info("%s was loaded while it was compacted. It stays as it is until the next run.", day)
        raise


def _commit_once(
    tables: DeltaTables, event_type: str, old: Sequence[DataFile], new: Sequence[NewFile], *, last: bool
) -> bool:
    """Try to commit. Return whether the new files are there, and the commit wasn't refused."""
    from deltalake.exceptions import CommitFailedError

    table = tables.open(event_type)
    if table and {file.path for file in new} <= {file.path for file in files_of(table)}:
        # By an earlier try, whose answer got lost.
        return True
    table = _with_files(tables, event_type, old)
    try:
        commit(table, new, old, says={"ayla.upkeep": "compaction"}, data_change=False)
    except CommitFailedError:
        if last:
            raise
        return False
    return True


def _with_files(tables: DeltaTables, event_type: str, files: Iterable[DataFile]) -> DeltaTable:
    """Return a table as it is now, which has certain files."""
    table = tables.open(event_type)
    if table is None or not {file.path for file in files} <= {file.path for file in files_of(table)}:
        raise _LoadedMeanwhileError
    return table


def _merged(
    warehouse: DeltaWarehouse, event_type: str, table: DeltaTable, day: date, files: Sequence[DataFile]
) -> NewFile:
    tables, folder = warehouse.tables, warehouse.tables.folder(event_type)
    columns = columns_of(table)
    with warehouse.scratch() as (connection, scratch):
        sources = [
            get_file(tables.destination, f"{folder}/{file.path}", scratch / f"old-{number}.parquet")
            for number, file in enumerate(files)
        ]
        target = scratch / "new.parquet"
        rows = copy_rows(connection, sources, target, columns, sorted_by_device=True)
        stated = sum(file.rows or 0 for file in files)
        if all(file.rows is not None for file in files) and rows != stated:
            raise AylaWarehouseError(
                f"{tables.name}: can't compact {day} of {event_type}: its files have {rows:,} rows, and the log says "
                f"{stated:,}. Nothing was changed. Verify the table."
            )
        path = f"{PARTITION}={day.isoformat()}/{day_file_name(datetime(day.year, day.month, day.day))}"  # noqa: DTZ001
        made = NewFile(path, target.stat().st_size, day, describe(connection, target, columns, rows))
        put_file(tables.destination, f"{folder}/{path}", target)
    return made


# The log.


def _shorten_log(warehouse: DeltaWarehouse, event_type: str, done: Done, most: int, *, dry_run: bool) -> Done:
    """Write a checkpoint, and remove the entries before the last one that leaves enough of them."""
    tables = warehouse.tables
    table = tables.open(event_type)
    if table is None:
        return done
    if not dry_run:
        table.create_checkpoint()
        # The table's own retention, too: by default, entries older than 30 days go.
        table.cleanup_metadata()
    listed = _log_files(warehouse, event_type)
    entries = [version for version, kind, _ in listed if kind == "json"]
    first = _first_to_stay(table.version(), most, [version for version, kind, _ in listed if kind != "json"])
    old = [stored for version, _, stored in listed if version < first]
    removed = sum(version < first for version in entries)
    if not dry_run:
        # Entries before checkpoints, and the oldest first, so that what is left can be read whenever this ends.
        for stored in sorted(old, key=lambda stored: (not stored.path.endswith(".json"), stored.path)):
            tables.destination.remove(stored)
    left = len(entries) if dry_run else len(entries) - removed
    return replace(done, log_entries=left, log_entries_removed=removed)


def _first_to_stay(newest: int, most: int, checkpoints: Iterable[int]) -> int:
    """
    Return the first version that stays: one with a checkpoint, because without it the later ones can't be read.

    :param checkpoints: the versions that have one
    """
    # So many entries stay at most. Where checkpoints are rare, more of them stay rather than few.
    fitting = [version for version in checkpoints if newest - most < version <= newest - FEWEST_LOG_ENTRIES + 1]
    earlier = [version for version in checkpoints if version <= newest - most]
    return min(fitting, default=max(earlier, default=0))


def _log_files(warehouse: DeltaWarehouse, event_type: str) -> list[tuple[int, str, Stored]]:
    """Return the files of a table's log: version, kind, and the object."""
    tables = warehouse.tables
    found = []
    for path, stored in tables.destination.folder(f"{tables.folder(event_type)}/_delta_log").items():
        match = _LOG_FILE.fullmatch(path.rpartition("/")[2])
        if match:
            found.append((int(match[1]), match[2], stored))
    return sorted(found, key=lambda each: (each[0], each[1]))


# Files.


def _sweep(warehouse: DeltaWarehouse, event_type: str, done: Done, now: datetime, *, dry_run: bool) -> Done:
    """Remove files that no commit names, files that were replaced long ago, and old files of the ledger."""
    tables, folder = warehouse.tables, warehouse.tables.folder(event_type)
    # Before the table is read: what is committed in the meantime isn't old.
    old = [
        listed.stored
        for listed in tables.destination.tree(f"{folder}/")
        if now - listed.modified > UNREFERENCED_FOR and not listed.unfinished
    ]
    table = tables.open(event_type)
    if table is None:
        return done
    named = {file.path for file in files_of(table)}
    # deltalake tells which files were replaced, and which of all files nobody needs after the time of the property.
    replaced = set(table.vacuum(retention_hours=0, enforce_retention_duration=False, dry_run=True))
    expired = set(table.vacuum(dry_run=True, full=True))
    ledger = tables.ledger_files(table, event_type)
    unneeded = []
    for stored in old:
        path = stored.path.removeprefix(f"{folder}/")
        top, _, name = path.partition("/")
        if top == FOLDER:
            is_unneeded = path not in ledger
        elif not (top == WHOLE or top.startswith(f"{PARTITION}=")) or path in named:
            is_unneeded = False
        else:
            # A file of another tool may belong to a commit that takes longer.
            is_left = path not in replaced and OWN_NAME.fullmatch(name) is not None
            is_unneeded = is_left or path in expired
        if is_unneeded:
            unneeded.append(stored)
    if not dry_run:
        with ThreadPoolExecutor(_REMOVERS, thread_name_prefix="ayla-sweep") as pool:
            list(pool.map(tables.destination.remove, unneeded))
    return replace(done, files_removed=len(unneeded), bytes_removed=sum(stored.size for stored in unneeded))
