"""
The doubles of BigQuery and Snowflake: bqemulator and fakesnow.

They want different versions of DuckDB, so each has an environment of its own, and the tests run in both: see
``make test-doubles``. In any other environment there is no test here.
"""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from importlib.util import find_spec
from typing import Any

import pytest

pytest.register_assert_rewrite("tests.warehouse.contract", "tests.warehouse.erasure_contract")

BIGQUERY, SNOWFLAKE = (find_spec(name) is not None for name in ("bqemulator", "fakesnow"))

collect_ignore = [
    *([] if BIGQUERY or SNOWFLAKE else ["test_erasures.py", "test_every_warehouse.py", "test_fleet_models.py"]),
    *([] if SNOWFLAKE else ["test_snowflake_statements.py"]),
]


@pytest.fixture(scope="session")
def bigquery_url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The address of a bqemulator."""
    from tests.doubles.bigquery_client import bqemulator

    with bqemulator(tmp_path_factory.mktemp("home")) as url:
        yield url


@pytest.fixture(scope="session")
def snowflake_server() -> Iterator[dict[str, Any]]:
    """Fakesnow behind HTTP, for the real connector."""
    import fakesnow

    with pytest.MonkeyPatch.context() as environment, fakesnow.server() as how_to_connect:
        # Else the connector asks the machine's network whose cloud it is.
        environment.setenv("SNOWFLAKE_DISABLE_PLATFORM_DETECTION", "true")
        yield how_to_connect


@pytest.fixture
def session(snowflake_server: dict[str, Any]) -> Iterator[Any]:
    """A session with fakesnow, in a database of its own."""
    import snowflake.connector

    from tests.doubles.snowflake_session import Session

    database = f"iot_{uuid.uuid4().hex[:8]}"
    with snowflake.connector.connect(**snowflake_server, database=database, schema="ayla") as connection:
        yield Session(connection)


@pytest.fixture(params=[*["BigQuery"] * BIGQUERY, *["Snowflake"] * SNOWFLAKE])
def place(request: pytest.FixtureRequest) -> Iterator[Any]:
    """A warehouse of the test's own."""
    from tests.doubles.double_places import InBigQuery, InSnowflake

    if request.param == "Snowflake":
        from ayla_provider.warehouse.snowflake import SnowflakeWarehouse

        session = request.getfixturevalue("session")
        database = session.connection.database
        with SnowflakeWarehouse(lambda: session, database=database, schema="ayla") as warehouse:
            yield InSnowflake(session, warehouse)
        return

    from google.auth.credentials import AnonymousCredentials

    from ayla_provider.warehouse.bigquery import BigQueryWarehouse
    from tests.doubles.bigquery_client import Client

    options = {"api_endpoint": request.getfixturevalue("bigquery_url")}
    client = Client("acme", AnonymousCredentials(), client_options=options)
    dataset = f"iot_{uuid.uuid4().hex[:8]}"
    with BigQueryWarehouse(lambda: client, dataset=dataset, location="EU") as warehouse:
        yield InBigQuery(client, warehouse, dataset)
