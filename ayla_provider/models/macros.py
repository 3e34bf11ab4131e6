"""How each engine spells the few functions of the fleet models that differ. Everything else is the same SQL."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace

from ayla_provider.domain.tables import ColumnType

_HOUR = 3_600_000_000
"""Microseconds."""

Expression = Callable[[str], str]
"""Returns an SQL expression, from the one that is its argument."""


@dataclass(frozen=True)
class Macros:
    """
    The functions of an engine. Arguments and results are SQL expressions.

    :param types: its type for each of ours
    :param micros: the microseconds from 1970 to a timestamp, as an integer
    :param moment: the timestamp of such an integer
    :param local_day: the day of a timestamp in a time zone, as a date; the second argument is a quoted name
    :param day_start: the first moment of a day in a time zone, as a timestamp
    :param next_day: the day after a date
    :param from_hex: the integer of a text of hexadecimal digits, at most 60 bits
    :param quotient: the integer part of a quotient of two integers that aren't negative
    :param total: a sum whose result doesn't depend on the order of the rows, if the engine can do that; the second
        argument is the order
    """

    types: Mapping[ColumnType, str]
    micros: Expression
    moment: Expression
    local_day: Callable[[str, str], str]
    day_start: Callable[[str, str], str]
    next_day: Expression
    from_hex: Expression
    quotient: Callable[[str, str], str]
    total: Callable[[str, str], str]

    def cast(self, value: str, column_type: ColumnType) -> str:
        """Return a value as one of our types."""
        return f"cast({value} as {self.types[column_type]})"


def _with_whole_days(macros: Macros) -> Macros:
    """
    Let days begin with the first moment of their date.

    An engine's midnight can be the second one of a day: in the Azores and in Cuba, clocks go back from 1:00 to 0:00.
    """

    def day_start(day: str, zone: str) -> str:
        midnight = macros.day_start(day, zone)
        earlier = macros.moment(f"{macros.micros(midnight)} - {_HOUR}")
        return f"case when {macros.local_day(earlier, zone)} = {day} then {earlier} else {midnight} end"

    return replace(macros, day_start=day_start)


_DUCKDB = Macros(
    types={
        ColumnType.TEXT: "varchar",
        ColumnType.INTEGER: "bigint",
        ColumnType.NUMBER: "double",
        ColumnType.BOOLEAN: "boolean",
        ColumnType.UUID: "uuid",
        ColumnType.TIMESTAMP: "timestamp with time zone",
        ColumnType.DATE: "date",
    },
    micros=lambda at: f"epoch_us({at})",
    moment=lambda micros: f"make_timestamptz({micros})",
    local_day=lambda at, zone: f"cast(timezone({zone}, {at}) as date)",
    day_start=lambda day, zone: f"timezone({zone}, cast({day} as timestamp))",
    next_day=lambda day: f"cast({day} + interval 1 day as date)",
    from_hex=lambda digits: f"cast('0x' || {digits} as bigint)",
    quotient=lambda number, divisor: f"({number}) // {divisor}",
    total=lambda value, order: f"sum({value} order by {order})",
)

_POSTGRES = Macros(
    types={
        ColumnType.TEXT: "text",
        ColumnType.INTEGER: "bigint",
        ColumnType.NUMBER: "double precision",
        ColumnType.BOOLEAN: "boolean",
        ColumnType.UUID: "uuid",
        ColumnType.TIMESTAMP: "timestamp with time zone",
        ColumnType.DATE: "date",
    },
    micros=lambda at: f"cast(extract(epoch from {at}) * 1000000 as bigint)",
    # In two parts, because an interval is multiplied in floating point.
    moment=lambda micros: (
        f"(timestamp with time zone 'epoch' + ({micros}) / 1000000 * interval '1 second' "
        f"+ ({micros}) % 1000000 * interval '1 microsecond')"
    ),
    local_day=lambda at, zone: f"cast({at} at time zone {zone} as date)",
    day_start=lambda day, zone: f"(cast({day} as timestamp) at time zone {zone})",
    next_day=lambda day: f"({day} + 1)",
    from_hex=lambda digits: f"cast(cast('x' || lpad({digits}, 16, '0') as bit(64)) as bigint)",
    quotient=lambda number, divisor: f"({number}) / {divisor}",
    total=lambda value, order: f"sum({value} order by {order})",
)

_BIGQUERY = Macros(
    types={
        ColumnType.TEXT: "string",
        ColumnType.INTEGER: "int64",
        ColumnType.NUMBER: "float64",
        ColumnType.BOOLEAN: "bool",
        ColumnType.UUID: "string",
        ColumnType.TIMESTAMP: "timestamp",
        ColumnType.DATE: "date",
    },
    micros=lambda at: f"unix_micros({at})",
    moment=lambda micros: f"timestamp_micros({micros})",
    local_day=lambda at, zone: f"date({at}, {zone})",
    day_start=lambda day, zone: f"timestamp({day}, {zone})",
    next_day=lambda day: f"date_add({day}, interval 1 day)",
    from_hex=lambda digits: f"cast(concat('0x', {digits}) as int64)",
    quotient=lambda number, divisor: f"div(({number}), {divisor})",
    total=lambda value, order: f"sum({value})",
)

_SNOWFLAKE = Macros(
    types={
        ColumnType.TEXT: "varchar",
        ColumnType.INTEGER: "number(38, 0)",
        ColumnType.NUMBER: "double",
        ColumnType.BOOLEAN: "boolean",
        ColumnType.UUID: "varchar(36)",
        ColumnType.TIMESTAMP: "timestamp_tz(6)",
        ColumnType.DATE: "date",
    },
    micros=lambda at: f"date_part(epoch_microsecond, {at})",
    moment=lambda micros: f"to_timestamp_tz({micros}, 6)",
    local_day=lambda at, zone: f"to_date(convert_timezone({zone}, {at}))",
    day_start=lambda day, zone: (
        f"to_timestamp_tz(convert_timezone({zone}, 'UTC', cast({day} as timestamp_ntz)) || ' +0000')"
    ),
    next_day=lambda day: f"dateadd(day, 1, {day})",
    from_hex=lambda digits: f"to_number({digits}, 'XXXXXXXXXXXXXXX')",
    quotient=lambda number, divisor: f"floor(({number}) / {divisor})",
    total=lambda value, order: f"sum({value})",
)

DUCKDB, POSTGRES, BIGQUERY, SNOWFLAKE = map(_with_whole_days, (_DUCKDB, _POSTGRES, _BIGQUERY, _SNOWFLAKE))
