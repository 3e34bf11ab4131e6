"""Months of an export in minutes: a simulated vendor, a simulated customer, and the faults that affect them."""
