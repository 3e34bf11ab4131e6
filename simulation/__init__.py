"""Months of an export lived through in minutes: the vendor, the customer, and all that can befall them."""
