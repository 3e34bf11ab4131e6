"""What every warehouse does: load one hour of one event type completely, or not at all."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol, Self

from ayla_provider.domain.erasure import Leftover
from ayla_provider.domain.hour import describe_hour
from ayla_provider.domain.tables import Column, ColumnType, Table
from ayla_provider.domain.work import Work
from ayla_provider.errors import AylaConfigError
from ayla_provider.transport.spans import Noted, span

if TYPE_CHECKING:
    from ayla_provider.domain.typed_manifest import TypedManifest

SAFE_TO_RETRY = "An hour is replaced completely or not at all, so it is safe to try again."

TABLE_PREFIX = "ayla_"
"""In front of the name of each table and view, by default."""

LEDGER = Table(
    "loads",
    "A row for each hour that was loaded: what it holds, and from which files.",
    (
        Column("event_type", ColumnType.TEXT, "The event type, and so the table."),
        Column("folder_hour", ColumnType.TIMESTAMP, "The hour of the export's folder."),
        Column("version", ColumnType.TEXT, "Names the files that the rows were made from, and how."),
        Column("rows", ColumnType.INTEGER, "Rows that were loaded."),
        Column("lines", ColumnType.INTEGER, "Lines of the files: rows + duplicates + quarantined."),
        Column("duplicates", ColumnType.INTEGER, "Lines left out because another one says the same, or newer."),
        Column("quarantined", ColumnType.INTEGER, "Lines that couldn't be read, kept in the archive."),
        Column("loaded_at", ColumnType.TIMESTAMP, "When it was loaded."),
        Column("loaded_by", ColumnType.TEXT, "By which DAG and run."),
    ),
)
"""The table that says which hours are loaded. It changes together with the rows, so it is always right."""

HOURS = Table(
    "hours",
    "A row for each hour of the archive, also of those without rows, as the last plan found it.",
    (
        Column("event_type", ColumnType.TEXT, "The event type."),
        Column("folder_hour", ColumnType.TIMESTAMP, "The hour of the export's folder."),
        Column(
            "state",
            ColumnType.TEXT,
            "landed, empty, lost, removed, expired, unproven, missing, waiting, or another state that isn't final.",
        ),
        Column("revision", ColumnType.INTEGER, "Of the hour's manifest; empty without one."),
        Column("files", ColumnType.INTEGER, "Files that the manifest names."),
        Column("lost_files", ColumnType.INTEGER, "Files of them that neither the archive nor Ayla has any more."),
        Column("lines", ColumnType.INTEGER, "Lines of the files; empty if they weren't counted."),
        Column("changed_at", ColumnType.TIMESTAMP, "When a plan found that the hour had changed."),
    ),
)
"""The table that says of each hour whether there is anything to load: the ledger can't tell an empty hour from one that
is missing."""

COMPARISONS = Table(
    "comparisons",
    "A row for each hour of the export that was compared with a stream, as the last comparison found it.",
    (
        Column("event_type", ColumnType.TEXT, "The event type."),
        Column("folder_hour", ColumnType.TIMESTAMP, "The hour of the export's folder."),
        Column("state", ColumnType.TEXT, "complete, missing_in_export, missing_in_stream, or why it isn't compared."),
        Column("in_both", ColumnType.INTEGER, "Events that export and stream have in this hour."),
        Column("only_stream", ColumnType.INTEGER, "Events that the export lacks."),
        Column("only_export", ColumnType.INTEGER, "Events that the stream lacks."),
        Column("changed_at", ColumnType.TIMESTAMP, "When a comparison found this first."),
    ),
)
"""The table that says of each hour what a stream had of it."""

REMOVED = "removed"
"""The version of an hour whose rows a rule of the customer's removed because of their age."""


_OWN_NAMES = re.compile(
    r"loads|hours|comparisons|completeness|turns|latest_values|online_sessions|registrations_by_day|.+_unique|.+_\d{10}_turn"
    r"|device|device_activity|device_owner|device_day|property_value|property_hour|state_duration|command|command_sent"
    r"|acked_property|model_day|property_as_of|fleet_\w+"
)
"""The names of tables and views that aren't those of an event type."""


def is_own_name(event_type: str) -> bool:
    """Return whether the table of an event type would have the name of a table or view that this package makes."""
    return _OWN_NAMES.fullmatch(event_type) is not None


def refuse_own_name(event_type: str) -> None:
    """
    Make sure that the table of an event type doesn't have the name of a table or view that this package makes.

    :raises AylaConfigError: if it has
    """
    if is_own_name(event_type):
        raise AylaConfigError(
            f"event type {event_type!r} can't be loaded: its table would have the name of a table or view that this "
            "provider makes. Its files stay in the archive."
        )


@dataclass(frozen=True, slots=True)
class Load:
    """
    One hour of one event type, to replace what the warehouse holds of it.

    :param table: the rows' table; its columns are exactly those of the Parquet file
    :param hour: the hour of the export's folder: aware, UTC
    :param version: identifies the hour's content
    :param parquet: the typed rows, on this machine's disk; the first file if there are several; None if there are none
    :param further: the other files. Each exists until the next one is asked for, and so does the first one
    :param loaded_by: for the ledger
    :param oem_id: whose events they are, see :func:`~ayla_provider.domain.work.oem_of`; empty if unknown
    """

    table: Table
    hour: datetime
    version: str
    rows: int
    lines: int
    duplicates: int
    quarantined: int
    parquet: Path | None
    loaded_at: datetime
    loaded_by: str = ""
    further: Iterable[Path] = ()
    oem_id: str = ""

    @classmethod
    def of(cls, receipt: TypedManifest, files: Iterator[Path], loaded_by: str, oem_id: str = "") -> Self:
        """
        Return the load of an hour's typed rows, as of now.

        :param files: the Parquet files that the receipt names, on this machine's disk
        """
        return cls(
            table=receipt.table,
            hour=receipt.hour.start,
            version=receipt.version,
            rows=receipt.rows,
            lines=receipt.lines,
            duplicates=receipt.duplicates,
            quarantined=receipt.quarantined,
            parquet=next(files, None),
            loaded_at=datetime.now(UTC),
            loaded_by=loaded_by,
            further=files,
            oem_id=oem_id,
        )

    @property
    def files(self) -> Iterator[Path]:
        """The Parquet files, one after the other. They can be asked for only once."""
        if self.parquet:
            yield self.parquet
        yield from self.further

    def __str__(self) -> str:
        return f"{self.table.event_type} {describe_hour(self.hour)}"

    def traced(self) -> AbstractContextManager[Noted]:
        """Return the context in which the load is traced."""
        return span(
            "load",
            event_type=self.table.event_type,
            hour=self.hour.isoformat(),
            lines=self.lines,
            rows=self.rows,
            duplicates=self.duplicates,
            quarantined=self.quarantined,
        )

    def ledger_row(self) -> dict[str, Any]:
        """Return the row of :data:`LEDGER`: column to value."""
        return {
            "event_type": self.table.event_type,
            "folder_hour": self.hour,
            "version": self.version,
            "rows": self.rows,
            "lines": self.lines,
            "duplicates": self.duplicates,
            "quarantined": self.quarantined,
            "loaded_at": self.loaded_at,
            "loaded_by": self.loaded_by,
        }


@dataclass(frozen=True, slots=True)
class Recipe:
    """Hours of a table that were made in the same way: under one privacy policy, with one key, and so on."""

    text: str
    """What their versions have after the first hyphen, see
    :func:`~ayla_provider.domain.typed_manifest.version_of`; empty if they have none."""
    hours: int
    first: datetime
    """Aware, UTC."""
    last: datetime


class LedgerCounts(NamedTuple):
    """What a ledger says of an hour."""

    rows: int
    lines: int
    duplicates: int
    quarantined: int


@dataclass(frozen=True, slots=True)
class FoundHour:
    """An hour of an archive, as a plan found it: a row of :data:`HOURS`."""

    event_type: str
    hour: datetime
    state: str
    revision: int | None = None
    files: int = 0
    lost_files: int = 0
    lines: int | None = None


@dataclass(frozen=True, slots=True)
class ComparedHour:
    """An hour of an export that was compared with a stream: a row of :data:`COMPARISONS`."""

    event_type: str
    hour: datetime
    state: str
    in_both: int
    only_stream: int
    only_export: int


@dataclass(frozen=True, slots=True)
class HeldHour:
    """What a warehouse holds of an hour of an event type."""

    version: str | None = None
    """As the ledger states it; None if the hour isn't in the ledger."""
    loaded: int = 0
    """Rows that were loaded, as the ledger states lines, duplicates, and malformed lines."""
    rows: int = 0
    """Rows as the ledger states them: fewer than were loaded if someone erased rows, and lowered the number."""
    counted: int = 0
    """Rows that the table has."""


@dataclass(frozen=True, slots=True)
class NamedTable:
    """A table as other tools name it."""

    namespace: str
    """The server or the bucket, as OpenLineage names it, such as ``postgres://host:5432``."""
    name: str
    """The table there, such as ``database.schema.table``."""
    columns: Mapping[str, str]
    """Column to type, as the table is now."""


@dataclass(frozen=True, slots=True)
class RowSubject:
    """
    Whose rows are to be erased, in one span. Statements name nobody: warehouses keep the text of statements.

    :param hashes: column to hashes of its identifiers, see :func:`salted`
    :param start: the first hour: aware, UTC; None for all hours
    :param end: the end of the last hour: aware, UTC
    """

    hashes: Mapping[str, tuple[str, ...]]
    start: datetime | None
    end: datetime


@dataclass(frozen=True, slots=True)
class RowErasure:
    """
    The rows of an event type that are to be erased.

    :param salt: see :func:`salted`
    """

    event_type: str
    salt: str
    subjects: tuple[RowSubject, ...]


@dataclass(frozen=True, slots=True)
class HourLeft:
    """
    What an erasure leaves of an hour in a warehouse.

    :param hour: aware, UTC
    :param known: the version that the ledger stated when the rows were counted
    :param version: the one that it is to state: of what is left
    :param lines: with ``duplicates`` and ``quarantined`` of what is left; None to change only ``rows``
    """

    hour: datetime
    known: str
    version: str
    rows: int
    lines: int | None = None
    duplicates: int | None = None
    quarantined: int | None = None


def salted(salt: str, identifier: str) -> str:
    """
    Return the hash of an identifier that statements have in its place: SHA-256 in hexadecimal.

    :param salt: another one in each run, so that nobody can compare the statements of two runs
    :param identifier: in any case; hyphens don't count
    """
    return hashlib.sha256(f"{salt}{identifier.lower().replace('-', '')}".encode()).hexdigest()


class Warehouse(Protocol):
    """
    A warehouse, for the time of a ``with`` statement.

    A table's name is a prefix and the event type. ``folder_hour`` is the key: late events belong to the hour of the
    file that brought them.

    A warehouse that speaks SQL extends :class:`~ayla_provider.warehouse.sql_warehouse.SqlWarehouse`, which implements
    all of this. A table format without SQL (Iceberg, Delta) implements the protocol itself. It must keep the promises
    of :meth:`replace`, and may give up the following:

    - One ledger for all event types. An hour's rows and its entry in the ledger must be committed together. Without
      transactions over several tables, each table keeps its own ledger, for example in the properties of the snapshot
      that changes the rows.
    - Views. They are SQL text; a table format has none.
    - A :class:`~ayla_provider.warehouse.sql.Dialect`, for the same reason.
    - Waiting. A load that meets another load of the same table may fail and be tried again, as long as it changes
      nothing.
    """

    name: str
    """For people: what it is and where, without a secret."""

    def work_for(self, work: Work) -> None:
        """
        Say what the next statements are for. A warehouse whose bill or list of queries can show it says so there.

        It can be called before the ``with`` statement, and in it.
        """

    def __enter__(self) -> Self:
        """
        Connect.

        :raises AylaWarehouseError: if the warehouse can't be reached
        """

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Disconnect. Undo what isn't committed."""

    def loaded(self, event_type: str, start: datetime, end: datetime) -> Mapping[datetime, str]:
        """
        Return the version of each hour that is loaded; empty if the table doesn't exist (any more).

        :param start: the first hour
        :param end: the end of the last hour
        :raises AylaWarehouseError: if the ledger can't be read
        """

    def recipes(self, event_type: str, start: datetime, end: datetime) -> Sequence[Recipe]:
        """
        Return how the hours that are loaded were made, except those in a range, and those that a rule removed.

        A warehouse that speaks SQL answers it with one query, however many hours there are.

        :param start: the first hour of the range; as ``end`` if there is none
        :param end: the end of its last hour
        :raises AylaWarehouseError: if the ledger can't be read
        """

    def has_ledger(self) -> bool:
        """
        Return whether the table of the ledger exists.

        :raises AylaWarehouseError: if the warehouse can't be read
        """

    def held(self, event_type: str, start: datetime, end: datetime) -> Mapping[datetime, HeldHour]:
        """
        Return what the ledger states of each hour, and how many rows the table has, both as of one moment.

        It takes one query, however long the range is. Hours that neither ledger nor table has are left out.

        :param start: the first hour
        :param end: the end of the last hour
        :raises AylaWarehouseError: if ledger or table can't be read
        """

    def named(self, event_type: str) -> NamedTable:
        """
        Return the table of an event type as other tools name it, with its columns as they are now.

        :raises AylaWarehouseError: if the warehouse can't be read
        """

    def prepare(self, table: Table) -> None:
        """
        Create what is missing of the table, the ledger and the views, with their comments. Add missing columns.

        Nothing is ever dropped. Several tasks can do this at the same time.

        :raises AylaTableError: if a column exists with another type
        :raises AylaWarehouseError: if the warehouse refuses it
        """

    def prepare_missing(self, tables: Iterable[Table]) -> None:
        """
        Create the tables that don't exist, as :meth:`prepare` does. The others aren't looked at.

        So queries work before an event type brings its first row.

        :raises AylaWarehouseError: if the warehouse refuses it
        """

    def replace(self, load: Load) -> None:
        """
        Replace an hour's rows and its entry in the ledger, together.

        A reader sees the hour before or after, never in between. An hour that fails is unchanged.

        Two loads of one hour at the same time leave the rows of one of them, exactly once. Mind the *new* hour: a load
        deletes the old rows and then inserts, and databases make two transactions wait only if they change the same
        rows. Two loads of an hour that isn't there yet delete nothing, so both would insert. Such loads therefore need
        a lock of their own, taken before the delete.

        :raises AylaWarehouseError: if the warehouse refuses the load or the connection breaks
        """

    def replace_several(self, loads: Iterable[Load]) -> Iterator[Load]:
        """
        Replace hours of one event type, as :meth:`replace` does, and yield each load once the warehouse holds it.

        A warehouse that speaks SQL replaces an hour, yields its load, and asks for the next one. A table format makes
        one commit of all of them, so that the first load of a year doesn't make thousands: it asks for all loads,
        commits, and then yields them. If anything fails before that, all of these hours are unchanged.

        :param loads: a load's files exist until the next load is asked for
        :raises AylaWarehouseError: as :meth:`replace` does
        """

    def record_hours(self, hours: Sequence[FoundHour], now: datetime) -> int:
        """
        Write into the table of hours what an archive has of some hours, and return how many weren't like that.

        :param now: aware
        :raises AylaWarehouseError: if the warehouse refuses it
        """

    def expire(self, event_types: Iterable[str], now: datetime) -> Sequence[Leftover]:
        """
        Remove earlier versions that still have the rows of removed hours, and return what can't be removed at once.

        A table format keeps them in files that anyone can read, so they go. A database that only reuses its pages
        later, or that keeps a history of its own, says so.

        :param event_types: those whose hours were removed; one without a table is passed over
        :param now: aware
        :returns: for each what it is and, if that is known, when it is gone
        :raises AylaWarehouseError: if the warehouse refuses it
        """


class ErasableWarehouse(Warehouse, Protocol):
    """
    A warehouse that rows of people can be erased from.

    Each implementation passes the tests of ``tests/warehouse/erasure_contract.py``.
    """

    def erasable(self, erasure: RowErasure) -> Mapping[datetime, int]:
        """
        Return how many rows of each hour are to be erased; hours without such rows are left out.

        It changes nothing, and takes one query. A subject's rows are those in whose column is one of its hashes'
        identifiers, and whose hour is in its span. A column that the table lacks matches nothing.

        :raises AylaWarehouseError: if the table can't be read
        """

    def erase(self, erasure: RowErasure, left: Sequence[HourLeft]) -> None:
        """
        Erase rows of some hours, and change these hours in the ledger, together.

        A reader sees an hour before or after, never in between. An hour whose ledger has another version by now than
        ``known`` keeps its entry: somebody loaded it in the meantime.

        :param left: the hours to erase rows of; at most a few hundred
        :raises AylaWarehouseError: if the warehouse refuses it or the connection breaks
        """

    def forget(self, event_types: Iterable[str], now: datetime) -> Sequence[Leftover]:
        """
        Remove what the warehouse itself keeps of erased rows, and return what it can't remove.

        :param event_types: those of which rows were erased
        :param now: aware
        :returns: for each what it is and, if that is known, when it is gone: old versions, logs, backups
        :raises AylaWarehouseError: if the warehouse refuses it
        """
