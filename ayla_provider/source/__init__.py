"""The vendor's side: sign-in, credentials service, listing, reading. No Airflow."""
