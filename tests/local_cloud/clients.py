"""How tests talk to a local cloud."""

from __future__ import annotations

from typing import TYPE_CHECKING
from urllib.parse import quote

import requests
from google.auth.transport.requests import Request
from google.oauth2 import service_account

if TYPE_CHECKING:
    from ayla_provider.local_cloud import LocalCloud

SCOPE = "https://www.googleapis.com/auth/cloud-platform"


def sign_in(cloud: LocalCloud, **changes: str) -> requests.Response:
    connection = cloud.ayla_connection()
    extra = connection["extra"]
    user = {
        "email": connection["login"],
        "password": changes.get("password", connection["password"]),
        "application": {"app_id": changes.get("app_id", extra["app_id"]), "app_secret": extra["app_secret"]},
    }
    return requests.post(f"{cloud.url}/users/sign_in.json", json={"user": user}, timeout=60)


def acs(cloud: LocalCloud, access_token: str) -> requests.Response:
    url = cloud.ayla_connection()["extra"]["acs_url"]
    return requests.get(url, headers={"Authorization": f"auth_token {access_token}"}, timeout=60)


def bearer(token: str) -> requests.Session:
    session = requests.Session()
    session.headers["Authorization"] = f"Bearer {token}"
    return session


def customer_credentials(cloud: LocalCloud, scope: str = SCOPE) -> service_account.Credentials:
    return service_account.Credentials.from_service_account_info(cloud.service_account_key(), scopes=[scope])


def customer_token(cloud: LocalCloud, scope: str = SCOPE) -> str:
    made = customer_credentials(cloud, scope)
    made.refresh(Request())
    return str(made.token)


def object_url(cloud: LocalCloud, bucket: str, name: str) -> str:
    return f"{cloud.url}/storage/v1/b/{bucket}/o/{quote(name, safe='')}"


def list_url(cloud: LocalCloud, bucket: str) -> str:
    return f"{cloud.url}/storage/v1/b/{bucket}/o"


def upload_url(cloud: LocalCloud, kind: str) -> str:
    return f"{cloud.url}/upload/storage/v1/b/{cloud.customer.name}/o?uploadType={kind}"
