"""HTTP connections, and the checksums that are computed while bytes stream by. No Airflow."""
