"""A real Airflow on this machine, for the demo, the integration tests and the benchmarks."""
