"""
Alert when the newest complete hour is too old: once when that begins, and once when it is over.

Every five minutes, the DAG checks each event type and layer: copied, typed, and loaded into each warehouse. Each check
is one task, no matter how many hours are missing. The page *Ayla* and metrics show the same.

The DAG needs the Variable `ayla_export_destination`, and no connection to Ayla. To mute alerts, for example during
maintenance, run this on an Airflow machine:

```
python -m ayla_provider freshness --mute 6h
```
"""

from __future__ import annotations

import logging
import os
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

from airflow.sdk import DAG

from ayla_provider.operators import AylaExportFreshnessOperator

if TYPE_CHECKING:
    from airflow.sdk import Context

# The warehouses that you load, with the arguments of their loads, such as
# {"kind": "postgres", "postgres_conn_id": "postgres_default", "schema": "ayla"}.
# A DuckDB file allows one process at a time: give the task its pool, too.
WAREHOUSES: list[dict[str, Any]] = []


def alert(context: Context) -> None:
    """Write to the log. Replace this with a notifier for Slack, e-mail, ...; message is one of its template values."""
    logging.getLogger(__name__).error("ALERT: %s", context["message"])  # type: ignore[typeddict-item]


with DAG(
    dag_id="ayla_export_freshness",
    doc_md=__doc__,
    schedule="*/5 * * * *",
    start_date=datetime(2026, 11, 1, tzinfo=UTC),
    catchup=False,
    # Of two checks at the same time, one would fail and be tried again.
    max_active_runs=1,
    default_args={
        "retries": 2,
        "retry_delay": timedelta(minutes=1),
        # For a try that hangs.
        "execution_timeout": timedelta(minutes=15),
    },
    tags=["ayla"],
):
    AylaExportFreshnessOperator(
        task_id="freshness",
        archive="{{ var.value.ayla_export_destination }}",
        # How old the newest complete hour may be at each layer.
        copied=timedelta(hours=3),
        typed=None,
        loaded=timedelta(hours=4),
        warehouses=WAREHOUSES,
        on_breach=[alert],
        on_recovery=[alert],
        # While one of these DAGs is paused, there are no alerts of its layer.
        dags={"copied": "ayla_export_to_bucket"},
        # The first hour that you want, as in ayla_export_to_bucket.
        not_before=os.environ.get("AYLA_EXPORT_START", "2026-11-01T00:00:00+00:00"),
    )
