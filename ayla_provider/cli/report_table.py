"""What a report tells of hours and their sum. Pure."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from ayla_provider.domain.coverage import Coverage, HourCoverage, describe_gap
from ayla_provider.domain.failure import Failure
from ayla_provider.domain.hour import describe_hour, format_folder
from ayla_provider.domain.units import files_text, size_text

_COPIED = (Coverage.LANDED, Coverage.LATE, Coverage.EMPTY)


@dataclass(frozen=True, slots=True)
class Row:
    """One hour of one event type."""

    hour: datetime
    """The hour's start, aware, UTC."""
    event_type: str
    state: Coverage
    files: int
    """How many files the archive has, or would have after a copy."""
    bytes: int
    """The same of the bytes."""
    lag: timedelta | None
    """How long after the hour's end its newest file came; None without files."""
    gap: str = ""
    """What a missing or changed hour lacks, for people."""
    failure: Failure | None = None
    """Why the last copy of a missing or changed hour failed, if it did."""

    @classmethod
    def of(cls, hour: HourCoverage) -> Row:
        """Return what is told of an hour."""
        gap = "" if hour.state.complete else ": ".join(filter(None, (describe_gap(hour), hour.problem)))
        return cls(hour.hour, hour.event_type, hour.state, hour.files, hour.bytes, hour.lag, gap, hour.failure)

    def document(self) -> dict[str, Any]:
        """Return it as JSON has it."""
        failure = self.failure and {
            "error": self.failure.error,
            "message": self.failure.message,
            "failed_at": self.failure.failed_at.isoformat(),
            "tasks": self.failure.tasks,
            "passing": self.failure.passing,
        }
        return {
            "hour": self.hour.isoformat(),
            "event_type": self.event_type,
            "state": self.state.value,
            "files": self.files,
            "bytes": self.bytes,
            "lag_seconds": None if self.lag is None else round(self.lag.total_seconds()),
            "gap": self.gap or None,
            "failure": failure,
        }

    def line(self, width: int) -> str:
        """
        Return it as a line of the table.

        :param width: of the event types
        """
        remark = self.gap
        if self.failure:
            message = " ".join(self.failure.message.split())
            remark += f"; its copy failed at {_minute(self.failure.failed_at)} UTC: {self.failure.error}: {message}"
        return _line(
            width,
            _minute(self.hour),
            self.event_type,
            self.state.value,
            f"{self.files:,}",
            size_text(self.bytes),
            lag_text(self.lag),
            remark,
        )


class Summary:
    """
    What the rows come to.

    :param event_types: those that are compared
    """

    def __init__(self, event_types: Sequence[str]) -> None:
        self.states = Counter[Coverage]()
        self.files = 0
        self.bytes = 0
        self.newest: dict[str, datetime | None] = dict.fromkeys(event_types)
        """Event type to the newest hour that the archive has, None if it has none."""
        self.failed = 0
        """How many of the hours that lack something couldn't be copied."""

    def add(self, row: Row) -> None:
        """Count a row."""
        self.states[row.state] += 1
        self.files += row.files
        self.bytes += row.bytes
        self.failed += row.failure is not None
        if row.state in _COPIED:
            self.newest[row.event_type] = max(row.hour, self.newest[row.event_type] or row.hour)

    @property
    def complete(self) -> bool:
        """Whether nothing is missing, and nothing has changed."""
        return all(state.complete for state in self.states)

    @property
    def verdict(self) -> str:
        """What it means, and what to do."""
        missing, changed = self.states[Coverage.MISSING], self.states[Coverage.CHANGED]
        waiting, overdue = self.states[Coverage.WAITING], self.states[Coverage.OVERDUE]
        if self.complete:
            said = ["Nothing is missing."]
        else:
            counts = [_hours(missing, "are missing")] if missing else []
            counts += [_hours(changed, "have changed at Ayla since the copy")] if changed else []
            said = [
                f"{' and '.join(counts)}: the reconcile DAG repairs the last two days each hour and all the rest each "
                "week; or clear the hour's copy task."
            ]
        if self.failed:
            said.append(f"{_hours(self.failed, 'have a failed copy')}: the line says what to mend.")
        if overdue:
            said.append(f"{_hours(overdue, 'are overdue')}: Ayla's exporter seems to be stalled, ask Ayla support.")
        if waiting:
            said.append(f"{_hours(waiting, 'are still waited for')}.")
        return " ".join(said)

    def document(self) -> dict[str, Any]:
        """Return it as JSON has it."""
        return {
            "complete": self.complete,
            "verdict": self.verdict,
            "states": {state.value: self.states[state] for state in Coverage},
            "files": self.files,
            "bytes": self.bytes,
            "failed": self.failed,
            "newest": {kind: hour and hour.isoformat() for kind, hour in self.newest.items()},
        }

    def text(self) -> str:
        """Return it as it stands below the table."""
        states = ", ".join(f"{self.states[state]:,} {state.value}" for state in Coverage if self.states[state])
        width = max(map(len, self.newest))
        newest = [f"  {kind:{width}}  {describe_hour(hour) if hour else '-'}" for kind, hour in self.newest.items()]
        return "\n".join(
            [
                f"{self.states.total():,} hours: {states or 'none'}",
                f"{files_text(self.files)}, {size_text(self.bytes)}",
                "newest hour in the archive:",
                *newest,
                "",
                self.verdict,
            ]
        )


def header(width: int) -> str:
    """
    Return the table's first line.

    :param width: of the event types
    """
    return _line(width, "hour (UTC)", "event type", "state", "files", "bytes", "lag", "what is lacking")


def lag_text(lag: timedelta | None) -> str:
    """Return a lag as people read it: ``26 min``, ``26.3 h``."""
    if lag is None:
        return "-"
    minutes = lag.total_seconds() / 60
    return f"{minutes:.0f} min" if minutes < 119.5 else f"{minutes / 60:.1f} h"


def _line(width: int, hour: str, event_type: str, state: str, files: str, size: str, lag: str, remark: str) -> str:
    return f"{hour:16}  {event_type:{width}}  {state:7}  {files:>5}  {size:>8}  {lag:>7}  {remark}".rstrip()


def _minute(time: datetime) -> str:
    return format_folder(time)[:16]


def _hours(count: int, are: str) -> str:
    if count == 1:
        return f"1 hour {are.replace('are ', 'is ', 1).replace('have ', 'has ', 1)}"
    return f"{count:,} hours {are}"
