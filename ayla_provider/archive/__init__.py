"""The customer's side: destinations, copies, manifests, and what an archive lacks. No Airflow."""
