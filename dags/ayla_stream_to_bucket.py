"""
Drain a stream of Ayla's DataStream Service, in Amazon Kinesis or Azure Event Hubs, into your own bucket.

Each run brings what arrived since the last one, every record once. The archive has the records by event type and hour,
and a manifest of each hour. The DAG needs a destination of its own, apart from that of the export, and a connection to
AWS or Azure that may read the stream:

```bash
airflow variables set ayla_stream kinesis://your-stream
airflow variables set ayla_stream_destination gs://your-bucket/ayla-stream
python -m ayla_provider check-stream kinesis://your-stream --conn aws_default
```

If records expired before they were read, the run still brings all others, and then fails with the range. Later runs go
on. To acknowledge the loss, trigger the DAG once:

```bash
airflow dags trigger ayla_stream_to_bucket --conf '{"accept_loss": true}'
```
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from airflow.sdk import DAG, Param

from ayla_provider.operators import AylaStreamToBucketOperator

# Of Kinesis. For Event Hubs, a connection of the type azure or azure_service_bus, such as azure_default.
CONN_ID = "aws_default"

with DAG(
    dag_id="ayla_stream_to_bucket",
    doc_md=__doc__,
    schedule="*/10 * * * *",
    start_date=datetime(2026, 11, 1, tzinfo=UTC),
    # A run brings everything that is left, so the runs that didn't happen needn't be made up for.
    catchup=False,
    # Two runs at once would read the same records, and one of them would fail.
    max_active_runs=1,
    params={"accept_loss": Param(False, type="boolean", description="Acknowledge the records that are lost, once")},
    default_args={
        "retries": 4,
        "retry_delay": timedelta(minutes=1),
        "retry_exponential_backoff": True,
        "max_retry_delay": timedelta(minutes=10),
        # For a try that hangs. The next one goes on after the last batch that was committed.
        "execution_timeout": timedelta(hours=3),
    },
    tags=["ayla"],
):
    AylaStreamToBucketOperator(
        task_id="drain",
        stream="{{ var.value.ayla_stream }}",
        stream_conn_id=CONN_ID,
        destination="{{ var.value.ayla_stream_destination }}",
        accept_loss="{{ params.accept_loss }}",
    )
