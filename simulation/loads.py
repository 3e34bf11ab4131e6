"""
Loads of the archive's hours into a DuckDB file, with the plan and the operator of the sample DAG.

This module imports Airflow.
"""

from __future__ import annotations

from dataclasses import replace
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any, cast

from airflow.sdk.execution_time.context import OutletEventAccessors

from ayla_provider._airflow.compat import AirflowFailException
from ayla_provider.archive.destination import Destination
from ayla_provider.archive.records import Records
from ayla_provider.domain.events import parse_event_type
from ayla_provider.errors import AylaError
from ayla_provider.operators import typed_rows
from ayla_provider.operators.duckdb import AylaExportToDuckDBOperator
from ayla_provider.warehouse.base import TABLE_PREFIX
from ayla_provider.warehouse.duckdb import DuckDBWarehouse
from ayla_provider.warehouse.plan import ToLoad, joined, to_load
from simulation.worker import Place, Result, Task, destination_of

if TYPE_CHECKING:
    from airflow.sdk import Context


def load(task: Task, place: Place, archive: Destination, table_prefix: str = TABLE_PREFIX) -> Result:
    """
    Plan, and run the loads that the plan returns: one for the consecutive hours of a day, as if there were many.

    As with mapped tasks, a load that fails doesn't keep the others from running.

    :param table_prefix: is in front of the name of each table
    :raises AylaError: if the plan fails
    """
    event_type = parse_event_type(task.event_type)
    with DuckDBWarehouse(place.database, table_prefix=table_prefix) as warehouse:
        planned = joined(to_load(Records(archive), warehouse.loaded, [event_type], task.start, task.end))
    # Otherwise, the operator takes the credentials of Airflow's connections.
    vars(typed_rows)["open_destination"] = lambda url, conn_id: destination_of(replace(place, url=url))
    errors: list[Exception] = []
    loaded = 0
    for hours in planned:
        try:
            done = _operator(hours, place, table_prefix).execute(_context(task))
            loaded += done["hours"] - done["unchanged"]
        except (AylaError, AirflowFailException) as error:
            errors.append(error)
    if errors:
        return Result(type(errors[0]).__name__, str(errors[0]), loaded=loaded)
    return Result(loaded=loaded)


def _operator(hours: ToLoad, place: Place, table_prefix: str) -> AylaExportToDuckDBOperator:
    return AylaExportToDuckDBOperator(
        task_id="load",
        event_type=hours.event_type,
        archive=place.url,
        start=hours.start,
        end=hours.end,
        database=str(place.database),
        table_prefix=table_prefix,
        reason=hours.label,
        max_malformed=1,
    )


def _context(task: Task) -> Context:
    """Return what the operator needs of a task's context."""
    run = SimpleNamespace(
        dag_id=task.dag, run_id=f"{task.now:%Y-%m-%dT%H:%M}", task_id="load", try_number=task.try_number
    )
    context: dict[str, Any] = {"ti": run, "outlet_events": OutletEventAccessors()}
    return cast("Context", context)
