"""
Sessions of fakesnow that record their statements, and that fail on demand.

What fakesnow 0.12 gets wrong or leaves out: ``alter session`` of a time zone, a time-out, or a tag (it is always at
UTC); ``copy grants``; quotes in a table's comment; comments of columns; a ``copy`` into a temporary table by the names
of columns; behind HTTP, an empty timestamp; locks, which is why sessions that change the same rows don't wait for each
other; functions that return tables; hexadecimal numbers; timestamps of
microseconds; rights; the offset of a ``timestamp_tz``, whose moment alone
it keeps. It doesn't end a transaction when a table is made. It reads the file with DuckDB, so it says nothing of how
Snowflake reads Parquet.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from snowflake.connector.errors import ProgrammingError

LEFT_OUT = re.compile(
    r"^(alter session set (timezone|timestamp_input_format|lock_timeout|query_tag)|create or replace function)\b"
)
# What it doesn't parse, and what it does instead.
SPELT_OTHERWISE = (
    (" copy grants ", " "),
    ("^create (or replace )?temporary table", r"create \1table"),
    (r"to_timestamp_tz\((convert_timezone\(.*? \|\| ') \+0000'\)", r"cast(\1+00' as timestamptz)"),
    (r"to_timestamp_tz\(((?:(?!to_timestamp_tz).)*?), 6\)", r"make_timestamptz(cast(\1 as bigint))"),
    (r"to_number\((\(.*?\)), 'X+'\)", r"cast('0x' || \1 as bigint)"),
    # It divides in floating point.
    (r"floor\((\(cast\('0x'.*? as bigint\)\)) / 10\)", r"divide(\1, 10)"),
    (r"(?<=[a-z])''(?=[a-z])", " "),
)


@dataclass
class Session:
    """
    A connection.

    :param statements: each statement, with its values
    :param fails: a statement that matches is refused
    """

    connection: Any
    statements: list[tuple[str, Mapping[str, Any] | None]] = field(default_factory=list)
    fails: str = ""
    errno: int = 90_105
    message: str = "Cannot perform operation."
    closed: bool = False

    def __post_init__(self) -> None:
        self.autocommit: Callable[[bool], None] = self.connection.autocommit

    def close(self) -> None:
        self.closed = True
        # Left to the fixture: tests look into the tables afterwards.

    def cursor(self) -> Cursor:
        return Cursor(self)


@dataclass
class Cursor:
    """A cursor of such a connection."""

    session: Session

    def execute(self, statement: str, values: Mapping[str, Any] | None = None) -> Any:
        self.session.statements.append((statement, values))
        if self.session.fails and re.search(self.session.fails, statement):
            raise ProgrammingError(self.session.message, errno=self.session.errno, sqlstate="42000")
        cursor = self.session.connection.cursor()
        if LEFT_OUT.match(statement):
            return cursor
        for theirs, instead in SPELT_OTHERWISE:
            statement = re.sub(theirs, instead, statement)
        return cursor.execute(statement, values)
