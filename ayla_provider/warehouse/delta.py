"""Delta Lake as a warehouse."""

from __future__ import annotations

import logging
import random
import secrets
import time
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from datetime import UTC, date, datetime
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self

from ayla_provider.archive.destination import Destination
from ayla_provider.archive.scratch import scratch_folder
from ayla_provider.domain.erasure import Leftover
from ayla_provider.domain.tables import Table
from ayla_provider.domain.units import counted
from ayla_provider.domain.work import Work
from ayla_provider.errors import AylaConflictError, AylaTableError, AylaWarehouseError
from ayla_provider.rows.duck import MEMORY, connect
from ayla_provider.transport.redaction import from_outside
from ayla_provider.warehouse.base import (
    SAFE_TO_RETRY,
    TABLE_PREFIX,
    FoundHour,
    HeldHour,
    HourLeft,
    Load,
    NamedTable,
    Recipe,
    RowErasure,
    refuse_own_name,
)
from ayla_provider.warehouse.delta_ledger import (
    Entry,
    Index,
    WeekLedger,
    file_of,
    index_file,
    week_of,
    weeks_of,
)
from ayla_provider.warehouse.delta_tables import (
    PARTITION,
    TYPES,
    DataFile,
    DeltaTables,
    NewFile,
    columns_of,
    commit,
    count_rows,
    counted_rows,
    describe,
    fields_of,
    files_of,
    partition_field,
    require_deltalake,
    types_of,
)
from ayla_provider.warehouse.lake import (
    check_arrived,
    check_columns,
    commit_traced,
    condition_of_hours,
    conflict,
    copy_rows,
    file_name,
    get_file,
    put_file,
    remove_quietly,
    statistics,
    table_in_bucket,
)

if TYPE_CHECKING:
    import duckdb
    from deltalake import DeltaTable

    from ayla_provider.warehouse.fleet import FleetReport

log = logging.getLogger(__name__)

_TRIES = 60
"""How often a commit is tried while other tasks change the table, too."""

_LONGEST_PAUSE = 2.0
"""Seconds."""

_COMMIT_AFTER = 3600.0
"""
Seconds after its first file was written after which a load of several hours commits what it has.

A file without a commit is swept when it is a day old.
"""

_LONGEST_LOAD = 12 * 3600.0
"""Seconds after its first file was written after which a load gives up."""


@dataclass(frozen=True, slots=True)
class _Seen:
    """What the ledger said when the task asked what is loaded. What it loads must not have changed since."""

    start: datetime
    end: datetime
    entries: dict[datetime, Entry]

    def covers(self, hour: datetime) -> bool:
        return self.start <= hour < self.end


@dataclass(slots=True)
class _Batch:
    """Hours whose files are written, and that aren't committed yet."""

    began: float
    """By the monotonic clock."""
    loads: list[Load] = field(default_factory=list)
    entries: dict[datetime, Entry] = field(default_factory=dict)
    expected: dict[datetime, Entry | None] = field(default_factory=dict)
    """What the ledger must say for the hours to be replaced."""
    files: list[NewFile] = field(default_factory=list)

    @property
    def event_type(self) -> str:
        return self.loads[0].table.event_type if self.loads else ""

    @property
    def weeks(self) -> list[date]:
        return weeks_of(self.entries)

    def clear(self, began: float) -> None:
        self.began = began
        for hours in (self.loads, self.entries, self.expected, self.files):
            hours.clear()

    def __str__(self) -> str:
        first, more = str(self.loads[0]), len(self.loads) - 1
        return f"{first} and {counted(more, 'more hour', 'more hours')}" if more else first


class DeltaWarehouse:
    """
    Tables in the format Delta Lake, in a bucket or in a folder on disk.

    Each event type has a table, in a folder with its name, partitioned by day. An hour is a file, or several. The hours
    of a load are one entry of the table's log, together with what the ledger says of them: see
    :mod:`~ayla_provider.warehouse.delta_ledger`.

    Two tasks that load the same hour at the same time: one of them is refused, and changes nothing. Loads of different
    hours all succeed.

    :param destination: where the tables are
    :param options: returns deltalake's options for the log there; called often, so that credentials stay valid
    :param table_prefix: is in front of the name of each table
    :param memory: DuckDB's limit, as DuckDB writes sizes
    """

    def __init__(
        self,
        destination: Destination,
        options: Callable[[], Mapping[str, str]] = dict,
        *,
        table_prefix: str = TABLE_PREFIX,
        memory: str = MEMORY,
    ) -> None:
        self.name = f"Delta tables in {destination.url}"
        self.tables = DeltaTables(destination, options, table_prefix, self.name)
        self._memory = memory
        self._seen: dict[str, _Seen] = {}

    def work_for(self, work: Work) -> None:
        """Do nothing: nobody bills statements here."""

    def __enter__(self) -> Self:
        """Make sure that what it needs is installed. The log is read when it is asked for."""
        require_deltalake()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Forget what the ledger said."""
        self._seen.clear()

    def loaded(self, event_type: str, start: datetime, end: datetime) -> Mapping[datetime, str]:
        """Return the version of each hour that is loaded."""
        refuse_own_name(event_type)
        with self.tables.errors(f"read which hours of {event_type} are loaded"):
            table = self.tables.open(event_type)
            entries = self.entries(table, event_type, start, end) if table else {}
        self._seen[event_type] = _Seen(start, end, entries)
        return {hour: entry.version for hour, entry in entries.items()}

    def recipes(self, event_type: str, start: datetime, end: datetime) -> Sequence[Recipe]:
        """Return how the hours outside a range were made."""
        refuse_own_name(event_type)
        with self.tables.errors(f"read how the hours of {event_type} were made"):
            table = self.tables.open(event_type)
            index = self.tables.index(table, event_type) if table else Index()
        return index.made.without(start, end).recipes()

    def has_ledger(self) -> bool:
        """Return whether there is a table: each has its own ledger."""
        with self.tables.errors("look for its tables"):
            return self.tables.exist()

    def held(self, event_type: str, start: datetime, end: datetime) -> Mapping[datetime, HeldHour]:
        """Return what the ledger states of each hour, and how many rows the table has, both as of one version of it."""
        refuse_own_name(event_type)
        with self.tables.errors(f"count the rows of {event_type}"):
            table = self.tables.open(event_type)
            if table is None:
                return {}
            entries = self.entries(table, event_type, start, end)
            rows = counted_rows(table, start, end)
        return {
            hour: HeldHour(entry.version, entry.loaded, entry.rows, rows.get(hour, 0))
            if (entry := entries.get(hour))
            else HeldHour(counted=rows[hour])
            for hour in sorted({*entries, *rows})
        }

    def entries(self, table: DeltaTable, event_type: str, start: datetime, end: datetime) -> dict[datetime, Entry]:
        """Return what a table's ledger says of the hours of a range, in order."""
        index = self.tables.index(table, event_type)
        ledger = self.tables.weeks(index, event_type, index.weeks_in(start, end))
        found = {hour: entry for week in ledger.values() for hour, entry in week.hours.items()}
        return {hour: entry for hour, entry in sorted(found.items()) if start <= hour < end}

    # Tables.

    def named(self, event_type: str) -> NamedTable:
        """Return the table of an event type as other tools name it: by its folder."""
        with self.tables.errors(f"look at the table of {event_type}"):
            columns = types_of(self.existing(event_type)) | {PARTITION: "date"}
            return table_in_bucket(self.tables.url(event_type), columns)

    def prepare_missing(self, tables: Iterable[Table]) -> None:
        """Create the tables that don't exist."""
        for table in tables:
            with self.tables.errors(f"prepare the table of {table.event_type}"):
                exists = self.tables.open(table.event_type) is not None
            if not exists:
                self.prepare(table)

    def prepare(self, table: Table) -> None:
        """Create the table if it is missing, and add missing columns: each is a commit of its own."""
        refuse_own_name(table.event_type)
        if PARTITION in table.names:
            raise AylaTableError(
                f"{self.name}: the files of {table.event_type} have a column {PARTITION}, which is the name of the "
                "table's partition. Declare their layout with another name for the column."
            )
        with self.tables.errors(f"prepare the table of {table.event_type}"):
            again(lambda last: self._prepare_once(table, last), self.name, f"prepare the table of {table.event_type}")

    def _prepare_once(self, table: Table, last: bool) -> bool:
        """Create the table or add what it lacks. Return whether that is done, and not refused."""
        from deltalake.exceptions import DeltaError

        existing = self.tables.open(table.event_type)
        try:
            if existing is None:
                check_columns(self.name, self.tables.url(table.event_type), table.columns, {}, TYPES)
                self.tables.create(table, [*fields_of(table.columns), partition_field()])
                return True
            url = self.tables.url(table.event_type)
            missing = check_columns(self.name, url, table.columns, types_of(existing), TYPES)
            if missing:
                existing.alter.add_columns(fields_of(missing))
        except DeltaError:
            # Another task may have done the same.
            if last:
                raise
            return False
        return True

    # Loads.

    def replace(self, load: Load) -> None:
        """Replace an hour's rows and its entry in the ledger, in one commit."""
        for _ in self.replace_several([load]):
            pass

    def replace_several(self, loads: Iterable[Load]) -> Iterator[Load]:
        """
        Replace hours of one event type in one commit.

        If writing their files takes more than an hour, what is written is committed, and another commit follows.
        """
        batch = _Batch(time.monotonic())
        for load in self._loads(loads, batch):
            self._write(load, batch)
            if time.monotonic() - batch.began > _COMMIT_AFTER:
                self._commit(batch)
                yield from batch.loads
                batch.clear(time.monotonic())
        if batch.loads:
            self._commit(batch)
            yield from batch.loads

    def _loads(self, loads: Iterable[Load], batch: _Batch) -> Iterator[Load]:
        """Yield loads. If one can't be made, remove the files of those before it."""
        try:
            yield from loads
        except Exception:
            self._remove(batch.event_type, batch.files)
            raise

    def _write(self, load: Load, batch: _Batch) -> None:
        """Write the files of an hour. No reader sees them before a commit names them."""
        event_type, folder = load.table.event_type, self.tables.folder(load.table.event_type)
        written: list[NewFile] = []
        try:
            with self.tables.errors(f"load {load}"), load.traced(), self.scratch() as (connection, scratch):
                expected = self._expected(load)
                rows = 0
                for parquet in load.files:
                    local = scratch / "rows.parquet"
                    copied = copy_rows(connection, [parquet], local, load.table.columns)
                    rows += copied
                    self._refuse_other_hours(connection, local, load)
                    file = NewFile(
                        f"{PARTITION}={load.hour:%Y-%m-%d}/{file_name(load.hour, load.version)}",
                        local.stat().st_size,
                        load.hour.date(),
                        describe(connection, local, load.table.columns, copied),
                    )
                    written.append(file)
                    put_file(self.tables.destination, f"{folder}/{file.path}", local)
                check_arrived(self.name, load, rows)
        except BaseException:
            self._remove(event_type, [*batch.files, *written])
            raise
        batch.files += written
        batch.loads.append(load)
        batch.entries[load.hour] = Entry.of(load, secrets.token_hex(16))
        batch.expected[load.hour] = expected

    def _expected(self, load: Load) -> Entry | None:
        """Return what the ledger says of an hour, or what it said when the task asked what is loaded."""
        event_type = load.table.event_type
        seen = self._seen.get(event_type)
        if seen and seen.covers(load.hour):
            return seen.entries.get(load.hour)
        index = self.tables.index(self.existing(event_type), event_type)
        week = week_of(load.hour)
        return self.tables.weeks(index, event_type, [week])[week].hours.get(load.hour)

    def _refuse_other_hours(self, connection: duckdb.DuckDBPyConnection, parquet: Path, load: Load) -> None:
        found = statistics(connection, parquet, ["folder_hour"])["folder_hour"]
        ends = {moment.astimezone(UTC) for moment in (found.smallest, found.largest) if moment}
        if found.nulls or ends - {load.hour}:
            raise AylaWarehouseError(
                f"{self.name}: can't load {load}: its file has rows of another hour. Load it with reload."
            )

    def _commit(self, batch: _Batch) -> None:
        """Commit what is written, unless another task changed one of the hours."""
        event_type = batch.event_type
        doing = f"load {batch}"
        tries = Tries(self, event_type)
        with self.tables.errors(doing), commit_traced(batch.loads):
            try:
                again(lambda last: self._commit_once(batch, tries, last), self.name, doing)
            except _RefusedError as error:
                # Another commit took the place in the log that ours would have had. So ours can't arrive any more.
                self._remove(event_type, batch.files)
                tries.remove_rest()
                self._seen.pop(event_type, None)
                raise conflict(self.name, f"load {error}") from None
            tries.remove_rest()
        seen = self._seen.get(event_type)
        if seen:
            seen.entries.update({hour: entry for hour, entry in batch.entries.items() if seen.covers(hour)})

    def _commit_once(self, batch: _Batch, tries: Tries, last: bool) -> bool:
        """
        Try to commit. Return whether the hours are there, and the commit wasn't refused.

        :raises _RefusedError: if another task changed one of the hours
        """
        from deltalake.exceptions import CommitFailedError

        event_type = batch.event_type
        table = self.existing(event_type)
        index = self.tables.index(table, event_type)
        ledger = self.tables.weeks(index, event_type, batch.weeks)
        if _is_there(batch, ledger):
            # By an earlier try, whose answer got lost.
            tries.keep_named(table)
            return True
        for load in batch.loads:
            if ledger[week_of(load.hour)].hours.get(load.hour) != batch.expected[load.hour]:
                raise _RefusedError(str(load))
        if time.monotonic() - batch.began > _LONGEST_LOAD:
            raise AylaWarehouseError(
                f"{self.name}: can't load {batch}: its files are half a day old, and could be swept. Clear the task."
            )
        removed, added = tries.without(table, batch.entries)
        number = tries.write_ledger(index, [week.with_entries(batch.entries) for week in ledger.values()])
        says = {"ayla.loads": [_said(load) for load in batch.loads]}
        try:
            commit(table, [*batch.files, *added], removed, ledger=number, says=says)
        except Exception as error:
            if self._landed(batch):
                log.info("%s: a commit is there, although its answer was: %s.", self.name, from_outside(error))
            elif not isinstance(error, CommitFailedError) or last:
                raise
            else:
                return False
        tries.keep(added, number)
        return True

    def _landed(self, batch: _Batch) -> bool:
        """Return whether the table has what a batch brings."""
        index = self.tables.index(self.existing(batch.event_type), batch.event_type)
        return _is_there(batch, self.tables.weeks(index, batch.event_type, batch.weeks))

    def existing(self, event_type: str) -> DeltaTable:
        """Return a table as it is now."""
        table = self.tables.open(event_type)
        if table is None:
            raise AylaWarehouseError(
                f"{self.name}: the table {self.tables.url(event_type)} doesn't exist any more. The task's next try "
                "creates it."
            )
        return table

    def _remove(self, event_type: str, files: Iterable[NewFile]) -> None:
        folder = self.tables.folder(event_type)
        remove_quietly(self.tables.destination, [f"{folder}/{file.path}" for file in files])

    # The fleet models, and the hours of the archive.

    def record_hours(self, hours: Sequence[FoundHour], now: datetime) -> int:
        """Write into the table of hours what an archive has of some hours, and return how many weren't like that."""
        from ayla_provider.warehouse.delta_models import DeltaLake
        from ayla_provider.warehouse.lake_models import record_hours

        with self.tables.errors("write what the archive has of each hour"):
            return record_hours(DeltaLake(self), self._memory, hours, now)

    def update_models(self, day_timezone: str, run_id: str, now: datetime) -> FleetReport:
        """Bring the fleet models up to date, see :func:`~ayla_provider.warehouse.lake_models.update_models`."""
        from ayla_provider.warehouse.delta_models import DeltaLake
        from ayla_provider.warehouse.lake_models import update_models

        with self.tables.errors("make the fleet models"):
            return update_models(DeltaLake(self), self._memory, day_timezone, run_id, now)

    # Erasure.

    def erasable(self, erasure: RowErasure) -> Mapping[datetime, int]:
        """Return how many rows of each hour are to be erased."""
        from ayla_provider.warehouse.delta_erase import erasable

        refuse_own_name(erasure.event_type)
        with self.tables.errors(f"count the rows of {erasure.event_type} that are to be erased"):
            return erasable(self, erasure)

    def erase(self, erasure: RowErasure, left: Sequence[HourLeft]) -> None:
        """Erase rows of some hours, and change these hours in the ledger, in one commit."""
        from ayla_provider.warehouse.delta_erase import erase

        refuse_own_name(erasure.event_type)
        with self.tables.errors(f"erase rows of {erasure.event_type}"):
            erase(self, erasure, left)
        self._seen.pop(erasure.event_type, None)

    def forget(self, event_types: Iterable[str], now: datetime) -> Sequence[Leftover]:
        """
        Remove all earlier versions of tables, with their files and entries of the log, and return what keeps some.

        Time travel then starts again. The fleet models are made without what is erased, and lose theirs, too.
        """
        from ayla_provider.warehouse.delta_models import DeltaLake
        from ayla_provider.warehouse.lake_models import without_erased

        with self.tables.errors("make the fleet models without what is erased"):
            made = without_erased(DeltaLake(self), self._memory, now)
        return [*self.expire(event_types, now), *self._forget_versions(made, now)]

    def expire(self, event_types: Iterable[str], now: datetime) -> Sequence[Leftover]:
        """Remove all earlier versions of tables, because each of them has the removed hours."""
        wanted = list(event_types)
        for event_type in wanted:
            refuse_own_name(event_type)
        return self._forget_versions(wanted, now)

    def _forget_versions(self, names: Iterable[str], now: datetime) -> Sequence[Leftover]:
        from ayla_provider.warehouse.delta_erase import forget

        leftovers: list[Leftover] = []
        for name in names:
            with self.tables.errors(f"remove earlier versions of {name}"):
                leftovers += forget(self, name, now)
        return leftovers

    @contextmanager
    def scratch(self) -> Iterator[tuple[duckdb.DuckDBPyConnection, Path]]:
        """Return a DuckDB that works in a folder on this disk, and the folder."""
        with scratch_folder() as folder, closing(connect(memory=self._memory, folder=folder)) as connection:
            yield connection, folder


class _RefusedError(Exception):
    """Another task changed an hour. The text names it."""


class Tries:
    """
    What the tries of one commit write, beside the rows: the ledger, and files without the rows that go.

    A file that holds other hours, too, is rewritten without those hours: a compacted day, for example. To remove it
    would remove the other hours. An erasure rewrites files without the rows of some people.
    """

    def __init__(self, warehouse: DeltaWarehouse, event_type: str) -> None:
        self._warehouse = warehouse
        self._tables = warehouse.tables
        self._event_type = event_type
        self._folder = self._tables.folder(event_type)
        self._made: dict[str, NewFile | None] = {}
        """For the path of a file that was rewritten: what takes its place, None if none of its rows stay."""
        self._unused: set[str] = set()
        """The paths of what was written, without what the commit names; relative to the destination."""
        self._ledgers: dict[int, list[str]] = {}
        """For the number of an index: the paths that were written with it, relative to the table."""

    def without(self, table: DeltaTable, hours: Collection[datetime]) -> tuple[list[DataFile], list[NewFile]]:
        """Return the files to remove from a table so that it has no row of some hours, and those to add."""
        of_days = files_of(table, {hour.date() for hour in hours})
        files = [file for file in of_days if any(file.can_hold(hour) for hour in hours)]
        whole = [file for file in files if any(file.is_of(hour) for hour in hours)]
        parts = [file for file in files if file not in whole]
        removed, added = self.without_rows(table, parts, f"not ({condition_of_hours(hours)})")
        return [*whole, *removed], added

    def without_rows(
        self, table: DeltaTable, files: Iterable[DataFile], goes: str
    ) -> tuple[list[DataFile], list[NewFile]]:
        """
        Return those of some files to remove so that some rows go, and those to add.

        :param goes: the SQL condition of these rows, the same at each call
        """
        removed: list[DataFile] = []
        added: list[NewFile] = []
        for file in files:
            rest = self._rest(table, file, goes)
            if rest is not file:
                removed.append(file)
            if isinstance(rest, NewFile):
                added.append(rest)
        return removed, added

    def write_ledger(self, index: Index, weeks: Iterable[WeekLedger]) -> int:
        """
        Write weeks of the ledger, and the index, and return the number of the index.

        :param index: of the table that the commit changes
        :param weeks: as they are after the commit
        """
        paths = []
        for week in weeks:
            number = self._tables.write_week(self._event_type, week)
            paths.append(file_of(week.week, number))
            self._unused.add(f"{self._folder}/{paths[-1]}")
            index = index.with_week(week, number)
        number = self._tables.write_index(self._event_type, index)
        paths.append(index_file(number))
        self._unused.add(f"{self._folder}/{paths[-1]}")
        self._ledgers[number] = paths
        return number

    def keep(self, files: Iterable[NewFile], ledger: int | None) -> None:
        """Leave what the commit names: files, and what was written of the ledger with a number."""
        self._unused -= {f"{self._folder}/{file.path}" for file in files}
        if ledger is not None:
            self._unused -= {f"{self._folder}/{path}" for path in self._ledgers[ledger]}

    def remove_rest(self) -> None:
        """Remove what the commit doesn't name. Call it only when no try can arrive any more."""
        remove_quietly(self._tables.destination, sorted(self._unused))

    def keep_named(self, table: DeltaTable) -> None:
        """Leave what a table names, because a commit is there whose answer got lost."""
        named = {file.path for file in files_of(table)} | self._tables.ledger_files(table, self._event_type)
        self._unused -= {f"{self._folder}/{path}" for path in named}

    def _rest(self, table: DeltaTable, file: DataFile, goes: str) -> DataFile | NewFile | None:
        """Return the file itself if it has no row that goes; otherwise what takes its place, None for nothing."""
        if file.path in self._made:
            return self._made[file.path]
        day = file.day
        if day is None:
            raise AylaTableError(f"{self._tables.name}: the file {file.path} has no {PARTITION}. Remove it by hand.")
        columns = columns_of(table)
        with self._warehouse.scratch() as (connection, scratch):
            old = get_file(self._tables.destination, f"{self._folder}/{file.path}", scratch / "old.parquet")
            if not count_rows(connection, old, goes):
                return file
            new = scratch / "new.parquet"
            rows = copy_rows(connection, [old], new, columns, where=f"({goes}) is not true")
            made = None
            if rows:
                first = file.first or datetime(day.year, day.month, day.day, tzinfo=UTC)
                path = f"{PARTITION}={day.isoformat()}/{file_name(first, 'rest')}"
                made = NewFile(path, new.stat().st_size, day, describe(connection, new, columns, rows))
                put_file(self._tables.destination, f"{self._folder}/{path}", new)
                self._unused.add(f"{self._folder}/{path}")
        self._made[file.path] = made
        return made


def _is_there(batch: _Batch, ledger: Mapping[date, WeekLedger]) -> bool:
    return all(ledger[week_of(hour)].hours.get(hour) == entry for hour, entry in batch.entries.items())


def _said(load: Load) -> dict[str, Any]:
    """Return the entry of the ledger in a commit, for people."""
    return {
        name: value.isoformat() if isinstance(value, datetime) else value for name, value in load.ledger_row().items()
    }


def again(attempt: Callable[[bool], bool], name: str, doing: str) -> None:
    """
    Try to commit until nobody else is in the way.

    :param attempt: returns whether it is done; it is told whether it is the last try
    :raises AylaConflictError: if others are always in the way
    """
    pause = 0.05
    for number in range(1, _TRIES + 1):
        if attempt(number == _TRIES):
            return
        # Chance, so that tasks that met once don't meet again.
        time.sleep(random.uniform(0, pause))  # noqa: S311 - no secret
        pause = min(_LONGEST_PAUSE, 2 * pause)
    raise AylaConflictError(f"{name}: can't {doing}: other tasks change the table all the time. {SAFE_TO_RETRY}")
