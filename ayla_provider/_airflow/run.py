"""Which run of a DAG writes something."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, TypeVar

from ayla_provider.domain.work import Work

if TYPE_CHECKING:
    from airflow.sdk import Context

    from ayla_provider.warehouse.base import Warehouse

W = TypeVar("W", bound="Warehouse")


def provenance(context: Context) -> dict[str, str]:
    """Return the ids of a task's run, as manifests and receipts record them under ``written_by``."""
    ti = context["ti"]
    return {
        "dag_id": str(ti.dag_id),
        "run_id": str(ti.run_id),
        "task_id": str(ti.task_id),
        "try_number": str(ti.try_number),
    }


def at_work(warehouse: W, context: Context, event_type: str = "") -> W:
    """
    Return a warehouse that shows for what task its statements are.

    :param event_type: in any spelling; empty if they are for several
    """
    ti = context["ti"]
    warehouse.work_for(Work(str(ti.dag_id), str(ti.task_id), str(ti.run_id), event_type=str(event_type)))
    return warehouse


def same_task(one: Mapping[str, str], other: Mapping[str, str]) -> bool:
    """Whether two provenances are of the same task of the same run, perhaps in different tries."""
    return all(one.get(key) == other.get(key) for key in ("dag_id", "run_id", "task_id"))
