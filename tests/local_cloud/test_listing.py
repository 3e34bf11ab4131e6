from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ayla_provider.local_cloud.api_errors import ApiError
from ayla_provider.local_cloud.clock import Clock
from ayla_provider.local_cloud.contents import BytesContent
from ayla_provider.local_cloud.listing import ListQuery, list_page
from ayla_provider.local_cloud.objects import Bucket
from tests.local_cloud.clients import list_url

if TYPE_CHECKING:
    import requests
    from google.cloud import storage

    from ayla_provider.local_cloud import LocalCloud

texts = st.text("ab/é\U0001f600￿", max_size=4)
names = st.sets(st.text("ab/é\U0001f600￿", min_size=1, max_size=6), max_size=20)


def naive(names: set[str], query: ListQuery) -> tuple[list[str], list[str]]:
    """What a listing holds, by the words of the API's reference: no paging, and bytes compared with bytes."""
    items, prefixes = [], set()
    for name in sorted(names, key=str.encode):
        key = name.encode()
        if not key.startswith(query.prefix.encode()) or key < query.start_offset.encode():
            continue
        if query.end_offset and key >= query.end_offset.encode():
            continue
        head, delimiter, rest = name[len(query.prefix) :].partition(query.delimiter or "\0")
        if delimiter:
            prefixes.add(query.prefix + head + delimiter)
        if not delimiter or (query.include_trailing_delimiter and not rest):
            items.append(name)
    return items, sorted(prefixes, key=str.encode)


@given(
    names,
    names,
    st.builds(
        ListQuery,
        prefix=texts,
        delimiter=st.sampled_from(["", "/", "a/"]),
        start_offset=texts,
        end_offset=texts,
        max_results=st.integers(1, 7),
        include_trailing_delimiter=st.booleans(),
    ),
)
def test_all_pages_together_hold_what_the_reference_says(there: set[str], later: set[str], query: ListQuery) -> None:
    clock = Clock()
    bucket = Bucket("any", clock.now)
    for name in there | later:
        wait = timedelta(0) if name in there else timedelta(days=1)
        bucket.put(name, BytesContent(b""), clock.now() + wait)
    items: list[str] = []
    prefixes: list[str] = []
    while True:
        page = list_page(bucket, query)
        both = len(page.items) + len(page.prefixes)
        assert both <= query.max_results or (both == 2 and query.include_trailing_delimiter)
        items += [one.name for one in page.items]
        prefixes += page.prefixes
        if page.next_page_token is None:
            break
        assert both, "a page with a successor holds something"
        query = replace(query, page_token=page.next_page_token)
    assert (items, prefixes) == naive(there, query)


@pytest.mark.parametrize("query", [{"maxResults": "-1"}, {"maxResults": "many"}])
def test_malformed_parameters_are_refused(query: dict[str, str]) -> None:
    with pytest.raises(ApiError) as refused:
        ListQuery.from_parameters(query)
    assert refused.value.status == 400


def test_what_is_not_there_is_refused_and_not_ignored(cloud: LocalCloud, customer: requests.Session) -> None:
    for name in ("versions", "softDeleted", "matchGlob"):
        assert customer.get(list_url(cloud, cloud.customer.name), params={name: "true"}).status_code == 501


def test_a_page_token_of_nobody_is_refused(cloud: LocalCloud, customer: requests.Session) -> None:
    for token in ("x", "eHl6", "é"):
        assert customer.get(list_url(cloud, cloud.customer.name), params={"pageToken": token}).status_code == 400


def test_an_empty_listing_has_neither_items_nor_prefixes(cloud: LocalCloud, customer: requests.Session) -> None:
    assert customer.get(list_url(cloud, cloud.customer.name)).json() == {"kind": "storage#objects"}


def test_a_page_has_a_thousand_entries_at_most(cloud: LocalCloud, vendor: requests.Session) -> None:
    for number in range(1001):
        cloud.put_object("Datapoint", "2024-05-09 02:00:00", f"{number}.csv", b"")
    url = list_url(cloud, cloud.vendor.name)
    parameters: dict[str, str | int] = {"prefix": "1a2b3c4d/", "maxResults": 5000, "fields": "items/name,nextPageToken"}
    first = vendor.get(url, params=parameters).json()
    assert len(first["items"]) == 1000
    assert set(first["items"][0]) == {"name"}
    second = vendor.get(url, params=parameters | {"pageToken": first["nextPageToken"]}).json()
    assert len(second["items"]) == 1
    assert "nextPageToken" not in second


def test_the_google_client_pages_through_items_and_prefixes(cloud: LocalCloud, vendor_client: storage.Client) -> None:
    for hour in range(5):
        cloud.put_object("Datapoint", f"2024-05-09 0{hour}:00:00", "Datapoints.csv", b"x" * hour)
    listing = vendor_client.list_blobs(
        cloud.vendor.name,
        prefix="1a2b3c4d/Datapoint/",
        delimiter="/",
        start_offset="1a2b3c4d/Datapoint/2024-05-09 02",
        end_offset="1a2b3c4d/Datapoint/2024-05-09 04",
        page_size=1,
    )
    assert list(listing) == []
    assert listing.prefixes == {f"1a2b3c4d/Datapoint/2024-05-09 0{hour}:00:00/" for hour in (2, 3)}


def test_objects_come_to_light_when_their_time_comes(cloud: LocalCloud, vendor_client: storage.Client) -> None:
    soon = cloud.clock.now() + timedelta(minutes=30)
    folder = ("Datapoint", "2024-05-09 11:00:00", "Datapoints.csv")
    cloud.put_object(*folder, b"first")
    cloud.put_object(*folder, b"second", created=soon)
    cloud.put_object("Datapoint", "2024-05-09 11:20:00", "Datapoints.csv", b"other", created=soon)

    def sizes() -> list[int]:
        return [blob.size for blob in vendor_client.list_blobs(cloud.vendor.name, prefix="1a2b3c4d/")]

    assert sizes() == [5]
    cloud.clock.advance(timedelta(minutes=30))
    assert sizes() == [6, 5]
    cloud.clock.set(soon - timedelta(seconds=1))
    assert sizes() == [5]


class _Counted(list[str]):
    """A list that counts how often one of its entries is looked at."""

    looks = 0

    def __getitem__(self, at: Any) -> Any:
        self.looks += 1
        return super().__getitem__(at)


@pytest.mark.parametrize(
    ("query", "entries"),
    [
        (ListQuery(prefix="x/", max_results=1000), 1000),
        (ListQuery(prefix="x/", start_offset="x/050000"), 1000),
        (ListQuery(prefix="x/0777"), 100),
        (ListQuery(prefix="x/", delimiter="00"), 100),
        (ListQuery(delimiter="/"), 1),
        (ListQuery(prefix="nothing"), 0),
    ],
)
def test_a_page_of_100000_objects_costs_what_the_page_holds(
    many: Bucket, monkeypatch: pytest.MonkeyPatch, query: ListQuery, entries: int
) -> None:
    counted = _Counted(many.names)
    monkeypatch.setattr(many, "names", counted)
    lives: list[str] = []
    live = many.live
    monkeypatch.setattr(many, "live", lambda name, at=None: lives.append(name) or live(name, at))
    page = list_page(many, query)
    found = len(page.items) + len(page.prefixes)
    assert found >= min(entries, 1)
    assert len(lives) <= found + 1
    # A bisection of 100,000 takes 17 looks; a rolled-up prefix takes one.
    assert counted.looks <= 2 * 18 + (found + 1) * (20 if query.delimiter else 1)
    token = page.next_page_token
    if token:
        counted.looks = 0
        list_page(many, replace(query, page_token=token))
        assert counted.looks <= 3 * 18 + (found + 1) * (20 if query.delimiter else 1)


@pytest.fixture(scope="module")
def many() -> Bucket:
    bucket = Bucket("any", Clock().now)
    for number in range(100_000):
        bucket.put(f"x/{number:06}", BytesContent(b""))
    return bucket


def test_a_bucket_keeps_what_was_replaced_and_deleted_if_it_should(
    cloud: LocalCloud, customer: requests.Session
) -> None:
    def listed(**query: str) -> list[tuple[str, bool, bool]]:
        items = customer.get(list_url(cloud, cloud.customer.name), params=query).json().get("items", [])
        return [(item["name"], "timeDeleted" in item, "softDeleteTime" in item) for item in items]

    bucket = cloud.customer
    bucket.keeps = "versions"
    for name in ("a", "a", "b", "c"):
        bucket.replace(name, BytesContent(b"x"))
    bucket.delete("b")
    assert listed() == [("a", False, False), ("c", False, False)]
    versions = [("a", True, False), ("a", False, False), ("b", True, False), ("c", False, False)]
    assert listed(versions="true") == versions
    assert listed(versions="true", prefix="b") == [("b", True, False)]
    assert listed(softDeleted="true") == []
