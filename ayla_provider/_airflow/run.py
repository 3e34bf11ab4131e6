"""Which run of a DAG writes something."""

from __future__ import annotations

from collections.abc import Mapping
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


def same_task(one: Mapping[str, str], other: Mapping[str, str]) -> bool:
    """Whether two provenances are of the same task of the same run, perhaps in different tries."""
    return all(one.get(key) == other.get(key) for key in ("dag_id", "run_id", "task_id"))
