"""
Erase the devices and users that people ask for, after somebody has approved it.

Put each request as a JSON object into the folder of the Variable `ayla_erasure_requests`: `{"dsn": "..."}`,
`{"user_uuid": "..."}`, or both, and if wanted `from` and `until`. Name the object after your ticket, and not after the
person. Don't give it to the run: Airflow's database keeps the conf of runs.

Once a month, `count` finds out what would be erased. `approve` waits for a person; its text has ids and counts alone.
`erase` erases exactly the requests that were approved, and removes their objects.

The DAG needs the Variable of `ayla_export_to_bucket`, and a connection `ayla_erasure` whose password is a random key.
Keep the key as long as the archive. Give `WAREHOUSES` each warehouse that you load.
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

from airflow.providers.standard.operators.hitl import ApprovalOperator
from airflow.sdk import DAG

from ayla_provider.operators import AylaExportEraseOperator

ARCHIVE = "{{ var.value.ayla_export_destination }}"
REQUESTS = "{{ var.value.ayla_erasure_requests }}"

# The warehouses that the archive's hours are loaded into, such as {"kind": "postgres", "postgres_conn_id": "..."}.
WAREHOUSES: list[dict[str, Any]] = []

FOUND = "ti.xcom_pull(task_ids='count')"

with DAG(
    dag_id="ayla_erase",
    doc_md=__doc__,
    schedule="0 6 5 * *",
    start_date=datetime(2026, 11, 1, tzinfo=UTC),
    catchup=False,
    max_active_runs=1,
    # For the list of the approved requests.
    render_template_as_native_obj=True,
    default_args={
        "retries": 4,
        "retry_delay": timedelta(minutes=10),
        "retry_exponential_backoff": True,
        "max_retry_delay": timedelta(hours=2),
        # For a try that hangs. A person may take longer: see response_timeout.
        "execution_timeout": timedelta(hours=12),
    },
    tags=["ayla"],
):
    count = AylaExportEraseOperator(
        task_id="count",
        requests=REQUESTS,
        archive=ARCHIVE,
        warehouses=WAREHOUSES,
        dry_run=True,
    )
    approve = ApprovalOperator(
        task_id="approve",
        subject="Erase what is asked for? Requests: {{ " + FOUND + "['requests'] }}",
        body="Requests: {{ "
        + FOUND
        + "['open'] }}\n\nTo be erased: {{ "
        + FOUND
        + "['erased'] }}\n\nObjects to write again: {{ "
        + FOUND
        + "['objects'] }}, for about ${{ "
        + FOUND
        + "['cost']['dollars'] }}",
        response_timeout=timedelta(days=14),
    )
    erase = AylaExportEraseOperator(
        task_id="erase",
        requests=REQUESTS,
        archive=ARCHIVE,
        warehouses=WAREHOUSES,
        only="{{ " + FOUND + "['ids'] }}",
    )
    count >> approve >> erase
