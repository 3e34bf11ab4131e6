"""BigQuery and Snowflake keep the contract of warehouses, as far as their doubles can show it."""

from __future__ import annotations

import pytest

from tests.warehouse.contract import WarehouseContract


# From fakesnow's own use of DuckDB.
@pytest.mark.filterwarnings("ignore:Arrow output on a DB-API result")
class TestEveryWarehouse(WarehouseContract):
    """With the fixture ``place`` of conftest.py."""
