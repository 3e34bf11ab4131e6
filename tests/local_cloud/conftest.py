from __future__ import annotations

import os
from contextlib import closing
from datetime import UTC, datetime
from typing import TYPE_CHECKING

import pytest
from google.cloud import storage
from google.oauth2 import credentials

from ayla_provider.local_cloud import LocalCloud
from tests.local_cloud.clients import acs, bearer, customer_credentials, customer_token, sign_in

if TYPE_CHECKING:
    from collections.abc import Iterator

    import requests

# The library would ask for each bucket in the background.
os.environ["DISABLE_GCS_PYTHON_CLIENT_OTEL_BUCKET_METADATA"] = "true"

NOW = datetime(2024, 5, 9, 12, tzinfo=UTC)


@pytest.fixture
def cloud() -> Iterator[LocalCloud]:
    """A local cloud without any export, at noon of 9 May 2024."""
    with LocalCloud(now=NOW) as cloud:
        yield cloud


@pytest.fixture
def vendor(cloud: LocalCloud) -> Iterator[requests.Session]:
    """A session with an ACS token."""
    token = acs(cloud, sign_in(cloud).json()["access_token"]).json()["tokenValue"]
    with bearer(token) as session:
        yield session


@pytest.fixture
def vendor_client(cloud: LocalCloud, vendor: requests.Session) -> Iterator[storage.Client]:
    token = str(vendor.headers["Authorization"]).removeprefix("Bearer ")
    made = credentials.Credentials(token=token)
    with closing(storage.Client("-", credentials=made, client_options={"api_endpoint": cloud.url})) as client:
        yield client


@pytest.fixture
def customer(cloud: LocalCloud) -> Iterator[requests.Session]:
    """A session with a token for the customer's bucket."""
    with bearer(customer_token(cloud)) as session:
        yield session


@pytest.fixture
def customer_client(cloud: LocalCloud) -> Iterator[storage.Client]:
    made = customer_credentials(cloud)
    with closing(storage.Client("-", credentials=made, client_options={"api_endpoint": cloud.url})) as client:
        yield client
