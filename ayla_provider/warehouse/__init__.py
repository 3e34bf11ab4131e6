"""Typed rows into a warehouse, which replaces an hour as a whole. No Airflow."""
