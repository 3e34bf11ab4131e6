"""The asset events of a load."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import TYPE_CHECKING, Any

from ayla_provider.assets import is_of_load

if TYPE_CHECKING:
    from airflow.sdk import Asset, Context

log = logging.getLogger(__name__)

MOST_HOURS = 24
"""
How many hours a task announces one by one.

Airflow records all events of a task while it ends the task, and waits five seconds for that. A plan joins at most the
hours of a day.
"""


def announce(
    context: Context,
    outlets: Sequence[Any],
    event_type: str,
    assets: Sequence[Asset],
    changed: Mapping[datetime, int],
) -> list[Any]:
    """
    Emit an event of a table's asset, and one for each hour of the asset of its hours.

    An event of the one never starts a DAG that is scheduled on partitions, and an event of the other starts no other
    DAG. Airflow records the events of assets that a DAG names, as its schedule or as outlets.

    :param outlets: of the task
    :param event_type: of the table
    :param assets: that of the table, and that of its hours
    :param changed: hour to how many rows it has now. If there are none, nothing is announced
    :returns: the outlets that the task ends with. Airflow emits an event of each asset that is among them
    """
    # Outlets that a DAG names would get an event even if nothing changed.
    kept = [outlet for outlet in outlets if not is_of_load(outlet)]
    if not changed:
        return kept
    table, table_hours = assets
    hours = sorted(changed)
    context["outlet_events"][table].extra = {
        "event_type": event_type,
        "hours": [hour.isoformat() for hour in hours[-MOST_HOURS:]],
        "changed": len(hours),
        "rows": sum(changed.values()),
    }
    kept.append(table)
    if len(hours) > MOST_HOURS:
        log.warning(
            "This task loaded %d hours. The asset %s gets events of at most %d hours of a task, so it gets none.",
            len(hours),
            table_hours.name,
            MOST_HOURS,
        )
        return kept
    if _add_partitions(context, table_hours, [f"{hour:%Y-%m-%dT%H:%M:%S}" for hour in hours]):
        context["outlet_events"][table_hours].extra = {"event_type": event_type}
        kept.append(table_hours)
    return kept


def _add_partitions(context: Context, asset: Asset, keys: list[str]) -> bool:
    """
    Set the partition keys of an asset's events, and return whether this Airflow knows them.

    Airflow 3.2 gives each event the key of its run, and 3.1 knows no keys.
    """
    events: Any = context["outlet_events"][asset]
    if hasattr(events, "add_partitions"):
        events.add_partitions(keys)
        return True
    return keys == [getattr(context.get("dag_run"), "partition_key", None)]
