"""
The ledger of a Delta table: a small file for each week, and an index of these files, which the table's log names.

Delta has no transaction over two tables, and what a commit says of itself is gone with the log, after 30 days. But a
commit can set the version of an *application transaction*, a number that outlives checkpoints and the cleanup of the
log. So a load writes the week's ledger and the index into new files, and commits the rows together with a number that
is computed from the index's content. The number names the index, and proves that nobody changed it. The index has such
a number for each week.

So a load reads the index and its week, however old the table is. The index also says how all hours were made.

A commit is refused if there was another one since the table was read. The load then looks again at the ledger.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field, fields
from datetime import UTC, date, datetime, time, timedelta
from typing import Any

from ayla_provider.domain.json_fields import UNREADABLE, refuse_newer, require, time_field, typed_field
from ayla_provider.errors import AylaWarehouseError
from ayla_provider.transport.redaction import redacted
from ayla_provider.warehouse.base import Load
from ayla_provider.warehouse.lake import LedgerEntry
from ayla_provider.warehouse.made_hours import MadeHours, parse_made

FORMAT = "ayla-delta-ledger/1"

FOLDER = "_ayla"
"""In the folder of a table. Delta's own tools, and engines, pass over folders whose names begin with ``_``."""

TRANSACTION = "ayla:ledger"
"""The name of the application transaction whose version is the number of the index."""

_WEEK = timedelta(days=7)


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
class WeekLedger:
    """The entries of a week's hours."""

    week: date
    """Its Monday."""
    hours: Mapping[datetime, Entry] = field(default_factory=dict)
    """Aware, UTC."""

    def with_entries(self, entries: Mapping[datetime, Entry]) -> WeekLedger:
        """Return the week with those of some entries that are of its hours, and with its other hours."""
        own = {hour: entry for hour, entry in entries.items() if week_of(hour) == self.week}
        return WeekLedger(self.week, dict(sorted({**self.hours, **own}.items())))

    def dumps(self) -> str:
        """Return the content of the week's file: the inverse of :func:`parse_week`."""
        hours = {
            hour.isoformat(): {each.name: getattr(entry, each.name) for each in fields(entry)}
            for hour, entry in self.hours.items()
        }
        return _dumps({"format": FORMAT, "week": self.week.isoformat()}, "hours", hours)


@dataclass(frozen=True, slots=True)
class Index:
    """What the ledger's files are, and how the hours of all of them were made."""

    weeks: Mapping[date, int] = field(default_factory=dict)
    """The number of each week's file, by the week's Monday."""
    made: MadeHours = field(default_factory=MadeHours)

    def with_week(self, week: WeekLedger, number: int) -> Index:
        """
        Return the index with a week as it is now.

        :param number: of the week's new file
        """
        start = datetime.combine(week.week, time(), UTC)
        made = MadeHours.of({hour: entry.version for hour, entry in week.hours.items()})
        return Index(
            dict(sorted({**self.weeks, week.week: number}.items())),
            self.made.without(start, start + _WEEK).joined(made),
        )

    def weeks_in(self, start: datetime, end: datetime) -> list[date]:
        """Return the weeks that can have hours from ``start`` up to ``end``."""
        first, last = week_of(start), week_of(end)
        return [week for week in self.weeks if first <= week <= last]

    def files(self) -> Iterator[str]:
        """Yield the paths of all weeks' files, relative to the table."""
        return (file_of(week, number) for week, number in self.weeks.items())

    def dumps(self) -> str:
        """Return the content of the index's file: the inverse of :func:`parse_index`."""
        weeks = {week.isoformat(): number for week, number in self.weeks.items()}
        return _dumps({"format": FORMAT, "made": self.made.document()}, "weeks", weeks)


def _dumps(head: Mapping[str, Any], name: str, values: Mapping[str, Any]) -> str:
    """Return a JSON document whose last field has a line for each value."""
    # Not json's own indent, which takes ten times as long.
    lines = ",\n".join(f" {_json(key)}: {_json(value)}" for key, value in values.items())
    return f"{_json(head)[:-1]}, {_json(name)}: {{\n{lines}\n}}}}\n"


def _json(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False)


def parse_week(content: bytes, where: str) -> WeekLedger:
    """
    Return the ledger of a week.

    :param where: the file's URL, for the error
    :raises AylaNewerFormatError: if a newer version of this package wrote it
    :raises AylaWarehouseError: if it isn't one
    """
    try:
        document = _document(content, where)
        hours = {}
        for hour, written in typed_field(document, "hours", dict).items():
            require(isinstance(written, dict), "an hour isn't an object")
            hours[time_field({"hour": hour}, "hour").astimezone(UTC)] = _entry(written)
        return WeekLedger(date.fromisoformat(typed_field(document, "week", str)), hours)
    except UNREADABLE as error:
        raise AylaWarehouseError(
            f"{where} isn't a ledger of this package: {type(error).__name__}. Remove the file, and load the hours of "
            "its week again."
        ) from None


def parse_index(content: bytes, where: str) -> Index:
    """
    Return an index.

    :param where: the file's URL, for the error
    :raises AylaNewerFormatError: if a newer version of this package wrote it
    :raises AylaWarehouseError: if it isn't one
    """
    try:
        document = _document(content, where)
        weeks = typed_field(document, "weeks", dict)
        numbers = {date.fromisoformat(week): typed_field(weeks, week, int) for week in weeks}
        return Index(numbers, parse_made(typed_field(document, "made", dict)))
    except UNREADABLE as error:
        raise AylaWarehouseError(
            f"{where} isn't an index of a ledger of this package: {type(error).__name__}. Remove the file, and load "
            "all hours of the table again."
        ) from None


def _document(content: bytes, where: str) -> dict[str, Any]:
    document: dict[str, Any] = json.loads(content)
    refuse_newer(document["format"], FORMAT, where)
    require(document["format"] == FORMAT, f"its format is {str(document['format'])[:80]!r}")
    return document


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
    """Return the number of a file: 62 bits of its SHA-256, which every engine takes for a positive integer."""
    return int.from_bytes(hashlib.sha256(content).digest()[:8], "big") >> 2


def week_of(hour: datetime) -> date:
    """Return the Monday of the week of an hour, UTC."""
    day = hour.astimezone(UTC).date()
    return day - timedelta(days=day.weekday())


def weeks_of(hours: Iterable[datetime]) -> list[date]:
    """Return the weeks that have some hours, in order."""
    return sorted({week_of(hour) for hour in hours})


def file_of(week: date, number: int) -> str:
    """Return the path of a week's file, relative to the table."""
    return f"{FOLDER}/{week.isoformat()}-{number:016x}.json"


def index_file(number: int) -> str:
    """Return the path of an index, relative to the table."""
    return f"{FOLDER}/index-{number:016x}.json"
