"""The hours of a run."""

from __future__ import annotations

from datetime import datetime

from ayla_provider.domain.hours import ONE_HOUR, hours_between, parse_time

START = "{{ data_interval_start | default(none) or partition_date | default(none) or '' }}"
"""The start of the run's data interval or, in a partitioned run, of its partition."""

END = "{{ data_interval_end | default(none) or '' }}"
"""The end of the run's data interval; empty in a partitioned run, whose partition is an hour."""


def interval(start: str | datetime, end: str | datetime) -> list[datetime]:
    """
    Return the hours between two rendered arguments.

    :param end: empty for an hour after ``start``
    :raises AylaConfigError: if there are none, saying what to change
    """
    first = parse_time(start, "start")
    return hours_between(first, first + ONE_HOUR if end == "" else parse_time(end, "end"))
