"""
The fleet models as tables of a lake: Iceberg or Delta.

A run computes with the same SQL as in a DuckDB file, in a DuckDB that exists for the run alone. It brings what the
next day needs: the rows of its hours, and what is stored of the models. Then it writes the days that differ. A day of a
model is replaced in one commit, which is refused if anybody else changed the table since the run looked.

A table format has no transaction over several tables. The order of the commits makes up for it. First, a run commits
which days it makes. Then it commits these days, and after them, which hours it has seen. Last, it commits that the days
are made. A run that was killed anywhere leaves days to make, and the next run makes them again: what is written already
is the same.

A run that finds such days can't know whether the other one still works. So it first commits to each table. After that,
the other one can't commit any more.
"""

from __future__ import annotations

import csv
import logging
import secrets
import time
from bisect import bisect_left
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from shutil import rmtree
from typing import Any, Protocol

from ayla_provider.archive.scratch import scratch_folder
from ayla_provider.domain.hour import ONE_HOUR
from ayla_provider.domain.tables import TABLES, Column, ColumnType, Table
from ayla_provider.errors import AylaConflictError
from ayla_provider.models import tables as models
from ayla_provider.models.parts import Window
from ayla_provider.models.sql import MAKE, FleetSql
from ayla_provider.models.tables import Model
from ayla_provider.rows.duck import literal, quoted
from ayla_provider.warehouse import fleet
from ayla_provider.warehouse.base import HOURS, LEDGER, FoundHour
from ayla_provider.warehouse.duckdb import DIALECT, DuckDBWarehouse
from ayla_provider.warehouse.lake import FILE_SIZE, LedgerEntry, copy_query
from ayla_provider.warehouse.sql import completeness

log = logging.getLogger(__name__)

ACKED_HOURS = Model(
    "fleet_acked_hours",
    "The properties of each model that were answered in each hour, so that a run reads the answers of new hours alone.",
    (
        Column("folder_hour", ColumnType.TIMESTAMP, "The hour of the export's folder."),
        Column("oem_model", ColumnType.TEXT, "The model of the device."),
        Column("property_name", ColumnType.TEXT, "The name of the device's property."),
    ),
    key=("folder_hour", "oem_model", "property_name"),
)

_COUNTS = ("rows", "duplicates", "quarantined", "loaded_at")

COMPLETENESS = Table(
    "completeness",
    "For each hour: what the archive has, what is loaded, and whether that is all, as of the last run of the models.",
    (
        *(column for column in HOURS.columns if column.name != "changed_at"),
        *(column for column in LEDGER.columns if column.name in _COUNTS),
        Column("is_complete", ColumnType.INTEGER, "1 if the tables have all events of the hour; otherwise 0."),
    ),
)
"""What other warehouses have as a view."""

OWN_TABLES: tuple[Table, ...] = (*models.MODELS, *models.INTERNAL, ACKED_HOURS, COMPLETENESS)
"""The tables of a lake that a run of the models fills."""

PARTITIONS = {
    models.ACTIVITY.name: "day",
    models.DEVICE_DAY.name: "day",
    models.STATE_DURATION.name: "day",
    models.MODEL_DAY.name: "day",
    models.PROPERTY_HOUR.name: "hour",
    models.SENT.name: "commanded_at",
    models.COMMAND.name: "commanded_at",
    # By the end: a value that ends leaves the partition of those that are still valid, however old it is.
    models.PROPERTY_VALUE.name: "valid_to",
    models.CHANGES.name: "changed_at",
}
"""The column whose day, UTC, a table is partitioned by. The others are small, and have one partition."""

_WRITTEN = (models.CHANGES, *models.STORED, COMPLETENESS, ACKED_HOURS, models.HOUR_DAYS, models.HOURS_SEEN)
"""The tables in the order in which they are written, without those that need care."""

_OF_DAYS = (*models.OF_DAYS[1:], models.MODEL_DAY)
"""The tables of which a run needs some days only."""

_WHOLE = ("registration", "activation")
"""The event types of which a day needs the rows of all times."""

_FIND = frozenset(
    ("dsn", "folder_hour", "event_time", "created_at", "acked_at", "time_uuid", "ack_id", "oem_model", "property_name")
)
"""The columns that say which days an hour touches, and which properties are answered."""

WRITE_AFTER = 60.0
"""Seconds of work after which a run writes what it has."""

_READERS = 16
"""How many files are fetched at once."""

_TRIES = 10
"""How often the table of hours is written while other tasks write it, too."""

_ONE_DAY = timedelta(days=1)

Part = date | None
"""A partition: a day, or None for the rows without one."""

_UNKNOWN = (-1, -1)


@dataclass(frozen=True, slots=True)
class Piece:
    """
    A data file of a table.

    :param name: its URL or path
    :param part: its partition
    :param first: the first hour of its rows; None if nobody stated it
    """

    name: str
    part: Part = None
    first: datetime | None = None
    last: datetime | None = None

    def can_hold(self, hours: Sequence[datetime]) -> bool:
        """
        Return whether some of its rows can be of one of some hours.

        :param hours: in order
        """
        if self.first is None or self.last is None:
            return bool(hours)
        at = bisect_left(hours, self.first)
        return at < len(hours) and hours[at] <= self.last


class LakeTable(Protocol):
    """A table of a lake, as of one version."""

    @property
    def columns(self) -> Sequence[Column]:
        """Its columns of our types."""

    @property
    def field_ids(self) -> Mapping[str, int] | None:
        """The identifiers that the columns have in data files; None if they have none."""

    def pieces(self) -> Sequence[Piece]:
        """Return its data files."""

    def fetch(self, piece: Piece, target: Path) -> Path:
        """
        Return a data file on this disk.

        :param target: where a copy goes, unless the file is on this disk
        """

    def select(self, connection: Any, files: Sequence[Path]) -> str:
        """Return DuckDB's query for the rows of data files on this disk, with the columns of the table."""

    def entries(self) -> Mapping[datetime, LedgerEntry]:
        """Return what its ledger says of all hours; empty if it has none."""

    def replace(self, connection: Any, parts: Collection[Part], new: Mapping[Part, Sequence[Path]]) -> None:
        """
        Replace partitions in one commit. Without any, the commit changes nothing, but others find it.

        From then on, this is the new version.

        :param connection: a DuckDB that can look into the files
        :param new: partition to Parquet files, from :func:`~ayla_provider.warehouse.lake.copy_query`
        :raises AylaConflictError: if there was any other commit of data since this version
        """


def overtaken(name: str, doing: str) -> AylaConflictError:
    """
    Return the error of a commit that another one made impossible.

    :param name: the warehouse, for people
    :param doing: what the commit does
    """
    return AylaConflictError(
        f"{name}: can't {doing}: another task changed the table at the same time. What this run has committed is "
        "right. The next try makes what is missing."
    )


class Lake(Protocol):
    """The tables of a lake."""

    name: str

    def source(self, event_type: str) -> LakeTable | None:
        """Return the table of an event type as it is now; None if it doesn't exist."""

    def own(self, table: Table, partition: str | None) -> LakeTable:
        """
        Return a table that isn't one of an event type as it is now. It is created if it doesn't exist.

        :param partition: the column whose day the table is partitioned by
        """


def update_models(lake: Lake, memory: str, day_timezone: str, run_id: str, now: datetime) -> fleet.FleetReport:
    """
    Bring the fleet models of a lake up to date with its tables.

    :param memory: DuckDB's limit; beyond it, it works on disk
    :param day_timezone: the time zone of days. With another one than before, all models are made again
    :param run_id: names the run in the list of changes
    :param now: aware
    :raises AylaConfigError: if there is no such time zone, or the models can't be made from the tables
    :raises AylaConflictError: if another task changes the models at the same time
    :raises AylaWarehouseError: if the lake refuses it
    """
    with scratch_folder() as folder, _Models(lake, folder, memory) as work:
        return work.update_models(day_timezone, run_id, now)


def without_erased(lake: Lake, memory: str, now: datetime) -> list[str]:
    """
    Make the models of a lake again without what is erased, if there are any. Return the names of their tables.

    :param now: aware
    """
    if lake.source(models.HOURS_SEEN.name) is None:
        return []
    with scratch_folder() as folder, _Models(lake, folder, memory) as work:
        zone = work.day_timezone()
    update_models(lake, memory, zone, f"erasure {now.isoformat()}", now)
    return [table.event_type for table in OWN_TABLES]


def record_hours(lake: Lake, memory: str, hours: Sequence[FoundHour], now: datetime) -> int:
    """
    Write into the table of hours what an archive has of some hours, and return how many weren't like that.

    :param now: aware
    :raises AylaConflictError: if other tasks write it all the time
    :raises AylaWarehouseError: if the lake refuses it
    """
    if not hours:
        return 0
    for number in range(1, _TRIES + 1):
        with scratch_folder() as folder, _Workspace(lake, folder, memory) as work:
            work._prepare_hours()
            work.bring(HOURS)
            changed = work.record_hours(hours, now)
            try:
                work.write(HOURS)
            except AylaConflictError:
                if number == _TRIES:
                    raise
                time.sleep(0.1 * number)
            else:
                return changed
    raise AssertionError


class _Workspace(DuckDBWarehouse):
    """
    A DuckDB with a part of some tables of a lake.

    :param folder: on this disk, for the time of the work
    """

    def __init__(self, lake: Lake, folder: Path, memory: str) -> None:
        super().__init__(folder / "models.duckdb", memory=memory)
        self.name = lake.name
        self._lake = lake
        self._folder = folder
        self._tables: dict[str, LakeTable] = {}
        # What each partition was like that was brought or written last: the number of its rows, and a sum of hashes.
        self._prints: dict[str, dict[Part, tuple[int, int]]] = {}

    def _comment_on(self, relation: str, columns: Sequence[Column]) -> None:
        """Do nothing: nobody reads the descriptions of these tables."""

    def own(self, table: Table) -> LakeTable:
        """Return a table of the lake, as of when this run first looked at it, or wrote it."""
        name = table.event_type
        if name not in self._tables:
            self._tables[name] = self._lake.own(table, PARTITIONS.get(name))
            self._prints[name] = {}
        return self._tables[name]

    def bring(self, table: Table, wanted: Callable[[Part], bool] = lambda part: True) -> None:
        """Bring partitions, as far as they aren't here."""
        own, known = self.own(table), self._prints[table.event_type]
        pieces = [piece for piece in own.pieces() if piece.part not in known and wanted(piece.part)]
        if not pieces:
            return
        names = DIALECT.names(table.names)
        with self._fetched(own, pieces) as files:
            self._run(
                f"insert into {self._relation(table.event_type)} ({names}) "
                f"select {names} from ({own.select(self._duck, files)}) as stored"
            )
        parts = {piece.part for piece in pieces}
        known |= {part: found for part, found in self._measured(table).items() if part in parts}

    def drop_all(self, table: Table) -> None:
        """Let the table be empty, whatever the lake has of it."""
        own = self.own(table)
        self._prints[table.event_type] = dict.fromkeys((piece.part for piece in own.pieces()), _UNKNOWN)

    def let_go(self, table: Table) -> None:
        """Remove what was brought or written."""
        self._run(f"delete from {self._relation(table.event_type)}")
        self._prints[table.event_type] = {}

    def changed(self, table: Table) -> set[Part]:
        """Return the partitions that aren't as the lake has them."""
        own, known = self.own(table), self._prints[table.event_type]
        found = self._measured(table)
        # Rows that belong into a partition that wasn't brought.
        unseen = {piece.part for piece in own.pieces()} & found.keys() - known.keys()
        if unseen:
            self.bring(table, unseen.__contains__)
            known |= dict.fromkeys(unseen, _UNKNOWN)
        return {part for part in {*found, *known} if found.get(part) != known.get(part)}

    def write(self, table: Table) -> bool:
        """Write the partitions that aren't as the lake has them, in one commit. Return whether there are any."""
        parts = self.changed(table)
        if parts:
            self.write_parts(table, parts, f"select * from {self._relation(table.event_type)}")
            self._prints[table.event_type] = self._measured(table)
        return bool(parts)

    def write_parts(self, table: Table, parts: Collection[Part], select: str) -> None:
        """Write the rows of a query as partitions of a table, in one commit."""
        own = self.own(table)
        folder = self._folder / "new"
        new: dict[Part, list[Path]] = {}
        key = table.key if isinstance(table, Model) else ("folder_hour",)
        names = DIALECT.names(column.name for column in own.columns if column.name in table.names)
        ids = own.field_ids
        for number, part in enumerate(sorted(parts, key=str)):
            target = folder / str(number)
            target.parent.mkdir(exist_ok=True)
            query = (
                f"select {names} from ({select}) as rows where {_part_of(table)} is not distinct from {_date(part)} "
                f"order by {DIALECT.names(key)}"
            )
            rows = copy_query(self._duck, query, target, ids, file_size=FILE_SIZE)
            # DuckDB writes a file also without rows. A partition without rows has none.
            if rows:
                new[part] = sorted(target.iterdir())
        own.replace(self._duck, parts, new)
        rmtree(folder)

    def _measured(self, table: Table) -> dict[Part, tuple[int, int]]:
        """Return what each partition is like here."""
        columns = DIALECT.names(table.names)
        rows = self._fetch(
            f"select {_part_of(table)} as part, count(*), sum(hash({columns})) "
            f"from {self._relation(table.event_type)} group by all having count(*) > 0"
        )
        return {part: (int(count), int(total)) for part, count, total in rows}

    @contextmanager
    def _fetched(self, table: LakeTable, pieces: Sequence[Piece]) -> Iterator[list[Path]]:
        """Return data files on this disk, for the time of a ``with`` statement."""
        folder = self._folder / "fetched"
        folder.mkdir()
        targets = (folder / f"{number}.parquet" for number in range(len(pieces)))
        try:
            with ThreadPoolExecutor(_READERS, thread_name_prefix="ayla-models") as pool:
                yield list(pool.map(table.fetch, pieces, targets))
        finally:
            rmtree(folder)


class _Models(_Workspace):
    """The workspace of a run of the models."""

    def __init__(self, lake: Lake, folder: Path, memory: str) -> None:
        super().__init__(lake, folder, memory)
        self._sources: dict[str, LakeTable] = {}
        self._written_at = time.monotonic()
        self._has_other_acked = False
        # The files of the day that is made, by the name that the lake has for them.
        self._files: dict[str, Path] = {}

    def update_models(self, day_timezone: str, run_id: str, now: datetime) -> fleet.FleetReport:
        """Bring the models up to date."""
        with self._errors("make the fleet models"):
            self._look(day_timezone)
            columns = {kind: self._columns_of(kind) for kind in fleet.EVENT_TYPES}
            self._refuse_unusable(columns)
            # Lakes have no type for them.
            types = dict.fromkeys(("user_uuid", "time_uuid", "ack_id"), ColumnType.TEXT)
            self._prepare_hours()
            self._prepare_models(types)
            self._ensure_table(ACKED_HOURS)
            self._run(f"drop view {self._relation(COMPLETENESS.event_type)}")
            self._ensure_table(COMPLETENESS)
            self._run(f"create table {self._noted} as select * from {self._relation(models.PENDING.name)}")
            self._fill_ledger()
            self._bring_state(day_timezone)
            engine = replace(
                self._engine(), transaction=self._piece_of_work, opened=self._open_day, differs=self._differ
            )
            existing = {kind: names for kind, names in columns.items() if names}
            report = fleet.FleetRun(engine, existing, day_timezone, run_id, now).update(types)
            self._write_all()
            return report

    def day_timezone(self) -> str:
        """Return the time zone of the days as they are."""
        with self._errors("look for the fleet models"):
            self._ensure_table(LEDGER)
            self._ensure_table(models.HOURS_SEEN)
            self.bring(models.HOURS_SEEN)
            ((made,),) = self._fetch(f"select max(made) from {self._relation(models.HOURS_SEEN.name)}")
            return str(made or "UTC").partition("|")[0]

    # What a run begins with.

    @property
    def _noted(self) -> str:
        """The table of all days that were to be made since the last commits."""
        return DIALECT.name("ayla_models_noted")

    def _look(self, day_timezone: str) -> None:
        """Look at all tables. What the models were made from is older than what they are made from now."""
        fleet.checked_zone(day_timezone)
        if self._lake.source(models.HOURS_SEEN.name) is None:
            # Without tables of events, no table of a model is created.
            missing = [kind for kind in TABLES if self._lake.source(kind) is None]
            self._refuse_unusable({kind: {} if kind in missing else {"dsn": ""} for kind in fleet.EVENT_TYPES})
        for table in (*OWN_TABLES, HOURS):
            self.own(table)
        if self.own(models.PENDING).pieces():
            log.info("%s: another run of the models wasn't finished. This one does the rest.", self.name)
            for table in OWN_TABLES:
                self.own(table).replace(self._duck, (), {})
        for kind in fleet.EVENT_TYPES:
            source = self._lake.source(kind)
            if source is not None:
                self._sources[kind] = source

    def _columns_of(self, kind: str) -> dict[str, str]:
        source = self._sources.get(kind)
        return {column.name: column.type for column in source.columns} if source else {}

    def _fill_ledger(self) -> None:
        """Copy what the tables' ledgers say."""
        path = self._folder / "loads.csv"
        with path.open("w", newline="") as file:
            rows = csv.writer(file)
            for kind, source in self._sources.items():
                for hour, entry in source.entries().items():
                    values = (getattr(entry, name) for name in LEDGER.names[2:])
                    rows.writerow((kind, hour.isoformat(), *values))
        types = ", ".join(f"{literal(column.name)}: {literal(DIALECT.types[column.type])}" for column in LEDGER.columns)
        self._run(
            f"insert into {self._relation(LEDGER.event_type)} "
            f"select * from read_csv({literal(str(path))}, header = false, columns = {{{types}}}, auto_detect = false, "
            "delim = ',', quote = '\"', escape = '\"')"
        )
        path.unlink()

    def _bring_state(self, day_timezone: str) -> None:
        """Bring what every run needs."""
        self.bring(HOURS)
        for table in (COMPLETENESS, models.HOURS_SEEN, models.HOUR_DAYS, models.PENDING, models.CHANGES):
            self.bring(table)
        complete, names = self._relation(COMPLETENESS.event_type), DIALECT.names(COMPLETENESS.names)
        self._run(f"delete from {complete}")
        self._run(
            f"insert into {complete} select {names} from ({completeness(self._relation, DIALECT).select}) as hours"
        )
        made = f"{day_timezone}|{MAKE}"
        ((others,),) = self._fetch(
            f"select count(*) from {self._relation(models.HOURS_SEEN.name)} where made <> {literal(made)}"
        )
        if others:
            # All models are made again.
            for table in (*models.STORED, ACKED_HOURS):
                self.drop_all(table)
        for table in (models.DEVICE_OWNER, models.DEVICE, models.ACKED, ACKED_HOURS):
            self.bring(table)

    # What a run asks for.

    def _was_staged(self, table: str) -> None:
        """Bring the rows of the hours that changed, as far as they say which days are to be made."""
        if table != self._staged_name("fleet_diff"):
            return
        changed: dict[str, list[datetime]] = {}
        diff = self._fetch(f"select event_type, folder_hour, rows_changed from {table}")
        for kind, hour, rows_changed in diff:
            if rows_changed:
                changed.setdefault(kind, []).append(hour.astimezone(UTC))
        ((pending,),) = self._fetch(f"select count(*) from {self._relation(models.PENDING.name)}")
        if not diff and not pending:
            return
        self.bring(models.ACTIVITY)
        awaited = {hour.astimezone(UTC) for kind, hour, _ in diff if kind == "datapoint_ack"}
        # An answer is awaited in the hour of a command, and in the one after it.
        days = {at.date() for hour in awaited for at in (hour, hour - ONE_HOUR)}
        self.bring(models.SENT, days.__contains__)
        for kind, source in self._sources.items():
            if kind in _WHOLE:
                self._copy_rows(kind, source.pieces(), [column.name for column in source.columns])
            else:
                hours = sorted(changed.get(kind, ()))
                pieces = [piece for piece in source.pieces() if piece.can_hold(hours)]
                self._copy_rows(kind, pieces, [column.name for column in source.columns if column.name in _FIND])
        self._find_acked()

    def _copy_rows(self, kind: str, pieces: Sequence[Piece], names: Sequence[str]) -> None:
        """Copy some columns of data files. Few files at a time, so that few are on this disk."""
        source, copied = self._sources[kind], self._relation(f"found_{kind}")
        types = {column.name: DIALECT.types[column.type] for column in source.columns}
        self._run(f"create table {copied} ({', '.join(f'{quoted(name)} {types[name]}' for name in names)})")
        for number in range(0, len(pieces), _READERS):
            with self._fetched(source, pieces[number : number + _READERS]) as files:
                rows = source.select(self._duck, files)
                self._run(f"insert into {copied} select {DIALECT.names(names)} from ({rows}) as stored")
        self._run(f"create or replace view {self._relation(kind)} as select * from {copied}")

    def _find_acked(self) -> None:
        """Note which properties are answered in the hours that changed, and let the other hours have these answers."""
        kind, acked = "datapoint_ack", self._relation(ACKED_HOURS.name)
        found, diff = self._relation(f"found_{kind}"), self._staged_name("fleet_diff")
        changed = f"select folder_hour from {diff} where event_type = {literal(kind)} and rows_changed = 1"
        self._run(f"delete from {acked} where folder_hour in ({changed})")
        names = {column.name for column in self._sources[kind].columns}
        engine = self._engine()
        sql = FleetSql(engine.macros, engine.relation, "'UTC'", {kind: names}, {}, quote=engine.quote)
        self._run(
            f"insert into {acked} select * from ({sql.acked_hours()}) as answered where folder_hour in ({changed})"
        )
        kept: list[str] = [name for name in ("oem_model", "property_name") if name in names]
        kept += [f"folder_hour as {name}" for name in ("acked_at", "created_at") if name in names]
        # No device has these rows: only their properties count.
        self._run(
            f"create or replace view {self._relation(kind)} as "
            f"select * from {found} where folder_hour in ({changed}) union all by name "
            f"select folder_hour, '' as dsn, {', '.join(kept)} from {acked} where folder_hour not in ({changed})"
        )

    def _open_day(self, day: date, window: Window) -> None:
        """Bring what a day needs: the rows of its hours, and what is stored of it."""
        self.bring(models.DEVICE_DAY, lambda part: part in (day - _ONE_DAY, day))
        for table in (models.STATE_DURATION, models.MODEL_DAY):
            self.bring(table, lambda part: part == day)
        first, last = _day_of(window.reads), _day_of(window.reads_to - 1)
        for table in (models.PROPERTY_HOUR, models.SENT):
            self.bring(table, lambda part: part is not None and first <= part <= last)
        # Also the values that follow.
        self.bring(models.PROPERTY_VALUE, lambda part: part is None or part >= first)
        of_day = self._fetch(
            f"select distinct event_type, folder_hour from {self._relation(models.HOUR_DAYS.name)} "
            "where day between $first and $last",
            {"first": day - _ONE_DAY, "last": day + _ONE_DAY},
        )
        hours: dict[str, list[datetime]] = {}
        for kind, hour in of_day:
            hours.setdefault(kind, []).append(hour.astimezone(UTC))
        self._show_rows({kind: sorted(hours.get(kind, ())) for kind in self._sources if kind not in _WHOLE})

    def _show_rows(self, hours: Mapping[str, Sequence[datetime]]) -> None:
        """Let the tables of event types have the rows of some hours. The files of other hours leave this disk."""
        folder = self._folder / "rows"
        folder.mkdir(exist_ok=True)
        pieces = {
            kind: [piece for piece in self._sources[kind].pieces() if piece.can_hold(hours[kind])] for kind in hours
        }
        wanted = {piece.name for of_kind in pieces.values() for piece in of_kind}
        for name in self._files.keys() - wanted:
            # A file of the lake itself stays.
            path = self._files.pop(name)
            if path.parent == folder:
                path.unlink()
        with ThreadPoolExecutor(_READERS, thread_name_prefix="ayla-models") as pool:
            fetched = {}
            for kind, of_kind in pieces.items():
                for piece in of_kind:
                    if piece.name not in self._files:
                        target = folder / f"{secrets.token_hex(8)}.parquet"
                        fetched[piece.name] = pool.submit(self._sources[kind].fetch, piece, target)
            self._files |= {name: found.result() for name, found in fetched.items()}
        for kind, of_kind in pieces.items():
            relation, source = self._relation(kind), self._sources[kind]
            rows = source.select(self._duck, [self._files[piece.name] for piece in of_kind])
            self._run(f"create or replace view {relation} as {rows}")

    def _differ(self, model: Model, gone: str, come: str) -> None:
        """Bring the days that can be other ones because a model is."""
        if model not in (models.DEVICE_OWNER, models.ACKED):
            return
        ((rows,),) = self._fetch(f"select count(*) from (select 1 from {gone} union all select 1 from {come}) as rows")
        if rows and model is models.DEVICE_OWNER:
            self.bring(models.DEVICE_DAY)
        elif rows:
            self.bring(models.SENT)
            self._has_other_acked = True

    # What a run writes.

    @contextmanager
    def _piece_of_work(self) -> Iterator[None]:
        """Do a piece of work. From time to time, write what is done."""
        with self._transaction():
            yield
        self._run(f"insert into {self._noted} select * from {self._relation(models.PENDING.name)}")
        if time.monotonic() - self._written_at > WRITE_AFTER:
            self._write_all()
            for table in _OF_DAYS:
                self.let_go(table)

    def _write_all(self) -> None:
        """Write all that changed."""
        pending = models.PENDING
        changed = {table.event_type: self.changed(table) for table in (*_WRITTEN, pending)}
        ((noted,),) = self._fetch(f"select count(*) from {self._noted}")
        if noted or any(changed.values()):
            # Whoever begins now finds the days that this run makes.
            merged = f"select dsn, day, max(last_day) as last_day from {self._noted} group by dsn, day"
            self.write_parts(pending, {None}, merged)
            self._prints[pending.name] = {None: _UNKNOWN}
        # A view elsewhere. It is written before what it is made of, which says that it is to be written.
        commands = changed[models.SENT.name] | (
            self._prints[models.SENT.name].keys() if self._has_other_acked else set()
        )
        if commands:
            self.write_parts(models.COMMAND, commands, f"select * from {self._relation(models.COMMAND.name)}")
        for table in (*_WRITTEN, pending):
            self.write(table)
        self._run(f"create or replace table {self._noted} as select * from {self._relation(pending.name)}")
        self._has_other_acked = False
        self._written_at = time.monotonic()

    def _staged_name(self, name: str) -> str:
        return DIALECT.name(f"ayla_models_{name}")


def _part_of(table: Table) -> str:
    """Return the SQL expression of a row's partition."""
    name = PARTITIONS.get(table.event_type)
    if name is None:
        return "cast(null as date)"
    if table.column(name).type is ColumnType.DATE:
        return quoted(name)
    return DIALECT.day(quoted(name))


def _date(part: Part) -> str:
    return f"date '{part.isoformat()}'" if part else "cast(null as date)"


def _day_of(micros: int) -> date:
    return (datetime(1970, 1, 1, tzinfo=UTC) + timedelta(microseconds=micros)).date()
