"""
The SQL of the fleet models: the one source for the operators and for dbt.

Each method returns the select of one relation. Times are integers inside, microseconds since 1970, and become
timestamps at the end. Only :class:`~ayla_provider.models.macros.Macros` differ between engines.

With a *scope*, a select returns the rows from a day on, for each device from a day of its own, and takes over from the
stored tables what was before it. Without one, it returns everything. Both give the same rows.
"""

from __future__ import annotations

from collections.abc import Callable, Container, Iterable, Mapping
from dataclasses import dataclass

from ayla_provider.domain.tables import BOOLEAN, INTEGER, NUMBER, TABLES, TEXT, ColumnType
from ayla_provider.models import tables
from ayla_provider.models.macros import Macros

MAKE = "1"
"""Changes whenever the SQL here changes its results: the operators then make all models again."""

_SECOND, _MINUTE, _HOUR = 1_000_000, 60_000_000, 3_600_000_000
_UUID_EPOCH = 12_219_292_800_000_000
"""Microseconds from the beginning of the calendar, which UUIDs count from, to 1970."""

_ZERO_UUID = "'00000000-0000-0000-0000-000000000000'"
_STATE_TYPES = "('boolean', 'integer', 'string')"


@dataclass(frozen=True)
class FleetSql:
    """
    The selects of the models, in the SQL of one engine.

    :param macros: the engine's functions
    :param name: returns the full name of a relation, by its name without prefix
    :param zone: the time zone of days, as an SQL literal
    :param columns: event type to the columns that its table has. An event type without a table is left out
    :param types: the types of columns that aren't those of the canonical tables, such as hashed UUIDs: name to type
    :param scoped: whether the relation ``scope`` says which rows to make
    """

    macros: Macros
    name: Callable[[str], str]
    zone: str
    columns: Mapping[str, Container[str]]
    types: Mapping[str, ColumnType]
    scoped: bool = False
    has_seen: bool = False
    """Whether the table ``fleet_hours`` has the hours, and not only ledger and manifests."""
    first_moment: str = ""
    """With a scope, the first moment that any device of it reads, as an SQL literal: an engine can skip older rows."""
    first_hour: str = ""
    """With a scope, the first hour of a folder that has rows of it, as an SQL literal."""
    quote: Callable[[str], str] = str

    # Small parts.

    def _column(self, event_type: str, name: str, alias: str = "t") -> str:
        """Return a column of an event type's table; null if the table lacks it."""
        if name in self.columns[event_type]:
            return f"{alias}.{self.quote(name)}"
        return self.macros.cast("null", self.types.get(name, TABLES[event_type].column(name).type))

    def _columns(self, event_type: str, names: Iterable[str]) -> str:
        return ", ".join(f"{self._column(event_type, name)} as {name}" for name in names)

    def _null(self, column_type: ColumnType) -> str:
        return self.macros.cast("null", column_type)

    def _micros(self, expression: str) -> str:
        return self.macros.micros(expression)

    def _floor(self, micros: str, unit: int) -> str:
        return f"({self.macros.quotient(micros, str(unit))}) * {unit}"

    def _day(self, micros: str) -> str:
        return self.macros.local_day(self.macros.moment(micros), self.zone)

    def _uuid_micros(self, uuid: str) -> str:
        """
        Return the time in a UUID's bits; null if its version isn't 1.

        The vendor's ids don't have the variant that engines' own functions demand.
        """
        text = f"cast({uuid} as {self.macros.types[TEXT]})"
        digits = f"substr({text}, 16, 3) || substr({text}, 10, 4) || substr({text}, 1, 8)"
        micros = self.macros.quotient(self.macros.from_hex(f"({digits})"), "10")
        return f"case when substr({text}, 15, 1) = '1' then {micros} - {_UUID_EPOCH} end"

    def _event_time(self, second: str, uuid: str) -> str:
        """Return the time of an event: that of its UUID, if this is in the second of the column, or close to it."""
        start = self._floor(second, _SECOND)
        return (
            f"case when {uuid} is null or abs({uuid} - {second}) > {_MINUTE} then {second} "
            f"when {uuid} < {start} then {start} "
            f"when {uuid} > {start} + {_SECOND - 1} then {start} + {_SECOND - 1} else {uuid} end"
        )

    def _value(self, event_type: str) -> tuple[str, str]:
        """Return the numeric value and the text of a row."""
        number, boolean = self.macros.types[NUMBER], self._column(event_type, "val_boolean")
        parts = [
            f"cast({self._column(event_type, 'val_int')} as {number})",
            self._column(event_type, "val_decimal"),
            self._column(event_type, "val_float"),
            f"cast(case when {boolean} then 1 when not {boolean} then 0 end as {number})",
        ]
        value = f"coalesce({', '.join(parts)})"
        return value, f"case when {value} is null then {self._column(event_type, 'val_string')} end"

    def _source(self, event_type: str) -> str:
        """Return the rows of a table that can be in the scope, as ``t``."""
        table = f"{self.name(event_type)} as t"
        if not self.scoped:
            return table
        hours = f"select folder_hour from {self.name('scan')} where event_type = '{event_type}'"
        return (
            f"{table} join {self.name('scope')} as scope on scope.dsn = t.{self.quote('dsn')} "
            f"and t.{self.quote('folder_hour')} >= {self.first_hour} and t.{self.quote('folder_hour')} in ({hours})"
        )

    def _within(self, happened: str, bound: str) -> str:
        """Return the condition that a moment isn't before a bound of the scope."""
        return f"{happened} >= {bound}" if self.scoped else "true"

    def _bounds(self) -> str:
        """Return the columns that a staged row takes from the scope."""
        return ", scope.from_day, scope.starts, scope.reads" if self.scoped else ""

    # Staged events: each once, with the time of the event.

    def datapoints(self) -> str:
        """Return the datapoints: each once, also discarded ones."""
        kind = "datapoint"
        names = (
            "oem_id",
            "oem_model",
            "dsn",
            "property_name",
            "base_type",
            "time_uuid",
            "direction",
            "echo",
            "discarded",
            "closed",
            "user_uuid",
        )
        value, text = self._value(kind)
        raw = (
            f"select {self._columns(kind, names)}, {value} as value, {text} as value_text, "
            f"{self._micros(self._column(kind, 'created_at'))} as second_at, "
            f"{self._uuid_micros(self._column(kind, 'time_uuid'))} as uuid_at{self._bounds()}, "
            f"{self._standing(kind)} as standing "
            f"from {self._source(kind)} where t.{self.quote('dsn')} is not null"
        )
        timed = (
            f"select *, {self._event_time('second_at', 'uuid_at')} as happened from ({raw}) as raw "
            "where (standing = 1 or time_uuid is null) and second_at is not null"
        )
        is_value = (
            "property_name is not null and time_uuid is not null and not coalesce(discarded, false) "
            "and (base_type is null or base_type not in ('file', 'message') or coalesce(closed, false))"
        )
        return (
            f"select {', '.join(names)}, value, value_text, happened, {self._day('happened')} as day, "
            f"case when {is_value} then 1 else 0 end as is_value from ({timed}) as timed "
            f"where {self._within('happened', 'reads')}"
        )

    def _standing(self, event_type: str) -> str:
        """Return the rank of a row among those with its id: 1 is the newest."""
        updated = self._column(event_type, "updated_at")
        return (
            f"row_number() over (partition by t.{self.quote('dsn')}, {self._column(event_type, 'time_uuid')} "
            f"order by case when {updated} is null then 1 else 0 end, {updated} desc, "
            f"t.{self.quote('folder_hour')} desc, t.{self.quote('source_object')} desc)"
        )

    def acks(self) -> str:
        """Return the answers of devices: each once, with the time of the command and of the answer."""
        kind = "datapoint_ack"
        names = (
            "oem_id",
            "oem_model",
            "dsn",
            "property_name",
            "base_type",
            "time_uuid",
            "user_uuid",
            "ack_id",
            "ack_status",
            "ack_message",
        )
        value, text = self._value(kind)
        created, acked = self._column(kind, "created_at"), self._column(kind, "acked_at")
        raw = (
            f"select {self._columns(kind, names)}, {value} as value, {text} as value_text, "
            f"{self._micros(created)} as second_at, {self._micros(acked)} as acked_second_at, "
            f"{self._uuid_micros(self._column(kind, 'time_uuid'))} as uuid_at, "
            f"{self._uuid_micros(self._column(kind, 'ack_id'))} as acked_uuid_at{self._bounds()}, "
            f"{self._standing(kind)} as standing "
            f"from {self._source(kind)} where t.{self.quote('dsn')} is not null"
        )
        sent = f"case when second_at is not null then {self._event_time('second_at', 'uuid_at')} end"
        acked_at = (
            f"case when acked_second_at is not null then {self._event_time('acked_second_at', 'acked_uuid_at')} end"
        )
        timed = (
            f"select *, {sent} as sent_at, coalesce({acked_at}, {sent}) as happened from ({raw}) as raw "
            "where standing = 1 or time_uuid is null"
        )
        bound = (
            f"({self._within('sent_at', 'starts')} or {self._within('happened', 'starts')})" if self.scoped else "true"
        )
        return (
            f"select {', '.join(names)}, value, value_text, sent_at, happened, {self._day('happened')} as day "
            f"from ({timed}) as timed where happened is not null and {bound}"
        )

    def connections(self) -> str:
        """Return the messages about connections, each in its second."""
        kind = "connection"
        names = ("oem_id", "oem_model", "dsn")
        happened = self._floor(self._micros(self._column(kind, "event_time")), _SECOND)
        raw = (
            f"select {self._columns(kind, names)}, lower({self._column(kind, 'status')}) as state, "
            f"{happened} as happened{self._bounds()} from {self._source(kind)} "
            f"where t.{self.quote('dsn')} is not null and {self._column(kind, 'event_time')} is not null"
        )
        return (
            f"select distinct oem_id, oem_model, dsn, state, happened, {self._day('happened')} as day from "
            f"({raw}) as raw "
            f"where {self._within('happened', 'starts')}"
        )

    def registrations(self) -> str:
        """Return all registrations of the devices in the scope, however old they are: each once."""
        kind = "registration"
        names = ("oem_id", "oem_model", "dsn", "registered", "registration_type")
        on, off = self._column(kind, "registered_at"), self._column(kind, "unregistered_at")
        registered = self._column(kind, "registered")
        happened = (
            f"case when {registered} then coalesce({on}, {off}) when not {registered} then coalesce({off}, {on}) end"
        )
        user = self._column(kind, "user_uuid")
        text = f"cast({user} as {self.macros.types[TEXT]})"
        scope = f" join {self.name('scope')} as scope on scope.dsn = t.{self.quote('dsn')}" if self.scoped else ""
        return (
            f"select distinct {self._columns(kind, names)}, {user} as row_user, "
            f"case when {text} = {_ZERO_UUID} then null else {user} end as user_uuid, "
            f"{on} as registered_at, {off} as unregistered_at, {self._micros(happened)} as happened, "
            f"{self._day(self._micros(happened))} as day "
            f"from {self.name(kind)} as t{scope} where t.{self.quote('dsn')} is not null and {happened} is not null"
        )

    # Hours and days.

    def days_of_hours(self, event_type: str) -> str:
        """Return, for each device and hour of the relation ``fleet_diff``, the first and the last day of its events."""
        column, micros = self._column, self._micros
        dsn, hour = f"t.{self.quote('dsn')}", f"t.{self.quote('folder_hour')}"

        def read(second: str, uuid: str = "") -> str:
            """Return a time of each row, with the time in the id that belongs to it."""
            bits = self._uuid_micros(column(event_type, uuid)) if uuid else self._null(INTEGER)
            source = f"t.{self.quote(second)}" if event_type == "activation" else column(event_type, second)
            return (
                f"select {hour} as folder_hour, {dsn} as dsn, {micros(source)} as second_at, {bits} as uuid_at "
                f"from {self.name(event_type)} as t where {dsn} is not null and {hour} in ({changed})"
            )

        changed = (
            f"select folder_hour from {self.name('fleet_diff')} where event_type = '{event_type}' and rows_changed = 1"
        )
        match event_type:
            case "datapoint":
                times = [read("created_at", "time_uuid")]
            case "datapoint_ack":
                times = [read("created_at", "time_uuid"), read("acked_at", "ack_id")]
            case "registration":
                times = [read("registered_at"), read("unregistered_at")]
            case "location":
                times = [read("created_at")]
            case _:
                times = [read("event_time")]
        each = (
            f"select folder_hour, dsn, {self._event_time('second_at', 'uuid_at')} as happened "
            f"from ({' union all '.join(times)}) as each_time where second_at is not null"
        )
        return (
            f"select '{event_type}' as event_type, folder_hour, dsn, {self._day('min(happened)')} as first_day, "
            f"{self._day('max(happened)')} as last_day from ({each}) as each_event group by folder_hour, dsn"
        )

    def known_hours(self) -> str:
        """Return the hours that are there as a whole, or certainly empty."""
        hours = self.name("fleet_hours") if self.has_seen else f"({self.hours_now()}) as hours_now"
        return f"select event_type, {self._micros('folder_hour')} as starts from {hours} where known = 1"

    def hours_now(self) -> str:
        """Return the hours of ledger and manifests: what is in the tables, and whether it is all."""
        text = self.macros.types[TEXT]
        name = self.quote
        version, rows = name("version"), name("rows")
        key = (
            f"loads.{name('event_type')} = hours.{name('event_type')} and loads.{name('folder_hour')} = "
            f"hours.{name('folder_hour')}"
        )
        loads, hours = self.name("loads"), self.name("hours")
        return (
            f"select loads.{name('event_type')} as event_type, loads.{name('folder_hour')} as folder_hour, "
            f"loads.{version} || '|' || cast(loads.{rows} as {text}) as signature, "
            f"case when loads.{version} <> 'removed' and coalesce(hours.{name('state')}, 'landed') in "
            "('landed', 'empty') "
            f"then 1 else 0 end as known "
            f"from {loads} as loads left join {hours} as hours on {key} "
            f"union all select hours.{name('event_type')}, hours.{name('folder_hour')}, 'empty', 1 "
            f"from {hours} as hours left join {loads} as loads on {key} "
            f"where loads.{name('event_type')} is null and hours.{name('state')} = 'empty'"
        )

    def runs(self) -> str:
        """Return the spans of known hours that follow each other."""
        numbered = (
            "select event_type, starts, starts - "
            f"row_number() over (partition by event_type order by starts) * {_HOUR} as island "
            f"from ({self.known_hours()}) as known"
        )
        spans = (
            f"select event_type, min(starts) as starts, max(starts) + {_HOUR} as ends "
            f"from ({numbered}) as numbered group by event_type, island"
        )
        return f"select *, max(ends) over (partition by event_type) as horizon from ({spans}) as spans"

    def days(self) -> str:
        """Return the days of the scope, or all, with their bounds: days can have 23 or 25 hours."""
        sources = [
            f"select min(day) as day from {self.name('activity')}",
            f"select max(day) as day from {self.name('activity')}",
            f"select max({self._day('ends - 1')}) as day from {self.name('runs')}",
        ]
        if self.scoped:
            sources.append(f"select min(from_day) as day from {self.name('scope')}")
        bounds = f"select min(day) as day, max(day) as last_day from ({' union all '.join(sources)}) as bounds"
        if self.scoped:
            first = f"select min(from_day) from {self.name('scope')}"
            bounds = f"select ({first}) as day, max(day) as last_day from ({' union all '.join(sources)}) as bounds"
        start = self._micros(self.macros.day_start("day", self.zone))
        end = self._micros(self.macros.day_start(self.macros.next_day("day"), self.zone))
        return (
            f"with recursive each_day as ({bounds} union all "
            f"select {self.macros.next_day('day')}, last_day from each_day where day < last_day) "
            f"select day, {start} as starts, {end} as ends from each_day where day is not null"
        )

    # Models.

    def activity(self) -> str:
        """Return :data:`~ayla_provider.models.tables.ACTIVITY`, with times as integers."""
        zero = "0 as datapoints, 0 as discarded, 0 as registered, 0 as unregistered"
        never = f"{self._null(INTEGER)} as heard"
        parts = []
        event = "select dsn, day, oem_id, oem_model, happened"
        heard = "case when direction = 'output' or echo then happened end as heard"
        parts += [
            f"{event}, {heard}, 1 as datapoints, case when discarded then 1 else 0 end as discarded, 0 as registered, "
            f"0 as unregistered from {self.name('datapoints')}",
            f"{event}, happened as heard, {zero} from {self.name('acks')}",
            f"{event}, case when state = 'online' then happened end as heard, {zero} from {self.name('connections')}",
            f"{event}, {never}, 0 as datapoints, 0 as discarded, case when registered then 1 else 0 end as registered, "
            f"case when registered then 0 else 1 end as unregistered from {self.name('registrations')}",
        ]
        for kind, column in (("location", "created_at"), ("activation", "event_time")):
            if kind in self.columns and column in self.columns[kind]:
                happened = self._micros(f"t.{column}")
                parts.append(
                    f"select t.dsn, {self._day(happened)} as day, {self._plain(kind, 'oem_id')}, "
                    f"{self._plain(kind, 'oem_model')}, {happened} as happened, {never}, {zero} "
                    f"from {self._source(kind)} where t.dsn is not null and t.{column} is not null"
                )
        events = " union all ".join(parts)
        if self.scoped:
            events = (
                f"select events.* from ({events}) as events join {self.name('scope')} as scope "
                "on scope.dsn = events.dsn and events.day >= scope.from_day"
            )
        return (
            "select dsn, day, oem_id, oem_model, min(happened) as first_at, max(happened) as last_at, "
            "max(heard) as heard_at, "
            "sum(datapoints) as datapoints, sum(discarded) as discarded, sum(registered) as registered, "
            f"sum(unregistered) as unregistered from ({events}) as events group by dsn, day, oem_id, oem_model"
        )

    def _plain(self, kind: str, name: str) -> str:
        """Return a text column of a table that can lack it."""
        return f"t.{name}" if name in self.columns[kind] else f"{self._null(TEXT)} as {name}"

    def device_activity(self) -> str:
        """Return :data:`~ayla_provider.models.tables.ACTIVITY`."""
        times = ("first_at", "last_at", "heard_at")
        columns = [
            f"{self.macros.moment(name)} as {name}"
            if name in times
            else self._integer(name)
            if name not in ("dsn", "day", "oem_id", "oem_model")
            else name
            for name in tables.ACTIVITY.names
        ]
        return f"select {', '.join(columns)} from {self.name('activity')}"

    def _integer(self, expression: str, name: str = "") -> str:
        return f"{self.macros.cast(expression, INTEGER)} as {name or expression}"

    def device_owner(self) -> str:
        """Return :data:`~ayla_provider.models.tables.DEVICE_OWNER`."""
        order = (
            "partition by dsn order by happened, case when registered then 1 else 0 end, "
            f"case when row_user is null then 0 else 1 end, cast(row_user as {self.macros.types[TEXT]}), "
            "registration_type"
        )
        events = (
            f"select *, lag(registered) over ({order}) as was_registered, lag(user_uuid) over ({order}) as was_user, "
            f"row_number() over ({order}) as place from {self.name('registrations')}"
        )
        changes = (
            f"select * from ({events}) as events where case when registered "
            "then was_registered is null or not was_registered or user_uuid is distinct from was_user "
            "else coalesce(was_registered, false) end"
        )
        spans = f"select *, lead(happened) over (partition by dsn order by place) as ends from ({changes}) as changes"
        moment = self.macros.moment
        return (
            f"select dsn, {moment('happened')} as owned_from, {moment('ends')} as owned_to, user_uuid, "
            "registration_type "
            f"from ({spans}) as spans where registered and (ends is null or ends > happened)"
        )

    def device(self) -> str:
        """Return :data:`~ayla_provider.models.tables.DEVICE`, from what is stored of activity and owners."""
        activity, scope = self.name("device_activity"), self._of_scope
        seen = (
            "select t.dsn, min(first_at) as first_seen, max(last_at) as last_seen, max(heard_at) as last_heard "
            f"from {activity} as t{scope('t')} group by t.dsn"
        )
        owners = (
            f"select t.dsn, t.owned_from, t.owned_to, t.user_uuid, row_number() over (partition by t.dsn "
            f"order by t.owned_from desc) as newest from {self.name('device_owner')} as t{scope('t')}"
        )
        counts = (
            "select dsn, count(*) as registrations, count(distinct user_uuid) as owner_count "
            f"from ({owners}) as owners group by dsn"
        )
        registered = (
            "select dsn, min(case when registered then happened end) as first_at "
            f"from {self.name('registrations')} group by dsn"
        )
        # Only streams have activations.
        activated = f"select dsn, {self._null(INTEGER)} as happened from {self.name('registrations')} where 1 = 0"
        if "activation" in self.columns:
            activated = (
                f"select dsn, min({self._micros('event_time')}) as happened from {self.name('activation')} "
                "where dsn is not null group by dsn"
            )
        latest = {
            name: (
                f"select t.dsn, t.{name}, row_number() over (partition by t.dsn order by t.last_at desc, "
                f"t.{name} desc) "
                f"as standing from {activity} as t{scope('t')} where t.{name} is not null"
            )
            for name in ("oem_id", "oem_model")
        }
        moment = self.macros.moment
        return (
            "select seen.dsn as dsn, oems.oem_id as oem_id, models.oem_model as oem_model, seen.first_seen, "
            f"seen.last_seen, seen.last_heard, {moment('activated.happened')} as activated_at, "
            f"{moment('registered.first_at')} as first_registered_at, owner.owned_from as registered_at, "
            "owner.owned_to as unregistered_at, "
            "case when registered.dsn is null then null else owner.dsn is not null and owner.owned_to is null end "
            "as registered, case when owner.owned_to is null then owner.user_uuid end as user_uuid, "
            f"{self._integer('coalesce(counts.owner_count, 0)', 'owner_count')}, "
            f"{self._integer('coalesce(counts.registrations, 0)', 'registrations')} "
            f"from ({seen}) as seen "
            f"left join ({latest['oem_id']}) as oems on oems.dsn = seen.dsn and oems.standing = 1 "
            f"left join ({latest['oem_model']}) as models on models.dsn = seen.dsn and models.standing = 1 "
            f"left join ({activated}) as activated on activated.dsn = seen.dsn "
            f"left join ({registered}) as registered on registered.dsn = seen.dsn "
            f"left join ({owners}) as owner on owner.dsn = seen.dsn and owner.newest = 1 "
            f"left join ({counts}) as counts on counts.dsn = seen.dsn"
        )

    def _of_scope(self, alias: str) -> str:
        """Return the join that leaves the devices of the scope alone."""
        return f" join {self.name('scope')} as scope on scope.dsn = {alias}.dsn" if self.scoped else ""

    def connection_spans(self) -> str:
        """Return each state that a device took: from when, until when, what was before it, and since when it is so."""
        seconds = (
            "select dsn, happened, count(distinct state) as states, max(state) as state "
            f"from {self.name('connections')} where state in ('online', 'offline') group by dsn, happened"
        )
        events = (
            f"select dsn, happened, state, happened as since, 0 as carried from ({seconds}) as seconds where states = 1"
        )
        if self.scoped:
            # What the device was in just before the scope.
            yesterday = f"t.dsn = scope.dsn and {self.macros.next_day('t.day')} = scope.from_day"
            events += (
                f" union all select t.dsn, scope.starts, t.state_at_end, {self._micros('t.state_since')}, 1 "
                f"from {self.name('device_day')} as t join {self.name('scope')} as scope on {yesterday} "
                "where t.state_at_end <> 'unknown'"
            )
        order = "partition by dsn order by happened, carried desc"
        nexts = f"select *, lead(happened) over ({order}) as next_at from ({events}) as events"
        ends = (
            "select nexts.*, case when runs.ends is null then nexts.happened "
            "when nexts.next_at is null or nexts.next_at > runs.ends then runs.ends else nexts.next_at end as ends "
            f"from ({nexts}) as nexts left join {self.name('runs')} as runs on runs.event_type = 'connection' "
            "and nexts.happened >= runs.starts and nexts.happened < runs.ends"
        )
        befores = (
            f"select *, case when carried = 1 then null when lag(ends) over ({order}) = happened or "
            f"lag(carried) over ({order}) "
            f"= 1 and lag(happened) over ({order}) = happened then lag(state) over ({order}) end as "
            f"state_before from ({ends}) as ends"
        )
        begins = (
            "select *, case when carried = 1 or state_before is null or state_before <> state then since end as begun "
            f"from ({befores}) as befores"
        )
        groups = f"select *, count(begun) over ({order} rows unbounded preceding) as stretch from ({begins}) as begins"
        whole = f"select *, max(begun) over (partition by dsn, stretch) as state_since from ({groups}) as stretches"
        return (
            "select dsn, happened, state, ends, carried, state_before, state_since, "
            f"lag(state_since) over ({order}) as since_before from ({whole}) as whole"
        )

    def device_day(self) -> str:
        """Return :data:`~ayla_provider.models.tables.DEVICE_DAY`."""
        spans, days, runs = self.name("connection_spans"), self.name("days"), self.name("runs")
        # The days on which each device existed.
        horizon = f"select max(horizon) - 1 from {runs} where event_type = 'connection'"
        first = f"select dsn, min(day) as first_day from {self.name('activity')} group by dsn"
        if self.scoped:
            first = (
                "select scope.dsn, case when before.dsn is null then activity.first_day else scope.from_day end "
                f"as first_day from {self.name('scope')} as scope left join "
                f"(select dsn, min(day) as first_day from {self.name('activity')} group by dsn) as activity "
                "on activity.dsn = scope.dsn left join (select distinct t.dsn from "
                f"{self.name('device_activity')} as t "
                f"join {self.name('scope')} as scope on scope.dsn = t.dsn and t.day < scope.from_day) as before "
                "on before.dsn = scope.dsn"
            )
        frame = (
            f"select firsts.dsn, days.day, days.starts, days.ends from ({first}) as firsts join {days} as days "
            f"on days.day >= firsts.first_day and days.starts <= ({horizon})"
        )
        # How long each state lasted on each day.
        cut = (
            "case when spans.ends < days.ends then spans.ends else days.ends end - "
            "case when spans.happened > days.starts then spans.happened else days.starts end"
        )
        lasted = (
            f"select spans.dsn, days.day, sum(case when spans.state = 'online' then {cut} else 0 end) as online, "
            f"sum(case when spans.state = 'offline' then {cut} else 0 end) as offline, "
            "max(case when spans.ends >= days.ends then spans.state end) as state_at_end, "
            "max(case when spans.ends >= days.ends then spans.state_since end) as state_since "
            f"from {spans} as spans join {days} as days on spans.happened < days.ends and spans.ends > days.starts "
            "group by spans.dsn, days.day"
        )
        begun = (
            f"select dsn, {self._day('happened')} as day, count(*) as sessions, sum(case when state_before = 'offline' "
            f"and happened - since_before < {_MINUTE} then 1 else 0 end) as flaps from {spans} "
            "where state = 'online' and carried = 0 and (state_before is null or state_before = 'offline') "
            f"group by dsn, {self._day('happened')}"
        )
        seconds = (
            "select dsn, day, happened, count(distinct state) as states "
            f"from {self.name('connections')} where state in ('online', 'offline') group by dsn, day, happened"
        )
        messages = (
            "select dsn, day, sum(states) as messages, sum(case when states = 2 then 1 else 0 end) as flap_seconds "
            f"from ({seconds}) as seconds group by dsn, day"
        )
        owner = (
            f"select t.dsn, days.day, t.user_uuid from {self.name('device_owner')} as t{self._of_scope('t')} "
            f"join {days} as days on {self._micros('t.owned_from')} < days.ends "
            f"and (t.owned_to is null or {self._micros('t.owned_to')} >= days.ends)"
        )
        models = self._models_by_day(frame)

        def seconds_of(micros: str) -> str:
            return self.macros.quotient(micros, str(_SECOND))

        online, offline = (f"coalesce(lasted.{state}, 0)" for state in ("online", "offline"))
        length = "frame.ends - frame.starts"
        number = self.macros.types[NUMBER]
        unknown = f"({length}) - {online} - {offline}"
        return (
            "select frame.dsn, frame.day, models.oem_model, owner.user_uuid, "
            f"{self._integer(seconds_of(length), 'day_seconds')}, "
            f"{self._integer(seconds_of(online), 'online_seconds')}, "
            f"{self._integer(seconds_of(offline), 'offline_seconds')}, "
            f"{self._integer(seconds_of(unknown), 'unknown_seconds')}, "
            f"{self._integer('coalesce(begun.sessions, 0)', 'sessions')}, "
            f"{self._integer('coalesce(begun.flaps, 0) + coalesce(messages.flap_seconds, 0)', 'flaps')}, "
            f"{self._integer('coalesce(messages.messages, 0)', 'connection_events')}, "
            f"case when {online} + {offline} > 0 then cast({online} as {number}) / ({online} + {offline}) end "
            "as uptime_share, "
            f"cast({unknown} as {number}) / ({length}) as unknown_share, "
            "coalesce(lasted.state_at_end, 'unknown') as state_at_end, "
            f"{self.macros.moment('lasted.state_since')} as state_since "
            f"from ({frame}) as frame "
            f"left join ({models}) as models on models.dsn = frame.dsn and models.day = frame.day "
            f"left join ({owner}) as owner on owner.dsn = frame.dsn and owner.day = frame.day "
            f"left join ({lasted}) as lasted on lasted.dsn = frame.dsn and lasted.day = frame.day "
            f"left join ({begun}) as begun on begun.dsn = frame.dsn and begun.day = frame.day "
            f"left join ({messages}) as messages on messages.dsn = frame.dsn and messages.day = frame.day"
        )

    def _models_by_day(self, frame: str) -> str:
        """Return the model of each device at the end of each day: that of the latest event with one."""
        ranked = (
            "select dsn, day, oem_model, row_number() over (partition by dsn, day order by last_at desc, "
            "oem_model desc) "
            f"as standing from {self.name('activity')} where oem_model is not null"
        )
        seen = f"select dsn, day, oem_model from ({ranked}) as ranked where standing = 1"
        if self.scoped:
            before = (
                "select t.dsn, t.day, t.oem_model, row_number() over (partition by t.dsn order by t.day desc, "
                f"t.last_at desc, t.oem_model desc) as standing from {self.name('device_activity')} as t "
                f"join {self.name('scope')} as scope on scope.dsn = t.dsn and t.day < scope.from_day "
                "where t.oem_model is not null"
            )
            seen += f" union all select dsn, day, oem_model from ({before}) as earlier where standing = 1"
        # Each day takes over the model of the last day that has one.
        both = (
            f"select dsn, day, oem_model from ({seen}) as seen union all "
            f"select dsn, day, {self._null(TEXT)} from ({frame}) as frame"
        )
        daily = f"select dsn, day, max(oem_model) as oem_model from ({both}) as either group by dsn, day"
        groups = (
            "select *, count(oem_model) over (partition by dsn order by day rows unbounded preceding) as stretch "
            f"from ({daily}) as daily"
        )
        return (
            "select dsn, day, max(oem_model) over (partition by dsn, stretch) as oem_model from "
            f"({groups}) as stretches"
        )

    def values_(self) -> str:
        """Return the values of properties, with the time in which each was valid, as integers."""
        names = "dsn, property_name, time_uuid, value, value_text, base_type, direction, oem_model, echo"
        rows = (
            f"select {names}, happened, 0 as carried, {self._null(BOOLEAN)} as was_change "
            f"from {self.name('datapoints')} where is_value = 1"
        )
        if self.scoped:
            # The values that were still valid when the scope begins.
            stored = ", ".join(f"t.{name}" for name in names.split(", "))
            valid_to = self._micros("t.valid_to")
            rows += (
                f" union all select {stored}, {self._micros('t.valid_from')}, 1, t.is_change "
                f"from {self.name('property_value')} as t join {self.name('scope')} as scope on scope.dsn = t.dsn "
                f"where {self._micros('t.valid_from')} < scope.reads "
                f"and (t.valid_to is null or t.valid_to >= {self.first_moment} and {valid_to} >= scope.reads)"
            )
        # Engines order UUIDs as their texts.
        order = "partition by dsn, property_name order by happened, time_uuid"
        nexts = f"select *, lead(happened) over ({order}) as next_at from ({rows}) as every_value"
        ends = (
            "select nexts.*, runs.horizon, runs.ends as run_ends, case when runs.ends is null then nexts.happened "
            "when nexts.next_at is null or nexts.next_at > runs.ends then runs.ends else nexts.next_at end as ends "
            f"from ({nexts}) as nexts left join {self.name('runs')} as runs on runs.event_type = 'datapoint' "
            "and nexts.happened >= runs.starts and nexts.happened < runs.ends"
        )
        hour = self._floor("happened", _HOUR)
        befores = (
            f"select *, {hour} as hour, lag(ends) over ({order}) as ends_before, "
            f"lag(value) over ({order}) as value_before, lag(value_text) over ({order}) as text_before, "
            f"lag(happened) over ({order}) as at_before, {self._day('happened')} as day from ({ends}) as ends"
        )
        changed = (
            "ends_before is null or ends_before <> happened or value is distinct from value_before "
            "or value_text is distinct from text_before"
        )
        return (
            f"select *, case when next_at is null and run_ends = horizon then 1 else 0 end as is_open, "
            f"case when carried = 1 then was_change else {changed} end as is_change from ({befores}) as befores"
        )

    def property_value(self) -> str:
        """Return :data:`~ayla_provider.models.tables.PROPERTY_VALUE`."""
        moment = self.macros.moment
        return (
            f"select dsn, property_name, time_uuid, {moment('happened')} as valid_from, "
            f"{moment('case when is_open = 0 then ends end')} as valid_to, value, value_text, base_type, direction, "
            f"oem_model, echo, is_change from {self.name('values_')}"
        )

    def property_hour(self) -> str:
        """Return :data:`~ayla_provider.models.tables.PROPERTY_HOUR`."""
        uuid = "time_uuid"
        number = self.macros.types[NUMBER]
        placed = (
            f"select *, row_number() over (partition by dsn, property_name, hour order by happened, {uuid}) as place, "
            f"row_number() over (partition by dsn, property_name, hour order by happened desc, {uuid} "
            "desc) as place_back "
            f"from {self.name('values_')} where carried = 0"
        )
        hour_end = f"hour + {_HOUR}"
        # The value before the first one, if it lasts into an hour that is known.
        is_carried = "place = 1 and ends_before >= hour and at_before < hour and run_ends is not null"
        measured = (
            f"select *, case when ends < {hour_end} then ends else {hour_end} end - happened as lasts, "
            f"case when {is_carried} then 1 else 0 end as carries, "
            f"case when {is_carried} then ends_before - hour else 0 end as carried_lasts from ({placed}) as placed"
        )

        def seconds(micros: str) -> str:
            return f"cast({micros} as {number}) / {_SECOND}"

        def first(what: str) -> str:
            return f"max(case when place = 1 then {what} end)"

        def last(what: str) -> str:
            return f"max(case when place_back = 1 then {what} end)"

        own = f"coalesce(value * ({seconds('lasts')}), 0)"
        carried = f"coalesce(value_before * ({seconds('carried_lasts')}), 0)"
        weight = (
            "case when value is null then 0 else lasts end + case when value_before is null then 0 "
            "else carried_lasts end"
        )
        total = self.macros.total
        numbers = "count(value)"
        moment = self.macros.moment
        grouped = (
            f"select dsn, property_name, hour, {last('oem_model')} as oem_model, {last('base_type')} as base_type, "
            f"{last('direction')} as direction, count(*) as observations, "
            f"sum(case when echo then 1 else 0 end) as echoes, {numbers} as numbers, "
            f"{first('value')} as first_value, {last('value')} as last_value, "
            f"{first('value_text')} as first_text, {last('value_text')} as last_text, "
            "min(happened) as first_at, max(happened) as last_at, min(value) as min_value, max(value) as max_value, "
            f"{total('value', f'happened, {uuid}')} as sum_value, "
            "max(case when carries = 1 then value_before end) as carried_value, "
            "max(case when carries = 1 then text_before end) as carried_text, max(carries) as carries, "
            f"sum({weight}) as weight, {total(f'{own} + {carried}', f'happened, {uuid}')} as weighted "
            f"from ({measured}) as measured group by dsn, property_name, hour"
        )
        weighted_seconds = seconds("weight")
        return (
            f"select dsn, property_name, {moment('hour')} as hour, oem_model, base_type, direction, "
            f"{self._integer('observations')}, {self._integer('echoes')}, {self._integer('numbers')}, "
            f"first_value, last_value, first_text, last_text, {moment('first_at')} as first_at, "
            f"{moment('last_at')} as last_at, min_value, max_value, sum_value, "
            "case when numbers > 0 then sum_value / numbers end as mean_value, carried_value, carried_text, "
            f"carries = 1 as is_carried, {weighted_seconds} as weighted_seconds, "
            "case when weight > 0 then weighted end as weighted_sum, "
            f"case when weight > 0 then weighted / ({weighted_seconds}) end as weighted_mean from "
            f"({grouped}) as grouped"
        )

    def state_duration(self) -> str:
        """Return :data:`~ayla_provider.models.tables.STATE_DURATION`."""
        days = self.name("days")
        # A value is valid on the day on which it begins, and perhaps on further ones.
        begun = (
            "select v.dsn, v.property_name, v.value, v.value_text, days.day, "
            "case when v.ends < days.ends then v.ends else days.ends end - v.happened as lasts, "
            "case when v.is_change then 1 else 0 end as entries "
            f"from {self.name('values_')} as v join {days} as days on days.day = v.day "
            f"where v.base_type in {_STATE_TYPES}"
        )
        went_on = (
            "select v.dsn, v.property_name, v.value, v.value_text, days.day, "
            "case when v.ends < days.ends then v.ends else days.ends end - days.starts, 0 "
            f"from {self.name('values_')} as v join {days} as days on days.starts > v.happened and "
            "days.starts < v.ends "
            f"where v.base_type in {_STATE_TYPES}"
        )
        both = f"{begun} union all {went_on}"
        if self.scoped:
            both = (
                f"select pieces.* from ({both}) as pieces join {self.name('scope')} as scope "
                "on scope.dsn = pieces.dsn and pieces.day >= scope.from_day"
            )
        number = self.macros.types[NUMBER]
        return (
            "select dsn, property_name, day, value, value_text, "
            f"cast(sum(lasts) as {number}) / {_SECOND} as seconds, {self._integer('sum(entries)', 'entries')} "
            f"from ({both}) as pieces group by dsn, property_name, day, value, value_text "
            "having sum(lasts) > 0 or sum(entries) > 0"
        )

    def command_sent(self) -> str:
        """Return :data:`~ayla_provider.models.tables.SENT`."""
        sent, acks, runs = self.name("datapoints"), self.name("acks"), self.name("runs")
        names = "oem_model, property_name, base_type, user_uuid, value, value_text"
        of_sent = ", ".join(f"sent.{name}" for name in names.split(", "))
        of_acks = ", ".join(f"acks.{name}" for name in names.split(", "))
        answers = "acks.ack_id, acks.happened as acked_at, acks.ack_status, acks.ack_message, acks.dsn as acked_by"
        is_command = (
            "sent.direction = 'input' and not coalesce(sent.echo, false) and not coalesce(sent.discarded, false) "
            "and sent.property_name is not null and sent.time_uuid is not null"
        )
        same = "sent.dsn = acks.dsn and sent.time_uuid = acks.time_uuid"
        rows = (
            f"select sent.dsn, sent.time_uuid, {of_sent}, sent.happened as commanded_at, {answers} from {sent} as sent "
            f"left join {acks} as acks on {same} where {is_command}"
        )
        alone = (
            f"select acks.dsn, acks.time_uuid, {of_acks}, acks.sent_at, {answers} from {acks} as acks "
            f"left join {sent} as sent on {same} "
            "where sent.dsn is null and acks.sent_at is not null and acks.time_uuid is not null"
        )
        both = f"{rows} union all {alone}"
        if self.scoped:
            both = (
                f"select sent.* from ({both}) as sent join {self.name('scope')} as scope "
                "on scope.dsn = sent.dsn and sent.commanded_at >= scope.starts"
            )
        number, moment = self.macros.types[NUMBER], self.macros.moment
        known = f"runs.ends is not null and runs.ends >= {self._floor('sent.commanded_at', _HOUR)} + {2 * _HOUR}"
        late = "case when sent.acked_at > sent.commanded_at then sent.acked_at - sent.commanded_at else 0 end"
        return (
            "select sent.dsn, sent.time_uuid, sent.oem_model, sent.property_name, sent.base_type, sent.user_uuid, "
            f"{moment('sent.commanded_at')} as commanded_at, sent.value, sent.value_text, sent.ack_id, "
            f"{moment('sent.acked_at')} as acked_at, "
            f"case when sent.acked_by is not null then cast({late} as {number}) / {_SECOND} end as latency_seconds, "
            "sent.ack_status, sent.ack_message, "
            "case when sent.acked_by is not null and sent.ack_status between 200 and 299 then 'acknowledged' "
            "when sent.acked_by is not null then 'refused' "
            f"when {known} then 'unanswered' else 'unknown' end as outcome "
            f"from ({both}) as sent left join {runs} as runs on runs.event_type = 'datapoint_ack' "
            "and sent.commanded_at >= runs.starts and sent.commanded_at < runs.ends"
        )

    def acked_property(self) -> str:
        """Return :data:`~ayla_provider.models.tables.ACKED`."""
        kind = "datapoint_ack"
        return (
            f"select distinct {self._columns(kind, ('oem_model', 'property_name'))} from {self.name(kind)} as t "
            f"where t.{self.quote('dsn')} is not null "
            f"and coalesce({self._column(kind, 'acked_at')}, {self._column(kind, 'created_at')}) is not null"
        )

    def command(self) -> str:
        """Return :data:`~ayla_provider.models.tables.COMMAND`."""
        return (
            f"select {', '.join(f'sent.{name}' for name in tables.SENT.names)} from "
            f"{self.name('command_sent')} as sent "
            f"where exists (select 1 from {self.name('acked_property')} as acked "
            "where acked.oem_model is not distinct from sent.oem_model "
            "and acked.property_name is not distinct from sent.property_name)"
        )

    def model_day(self, since: str = "") -> str:
        """
        Return :data:`~ayla_provider.models.tables.MODEL_DAY`.

        :param since: the first day, as an SQL expression; empty for all days
        """
        zeros = {
            name: f"0 as {name}"
            for name in (
                "devices",
                "devices_online",
                "day_seconds",
                "online_seconds",
                "offline_seconds",
                "unknown_seconds",
                "sessions",
                "flaps",
                "datapoints",
                "discarded",
                "commands",
                "acknowledged",
                "refused",
                "unanswered",
                "latency_seconds",
                "registered",
                "unregistered",
            )
        }

        def part(day: str, relation: str, sums: Mapping[str, str]) -> str:
            columns = [f"{sums[name]} as {name}" if name in sums else zero for name, zero in zeros.items()]
            where = f" where {day} >= {since}" if since else ""
            return (
                f"select oem_model, {day} as day, {', '.join(columns)} from {relation} as t{where} "
                f"group by oem_model, {day}"
            )

        lasting = ("day_seconds", "online_seconds", "offline_seconds", "unknown_seconds", "sessions", "flaps")
        devices = {name: f"sum({name})" for name in lasting} | {
            "devices": "count(*)",
            "devices_online": "sum(case when online_seconds > 0 then 1 else 0 end)",
        }
        counted = ("datapoints", "discarded", "registered", "unregistered")
        commands = {
            "commands": "count(*)",
            "latency_seconds": self.macros.total("latency_seconds", "commanded_at, time_uuid"),
        } | {
            outcome: f"sum(case when outcome = '{outcome}' then 1 else 0 end)"
            for outcome in ("acknowledged", "refused", "unanswered")
        }
        commands["latency_seconds"] = f"coalesce({commands['latency_seconds']}, 0)"
        day = self.macros.local_day("commanded_at", self.zone)
        parts = [
            part("day", self.name("device_day"), devices),
            part("day", self.name("device_activity"), {name: f"sum({name})" for name in counted}),
            part(day, self.name("command"), commands),
        ]
        sums = ", ".join(f"sum({name}) as {name}" for name in zeros)
        total = f"select oem_model, day, {sums} from ({' union all '.join(parts)}) as parts group by oem_model, day"
        # A day without anything of a model has no row.
        number = self.macros.types[NUMBER]
        known, answered = "online_seconds + offline_seconds", "acknowledged + refused"
        integers = {name: self._integer(name) for name in zeros if name != "latency_seconds"}
        shares = {
            "uptime_share": f"case when {known} > 0 then cast(online_seconds as {number}) / ({known}) end "
            "as uptime_share",
            "unknown_share": "case when day_seconds > 0 then "
            f"cast(unknown_seconds as {number}) / day_seconds end as unknown_share",
            "latency_seconds": f"cast(latency_seconds as {number}) as latency_seconds",
            "mean_latency_seconds": f"case when {answered} > 0 then latency_seconds / ({answered}) end "
            "as mean_latency_seconds",
        }
        columns = ", ".join((integers | shares).get(name, name) for name in tables.MODEL_DAY.names)
        sources = ("devices", "datapoints", "commands", "registered", "unregistered")
        some = " or ".join(f"{name} > 0" for name in sources)
        return f"select {columns} from ({total}) as total where {some}"
