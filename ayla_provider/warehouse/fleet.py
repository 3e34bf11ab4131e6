"""
The fleet models in a warehouse: keeps them right, whatever hours come, come late, come again, or go.

A run finds the hours that changed since the last one, by the ledger, and the days of devices that these hours touch. It
makes one day after the other again, from the day's rows and from what is stored of the day before, and writes what
differs from what is stored. Where that changes what a device takes over into the next day, it makes that one, too, and
so on until nothing differs. So any order of loads leads to the same tables, and a run needs the memory of a day.

What a run has still to make is in a table. It gets there before the hours are noted as seen, and before anything is
written that it follows from. It leaves the table when all of its day is written. So a run that was killed is finished
by the next one, also in a warehouse that can't write everything of a day in one transaction.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass, replace
from datetime import date, datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo

from ayla_provider.domain.tables import TEXT, ColumnType
from ayla_provider.errors import AylaConfigError
from ayla_provider.models import tables
from ayla_provider.models.macros import Macros
from ayla_provider.models.parts import HOUR, Window
from ayla_provider.models.sql import MAKE, FleetSql
from ayla_provider.models.tables import Model
from ayla_provider.models.values import STATE_TYPES

log = logging.getLogger(__name__)

CHANGES_KEPT = timedelta(days=30)
"""How long the list of changed days is kept."""

EVENT_TYPES = ("datapoint", "datapoint_ack", "connection", "location", "registration", "activation")
"""The event types that the models are made from."""

_STATES = ("connection", "datapoint")
"""The event types whose missing hours make a state or a value unknown."""

_ONE_DAY = timedelta(days=1)


@dataclass(frozen=True, slots=True)
class FleetReport:
    """What a run of the models changed, also in earlier tries of the same run."""

    hours: int
    """Hours of the tables that changed since the last run."""
    recomputed: int
    """Days of devices that this try made again."""
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
            "recomputed": self.recomputed,
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
    opened: Callable[[date, Window], None] = lambda day, window: None
    """Is told which day is to be made, before its rows and what is stored of it are read."""
    differs: Callable[[Model, str, str], None] = lambda model, gone, come: None
    """Is told where the rows are that a model loses and gets, before anything is concluded from them."""
    create: Callable[[str, str], str] = lambda name, select: f"create temporary table {name} as {select}"
    """Returns the statement that makes a temporary table of a query, by its name and the query."""
    writing: Callable[[], AbstractContextManager[None]] = nullcontext
    """Returns the context in which some statements that change tables are one, if ``transaction`` doesn't do that."""


_EVENTS = ("datapoints", "acks", "connections", "registrations", "activity", "days", "connection_spans", "values_")
"""What is read once for all models of a day, each after what it is made from."""

_STAGED = ("now", "fleet_diff", "new_days", "scope", "runs", "changed_days", "next_pending", "left", *_EVENTS)
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
        self._recomputed = 0
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
        with self._locked():
            hours = self._find()
        is_pending = True
        while is_pending:
            with self._locked():
                is_pending = self._make_next_day()
        with self._locked():
            self._forget_changes()
            return self._report(hours)

    @contextmanager
    def _locked(self) -> Iterator[None]:
        """Begin a transaction in which no other run works on the models."""
        with self._engine.transaction():
            self._engine.lock()
            yield

    # What changed.

    def _find(self) -> int:
        """Note what is to be made. Return how many hours changed."""
        sql, run, seen = self._sql, self._engine.run, self._name("fleet_hours")
        ((others,),) = self._engine.fetch(f"select count(*) from {seen} where made <> '{self._made}'")
        if others:
            # The days of another time zone are other days.
            # What says that there is something to do goes last.
            for model in (*tables.STORED, tables.PENDING, tables.HOUR_DAYS, tables.HOURS_SEEN):
                run(f"delete from {self._name(model.name)} where true")
        kinds = ", ".join(f"'{kind}'" for kind in sql.columns)
        self._stage("now", f"select * from ({sql.hours_now()}) as hours_now where event_type in ({kinds})")
        self._stage(
            "fleet_diff",
            "select coalesce(n.event_type, o.event_type) as event_type, "
            "coalesce(n.folder_hour, o.folder_hour) as folder_hour, n.signature, n.known, "
            "o.signature as old_signature, "
            "case when n.signature = o.signature then 0 else 1 end as rows_changed, "
            "case when coalesce(n.known, 0) = coalesce(o.known, 0) then 0 else 1 end as known_changed "
            f"from {self._name('now')} as n full outer join {seen} as o "
            "on n.event_type = o.event_type and n.folder_hour = o.folder_hour "
            "where n.signature is null or o.signature is null or n.signature <> o.signature or n.known <> o.known",
        )
        ((hours,),) = self._engine.fetch(f"select count(*) from {self._name('fleet_diff')}")
        if hours:
            days = (f"select * from ({sql.days_of_rows(kind)}) as of_{kind}" for kind in sql.columns)
            self._stage("new_days", " union all ".join(days))
            self._note_pending()
            self._write_owners()
            self._write_acked()
            with self._engine.writing():
                self._note_hours()
        return int(hours)

    def _note_pending(self) -> None:
        """Note the days that the changed hours touch: of single devices, or, where ``dsn`` is null, of all."""
        macros, diff, pending = self._engine.macros, self._name("fleet_diff"), self._name("fleet_pending")
        nobody = macros.cast("null", TEXT)
        insert = f"insert into {pending} (dsn, day, last_day)"
        self._engine.run(f"{insert} select distinct dsn, day, day from {self._name('new_days')}")
        # Rows that are gone can be of any device.
        self._engine.run(
            f"{insert} select distinct {nobody}, days.day, days.day from {self._name('fleet_hour_days')} as days "
            f"join {diff} as d on d.event_type = days.event_type and d.folder_hour = days.folder_hour "
            "where d.rows_changed = 1"
        )
        start = macros.micros("folder_hour")
        first, last = self._day_of(start), self._day_of(f"{start} + {HOUR - 1}")
        kinds = ", ".join(f"'{kind}'" for kind in _STATES)
        self._engine.run(
            f"{insert} select distinct {nobody}, {first}, {last} from {diff} "
            f"where known_changed = 1 and event_type in ({kinds})"
        )
        self._note_awaited(insert)
        self._note_horizon(f"{insert} select {nobody}")

    def _note_awaited(self, insert: str) -> None:
        """Note the days of the commands whose answers become known to be missing, or no longer are."""
        macros, diff = self._engine.macros, self._name("fleet_diff")
        start = macros.micros("folder_hour")
        changed = f"from {diff} where event_type = 'datapoint_ack' and known_changed = 1"
        ((first, last),) = self._engine.fetch(f"select min({start}), max({start}) {changed}")
        if first is None:
            return
        # An answer is awaited in the hour of a command, and in the one after it.
        begin, end = (macros.moment(str(int(at))) for at in (first - HOUR, last + HOUR))
        commanded = macros.micros("t.commanded_at")
        hour = f"({macros.quotient(commanded, str(HOUR))}) * {HOUR}"
        day = macros.local_day("t.commanded_at", self._sql.zone)
        self._engine.run(
            f"{insert} select distinct t.dsn, {day}, {day} from {self._name('command_sent')} as t "
            f"where t.commanded_at >= {begin} and t.commanded_at < {end} "
            f"and {hour} in (select {start} {changed} union all select {start} - {HOUR} {changed})"
        )

    def _note_horizon(self, insert: str) -> None:
        """Note the days that begin to exist, or end to, because the last known hour of connections is another one."""
        bounds = []
        for name in ("fleet_hours", "now"):
            last_moment = f"{self._engine.macros.micros('folder_hour')} + {HOUR - 1}"
            ((found,),) = self._engine.fetch(
                f"select max({self._day_of(last_moment)}) from {self._name(name)} "
                "where event_type = 'connection' and known = 1"
            )
            bounds.append(found)
        if bounds[0] == bounds[1]:
            return
        # The earlier of the two days exists before and after.
        skipped = _ONE_DAY
        if None in bounds:
            ((first,),) = self._engine.fetch(f"select min(day) from {self._name('device_activity')}")
            bounds = [bound if bound is not None else first for bound in bounds]
            skipped = timedelta()
        days = [_as_date(bound) for bound in bounds if bound is not None]
        if len(days) == 2:
            self._engine.run(f"{insert}, {self._date(min(days) + skipped)}, {self._date(max(days))}")

    def _note_hours(self) -> None:
        """Note the changed hours as seen, and the days of their rows."""
        run, diff = self._engine.run, self._name("fleet_diff")
        for name, condition in (("fleet_hours", ""), ("fleet_hour_days", " and d.rows_changed = 1")):
            table = self._name(name)
            run(
                f"delete from {table} as t where exists (select 1 from {diff} as d "
                f"where d.event_type = t.event_type and d.folder_hour = t.folder_hour{condition})"
            )
        run(
            f"insert into {self._name('fleet_hours')} (event_type, folder_hour, signature, made, known) "
            f"select event_type, folder_hour, signature, '{self._made}', known from {diff} where signature is not null"
        )
        run(
            f"insert into {self._name('fleet_hour_days')} (event_type, folder_hour, day) "
            f"select distinct event_type, folder_hour, day from {self._name('new_days')}"
        )

    def _write_owners(self) -> None:
        """Write who owned devices whose registrations changed, and note the days on which the owner is another one."""
        engine, model, diff = self._engine, tables.DEVICE_OWNER, self._name("fleet_diff")
        changed = f"from {diff} where event_type = 'registration' and rows_changed = 1"
        ((hours, gone_hours),) = engine.fetch(f"select count(*), count(old_signature) {changed}")
        if not hours:
            return
        devices = f"select dsn from {self._name('new_days')} where event_type = 'registration'"
        if gone_hours:
            devices += f" union distinct select dsn from {self._name(model.name)}"
        self._stage("scope", f"select distinct dsn from ({devices}) as devices")
        self._sql = replace(self._sql, scoped=True, window=None)
        self._stage("registrations", self._sql.registrations())
        with self._difference(model, self._sql.device_owner(), "true") as (gone, come):
            end = engine.macros.micros(engine.macros.day_start(engine.macros.next_day("t.day"), self._sql.zone))
            owned_from, owned_to = engine.macros.micros("o.owned_from"), engine.macros.micros("o.owned_to")
            # The owners as they will be.
            made = engine.temporary(f"made_{model.name}")
            engine.run(
                f"insert into {self._name('fleet_pending')} (dsn, day, last_day) "
                f"select distinct t.dsn, t.day, t.day from {self._name('device_day')} as t "
                f"join (select dsn from {gone} union distinct select dsn from {come}) as changed "
                "on changed.dsn = t.dsn "
                f"left join {made} as o on o.dsn = t.dsn and {owned_from} < {end} "
                f"and (o.owned_to is null or {owned_to} >= {end}) "
                "where t.user_uuid is distinct from o.user_uuid"
            )

    def _write_acked(self) -> None:
        """Write which properties are ever answered, and note the days of their commands, which appear or go."""
        engine, model = self._engine, tables.ACKED
        ((hours,),) = engine.fetch(
            f"select count(*) from {self._name('fleet_diff')} where event_type = 'datapoint_ack' and rows_changed = 1"
        )
        if not hours:
            return
        self._sql = replace(self._sql, scoped=False, window=None)
        with self._difference(model, self._sql.acked_property(), "true") as (gone, come):
            names = "oem_model, property_name"
            changed = f"select {names} from {gone} union distinct select {names} from {come}"
            day = engine.macros.local_day("sent.commanded_at", self._sql.zone)
            self._stage(
                "changed_days",
                f"select distinct sent.dsn, {day} as day from {self._name('command_sent')} as sent "
                f"join ({changed}) as changed on changed.oem_model is not distinct from sent.oem_model "
                "and changed.property_name is not distinct from sent.property_name",
            )
            self._note_changes()
            engine.run(
                f"insert into {self._name('fleet_pending')} (dsn, day, last_day) "
                f"select dsn, day, day from {self._name('changed_days')}"
            )

    # The models.

    def _bounds(self) -> tuple[date | None, date | None]:
        """Return the last day that is known, and the last one that has rows or is known."""
        ((known, rows),) = self._engine.fetch(
            f"select (select max({self._day_of('ends - 1')}) from {self._name('runs')}), "
            f"(select max(day) from {self._name('fleet_hour_days')})"
        )
        days = [_as_date(day) for day in (known, rows) if day is not None]
        return (_as_date(known) if known is not None else None), max(days, default=None)

    def _make_next_day(self) -> bool:
        """Make the first day that is to be made. Return whether there was one."""
        pending = self._name("fleet_pending")
        ((found,),) = self._engine.fetch(f"select min(day) from {pending}")
        if found is None:
            return False
        day = _as_date(found)
        # An erasure can have changed the hours since the last day.
        self._stage("runs", self._sql.runs())
        known_to, last_day = self._bounds()
        window = self._open_window(day)
        self._stage("changed_days", f"select dsn, day from {pending} where 1 = 0")
        self._stage("next_pending", f"select dsn, day, last_day from {pending} where 1 = 0")
        for name in _EVENTS:
            self._stage(name, getattr(self._sql, name)())
        for model in tables.OF_DAYS:
            with self._difference(model, getattr(self._sql, model.name)(), self._stored(model, window)) as (gone, come):
                self._list_changes(model, gone, come)
                if model is tables.DEVICE_DAY:
                    self._carry_states(day, gone, come)
                elif model is tables.PROPERTY_VALUE:
                    self._carry_values(day, window, known_to or day, gone, come)
                self._note_changes()
                self._note_ahead(last_day or day)
        self._stage_left(day)
        self._write_devices(day)
        with self._difference(tables.MODEL_DAY, self._sql.model_day(), f"t.day = {self._date(day)}"):
            pass
        with self._engine.writing():
            self._engine.run(f"delete from {pending} where true")
            self._engine.run(
                f"insert into {pending} (dsn, day, last_day) select dsn, day, last_day from {self._name('left')}"
            )
        return True

    def _open_window(self, day: date) -> Window:
        """Stage which devices are to be made on a day, and find where its rows are."""
        macros, fetch, zone = self._engine.macros, self._engine.fetch, self._sql.zone
        this, after = self._date(day), self._date(day + _ONE_DAY)
        ((starts, ends),) = fetch(
            f"select {macros.micros(macros.day_start(this, zone))}, {macros.micros(macros.day_start(after, zone))}"
        )
        reads, reads_to = starts // HOUR * HOUR, -(-ends // HOUR) * HOUR
        pending = self._name("fleet_pending")
        ((everyone,),) = fetch(f"select count(*) from {pending} where day = {this} and dsn is null")
        devices = f"select dsn from {pending} where day = {this} and dsn is not null"
        if everyone:
            devices += f" union distinct select dsn from {self._name('device_activity')} where day <= {this}"
        self._stage("scope", f"select distinct dsn from ({devices}) as devices")
        ((count,),) = fetch(f"select count(*) from {self._name('scope')}")
        self._recomputed += int(count)
        # An hour can be on two days.
        days = [this] if (reads, reads_to) == (starts, ends) else [self._date(day - _ONE_DAY), this, after]
        hours: dict[str, list[str]] = {}
        for kind, hour in fetch(
            f"select distinct event_type, {macros.micros('folder_hour')} from {self._name('fleet_hour_days')} "
            f"where day in ({', '.join(days)})"
        ):
            hours.setdefault(kind, []).append(macros.moment(str(int(hour))))
        window = Window(this, self._date(day - _ONE_DAY), int(starts), int(ends), int(reads), int(reads_to), hours)
        self._sql = replace(self._sql, scoped=True, window=window)
        self._engine.opened(day, window)
        return window

    def _stored(self, model: Model, window: Window) -> str:
        """Return the condition of the stored rows ``t`` that can be made again in the window."""
        moment = self._engine.macros.moment
        match model.name:
            case "property_value":
                reads, end = moment(str(window.reads)), moment(str(window.reads_to))
                return f"t.valid_from < {end} and (t.valid_to is null or t.valid_to >= {reads})"
            case "property_hour":
                return f"t.hour >= {moment(str(window.reads))} and t.hour < {moment(str(window.reads_to))}"
            case "command_sent":
                starts, end = moment(str(window.starts)), moment(str(window.ends))
                return f"t.commanded_at >= {starts} and t.commanded_at < {end}"
            case _:
                return f"t.day = {window.day}"

    def _list_changes(self, model: Model, gone: str, come: str) -> None:
        """List the days of the rows that differ."""
        day = model.day
        if day != "day":
            day = self._engine.macros.local_day(day, self._sql.zone)
        self._engine.run(
            f"insert into {self._name('changed_days')} (dsn, day) "
            f"select dsn, {day} from {gone} union distinct select dsn, {day} from {come}"
        )

    def _carry_states(self, day: date, gone: str, come: str) -> None:
        """Note the next day of the devices that take over another state, or model, from this day."""
        names = "dsn, oem_model, state_at_end, state_since"
        either = f"select {names} from {gone} union all select {names} from {come}"
        changed = f"select dsn from ({either}) as either group by {names} having count(*) = 1"
        after = self._date(day + _ONE_DAY)
        self._engine.run(
            f"insert into {self._name('next_pending')} (dsn, day, last_day) "
            f"select distinct dsn, {after}, {after} from ({changed}) as changed"
        )

    def _carry_values(self, day: date, window: Window, known_to: date, gone: str, come: str) -> None:
        """Note the days after this one on which another value is valid, or for another time."""
        macros = self._engine.macros
        border = macros.moment(str(window.ends))
        until = macros.local_day("valid_to", self._sql.zone)
        until = f"case when valid_to is null then {self._date(known_to)} else {until} end"
        names = "dsn, property_name, value, value_text, base_type, until"
        either = " union all ".join(
            f"select dsn, property_name, value, value_text, base_type, {until} as until from {rows} "
            f"where valid_from < {border} and (valid_to is null or valid_to >= {border})"
            for rows in (gone, come)
        )
        changed = f"select {names} from ({either}) as either group by {names} having count(*) = 1"
        after = self._date(day + _ONE_DAY)
        # Only a state has a row for each day on which it goes on.
        self._engine.run(
            f"insert into {self._name('next_pending')} (dsn, day, last_day) "
            f"select distinct dsn, case when base_type in {STATE_TYPES} then {after} else until end, until "
            f"from ({changed}) as changed where until >= {after}"
        )

    def _note_ahead(self, last_day: date) -> None:
        """Note the next days before the rows are written that they follow from."""
        self._engine.run(
            f"insert into {self._name('fleet_pending')} (dsn, day, last_day) "
            f"select dsn, day, last_day from {self._name('next_pending')} where day <= {self._date(last_day)}"
        )

    def _stage_left(self, day: date) -> None:
        """Stage what is pending after this day."""
        pending, this, after = self._name("fleet_pending"), self._date(day), self._date(day + _ONE_DAY)
        left = (
            f"select dsn, case when day = {this} then {after} else day end as day, last_day from {pending} "
            f"where last_day > {this}"
        )
        self._stage("left", f"select dsn, day, max(last_day) as last_day from ({left}) as pending group by dsn, day")

    def _write_devices(self, day: date) -> None:
        """Write the rows of the devices that have no further day to make."""
        scope, pending, activity = self._name("scope"), self._name("left"), self._name("device_activity")
        ((everyone,),) = self._engine.fetch(f"select count(*) from {pending} where dsn is null")
        left = f"select dsn from {pending} where dsn is not null"
        if everyone:
            # Their turn comes with a later day.
            left += f" union distinct select dsn from {activity} where day <= {self._date(day)}"
        finished = self._engine.temporary("finished")
        self._create(finished, f"select dsn from {scope} where dsn not in ({left})")
        self._stage("scope", f"select dsn from {finished}")
        self._engine.run(f"drop table {finished}")
        with self._difference(tables.DEVICE, self._sql.device(), "true"):
            pass

    @contextmanager
    def _difference(self, model: Model, select: str, stored: str) -> Iterator[tuple[str, str]]:
        """
        Find what differs between rows that are made and rows that are stored. Yield where it is, and then write it.

        :param stored: the condition of the stored rows ``t`` that can be made again; it must not read the table
        """
        temporary, run, create = self._engine.temporary, self._engine.run, self._create
        table = self._name(model.name)
        was, made, gone, come = (temporary(f"{part}_{model.name}") for part in ("was", "made", "gone", "come"))
        differs = temporary(f"differs_{model.name}")
        columns = ", ".join(model.names)
        of_scope = ""
        if self._sql.scoped and "dsn" in model.names:
            of_scope = f" join {self._name('scope')} as scope on scope.dsn = t.dsn"
        stored_columns = ", ".join(f"t.{name}" for name in model.names)
        create(was, f"select {stored_columns} from {table} as t{of_scope} where {stored}")
        create(made, f"select {columns} from ({select}) as made")
        create(
            differs,
            f"select {columns}, sum(side) as side from "
            f"(select *, 1 as side from {made} union all select *, -1 as side from {was}) as either "
            f"group by {columns} having sum(side) <> 0",
        )
        create(gone, f"select {columns} from {differs} where side < 0")
        create(come, f"select {columns} from {differs} where side > 0")
        self._engine.differs(model, gone, come)
        yield gone, come
        same = " and ".join(self._same(f"gone.{name}", f"t.{name}", name) for name in model.key)
        with self._engine.writing():
            run(f"delete from {table} as t where {stored} and exists (select 1 from {gone} as gone where {same})")
            run(f"insert into {table} ({columns}) select {columns} from {come}")
        for name in (was, made, differs, gone, come):
            run(f"drop table {name}")

    def _same(self, one: str, other: str, name: str) -> str:
        """Return the condition that two columns are the same, also if both are empty."""
        if name in ("dsn", "day", "hour", "owned_from", "time_uuid"):
            # These are never empty. Engines join by them faster.
            return f"{one} = {other}"
        return f"{one} is not distinct from {other}"

    # What is said of it.

    def _note_changes(self) -> None:
        """Write the days that changed into the list of changes."""
        engine, changes = self._engine, self._name("fleet_changes")
        run_id = engine.parameter("run_id", TEXT)
        engine.run(
            f"insert into {changes} (run_id, changed_at, dsn, day) select {run_id}, "
            f"{engine.parameter('changed_at', ColumnType.TIMESTAMP)}, dsn, day "
            f"from (select distinct dsn, day from {self._name('changed_days')}) as days "
            f"where not exists (select 1 from {changes} as known where known.run_id = {run_id} "
            "and known.dsn = days.dsn and known.day = days.day)",
            {"run_id": self._run_id, "changed_at": self._now},
        )

    def _forget_changes(self) -> None:
        """Remove old changes from the list, and those of devices that no longer exist."""
        self._engine.run(
            f"delete from {self._name('fleet_changes')} "
            f"where changed_at < {self._engine.parameter('kept_from', ColumnType.TIMESTAMP)} "
            f"or dsn not in (select dsn from {self._name('device')})",
            {"kept_from": self._now - CHANGES_KEPT},
        )

    def _report(self, hours: int) -> FleetReport:
        ((devices, days, first, last),) = self._engine.fetch(
            "select count(distinct dsn), count(*), min(day), max(day) "
            f"from {self._name('fleet_changes')} where run_id = {self._engine.parameter('run_id', TEXT)}",
            {"run_id": self._run_id},
        )
        bounds = (_as_date(bound) if bound is not None else None for bound in (first, last))
        return FleetReport(hours, self._recomputed, int(devices), int(days), *bounds)

    # Small parts.

    def _day_of(self, micros: str) -> str:
        macros = self._engine.macros
        return macros.local_day(macros.moment(micros), self._sql.zone)

    def _date(self, day: date) -> str:
        return self._engine.macros.cast(f"'{day:%Y-%m-%d}'", ColumnType.DATE)

    def _stage(self, name: str, select: str) -> None:
        temporary = self._name(name)
        self._engine.run(f"drop table if exists {temporary}")
        self._create(temporary, select)
        self._engine.staged(temporary)

    def _create(self, name: str, select: str) -> None:
        self._engine.run(self._engine.create(name, select))


def _as_date(found: Any) -> date:
    return found if isinstance(found, date) else date.fromisoformat(str(found)[:10])
