"""What all warehouses that speak SQL share: everything but their statements to create, copy and lock."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext, suppress
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from types import TracebackType
from typing import Any, ClassVar, NamedTuple, Self

from ayla_provider.domain.csv.recognition import MOST_COLUMNS
from ayla_provider.domain.erasure import Leftover
from ayla_provider.domain.tables import TABLES, Column, ColumnType, Table, table_like
from ayla_provider.domain.work import Work
from ayla_provider.errors import AylaConfigError, AylaTableError, AylaWarehouseError
from ayla_provider.models import tables as models
from ayla_provider.models.macros import Macros
from ayla_provider.models.sql import FleetSql
from ayla_provider.warehouse import fleet
from ayla_provider.warehouse.base import (
    COMPARISONS,
    HOURS,
    LEDGER,
    REMOVED,
    SAFE_TO_RETRY,
    ComparedHour,
    FoundHour,
    HeldHour,
    HourLeft,
    LedgerCounts,
    Load,
    NamedTable,
    Recipe,
    RowErasure,
    refuse_own_name,
)
from ayla_provider.warehouse.sql import Dialect, View, completeness, views_of, with_existing_columns

_NOT_FACTS = ("event_type", "folder_hour", "changed_at")
"""The columns of the tables of hours and of comparisons that don't say what an hour is like."""

_HOURS_AT_ONCE = 200
"""How many rows of these tables one statement writes."""


class Explanation(NamedTuple):
    """
    A driver's error, in words for the task's log.

    :param reason: what happened; it must not quote a row
    :param advice: what to do
    """

    reason: str
    advice: str = SAFE_TO_RETRY


class SqlWarehouse(ABC):
    """
    A :class:`~ayla_provider.warehouse.base.Warehouse` that speaks SQL.

    A subclass supplies the abstract methods; the other methods with an underscore have a default that it may replace.

    :param name: for people, without a secret
    :param table_prefix: is in front of the name of each table and view
    """

    dialect: ClassVar[Dialect]
    macros: ClassVar[Macros]
    history: ClassVar[str] = ""
    """For people: what the warehouse keeps of removed rows, and until when; empty if it keeps nothing."""
    own_tables: ClassVar[tuple[Table, ...]] = ()
    """Tables that the warehouse needs for itself, beside the ledger."""

    def __init__(self, name: str, table_prefix: str) -> None:
        self.name = name
        self._prefix = table_prefix
        self._work = Work()
        self._is_open = False

    def work_for(self, work: Work) -> None:
        """Say what the next statements are for."""
        if work != self._work:
            self._work = work
            if self._is_open:
                self._show_work()

    def __enter__(self) -> Self:
        """Connect."""
        with self._errors("connect"):
            self._open()
            self._is_open = True
            try:
                if self._work.fields:
                    self._show_work()
            except BaseException:
                self.__exit__(None, None, None)
                raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Disconnect."""
        self._is_open = False
        self._close()

    def loaded(self, event_type: str, start: datetime, end: datetime) -> Mapping[datetime, str]:
        """Return the version of each hour that is loaded."""
        refuse_own_name(event_type)
        with self._errors(f"read which hours of {event_type} are loaded"):
            # Without the table nothing is loaded, whatever the ledger says.
            if not self._columns(LEDGER) or not self._columns(table_like(event_type, (), None)):
                return {}
            rows = self._fetch(
                f"select {self.dialect.name('folder_hour')}, {self.dialect.name('version')} "
                f"from {self._relation(LEDGER.event_type)} where {self._equals('event_type')} and {self._in_range()}",
                {"event_type": event_type, "start": start, "end": end},
            )
            return {hour.astimezone(UTC): version for hour, version in rows}

    def counts(self, start: datetime, end: datetime) -> Mapping[tuple[str, datetime], LedgerCounts]:
        """
        Return what the ledger says of each event type and hour that is loaded. It takes one query of the ledger.

        :param start: the first hour
        :param end: the end of the last hour
        :raises AylaWarehouseError: if the ledger can't be read
        """
        with self._errors("read how many rows are loaded"):
            if not self._columns(LEDGER):
                return {}
            columns = ", ".join(map(self.dialect.name, ("event_type", "folder_hour", *LedgerCounts._fields)))
            rows = self._fetch(
                f"select {columns} from {self._relation(LEDGER.event_type)} where {self._in_range()}",
                {"start": start, "end": end},
            )
            return {
                (event_type, hour.astimezone(UTC)): LedgerCounts(*map(int, numbers))
                for event_type, hour, *numbers in rows
            }

    def recipes(self, event_type: str, start: datetime, end: datetime) -> Sequence[Recipe]:
        """Return how the hours outside a range were made."""
        refuse_own_name(event_type)
        hour, version = self.dialect.name("folder_hour"), self.dialect.name("version")
        text, named = "recipe_text", ColumnType.TEXT
        with self._errors(f"read how the hours of {event_type} were made"):
            if not self._columns(LEDGER) or not self._columns(table_like(event_type, (), None)):
                return []
            rows = self._fetch(
                f"select {text}, count(*), min({hour}), max({hour}) from ("
                f"select regexp_replace({version}, '^[^-]*-?', '') as {text}, {hour} "
                f"from {self._relation(LEDGER.event_type)} where {self._equals('event_type')} "
                f"and {version} <> {self.dialect.parameter('removed', named)} and not ({self._in_range()})"
                f") as made group by {text}",
                {"event_type": event_type, "start": start, "end": end, "removed": REMOVED},
            )
            found = [
                Recipe(made, int(count), first.astimezone(UTC), last.astimezone(UTC))
                for made, count, first, last in rows
            ]
            return sorted(found, key=lambda recipe: recipe.text)

    def described(self, event_types: Iterable[str]) -> dict[str, dict[str, str]]:
        """
        Return the tables of event types that exist: name, with its prefix, to column to type.

        :raises AylaWarehouseError: if the warehouse can't be read
        """
        with self._errors("look for its tables"):
            tables = {name: self._columns(table_like(name, (), None)) for name in event_types}
        return {f"{self._prefix}{name}": columns for name, columns in tables.items() if columns}

    def named(self, event_type: str) -> NamedTable:
        """Return the table of an event type as other tools name it."""
        with self._errors(f"look at the table of {event_type}"):
            columns = self._columns(table_like(event_type, (), None))
            return NamedTable(*self._name_elsewhere(f"{self._prefix}{event_type}"), columns)

    def has_ledger(self) -> bool:
        """Return whether the table of the ledger exists."""
        with self._errors("look for its ledger"):
            return bool(self._columns(LEDGER))

    def held(self, event_type: str, start: datetime, end: datetime) -> Mapping[datetime, HeldHour]:
        """Return what the ledger states of each hour, and how many rows the table has."""
        refuse_own_name(event_type)
        with self._errors(f"count the rows of {event_type}"):
            if not self._columns(LEDGER):
                return {}
            parts = [self._ledger_part()]
            # Without its table, an hour has no rows, whatever the ledger says.
            if self._columns(table_like(event_type, (), None)):
                parts.append(self._table_part(event_type))
            hour = self.dialect.name("folder_hour")
            rows = self._fetch(
                f"select {hour}, max(version_held), sum(rows_loaded), sum(rows_stated), sum(rows_counted), "
                f"sum(entries) from ({' union all '.join(parts)}) as parts group by {hour}",
                {"event_type": event_type, "start": start, "end": end},
            )
            return {
                at.astimezone(UTC): HeldHour(version if entries else None, *map(int, numbers))
                for at, version, *numbers, entries in rows
            }

    def _ledger_part(self) -> str:
        """Return the query for what the ledger states."""
        name = self.dialect.name
        loaded = f"{name('lines')} - {name('duplicates')} - {name('quarantined')}"
        return (
            f"select {name('folder_hour')}, {name('version')} as version_held, {loaded} as rows_loaded, "
            f"{name('rows')} as rows_stated, 0 as rows_counted, 1 as entries "
            f"from {self._relation(LEDGER.event_type)} where {self._equals('event_type')} and {self._in_range()}"
        )

    def _table_part(self, event_type: str) -> str:
        """Return the query for how many rows the table has."""
        hour = self.dialect.name("folder_hour")
        return (
            f"select {hour}, '' as version_held, 0 as rows_loaded, 0 as rows_stated, count(*) as rows_counted, "
            f"0 as entries "
            f"from {self._relation(event_type)} where {self._in_range()} group by {hour}"
        )

    def _in_range(self) -> str:
        """Return the condition that an hour is between the parameters ``start`` and ``end``."""
        hour, moment = self.dialect.name("folder_hour"), LEDGER.column("folder_hour").type
        start, end = (self.dialect.parameter(name, moment) for name in ("start", "end"))
        return f"{hour} >= {start} and {hour} < {end}"

    def prepare_missing(self, tables: Iterable[Table]) -> None:
        """Create the tables that don't exist."""
        for table in tables:
            with self._errors(f"prepare the tables of {table.event_type}"):
                exists = bool(self._columns(table))
            if not exists:
                self.prepare(table)

    def prepare(self, table: Table) -> None:
        """Create what is missing, and add missing columns."""
        refuse_own_name(table.event_type)
        with self._errors(f"prepare the tables of {table.event_type}"), self._preparing():
            changed = False
            for own_table in (*self.own_tables, LEDGER):
                changed |= self._ensure_table(own_table)[1]
            existing, table_changed = self._ensure_table(table)
            views = views_of(with_existing_columns(table, existing), self._relation, self.dialect)
            self._ensure_views(views, tables_changed=changed or table_changed)

    def replace(self, load: Load) -> None:
        """Replace an hour's rows and its entry in the ledger, in one transaction."""
        ledger, entry = self._relation(LEDGER.event_type), load.ledger_row()
        parameters = [self.dialect.parameter(column.name, column.type) for column in LEDGER.columns]
        key = {name: entry[name] for name in ("event_type", "folder_hour")}
        with self._errors(f"load {load}"):
            self._begin_work(load)
        with self._errors(f"load {load}"), load.traced(), self._staged(load) as source, self._transaction(load):
            # Without it, two loads of a new hour would both insert: see Warehouse.replace.
            self._lock(load)
            self._run(
                f"delete from {self._relation(load.table.event_type)} where {self._equals('folder_hour')}",
                {"folder_hour": load.hour},
            )
            rows = self._insert(load, source) if load.parquet else 0
            if rows != load.rows:
                raise AylaWarehouseError(
                    f"{self.name}: can't load {load}: {rows:,} of {load.rows:,} rows arrived. {SAFE_TO_RETRY}"
                )
            self._run(f"delete from {ledger} where {self._equals('event_type')} and {self._equals('folder_hour')}", key)
            self._run(
                f"insert into {ledger} ({self.dialect.names(LEDGER.names)}) select {', '.join(parameters)}", entry
            )

    def _begin_work(self, load: Load) -> None:
        if self._work.fields:
            self.work_for(replace(self._work, event_type=load.table.event_type, oem_id=load.oem_id))

    def replace_several(self, loads: Iterable[Load]) -> Iterator[Load]:
        """Replace one hour after the other."""
        for load in loads:
            self.replace(load)
            yield load

    def record_hours(self, hours: Sequence[FoundHour], now: datetime) -> int:
        """
        Write into the table of hours what an archive has of some hours, and return how many weren't like that.

        :param now: aware
        :raises AylaWarehouseError: if the warehouse refuses it
        """
        with self._errors("write what the archive has of each hour"):
            self._prepare_hours()
            return self._record_changed(HOURS, hours, now)

    def record_comparisons(self, hours: Sequence[ComparedHour], now: datetime) -> int:
        """
        Write into the table of comparisons what a stream had of some hours, and return how many weren't like that.

        :param now: aware
        :raises AylaWarehouseError: if the warehouse refuses it
        """
        with self._errors("write how the export compares with the stream"):
            self._prepare_hours()
            return self._record_changed(COMPARISONS, hours, now)

    def update_models(self, day_timezone: str, run_id: str, now: datetime) -> fleet.FleetReport:
        """
        Bring the fleet models up to date with the tables.

        :param day_timezone: the time zone of days. With another one than before, all models are made again
        :param run_id: names the run in the list of changes
        :param now: aware
        :raises AylaConfigError: if there is no such time zone, or the models can't be made from the tables
        :raises AylaWarehouseError: if the warehouse refuses it
        """
        with self._errors("make the fleet models"):
            columns = {kind: self._columns(table_like(kind, (), None)) for kind in fleet.EVENT_TYPES}
            self._refuse_unusable(columns)
            types = self._types_of_models(columns)
            self._prepare_hours()
            self._prepare_models(types)
            engine = self._engine()
            run = fleet.FleetRun(engine, {k: v for k, v in columns.items() if v}, day_timezone, run_id, now)
            return run.update(types)

    def _refuse_unusable(self, columns: Mapping[str, Mapping[str, str]]) -> None:
        """Make sure that the models can be made from the tables."""
        missing = [kind for kind in TABLES if not columns[kind]]
        if missing:
            raise AylaConfigError(
                f"{self.name}: the fleet models need the tables of all event types, and there is none of "
                f"{', '.join(missing)}. Load an hour first: a load creates them."
            )
        without = [kind for kind in TABLES if "dsn" not in columns[kind]]
        if without:
            raise AylaConfigError(
                f"{self.name}: the fleet models need the column dsn, and the tables of {', '.join(without)} don't have "
                "it. Hash it instead of dropping it, in the privacy policy."
            )

    def _types_of_models(self, columns: Mapping[str, Mapping[str, str]]) -> dict[str, ColumnType]:
        """Return the types of columns that a privacy policy changed: a hashed UUID is a text."""
        uuid, text = (self.dialect.types[kind] for kind in (ColumnType.UUID, ColumnType.TEXT))
        found = [names.get("user_uuid", uuid) for names in columns.values() if names]
        if any(not self._same_type(kind, uuid) and self._same_type(kind, text) for kind in found):
            return {"user_uuid": ColumnType.TEXT}
        return {}

    def _prepare_models(self, types: Mapping[str, ColumnType]) -> None:
        """Create what is missing of the tables and views of the models."""
        wanted = [model.with_types(types) for model in (*models.STORED, *models.INTERNAL)]
        if all(self._columns(table).keys() >= set(table.names) for table in wanted):
            return
        with self._preparing():
            *others, last = wanted
            for table in others:
                self._ensure_table(table)
            sql = FleetSql(self.macros, self._relation, "'UTC'", {}, {}, quote=self.dialect.name)
            view = View(models.COMMAND.name, models.COMMAND.description, sql.command())
            self._ensure_views([view], tables_changed=True)
            self._ensure_as_of()
            # If it is there, all the others are, also where this is no transaction.
            self._ensure_table(last)

    def _engine(self) -> fleet.Engine:
        return fleet.Engine(
            macros=self.macros,
            quote=self.dialect.name,
            relation=self._relation,
            temporary=lambda name: self.dialect.name(f"ayla_models_{name}"),
            parameter=self.dialect.parameter,
            run=self._run,
            fetch=self._fetch,
            transaction=self._transaction,
            lock=lambda: self._lock_table(models.PENDING),
            staged=self._was_staged,
        )

    def _prepare_hours(self) -> None:
        """Create the table of hours and its view, if they don't exist."""
        if all(map(self._columns, (HOURS, COMPARISONS, LEDGER))):
            return
        with self._preparing():
            changed = False
            for table in (*self.own_tables, LEDGER, HOURS, COMPARISONS):
                changed |= self._ensure_table(table)[1]
            self._ensure_views([completeness(self._relation, self.dialect)], tables_changed=changed)

    def _record_changed(self, table: Table, hours: Sequence[FoundHour] | Sequence[ComparedHour], now: datetime) -> int:
        """Replace the hours that are otherwise in a table of hours, and return how many these are."""
        facts = [name for name in table.names if name not in _NOT_FACTS]
        known = self._recorded(table, facts, hours)
        wanted = [
            hour
            for hour in hours
            if known.get((hour.event_type, hour.hour)) != tuple(getattr(hour, name) for name in facts)
        ]
        for number in range(0, len(wanted), _HOURS_AT_ONCE):
            self._record(table, facts, wanted[number : number + _HOURS_AT_ONCE], now)
        return len(wanted)

    def _recorded(
        self, table: Table, facts: Sequence[str], hours: Sequence[FoundHour] | Sequence[ComparedHour]
    ) -> dict[tuple[str, datetime], tuple[Any, ...]]:
        """Return what a table of hours has of the time of some hours."""
        if not hours:
            return {}
        start, end = min(hour.hour for hour in hours), max(hour.hour for hour in hours) + timedelta(hours=1)
        columns = self.dialect.names(("event_type", "folder_hour", *facts))
        rows = self._fetch(
            f"select {columns} from {self._relation(table.event_type)} where {self._in_range()}",
            {"start": start, "end": end},
        )
        return {
            (kind, at.astimezone(UTC)): (state, *(None if number is None else int(number) for number in numbers))
            for kind, at, state, *numbers in rows
        }

    def _record(
        self, table: Table, facts: Sequence[str], hours: Sequence[FoundHour | ComparedHour], now: datetime
    ) -> None:
        """Replace some hours in a table of hours."""
        name, relation = self.dialect.name, self._relation(table.event_type)
        keys, rows, values = [], [], {}
        for number, hour in enumerate(hours):
            row = {
                "event_type": hour.event_type,
                "folder_hour": hour.hour,
                **{fact: getattr(hour, fact) for fact in facts},
                "changed_at": now,
            }
            places = {}
            for column in table.columns:
                place = self.dialect.parameter(f"{column.name}_{number}", column.type)
                # Without it, an engine can't tell the type of an empty value.
                places[column.name] = f"cast({place} as {self.dialect.types[column.type]})"
                values[f"{column.name}_{number}"] = row[column.name]
            same = (f"{name(column)} = {places[column]}" for column in ("event_type", "folder_hour"))
            keys.append(f"({' and '.join(same)})")
            rows.append(f"select {', '.join(places.values())}")
        of_keys = {key: value for key, value in values.items() if key.startswith(("event_type_", "folder_hour_"))}
        with self._transaction():
            self._lock_table(table)
            self._run(f"delete from {relation} where {' or '.join(keys)}", of_keys)
            self._run(f"insert into {relation} ({self.dialect.names(table.names)}) {' union all '.join(rows)}", values)

    def erasable(self, erasure: RowErasure) -> Mapping[datetime, int]:
        """Return how many rows of each hour are to be erased."""
        refuse_own_name(erasure.event_type)
        with self._errors(f"count the rows of {erasure.event_type} that are to be erased"):
            condition, values = self._erased(erasure)
            if not condition:
                return {}
            hour = self.dialect.name("folder_hour")
            rows = self._fetch(
                f"select {hour}, count(*) from {self._relation(erasure.event_type)} where {condition} group by {hour}",
                values,
            )
            return {at.astimezone(UTC): int(count) for at, count in rows}

    def erase(self, erasure: RowErasure, left: Sequence[HourLeft]) -> None:
        """Erase rows of some hours, and change these hours in the ledger, in one transaction."""
        refuse_own_name(erasure.event_type)
        with self._errors(f"erase rows of {erasure.event_type}"):
            condition, values = self._erased(erasure)
            if not left:
                return
            hour = self.dialect.name("folder_hour")
            named = {f"hour_{number}": each.hour for number, each in enumerate(left)}
            hours = ", ".join(self.dialect.parameter(name, ColumnType.TIMESTAMP) for name in named)
            with self._transaction():
                if condition:
                    self._run(
                        f"delete from {self._relation(erasure.event_type)} where {hour} in ({hours}) and ({condition})",
                        values | named,
                    )
                self._state(erasure.event_type, [each for each in left if each.lines is not None])
                self._state(erasure.event_type, [each for each in left if each.lines is None], only_rows=True)

    def forget(self, event_types: Iterable[str], now: datetime) -> Sequence[Leftover]:
        """Remove what the warehouse itself keeps of erased rows, and return what it can't remove."""
        existing = []
        for event_type in event_types:
            refuse_own_name(event_type)
            with self._errors(f"look for the table of {event_type}"):
                if self._columns(table_like(event_type, (), None)):
                    existing.append(event_type)
        existing += self._models_without_erased(now)
        with self._errors("remove what it keeps of erased rows"):
            return self._forget_rows(existing, now)

    def expire(self, event_types: Iterable[str], now: datetime) -> Sequence[Leftover]:
        """Say what the warehouse keeps of removed rows."""
        return [Leftover(self.name, self.history, None)] if self.history else []

    def _models_without_erased(self, now: datetime) -> list[str]:
        """Make the models again without what is erased, if there are any. Return the names of their tables."""
        with self._errors("look for the fleet models"):
            if not self._columns(models.HOURS_SEEN):
                return []
            made = [row[0] for row in self._fetch(f"select max(made) from {self._relation(models.HOURS_SEEN.name)}")]
        zone = str(made[0] or "UTC").partition("|")[0]
        self.update_models(zone, f"erasure {now.isoformat()}", now)
        return [model.name for model in (*models.STORED, *models.INTERNAL)]

    def _erased(self, erasure: RowErasure) -> tuple[str, dict[str, Any]]:
        """Return the condition of the rows that are to be erased, and its parameters; empty if there can't be any."""
        existing = self._columns(table_like(erasure.event_type, (), None))
        name, values = self.dialect.name, {"salt": erasure.salt}
        salt, text = self.dialect.parameter("salt", ColumnType.TEXT), self.dialect.types[ColumnType.TEXT]
        conditions: dict[str, list[str]] = {}
        all_wanted: dict[str, list[str]] = {}
        parameters: dict[str, Any] = dict(values)

        def hashed(column: str) -> str:
            spelled = f"replace(lower(cast({name(column)} as {text})), '-', '')"
            return self.dialect.sha256(f"{salt} || {spelled}")

        for number, subject in enumerate(erasure.subjects):
            hashes_of = {column: hashes for column, hashes in subject.hashes.items() if column in existing}
            if not hashes_of:
                # DuckDB refuses a parameter that no condition names.
                continue
            spans = []
            for bound, at, sign in (("start", subject.start, ">="), ("end", subject.end, "<")):
                if at is not None:
                    parameters[f"{bound}_{number}"] = at
                    place = self.dialect.parameter(f"{bound}_{number}", ColumnType.TIMESTAMP)
                    spans.append(f"{name('folder_hour')} {sign} {place}")
            for column, hashes in hashes_of.items():
                named = {f"{column}_{number}_{index}": each for index, each in enumerate(hashes)}
                parameters |= named
                wanted = [self.dialect.parameter(each, ColumnType.TEXT) for each in named]
                all_wanted.setdefault(column, []).extend(wanted)
                is_wanted = f"{hashed(column)} in ({', '.join(wanted)})"
                conditions.setdefault(column, []).append(f"({' and '.join([*spans, is_wanted])})")
        # Most rows are of nobody who is wanted. One hash says so, however many subjects there are.
        together = [
            f"({hashed(column)} in ({', '.join(all_wanted[column])}) and ({' or '.join(conditions[column])}))"
            for column in conditions
        ]
        return " or ".join(together), parameters

    def _state(self, event_type: str, left: Sequence[HourLeft], *, only_rows: bool = False) -> None:
        """Write into the ledger what is left of some hours."""
        if not left:
            return
        name = self.dialect.name
        columns = {
            "version": ColumnType.TEXT,
            "rows": ColumnType.INTEGER,
            "lines": ColumnType.INTEGER,
            "duplicates": ColumnType.INTEGER,
            "quarantined": ColumnType.INTEGER,
        }
        if only_rows:
            columns = {"rows": ColumnType.INTEGER}
        parts = []
        values: dict[str, Any] = {"event_type": event_type}
        for index, each in enumerate(left):
            # Unique also among the statements of a transaction, which can be one script with one set of parameters.
            number = f"{index}_rows" if only_rows else str(index)
            values |= {f"left_hour_{number}": each.hour, f"known_{number}": each.known}
            at = self.dialect.parameter(f"left_hour_{number}", ColumnType.TIMESTAMP)
            known = self.dialect.parameter(f"known_{number}", ColumnType.TEXT)
            selected = [f"{at} as {name('left_hour')}", f"{known} as {name('known')}"]
            for column, kind in columns.items():
                values[f"left_{column}_{number}"] = getattr(each, column)
                place = self.dialect.parameter(f"left_{column}_{number}", kind)
                selected.append(f"{place} as {name(f'left_{column}')}")
            parts.append(f"select {', '.join(selected)}")
        changes = ", ".join(f"{name(column)} = {name(f'left_{column}')}" for column in columns)
        self._run(
            f"update {self._relation(LEDGER.event_type)} set {changes} from ({' union all '.join(parts)}) as changed "
            f"where {self._equals('event_type')} and {name('folder_hour')} = {name('left_hour')} "
            f"and {name('version')} = {name('known')}",
            values,
        )

    # What a warehouse supplies.

    @abstractmethod
    def _forget_rows(self, event_types: Sequence[str], now: datetime) -> Sequence[Leftover]:
        """Remove what is kept of erased rows of tables that exist, and return what can't be removed."""

    @abstractmethod
    def _open(self) -> None:
        """Connect."""

    @abstractmethod
    def _close(self) -> None:
        """Disconnect. It is called only after :meth:`_open` succeeded."""

    @abstractmethod
    def _name_elsewhere(self, table: str) -> tuple[str, str]:
        """Return the namespace and the name of a table in OpenLineage's terms; the table is with its prefix."""

    @abstractmethod
    def _relation(self, name: str) -> str:
        """Return the qualified, quoted name of a table or view; the name is without its prefix."""

    @abstractmethod
    def _run(self, statement: str, values: Mapping[str, Any] | None = None) -> Any:
        """Run a statement."""

    @abstractmethod
    def _fetch(self, statement: str, values: Mapping[str, Any] | None = None) -> Iterable[Sequence[Any]]:
        """Run a query and return its rows."""

    @abstractmethod
    def _columns(self, table: Table) -> dict[str, str]:
        """Return the columns that a table has: name, in lower case where case doesn't count, to type. Empty if none."""

    @abstractmethod
    def _create_table(self, table: Table) -> None:
        """Create a table with its comments, unless another task just did."""

    @abstractmethod
    def _add_columns(self, table: Table, columns: Sequence[Column]) -> None:
        """Add columns with their comments, unless another task just did."""

    @abstractmethod
    def _ensure_views(self, views: Sequence[View], *, tables_changed: bool) -> None:
        """Create the views that are missing or different. A view may use the ones before it."""

    @abstractmethod
    def _lock(self, load: Load) -> None:
        """Make another load of the same hour wait or fail until the transaction ends: see ``Warehouse.replace``."""

    @abstractmethod
    def _insert(self, load: Load, source: str) -> int:
        """Insert the rows of the load's Parquet file, and return how many."""

    @abstractmethod
    def _explain(self, error: Exception) -> Explanation | None:
        """Explain an error of the driver; return None for any other."""

    # What a warehouse may replace.

    def _preparing(self) -> AbstractContextManager[None]:
        """Return the context in which tables are prepared, such as a transaction."""
        return nullcontext()

    def _staged(self, load: Load) -> AbstractContextManager[str]:
        """Bring the rows near the table, before the transaction. Return where they are, for :meth:`_insert`."""
        return nullcontext("")

    @contextmanager
    def _transaction(self, load: Load | None = None) -> Iterator[None]:
        self._run("begin transaction")
        try:
            yield
            self._run("commit")
        except BaseException:
            # If the connection is broken, the warehouse rolls back.
            with suppress(Exception):
                self._run("rollback")
            raise

    def _show_work(self) -> None:  # noqa: B027
        """Let the warehouse show what the next statements are for, if it can."""

    def _same_type(self, existing: str, wanted: str) -> bool:
        """Return whether two names of types mean the same type."""
        return existing == wanted

    def _ensure_as_of(self) -> None:  # noqa: B027
        """Create the function ``property_as_of``, if the warehouse has such functions."""

    def _was_staged(self, table: str) -> None:  # noqa: B027
        """Do what a temporary table needs that was just filled."""

    def _lock_table(self, table: Table) -> None:  # noqa: B027
        """Make another task that changes this table of ours wait until the transaction ends, if it can meet one."""

    # What is the same for all.

    def _equals(self, column: str) -> str:
        """Return the condition that a column of the ledger equals the parameter of its name."""
        parameter = self.dialect.parameter(column, LEDGER.column(column).type)
        return f"{self.dialect.name(column)} = {parameter}"

    def _ensure_table(self, table: Table) -> tuple[list[str], bool]:
        """Create a table or add what it lacks. Return the names of its columns, and whether anything changed."""
        existing = self._columns(table)
        created = not existing
        if created:
            if table is not LEDGER and table not in self.own_tables:
                self._forget_hours(table)
            self._create_table(table)
            # Another task may have created it first, with other columns.
            existing = self._columns(table)
        self._refuse_other_types(table, existing)
        missing = [column for column in table.columns if column.name not in existing]
        total = len(existing) + len(missing)
        if missing and total > MOST_COLUMNS:
            raise AylaTableError(
                f"{self.name}: {self._relation(table.event_type)} would get {total} columns, more than {MOST_COLUMNS}. "
                "Do the files have new columns again and again? Declare their layout, and load into tables "
                "with another table_prefix."
            )
        if missing:
            self._add_columns(table, missing)
        return [*existing, *(column.name for column in missing)], created or bool(missing)

    def _forget_hours(self, table: Table) -> None:
        """Remove a table's hours from the ledger. If someone dropped the table, its rows are gone."""
        self._run(
            f"delete from {self._relation(LEDGER.event_type)} where {self._equals('event_type')}",
            {"event_type": table.event_type},
        )

    def _refuse_other_types(self, table: Table, existing: Mapping[str, str]) -> None:
        for column in table.columns:
            found, wanted = existing.get(column.name), self.dialect.types[column.type]
            if found is not None and not self._same_type(found, wanted):
                raise AylaTableError(
                    f"{self.name}: column {column.name} of {self._relation(table.event_type)} has the type {found}, "
                    f"but the rows need {wanted}. A privacy policy or a declared layout may have changed. Load into "
                    "tables with another table_prefix, or drop the table and load its hours again."
                )

    @contextmanager
    def _errors(self, doing: str) -> Iterator[None]:
        """Turn the driver's errors into ours, which name what failed and don't quote a row."""
        try:
            yield
        except Exception as error:
            explanation = self._explain(error)
            if explanation is None:
                raise
            # Without its cause: the driver's own words can quote a row.
            reason = explanation.reason.rstrip(". \n")
            raise AylaWarehouseError(f"{self.name}: can't {doing}: {reason}. {explanation.advice}") from None
