"""
The fleet models: what a device did, hour by hour and day by day, as SQL for every warehouse.

The operators and the package for dbt have them from here. Their meaning is on the page on the fleet.
"""
