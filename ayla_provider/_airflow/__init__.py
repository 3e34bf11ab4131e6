"""What the operators, sensors and hooks need of Airflow, and share. Private."""
