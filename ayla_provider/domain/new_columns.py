"""What becomes of a column that a file has, and that neither the tables nor a declared layout know."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from enum import StrEnum

from ayla_provider.domain.csv.recognition import Recognised
from ayla_provider.domain.tables import STREAM_TABLES
from ayla_provider.errors import AylaConfigError

NEW_COLUMN = "a new column: "
"""How the reason begins for which a row is in the quarantine although it is loaded."""

EVERY_TABLE = "*"


class OnNewColumn(StrEnum):
    """What to do with a new column."""

    EVOLVE = "evolve"
    """Load it: tables get the column."""
    DROP = "drop"
    """Load the rows without it."""
    QUARANTINE = "quarantine"
    """Load the rows without it, and keep the rows that have a value in it in the quarantine."""
    FAIL = "fail"
    """Don't load the hour."""


def on_new_column(value: str | Mapping[str, str], event_type: str) -> OnNewColumn:
    """
    Return what to do with a new column of an event type.

    :param value: one word for all event types; or event type to word, where ``*`` means all others
    :raises AylaConfigError: if it isn't valid
    """
    words = {EVERY_TABLE: value} if isinstance(value, str) else value
    if not isinstance(words, Mapping) or not all(word in list(OnNewColumn) for word in words.values()):
        raise AylaConfigError(
            f"on_new_column is {value!r}: expected {', '.join(OnNewColumn)}, or event types with one of these for each"
        )
    return OnNewColumn(words.get(event_type) or words.get(EVERY_TABLE, OnNewColumn.EVOLVE))


def new_columns_of(event_type: str, recognised: Iterable[Recognised]) -> tuple[str, ...]:
    """
    Return the new columns that files have, each once, in their order.

    :param recognised: what the columns of each file are
    """
    table = STREAM_TABLES.get(event_type)
    known = set(table.names) if table else set()
    new: dict[str, None] = {}
    for each in recognised:
        own = {column.name for column in each.layout.own}
        new |= dict.fromkeys(name for name in each.new_columns if name not in known | own)
    return tuple(new)
