"""
Send one alert when Ayla's exporter stalls, for any number of overdue hours and any duration.

`alive` fails once, and its callback notifies you. The run then stays active in `alive_again` until the exporter is
back. The DAG allows one active run, so no other run starts in the meantime: one stall is one red square. After a day,
the next run reminds you. The DAG needs a connection `ayla_default`.
"""

from __future__ import annotations

import logging
from datetime import timedelta
from typing import TYPE_CHECKING

from airflow.sdk import DAG

from ayla_provider.sensors import AylaExportAliveSensor

if TYPE_CHECKING:
    from airflow.sdk import Context

# Must be longer than all your devices can be silent, for example at night: an hour without events has no file.
SILENCE = timedelta(minutes=90)


def alert(context: Context) -> None:
    """Write to the log. Replace this with a notifier for Slack, e-mail, ...; the exception is the message."""
    logging.getLogger(__name__).error("ALERT: %s", context.get("exception"))


with DAG(
    dag_id="ayla_export_alert",
    doc_md=__doc__,
    schedule=timedelta(minutes=15),
    catchup=False,
    max_active_runs=1,
    # For temporary errors. A stalled exporter fails its task at once and ignores these settings.
    default_args={"retries": 3, "retry_delay": timedelta(minutes=2), "execution_timeout": timedelta(minutes=30)},
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
