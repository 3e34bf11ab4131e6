"""The SQL that all warehouses share. Their dialects hold what differs."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, replace

from ayla_provider.domain.tables import Column, ColumnType, Table

_SAME_TIME_HOURS = 24
"""How far the times of creation of rows with one id can be apart. A time in a wrong zone is still within it."""


@dataclass(frozen=True)
class Dialect:
    """
    How a warehouse spells things.

    :param types: its type for each of ours
    :param day: the UTC day of a timestamp, as a date
    :param seconds: the whole seconds from one timestamp to another
    :param hours_later: the timestamp some hours after one, or before it
    :param parameter: a statement's parameter, by its name and type
    :param quote: the character on both sides of a name
    :param escape: a name as it is between the quotes
    :param fold: a name as the warehouse reads it without quotes
    :param sha256: the SHA-256 of a text, in lower-case hexadecimal
    """

    types: Mapping[ColumnType, str]
    day: Callable[[str], str]
    seconds: Callable[[str, str], str]
    hours_later: Callable[[str, int], str]
    parameter: Callable[[str, ColumnType], str]
    quote: str = '"'
    escape: Callable[[str], str] = lambda name: name.replace('"', '""')
    fold: Callable[[str], str] = str
    sha256: Callable[[str], str] = lambda text: f"sha256({text})"

    def name(self, *parts: str) -> str:
        """Return a qualified name, quoted."""
        escaped = (self.escape(self.fold(part)) for part in filter(None, parts))
        return ".".join(f"{self.quote}{name}{self.quote}" for name in escaped)

    def names(self, columns: Iterable[Column | str]) -> str:
        """Return a list of columns, quoted."""
        names = (column if isinstance(column, str) else column.name for column in columns)
        return ", ".join(map(self.name, names))

    def definition(self, column: Column) -> str:
        """Return a column's definition, as in ``create table``."""
        return f"{self.name(column.name)} {self.types[column.type]}"


@dataclass(frozen=True, slots=True)
class View:
    """
    A view for analysts.

    :param name: without the prefix
    :param select: its query
    """

    name: str
    description: str
    select: str


def with_percent_signs(statement: str, values: Mapping[str, object] | None) -> str:
    """
    Return a statement for a driver that reads ``%`` as the start of a parameter as soon as there are values.

    :param values: the values by name; each ``%(name)s`` stays a parameter, and any other ``%`` is itself, as in a name
    """
    if not values:
        return statement
    parameter = "|".join(re.escape(f"({name})s") for name in values)
    return re.sub(f"%(?!{parameter})", "%%", statement)


def with_existing_columns(table: Table, existing: Iterable[str]) -> Table:
    """
    Return a table with all columns that exist in the warehouse, as the base of its views.

    The views are then the same for every task, whichever columns the task's hour has.

    :param existing: the names of the columns that exist, in their order
    """
    # A view doesn't depend on the types.
    columns = {name: Column(name, ColumnType.TEXT, "") for name in existing}
    for column in table.columns:
        columns.setdefault(column.name, column)
    return replace(table, columns=tuple(columns.values()))


def views_of(table: Table, relation: Callable[[str], str], dialect: Dialect) -> list[View]:
    """
    Return the views over a table, without those that need a column that a privacy policy dropped.

    A view may use the ones before it.

    :param relation: returns the qualified, quoted name of a table or view, by its name without the prefix
    """
    views = []
    has_unique = _has(table, table.identity) if table.identity else table.complete
    if has_unique:
        views.append(_unique(table, relation(table.event_type), dialect))
    if table.event_type == "datapoint" and _has(table, "dsn", "property_name", "created_at", "updated_at"):
        # A datapoint that was discarded later has an older row in another hour, which doesn't count.
        rows = relation("datapoint_unique" if has_unique else "datapoint")
        views.append(_latest_values(table, rows, dialect))
    if table.event_type == "connection" and _has(table, "dsn", "oem_model", "event_time", "status"):
        # It needs no unique rows: equal events are one.
        views.append(_online_sessions(relation("connection"), dialect))
    if table.event_type == "registration" and has_unique:
        views.append(_registrations_by_day(relation("registration_unique"), dialect))
    return views


def completeness(relation: Callable[[str], str], dialect: Dialect) -> View:
    """Return the view that says of each hour how complete the tables are, and the export, if a stream can tell."""
    name = dialect.name
    columns = ("event_type", "folder_hour", "state", "revision", "files", "lost_files", "lines")
    hours = ", ".join(f"hours.{name(column)} as {name(column)}" for column in columns)
    loads = ", ".join(f"loads.{name(column)} as {name(column)}" for column in ("rows", "duplicates", "quarantined"))
    compared = ", ".join(
        f"compared.{name(column)} as {name(alias)}"
        for column, alias in (("state", "compared"), ("only_stream", "only_stream"), ("only_export", "only_export"))
    )
    is_loaded = f"loads.{name('version')} is not null and loads.{name('version')} <> 'removed'"
    is_settled = f"hours.{name('state')} in ('landed', 'empty')"
    is_empty = f"hours.{name('state')} = 'empty'"
    return View(
        "completeness",
        "For each hour: what the archive has, what is loaded, whether that is all, and what a stream had.",
        f"select {hours}, {loads}, loads.{name('loaded_at')} as {name('loaded_at')}, "
        f"case when {is_empty} or ({is_loaded} and {is_settled}) then 1 else 0 end as {name('is_complete')}, "
        f"{compared} from {relation('hours')} as hours left join {relation('loads')} as loads "
        f"on loads.{name('event_type')} = hours.{name('event_type')} "
        f"and loads.{name('folder_hour')} = hours.{name('folder_hour')} "
        f"left join {relation('comparisons')} as compared "
        f"on compared.{name('event_type')} = hours.{name('event_type')} "
        f"and compared.{name('folder_hour')} = hours.{name('folder_hour')}",
    )


def _has(table: Table, *names: str) -> bool:
    return set(names) <= set(table.names)


def _unique(table: Table, relation: str, dialect: Dialect) -> View:
    """Return the view with each row once. Within an hour rows are unique, but two hours can hold the same row."""
    about = f"{table.description} Each once, also where two hours of the export hold it."
    name = f"{table.event_type}_unique"
    if table.identity is None:
        columns = dialect.names(table.data)
        hour = dialect.name("folder_hour")
        return View(name, about, f"select {columns}, min({hour}) as {hour} from {relation} group by {columns}")
    return View(name, about, _each_once(table, table.identity, relation, dialect))


def _each_once(table: Table, identity: str, relation: str, dialect: Dialect) -> str:
    """
    Return the query for the newest row of each identity.

    An engine applies a filter by hour or by device to the rows before it looks for newer ones. It can't do that below a
    window over the whole table.
    """
    name = dialect.name
    # An id belongs to one device.
    key = [identity, "dsn"] if _has(table, "dsn") else [identity]
    columns = ", ".join(f"t.{name(column)} as {name(column)}" for column in table.names)
    same = " and ".join(f"newer.{name(column)} = t.{name(column)}" for column in key)
    is_newer = _is_newer(table, dialect)

    def newest(where: str, than: str) -> str:
        return (
            f"select {columns} from {relation} as t where {where} and not exists ("
            f"select 1 from {relation} as newer where {same} and {than})"
        )

    has_time = _has(table, "created_at")
    whole = [*key[1:], "created_at"] if has_time else key[1:]
    is_whole = " and ".join(f"t.{name(column)} is not null" for column in whole)
    # Rows without an identity are all there. With a condition that is only "is not null", DuckDB would read the whole
    # table before it applies a filter by hour.
    first_rows = f"(t.{name(identity)} is null or {is_whole})" if whole else "true"
    if has_time:
        # An id also belongs to one time. So an engine looks only where rows of about that time are.
        created, of_newer = f"t.{name('created_at')}", f"newer.{name('created_at')}"
        first, last = dialect.hours_later(created, -_SAME_TIME_HOURS), dialect.hours_later(created, _SAME_TIME_HOURS)
        is_keyed = " and ".join(f"t.{name(column)} is not null" for column in key)
        parts = [
            newest(first_rows, f"{of_newer} >= {first} and {of_newer} <= {last} and {is_newer}"),
            newest(f"{is_keyed} and {created} is null", f"({of_newer} is not null or {is_newer})"),
        ]
    else:
        parts = [newest(first_rows, is_newer)]
    if len(key) == 1:
        return " union all ".join(parts)
    # They aren't equal to anything, so only a window finds the newest of them. There are few.
    order = [f"{name(column)} desc" for column in ("folder_hour", "source_object")]
    if _has(table, "updated_at"):
        updated = name("updated_at")
        order = [f"case when {updated} is null then 1 else 0 end", f"{updated} desc", *order]
    ranked = (
        f"select *, row_number() over (partition by {name(identity)} order by {', '.join(order)}) as standing "
        f"from {relation} where {name('dsn')} is null and {name(identity)} is not null"
    )
    return " union all ".join([*parts, f"select {columns} from ({ranked}) as t where standing = 1"])


def _is_newer(table: Table, dialect: Dialect) -> str:
    """Return the condition that the row ``newer`` is newer than the row ``t``: by update, then by hour."""
    hour, source = dialect.name("folder_hour"), dialect.name("source_object")
    later = f"(newer.{hour} > t.{hour} or newer.{hour} = t.{hour} and newer.{source} > t.{source})"
    if not _has(table, "updated_at"):
        return later
    updated = dialect.name("updated_at")
    return (
        f"(newer.{updated} > t.{updated} or newer.{updated} is not null and t.{updated} is null "
        f"or (newer.{updated} = t.{updated} or newer.{updated} is null and t.{updated} is null) and {later})"
    )


def _latest_values(table: Table, relation: str, dialect: Dialect) -> View:
    values = ("val_int", "val_decimal", "val_float", "val_boolean", "val_string")
    wanted = (
        "oem_model",
        "dsn",
        "property_name",
        "display_name",
        "base_type",
        "created_at",
        *values,
        "user_uuid",
        "direction",
    )
    columns = dialect.names(name for name in wanted if name in table.names)
    device, prop = dialect.name("dsn"), dialect.name("property_name")
    latest_first = ["created_at", "updated_at", "folder_hour", "source_object"]
    # Without "nulls last", some engines sort nulls first and others last.
    order = [f"{dialect.name(name)} desc nulls last" for name in latest_first if name in table.names]
    if _has(table, "time_uuid"):
        order.insert(1, f"{_time_of_id(table, dialect)} desc nulls last")
    condition = " and ".join([f"{dialect.name('created_at')} is not null", *_are_values(table, dialect)])
    return View(
        "latest_values",
        "The latest value of each property of each device.",
        f"select {columns} from (select *, row_number() over (partition by {device}, {prop} "
        f"order by {', '.join(order)}) as standing from {relation} where {condition}) as ranked where standing = 1",
    )


def _time_of_id(table: Table, dialect: Dialect) -> str:
    """
    Return an expression by which ids of version 1 are ordered as the times that they hold, in 100 ns.

    Its variant doesn't matter: no function of an engine is asked.
    """
    text = f"cast({dialect.name('time_uuid')} as {dialect.types[ColumnType.TEXT]})"
    high, middle, low = (f"substr({text}, {start}, {length})" for start, length in ((16, 3), (10, 4), (1, 8)))
    return f"case when substr({text}, 15, 1) = '1' then {high} || {middle} || {low} || {text} end"


def _are_values(table: Table, dialect: Dialect) -> Iterator[str]:
    """Yield the conditions of datapoints that are values of their property."""
    if _has(table, "discarded"):
        yield f"({dialect.name('discarded')} is null or not {dialect.name('discarded')})"
    if _has(table, "base_type", "closed"):
        kind = f"coalesce({dialect.name('base_type')}, '')"
        yield f"({kind} not in ('file', 'message') or {dialect.name('closed')})"


def _online_sessions(relation: str, dialect: Dialect) -> View:
    device, model, time = (dialect.name(name) for name in ("dsn", "oem_model", "event_time"))
    status = f"lower({dialect.name('status')})"
    # Files have whole seconds. Of a second that has both states, nobody knows which one came first.
    events = (
        f"select {device}, {time}, min({model}) as {model}, min({status}) as state from {relation} "
        f"where {device} is not null and {time} is not null and {status} in ('online', 'offline') "
        f"group by {device}, {time} having min({status}) = max({status})"
    )
    per_device = f"over (partition by {device} order by {time})"
    changes = (
        f"select *, lead({time}) {per_device} as ended_at from (select *, lag(state) {per_device} as state_before "
        f"from ({events}) as events) as ordered where state_before is null or state_before <> state"
    )
    return View(
        "online_sessions",
        "From when to when each device was online; offline_at is empty while it still is.",
        f"select {device}, {model}, {time} as online_at, ended_at as offline_at, "
        f"{dialect.seconds(time, 'ended_at')} as seconds from ({changes}) as changes where state = 'online'",
    )


def _registrations_by_day(unique: str, dialect: Dialect) -> View:
    registered, model = dialect.name("registered"), dialect.name("oem_model")
    on, off = dialect.name("registered_at"), dialect.name("unregistered_at")
    happened = f"case when {registered} then coalesce({on}, {off}) else coalesce({off}, {on}) end"
    return View(
        "registrations_by_day",
        "How many devices of each model were registered and given up on each day, UTC.",
        f"select {dialect.day('happened_at')} as registration_day, {model}, "
        f"sum(case when {registered} then 1 else 0 end) as registered, "
        f"sum(case when {registered} then 0 else 1 end) as unregistered "
        f"from (select *, {happened} as happened_at from {unique} where {registered} is not null) as events "
        f"where happened_at is not null group by {dialect.day('happened_at')}, {model}",
    )
