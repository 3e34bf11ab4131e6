"""One hour of one event type, the unit of everything; and the folder timestamps of the export."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta, timezone
from enum import Enum

from ayla_provider.domain.events import EventType
from ayla_provider.errors import AylaConfigError

ONE_HOUR = timedelta(hours=1)

LONGEST = timedelta(days=20 * 366)
"""The longest interval, 20 years. Without a limit, a mistyped year costs a worker its memory."""


@dataclass(frozen=True, slots=True, order=True)
class ExportHour:
    """
    One UTC hour of one event type: waited for, copied, loaded, retried and reported as one.

    Its text is ``datapoint 2026-11-01 07:00 UTC``.
    """

    event_type: EventType
    start: datetime
    """Aware, on the hour."""

    @property
    def end(self) -> datetime:
        """The end of the hour, exclusive."""
        return self.start + ONE_HOUR

    @property
    def partition(self) -> str:
        """The hour as folders, without slashes at the ends: ``event_type=datapoint/date=2026-11-01/hour=07``."""
        utc = self.start.astimezone(UTC)
        # isoformat pads years below 1000; strftime doesn't.
        return f"event_type={self.event_type}/date={utc.date().isoformat()}/hour={utc.hour:02}"

    def __str__(self) -> str:
        return f"{self.event_type} {describe_hour(self.start)}"


class FolderStyle(Enum):
    """
    How a folder writes its time, always UTC.

    ``SPACE`` (``2024-05-09 02:00:00``) is what exports hold and what the page on the GCP export shows;
    ``HYPHEN`` (``2024-05-09-02:00:00``) is what older Ayla documents say. Both are read.
    """

    SPACE = "%Y-%m-%d %H:%M:%S"
    HYPHEN = "%Y-%m-%d-%H:%M:%S"


_FOLDER = re.compile(r"(\d{4}-\d{2}-\d{2})([ -])(\d{2}:\d{2}:\d{2})", re.ASCII)


def parse_folder(name: str) -> tuple[datetime, FolderStyle] | None:
    """
    Return the UTC time that a folder's name states, and its style; None if the name isn't a time.

    :param name: the folder's name alone, without slashes
    """
    match = _FOLDER.fullmatch(name)
    if not match:
        return None
    day, separator, time = match.groups()
    try:
        parsed = datetime.fromisoformat(f"{day}T{time}+00:00")
    except ValueError:
        return None
    return parsed, FolderStyle.SPACE if separator == " " else FolderStyle.HYPHEN


def format_folder(time: datetime, style: FolderStyle = FolderStyle.SPACE) -> str:
    """Return the name of the folder for a UTC time, in whole seconds: the inverse of :func:`parse_folder`."""
    # isoformat pads years below 1000; strftime doesn't.
    text = time.astimezone(UTC).replace(tzinfo=None, microsecond=0).isoformat(" ")
    return text if style is FolderStyle.SPACE else text.replace(" ", "-")


def hour_of(time: datetime) -> datetime:
    """Return the start, in UTC, of the hour that holds an aware time."""
    return time.astimezone(UTC).replace(minute=0, second=0, microsecond=0)


def hours_between(start: datetime, end: datetime) -> list[datetime]:
    """
    Return the starts of the hours in the half-open interval from ``start`` to ``end``.

    :param start: aware, on the hour in UTC
    :param end: aware, on the hour in UTC, later than ``start``
    :raises AylaConfigError: if either isn't on the hour in UTC, there is no hour between them, or more than 20 years
    """
    for name, value in (("start", start), ("end", end)):
        if value.tzinfo is None:
            raise AylaConfigError(f"{name} {value.isoformat()} has no time zone: write it as {value.isoformat()}+00:00")
        # In UTC, because Python never calls a time in a clock change's repeated hour equal to one in another zone.
        if value.astimezone(UTC) != hour_of(value):
            raise AylaConfigError(
                f"{name} {value.isoformat()} isn't on the hour in UTC: the export knows whole hours only. "
                "Schedule the DAG on the hour, or give start and end."
            )
    if end <= start:
        raise AylaConfigError(
            f"the interval from {start.isoformat()} to {end.isoformat()} holds no hour. With a schedule of "
            "'@hourly' Airflow 3 makes intervals of no width: use CronDataIntervalTimetable('0 * * * *', "
            "timezone='UTC'), or give start and end."
        )
    refuse_longer(start, end)
    return list(_steps(start.astimezone(UTC), end.astimezone(UTC)))


def refuse_longer(start: datetime, end: datetime) -> None:
    """
    Refuse an interval that is longer than :data:`LONGEST`.

    :raises AylaConfigError: naming its bounds
    """
    if end - start > LONGEST:
        raise AylaConfigError(
            f"the interval from {start.isoformat()} to {end.isoformat()} is longer than 20 years: correct its bounds"
        )


def hours_of(event_type: EventType, start: datetime, end: datetime) -> list[ExportHour]:
    """
    Return the hours of an event type from ``start`` to ``end``, exclusive.

    :raises AylaConfigError: see :func:`hours_between`
    """
    return [ExportHour(event_type, hour) for hour in hours_between(start, end)]


def _steps(start: datetime, end: datetime) -> Iterator[datetime]:
    while start < end:
        yield start
        start += ONE_HOUR


def is_empty(value: object) -> bool:
    """Return whether an argument gives nothing: None, or text without a character."""
    return value is None or (isinstance(value, str) and not value.strip())


def parse_time(value: object, name: str) -> datetime:
    """
    Return an aware UTC time of the standard library's class, from whatever a template or Airflow's context gives.

    :param value: text such as ``2024-05-09T02:00:00+00:00``; or an aware datetime, also of a subclass such as
        pendulum's or pandas', whose arithmetic differs from the standard library's
    :param name: the argument's name, for the error
    :raises AylaConfigError: if the value is empty, malformed, of another type, or has no time zone
    """
    if is_empty(value):
        raise AylaConfigError(
            f"{name} is empty: this run has neither a data interval nor a partition. Give {name} yourself, "
            "for example as a DAG parameter, or trigger the run with a logical date."
        )
    time = _parse_iso(str(value).strip(), name) if isinstance(value, str) else value
    if not isinstance(time, datetime):
        raise AylaConfigError(
            f"{name} is {value!r}, of the type {type(value).__name__}: expected a datetime with a time zone, or text "
            "such as 2024-05-09T02:00:00+00:00"
        )
    try:
        offset = time.utcoffset()
    except ValueError:  # pandas.NaT, a datetime without a time
        raise AylaConfigError(f"{name} is {value!r}: expected a time, such as 2024-05-09T02:00:00+00:00") from None
    if offset is None:
        raise AylaConfigError(f"{name} {time.isoformat()} has no time zone: write it as {time.isoformat()}+00:00")
    # Only its fields, because a subclass would return its own class from each operation.
    local = datetime(
        time.year, time.month, time.day, time.hour, time.minute, time.second, time.microsecond, tzinfo=timezone(offset)
    )
    try:
        utc = local.astimezone(UTC)
        utc + ONE_HOUR  # The last hour of the calendar has no end.
    except OverflowError:
        raise AylaConfigError(f"{name} {time.isoformat()} is outside of the calendar in UTC") from None
    return utc


def _parse_iso(text: str, name: str) -> datetime:
    try:
        return datetime.fromisoformat(text)
    except ValueError:
        raise AylaConfigError(
            f"{name} {text!r} isn't an ISO 8601 time: write it as 2024-05-09T02:00:00+00:00"
        ) from None


def describe_hour(hour: datetime) -> str:
    """Return the start of an hour for people, ``2024-05-09 02:00 UTC``."""
    return f"{format_folder(hour)[:16]} UTC"


def describe_hours(hours: Sequence[ExportHour]) -> str:
    """
    Return consecutive hours of one event type, for a message.

    One hour is ``datapoint 2024-05-09 02:00 UTC``, two hours are
    ``datapoint 2024-05-09 02:00 UTC to 2024-05-09 04:00 UTC (2 hours)``.
    """
    first, last = hours[0], hours[-1]
    if len(hours) == 1:
        return str(first)
    return f"{first} to {describe_hour(last.end)} ({len(hours)} hours)"
