"""What the selects of the fleet models are put together from."""

from __future__ import annotations

from collections.abc import Callable, Container, Iterable, Mapping, Sequence
from dataclasses import dataclass

from ayla_provider.domain.tables import INTEGER, NUMBER, TABLES, TEXT, ColumnType
from ayla_provider.models.macros import Macros

SECOND, MINUTE, HOUR = 1_000_000, 60_000_000, 3_600_000_000
DAY = 24 * HOUR
COUNTS_BEFORE, COUNTS_AFTER = 366 * DAY, DAY
"""How far the time of a row can be before the start, and after the end, of its folder hour. Other rows don't count."""
UUID_EPOCH = 12_219_292_800_000_000
"""Microseconds from the beginning of the calendar, which UUIDs count from, to 1970."""


@dataclass(frozen=True, slots=True)
class Window:
    """
    The day that is made again.

    :param day: as an SQL expression, as all that follows
    :param starts: its first moment, in microseconds
    :param ends: the first moment of the next day
    :param reads: the start of the hour of its first moment
    :param reads_to: the end of the hour of its last moment
    :param hours: event type to the hours of folders that have its rows
    """

    day: str
    day_before: str
    starts: int
    ends: int
    reads: int
    reads_to: int
    hours: Mapping[str, Sequence[str]]


@dataclass(frozen=True)
class Parts:
    """
    What an engine and its tables are like, and expressions for them.

    :param macros: the engine's functions
    :param name: returns the full name of a relation, by its name without prefix
    :param zone: the time zone of days, as an SQL literal
    :param columns: event type to the columns that its table has. An event type without a table is left out
    :param types: the types of columns that aren't those of the canonical tables, such as hashed UUIDs: name to type
    :param quote: returns the quoted name of a column
    :param has_seen: whether the table ``fleet_hours`` has the hours, and not only ledger and manifests
    :param scoped: whether only the devices of the relation ``scope`` are made
    :param window: the day to make; None for all days
    """

    macros: Macros
    name: Callable[[str], str]
    zone: str
    columns: Mapping[str, Container[str]]
    types: Mapping[str, ColumnType]
    quote: Callable[[str], str] = str
    has_seen: bool = False
    scoped: bool = False
    window: Window | None = None

    def _column(self, event_type: str, name: str, alias: str = "t") -> str:
        """Return a column of an event type's table; null if the table lacks it."""
        if name in self.columns[event_type]:
            return f"{alias}.{self.quote(name)}"
        return self.macros.cast("null", self.types.get(name, TABLES[event_type].column(name).type))

    def _times(self, event_type: str) -> list[tuple[str, str]]:
        """Return the times of a row ``t``, each with the name of the id that holds its fraction, or an empty name."""
        match event_type:
            case "datapoint":
                return [(self._column(event_type, "created_at"), "time_uuid")]
            case "datapoint_ack":
                return [
                    (self._column(event_type, "created_at"), "time_uuid"),
                    (self._column(event_type, "acked_at"), "ack_id"),
                ]
            case "location":
                return [(self._column(event_type, "created_at"), "")]
            case "registration":
                names = ("registered", "registered_at", "unregistered_at")
                registered, on, off = (self._column(event_type, name) for name in names)
                time = (
                    f"case when {registered} then coalesce({on}, {off}) "
                    f"when not {registered} then coalesce({off}, {on}) end"
                )
                return [(time, "")]
            case "activation":
                # It isn't a table of the export.
                return [(f"t.{self.quote('event_time')}", "")]
            case _:
                return [(self._column(event_type, "event_time"), "")]

    def _counts(self, event_type: str) -> str:
        """
        Return the condition that the times of a row ``t`` are near its folder hour. Other rows aren't in the models.

        Otherwise, one stray time would let a run make all days from this time on. The limits are whole seconds, so
        the fraction of a second in an id makes no difference.
        """
        hour = self._micros(f"t.{self.quote('folder_hour')}")
        conditions = []
        for time, _ in self._times(event_type):
            after = f"{self._micros(time)} - {hour}"
            near = f"{after} >= -{COUNTS_BEFORE} and {after} < {HOUR + COUNTS_AFTER}"
            conditions.append(f"({time} is null or ({near}))")
        return " and ".join(conditions)

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
        return f"case when substr({text}, 15, 1) = '1' then {micros} - {UUID_EPOCH} end"

    def _event_time(self, second: str, uuid: str) -> str:
        """Return the time of an event: that of its UUID, if this is in the second of the column, or close to it."""
        start = self._floor(second, SECOND)
        return (
            f"case when {uuid} is null or abs({uuid} - {second}) > {MINUTE} then {second} "
            f"when {uuid} < {start} then {start} "
            f"when {uuid} > {start} + {SECOND - 1} then {start} + {SECOND - 1} else {uuid} end"
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

    def _plain(self, kind: str, name: str) -> str:
        """Return a text column of a table that can lack it."""
        return f"t.{name}" if name in self.columns[kind] else f"{self._null(TEXT)} as {name}"

    def _integer(self, expression: str, name: str = "") -> str:
        return f"{self.macros.cast(expression, INTEGER)} as {name or expression}"

    def _moment(self, micros: int) -> str:
        return self.macros.moment(str(micros))

    # The scope.

    def _source(self, event_type: str) -> str:
        """Return the rows of a table that the scope can need, as ``t``."""
        source = f"{self.name(event_type)} as t{self._of_scope('t')}"
        if self.window is None:
            return source
        hours = self.window.hours.get(event_type, ())
        return f"{source} and t.{self.quote('folder_hour')} in ({', '.join(hours)})" if hours else f"{source} and 1 = 0"

    def _of_scope(self, alias: str) -> str:
        """Return the join that leaves the devices of the scope alone."""
        scope = self.name("scope")
        return f" join {scope} as scope on scope.dsn = {alias}.{self.quote('dsn')}" if self.scoped else ""

    def _of_window(self, micros: str, *, whole_hours: bool = False) -> str:
        """
        Return the condition that a moment is in the window.

        :param whole_hours: also in the rest of its first and its last hour
        """
        if self.window is None:
            return "true"
        first, end = self.window.starts, self.window.ends
        if whole_hours:
            first, end = self.window.reads, self.window.reads_to
        return f"({micros} >= {first} and {micros} < {end})"
