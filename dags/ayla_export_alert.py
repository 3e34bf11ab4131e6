"""
One alert when Ayla's exporter stalls, however many hours are overdue and however long it lasts.

`alive` fails once, and its callback tells you. The run then stays active in `alive_again` until the exporter is back;
with one active run at most, no other starts meanwhile: one stall is one red square. After a day the next run reminds
you. Needs a connection `ayla_default`.
"""

from __future__ import annotations

import logging
from datetime import timedelta
from typing import TYPE_CHECKING

from airflow.sdk import DAG

from ayla_provider.domain.arrival import PATIENCE
from ayla_provider.sensors import AylaExportAliveSensor

if TYPE_CHECKING:
    from airflow.sdk import Context

# Longer than your devices can all be silent, at night for example: an hour without events has no file.
SILENCE = PATIENCE


def alert(context: Context) -> None:
    """Tell the log. Put a notifier of Slack, of e-mail, ... in its place; the exception is the message."""
    logging.getLogger(__name__).error("ALERT: %s", context.get("exception"))


with DAG(
    dag_id="ayla_export_alert",
    doc_md=__doc__,
    schedule=timedelta(minutes=15),
    catchup=False,
    max_active_runs=1,
    # For faults that pass. A stalled exporter fails its task at once, whatever stands here.
    default_args={"retries": 3, "retry_delay": timedelta(minutes=2)},
    tags=["ayla"],
):
    alive = AylaExportAliveSensor(
        task_id="alive",
        patience=SILENCE,
        timeout=0,
        on_failure_callback=alert,
    )
    alive_again = AylaExportAliveSensor(
        task_id="alive_again",
        patience=SILENCE,
        mode="reschedule",
        poke_interval=timedelta(minutes=5).total_seconds(),
        timeout=timedelta(days=1).total_seconds(),
        trigger_rule="all_failed",
    )
    alive >> alive_again
