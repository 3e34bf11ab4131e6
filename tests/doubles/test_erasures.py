"""BigQuery and Snowflake erase rows, as far as their doubles can show it."""

from __future__ import annotations

import pytest

from tests.warehouse.erasure_contract import ErasureContract


# From fakesnow's own use of DuckDB.
@pytest.mark.filterwarnings("ignore:Arrow output on a DB-API result")
class TestErasures(ErasureContract):
    """With the fixture ``place`` of conftest.py."""
