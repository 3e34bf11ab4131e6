"""From archived files to typed, deduplicated rows. No Airflow."""
