"""What the operators have in common: the hours of a run, who it is, and what Airflow can map over."""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING

from ayla_provider.domain.hour import ONE_HOUR, hours_between, parse_time

if TYPE_CHECKING:
    from airflow.sdk import Context

MAP_LIMIT = 1024
"""Airflow's default for ``[core] max_map_length``."""

XCOM_LIMIT = 48_000
"""Bytes of JSON that a list to map over may take, since some of Airflow's databases hold 64 KB in an XCom."""

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


def provenance(context: Context) -> dict[str, str]:
    """Return which run writes a receipt."""
    ti = context["ti"]
    return {
        "dag_id": str(ti.dag_id),
        "run_id": str(ti.run_id),
        "task_id": str(ti.task_id),
        "try_number": str(ti.try_number),
    }
