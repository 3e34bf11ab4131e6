"""A client of the Ayla cloud: sign-in, credentials service, storage, copy. Without Airflow."""
