"""
The ledger of a Delta table: a small file for each day, which the table's log names.

Delta has no transaction over two tables, and what a commit says of itself is gone with the log, after 30 days. But a
commit can set the version of an *application transaction*, a number that outlives checkpoints and the cleanup of the
log. So a load writes the day's ledger into a new file, and commits the rows together with a number that is computed
from the file's content. The number names the file, and proves that nobody changed it.

A commit is refused if there was another one since the table was read. The load then looks again at the day's ledger.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, fields
from datetime import UTC, date, datetime
from typing import Any

from ayla_provider.domain.json_fields import UNREADABLE, refuse_newer, require, time_field, typed_field
from ayla_provider.errors import AylaWarehouseError
from ayla_provider.transport.redaction import redacted
from ayla_provider.warehouse.base import Load
from ayla_provider.warehouse.lake import LedgerEntry

FORMAT = "ayla-delta-ledger/1"

FOLDER = "_ayla"
"""In the folder of a table. Delta's own tools, and engines, pass over folders whose names begin with ``_``."""


@dataclass(frozen=True, slots=True)
class Entry(LedgerEntry):
    """What the ledger says of an hour."""

    load: str
    """Identifies the load, so that a load whose commit wasn't answered finds out whether it is there."""

    @classmethod
    def of(cls, load: Load, identifier: str) -> Entry:
        """Return the entry of a load."""
        return cls(
            version=load.version,
            rows=load.rows,
            lines=load.lines,
            duplicates=load.duplicates,
            quarantined=load.quarantined,
            loaded_at=load.loaded_at.astimezone(UTC).isoformat(),
            loaded_by=redacted(load.loaded_by),
            load=identifier,
        )


@dataclass(frozen=True, slots=True)
class DayLedger:
    """The entries of a day's hours."""

    day: date
    hours: Mapping[datetime, Entry] = field(default_factory=dict)
    """Aware, UTC."""

    def with_entries(self, entries: Mapping[datetime, Entry]) -> DayLedger:
        """Return the day with these entries, and those of its other hours."""
        return DayLedger(self.day, dict(sorted({**self.hours, **entries}.items())))

    def dumps(self) -> str:
        """Return the content of the day's file: the inverse of :func:`parse_day`."""
        hours = {
            hour.isoformat(): {each.name: getattr(entry, each.name) for each in fields(entry)}
            for hour, entry in self.hours.items()
        }
        document = {"format": FORMAT, "day": self.day.isoformat(), "hours": hours}
        return json.dumps(document, indent=1, ensure_ascii=False) + "\n"


def parse_day(content: bytes, where: str) -> DayLedger:
    """
    Return the ledger of a day.

    :param where: the file's URL, for the error
    :raises AylaNewerFormatError: if a newer version of this package wrote it
    :raises AylaWarehouseError: if it isn't one
    """
    try:
        document: dict[str, Any] = json.loads(content)
        refuse_newer(document["format"], FORMAT, where)
        require(document["format"] == FORMAT, f"its format is {str(document['format'])[:80]!r}")
        hours = {}
        for hour, written in typed_field(document, "hours", dict).items():
            require(isinstance(written, dict), "an hour isn't an object")
            hours[time_field({"hour": hour}, "hour").astimezone(UTC)] = _entry(written)
        return DayLedger(date.fromisoformat(typed_field(document, "day", str)), hours)
    except UNREADABLE as error:
        raise AylaWarehouseError(
            f"{where} isn't a ledger of this package: {type(error).__name__}. Remove the file, and load the hours of "
            "its day again."
        ) from None


def _entry(written: dict[str, Any]) -> Entry:
    return Entry(
        version=typed_field(written, "version", str),
        rows=typed_field(written, "rows", int),
        lines=typed_field(written, "lines", int),
        duplicates=typed_field(written, "duplicates", int),
        quarantined=typed_field(written, "quarantined", int),
        loaded_at=typed_field(written, "loaded_at", str),
        loaded_by=typed_field(written, "loaded_by", str),
        load=typed_field(written, "load", str),
    )


def number_of(content: bytes) -> int:
    """Return the number of a day's file: 62 bits of its SHA-256, which every engine takes for a positive integer."""
    return int.from_bytes(hashlib.sha256(content).digest()[:8], "big") >> 2


def transaction_of(day: date) -> str:
    """Return the name of the application transaction whose version is the number of a day's file."""
    return f"ayla:loads:{day.isoformat()}"


def file_of(day: date, number: int) -> str:
    """Return the path of a day's file, relative to the table."""
    return f"{FOLDER}/{day.isoformat()}-{number:016x}.json"


def days_of(names: Iterable[str]) -> set[date]:
    """Return the days whose files have these names."""
    days = set()
    for name in names:
        try:
            days.add(date.fromisoformat(name.rpartition("/")[2][:10]))
        except ValueError:
            # Not a file of the ledger.
            continue
    return days
