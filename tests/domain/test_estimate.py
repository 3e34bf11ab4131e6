from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ayla_provider.domain import estimate as module
from ayla_provider.domain.estimate import Size, estimate

GATE = Path(__file__).parents[2] / "benchmarks" / "gate.json"
SIZE = Size(devices=10_000, events=1440)


def amounts(size: Size) -> dict[str, float]:
    return {f"{each.group}: {each.name}": each.amount for each in estimate(size)}


def test_the_requests_are_those_that_are_measured() -> None:
    measured = json.loads(GATE.read_text())["requests"]
    assert measured["an hour of one file"] == module.REQUESTS_OF_AN_HOUR
    assert measured["each further file"] == module.REQUESTS_OF_A_FILE
    assert measured["a poke of an hour with files"] == module.REQUESTS_OF_A_LOOK


def test_an_example_that_can_be_done_on_paper() -> None:
    found = amounts(replace(SIZE, files=1, event_types=1, loads=1, looks=1, months=1, line=100, parquet=0.2, row=200))
    assert found["Events: in 30 days"] == 10_000 * 1440 * 30 == 432_000_000
    assert found["Events: in an hour"] == 600_000
    assert found["Requests: waits"] == 720 * 2
    assert found["Requests: copies"] == 720 * 11
    assert found["Bytes out of buckets: Ayla's, to the workers that copy"] == 43_200_000_000
    assert found["Storage: typed rows"] == pytest.approx(8_640_000_000)
    # Each script reads half a day of 24 x 120 MB, and its own 120 MB.
    assert found["BigQuery: bytes billed"] == 720 * 13 * 120_000_000
    # 167 events a second, five times as many at the peak.
    assert (found["Stream: Kinesis: shards"], found["Stream: Event Hubs: throughput units"]) == (1, 1)
    assert found["Stream: Kinesis: payload units"] == 432_000_000


def test_the_busiest_second_decides_on_the_shards_by_records_or_by_bytes() -> None:
    # 167 events a second.
    assert amounts(replace(SIZE, peak=6.1))["Stream: Kinesis: shards"] == 2
    assert amounts(replace(SIZE, peak=5, record=1_300))["Stream: Kinesis: shards"] == 2
    assert amounts(replace(SIZE, record=25_001))["Stream: Kinesis: payload units"] == 2 * 432_000_000


def test_a_small_export_costs_the_minimum_of_a_warehouse() -> None:
    found = amounts(Size(devices=1, events=1, loads=1))
    assert found["BigQuery: bytes billed"] == 720 * 5 * 30_000_000
    assert found["Snowflake: virtual warehouse"] == 12


@given(st.integers(1, 10**6), st.floats(0, 10**5), st.integers(2, 20))
def test_more_devices_never_need_less(devices: int, events: float, more: int) -> None:
    small, large = amounts(Size(devices, events)), amounts(Size(devices * more, events))
    assert [name for name, amount in small.items() if large[name] < amount] == []
