from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING

import pytest
import requests
from google.api_core import exceptions

from tests.local_cloud.clients import acs, bearer, customer_token, list_url, object_url, sign_in, upload_url

if TYPE_CHECKING:
    from google.cloud import storage

    from ayla_provider.local_cloud import LocalCloud

NAME = "1a2b3c4d/Datapoint/2024-05-09 02:00:00/Datapoints.csv"


@pytest.fixture(autouse=True)
def _exported(cloud: LocalCloud) -> None:
    cloud.put_object("Datapoint", "2024-05-09 02:00:00", "Datapoints.csv", b"one")


def test_a_storage_token_lists_and_reads_below_the_oem_id(cloud: LocalCloud, vendor_client: storage.Client) -> None:
    blobs = list(vendor_client.list_blobs(cloud.vendor.name, prefix="1a2b3c4d/Datapoint/"))
    assert [blob.name for blob in blobs] == [NAME]
    assert blobs[0].download_as_bytes() == b"one"


@pytest.mark.parametrize("prefix", [None, "", "1a2b3c4d", "1a2b3c4", "other/"])
def test_a_listing_without_a_prefix_inside_is_denied(
    cloud: LocalCloud, vendor: requests.Session, prefix: str | None
) -> None:
    parameters = {} if prefix is None else {"prefix": prefix}
    answer = vendor.get(list_url(cloud, cloud.vendor.name), params=parameters)
    assert answer.status_code == 403
    assert answer.json()["error"]["errors"][0]["reason"] == "forbidden"


def test_the_prefix_is_needed_on_every_page(cloud: LocalCloud, vendor: requests.Session) -> None:
    cloud.put_object("Datapoint", "2024-05-09 03:00:00", "Datapoints.csv", b"two")
    url = list_url(cloud, cloud.vendor.name)
    token = vendor.get(url, params={"prefix": "1a2b3c4d/", "maxResults": 1}).json()["nextPageToken"]
    assert vendor.get(url, params={"pageToken": token}).status_code == 403
    assert vendor.get(url, params={"prefix": "1a2b3c4d/", "pageToken": token}).status_code == 200


def test_asking_for_the_bucket_is_denied(cloud: LocalCloud, vendor_client: storage.Client) -> None:
    with pytest.raises(exceptions.Forbidden):
        vendor_client.get_bucket(cloud.vendor.name)


def test_an_object_outside_is_denied_even_if_there_is_none(cloud: LocalCloud, vendor: requests.Session) -> None:
    assert vendor.get(object_url(cloud, cloud.vendor.name, "other/one.csv")).status_code == 403
    assert vendor.get(object_url(cloud, cloud.vendor.name, "1a2b3c4d/one.csv")).status_code == 404


def test_a_storage_token_writes_and_deletes_nothing(cloud: LocalCloud, vendor: requests.Session) -> None:
    upload = upload_url(cloud, "media").replace(cloud.customer.name, cloud.vendor.name)
    assert vendor.post(f"{upload}&name=1a2b3c4d/x", data=b"x").status_code == 403
    assert vendor.delete(object_url(cloud, cloud.vendor.name, NAME)).status_code == 403
    assert vendor.patch(object_url(cloud, cloud.vendor.name, NAME), json={}).status_code == 403


def test_each_bucket_refuses_the_other_ones_token(
    cloud: LocalCloud, vendor: requests.Session, customer: requests.Session
) -> None:
    assert customer.get(object_url(cloud, cloud.vendor.name, NAME)).status_code == 403
    assert vendor.get(list_url(cloud, cloud.customer.name), params={"prefix": "1a2b3c4d/"}).status_code == 403
    assert vendor.post(f"{upload_url(cloud, 'media')}&name=x", data=b"x").status_code == 403


def test_tokens_that_are_missing_unknown_expired_or_killed_get_401(cloud: LocalCloud) -> None:
    url = list_url(cloud, cloud.vendor.name) + "?prefix=1a2b3c4d/"
    assert requests.get(url, timeout=60).status_code == 401
    assert bearer("ya29.dr.unknown").get(url).status_code == 401
    access_token = sign_in(cloud).json()["access_token"]
    killed, expired = (bearer(acs(cloud, access_token).json()["tokenValue"]) for _ in range(2))
    assert killed.get(url).status_code == 200
    cloud.revoke("storage")
    assert killed.get(url).status_code == 401
    expired = bearer(acs(cloud, access_token).json()["tokenValue"])
    cloud.clock.advance(timedelta(minutes=61))
    assert expired.get(url).status_code == 401


def test_a_read_only_scope_only_reads(cloud: LocalCloud) -> None:
    session = bearer(customer_token(cloud, "https://www.googleapis.com/auth/devstorage.read_only"))
    assert session.get(list_url(cloud, cloud.customer.name)).status_code == 200
    assert session.post(f"{upload_url(cloud, 'media')}&name=x", data=b"x").status_code == 403
    other = bearer(customer_token(cloud, "https://www.googleapis.com/auth/bigquery"))
    assert other.get(list_url(cloud, cloud.customer.name)).status_code == 403


def test_assertions_that_another_key_signed_are_refused(cloud: LocalCloud) -> None:
    form = {"grant_type": "urn:ietf:params:oauth:grant-type:jwt-bearer", "assertion": "a.b.c"}
    answer = requests.post(f"{cloud.url}/oauth2/token", data=form, timeout=60)
    assert (answer.status_code, answer.json()["error"]) == (400, "invalid_grant")
    form["grant_type"] = "password"
    assert requests.post(f"{cloud.url}/oauth2/token", data=form, timeout=60).json()["error"] == "unsupported_grant_type"


def test_the_customer_sees_its_bucket_and_no_unknown_one(cloud: LocalCloud, customer_client: storage.Client) -> None:
    assert customer_client.get_bucket(cloud.customer.name).name == cloud.customer.name
    with pytest.raises(exceptions.NotFound):
        customer_client.get_bucket("another")
