"""What an Ayla export is, as pure values and functions: no Airflow, no I/O, no clock of its own."""
