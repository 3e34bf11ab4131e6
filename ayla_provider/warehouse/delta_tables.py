"""Delta tables as loads and upkeep need them: how to open them, what their files hold, and how to commit a change."""

from __future__ import annotations

import json
import re
import time
from collections.abc import Callable, Collection, Container, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager
from dataclasses import dataclass
from datetime import UTC, date, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ayla_provider.archive.destination import Destination, url_of
from ayla_provider.archive.records import write_json
from ayla_provider.domain.tables import Column, ColumnType, Table
from ayla_provider.errors import AylaConfigError, AylaError, AylaTableError, AylaWarehouseError
from ayla_provider.rows.duck import connect, literal
from ayla_provider.transport.redaction import from_outside
from ayla_provider.warehouse.base import SAFE_TO_RETRY, is_own_name
from ayla_provider.warehouse.delta_ledger import (
    TRANSACTION,
    Index,
    WeekLedger,
    file_of,
    index_file,
    number_of,
    parse_index,
    parse_week,
)
from ayla_provider.warehouse.lake import ColumnStatistics, statistics

if TYPE_CHECKING:
    import duckdb
    from deltalake import DeltaTable, Field

PARTITION = "date"
"""The column that a table is partitioned by: the day of ``folder_hour``, UTC."""

WHOLE = "rows"
"""The folder of files that are in no partition of a day: of models, and of hours."""

TYPES = {
    ColumnType.TEXT: "string",
    ColumnType.INTEGER: "long",
    ColumnType.NUMBER: "double",
    ColumnType.BOOLEAN: "boolean",
    # Delta has no UUID.
    ColumnType.UUID: "string",
    ColumnType.TIMESTAMP: "timestamp",
    ColumnType.DATE: "date",
}
"""Delta's type for each of ours."""

_OURS = {"long": ColumnType.INTEGER, "double": ColumnType.NUMBER, "boolean": ColumnType.BOOLEAN}
_OURS |= {"string": ColumnType.TEXT, "timestamp": ColumnType.TIMESTAMP, "date": ColumnType.DATE}
"""Our type for each of Delta's that a table of ours can have."""

PROPERTIES = {
    # A reader reads the log from the last checkpoint on, a request for each commit.
    "delta.checkpointInterval": "20",
}
"""Of a new table. All others are Delta's defaults: the log is kept for 30 days, and files for 7 after their removal."""

_CLEAN_UP_EVERY = 20
"""After so many commits, one also removes entries of the log that are older than the table's property says."""

_EXPIRY = "delta.setTransactionRetentionDuration"
"""A property that makes application transactions, and so the ledger, expire."""

_REWRITES_ROWS = {"deletionVectors", "columnMapping", "rowTracking", "icebergCompatV1", "icebergCompatV2"}
"""Features of a table whose files can't be copied or replaced without looking into other files, or into the log."""

_DECORATION = re.compile(r"\x1b\[[0-9;]*m|\u21b3")
"""Colours and arrows in deltalake's errors."""

_READERS = 16
"""How many files of the ledger are read at once."""

_LONGEST_TEXT = 128
"""Characters of a text up to which it is a statistic."""


@dataclass(frozen=True, slots=True)
class DataFile:
    """A file that a table consists of."""

    path: str
    """Relative to the table."""
    size: int
    """In bytes."""
    day: date | None
    """None if the table isn't partitioned as ours are."""
    rows: int | None
    """None if nobody counted."""
    first: datetime | None
    """The first hour of its rows; None if nobody stated it."""
    last: datetime | None

    def is_of(self, hour: datetime) -> bool:
        """Return whether all of its rows are of an hour, for certain."""
        return self.first == self.last == hour

    def can_hold(self, hour: datetime) -> bool:
        """Return whether some of its rows can be of an hour."""
        if self.day is not None and self.day != hour.date():
            return False
        return self.first is None or self.last is None or self.first <= hour <= self.last


@dataclass(frozen=True, slots=True)
class NewFile:
    """A file to add to a table."""

    path: str
    """Relative to the table."""
    size: int
    day: date | None
    """None if it is in no partition of a day."""
    statistics: str
    """As Delta's log has it: JSON."""


class DeltaTables:
    """
    The tables in a folder of a bucket, or on disk.

    :param destination: the folder. All files but those of the log are read and written through it
    :param options: returns deltalake's options for the log, with credentials that are valid now
    :param prefix: is in front of the name of each table
    :param name: for people, without a secret
    """

    def __init__(
        self, destination: Destination, options: Callable[[], Mapping[str, str]], prefix: str, name: str
    ) -> None:
        self.destination = destination
        self.name = name
        self._options = options
        self._prefix = prefix

    def folder(self, event_type: str) -> str:
        """Return the folder of an event type's table, relative to the destination."""
        return f"{self._prefix}{event_type}"

    def url(self, event_type: str) -> str:
        """Return the address of an event type's table, for people and for deltalake."""
        return url_of(self.destination, self.folder(event_type))

    def exist(self) -> bool:
        """Return whether there is a table of any event type."""
        for listed in self.destination.tree(self._prefix):
            folder, _, path = listed.stored.path.partition("/")
            if path.startswith("_delta_log/") and not is_own_name(folder.removeprefix(self._prefix)):
                return True
        return False

    def open(self, event_type: str) -> DeltaTable | None:
        """
        Return a table as it is now; None if it doesn't exist.

        :raises AylaTableError: if the table has a feature with which it can't be loaded safely
        :raises deltalake.exceptions.DeltaError: if it can't be read
        """
        from deltalake import DeltaTable
        from deltalake.exceptions import TableNotFoundError

        try:
            table = DeltaTable(self._address(event_type), storage_options=self.options())
        except TableNotFoundError:
            return None
        self._refuse_unsafe(table, event_type)
        return table

    def create(self, table: Table, fields: Sequence[Field], partition_by: Sequence[str] = (PARTITION,)) -> None:
        """
        Create a table.

        :raises deltalake.exceptions.DeltaError: if it can't be created, for example because it exists
        """
        from deltalake import DeltaTable, Schema

        address = self._address(table.event_type)
        DeltaTable.create(
            address,
            Schema(list(fields)),
            partition_by=list(partition_by),
            name=self.folder(table.event_type),
            description=table.description,
            configuration=PROPERTIES,
            storage_options=self.options(),
        )

    def options(self) -> dict[str, str]:
        """Return deltalake's options."""
        return dict(self._options())

    def _address(self, event_type: str) -> str:
        # A path, because the path in a file URL would have to be percent-encoded.
        local = self.destination.local(self.folder(event_type))
        return str(local) if local else self.url(event_type)

    def _refuse_unsafe(self, table: DeltaTable, event_type: str) -> None:
        protocol, configuration = table.protocol(), table.metadata().configuration
        features = {*(protocol.reader_features or ()), *(protocol.writer_features or ())}
        refused = sorted(str(feature) for feature in features if str(feature) in _REWRITES_ROWS)
        if configuration.get("delta.columnMapping.mode", "none") != "none":
            refused.append("columnMapping")
        if refused:
            raise AylaTableError(
                f"{self.name}: {self.url(event_type)} has the feature {refused[0]}, which another tool switched on. "
                "With it, an hour can't be replaced without reading what the feature hides. Switch it off, or load "
                "into tables with another table_prefix."
            )
        if _EXPIRY in configuration:
            raise AylaTableError(
                f"{self.name}: {self.url(event_type)} has the property {_EXPIRY}, which another tool set. With it, the "
                "table forgets which hours are loaded. Unset it: ALTER TABLE ... UNSET TBLPROPERTIES "
                f"('{_EXPIRY}'). Hours that it forgot by then are loaded again."
            )
        partitions = table.metadata().partition_columns
        if partitions != [PARTITION] and (partitions or not is_own_name(event_type)):
            raise AylaTableError(
                f"{self.name}: {self.url(event_type)} isn't partitioned by {PARTITION}, as tables of this package are. "
                "Load into tables with another table_prefix."
            )

    # The ledger.

    def index(self, table: DeltaTable, event_type: str) -> Index:
        """
        Return the index of a table's ledger, as of the table's version. It is empty if nothing was loaded.

        :raises AylaWarehouseError: if it is missing or damaged
        """
        number = table.transaction_version(TRANSACTION)
        if not number:
            return Index()
        read = self._read(event_type, index_file(number), number, "all hours of the table count")
        return parse_index(*read) if read else Index()

    def weeks(self, index: Index, event_type: str, weeks: Iterable[date]) -> dict[date, WeekLedger]:
        """
        Return what the ledger says of weeks. A week that it says nothing of is empty.

        :param weeks: their Mondays
        :raises AylaWarehouseError: if a file of the ledger is missing or damaged
        """
        wanted = sorted(set(weeks))
        with ThreadPoolExecutor(_READERS, thread_name_prefix="ayla-ledger") as pool:
            numbers = {week: index.weeks[week] for week in wanted if week in index.weeks}
            found = {week: pool.submit(self._week, event_type, week, number) for week, number in numbers.items()}
            return {week: found[week].result() if week in found else WeekLedger(week) for week in wanted}

    def _week(self, event_type: str, week: date, number: int) -> WeekLedger:
        read = self._read(event_type, file_of(week, number), number, f"the hours of the week from {week} on count")
        return parse_week(*read) if read else WeekLedger(week)

    def _read(self, event_type: str, path: str, number: int, hours: str) -> tuple[bytes, str] | None:
        """
        Return the content of a file of the ledger, and its URL; None if somebody gave it up, as the message says.

        :param hours: what counts as not loaded then, for the message
        """
        path = f"{self.folder(event_type)}/{path}"
        where = url_of(self.destination, path)
        stored = self.destination.read(path)
        if stored and not stored[0]:
            return None
        if stored is None or number_of(stored[0]) != number:
            raise AylaWarehouseError(
                f"{self.name}: the file {where} of the ledger is {'damaged' if stored else 'missing'}. Restore it. If "
                f"nobody can, put an empty file in its place: then {hours} as not loaded, and are loaded again."
            )
        return stored[0], where

    def write_week(self, event_type: str, ledger: WeekLedger) -> int:
        """Write a new file of the ledger, and return its number. Nothing counts before a commit names it."""
        text = ledger.dumps()
        number = number_of(text.encode())
        write_json(self.destination, f"{self.folder(event_type)}/{file_of(ledger.week, number)}", text, None)
        return number

    def write_index(self, event_type: str, index: Index) -> int:
        """Write a new index of the ledger, and return its number. Nothing counts before a commit names it."""
        text = index.dumps()
        number = number_of(text.encode())
        write_json(self.destination, f"{self.folder(event_type)}/{index_file(number)}", text, None)
        return number

    def ledger_files(self, table: DeltaTable, event_type: str) -> set[str]:
        """Return the paths of the ledger's files that a table names, relative to the table."""
        number = table.transaction_version(TRANSACTION)
        if not number:
            return set()
        return {index_file(number), *self.index(table, event_type).files()}

    # Errors.

    @contextmanager
    def errors(self, doing: str) -> Iterator[None]:
        """
        Turn the errors of deltalake and DuckDB into ours.

        :param doing: what fails if it fails, such as "load datapoint 2026-11-01 12:00 UTC"
        """
        try:
            yield
        except AylaError:
            raise
        except Exception as error:
            reason = _reason(error)
            if reason is None:
                raise
            raise AylaWarehouseError(f"{self.name}: can't {doing}: {reason}. {SAFE_TO_RETRY}") from None


def _reason(error: Exception) -> str | None:
    """Return what happened, without a row or a secret; None for an error of this package's own code."""
    import duckdb
    from deltalake.exceptions import DeltaError

    if isinstance(error, duckdb.Error):
        # Not DuckDB's own words, which can quote a row.
        if isinstance(error, duckdb.OutOfMemoryException) or "iB used)" in str(error):
            return "DuckDB needs more memory, because long values of an hour must fit into it: raise memory"
        return type(error).__name__
    # deltalake raises plain exceptions, too.
    if isinstance(error, DeltaError | OSError | ValueError) or type(error) is Exception:
        return from_outside(_DECORATION.sub(" ", str(error))).rstrip(". ")
    return None


def require_deltalake() -> None:
    """
    Make sure that deltalake is installed.

    :raises AylaConfigError: if it isn't
    """
    try:
        import deltalake  # noqa: F401 - only whether it is there
    except ImportError:
        raise AylaConfigError("deltalake isn't installed: pip install 'airflow-provider-ayla[delta]'") from None


def fields_of(columns: Iterable[Column]) -> list[Field]:
    """Return columns as Delta has them, with their comments."""
    from deltalake import Field
    from deltalake.schema import PrimitiveType

    return [
        Field(column.name, PrimitiveType(TYPES[column.type]), metadata={"comment": column.description})
        for column in columns
    ]


def partition_field(comment: str = "The day of folder_hour, UTC: the table's partition.") -> Field:
    """Return the column that a table is partitioned by."""
    from deltalake import Field
    from deltalake.schema import PrimitiveType

    return Field(PARTITION, PrimitiveType("date"), metadata={"comment": comment})


def types_of(table: DeltaTable) -> dict[str, str]:
    """Return a table's columns without its partition: name to Delta's type."""
    return {
        field.name: getattr(field.type, "type", str(field.type))
        for field in table.schema().fields
        if field.name != PARTITION
    }


def columns_of(table: DeltaTable) -> list[Column]:
    """
    Return a table's columns, without its partition, as far as a file of it is to be rewritten.

    :raises AylaTableError: if another tool added a column of a type that this package doesn't write
    """
    columns = []
    for name, kind in types_of(table).items():
        if kind not in _OURS:
            raise AylaTableError(
                f"{table.table_uri}: the column {name} of the type {kind} isn't one of this package. Its files can't "
                "be rewritten. Drop the column, or load into tables with another table_prefix."
            )
        columns.append(Column(name, _OURS[kind], ""))
    return columns


def files_of(table: DeltaTable, days: Container[date] | None = None) -> list[DataFile]:
    """
    Return the files that a table consists of.

    :param days: leaves out the files of other days; None for all files
    """
    actions = table.get_add_actions(flatten=True)

    def values(name: str) -> Sequence[Any]:
        if name not in actions.column_names:
            return [None] * actions.num_rows
        found: Any = actions[name].to_pylist()
        return list(found)

    names = ("path", "size_bytes", f"partition.{PARTITION}", "num_records", "min.folder_hour", "max.folder_hour")
    return [
        DataFile(path, size, day, rows, _utc(first), _utc(last))
        for path, size, day, rows, first, last in zip(*map(values, names), strict=True)
        if days is None or day is None or day in days
    ]


def _utc(moment: datetime | None) -> datetime | None:
    return moment.astimezone(UTC) if moment else None


def counted_rows(table: DeltaTable, start: datetime, end: datetime) -> dict[datetime, int]:
    """
    Return how many rows a table has of each hour from ``start`` up to ``end``.

    It takes the statistics of the files that hold one hour alone. The column ``folder_hour`` of the others is read.
    """
    counts: dict[datetime, int] = {}
    unclear: set[date] = set()
    files = [file for file in files_of(table) if file.day and start.date() <= file.day <= end.date()]
    for file in files:
        if file.rows is None or file.first is None or file.first != file.last:
            unclear.add(_day_of(file))
    for file in files:
        if _day_of(file) not in unclear and file.first:
            counts[file.first] = counts.get(file.first, 0) + (file.rows or 0)
    if unclear:
        for hour, rows in _count_days(table, unclear):
            counts[hour] = counts.get(hour, 0) + rows
    return {hour: rows for hour, rows in counts.items() if rows and start <= hour < end}


def _day_of(file: DataFile) -> date:
    assert file.day  # noqa: S101 - for the type checker: those without were left out
    return file.day


def _count_days(table: DeltaTable, days: Collection[date]) -> Iterator[tuple[datetime, int]]:
    from deltalake import QueryBuilder

    listed = ", ".join(f"date '{day.isoformat()}'" for day in sorted(days))
    query = f'select folder_hour, count(*) as rows from counted where "{PARTITION}" in ({listed}) group by 1'
    found = QueryBuilder().register("counted", table).execute(query)
    with closing(connect()) as connection:
        # Through DuckDB, because it lets Python's other threads run while the files are read.
        for hour, rows in connection.from_arrow(found).fetchall():
            if hour is not None:
                yield hour.astimezone(UTC), int(rows)


def count_rows(connection: duckdb.DuckDBPyConnection, parquet: Path, condition: str) -> int:
    """Return how many rows of a file on this disk fulfil an SQL condition."""
    scan = f"read_parquet({literal(str(parquet))}, hive_partitioning = false)"
    (found,) = connection.execute(f"select count(*) from {scan} where {condition}").fetchall()
    return int(found[0])


def describe(connection: duckdb.DuckDBPyConnection, parquet: Path, columns: Sequence[Column], rows: int) -> str:
    """
    Return the statistics of a file as Delta's log has them: of its device, and of all its times.

    :param rows: how many the file has
    """
    times = (ColumnType.TIMESTAMP, ColumnType.DATE)
    wanted = [column.name for column in columns if column.type in times or column.name == "dsn"]
    found = statistics(connection, parquet, wanted) if wanted else {}
    document = {
        "numRecords": rows,
        "minValues": _values(found, lambda statistic: statistic.smallest),
        "maxValues": _values(found, lambda statistic: statistic.largest),
        "nullCount": {name: statistic.nulls for name, statistic in found.items()},
    }
    return json.dumps(document, separators=(",", ":"), ensure_ascii=False)


def _values(found: Mapping[str, ColumnStatistics], which: Callable[[ColumnStatistics], Any]) -> dict[str, str]:
    values = {}
    for name, statistic in found.items():
        value = which(statistic)
        if isinstance(value, datetime):
            # Milliseconds, cut off: so the protocol says for both ends, and readers allow for it.
            values[name] = value.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
        elif isinstance(value, date):
            values[name] = value.isoformat()
        elif isinstance(value, str) and name == "dsn" and len(value) <= _LONGEST_TEXT:
            values[name] = value
    return values


def commit(
    table: DeltaTable,
    added: Iterable[NewFile],
    removed: Iterable[DataFile],
    *,
    ledger: int | None = None,
    says: Mapping[str, Any] | None = None,
    data_change: bool = True,
) -> None:
    """
    Commit a change of a table's files, as one entry of its log.

    It is refused if there was any other commit since the table was read. deltalake could find out itself whether two
    commits go together. But it takes a compaction for harmless: after a load that removes one of the compacted files,
    its rows would be there twice. So the caller looks again, and tries again.

    :param removed: only files all of whose rows go, or are in one of the added files
    :param ledger: the number of the ledger's new index
    :param says: what the commit says of itself, for people
    :param data_change: False if the rows stay the same, so that those who follow the table pass over it
    :raises deltalake.exceptions.CommitFailedError: if it is refused
    :raises deltalake.exceptions.DeltaError: if it fails; it may have happened all the same
    """
    from deltalake.transaction import (
        AddAction,
        CommitProperties,
        PostCommitHookProperties,
        RemoveAction,
        Transaction,
    )

    now = round(time.time() * 1000)
    partitions = table.metadata().partition_columns

    def partition(day: date | None) -> dict[str, str | None]:
        return {name: day.isoformat() if day else None for name in partitions}

    actions: list[AddAction | RemoveAction] = [
        AddAction(file.path, file.size, partition(file.day), now, data_change, file.statistics) for file in added
    ]
    actions += [RemoveAction(file.path, data_change, now, file.size, partition(file.day)) for file in removed]
    transactions = [] if ledger is None else [Transaction(TRANSACTION, ledger, now)]
    table.create_write_transaction(
        actions,
        "append",
        table.schema(),
        partitions,
        commit_properties=CommitProperties(
            custom_metadata=dict(says or {}), max_commit_retries=0, app_transactions=transactions
        ),
        # To look for old entries of the log takes a list of all of them.
        post_commithook_properties=PostCommitHookProperties(
            cleanup_expired_logs=None if table.version() % _CLEAN_UP_EVERY == 0 else False
        ),
    )
