"""The vendor's second way to deliver events: streams that belong to the customer. Nothing here imports Airflow."""
