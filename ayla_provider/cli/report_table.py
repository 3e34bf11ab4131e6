"""The rows of a report, and their summary. Pure."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any

from ayla_provider.domain.coverage import Coverage, HourCoverage, describe_gap
from ayla_provider.domain.events import EventType
from ayla_provider.domain.failure import Failure
from ayla_provider.domain.hour import ExportHour, describe_hour, format_folder
from ayla_provider.domain.units import counted, files_text, size_text
from ayla_provider.transport.redaction import redacted

if TYPE_CHECKING:
    from ayla_provider.archive.countdown import Countdown
    from ayla_provider.domain.volume import Anomaly

_COPIED = (Coverage.LANDED, Coverage.LATE, Coverage.EMPTY)


@dataclass(frozen=True, slots=True)
class Row:
    """One hour of one event type."""

    hour: ExportHour
    state: Coverage
    files: int
    """How many files the archive has, or would have after a copy."""
    bytes: int
    """How many bytes the archive has, or would have after a copy."""
    lag: timedelta | None
    """How long after the hour's end its newest file came; None without files."""
    gap: str = ""
    """What the archive lacks of an hour that isn't complete, for people."""
    is_newer: bool = False
    """Whether a newer version of this package wrote the manifest."""
    failure: Failure | None = None
    """Why the last copy of a missing or changed hour failed; None if it didn't."""

    @classmethod
    def of(cls, coverage: HourCoverage) -> Row:
        """Return the row of an hour."""
        gap = ""
        if not coverage.state.complete:
            gap = describe_gap(coverage)
            if coverage.problem:
                gap += f": {coverage.problem}"
        return cls(
            hour=coverage.hour,
            state=coverage.state,
            files=coverage.files,
            bytes=coverage.bytes,
            lag=coverage.lag,
            gap=gap,
            is_newer=coverage.is_newer,
            failure=coverage.failure,
        )

    def document(self) -> dict[str, Any]:
        """Return the row, for JSON."""
        failure = self.failure and {
            "error": self.failure.error,
            "message": self.failure.message,
            "failed_at": self.failure.failed_at.isoformat(),
            "tasks": self.failure.tasks,
            "passing": self.failure.passing,
        }
        return {
            "hour": self.hour.start.isoformat(),
            "event_type": self.hour.event_type,
            "state": self.state.value,
            "files": self.files,
            "bytes": self.bytes,
            "lag_seconds": None if self.lag is None else round(self.lag.total_seconds()),
            "gap": self.gap or None,
            "failure": failure,
        }

    def line(self, width: int) -> str:
        """
        Return the row as a line of the table.

        :param width: of the event types
        """
        remark = self.gap
        if self.failure:
            reason = redacted(f"{self.failure.error}: {self.failure.message}")
            remark += f"; its copy failed at {_minute(self.failure.failed_at)} UTC: {reason}"
        return _line(
            width,
            _minute(self.hour.start),
            self.hour.event_type,
            self.state.value,
            f"{self.files:,}",
            size_text(self.bytes),
            lag_text(self.lag),
            remark,
        )


class Summary:
    """
    The sums of the rows, and what they mean.

    :param event_types: the event types of the rows
    """

    def __init__(self, event_types: Sequence[EventType]) -> None:
        self.states = Counter[Coverage]()
        self.files = 0
        self.bytes = 0
        self.newest: dict[EventType, datetime | None] = dict.fromkeys(event_types)
        """Event type to the start of its newest row that the archive has, None if it has none."""
        self.missing_before = 0
        """How many missing hours come before the first hour that the archive has."""
        self.newer = 0
        """How many hours have a manifest that a newer version of this package wrote."""
        self.failed = 0
        """How many incomplete hours have a failed copy."""
        self.countdown: Countdown | None = None
        """The hours that expire at Ayla soon and aren't safe yet; None if they weren't looked for."""
        self.anomalies: list[tuple[str, Anomaly]] = []
        """The event type and the anomaly of unusual hours among the rows, the oldest first."""

    def add(self, row: Row) -> None:
        """Count a row."""
        self.states[row.state] += 1
        self.files += row.files
        self.bytes += row.bytes
        self.newer += row.is_newer
        self.failed += row.failure is not None
        if row.state is Coverage.MISSING and not row.is_newer and not any(self.newest.values()):
            self.missing_before += 1
        if row.state in _COPIED:
            known = self.newest[row.hour.event_type]
            self.newest[row.hour.event_type] = max(row.hour.start, known or row.hour.start)

    @property
    def complete(self) -> bool:
        """Whether no hour is missing, changed, unproven, or lost, and none that expires soon lacks anything."""
        at_risk = self.countdown is not None and bool(self.countdown.hours)
        return not at_risk and all(state.complete for state in self.states)

    @property
    def verdict(self) -> str:
        """What the states mean, and what to do."""
        missing, changed = self.states[Coverage.MISSING] - self.newer, self.states[Coverage.CHANGED]
        waiting, overdue = self.states[Coverage.WAITING], self.states[Coverage.OVERDUE]
        incomplete = []
        if missing:
            incomplete.append(counted(missing, "hour is missing", "hours are missing"))
        if changed:
            incomplete.append(counted(changed, "hour has changed", "hours have changed") + " at Ayla since the copy")
        unproven, lost = self.states[Coverage.UNPROVEN], self.states[Coverage.LOST]
        if incomplete:
            sentences = [
                f"{' and '.join(incomplete)}: the reconcile DAG repairs the last two days every hour, and everything "
                "else since AYLA_EXPORT_START every week; or clear the hour's copy task."
            ]
            if self.missing_before and any(self.newest.values()):
                sentences.append(
                    f"{counted(self.missing_before, 'missing hour is', 'missing hours are')} before the first hour in "
                    "the archive: before AYLA_EXPORT_START, no DAG copies or repairs anything."
                )
        else:
            sentences = [] if not self.complete else ["Nothing is missing."]
        if self.countdown and self.countdown.hours:
            sentences.insert(0, self.countdown.message)
        if self.newer:
            hours = counted(self.newer, "hour has a manifest", "hours have a manifest")
            sentences.append(f"{hours} of a newer version of this package: upgrade the package. No copy replaces it.")
        if unproven:
            hours = counted(unproven, "hour is unproven", "hours are unproven")
            sentences.append(f"{hours}: nothing proves that the archive has all files; the row says why.")
        if lost:
            hours = counted(lost, "hour is lost", "hours are lost")
            sentences.append(f"{hours}: neither the archive nor Ayla has all of its files any more.")
        if self.failed:
            hours = counted(self.failed, "hour has a failed copy", "hours have a failed copy")
            sentences.append(f"{hours}: the row says what to fix.")
        if overdue:
            hours = counted(overdue, "hour is overdue", "hours are overdue")
            sentences.append(f"{hours}: Ayla's exporter seems to be stalled, ask Ayla support.")
        if waiting:
            sentences.append(f"{counted(waiting, 'hour may', 'hours may')} still get files.")
        if self.anomalies:
            anomalies = counted(len(self.anomalies), "time", "times")
            sentences.append(f"Hours have an unusual number of lines or rows, {anomalies}: see above.")
        return " ".join(sentences)

    def document(self) -> dict[str, Any]:
        """Return the summary, for JSON."""
        return {
            "complete": self.complete,
            "verdict": self.verdict,
            "states": {state.value: self.states[state] for state in Coverage},
            "files": self.files,
            "bytes": self.bytes,
            "failed": self.failed,
            "newest": {event_type: hour and hour.isoformat() for event_type, hour in self.newest.items()},
            "expiring": self.countdown and self.countdown.document(),
            "anomalies": [each.document(event_type) for event_type, each in self.anomalies],
        }

    def text(self) -> str:
        """Return the summary as text, for the end of the table."""
        states = ", ".join(f"{self.states[state]:,} {state.value}" for state in Coverage if self.states[state])
        width = max(map(len, self.newest))
        newest = []
        for event_type, hour in self.newest.items():
            newest.append(f"  {event_type:{width}}  {describe_hour(hour) if hour else '-'}")
        return "\n".join(
            [
                f"{counted(self.states.total(), 'hour', 'hours')}: {states or 'none'}",
                f"{files_text(self.files)}, {size_text(self.bytes)}",
                "newest of these hours in the archive:",
                *newest,
                *self._unusual(),
                "",
                self.verdict,
            ]
        )

    def _unusual(self) -> list[str]:
        """Return the lines about unusual hours; none if there are none."""
        if not self.anomalies:
            return []
        lines = [
            f"  {describe_hour(each.start)}, {counted(each.hours, 'hour', 'hours')}: {each.describe(event_type)}"
            for event_type, each in self.anomalies
        ]
        return ["unusual hours:", *lines]


def header(width: int) -> str:
    """
    Return the table's first line.

    :param width: of the event types
    """
    return _line(width, "hour (UTC)", "event type", "state", "files", "bytes", "lag", "what is missing")


def lag_text(lag: timedelta | None) -> str:
    """Return a lag for people: ``26 min``, ``26.3 h``."""
    if lag is None:
        return "-"
    minutes = lag.total_seconds() / 60
    return f"{minutes:.0f} min" if minutes < 119.5 else f"{minutes / 60:.1f} h"


def _line(width: int, hour: str, event_type: str, state: str, files: str, size: str, lag: str, remark: str) -> str:
    return f"{hour:16}  {event_type:{width}}  {state:8} {files:>5}  {size:>8}  {lag:>7}  {remark}".rstrip()


def _minute(time: datetime) -> str:
    return format_folder(time)[:16]
