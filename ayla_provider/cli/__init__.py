"""The commands that a person or cron runs. No Airflow."""
