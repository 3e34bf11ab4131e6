"""A real Airflow on this machine, for ``make demo`` and for the integration tests."""
