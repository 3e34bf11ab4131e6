"""One hour of files into typed, deduplicated rows, which replace the hour as a whole; nothing of Airflow."""
