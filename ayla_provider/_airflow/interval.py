"""The hours of a run."""

from __future__ import annotations

from ayla_provider.domain.events import parse_event_type
from ayla_provider.domain.hour import ONE_HOUR, ExportHour, hours_of, is_empty, parse_time

START = "{{ data_interval_start | default(none) or partition_date | default(none) or '' }}"
"""The start of the run's data interval or, in a partitioned run, of its partition."""

END = "{{ data_interval_end | default(none) or '' }}"
"""The end of the run's data interval. Empty in a partitioned run, whose partition is an hour."""


def interval(event_type: object, start: object, end: object) -> list[ExportHour]:
    """
    Return the hours that a task's rendered arguments name. With native rendering, these can be of any type.

    :param event_type: in any spelling
    :param start: see :func:`~ayla_provider.domain.hour.parse_time`
    :param end: like ``start``; if it is empty or None, the interval is one hour long
    :raises AylaConfigError: if the arguments don't name whole hours; the message says what to change
    """
    first = parse_time(start, "start")
    last = first + ONE_HOUR if is_empty(end) else parse_time(end, "end")
    return hours_of(parse_event_type(event_type), first, last)
