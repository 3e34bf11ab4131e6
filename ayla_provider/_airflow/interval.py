"""The hours of a run."""

from __future__ import annotations

from datetime import datetime

from ayla_provider.domain.hour import ONE_HOUR, hours_between, parse_time

START = "{{ data_interval_start | default(none) or partition_date | default(none) or '' }}"
"""The start of the run's data interval or, in a partitioned run, of its partition."""

END = "{{ data_interval_end | default(none) or '' }}"
"""The end of the run's data interval. Empty in a partitioned run, whose partition is an hour."""


def interval(start: str | datetime, end: str | datetime) -> list[datetime]:
    """
    Return the hours between two rendered arguments.

    :param end: if empty, the interval is one hour long
    :raises AylaConfigError: if the arguments don't name whole hours; the message says what to change
    """
    first = parse_time(start, "start")
    if end == "":
        return hours_between(first, first + ONE_HOUR)
    return hours_between(first, parse_time(end, "end"))
