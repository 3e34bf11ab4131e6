"""The asset of an event is the one on which a user schedules a DAG."""

from __future__ import annotations

from typing import Any

import pytest
from airflow.sdk import AssetAlias
from airflow.sdk.execution_time.context import OutletEventAccessors
from hypothesis import given
from hypothesis import strategies as st

from ayla_provider.assets import event_asset, export_asset

PARTS = st.text(st.sampled_from("aB0.-_=%?#@~ é"), min_size=1, max_size=6)


def event_of(asset: Any) -> Any:
    """The event that Airflow records for an asset."""
    events = OutletEventAccessors()
    events[AssetAlias("all")].add(asset, extra={"files": 1})
    (event,) = events[AssetAlias("all")].asset_alias_events
    return event


@pytest.mark.parametrize(
    "destination",
    [
        "gs://bucket",
        "gs://bucket/ayla",
        " gs://bucket/a/b-c_d.e/ ",
        "s3://bucket/ayla",
        "s3a://bucket/ayla",
        "GS://bucket/ayla",
        "gs://bucket//ayla",
        "gs://bucket/ayla?b=2&a=1",
        "gs://bucket/ayla#x",
        "file:///data/ayla",
        "abfs://container@account.dfs.core.windows.net/ayla",
    ],
)
def test_an_event_is_of_the_asset_that_a_dag_is_scheduled_on(destination: str) -> None:
    assert event_of(event_asset(destination, "Datapoint Ack")) == event_of(export_asset(destination, "datapoint_ack"))


@given(st.sampled_from(["gs", "s3"]), st.lists(PARTS, min_size=1, max_size=4))
def test_an_event_is_of_the_same_asset_whatever_the_address(scheme: str, parts: list[str]) -> None:
    destination = f"{scheme}://{'/'.join(parts)}"
    try:
        wanted = event_of(export_asset(destination, "datapoint"))
    except ValueError as refused:
        with pytest.raises(type(refused)):
            event_asset(destination, "datapoint")
        return
    assert event_of(event_asset(destination, "datapoint")) == wanted
