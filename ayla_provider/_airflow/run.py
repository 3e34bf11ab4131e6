"""Which run of a DAG writes something."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from airflow.sdk import Context


def provenance(context: Context) -> dict[str, str]:
    """Return the ids of a task's run, as manifests and receipts record them under ``written_by``."""
    ti = context["ti"]
    return {
        "dag_id": str(ti.dag_id),
        "run_id": str(ti.run_id),
        "task_id": str(ti.task_id),
        "try_number": str(ti.try_number),
    }
