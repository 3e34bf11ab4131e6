"""The lists over which Airflow expands a task: their items and their limits."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from datetime import datetime
from typing import Any, TypeVar

Item = TypeVar("Item", bound=Mapping[str, Any])

MAP_LIMIT = 1024
"""Airflow's default for ``[core] max_map_length``."""

XCOM_LIMIT = 48_000
"""Bytes of JSON that such a list may have. Some of Airflow's databases hold at most 64 KB in an XCom."""


def hours_item(event_type: str, start: datetime, end: datetime, reason: str) -> dict[str, str]:
    """
    Return the arguments of a mapped task that copies or loads hours.

    :param start: the first hour
    :param end: the end of the last hour
    :param reason: what names the task
    """
    return {"event_type": event_type, "start": start.isoformat(), "end": end.isoformat(), "reason": reason}


def that_fit(items: Iterable[Item]) -> list[Item]:
    """Return the first items, as many as fit in an XCom."""
    kept: list[Item] = []
    size = 0
    for item in items:
        size += len(json.dumps(item)) + len(", ")
        if size > XCOM_LIMIT:
            break
        kept.append(item)
    return kept
