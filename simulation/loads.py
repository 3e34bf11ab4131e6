"""
Loads of the archive's hours into a DuckDB file and into lake tables, and erasures, with the sample DAGs' operators.

This module imports Airflow.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any, cast

from airflow.sdk.execution_time.context import OutletEventAccessors

from ayla_provider._airflow.compat import AirflowFailException
from ayla_provider.archive.destination import Destination
from ayla_provider.archive.records import Records
from ayla_provider.domain.events import parse_event_type
from ayla_provider.errors import AylaError
from ayla_provider.operators import delta, iceberg, typed_rows
from ayla_provider.operators import erase as erasing
from ayla_provider.operators.delta import AylaExportDeltaUpkeepOperator, AylaExportToDeltaOperator
from ayla_provider.operators.duckdb import AylaExportToDuckDBOperator
from ayla_provider.operators.erase import AylaExportEraseOperator
from ayla_provider.operators.iceberg import AylaExportIcebergUpkeepOperator, AylaExportToIcebergOperator
from ayla_provider.operators.load import AylaLoadOperator
from ayla_provider.warehouse.base import TABLE_PREFIX
from ayla_provider.warehouse.plan import ToLoad, joined, to_load
from simulation.lake import NAMESPACE, warehouse_of
from simulation.stream import TABLE_PREFIX as STREAM_PREFIX
from simulation.worker import ERASURE_KEY, STREAM, Place, Result, Task, destination_of, end_at_write

if TYPE_CHECKING:
    from airflow.sdk import Context


def load(task: Task, place: Place, archive: Destination, table_prefix: str = TABLE_PREFIX, *, lake: str = "") -> Result:
    """
    Plan, and run the loads that the plan returns: one for the consecutive hours of a day, as if there were many.

    As with mapped tasks, a load that fails doesn't keep the others from running.

    :param table_prefix: is in front of the name of each table
    :param lake: the format of the lake tables to load into; empty for the DuckDB file
    :raises AylaError: if the plan fails
    """
    event_type = parse_event_type(task.event_type)
    _define_connections(place)
    with warehouse_of(place, lake, table_prefix) as warehouse:
        planned = joined(to_load(Records(archive), warehouse.loaded, [event_type], task.start, task.end))
    _open_in_place(typed_rows, place)
    errors: list[Exception] = []
    loaded = 0
    for hours in planned:
        try:
            done = _operator(hours, place, table_prefix, lake).execute(_context(task, "load"))
            loaded += done["hours"] - done["unchanged"]
        except (AylaError, AirflowFailException) as error:
            errors.append(error)
    if errors:
        return Result(type(errors[0]).__name__, str(errors[0]), loaded=loaded)
    if task.upkeep:
        _keep_up(task, place, lake)
    return Result(loaded=loaded)


def _keep_up(task: Task, place: Place, lake: str) -> None:
    """Run the daily upkeep of a lake table. It compacts the days before yesterday."""
    module = {"iceberg": iceberg, "delta": delta}[lake]
    # By the simulated time, some days are old.
    vars(module)["datetime"] = SimpleNamespace(now=lambda zone: task.now)
    operators = {"iceberg": AylaExportIcebergUpkeepOperator, "delta": AylaExportDeltaUpkeepOperator}
    operator = operators[lake](
        task_id="upkeep", event_types=[task.event_type], lookback=timedelta(days=1), **_arguments_of_lake(place)
    )
    operator.execute(_context(task, "upkeep"))


def erase(task: Task, place: Place) -> Result:
    """Erase what the requests in a folder name from an archive, and from the tables that are loaded from it."""
    _define_connections(place)
    of_stream = task.dag == STREAM
    warehouses: list[dict[str, Any]] = [
        {
            "kind": "duckdb",
            "database": str(place.database),
            "table_prefix": STREAM_PREFIX if of_stream else TABLE_PREFIX,
        }
    ]
    if place.lake and not of_stream:
        warehouses.append({"kind": place.lake, **_arguments_of_lake(place)})
    ending = (lambda *opened: end_at_write(task.last_write or 0, *opened)) if task.last_write else None
    _open_in_place(erasing, place, ending)
    operator = AylaExportEraseOperator(
        task_id="erase",
        requests=f"file://{place.requests[task.dag]}",
        archive=place.stream_url if of_stream else place.url,
        warehouses=warehouses,
    )
    try:
        report = operator.execute(_context(task, "erase"))
    except AirflowFailException as error:
        return Result(type(error).__name__, str(error), retryable=False)
    return Result(erased=sum(report["erased"].values()))


def _operator(hours: ToLoad, place: Place, table_prefix: str, lake: str) -> AylaLoadOperator:
    classes: dict[str, tuple[Callable[..., AylaLoadOperator], dict[str, Any]]] = {
        "": (AylaExportToDuckDBOperator, {"database": str(place.database), "table_prefix": table_prefix}),
        "iceberg": (AylaExportToIcebergOperator, _arguments_of_lake(place)),
        "delta": (AylaExportToDeltaOperator, _arguments_of_lake(place)),
    }
    operator, arguments = classes[lake]
    return operator(
        task_id="load",
        event_type=hours.event_type,
        archive=place.url,
        start=hours.start,
        end=hours.end,
        reason=hours.label,
        max_malformed=1,
        **arguments,
    )


def _arguments_of_lake(place: Place) -> dict[str, str]:
    return {"namespace": NAMESPACE} if place.lake == "iceberg" else {"tables": f"file://{place.lake_folder}"}


def _define_connections(place: Place) -> None:
    """Define the connections of the operators as Airflow's environment does."""
    catalog = {"conn_type": "iceberg", "extra": place.iceberg_catalog}
    os.environ["AIRFLOW_CONN_ICEBERG_DEFAULT"] = json.dumps(catalog)
    os.environ["AIRFLOW_CONN_AYLA_ERASURE"] = json.dumps({"conn_type": "generic", "password": ERASURE_KEY})


def _open_in_place(module: Any, place: Place, act: Callable[[Destination], None] | None = None) -> None:
    """Make a module open destinations without the credentials of Airflow's connections."""

    def opened(url: str, conn_id: str | None = None) -> Destination:
        destination = destination_of(replace(place, url=url))
        if act and not url.startswith(f"file://{place.home}/requests"):
            act(destination)
        return destination

    vars(module)["open_destination"] = opened


def _context(task: Task, task_id: str) -> Context:
    """Return what the operator needs of a task's context."""
    run = SimpleNamespace(
        dag_id=task.dag, run_id=f"{task.now:%Y-%m-%dT%H:%M}", task_id=task_id, try_number=task.try_number
    )
    context: dict[str, Any] = {"ti": run, "outlet_events": OutletEventAccessors()}
    return cast("Context", context)
