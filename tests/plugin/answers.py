"""Answers of Airflow's API, as far as the page reads them."""

from __future__ import annotations

import itertools
from datetime import UTC, datetime, timedelta
from typing import Any

Json = dict[str, Any]
Read = dict[str, list[Json]]

NOW = datetime(2026, 11, 20, 12, 20, tzinfo=UTC)
HOUR = timedelta(hours=1)
DAG = "export"
DESTINATION = "gs://bucket/ayla"
_ids = itertools.count(1)


def hour(ago: float) -> datetime:
    """The start of the hour that is so many hours before the present one."""
    return NOW.replace(minute=0) - ago * HOUR


def millis(time: datetime) -> int:
    return round(time.timestamp() * 1000)


def run(start: datetime, *, dag: str = DAG, length: timedelta = HOUR, key: str | None = None) -> Json:
    """A run about some hours; its id carries the end of them, as Airflow's do."""
    interval = {"data_interval_start": start.isoformat(), "data_interval_end": (start + length).isoformat()}
    if key:
        interval = {"partition_key": key, "data_interval_start": None, "data_interval_end": None}  # type: ignore[dict-item]
    end = (start + length).isoformat()
    return {"dag_id": dag, "dag_run_id": f"scheduled__{end}", "run_after": end, "state": "success", **interval}


def task(of: Json, task_id: str, state: str | None, **more: Any) -> Json:
    return {
        "id": f"{of['dag_run_id']}{task_id}{next(_ids)}",
        "dag_id": of["dag_id"],
        "dag_run_id": of["dag_run_id"],
        "run_after": of["run_after"],
        "task_id": task_id,
        "map_index": -1,
        "state": state,
        "try_number": 1,
        "start_date": of["run_after"],
        "end_date": of["run_after"],
        "rendered_fields": {},
        **more,
    }


def rendered(event_type: str, destination: str = DESTINATION, connection: str = "ayla_default") -> Json:
    """The rendered fields of a task that has started."""
    return {
        "rendered_fields": {"event_type": event_type, "destination": destination, "ayla_conn_id": connection},
    }


def event(event_type: str, start: datetime, *, asset: int = 1, at: datetime | None = None, **extra: Any) -> Json:
    return {
        "id": next(_ids),
        "asset_id": asset,
        "timestamp": (at or start + HOUR + timedelta(minutes=40)).isoformat(),
        "source_dag_id": DAG,
        "source_run_id": f"scheduled__{(start + HOUR).isoformat()}",
        "source_task_id": f"{event_type}.copy",
        "source_map_index": -1,
        "extra": {
            "event_type": event_type,
            "hour": start.isoformat(),
            "state": "landed",
            "files": 2,
            "bytes": 1000,
            "revision": 1,
        }
        | extra,
    }


def asset(number: int, event_type: str, destination: str = DESTINATION) -> Json:
    return {"id": number, "uri": f"{destination}/event_type={event_type}"}


def read(**lists: list[Json]) -> Read:
    empty: Read = {"assets": [asset(1, "datapoint")], "events": [], "copies": [], "waits": [], "runs": []}
    return {**empty, **lists}
