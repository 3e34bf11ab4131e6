"""The commands for people and for cron. They import no Airflow."""
