"""
The DAG of the documents that runs dbt with Astronomer Cosmos, in a real Airflow.

Cosmos isn't in the environment of the other tests: see ``make test-dbt``. In any other environment there is no test
here.
"""

from __future__ import annotations

from importlib.util import find_spec

collect_ignore = [] if find_spec("cosmos") else ["test_dbt_dag.py"]
