"""What operators, sensors, hooks and destinations need from Airflow, and share. Private."""
