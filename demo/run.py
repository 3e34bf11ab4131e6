"""One run of a DAG."""

from __future__ import annotations

from harness.standalone import Standalone


def run_once(airflow: Standalone, dag: str, timeout: float = 600) -> bool:
    """
    Run a DAG once, pause it, and return whether the run succeeded.

    :param timeout: seconds for the run
    """
    airflow.wait_for_dag(dag)
    airflow.unpause(dag)
    run = airflow.trigger(dag)["dag_run_id"]
    (ended,) = airflow.wait_for_runs(dag, run_ids=[run], state=None, timeout=timeout)
    # Only one process at a time can open a DuckDB file, so wait until no task has it open.
    airflow.pause(dag)
    airflow.wait_until(
        f"the runs of {dag} to end",
        lambda: True if not airflow.dag_runs(dag, state=["running"]) else None,
        timeout=300,
    )
    return bool(ended["state"] == "success")
