from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ayla_provider.local_cloud.partial import parse_fields, select
from tests.local_cloud.clients import list_url

if TYPE_CHECKING:
    import requests

    from ayla_provider.local_cloud import LocalCloud
    from ayla_provider.local_cloud.partial import Mask

LISTING = {
    "kind": "storage#objects",
    "items": [{"name": "a", "size": "1", "metadata": {"x": "1", "y": "2"}}, {"name": "b", "size": "2"}],
    "nextPageToken": "t",
}


@pytest.mark.parametrize(
    ("mask", "selected"),
    [
        ("*", LISTING),
        ("kind", {"kind": "storage#objects"}),
        ("items/name", {"items": [{"name": "a"}, {"name": "b"}]}),
        ("items(name),nextPageToken", {"items": [{"name": "a"}, {"name": "b"}], "nextPageToken": "t"}),
        ("items(name,metadata/x)", {"items": [{"name": "a", "metadata": {"x": "1"}}, {"name": "b"}]}),
        ("items(metadata(x,y))", {"items": [{"metadata": {"x": "1", "y": "2"}}, {}]}),
        ("items/metadata/*", {"items": [{"metadata": {"x": "1", "y": "2"}}, {}]}),
        ("items/name,items/size", {"items": [{"name": "a", "size": "1"}, {"name": "b", "size": "2"}]}),
        ("items/name,items", {"items": LISTING["items"]}),
        ("prefixes", {}),
    ],
)
def test_a_mask_selects(mask: str, selected: Any) -> None:
    assert select(parse_fields(mask), LISTING) == selected


@pytest.mark.parametrize("mask", [",", "a,", "a(", "a(b", "a)", "a/", "/a", "a b", "a()", "a((b))", "a(b)c", "a;b"])
def test_a_malformed_mask_is_an_error(mask: str) -> None:
    with pytest.raises(ValueError, match="Invalid field selection"):
        parse_fields(mask)


masks = st.recursive(
    st.dictionaries(st.sampled_from("abc*"), st.none(), min_size=1),
    lambda deeper: st.dictionaries(st.sampled_from("abc*"), st.none() | deeper, min_size=1),
)


def written(mask: Mask) -> str:
    return ",".join(name if below is None else f"{name}({written(below)})" for name, below in mask.items())


@given(masks)
def test_what_is_written_is_parsed(mask: Mask) -> None:
    assert parse_fields(written(mask)) == mask


@given(
    masks, st.recursive(st.none(), lambda deeper: st.dictionaries(st.sampled_from("abcd"), deeper) | st.lists(deeper))
)
def test_selecting_twice_is_selecting_once(mask: Mask, value: Any) -> None:
    once = select(mask, value)
    assert select(mask, once) == once


@pytest.mark.parametrize("mask", ["items(name", "items/nme", "item"])
def test_the_service_refuses_masks_that_select_nothing_real(
    cloud: LocalCloud, customer: requests.Session, mask: str
) -> None:
    answer = customer.get(list_url(cloud, cloud.customer.name), params={"fields": mask})
    assert answer.status_code == 400
    assert "Invalid field selection" in answer.json()["error"]["message"]
