"""The local cloud as one web application."""

from __future__ import annotations

from typing import TYPE_CHECKING

from starlette.applications import Starlette
from starlette.routing import Route

from ayla_provider.local_cloud.customer import TOKEN_PATH, CustomerIdentity
from ayla_provider.local_cloud.identity import ACS_PATH, Identity
from ayla_provider.local_cloud.traffic import RequestRecord, Traffic

if TYPE_CHECKING:
    from starlette.types import ASGIApp

    from ayla_provider.local_cloud.admin import Admin
    from ayla_provider.local_cloud.clock import Clock
    from ayla_provider.local_cloud.faults import Faults
    from ayla_provider.local_cloud.storage_api import StorageApi

_METHODS = ["GET", "POST", "PUT", "PATCH", "DELETE"]


def make_app(
    *,
    identity: Identity,
    customer: CustomerIdentity,
    storage: StorageApi,
    admin: Admin,
    clock: Clock,
    faults: Faults,
    log: list[RequestRecord],
) -> ASGIApp:
    """Return the application: the services at their paths, and the middleware around them."""
    storage_paths = ("/storage/v1/{rest:path}", "/download/storage/v1/{rest:path}", "/upload/storage/v1/{rest:path}")
    routes = [
        *(Route(f"/users/{name}", identity.user_service, methods=["POST"]) for name in identity.user_requests),
        Route(ACS_PATH, identity.storage_token, methods=["GET"]),
        Route(TOKEN_PATH, customer.token, methods=["POST"]),
        *(Route(path, storage.handle, methods=_METHODS) for path in storage_paths),
        *admin.routes(),
    ]
    return Traffic(Starlette(routes=routes), clock=clock, faults=faults, log=log)
