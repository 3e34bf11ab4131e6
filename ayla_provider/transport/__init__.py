"""HTTP connections, checksums of bytes that stream by, and what messages may quote of answers. No Airflow."""
