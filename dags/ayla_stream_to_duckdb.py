"""
Load the hours of a stream into typed tables in a DuckDB file, with views.

The tables have the columns of those of the export, and names of their own: `ayla_stream_datapoint` and so on. The DAG
runs once an hour. `plan` compares the archive's manifests with what is loaded, and returns the hours that differ. An
hour that is still open is loaded, too, and again when it has more records. The DAG needs the Variables of
`ayla_stream_to_bucket`, and:

```bash
airflow variables set ayla_duckdb /data/ayla.duckdb
airflow pools set ayla_duckdb 1 "A DuckDB file allows one process at a time"
```

By default, only the last week is compared. To load the whole archive once:

```bash
airflow dags trigger ayla_stream_to_duckdb --conf '{"since": "2026-11-01T00:00:00+00:00"}'
```

By default, the tables have all columns. To have only the columns that you name, and none that Ayla adds later, set
`PRIVACY` to a policy such as `{"*": "drop", "oem_model": "keep", "created_at": "keep"}`. If you change it later, `plan`
fails, and its message has the command that loads all hours again.
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

from airflow.sdk import DAG, Param

from ayla_provider import STREAM_EVENT_TYPES
from ayla_provider.operators import AylaExportDuckDBPlanOperator, AylaExportToDuckDBOperator

ARCHIVE = "{{ var.value.ayla_stream_destination }}"
DATABASE = "{{ var.value.ayla_duckdb }}"
# The tables of the export can be in the same file.
TABLE_PREFIX = "ayla_stream_"
# Which columns the tables have, see the document on personal data. If a column is hashed, set privacy_conn_id, too.
PRIVACY: dict[str, Any] = {"privacy": {}, "privacy_conn_id": None}

with DAG(
    dag_id="ayla_stream_to_duckdb",
    doc_md=__doc__,
    # More often, the tables are fresher, and each open hour is loaded as often.
    schedule="25 * * * *",
    start_date=datetime(2026, 11, 1, tzinfo=UTC),
    catchup=False,
    # A long run delays the next one, which then loads the rest.
    max_active_runs=1,
    params={
        "since": Param("", type="string", description="The first hour to compare. If empty: a week ago"),
        "earlier_policies": Param("", type="string", description="After a change of PRIVACY: what the error names"),
    },
    default_args={
        "retries": 4,
        "retry_delay": timedelta(minutes=2),
        "retry_exponential_backoff": True,
        "max_retry_delay": timedelta(minutes=30),
        # For a try that hangs. The next one does only what is left.
        "execution_timeout": timedelta(hours=6),
        "pool": "ayla_duckdb",
    },
    tags=["ayla"],
):
    plan = AylaExportDuckDBPlanOperator(
        task_id="plan",
        archive=ARCHIVE,
        event_types=STREAM_EVENT_TYPES,
        since="{{ params.since }}",
        earlier_policies="{{ params.earlier_policies }}",
        **PRIVACY,
        database=DATABASE,
        table_prefix=TABLE_PREFIX,
    )
    AylaExportToDuckDBOperator.partial(
        task_id="load",
        archive=ARCHIVE,
        database=DATABASE,
        table_prefix=TABLE_PREFIX,
        earlier_policies="{{ params.earlier_policies }}",
        map_index_template="{{ task.reason }}",
        **PRIVACY,
    ).expand_kwargs(plan.output)
