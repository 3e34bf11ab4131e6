"""One look at whether some hours are settled: the same for a poke and for a trigger."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any

from ayla_provider.domain.arrival import HourState, HourStatus
from ayla_provider.domain.hour import ONE_HOUR, describe_hour
from ayla_provider.domain.units import files_text, size_text

if TYPE_CHECKING:
    from ayla_provider.source.export import Export

_NAMED = 3
"""How many hours a log line names."""


@dataclass(frozen=True, slots=True)
class Look:
    """What a look showed."""

    settled: bool
    """Whether every hour is landed or empty."""
    result: dict[str, Any]
    """The XCom: per state the number of hours; files, bytes, and the time of the newest file."""
    message: str
    """For the log: what is there, and what is waited for."""


def is_all_empty(result: dict[str, Any]) -> bool:
    """Whether a look's result says that every hour is empty."""
    return set(result["hours"]) == {HourState.EMPTY.value}


def look(
    export: Export,
    event_type: str,
    hours: Sequence[datetime],
    *,
    quiet_period: timedelta,
    patience: timedelta,
) -> Look:
    """
    Look once, with one bounded listing and, between empty and overdue, a look for signs of life.

    :param hours: consecutive, aware
    :raises AylaError: if the source can't be listed
    """
    statuses = export.status(event_type, hours, quiet_period=quiet_period, patience=patience)
    newest = max((file.created for status in statuses for file in status.files), default=None)
    counts = Counter(status.state.value for status in statuses)
    return Look(
        settled=all(status.state.settled for status in statuses),
        result={
            "event_type": event_type,
            "start": hours[0].isoformat(),
            "end": (hours[-1] + ONE_HOUR).isoformat(),
            "hours": dict(sorted(counts.items())),
            "files": sum(len(status.files) for status in statuses),
            "bytes": sum(status.size for status in statuses),
            "newest_file": newest.isoformat() if newest else None,
        },
        message=_message(event_type, statuses, quiet_period, patience),
    )


def describe_interval(event_type: str, hours: Sequence[datetime]) -> str:
    """Return event type and hours, for a message."""
    if len(hours) == 1:
        return f"{event_type} {describe_hour(hours[0])}"
    return f"{event_type} {describe_hour(hours[0])} to {describe_hour(hours[-1] + ONE_HOUR)} ({len(hours)} hours)"


def describe_found(event_type: str, statuses: Sequence[HourStatus]) -> str:
    """Return what the source shows of some hours, for a message."""
    files = [file for status in statuses for file in status.files]
    told = f"{files_text(len(files))}, {size_text(sum(file.size for file in files))}"
    if files:
        told += f", the newest of {max(file.created for file in files):%Y-%m-%d %H:%M} UTC"
    states = Counter(status.state.value for status in statuses)
    if len(statuses) > 1:
        told = f"{', '.join(f'{count} {state}' for state, count in sorted(states.items()))}; {told}"
    else:
        told = f"{statuses[0].state.value}, {told}"
    return f"{describe_interval(event_type, [status.hour for status in statuses])}: {told}"


def _message(event_type: str, statuses: Sequence[HourStatus], quiet_period: timedelta, patience: timedelta) -> str:
    waiting = [status for status in statuses if not status.state.settled]
    if not waiting:
        return describe_found(event_type, statuses)
    if len(statuses) == 1:
        return f"{event_type} {_reason(statuses[0], quiet_period, patience)}"
    where = describe_interval(event_type, [status.hour for status in statuses])
    named = "; ".join(_reason(status, quiet_period, patience) for status in waiting[:_NAMED])
    more = f"; and {len(waiting) - _NAMED} more hours" if len(waiting) > _NAMED else ""
    return f"{where}: {named}{more}"


def _reason(status: HourStatus, quiet_period: timedelta, patience: timedelta) -> str:
    hour, end = describe_hour(status.hour), status.hour + ONE_HOUR
    if status.state is HourState.OPEN:
        return f"{hour} isn't over before {end:%H:%M}"
    if status.state is HourState.ARRIVING:
        newest = max(file.created for file in status.files)
        return (
            f"{hour} is arriving: {files_text(len(status.files))}, the newest of {newest:%H:%M:%S}, complete if none "
            f"follows by {newest + quiet_period:%H:%M:%S}"
        )
    if status.state is HourState.PENDING:
        return f"{hour} is pending: no file since its end, counted as empty or overdue from {end + patience:%H:%M}"
    return (
        f"{hour} is overdue: no file since {end:%Y-%m-%d %H:%M}, and none of a later hour in any event type, so "
        "Ayla's exporter seems to be stalled"
    )
