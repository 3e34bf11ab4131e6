"""Iceberg tables, in any catalog that pyiceberg knows: SQL, REST, AWS Glue, Hive."""

from __future__ import annotations

import logging
import secrets
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self

from pyiceberg.conversions import from_bytes
from pyiceberg.exceptions import (
    CommitFailedException,
    NoSuchNamespaceError,
    NoSuchTableError,
    TableAlreadyExistsError,
    ValidationException,
)
from pyiceberg.expressions.parser import parse
from pyiceberg.partitioning import PartitionField, PartitionSpec
from pyiceberg.schema import Schema
from pyiceberg.transforms import DayTransform
from pyiceberg.types import (
    BooleanType,
    DateType,
    DoubleType,
    IcebergType,
    LongType,
    NestedField,
    StringType,
    TimestamptzType,
)

from ayla_provider.archive.destination import Destination
from ayla_provider.archive.scratch import scratch_folder
from ayla_provider.domain.erasure import Leftover
from ayla_provider.domain.hour import ONE_HOUR, describe_hour
from ayla_provider.domain.tables import ColumnType, Table
from ayla_provider.domain.work import Work
from ayla_provider.errors import AylaConfigError, AylaConflictError, AylaError, AylaWarehouseError
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
    is_own_name,
    refuse_own_name,
)
from ayla_provider.warehouse.iceberg_io import DestinationFileIO, LocalFileIO, Storage, known
from ayla_provider.warehouse.iceberg_ledger import Ledger, entry_of, key_of
from ayla_provider.warehouse.iceberg_metadata import lighten, slim
from ayla_provider.warehouse.iceberg_rows import copy_files
from ayla_provider.warehouse.lake import (
    check_arrived,
    check_columns,
    commit_traced,
    condition_of_hours,
    conflict,
    copy_rows,
    day_file_name,
    file_name,
    put_file,
    remove_quietly,
    table_in_bucket,
)
from ayla_provider.warehouse.made_hours import MadeHours

if TYPE_CHECKING:
    import duckdb
    from pyiceberg.catalog import Catalog
    from pyiceberg.expressions import BooleanExpression
    from pyiceberg.manifest import DataFile
    from pyiceberg.table import FileScanTask
    from pyiceberg.table import Table as IcebergTable

    from ayla_provider.warehouse.fleet import FleetReport

log = logging.getLogger(__name__)

TYPES: dict[ColumnType, IcebergType] = {
    ColumnType.TEXT: StringType(),
    ColumnType.INTEGER: LongType(),
    ColumnType.NUMBER: DoubleType(),
    ColumnType.BOOLEAN: BooleanType(),
    # Not Iceberg's uuid: it refuses text, and some engines can't read it.
    ColumnType.UUID: StringType(),
    ColumnType.TIMESTAMP: TimestamptzType(),
    ColumnType.DATE: DateType(),
}
"""Iceberg's type for each of ours."""

_METRICS = "write.metadata.metrics.column."
_WITH_METRICS = {"dsn": "truncate(64)", "folder_hour": "full", "created_at": "full"}
"""The columns whose smallest and largest values the manifests have, so that queries skip files."""

PROPERTIES = {
    "format-version": "2",
    # By default the metadata files of all commits stay.
    "write.metadata.delete-after-commit.enabled": "true",
    "write.metadata.previous-versions-max": "10",
    # pyiceberg's default is not to merge the manifests of commits when upkeep asks for it.
    "commit.manifest-merge.enabled": "true",
    "write.metadata.metrics.default": "none",
    "write.parquet.compression-codec": "zstd",
    # Many mapped tasks commit to one table at the same time.
    "commit.retry.num-retries": "20",
    "commit.retry.max-wait-ms": "5000",
}
"""The properties of a new table."""

_TRIES = 5
"""How often a commit is made that met compaction, or the commit of a new column."""

_MOST_IN = 200
"""pyiceberg doesn't look at the values of a longer list."""

_SUMMARISED = 100
"""How many hours a snapshot's summary names."""

_DAY = timedelta(days=1)


@dataclass
class Written:
    """The new data files of a commit."""

    files: list[DataFile] = field(default_factory=list)
    urls: list[str] = field(default_factory=list)
    """Of all files, including one whose upload broke off."""
    named: bool = False
    """Whether a commit can name them, so that they must stay."""


@dataclass(frozen=True)
class Replaced:
    """
    The old files of hours.

    :param whole: have rows of these hours alone
    :param mixed: have rows of other hours, too
    """

    whole: list[DataFile]
    mixed: list[DataFile]


@dataclass
class _Seen:
    """
    The ledger's texts as a task saw them first.

    :param start: the first hour that was looked at
    :param end: the end of the last hour
    :param texts: of the hours in the ledger; None for one that was looked at alone, and isn't in it
    """

    start: datetime
    end: datetime
    texts: dict[datetime, str | None]

    def differs(self, hour: datetime, text: str | None) -> bool:
        """Return whether an hour was looked at before, and the ledger said something else about it."""
        if hour in self.texts or self.start <= hour < self.end:
            return self.texts.get(hour) != text
        return False


class IcebergWarehouse:
    """
    The tables of an Iceberg namespace, see :class:`~ayla_provider.warehouse.base.Warehouse`.

    Each table is partitioned by the day of ``folder_hour``. Its ledger is in its properties, see
    :mod:`~ayla_provider.warehouse.iceberg_ledger`. Two loads of the same hour at the same time leave one: the other one
    fails, and changes nothing.

    :param catalog: returns a catalog of pyiceberg
    :param open_destination: returns the destination of a bucket's URL
    :param namespace: its parts separated by dots; it is created if it doesn't exist
    :param location: the URL of the folder for new tables; by default the catalog's own choice
    :param memory: DuckDB's limit, as DuckDB writes sizes
    """

    def __init__(
        self,
        catalog: Callable[[], Catalog],
        open_destination: Callable[[str], Destination],
        *,
        namespace: str,
        table_prefix: str = TABLE_PREFIX,
        location: str = "",
        memory: str = MEMORY,
    ) -> None:
        parts = tuple(namespace.split("."))
        if not all(parts):
            raise AylaConfigError(f"namespace is {namespace!r}: expected a name such as ayla, or several with dots")
        self.name = f"Iceberg namespace {namespace}"
        self.memory = memory
        self._connect = catalog
        self._open_destination = open_destination
        self._namespace = parts
        self._prefix = table_prefix
        self._location = location.rstrip("/")
        self._stack = ExitStack()
        self._catalog: Catalog
        self.storage: Storage
        # The tables as this task saw them last, for their columns.
        self._tables: dict[str, IcebergTable] = {}
        # The hours of the ledger as this task saw them first: what is different at the commit is a conflict.
        self._seen: dict[str, _Seen] = {}

    def work_for(self, work: Work) -> None:
        """Do nothing: nobody bills statements here."""

    def __enter__(self) -> Self:
        """Connect."""
        with self.errors("connect"):
            # It says for each file that it found our FileIO.
            logging.getLogger("pyiceberg.io").setLevel(logging.WARNING)
            self._catalog = self._connect()
            self.storage = Storage(self._open_destination)
            self._catalog.properties.update(self._stack.enter_context(known(self.storage)))
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Disconnect."""
        self._stack.close()
        self._catalog.close()

    # What a warehouse does.

    def loaded(self, event_type: str, start: datetime, end: datetime) -> Mapping[datetime, str]:
        """Return the version of each hour that is loaded."""
        refuse_own_name(event_type)
        with self.errors(f"read which hours of {event_type} are loaded"):
            table = self.table(event_type)
            if table is None:
                self._seen[event_type] = _Seen(start, end, {})
                return {}
            ledger = self.ledger(table)
            texts = ledger.texts(start, end)
            self._seen[event_type] = _Seen(start, end, dict(texts))
            return {hour: entry.version for hour, entry in ledger.parsed(texts).items()}

    def recipes(self, event_type: str, start: datetime, end: datetime) -> Sequence[Recipe]:
        """Return how the hours outside a range were made."""
        refuse_own_name(event_type)
        with self.errors(f"read how the hours of {event_type} were made"):
            table = self.table(event_type)
            made = self.ledger(table).made() if table else MadeHours()
        return made.without(start, end).recipes()

    def has_ledger(self) -> bool:
        """Return whether there is a table of an event type: each has its own ledger."""
        return bool(self.event_types())

    def held(self, event_type: str, start: datetime, end: datetime) -> Mapping[datetime, HeldHour]:
        """Return what the ledger states of each hour, and how many rows the table has."""
        refuse_own_name(event_type)
        with self.errors(f"count the rows of {event_type}"):
            table = self.table(event_type)
            if table is None:
                return {}
            entries = self.ledger(table).entries(start, end)
            counts = self._counts(table, start, end)
            held: dict[datetime, HeldHour] = {}
            for hour in sorted({*entries, *counts}):
                entry, counted = entries.get(hour), counts.get(hour, 0)
                held[hour] = (
                    HeldHour(entry.version, entry.loaded, entry.rows, counted) if entry else HeldHour(counted=counted)
                )
            return held

    def named(self, event_type: str) -> NamedTable:
        """Return the table of an event type as other tools name it: by its folder."""
        with self.errors(f"look at the table of {event_type}"):
            table = self.existing_table(event_type)
            columns = {one.name: str(one.field_type) for one in table.schema().fields}
            return table_in_bucket(table.location(), columns)

    def prepare_missing(self, tables: Iterable[Table]) -> None:
        """Create the tables that don't exist."""
        for table in tables:
            with self.errors(f"prepare the table of {table.event_type}"):
                exists = self.table(table.event_type) is not None
            if not exists:
                self.prepare(table)

    def prepare(self, table: Table) -> None:
        """
        Create the table if it is missing, and add missing columns.

        A new column is a commit of its own. Until the load's commit, it is empty.
        """
        refuse_own_name(table.event_type)
        with self.errors(f"prepare the table of {table.event_type}"):
            existing = self.table(table.event_type) or self._create(table)
            for _ in range(_TRIES):
                columns = {one.name: str(one.field_type) for one in existing.schema().fields}
                missing = check_columns(
                    self.name,
                    self.relation(table.event_type),
                    table.columns,
                    columns,
                    {ours: str(its) for ours, its in TYPES.items()},
                )
                if not missing:
                    self._tables[table.event_type] = existing
                    return
                try:
                    with existing.update_schema() as update:
                        for column in missing:
                            update.add_column(column.name, TYPES[column.type], column.description)
                except CommitFailedException:
                    # Another task added columns. Most likely they are the same.
                    log.info("%s got other columns at the same time. Looking again.", self.relation(table.event_type))
                existing = self.existing_table(table.event_type)
            raise conflict(self.name, f"prepare the table of {table.event_type}")

    def replace(self, load: Load) -> None:
        """Replace an hour's rows and its entry in the ledger, in one commit."""
        for _ in self.replace_several([load]):
            pass

    def replace_several(self, loads: Iterable[Load]) -> Iterator[Load]:
        """Replace the rows of hours, and their entries in the ledger, in one commit."""
        with scratch_folder() as folder, closing(connect(memory=self.memory, folder=folder)) as connection:
            connection.execute("set preserve_insertion_order = false")
            written, done = Written(), list[Load]()
            try:
                for load in loads:
                    with self.errors(f"load {load}"), load.traced():
                        self._bring(load, connection, folder, written)
                    done.append(load)
                if done:
                    with self.errors(f"load {_several(done)}"), commit_traced(done):
                        self._commit_loads(done, written, connection, folder)
            except BaseException:
                self.discard(written)
                raise
        yield from done

    def erasable(self, erasure: RowErasure) -> Mapping[datetime, int]:
        """Return how many rows of each hour are to be erased."""
        from ayla_provider.warehouse.iceberg_erase import erasable

        refuse_own_name(erasure.event_type)
        with self.errors(f"count the rows of {erasure.event_type} that are to be erased"):
            return erasable(self, erasure)

    def erase(self, erasure: RowErasure, left: Sequence[HourLeft]) -> None:
        """Erase rows of some hours, and change these hours in the ledger, in one commit."""
        from ayla_provider.warehouse.iceberg_erase import erase

        refuse_own_name(erasure.event_type)
        with self.errors(f"erase rows of {erasure.event_type}"):
            erase(self, erasure, left)

    def forget(self, event_types: Iterable[str], now: datetime) -> Sequence[Leftover]:
        """
        Remove all earlier versions of tables, with the files that they alone have, and return what keeps some.

        Time travel then starts again. The fleet models are made without what is erased, and lose theirs, too.
        """
        from ayla_provider.warehouse.iceberg_models import IcebergLake
        from ayla_provider.warehouse.lake_models import without_erased

        with self.errors("make the fleet models without what is erased"):
            made = without_erased(IcebergLake(self), self.memory, now)
        return [*self.expire(event_types, now), *self._forget_versions(made, now)]

    def _forget_versions(self, names: Iterable[str], now: datetime) -> Sequence[Leftover]:
        from ayla_provider.warehouse.iceberg_upkeep import Upkeep

        leftovers: list[Leftover] = []
        upkeep = Upkeep(self, keep_snapshots=1, now=now)
        for name in names:
            with self.errors(f"remove earlier versions of {name}"):
                if self.table(name) is not None:
                    leftovers += upkeep.forget(name)
        return leftovers

    def expire(self, event_types: Iterable[str], now: datetime) -> Sequence[Leftover]:
        """Remove all earlier versions of tables, because each of them has the removed hours."""
        wanted = list(event_types)
        for event_type in wanted:
            refuse_own_name(event_type)
        return self._forget_versions(wanted, now)

    def record_hours(self, hours: Sequence[FoundHour], now: datetime) -> int:
        """Write into the table of hours what an archive has of some hours, and return how many weren't like that."""
        from ayla_provider.warehouse.iceberg_models import IcebergLake
        from ayla_provider.warehouse.lake_models import record_hours

        with self.errors("write what the archive has of each hour"):
            return record_hours(IcebergLake(self), self.memory, hours, now)

    def update_models(self, day_timezone: str, run_id: str, now: datetime) -> FleetReport:
        """Bring the fleet models up to date, see :func:`~ayla_provider.warehouse.lake_models.update_models`."""
        from ayla_provider.warehouse.iceberg_models import IcebergLake
        from ayla_provider.warehouse.lake_models import update_models

        with self.errors("make the fleet models"):
            return update_models(IcebergLake(self), self.memory, day_timezone, run_id, now)

    # What upkeep and tests need, too.

    def look_again(self, event_type: str) -> None:
        """Forget what the ledger of a table said."""
        self._seen.pop(event_type, None)

    def relation(self, event_type: str) -> str:
        """Return the full name of a table."""
        return ".".join((*self._namespace, f"{self._prefix}{event_type}"))

    def event_types(self) -> list[str]:
        """Return the event types that have a table with a ledger's prefix, in order."""
        return [name for name in self._names() if not is_own_name(name)]

    def own_tables(self) -> list[str]:
        """Return the tables with the prefix that aren't those of event types, in order: of hours, and of models."""
        return [name for name in self._names() if is_own_name(name)]

    def _names(self) -> list[str]:
        with self.errors("list its tables"):
            try:
                names = sorted(identifier[-1] for identifier in self._catalog.list_tables(self._namespace))
            except NoSuchNamespaceError:
                return []
        return [name.removeprefix(self._prefix) for name in names if name.startswith(self._prefix)]

    def table(self, event_type: str) -> IcebergTable | None:
        """Return a table as it is now, None if it doesn't exist."""
        tries = _TRIES
        while True:
            tries -= 1
            try:
                table = self._catalog.load_table((*self._namespace, f"{self._prefix}{event_type}"))
            except (NoSuchTableError, NoSuchNamespaceError):
                return None
            except FileNotFoundError:
                # Ten commits were made since the catalog named this metadata file.
                if not tries:
                    raise
            else:
                if not isinstance(table.io, DestinationFileIO):
                    raise AylaConfigError(
                        f"{self.name}: a property of {self.relation(event_type)} or of the catalog sets py-io-impl. "
                        "Remove it: this provider reads and writes with the storage's connection."
                    )
                return table

    def ledger(self, table: IcebergTable) -> Ledger:
        """Return the ledger of a table."""
        return Ledger(self.name, table.properties, self._read)

    def _read(self, url: str) -> bytes | None:
        destination, path = self.storage.place(url)
        found = destination.read(path)
        return found[0] if found else None

    def commit(
        self,
        doing: str,
        table: IcebergTable,
        rows: BooleanExpression,
        *,
        properties: Mapping[str, str],
        summary: Mapping[str, str],
        old: Iterable[DataFile],
        new: Sequence[Written],
    ) -> int:
        """
        Replace data files and set properties in one snapshot. Return the snapshot's id.

        If another commit changed rows that a condition describes, since the table was read, nothing is changed.

        :param doing: for errors
        :param rows: describes the rows that are replaced
        :raises ValidationException: if another commit changed such rows
        :raises AylaWarehouseError: if nobody can say whether it was made. Its files must stay then
        """
        with self.storage.postponed() as postponed:
            transaction = slim(table).transaction()
            if properties:
                transaction.set_properties(dict(properties))
            producer = transaction.update_snapshot(snapshot_properties=dict(summary)).overwrite()
            producer.delete_by_predicate(rows)
            for file in old:
                producer.delete_data_file(file)
            for written in new:
                for file in written.files:
                    producer.append_data_file(file)
            producer.commit()
            # From here on, whatever ends this task, the catalog may make the commit.
            _set_named(new, True)
            try:
                transaction.commit_transaction()
            except Exception as error:
                refused = isinstance(error, CommitFailedException | ValidationException)
                if not self._landed(doing, table, producer.snapshot_id, error):
                    if refused:
                        _set_named(new, False)
                        self.remove_quietly(postponed)
                        raise
                    raise self._unknown(doing, error) from None
                log.info("%s: the catalog answered %s, but the commit was made.", self.name, type(error).__name__)
                # What was to be removed may belong to the commit.
                return producer.snapshot_id
        self.remove_quietly(postponed)
        return producer.snapshot_id

    def _landed(self, doing: str, table: IcebergTable, snapshot_id: int, error: Exception) -> bool:
        """Return whether a commit was made that the catalog answered with an error."""
        try:
            now = self._catalog.load_table(table.name())
        except Exception:  # noqa: BLE001 - catalogs raise errors of their own
            raise self._unknown(doing, error) from None
        return now.metadata.snapshot_by_id(snapshot_id) is not None

    def _unknown(self, doing: str, error: Exception) -> AylaWarehouseError:
        return AylaWarehouseError(
            f"{self.name}: can't {doing}: the catalog gave no valid answer ({type(error).__name__}: "
            f"{from_outside(error)}). The commit can have been made all the same. The task's next try finds out, and "
            "neither doubles nor loses rows."
        )

    def discard(self, written: Written) -> None:
        """Remove new files, unless a commit can name them."""
        if not written.named:
            self.remove_quietly(written.urls)

    def remove_quietly(self, urls: Iterable[str]) -> None:
        """Remove files that no commit names, as far as possible."""
        for url in urls:
            destination, path = self.storage.place(url)
            remove_quietly(destination, [path])

    def data_file(self, table: IcebergTable, local: Path, url: str) -> DataFile:
        """Write a Parquet file of this disk into the table's storage. Return what the manifest says about it."""
        from pyiceberg.io.pyarrow import parquet_file_to_data_file

        data_file = parquet_file_to_data_file(LocalFileIO(local), table.metadata, url)
        destination, path = self.storage.place(url)
        put_file(destination, path, local)
        return data_file

    def data_url(self, table: IcebergTable, day: datetime, name: str) -> str:
        """Return the URL of a new data file."""
        return f"{table.location()}/data/folder_hour_day={day.astimezone(UTC):%Y-%m-%d}/{name}"

    @contextmanager
    def errors(self, doing: str) -> Iterator[None]:
        """Turn the errors of pyiceberg, the catalog, and DuckDB into ours, which name what failed."""
        try:
            yield
        except AylaError:
            raise
        except ValidationException:
            raise conflict(self.name, doing) from None
        except CommitFailedException as error:
            raise AylaConflictError(
                f"{self.name}: can't {doing}: the catalog refused the commit again and again "
                f"({from_outside(error)}). Nothing was changed. {SAFE_TO_RETRY}"
            ) from None
        except Exception as error:  # noqa: BLE001 - catalogs raise errors of their own
            raise AylaWarehouseError(f"{self.name}: can't {doing}: {_reason(error)}. {_advice(error)}") from None

    def existing_table(self, event_type: str) -> IcebergTable:
        """Return a table as it is now."""
        table = self.table(event_type)
        if table is None:
            raise AylaWarehouseError(
                f"{self.name}: the table {self.relation(event_type)} doesn't exist. Someone dropped it in the meantime."
                " The task's next try creates it."
            )
        return table

    # Details of a load.

    def _create(self, table: Table) -> IcebergTable:
        """Create the table of an event type, or return the one that another task just created."""
        return self.create(table, _by_day)

    def create(self, table: Table, spec: Callable[[Schema], PartitionSpec]) -> IcebergTable:
        """
        Create a table, or return the one that another task just created.

        :param spec: returns how the table is partitioned, by its schema
        """
        fields = [
            NestedField(number, column.name, TYPES[column.type], required=False, doc=column.description)
            for number, column in enumerate(table.columns, 1)
        ]
        schema = Schema(*fields)
        partitioned = spec(schema)
        sources = [schema.find_field(part.source_id).name for part in partitioned.fields]
        full = {name: "full" for name in sources if name not in _WITH_METRICS}
        metrics = {f"{_METRICS}{name}": mode for name, mode in (_WITH_METRICS | full).items() if name in table.names}
        self._create_namespace()
        name = f"{self._prefix}{table.event_type}"
        location = "/".join((self._location, *self._namespace, name)) if self._location else None
        try:
            self._catalog.create_table(
                (*self._namespace, name),
                schema,
                location=location,
                partition_spec=partitioned,
                properties={**PROPERTIES, **metrics, "comment": table.description},
            )
        except TableAlreadyExistsError:
            log.info("Another task created %s.", self.relation(table.event_type))
        return self.existing_table(table.event_type)

    def _create_namespace(self) -> None:
        if self._catalog.namespace_exists(self._namespace):
            return
        try:
            self._catalog.create_namespace(self._namespace)
        except Exception:
            # Another task may have created it. Not every catalog says so in the same way.
            if not self._catalog.namespace_exists(self._namespace):
                raise

    def _bring(self, load: Load, connection: duckdb.DuckDBPyConnection, folder: Path, written: Written) -> None:
        """Copy the rows of an hour into new data files, which no commit names yet."""
        event_type = load.table.event_type
        table = self._tables.get(event_type) or self.existing_table(event_type)
        self._tables[event_type] = table
        ids = {one.name: one.field_id for one in table.schema().fields}
        rows = 0
        for parquet in load.files:
            local = folder / "lake.parquet"
            rows += copy_rows(connection, [parquet], local, load.table.columns, field_ids=ids)
            url = self.data_url(table, load.hour, file_name(load.hour, load.version))
            written.urls.append(url)
            data_file = self.data_file(table, local, url)
            if hours_in(table, data_file) != (load.hour, load.hour):
                raise AylaWarehouseError(
                    f"{self.name}: can't load {load}: its Parquet file has rows of another hour. Remove the hour's "
                    "receipt from the typed rows, and clear the task: they are then made again."
                )
            written.files.append(data_file)
            local.unlink()
        check_arrived(self.name, load, rows)

    def _commit_loads(
        self, loads: Sequence[Load], written: Written, connection: duckdb.DuckDBPyConnection, folder: Path
    ) -> None:
        event_type = loads[0].table.event_type
        hours = {load.hour.astimezone(UTC) for load in loads}
        entries = {key_of(load.hour): entry_of(load).text() for load in loads}
        named = {load.hour.astimezone(UTC).strftime("%Y-%m-%dT%H"): load.version for load in loads[:_SUMMARISED]}
        summary = {"ayla.hours": str(len(loads)), **{f"ayla.hour.{hour}": version for hour, version in named.items()}}
        doing = f"load {_several(loads)}"
        for _ in range(_TRIES):
            table = self.existing_table(event_type)
            self._refuse_changed(event_type, table, hours, doing)
            self._refuse_other_columns(event_type, table, doing)
            rest = Written()
            try:
                old = self._old_files(table, hours, doing)
                replaced = self._without(table, old.mixed, hours, connection, folder, rest)
                self.commit(
                    doing,
                    table,
                    rows_of(hours),
                    properties=entries,
                    summary=summary,
                    old=[*old.whole, *replaced],
                    new=[written, rest],
                )
            except ValidationException:
                # The ledger says whether another load was faster, or compaction.
                self.discard(rest)
                log.info("%s: another commit changed the files of %s. Looking again.", self.name, _several(loads))
            except BaseException:
                self.discard(rest)
                raise
            else:
                self._tables[event_type] = table
                if event_type in self._seen:
                    self._seen[event_type].texts.update(
                        {load.hour.astimezone(UTC): entries[key_of(load.hour)] for load in loads}
                    )
                self._lighten(event_type, table)
                return
        raise conflict(self.name, doing)

    def _lighten(self, event_type: str, before: IcebergTable) -> None:
        """Make the metadata smaller, if it is too large. The load is done, and doesn't fail if this fails."""
        try:
            lighten(self, event_type, before)
        except Exception as error:  # noqa: BLE001 - catalogs raise errors of their own
            log.warning(
                "%s: the metadata of %s can't be made smaller: %s. The next load tries again.",
                self.name,
                self.relation(event_type),
                _reason(error),
            )

    def _refuse_changed(self, event_type: str, table: IcebergTable, hours: Iterable[datetime], doing: str) -> None:
        """
        Make sure that the ledger says of hours what it said when this task looked first.

        :raises AylaConflictError: if it doesn't
        """
        ordered = sorted(hours)
        texts = self.ledger(table).texts(ordered[0], ordered[-1] + ONE_HOUR)
        seen = self._seen.setdefault(event_type, _Seen(ordered[0], ordered[0], {}))
        for hour in ordered:
            if seen.differs(hour, texts.get(hour)):
                del self._seen[event_type]
                raise conflict(self.name, doing)
            seen.texts[hour] = texts.get(hour)

    def _refuse_other_columns(self, event_type: str, table: IcebergTable, doing: str) -> None:
        """Make sure that each column of the new files has the identifier that it had when they were written."""
        before = {one.name: one.field_id for one in self._tables[event_type].schema().fields}
        now = {one.name: one.field_id for one in table.schema().fields}
        if not before.items() <= now.items():
            self._tables[event_type] = table
            raise conflict(self.name, doing)

    def _old_files(self, table: IcebergTable, hours: set[datetime], doing: str) -> Replaced:
        """Return the data files that can have rows of hours."""
        replaced = Replaced([], [])
        for task in table.scan(row_filter=rows_of(hours)).plan_files():
            first, last = hours_in(table, task.file)
            if first == last and first in hours:
                replaced.whole.append(task.file)
            elif first is None or last is None or any(first <= hour <= last for hour in hours):
                refuse_row_deletes(self.name, doing, task)
                replaced.mixed.append(task.file)
        return replaced

    def _without(
        self,
        table: IcebergTable,
        mixed: Sequence[DataFile],
        hours: set[datetime],
        connection: duckdb.DuckDBPyConnection,
        folder: Path,
        rest: Written,
    ) -> list[DataFile]:
        """
        Rewrite the files that have rows of hours, without these rows.

        :param rest: gets the new files
        :returns: the old files, without those that have no such row
        """
        replaced: list[DataFile] = []
        for file in mixed:
            local = folder / f"rest-{secrets.token_hex(4)}.parquet"
            rows = copy_files(self.storage, table, [file], connection, folder, local, where=condition_of_hours(hours))
            if rows == file.record_count:
                local.unlink()
                continue
            replaced.append(file)
            if rows:
                day = file_day(table, file) or min(hours)
                url = self.data_url(table, day, day_file_name(day))
                rest.urls.append(url)
                rest.files.append(self.data_file(table, local, url))
            local.unlink()
        return replaced

    # Details of counts.

    def _counts(self, table: IcebergTable, start: datetime, end: datetime) -> dict[datetime, int]:
        """
        Return how many rows each hour has.

        A file of one hour has its number in the manifest. Of the others, ``folder_hour`` is read.
        """
        counts: dict[datetime, int] = {}
        others: list[FileScanTask] = []
        for task in table.scan(row_filter=rows_between(start, end)).plan_files():
            first, last = hours_in(table, task.file)
            if first is None or first != last or task.delete_files:
                others.append(task)
            elif start <= first < end:
                counts[first] = counts.get(first, 0) + task.file.record_count
        for hour, rows in _read_counts(table, others, start, end):
            counts[hour] = counts.get(hour, 0) + rows
        return counts


def _by_day(schema: Schema) -> PartitionSpec:
    hour = schema.find_field("folder_hour").field_id
    return PartitionSpec(
        PartitionField(source_id=hour, field_id=1000, transform=DayTransform(), name="folder_hour_day")
    )


def _read_counts(
    table: IcebergTable, tasks: Sequence[FileScanTask], start: datetime, end: datetime
) -> Iterator[tuple[datetime, int]]:
    """Yield hours of data files with a number of their rows. An hour can come several times."""
    from pyiceberg.io.pyarrow import ArrowScan

    for task in tasks:
        wanted = table.schema().select("folder_hour")
        scan = ArrowScan(table.metadata, table.io, wanted, rows_between(start, end))
        for batch in scan.to_record_batches([task]):
            for value in batch.column(0).value_counts():
                yield value["values"].as_py().astimezone(UTC), value["counts"].as_py()


def rows_of(hours: Iterable[datetime]) -> BooleanExpression:
    """Return the condition for the rows of hours, or of a range of time that has them."""
    ordered = sorted(hours)
    if len(ordered) <= _MOST_IN:
        return parse(f"folder_hour in ({', '.join(map(_text, ordered))})")
    return rows_between(ordered[0], ordered[-1] + ONE_HOUR)


def rows_between(start: datetime, end: datetime) -> BooleanExpression:
    """Return the condition for the rows of a range of hours."""
    return parse(f"folder_hour >= {_text(start)} and folder_hour < {_text(end)}")


def _text(hour: datetime) -> str:
    return f"'{hour.astimezone(UTC).isoformat()}'"


def hours_in(table: IcebergTable, file: DataFile) -> tuple[datetime | None, datetime | None]:
    """Return the first and the last hour that a data file has rows of; None if its writer didn't say."""
    number = table.schema().find_field("folder_hour").field_id
    return _bound(file.lower_bounds, number), _bound(file.upper_bounds, number)


def _bound(bounds: Mapping[int, bytes] | None, number: int) -> datetime | None:
    value = (bounds or {}).get(number)
    if value is None:
        return None
    microseconds: Any = from_bytes(TimestamptzType(), value)
    return datetime(1970, 1, 1, tzinfo=UTC) + timedelta(microseconds=microseconds)


def file_day(table: IcebergTable, file: DataFile) -> datetime | None:
    """Return the day of a data file's rows, UTC; None if it isn't known, or if there are several."""
    first, last = hours_in(table, file)
    if first is None or last is None or first.date() != last.date():
        return None
    return first.replace(hour=0)


def refuse_row_deletes(name: str, doing: str, task: FileScanTask) -> None:
    """
    Make sure that no program deleted single rows of a data file that is to be rewritten.

    :raises AylaWarehouseError: if one did
    """
    if task.delete_files:
        raise AylaWarehouseError(
            f"{name}: can't {doing}: another program deleted single rows of {task.file.file_path}, and this provider "
            "doesn't rewrite such a file. Let that program compact the table (Spark: rewrite_data_files with "
            "delete-file-threshold 1), then clear the task."
        )


def _set_named(new: Iterable[Written], named: bool) -> None:
    for written in new:
        written.named = named


def _several(loads: Sequence[Load]) -> str:
    """Return hours in words."""
    if len(loads) == 1:
        return str(loads[0])
    first = min(loads, key=lambda load: load.hour)
    return f"{first} and {len(loads) - 1} more hours, until {describe_hour(max(load.hour for load in loads))}"


def _reason(error: Exception) -> str:
    try:
        import duckdb
    except ImportError:
        pass
    else:
        if isinstance(error, duckdb.OutOfMemoryException):
            return "DuckDB needs more memory, because long values of an hour must fit into it"
        if isinstance(error, duckdb.Error):
            # Not DuckDB's own words, which can quote a row.
            return type(error).__name__
    return f"{type(error).__name__}: {from_outside(error)}".rstrip(". ")


def _advice(error: Exception) -> str:
    if type(error).__name__ in ("UnauthorizedError", "ForbiddenError", "OAuthError"):
        return (
            "Check the Iceberg connection: its account needs to read, create, and change tables. Then clear the task."
        )
    if type(error).__name__ == "OutOfMemoryException":
        return "Raise the operator's memory, then clear the task. Nothing was loaded."
    return SAFE_TO_RETRY
