"""An hour in UTC, the unit of everything; and the folder timestamps of the export."""

from __future__ import annotations

import re
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from enum import Enum

from ayla_provider.errors import AylaConfigError

ONE_HOUR = timedelta(hours=1)


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
    Return the UTC time that a folder's name states, and its style; None if the name is no such time.

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
    # strftime does not pad years below 1000; isoformat does.
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
    :raises AylaConfigError: if either isn't on the hour in UTC, or nothing lies between
    """
    for name, value in (("start", start), ("end", end)):
        if value.tzinfo is None:
            raise AylaConfigError(f"{name} {value.isoformat()} has no time zone: write it as {value.isoformat()}+00:00")
        # In UTC, since Python never calls a time in a clock change's repeated hour equal to one of another zone.
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
    return list(_steps(start.astimezone(UTC), end.astimezone(UTC)))


def _steps(start: datetime, end: datetime) -> Iterator[datetime]:
    while start < end:
        yield start
        start += ONE_HOUR


def parse_time(value: str | datetime, name: str) -> datetime:
    """
    Return an aware UTC time from ISO 8601 text, as templates render it, or from a datetime.

    :param value: text such as ``2024-05-09T02:00:00+00:00``
    :param name: the argument's name, for the error
    :raises AylaConfigError: if it is empty, malformed, or has no time zone
    """
    if isinstance(value, str):
        if not value.strip():
            raise AylaConfigError(
                f"{name} is empty: this run has neither a data interval nor a partition. Give {name} yourself, "
                "for example as a DAG parameter, or trigger the run with a logical date."
            )
        text = value.strip()
        try:
            value = datetime.fromisoformat(text)
        except ValueError:
            raise AylaConfigError(
                f"{name} {text!r} is no ISO 8601 time: write it as 2024-05-09T02:00:00+00:00"
            ) from None
    if value.tzinfo is None:
        raise AylaConfigError(f"{name} {value.isoformat()} has no time zone: write it as {value.isoformat()}+00:00")
    try:
        return value.astimezone(UTC)
    except OverflowError:
        raise AylaConfigError(f"{name} {value.isoformat()} lies outside of the calendar in UTC") from None


def describe_hour(hour: datetime) -> str:
    """Return an hour as people write it, ``2024-05-09 02:00 UTC``."""
    return f"{format_folder(hour)[:16]} UTC"
