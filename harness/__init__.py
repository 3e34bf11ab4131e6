"""What demo, simulation, benchmarks, and tests share: a real Airflow, comparisons, and a reference for typed rows."""
