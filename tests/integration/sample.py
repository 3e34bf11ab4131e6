"""The sample DAG, made to fail sooner."""

from __future__ import annotations

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
    soon = once.replace("timedelta(minutes=2)", "timedelta(seconds=2)")
    fewer = soon.replace("for event_type in EVENT_TYPES:", f"for event_type in {tuple(event_types)}:")
    assert fewer.count("retries=0") == fewer.count("timedelta(seconds=2)") == 1
    assert str(tuple(event_types)) in fewer
    dags.mkdir()
    (dags / "sample.py").write_text(fewer)
