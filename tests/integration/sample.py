"""The sample DAG, made to fail sooner."""

from __future__ import annotations

import re
from collections.abc import Collection
from pathlib import Path

from ayla_provider.domain.events import EVENT_TYPES

DAG = "ayla_export_to_bucket"


def put_failing_soon(dags: Path, event_types: Collection[str] = EVENT_TYPES) -> None:
    """
    Put the sample DAG into a new folder, with copies that fail at their first try.

    The waits keep their retries, which some Airflow versions need (apache/airflow#66374).

    :param event_types: what the DAG copies
    """
    sample = (Path(__file__).parents[2] / "dags" / f"{DAG}.py").read_text()
    once = sample.replace('task_id="copy",', 'task_id="copy", retries=0,')
    assert once.count("retries=0") == 1
    dags.mkdir()
    (dags / "sample.py").write_text(limited(once, event_types))


def limited(code: str, event_types: Collection[str]) -> str:
    """Return the code of a sample DAG, limited to some event types. Each further one takes many tasks."""
    of_all = "from ayla_provider import EVENT_TYPES\n"
    of_task = re.compile(r'task_id="(reconcile|verify|countdown)",')
    assert code.count(of_all) + len(of_task.findall(code)) == 1
    code = code.replace(of_all, f"EVENT_TYPES = {tuple(event_types)}\n")
    return of_task.sub(rf"\g<0> event_types={tuple(event_types)},", code)
