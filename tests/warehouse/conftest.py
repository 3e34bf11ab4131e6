"""What the tests of warehouses share."""

from __future__ import annotations

from collections.abc import Iterator

import pytest


@pytest.fixture(scope="session")
def server() -> Iterator[str]:
    """The folder of a PostgreSQL server's socket."""
    from tests.support import postgres_server
    from tests.support.tools import POSTGRESQL

    POSTGRESQL.require()
    with postgres_server.running() as host:
        yield host
