"""
Alert before hours expire at Ayla that aren't safe in the archive yet.

Once a day, `countdown` compares the hours that Ayla removes within two weeks with the archive. If one of them lacks
files, it fails once, and its callback notifies you.

The DAG needs the connection and the Variable of `ayla_export_to_bucket`. How long Ayla keeps files is the setting
`retention` of the connection; without it, `ayla_export_reconcile_weekly` can learn it.
"""

from __future__ import annotations

import logging
import os
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

from airflow.sdk import DAG

from ayla_provider.operators import AylaExportCountdownOperator

if TYPE_CHECKING:
    from airflow.sdk import Context


def alert(context: Context) -> None:
    """Write to the log. Replace this with a notifier for Slack, e-mail, ...; the exception is the message."""
    logging.getLogger(__name__).error("ALERT: %s", context.get("exception"))


with DAG(
    dag_id="ayla_export_countdown",
    doc_md=__doc__,
    schedule="20 6 * * *",
    start_date=datetime(2026, 11, 1, tzinfo=UTC),
    catchup=False,
    max_active_runs=1,
    default_args={"retries": 3, "retry_delay": timedelta(minutes=2), "execution_timeout": timedelta(hours=1)},
    tags=["ayla"],
):
    AylaExportCountdownOperator(
        task_id="countdown",
        destination="{{ var.value.ayla_export_destination }}",
        within=timedelta(days=14),
        # The first hour that you want, as in ayla_export_to_bucket.
        not_before=os.environ.get("AYLA_EXPORT_START", "2026-11-01T00:00:00+00:00"),
        on_failure_callback=alert,
    )
