"""
Compare what the export brought with what the stream had, and fail if the export lacks events.

Every day, the DAG compares the last week, hour by hour. The task `compare` tells the page *Ayla* what it found. Airflow
passes that on only if the task succeeds, so the task `complete` is the one that fails.

Both sides need typed rows: those that the DAGs `ayla_export_to_duckdb` and `ayla_stream_to_duckdb` make, or your own
loads. The DAG needs two Variables:

- `ayla_export_destination`: the archive of the export, as in `ayla_export_to_bucket`.
- `ayla_stream_destination`: the archive of the stream, as in `ayla_stream_to_bucket`.

It needs no connection to Ayla. The results are in the archive of the stream, below `_completeness/`. For a text that
you can send to Ayla support, run this on an Airflow machine:

```
python -m ayla_provider completeness --stream-archive gs://your-bucket/ayla-stream --support
```
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from airflow.sdk import DAG, task

from ayla_provider.errors import AylaIncompleteError
from ayla_provider.operators import AylaExportCompletenessOperator

with DAG(
    dag_id="ayla_export_completeness",
    doc_md=__doc__,
    # Files of the export come up to 26 hours late, so that the last day isn't compared yet.
    schedule="45 4 * * *",
    start_date=datetime(2026, 11, 1, tzinfo=UTC),
    catchup=False,
    max_active_runs=1,
    default_args={
        "retries": 4,
        "retry_delay": timedelta(minutes=2),
        "retry_exponential_backoff": True,
        "max_retry_delay": timedelta(minutes=30),
        # For a try that hangs.
        "execution_timeout": timedelta(hours=3),
    },
    tags=["ayla"],
):
    compare = AylaExportCompletenessOperator(
        task_id="compare",
        archive="{{ var.value.ayla_export_destination }}",
        stream_archive="{{ var.value.ayla_stream_destination }}",
        lookback=timedelta(days=7),
        # The next task fails in its place.
        fail=False,
    )

    # A retry looks at the same counts.
    @task(retries=0)
    def complete(summary: dict[str, dict[str, int]]) -> None:
        """Fail if the export lacks events."""
        states = summary["states"]
        lacking = states.get("missing_in_export", 0) + states.get("both_missing", 0)
        if lacking:
            raise AylaIncompleteError(f"hours in which the export lacks events: {lacking}. See the log of `compare`.")

    complete(compare.output["summary"])
