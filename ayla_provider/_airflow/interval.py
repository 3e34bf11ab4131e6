"""The hours of a run."""

from __future__ import annotations

from datetime import datetime

from ayla_provider.domain.events import parse_event_type
from ayla_provider.domain.hour import ONE_HOUR, ExportHour, hours_of, parse_time

START = "{{ data_interval_start | default(none) or partition_date | default(none) or '' }}"
"""The start of the run's data interval or, in a partitioned run, of its partition."""

END = "{{ data_interval_end | default(none) or '' }}"
"""The end of the run's data interval. Empty in a partitioned run, whose partition is an hour."""


def interval(event_type: str, start: str | datetime, end: str | datetime) -> list[ExportHour]:
    """
    Return the hours that a task's rendered arguments name.

    :param event_type: in any spelling
    :param end: if empty, the interval is one hour long
    :raises AylaConfigError: if the arguments don't name whole hours; the message says what to change
    """
    first = parse_time(start, "start")
    last = first + ONE_HOUR if end == "" else parse_time(end, "end")
    return hours_of(parse_event_type(event_type), first, last)
