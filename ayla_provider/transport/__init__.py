"""How bytes travel: HTTP connections, and the checksums that are computed on the way. No Airflow."""
