"""One look at whether some hours are settled: the same for a sensor and for a trigger."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Any, assert_never

from ayla_provider.domain.arrival import ArrivalRule, FileTotals, HourState, HourStatus
from ayla_provider.domain.hour import ExportHour, describe_hour, describe_hours
from ayla_provider.domain.units import files_text, size_text
from ayla_provider.errors import AylaUnprovenError

if TYPE_CHECKING:
    from ayla_provider.source.export import Export

_NAMED = 3
"""How many hours a log line names."""


@dataclass(frozen=True, slots=True)
class Look:
    """The result of a look."""

    settled: bool
    """Whether every hour is settled: landed, empty or expired."""
    result: dict[str, Any]
    """The XCom: the number of hours in each state; files, bytes, and the time of the newest file."""
    message: str
    """For the log: what the source shows, and what the wait is for."""


def is_all_empty(result: dict[str, Any]) -> bool:
    """Whether a look's result says that every hour is empty."""
    return set(result["hours"]) == {HourState.EMPTY.value}


def look(export: Export, hours: Sequence[ExportHour], rule: ArrivalRule) -> Look:
    """
    Look once.

    It takes one bounded listing. If an hour without files is due, it also takes a search for signs of life, and for
    objects that can't be placed in time.

    :param hours: consecutive hours of one event type
    :raises AylaUnprovenError: if an object can't be placed in time and can be a file of an hour
    :raises AylaError: if the source can't be listed
    """
    # A triggerer looks for many waits at once, so it keeps no list of files.
    statuses = export.status(hours, rule, keep_files=False)
    for status in statuses:
        if status.state is HourState.UNPROVEN:
            raise AylaUnprovenError(status.problem)
    totals, newest = _totals(statuses)
    counts = Counter(status.state.value for status in statuses)
    return Look(
        settled=all(status.state.settled for status in statuses),
        result={
            "event_type": hours[0].event_type,
            "start": hours[0].start.isoformat(),
            "end": hours[-1].end.isoformat(),
            "hours": dict(sorted(counts.items())),
            "files": totals.files,
            "bytes": totals.bytes,
            "newest_file": newest.isoformat() if newest else None,
        },
        message=_message(statuses, rule),
    )


def waiting(since: datetime, until: str) -> str:
    """Return since when and until when a wait lasts, as the end of a log line."""
    return f". Waiting since {since:%Y-%m-%d %H:%M} UTC, until {datetime.fromisoformat(until):%Y-%m-%d %H:%M} UTC."


def describe_statuses(statuses: Sequence[HourStatus]) -> str:
    """Return what the source shows of some hours, for a message."""
    totals, newest = _totals(statuses)
    text = f"{files_text(totals.files)}, {size_text(totals.bytes)}"
    if newest:
        text += f", the newest of {newest:%Y-%m-%d %H:%M} UTC"
    if len(statuses) == 1:
        text = f"{statuses[0].state.value}, {text}"
    else:
        states = Counter(status.state.value for status in statuses)
        text = f"{', '.join(f'{count} {state}' for state, count in sorted(states.items()))}; {text}"
    return f"{describe_hours([status.hour for status in statuses])}: {text}"


def _totals(statuses: Sequence[HourStatus]) -> tuple[FileTotals, datetime | None]:
    """Return the totals of the files of some hours, and when the newest one was created; None without files."""
    totals = FileTotals(sum(status.count for status in statuses), sum(status.size for status in statuses))
    return totals, max((status.newest for status in statuses if status.newest), default=None)


def _message(statuses: Sequence[HourStatus], rule: ArrivalRule) -> str:
    waiting = [status for status in statuses if not status.state.settled]
    if not waiting:
        return describe_statuses(statuses)
    if len(statuses) == 1:
        return f"{statuses[0].hour.event_type} {_reason(statuses[0], rule)}"
    reasons = [_reason(status, rule) for status in waiting[:_NAMED]]
    if len(waiting) > _NAMED:
        reasons.append(f"and {len(waiting) - _NAMED} more hours")
    return f"{describe_hours([status.hour for status in statuses])}: {'; '.join(reasons)}"


def _reason(status: HourStatus, rule: ArrivalRule) -> str:
    start, end = describe_hour(status.hour.start), status.hour.end
    match status.state:
        case HourState.OPEN:
            return f"{start} isn't over before {end:%H:%M}"
        case HourState.ARRIVING:
            newest = status.newest or end
            return (
                f"{start} is arriving: {files_text(status.count)}, the newest of {newest:%H:%M:%S}, complete if "
                f"no other comes by {newest + rule.quiet_period:%H:%M:%S}"
            )
        case HourState.PENDING:
            return (
                f"{start} is pending: no file since its end, counts as empty or overdue from "
                f"{end + rule.patience:%H:%M}"
            )
        case HourState.OVERDUE:
            return (
                f"{start} is overdue: no file since {end:%Y-%m-%d %H:%M}, and none of a later hour for any event type, "
                "so Ayla's exporter seems to be stalled"
            )
        case HourState.LANDED | HourState.EMPTY | HourState.EXPIRED | HourState.UNPROVEN:
            return f"{start} is {status.state.value}"
        case _:
            assert_never(status.state)
