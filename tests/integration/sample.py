"""The sample DAG, made to fail sooner."""

from __future__ import annotations

from pathlib import Path

DAG = "ayla_export_to_bucket"


def put_failing_soon(dags: Path) -> None:
    """
    Put the sample DAG into a folder, which is made; a copy fails at its first try.

    The waits keep their retries, which some Airflows need (apache/airflow#66374).
    """
    sample = (Path(__file__).parents[2] / "dags" / f"{DAG}.py").read_text()
    once = sample.replace('task_id="copy",', 'task_id="copy", retries=0,')
    soon = once.replace("timedelta(minutes=2)", "timedelta(seconds=2)")
    assert soon.count("retries=0") == soon.count("timedelta(seconds=2)") == 1
    dags.mkdir()
    (dags / "sample.py").write_text(soon)
