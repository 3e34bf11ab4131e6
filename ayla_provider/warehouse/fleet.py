"""
The fleet models in a warehouse: keeps them right, whatever hours come, come late, come again, or go.

A run finds the hours that changed since the last one, by the ledger, and the days of devices that these hours touch. It
makes these days again, and the ones behind them, from the rows and from what is stored of the day before. It then
writes what differs from what is stored, and nothing else. So any order of loads leads to the same tables.

What a run has still to make is in a table. It gets there in the transaction that notes the hours as seen, and leaves it
in the one that writes the models. So a run that was killed is finished by the next one.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, replace
from datetime import date, datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo

from ayla_provider.domain.tables import TEXT, ColumnType
from ayla_provider.errors import AylaConfigError
from ayla_provider.models import tables
from ayla_provider.models.macros import Macros
from ayla_provider.models.sql import MAKE, FleetSql
from ayla_provider.models.tables import Model

log = logging.getLogger(__name__)

CHANGES_KEPT = timedelta(days=30)
"""How long the list of changed days is kept."""

EVENT_TYPES = ("datapoint", "datapoint_ack", "connection", "location", "registration", "activation")
"""The event types that the models are made from."""

_STATES = ("connection", "datapoint", "datapoint_ack")
"""The event types whose missing hours make figures unknown."""


@dataclass(frozen=True, slots=True)
class FleetReport:
    """What a run of the models changed."""

    hours: int
    """Hours of the tables that changed since the last run."""
    devices: int
    """Devices of which a day changed."""
    device_days: int
    """Days of devices that changed."""
    first_day: date | None
    last_day: date | None

    def document(self) -> dict[str, Any]:
        """Return it for JSON."""
        return {
            "hours": self.hours,
            "devices": self.devices,
            "device_days": self.device_days,
            "first_day": self.first_day.isoformat() if self.first_day else None,
            "last_day": self.last_day.isoformat() if self.last_day else None,
        }


@dataclass(frozen=True)
class Engine:
    """
    How a warehouse runs statements, for :class:`FleetRun`.

    :param relation: returns the full name of a table or view, by its name without prefix
    :param temporary: returns the name of a temporary table
    :param parameter: returns a parameter, by its name and type
    """

    macros: Macros
    quote: Callable[[str], str]
    relation: Callable[[str], str]
    temporary: Callable[[str], str]
    parameter: Callable[[str, ColumnType], str]
    run: Callable[..., Any]
    fetch: Callable[..., Iterable[Sequence[Any]]]
    transaction: Callable[[], AbstractContextManager[None]]
    lock: Callable[[], None]
    staged: Callable[[str], None] = lambda name: None
    """Is told the name of each temporary table that has been filled."""


_EVENTS = ("datapoints", "acks", "connections", "registrations", "activity", "days", "connection_spans", "values_")
"""What is read once for all models, each after what it is made from."""

_STAGED = ("now", "fleet_diff", "new_days", "scope", "scan", "runs", "changed_days", *_EVENTS)
"""The temporary tables of a run."""


def checked_zone(name: str) -> str:
    """
    Return the name of a time zone.

    :raises AylaConfigError: if there is no such time zone
    """
    try:
        ZoneInfo(name)
    except (ValueError, OSError, KeyError):
        raise AylaConfigError(f"day_timezone is {name!r}: expected a time zone such as UTC or Europe/Berlin") from None
    return name


class FleetRun:
    """
    One run of the models.

    :param columns: event type to the columns that its table has, with their types; without those that don't exist
    :param day_timezone: the time zone of days
    :param run_id: names the run in the list of changes
    :param now: aware
    """

    def __init__(
        self, engine: Engine, columns: Mapping[str, Iterable[str]], day_timezone: str, run_id: str, now: datetime
    ) -> None:
        self._engine = engine
        self._made = f"{checked_zone(day_timezone)}|{MAKE}"
        self._run_id, self._now = run_id, now
        self._sql = FleetSql(
            engine.macros,
            self._name,
            f"'{day_timezone}'",
            {kind: frozenset(names) for kind, names in columns.items()},
            {},
            quote=engine.quote,
            has_seen=True,
        )

    def _name(self, name: str) -> str:
        return self._engine.temporary(name) if name in _STAGED else self._engine.relation(name)

    def update(self, types: Mapping[str, ColumnType]) -> FleetReport:
        """
        Bring the models up to date.

        :param types: the types of columns that aren't those of the canonical tables
        """
        self._sql = replace(self._sql, types=types)
        with self._engine.transaction():
            self._engine.lock()
            hours = self._find()
        with self._engine.transaction():
            self._engine.lock()
            return self._make(hours)

    # What changed.

    def _find(self) -> int:
        """Note what is to be made. Return how many hours changed."""
        sql, run = self._sql, self._engine.run
        kinds = ", ".join(f"'{kind}'" for kind in sql.columns)
        self._stage("now", f"select * from ({sql.hours_now()}) as hours_now where event_type in ({kinds})")
        made = f"'{self._made}'"
        self._stage(
            "fleet_diff",
            "select coalesce(n.event_type, o.event_type) as event_type, "
            "coalesce(n.folder_hour, o.folder_hour) as folder_hour, n.signature, n.known, "
            "o.signature as old_signature, o.first_day, o.last_day, "
            f"case when n.signature = o.signature and o.made = {made} then 0 else 1 end as rows_changed, "
            f"case when coalesce(n.known, 0) = coalesce(o.known, 0) and o.made = {made} then 0 else 1 end "
            "as known_changed "
            f"from {self._name('now')} as n full outer join {self._name('fleet_hours')} as o "
            "on n.event_type = o.event_type and n.folder_hour = o.folder_hour "
            "where n.signature is null or o.signature is null or n.signature <> o.signature "
            f"or n.known <> o.known or o.made <> {made}",
        )
        diff = self._name("fleet_diff")
        ((hours,),) = self._engine.fetch(f"select count(*) from {diff}")
        if not hours:
            return 0
        self._stage("new_days", " union all ".join(sql.days_of_hours(kind) for kind in sql.columns))
        first = self._first_day_of_all(diff)
        new, device = self._name("new_days"), self._name("device")
        touched = f"select dsn, min(first_day) as first_day from {new} group by dsn"
        if first is not None:
            day = f"cast('{first:%Y-%m-%d}' as {self._engine.macros.types[ColumnType.DATE]})"
            everyone = f"select dsn from {device} union select dsn from {new}"
            touched = (
                f"select everyone.dsn, case when touched.first_day < {day} then touched.first_day else {day} end "
                f"from ({everyone}) as everyone left join ({touched}) as touched on touched.dsn = everyone.dsn"
            )
        run(f"insert into {self._name('fleet_pending')} (dsn, from_day) {touched}")
        run(
            f"delete from {self._name('fleet_hours')} where exists (select 1 from {diff} as d "
            f"where d.event_type = {self._name('fleet_hours')}.event_type "
            f"and d.folder_hour = {self._name('fleet_hours')}.folder_hour)"
        )
        by_hour = (
            f"select event_type, folder_hour, min(first_day) as first_day, max(last_day) as last_day from {new} "
            "group by event_type, folder_hour"
        )
        run(
            f"insert into {self._name('fleet_hours')} ({', '.join(tables.HOURS_SEEN.names)}) "
            f"select d.event_type, d.folder_hour, d.signature, {made}, d.known, "
            "case when d.rows_changed = 1 then by_hour.first_day else d.first_day end, "
            "case when d.rows_changed = 1 then by_hour.last_day else d.last_day end "
            f"from {diff} as d left join ({by_hour}) as by_hour on by_hour.event_type = d.event_type "
            "and by_hour.folder_hour = d.folder_hour where d.signature is not null"
        )
        return int(hours)

    def _first_day_of_all(self, diff: str) -> date | None:
        """Return the day from which all devices are to be made again; None if no hour demands that."""
        macros = self._engine.macros
        # An answer is awaited in the hour of a command, and in the one after it.
        before = macros.moment(f"{macros.micros('folder_hour')} - 3600000000")
        kinds = ", ".join(f"'{kind}'" for kind in _STATES)
        # Rows that are gone can be of any device.
        ((first,),) = self._engine.fetch(
            f"select min(day) from (select first_day as day from {diff} where rows_changed = 1 union all "
            f"select {macros.local_day(before, self._sql.zone)} from {diff} "
            f"where known_changed = 1 and event_type in ({kinds})) as days"
        )
        return first if first is None or isinstance(first, date) else date.fromisoformat(str(first)[:10])

    # The models.

    def _make(self, hours: int) -> FleetReport:
        pending, run = self._name("fleet_pending"), self._engine.run
        ((first_day,),) = self._engine.fetch(f"select min(from_day) from {pending}")
        if first_day is None:
            return FleetReport(hours, 0, 0, None, None)
        self._stage_scope(pending)
        self._stage("changed_days", f"select dsn, from_day as day from {pending} where 1 = 0")
        for name in _EVENTS:
            self._stage(name, getattr(self._sql, name)())
        for model in tables.OF_DEVICES:
            self._write(model)
        acked = self._write_acked()
        self._write_model_day(everything=acked)
        run(f"delete from {pending}")
        self._note_changes()
        return self._report(hours)

    def _stage_scope(self, pending: str) -> None:
        """Stage which devices are to be made, from which day on, and from which hours."""
        macros, fetch = self._engine.macros, self._engine.fetch
        start = macros.micros(macros.day_start("min(from_day)", self._sql.zone))
        scope = f"select dsn, min(from_day) as from_day, {start} as starts from {pending} group by dsn"
        hour = "3600000000"
        self._stage("scope", f"select *, ({macros.quotient('starts', hour)}) * {hour} as reads from ({scope}) as scope")
        self._stage(
            "scan",
            f"select event_type, folder_hour from {self._name('fleet_hours')} "
            f"where {macros.next_day('last_day')} >= (select min(from_day) from {self._name('scope')})",
        )
        self._stage("runs", self._sql.runs())
        ((reads,),) = fetch(f"select min(reads) from {self._name('scope')}")
        ((scanned,),) = fetch(f"select min({macros.micros('folder_hour')}) from {self._name('scan')}")
        self._sql = replace(
            self._sql,
            scoped=True,
            first_moment=self._literal(int(reads)),
            first_hour=self._literal(int(scanned if scanned is not None else reads)),
        )

    def _literal(self, micros: int) -> str:
        return self._engine.macros.moment(str(micros))

    def _stored(self, model: Model) -> str:
        """Return the condition that a stored row ``t`` can be made again in the scope ``scope``."""
        micros, since = self._engine.macros.micros, self._sql.first_moment
        match model.name:
            case "device" | "device_owner":
                return "true"
            case "property_value":
                from_, to = micros("t.valid_from"), micros("t.valid_to")
                return (
                    f"(t.valid_from >= {since} or t.valid_to is null or t.valid_to >= {since}) "
                    f"and ({from_} >= scope.reads or t.valid_to is null or {to} >= scope.reads)"
                )
            case "property_hour":
                return f"t.hour >= {since} and {micros('t.hour')} >= scope.reads"
            case "command_sent":
                return f"t.commanded_at >= {since} and {micros('t.commanded_at')} >= scope.starts"
            case _:
                return "t.day >= scope.from_day"

    def _write(self, model: Model) -> None:
        """Make a model in the scope, and write what differs."""
        stored = (
            f"select {', '.join(f't.{name}' for name in model.names)} from {self._name(model.name)} as t "
            f"join {self._name('scope')} as scope on scope.dsn = t.dsn and {self._stored(model)}"
        )
        with self._difference(model, getattr(self._sql, model.name)(), stored) as (gone, come):
            if model.day:
                day = model.day
                if day != "day":
                    day = self._engine.macros.local_day(day, self._sql.zone)
                self._engine.run(
                    f"insert into {self._name('changed_days')} (dsn, day) "
                    f"select dsn, {day} from {gone} union select dsn, {day} from {come}"
                )

    @contextmanager
    def _difference(self, model: Model, select: str, stored: str) -> Iterator[tuple[str, str]]:
        """Write what differs between rows that are made and rows that are stored. Yield where the differences are."""
        temporary, run = self._engine.temporary, self._engine.run
        made, gone, come = (temporary(f"{part}_{model.name}") for part in ("made", "gone", "come"))
        columns = ", ".join(model.names)
        run(f"create temporary table {made} as select {columns} from ({select}) as made")
        run(f"create temporary table {gone} as {stored} except select {columns} from {made}")
        run(f"create temporary table {come} as select {columns} from {made} except {stored}")
        table = self._name(model.name)
        same = " and ".join(self._same(f"gone.{name}", f"{table}.{name}", name) for name in model.key)
        run(f"delete from {table} where exists (select 1 from {gone} as gone where {same})")
        run(f"insert into {table} ({columns}) select {columns} from {come}")
        yield gone, come
        for name in (made, gone, come):
            run(f"drop table {name}")

    def _same(self, one: str, other: str, name: str) -> str:
        """Return the condition that two columns are the same, also if both are empty."""
        if name in ("dsn", "day", "hour", "owned_from", "time_uuid"):
            # These are never empty. Engines join by them faster.
            return f"{one} = {other}"
        return f"{one} is not distinct from {other}"

    def _write_acked(self) -> bool:
        """Write which properties are ever answered. Return whether that changed."""
        if "datapoint_ack" not in self._sql.columns:
            return False
        model = tables.ACKED
        stored = f"select {', '.join(model.names)} from {self._name(model.name)}"
        with self._difference(model, self._sql.acked_property(), stored) as (gone, come):
            changed = f"select oem_model, property_name from {gone} union select oem_model, property_name from {come}"
            day = self._engine.macros.local_day("sent.commanded_at", self._sql.zone)
            # Their commands appear, or go.
            self._engine.run(
                f"insert into {self._name('changed_days')} (dsn, day) select distinct sent.dsn, {day} "
                f"from {self._name('command_sent')} as sent join ({changed}) as changed "
                "on changed.oem_model is not distinct from sent.oem_model "
                "and changed.property_name is not distinct from sent.property_name"
            )
            ((count,),) = self._engine.fetch(f"select count(*) from ({changed}) as changed")
        return bool(count)

    def _write_model_day(self, *, everything: bool) -> None:
        model = tables.MODEL_DAY
        since = "" if everything else f"(select min(from_day) from {self._name('scope')})"
        stored = f"select {', '.join(model.names)} from {self._name(model.name)}"
        if since:
            stored += f" where day >= {since}"
        with self._difference(model, self._sql.model_day(since), stored):
            pass

    def _note_changes(self) -> None:
        """Write the list of changed days, and forget old ones, and those of devices that no longer exist."""
        engine, changes = self._engine, self._name("fleet_changes")
        moment = ColumnType.TIMESTAMP
        engine.run(
            f"insert into {changes} (run_id, changed_at, dsn, day) select {engine.parameter('run_id', TEXT)}, "
            f"{engine.parameter('changed_at', moment)}, dsn, day "
            f"from (select distinct dsn, day from {self._name('changed_days')}) as days",
            {"run_id": self._run_id, "changed_at": self._now},
        )
        engine.run(
            f"delete from {changes} where changed_at < {engine.parameter('kept_from', moment)} "
            f"or dsn not in (select dsn from {self._name('device')})",
            {"kept_from": self._now - CHANGES_KEPT},
        )

    def _report(self, hours: int) -> FleetReport:
        ((devices, days, first, last),) = self._engine.fetch(
            "select count(distinct dsn), count(*), min(day), max(day) "
            f"from (select distinct dsn, day from {self._name('changed_days')}) as days"
        )
        return FleetReport(hours, int(devices), int(days), first, last)

    def _stage(self, name: str, select: str) -> None:
        temporary = self._name(name)
        self._engine.run(f"drop table if exists {temporary}")
        self._engine.run(f"create temporary table {temporary} as {select}")
        self._engine.staged(temporary)
