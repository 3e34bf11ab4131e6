"""What every warehouse must be able to do."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from types import TracebackType
from typing import Any, Protocol

from ayla_provider.domain.tables import Column, ColumnType, Table

LEDGER = Table(
    "loads",
    "A row for each hour that was loaded: what it holds, and from which files.",
    (
        Column("event_type", ColumnType.TEXT, "The event type, and so the table."),
        Column("folder_hour", ColumnType.TIMESTAMP, "The hour of the export's folder."),
        Column("version", ColumnType.TEXT, "Names the files that the rows were made from, and how."),
        Column("rows", ColumnType.INTEGER, "Rows that were loaded."),
        Column("lines", ColumnType.INTEGER, "Lines of the files: rows + duplicates + quarantined."),
        Column("duplicates", ColumnType.INTEGER, "Lines left out because another one says the same, or newer."),
        Column("quarantined", ColumnType.INTEGER, "Lines that couldn't be read, kept in the archive."),
        Column("loaded_at", ColumnType.TIMESTAMP, "When it was loaded."),
        Column("loaded_by", ColumnType.TEXT, "By which DAG and run."),
    ),
)
"""The table that says what is loaded: written in one transaction with the rows, so that it can't be wrong."""


@dataclass(frozen=True, slots=True)
class Load:
    """
    One hour of one event type, to be put in place of what the warehouse holds of it.

    :param table: the rows' table, with the very columns that the Parquet file has
    :param hour: the folder's hour: aware, UTC
    :param version: names the hour's content
    :param parquet: the typed rows, on this machine's disk; None if there are none
    :param loaded_by: for the ledger
    """

    table: Table
    hour: datetime
    version: str
    rows: int
    lines: int
    duplicates: int
    quarantined: int
    parquet: Path | None
    loaded_at: datetime
    loaded_by: str = ""

    def ledger_row(self) -> dict[str, Any]:
        """Return the ledger's row: column to value."""
        return {
            "event_type": self.table.event_type,
            "folder_hour": self.hour,
            "version": self.version,
            "rows": self.rows,
            "lines": self.lines,
            "duplicates": self.duplicates,
            "quarantined": self.quarantined,
            "loaded_at": self.loaded_at,
            "loaded_by": self.loaded_by,
        }


class Warehouse(Protocol):
    """
    A warehouse, for the time of a ``with`` statement.

    Its tables are named by the event type behind a prefix. They are keyed by ``folder_hour``: late events belong to
    the hour of the file that brought them.
    """

    name: str
    """For people: what and where it is, without a secret."""

    def __enter__(self) -> Warehouse:
        """
        Connect.

        :raises AylaWarehouseError: if it can't be reached
        """

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Disconnect; what isn't committed is undone."""

    def loaded(self, event_type: str, start: datetime, end: datetime) -> Mapping[datetime, str]:
        """
        Return the version of each hour that is loaded; nothing where there is no table yet.

        :param start: the first hour
        :param end: the end of the last one
        """

    def prepare(self, table: Table) -> None:
        """
        Make table, ledger and views, with their comments, if they aren't there; add the columns that are missing.

        Nothing is ever dropped. It may be run by several tasks at once.

        :raises AylaTableError: if a column stands there with another type
        """

    def replace(self, load: Load) -> None:
        """
        Put an hour's rows in place of those that stand there, and note it in the ledger, in one transaction.

        A reader sees the hour before or after, never in between. If another task replaces the same hour at the same
        time, one of them comes after the other, or fails and changes nothing.

        :raises AylaWarehouseError: if it was refused or broken off; the hour is then as it was
        """
